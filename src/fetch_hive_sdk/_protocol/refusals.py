"""An answer that is not 2xx becomes an error: a class for each status. Performs no I/O."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import httpx
from pydantic_core import to_json

from fetch_hive_sdk.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from fetch_hive_sdk.models.usage import PromptTokens

from .answers import as_object, read_json, text_or_none
from .retry import DAILY_CAP, is_unprocessed

if TYPE_CHECKING:
    from fetch_hive_sdk._deadline import Clock
    from fetch_hive_sdk._secret import Secret

_EXCERPT_CHARACTERS = 200  # of a text that is no JSON, in an error message
_MARKUP_CHARACTERS = 8000  # in which they are looked for
MESSAGE_CHARACTERS = 1000  # of what the service itself says

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


def refuse(response: httpx.Response, body: bytes, *, mask: Secret, now: Clock = time.time) -> APIStatusError:
    """Return the error for an answer that is not 2xx.

    Args:
        response: The answer; its body need not have been read.
        body: Its body, as far as it could be read.
        mask: The secrets, hidden wherever the service repeats them.
        now: Tells the time in seconds since 1970, for a `Retry-After` that is a date.

    """
    body = _mask(body, mask)
    evidence = detach(response, body, mask)
    value = _json_or_text(evidence, body)
    said = read_error(value)
    retry_after = read_retry_after(response.headers.get("retry-after"), now)
    message = said.message or _excerpt(value)
    status = f"{evidence.status_code} {evidence.reason_phrase}".strip()
    is_server_error = response.status_code >= 500  # noqa: PLR2004 - 5xx
    error_class = _STATUS_ERRORS.get(response.status_code, InternalServerError if is_server_error else APIStatusError)
    error = error_class(
        say(f"{status}: {message[:MESSAGE_CHARACTERS]}" if message else status, said.code, said.request_id),
        response=evidence,
        body=value,
        error_code=said.code,
        request_id=said.request_id,
        retry_after=retry_after,
        maybe_processed=not is_unprocessed(response.status_code, "retry-after" in response.headers),
    )
    if isinstance(error, RateLimitError):
        _describe_cap(error, as_object(value), now)
    return error


def _describe_cap(error: RateLimitError, fields: dict[str, Any], now: Clock) -> None:
    error.limit, error.current = _count_or_none(fields.get("limit")), _count_or_none(fields.get("current"))
    if error.error_code == DAILY_CAP:
        today = datetime.fromtimestamp(now(), timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
        error.resets_at = today + timedelta(days=1)


def _count_or_none(value: object) -> Optional[int]:
    # Read as the counts of a usage are: "50" and 50.0 are 50.
    return PromptTokens.model_validate({"total_tokens": value}).total_tokens


class ErrorDetails(NamedTuple):
    """What the service says of a failure, in a refusal or in an event."""

    message: Optional[str]
    code: Optional[str]
    request_id: Optional[str]


def read_error(value: object) -> ErrorDetails:
    """Read a failure in any of its forms.

    Documented flat: `{"error": ..., "message": ..., "error_code": ...}`, with `code` as the older name of the code.
    Gateways between may wrap it: `{"error": {"message": ..., "code": ...}}`, with numbers as codes.
    """
    fields = as_object(value)
    inner = as_object(fields.get("error"))
    codes = (
        fields.get("error_code"),
        fields.get("code"),
        inner.get("error_code"),
        inner.get("code"),
        inner.get("type"),
    )
    return ErrorDetails(
        message=_first_text(fields.get("message"), fields.get("error"), inner.get("message"), inner.get("error")),
        code=_first_text(*codes) or _first_text(*(str(code) for code in codes if type(code) is int)),
        request_id=_first_text(fields.get("request_id"), inner.get("request_id")),
    )


def _first_text(*values: object) -> Optional[str]:
    return next(filter(None, map(text_or_none, values)), None)


def _mask(body: bytes, mask: Secret) -> bytes:
    body = mask.hide_in_bytes(body)
    try:
        value = read_json(body)
    except ValueError:
        return body
    # JSON can write one text in many ways, "\\/" for "/": the key may be in there without its bytes.
    masked = mask.hide_in_value(value)
    return body if masked == value else to_json(masked)


def detach(response: httpx.Response, body: bytes, mask: Secret) -> httpx.Response:
    """Return a response that has its body, can be pickled, and knows neither key nor connection."""
    described_the_wire = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [
        (name, mask.hide_in(value))
        for name, value in response.headers.multi_items()
        if name.lower() not in described_the_wire
    ]
    kept = {
        name: mask.hide_in_value(value)
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

    RFC 9110 section 10.2.3: a number of seconds, or a date. A date that has passed, and a negative number, are 0.
    """
    if not value:
        return None
    text = value.strip()
    if re.fullmatch(r"-?\d+(\.\d+)?", text, re.ASCII):
        return max(float(text), 0.0)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    seconds = (date - datetime.fromtimestamp(now(), timezone.utc)).total_seconds()
    return max(seconds, 0.0)


def say(message: str, error_code: Optional[str], request_id: Optional[str]) -> str:
    known = {"error_code": error_code, "request_id": request_id}
    facts = ", ".join(f"{name}: {value}" for name, value in known.items() if value)
    return f"{message} ({facts})" if facts else message


# What an error may show of a request. Other headers are the caller's, and may hold secrets.
_SHOWN_HEADERS = {"accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"}


def without_secrets(request: httpx.Request) -> httpx.Request:
    """Return the request as errors show it: without its key, its body and the headers of the caller."""
    headers = [(name, value) for name, value in request.headers.multi_items() if name.lower() in _SHOWN_HEADERS]
    return httpx.Request(request.method, request.url, headers=headers)
