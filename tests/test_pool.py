"""The connections: opened on demand, reused, and closed with their event loop. On loopback sockets."""

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
    """A loopback server that counts its connections, and can delay its answers until enough calls are waiting."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SiteHandler)
        self.connections = 0
        self.gate = threading.Barrier(1)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def get_request(self):
        self.connections += 1
        return super().get_request()

    def client(self, **options: object) -> FetchHive:
        return FetchHive(KEY, self.url, **options)


class SiteHandler(BaseHTTPRequestHandler):
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


def test_sequential_calls_share_a_connection(site):
    """Calls, finished streams and clients made by `with_options` reuse one connection."""
    client = site.client()

    for _ in range(3):
        client.invoke_prompt(deployment="d")
        client.invoke_prompt_stream(deployment="d").collect()
        client.with_options(timeout=5).invoke_prompt(deployment="d")
    client.close()

    assert site.connections == 1


async def test_sequential_asyncio_calls_share_a_connection(site):
    """The asyncio twin does the same."""
    client = site.client()

    for _ in range(3):
        await client.ainvoke_prompt(deployment="d")
        await client.ainvoke_prompt_stream(deployment="d").collect()
        await client.with_options(timeout=5).ainvoke_prompt(deployment="d")
    await client.aclose()

    assert site.connections == 1


def test_closed_client_opens_a_new_connection(drive, site):
    """Closing a client only closes its connections."""
    client = site.client()

    drive.invoke(client, deployment="d")
    drive.close(client)
    result = drive.invoke(client, deployment="again")
    drive.close(client)

    assert result.response == "again"
    assert site.connections == 2


def test_threads_share_a_client(site):
    """Each concurrent call opens a connection in a slot of its own; later calls reuse them."""
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


async def test_tasks_share_a_client(site):
    """The asyncio twin does the same."""
    calls = 11
    site.gate = threading.Barrier(calls)
    client = site.client()

    for _ in range(2):
        results = await asyncio.gather(*[client.ainvoke_prompt(deployment=str(number)) for number in range(calls)])
        assert [result.response for result in results] == [str(number) for number in range(calls)]

    assert site.connections == calls
    await client.aclose()


def test_idle_connections_are_closed(site, monkeypatch):
    """Connections left over from a burst of calls are closed after the idle limit."""
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
    """The asyncio twin does the same."""
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


def test_cookies_are_not_stored(drive, site):
    """A cookie set by one response is not sent with the next request."""
    client = site.client()

    def answer():
        return drive.invoke(client, deployment="d")

    answer()
    answer()
    drive.close(client)

    assert not list(getattr(client._session.senders.http_client, "cookies", []))


def test_failed_call_leaves_no_slot(drive):
    """A call that could not connect frees its slot."""
    with serving() as site:
        client = site.client(max_retries=0)
    for _ in range(8):
        with pytest.raises(APIConnectionError) as caught:
            drive.invoke(client, deployment="d")
        assert not caught.value.maybe_processed

    if client._session.senders._blocking is not None:
        assert len(client._session.senders.blocking._slots) == 0


def test_event_loops_can_follow_each_other(site):
    """Each event loop has its own connections, closed when the loop ends, and finished loops are forgotten."""
    client = site.client()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            asyncio.run(client.ainvoke_prompt(deployment="d"))
        gc.collect()

    assert site.connections == 3
    assert len(client._session.senders.asyncio.connections._loops) == 1


def test_event_loops_can_run_at_once(site):
    """Event loops in different threads can use one client at the same time."""
    client = site.client()
    calls = 3
    site.gate = threading.Barrier(calls)

    results = run_in_threads(calls, lambda n: asyncio.run(client.ainvoke_prompt(deployment=str(n))).response)

    assert sorted(results) == ["0", "1", "2"]


def test_abruptly_closed_event_loop_is_forgotten(site):
    """A loop that was closed without a shutdown does not affect the next one."""
    client = site.client()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.ainvoke_prompt(deployment="d"))
    loop.run_until_complete(client.aclose())
    loop.run_until_complete(client.ainvoke_prompt(deployment="d"))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

    result = asyncio.run(client.ainvoke_prompt(deployment="again"))

    assert result.response == "again"


def test_proxy_in_the_environment_is_used(drive, site, monkeypatch):
    """Requests use the proxy variables of the environment, as with plain httpx."""
    monkeypatch.setenv("HTTP_PROXY", site.url[:-3])
    client = FetchHive(KEY, "http://hive.test/v1", allow_http=True)

    result = drive.invoke(client, deployment="by proxy")
    collected = drive.collect(client, deployment="by proxy")
    drive.close(client)

    assert result.response == "by proxy"
    assert collected.response == "Short."
    assert site.connections >= 1


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("http://user:hidden@host:port", "ALL_PROXY is not the URL of a proxy"),
        ("ftp://user:hidden@host", "ALL_PROXY is not the URL of a proxy"),
        ("socks://user:hidden@host", "ALL_PROXY must specify the SOCKS version: socks5://"),
    ],
)
def test_invalid_proxy_is_a_configuration_error(drive, monkeypatch, proxy, message):
    """The message names the variable, and shows no password."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    client = FetchHive(KEY, "http://hive.test/v1", allow_http=True)

    with pytest.raises(ConfigurationError, match=message) as caught:
        drive.invoke(client, deployment="d")

    assert "hidden" not in "".join(traceback.format_exception(None, caught.value, caught.value.__traceback__))


def test_invalid_no_proxy_entry_is_named(drive, monkeypatch):
    """The message names NO_PROXY and the invalid entry."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.test,bad:port")
    client = FetchHive(KEY, "http://hive.test/v1", allow_http=True)

    with pytest.raises(ConfigurationError, match="NO_PROXY has an entry that is not a host name: 'bad:port'"):
        drive.invoke(client, deployment="d")


def test_loopback_is_never_proxied(drive, site, monkeypatch):
    """The key of a call to this machine is not sent to a proxy, and an invalid proxy is ignored."""
    for url in (site.url, site.url.replace("127.0.0.1", "localhost")):
        for proxy in ("http://127.0.0.1:9", "http://host:port"):
            monkeypatch.setenv("HTTP_PROXY", proxy)
            client = FetchHive(KEY, url, max_retries=0)

            assert drive.invoke(client, deployment="here").response == "here"
            drive.close(client)


def test_plain_http_is_rejected_with_a_proxy(monkeypatch):
    """A proxy does not make plain HTTP to another machine safer."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    with pytest.raises(ConfigurationError, match="send the key unencrypted"):
        FetchHive(KEY, "http://hive.test/v1")


def test_socks_proxy_names_the_missing_package(drive, monkeypatch):
    """SOCKS needs an additional package of httpx."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://host:1080")
    client = FetchHive(KEY, "http://hive.test/v1", allow_http=True)

    with pytest.raises(ConfigurationError, match=r"pip install 'httpx\[socks\]'"):
        drive.invoke(client, deployment="d")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_process_opens_its_own_connections(site):
    """The child does not use its parent's connections; both processes keep working."""
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
    # Blocking: one in the parent, used twice, and one in the child. Each of the three event loops has its own.
    assert site.connections == 2 + 3


@pytest.mark.parametrize("calls", [1, 3, 9])
def test_client_need_not_be_closed(site, calls):
    """A program exits without warnings, even with idle connections, half-read streams and waiting tasks."""
    code = f"""
        import asyncio, gc
        from fetch_hive_sdk import FetchHive

        async def main():
            client = FetchHive({KEY!r}, {site.url!r})
            await asyncio.gather(*[client.ainvoke_prompt(deployment="d") for _ in range({calls})])
            async for event in client.ainvoke_prompt_stream(deployment="d"):
                break

            waiting = asyncio.Queue()

            async def wait():
                async for event in client.ainvoke_prompt_stream(deployment="d"):
                    waiting.put_nowait(event)
                    await asyncio.sleep(60)

            tasks = [asyncio.create_task(wait()) for _ in range({calls})]
            for _ in tasks:
                await waiting.get()

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

    # In debug mode asyncio also reports slow callbacks, which this test ignores.
    warned = [line for line in done.stderr.decode().splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, warned) == (0, [])


def test_program_can_end_at_any_moment_of_a_call(site):
    """Whenever `asyncio.run` ends, and cancels all tasks at once, no socket stays open: not while connecting either."""

    async def main(steps: int) -> bool:
        call = asyncio.create_task(site.client().ainvoke_prompt(deployment="d"))
        for _ in range(steps):
            await asyncio.sleep(0)
        return call.done()

    steps = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        # anyio 4.16 may have created the coroutine that connects, and not started it.
        warnings.filterwarnings("ignore", "coroutine '.*try_connect' was never awaited", RuntimeWarning)
        while not asyncio.run(main(steps)):
            steps += 1
        gc.collect()
    assert steps > 5
    assert [str(warning.message) for warning in caught] == []


def test_http_and_https_do_not_share_a_connection(site, monkeypatch):
    """The TLS context is created for the first HTTPS call; HTTP calls do not wait for it."""
    monkeypatch.setattr(tls, "_make_tls_context", lambda: pytest.fail("no call needs TLS"))
    client = site.client()
    client.invoke_prompt(deployment="d")
    monkeypatch.undo()

    with pytest.raises(APIConnectionError):
        client.with_options(base_url=site.url.replace("http:", "https:"), max_retries=0).invoke_prompt(deployment="d")

    assert [route.origin.scheme for route in client._session.senders.blocking._slots._free] == [b"http"]
    client.close()


def test_tls_context_is_shared():
    """All clients of the process share one TLS context."""
    assert tls.tls_context() is tls.tls_context()


def test_https_verifies_certificates(drive, tmp_path, monkeypatch):
    """The key is only sent to a service with a trusted certificate."""
    trustme = pytest.importorskip("trustme")
    import ssl  # noqa: PLC0415 - only for this test

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
    """The steps of an `httpx.Timeout` are applied as in httpx."""
    client = site.client(timeout=httpx.Timeout(5, read=None))

    result = drive.invoke(client, deployment="d")
    drive.close(client)

    assert result.response == "d"
