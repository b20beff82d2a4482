"""What the body of a 2xx answer is: JSON, as a model or what else was promised. Performs no I/O."""

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
    """Whether a body of this media type is JSON; one without a type is taken at its word."""
    return media_type in {"", "application/json", "text/json"} or media_type.endswith("+json")


@dataclass(frozen=True)
class Answer(Generic[AnswerT]):
    """How the body of an answer is read. Made by `one`, `maybe_one`, `many` and `nothing`.

    Args:
        read: Reads the JSON value.
        empty: What an empty body stands for; None where a body is promised.
        add_head: Adds what stands in the head of the answer.
    """

    read: Callable[[object], AnswerT]
    empty: Optional[Callable[[], AnswerT]] = None
    add_head: Optional[Callable[[AnswerT, httpx.Response], AnswerT]] = None


def one(
    model: type[ReceivedT], under: Optional[str] = None, *, may_be_empty: bool = False, wrap: Optional[str] = None
) -> Answer[ReceivedT]:
    """Promise an object, which may be wrapped under a key.

    With `may_be_empty`, an empty body or null is an empty object. With `wrap`, a bare list is an object with that key.
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
    """Promise a list of objects, which may be wrapped under a key."""

    def read(value: object) -> list[ReceivedT]:
        items = _unwrap(value, under)
        if not isinstance(items, list):
            raise ResponseValidationError("the answer is JSON, but not a list", body=value)
        return [parse_object(model, item) for item in cast("list[object]", items)]

    return Answer(read)


def maybe_one(model: type[ReceivedT], under: Optional[str] = None) -> Answer[Optional[ReceivedT]]:
    """Promise an object or nothing: None stands for an empty body, for null, and for an object without the key."""

    def read(value: object) -> Optional[ReceivedT]:
        if value is None or (under is not None and as_object(value).get(under) is None):
            return None
        return parse_object(model, _unwrap(value, under))

    return Answer(read, empty=lambda: None)


def nothing() -> Answer[None]:
    """Promise nothing: the body may be empty, or any JSON, which is not looked at."""
    return Answer(lambda _: None, empty=lambda: None)


def _unwrap(value: object, under: Optional[str]) -> object:
    if under is None:
        return value
    if not is_object(value) or under not in value:
        raise ResponseValidationError(f"the answer has no {under}", body=value)
    return value[under]


def parse_answer(answer: Answer[AnswerT], media_type: str, body: bytes) -> AnswerT:
    """Read the body of a 2xx answer.

    Raises:
        UnexpectedContentTypeError: It is not JSON by its header.
        ResponseDecodeError: It is not JSON by its content.
        ResponseValidationError: It is JSON, but not what was promised.

    """
    if answer.empty is not None and not body.strip():
        return answer.empty()
    if not is_json(media_type):
        raise UnexpectedContentTypeError(
            f"the answer is {media_type[:40]}, not JSON: is the base_url right, is there a proxy between?",
            body=body,
            request_id=find_request_id(body),
        )
    return answer.read(decode_json(body, "the answer"))


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


def parse_object(model: type[ReceivedT], value: object, what: str = "the answer") -> ReceivedT:
    """Read a JSON value as a model that keeps it as `raw`.

    Raises:
        ResponseValidationError: A promised field is missing or of the wrong kind.

    """
    if not is_object(value):
        raise ResponseValidationError(f"{what} is JSON, but not an object", body=value)
    raw = value
    try:
        return read_model(model, raw)
    except ValidationError as exc:
        reason = describe(exc)
    raise ResponseValidationError(
        f"{what} is not as promised: {reason}", body=value, request_id=text_or_none(raw.get("request_id"))
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
