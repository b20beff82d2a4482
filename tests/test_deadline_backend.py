"""The network streams alone: on loopback, against a server that does as the test says."""

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
    """A blocking stream of ours, its backend, and the socket of the other side."""
    with socket.create_server((HOST, 0)) as listening:
        backend = Backend()
        stream = backend.connect_tcp(HOST, listening.getsockname()[1], timeout=5)
        other, _ = listening.accept()
        with other:
            yield stream, backend, other
        backend.close()


@contextlib.asynccontextmanager
async def aconnected():
    """The twin."""
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


def over() -> Deadline:
    """A limit of five seconds in a call whose time is over."""
    return Deadline(5.0, time.monotonic())


def test_reading_ends_with_the_time():
    """A read ends after its seconds, or when the whole call must be over."""
    with connected() as (stream, _, _):
        for timeout in (0.01, over()):
            with pytest.raises(httpcore.ReadTimeout):
                stream.read(1, timeout=timeout)


async def test_asyncio_reading_ends_with_the_time():
    """The twin does the same."""
    async with aconnected() as (stream, _, _):
        for timeout in (0.01, over()):
            with pytest.raises(httpcore.ReadTimeout):
                await stream.read(1, timeout=timeout)


async def test_asyncio_reading_keeps_what_was_not_asked_for():
    """Bytes are given in pieces of the size that is asked for, and an unread rest makes the stream readable."""
    loop = asyncio.get_running_loop()
    async with aconnected() as (stream, backend, other):
        await loop.sock_sendall(other, b"abcdef")

        assert await stream.read(4, timeout=5) == b"abcd"
        assert stream.get_extra_info("is_readable")
        assert not await backend.is_silent()
        assert await stream.read(4, timeout=5) == b"ef"
        assert not stream.get_extra_info("is_readable")
        assert await backend.is_silent()


def test_nothing_is_sent_when_no_time_is_left():
    """A request whose time is over before its first byte is an error of connecting; later, one of writing."""
    with connected() as (stream, backend, other):
        with pytest.raises(httpcore.ConnectTimeout):
            stream.write(b"x" * 70_000, timeout=over())
        assert not backend.has_sent

        stream.write(b"x" * 70_000, timeout=5)
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(b"x" * 70_000, timeout=over())
        assert backend.has_sent
        assert len(other.recv(1)) == 1


async def test_nothing_is_sent_by_asyncio_when_no_time_is_left():
    """The twin does the same."""
    async with aconnected() as (stream, backend, _):
        with pytest.raises(httpcore.ConnectTimeout):
            await stream.write(b"x" * 70_000, timeout=over())
        assert not backend.has_sent

        await stream.write(b"x" * 70_000, timeout=5)
        with pytest.raises(httpcore.WriteTimeout):
            await stream.write(b"x" * 70_000, timeout=over())


def test_no_connection_is_begun_when_no_time_is_left():
    """Neither TCP nor TLS."""
    with socket.create_server((HOST, 0)) as listening:
        with pytest.raises(httpcore.ConnectTimeout):
            Backend().connect_tcp(HOST, listening.getsockname()[1], timeout=over())
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
    with connected() as (stream, _, _), pytest.raises(httpcore.ConnectTimeout):
        stream.start_tls(ssl.create_default_context(), "localhost", timeout=over())


async def test_no_asyncio_connection_is_begun_when_no_time_is_left():
    """The twin does the same."""
    with pytest.raises(httpcore.ConnectTimeout):
        await AsyncBackend().connect_tcp(HOST, 1, timeout=over())
    async with aconnected() as (stream, _, _):
        with pytest.raises(httpcore.ConnectTimeout):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=over())


def test_what_is_written_before_the_last_handshake_is_not_the_request():
    """What is said to a proxy is part of connecting, and has its limit."""
    with socket.create_server((HOST, 0)) as listening:
        backend = Backend(handshakes=1, is_tunnel=True)
        stream = backend.connect_tcp(HOST, listening.getsockname()[1], timeout=Deadline(0.1, time.monotonic() + 0.1))
        stream.write(b"CONNECT", timeout=30)
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1, timeout=30)
        backend.close()

    assert not backend.has_sent


async def test_a_refused_connection_is_an_error(drive):
    """Nothing listens there."""
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(httpcore.ConnectError):
        Backend().connect_tcp(HOST, port, timeout=5)
    with pytest.raises(httpcore.ConnectError):
        await AsyncBackend().connect_tcp(HOST, port, timeout=5)


async def test_connecting_takes_its_time_and_no_more(monkeypatch):
    """A connection that comes too late is given up; so is one whose call is cancelled."""
    loop = asyncio.get_running_loop()
    given_up = []

    async def hang(*_args: object, **_options: object):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.append(True)
            raise

    monkeypatch.setattr(loop, "create_connection", hang)
    with pytest.raises(httpcore.ConnectTimeout):
        await AsyncBackend().connect_tcp(HOST, 1, timeout=0.05)
    connecting = asyncio.ensure_future(AsyncBackend().connect_tcp(HOST, 1, timeout=60))
    await asyncio.sleep(0.05)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await asyncio.sleep(0.05)

    assert given_up == [True, True]


@pytest.mark.parametrize("cancelled", [False, True], ids=["too late", "cancelled"])
async def test_a_connection_that_comes_too_late_is_closed(monkeypatch, cancelled):
    """A connection that could not be given up any more is closed when it is there."""
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

        with contextlib.suppress(BlockingIOError):  # perhaps it was never made
            other, _ = listening.accept()
            with other:
                assert await loop.sock_recv(other, 1) == b""


async def test_speaks_tls_with_trusted_services():
    """After the handshake the stream is encrypted; without trust there is no handshake."""
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


async def test_a_handshake_ends_in_time():
    """A handshake that hangs, and one with a connection that is gone, are errors of connecting."""
    async with aconnected() as (stream, _, _):
        with pytest.raises(httpcore.ConnectTimeout):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=0.05)

    async with aconnected() as (stream, _, other):
        other.close()
        with pytest.raises(httpcore.ConnectError):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=5)


def test_a_request_is_sent_as_one_packet():
    """It is written as its head, its body and nothing: what is small is sent at the end, in one piece."""
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


async def test_an_asyncio_request_is_sent_as_one_packet():
    """The twin does the same."""
    loop = asyncio.get_running_loop()
    async with aconnected() as (stream, _, other):
        await stream.write(b"head ", timeout=5)
        await stream.write(b"body", timeout=5)
        with pytest.raises(BlockingIOError):
            other.recv(100)
        await stream.write(b"", timeout=5)

        assert await loop.sock_recv(other, 100) == b"head body"


def test_an_aborted_connection_is_not_reopened():
    """What another thread closed says so, whatever was about to be done with it."""
    backend = Backend()
    backend.abort()
    with socket.create_server((HOST, 0)) as listening, pytest.raises(httpcore.ConnectError, match="was closed"):
        backend.connect_tcp(HOST, listening.getsockname()[1], timeout=5)
    with connected() as (stream, backend, _):
        backend.abort()
        with pytest.raises(httpcore.ReadError, match="was closed"):
            stream.read(1, timeout=5)


def test_no_class_of_ours_is_a_protocol_of_asyncio():
    """Sockets are a library's work."""
    from fetch_hive_sdk._net import async_connections, deadline_backend, slots, transports  # noqa: PLC0415

    for module in (async_connections, deadline_backend, slots, transports):
        for item in vars(module).values():
            if isinstance(item, type) and item.__module__ == module.__name__:
                assert not issubclass(item, asyncio.BaseProtocol)
