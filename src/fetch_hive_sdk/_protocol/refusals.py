"""Converts responses that are not 2xx to errors, with one class per status. Performs no I/O."""

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

from .answers import as_object, find_request_id, read_json, text_or_none
from .retry import DAILY_CAP, is_unprocessed

if TYPE_CHECKING:
    from fetch_hive_sdk._deadline import Clock
    from fetch_hive_sdk._secret import Secret

_EXCERPT_CHARACTERS = 200  # of a body that is not JSON, quoted in the error message
_MARKUP_CHARACTERS = 8000  # of such a body, searched for the excerpt
MESSAGE_CHARACTERS = 1000  # of the service's own message, quoted in the error message

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
    """Return the error for a response that is not 2xx.

    Args:
        response: The response. Its body does not have to be read.
        body: The part of the body that was read.
        mask: The secrets, masked wherever the service repeats them.
        now: Returns the seconds since 1970, for a `Retry-After` that is a date.

    """
    body = _mask(body, mask)
    evidence = detach(response, body, mask)
    value = _json_or_text(evidence, body)
    details = read_error(value)
    if details.request_id is None:
        details = details._replace(request_id=find_request_id(body))  # the body may be cut off
    retry_after = read_retry_after(response.headers.get("retry-after"), now)
    message = details.message or _excerpt(value)
    status = f"{evidence.status_code} {evidence.reason_phrase}".strip()
    is_server_error = response.status_code >= 500  # noqa: PLR2004 - 5xx
    error_class = _STATUS_ERRORS.get(response.status_code, InternalServerError if is_server_error else APIStatusError)
    error = error_class(
        with_ids(f"{status}: {message[:MESSAGE_CHARACTERS]}" if message else status, details.code, details.request_id),
        response=evidence,
        body=value,
        error_code=details.code,
        request_id=details.request_id,
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
    # Parsed like token counts: "50" and 50.0 are 50.
    return PromptTokens.model_validate({"total_tokens": value}).total_tokens


class ErrorDetails(NamedTuple):
    """The service's description of an error, from a response or an event."""

    message: Optional[str]
    code: Optional[str]
    request_id: Optional[str]


def read_error(value: object) -> ErrorDetails:
    """Parse the description of an error in any of its forms.

    The documented form is `{"error": ..., "message": ..., "error_code": ...}`, with `code` as the older name of
    `error_code`. Gateways may send `{"error": {"message": ..., "code": ...}}`, with numbers as codes.
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
    # JSON can escape characters, such as "\\/" for "/", so the bytes of the key may not appear literally.
    masked = mask.hide_in_value(value)
    return body if masked == value else to_json(masked)


def detach(response: httpx.Response, body: bytes, mask: Secret) -> httpx.Response:
    """Return a copy of a response that has its body, can be pickled, and holds neither the key nor the connection."""
    about_encoding = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [
        (name, mask.hide_in(value))
        for name, value in response.headers.multi_items()
        if name.lower() not in about_encoding
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
        request=without_secrets(response.request, mask),
    )
    _make_readable(detached)
    return detached


# Charsets that can decode any bytes. Python has a hundred others, which may fail, and "zlib", which decompresses.
_CHARSETS = {"utf-8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"}


def _make_readable(response: httpx.Response) -> None:
    """Use UTF-8 to decode the body unless it declares one of `_CHARSETS`."""
    if (response.charset_encoding or "").lower() not in _CHARSETS:
        response.encoding = "utf-8"


def _json_or_text(response: httpx.Response, body: bytes) -> object:
    try:
        return read_json(body)
    except ValueError:
        return response.text


_MARKUP = re.compile(r"<(script|style)\b.*?(</\1\s*>|\Z)|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)


def _excerpt(value: object) -> str:
    """Return the beginning of a string, without markup; empty for other values."""
    if not isinstance(value, str):
        return ""
    words = " ".join(_MARKUP.sub(" ", value[:_MARKUP_CHARACTERS]).split())
    return words if len(words) <= _EXCERPT_CHARACTERS else words[: _EXCERPT_CHARACTERS - 3] + "..."


def read_retry_after(value: Optional[str], now: Clock = time.time) -> Optional[float]:
    """Parse a `Retry-After` header to seconds; None if it is missing or invalid.

    RFC 9110 section 10.2.3: a number of seconds, or a date. Past dates and negative numbers are read as 0.
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


def with_ids(message: str, error_code: Optional[str], request_id: Optional[str]) -> str:
    """Append the error code and the request id to a message."""
    known = {"error_code": error_code, "request_id": request_id}
    facts = ", ".join(f"{name}: {value}" for name, value in known.items() if value)
    return f"{message} ({facts})" if facts else message


# Headers of the request that errors keep. Other headers are set by the caller, and may contain secrets.
_SHOWN_HEADERS = {"accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"}


def without_secrets(request: httpx.Request, mask: Secret) -> httpx.Request:
    """Return a copy of a request for errors: without the body, the caller's headers, the API key and other secrets."""
    headers = [(name, value) for name, value in request.headers.multi_items() if name.lower() in _SHOWN_HEADERS]
    url = httpx.URL(mask.hide_in(str(request.url))) if request.url.query else request.url
    return httpx.Request(request.method, url, headers=headers)
