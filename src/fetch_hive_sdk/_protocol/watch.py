"""Reports one call to the observers of a client. Performs no I/O; a client without observers has none of these."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
import uuid
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

# Observers that have raised, which is logged once for each. Not a set: an observer may not be hashable.
_faulty: list[Observer] = []


class _About(TypedDict):
    operation: str
    endpoint: str
    deployment: Optional[str]
    variant: Optional[str]
    user: Optional[str]
    streaming: bool


class Watch:
    """One call, as its observers see it.

    Args:
        observers: Whom to report to.
        operation: What is called.
        endpoint: The URL, without its query.
        fields: The fields of the request.
        streaming: Whether the answer comes as events.
        clock: Tells the time in seconds.
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
        self._about: _About = {
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
        """Announce the next attempt, and the call before its first; return the headers that observers want added."""
        self._attempt_started = self._clock()
        if not self._attempt:
            self._started = self._attempt_started
            started = CallStarted(call_id=self._call_id, **self._about)
            with_content = dataclasses.replace(started, inputs=self._fields)
            for observer in self._observers:
                with _harmless(observer):
                    observer.call_started(with_content if observer.wants_content else started)
        self._attempt += 1
        self._is_attempt_open = True
        headers: dict[str, str] = {}
        for observer in self._observers:
            with _harmless(observer):
                added = observer.attempt_started(AttemptStarted(self._call_id, self._attempt)) or {}
                headers.update({name: value for name, value in added.items() if is_valid_extra_header(name, value)})
        return headers

    def end_attempt(self, status: Optional[int], error: Optional[BaseException]) -> None:
        """Announce how the attempt ended, once."""
        if not self._is_attempt_open:
            return
        self._is_attempt_open = False
        seconds = self._clock() - self._attempt_started
        for observer in self._observers:
            with _harmless(observer):
                observer.attempt_ended(AttemptEnded(self._call_id, self._attempt, status, error, seconds))

    def note_first_event(self) -> None:
        """Announce the first event of a stream."""
        self._time_to_first_event = self._clock() - self._started
        for observer in self._observers:
            with _harmless(observer):
                observer.first_event(FirstEvent(self._call_id, self._time_to_first_event))

    def end(self, *, status: Optional[int], error: Optional[BaseException], answer: object) -> None:
        """Announce how the call ended.

        Args:
            status: The HTTP status of the last attempt, if it was answered.
            error: What the call raises, if it does.
            answer: The answer, or what there is of it.

        """
        if not self._attempt:
            return
        self.end_attempt(status, error)
        usage = getattr(answer, "usage", None)
        metadata = self._fields.get("metadata")
        ended = CallEnded(
            call_id=self._call_id,
            **self._about,
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
            with _harmless(observer):
                observer.call_ended(with_content if observer.wants_content else ended)


@contextlib.contextmanager
def _harmless(observer: Observer) -> Generator[None, None, None]:
    """Let what an observer raises end nothing else; log it once for each observer."""
    try:
        yield
    except Exception:
        if not any(known is observer for known in _faulty):
            _faulty.append(observer)
            log.warning("the observer %s failed, and is not reported again", type(observer).__name__, exc_info=True)


def _text(value: object) -> Optional[str]:
    return value if isinstance(value, str) and value else None
