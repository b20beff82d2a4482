"""What comes in a stream, step by step, and how it ends. Knows no sockets."""

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
class _Facts:
    """An event that gets the request id of the stream, and its model."""

    fields: Mapping[str, object]


@dataclass(frozen=True)
class _Usage:
    usage: Optional[Usage]
    stop_reason: str


class _EarlyEnd(Enum):
    HERE = "here"


Step = Union[PlayedStep, _Facts, _Usage, _EarlyEnd]


@dataclass(frozen=True)
class StreamScript:
    """What comes in a stream, step by step, and how it ends. Each method returns a longer script and changes nothing.

    A script that names no end ends well: with `usage`, unless that or an `error` was there, and `[DONE]`.

    Example:
        ```python
        fake.streams("story", StreamScript().text("Once ", "upon ").pause(0.5).text("a ti").breaks())
        ```
    """

    model: str = DEFAULT_MODEL
    """The name of the model in its events."""
    request_id: Optional[str] = None
    """The request id in its events; None for a new one in each stream."""
    steps: tuple[Step, ...] = ()
    """What is in it so far. The methods write it for you."""

    def text(self, *pieces: str) -> StreamScript:
        """Pieces of the text.

        Args:
            *pieces: What comes one after the other: a `response` event for each.

        """
        return self._say("response", pieces)

    def reasoning(self, *pieces: str) -> StreamScript:
        """Pieces of what the model thought.

        Args:
            *pieces: What comes one after the other: a `reasoning` event for each.

        """
        return self._say("reasoning", pieces)

    def usage(self, usage: Optional[Usage] = None, *, stop_reason: str = "completed") -> StreamScript:
        """A `usage` event, the last of a healthy stream.

        Args:
            usage: The `usage` object; None to count the words.
            stop_reason: Why the model stopped.

        """
        return self._then(_Usage(usage, stop_reason))

    def error(self, message: str, error_code: Optional[str] = None) -> StreamScript:
        """An `error` event: the provider failed after the stream had begun.

        Args:
            message: What the service says.
            error_code: The machine-readable code, if any.

        """
        fields = {"type": "error", "error": message, "message": message, "error_code": error_code}
        return self._then(_Facts({name: value for name, value in fields.items() if value is not None}))

    def event(self, event: Union[StreamEvent, Mapping[str, object]]) -> StreamScript:
        """An event as you give it, of a type from the future for one.

        Args:
            event: The JSON object that is sent: a dict, or a model of an event.

        """
        return self._then(_write(event if isinstance(event, dict) else dict(event)))

    def broken_json(self) -> StreamScript:
        """An event whose JSON has no end."""
        return self.wire('data: {"type": "response", "response": "\n\n')

    def wire(self, data: Union[str, bytes]) -> StreamScript:
        r"""What is sent word for word.

        Args:
            data: The text or the bytes, `"data: [DONE]\n\n"` for one. Part of an event will do.

        """
        return self._then(data.encode() if isinstance(data, str) else data)

    def comment(self, text: str = "keep-alive") -> StreamScript:
        """A comment, with which a server keeps a silent connection open. It is no event.

        Args:
            text: What it says.

        """
        return self._then(f": {text}\n\n".encode())

    def pause(self, seconds: float) -> StreamScript:
        """A silence.

        In process, one that is longer than the client waits for is its `httpx.ReadTimeout` at once, so that no test
        has to wait for it.

        Args:
            seconds: How long it is, 0 or more.

        Raises:
            ValueError: It is less than nothing.

        """
        if not seconds >= 0:
            raise ValueError("a pause has 0 seconds or more")
        return self._then(Pause(seconds))

    def ends_early(self) -> StreamScript:
        """The stream ends here as if it were whole, and has only what was told: no `usage`, no `[DONE]` is added."""
        return self._then(_EarlyEnd.HERE)

    def breaks(self) -> StreamScript:
        """The connection breaks here. In process, the client gets the same `httpx.RemoteProtocolError` as on a port."""
        return self._then(Fault.BREAK)

    def stalls(self) -> StreamScript:
        """Nothing comes any more, and the connection stays open.

        On a port that lasts until the client leaves or the server is stopped. In process the client gets its
        `httpx.ReadTimeout` at once, whatever its `timeout` is, so that no test has to wait for it.
        """
        return self._then(Fault.STALL)

    def _say(self, kind: str, pieces: Iterable[str]) -> StreamScript:
        return self._then(*(_Facts({"type": kind, "response": piece}) for piece in pieces))

    def _then(self, *steps: Step) -> StreamScript:
        if self.steps and isinstance(self.steps[-1], (Fault, _EarlyEnd)):
            raise ValueError("the script has ended: nothing can come after ends_early(), breaks() or stalls()")
        return replace(self, steps=(*self.steps, *steps))


def script_of(events: Iterable[Event]) -> StreamScript:
    """Return the script of these events, which ends where they end."""
    script = StreamScript()
    for event in events:
        if not isinstance(event, str):
            script = script.event(event)
        else:
            script = script.wire(event) if event.startswith("data:") else script.text(event)
    return script.ends_early()


def reply_of(script: StreamScript, inputs: object) -> Reply:
    """Return the reply to a request with these inputs whose body comes as the script says."""
    return Reply(200, {"Content-Type": EVENT_STREAM}, list(_perform(script, inputs)))


def count_words(inputs: object, thought: str, said: str) -> Usage:
    """Return a `usage` object that has words for tokens."""
    asked, reasoned, answered = (len(words_of(text)) for text in (json.dumps(inputs), thought, said))
    return {
        "prompt_tokens": {"total_tokens": asked, "cached_tokens": 0},
        "completion_tokens": {"total_tokens": reasoned + answered, "reasoning_tokens": reasoned},
        "total_tokens": asked + reasoned + answered,
    }


def words_of(text: str) -> list[str]:
    """Cut a text at its words; put together again, the pieces are the text."""
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)


def new_id() -> str:
    """Return a new id, as the service gives to everything but requests."""
    return str(uuid.uuid4())


def new_request_id() -> str:
    """Return a new request id."""
    return f"req_{uuid.uuid4().hex}"


def _perform(script: StreamScript, inputs: object) -> Iterator[PlayedStep]:
    """Write the steps of a script for the wire."""
    facts = {"request_id": script.request_id or new_request_id(), "model": script.model}
    for step in _to_the_end(script):
        if isinstance(step, _Facts):
            yield _write({**facts, **step.fields})
        elif isinstance(step, _Usage):
            usage = step.usage or count_words(inputs, _told(script, "reasoning"), _told(script, "response"))
            event = {"type": "usage", "usage": usage, "stop_reason": step.stop_reason}
            yield _write({"request_id": facts["request_id"], **event})
        elif not isinstance(step, _EarlyEnd):
            yield step


def _to_the_end(script: StreamScript) -> Sequence[Step]:
    """Return the steps of a script, and the good end that it did not have to name."""
    if script.steps and isinstance(script.steps[-1], (Fault, _EarlyEnd)):
        return script.steps
    facts = [step.fields["type"] for step in script.steps if isinstance(step, _Facts)]
    is_complete = "error" in facts or any(isinstance(step, _Usage) for step in script.steps)
    return (script if is_complete else script.usage()).wire(_DONE).steps


def _told(script: StreamScript, kind: str) -> str:
    """Return what the events of a kind say together."""
    events = [step.fields for step in script.steps if isinstance(step, _Facts)]
    return "".join(str(fields["response"]) for fields in events if fields["type"] == kind)


def _write(event: Mapping[str, object]) -> bytes:
    return f"data: {write_json(event)}\n\n".encode()
