"""Network streams that enforce the call's deadline. Does I/O, does not depend on the API.

httpcore's backends connect, read and write. They take a timeout for each step, so a server that sends one byte at a
time could extend a call. These wrappers pass the remaining time of the call to each step, and start none without time.
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

# A run may send no bytes for minutes. Without keepalive, a NAT can drop the connection without notice to either end.
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
_READ_BYTES = 256 * 1024  # the read size of asyncio's event loops
_FIRST_ADDRESSES_SECONDS = 0.5  # for each address except the last, while others remain
_PROBE_SECONDS = 0.001


def _left(timeout: Optional[float]) -> Optional[float]:
    """Return the timeout of the next step in seconds."""
    if isinstance(timeout, Deadline):
        return timeout.left()
    return None if timeout is None else min(timeout, FOREVER)


def _is_over(timeout: Optional[float]) -> bool:
    return isinstance(timeout, Deadline) and timeout.is_over()


def _earliest(one: Optional[float], other: Optional[float]) -> Optional[float]:
    limits = [limit for limit in (one, other) if limit is not None]
    return min(limits, key=lambda limit: _left(limit) or 0.0) if limits else None


class _Packet:
    """Joins the pieces in which httpcore writes a request.

    httpcore writes the head, then the body, then an empty string at the end. Sending them as one packet (and one TLS
    record) saves one system call per request: a tenth of the time of a call when many threads make calls.
    """

    def __init__(self) -> None:
        self._pieces = b""

    @property
    def has_unsent_bytes(self) -> bool:
        """Whether there are unsent bytes."""
        return bool(self._pieces)

    def add(self, piece: bytes) -> bytes:
        """Add the next piece. Return the bytes to send now, possibly none."""
        self._pieces += piece
        if piece and len(self._pieces) < _PIECE_BYTES:
            return b""
        pieces, self._pieces = self._pieces, b""
        return pieces


class _BaseBackend:
    """State of a connection that the blocking and asyncio backends share.

    Args:
        handshakes: The number of TLS handshakes before the request. With a proxy, the tunnel is set up before the last
            one. Until then no byte of the request is sent, and each step is part of connecting.
        is_tunnel: Whether the client negotiates with a proxy first.
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
        """Whether the connection was closed, possibly by another thread or task."""

    def limit(self, timeout: Optional[float]) -> Optional[float]:
        """Return the limit of a step. While connecting, it is at most the limit of connecting."""
        if self._handshakes:
            return _earliest(timeout, self._connecting)
        # httpcore's SOCKS implementation passes no timeouts.
        return self._connecting if timeout is None and self._is_tunnel else timeout

    def begin_connecting(self, timeout: Optional[float]) -> Optional[float]:
        """Start connecting, and return its limit as a deadline."""
        if timeout is not None and not isinstance(timeout, Deadline):
            timeout = Deadline(timeout, time.monotonic() + timeout)
        self._connecting = timeout
        self.is_used = True
        return timeout

    def check(self, limit: Optional[float]) -> None:
        """Raise an error if the connection was closed or no time is left to connect."""
        if self.is_closed:
            raise httpcore.ConnectError(CLOSED)
        if _is_over(limit):
            raise httpcore.ConnectTimeout("no time was left to connect")

    def begin_sending(self, limit: Optional[float]) -> None:
        """Check the deadline immediately before bytes of the request are sent."""
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


class Backend(_BaseBackend, httpcore.NetworkBackend):
    """Opens the connection of a slot for blocking calls."""

    def __init__(self, handshakes: int = 0, *, is_tunnel: bool = False) -> None:
        super().__init__(handshakes, is_tunnel=is_tunnel)
        self._httpcore_backend = httpcore.SyncBackend()
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
        """Connect to the first address that responds in time."""
        limit = self.begin_connecting(timeout)
        options = [*SOCKET_OPTIONS, *(socket_options or ())]
        addresses = _look_up(host, port)
        attempts = [(address, address != addresses[-1]) for address in addresses]
        error: Exception = httpcore.ConnectError("the host has no address")
        for address, has_next in attempts:
            self.check(limit)
            seconds = _left(limit)
            is_hurried = has_next and (seconds is None or seconds > _FIRST_ADDRESSES_SECONDS)
            try:
                stream = self._httpcore_backend.connect_tcp(
                    address, port, _FIRST_ADDRESSES_SECONDS if is_hurried else seconds, local_address, options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                error = exc
                if is_hurried and isinstance(exc, httpcore.ConnectTimeout):
                    attempts.append((address, False))  # try it again without the short limit: it may only be slow
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
        """Do the TLS handshake."""
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
        """End a call of another thread: its reads and writes on this connection fail at once.

        The socket stays open, because the other thread may be about to use its descriptor: the system could meanwhile
        assign the same number to another file.
        """
        self.is_closed = True
        sock: Optional[socket.socket] = self.securing
        if sock is None and self._stream is not None:
            sock = self._stream.get_extra_info("socket")
        if sock is not None and self._process == os.getpid():
            # SSLSocket.shutdown is not thread-safe.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. A forked child closes only its own copy; the parent's connection stays open."""
        self.abort()
        if self._stream is not None:
            self._stream.close()


class _Handshake:
    """Wraps a TLS context so that another thread can end the handshake.

    The plain socket cannot be shut down during the handshake, as the TLS socket has taken over its descriptor.
    """

    def __init__(self, context: ssl.SSLContext, backend: Backend) -> None:
        self._context = context
        self._backend = backend

    def wrap_socket(self, sock: socket.socket, server_hostname: Optional[str]) -> ssl.SSLSocket:
        secured = self._context.wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        self._backend.securing = secured
        try:
            self._backend.check(None)
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        finally:
            self._backend.securing = None
        return secured


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, backend: Backend) -> None:
        self._stream = stream
        self._backend = backend
        self._unsent = _Packet()
        self._early: Optional[bytes] = None

    def read(self, max_bytes: int, timeout: Optional[float] = None) -> bytes:
        if self._unsent.has_unsent_bytes:
            self.write(b"", timeout)
        if self._early is not None:
            data, self._early = self._early, None
            return data
        try:
            data = self._stream.read(max_bytes, _left(self._backend.limit(timeout)))
        except httpcore.ReadError:
            if self._backend.is_closed:
                raise httpcore.ReadError(CLOSED) from None
            raise
        if not data and self._backend.is_closed:
            raise httpcore.ReadError(CLOSED)
        return data

    def write(self, buffer: bytes, timeout: Optional[float] = None) -> None:
        packet = self._unsent.add(buffer)
        limit = self._backend.limit(timeout)
        for begin in range(0, len(packet), _PIECE_BYTES):
            self._backend.begin_sending(limit)
            if begin and self._is_answered_early():
                # httpcore reads the response after a write error.
                raise httpcore.WriteError("the response arrived before the request was sent")
            self._stream.write(packet[begin : begin + _PIECE_BYTES], _left(limit))

    def _is_answered_early(self) -> bool:
        """Return whether a response, usually an error, has arrived early. A later reset would discard it."""
        if self._stream.get_extra_info("is_readable"):
            with suppress(httpcore.ReadError, httpcore.ReadTimeout):  # TLS may have received other records
                self._early = self._stream.read(_PIECE_BYTES, 0.0)
        return self._early is not None

    def close(self) -> None:
        self._backend.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> httpcore.NetworkStream:
        return self._backend.start_tls(self._stream, ssl_context, server_hostname, timeout)

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


class AsyncBackend(_BaseBackend, httpcore.AsyncNetworkBackend):
    """Opens the connection of a slot for asyncio calls."""

    def __init__(self, handshakes: int = 0, *, is_tunnel: bool = False) -> None:
        super().__init__(handshakes, is_tunnel=is_tunnel)
        # httpcore defines it twice: once for programs without anyio.
        self._httpcore_backend = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        self._stream: Optional[httpcore.AsyncNetworkStream] = None
        self._wrapped_stream: Optional[_AsyncStream] = None
        self._task: Optional[asyncio.Task[httpcore.AsyncNetworkStream]] = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Optional[float] = None,
        local_address: Optional[str] = None,
        socket_options: Optional[Iterable[httpcore.SOCKET_OPTION]] = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that responds in time."""
        limit = self.begin_connecting(timeout)
        options = [*SOCKET_OPTIONS, *(socket_options or ())]
        self.check(limit)
        try:
            host.encode("idna")  # rejects invalid names, which anyio would look up
            opening = partial(self._httpcore_backend.connect_tcp, host, port, None, local_address, options)
            return await self._keep(await self._finish(opening, limit))
        except UnicodeError as exc:
            raise httpcore.ConnectError(str(exc)) from exc

    async def _keep(self, stream: httpcore.AsyncNetworkStream) -> httpcore.AsyncNetworkStream:
        self._stream = stream
        if self.is_closed:
            await stream.aclose()
            raise httpcore.ConnectError(CLOSED)
        self._wrapped_stream = _AsyncStream(stream, self)
        return self._wrapped_stream

    async def start_tls(
        self,
        plain: httpcore.AsyncNetworkStream,
        context: ssl.SSLContext,
        name: Optional[str],
        timeout: Optional[float],
    ) -> httpcore.AsyncNetworkStream:
        """Do the TLS handshake."""
        limit = self.limit(timeout)
        self.check(limit)
        stream = await self._keep(await self._finish(partial(plain.start_tls, context, name, None), limit))
        self.end_handshake()
        return stream

    async def _finish(
        self, work: Callable[[], Coroutine[Any, Any, httpcore.AsyncNetworkStream]], limit: Optional[float]
    ) -> httpcore.AsyncNetworkStream:
        """Run a step of connecting within its limit. On failure, leave no connection open.

        The step runs in its own task: anyio can lose a cancellation while it connects, and wait_for() a connection.
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
        if self._wrapped_stream is not None:
            self._wrapped_stream.bytes_read = 0

    async def is_silent(self) -> bool:
        """Return whether no bytes follow the response."""
        return self._wrapped_stream is not None and await self._wrapped_stream.is_silent()

    async def aclose(self) -> None:
        """Close the connection, or stop connecting."""
        self.is_closed = True
        if self._task is not None:
            self._task.cancel()
        if self._stream is not None:
            await self._stream.aclose()


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, backend: AsyncBackend) -> None:
        self._stream = stream
        self._backend = backend
        self._unsent = _Packet()
        self._unread = b""
        self._secured: Optional[ssl.SSLObject] = stream.get_extra_info("ssl_object")
        # TLS allocates a buffer of the requested size; without TLS, read all that the event loop has buffered.
        self._read_bytes = _READ_BYTES if self._secured is None else _PIECE_BYTES
        self.bytes_read = 0

    async def read(self, max_bytes: int, timeout: Optional[float] = None) -> bytes:
        if self._unsent.has_unsent_bytes:
            await self.write(b"", timeout)
        if not self._unread:
            try:
                self._unread = await self._stream.read(self._read_bytes, _left(self._backend.limit(timeout)))
            except httpcore.ReadError:
                if self._backend.is_closed:
                    raise httpcore.ReadError(CLOSED) from None
                raise
            self.bytes_read += len(self._unread)
            if not self._unread and self._backend.is_closed:
                raise httpcore.ReadError(CLOSED)
        data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return data

    async def write(self, buffer: bytes, timeout: Optional[float] = None) -> None:
        packet = self._unsent.add(buffer)
        if not packet:
            return
        limit = self._backend.limit(timeout)
        self._backend.begin_sending(limit)
        if len(packet) <= _PIECE_BYTES:
            await self._stream.write(packet, _left(limit))
        else:
            await self._write_long(packet, limit)

    async def _write_long(self, packet: bytes, limit: Optional[float]) -> None:
        # The server may respond early and then reset the connection, which would discard the response.
        reading = asyncio.ensure_future(self._stream.read(self._read_bytes, None))
        writing = asyncio.ensure_future(self._write_pieces(packet, limit))
        reading.add_done_callback(_retrieve_error)
        writing.add_done_callback(_retrieve_error)
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
                raise httpcore.WriteError("the response arrived before the request was sent")
        if not writing.cancelled():
            writing.result()
            return
        raise httpcore.WriteError("the connection was lost while the request was being sent")

    async def _write_pieces(self, packet: bytes, limit: Optional[float]) -> None:
        for begin in range(0, len(packet), _PIECE_BYTES):
            self._backend.begin_sending(limit)
            await self._stream.write(packet[begin : begin + _PIECE_BYTES], _left(limit))

    async def aclose(self) -> None:
        await self._backend.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> httpcore.AsyncNetworkStream:
        return await self._backend.start_tls(self._stream, ssl_context, server_hostname, timeout)

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
        """Return whether anyio holds no more bytes: it returns a long response in pieces of 64 KiB."""
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
    """A step of connecting, which closes the connection if the step was given up meanwhile."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, httpcore.AsyncNetworkStream]]) -> None:
        # A function, not a coroutine: a task cancelled before its first step would never await the coroutine.
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
            task.add_done_callback(_retrieve_error)
        elif not task.cancelled() and task.exception() is None:
            await task.result().aclose()


def _retrieve_error(task: asyncio.Task[Any]) -> None:
    """Retrieve the error of a task that is no longer needed, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()
