"""What a body is: an answer, or the error for a refusal. Bytes and heads in, models and errors out. Performs no I/O."""

from __future__ import annotations

import contextlib
import json
import re
import time
import zlib
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, Optional, cast

import httpx
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from ._retry import is_unprocessed
from .errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    ResponseTooLargeError,
    ResponseValidationError,
    UnexpectedContentTypeError,
    UnprocessableEntityError,
)
from .models import ReceivedT, describe, keep_raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import TypeGuard

    from ._config import Secret
    from ._time import Clock

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_REFUSAL_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_EXCERPT_CHARACTERS = 200  # of a text that is no JSON, in an error message
_MARKUP_CHARACTERS = 8000  # in which they are looked for
_MESSAGE_CHARACTERS = 1000  # of what the service itself says

# --- Bodies ----------------------------------------------------------------------------------------------------------


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
        self._padding = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes and yield what they contain.

        Raises:
            ResponseDecodeError: They are not compressed as the header says, or in a way nobody asked for, or go on and
                on after the end of the compressed data.

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
        if self._zlib.eof:
            self._padding += len(chunk)
            if self._padding > _PIECE_BYTES:
                raise ResponseDecodeError("the answer goes on after the end of its gzip data", body=chunk)

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


def _first_text(*values: object) -> Optional[str]:
    return next(filter(None, map(text_or_none, values)), None)


_REQUEST_ID = re.compile(rb'"request_id"\s*:\s*"([\w-]{1,100})"')


def find_request_id(body: bytes) -> Optional[str]:
    """Return the request id that stands in a body, even one that is cut or broken."""
    found = _REQUEST_ID.search(body)
    return found.group(1).decode("ascii", "replace") if found else None


# --- Refusals --------------------------------------------------------------------------------------------------------

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
    evidence = detach(response, body, api_key)
    value = _json_or_text(evidence, body)
    fields = as_object(value)
    # Documented flat. Gateways between may wrap it: {"error": {"message": ..., "code": ...}}.
    inner = as_object(fields.get("error"))
    code = _first_text(fields.get("error_code"), fields.get("code"), inner.get("error_code"), inner.get("code"))
    request_id = text_or_none(fields.get("request_id"))
    retry_after = read_retry_after(response.headers.get("retry-after"), now)
    said = _first_text(fields.get("message"), fields.get("error"), inner.get("message")) or _excerpt(value)
    status = f"{evidence.status_code} {evidence.reason_phrase}".strip()
    is_server_error = response.status_code >= 500  # noqa: PLR2004 - 5xx
    error_class = _STATUS_ERRORS.get(response.status_code, InternalServerError if is_server_error else APIStatusError)
    return error_class(
        say(f"{status}: {said[:_MESSAGE_CHARACTERS]}" if said else status, code, request_id),
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


def detach(response: httpx.Response, body: bytes, api_key: Secret) -> httpx.Response:
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


def say(message: str, error_code: Optional[str], request_id: Optional[str]) -> str:
    known = {"error_code": error_code, "request_id": request_id}
    facts = ", ".join(f"{name}: {value}" for name, value in known.items() if value)
    return f"{message} ({facts})" if facts else message


def without_secrets(request: httpx.Request) -> httpx.Request:
    """Return the request as errors show it: without its key and its body."""
    headers = [(name, value) for name, value in request.headers.multi_items() if name.lower() != "authorization"]
    return httpx.Request(request.method, request.url, headers=headers)
