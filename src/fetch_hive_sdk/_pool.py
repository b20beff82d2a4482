"""Where requests go out: connections kept open and used again. Does I/O, decides nothing about the API.

A pool of httpcore looks at every one of its connections for every request, under one lock. A pool for each connection
stays fast however many calls are under way, in threads and in asyncio: 64 at once cost a third of what they cost in
one pool. The connection used last is used first, so that the others can go idle and be closed.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import urllib.request
import weakref
from collections import deque
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Callable, Generic, Optional, Protocol, TypeVar, Union, cast

import httpcore
import httpx

from ._sockets import AsyncNetwork, Network
from .errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from ._config import AsyncTransport

KEEPALIVE_SECONDS = 15.0

_tls_lock = threading.Lock()


@lru_cache(1)
def _make_tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def tls_context() -> ssl.SSLContext:
    """Return the one TLS context of the process: making one reads all trusted certificates, for 15 ms."""
    with _tls_lock:
        return _make_tls_context()


def is_proxied() -> bool:
    """Whether the environment names a proxy: then httpx does what it always does with it."""
    return any(scheme in {"http", "https", "all"} for scheme in urllib.request.getproxies())


@contextmanager
def _proxy_errors() -> Generator[None, None, None]:
    """Say what is wrong with the proxy of the environment, without its URL, which may hold a password."""
    try:
        yield
    except ImportError:
        raise ConfigurationError(
            "the environment names a SOCKS proxy, which needs one more package: pip install 'httpx[socks]'"
        ) from None
    except (ValueError, httpx.InvalidURL):
        raise ConfigurationError(
            "the proxy in the environment is no URL such as http://proxy:8080: see HTTP_PROXY, HTTPS_PROXY, ALL_PROXY"
        ) from None


def rebuild(client: Union[httpx.Client, httpx.AsyncClient], request: httpx.Request) -> httpx.Request:
    """Build the request with an injected client, so that its headers, cookies and parameters apply."""
    return client.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.content,
        extensions=request.extensions,
    )


class _Pool(httpx.HTTPTransport):
    # A real HTTPTransport, so that what patches that class to fake the network (pytest-httpx) goes on working.
    def __init__(self, *, is_secure: bool) -> None:
        # Not super(): httpx passes no network backend on.
        # pyrefly: ignore[bad-override-mutable-attribute]
        self._pool = self._own_pool = httpcore.ConnectionPool(
            ssl_context=tls_context() if is_secure else None,
            max_connections=1,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=Network(),
        )

    @property
    def connections(self) -> list[httpcore.ConnectionInterface]:
        return self._own_pool.connections


class _AsyncPool(httpx.AsyncHTTPTransport):
    def __init__(self, *, is_secure: bool) -> None:
        # pyrefly: ignore[bad-override-mutable-attribute]
        self._pool = self._own_pool = httpcore.AsyncConnectionPool(
            ssl_context=tls_context() if is_secure else None,
            max_connections=1,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=AsyncNetwork(),
        )

    @property
    def connections(self) -> list[httpcore.AsyncConnectionInterface]:
        return self._own_pool.connections


# --- A pool for each connection --------------------------------------------------------------------------------------

PoolT = TypeVar("PoolT", bound=Union[_Pool, _AsyncPool])


class _Place(Generic[PoolT]):
    """A pool of one connection, for one call at a time."""

    def __init__(self, pool: PoolT, *, is_secure: bool) -> None:
        self.pool = pool
        self.is_secure = is_secure
        self.is_used = True
        self.idle_since = 0.0

    def has_leak(self) -> bool:
        """Whether a cancellation between two steps of httpcore has left a connection in use, with nobody using it."""
        return not all(connection.is_idle() or connection.is_closed() for connection in self.pool.connections)


class _Pools(Generic[PoolT]):
    """Knows which pool is free. Threads may share it."""

    def __init__(self, make_pool: Callable[..., PoolT]) -> None:
        self._make_pool = make_pool
        self._places: set[_Place[PoolT]] = set()
        # Those that are free, for http and for https, the ones used last at the end.
        self._free: dict[bool, deque[_Place[PoolT]]] = {False: deque(), True: deque()}
        self._leaky: list[_Place[PoolT]] = []
        self._lock = threading.Lock()

    def take(self, url: httpx.URL) -> tuple[_Place[PoolT], list[PoolT]]:
        """Reserve a pool for a call; return where, and the pools to close: idle for long enough, or with a leak."""
        is_secure = url.scheme == "https"
        with self._lock:
            free = self._free[is_secure]
            place = free.pop() if free else self._add(is_secure=is_secure)
            place.is_used = True
            return place, self._retire()

    def _add(self, *, is_secure: bool) -> _Place[PoolT]:
        place = _Place(self._make_pool(is_secure=is_secure), is_secure=is_secure)
        self._places.add(place)
        return place

    def leave(self, place: _Place[PoolT]) -> None:
        with self._lock:
            place.is_used = False
            place.idle_since = time.monotonic()
            if place in self._places:  # and not abandoned meanwhile
                (self._leaky if place.has_leak() else self._free[place.is_secure]).append(place)

    def _retire(self) -> list[PoolT]:
        retired, self._leaky = self._leaky, []
        last_call = time.monotonic() - KEEPALIVE_SECONDS
        for free in self._free.values():
            while free and free[0].idle_since < last_call:
                retired.append(free.popleft())
        self._places.difference_update(retired)
        return [place.pool for place in retired]

    def at_end(self) -> Iterator[tuple[PoolT, bool]]:
        """Yield the pools and whether calls are under way in them, without the lock."""
        for place in list(self._places):
            yield place.pool, place.is_used

    def abandon(self) -> list[PoolT]:
        with self._lock:
            pools = [place.pool for place in self._places]
            self._places.clear()
            for free in self._free.values():
                free.clear()
            self._leaky.clear()
            return pools


class _Body(httpx.SyncByteStream):
    """The body of a response; closing it makes room for the next call."""

    def __init__(self, stream: httpx.SyncByteStream, leave: Callable[[], None]) -> None:
        self._stream = stream
        self._leave = leave

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._leave()


class _AsyncBody(httpx.AsyncByteStream):
    """The body of a response; closing it makes room for the next call."""

    def __init__(self, stream: httpx.AsyncByteStream, leave: Callable[[], None]) -> None:
        self._stream = stream
        self._leave = leave

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        # A cancellation in the middle would leave the connection in use for ever: httpcore knows only those of anyio.
        await asyncio.shield(self._close())

    async def _close(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._leave()


# --- What the shells send with ---------------------------------------------------------------------------------------

# What a forked child has of its parent's event loops and httpx clients: never used, never closed, so never freed.
_inherited: list[object] = []


class Connections:
    """Sends requests for the blocking shell, and for every client made by `with_options`.

    Args:
        client: An `httpx.Client` of the caller's, used as it is and never closed; None for connections of our own.
    """

    def __init__(self, client: Optional[httpx.Client] = None) -> None:
        self.client = client
        self.keep_time = client is None and not is_proxied()
        """Whether the sockets are our own, which ask how long they may still wait."""
        self._process = 0
        self._lock = threading.Lock()
        self._pools: _Pools[_Pool] = _Pools(_Pool)
        self._proxied: Optional[httpx.Client] = None
        self._end: Optional[weakref.finalize[..., Connections]] = None

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        if self.client is not None:
            return self.client.send(rebuild(self.client, request), stream=True, follow_redirects=False)
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
        self._pools = _Pools(_Pool)
        with _proxy_errors():
            self._proxied = None if self.keep_time else httpx.Client(verify=tls_context())
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
            response.stream = _Body(cast("httpx.SyncByteStream", response.stream), leave)
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


def _end(pools: _Pools[_Pool], proxied: Optional[httpx.Client], process: int) -> None:
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
    """Sends requests for the asyncio shell: a set of connections for each event loop, which goes away with it.

    Args:
        client: An `httpx.AsyncClient` of the caller's, used as it is and never closed; None for connections of our own.
        transport: What those are made of: "httpx" or "aiohttp". Where the environment names a proxy, always httpx.
    """

    def __init__(self, client: Optional[httpx.AsyncClient] = None, transport: AsyncTransport = "httpx") -> None:
        self.client = client
        self.keep_time = client is None and not is_proxied()
        """Whether the connections are our own, which ask how long they may still wait."""
        self._transport = transport
        self._process = 0
        self._lock = threading.Lock()
        self._loops: dict[int, _LoopConnections] = {}

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        if self.client is not None:
            return await self.client.send(rebuild(self.client, request), stream=True, follow_redirects=False)
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

    def _make_client(self) -> Optional[_AsyncSender]:
        if self.keep_time and self._transport == "httpx":
            return None
        if self.keep_time:
            from ._aiohttp import Aiohttp  # noqa: PLC0415 - an extra

            return Aiohttp()
        with _proxy_errors():
            return httpx.AsyncClient(verify=tls_context())

    async def aclose(self) -> None:
        """Close the connections of this event loop. The next request opens new ones."""
        if self.client is None and self._process == os.getpid():
            connections = self._loops.pop(id(asyncio.get_running_loop()), None)
            if connections is not None:
                await connections.aclose()


class _AsyncSender(Protocol):
    """What we need of an `httpx.AsyncClient`."""

    async def send(self, request: httpx.Request, *, stream: bool, follow_redirects: bool) -> httpx.Response: ...

    async def aclose(self) -> None: ...


class _LoopConnections:
    """The connections of one event loop: pools of our own, or a client that has a pool of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Optional[_AsyncSender]) -> None:
        self.loop = loop
        self._pools: _Pools[_AsyncPool] = _Pools(_AsyncPool)
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
            response.stream = _AsyncBody(cast("httpx.AsyncByteStream", response.stream), leave)
        return response

    async def aclose(self) -> None:
        await self._guard.aclose()


async def _close_at_end(pools: _Pools[_AsyncPool], client: Optional[_AsyncSender]) -> AsyncGenerator[None, None]:
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
