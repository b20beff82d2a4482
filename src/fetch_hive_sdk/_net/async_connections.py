"""Connections of our own for the asyncio shell, kept open and used again. Decides nothing about the API."""

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

# What a forked child has of its parent's event loops: never used, never closed, so never freed.
_inherited: list[object] = []


class AsyncConnections:
    """Sends requests for the asyncio shell: a set of connections for each event loop, which goes away with it."""

    owns_sockets = True

    def __init__(self) -> None:
        self._routes = Routes()
        self._process = 0
        self._lock = threading.RLock()
        self._loops: dict[int, _LoopConnections] = {}

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        loop = asyncio.get_running_loop()
        connections = self._loops.get(id(loop))
        if connections is None or connections.loop is not loop or self._process != os.getpid():
            with self._lock:
                connections = self._meet(loop)
            await connections.close_with_loop()
        return await connections.send(request, self._routes.find(request.url))

    def _meet(self, loop: asyncio.AbstractEventLoop) -> _LoopConnections:
        if self._process != os.getpid():
            if self._process:
                _inherited.append(self._loops)
            self._loops = {}
            self._process = os.getpid()
        # A new loop is a rare and good moment to forget those that have ended.
        for key in [key for key, other in self._loops.items() if other.loop.is_closed()]:
            del self._loops[key]
        connections = self._loops[id(loop)] = _LoopConnections(loop)
        return connections

    async def aclose(self) -> None:
        """Close the connections of this event loop, and end the calls under way on them."""
        if self._process == os.getpid():
            connections = self._loops.pop(id(asyncio.get_running_loop()), None)
            if connections is not None:
                await connections.aclose()


class _LoopConnections:
    """The connections of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._slots: Slots[AsyncTransport] = Slots()
        # Not a method: it would keep this object alive, and its own end is what it is there for.
        self._guard = _close_at_end(self._slots)
        weakref.finalize(self, _disarm, self._guard, loop)

    async def close_with_loop(self) -> None:
        """Let the event loop close the connections when it ends, or when these are not referred to any more.

        An event loop closes the asynchronous generators that were begun in it: `asyncio.run` does so at its end,
        and the garbage collector asks for it when a generator is dropped.
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
        if response.is_closed:  # a fake, which has its body already
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
    """The body of a response; closing it gives the connection back if it can be used again."""

    def __init__(self, stream: httpx.AsyncByteStream, slots: Slots[AsyncTransport], slot: Slot[AsyncTransport]) -> None:
        self._stream = stream
        self._slots = slots
        self._slot: Optional[Slot[AsyncTransport]] = slot

    def __aiter__(self) -> AsyncIterator[bytes]:
        # An interrupted read leaves its connection in a state that is not idle: it is not used again.
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
        # One by one: `asyncio.run` cancels whatever is still going on at its end, this included, and before Python 3.13
        # a generator that is cancelled while it closes gets another GeneratorExit. A close that is broken off has
        # closed its connection, but a loop that is broken off would leave the others open.
        cancelled: Union[asyncio.CancelledError, GeneratorExit, None] = None
        for transport, _ in slots.abandon():
            try:
                await transport.aclose()
            except (asyncio.CancelledError, GeneratorExit) as exc:  # noqa: PERF203 - each of them counts
                cancelled = exc
        if cancelled is not None:
            raise cancelled


def _disarm(guard: AsyncGenerator[None, None], loop: asyncio.AbstractEventLoop) -> None:
    """End the guard of an event loop that will not run again, which could not.

    It would schedule a coroutine in it all the same, and Python would complain that this was never awaited.
    """
    if loop.is_running() or loop.is_closed():
        return
    closing = guard.aclose()
    with suppress(Exception):
        while True:
            closing.send(None)
