"""Sends with aiohttp in place of httpcore, for those who make very many calls. Does I/O, decides nothing.

aiohttp gets a session as an API client wants it, a time limit for the whole call, and the errors of httpx, which tell
whether anything can have been sent. Of its own accord it sends no POST a second time.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from contextvars import ContextVar
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any, Optional, cast
from weakref import WeakSet

import aiohttp
import httpx

from ._pool import KEEPALIVE_SECONDS, tls_context
from ._sockets import abort, has_news

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from ._time import Patience

_LONGEST_HEADER = 64 * 1024
_PIECE_BYTES = 64 * 1024
_LARGE_BODY_BYTES = 1024 * 1024  # beyond which aiohttp warns of bytes

# Where a call learns of its connection. Before that, nothing of it has been sent.
_connected: ContextVar[asyncio.Future[asyncio.Transport]] = ContextVar("connected")


class Aiohttp:
    """Sends requests and has the two methods of `httpx.AsyncClient` that the connections of an event loop need."""

    def __init__(self) -> None:
        self._connector = _Connector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ssl=tls_context())
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )

    async def send(self, request: httpx.Request, **_: bool) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        request.url.host.encode("idna")  # a name that cannot be: before anything is sent, as with our own sockets
        patience = cast("Patience", request.extensions["timeout"]["read"])
        loop = asyncio.get_running_loop()
        connected: asyncio.Future[asyncio.Transport] = loop.create_future()
        sending = loop.create_task(self._request(request, connected))
        try:
            # aiohttp knows how long this may take.
            beginning: set[asyncio.Future[Any]] = {sending, connected}
            await asyncio.wait(beginning, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({sending}, timeout=patience.left())
        except BaseException:
            _give_up(sending, connected)
            raise
        if not sending.done():
            _give_up(sending, connected)
            raise httpx.ReadTimeout("the time is over")
        return _response(_result_of(sending), request, connected, patience)

    async def _request(
        self, request: httpx.Request, connected: asyncio.Future[asyncio.Transport]
    ) -> aiohttp.ClientResponse:
        _connected.set(connected)
        content = request.content
        return await self._session.request(
            request.method,
            str(request.url),
            headers=request.headers,
            data=content if len(content) <= _LARGE_BODY_BYTES else BytesIO(content),
            allow_redirects=False,
            # Beyond the threshold aiohttp would round up to whole seconds. Its limit for reading begins anew with every
            # byte, and goes on while nobody reads: that one is ours.
            timeout=aiohttp.ClientTimeout(connect=request.extensions["timeout"]["connect"], ceil_threshold=math.inf),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        # By force, first: aiohttp would wait for a server that does not read what it is sent.
        self._connector.abort()
        await self._session.close()


class _Connector(aiohttp.TCPConnector):
    """Tells a call of its connection: a new one, or one that has been silent since its last answer."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = cast("ResponseHandler", connection.protocol)
            transport = cast("asyncio.Transport", protocol.transport)
            if protocol not in self._known or _is_silent(protocol, transport):
                self._known.add(protocol)
                _connected.get().set_result(transport)
                return connection
            # Closed by the server, which the event loop has not told yet, or saying what nobody has asked for: aiohttp
            # would take it for the answer.
            connection.close()

    @cached_property
    def _known(self) -> WeakSet[ResponseHandler]:
        return WeakSet()

    def abort(self) -> None:
        """Close all connections at once."""
        for protocol in list(self._known):
            if protocol.transport is not None:
                abort(protocol.transport)


def _is_silent(protocol: ResponseHandler, transport: asyncio.Transport) -> bool:
    return not protocol.should_close and not has_news(transport.get_extra_info("socket").fileno())


def _give_up(sending: asyncio.Task[aiohttp.ClientResponse], connected: asyncio.Future[asyncio.Transport]) -> None:
    if not sending.done():
        # Not later: the connection of an answer that is there may have been given to another call.
        _break(connected)
    sending.add_done_callback(_discard)
    sending.cancel()


def _break(connected: asyncio.Future[asyncio.Transport]) -> None:
    """Close a connection at once: aiohttp would wait until all has been sent, and TLS has said goodbye."""
    if connected.done():
        abort(connected.result())


def _discard(sending: asyncio.Task[aiohttp.ClientResponse]) -> None:
    """Close the connection of an answer that came too late."""
    if not sending.cancelled() and sending.exception() is None:
        sending.result().close()


def _result_of(sending: asyncio.Task[aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
    try:
        return sending.result()
    except Exception as exc:  # noqa: BLE001 - whatever aiohttp stumbles over: the call may have been paid for
        failed = _translate(exc)
    raise failed  # out here: what aiohttp raised knows the headers, the key among them


def _response(
    received: aiohttp.ClientResponse,
    request: httpx.Request,
    connected: asyncio.Future[asyncio.Transport],
    patience: Patience,
) -> httpx.Response:
    return httpx.Response(
        received.status,
        headers=received.raw_headers,
        stream=_Body(received, connected, patience),
        request=request,
        extensions={"reason_phrase": (received.reason or "").encode("ascii", "ignore")},
    )


class _Body(httpx.AsyncByteStream):
    """The body of a response. Its connection is closed when nothing came in time, or the time of the call is over."""

    def __init__(
        self, response: aiohttp.ClientResponse, connected: asyncio.Future[asyncio.Transport], patience: Patience
    ) -> None:
        self._response = response
        self._connected = connected
        self._patience = patience
        self._end = math.inf  # the moment by which the next bytes must have come
        self._look_at = math.inf
        self._timer: Optional[asyncio.TimerHandle] = None
        self._is_late = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        failed = None
        try:
            self._wait()
            async for chunk in self._response.content.iter_chunked(_PIECE_BYTES):
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
            self._close()
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
        if not self._response.content.is_eof():
            self._close()
        with suppress(*_ERRORS):
            await self._response.__aexit__(None, None, None)

    def _close(self) -> None:
        self._response.close()
        _break(self._connected)


# A RuntimeError is what reading from a connection gives that was closed while nobody was reading.
_ERRORS = (aiohttp.ClientError, asyncio.TimeoutError, OSError, RuntimeError)


def _translate(error: Exception) -> httpx.TransportError:
    """Return what httpx would have raised."""
    translated = _kind_of(error)(str(error))
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        translated.__cause__ = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        translated.__cause__ = error.os_error
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
