"""An answer of a fake service: a status, headers, and steps that are bytes, pauses and faults. Knows no sockets.

    Reply(200, {"Content-Type": "text/event-stream"}, [b"data: ...", Pause(0.5), Fault.BREAK])

Everything that answers here makes a `Reply`: the fake, the emulator, a cassette, the recording proxy, the page. One
body plays it, in process and on a port.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NoReturn, Optional, Union

import httpx

from ._json import write_json

EVENT_STREAM = "text/event-stream"


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
class Pause:
    """A silence."""

    seconds: float


Step = Union[bytes, Pause, Fault]
Headers = Union[httpx.Headers, Mapping[str, str], Sequence[tuple[bytes, bytes]]]


@dataclass(frozen=True)
class Reply:
    """What is answered to a request."""

    status: int
    headers: Headers
    steps: Iterable[Step]
    """What the body does, one step after the other. A generator may find out as it goes, and raise."""

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is a stream of events."""
        return str(httpx.Headers(self.headers).get("content-type", "")).startswith(EVENT_STREAM)

    def paced(self, delay: float) -> Reply:
        """Return the reply with a pause between two events of its stream."""
        return replace(self, steps=_pace(self.steps, delay)) if delay and self.is_event_stream else self

    def respond(self, request: httpx.Request) -> httpx.Response:
        """Return the response to a request; its body plays the steps when it is read."""
        content = self._content()
        if content is not None:
            return httpx.Response(self.status, headers=self.headers, content=content)
        # The limit is the client's. Requests that come to a port have none: there the client measures by itself.
        limit = request.extensions.get("timeout", {}).get("read")
        return httpx.Response(self.status, headers=self.headers, stream=ReplyBody(self.steps, limit))

    def _content(self) -> Optional[bytes]:
        """Return the whole body, if nothing happens in the middle of it."""
        # httpx decodes content at once, and streams when they are read.
        if self.is_event_stream or "content-encoding" in httpx.Headers(self.headers):
            return None
        if not isinstance(self.steps, Sequence):
            return None
        pieces = [step for step in self.steps if isinstance(step, bytes)]
        return b"".join(pieces) if len(pieces) == len(self.steps) else None


def json_reply(status: int, value: object, headers: Optional[Mapping[str, str]] = None) -> Reply:
    """Return the reply with a JSON value."""
    all_headers = httpx.Headers({"Content-Type": "application/json"})
    all_headers.update(dict(headers or {}))
    return Reply(status, all_headers, [write_json(value).encode()])


def _pace(steps: Iterable[Step], delay: float) -> Iterator[Step]:
    is_first = True
    for step in steps:
        if not is_first:
            yield Pause(delay)
        yield step
        # A pause that is scripted comes on top of the pace.
        is_first = isinstance(step, Pause)


class ReplyBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Plays the steps of a reply: to a blocking client, to an asyncio client, or to a server.

    Args:
        steps: The steps.
        limit: Seconds that the client waits for a byte. A longer silence is its timeout at once, so that no test has to
            wait for it.
    """

    def __init__(self, steps: Iterable[Step], limit: Any = None) -> None:
        self._steps = steps
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        with closing(self._play()) as pieces:
            for seconds, piece in pieces:
                if seconds:
                    time.sleep(seconds)
                if piece:
                    yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with closing(self._play()) as pieces:
            for seconds, piece in pieces:
                if seconds:
                    await asyncio.sleep(seconds)
                if piece:
                    yield piece

    def _play(self) -> Generator[tuple[float, bytes], None, None]:
        """Yield each piece after the seconds to wait for it, then the fault, if there is one."""
        seconds = 0.0
        try:
            for step in self._steps:
                if isinstance(step, Pause):
                    seconds += step.seconds
                    continue
                yield self._within_limit(seconds), b"" if isinstance(step, Fault) else step
                seconds = 0.0
                if isinstance(step, Fault):
                    step.happen()
            if seconds:
                yield self._within_limit(seconds), b""
        finally:
            # A generator may hold a connection.
            getattr(self._steps, "close", lambda: None)()

    def _within_limit(self, seconds: float) -> float:
        # The limit of our own client knows what is left of `idle_timeout`, others are plain numbers.
        limit: Optional[float] = getattr(self._limit, "left", lambda: self._limit)()
        if limit is not None and seconds > limit:
            Fault.STALL.happen()
        return seconds
