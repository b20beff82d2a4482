"""Parses the bodies of 2xx responses: JSON to models. Performs no I/O."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import from_json

from fetch_hive_sdk.errors import ResponseDecodeError, ResponseValidationError, UnexpectedContentTypeError
from fetch_hive_sdk.models.base import ReceivedT, describe, read_model

if TYPE_CHECKING:
    import httpx
    from typing_extensions import TypeGuard

AnswerT = TypeVar("AnswerT")


def is_json(media_type: str) -> bool:
    """Whether a body of this media type is JSON. Without a media type, JSON is assumed."""
    return media_type in {"", "application/json", "text/json"} or media_type.endswith("+json")


@dataclass(frozen=True)
class Answer(Generic[AnswerT]):
    """How to parse the body of a response. Created by `one`, `maybe_one`, `many` and `nothing`.

    Args:
        read: Parses the JSON value.
        empty: Returns the answer for an empty body; None means that a body is required.
        add_head: Adds values from the response headers.
    """

    read: Callable[[object], AnswerT]
    empty: Optional[Callable[[], AnswerT]] = None
    add_head: Optional[Callable[[AnswerT, httpx.Response], AnswerT]] = None


def one(
    model: type[ReceivedT], under: Optional[str] = None, *, may_be_empty: bool = False, wrap: Optional[str] = None
) -> Answer[ReceivedT]:
    """Expect an object, which may be wrapped under a key.

    With `may_be_empty`, an empty body or null is parsed as an empty object. With `wrap`, a bare list is parsed as an
    object with the list under that key.
    """
    empty = (lambda: parse_object(model, {})) if may_be_empty else None

    def read(value: object) -> ReceivedT:
        if wrap is not None and isinstance(value, list):
            return parse_object(model, {wrap: cast("object", value)})
        if may_be_empty and value is None:
            return parse_object(model, {})
        return parse_object(model, _unwrap(value, under))

    return Answer(read, empty)


def many(model: type[ReceivedT], under: Optional[str] = None) -> Answer[list[ReceivedT]]:
    """Expect a list of objects, wrapped under a key or not."""

    def read(value: object) -> list[ReceivedT]:
        items = value if _is_list(value) else _unwrap(value, under)
        if not isinstance(items, list):
            raise ResponseValidationError("the answer is JSON, but not a list", body=value)
        return [parse_object(model, item) for item in cast("list[object]", items)]

    return Answer(read)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def maybe_one(model: type[ReceivedT], under: Optional[str] = None) -> Answer[Optional[ReceivedT]]:
    """Expect an object or nothing: an empty body, null and an object without the key are parsed as None."""

    def read(value: object) -> Optional[ReceivedT]:
        if value is None or (under is not None and as_object(value).get(under) is None):
            return None
        return parse_object(model, _unwrap(value, under))

    return Answer(read, empty=lambda: None)


def nothing() -> Answer[None]:
    """Expect nothing: the body may be empty or any JSON, which is ignored."""
    return Answer(lambda _: None, empty=lambda: None)


def _unwrap(value: object, under: Optional[str]) -> object:
    if under is None:
        return value
    if not is_object(value) or under not in value:
        raise ResponseValidationError(f"the answer has no {under}", body=value)
    return value[under]


def parse_answer(answer: Answer[AnswerT], media_type: str, body: bytes) -> AnswerT:
    """Parse the body of a 2xx response.

    Raises:
        UnexpectedContentTypeError: The `Content-Type` is not JSON.
        ResponseDecodeError: The body is not valid JSON.
        ResponseValidationError: The JSON does not match the API.

    """
    if answer.empty is not None and not body.strip():
        return answer.empty()
    if not is_json(media_type):
        raise UnexpectedContentTypeError(
            f"the answer is {media_type[:40]}, not JSON: check base_url, and proxies in between",
            body=body,
            request_id=find_request_id(body),
        )
    return answer.read(decode_json(body, "the answer"))


def decode_json(body: bytes, what: str) -> object:
    """Decode a JSON document.

    Raises:
        ResponseDecodeError: The bytes are not valid JSON.

    """
    if not body.strip():
        raise ResponseDecodeError(f"{what} is empty", body=body)
    try:
        return read_json(body)
    except ValueError as exc:
        # Not chained: the decoding errors of the standard library contain the document.
        reason = str(exc)
    raise ResponseDecodeError(f"{what} is not JSON: {reason}", body=body, request_id=find_request_id(body))


def read_json(body: bytes) -> object:
    """Decode the JSON of an answer, an event or an error response. Accepts byte order marks and lone surrogates.

    Raises:
        ValueError: The bytes are not valid JSON. The message has the position, and never quotes the bytes.

    """
    text = body[3:] if body.startswith(b"\xef\xbb\xbf") else body
    try:
        return cast("object", from_json(text))
    except ValueError:
        with contextlib.suppress(ValueError, RecursionError):
            return cast("object", from_json(_without_lone_surrogates(text)))
        raise


def _without_lone_surrogates(text: bytes) -> bytes:
    """Replace lone surrogates by U+FFFD, so that an emoji split between two events does not lose both events."""
    encoded = json.dumps(json.loads(text), ensure_ascii=False)
    return encoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def parse_object(model: type[ReceivedT], value: object, what: str = "the answer") -> ReceivedT:
    """Validate a JSON value as a model that keeps it as `raw`.

    Raises:
        ResponseValidationError: A required field is missing or has the wrong type.

    """
    if not is_object(value):
        raise ResponseValidationError(f"{what} is JSON, but not an object", body=value)
    raw = value
    try:
        return read_model(model, raw)
    except ValidationError as exc:
        reason = describe(exc)
    raise ResponseValidationError(
        f"{what} does not match the API: {reason}", body=value, request_id=text_or_none(raw.get("request_id"))
    )


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object unchanged, and an empty one for anything else."""
    return value if is_object(value) else {}


def text_or_none(value: object) -> Optional[str]:
    """Return a non-empty string unchanged, and None for anything else."""
    return value if isinstance(value, str) and value else None


_REQUEST_ID = re.compile(rb'"request_id"\s*:\s*"([\w-]{1,100})"')


def find_request_id(body: bytes) -> Optional[str]:
    """Find the request id in a body, even if the body is cut off or invalid."""
    found = _REQUEST_ID.search(body)
    return found.group(1).decode("ascii", "replace") if found else None
