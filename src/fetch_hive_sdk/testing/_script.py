"""What comes in a stream, step by step, and how it ends. Knows no sockets."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Callable, NoReturn, Optional, Union

import httpx

from fetch_hive_sdk import StreamEvent

DEFAULT_MODEL = "fake-model"

Usage = Mapping[str, object]
Event = Union[str, StreamEvent, Mapping[str, object]]

_DONE = b"data: [DONE]\n\n"


class Fault(Enum):
    """A call that gets no answer, though it may have been processed and billed."""

    BREAK = "break"
    """The connection breaks."""
    STALL = "stall"
    """Nothing comes any more."""

    def happen(self) -> NoReturn:
        """Raise what a client sees of it.

        Raises:
            httpx.RemoteProtocolError: The connection broke.
            httpx.ReadTimeout: Nothing came.

        """
        if self is Fault.BREAK:
            raise httpx.RemoteProtocolError("the server closed the connection")
        raise httpx.ReadTimeout("the server fell silent")


@dataclass(frozen=True)
class _Pause:
    seconds: float


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


Step = Union[bytes, _Pause, _Facts, _Usage, Fault, _EarlyEnd]
_Wire = Union[bytes, _Pause, Fault]


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
        return self._then(_Pause(seconds))

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


def respond(script: StreamScript, inputs: object, delay: float, request: httpx.Request) -> httpx.Response:
    """Return the response to a request with these inputs, whose body comes as the script says."""
    body = _Body(list(_perform(script, inputs)), delay, request.extensions.get("timeout", {}))
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=body)


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


def new_request_id() -> str:
    """Return a request id that no other call has."""
    return f"req_{uuid.uuid4().hex}"


def _perform(script: StreamScript, inputs: object) -> Iterator[_Wire]:
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
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes as its script says, to both kinds of client.

    Args:
        steps: The script.
        delay: Seconds between two events.
        limits: The `timeout` extension of the request. None on a port: there, the client looks at its own watch.
    """

    def __init__(self, steps: Sequence[_Wire], delay: float, limits: Mapping[str, Optional[float]]) -> None:
        self._steps = steps
        self._delay = delay
        self._limit = limits.get("read")

    def __iter__(self) -> Iterator[bytes]:
        for seconds, step in self._in_time():
            if seconds:
                time.sleep(seconds)
            if isinstance(step, Fault):
                step.happen()
            else:
                yield step

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for seconds, step in self._in_time():
            if seconds:
                await asyncio.sleep(seconds)
            if isinstance(step, Fault):
                step.happen()
            else:
                yield step

    def _in_time(self) -> Iterator[tuple[float, Union[bytes, Fault]]]:
        """Yield each step after the seconds to wait for it."""
        seconds = 0.0
        for step in self._steps:
            if isinstance(step, _Pause):
                seconds += step.seconds
            else:
                yield self._patiently(seconds), step
                seconds = self._delay
        if seconds > self._delay:
            yield self._patiently(seconds), b""

    def _patiently(self, seconds: float) -> float:
        # Our own client's limit knows what is left of `idle_timeout`, others are plain numbers.
        left: Callable[[], Optional[float]] = getattr(self._limit, "left", lambda: self._limit)
        limit = left()
        if limit is not None and seconds > limit:
            Fault.STALL.happen()
        return seconds
