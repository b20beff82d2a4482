"""The SDK's own connections for asyncio calls, kept alive and reused. Does not depend on the API."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Optional, Union, cast

import httpx

from fetch_hive_sdk._extensions import STOP

from .proxies import Routes
from .sending import explain, prepare
from .slots import Slot, Slots
from .transports import AsyncTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from .proxies import Route

# Connections that a forked child inherits from its parent. They must not be used, closed or freed there.
_inherited: list[object] = []


class AsyncConnections:
    """Sends the requests of asyncio calls. Each event loop has its own connections, closed when the loop ends."""

    owns_sockets = True

    def __init__(self) -> None:
        self._routes = Routes()
        self._process = 0
        self._lock = threading.RLock()
        self._loops: dict[int, _LoopConnections] = {}

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        loop = asyncio.get_running_loop()
        connections = self._loops.get(id(loop))
        if connections is None or connections.loop is not loop or self._process != os.getpid():
            with self._lock:
                connections = self._add_loop(loop)
            await connections.close_with_loop()
        return await connections.send(request, self._routes.find(request.url))

    def _add_loop(self, loop: asyncio.AbstractEventLoop) -> _LoopConnections:
        if self._process != os.getpid():
            if self._process:
                _inherited.append(self._loops)
            self._loops = {}
            self._process = os.getpid()
        # Remove closed loops here, as new loops are rare.
        for key in [key for key, other in self._loops.items() if other.loop.is_closed()]:
            del self._loops[key]
        connections = self._loops[id(loop)] = _LoopConnections(loop)
        return connections

    async def aclose(self) -> None:
        """Close the connections of this event loop and end the calls that use them."""
        if self._process == os.getpid():
            connections = self._loops.pop(id(asyncio.get_running_loop()), None)
            if connections is not None:
                await connections.aclose()


class _LoopConnections:
    """The connections of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._slots: Slots[AsyncTransport] = Slots()
        # A function, not a method: a bound method would keep this object alive, and the finalizer would never run.
        self._guard = _close_at_end(self._slots)
        weakref.finalize(self, _disarm, self._guard, loop)

    async def close_with_loop(self) -> None:
        """Let the event loop close the connections when it shuts down or this object is deleted.

        An event loop closes the asynchronous generators that were started in it: `asyncio.run` does this at shutdown,
        and the garbage collector schedules it when it deletes a generator.
        """
        await self._guard.__anext__()

    async def send(self, request: httpx.Request, route: Route) -> httpx.Response:
        prepare(request, route)
        slots = self._slots
        slot = await _take(slots, route)
        request.extensions[STOP] = slot.transport.aclose
        try:
            for transport in slots.retire():
                await transport.aclose()
            response = await slot.transport.handle_async_request(request)
        except BaseException as exc:
            await _discard(slots, slot)
            error = explain(exc, slot.transport.backend, route)
            if error is exc:
                raise
            raise error from exc
        response.request = request
        if response.is_closed:  # a mock transport's response, already read
            await _give_back(slots, slot)
        else:
            response.stream = _AsyncBody(cast("httpx.AsyncByteStream", response.stream), slots, slot)
        return response

    async def aclose(self) -> None:
        await self._guard.aclose()


async def _take(slots: Slots[AsyncTransport], route: Route) -> Slot[AsyncTransport]:
    while True:
        slot = slots.take(route)
        if slot is None:
            return slots.add(route, AsyncTransport(route))
        if slot.transport.is_usable():
            slot.transport.backend.begin_request()
            return slot
        await _discard(slots, slot)


async def _give_back(slots: Slots[AsyncTransport], slot: Slot[AsyncTransport]) -> None:
    if not await slot.transport.is_clean() or not slots.give_back(slot):
        await _discard(slots, slot)


async def _discard(slots: Slots[AsyncTransport], slot: Slot[AsyncTransport]) -> None:
    slots.drop(slot)
    await slot.transport.aclose()


class _AsyncBody(httpx.AsyncByteStream):
    """The body of a response. Closing it makes the connection available again, if it can be reused."""

    def __init__(self, stream: httpx.AsyncByteStream, slots: Slots[AsyncTransport], slot: Slot[AsyncTransport]) -> None:
        self._stream = stream
        self._slots = slots
        self._slot: Optional[Slot[AsyncTransport]] = slot

    def __aiter__(self) -> AsyncIterator[bytes]:
        # An interrupted read leaves its connection in a state other than idle, so it is not reused.
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        slot, self._slot = self._slot, None
        if slot is None:
            return
        try:
            await self._stream.aclose()
            await _give_back(self._slots, slot)
        except BaseException:
            await _discard(self._slots, slot)
            raise


async def _close_at_end(slots: Slots[AsyncTransport]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        # `asyncio.run` cancels all remaining tasks at shutdown, this one included, and before Python 3.13 a generator
        # that is cancelled while it closes receives another GeneratorExit. An interrupted aclose() has still closed its
        # connection, but an interrupted loop would leave the other connections open.
        cancelled: Union[asyncio.CancelledError, GeneratorExit, None] = None
        for transport, _ in slots.abandon():
            try:
                await transport.aclose()
            except (asyncio.CancelledError, GeneratorExit) as exc:  # noqa: PERF203 - each close may be interrupted
                cancelled = exc
        if cancelled is not None:
            raise cancelled


def _disarm(guard: AsyncGenerator[None, None], loop: asyncio.AbstractEventLoop) -> None:
    """Close the guard of an event loop that is neither running nor closed, as that loop may never run again.

    Otherwise the loop would schedule a coroutine to close the guard, and Python would warn that it was never awaited.
    """
    if loop.is_running() or loop.is_closed():
        return
    closing = guard.aclose()
    with suppress(Exception):
        while True:
            closing.send(None)
