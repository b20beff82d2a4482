"""Reports one call to the observers of a client. Used only if there are observers. Performs no I/O."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
import uuid
import weakref
from typing import TYPE_CHECKING, Optional, TypedDict

from fetch_hive_sdk._config import is_valid_extra_header
from fetch_hive_sdk._observers import AttemptEnded, AttemptStarted, CallEnded, CallStarted, FirstEvent
from fetch_hive_sdk.models.usage import Usage

from .answers import as_object
from .endpoint import CORRELATION

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from fetch_hive_sdk._deadline import Clock
    from fetch_hive_sdk._observers import Observer

log = logging.getLogger("fetch_hive_sdk")

# Observers that have raised an exception, which is logged once per observer. By id, as observers may be unhashable, and
# with weak references, as a program may create an observer for each call.
_logged_observers: dict[int, weakref.ref[Observer]] = {}


class _CommonFields(TypedDict):
    operation: str
    endpoint: str
    deployment: Optional[str]
    variant: Optional[str]
    user: Optional[str]
    streaming: bool


class Watch:
    """Reports the events of one call to observers.

    Args:
        observers: The observers of the client.
        operation: The name of the operation, such as `invoke_prompt`.
        endpoint: The URL without its query.
        fields: The fields of the request.
        streaming: Whether the answer is streamed as events.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        *,
        operation: str,
        endpoint: str,
        fields: Mapping[str, object],
        streaming: bool,
        clock: Clock = time.monotonic,
    ) -> None:
        self._observers = observers
        self._fields = fields
        self._clock = clock
        self._call_id = uuid.uuid4().hex
        self._common: _CommonFields = {
            "operation": operation,
            "endpoint": endpoint,
            "deployment": _text(fields.get("deployment") or fields.get("agent") or fields.get("hive_agent")),
            "variant": _text(fields.get("variant")),
            "user": _text(fields.get("user")),
            "streaming": streaming,
        }
        self._started = self._attempt_started = 0.0
        self._attempt = 0
        self._is_attempt_open = False
        self._time_to_first_event: Optional[float] = None

    def begin_attempt(self) -> dict[str, str]:
        """Report the next attempt, after the start of the call if it is the first. Return the headers to add."""
        self._attempt_started = self._clock()
        if not self._attempt:
            self._started = self._attempt_started
            started = CallStarted(call_id=self._call_id, **self._common)
            with_content = dataclasses.replace(started, inputs=self._fields)
            for observer in self._observers:
                with _suppress_errors(observer):
                    observer.call_started(with_content if observer.wants_content else started)
        self._attempt += 1
        self._is_attempt_open = True
        headers: dict[str, str] = {}
        for observer in self._observers:
            with _suppress_errors(observer):
                added = observer.attempt_started(AttemptStarted(self._call_id, self._attempt)) or {}
                headers.update({name: value for name, value in added.items() if is_valid_extra_header(name, value)})
        return headers

    def end_attempt(self, status: Optional[int], error: Optional[BaseException]) -> None:
        """Report the end of the attempt, unless it was reported before."""
        if not self._is_attempt_open:
            return
        self._is_attempt_open = False
        seconds = self._clock() - self._attempt_started
        for observer in self._observers:
            with _suppress_errors(observer):
                observer.attempt_ended(AttemptEnded(self._call_id, self._attempt, status, error, seconds))

    def note_first_event(self) -> None:
        """Report the first event of a stream."""
        self._time_to_first_event = self._clock() - self._started
        for observer in self._observers:
            with _suppress_errors(observer):
                observer.first_event(FirstEvent(self._call_id, self._time_to_first_event))

    def end(self, *, status: Optional[int], error: Optional[BaseException], answer: object) -> None:
        """Report the end of the call.

        Args:
            status: The HTTP status of the last attempt; None if there was no response.
            error: The exception that the call raises, or None.
            answer: The answer, or the part of it that was received.

        """
        if not self._attempt:
            return
        self.end_attempt(status, error)
        usage = getattr(answer, "usage", None)
        metadata = self._fields.get("metadata")
        ended = CallEnded(
            call_id=self._call_id,
            **self._common,
            model=_text(getattr(answer, "model", None)),
            usage=usage if isinstance(usage, Usage) else None,
            stop_reason=_text(getattr(answer, "stop_reason", None)),
            request_id=_text(getattr(error, "request_id", None)) or _text(getattr(answer, "request_id", None)),
            correlation_id=_text(as_object(metadata).get(CORRELATION)),
            error=error,
            attempts=self._attempt,
            seconds=self._clock() - self._started,
            time_to_first_event=self._time_to_first_event,
        )
        text = _text(getattr(answer, "response", None)) or _text(getattr(answer, "text", None))
        with_content = dataclasses.replace(ended, text=text)
        for observer in self._observers:
            with _suppress_errors(observer):
                observer.call_ended(with_content if observer.wants_content else ended)


@contextlib.contextmanager
def _suppress_errors(observer: Observer) -> Generator[None, None, None]:
    """Suppress exceptions of an observer, and log the first one of each observer."""
    try:
        yield
    except Exception:
        key = id(observer)
        if key not in _logged_observers:
            _logged_observers[key] = weakref.ref(observer, lambda _: _logged_observers.pop(key, None))
            log.warning(
                "the observer %s raised an exception (further ones are not logged)",
                type(observer).__name__,
                exc_info=True,
            )


def _text(value: object) -> Optional[str]:
    return value if isinstance(value, str) and value else None
