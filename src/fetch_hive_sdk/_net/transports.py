"""One connection as a transport of httpx. The only file that uses private attributes of httpx and httpcore.

* `httpx.HTTPTransport._pool` and its asyncio twin: what sends. Our transports are real ones of that class, so that what
  patches it to fake the network, such as pytest-httpx, goes on working.
* `_h11_state` of httpcore's connections, and `_connection` on the way to it: whether the parser still holds bytes.
  Where a version has neither, every connection is closed after its first answer, which is slow and right.
* `_optional_thread_lock` of the pools that httpcore has for proxies: taken away, as ours serve one call at a time. A
  signal's exception could leave it locked, and the pool takes it again to clean up: a call without end.

tests/test_transports.py runs with the oldest and the newest versions.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Optional, Union, cast

import httpcore
import httpx

from .deadline_backend import AsyncBackend, Backend
from .tls import tls_context

if TYPE_CHECKING:
    from .proxies import Route

KEEPALIVE_SECONDS = 15.0


class Transport(httpx.HTTPTransport):
    """One connection for blocking calls, one call at a time."""

    def __init__(self, route: Route) -> None:
        # Not super(): httpx would make a pool, and passes no network backend on.
        self.backend = Backend(route.handshakes, is_tunnel=route.is_tunnel)
        # pyrefly: ignore[bad-override-mutable-attribute]
        self._pool: Any = _open_line(route, self.backend)
        self._line = self._pool

    def is_clean(self) -> bool:
        """Whether the last answer was read to its end, and nothing follows it."""
        return _is_clean(self._line)

    def is_usable(self) -> bool:
        """Whether nothing has come meanwhile, not even the end of the connection."""
        return _is_usable(self._line)

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        # The backend alone: httpcore's own objects may be locked for ever, by a call that a signal interrupted.
        self.backend.close()


class AsyncTransport(httpx.AsyncHTTPTransport):
    """One connection for asyncio calls, one call at a time."""

    def __init__(self, route: Route) -> None:
        self.backend = AsyncBackend(route.handshakes, is_tunnel=route.is_tunnel)
        # pyrefly: ignore[bad-override-mutable-attribute]
        self._pool: Any = _open_async_line(route, self.backend)
        self._line = self._pool

    async def is_clean(self) -> bool:
        """Whether the last answer was read to its end, and nothing follows it."""
        return _is_clean(self._line) and await self.backend.is_silent()

    def is_usable(self) -> bool:
        """Whether nothing has come meanwhile, not even the end of the connection."""
        return _is_usable(self._line)

    async def aclose(self) -> None:
        """Close the connection, whatever state it is in."""
        await self.backend.aclose()


def _open_line(route: Route, backend: Backend) -> Union[httpcore.HTTPConnection, httpcore.ConnectionPool]:
    proxy, origin = route.proxy, route.origin
    context = tls_context() if origin.scheme == b"https" else None
    if proxy is None:
        return httpcore.HTTPConnection(origin, context, KEEPALIVE_SECONDS, network_backend=backend)
    if proxy.is_socks:
        return _unlocked(
            httpcore.SOCKSProxy(
                proxy.url, proxy.auth, context, 1, keepalive_expiry=KEEPALIVE_SECONDS, network_backend=backend
            )
        )
    return _unlocked(
        httpcore.HTTPProxy(
            proxy.url,
            proxy.auth,
            ssl_context=context,
            proxy_ssl_context=tls_context() if proxy.is_secure else None,
            max_connections=1,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=backend,
        )
    )


def _unlocked(pool: Any) -> httpcore.ConnectionPool:
    pool._optional_thread_lock = nullcontext()  # noqa: SLF001 - see above
    return cast("httpcore.ConnectionPool", pool)


def _open_async_line(
    route: Route, backend: AsyncBackend
) -> Union[httpcore.AsyncHTTPConnection, httpcore.AsyncConnectionPool]:
    proxy, origin = route.proxy, route.origin
    context = tls_context() if origin.scheme == b"https" else None
    if proxy is None:
        return httpcore.AsyncHTTPConnection(origin, context, KEEPALIVE_SECONDS, network_backend=backend)
    if proxy.is_socks:
        return httpcore.AsyncSOCKSProxy(
            proxy.url, proxy.auth, context, 1, keepalive_expiry=KEEPALIVE_SECONDS, network_backend=backend
        )
    return httpcore.AsyncHTTPProxy(
        proxy.url,
        proxy.auth,
        ssl_context=context,
        proxy_ssl_context=tls_context() if proxy.is_secure else None,
        max_connections=1,
        keepalive_expiry=KEEPALIVE_SECONDS,
        network_backend=backend,
    )


def _connection_of(line: Any) -> Any:
    """Return the connection itself: with a proxy, httpcore has it in a pool, here of one."""
    if isinstance(line, (httpcore.ConnectionPool, httpcore.AsyncConnectionPool)):
        connections = line.connections
        return connections[0] if len(connections) == 1 else None
    return line


def _is_usable(line: Any) -> bool:
    connection = _connection_of(line)
    return connection is not None and connection.is_idle() and not connection.has_expired()


def _is_clean(line: Any) -> bool:
    connection: Optional[Any] = _connection_of(line)
    if connection is None or not connection.is_idle():
        return False
    while connection is not None and not hasattr(connection, "_h11_state"):
        connection = getattr(connection, "_connection", None)
    return connection is not None and not connection._h11_state.trailing_data[0]  # noqa: SLF001 - nothing else tells
