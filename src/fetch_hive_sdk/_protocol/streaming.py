"""What a stream is: bytes in, events out, and what they come to. Performs no I/O.

What the events of prompts and of agents have in common is here; what is their own is in a file of each family.
"""

from __future__ import annotations

import contextlib
from io import StringIO
from itertools import chain
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar

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
from .refusals import MESSAGE_CHARACTERS, say
from .sse import EventDecoder

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

_LINGER_SECONDS = 0.1  # how long the end of a finished stream is awaited, so that its connection can be used again

OPENED: Any = object()
"""Yielded first where the stream object asks for it: the answer has begun. It reaches no caller."""


class Transcript(Generic[EventT, AnswerT]):
    """What a stream has given so far. Each family of events derives its own."""

    parse_event: Callable[[bytes], EventT]
    """Reads the payload of one event."""

    def __init__(self) -> None:
        # Not lists: each piece would live on as an object of its own, fifteen times its size.
        self._text = StringIO()
        self._reasoning = StringIO()
        self._usage: Optional[UsageEvent] = None
        self._error: Optional[ErrorEvent] = None
        self.secret: Optional[Secret] = None
        """What is masked in errors: the key."""
        self.request_id: Optional[str] = None
        self.model: Optional[str] = None
        self.is_complete: bool = False
        self.is_over: bool = False
        self.is_unused: bool = False
        self.cause: Optional[FetchHiveError] = None
        self.attempts = 0
        self.correlation_id: Optional[str] = None
        self.extensions: dict[str, Any] = {}
        """Those of the request: the network keeps there how to end the call."""

    def partial(self) -> PartialAnswer:
        """Return what there is."""
        return PartialAnswer(
            text=self._text.getvalue(),
            reasoning=self._reasoning.getvalue(),
            usage=self._usage.usage if self._usage is not None else None,
            stop_reason=self._usage.stop_reason if self._usage is not None else None,
            request_id=self.request_id,
            model=self.model,
        )

    def evidence(self) -> PartialAnswer:
        """Return what there is, for an error to carry: with the key masked."""
        partial = self.partial()
        return partial.model_copy(update={name: self.masked(value) for name, value in partial})

    def masked(self, value: Any) -> Any:
        """Return a JSON value with the key masked."""
        return value if self.secret is None else self.secret.hide_in_value(value)

    def failure(self) -> Optional[StreamFailedError]:
        """Return the error that the service sent as an event, or None."""
        if self._error is None:
            return None
        code, request_id = self._error.error_code, self.masked(self.request_id)
        message = self._error.message or self._error.error or "the run failed"
        failure = StreamFailedError(
            say(message[:MESSAGE_CHARACTERS], code, request_id),
            partial=self.evidence(),
            error_code=code,
            request_id=request_id,
        )
        failure.attempts, failure.correlation_id = self.attempts, self.correlation_id
        return failure

    def add(self, event: EventT) -> EventT:
        """Take the next event, and return it: with the key masked in an error."""
        raise NotImplementedError

    def read_whole(self, media_type: str, body: bytes) -> Iterator[EventT]:
        """Give an answer that came in one piece as the events that a stream would have had."""
        raise NotImplementedError

    def _build_answer(self) -> AnswerT:
        raise NotImplementedError

    def answer(self) -> AnswerT:
        """Return the answer that a call without a stream would have given.

        Raises:
            StreamFailedError: The service sent an error event.
            StreamInterruptedError: The stream has not come to its end.

        """
        failure = self.failure()
        if failure:
            raise failure
        self.check_end()
        return self._build_answer()

    def consumed(self) -> StreamConsumedError:
        """Return the error of a stream that is iterated over after its end."""
        message = "this stream has been read to its end: collect() returns its answer, a new call makes a new stream"
        error = StreamConsumedError(message, request_id=self.masked(self.request_id))
        error.attempts, error.correlation_id = self.attempts, self.correlation_id
        return error

    @property
    def state(self) -> str:
        """How the stream stands, in a word or two."""
        if self._error is not None:
            return "failed"
        if self.is_complete:
            return "complete"
        if self.cause is not None:
            return f"ended by {type(self.cause).__name__}"
        return "closed" if self.is_over else "open"

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

    def interruption(
        self, message: str, *, phase: Optional[Phase] = None, request: Optional[httpx.Request] = None
    ) -> StreamInterruptedError:
        """Return the error of a stream that broke off, or fell silent if a phase is given."""
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
    """Turns the body of a streamed answer into events.

    Args:
        parse_event: Reads the payload of one event.
        transcript: Where to keep what the stream gives.
        media_type: The media type of the answer: an event stream, or JSON, which is read as the same answer.
        encoding: Its `Content-Encoding`, or empty.
        deadlines: The time limits of the call.
        body: Where to keep an answer that is not an event stream; None for a place of its own.
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
        self._is_untold = not media_type
        self._inflate = Inflater(encoding) if encoding else None
        self._decoder = EventDecoder()
        self._body = body or BodyReader(encoding)

    def on_first_event(self, note: Callable[[], None]) -> None:
        """Call a function when the first event has been read. Later events cost nothing more."""
        parse_event = self._parse_event

        def parse_first(payload: bytes) -> EventT:
            event = parse_event(payload)
            self._parse_event = parse_event
            note()
            return event

        self._parse_event = parse_first
        self._note_first = note

    def feed(self, chunk: bytes) -> Iterator[EventT]:
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
        event: Optional[EventT] = None
        for payload in self._payloads(chunk):
            try:
                event = self.transcript.add(self._parse_event(payload))
            except ResponseDecodeError:
                # Asked here, and not of every event.
                if payload.strip() != b"[DONE]":
                    raise
                self._finish_stream()
                return
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

    def finish(self) -> Iterator[EventT]:
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
        rest = self._decoder.finish()
        if rest.strip() == b"[DONE]":
            self._finish_stream()
        elif rest.strip() and _is_whole(rest):
            yield self.transcript.add(self._parse_event(rest))
        if not self.transcript.is_complete:
            raise self.transcript.interruption("the stream ended before the answer was complete")

    def is_overdue(self) -> bool:
        """Whether the time is over that a finished stream is given to end."""
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
    """There are no observers."""


def _is_whole(payload: bytes) -> bool:
    try:
        read_json(payload)
    except ValueError:
        return False
    return True


class StreamCall(Call[AnswerT], Generic[EventT, AnswerT]):
    """A call whose answer comes as events.

    Args:
        config: How the client is set up.
        endpoint: Where the call goes and what it answers.
        body: What the request carries.
        timeout: The time limit of this call.
        transcript: Where to keep what the stream gives; it knows the family of the events.
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
        """Take the head of an answer; tell whether it is the wanted one, which has been paid for."""
        is_accepted = super().accept(response)
        if is_accepted:
            self._deadlines.await_event()
        return is_accepted

    def event_reader(self, response: httpx.Response) -> EventReader[EventT]:
        """Return the reader for the body of a streamed answer. Its first event is waited for from now on."""
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

    @contextlib.contextmanager
    def stream_errors(self) -> Generator[None, None, None]:
        """Turn what the network raises into errors that keep what the stream has given."""
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
            # Of an answer in one piece, which no event has been made of.
            interruption.body = error.body
            interruption.request_id = interruption.request_id or error.request_id
            raise interruption from error.__cause__
        finally:
            self._log("stream ended" if self.transcript.is_complete else "stream left", self.transcript.request_id)

    def _interruption(self, error: APIConnectionError) -> StreamInterruptedError:
        request = self._safe_request
        if not isinstance(error, APITimeoutError):
            return self.transcript.interruption("the connection broke in the middle of the stream", request=request)
        if self._deadlines.reading.is_over():
            message = "the stream sent no event within idle_timeout"
            return self.transcript.interruption(message, phase="idle", request=request)
        return self.transcript.interruption("the stream fell silent", phase="read", request=request)
