"""Sends with aiohttp in place of httpcore, for those who make very many calls. Does I/O, decides nothing.

`httpx-aiohttp` presents aiohttp as an httpx transport. Here it gets a session as an API client wants it, a time limit
for the whole call, and errors that can be trusted: the adapter calls a connection that broke after the request was
sent a failure to connect, which would be repeated, and billed again.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Optional, cast

import aiohttp
import httpx
import httpx_aiohttp

from ._pool import KEEPALIVE_SECONDS, tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ._time import Patience

_LONGEST_HEADER = 64 * 1024
_GRACE_SECONDS = 0.05  # for aiohttp to say first that it could not connect


class Aiohttp:
    """Sends requests and has the two methods of `httpx.AsyncClient` that the connections of an event loop need."""

    def __init__(self) -> None:
        # verify=False: the adapter would make a TLS context that the session has no use for.
        self._transport = httpx_aiohttp.AiohttpTransport(verify=False, client=_make_session)

    async def send(self, request: httpx.Request, **_: bool) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        request.url.host.encode("idna")  # a name that cannot be: before anything is sent, as with our own sockets
        limits = request.extensions["timeout"]
        patience = cast("Patience", limits["read"])
        # aiohttp's limit for reading begins anew with every byte, and goes on while nobody reads.
        request.extensions = {**request.extensions, "timeout": {**limits, "read": None}}
        sending = asyncio.get_running_loop().create_task(self._transport.handle_async_request(request))
        try:
            await asyncio.wait({sending}, timeout=patience.left() + _GRACE_SECONDS)
        except BaseException:
            _give_up(sending)
            raise
        if not sending.done():
            _give_up(sending)
            raise httpx.ReadTimeout("the time is over")
        response = _result_of(sending)
        response.request = request
        response.stream = _Body(cast("httpx.AsyncByteStream", response.stream), patience)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def _make_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ssl=tls_context()),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )


def _give_up(sending: asyncio.Task[httpx.Response]) -> None:
    sending.add_done_callback(_discard)
    sending.cancel()


def _discard(sending: asyncio.Task[httpx.Response]) -> None:
    """Close the connection of an answer that came too late."""
    if not sending.cancelled() and sending.exception() is None:
        _response_of(sending.result().stream).close()


def _response_of(stream: object) -> aiohttp.ClientResponse:
    return cast("aiohttp.ClientResponse", vars(stream)["_aiohttp_response"])  # which the adapter keeps to itself


def _result_of(sending: asyncio.Task[httpx.Response]) -> httpx.Response:
    try:
        return sending.result()
    except Exception as exc:  # noqa: BLE001 - the adapter may stumble over an answer, and the call has been paid for
        failed = _translate(exc)
    raise failed  # out here: what aiohttp raised knows the headers, the key among them


class _Body(httpx.AsyncByteStream):
    """The body of a response. Its connection is closed when nothing came in time, or the time of the call is over."""

    def __init__(self, stream: httpx.AsyncByteStream, patience: Patience) -> None:
        self._stream = stream
        self._response = _response_of(stream)
        self._patience = patience
        self._end = math.inf  # the moment by which the next bytes must have come
        self._look_at = math.inf
        self._timer: Optional[asyncio.TimerHandle] = None
        self._is_late = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        failed = None
        try:
            self._wait()
            async for chunk in self._stream:
                self._end = math.inf  # the time that the caller takes does not count
                yield chunk
                self._wait()
        except _ERRORS as exc:
            failed = httpx.ReadTimeout("the time is over") if self._is_late else _translate(exc)
        if failed is not None:
            yield self._left_over()
            raise failed  # out here, as above

    def _wait(self) -> None:
        """From now on the next bytes are waited for."""
        self._end = min(self._patience.clock() + self._patience, self._patience.deadline)
        # One timer, which looks whether the moment has moved: one for each chunk would cost more than its events.
        if self._end < self._look_at:
            self._schedule()

    def _schedule(self) -> None:
        self._stop()
        self._look_at = self._end
        self._timer = asyncio.get_running_loop().call_later(self._end - self._patience.clock(), self._look)

    def _look(self) -> None:
        self._look_at = math.inf
        if self._end <= self._patience.clock():
            self._is_late = True
            self._response.close()
        elif self._end < math.inf:
            self._schedule()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _left_over(self) -> bytes:
        """Return what had come before the connection broke, which aiohttp would forget: it has been paid for."""
        content = self._response.content
        # There is no other way to what lies in there.
        content._exception = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return content.read_nowait()

    async def aclose(self) -> None:
        self._stop()
        with suppress(*_ERRORS):
            await self._stream.aclose()


# A RuntimeError is what reading from a connection gives that was closed while nobody was reading.
_ERRORS = (httpx.HTTPError, aiohttp.ClientError, asyncio.TimeoutError, RuntimeError)


def _translate(error: Exception) -> httpx.TransportError:
    """Return what httpx would have raised, the adapter's own translation undone."""
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    translated = _kind_of(cause)(str(cause))
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        translated.__cause__ = cause.certificate_error
    elif isinstance(cause, aiohttp.ClientConnectorError):
        translated.__cause__ = cause.os_error
    return translated


def _kind_of(error: BaseException) -> type[httpx.TransportError]:
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL)):
        return httpx.ConnectError
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx.ConnectTimeout
    if isinstance(error, asyncio.TimeoutError):
        return httpx.ReadTimeout
    if isinstance(error, aiohttp.ClientOSError):
        return httpx.ReadError
    return httpx.RemoteProtocolError
