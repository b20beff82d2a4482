"""What a stream is: bytes in, events out, and what they come to. Performs no I/O."""

from __future__ import annotations

import contextlib
from io import StringIO
from itertools import chain
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from ._answers import (
    BodyReader,
    Inflater,
    as_object,
    decode_json,
    parse_answer,
    parse_object,
    read_json,
    say,
    text_or_none,
)
from ._sse import EventDecoder
from .errors import (
    FetchHiveError,
    ResponseDecodeError,
    ResponseValidationError,
    StreamFailedError,
    StreamInterruptedError,
    StreamTimeoutError,
)
from .models import (
    KNOWN_EVENT_TYPES,
    ErrorEvent,
    InvokeResponse,
    KnownEvent,
    PartialAnswer,
    ReasoningEvent,
    ResponseEvent,
    StreamEvent,
    UnknownEvent,
    UsageEvent,
    describe,
    keep_raw,
    keep_raw_json,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    import httpx

    from ._time import Deadlines
    from .errors import Phase

_LINGER_SECONDS = 0.1  # how long the end of a finished stream is awaited, so that its connection can be used again

_KNOWN_EVENT: TypeAdapter[KnownEvent] = TypeAdapter(KnownEvent)
# Straight from bytes to a model: by way of a dict it would cost twice as much.
_validate_event: Callable[[Union[bytes, str]], KnownEvent] = _KNOWN_EVENT.validator.validate_json


def parse_event(payload: Union[bytes, str]) -> StreamEvent:
    """Read the payload of one event of a stream.

    Raises:
        ResponseDecodeError: It is no JSON.
        ResponseValidationError: It is an event of a known type, but not as promised.

    """
    try:
        event = _validate_event(payload)
    except ValidationError:
        # Told apart off the beaten track: almost every event is a known one, as promised.
        return _parse_uncommon_event(payload.encode() if isinstance(payload, str) else payload)
    if isinstance(event, UsageEvent):
        # Its parts have a `raw` of their own.
        return keep_raw(event, as_object(from_json(payload)))
    keep_raw_json(event, payload)
    return event


def _parse_uncommon_event(data: bytes) -> StreamEvent:
    value = decode_json(data, "an event of the stream")
    raw = as_object(value)
    if isinstance(raw.get("type"), str) and raw["type"] not in KNOWN_EVENT_TYPES:
        return _pass_on(raw)
    try:
        # JSON that only the stricter reader refused: it begins with a byte order mark, or has a field twice.
        return keep_raw(_KNOWN_EVENT.validate_python(value), raw)
    except ValidationError as exc:
        reason = describe(exc)
    raise ResponseValidationError(
        f"an event of the stream is not as promised: {reason}",
        body=value,
        request_id=text_or_none(raw.get("request_id")),
    )


def _pass_on(raw: dict[str, Any]) -> UnknownEvent:
    fields = {**raw, "type": "unknown", "wire_type": raw["type"], "request_id": text_or_none(raw.get("request_id"))}
    return keep_raw(UnknownEvent.model_validate(fields), raw)


class Transcript:
    """What a stream has given so far."""

    def __init__(self) -> None:
        # Not lists: each piece would live on as an object of its own, fifteen times its size.
        self._text = StringIO()
        self._reasoning = StringIO()
        self._usage: Optional[UsageEvent] = None
        self._error: Optional[ErrorEvent] = None
        self.request_id: Optional[str] = None
        self.model: Optional[str] = None
        self.is_complete: bool = False
        self.is_over: bool = False
        self.is_unused: bool = False
        self.cause: Optional[FetchHiveError] = None
        self.attempts = 0

    def add(self, event: StreamEvent) -> None:
        """Take the next event."""
        request_id = event.request_id
        if request_id:
            self.request_id = request_id
        if isinstance(event, ResponseEvent):
            self._text.write(event.response)
            self.model = event.model or self.model
        elif isinstance(event, ReasoningEvent):
            self._reasoning.write(event.response)
            self.model = event.model or self.model
        elif isinstance(event, UsageEvent):
            self._usage = event
            self.is_complete = True
        elif isinstance(event, ErrorEvent):
            self._error = event
            self.is_complete = True

    def partial(self) -> PartialAnswer:
        """Return what there is, for an error to carry."""
        return PartialAnswer(
            text=self._text.getvalue(),
            reasoning=self._reasoning.getvalue(),
            usage=self._usage.usage if self._usage else None,
            stop_reason=self._usage.stop_reason if self._usage else None,
            request_id=self.request_id,
            model=self.model,
        )

    def failure(self) -> Optional[StreamFailedError]:
        """Return the error that the service sent as an event, or None."""
        if self._error is None:
            return None
        code = self._error.error_code
        failure = StreamFailedError(
            say(self._error.message or self._error.error or "the run failed", code, self.request_id),
            partial=self.partial(),
            error_code=code,
            request_id=self.request_id,
        )
        failure.attempts = self.attempts
        return failure

    def answer(self) -> InvokeResponse:
        """Return the answer that a call without a stream would have given.

        Raises:
            StreamFailedError: The service sent an error event.
            StreamInterruptedError: The stream has not come to its end.

        """
        failure = self.failure()
        if failure:
            raise failure
        self.check_end()
        return parse_object(InvokeResponse, self._answer_object())

    def check_end(self) -> None:
        """Check that a stream from which nothing more will come has come to its end.

        Raises:
            FetchHiveError: What it ended with.
            StreamInterruptedError: It was closed before its end.

        """
        if self.cause is not None:
            raise self.cause
        if not self.is_complete:
            raise self.interruption("the stream was closed before its end")

    @contextlib.contextmanager
    def recording(self) -> Generator[None, None, None]:
        """Remember how the stream ends: it must not look like a whole one to those who come later."""
        try:
            yield
        except FetchHiveError as error:
            self.cause = error
            raise
        finally:
            self.is_over = True

    def _answer_object(self) -> dict[str, Any]:
        usage = dict(as_object(self._usage.raw.get("usage"))) if self._usage else None
        fields = {
            "request_id": self.request_id,
            "model": self.model,
            # A stream has it inside its usage, an answer in one piece beside it.
            "duration": usage.pop("duration", None) if usage else None,
            "reasoning": self._reasoning.getvalue() or None,
            "response": self._text.getvalue(),
            "usage": usage,
            "stop_reason": self._usage.stop_reason if self._usage else None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def interruption(
        self, message: str, *, phase: Optional[Phase] = None, request: Optional[httpx.Request] = None
    ) -> StreamInterruptedError:
        """Return the error of a stream that broke off, or fell silent if a phase is given."""
        partial, request_id = self.partial(), self.request_id
        error = (
            StreamInterruptedError(message, partial=partial, request=request, request_id=request_id)
            if phase is None
            else StreamTimeoutError(message, phase=phase, partial=partial, request=request, request_id=request_id)
        )
        error.attempts = self.attempts
        error.maybe_processed = not self.is_unused
        return error


OPENED = UnknownEvent(wire_type="opened")
"""Tells the stream object, and nobody else, that an answer has begun."""


class EventReader:
    """Turns the body of a streamed answer into events.

    Args:
        media_type: The media type of the answer: an event stream, or JSON, which is read as the same answer.
        encoding: Its `Content-Encoding`, or empty.
        transcript: Where to keep what the stream gives.
        deadlines: The time limits of the call.
        body: Where to keep an answer that is no event stream; None for a place of its own.
    """

    def __init__(
        self,
        media_type: str,
        encoding: str,
        transcript: Transcript,
        deadlines: Deadlines,
        body: Optional[BodyReader] = None,
    ) -> None:
        self.transcript = transcript
        self.is_done = False
        self._media_type = media_type
        self._deadlines = deadlines
        self._is_event_stream = media_type in {"", "text/event-stream"}
        self._is_untold = not media_type
        self._inflate = Inflater(encoding) if encoding else None
        self._decoder = EventDecoder()
        self._body = body or BodyReader(encoding)

    def feed(self, chunk: bytes) -> Iterator[StreamEvent]:
        """Take the next bytes and yield every event that they complete. `is_done` tells that no more will come.

        Raises:
            ResponseError: An event is not what it promised. The ones before it have been yielded.
            StreamTimeoutError: There was no event for `idle_timeout` seconds.

        """
        if self._is_untold and chunk.strip():
            # No event stream begins like this: its lines begin with the name of a field.
            self._is_untold, self._is_event_stream = False, not chunk.lstrip().startswith(b"{")
        if not self._is_event_stream:
            self._body.feed(chunk)
            return
        event: Optional[StreamEvent] = None
        for payload in self._payloads(chunk):
            try:
                event = parse_event(payload)
            except ResponseDecodeError:
                # Asked here, and not of every event.
                if payload.strip() != b"[DONE]":
                    raise
                self._finish_stream()
                return
            self.transcript.add(event)
            yield event
        if event is None or self._deadlines.idle_timeout is not None:
            self._keep_time(had_event=event is not None)

    def _payloads(self, chunk: bytes) -> Iterable[bytes]:
        if self._inflate is None:
            return self._decoder.feed(chunk)
        return chain.from_iterable(map(self._decoder.feed, self._inflate.feed(chunk)))

    def _keep_time(self, *, had_event: bool) -> None:
        if had_event:
            self._deadlines.await_event()
        elif self._deadlines.reading.is_over():
            if not self.transcript.is_complete:
                raise self.transcript.interruption("the stream sent no event within idle_timeout", phase="idle")
            self._finish_stream()

    def finish(self) -> Iterator[StreamEvent]:
        """The body has ended: yield what the end completes.

        Raises:
            StreamInterruptedError: It should not have ended here.
            ResponseError: It is not what it promised.

        """
        if self.is_done:
            return
        if not self._is_event_stream:
            yield from self._read_json_answer()
            return
        rest = self._decoder.finish().strip()
        if rest == b"[DONE]":
            self._finish_stream()
        elif rest and _is_whole(rest):
            event = parse_event(rest)
            self.transcript.add(event)
            yield event
        if not self.transcript.is_complete:
            raise self.transcript.interruption("the stream ended before the answer was complete")

    def is_overdue(self) -> bool:
        """Whether the time is over that a finished stream is given to end."""
        return self._deadlines.reading.is_over()

    def _finish_stream(self) -> None:
        self.is_done = True
        self.transcript.is_complete = True
        self._deadlines.await_end(_LINGER_SECONDS)

    def _read_json_answer(self) -> Iterator[StreamEvent]:
        """Give an answer that came in one piece as the events that a stream would have had."""
        answer = parse_answer(InvokeResponse, self._media_type, self._body.finish())
        for event in _as_events(answer):
            self.transcript.add(event)
            yield event


def _as_events(answer: InvokeResponse) -> Iterator[StreamEvent]:
    if answer.reasoning:
        yield ReasoningEvent(response=answer.reasoning, request_id=answer.request_id, model=answer.model)
    yield ResponseEvent(response=answer.response, request_id=answer.request_id, model=answer.model)
    usage = dict(as_object(answer.raw.get("usage")))
    if answer.duration is not None:
        usage["duration"] = answer.duration
    fields = {"type": "usage", "request_id": answer.request_id, "usage": usage, "stop_reason": answer.stop_reason}
    yield parse_object(UsageEvent, {name: value for name, value in fields.items() if value is not None})


def _is_whole(payload: bytes) -> bool:
    try:
        read_json(payload)
    except ValueError:
        return False
    return True
