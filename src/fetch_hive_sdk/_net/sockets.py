"""Sockets that ask how long they may still wait. Does I/O, decides nothing.

What httpcore brings takes a number of seconds when a body begins and keeps it to the end, so that a server that drips
could stretch a call. And its asyncio sockets, those of anyio, can lose a cancellation that comes while they connect.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Optional, cast

import httpcore

from fetch_hive_sdk._deadline import Deadline

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine, Iterable

# What httpcore declares for socket options; it exports no name for it.
SocketOptions = Any

_MAX_UNREAD_BYTES = 256 * 1024
_PACKET_BYTES = 64 * 1024


def _seconds(timeout: Optional[float]) -> Optional[float]:
    return timeout.left() if isinstance(timeout, Deadline) else timeout


class _Packet:
    """Puts the pieces together in which httpcore writes a request.

    It writes the head, then the body, then nothing, which marks the end. Sent as one packet (and one TLS record), a
    call takes one system call less, a tenth of its time where many threads make calls.
    """

    def __init__(self) -> None:
        self._pieces = b""

    @property
    def is_begun(self) -> bool:
        """Whether there is something that has not been sent."""
        return bool(self._pieces)

    def add(self, piece: bytes) -> bytes:
        """Take the next piece; return what is to be sent now, if anything."""
        self._pieces += piece
        if piece and len(self._pieces) < _PACKET_BYTES:
            return b""
        pieces, self._pieces = self._pieces, b""
        return pieces


# --- Blocking --------------------------------------------------------------------------------------------------------


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._unsent = _Packet()

    def read(self, max_bytes: int, timeout: Optional[float] = None) -> bytes:
        if self._unsent.is_begun:
            self.write(b"", timeout)
        return self._stream.read(max_bytes, _seconds(timeout))

    def write(self, buffer: bytes, timeout: Optional[float] = None) -> None:
        packet = self._unsent.add(buffer)
        if packet:
            self._stream.write(packet, _seconds(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _seconds(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Network(httpcore.SyncBackend):
    """Opens sockets for the blocking shell."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Optional[float] = None,
        local_address: Optional[str] = None,
        socket_options: Optional[Iterable[SocketOptions]] = None,
    ) -> httpcore.NetworkStream:
        """Open a connection."""
        return _Stream(super().connect_tcp(host, port, _seconds(timeout), local_address, socket_options))


# --- asyncio ---------------------------------------------------------------------------------------------------------


class _AsyncStream(httpcore.AsyncNetworkStream, asyncio.Protocol):
    """One connection. Waits on futures that end by data or by the clock, so that a cancellation is only ever itself."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()
        self._unsent = _Packet()
        self._ended = False
        self._error: Optional[Exception] = None
        self._is_full = False
        self._reading: Optional[asyncio.Future[None]] = None
        self._writing: Optional[asyncio.Future[None]] = None

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > _MAX_UNREAD_BYTES:
            self._transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> None:
        self._ended = True
        _wake(self._reading)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._ended = True
        self._error = self._error or exc
        _wake(self._reading)
        _wake(self._writing)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._writing)

    # What httpcore asks.

    async def read(self, max_bytes: int, timeout: Optional[float] = None) -> bytes:
        if self._unsent.is_begun:
            await self.write(b"", timeout)
        if not self._unread and not self._ended:
            self._reading = self._loop.create_future()
            await _until(self._reading, timeout, httpcore.ReadTimeout)
        if self._unread:
            data = bytes(self._unread[:max_bytes])
            del self._unread[:max_bytes]
            self._transport.resume_reading()
            return data
        if self._error is not None:
            raise httpcore.ReadError(str(self._error)) from self._error
        return b""

    async def write(self, buffer: bytes, timeout: Optional[float] = None) -> None:
        packet = self._unsent.add(buffer)
        if packet and not self._transport.is_closing():
            self._transport.write(packet)
        if self._is_full and not self._ended:
            self._writing = self._loop.create_future()
            await _until(self._writing, timeout, httpcore.WriteTimeout)
        if self._transport.is_closing():
            raise httpcore.WriteError(str(self._error or "the connection is closed")) from self._error

    async def aclose(self) -> None:
        self._transport.close()
        # Time to say goodbye, for TLS; then without the other side.
        await asyncio.sleep(0)
        self.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> httpcore.AsyncNetworkStream:
        # asyncio waits for ever on a connection that was lost before the handshake began.
        if self._transport.is_closing():
            raise httpcore.ConnectError("the connection broke before the TLS handshake")
        return await _connect(self._begin_tls(ssl_context, server_hostname), timeout)

    async def _begin_tls(self, ssl_context: ssl.SSLContext, server_hostname: Optional[str]) -> _AsyncStream:
        plain = self._transport
        try:
            secured = await self._loop.start_tls(plain, self, ssl_context, server_hostname=server_hostname)
        except BaseException:
            abort(plain)
            raise
        if secured is None:
            raise httpcore.ConnectError("the connection broke in the TLS handshake")
        self._transport = secured
        return self

    def abort(self) -> None:
        """Close the connection at once."""
        abort(self._transport)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._ended or bool(self._unread) or has_news(self._transport.get_extra_info("socket").fileno())
        return self._transport.get_extra_info({"client_addr": "sockname", "server_addr": "peername"}.get(info, info))


class AsyncNetwork(httpcore.AsyncNetworkBackend):
    """Opens sockets for the asyncio shell."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Optional[float] = None,
        local_address: Optional[str] = None,  # noqa: ARG002 - our pools set none
        socket_options: Optional[Iterable[SocketOptions]] = None,  # noqa: ARG002 - our pools set none
    ) -> httpcore.AsyncNetworkStream:
        """Open a connection."""
        return await _connect(_open(host, port), timeout)


async def _open(host: str, port: int) -> _AsyncStream:
    _, stream = await asyncio.get_running_loop().create_connection(_AsyncStream, host, port)
    return stream


async def _connect(work: Coroutine[Any, Any, _AsyncStream], timeout: Optional[float]) -> _AsyncStream:
    """Do a part of connecting in time, or leave nothing open."""
    connecting = asyncio.get_running_loop().create_task(work)
    try:
        # Unlike wait_for(), this leaves its task alone, and no cancellation is mistaken for another.
        await asyncio.wait({connecting}, timeout=_seconds(timeout))
    except BaseException:
        _give_up(connecting)
        raise
    if not connecting.done():
        _give_up(connecting)
        raise httpcore.ConnectTimeout("connecting took too long")
    try:
        return connecting.result()
    except OSError as exc:
        raise httpcore.ConnectError(str(exc)) from exc


def abort(transport: asyncio.Transport) -> None:
    # A transport that was told to close and has since written the last of its buffer forgets its event loop, but not
    # that it might have to abort.
    with suppress(AttributeError):
        transport.abort()


def _give_up(connecting: asyncio.Task[_AsyncStream]) -> None:
    connecting.add_done_callback(_discard)
    connecting.cancel()


def _discard(connecting: asyncio.Task[_AsyncStream]) -> None:
    """Close a connection that came too late."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().abort()


def _wake(waiter: Optional[asyncio.Future[None]]) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def _until(waiter: asyncio.Future[None], timeout: Optional[float], error: type[Exception]) -> None:
    """Wait until the event loop wakes us, or the time is over."""
    seconds = _seconds(timeout)
    timer = None if seconds is None else waiter.get_loop().call_later(seconds, _expire, waiter, error)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()
        if waiter.done() and not waiter.cancelled():
            waiter.exception()  # seen, even if a cancellation came first


def _expire(waiter: asyncio.Future[None], error: type[Exception]) -> None:
    if not waiter.done():
        waiter.set_exception(error("the time is over"))


def has_news(descriptor: int) -> bool:
    """Whether a socket that should be silent has something to say: that the other side has closed it."""
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
