"""A faulty HTTP service: it uses raw sockets on loopback and controls every byte that it sends.

A fault is data: the steps that the server takes after it has read a complete POST. Does not import the SDK.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Callable, ClassVar, Optional, Union

if TYPE_CHECKING:
    import ssl

    from typing_extensions import Self

LOOPBACK = "127.0.0.1"
_JOIN_SECONDS = 10.0


class Do(Enum):
    """The actions of the server other than sending and pausing."""

    RESET = auto()
    CLOSE = auto()
    HALF_CLOSE = auto()
    STALL = auto()
    HANG = auto()
    """Stall, and discard received bytes."""
    LISTEN = auto()
    """Read once, and go on."""


RESET, CLOSE, HALF_CLOSE, STALL, HANG, LISTEN = Do


@dataclass(frozen=True)
class Drip:
    """Bytes sent one at a time, each after a pause."""

    data: bytes
    seconds: float


@dataclass(frozen=True)
class Flood:
    """The same bytes repeatedly, until the client disconnects."""

    data: bytes
    seconds: float = 0.0


Step = Union[bytes, float, Do, Drip, Flood, Callable[[], bytes]]
"""Bytes are sent; a number is a pause in seconds; a function returns the bytes to send."""


class Fault:
    """The server's reaction to one POST. After the last step the connection waits for the next request.

    Args:
        steps: The steps to take, in order.
        refuses: Whether the response means that no run was started. Otherwise the POST counts as a run.
    """

    def __init__(self, *steps: Step, refuses: bool = False) -> None:
        self.steps = steps
        self.refuses = refuses


class _GoneError(Exception):
    """The client has closed the connection, or the server is stopping."""


class FaultServer:
    """Applies its faults in order and repeats the last one. Counts POSTs, started runs and connections.

    Args:
        faults: One fault for each POST, in order. Deployments in `scripts` have their own list.
        tls: The TLS context of the server. None means `usual_tls`.
        greeting: Steps to take before the TLS handshake and before reading.
    """

    usual_tls: ClassVar[Optional[ssl.SSLContext]] = None
    """The default TLS context of servers. None means plain HTTP. See `senders.py`."""
    usual_host: ClassVar[Optional[str]] = None
    """The host name of servers in their URL, such as one that only a proxy can resolve."""

    def __init__(self, *faults: Fault, tls: Optional[ssl.SSLContext] = None, greeting: tuple[Step, ...] = ()) -> None:
        self.scripts: dict[str, list[Fault]] = {}
        self.posts: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.heads: list[bytes] = []
        self.connections = 0
        self.open_connections = 0
        self._faults = list(faults)
        self._tls = tls or self.usual_tls
        self._greeting = greeting
        self._changed = threading.Condition()
        self._connection_threads: dict[threading.Thread, socket.socket] = {}
        # Never read: it becomes readable when the server stops, which wakes all waiting threads.
        self.stopped, self._stopper = socket.socketpair()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="acceptor")

    @property
    def url(self) -> str:
        return self.url_at(self.usual_host or ("localhost" if self._tls else LOOPBACK))

    def url_at(self, host: str) -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/v1"

    @property
    def total_posts(self) -> int:
        return sum(self.posts.values())

    def wait_until(self, predicate: Callable[[], bool], seconds: float = 5.0) -> bool:
        """Wait until a condition on the counters is true. Return False after a timeout."""
        with self._changed:
            return self._changed.wait_for(predicate, seconds)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopper.close()
        self._acceptor.join(_JOIN_SECONDS)
        with self._changed:
            threads = dict(self._connection_threads)
        for sock in threads.values():
            # Wakes a thread that is sending. SSLSocket.shutdown is not thread-safe.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_JOIN_SECONDS)
        self._listener.close()
        self.stopped.close()
        assert not any(thread.is_alive() for thread in (self._acceptor, *threads)), "the server did not stop"

    def _accept(self) -> None:
        while not _readable(self._listener, self.stopped)[1]:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(sock,), name="connection")
            with self._changed:
                self.connections += 1
                self.open_connections += 1
                self._connection_threads[thread] = sock
                self._changed.notify_all()
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        connection = _Connection(self, sock)
        try:
            connection.take(self._greeting)
            if self._tls:
                connection.sock = self._tls.wrap_socket(sock, server_side=True)
                with self._changed:
                    self._connection_threads[threading.current_thread()] = connection.sock
            while True:
                connection.take(self._receive(connection).steps)
        except (OSError, _GoneError):
            pass
        finally:
            connection.sock.close()
            with self._changed:
                self.open_connections -= 1
                del self._connection_threads[threading.current_thread()]
                self._changed.notify_all()

    def _receive(self, connection: _Connection) -> Fault:
        head, body = connection.read_request()
        fields = json.loads(body) if body else {}
        call = fields.get("deployment", head.partition(b" HTTP")[0].decode())
        with self._changed:
            script = self.scripts.get(call, self._faults)
            fault = script.pop(0) if len(script) > 1 else script[0]
            self.heads.append(head)
            self.posts[call] += 1
            self.runs[call] += not fault.refuses
            self._changed.notify_all()
        return fault


class _Connection:
    """A connection to the server."""

    def __init__(self, server: FaultServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock

    def read_request(self) -> tuple[bytes, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._read()
        head, _, body = received.partition(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = sum(lengths)  # empty for a call without a body
        while len(body) < length:
            body += self._read()
        return head, body

    def _read(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise _GoneError
        return data

    def take(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if isinstance(step, bytes):
                self.sock.sendall(step)
            elif isinstance(step, (int, float)):
                self._pause(step)
            elif isinstance(step, Drip):
                for number in range(len(step.data)):
                    self._pause(step.seconds)
                    self.sock.sendall(step.data[number : number + 1])
            elif isinstance(step, Flood):
                while True:
                    self.sock.sendall(step.data)
                    self._pause(step.seconds)
            elif isinstance(step, Do):
                self._do(step)
            else:
                self.sock.sendall(step())

    def _do(self, what: Do) -> None:
        if what is LISTEN:
            self._read()
            return
        if what is STALL:
            self._pause(None)
        elif what is HALF_CLOSE:
            self.sock.shutdown(socket.SHUT_WR)
            self._pause(None)
        elif what is HANG:
            while not _readable(self.sock, self.server.stopped)[1]:
                self._read()
        elif what is RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _GoneError

    def _pause(self, seconds: Optional[float]) -> None:
        if any(_readable(self.sock, self.server.stopped, seconds=seconds)):
            raise _GoneError


def _readable(*socks: socket.socket, seconds: Optional[float] = None) -> list[bool]:
    # Not select(), which does not support file descriptors above 1024.
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    ready = {number for number, _ in poll.poll(None if seconds is None else seconds * 1000)}
    return [sock.fileno() in ready for sock in socks]


# --- Raw responses ---------------------------------------------------------------------------------------------------


def answer(
    body: Union[bytes, str, dict[str, object], list[object]] = b"",
    *headers: str,
    status: str = "200 OK",
    media_type: str = "application/json",
    length: Optional[int] = None,
) -> bytes:
    """Return a complete response. `length` overrides the correct Content-Length."""
    content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    types = (f"Content-Type: {media_type}",) if media_type else ()
    size = len(content) if length is None else length
    lines = (f"HTTP/1.1 {status}", *types, f"Content-Length: {size}", *headers, "", "")
    return "\r\n".join(lines).encode() + content


def begin(*headers: str, media_type: str = "text/event-stream", status: str = "200 OK") -> bytes:
    """Return the head of a chunked response."""
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {media_type}", "Transfer-Encoding: chunked", *headers, "", "")
    return "\r\n".join(lines).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"


def event(payload: Union[str, dict[str, object]]) -> bytes:
    """Return an SSE event as the service sends it, in its own chunk."""
    return chunk(b"data: %s\n\n" % (payload if isinstance(payload, str) else json.dumps(payload)).encode())
