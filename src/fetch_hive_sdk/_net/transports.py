"""A single connection as an httpx transport. Only this file uses private attributes of httpx and httpcore.

* `httpx.HTTPTransport._pool` and its asyncio twin send the request. These transports are subclasses, so that libraries
  that patch `HTTPTransport`, such as pytest-httpx, keep working.
* `_h11_state` of httpcore's connections, reached through `_connection`, shows whether the parser has unread bytes.
  If a version lacks them, each connection is closed after its first response, which is slow but correct.
* `_optional_thread_lock` of httpcore's proxy pools is replaced by a no-op, as each of our pools serves one call at a
  time. A signal handler's exception could leave it locked, and the pool would then hang when it cleans up.

tests/test_transports.py runs with the oldest and newest supported versions.
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
        # Not super().__init__(): httpx would create a pool, and does not accept a network backend.
        self.backend = Backend(route.handshakes, is_tunnel=route.is_tunnel)
        # pyrefly: ignore[bad-override-mutable-attribute]
        self._pool: Any = _open_connection(route, self.backend)
        self._httpcore_object = self._pool

    def is_clean(self) -> bool:
        """Return whether the last response was read completely and no bytes follow it."""
        return _is_clean(self._httpcore_object)

    def is_usable(self) -> bool:
        """Return whether the idle connection is still open and has received no bytes."""
        return _is_usable(self._httpcore_object)

    def close(self) -> None:
        """Close the connection in any state."""
        # Only the backend: a call interrupted by a signal may have left httpcore's objects locked.
        self.backend.close()


class AsyncTransport(httpx.AsyncHTTPTransport):
    """One connection for asyncio calls, one call at a time."""

    def __init__(self, route: Route) -> None:
        self.backend = AsyncBackend(route.handshakes, is_tunnel=route.is_tunnel)
        # pyrefly: ignore[bad-override-mutable-attribute]
        self._pool: Any = _open_async_connection(route, self.backend)
        self._httpcore_object = self._pool

    async def is_clean(self) -> bool:
        """Return whether the last response was read completely and no bytes follow it."""
        return _is_clean(self._httpcore_object) and await self.backend.is_silent()

    def is_usable(self) -> bool:
        """Return whether the idle connection is still open and has received no bytes."""
        return _is_usable(self._httpcore_object)

    async def aclose(self) -> None:
        """Close the connection in any state."""
        await self.backend.aclose()


def _open_connection(route: Route, backend: Backend) -> Union[httpcore.HTTPConnection, httpcore.ConnectionPool]:
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
    pool._optional_thread_lock = nullcontext()  # noqa: SLF001 - see the docstring of the module
    return cast("httpcore.ConnectionPool", pool)


def _open_async_connection(
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


def _connection_of(httpcore_object: Any) -> Any:
    """Return the connection. With a proxy, httpcore keeps it in a pool, here with a single connection."""
    if isinstance(httpcore_object, (httpcore.ConnectionPool, httpcore.AsyncConnectionPool)):
        connections = httpcore_object.connections
        return connections[0] if len(connections) == 1 else None
    return httpcore_object


def _is_usable(httpcore_object: Any) -> bool:
    connection = _connection_of(httpcore_object)
    return connection is not None and connection.is_idle() and not connection.has_expired()


def _is_clean(httpcore_object: Any) -> bool:
    connection: Optional[Any] = _connection_of(httpcore_object)
    if connection is None or not connection.is_idle():
        return False
    while connection is not None and not hasattr(connection, "_h11_state"):
        connection = getattr(connection, "_connection", None)
    return connection is not None and not connection._h11_state.trailing_data[0]  # noqa: SLF001 - no public API
