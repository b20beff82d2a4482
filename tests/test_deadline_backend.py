"""The network streams in isolation, against a loopback socket that the test controls."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time

import httpcore
import pytest
import trustme

from fetch_hive_sdk._deadline import Deadline
from fetch_hive_sdk._net.deadline_backend import AsyncBackend, Backend

HOST = "127.0.0.1"


@contextlib.contextmanager
def connected():
    """Yield a blocking stream, its backend, and the peer's socket."""
    with socket.create_server((HOST, 0)) as listening:
        backend = Backend()
        stream = backend.connect_tcp(HOST, listening.getsockname()[1], timeout=5)
        other, _ = listening.accept()
        with other:
            yield stream, backend, other
        backend.close()


@contextlib.asynccontextmanager
async def aconnected():
    """The asyncio twin of `connected`."""
    loop = asyncio.get_running_loop()
    with socket.create_server((HOST, 0)) as listening:
        listening.setblocking(False)
        backend = AsyncBackend()
        stream = await backend.connect_tcp(HOST, listening.getsockname()[1], timeout=5)
        other, _ = await loop.sock_accept(listening)
        other.setblocking(False)
        try:
            yield stream, backend, other
        finally:
            other.close()
            await backend.aclose()


def expired() -> Deadline:
    """Return a limit of five seconds in a call whose deadline has passed."""
    return Deadline(5.0, time.monotonic())


def test_read_times_out():
    """A read ends after its own timeout or at the deadline of the call."""
    with connected() as (stream, _, _):
        for timeout in (0.01, expired()):
            with pytest.raises(httpcore.ReadTimeout):
                stream.read(1, timeout=timeout)


async def test_asyncio_read_times_out():
    """The asyncio twin does the same."""
    async with aconnected() as (stream, _, _):
        for timeout in (0.01, expired()):
            with pytest.raises(httpcore.ReadTimeout):
                await stream.read(1, timeout=timeout)


async def test_asyncio_read_buffers_excess_bytes():
    """A read returns at most the requested number of bytes. Buffered bytes make the stream readable."""
    loop = asyncio.get_running_loop()
    async with aconnected() as (stream, backend, other):
        await loop.sock_sendall(other, b"abcdef")

        assert await stream.read(4, timeout=5) == b"abcd"
        assert stream.get_extra_info("is_readable")
        assert not await backend.is_silent()
        assert await stream.read(4, timeout=5) == b"ef"
        assert not stream.get_extra_info("is_readable")
        assert await backend.is_silent()


def test_nothing_is_sent_after_the_deadline():
    """A deadline that passes before the first byte is a ConnectTimeout, later a WriteTimeout."""
    with connected() as (stream, backend, other):
        with pytest.raises(httpcore.ConnectTimeout):
            stream.write(b"x" * 70_000, timeout=expired())
        assert not backend.has_sent

        stream.write(b"x" * 70_000, timeout=5)
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(b"x" * 70_000, timeout=expired())
        assert backend.has_sent
        assert len(other.recv(1)) == 1


async def test_asyncio_sends_nothing_after_the_deadline():
    """The asyncio twin does the same."""
    async with aconnected() as (stream, backend, _):
        with pytest.raises(httpcore.ConnectTimeout):
            await stream.write(b"x" * 70_000, timeout=expired())
        assert not backend.has_sent

        await stream.write(b"x" * 70_000, timeout=5)
        with pytest.raises(httpcore.WriteTimeout):
            await stream.write(b"x" * 70_000, timeout=expired())


def test_no_connection_is_opened_after_the_deadline():
    """Neither the TCP connection nor the TLS handshake is started."""
    with socket.create_server((HOST, 0)) as listening:
        with pytest.raises(httpcore.ConnectTimeout):
            Backend().connect_tcp(HOST, listening.getsockname()[1], timeout=expired())
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
    with connected() as (stream, _, _), pytest.raises(httpcore.ConnectTimeout):
        stream.start_tls(ssl.create_default_context(), "localhost", timeout=expired())


async def test_no_asyncio_connection_is_opened_after_the_deadline():
    """The asyncio twin does the same."""
    with pytest.raises(httpcore.ConnectTimeout):
        await AsyncBackend().connect_tcp(HOST, 1, timeout=expired())
    async with aconnected() as (stream, _, _):
        with pytest.raises(httpcore.ConnectTimeout):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=expired())


def test_bytes_before_the_last_handshake_are_not_the_request():
    """The negotiation with a proxy is part of connecting, and has its limit."""
    with socket.create_server((HOST, 0)) as listening:
        backend = Backend(handshakes=1, is_tunnel=True)
        stream = backend.connect_tcp(HOST, listening.getsockname()[1], timeout=Deadline(0.1, time.monotonic() + 0.1))
        stream.write(b"CONNECT", timeout=30)
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1, timeout=30)
        backend.close()

    assert not backend.has_sent


async def test_refused_connection_is_a_connect_error(drive):
    """If no server listens on the port, both backends raise `httpcore.ConnectError`."""
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(httpcore.ConnectError):
        Backend().connect_tcp(HOST, port, timeout=5)
    with pytest.raises(httpcore.ConnectError):
        await AsyncBackend().connect_tcp(HOST, port, timeout=5)


async def test_connecting_is_cancelled_on_timeout(monkeypatch):
    """The attempt to connect is cancelled when it times out, and when the call is cancelled."""
    loop = asyncio.get_running_loop()
    begun, given_up = asyncio.Queue(), asyncio.Queue()

    async def hang(*_args: object, **_options: object):
        begun.put_nowait(True)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.put_nowait(True)
            raise

    monkeypatch.setattr(loop, "create_connection", hang)
    with pytest.raises(httpcore.ConnectTimeout):
        await AsyncBackend().connect_tcp(HOST, 1, timeout=0.3)
    assert await begun.get()
    assert await asyncio.wait_for(given_up.get(), 5)

    connecting = asyncio.ensure_future(AsyncBackend().connect_tcp(HOST, 1, timeout=60))
    assert await begun.get()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert await asyncio.wait_for(given_up.get(), 5)


@pytest.mark.parametrize("cancelled", [False, True], ids=["too late", "cancelled"])
async def test_late_connection_is_closed(monkeypatch, cancelled):
    """If cancelling comes too late to stop connecting, the new connection is closed."""
    loop = asyncio.get_running_loop()
    create = loop.create_connection

    async def stubborn(*args: object, **options: object):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return await create(*args, **options)

    with socket.create_server((HOST, 0)) as listening:
        listening.setblocking(False)
        monkeypatch.setattr(loop, "create_connection", stubborn)
        connecting = asyncio.ensure_future(AsyncBackend().connect_tcp(HOST, listening.getsockname()[1], 0.05))
        if cancelled:
            await asyncio.sleep(0.01)
            connecting.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else httpcore.ConnectTimeout):
            await connecting
        await asyncio.sleep(0.1)

        with contextlib.suppress(BlockingIOError):  # it may never have been opened
            other, _ = listening.accept()
            with other:
                assert await loop.sock_recv(other, 1) == b""


async def test_tls_requires_a_trusted_certificate():
    """The handshake succeeds with a trusted certificate and fails with an untrusted one."""
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(await reader.readexactly(3))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0, ssl=theirs)
    port = server.sockets[0].getsockname()[1]
    backend = AsyncBackend(handshakes=1)
    stream = await backend.connect_tcp(HOST, port, timeout=5)
    secured = await stream.start_tls(ours, "localhost", timeout=5)
    await secured.write(b"abc", timeout=5)
    echoed = await secured.read(10, timeout=5)
    assert secured.get_extra_info("ssl_object") is not None
    assert backend.has_sent
    await backend.aclose()
    assert echoed == b"abc"

    other = AsyncBackend(handshakes=1)
    stranger = await other.connect_tcp(HOST, port, timeout=5)
    with pytest.raises(httpcore.ConnectError, match="certificate"):
        await stranger.start_tls(ssl.create_default_context(), "localhost", timeout=5)
    await other.aclose()
    server.close()
    await server.wait_closed()


async def test_failed_handshake_is_a_connect_error():
    """A handshake that hangs or whose connection is closed raises a connect error."""
    async with aconnected() as (stream, _, _):
        with pytest.raises(httpcore.ConnectTimeout):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=0.05)

    async with aconnected() as (stream, _, other):
        other.close()
        with pytest.raises(httpcore.ConnectError):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=5)


def test_request_is_sent_as_one_packet():
    """A small request, which httpcore writes as head, body and empty bytes, is sent in one piece."""
    with connected() as (stream, _, other):
        stream.write(b"head ", timeout=5)
        stream.write(b"body", timeout=5)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(100)
        other.setblocking(True)
        stream.write(b"", timeout=5)

        assert other.recv(100) == b"head body"

        stream.write(b"b" * 70_000, timeout=5)
        received = b""
        while len(received) < 70_000:
            received += other.recv(100_000)


async def test_asyncio_request_is_sent_as_one_packet():
    """The asyncio twin does the same."""
    loop = asyncio.get_running_loop()
    async with aconnected() as (stream, _, other):
        await stream.write(b"head ", timeout=5)
        await stream.write(b"body", timeout=5)
        with pytest.raises(BlockingIOError):
            other.recv(100)
        await stream.write(b"", timeout=5)

        assert await loop.sock_recv(other, 100) == b"head body"


def test_aborted_connection_stays_closed():
    """Connecting or reading after another thread has closed the connection raises an error."""
    backend = Backend()
    backend.abort()
    with socket.create_server((HOST, 0)) as listening, pytest.raises(httpcore.ConnectError, match="was closed"):
        backend.connect_tcp(HOST, listening.getsockname()[1], timeout=5)
    with connected() as (stream, backend, _):
        backend.abort()
        with pytest.raises(httpcore.ReadError, match="was closed"):
            stream.read(1, timeout=5)


def test_no_class_is_an_asyncio_protocol():
    """Sockets are left to httpcore and anyio."""
    from fetch_hive_sdk._net import async_connections, deadline_backend, slots, transports  # noqa: PLC0415

    for module in (async_connections, deadline_backend, slots, transports):
        for item in vars(module).values():
            if isinstance(item, type) and item.__module__ == module.__name__:
                assert not issubclass(item, asyncio.BaseProtocol)
