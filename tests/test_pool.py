"""The connections: opened on demand, used again, gone with their loop. On loopback sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import traceback
import warnings
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from driving import CALM, KEY
from fetch_hive_sdk import APIConnectionError, ConfigurationError, FetchHive
from fetch_hive_sdk._net import slots, tls

EVENTS = b'data: {"type": "response", "response": "Short."}\n\ndata: {"type": "usage", "usage": {}}\n\ndata: [DONE]\n\n'


class Site(ThreadingHTTPServer):
    """A service on loopback that counts its connections, and can hold its answers until enough calls have come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.connections = 0
        self.gate = threading.Barrier(1)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def get_request(self):
        self.connections += 1
        return super().get_request()

    def client(self, **options: object) -> FetchHive:
        return FetchHive(KEY, self.url, **options)


class Visit(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.gate.wait(10)
        answer = EVENTS if body["streaming"] else json.dumps({"response": body["deployment"]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if body["streaming"] else "application/json")
        self.send_header("Set-Cookie", "tracker=1")
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Cookies", self.headers.get("cookie", "none"))
        self.end_headers()
        self.wfile.write(answer)


@contextmanager
def serving():
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@pytest.fixture
def site():
    with serving() as site:
        yield site


def test_calls_in_a_row_share_a_connection(site):
    """Calls, finished streams and clients made by `with_options` use one connection again and again."""
    client = site.client()

    for _ in range(3):
        client.invoke_prompt(deployment="d")
        client.invoke_prompt_stream(deployment="d").collect()
        client.with_options(timeout=5).invoke_prompt(deployment="d")
    client.close()

    assert site.connections == 1


async def test_asyncio_calls_in_a_row_share_a_connection(site):
    """The twin does the same."""
    client = site.client()

    for _ in range(3):
        await client.ainvoke_prompt(deployment="d")
        await client.ainvoke_prompt_stream(deployment="d").collect()
        await client.with_options(timeout=5).ainvoke_prompt(deployment="d")
    await client.aclose()

    assert site.connections == 1


def test_a_closed_client_opens_a_new_connection(drive, site):
    """Closing gives up the connections, and nothing else."""
    client = site.client()

    drive.invoke(client, deployment="d")
    drive.close(client)
    result = drive.invoke(client, deployment="again")
    drive.close(client)

    assert result.response == "again"
    assert site.connections == 2


def test_many_threads_share_a_client(site):
    """As many connections are opened as calls are under way, each in a slot of its own, and used again."""
    calls = 11
    site.gate = threading.Barrier(calls)
    client = site.client()

    for _ in range(2):
        results = run_in_threads(calls, lambda number: client.invoke_prompt(deployment=str(number)).response)
        assert sorted(results, key=int) == [str(number) for number in range(calls)]

    assert site.connections == calls
    assert len(client._session.senders.blocking._slots) == calls
    client.close()


def run_in_threads(count, call):
    results = []
    threads = [threading.Thread(target=lambda n=number: results.append(call(n))) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


async def test_many_tasks_share_a_client(site):
    """The twin does the same."""
    calls = 11
    site.gate = threading.Barrier(calls)
    client = site.client()

    for _ in range(2):
        results = await asyncio.gather(*[client.ainvoke_prompt(deployment=str(number)) for number in range(calls)])
        assert [result.response for result in results] == [str(number) for number in range(calls)]

    assert site.connections == calls
    await client.aclose()


def test_idle_connections_are_closed(site, monkeypatch):
    """Connections that a rush of calls has left behind are closed when they have been idle for long enough."""
    site.gate = threading.Barrier(8)
    client = site.client()
    run_in_threads(site.gate.parties, lambda number: client.invoke_prompt(deployment=str(number)))
    site.gate = threading.Barrier(1)
    kept = client._session.senders.blocking._slots
    assert len(kept) == 8

    monkeypatch.setattr(slots, "KEEPALIVE_SECONDS", -1.0)
    client.invoke_prompt(deployment="d")

    assert len(kept) == 1
    client.close()


async def test_idle_asyncio_connections_are_closed(site, monkeypatch):
    """The twin does the same."""
    site.gate = threading.Barrier(8)
    client = site.client()
    await asyncio.gather(*[client.ainvoke_prompt(deployment="d") for _ in range(site.gate.parties)])
    site.gate = threading.Barrier(1)
    (connections,) = client._session.senders.asyncio.connections._loops.values()
    assert len(connections._slots) == 8

    monkeypatch.setattr(slots, "KEEPALIVE_SECONDS", -1.0)
    await client.ainvoke_prompt(deployment="d")

    assert len(connections._slots) == 1
    await client.aclose()


def test_no_cookie_is_kept(drive, site):
    """An API client has no use for cookies: what one call is given, the next does not send."""
    client = site.client()

    def answer():
        return drive.invoke(client, deployment="d")

    answer()
    answer()
    drive.close(client)

    assert not list(getattr(client._session.senders.http_client, "cookies", []))


def test_a_failed_call_leaves_no_slot(drive):
    """A call that could not connect leaves nothing behind."""
    with serving() as site:
        client = site.client(max_retries=0)
    for _ in range(8):
        with pytest.raises(APIConnectionError) as caught:
            drive.invoke(client, deployment="d")
        assert not caught.value.maybe_processed

    if client._session.senders._blocking is not None:
        assert len(client._session.senders.blocking._slots) == 0


def test_loops_one_after_the_other(site):
    """Each event loop has connections of its own, closed when it ends; those of ended loops are forgotten."""
    client = site.client()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            asyncio.run(client.ainvoke_prompt(deployment="d"))
        gc.collect()

    assert site.connections == 3
    assert len(client._session.senders.asyncio.connections._loops) == 1


def test_loops_at_once(site):
    """Event loops of different threads use one client at the same time."""
    client = site.client()
    calls = 3
    site.gate = threading.Barrier(calls)

    results = run_in_threads(calls, lambda n: asyncio.run(client.ainvoke_prompt(deployment=str(n))).response)

    assert sorted(results) == ["0", "1", "2"]


def test_a_loop_that_ended_in_disorder_is_forgotten(site):
    """A loop that was closed without its end being announced leaves nothing in the way of the next."""
    client = site.client()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.ainvoke_prompt(deployment="d"))
    loop.run_until_complete(client.aclose())
    loop.run_until_complete(client.ainvoke_prompt(deployment="d"))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

    result = asyncio.run(client.ainvoke_prompt(deployment="again"))

    assert result.response == "again"


def test_a_proxy_of_the_environment_is_used(drive, site, monkeypatch):
    """Where the environment names a proxy, requests go through it, as they do with plain httpx."""
    monkeypatch.setenv("HTTP_PROXY", site.url[:-3])
    client = FetchHive(KEY, "http://hive.test/v1", allow_http=True)

    result = drive.invoke(client, deployment="by proxy")
    collected = drive.collect(client, deployment="by proxy")
    drive.close(client)

    assert result.response == "by proxy"
    assert collected.response == "Short."
    assert site.connections >= 1


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("http://user:hidden@host:port", "ALL_PROXY is not the URL of a proxy"),
        ("ftp://user:hidden@host", "ALL_PROXY is not the URL of a proxy"),
        ("socks://user:hidden@host", "ALL_PROXY must say which SOCKS it means: socks5://"),
    ],
)
def test_an_invalid_proxy_is_a_configuration_error(drive, monkeypatch, proxy, said):
    """The text says where to look, and shows no password."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    client = FetchHive(KEY, "http://hive.test/v1", allow_http=True)

    with pytest.raises(ConfigurationError, match=said) as caught:
        drive.invoke(client, deployment="d")

    assert "hidden" not in "".join(traceback.format_exception(None, caught.value, caught.value.__traceback__))


def test_an_invalid_exception_is_not_taken_for_an_invalid_proxy(drive, monkeypatch):
    """What is wrong in NO_PROXY is said of NO_PROXY, with the entry."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.test,bad:port")
    client = FetchHive(KEY, "http://hive.test/v1", allow_http=True)

    with pytest.raises(ConfigurationError, match="NO_PROXY has an entry that is not a host name: 'bad:port'"):
        drive.invoke(client, deployment="d")


def test_loopback_is_never_proxied(drive, site, monkeypatch):
    """The key of a call to this machine does not go to a proxy, in clear, nor does an invalid proxy matter."""
    for url in (site.url, site.url.replace("127.0.0.1", "localhost")):
        for proxy in ("http://127.0.0.1:9", "http://host:port"):
            monkeypatch.setenv("HTTP_PROXY", proxy)
            client = FetchHive(KEY, url, max_retries=0)

            assert drive.invoke(client, deployment="here").response == "here"
            drive.close(client)


def test_plain_http_is_refused_with_a_proxy_as_without(monkeypatch):
    """A proxy makes plain http to another machine no safer."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    with pytest.raises(ConfigurationError, match="send the key unencrypted"):
        FetchHive(KEY, "http://hive.test/v1")


def test_a_socks_proxy_asks_for_its_package(drive, monkeypatch):
    """Httpx speaks SOCKS with the help of another package."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://host:1080")
    client = FetchHive(KEY, "http://hive.test/v1", allow_http=True)

    with pytest.raises(ConfigurationError, match=r"pip install 'httpx\[socks\]'"):
        drive.invoke(client, deployment="d")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_gets_connections_of_its_own(site):
    """A forked child opens its own connections and leaves those of its parent alone; both go on working."""
    code = f"""
        import asyncio, os, sys
        from fetch_hive_sdk import FetchHive
        client = FetchHive({KEY!r}, {site.url!r})
        client.invoke_prompt(deployment="parent")
        asyncio.run(client.ainvoke_prompt(deployment="parent"))
        child = os.fork()
        answer = client.invoke_prompt(deployment="both").response
        assert asyncio.run(client.ainvoke_prompt(deployment="both")).response == answer == "both"
        if child == 0:
            os._exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", CALM + textwrap.dedent(code)],
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    # Blocking: one of the parent's, used twice, and one of the child's. Each of the three event loops: its own.
    assert site.connections == 2 + 3


@pytest.mark.parametrize("calls", [1, 3, 9])
def test_nothing_has_to_be_closed(site, calls):
    """A program ends without a warning, whatever it leaves: idle connections, streams half read, tasks that wait."""
    code = f"""
        import asyncio, gc
        from fetch_hive_sdk import FetchHive

        async def main():
            client = FetchHive({KEY!r}, {site.url!r})
            await asyncio.gather(*[client.ainvoke_prompt(deployment="d") for _ in range({calls})])
            async for event in client.ainvoke_prompt_stream(deployment="d"):
                break

            async def wait():
                async for event in client.ainvoke_prompt_stream(deployment="d"):
                    await asyncio.sleep(60)

            tasks = [asyncio.create_task(wait()) for _ in range({calls})]
            await asyncio.sleep(0.01)

        asyncio.run(main())
        gc.collect()
        asyncio.run(main())
        client = FetchHive({KEY!r}, {site.url!r})
        client.invoke_prompt(deployment="d")
        for event in client.invoke_prompt_stream(deployment="d"):
            break
    """

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", CALM + textwrap.dedent(code)],
        capture_output=True,
        timeout=60,
        check=False,
    )

    # In its debug mode asyncio also tells what took long, which is not what this is about.
    warned = [line for line in done.stderr.decode().splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, warned) == (0, [])


def test_http_and_https_do_not_share_a_connection(site, monkeypatch):
    """The TLS context is made for the first https call, and no http call waits for it."""
    monkeypatch.setattr(tls, "_make_tls_context", lambda: pytest.fail("nobody asked for TLS"))
    client = site.client()
    client.invoke_prompt(deployment="d")
    monkeypatch.undo()

    with pytest.raises(APIConnectionError):
        client.with_options(base_url=site.url.replace("http:", "https:"), max_retries=0).invoke_prompt(deployment="d")

    assert [route.origin.scheme for route in client._session.senders.blocking._slots._free] == [b"http"]
    client.close()


def test_there_is_one_tls_context():
    """All clients of the process share one TLS context."""
    assert tls.tls_context() is tls.tls_context()


def test_our_sockets_can_speak_tls(drive, tmp_path, monkeypatch):
    """Over https the key goes to a service whose certificate is trusted, and to no other."""
    trustme = pytest.importorskip("trustme")
    import ssl  # noqa: PLC0415 - for this test alone

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with serving() as site:
        site.socket = context.wrap_socket(site.socket, server_side=True)
        url = f"https://localhost:{site.server_port}/v1"
        monkeypatch.setattr(tls, "_make_tls_context", lambda: trusting)
        client = FetchHive(KEY, url)
        assert drive.invoke(client, deployment="safe").response == "safe"
        drive.close(client)

        monkeypatch.setattr(tls, "_make_tls_context", ssl.create_default_context)
        stranger = FetchHive(KEY, url)
        with pytest.raises(APIConnectionError, match="certificate") as caught:
            drive.invoke(stranger, deployment="unsafe")
        assert caught.value.attempts == 1
        assert not caught.value.maybe_processed
        drive.close(stranger)


def test_httpx_timeouts_reach_the_socket(drive, site):
    """An `httpx.Timeout` is taken as httpx means it."""
    client = site.client(timeout=httpx.Timeout(5, read=None))

    result = drive.invoke(client, deployment="d")
    drive.close(client)

    assert result.response == "d"
