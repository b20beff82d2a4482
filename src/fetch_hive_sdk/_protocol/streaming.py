"""Bytes in, events out: the streams of prompts and agents. Performs no I/O.

This module has what prompts and agents share; `prompt_events` and `agent_events` have the rest.
"""

from __future__ import annotations

import contextlib
from io import StringIO
from itertools import chain
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar

from fetch_hive_sdk._extensions import CLOSED
from fetch_hive_sdk.errors import (
    APIConnectionError,
    APITimeoutError,
    FetchHiveError,
    ResponseDecodeError,
    ResponseError,
    StreamConsumedError,
    StreamFailedError,
    StreamInterruptedError,
    StreamTimeoutError,
)
from fetch_hive_sdk.models.prompts import ErrorEvent, PartialAnswer, UsageEvent

from .answers import read_json
from .bodies import BodyReader, Inflater, content_encoding
from .call import Call
from .refusals import MESSAGE_CHARACTERS, with_ids
from .sse import EventDecoder
from .troubles import place_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    import httpx

    from fetch_hive_sdk._config import Config, Timeout
    from fetch_hive_sdk._deadline import Deadlines
    from fetch_hive_sdk._secret import Secret
    from fetch_hive_sdk.errors import Phase

    from .endpoint import Endpoint
    from .requests import Body

EventT = TypeVar("EventT")
AnswerT = TypeVar("AnswerT")

_LINGER_SECONDS = 0.1  # time to wait for the end of a finished stream, so that its connection can be reused

OPENED: Any = object()
"""Yielded to the stream object when the response has begun. Callers never receive it."""


class Transcript(Generic[EventT, AnswerT]):
    """The events of a stream so far, accumulated. Prompts and agents have a subclass each."""

    parse_event: Callable[[bytes], EventT]
    """Parses the payload of one event."""

    def __init__(self) -> None:
        # Not lists of strings, which would take fifteen times the memory.
        self._text = StringIO()
        self._reasoning = StringIO()
        self._usage: Optional[UsageEvent] = None
        self._error: Optional[ErrorEvent] = None
        self.secret: Optional[Secret] = None
        """The API key, which is masked in errors."""
        self.request_id: Optional[str] = None
        self.model: Optional[str] = None
        self.is_complete: bool = False
        self.is_over: bool = False
        self.is_unused: bool = False
        self.cause: Optional[FetchHiveError] = None
        self.attempts = 0
        self.correlation_id: Optional[str] = None
        self.extensions: dict[str, Any] = {}
        """The extensions of the request, where the network stores a function that ends the call."""

    def partial(self) -> PartialAnswer:
        """Return what was received so far."""
        return PartialAnswer(
            text=self._text.getvalue(),
            reasoning=self._reasoning.getvalue(),
            usage=self._usage.usage if self._usage is not None else None,
            stop_reason=self._usage.stop_reason if self._usage is not None else None,
            request_id=self.request_id,
            model=self.model,
        )

    def evidence(self) -> PartialAnswer:
        """Return what was received so far, with the API key masked, for an error."""
        partial = self.partial()
        return partial.model_copy(update={name: self.masked(value) for name, value in partial})

    def masked(self, value: Any) -> Any:
        """Return a JSON value with the API key masked."""
        return value if self.secret is None else self.secret.hide_in_value(value)

    def failure(self) -> Optional[StreamFailedError]:
        """Return the error for an error event, or None if there was none."""
        if self._error is None:
            return None
        code, request_id = self._error.error_code, self.masked(self.request_id)
        message = self._error.message or self._error.error or "the run failed"
        failure = StreamFailedError(
            with_ids(message[:MESSAGE_CHARACTERS], code, request_id),
            partial=self.evidence(),
            error_code=code,
            request_id=request_id,
        )
        failure.attempts, failure.correlation_id = self.attempts, self.correlation_id
        return failure

    def add(self, event: EventT) -> EventT:
        """Add the next event and return it, with the API key masked in errors."""
        raise NotImplementedError

    def read_whole(self, media_type: str, body: bytes) -> Iterator[EventT]:
        """Convert a JSON answer to the events that a stream would have had."""
        raise NotImplementedError

    def _build_answer(self) -> AnswerT:
        raise NotImplementedError

    def answer(self) -> AnswerT:
        """Return the answer that a call without streaming would have returned.

        Raises:
            StreamFailedError: The service sent an error event.
            StreamInterruptedError: The stream is not complete.

        """
        failure = self.failure()
        if failure:
            raise failure
        self.check_end()
        return self._build_answer()

    def consumed(self) -> StreamConsumedError:
        """Return the error for iterating over a stream again."""
        message = "this stream was already consumed: use collect() for its answer, or make another call"
        error = StreamConsumedError(message, request_id=self.masked(self.request_id))
        error.attempts, error.correlation_id = self.attempts, self.correlation_id
        return error

    @property
    def state(self) -> str:
        """The state of the stream, for its repr."""
        if self._error is not None:
            return "failed"
        if self.is_complete:
            return "complete"
        if self.cause is not None:
            return f"ended by {type(self.cause).__name__}"
        return "closed" if self.is_over else "open"

    def check_end(self) -> None:
        """Check that a stream which is closed or at its end is complete.

        Raises:
            FetchHiveError: The error that ended the stream.
            StreamInterruptedError: The stream was closed early.

        """
        if self.cause is not None:
            raise self.cause
        if not self.is_complete:
            raise self.interruption("the stream was closed before its end")

    @contextlib.contextmanager
    def recording(self) -> Generator[None, None, None]:
        """Remember the error that ends the stream, so that later calls do not take the stream for complete."""
        try:
            yield
        except FetchHiveError as error:
            self.cause = error
            raise
        finally:
            self.is_over = True

    def interruption(
        self, message: str, *, phase: Optional[Phase] = None, request: Optional[httpx.Request] = None
    ) -> StreamInterruptedError:
        """Return the error for a stream that was interrupted, or timed out if a phase is given."""
        partial, request_id = self.evidence(), self.masked(self.request_id)
        error = (
            StreamInterruptedError(message, partial=partial, request=request, request_id=request_id)
            if phase is None
            else StreamTimeoutError(message, phase=phase, partial=partial, request=request, request_id=request_id)
        )
        error.attempts, error.correlation_id = self.attempts, self.correlation_id
        error.maybe_processed = not self.is_unused
        return error


class EventReader(Generic[EventT]):
    """Parses the body of a streamed response to events.

    Args:
        parse_event: Parses the payload of one event.
        transcript: Accumulates the events.
        media_type: The media type of the response: an event stream, or JSON, which is converted to events.
        encoding: The `Content-Encoding` of the response, or empty.
        deadlines: The time limits of the call.
        body: Collects a body that is not an event stream; None means a new `BodyReader`.
    """

    def __init__(
        self,
        parse_event: Callable[[bytes], EventT],
        transcript: Transcript[EventT, Any],
        *,
        media_type: str,
        encoding: str,
        deadlines: Deadlines,
        body: Optional[BodyReader] = None,
    ) -> None:
        self._parse_event = parse_event
        self._note_first: Callable[[], None] = _no_note
        self.transcript = transcript
        self.is_done = False
        self._media_type = media_type
        self._deadlines = deadlines
        self._is_event_stream = media_type in {"", "text/event-stream"}
        self._is_type_unknown = not media_type
        self._inflate = Inflater(encoding) if encoding else None
        self._decoder = EventDecoder()
        self._body = body or BodyReader(encoding)

    def on_first_event(self, note: Callable[[], None]) -> None:
        """Call a function after the first event. Later events have no overhead."""
        parse_event = self._parse_event

        def parse_first(payload: bytes) -> EventT:
            event = parse_event(payload)
            self._parse_event = parse_event
            note()
            return event

        self._parse_event = parse_first
        self._note_first = note

    def feed(self, chunk: bytes) -> Iterator[EventT]:
        """Add the next bytes and yield every event that they complete. `is_done` is set after the last event.

        Raises:
            ResponseError: An event does not match the API. The events before it were yielded.
            StreamTimeoutError: There was no event for `idle_timeout` seconds.

        """
        if self._is_type_unknown and chunk.strip():
            # Lines of an event stream begin with a field name, not with a brace.
            self._is_type_unknown, self._is_event_stream = False, not chunk.lstrip().startswith(b"{")
        if not self._is_event_stream:
            self._body.feed(chunk)
            return
        event: Optional[EventT] = None
        for payload in self._payloads(chunk):
            try:
                event = self.transcript.add(self._parse_event(payload))
            except ResponseDecodeError:
                # Checked only here, because checking every event takes time.
                if payload.strip() != b"[DONE]":
                    raise
                self._finish_stream()
                return
            yield event
        if event is None or self._deadlines.idle_timeout is not None:
            self._check_idle(had_event=event is not None)

    def _payloads(self, chunk: bytes) -> Iterable[bytes]:
        if self._inflate is None:
            return self._decoder.feed(chunk)
        return chain.from_iterable(map(self._decoder.feed, self._inflate.feed(chunk)))

    def _check_idle(self, *, had_event: bool) -> None:
        if had_event:
            self._deadlines.await_event()
        elif self._deadlines.reading.is_over():
            if not self.transcript.is_complete:
                raise self.transcript.interruption("the stream sent no event within idle_timeout", phase="idle")
            self._finish_stream()

    def finish(self) -> Iterator[EventT]:
        """Handle the end of the body: yield the events that it completes.

        Raises:
            StreamInterruptedError: The stream is not complete.
            ResponseError: An event, or a JSON answer, does not match the API.

        """
        if self.is_done:
            return
        if not self._is_event_stream:
            yield from self._read_json_answer()
            return
        rest = self._decoder.finish()
        if rest.strip() == b"[DONE]":
            self._finish_stream()
        elif rest.strip() and _is_valid_json(rest):
            yield self.transcript.add(self._parse_event(rest))
        if not self.transcript.is_complete:
            raise self.transcript.interruption("the stream ended before the answer was complete")

    def is_overdue(self) -> bool:
        """Whether a finished stream did not end its body in time."""
        return self._deadlines.reading.is_over()

    def _finish_stream(self) -> None:
        self.is_done = True
        self.transcript.is_complete = True
        self._deadlines.await_end(_LINGER_SECONDS)

    def _read_json_answer(self) -> Iterator[EventT]:
        for index, event in enumerate(self.transcript.read_whole(self._media_type, self._body.finish())):
            if not index:
                self._note_first()
            yield self.transcript.add(event)


def _no_note() -> None:
    """Do nothing, because there are no observers."""


def _is_valid_json(payload: bytes) -> bool:
    try:
        read_json(payload)
    except ValueError:
        return False
    return True


class StreamCall(Call[AnswerT], Generic[EventT, AnswerT]):
    """A call whose answer is streamed as events.

    Args:
        config: The settings of the client.
        endpoint: The endpoint to call.
        body: The request body.
        timeout: The time limit of this call.
        transcript: Parses and accumulates the events.
    """

    streaming = True

    def __init__(
        self,
        config: Config,
        endpoint: Endpoint[AnswerT],
        body: Optional[Body],
        *,
        timeout: Timeout,
        transcript: Transcript[EventT, AnswerT],
    ) -> None:
        super().__init__(config, endpoint, body, timeout=timeout)
        self.transcript = transcript
        transcript.correlation_id = self._correlation_id
        transcript.secret = self._mask

    def begin(self) -> httpx.Request:
        """Return the request of the next attempt."""
        request = super().begin()
        self.transcript.attempts = self._attempts
        self.transcript.extensions = request.extensions
        return request

    def accept(self, response: httpx.Response) -> bool:
        """Take the status and headers of a response; return whether it is 2xx, which means that a run is billed."""
        is_accepted = super().accept(response)
        if is_accepted:
            self._deadlines.await_event()
        return is_accepted

    def event_reader(self, response: httpx.Response) -> EventReader[EventT]:
        """Return the reader for the body of a streamed response. Starts the idle timeout for the first event."""
        self._deadlines.await_event()
        reader = EventReader(
            self.transcript.parse_event,
            self.transcript,
            media_type=self._media_type,
            encoding=content_encoding(response),
            deadlines=self._deadlines,
            body=self._body,
        )
        if self._watch is not None:
            reader.on_first_event(self._watch.note_first_event)
        return reader

    def _outcome(self) -> object:
        return self.transcript.partial()

    def _reported_failure(self) -> Optional[FetchHiveError]:
        # `text()` and `collect()` raise it outside of the call, and iterating does not raise it.
        return self.transcript.failure()

    @contextlib.contextmanager
    def stream_errors(self) -> Generator[None, None, None]:
        """Translate network errors to errors that contain the events received so far."""
        try:
            with self.errors():
                yield
        except ResponseError as error:
            error.partial = self.transcript.evidence()
            error.request_id = error.request_id or self.transcript.masked(self.transcript.request_id)
            raise
        except APIConnectionError as error:
            if self.transcript.is_complete:
                return
            if isinstance(error, StreamInterruptedError):
                error.request = self._safe_request
                raise
            interruption = self._interruption(error)
            # The part of a JSON answer that was received, which yielded no events.
            interruption.body = error.body
            interruption.request_id = interruption.request_id or error.request_id
            raise interruption from error.__cause__
        finally:
            state = self.transcript.state
            outcome = state if state in {"complete", "failed"} else "incomplete"
            self._log(f"stream {outcome}", self.transcript.request_id)

    def _interruption(self, error: APIConnectionError) -> StreamInterruptedError:
        request, place = self._safe_request, place_of(self._sent)
        if isinstance(error, APITimeoutError):
            if self._deadlines.reading.is_over():
                message = "the stream sent no event within idle_timeout"
                return self.transcript.interruption(message, phase="idle", request=request)
            message = f"the stream from {place} sent no data within the timeout"
            return self.transcript.interruption(message, phase="read", request=request)
        reason = reason_of(error.__cause__) if isinstance(error.__cause__, Exception) else ""
        if reason == CLOSED:
            reason = "the stream or its client was closed"
        message = f"the connection broke in the middle of the stream from {place}" + (f": {reason}" if reason else "")
        return self.transcript.interruption(self._mask.hide_in(message), request=request)
