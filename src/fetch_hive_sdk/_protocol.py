"""What to send and what to make of the answer. Decides everything, performs no I/O.

A call goes down as an `httpx.Request` and comes up as a model, or as an error. `Call` is one call over all its
attempts: the shells ask it what to send, show it what came, and do what it says.
"""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import re
import time
import zlib
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar, Union, cast

import httpx
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from ._retry import RetryPolicy, is_unprocessed
from ._sse import EventDecoder
from ._time import Clock, Deadlines
from ._version import __version__
from .errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    FetchHiveError,
    InternalServerError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    ResponseError,
    ResponseTooLargeError,
    ResponseValidationError,
    StreamFailedError,
    StreamInterruptedError,
    StreamTimeoutError,
    UnexpectedContentTypeError,
    UnprocessableEntityError,
)
from .models import (
    KNOWN_EVENT_TYPES,
    ErrorEvent,
    InvokeRequest,
    InvokeResponse,
    KnownEvent,
    PartialAnswer,
    ReasoningEvent,
    ReceivedT,
    ResponseEvent,
    StreamEvent,
    UnknownEvent,
    UsageEvent,
    describe,
    keep_raw,
    keep_raw_json,
    read_json_object,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from typing_extensions import TypeGuard

    from ._config import Config, Secret, Timeout
    from .errors import Phase

AnswerT = TypeVar("AnswerT", bound=InvokeResponse)

log = logging.getLogger("fetch_hive_sdk")

MAX_BODY_BYTES = 32 * 1024 * 1024
_MAX_REFUSAL_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_LINGER_SECONDS = 0.1  # how long the end of a finished stream is awaited, so that its connection can be used again
_EXCERPT_CHARACTERS = 200  # of a text that is no JSON, in an error message
_MARKUP_CHARACTERS = 8000  # in which they are looked for
_MESSAGE_CHARACTERS = 1000  # of what the service itself says

# --- Down: from keywords to a request --------------------------------------------------------------------------------

USER_AGENT = f"fetch-hive-sdk/{__version__} httpx/{httpx.__version__} python/{platform.python_version()}"


@dataclass(frozen=True)
class Endpoint(Generic[AnswerT]):
    """A place of the API and what it answers."""

    path: str
    answer: type[AnswerT]


def merge_body(fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]) -> bytes:
    """Write the JSON body of a request, fields added that this version does not know.

    Raises:
        ValueError: `extra_body` has a field that has an argument of its own, or a value that JSON cannot carry.

    """
    extra = read_json_object(extra_body or {}, "extra_body")
    known = sorted(InvokeRequest.model_fields.keys() & extra.keys())
    if known:
        raise ValueError(f"extra_body must not have {', '.join(known)}: there is an argument for it")
    return to_json({**fields, **extra})


def build_request(
    config: Config,
    path: str,
    content: bytes,
    *,
    streaming: bool,
    limits: Mapping[str, Optional[float]],
) -> httpx.Request:
    """Build the POST request that runs a deployment."""
    headers = {
        "Authorization": f"Bearer {config.api_key.reveal()}",
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json" if streaming else "application/json",
        # What `BodyReader` can undo with a bound. Events must not wait in a compressor.
        "Accept-Encoding": "identity" if streaming else "gzip",
        "User-Agent": USER_AGENT,
    }
    return httpx.Request(
        "POST", config.base_url + path, headers=headers, content=content, extensions={"timeout": dict(limits)}
    )


def without_secrets(request: httpx.Request) -> httpx.Request:
    """Return the request as errors show it: without its key and its body."""
    headers = [(name, value) for name, value in request.headers.multi_items() if name.lower() != "authorization"]
    return httpx.Request(request.method, request.url, headers=headers)


# --- Up: from bytes to a model ---------------------------------------------------------------------------------------


class BodyReader:
    """Collects a body piece by piece, its compression undone, within a bound.

    httpx would inflate a whole piece at once, a thousand times its size if somebody means ill.

    Args:
        content_encoding: The header of that name, or empty.
        max_bytes: How long the body may be, in bytes after decompression.
    """

    def __init__(self, content_encoding: str = "", max_bytes: int = MAX_BODY_BYTES) -> None:
        self._inflate = Inflater(content_encoding)
        self._max_bytes = max_bytes
        self._body = BytesIO()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            ResponseTooLargeError: There are more than `max_bytes`.
            ResponseDecodeError: They are not compressed as the header says.

        """
        try:
            for piece in self._inflate.feed(chunk):
                if self._body.tell() + len(piece) > self._max_bytes:
                    excerpt = bytes(self._body.getbuffer()[:_PIECE_BYTES])
                    raise ResponseTooLargeError(f"the answer is longer than {self._max_bytes:,} bytes", body=excerpt)
                self._body.write(piece)
        except ResponseDecodeError as error:
            error.body = self.so_far() or error.body  # rather what could be read than where it broke
            raise

    def finish(self) -> bytes:
        """Return the whole body.

        Raises:
            ResponseDecodeError: The compressed data ended early.

        """
        body = self.so_far()
        self._inflate.finish(body)
        return body

    def so_far(self) -> bytes:
        """Return what has been received."""
        return self._body.getvalue()


class Inflater:
    """Undoes `Content-Encoding: gzip` in pieces of 64 KiB at most, so that a bomb is met piece by piece."""

    def __init__(self, content_encoding: str) -> None:
        self._encoding = content_encoding.strip().lower()
        is_zipped = self._encoding in {"gzip", "x-gzip"}
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16) if is_zipped else None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes and yield what they contain.

        Raises:
            ResponseDecodeError: They are not compressed as the header says, or in a way nobody asked for.

        """
        if self._zlib is None:
            if self._encoding not in {"", "identity"}:
                raise ResponseDecodeError(f"the answer is compressed with {self._encoding[:20]!r}", body=chunk)
            yield chunk
            return
        while chunk and not self._zlib.eof:
            try:
                piece = self._zlib.decompress(chunk, _PIECE_BYTES)
            except zlib.error as exc:
                raise ResponseDecodeError("the answer is not the gzip data that its header says", body=chunk) from exc
            chunk = self._zlib.unconsumed_tail
            yield piece

    def finish(self, body: bytes) -> None:
        """Check that the compressed data is whole.

        Raises:
            ResponseDecodeError: It ended early.

        """
        if self._zlib is not None and not self._zlib.eof:
            raise ResponseDecodeError("the gzip data of the answer ended early", body=body)


def content_encoding(response: httpx.Response) -> str:
    """Return how the chunks of this response are compressed, empty if they are not."""
    # A response that somebody has read (an event hook, a mock) gives its body decoded.
    return "" if response.is_stream_consumed else str(response.headers.get("content-encoding", ""))


def content_type(response: httpx.Response) -> str:
    """Return the media type of a response, empty if it has none."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether a body of this media type is JSON; one without a type is taken at its word."""
    return media_type in {"", "application/json", "text/json"} or media_type.endswith("+json")


def parse_answer(model: type[ReceivedT], media_type: str, body: bytes) -> ReceivedT:
    """Read the body of a 2xx answer.

    Raises:
        UnexpectedContentTypeError: It is no JSON by its header.
        ResponseDecodeError: It is no JSON by its content.
        ResponseValidationError: It is JSON, but not what was promised.

    """
    if not is_json(media_type):
        raise UnexpectedContentTypeError(
            f"the answer is {media_type[:40]}, not JSON: is the base_url right, is there a proxy between?",
            body=body,
            request_id=find_request_id(body),
        )
    return parse_object(model, decode_json(body, "the answer"))


def decode_json(body: bytes, what: str) -> object:
    """Decode a JSON text.

    Raises:
        ResponseDecodeError: It is none.

    """
    if not body.strip():
        raise ResponseDecodeError(f"{what} is empty", body=body)
    try:
        return read_json(body)
    except ValueError as exc:
        # Not chained: a decoding error of the standard library would hold the text.
        reason = str(exc)
    raise ResponseDecodeError(f"{what} is not JSON: {reason}", body=body, request_id=find_request_id(body))


def read_json(body: bytes) -> object:
    """Read whatever is JSON, of an answer, an event or a refusal: with a byte order mark, or with half an emoji.

    Raises:
        ValueError: It is none; the text says where, and quotes nothing.

    """
    text = body[3:] if body.startswith(b"\xef\xbb\xbf") else body
    try:
        return cast("object", from_json(text))
    except ValueError:
        with contextlib.suppress(ValueError, RecursionError):
            return cast("object", from_json(_without_lone_surrogates(text)))
        raise


def _without_lone_surrogates(text: bytes) -> bytes:
    """Put U+FFFD for halves of surrogate pairs: an emoji that was cut between two events is no reason to lose both."""
    written = json.dumps(json.loads(text), ensure_ascii=False)
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def parse_object(model: type[ReceivedT], value: object) -> ReceivedT:
    """Read a JSON value as a model that keeps it as `raw`.

    Raises:
        ResponseValidationError: A promised field is missing or of the wrong kind.

    """
    if not is_object(value):
        raise ResponseValidationError("the answer is JSON, but not an object", body=value)
    raw = value
    try:
        return keep_raw(model.model_validate(raw), raw)
    except ValidationError as exc:
        reason = describe(exc)
    raise ResponseValidationError(
        f"the answer is not as promised: {reason}", body=value, request_id=text_or_none(raw.get("request_id"))
    )


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object as it is, and anything else as an empty one."""
    return value if is_object(value) else {}


def text_or_none(value: object) -> Optional[str]:
    """Return a text as it is, and anything else, or an empty one, as None."""
    return value if isinstance(value, str) and value else None


_REQUEST_ID = re.compile(rb'"request_id"\s*:\s*"([\w-]{1,100})"')


def find_request_id(body: bytes) -> Optional[str]:
    """Return the request id that stands in a body, even one that is cut or broken."""
    found = _REQUEST_ID.search(body)
    return found.group(1).decode("ascii", "replace") if found else None


# --- Up: from bytes to events ----------------------------------------------------------------------------------------

_KNOWN_EVENT: TypeAdapter[Union[ReasoningEvent, ResponseEvent, UsageEvent, ErrorEvent]] = TypeAdapter(KnownEvent)
_validate_event = _KNOWN_EVENT.validator.validate_json


def parse_event(payload: Union[bytes, str]) -> StreamEvent:
    """Read the payload of one event of a stream.

    Raises:
        ResponseDecodeError: It is no JSON.
        ResponseValidationError: It is an event of a known type, but not as promised.

    """
    data = payload.encode() if isinstance(payload, str) else payload
    try:
        event = cast("StreamEvent", _validate_event(data))
    except ValidationError:
        # Told apart off the beaten track: almost every event is a known one, as promised.
        return _parse_uncommon_event(data)
    if isinstance(event, UsageEvent):
        return keep_raw(event, cast("dict[str, Any]", json.loads(data)))
    keep_raw_json(event, data)
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
        self._text: list[str] = []
        self._reasoning: list[str] = []
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
        if event.request_id:
            self.request_id = event.request_id
        if isinstance(event, ResponseEvent):
            self._text.append(event.response)
            self.model = event.model or self.model
        elif isinstance(event, ReasoningEvent):
            self._reasoning.append(event.response)
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
            text="".join(self._text),
            reasoning="".join(self._reasoning),
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
            _say(self._error.message or self._error.error or "the run failed", code, self.request_id),
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
            "reasoning": "".join(self._reasoning) or None,
            "response": "".join(self._text),
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
        self._inflate = Inflater(encoding)
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
        had_event = False
        for piece in self._inflate.feed(chunk):
            for payload in self._decoder.feed(piece):
                if payload.strip() == b"[DONE]":
                    self._finish_stream()
                    return
                had_event = True
                yield self._read(payload)
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
            yield self._read(rest)
        if not self.transcript.is_complete:
            raise self.transcript.interruption("the stream ended before the answer was complete")

    def is_overdue(self) -> bool:
        """Whether the time is over that a finished stream is given to end."""
        return self._deadlines.reading.is_over()

    def _read(self, payload: bytes) -> StreamEvent:
        event = parse_event(payload)
        self.transcript.add(event)
        return event

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


# --- Up: from a refusal to an error ----------------------------------------------------------------------------------

_STATUS_ERRORS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def refuse(response: httpx.Response, body: bytes, *, api_key: Secret, now: Clock = time.time) -> APIStatusError:
    """Return the error for an answer that is not 2xx.

    Args:
        response: The answer; its body need not have been read.
        body: Its body, as far as it could be read.
        api_key: The key, masked wherever the service repeats it.
        now: Tells the time in seconds since 1970, for a `Retry-After` that is a date.

    """
    body = _mask(body, api_key)
    evidence = _detach(response, body, api_key)
    value = _json_or_text(evidence, body)
    fields = as_object(value)
    code = text_or_none(fields.get("error_code")) or text_or_none(fields.get("code"))
    request_id = text_or_none(fields.get("request_id"))
    retry_after = read_retry_after(response.headers.get("retry-after"), now)
    said = text_or_none(fields.get("message")) or text_or_none(fields.get("error")) or _excerpt(value)
    status = f"{evidence.status_code} {evidence.reason_phrase}".strip()
    is_server_error = response.status_code >= 500  # noqa: PLR2004 - 5xx
    error_class = _STATUS_ERRORS.get(response.status_code, InternalServerError if is_server_error else APIStatusError)
    return error_class(
        _say(f"{status}: {said[:_MESSAGE_CHARACTERS]}" if said else status, code, request_id),
        response=evidence,
        body=value,
        error_code=code,
        request_id=request_id,
        retry_after=retry_after,
        maybe_processed=not is_unprocessed(response.status_code, retry_after),
    )


def _mask(body: bytes, api_key: Secret) -> bytes:
    body = api_key.hide_in_bytes(body)
    try:
        value = read_json(body)
    except ValueError:
        return body
    # JSON can write one text in many ways, "\\/" for "/": the key may be in there without its bytes.
    masked = api_key.hide_in_value(value)
    return body if masked == value else to_json(masked)


def _detach(response: httpx.Response, body: bytes, api_key: Secret) -> httpx.Response:
    """Return a response that has its body, can be pickled, and knows neither key nor connection."""
    described_the_wire = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [
        (name, api_key.hide_in(value))
        for name, value in response.headers.multi_items()
        if name.lower() not in described_the_wire
    ]
    kept = {
        name: api_key.hide_in_value(value)
        for name, value in response.extensions.items()
        if name in {"http_version", "reason_phrase"}
    }
    detached = httpx.Response(
        response.status_code,
        headers=headers,
        content=body,
        extensions=kept,
        request=without_secrets(response.request),
    )
    _make_readable(detached)
    return detached


# Any bytes can be read in these. Python knows a hundred more, each with its own way to fail, and "zlib" would inflate.
_CHARSETS = {"utf-8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"}


def _make_readable(response: httpx.Response) -> None:
    """Take the body for UTF-8 unless it claims a charset of the few that cannot fail."""
    if (response.charset_encoding or "").lower() not in _CHARSETS:
        response.encoding = "utf-8"


def _json_or_text(response: httpx.Response, body: bytes) -> object:
    try:
        return read_json(body)
    except ValueError:
        return response.text


_MARKUP = re.compile(r"<(script|style)\b.*?(</\1\s*>|\Z)|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)


def _excerpt(value: object) -> str:
    """Return the beginning of a text without its markup; nothing of other values."""
    if not isinstance(value, str):
        return ""
    words = " ".join(_MARKUP.sub(" ", value[:_MARKUP_CHARACTERS]).split())
    return words if len(words) <= _EXCERPT_CHARACTERS else words[: _EXCERPT_CHARACTERS - 3] + "..."


def _say(message: str, error_code: Optional[str], request_id: Optional[str]) -> str:
    known = {"error_code": error_code, "request_id": request_id}
    facts = ", ".join(f"{name}: {value}" for name, value in known.items() if value)
    return f"{message} ({facts})" if facts else message


def read_retry_after(value: Optional[str], now: Clock = time.time) -> Optional[float]:
    """Seconds to wait by a `Retry-After` header, or None if it has no usable one.

    RFC 9110 section 10.2.3: a number of seconds, or a date.
    """
    if not value:
        return None
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    seconds = (date - datetime.fromtimestamp(now(), timezone.utc)).total_seconds()
    return seconds if seconds >= 0 else None


# --- One call --------------------------------------------------------------------------------------------------------

# What httpx and what is under it may raise while a request is under way.
NETWORK_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError)

# No byte of the request has been written: it cannot have started a run.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    UnicodeError,
)

_PHASES: dict[type[Exception], Phase] = {
    httpx.ConnectTimeout: "connect",
    httpx.WriteTimeout: "write",
    httpx.ReadTimeout: "read",
    httpx.PoolTimeout: "pool",
}

_WAITING_FOR: dict[Phase, str] = {
    "connect": "could not connect in time",
    "write": "could not send the request in time",
    "read": "no answer came in time",
    "pool": "no connection became free in time: all those of the http_client are in use",
    "total": "the answer was not complete in time",
}


class Call(Generic[AnswerT]):
    """One call over all its attempts: what to send, what the outcome means, whether to try again.

    Args:
        config: How the client is set up.
        endpoint: Where the call goes and what it answers.
        content: The JSON body.
        streaming: Whether the answer comes as events.
        timeout: The time limit of this call.
    """

    def __init__(
        self, config: Config, endpoint: Endpoint[AnswerT], content: bytes, *, streaming: bool, timeout: Timeout
    ) -> None:
        self._config = config
        self._endpoint = endpoint
        self._content = content
        self._streaming = streaming
        self._timeout = timeout
        self._retry = RetryPolicy(config.max_retries, config.retry_unknown_outcome)
        self._sent: httpx.Request
        self._head: httpx.Response
        self._deadlines: Deadlines
        self._is_answered = False
        self._is_accepted = False
        self._attempts = 0
        self._body = BodyReader()
        self.transcript = Transcript()

    def begin(self) -> httpx.Request:
        """Return the request of the next attempt. The time of the call begins with the first."""
        if not self._attempts:
            self._deadlines = Deadlines(self._timeout, self._config.idle_timeout)
        self._attempts += 1
        self.transcript.attempts = self._attempts
        self._body = BodyReader()  # what an earlier attempt was refused with is no part of this one
        self._is_answered = False
        self._sent = build_request(
            self._config,
            self._endpoint.path,
            self._content,
            streaming=self._streaming,
            limits=self._deadlines.begin_attempt(streaming=self._streaming),
        )
        return self._sent

    def accept(self, response: httpx.Response) -> bool:
        """Take the head of an answer; tell whether it is the wanted one, which has been paid for."""
        self._is_answered = True
        self._is_accepted = response.is_success
        self._head = response
        self._body = BodyReader(content_encoding(response), MAX_BODY_BYTES if self._is_accepted else _MAX_REFUSAL_BYTES)
        if self._is_accepted and self._streaming:
            self._deadlines.begin_stream()
        self._log(str(response.status_code))
        return self._is_accepted

    def read(self, chunk: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            APITimeoutError: The time for the call is over.
            ResponseError: The body is too long, or not compressed as its header says.

        """
        self._body.feed(chunk)
        if self._deadlines.reading.is_over():
            raise self._timed_out("total")

    def parse(self) -> AnswerT:
        """Return the answer, its body read.

        Raises:
            ResponseError: It is not what was promised.

        """
        answer = parse_answer(self._endpoint.answer, self._media_type, self._body.finish())
        self._log("answered", answer.request_id)
        return answer

    def refusal(self) -> APIStatusError:
        """Return the error for an answer that was not accepted, its body read as far as it could be."""
        error = refuse(self._head, self._body.so_far(), api_key=self._config.api_key)
        self._log(type(error).__name__, error.request_id)
        return error

    def wait_before_retry(self, error: FetchHiveError) -> Optional[float]:
        """Seconds to wait before trying again, or None to give up."""
        if self._is_accepted:
            return None
        wait = self._retry.wait_before_retry(self._attempts, error)
        return None if wait is None or wait >= self._deadlines.left() else wait

    def event_reader(self, response: httpx.Response) -> EventReader:
        """Return the reader for the body of a streamed answer. Its first event is waited for from now on."""
        self._deadlines.await_event()
        return EventReader(self._media_type, content_encoding(response), self.transcript, self._deadlines, self._body)

    @property
    def _media_type(self) -> str:
        return content_type(self._head)

    @contextlib.contextmanager
    def errors(self) -> Generator[None, None, None]:
        """Turn what the network raises into errors of ours."""
        try:
            yield
        except FetchHiveError as error:
            error.attempts = self._attempts
            if isinstance(error, ResponseError):
                self._complete(error)
            raise
        except NETWORK_ERRORS as exc:
            translated = self._translate(exc)
            translated.attempts = self._attempts
            raise translated from self._clean(exc)

    @contextlib.contextmanager
    def stream_errors(self) -> Generator[None, None, None]:
        """Turn what the network raises into errors that keep what the stream has given."""
        try:
            with self.errors():
                yield
        except ResponseError as error:
            error.partial = self.transcript.partial()
            error.request_id = error.request_id or self.transcript.request_id
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

    def _translate(self, exc: Exception) -> FetchHiveError:
        if isinstance(exc, httpx.DecodingError):
            return ResponseDecodeError("the answer is not compressed as its header says", body=b"")
        # Where an answer has begun, the request has arrived, whatever went wrong later.
        sent = self._is_answered or not isinstance(exc, _NOT_SENT)
        if isinstance(exc, httpx.TimeoutException):
            is_total = self._is_accepted and self._deadlines.has_total
            phase: Phase = "total" if is_total else _PHASES.get(type(exc), "read")
            return self._timed_out(phase, sent=sent)
        if self._is_answered:
            message = "the connection broke before the answer was complete"
        elif sent:
            message = f"the connection broke before the answer: {exc}"
        else:
            message = f"could not connect: {exc}"
        return self._disconnected(message, sent=sent)

    def _timed_out(self, phase: Phase, *, sent: bool = True) -> APITimeoutError:
        seconds = f"after {self._deadlines.clock() - self._deadlines.started:.1f} seconds"
        error = APITimeoutError(
            f"{_WAITING_FOR[phase]} ({seconds})",
            phase=phase,
            request=self._safe_request,
            request_id=find_request_id(self._body.so_far()),
            maybe_processed=sent,
        )
        error.body = self._config.api_key.hide_in_bytes(self._body.so_far())
        return error

    def _disconnected(self, message: str, *, sent: bool) -> APIConnectionError:
        error = APIConnectionError(
            self._config.api_key.hide_in(message),
            request=self._safe_request,
            request_id=find_request_id(self._body.so_far()),
            maybe_processed=sent,
        )
        error.body = self._config.api_key.hide_in_bytes(self._body.so_far())
        return error

    @property
    def _safe_request(self) -> httpx.Request:
        return without_secrets(self._sent)

    def _complete(self, error: ResponseError) -> None:
        error.body = self._config.api_key.hide_in_value(error.body)
        if error.request_id is None and isinstance(error.body, bytes):
            error.request_id = find_request_id(error.body)

    def _clean(self, exc: Exception) -> Exception:
        """Take from a cause what knows the key: its request, its texts, and the frames in which headers were sent."""
        link: Optional[BaseException] = exc
        while link is not None:
            if isinstance(link, (httpx.RequestError, httpx.HTTPStatusError)):
                link.request = self._safe_request
            if isinstance(link, httpx.HTTPStatusError):
                # An event hook of an injected client called raise_for_status().
                link.response.request = self._safe_request
                link.response = _detach(link.response, b"", self._config.api_key)
            link.args = tuple(self._config.api_key.hide_in_value(arg) for arg in link.args)
            link.__traceback__ = None
            link = link.__cause__ or link.__context__
        return exc

    def _log(self, outcome: str, request_id: Optional[str] = None) -> None:
        if log.isEnabledFor(logging.DEBUG):
            seconds = self._deadlines.clock() - self._deadlines.started
            facts = (self._sent.method, self._sent.url, outcome, self._attempts, seconds, request_id or "unknown")
            log.debug("%s %s: %s (attempt %d, %.3f s, request id %s)", *facts)
