"""Our asyncio sockets, alone: on loopback, against a server that does as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import httpcore
import pytest
import trustme

from fetch_hive_sdk._deadline import Deadline
from fetch_hive_sdk._net.sockets import AsyncNetwork, Network

HOST = "127.0.0.1"


@contextlib.asynccontextmanager
async def connected(**options: object):
    """A stream of ours and the socket of the other side."""
    loop = asyncio.get_running_loop()
    with socket.create_server((HOST, 0)) as listening:
        listening.setblocking(False)
        stream = await AsyncNetwork().connect_tcp(HOST, listening.getsockname()[1], timeout=5)
        other, _ = await loop.sock_accept(listening)
        other.setblocking(False)
        try:
            yield stream, other
        finally:
            other.close()
            await stream.aclose()


async def test_reads_what_came():
    """Bytes are given in pieces of the size that is asked for, those that were there already first."""
    loop = asyncio.get_running_loop()
    async with connected() as (stream, other):
        await loop.sock_sendall(other, b"abcdef")

        pieces = [await stream.read(4, timeout=5), await stream.read(4, timeout=5)]
        other.close()
        end = await stream.read(4, timeout=5)

    assert pieces == [b"abcd", b"ef"]
    assert end == b""


async def test_stops_waiting_when_the_time_is_over():
    """A read ends after its seconds, or when the whole call must be over."""
    async with connected() as (stream, _):
        for timeout in (0.01, Deadline(5.0, asyncio.get_running_loop().time(), asyncio.get_running_loop().time)):
            with pytest.raises(httpcore.ReadTimeout):
                await stream.read(1, timeout=timeout)


async def test_waits_without_end_if_it_may():
    """Without a timeout a read ends with the bytes."""
    loop = asyncio.get_running_loop()
    async with connected() as (stream, other):
        reading = asyncio.ensure_future(stream.read(1))
        await asyncio.sleep(0)
        await loop.sock_sendall(other, b"a")

        assert await reading == b"a"


async def test_tells_that_the_connection_broke():
    """A reset is an error of reading, and of writing."""
    async with connected() as (stream, other):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        other.close()

        with pytest.raises(httpcore.ReadError):
            await stream.read(1, timeout=5)
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"a", timeout=5)


async def test_writes_as_fast_as_the_other_side_reads():
    """A long text is written when the other side has read; if it does not, the time is over."""
    loop = asyncio.get_running_loop()
    text = b"a" * 20_000_000
    async with connected() as (stream, other):
        with pytest.raises(httpcore.WriteTimeout):
            await stream.write(text, timeout=0.01)
        writing = asyncio.ensure_future(stream.write(b"", timeout=30))
        read = 0
        while read < len(text):
            read += len(await loop.sock_recv(other, 1_000_000))
        await writing

    assert read == len(text)


async def test_reads_no_more_than_anybody_asks_for():
    """What nobody reads stays with the other side, which is told so by TCP; it goes on when somebody reads."""
    loop = asyncio.get_running_loop()
    text = b"a" * 30_000_000
    async with connected() as (stream, other):
        sending = asyncio.ensure_future(loop.sock_sendall(other, text))
        first = await stream.read(1, timeout=5)
        for _ in range(200):
            await asyncio.sleep(0)
        assert not sending.done()

        read = len(first)
        while read < len(text):
            read += len(await stream.read(1_000_000, timeout=30))
        await sending

    assert read == len(text)


async def test_knows_that_it_was_closed_while_idle():
    """An idle connection has something to say only when it is over, and is then not used again."""
    async with connected() as (stream, other):
        assert not stream.get_extra_info("is_readable")
        other.close()

        # The system knows before the event loop does.
        assert stream.get_extra_info("is_readable")
        assert stream.get_extra_info("server_addr")[0] == HOST


async def test_a_refused_connection_is_an_error():
    """Nobody at home."""
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(httpcore.ConnectError):
        await AsyncNetwork().connect_tcp(HOST, port, timeout=5)


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
        await AsyncNetwork().connect_tcp(HOST, 1, timeout=0.01)
    connecting = asyncio.ensure_future(AsyncNetwork().connect_tcp(HOST, 1, timeout=60))
    await asyncio.sleep(0.01)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await asyncio.sleep(0)

    assert given_up == [True, True]


async def test_a_connection_that_comes_too_late_is_closed(monkeypatch):
    """A connection that could not be given up any more is closed when it is there."""
    loop = asyncio.get_running_loop()
    closed = []

    class Late:
        def abort(self) -> None:
            closed.append(True)

    async def stubborn(*_args: object, **_options: object):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return None, Late()

    monkeypatch.setattr(loop, "create_connection", stubborn)
    with pytest.raises(httpcore.ConnectTimeout):
        await AsyncNetwork().connect_tcp(HOST, 1, timeout=0.01)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert closed == [True]


async def test_speaks_tls_with_those_it_trusts():
    """After the handshake the same stream is encrypted; without trust there is no handshake."""
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
    stream = await AsyncNetwork().connect_tcp(HOST, port, timeout=5)
    secured = await stream.start_tls(ours, "localhost", timeout=5)
    await secured.write(b"abc", timeout=5)
    echoed = await secured.read(10, timeout=5)
    assert secured.get_extra_info("ssl_object") is not None
    await secured.aclose()
    assert echoed == b"abc"

    stranger = await AsyncNetwork().connect_tcp(HOST, port, timeout=5)
    with pytest.raises(httpcore.ConnectError, match="certificate"):
        await stranger.start_tls(ssl.create_default_context(), "localhost", timeout=5)
    server.close()
    await server.wait_closed()


async def test_a_handshake_ends_in_time():
    """A handshake that hangs, and one with a connection that is gone, are errors of connecting."""
    async with connected() as (stream, _):
        with pytest.raises(httpcore.ConnectTimeout):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=0.05)

    async with connected() as (stream, other):
        other.close()
        assert await stream.read(1, timeout=5) == b""
        with pytest.raises(httpcore.ConnectError):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=5)


async def test_closes_what_has_closed_itself():
    """A connection that the other side ended while much was unsent, and that then sent it, can still be closed."""
    loop = asyncio.get_running_loop()
    async with connected() as (stream, other):
        writing = asyncio.ensure_future(stream.write(b"a" * 8_000_000, timeout=5))
        await asyncio.sleep(0)
        other.shutdown(socket.SHUT_WR)
        assert await stream.read(1, timeout=5) == b""
        while await loop.sock_recv(other, 1_000_000):
            pass
        with pytest.raises(httpcore.WriteError):
            await writing

        await stream.aclose()
        stream.abort()


async def test_sends_a_request_as_one_packet():
    """A request is written as its head, its body and nothing: what is small is sent at the end, in one piece."""
    loop = asyncio.get_running_loop()
    async with connected() as (stream, other):
        await stream.write(b"head ", timeout=5)
        await stream.write(b"body", timeout=5)
        with pytest.raises(BlockingIOError):
            other.recv(100)
        await stream.write(b"", timeout=5)

        assert await loop.sock_recv(other, 100) == b"head body"


def test_blocking_request_is_sent_as_one_packet():
    """The blocking sockets do the same; what is large is not kept waiting."""
    with socket.create_server((HOST, 0)) as listening:
        stream = Network().connect_tcp(HOST, listening.getsockname()[1], timeout=5)
        other, _ = listening.accept()
        with other:
            stream.write(b"head ", timeout=5)
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.recv(100)
            other.setblocking(True)
            stream.write(b"b" * 70_000, timeout=5)
            received = b""
            while len(received) < 70_005:
                received += other.recv(100_000)
            stream.close()

    assert received == b"head " + b"b" * 70_000
