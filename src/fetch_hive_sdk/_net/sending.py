"""What blocking and asyncio connections share: what an error means, and what a request is sent with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import httpx

from fetch_hive_sdk._extensions import PROXY

if TYPE_CHECKING:
    from .deadline_backend import AsyncBackend, Backend
    from .proxies import Route

_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
# What the SOCKS of httpcore raises when the proxy answers something else.
_GARBAGE = (AssertionError, LookupError, ValueError)


def prepare(request: httpx.Request, route: Route) -> None:
    """Write down the proxy that a request goes through, for errors."""
    if route.proxy is not None:
        request.extensions[PROXY] = route.proxy.address


def explain(exc: BaseException, backend: Union[Backend, AsyncBackend], route: Route) -> BaseException:
    """Return the error to raise in place of another: one that says so if nothing of the request was sent."""
    if backend.has_sent or not backend.is_used or isinstance(exc, _BEFORE_SENDING):
        return exc
    if isinstance(exc, httpx.TimeoutException):
        return httpx.ConnectTimeout(str(exc))
    if isinstance(exc, httpx.TransportError):
        error = httpx.ConnectError if route.proxy is None else httpx.ProxyError
        return error(str(exc))
    if route.proxy is not None and route.proxy.is_socks and _is_garbage(exc):
        return httpx.ProxyError("the proxy did not answer as SOCKS says")
    return exc


def _is_garbage(exc: BaseException) -> bool:
    return isinstance(exc, _GARBAGE) or type(exc).__module__.partition(".")[0] == "socksio"
