"""The format of cassettes: JSON Lines with one call and its answer per line. Knows no clients and no sockets."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Callable, ClassVar, Literal, Optional, TypeVar, Union, cast

import h11
import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._protocol.endpoint import CORRELATION
from fetch_hive_sdk._secret import Secret

from ._json import read_json, write_json

if TYPE_CHECKING:
    from typing_extensions import Self

File = Union[str, "os.PathLike[str]"]
Redact = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Takes a copy of the JSON object of a request, and returns the object to record instead."""

FORMAT = 2
"""One call per line."""
_OLD_FORMAT = 1
"""One JSON object with all calls."""

_T = TypeVar("_T")
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _check_json(value: _T) -> _T:
    # Python also reads NaN, and lone surrogates, which cannot be sent.
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _check_base64(text: str) -> str:
    base64.b64decode(text, validate=True)
    return text


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    if "content-length" in httpx.Headers(headers, encoding="utf-8"):
        raise ValueError("remove content-length: it is computed from the body")
    try:
        h11.Response(status_code=200, headers=raw_headers(headers))
    except h11.LocalProtocolError as exc:
        raise ValueError(str(exc)) from None
    return headers


Json = Annotated[JsonValue, AfterValidator(_check_json)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_check_json)]
Text = Annotated[str, AfterValidator(_check_json)]
Base64 = Annotated[str, AfterValidator(_check_base64)]
Headers = Annotated[dict[str, str], AfterValidator(_check_headers)]


def raw_headers(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as they are sent. httpx reads UTF-8 back as the recorded text."""
    return httpx.Headers(headers, encoding="utf-8").raw


class _Part(BaseModel, frozen=True):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class RecordedRequest(_Part, frozen=True):
    """A recorded request."""

    method: Text
    path: Text
    """The path below the base URL, so that cassettes do not depend on the host."""
    body: Json = None

    def fields(self) -> dict[str, str]:
        """Return all fields by path, each value as JSON."""
        return {"method": write_json(self.method), "path": write_json(self.path), **_flatten(self.body, "")}


class RecordedEvent(_Part, frozen=True):
    """One event of a stream: its JSON, or the raw data if it is not a JSON event."""

    at: Seconds
    """Seconds after the request."""
    event: Optional[JsonObject] = None
    wire: Optional[Text] = None
    base64: Optional[Base64] = None

    def content(self) -> bytes:
        """Return the bytes of the event."""
        if self.event is not None:
            return f"data: {write_json(self.event)}\n\n".encode()
        return _bytes_of(self.wire, self.base64)


class RecordedAnswer(_Part, frozen=True):
    """A recorded answer: a body in one piece, or the events of a stream."""

    status: int = Field(ge=200, le=999)
    headers: Headers = {}
    at: Seconds = 0.0
    """Seconds after the request, for a body in one piece."""
    body: Json = None
    text: Optional[Text] = None
    base64: Optional[Base64] = None
    events: Optional[list[RecordedEvent]] = None
    ended: Optional[Literal["left", "broken"]] = None
    """Why a stream is incomplete: the reader stopped early, or the connection broke."""

    @model_validator(mode="after")
    def _check_end(self) -> Self:
        if self.ended and self.events is None:
            raise ValueError("only an answer with events can have ended")
        return self

    def pieces(self) -> list[tuple[float, bytes]]:
        """Return the chunks of the body, each with its seconds after the request."""
        if self.events is not None:
            return [(event.at, event.content()) for event in self.events]
        is_json = "body" in self.model_fields_set
        return [(self.at, write_json(self.body).encode() if is_json else _bytes_of(self.text, self.base64))]


class RecordedCall(_Part, frozen=True):
    """A request and its answer."""

    request: RecordedRequest
    response: RecordedAnswer


class _OldFile(_Part, frozen=True):
    fetch_hive_cassette: int
    calls: list[RecordedCall]


# --- The file --------------------------------------------------------------------------------------------------------


def write_call(call: RecordedCall) -> bytes:
    """Return the line of a call. It has the format version, so that cassettes can be split and joined."""
    return f"{write_json({'fetch_hive_cassette': FORMAT, **call.model_dump(exclude_unset=True)})}\n".encode()


def read_file(path: File) -> list[RecordedCall]:
    """Read the calls of a cassette.

    Raises:
        ConfigurationError: The file cannot be read, or is not a valid cassette. The message gives the reason.

    """
    name = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"cannot read the cassette {name}: {exc.strerror}") from exc
    try:
        fields = _fields_of(json.loads(data))
    except (ValueError, RecursionError):
        return _read_lines(name, data)
    is_old = "calls" in fields or fields.get("fetch_hive_cassette") == _OLD_FORMAT
    return _read_old_file(name, fields) if is_old else _read_lines(name, data)


def _fields_of(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _read_lines(name: str, data: bytes) -> list[RecordedCall]:
    lines = data.split(b"\n")
    calls: list[RecordedCall] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = _fields_of(json.loads(line))
        except (ValueError, RecursionError) as exc:
            # An incomplete last line: the recorder was killed while writing it.
            if calls and number == len(lines):
                break
            raise ConfigurationError(f"cannot read the cassette {name}: line {number} is not JSON: {exc}") from None
        _check_format(name, fields.pop("fetch_hive_cassette", None), FORMAT)
        try:
            calls.append(RecordedCall.model_validate(fields))
        except ValidationError as exc:
            raise ConfigurationError(
                f"cannot read the cassette {name}: invalid line {number}: {_explain(exc)}"
            ) from None
    return calls


def _read_old_file(name: str, fields: dict[str, object]) -> list[RecordedCall]:
    _check_format(name, fields.get("fetch_hive_cassette"), _OLD_FORMAT)
    try:
        return _OldFile.model_validate(fields).calls
    except ValidationError as exc:
        raise ConfigurationError(f"cannot read the cassette {name}: {_explain(exc)}") from None


def _check_format(name: str, version: object, expected: int) -> None:
    if version != expected:
        if not version:
            raise ConfigurationError(f"{name} is not a cassette: it has no format version")
        known = f"this version of the package reads formats {_OLD_FORMAT} and {FORMAT}"
        raise ConfigurationError(f"cannot read the cassette {name}: its format is {version!r}, {known}")


def _explain(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"


# --- Recording -------------------------------------------------------------------------------------------------------


def record_request(request: httpx.Request, base_path: str = "", redact: Optional[Redact] = None) -> RecordedRequest:
    """Return the recorded form of a request: without headers and API key, its JSON redacted.

    Args:
        request: The request of a client.
        base_path: The path of the base URL, which is not recorded.
        redact: See `Redact`; None records everything.

    Raises:
        TypeError: `redact` did not return a JSON object.

    """
    key = secrets_of(request)
    path = _SECRET_IN_QUERY.sub(r"\1***", key.hide_in(request.url.raw_path.decode("ascii", "replace")))
    found = {"method": request.method, "path": path[len(base_path) :] if path.startswith(f"{base_path}/") else path}
    # read(): the body of an upload may be a stream.
    content = _with_fixed_boundary(request.read(), str(request.headers.get("content-type", "")))
    if not content:
        return RecordedRequest.model_validate(found)
    body = _with_fixed_correlation(_parse(content))
    if isinstance(body, dict) and redact is not None:
        body = _redact(cast("dict[str, Any]", body), redact)
    return RecordedRequest.model_validate({**found, "body": key.hide_in_value(body)})


_BOUNDARY = re.compile(r'boundary="?([^";]+)')


def _with_fixed_boundary(content: bytes, media_type: str) -> bytes:
    """Return a form with a fixed boundary in place of the random one of the client."""
    found = _BOUNDARY.search(media_type) if media_type.startswith("multipart/") else None
    return content.replace(found[1].encode(), b"boundary") if found else content


def _with_fixed_correlation(body: JsonValue) -> JsonValue:
    """Return the JSON of a request with a fixed correlation id in place of the random one of the client."""
    metadata = body.get("metadata") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(metadata, dict) or CORRELATION not in metadata:
        return body
    return {**body, "metadata": {**metadata, CORRELATION: "correlation"}}


_SECRET_IN_QUERY = re.compile(r"([?&]secret=)[^&]*")


def secrets_of(request: httpx.Request) -> Secret:
    """Return the mask of the API key of a request, and of the secret of a trigger."""
    key = request.headers.get("authorization", "").partition(" ")[2].strip()
    in_header = request.headers.get("x-fetch-hive-webhook-secret", "").strip()
    return Secret(key, in_header, request.url.params.get("secret", ""))


def record_answer(
    status: int, headers: Mapping[str, str], chunks: list[tuple[float, bytes]], secret: Secret
) -> RecordedAnswer:
    """Return the recorded form of an answer.

    Args:
        status: The HTTP status.
        headers: The headers to record.
        chunks: The received chunks, each with its seconds after the request.
        secret: Masks the secrets of the request everywhere.

    """
    found: dict[str, object] = {"status": status, "headers": secret.hide_in_value(dict(sorted(headers.items())))}
    if headers.get("content-type", "").startswith("text/event-stream"):
        found["events"] = [_record_event(at, block, secret) for at, block in _split(chunks)]
    else:
        found["at"] = chunks[-1][0] if chunks else 0.0
        found.update(_record_body(b"".join(chunk for _, chunk in chunks), secret))
    return RecordedAnswer.model_validate(found)


def is_last(event: RecordedEvent) -> bool:
    """Whether a stream is complete with this event."""
    payload = event.event or {}
    return payload.get("type") in {"usage", "error"} or (event.wire or "").strip() == "data: [DONE]"


def _redact(body: dict[str, Any], redact: Redact) -> JsonValue:
    redacted = cast("object", redact(body))
    if not isinstance(redacted, Mapping):
        raise TypeError("redact must return a mapping: the JSON object to record")
    # A round trip through JSON: other values fail now, before the call is sent and billed.
    return cast("JsonValue", json.loads(json.dumps(dict(cast("Mapping[str, object]", redacted)), allow_nan=False)))


def _record_event(at: float, block: bytes, key: Secret) -> dict[str, object]:
    if block.startswith(b"data: ") and block.endswith(b"\n\n"):
        value = _parse(block[6:-2])
        if isinstance(value, dict):
            return {"at": at, "event": key.hide_in_value(value)}
    return {"at": at, **_record_bytes(block, key, "wire")}


def _record_body(body: bytes, key: Secret) -> dict[str, object]:
    value = _parse(body)
    is_json = isinstance(value, (dict, list))
    return {"body": key.hide_in_value(value)} if is_json else _record_bytes(body, key, "text")


def _record_bytes(data: bytes, key: Secret, name: str) -> dict[str, object]:
    masked = key.hide_in_bytes(data)
    try:
        return {name: masked.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(masked).decode()}


def _bytes_of(text: Optional[str], encoded: Optional[str]) -> bytes:
    return (text or "").encode() if encoded is None else base64.b64decode(encoded)


_BLANK_LINE = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)|(?<=\r\r)")


def _split(chunks: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Split a stream at its blank lines; the time of a block is that of its last byte."""
    blocks: list[tuple[float, bytes]] = []
    rest = b""
    for at, chunk in chunks:
        *whole, rest = _BLANK_LINE.split(rest + chunk)
        blocks += [(at, block) for block in whole]
    return [*blocks, (chunks[-1][0], rest)] if rest else blocks


# --- JSON ------------------------------------------------------------------------------------------------------------


def _parse(data: bytes) -> JsonValue:
    """Parse JSON that can be written back unchanged; return anything else as a string."""
    try:
        return read_json(data)
    except ValueError:
        return data.decode("utf-8", "backslashreplace")


def _flatten(value: JsonValue, name: str) -> dict[str, str]:
    """Return the leaves of a JSON value by their paths."""
    if isinstance(value, dict) and value:
        parts = [_flatten(item, f"{name}.{key}" if name else key) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [_flatten(item, f"{name}[{number}]") for number, item in enumerate(value)]
    else:
        return {name or "body": write_json(value)}
    return {path: leaf for part in parts for path, leaf in part.items()}
