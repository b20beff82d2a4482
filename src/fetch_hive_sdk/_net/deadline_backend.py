"""Network streams that enforce the call's deadline. Does I/O, decides nothing about the API.

httpcore's own backends open, secure, read and write. They take a number of seconds for each step, so a server that
drips could stretch a call; these wrappers give each step what is left of the call's time, and begin none without time.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Optional, cast

import httpcore

from fetch_hive_sdk._deadline import FOREVER, Deadline
from fetch_hive_sdk._extensions import CLOSED

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

# A run may be silent for minutes. Without this, a NAT on the way forgets the connection, and neither end notices.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 4}
SOCKET_OPTIONS: list[httpcore.SOCKET_OPTION] = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *[
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in _KEEPALIVE.items()
        if hasattr(socket, name)
    ],
]

_PIECE_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024  # what an event loop reads at once
_FIRST_ADDRESSES_SECONDS = 0.5  # for each address but the last, while others wait
_PROBE_SECONDS = 0.001


def _left(timeout: Optional[float]) -> Optional[float]:
    """Return the seconds that the next step may take."""
    if isinstance(timeout, Deadline):
        return timeout.left()
    return None if timeout is None else min(timeout, FOREVER)


def _is_over(timeout: Optional[float]) -> bool:
    return isinstance(timeout, Deadline) and timeout.is_over()


def _earlier(one: Optional[float], other: Optional[float]) -> Optional[float]:
    limits = [limit for limit in (one, other) if limit is not None]
    return min(limits, key=lambda limit: _left(limit) or 0.0) if limits else None


class _Packet:
    """Joins the pieces in which httpcore writes a request.

    It writes the head, then the body, then nothing, which marks the end. Sent as one packet (and one TLS record), a
    call takes one system call less, a tenth of its time where many threads make calls.
    """

    def __init__(self) -> None:
        self._pieces = b""

    @property
    def is_begun(self) -> bool:
        """Whether some bytes have not been sent."""
        return bool(self._pieces)

    def add(self, piece: bytes) -> bytes:
        """Take the next piece; return what is to be sent now, if anything."""
        self._pieces += piece
        if piece and len(self._pieces) < _PIECE_BYTES:
            return b""
        pieces, self._pieces = self._pieces, b""
        return pieces


class _Line:
    """What the blocking and the asyncio backend of a connection have in common: how far it has come.

    Args:
        handshakes: How many TLS handshakes come before the request: with a proxy, the tunnel is dug before the last.
            Until then nothing of the request is sent, and each step is part of connecting.
        is_tunnel: Whether bytes are exchanged with a proxy first.
    """

    def __init__(self, handshakes: int = 0, *, is_tunnel: bool = False) -> None:
        self._handshakes = handshakes
        self._is_tunnel = is_tunnel
        self._connecting: Optional[float] = None
        self._process = os.getpid()
        self.is_used = False
        """Whether a connection was begun. It is not if a mock, such as respx, answers in its place."""
        self.has_sent = False
        """Whether bytes of the current request may have been sent."""
        self.is_closed = False
        """Whether it was closed, perhaps by another thread or task."""

    def limit(self, timeout: Optional[float]) -> Optional[float]:
        """Return the limit of a step, which while the connection is made is at most that of connecting."""
        if self._handshakes:
            return _earlier(timeout, self._connecting)
        # The SOCKS of httpcore gives no limits.
        return self._connecting if timeout is None and self._is_tunnel else timeout

    def begin_connecting(self, timeout: Optional[float]) -> Optional[float]:
        """Return the limit of connecting, as a moment."""
        if timeout is not None and not isinstance(timeout, Deadline):
            timeout = Deadline(timeout, time.monotonic() + timeout)
        self._connecting = timeout
        self.is_used = True
        return timeout

    def check(self, limit: Optional[float]) -> None:
        """Refuse to begin a step of connecting for which no time is left."""
        if self.is_closed:
            raise httpcore.ConnectError(CLOSED)
        if _is_over(limit):
            raise httpcore.ConnectTimeout("no time was left to connect")

    def begin_sending(self, limit: Optional[float]) -> None:
        """Look at the clock for the last time before bytes of the request are sent."""
        if self.has_sent:
            if self.is_closed:
                raise httpcore.ReadError(CLOSED)
            if _is_over(limit):
                raise httpcore.WriteTimeout("no time was left to send the request")
        else:
            self.check(limit)
            self.has_sent = not self._handshakes

    def end_handshake(self) -> None:
        self._handshakes = max(0, self._handshakes - 1)


def _look_up(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise httpcore.ConnectError(str(exc)) from exc
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


# --- Blocking --------------------------------------------------------------------------------------------------------


class Backend(_Line, httpcore.NetworkBackend):
    """Opens the one connection of a slot for the blocking shell."""

    def __init__(self, handshakes: int = 0, *, is_tunnel: bool = False) -> None:
        super().__init__(handshakes, is_tunnel=is_tunnel)
        self._opens = httpcore.SyncBackend()
        self._stream: Optional[httpcore.NetworkStream] = None
        self.securing: Optional[ssl.SSLSocket] = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Optional[float] = None,
        local_address: Optional[str] = None,
        socket_options: Optional[Iterable[httpcore.SOCKET_OPTION]] = None,
    ) -> httpcore.NetworkStream:
        """Open a connection to the first address that answers in time."""
        limit = self.begin_connecting(timeout)
        options = [*SOCKET_OPTIONS, *(socket_options or ())]
        addresses = _look_up(host, port)
        attempts = [(address, address != addresses[-1]) for address in addresses]
        error: Exception = httpcore.ConnectError("the host has no address")
        for address, has_rival in attempts:
            self.check(limit)
            seconds = _left(limit)
            is_hurried = has_rival and (seconds is None or seconds > _FIRST_ADDRESSES_SECONDS)
            try:
                stream = self._opens.connect_tcp(
                    address, port, _FIRST_ADDRESSES_SECONDS if is_hurried else seconds, local_address, options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                error = exc
                if is_hurried and isinstance(exc, httpcore.ConnectTimeout):
                    attempts.append((address, False))  # slow, perhaps, and not silent
            else:
                return self._keep(stream)
        raise error

    def _keep(self, stream: httpcore.NetworkStream) -> httpcore.NetworkStream:
        self._stream = stream
        if self.is_closed:
            self.close()
            raise httpcore.ConnectError(CLOSED)
        return _Stream(stream, self)

    def start_tls(
        self, plain: httpcore.NetworkStream, context: ssl.SSLContext, name: Optional[str], timeout: Optional[float]
    ) -> httpcore.NetworkStream:
        """Secure a connection."""
        limit = self.limit(timeout)
        self.check(limit)
        is_bare = not isinstance(plain.get_extra_info("socket"), ssl.SSLSocket)
        interruptible = cast("ssl.SSLContext", _Handshake(context, self)) if is_bare else context
        try:
            stream = self._keep(plain.start_tls(interruptible, name, _left(limit)))
        except httpcore.ConnectError:
            if self.is_closed:
                raise httpcore.ConnectError(CLOSED) from None
            raise
        self.end_handshake()
        return stream

    def abort(self) -> None:
        """End a call that another thread is making: whatever it waits for on this connection ends at once.

        The connection stays open, because that thread may be about to use its number, which could soon be another's.
        """
        self.is_closed = True
        sock: Optional[socket.socket] = self.securing
        if sock is None and self._stream is not None:
            sock = self._stream.get_extra_info("socket")
        if sock is not None and self._process == os.getpid():
            # Not SSLSocket's own method, which is not for two threads.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. In a forked child the parent's stays open: only the child's copy is closed."""
        self.abort()
        if self._stream is not None:
            self._stream.close()


class _Handshake:
    """A TLS context as httpcore uses it, of which another thread can end the handshake.

    The plain socket is of no use then, as its descriptor has become that of the secured one.
    """

    def __init__(self, context: ssl.SSLContext, line: Backend) -> None:
        self._context = context
        self._line = line

    def wrap_socket(self, sock: socket.socket, server_hostname: Optional[str]) -> ssl.SSLSocket:
        secured = self._context.wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        self._line.securing = secured
        try:
            self._line.check(None)
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        finally:
            self._line.securing = None
        return secured


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, line: Backend) -> None:
        self._stream = stream
        self._line = line
        self._unsent = _Packet()
        self._early: Optional[bytes] = None

    def read(self, max_bytes: int, timeout: Optional[float] = None) -> bytes:
        if self._unsent.is_begun:
            self.write(b"", timeout)
        if self._early is not None:
            data, self._early = self._early, None
            return data
        try:
            data = self._stream.read(max_bytes, _left(self._line.limit(timeout)))
        except httpcore.ReadError:
            if self._line.is_closed:
                raise httpcore.ReadError(CLOSED) from None
            raise
        if not data and self._line.is_closed:
            raise httpcore.ReadError(CLOSED)
        return data

    def write(self, buffer: bytes, timeout: Optional[float] = None) -> None:
        packet = self._unsent.add(buffer)
        limit = self._line.limit(timeout)
        for begin in range(0, len(packet), _PIECE_BYTES):
            self._line.begin_sending(limit)
            if begin and self._is_answered_early():
                # httpcore reads the answer after an error of writing.
                raise httpcore.WriteError("the answer came before the request was sent")
            self._stream.write(packet[begin : begin + _PIECE_BYTES], _left(limit))

    def _is_answered_early(self) -> bool:
        """Look for an answer that comes while the request is being sent: a refusal, which a reset would wipe out."""
        if self._stream.get_extra_info("is_readable"):
            with suppress(httpcore.ReadError, httpcore.ReadTimeout):  # of TLS there may be something that is no answer
                self._early = self._stream.read(_PIECE_BYTES, 0.0)
        return self._early is not None

    def close(self) -> None:
        self._line.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> httpcore.NetworkStream:
        return self._line.start_tls(self._stream, ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._is_readable()
        return self._stream.get_extra_info(info)

    def _is_readable(self) -> bool:
        if self._early is not None or self._stream.get_extra_info("is_readable"):
            return True
        secured = self._stream.get_extra_info("ssl_object")
        return secured is not None and bool(secured.pending())


# --- asyncio ---------------------------------------------------------------------------------------------------------


class AsyncBackend(_Line, httpcore.AsyncNetworkBackend):
    """Opens the one connection of a slot for the asyncio shell."""

    def __init__(self, handshakes: int = 0, *, is_tunnel: bool = False) -> None:
        super().__init__(handshakes, is_tunnel=is_tunnel)
        # It has two definitions, of which one is for programs without anyio.
        self._opens = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        self._stream: Optional[httpcore.AsyncNetworkStream] = None
        self._reads: Optional[_AsyncStream] = None
        self._task: Optional[asyncio.Task[httpcore.AsyncNetworkStream]] = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Optional[float] = None,
        local_address: Optional[str] = None,
        socket_options: Optional[Iterable[httpcore.SOCKET_OPTION]] = None,
    ) -> httpcore.AsyncNetworkStream:
        """Open a connection to the first address that answers in time."""
        limit = self.begin_connecting(timeout)
        options = [*SOCKET_OPTIONS, *(socket_options or ())]
        self.check(limit)
        try:
            host.encode("idna")  # an invalid name, for which anyio would ask all the same
            opening = partial(self._opens.connect_tcp, host, port, None, local_address, options)
            return await self._keep(await self._finish(opening, limit))
        except UnicodeError as exc:
            raise httpcore.ConnectError(str(exc)) from exc

    async def _keep(self, stream: httpcore.AsyncNetworkStream) -> httpcore.AsyncNetworkStream:
        self._stream = stream
        if self.is_closed:
            await stream.aclose()
            raise httpcore.ConnectError(CLOSED)
        self._reads = _AsyncStream(stream, self)
        return self._reads

    async def start_tls(
        self,
        plain: httpcore.AsyncNetworkStream,
        context: ssl.SSLContext,
        name: Optional[str],
        timeout: Optional[float],
    ) -> httpcore.AsyncNetworkStream:
        """Secure a connection."""
        limit = self.limit(timeout)
        self.check(limit)
        stream = await self._keep(await self._finish(partial(plain.start_tls, context, name, None), limit))
        self.end_handshake()
        return stream

    async def _finish(
        self, work: Callable[[], Coroutine[Any, Any, httpcore.AsyncNetworkStream]], limit: Optional[float]
    ) -> httpcore.AsyncNetworkStream:
        """Do a step of connecting in time, or leave nothing open.

        In a task of its own: anyio can lose a cancellation that comes while it connects, and wait_for() a connection.
        """
        step = _Step(work)
        task = self._task = asyncio.ensure_future(step.run())
        try:
            await asyncio.wait({task}, timeout=_left(limit))
        except BaseException:
            await step.give_up(task)
            raise
        if not task.done():
            await step.give_up(task)
            raise httpcore.ConnectTimeout("connecting took too long")
        if self.is_closed and (task.cancelled() or task.exception() is not None):
            raise httpcore.ConnectError(CLOSED)
        return task.result()

    def begin_request(self) -> None:
        self.has_sent = False
        if self._reads is not None:
            self._reads.bytes_read = 0

    async def is_silent(self) -> bool:
        """Whether nothing follows the answer that was read."""
        return self._reads is not None and await self._reads.is_silent()

    async def aclose(self) -> None:
        """Close the connection, or end the making of it."""
        self.is_closed = True
        if self._task is not None:
            self._task.cancel()
        if self._stream is not None:
            await self._stream.aclose()


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, line: AsyncBackend) -> None:
        self._stream = stream
        self._line = line
        self._unsent = _Packet()
        self._unread = b""
        self._secured: Optional[ssl.SSLObject] = stream.get_extra_info("ssl_object")
        # TLS allocates what it may read; without it, all that the event loop holds is taken.
        self._read_bytes = _READ_BYTES if self._secured is None else _PIECE_BYTES
        self.bytes_read = 0

    async def read(self, max_bytes: int, timeout: Optional[float] = None) -> bytes:
        if self._unsent.is_begun:
            await self.write(b"", timeout)
        if not self._unread:
            try:
                self._unread = await self._stream.read(self._read_bytes, _left(self._line.limit(timeout)))
            except httpcore.ReadError:
                if self._line.is_closed:
                    raise httpcore.ReadError(CLOSED) from None
                raise
            self.bytes_read += len(self._unread)
            if not self._unread and self._line.is_closed:
                raise httpcore.ReadError(CLOSED)
        data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return data

    async def write(self, buffer: bytes, timeout: Optional[float] = None) -> None:
        packet = self._unsent.add(buffer)
        if not packet:
            return
        limit = self._line.limit(timeout)
        self._line.begin_sending(limit)
        if len(packet) <= _PIECE_BYTES:
            await self._stream.write(packet, _left(limit))
        else:
            await self._write_long(packet, limit)

    async def _write_long(self, packet: bytes, limit: Optional[float]) -> None:
        # A refusal may come while the request is being sent, and be wiped out by the reset that follows.
        reading = asyncio.ensure_future(self._stream.read(self._read_bytes, None))
        writing = asyncio.ensure_future(self._write_pieces(packet, limit))
        reading.add_done_callback(_look_at)
        writing.add_done_callback(_look_at)
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not writing.done():
                writing.cancel()
            if not reading.done():
                reading.cancel()
            await asyncio.wait({reading, writing})
        if not reading.cancelled() and reading.exception() is None:
            self._unread = reading.result()
            if self._unread:
                raise httpcore.WriteError("the answer came before the request was sent")
        if not writing.cancelled():
            writing.result()
            return
        raise httpcore.WriteError("the connection broke while the request was sent")

    async def _write_pieces(self, packet: bytes, limit: Optional[float]) -> None:
        for begin in range(0, len(packet), _PIECE_BYTES):
            self._line.begin_sending(limit)
            await self._stream.write(packet[begin : begin + _PIECE_BYTES], _left(limit))

    async def aclose(self) -> None:
        await self._line.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> httpcore.AsyncNetworkStream:
        return await self._line.start_tls(self._stream, ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._is_readable()
        return self._stream.get_extra_info(info)

    def _is_readable(self) -> bool:
        if self._unread or self._stream.get_extra_info("is_readable"):
            return True
        if self._secured is None:
            return False
        try:
            self._secured.read(1)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            pass
        return True

    async def is_silent(self) -> bool:
        """Look for what anyio may have kept of a long answer: what it reads, it hands on in pieces of 64 KiB."""
        if self._unread:
            return False
        if self.bytes_read >= _PIECE_BYTES:
            try:
                self._unread = await self._stream.read(1, _PROBE_SECONDS)
            except httpcore.ReadTimeout:
                return True
            except httpcore.ReadError:
                pass
            return False
        return True


class _Step:
    """A step of connecting, which closes what it opens when nothing waits for it any more."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, httpcore.AsyncNetworkStream]]) -> None:
        # Not a coroutine: a task that is cancelled before its first step would leave it behind, never awaited.
        self._work = work
        self._is_given_up = False

    async def run(self) -> httpcore.AsyncNetworkStream:
        stream = await self._work()
        if self._is_given_up:
            await stream.aclose()
            raise asyncio.CancelledError
        return stream

    async def give_up(self, task: asyncio.Task[httpcore.AsyncNetworkStream]) -> None:
        self._is_given_up = True
        if not task.done():
            task.cancel()
            task.add_done_callback(_look_at)
        elif not task.cancelled() and task.exception() is None:
            await task.result().aclose()


def _look_at(task: asyncio.Task[Any]) -> None:
    """Take note of an error that may not count any more, or asyncio reports it as forgotten."""
    if not task.cancelled():
        task.exception()
