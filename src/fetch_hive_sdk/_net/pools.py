"""Which connection is free: a pool of one connection for each call under way.

A pool of httpcore looks at every one of its connections for every request, under one lock. A pool for each connection
stays fast however many calls are under way, in threads and in asyncio: 64 at once cost a third of what they cost in
one pool. The connection used last is used first, so that the others can go idle and be closed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Callable, Generic, TypeVar, Union

import httpcore
import httpx

from .sockets import AsyncNetwork, Network
from .tls import tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

KEEPALIVE_SECONDS = 15.0


class Pool(httpx.HTTPTransport):
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


class AsyncPool(httpx.AsyncHTTPTransport):
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


PoolT = TypeVar("PoolT", bound=Union[Pool, AsyncPool])


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


class Pools(Generic[PoolT]):
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


class Body(httpx.SyncByteStream):
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


class AsyncBody(httpx.AsyncByteStream):
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
