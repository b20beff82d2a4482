"""Connections: what they are used for again, how they are made, and how they end. One row of FAULTS.md, one test."""

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
    GOOD,
    GOOD_STREAM,
    HELLO,
    SAID,
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
MAKE_TLS_CONTEXT = tls_module._make_tls_context.__wrapped__  # not the one of a test

# --- Bytes that no call asked for ------------------------------------------------------------------------------------

OTHER = answer({**ANSWER, "response": "of somebody else"})
LEFTOVERS = {"another answer": OTHER, "an empty line": b"\r\n", "garbage": b"x", "half an answer": OTHER[:30]}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("leftover", LEFTOVERS)
@pytest.mark.parametrize("kind", ["call", "stream"])
def test_bytes_after_an_answer_are_not_the_next_answer(drive, tls, leftover, kind, secure):
    """A connection on which anything follows an answer is not used again, and each call gets its own."""
    first = (
        answer(ANSWER) if kind == "call" else begin() + b"".join(map(event, (HELLO, {"type": "usage"}, "[DONE]"))) + END
    )
    with FaultServer(Fault(first + LEFTOVERS[leftover]), GOOD, tls=tls if secure else None) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        ends = in_a_row(drive, client, kind, "call")

    assert [end.response for end in ends] == ["Hello" if kind == "stream" else SAID, SAID]
    assert (server.connections, server.total_posts) == (2, 2)


def test_bytes_after_a_long_answer_are_not_the_next_answer(drive, tls):
    """Nor are those that lie behind an answer that fills what is read at once."""
    for size in (65536, 131072):
        head = answer(ANSWER, "X-Padding: ")
        body = json.dumps({**ANSWER, "reasoning": "x" * size}).encode()
        whole = answer(body)
        assert len(head) < len(whole)
        for context in (None, tls):
            with FaultServer(Fault(whole + OTHER), GOOD, tls=context) as server:
                client = FetchHive(KEY, server.url, timeout=5)
                ends = in_a_row(drive, client, "call", "call")

            assert [end.response for end in ends] == [SAID, SAID]
            assert (server.connections, server.total_posts) == (2, 2)


def test_an_answer_before_its_question_is_not_its_answer(drive):
    """What arrives on an idle connection closes it."""
    with FaultServer(Fault(answer(ANSWER), 0.1, OTHER), GOOD) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        ends = in_a_row_with_a_pause(drive, client, 0.3)

    assert ends == [SAID, SAID]
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


def test_long_answers_leave_a_connection_that_can_be_used(drive, tls):
    """Looking for leftovers does not cost a connection."""
    whole = answer(json.dumps({**ANSWER, "reasoning": "x" * 200_000}).encode())
    for context in (None, tls):
        with FaultServer(Fault(whole), tls=context) as server:
            client = FetchHive(KEY, server.url, timeout=5)
            ends = in_a_row(drive, client, "call", "call", "call")

        assert [end.response for end in ends] == [SAID] * 3
        assert server.connections == 1


# --- Connecting ------------------------------------------------------------------------------------------------------


def answer_lookups(monkeypatch, *addresses, seconds=0.0):
    """Let the name hive.test have these addresses, after some time."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        if host not in {"hive.test", b"hive.test"}:
            return look_up(host, port, *args, **kwargs)
        time.sleep(seconds)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@contextlib.contextmanager
def silent(address, port):
    """An address that answers no attempt to connect: its queue is full."""
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


def test_a_slow_lookup_is_over_in_time(drive, monkeypatch):
    """A lookup that takes longer than the call may: nothing is sent, however late it answers."""
    answer_lookups(monkeypatch, LOOPBACK, seconds=1.0)
    with FaultServer(GOOD) as server:
        outcome = attempt(drive, client_at(server, timeout=LIMIT))
        time.sleep(0.1)

    assert type(outcome.error) is APITimeoutError
    assert (outcome.error.phase, outcome.error.maybe_processed) == ("connect", False)
    assert (server.connections, server.total_posts) == (0, 0)
    assert outcome.seconds < SOON


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 and a queue that is full are Linux")
def test_silent_addresses_are_over_in_time(drive, monkeypatch):
    """All addresses together have the time of the call."""
    answer_lookups(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.4")
    with FaultServer(GOOD) as server, contextlib.ExitStack() as stack:
        for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            stack.enter_context(silent(address, server.port))
        outcome = attempt(drive, client_at(server, timeout=1.2))

    assert type(outcome.error) is APITimeoutError
    assert (outcome.error.phase, outcome.error.maybe_processed) == ("connect", False)
    assert f"could not connect to hive.test:{server.port} in time" in str(outcome.error)
    assert 1.0 <= outcome.seconds < 2.0


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 and a queue that is full are Linux")
def test_a_silent_address_is_passed_over(drive, monkeypatch):
    """The first address is silent, the second alive: the call is made within a second."""
    answer_lookups(monkeypatch, "127.0.0.2", LOOPBACK)
    with FaultServer(GOOD) as server, silent("127.0.0.2", server.port):
        outcome = attempt(drive, client_at(server, timeout=5))

    assert outcome.text == SAID
    assert outcome.seconds < 1.5


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
def test_tcp_keepalive_is_on(drive, stream, monkeypatch):
    """A run of some silent minutes survives a NAT."""
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

    assert outcome.text == SAID
    assert set(options) == {1}


def test_endless_timeouts_are_possible(drive, tls):
    """More seconds than a socket can count are as good as no limit."""
    for timeout in (1e10, httpx.Timeout(1e10)):
        with FaultServer(GOOD, tls=tls) as server:
            client = FetchHive(KEY, server.url, timeout=timeout)
            assert attempt(drive, client).text == SAID


@pytest.mark.parametrize("trouble", ["missing", "empty", "folder"])
def test_unusable_certificate_files_are_named(drive, tmp_path, monkeypatch, trouble):
    """Nothing was sent, no retry would help, and the message names the variable."""
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
    assert (outcome.error.maybe_processed, outcome.error.attempts) == (False, 1)


def test_https_to_a_plain_port_is_explained(drive):
    """OpenSSL calls it WRONG_VERSION_NUMBER; we say what it means."""
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
    """Let https calls go through a proxy; return a client that does so."""

    def use(port, **options):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hidden@{LOOPBACK}:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        return FetchHive(KEY, "https://hive.test/v1", **{"timeout": 5, "max_retries": 1, **options})

    return use


REFUSALS = {
    "cuts": (LISTEN, CLOSE),
    "resets": (LISTEN, RESET),
    "garbage": (LISTEN, b"SSH-2.0-OpenSSH_9.6\r\n\r\n", CLOSE),
    "407": (LISTEN, b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", STALL),
    "502": (LISTEN, b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", STALL),
    "cuts in the handshake": (LISTEN, b"HTTP/1.1 200 OK\r\n\r\n", LISTEN, CLOSE),
}


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_proxy_that_refuses_is_like_a_refused_connection(drive, tls, proxy_of, refusal, stream):
    """Nothing reached the service: the call is repeated, then given up, and the error names the proxy."""
    with FaultServer(GOOD, greeting=REFUSALS[refusal]) as server:
        outcome = attempt(drive, proxy_of(server.port), stream=stream)

    assert type(outcome.error) is APIConnectionError
    assert f"could not connect to hive.test:443 through the proxy {LOOPBACK}:{server.port}" in str(outcome.error)
    assert (outcome.error.maybe_processed, outcome.error.attempts, server.connections) == (False, 2, 2)
    assert "hidden" not in str(outcome.error)
    assert_keeps_the_key(outcome.error)


def test_a_proxy_that_is_not_there_is_a_refused_connection(drive, tls, proxy_of):
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
    ids=["silent", "drips", "silent in the handshake"],
)
def test_a_slow_proxy_is_over_in_time(drive, tls, proxy_of, greeting):
    """The way through a proxy is part of connecting."""
    with FaultServer(GOOD, greeting=greeting) as server:
        outcome = attempt(drive, proxy_of(server.port, timeout=LIMIT))

    assert type(outcome.error) is APITimeoutError
    assert (outcome.error.phase, outcome.error.maybe_processed) == ("connect", False)
    assert f"the proxy {LOOPBACK}:{server.port}" in str(outcome.error)
    assert LIMIT <= outcome.seconds < SOON


def test_calls_share_a_tunnel(drive, tls, proxy_of):
    """Calls and streams through a proxy use one connection again and again."""
    with FaultServer(GOOD, GOOD_STREAM, GOOD, tls=tls) as server, Proxy(server.port) as proxy:
        ends = in_a_row(drive, proxy_of(proxy.port), "call", "stream", "call")

    assert [end.response for end in ends] == [SAID] * 3
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
def test_faults_behind_a_proxy_are_as_without(drive, tls, proxy_of, fault, error):
    """Once the request is in the tunnel, it may have been processed."""
    with FaultServer(fault, tls=tls) as server, Proxy(server.port) as proxy:
        outcome = attempt(drive, proxy_of(proxy.port, timeout=1))

    assert type(outcome.error) is error
    assert (outcome.error.maybe_processed, server.total_posts) == (True, 1)
    assert outcome.seconds < SOON
    assert "through the proxy" in str(outcome.error)


def test_a_call_through_a_proxy_is_over_in_time(drive, tls, proxy_of):
    """A head or a body that drips is bounded by the time of the call, with a proxy as without."""
    for steps in ((Drip(answer(ANSWER), 0.1),), (answer(ANSWER)[:-40], Drip(answer(ANSWER)[-40:], 0.1))):
        with FaultServer(Fault(*steps), tls=tls) as server, Proxy(server.port) as proxy:
            outcome = attempt(drive, proxy_of(proxy.port, timeout=1))

        assert type(outcome.error) is APITimeoutError
        assert outcome.seconds < 2


async def test_a_proxy_does_not_limit_how_many_calls_there_are(monkeypatch):
    """More than a hundred calls at once through a proxy."""
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

    assert {result.response for result in results} == {SAID}
    assert server.connections == calls
    assert seconds < 5


# --- Sending ---------------------------------------------------------------------------------------------------------


class SlowReader(threading.Thread):
    """A service that reads slowly, or not at all, after it has said something."""

    def __init__(self, bytes_a_step, answer=b"", begun=lambda: None):
        super().__init__(daemon=True)
        self._begun = begun
        self._bytes = bytes_a_step
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


@pytest.mark.parametrize("bytes_a_step", [0, 50_000], ids=["not at all", "slowly"])
def test_sending_is_over_in_time(drive, bytes_a_step):
    """A service that reads slowly does not stretch a call."""
    with SlowReader(bytes_a_step) as service:
        outcome = attempt(drive, FetchHive(KEY, service.url, timeout=1.0), inputs=LONG)

    assert type(outcome.error) is APITimeoutError
    assert outcome.error.phase in {"write", "total"}
    assert outcome.error.maybe_processed is True
    assert 1.0 <= outcome.seconds < SOON
    assert_keeps_the_key(outcome.error)


@pytest.mark.parametrize("status", ["413 Content Too Large", "401 Unauthorized"])
def test_a_refusal_that_comes_while_sending_is_the_answer(drive, status):
    """The service answers, and reads no further."""
    with SlowReader(0, answer({"message": "too long"}, status=status)) as service:
        outcome = attempt(drive, FetchHive(KEY, service.url, timeout=5), inputs=LONG)

    assert isinstance(outcome.error, APIStatusError)
    assert outcome.error.status_code == int(status[:3])
    assert outcome.seconds < SOON


class InterruptionError(Exception):
    """What a signal's handler raises."""


def test_interrupted_sending_shows_no_key():
    """The frames in which the headers are written are cut off, whatever ends it."""
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


async def test_cancelled_sending_shows_no_key():
    """The twin: a task that is cancelled, or runs out of time."""
    with SlowReader(0) as service:
        client = FetchHive(KEY, service.url, timeout=5)
        with pytest.raises(asyncio.TimeoutError) as caught:
            await asyncio.wait_for(client.ainvoke_prompt(deployment="d", inputs=LONG), 0.3)
        await client.aclose()

    assert_keeps_the_key(caught.value)


# --- Interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["call", "stream"])
@pytest.mark.parametrize("where", ["__enter__", "__exit__"])
def test_an_interruption_inside_a_lock_leaves_nothing_locked(monkeypatch, kind, where):
    """A signal's exception at the worst moment: the next call works, and so does closing."""
    lock = httpcore._synchronization.Lock
    for number in range(12):
        count, method = iter(range(1000)), getattr(lock, where)

        def interrupt(self, *args, number=number, count=count, method=method):
            if where == "__enter__":
                method(self, *args)  # locked, and the `with` has not begun
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
                assert client.invoke_prompt(deployment="d").response == SAID
            client.close()
            assert server.wait_until(lambda: server.open_connections == 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where Python itself drops it
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("kind", ["call", "stream"])
def test_an_interruption_anywhere_leaves_nothing_locked_and_nothing_open(kind, warm):
    """A signal's exception after any call of a function: the next call works, from another thread, too."""
    with FaultServer(GOOD) as server:
        server.scripts["stream"] = [GOOD_STREAM]
        client = FetchHive(KEY, server.url, timeout=5)
        is_over, number = False, 0
        while not is_over:
            if warm:
                client.invoke_prompt(deployment="d")
            is_over = is_uninterrupted(number, client, kind)
            (answer,) = in_another_thread(lambda: client.invoke_prompt(deployment="d").response)
            assert answer == SAID
            assert server.wait_until(lambda: server.open_connections == 1), f"after event {number}"
            if not warm:
                client.close()
            number += STRIDE
        client.close()
        assert server.wait_until(lambda: server.open_connections == 0)

    assert number > 20 * STRIDE


STRIDE = 7  # of some thousand events


def is_uninterrupted(number, client, kind):
    """Make a call, and interrupt it where a signal could, for the n-th time; tell whether it was over before."""
    events = itertools.count()

    def interrupt(frame, event, arg):
        files = {frame.f_code.co_filename, frame.f_back.f_code.co_filename}
        # Python's own lock of an import may stay locked, and its SSLSocket shares a descriptor for a moment, which may
        # then be closed twice.
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
    """Another thread closes the client: the call ends at once, and says that it may have been processed."""
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
    """Nothing was sent, and the call is not made again."""
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


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 and a queue that is full are Linux")
async def test_closing_the_client_ends_connecting_to_a_silent_address(monkeypatch):
    """In asyncio. A blocking connect cannot be interrupted."""
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
    """The twin: another task closes the client."""
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
    """The stream breaks off, with what it has given."""
    with FaultServer(Fault(begin(), event(HELLO), STALL)) as server:
        client = FetchHive(KEY, server.url, timeout=20)
        timer = close_soon(client.close)
        with pytest.raises(StreamInterruptedError) as caught:
            client.invoke_prompt_stream(deployment="d").collect()
        timer.join()

    assert caught.value.partial.text == "Hello"


def test_closing_the_client_ends_a_wait():
    """The wait between two attempts ends, too; nothing is sent after it."""
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
        assert client.invoke_prompt(deployment="d").response == SAID


@pytest.mark.parametrize("fault", [Fault(STALL), Fault(answer({}, "Retry-After: 20", status="429 Busy"))])
async def test_closing_the_client_ends_an_asyncio_call(fault):
    """The twin: another task closes the client."""
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
def test_a_stream_can_be_closed_by_another_thread(fault):
    """For the thread that reads, the stream breaks off; there is no `ValueError` in either."""
    with FaultServer(fault) as server:
        client = FetchHive(KEY, server.url, timeout=20)
        stream = client.invoke_prompt_stream(deployment="d")
        failures = []

        def close():
            try:
                stream.close()
            except BaseException as exc:  # noqa: BLE001 - whatever it is
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
async def test_a_stream_can_be_closed_by_another_task(fault):
    """The twin does the same."""
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


def with_injected(drive, server, stream=False, **options):
    """Make a call with an injected client of these options."""
    if isinstance(drive, Blocking):
        with httpx.Client(**options) as injected:
            client = FetchHive(KEY, server.url, timeout=5, max_retries=1, http_client=injected)
            return attempt(drive, client, stream=stream)

    async def main():
        outcome = Outcome()
        async with httpx.AsyncClient(**options) as injected:
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
def test_a_stream_of_an_injected_client_can_be_closed_by_another_thread(tls, secure, package):
    """The connection is the client's, and is shut down once the answer has begun; the client itself stays open."""
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
        assert client.invoke_prompt(deployment="d").response == SAID

    assert time.monotonic() - begun < SOON
    assert caught.value.partial.text == "Hello"


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_a_stream_of_an_injected_client_can_be_closed_by_another_task(tls, secure, package):
    """The twin does the same."""
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
            assert (await client.ainvoke_prompt(deployment="d")).response == SAID

    assert caught.value.partial.text == "Hello"


def test_auth_of_an_injected_client_does_not_replace_the_key(drive):
    """It would have been sent in place of the key, in silence."""
    with FaultServer(GOOD) as server:
        outcome = with_injected(drive, server, auth=("user", "password"))

    assert outcome.text == SAID
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
def test_a_hook_that_raises_for_the_status_gives_the_error_of_the_status(drive, status, error, stream, reads):
    """And its retry, as without the hook."""

    def check(response):
        if reads:
            response.read()
        response.raise_for_status()

    async def acheck(response):
        if reads:
            await response.aread()
        response.raise_for_status()

    hooks = {"response": [check if isinstance(drive, Blocking) else acheck]}
    with FaultServer(Fault(answer({"message": "said"}, "Retry-After: 0", status=status), refuses=True)) as server:
        outcome = with_injected(drive, server, stream=stream, event_hooks=hooks)

    assert type(outcome.error) is error
    assert server.total_posts == (2 if error is RateLimitError else 1)
    assert ("said" in str(outcome.error)) is reads
    assert outcome.error.maybe_processed is (status[0] == "5")
    assert_keeps_the_key(outcome.error)


# --- Event loops -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [CLOSE, RESET], ids=["closed", "reset"])
@pytest.mark.parametrize("first", [answer(ANSWER), answer({}, "Retry-After: 0", status="429 Busy")], ids=["200", "429"])
def test_uvloop_and_tls_that_ends_without_a_farewell(tls, first, last):
    """A server that closes after its answer, without close_notify: the answer is the answer."""
    uvloop = pytest.importorskip("uvloop")
    with FaultServer(Fault(first, last), GOOD, tls=tls) as server:
        client = FetchHive(KEY, server.url, timeout=5)

        async def main():
            ends = [(await client.ainvoke_prompt(deployment="d")).response for _ in range(2)]
            await client.aclose()
            return ends

        loop = uvloop.new_event_loop()
        try:
            assert loop.run_until_complete(main()) == [SAID, SAID]
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


def test_trio_is_told_apart(monkeypatch):
    """Under trio, which our own connections do not support, the error says what to do."""
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
def test_the_first_asyncio_call_does_not_hold_up_the_event_loop(made):
    """What takes time to import is imported in a thread, by the first call or when the client is made in the loop."""
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
def test_an_event_loop_need_not_be_closed(kind):
    """A program that never closes its loop, nor the client, ends without a word."""
    with FaultServer(GOOD) as server:
        server.scripts["s"] = [GOOD_STREAM]
        done = run_program(f"""
            import asyncio
            from fetch_hive_sdk import FetchHive
            client = FetchHive({KEY!r}, {server.url!r}, timeout=5)
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(client.{kind}).response == {SAID!r}
        """)

    assert (done.returncode, done.stderr) == (0, "")
