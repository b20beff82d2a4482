"""What a cassette is: calls and their answers in JSON Lines, one call a line. Knows no clients, no sockets."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Callable, Literal, Optional, Union, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._secret import Secret

from ._json import read_json, write_json

if TYPE_CHECKING:
    import httpx

File = Union[str, "os.PathLike[str]"]
Redact = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Takes the JSON object of a request, a copy of its own, and returns what is kept in its place."""

FORMAT = 2
"""Calls one a line."""
_OLD_FORMAT = 1
"""One JSON object that has them all."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel, frozen=True):
    model_config = ConfigDict(extra="forbid")


class RecordedRequest(_Part, frozen=True):
    """What was asked."""

    method: str
    path: str
    """Below the base URL, so that it does not matter where the service was."""
    body: JsonValue = None

    def fields(self) -> dict[str, str]:
        """Return all that it says, field by field, each value as JSON."""
        return {"method": write_json(self.method), "path": write_json(self.path), **_flatten(self.body, "")}


class RecordedEvent(_Part, frozen=True):
    """One event of a stream: its JSON, or what was sent in the place of one, word for word."""

    at: Seconds
    """Seconds after the request."""
    event: Optional[dict[str, JsonValue]] = None
    wire: Optional[str] = None
    base64: Optional[str] = None

    def content(self) -> bytes:
        """Return the bytes of the event."""
        if self.event is not None:
            return f"data: {write_json(self.event)}\n\n".encode()
        return _bytes_of(self.wire, self.base64)


class RecordedAnswer(_Part, frozen=True):
    """What was answered, in one piece or as events."""

    status: int = Field(ge=100, le=599)
    headers: dict[str, str] = {}
    at: Seconds = 0.0
    """Seconds after the request, for an answer in one piece."""
    body: JsonValue = None
    text: Optional[str] = None
    base64: Optional[str] = None
    events: Optional[list[RecordedEvent]] = None
    ended: Optional[Literal["left", "broken"]] = None
    """How a stream ended that is not whole: its reader left, or the connection broke."""

    def pieces(self) -> list[tuple[float, bytes]]:
        """Return the bytes of the body, each with its seconds after the request."""
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
    """Return the line of a call. It says its format, so that cassettes can be cut and joined."""
    return f"{write_json({'fetch_hive_cassette': FORMAT, **call.model_dump(exclude_unset=True)})}\n".encode()


def read_file(path: File) -> list[RecordedCall]:
    """Read the calls of a file.

    Raises:
        ConfigurationError: It cannot be read, or is not a cassette. The message says what is wrong with it.

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
            # The recorder was killed in the middle of its last line.
            if calls and number == len(lines):
                break
            raise ConfigurationError(f"the cassette {name} is not JSON in line {number}: {exc}") from None
        _check_format(name, fields.pop("fetch_hive_cassette", None), FORMAT)
        try:
            calls.append(RecordedCall.model_validate(fields))
        except ValidationError as exc:
            raise ConfigurationError(f"the cassette {name} is wrong in line {number} at {_explain(exc)}") from None
    return calls


def _read_old_file(name: str, fields: dict[str, object]) -> list[RecordedCall]:
    _check_format(name, fields.get("fetch_hive_cassette"), _OLD_FORMAT)
    try:
        return _OldFile.model_validate(fields).calls
    except ValidationError as exc:
        raise ConfigurationError(f"the cassette {name} is wrong at {_explain(exc)}") from None


def _check_format(name: str, version: object, expected: int) -> None:
    if version != expected:
        found = (
            f"its format is {version!r}, this version of the package reads {_OLD_FORMAT} and {FORMAT}"
            if version
            else "record makes them"
        )
        raise ConfigurationError(f"{name} is no cassette that can be read: {found}")


def _explain(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


# --- From requests and answers to what is kept of them ---------------------------------------------------------------


def keep_request(request: httpx.Request, base_path: str = "", redact: Optional[Redact] = None) -> RecordedRequest:
    """Return what is kept of a request: no header, no key, and of its JSON what `redact` leaves.

    Args:
        request: The request of a client.
        base_path: The path of the base URL, which is left out.
        redact: See `Redact`; None to keep all.

    Raises:
        TypeError: `redact` returned no JSON object.

    """
    key = secrets_of(request)
    path = _SECRET_IN_QUERY.sub(r"\1***", key.hide_in(request.url.raw_path.decode("ascii", "replace")))
    found = {"method": request.method, "path": path[len(base_path) :] if path.startswith(f"{base_path}/") else path}
    # An upload is read as it is sent; here it is kept whole.
    content = _with_fixed_boundary(request.read(), str(request.headers.get("content-type", "")))
    if not content:
        return RecordedRequest.model_validate(found)
    body = _parse(content)
    if isinstance(body, dict) and redact is not None:
        body = _redact(cast("dict[str, Any]", body), redact)
    return RecordedRequest.model_validate({**found, "body": key.hide_in_value(body)})


_BOUNDARY = re.compile(r'boundary="?([^";]+)')


def _with_fixed_boundary(content: bytes, media_type: str) -> bytes:
    """Return a form with the same boundary each time: clients make up a new one for each request."""
    found = _BOUNDARY.search(media_type) if media_type.startswith("multipart/") else None
    return content.replace(found[1].encode(), b"boundary") if found else content


_SECRET_IN_QUERY = re.compile(r"([?&]secret=)[^&]*")


def secrets_of(request: httpx.Request) -> Secret:
    """Return the mask of the key that a request carries, and of the secret of a trigger."""
    key = request.headers.get("authorization", "").partition(" ")[2].strip()
    return Secret(key, request.headers.get("x-fetch-hive-webhook-secret", "").strip())


def keep_answer(
    status: int, headers: Mapping[str, str], chunks: list[tuple[float, bytes]], secret: Secret
) -> RecordedAnswer:
    """Return what is kept of an answer.

    Args:
        status: The HTTP status.
        headers: The headers to keep.
        chunks: The bytes as they came, each with its seconds after the request.
        secret: What is masked wherever it stands.

    """
    found: dict[str, object] = {"status": status, "headers": secret.hide_in_value(dict(sorted(headers.items())))}
    if headers.get("content-type", "").startswith("text/event-stream"):
        found["events"] = [_keep_event(at, block, secret) for at, block in _cut(chunks)]
    else:
        found["at"] = chunks[-1][0] if chunks else 0.0
        found.update(_keep_body(b"".join(chunk for _, chunk in chunks), secret))
    return RecordedAnswer.model_validate(found)


def is_over(event: RecordedEvent) -> bool:
    """Whether a stream has said all when it has said this."""
    payload = event.event or {}
    return payload.get("type") in {"usage", "error"} or (event.wire or "").strip() == "data: [DONE]"


def _redact(body: dict[str, Any], redact: Redact) -> JsonValue:
    kept = cast("object", redact(body))
    if not isinstance(kept, Mapping):
        raise TypeError("redact must return the JSON object to keep")
    # Written and read: it is as it will be in the file, and what is not JSON fails now, before anything is paid for.
    return cast("JsonValue", json.loads(json.dumps(dict(cast("Mapping[str, object]", kept)), allow_nan=False)))


def _keep_event(at: float, block: bytes, key: Secret) -> dict[str, object]:
    if block.startswith(b"data: ") and block.endswith(b"\n\n"):
        value = _parse(block[6:-2])
        if isinstance(value, dict):
            return {"at": at, "event": key.hide_in_value(value)}
    return {"at": at, **_keep_bytes(block, key, "wire")}


def _keep_body(body: bytes, key: Secret) -> dict[str, object]:
    value = _parse(body)
    is_json = isinstance(value, (dict, list))
    return {"body": key.hide_in_value(value)} if is_json else _keep_bytes(body, key, "text")


def _keep_bytes(data: bytes, key: Secret, name: str) -> dict[str, object]:
    masked = key.hide_in_bytes(data)
    try:
        return {name: masked.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(masked).decode()}


def _bytes_of(text: Optional[str], encoded: Optional[str]) -> bytes:
    return (text or "").encode() if encoded is None else base64.b64decode(encoded)


_BLANK_LINE = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)|(?<=\r\r)")


def _cut(chunks: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Cut the bytes of a stream at its blank lines; each block has the time at which its last byte came."""
    blocks: list[tuple[float, bytes]] = []
    rest = b""
    for at, chunk in chunks:
        *whole, rest = _BLANK_LINE.split(rest + chunk)
        blocks += [(at, block) for block in whole]
    return [*blocks, (chunks[-1][0], rest)] if rest else blocks


# --- JSON ------------------------------------------------------------------------------------------------------------


def _parse(data: bytes) -> JsonValue:
    """Read what is JSON and can be written as the same JSON again; anything else is its text."""
    try:
        return read_json(data)
    except ValueError:
        return data.decode("utf-8", "backslashreplace")


def _flatten(value: JsonValue, name: str) -> dict[str, str]:
    """Return the leaves of a JSON value, by their paths."""
    if isinstance(value, dict) and value:
        parts = [_flatten(item, f"{name}.{key}" if name else key) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [_flatten(item, f"{name}[{number}]") for number, item in enumerate(value)]
    else:
        return {name or "body": write_json(value)}
    return {path: leaf for part in parts for path, leaf in part.items()}
