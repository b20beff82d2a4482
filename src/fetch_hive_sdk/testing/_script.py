"""Scripts of streams: their events, pauses and faults, and how they end. Uses no sockets."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Optional, Union

from fetch_hive_sdk import StreamEvent

from ._json import write_json
from ._reply import EVENT_STREAM, Fault, Pause, Reply
from ._reply import Step as PlayedStep

DEFAULT_MODEL = "fake-model"

Usage = Mapping[str, object]
Event = Union[str, StreamEvent, Mapping[str, object]]

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class _OwnEvent:
    """An event to which the request id and the model of the stream are added."""

    fields: Mapping[str, object]


@dataclass(frozen=True)
class _Usage:
    usage: Optional[Usage]
    stop_reason: str


class _EarlyEnd(Enum):
    HERE = "here"


Step = Union[PlayedStep, _OwnEvent, _Usage, _EarlyEnd]


@dataclass(frozen=True)
class StreamScript:
    """The events of a stream, step by step. Immutable: each method returns a longer script.

    Unless the script ends with `ends_early()`, `breaks()` or `stalls()`, the stream ends with `[DONE]`, after a `usage`
    event if the script has neither `usage` nor `error`.

    Example:
        ```python
        fake.streams("story", StreamScript().text("Once ", "upon ").pause(0.5).text("a ti").breaks())
        ```
    """

    model: str = DEFAULT_MODEL
    """The name of the model in the events."""
    request_id: Optional[str] = None
    """The request id in the events; None creates a new one for each stream."""
    steps: tuple[Step, ...] = ()
    """The steps so far. The methods add to them."""

    def text(self, *pieces: str) -> StreamScript:
        """Add chunks of text.

        Args:
            *pieces: The chunks; each is sent as a `response` event.

        """
        return self._add_chunks("response", pieces)

    def reasoning(self, *pieces: str) -> StreamScript:
        """Add chunks of reasoning.

        Args:
            *pieces: The chunks; each is sent as a `reasoning` event.

        """
        return self._add_chunks("reasoning", pieces)

    def usage(self, usage: Optional[Usage] = None, *, stop_reason: str = "completed") -> StreamScript:
        """Add a `usage` event, the last event of a successful stream.

        Args:
            usage: The `usage` object; None counts words as tokens.
            stop_reason: Why the model stopped.

        """
        return self._add(_Usage(usage, stop_reason))

    def error(self, message: str, error_code: Optional[str] = None) -> StreamScript:
        """Add an `error` event: the provider failed after the stream had begun.

        Args:
            message: The error message.
            error_code: The machine-readable code; None for no code.

        """
        fields = {"type": "error", "error": message, "message": message, "error_code": error_code}
        return self._add(_OwnEvent({name: value for name, value in fields.items() if value is not None}))

    def event(self, event: Union[StreamEvent, Mapping[str, object]]) -> StreamScript:
        """Add an event of any type, such as one that this version does not know.

        Args:
            event: The JSON object to send: a dict or an event model.

        """
        return self._add(_write(event if isinstance(event, dict) else dict(event)))

    def broken_json(self) -> StreamScript:
        """Add an event with incomplete JSON."""
        return self.wire('data: {"type": "response", "response": "\n\n')

    def wire(self, data: Union[str, bytes]) -> StreamScript:
        r"""Add raw data, which is sent unchanged.

        Args:
            data: A string or bytes, such as `"data: [DONE]\n\n"` or a part of an event.

        """
        return self._add(data.encode() if isinstance(data, str) else data)

    def comment(self, text: str = "keep-alive") -> StreamScript:
        """Add a comment, which servers send to keep a connection open. Clients ignore it.

        Args:
            text: The text of the comment.

        """
        return self._add(f": {text}\n\n".encode())

    def pause(self, seconds: float) -> StreamScript:
        """Add a pause.

        In process, a pause longer than the client's timeout raises `httpx.ReadTimeout` at once, so that tests need not
        wait for it.

        Args:
            seconds: The length in seconds, 0 or more.

        Raises:
            ValueError: `seconds` is negative or NaN.

        """
        if not seconds >= 0:
            raise ValueError(f"invalid pause: seconds must be 0 or more, not {seconds}")
        return self._add(Pause(seconds))

    def ends_early(self) -> StreamScript:
        """End the stream here as if it were complete, without adding `usage` or `[DONE]`."""
        return self._add(_EarlyEnd.HERE)

    def breaks(self) -> StreamScript:
        """Break the connection here. In process, the client gets the same `httpx.RemoteProtocolError` as on a port."""
        return self._add(Fault.BREAK)

    def stalls(self) -> StreamScript:
        """Send nothing more, but keep the connection open.

        On a port this lasts until the client disconnects or the server is stopped. In process, `httpx.ReadTimeout` is
        raised at once whatever the client's `timeout` is, so that tests need not wait for it.
        """
        return self._add(Fault.STALL)

    def _add_chunks(self, kind: str, pieces: Iterable[str]) -> StreamScript:
        return self._add(*(_OwnEvent({"type": kind, "response": piece}) for piece in pieces))

    def _add(self, *steps: Step) -> StreamScript:
        if self.steps and isinstance(self.steps[-1], (Fault, _EarlyEnd)):
            raise ValueError("the script has ended: no step can follow ends_early(), breaks() or stalls()")
        return replace(self, steps=(*self.steps, *steps))


def script_of(events: Iterable[Event]) -> StreamScript:
    """Return a script of these events that ends after the last one."""
    script = StreamScript()
    for event in events:
        if not isinstance(event, str):
            script = script.event(event)
        else:
            script = script.wire(event) if event.startswith("data:") else script.text(event)
    return script.ends_early()


def reply_of(script: StreamScript, inputs: object) -> Reply:
    """Return the scripted reply to a request with these inputs."""
    return Reply(200, {"Content-Type": EVENT_STREAM}, list(_perform(script, inputs)))


def count_words(inputs: object, reasoning: str, text: str) -> Usage:
    """Return a `usage` object that counts words as tokens."""
    asked, reasoned, answered = (len(words_of(part)) for part in (json.dumps(inputs), reasoning, text))
    return {
        "prompt_tokens": {"total_tokens": asked, "cached_tokens": 0},
        "completion_tokens": {"total_tokens": reasoned + answered, "reasoning_tokens": reasoned},
        "total_tokens": asked + reasoned + answered,
    }


def words_of(text: str) -> list[str]:
    """Split a string into words with their spaces: joined, they are the string again."""
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)


def new_id() -> str:
    """Return a new id, as the service gives to everything but requests."""
    return str(uuid.uuid4())


def new_request_id() -> str:
    """Return a new request id."""
    return f"req_{uuid.uuid4().hex}"


def _perform(script: StreamScript, inputs: object) -> Iterator[PlayedStep]:
    """Yield the steps of a script as bytes, pauses and faults."""
    common = {"request_id": script.request_id or new_request_id(), "model": script.model}
    for step in _completed(script):
        if isinstance(step, _OwnEvent):
            yield _write({**common, **step.fields})
        elif isinstance(step, _Usage):
            usage = step.usage or count_words(inputs, _joined(script, "reasoning"), _joined(script, "response"))
            event = {"type": "usage", "usage": usage, "stop_reason": step.stop_reason}
            yield _write({"request_id": common["request_id"], **event})
        elif not isinstance(step, _EarlyEnd):
            yield step


def _completed(script: StreamScript) -> Sequence[Step]:
    """Return the steps of a script, completed with `usage` and `[DONE]` where it has no end."""
    if script.steps and isinstance(script.steps[-1], (Fault, _EarlyEnd)):
        return script.steps
    types = [step.fields["type"] for step in script.steps if isinstance(step, _OwnEvent)]
    is_complete = "error" in types or any(isinstance(step, _Usage) for step in script.steps)
    return (script if is_complete else script.usage()).wire(_DONE).steps


def _joined(script: StreamScript, kind: str) -> str:
    """Return the joined text of the events of one type."""
    events = [step.fields for step in script.steps if isinstance(step, _OwnEvent)]
    return "".join(str(fields["response"]) for fields in events if fields["type"] == kind)


def _write(event: Mapping[str, object]) -> bytes:
    return f"data: {write_json(event)}\n\n".encode()
