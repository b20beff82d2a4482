"""The base class of observers and the events that they receive. `telemetry.py` exports these names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .models.usage import Usage


@dataclass(frozen=True)
class CallStarted:
    """A call has started. It may make several attempts."""

    call_id: str
    """The id of the call in this process. All events of the call have the same id."""
    operation: str
    """The name of the operation, such as `invoke_prompt`; empty if the call has no name."""
    endpoint: str
    """The URL without its query."""
    deployment: Optional[str]
    """The deployment, or the id of the agent."""
    variant: Optional[str]
    """The variant, if the request has one."""
    user: Optional[str]
    """The caller's own id of the end user, if the request has one."""
    streaming: bool
    """Whether the answer is streamed as events."""
    inputs: Optional[Mapping[str, object]] = field(default=None, repr=False)
    """The fields of the request; None unless the observer has `wants_content`."""


@dataclass(frozen=True)
class AttemptStarted:
    """A request is about to be sent."""

    call_id: str
    """The id of the call."""
    attempt: int
    """The number of the attempt, from 1."""


@dataclass(frozen=True)
class AttemptEnded:
    """An attempt has ended: with an answer, an error status or a network error."""

    call_id: str
    """The id of the call."""
    attempt: int
    """The number of the attempt, from 1."""
    status: Optional[int]
    """The HTTP status; None if there was no response."""
    error: Optional[BaseException]
    """The error of the attempt; None if it succeeded."""
    seconds: float
    """The duration of the attempt in seconds."""


@dataclass(frozen=True)
class FirstEvent:
    """The first event of a stream was received."""

    call_id: str
    """The id of the call."""
    seconds: float
    """Seconds since the start of the call."""


@dataclass(frozen=True)
class CallEnded:
    """A call has ended: it succeeded, failed or was cancelled, or the caller closed its stream early."""

    call_id: str
    """The id of the call."""
    operation: str
    """As in `CallStarted`."""
    endpoint: str
    """As in `CallStarted`."""
    deployment: Optional[str]
    """As in `CallStarted`."""
    variant: Optional[str]
    """As in `CallStarted`."""
    user: Optional[str]
    """As in `CallStarted`."""
    streaming: bool
    """As in `CallStarted`."""
    model: Optional[str]
    """The model that answered, if the service reported it."""
    usage: Optional[Usage]
    """The tokens that the run used, if the service reported them."""
    stop_reason: Optional[str]
    """Why the model stopped, if the service reported it."""
    request_id: Optional[str]
    """The service's id of the run, if it is known."""
    correlation_id: Optional[str]
    """The id that `correlate` added to the metadata, if it is enabled."""
    error: Optional[BaseException]
    """The exception that the call raised, including a cancellation; None if it succeeded or its stream was closed.

    If the service sent an `error` event, this is the `StreamFailedError` of `collect()`, however the stream was read.
    """
    attempts: int
    """The number of attempts."""
    seconds: float
    """The duration of the call in seconds."""
    time_to_first_event: Optional[float]
    """Seconds until the first event of a stream; None if there was no event."""
    text: Optional[str] = field(default=None, repr=False)
    """The text of the answer; None unless the observer has `wants_content`."""


class Observer:
    """Base class of observers, which receive the events of every call. Override the methods that you need.

    The client calls the methods in the thread or the event loop of the call, so they should return quickly. Exceptions
    never affect the call; the first exception of an observer is logged. Clients and threads may share an observer, so
    it must be thread-safe.

    Example:
        ```python
        from fetch_hive_sdk.telemetry import CallEnded, Observer


        class SlowCalls(Observer):
            def call_ended(self, event: CallEnded) -> None:
                if event.seconds > 10:
                    print(event.deployment, event.request_id, event.seconds)


        client = FetchHive(observers=[SlowCalls()])
        ```
    """

    wants_content: bool = False
    """Whether events contain the inputs and the text of the answer, which may be private. Off by default."""

    def call_started(self, event: CallStarted) -> None:
        """Called when a call starts.

        Args:
            event: The operation, its deployment and its URL.

        """

    def attempt_started(self, event: AttemptStarted) -> Optional[Mapping[str, str]]:
        """Called before a request is sent.

        Args:
            event: The number of the attempt.

        Returns:
            Headers to add to the request, such as `traceparent`, or None. Invalid headers, and headers that the request
            already has, are ignored.

        """

    def attempt_ended(self, event: AttemptEnded) -> None:
        """Called when an attempt has ended.

        Args:
            event: The status or the error, and the duration.

        """

    def first_event(self, event: FirstEvent) -> None:
        """Called when the first event of a stream was received.

        Args:
            event: The time to the first event.

        """

    def call_ended(self, event: CallEnded) -> None:
        """Called when a call has ended.

        Args:
            event: The result of the call, and the tokens that it used.

        """
