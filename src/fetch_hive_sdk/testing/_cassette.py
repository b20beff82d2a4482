"""What a cassette is: calls and their answers in a file that people and git can read. Knows no clients, no sockets."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Callable, Literal, Optional, Union, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import from_json

from fetch_hive_sdk import ConfigurationError

if TYPE_CHECKING:
    import httpx

File = Union[str, "os.PathLike[str]"]
Redact = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Takes the JSON object of a request, a copy of its own, and returns what is kept in its place."""

FORMAT = 1
_SHORTEST_KEY = 6  # characters; "test" or "key" is no secret

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
        return {"method": _dumps(self.method), "path": _dumps(self.path), **_flatten(self.body, "")}


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
            return f"data: {_dumps(self.event)}\n\n".encode()
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
        return [(self.at, _dumps(self.body).encode() if is_json else _bytes_of(self.text, self.base64))]


class RecordedCall(_Part, frozen=True):
    """A request and its answer."""

    request: RecordedRequest
    response: RecordedAnswer


class _Tape(_Part, frozen=True):
    fetch_hive_cassette: int
    calls: list[RecordedCall]


# --- The file --------------------------------------------------------------------------------------------------------


def write_file(path: File, calls: Iterable[RecordedCall]) -> None:
    """Write calls to a file: the old one stays whole until the new one is.

    Raises:
        OSError: The file cannot be written.

    """
    tape = {"fetch_hive_cassette": FORMAT, "calls": [call.model_dump(exclude_unset=True) for call in calls]}
    new = Path(f"{os.fspath(path)}.new")
    new.write_bytes(f"{_write(tape)}\n".encode())
    new.replace(os.fspath(path))


def read_file(path: File) -> list[RecordedCall]:
    """Read the calls of a file.

    Raises:
        ConfigurationError: It cannot be read, or is no cassette. The text says what is wrong with it.

    """
    name = os.fspath(path)
    try:
        value: object = json.loads(Path(path).read_bytes())
    except OSError as exc:
        raise ConfigurationError(f"cannot read the cassette {name}: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(f"the cassette {name} is not JSON: {exc}") from None
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    version = fields.get("fetch_hive_cassette")
    if version != FORMAT:
        found = (
            f"its format is {version!r}, this version of the package reads {FORMAT}" if version else "record makes them"
        )
        raise ConfigurationError(f"{name} is no cassette that can be read: {found}")
    try:
        return _Tape.model_validate(fields).calls
    except ValidationError as exc:
        problem = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigurationError(f"the cassette {name} is wrong at {where}: {problem['msg']}") from None


def _write(value: object, margin: str = "\n", name: str = "") -> str:
    """Write JSON on lines of its own, and each item of a list of events on one."""
    deeper = f"{margin}  "
    on_one_line = _dumps(value)
    if isinstance(value, dict) and value:
        fields = cast("dict[str, object]", value)
        lines = [f"{_dumps(key)}: {_write(item, deeper, key)}" for key, item in fields.items()]
        return "{" + deeper + f",{deeper}".join(lines) + margin + "}"
    if isinstance(value, list) and value:
        items = cast("list[object]", value)
        lines = [_dumps(item) if name == "events" else _write(item, deeper) for item in items]
        return "[" + deeper + f",{deeper}".join(lines) + margin + "]"
    return on_one_line


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
    key = key_of(request)
    path = _mask(request.url.raw_path.decode("ascii", "replace"), key)
    found = {"method": request.method, "path": path[len(base_path) :] if path.startswith(f"{base_path}/") else path}
    body = _parse(request.content)
    if not request.content:
        return RecordedRequest.model_validate(found)
    if isinstance(body, dict) and redact is not None:
        body = _redact(cast("dict[str, Any]", body), redact)
    return RecordedRequest.model_validate({**found, "body": _mask(body, key)})


def key_of(request: httpx.Request) -> str:
    """Return the key that a request carries, empty if there is none or it is too short to be one."""
    key = str(request.headers.get("authorization", "")).partition(" ")[2].strip()
    return key if len(key) >= _SHORTEST_KEY else ""


def keep_answer(status: int, headers: Mapping[str, str], chunks: list[tuple[float, bytes]], key: str) -> RecordedAnswer:
    """Return what is kept of an answer.

    Args:
        status: The HTTP status.
        headers: The headers to keep.
        chunks: The bytes as they came, each with its seconds after the request.
        key: The key, masked wherever it stands.

    """
    found: dict[str, object] = {"status": status, "headers": _mask(dict(sorted(headers.items())), key)}
    if headers.get("content-type", "").startswith("text/event-stream"):
        found["events"] = [_keep_event(at, block, key) for at, block in _cut(chunks)]
    else:
        found["at"] = chunks[-1][0] if chunks else 0.0
        found.update(_keep_body(b"".join(chunk for _, chunk in chunks), key))
    return RecordedAnswer.model_validate(found)


def is_over(event: RecordedEvent) -> bool:
    """Whether a stream has said all when it has said this."""
    payload = event.event or {}
    return payload.get("type") in {"usage", "error"} or (event.wire or "").strip() == "data: [DONE]"


def _redact(body: dict[str, Any], redact: Redact) -> JsonValue:
    kept = cast("object", redact(body))
    if not isinstance(kept, Mapping):
        raise TypeError("redact must return the JSON object to keep")
    # Written and read: it is as it will be in the file, and what is no JSON is told now, before anything is paid for.
    return cast("JsonValue", json.loads(json.dumps(dict(cast("Mapping[str, object]", kept)), allow_nan=False)))


def _keep_event(at: float, block: bytes, key: str) -> dict[str, object]:
    if block.startswith(b"data: ") and block.endswith(b"\n\n"):
        value = _parse(block[6:-2])
        if isinstance(value, dict):
            return {"at": at, "event": _mask(value, key)}
    return {"at": at, **_keep_bytes(block, key, "wire")}


def _keep_body(body: bytes, key: str) -> dict[str, object]:
    value = _parse(body)
    return {"body": _mask(value, key)} if isinstance(value, (dict, list)) else _keep_bytes(body, key, "text")


def _keep_bytes(data: bytes, key: str, name: str) -> dict[str, object]:
    masked = data.replace(key.encode(), b"***") if key else data
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
        # Not json: this refuses what UTF-8 cannot carry, and what is nested too deeply for models to hold.
        return cast("JsonValue", from_json(data, allow_inf_nan=False))
    except ValueError:
        return data.decode("utf-8", "backslashreplace")


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _mask(value: Any, key: str) -> Any:
    """Return a JSON value with the key masked wherever it stands."""
    if not key:
        return value
    if isinstance(value, str):
        return value.replace(key, "***")
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return {_mask(name, key): _mask(item, key) for name, item in fields.items()}
    return [_mask(item, key) for item in cast("list[object]", value)] if isinstance(value, list) else value


def _flatten(value: JsonValue, name: str) -> dict[str, str]:
    """Return the leaves of a JSON value, by their paths."""
    if isinstance(value, dict) and value:
        parts = [_flatten(item, f"{name}.{key}" if name else key) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [_flatten(item, f"{name}[{number}]") for number, item in enumerate(value)]
    else:
        return {name or "body": _dumps(value)}
    return {path: leaf for part in parts for path, leaf in part.items()}
