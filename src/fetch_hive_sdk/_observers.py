"""What an observer is, and what it receives. `telemetry.py` hands these names on, and has the ones that are ready."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .models.usage import Usage


@dataclass(frozen=True)
class CallStarted:
    """A call begins. It may make several attempts."""

    call_id: str
    """The id of this call in this process: all that belongs to the call has the same."""
    operation: str
    """What is called, such as `invoke_prompt`; empty for a call without a name."""
    endpoint: str
    """The URL, without its query."""
    deployment: Optional[str]
    """The deployment, or the id of the agent."""
    variant: Optional[str]
    """The variant, if one was given."""
    user: Optional[str]
    """The caller's own id of a person, if one was given."""
    streaming: bool
    """Whether the answer comes as events."""
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
    """An attempt is over: it was answered, refused, or failed."""

    call_id: str
    """The id of the call."""
    attempt: int
    """The number of the attempt, from 1."""
    status: Optional[int]
    """The HTTP status; None if there was no answer."""
    error: Optional[BaseException]
    """What it ended with; None if it was answered."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True)
class FirstEvent:
    """The first event of a stream has come."""

    call_id: str
    """The id of the call."""
    seconds: float
    """The time since the call began."""


@dataclass(frozen=True)
class CallEnded:
    """A call is over: answered, failed, cancelled, or a stream that was left."""

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
    """What the run used, if the service reported it."""
    stop_reason: Optional[str]
    """Why the model stopped, if the service reported it."""
    request_id: Optional[str]
    """The service's id of the run, if one is known."""
    correlation_id: Optional[str]
    """The id that `correlate` put into the metadata, if any."""
    error: Optional[BaseException]
    """What the call raised, a cancellation included; None if it was answered, or its stream was left."""
    attempts: int
    """How many attempts were made."""
    seconds: float
    """How long the call took."""
    time_to_first_event: Optional[float]
    """Seconds until the first event of a stream; None if there was none."""
    text: Optional[str] = field(default=None, repr=False)
    """The text of the answer; None unless the observer has `wants_content`."""


class Observer:
    """Receives what happens in every call of a client. Its methods do nothing: override those that you need.

    They are called in the thread, or in the event loop, that makes the call, and should return quickly. One that
    raises is logged once, and never harms a call. Clients may share an observer: it has to be safe for threads.

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
    """Whether `CallStarted.inputs` and `CallEnded.text` are given. They may be private, and are left out by default."""

    def call_started(self, event: CallStarted) -> None:
        """Take note that a call begins.

        Args:
            event: What is called.

        """

    def attempt_started(self, event: AttemptStarted) -> Optional[Mapping[str, str]]:
        """Take note that a request is about to be sent.

        Args:
            event: Which attempt it is.

        Returns:
            Headers to add to the request, such as `traceparent`, or None. They replace none that the request has, and
            one that cannot be sent is left out.

        """

    def attempt_ended(self, event: AttemptEnded) -> None:
        """Take note that an attempt is over.

        Args:
            event: How it ended.

        """

    def first_event(self, event: FirstEvent) -> None:
        """Take note that the first event of a stream has come.

        Args:
            event: When it came.

        """

    def call_ended(self, event: CallEnded) -> None:
        """Take note that a call is over.

        Args:
            event: How it ended, and what it used.

        """
