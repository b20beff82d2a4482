"""Connections of our own, kept open and used again. Does I/O, decides nothing about the API."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Optional, Union, cast

import httpx

from .pools import AsyncBody, AsyncPool, Body, Pool, Pools
from .proxies import is_proxied, proxy_errors
from .tls import tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

# What a forked child has of its parent's event loops and httpx clients: never used, never closed, so never freed.
_inherited: list[object] = []


class Connections:
    """Sends requests for the blocking shell, and for every client made by `with_options`."""

    def __init__(self) -> None:
        self.owns_sockets = not is_proxied()
        self._process = 0
        self._lock = threading.Lock()
        self._pools: Pools[Pool] = Pools(Pool)
        self._proxied: Optional[httpx.Client] = None
        self._end: Optional[weakref.finalize[..., Connections]] = None

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        if self._process != os.getpid():
            with self._lock:
                self._begin_process()
        if self._proxied is not None:
            return self._proxied.send(request, stream=True, follow_redirects=False)
        return self._send_pooled(request)

    def _begin_process(self) -> None:
        process = os.getpid()
        if self._process == process:  # another thread was faster
            return
        if self._process and self._end is not None:
            self._end()
            _inherited.append(self._proxied)
        self._pools = Pools(Pool)
        with proxy_errors():
            self._proxied = None if self.owns_sockets else httpx.Client(verify=tls_context())
        # At the end of the program, or when nobody knows this object any more: sockets are not left to the collector.
        self._end = weakref.finalize(self, _end, self._pools, self._proxied, process)
        self._process = process

    def _send_pooled(self, request: httpx.Request) -> httpx.Response:
        place, idle = self._pools.take(request.url)
        leave = partial(self._pools.leave, place)
        try:
            for pool in idle:
                pool.close()
            response = place.pool.handle_request(request)
        except BaseException:
            leave()
            raise
        response.request = request
        if response.is_closed:  # a fake, which has its body already
            leave()
        else:
            response.stream = Body(cast("httpx.SyncByteStream", response.stream), leave)
        return response

    def close(self) -> None:
        """Close the connections of our own. The next request opens new ones."""
        with self._lock:
            if self._end is not None and self._process == os.getpid():
                self._end.detach()
                for pool in self._pools.abandon():
                    pool.close()
                if self._proxied is not None:
                    self._proxied.close()
                self._process = 0


def _end(pools: Pools[Pool], proxied: Optional[httpx.Client], process: int) -> None:
    # Asks for no lock: in a forked child, a thread of the parent may have held it. The child closes its copies of the
    # sockets, which the parent does not notice. At the end of the program a thread may still be reading: it goes with
    # the program, without an exception of its own.
    is_child = process != os.getpid()
    for pool, is_used in pools.at_end():
        for connection in pool.connections:
            if is_child or not is_used or connection.is_idle():
                connection.close()
    if proxied is not None and not is_child:
        proxied.close()


class AsyncConnections:
    """Sends requests for the asyncio shell: a set of connections for each event loop, which goes away with it."""

    def __init__(self) -> None:
        self.owns_sockets = not is_proxied()
        self._process = 0
        self._lock = threading.Lock()
        self._loops: dict[int, _LoopConnections] = {}

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        loop = asyncio.get_running_loop()
        connections = self._loops.get(id(loop))
        if connections is None or connections.loop is not loop or self._process != os.getpid():
            with self._lock:
                connections = self._meet(loop)
            await connections.close_with_loop()
        return await connections.send(request)

    def _meet(self, loop: asyncio.AbstractEventLoop) -> _LoopConnections:
        if self._process != os.getpid():
            if self._process:
                _inherited.append(self._loops)
            self._loops = {}
            self._process = os.getpid()
        # A new loop is a rare and good moment to forget those that have ended.
        for key in [key for key, other in self._loops.items() if other.loop.is_closed()]:
            del self._loops[key]
        connections = self._loops[id(loop)] = _LoopConnections(loop, self._make_client())
        return connections

    def _make_client(self) -> Optional[httpx.AsyncClient]:
        if self.owns_sockets:
            return None
        with proxy_errors():
            return httpx.AsyncClient(verify=tls_context())

    async def aclose(self) -> None:
        """Close the connections of this event loop. The next request opens new ones."""
        if self._process == os.getpid():
            connections = self._loops.pop(id(asyncio.get_running_loop()), None)
            if connections is not None:
                await connections.aclose()


class _LoopConnections:
    """The connections of one event loop: pools of our own, or a client that has a pool of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Optional[httpx.AsyncClient]) -> None:
        self.loop = loop
        self._pools: Pools[AsyncPool] = Pools(AsyncPool)
        self._client = client
        # Not a method: it would keep this object alive, and its own end is what it is there for.
        self._guard = _close_at_end(self._pools, self._client)

    async def close_with_loop(self) -> None:
        """Let the event loop close the connections when it ends, or when nobody knows them any more.

        An event loop closes the asynchronous generators that were begun in it: `asyncio.run` does so at its end,
        and the garbage collector asks for it when a generator is dropped.
        """
        await self._guard.__anext__()

    async def send(self, request: httpx.Request) -> httpx.Response:
        if self._client is not None:
            return await self._client.send(request, stream=True, follow_redirects=False)
        place, idle = self._pools.take(request.url)
        leave = partial(self._pools.leave, place)
        try:
            for pool in idle:
                await pool.aclose()
            response = await place.pool.handle_async_request(request)
        except BaseException:
            leave()
            raise
        response.request = request
        if response.is_closed:  # a fake, which has its body already
            leave()
        else:
            response.stream = AsyncBody(cast("httpx.AsyncByteStream", response.stream), leave)
        return response

    async def aclose(self) -> None:
        await self._guard.aclose()


async def _close_at_end(pools: Pools[AsyncPool], client: Optional[httpx.AsyncClient]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        # One by one: `asyncio.run` cancels whatever is still going on at its end, this included, and before Python 3.13
        # a generator that is cancelled while it closes is told to exit once more. A close that is broken off has
        # closed its connection, but a loop that is broken off would leave the others open.
        cancelled: Union[asyncio.CancelledError, GeneratorExit, None] = None
        for connection in [connection for pool in pools.abandon() for connection in pool.connections]:
            try:
                await connection.aclose()
            except (asyncio.CancelledError, GeneratorExit) as exc:  # noqa: PERF203 - each of them counts
                cancelled = exc
        if client is not None:
            await client.aclose()
        if cancelled is not None:
            raise cancelled
