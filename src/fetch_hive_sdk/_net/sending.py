"""Helpers for blocking and asyncio connections: preparing requests and translating errors."""

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
# Raised by httpcore's SOCKS implementation if the proxy's reply is not SOCKS.
_INVALID_SOCKS_REPLY = (AssertionError, LookupError, ValueError)


def prepare(request: httpx.Request, route: Route) -> None:
    """Record the proxy of a request, for error messages."""
    if route.proxy is not None:
        request.extensions[PROXY] = route.proxy.address


def explain(exc: BaseException, backend: Union[Backend, AsyncBackend], route: Route) -> BaseException:
    """Return the error to raise in place of `exc`: a connection error if no byte of the request was sent."""
    if backend.has_sent or not backend.is_used or isinstance(exc, _BEFORE_SENDING):
        return exc
    if isinstance(exc, httpx.TimeoutException):
        return httpx.ConnectTimeout(str(exc))
    if isinstance(exc, httpx.TransportError):
        error = httpx.ConnectError if route.proxy is None else httpx.ProxyError
        return error(str(exc))
    if route.proxy is not None and route.proxy.is_socks and _is_invalid_socks_reply(exc):
        return httpx.ProxyError("the proxy returned an invalid SOCKS reply")
    return exc


def _is_invalid_socks_reply(exc: BaseException) -> bool:
    return isinstance(exc, _INVALID_SOCKS_REPLY) or type(exc).__module__.partition(".")[0] == "socksio"
