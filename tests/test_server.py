"""The loopback server and malformed HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading

import httpx
import pytest

from fetch_hive_sdk.testing import TEST_KEY, FakeServer
from fetch_hive_sdk.testing._server import serve

HEADERS = {"Authorization": f"Bearer {TEST_KEY}"}


@pytest.fixture
def url():
    with FakeServer("Yes.").serve() as url:
        yield url


def talk(url, data):
    """Send bytes, and read until the server closes the connection."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 10000000000000000000", 413),
        (b"Content-Length: 999999999999", 413),
        (b"Content-Length: 99999999999999999999999999", 400),
        (b"Content-Length: 1_0", 400),
        (b"Content-Length: +1", 400),
        (b"Content-Length: 1\r\nContent-Length: 2", 400),
        (b"X-A: a\rX-B: b", 400),
        (b"X-A: a\0b", 400),
        (b"X-A : a", 400),
        (b"X-Long: " + b"x" * 300_000, 431),
    ],
)
def test_rejects_invalid_http(url, capfd, head, status):
    """Excessive sizes, conflicting headers and so on get one error response, and print nothing."""
    answer = talk(url, b"POST /v1/invoke HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n{}" % head)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1") == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "-Infinity", "1e400", "[" * 1000 + "]" * 1000, "[" * 100_000, '"\\ud83d"', "1" * 5000],
    ids=["NaN", "Infinity", "-Infinity", "1e400", "deep", "deep and open", "half a pair", "a long number"],
)
def test_rejects_invalid_json(url, capfd, value):
    """Invalid JSON, and numbers out of range, get a 422 with the reason, and print nothing."""
    body = f'{{"deployment": "d", "inputs": {{"x": {value}}}}}'

    answer = httpx.post(f"{url}/prompt/invoke", content=body, headers=HEADERS, trust_env=False)

    assert answer.status_code == 422
    assert capfd.readouterr().err == ""


def test_accepts_chunked_bodies(url):
    """A request body of unknown length is accepted."""
    pieces = iter([b'{"deploy', b'ment": "d"}'])

    answer = httpx.post(f"{url}/invoke", content=pieces, headers=HEADERS, trust_env=False)

    assert answer.json()["response"] == "Yes."


def test_answers_expect_continue(url):
    """A client that sends `Expect: 100-continue` gets a 100 response."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        head = "Authorization: Bearer k\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 18\r\n\r\n"
        connection.sendall(f"POST /v1/invoke HTTP/1.1\r\n{head}".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'{"deployment":"d"}')
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_answers_have_a_date(url):
    """`fetch-hive doctor` compares it with the local clock."""
    assert "date" in httpx.get(f"{url}/error_codes", trust_env=False).headers


def test_closes_bodies_of_disconnected_clients():
    """A body that is not read completely is closed."""
    closed = threading.Event()

    class Endless(httpx.SyncByteStream):
        def __iter__(self):
            while True:
                yield b"data: {}\n\n" * 1000

        def close(self):
            closed.set()

    with (
        serve(lambda request: httpx.Response(200, stream=Endless())) as url,
        httpx.Client(trust_env=False) as client,
        client.stream("GET", url) as response,
    ):
        next(response.iter_raw())

    assert closed.wait(10)


def test_unexpected_error_is_answered_and_printed(capfd):
    """An error in a function that scripts an answer is a 500 with its place, and one line. The connection is kept."""
    fake = FakeServer()
    fake.answers("d", lambda call: call.inputs["missing"])

    with fake.serve() as url, httpx.Client(headers=HEADERS, trust_env=False) as client:
        answer = client.post(f"{url}/invoke", json={"deployment": "d"})
        next_answer = client.get(f"{url}/error_codes")

    printed = capfd.readouterr().err
    assert answer.status_code == 500
    assert "the server failed: KeyError: 'missing'" in answer.json()["message"]
    assert "test_server.py" in answer.json()["message"]
    assert printed == f"fetch-hive: {answer.json()['message']}\n"
    assert "connection" not in answer.headers
    assert next_answer.status_code == 200


def test_unexpected_error_reaches_the_caller_in_process():
    """In process, an error in a function that scripts an answer is raised by the call."""
    fake = FakeServer()
    fake.answers("d", lambda call: call.inputs["missing"])

    with pytest.raises(KeyError, match="missing"):
        fake.client().invoke_prompt(deployment="d")


def test_unexpected_error_in_a_body_breaks_the_connection(capfd):
    """An error after the first part of a body is printed on one line."""

    def body():
        yield b"data: {}\n\n"
        raise ValueError("two\nlines")

    with serve(lambda request: httpx.Response(200, content=body())) as url, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url, trust_env=False)

    printed = capfd.readouterr().err
    assert printed.startswith("fetch-hive: the server failed: ValueError: two lines (")
    assert printed.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors to set")
def test_waits_for_file_descriptors():
    """A server that cannot accept connections waits, and continues when it can."""
    code = """
        import os, resource, socket, time
        import httpx
        from fetch_hive_sdk import FetchHive
        from fetch_hive_sdk.testing import FakeServer

        with FakeServer("Yes.").serve() as url:
            FetchHive("k", url).invoke_prompt(deployment="d")
            address = httpx.URL(url)
            first = socket.create_connection((address.host, address.port))
            time.sleep(0.2)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            second = socket.socket()
            taken = []
            try:
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                pass
            second.connect((address.host, address.port))
            begun = time.process_time()
            time.sleep(1)
            spent = time.process_time() - begun
            for descriptor in taken:
                os.close(descriptor)
            answer = FetchHive("k", url).invoke_prompt(deployment="d").response
        print(spent < 0.5, answer)
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, env=os.environ
    )

    assert (done.stdout, done.stderr) == ("True Yes.\n", "")
