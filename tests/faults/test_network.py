"""Connections: reuse, connecting, proxies, sending and closing. Each test covers a row of the fault table."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time

import httpcore
import httpx
import pytest

from driving import CALM, KEY, Blocking
from faults.calls import (
    ANSWER,
    ANSWER_TEXT,
    GOOD,
    GOOD_STREAM,
    HELLO,
    Outcome,
    assert_keeps_the_key,
    attempt,
    in_a_row,
)
from faults.proxy import Proxy
from faults.server import (
    CLOSE,
    END,
    HANG,
    LISTEN,
    LOOPBACK,
    RESET,
    STALL,
    Drip,
    Fault,
    FaultServer,
    answer,
    begin,
    event,
)
from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    FetchHive,
    FetchHiveError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    StreamInterruptedError,
)
from fetch_hive_sdk._net import deadline_backend
from fetch_hive_sdk._net import tls as tls_module

LIMIT = 0.5
SOON = 3.0
MAKE_TLS_CONTEXT = tls_module._make_tls_context.__wrapped__  # not patched by a test

# --- Unexpected bytes ------------------------------------------------------------------------------------------------

OTHER = answer({**ANSWER, "response": "for another call"})
LEFTOVERS = {"another response": OTHER, "an empty line": b"\r\n", "garbage": b"x", "half a response": OTHER[:30]}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("leftover", LEFTOVERS)
@pytest.mark.parametrize("kind", ["call", "stream"])
def test_connection_with_excess_bytes_is_not_reused(drive, tls, leftover, kind, secure):
    """If bytes follow a response, the connection is not reused, so that they are not parsed as the next response."""
    first = (
        answer(ANSWER) if kind == "call" else begin() + b"".join(map(event, (HELLO, {"type": "usage"}, "[DONE]"))) + END
    )
    with FaultServer(Fault(first + LEFTOVERS[leftover]), GOOD, tls=tls if secure else None) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        ends = in_a_row(drive, client, kind, "call")

    assert [end.response for end in ends] == ["Hello" if kind == "stream" else ANSWER_TEXT, ANSWER_TEXT]
    assert (server.connections, server.total_posts) == (2, 2)


def test_connection_with_excess_bytes_after_a_long_response_is_not_reused(drive, tls):
    """Excess bytes are also detected if the response fills the read buffer."""
    for size in (65536, 131072):
        head = answer(ANSWER, "X-Padding: ")
        body = json.dumps({**ANSWER, "reasoning": "x" * size}).encode()
        whole = answer(body)
        assert len(head) < len(whole)
        for context in (None, tls):
            with FaultServer(Fault(whole + OTHER), GOOD, tls=context) as server:
                client = FetchHive(KEY, server.url, timeout=5)
                ends = in_a_row(drive, client, "call", "call")

            assert [end.response for end in ends] == [ANSWER_TEXT, ANSWER_TEXT]
            assert (server.connections, server.total_posts) == (2, 2)


def test_idle_connection_that_receives_bytes_is_not_reused(drive):
    """A response that arrives before its request is not used for it."""
    with FaultServer(Fault(answer(ANSWER), 0.1, OTHER), GOOD) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        ends = in_a_row_with_a_pause(drive, client, 0.3)

    assert ends == [ANSWER_TEXT, ANSWER_TEXT]
    assert (server.connections, server.total_posts) == (2, 2)


def in_a_row_with_a_pause(drive, client, seconds):
    if isinstance(drive, Blocking):
        first = client.invoke_prompt(deployment="d").response
        time.sleep(seconds)
        second = client.invoke_prompt(deployment="d").response
        client.close()
        return [first, second]

    async def main():
        first = (await client.ainvoke_prompt(deployment="d")).response
        await asyncio.sleep(seconds)
        second = (await client.ainvoke_prompt(deployment="d")).response
        await client.aclose()
        return [first, second]

    return asyncio.run(main())


def test_connection_is_reused_after_long_responses(drive, tls):
    """The check for excess bytes does not close valid connections."""
    whole = answer(json.dumps({**ANSWER, "reasoning": "x" * 200_000}).encode())
    for context in (None, tls):
        with FaultServer(Fault(whole), tls=context) as server:
            client = FetchHive(KEY, server.url, timeout=5)
            ends = in_a_row(drive, client, "call", "call", "call")

        assert [end.response for end in ends] == [ANSWER_TEXT] * 3
        assert server.connections == 1


# --- Connecting ------------------------------------------------------------------------------------------------------


def answer_lookups(monkeypatch, *addresses, seconds=0.0):
    """Resolve hive.test to these addresses after a delay."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        if host not in {"hive.test", b"hive.test"}:
            return look_up(host, port, *args, **kwargs)
        time.sleep(seconds)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@contextlib.contextmanager
def silent(address, port):
    """Make an address ignore connection attempts by filling its backlog."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((address, port))
        time.sleep(0.05)
        yield


def client_at(server, **options):
    return FetchHive(KEY, server.url_at("hive.test"), allow_http=True, **options)


def test_timeout_includes_the_dns_lookup(drive, monkeypatch):
    """If the DNS lookup exceeds the timeout, nothing is sent, even when the lookup finally succeeds."""
    answer_lookups(monkeypatch, LOOPBACK, seconds=1.0)
    with FaultServer(GOOD) as server:
        outcome = attempt(drive, client_at(server, timeout=LIMIT))
        time.sleep(0.1)

    assert type(outcome.error) is APITimeoutError
    assert (outcome.error.phase, outcome.error.maybe_processed) == ("connect", False)
    assert (server.connections, server.total_posts) == (0, 0)
    assert outcome.seconds < SOON


@pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.2 and the backlog behavior of Linux")
def test_timeout_includes_all_addresses(drive, monkeypatch):
    """The attempts to connect to all addresses share the timeout of the call."""
    answer_lookups(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.4")
    with FaultServer(GOOD) as server, contextlib.ExitStack() as stack:
        for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            stack.enter_context(silent(address, server.port))
        outcome = attempt(drive, client_at(server, timeout=1.2))

    assert type(outcome.error) is APITimeoutError
    assert (outcome.error.phase, outcome.error.maybe_processed) == ("connect", False)
    assert f"could not connect to hive.test:{server.port} in time" in str(outcome.error)
    assert 1.0 <= outcome.seconds < 2.0


@pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.2 and the backlog behavior of Linux")
def test_next_address_is_tried_after_a_silent_one(drive, monkeypatch):
    """If the first address does not respond, the second one is used within a second."""
    answer_lookups(monkeypatch, "127.0.0.2", LOOPBACK)
    with FaultServer(GOOD) as server, silent("127.0.0.2", server.port):
        outcome = attempt(drive, client_at(server, timeout=5))

    assert outcome.text == ANSWER_TEXT
    assert outcome.seconds < 1.5


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
def test_tcp_keepalive_is_enabled(drive, stream, monkeypatch):
    """Keepalive lets a connection without traffic for minutes survive a NAT."""
    options = []
    read = deadline_backend._Stream.read if isinstance(drive, Blocking) else deadline_backend._AsyncStream.read

    def look(self, *args, **kwargs):
        with socket.socket(fileno=os.dup(self.get_extra_info("socket").fileno())) as sock:
            options.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        return read(self, *args, **kwargs)

    cls = deadline_backend._Stream if isinstance(drive, Blocking) else deadline_backend._AsyncStream
    monkeypatch.setattr(cls, "read", look)
    with FaultServer(GOOD_STREAM if stream else GOOD) as server:
        outcome = attempt(drive, FetchHive(KEY, server.url, timeout=5), stream=stream)

    assert outcome.text == ANSWER_TEXT
    assert set(options) == {1}


def test_very_long_timeouts_are_accepted(drive, tls):
    """A timeout above the maximum of sockets means no limit."""
    for timeout in (1e10, httpx.Timeout(1e10)):
        with FaultServer(GOOD, tls=tls) as server:
            client = FetchHive(KEY, server.url, timeout=timeout)
            assert attempt(drive, client).text == ANSWER_TEXT


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [("missing", "no such file"), ("empty", "does not name trusted certificates"), ("folder", "it is not a file")],
)
def test_unusable_certificate_file_is_named(drive, tmp_path, monkeypatch, trouble, reason):
    """Nothing is sent or retried, and the message names the variable and the reason."""
    path = tmp_path / "certificates.pem"
    if trouble == "empty":
        path.touch()
    elif trouble == "folder":
        path.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setattr(tls_module, "_make_tls_context", MAKE_TLS_CONTEXT)
    outcome = attempt(drive, FetchHive(KEY, "https://localhost:9/v1", timeout=5))

    assert type(outcome.error) is APIConnectionError
    assert "SSL_CERT_FILE" in str(outcome.error)
    assert reason in str(outcome.error)
    assert (outcome.error.maybe_processed, outcome.error.attempts) == (False, 1)


def test_https_to_a_plain_http_port_is_explained(drive):
    """The message explains OpenSSL's WRONG_VERSION_NUMBER."""
    with FaultServer(GOOD, greeting=(LISTEN, b"HTTP/1.1 400 Bad Request\r\n\r\n", CLOSE)) as server:
        client = FetchHive(KEY, f"https://localhost:{server.port}/v1", timeout=5, max_retries=0)
        outcome = attempt(drive, client)

    assert type(outcome.error) is APIConnectionError
    assert f"could not connect to localhost:{server.port}: the server does not use TLS" in str(outcome.error)
    assert "http://" in str(outcome.error)
    assert outcome.error.maybe_processed is False


# --- Proxies ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy_of(monkeypatch):
    """Return a function that sets HTTPS_PROXY and creates a client which uses this proxy."""

    def use(port, **options):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hidden@{LOOPBACK}:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        return FetchHive(KEY, "https://hive.test/v1", **{"timeout": 5, "max_retries": 1, **options})

    return use


REFUSALS = {
    "closes": (LISTEN, CLOSE),
    "resets": (LISTEN, RESET),
    "garbage": (LISTEN, b"SSH-2.0-OpenSSH_9.6\r\n\r\n", CLOSE),
    "407": (LISTEN, b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", STALL),
    "502": (LISTEN, b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", STALL),
    "closes in the handshake": (LISTEN, b"HTTP/1.1 200 OK\r\n\r\n", LISTEN, CLOSE),
}


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_proxy_failure_is_a_connection_error(drive, tls, proxy_of, refusal, stream):
    """Nothing reached the service, so the call is retried up to `max_retries` times, and the error names the proxy."""
    with FaultServer(GOOD, greeting=REFUSALS[refusal]) as server:
        outcome = attempt(drive, proxy_of(server.port), stream=stream)

    assert type(outcome.error) is APIConnectionError
    assert f"could not connect to hive.test:443 through the proxy {LOOPBACK}:{server.port}" in str(outcome.error)
    assert (outcome.error.maybe_processed, outcome.error.attempts, server.connections) == (False, 2, 2)
    assert "hidden" not in str(outcome.error)
    assert_keeps_the_key(outcome.error)


def test_unreachable_proxy_is_a_connection_error(drive, tls, proxy_of):
    """The error names the proxy."""
    with socket.socket() as reserved:
        reserved.bind((LOOPBACK, 0))
        port = reserved.getsockname()[1]
        outcome = attempt(drive, proxy_of(port))

    assert f"through the proxy {LOOPBACK}:{port}: Conn" in str(outcome.error)
    assert (outcome.error.maybe_processed, outcome.error.attempts) == (False, 2)


@pytest.mark.parametrize(
    "greeting",
    [(HANG,), (LISTEN, Drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100, 0.1)), (LISTEN, b"HTTP/1.1 200 OK\r\n\r\n", HANG)],
    ids=["silent", "slow", "silent in the handshake"],
)
def test_timeout_includes_the_proxy_handshake(drive, tls, proxy_of, greeting):
    """Setting up a tunnel is part of connecting."""
    with FaultServer(GOOD, greeting=greeting) as server:
        outcome = attempt(drive, proxy_of(server.port, timeout=LIMIT))

    assert type(outcome.error) is APITimeoutError
    assert (outcome.error.phase, outcome.error.maybe_processed) == ("connect", False)
    assert f"the proxy {LOOPBACK}:{server.port}" in str(outcome.error)
    assert LIMIT <= outcome.seconds < SOON


def test_calls_share_a_tunnel(drive, tls, proxy_of):
    """Calls and streams through a proxy reuse one connection."""
    with FaultServer(GOOD, GOOD_STREAM, GOOD, tls=tls) as server, Proxy(server.port) as proxy:
        ends = in_a_row(drive, proxy_of(proxy.port), "call", "stream", "call")

    assert [end.response for end in ends] == [ANSWER_TEXT] * 3
    assert server.total_posts == 3
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT hive.test:443 ")
    assert b"Proxy-Authorization: Basic " in head
    assert KEY.encode() not in head


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault(RESET), APIConnectionError), (Fault(CLOSE), APIConnectionError), (Fault(STALL), APITimeoutError)],
    ids=["reset", "close", "silent"],
)
def test_fault_behind_a_proxy_is_an_unknown_outcome(drive, tls, proxy_of, fault, error):
    """A request sent through the tunnel may have been processed."""
    with FaultServer(fault, tls=tls) as server, Proxy(server.port) as proxy:
        outcome = attempt(drive, proxy_of(proxy.port, timeout=1))

    assert type(outcome.error) is error
    assert (outcome.error.maybe_processed, server.total_posts) == (True, 1)
    assert outcome.seconds < SOON
    assert "through the proxy" in str(outcome.error)


def test_timeout_limits_a_call_through_a_proxy(drive, tls, proxy_of):
    """The timeout of the call also limits slowly sent headers and bodies behind a proxy."""
    for steps in ((Drip(answer(ANSWER), 0.1),), (answer(ANSWER)[:-40], Drip(answer(ANSWER)[-40:], 0.1))):
        with FaultServer(Fault(*steps), tls=tls) as server, Proxy(server.port) as proxy:
            outcome = attempt(drive, proxy_of(proxy.port, timeout=1))

        assert type(outcome.error) is APITimeoutError
        assert outcome.seconds < 2


async def test_proxy_does_not_limit_concurrent_calls(monkeypatch):
    """More than a hundred concurrent calls can use a proxy."""
    calls = 110
    with FaultServer(Fault(1.0, answer(ANSWER))) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://{LOOPBACK}:{server.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        client = FetchHive(KEY, "http://hive.test/v1", allow_http=True, timeout=10)
        begun = time.monotonic()
        results = await asyncio.gather(*[client.ainvoke_prompt(deployment="d") for _ in range(calls)])
        seconds = time.monotonic() - begun
        await client.aclose()

    assert {result.response for result in results} == {ANSWER_TEXT}
    assert server.connections == calls
    assert seconds < 5


# --- Sending ---------------------------------------------------------------------------------------------------------


class SlowReader(threading.Thread):
    """A service that sends an optional response, then reads the request slowly or not at all."""

    def __init__(self, bytes_per_step, answer=b"", begun=lambda: None):
        super().__init__(daemon=True)
        self._begun = begun
        self._bytes = bytes_per_step
        self._answer = answer
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._over = threading.Event()
        self.url = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}/v1"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._listener.close()

    def run(self):
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            with sock:
                sock.recv(100)
                self._begun()
                sock.sendall(self._answer)
                while not self._over.wait(0.05):
                    if self._bytes:
                        sock.recv(self._bytes)


LONG = {"text": "x" * 16_000_000}


@pytest.mark.parametrize("bytes_per_step", [0, 50_000], ids=["not at all", "slowly"])
def test_timeout_includes_sending(drive, bytes_per_step):
    """A service that reads slowly does not extend a call."""
    with SlowReader(bytes_per_step) as service:
        outcome = attempt(drive, FetchHive(KEY, service.url, timeout=1.0), inputs=LONG)

    assert type(outcome.error) is APITimeoutError
    assert outcome.error.phase in {"write", "total"}
    assert outcome.error.maybe_processed is True
    assert 1.0 <= outcome.seconds < SOON
    assert_keeps_the_key(outcome.error)


@pytest.mark.parametrize("status", ["413 Content Too Large", "401 Unauthorized"])
def test_error_received_while_sending_is_the_response(drive, status):
    """The service returns an error and stops reading the request."""
    with SlowReader(0, answer({"message": "too long"}, status=status)) as service:
        outcome = attempt(drive, FetchHive(KEY, service.url, timeout=5), inputs=LONG)

    assert isinstance(outcome.error, APIStatusError)
    assert outcome.error.status_code == int(status[:3])
    assert outcome.seconds < SOON


class InterruptionError(Exception):
    """Raised by a signal handler."""


def test_interrupted_sending_does_not_show_the_key():
    """The traceback omits the frames that write the headers, for any exception."""
    for error in (InterruptionError, KeyboardInterrupt):

        def interrupt(number, frame, error=error):
            raise error

        before = signal.signal(signal.SIGALRM, interrupt)
        with SlowReader(0, begun=lambda: os.kill(os.getpid(), signal.SIGALRM)) as service:
            client = FetchHive(KEY, service.url, timeout=30)
            try:
                with pytest.raises(error) as caught:
                    client.invoke_prompt(deployment="d", inputs=LONG)
            finally:
                signal.signal(signal.SIGALRM, before)
        assert_keeps_the_key(caught.value)


async def test_cancelled_sending_does_not_show_the_key():
    """The asyncio twin: a task that times out."""
    with SlowReader(0) as service:
        client = FetchHive(KEY, service.url, timeout=5)
        with pytest.raises(asyncio.TimeoutError) as caught:
            await asyncio.wait_for(client.ainvoke_prompt(deployment="d", inputs=LONG), 0.3)
        await client.aclose()

    assert_keeps_the_key(caught.value)


# --- Interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["call", "stream"])
@pytest.mark.parametrize("where", ["__enter__", "__exit__"])
def test_interruption_inside_a_lock_releases_it(monkeypatch, kind, where):
    """After a signal handler raises while httpcore takes or releases a lock, the next call and closing work."""
    lock = httpcore._synchronization.Lock
    for number in range(12):
        count, method = iter(range(1000)), getattr(lock, where)

        def interrupt(self, *args, number=number, count=count, method=method):
            if where == "__enter__":
                method(self, *args)  # locked, but the `with` block has not started
            if next(count) == number:
                raise InterruptionError
            if where == "__exit__":
                method(self, *args)

        with FaultServer(GOOD) as server:
            server.scripts["stream"] = [GOOD_STREAM]
            client = FetchHive(KEY, server.url, timeout=2)
            for _ in range(2):
                with monkeypatch.context() as patch:
                    patch.setattr(lock, where, interrupt)
                    with contextlib.suppress(InterruptionError):
                        if kind == "call":
                            client.invoke_prompt(deployment="d")
                        else:
                            client.invoke_prompt_stream(deployment="stream").collect()
                assert client.invoke_prompt(deployment="d").response == ANSWER_TEXT
            client.close()
            assert server.wait_until(lambda: server.open_connections == 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python may drop the exception
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("kind", ["call", "stream"])
def test_interruption_anywhere_leaks_no_lock_or_connection(kind, warm):
    """After a signal handler raises at any function call, the next call works, also from another thread."""
    with FaultServer(GOOD) as server:
        server.scripts["stream"] = [GOOD_STREAM]
        client = FetchHive(KEY, server.url, timeout=5)
        is_over, number = False, 0
        while not is_over:
            if warm:
                client.invoke_prompt(deployment="d")
            is_over = is_uninterrupted(number, client, kind)
            (answer,) = in_another_thread(lambda: client.invoke_prompt(deployment="d").response)
            assert answer == ANSWER_TEXT
            assert server.wait_until(lambda: server.open_connections == 1), f"after event {number}"
            if not warm:
                client.close()
            number += STRIDE
        client.close()
        assert server.wait_until(lambda: server.open_connections == 0)

    assert number > 20 * STRIDE


STRIDE = 7  # interrupt at each 7th of several thousand events


def is_uninterrupted(number, client, kind):
    """Make a call and interrupt it at the n-th possible point. Return whether the call ended before that point."""
    events = itertools.count()

    def interrupt(frame, event, arg):
        files = {frame.f_code.co_filename, frame.f_back.f_code.co_filename}
        # Python's import lock may stay locked, and SSLSocket briefly shares a descriptor, which may then be closed
        # twice.
        if ssl.__file__ in files or any(file.startswith("<frozen ") for file in files):
            return
        if event in {"call", "c_return"} and next(events) == number:
            sys.setprofile(None)
            raise InterruptionError

    with contextlib.suppress(InterruptionError):
        sys.setprofile(interrupt)
        try:
            if kind == "call":
                client.invoke_prompt(deployment="d")
            else:
                client.invoke_prompt_stream(deployment="stream").collect()
        finally:
            sys.setprofile(None)
    return next(events) <= number


def in_another_thread(work):
    results = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(SOON)
    return results


# --- Closing ---------------------------------------------------------------------------------------------------------


def close_soon(close):
    timer = threading.Timer(0.3, close)
    timer.start()
    return timer


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "fault", [Fault(STALL), Fault(answer(ANSWER, length=999), STALL), Fault(b"HTTP/1.1 200 OK\r\n\r\n{", STALL)]
)
def test_closing_the_client_ends_a_call(tls, fault, secure):
    """When another thread closes the client, the call ends at once, and its error reports `maybe_processed`."""
    with FaultServer(fault, tls=tls if secure else None) as server:
        client = FetchHive(KEY, server.url, timeout=20)
        timer = close_soon(client.close)
        begun = time.monotonic()
        with pytest.raises(APIConnectionError, match="the client was closed") as caught:
            client.invoke_prompt(deployment="d")
        timer.join()

    assert time.monotonic() - begun < SOON
    assert (caught.value.maybe_processed, server.total_posts) == (True, 1)


@pytest.mark.parametrize("where", ["handshake", "tunnel", "handshake in the tunnel"])
def test_closing_the_client_ends_connecting(tls, proxy_of, where):
    """Nothing is sent, and the call is not retried."""
    greeting = (LISTEN, b"HTTP/1.1 200 OK\r\n\r\n", HANG) if where == "handshake in the tunnel" else (HANG,)
    with FaultServer(GOOD, tls=tls, greeting=greeting) as server:
        client = FetchHive(KEY, server.url, timeout=20) if where == "handshake" else proxy_of(server.port, timeout=20)
        timer = close_soon(client.close)
        begun = time.monotonic()
        with pytest.raises(APIConnectionError, match=r"the client was closed$") as caught:
            client.invoke_prompt(deployment="d")
        timer.join()

    assert time.monotonic() - begun < SOON
    assert (caught.value.maybe_processed, server.connections, server.total_posts) == (False, 1, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.2 and the backlog behavior of Linux")
async def test_closing_the_client_ends_connecting_to_a_silent_address(monkeypatch):
    """Only in asyncio, as a blocking connect cannot be interrupted."""
    answer_lookups(monkeypatch, "127.0.0.2")
    with FaultServer(GOOD) as server, silent("127.0.0.2", server.port):
        client = client_at(server, timeout=20)
        call = asyncio.ensure_future(client.ainvoke_prompt(deployment="d"))
        await asyncio.sleep(0.3)
        await client.aclose()
        with pytest.raises(APIConnectionError, match=r"the client was closed$") as caught:
            await asyncio.wait_for(call, SOON)

    assert caught.value.maybe_processed is False


@pytest.mark.parametrize("where", ["handshake", "tunnel", "handshake in the tunnel"])
async def test_closing_the_client_ends_connecting_in_asyncio(tls, proxy_of, where):
    """The asyncio twin: another task closes the client."""
    greeting = (LISTEN, b"HTTP/1.1 200 OK\r\n\r\n", HANG) if where == "handshake in the tunnel" else (HANG,)
    with FaultServer(GOOD, tls=tls, greeting=greeting) as server:
        client = FetchHive(KEY, server.url, timeout=20) if where == "handshake" else proxy_of(server.port, timeout=20)
        call = asyncio.ensure_future(client.ainvoke_prompt(deployment="d"))
        await asyncio.sleep(0.3)
        await client.aclose()
        with pytest.raises(APIConnectionError, match=r"the client was closed$") as caught:
            await asyncio.wait_for(call, SOON)

    assert (caught.value.maybe_processed, server.connections, server.total_posts) == (False, 1, 0)


def test_closing_the_client_ends_a_stream():
    """The stream is interrupted, and its error has the received text."""
    with FaultServer(Fault(begin(), event(HELLO), STALL)) as server:
        client = FetchHive(KEY, server.url, timeout=20)
        timer = close_soon(client.close)
        with pytest.raises(StreamInterruptedError) as caught:
            client.invoke_prompt_stream(deployment="d").collect()
        timer.join()

    assert caught.value.partial.text == "Hello"


def test_closing_the_client_ends_a_wait():
    """The wait between two attempts ends, and nothing more is sent."""
    busy = Fault(answer({}, "Retry-After: 20", status="429 Busy"), refuses=True)
    with FaultServer(busy) as server:
        client = FetchHive(KEY, server.url, timeout=60)
        timer = close_soon(client.close)
        begun = time.monotonic()
        with pytest.raises(APIConnectionError, match="the client was closed") as caught:
            client.invoke_prompt(deployment="d")
        timer.join()

    assert time.monotonic() - begun < SOON
    assert (caught.value.maybe_processed, server.total_posts) == (False, 1)


def test_closing_the_client_ends_a_wait_with_an_injected_client():
    """The injected client itself stays open."""
    busy = Fault(answer({}, "Retry-After: 20", status="429 Busy"), refuses=True)
    with FaultServer(busy, GOOD) as server, httpx.Client() as injected:
        client = FetchHive(KEY, server.url, timeout=60, http_client=injected)
        timer = close_soon(client.close)
        with pytest.raises(APIConnectionError, match="the client was closed"):
            client.invoke_prompt(deployment="d")
        timer.join()
        assert client.invoke_prompt(deployment="d").response == ANSWER_TEXT


@pytest.mark.parametrize("fault", [Fault(STALL), Fault(answer({}, "Retry-After: 20", status="429 Busy"))])
async def test_closing_the_client_ends_an_asyncio_call(fault):
    """The asyncio twin: another task closes the client."""
    with FaultServer(fault) as server:
        client = FetchHive(KEY, server.url, timeout=60)
        asyncio.get_running_loop().call_later(0.3, lambda: tasks.append(asyncio.ensure_future(client.aclose())))
        tasks = []
        begun = time.monotonic()
        with pytest.raises(APIConnectionError, match="the client was closed"):
            await client.ainvoke_prompt(deployment="d")
        await asyncio.gather(*tasks)

    assert time.monotonic() - begun < SOON


@pytest.mark.parametrize("fault", [Fault(STALL), Fault(begin(), event(HELLO), STALL)], ids=["head", "body"])
def test_stream_can_be_closed_by_another_thread(fault):
    """The reading thread gets an `APIConnectionError`, and closing raises no error."""
    with FaultServer(fault) as server:
        client = FetchHive(KEY, server.url, timeout=20)
        stream = client.invoke_prompt_stream(deployment="d")
        failures = []

        def close():
            try:
                stream.close()
            except BaseException as exc:  # noqa: BLE001 - any exception is a failure
                failures.append(exc)

        timer = close_soon(close)
        begun = time.monotonic()
        with pytest.raises(APIConnectionError):
            for _ in stream:
                pass
        timer.join()

    assert failures == []
    assert time.monotonic() - begun < SOON


@pytest.mark.parametrize("fault", [Fault(STALL), Fault(begin(), event(HELLO), STALL)], ids=["head", "body"])
async def test_stream_can_be_closed_by_another_task(fault):
    """The asyncio twin does the same."""
    with FaultServer(fault) as server:
        client = FetchHive(KEY, server.url, timeout=20)
        stream = client.ainvoke_prompt_stream(deployment="d")

        async def read():
            async for _ in stream:
                pass

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0.3)
        await stream.aclose()
        with pytest.raises(APIConnectionError):
            await asyncio.wait_for(reading, SOON)
        await client.aclose()


# --- Injected clients ------------------------------------------------------------------------------------------------


def with_injected(drive, server, stream=False, library=httpx, **options):
    """Make a call with an injected client created with these options."""
    if isinstance(drive, Blocking):
        with library.Client(**options) as injected:
            client = FetchHive(KEY, server.url, timeout=5, max_retries=1, http_client=injected)
            return attempt(drive, client, stream=stream)

    async def main():
        outcome = Outcome()
        async with library.AsyncClient(**options) as injected:
            client = FetchHive(KEY, server.url, timeout=5, max_retries=1, async_http_client=injected)
            try:
                if stream:
                    outcome.result = await client.ainvoke_prompt_stream(deployment="d").collect()
                else:
                    outcome.result = await client.ainvoke_prompt(deployment="d")
            except FetchHiveError as error:
                outcome.error = error
        return outcome

    return asyncio.run(main())


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_injected_client_stream_can_be_closed_by_another_thread(tls, secure, package):
    """Closing shuts down the connection of the stream; the injected client stays open."""
    make = pytest.importorskip(package).Client
    server = FaultServer(Fault(begin(), event(HELLO), STALL), GOOD, tls=tls if secure else None)
    with server, make(verify=tls_module.tls_context()) as injected:
        client = FetchHive(KEY, server.url, timeout=20, http_client=injected)
        stream = client.invoke_prompt_stream(deployment="d")
        timer = close_soon(stream.close)
        begun = time.monotonic()
        with pytest.raises(StreamInterruptedError) as caught:
            list(stream)
        timer.join()
        assert client.invoke_prompt(deployment="d").response == ANSWER_TEXT

    assert time.monotonic() - begun < SOON
    assert caught.value.partial.text == "Hello"


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_injected_client_stream_can_be_closed_by_another_task(tls, secure, package):
    """The asyncio twin does the same."""
    make = pytest.importorskip(package).AsyncClient
    with FaultServer(Fault(begin(), event(HELLO), STALL), GOOD, tls=tls if secure else None) as server:
        async with make(verify=tls_module.tls_context()) as injected:
            client = FetchHive(KEY, server.url, timeout=20, async_http_client=injected)
            stream = client.ainvoke_prompt_stream(deployment="d")
            reading = asyncio.ensure_future(stream.collect())
            await asyncio.sleep(0.3)
            await stream.aclose()
            with pytest.raises(StreamInterruptedError) as caught:
                await asyncio.wait_for(reading, SOON)
            assert (await client.ainvoke_prompt(deployment="d")).response == ANSWER_TEXT

    assert caught.value.partial.text == "Hello"


def test_auth_of_an_injected_client_does_not_replace_the_key(drive):
    """Otherwise httpx would send the client's `auth` in place of the key."""
    with FaultServer(GOOD) as server:
        outcome = with_injected(drive, server, auth=("user", "password"))

    assert outcome.text == ANSWER_TEXT
    assert f"authorization: bearer {KEY}".encode() in server.heads[0].lower()
    assert b"basic" not in server.heads[0].lower()


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
@pytest.mark.parametrize("reads", [False, True], ids=["unread", "read"])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 No", AuthenticationError),
        ("404 No", NotFoundError),
        ("429 Busy", RateLimitError),
        ("500 Broken", InternalServerError),
    ],
)
def test_event_hook_that_raises_for_the_status_raises_our_error(drive, status, error, stream, reads):
    """The error and the retries are the same as without the hook."""

    def check(response):
        if reads:
            response.read()
        response.raise_for_status()

    async def acheck(response):
        if reads:
            await response.aread()
        response.raise_for_status()

    hooks = {"response": [check if isinstance(drive, Blocking) else acheck]}
    with FaultServer(Fault(answer({"message": "overloaded"}, "Retry-After: 0", status=status), refuses=True)) as server:
        outcome = with_injected(drive, server, stream=stream, event_hooks=hooks)

    assert type(outcome.error) is error
    assert server.total_posts == (2 if error is RateLimitError else 1)
    assert ("overloaded" in str(outcome.error)) is reads
    assert outcome.error.maybe_processed is (status[0] == "5")
    assert_keeps_the_key(outcome.error)


def failed_status(library):
    """The status of another request, which means that it can be retried."""
    request = library.Request("POST", "http://log.test")
    response = library.Response(503, headers={"Retry-After": "0"}, request=request)
    return library.HTTPStatusError("busy", request=request, response=response)


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("ConnectError", lambda library: library.ConnectError("refused")),
        (
            "PoolTimeout",
            lambda library: library.PoolTimeout("full", request=library.Request("POST", "http://log.test")),
        ),
        ("ReadTimeout", lambda library: library.ReadTimeout("late")),
        ("InvalidURL", lambda library: library.InvalidURL("no host")),
        ("UnicodeDecodeError", lambda library: UnicodeDecodeError("ascii", b"", 0, 1, "no")),
        ("HTTPStatusError", failed_status),
    ],
)
def test_error_of_a_response_hook_does_not_repeat_the_run(drive, package, kind, made):
    """The hook may have sent another request. Its error says nothing about the run, which has been answered."""
    library = pytest.importorskip(package)

    def hook(response):
        raise made(library)

    hooks = {"response": [hook if isinstance(drive, Blocking) else in_asyncio(hook)]}
    with FaultServer(GOOD) as server:
        outcome = with_injected(drive, server, library=library, event_hooks=hooks)

    assert type(outcome.error) is APIConnectionError
    assert outcome.error.maybe_processed
    assert f"an event hook raised {kind}: " in str(outcome.error)
    assert server.total_posts == 1
    assert_keeps_the_key(outcome.error)


def in_asyncio(hook):
    async def call(message):
        hook(message)

    return call


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
def test_connection_error_of_a_request_hook_is_retried(drive, package):
    """It is raised before the run is sent."""
    library = pytest.importorskip(package)
    failures = [library.ConnectError("refused")]

    def hook(request):
        if failures:
            raise failures.pop()

    hooks = {"request": [hook if isinstance(drive, Blocking) else in_asyncio(hook)]}
    with FaultServer(GOOD) as server:
        outcome = with_injected(drive, server, library=library, event_hooks=hooks)

    assert (outcome.text, outcome.result.response, server.total_posts) == (ANSWER_TEXT, ANSWER_TEXT, 1)


# --- Event loops -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [CLOSE, RESET], ids=["closed", "reset"])
@pytest.mark.parametrize("first", [answer(ANSWER), answer({}, "Retry-After: 0", status="429 Busy")], ids=["200", "429"])
def test_uvloop_accepts_tls_without_close_notify(tls, first, last):
    """If the server closes after its response without close_notify, the call ends with that response."""
    uvloop = pytest.importorskip("uvloop")
    with FaultServer(Fault(first, last), GOOD, tls=tls) as server:
        client = FetchHive(KEY, server.url, timeout=5, max_retries=0)

        async def main():
            with contextlib.suppress(RateLimitError):
                assert (await client.ainvoke_prompt(deployment="d")).response == ANSWER_TEXT
            # A request on a connection that is just being closed would be lost.
            assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == 0)
            answer = await client.ainvoke_prompt(deployment="d")
            await client.aclose()
            return answer.response

        loop = uvloop.new_event_loop()
        try:
            assert loop.run_until_complete(main()) == ANSWER_TEXT
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


def test_trio_is_rejected_with_advice(monkeypatch):
    """The SDK's own connections do not support trio; the error explains the alternative."""
    trio = pytest.importorskip("trio")
    client = FetchHive(KEY, "http://127.0.0.1:9/v1")

    async def main():
        await client.ainvoke_prompt(deployment="d")

    with pytest.raises(FetchHiveError, match=r"asyncio event loop.*trio\.to_thread\.run_sync"):
        trio.run(main)


def run_program(code, python=sys.executable, *options):
    return subprocess.run(
        [python, *options, "-c", CALM + textwrap.dedent(code)], capture_output=True, timeout=60, check=False, text=True
    )


@pytest.mark.parametrize("made", ["before", "inside"])
def test_first_asyncio_call_does_not_block_the_event_loop(made):
    """Slow imports run in a thread, at the first call or when the client is created inside the loop."""
    with FaultServer(GOOD) as server:
        done = run_program(f"""
            import asyncio, sys, threading
            from fetch_hive_sdk import FetchHive
            make = lambda: FetchHive({KEY!r}, {server.url!r}, timeout=5)
            client = make() if {made == "before"} else None
            lazy = [name for name in ("httpcore", "anyio", "anyio._backends._asyncio") if name not in sys.modules]
            assert "anyio._backends._asyncio" in lazy  # old versions of httpx load the others themselves
            imported_by = {{}}

            class Finder:
                def find_spec(self, name, path=None, target=None):
                    imported_by[name] = threading.current_thread()

            sys.meta_path.insert(0, Finder())

            async def main():
                used = client or make()
                assert {made == "before"} or not set(lazy) - set(sys.modules)
                await used.ainvoke_prompt(deployment="d")
                await used.aclose()

            asyncio.run(main())
            assert not [name for name in lazy if imported_by[name] is threading.main_thread()]
        """)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["ainvoke_prompt(deployment='d')", "ainvoke_prompt_stream(deployment='s').collect()"])
def test_event_loop_need_not_be_closed(kind):
    """A program that closes neither its loop nor its client exits without warnings."""
    with FaultServer(GOOD) as server:
        server.scripts["s"] = [GOOD_STREAM]
        done = run_program(f"""
            import asyncio
            from fetch_hive_sdk import FetchHive
            client = FetchHive({KEY!r}, {server.url!r}, timeout=5)
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(client.{kind}).response == {ANSWER_TEXT!r}
        """)

    assert (done.returncode, done.stderr) == (0, "")
