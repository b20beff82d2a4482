"""A reply of a fake service: a status, headers, and steps that are bytes, pauses or faults. Uses no sockets.

    Reply(200, {"Content-Type": "text/event-stream"}, [b"data: ...", Pause(0.5), Fault.BREAK])

The fake, the emulator, cassettes, the recording proxy and the page all return a `Reply`. One body class plays it, in
process and on a port.
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
    """A failure that leaves a call without an answer, though it may have been processed and billed."""

    BREAK = "break"
    """The connection breaks."""
    STALL = "stall"
    """The connection stays open, but nothing more is sent."""

    def happen(self) -> NoReturn:
        """Raise the error that a client gets.

        Raises:
            httpx.RemoteProtocolError: For `BREAK`.
            httpx.ReadTimeout: For `STALL`.

        """
        if self is Fault.BREAK:
            raise httpx.RemoteProtocolError("the server closed the connection")
        raise httpx.ReadTimeout("the server fell silent")


@dataclass(frozen=True)
class Pause:
    """A pause before the next step."""

    seconds: float


Step = Union[bytes, Pause, Fault]
Headers = Union[httpx.Headers, Mapping[str, str], Sequence[tuple[bytes, bytes]]]


@dataclass(frozen=True)
class Reply:
    """The reply to a request."""

    status: int
    headers: Headers
    steps: Iterable[Step]
    """The steps of the body, in order. A generator may raise an error in the middle."""

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is a stream of events."""
        return str(httpx.Headers(self.headers).get("content-type", "")).startswith(EVENT_STREAM)

    def paced(self, delay: float) -> Reply:
        """Return the reply with a pause between the events of its stream."""
        return replace(self, steps=_pace(self.steps, delay)) if delay and self.is_event_stream else self

    def respond(self, request: httpx.Request) -> httpx.Response:
        """Return the response to a request. Reading its body plays the steps."""
        content = self._content()
        if content is not None:
            return httpx.Response(self.status, headers=self.headers, content=content)
        # The read timeout of an in-process client. Requests from a port have none: there the client measures itself.
        limit = request.extensions.get("timeout", {}).get("read")
        return httpx.Response(self.status, headers=self.headers, stream=ReplyBody(self.steps, limit))

    def _content(self) -> Optional[bytes]:
        """Return the whole body if its steps are only bytes, else None."""
        # httpx decodes `content` at once, but a stream only when it is read.
        if self.is_event_stream or "content-encoding" in httpx.Headers(self.headers):
            return None
        if not isinstance(self.steps, Sequence):
            return None
        pieces = [step for step in self.steps if isinstance(step, bytes)]
        return b"".join(pieces) if len(pieces) == len(self.steps) else None


def json_reply(status: int, value: object, headers: Optional[Mapping[str, str]] = None) -> Reply:
    """Return a reply with a JSON body."""
    all_headers = httpx.Headers({"Content-Type": "application/json"})
    all_headers.update(dict(headers or {}))
    return Reply(status, all_headers, [write_json(value).encode()])


def _pace(steps: Iterable[Step], delay: float) -> Iterator[Step]:
    is_first = True
    for step in steps:
        if not is_first:
            yield Pause(delay)
        yield step
        # Scripted pauses are added to the pace.
        is_first = isinstance(step, Pause)


class ReplyBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Plays the steps of a reply for a blocking client, an asyncio client or a server.

    Args:
        steps: The steps.
        limit: The client's read timeout in seconds. A longer pause raises the timeout at once, so that tests need not
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
        """Yield the seconds to wait and the bytes of each step; raise the fault, if there is one."""
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
            # A generator may hold a connection open.
            getattr(self._steps, "close", lambda: None)()

    def _within_limit(self, seconds: float) -> float:
        # Our own client passes an object that knows the remaining `idle_timeout`; others pass plain numbers.
        limit: Optional[float] = getattr(self._limit, "left", lambda: self._limit)()
        if limit is not None and seconds > limit:
            Fault.STALL.happen()
        return seconds
