"""The asyncio shell: sends what the protocol built, waits as long as it says. Decides nothing.

Its twin is `_blocking.py`: the same names in the same order.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from ._events import OPENED, EventReader
from ._protocol import NETWORK_ERRORS, Call
from .errors import FetchHiveError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    import httpx

    from ._pool import AsyncConnections
    from .models import InvokeResponse, ReceivedT, StreamEvent


async def run(call: Call[ReceivedT], connections: AsyncConnections) -> ReceivedT:
    """Make a call and return its answer."""
    response = await _open(call, connections)
    try:
        with call.errors():
            await _read(call, response)
            return call.parse()
    finally:
        await response.aclose()


async def stream(
    call: Call[InvokeResponse], connections: AsyncConnections, announce: bool
) -> AsyncGenerator[StreamEvent, None]:
    """Make a call and yield its events; with `announce`, yield `OPENED` first, as soon as the answer has begun."""
    # A plain function: were it a method of the stream, the generator would keep its stream alive, and the connection
    # open, until the garbage collector came by.
    with call.transcript.recording():
        response = await _open(call, connections)
        try:
            if announce:
                yield OPENED
            reader = call.event_reader(response)
            chunks = _chunks(response)
            with call.stream_errors():
                async for chunk in chunks:
                    for event in reader.feed(chunk):
                        yield event
                    if reader.is_done:
                        break
                for event in reader.finish():
                    yield event
            if reader.is_done and connections.keep_time:
                await _await_end(reader, chunks)
        finally:
            await response.aclose()


async def _await_end(reader: EventReader, chunks: AsyncIterator[bytes]) -> None:
    """Read on to the end of the body for a moment: only then can the connection be used again."""
    with suppress(*NETWORK_ERRORS):
        async for _ in chunks:
            if reader.is_overdue():
                break


async def _open(call: Call[ReceivedT], connections: AsyncConnections) -> httpx.Response:
    """Send the request, again if the protocol says so, until there is an answer to read."""
    while True:
        try:
            with call.errors():
                return await _attempt(call, connections)
        except FetchHiveError as error:
            seconds = call.wait_before_retry(error)
            if seconds is None:
                raise
        await asyncio.sleep(seconds)


async def _attempt(call: Call[ReceivedT], connections: AsyncConnections) -> httpx.Response:
    response = await connections.send(call.begin())
    if call.accept(response):
        return response
    # What has come of a refusal says enough, whatever happens to the rest.
    try:
        with suppress(FetchHiveError, *NETWORK_ERRORS):
            await _read(call, response)
    finally:
        await response.aclose()
    raise call.refusal()


async def _read(call: Call[ReceivedT], response: httpx.Response) -> None:
    # A function of its own: a refusal may repeat the key, and is no local variable where the error is raised.
    async for chunk in _chunks(response):
        call.read(chunk)


def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    # Somebody may have read it before us: an event hook of an injected client, or a fake. Else from the stream itself:
    # aiter_raw() would cost each event half a microsecond, to cut and count what we do not want cut or counted.
    if response.is_stream_consumed:
        return _once(response.content)
    return cast("httpx.AsyncByteStream", response.stream).__aiter__()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
