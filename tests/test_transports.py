"""The private attributes of httpx and httpcore that this SDK uses exist in the oldest and newest supported versions."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import httpcore
import httpx
import pytest

from faults.server import Fault, FaultServer, answer
from fetch_hive_sdk._net.proxies import Routes
from fetch_hive_sdk._net.transports import AsyncTransport, Transport, _is_clean


def request_to(url: str) -> httpx.Request:
    return httpx.Request("POST", f"{url}/prompt/invoke", json={"deployment": "d"})


@pytest.mark.parametrize(("rest", "clean"), [(b"", True), (b"x", False)])
def test_unread_bytes_in_the_parser_are_detected(rest, clean):
    """A connection is clean if its parser is known to have no bytes left."""
    with FaultServer(Fault(answer({}) + rest)) as server:
        transport = Transport(Routes().find(httpx.URL(server.url)))
        response = transport.handle_request(request_to(server.url))
        assert not transport.is_clean()
        response.read()
        response.close()

        assert transport.is_clean() is clean
        transport.close()


@pytest.mark.parametrize(("rest", "clean"), [(b"", True), (b"x", False)])
def test_unread_bytes_in_the_asyncio_parser_are_detected(rest, clean):
    """The asyncio twin does the same."""

    async def main() -> bool:
        transport = AsyncTransport(Routes().find(httpx.URL(server.url)))
        response = await transport.handle_async_request(request_to(server.url))
        await response.aread()
        await response.aclose()
        found = await transport.is_clean()
        await transport.aclose()
        return found

    with FaultServer(Fault(answer({}) + rest)) as server:
        assert asyncio.run(main()) is clean


def test_connection_with_an_unknown_parser_is_not_clean():
    """If a version lacks the attribute, connections are closed: leftover bytes must not be parsed as an answer."""

    class Unknown:
        def is_idle(self) -> bool:
            return True

    assert not _is_clean(Unknown())


def test_patched_transports_are_used():
    """Mocks that replace `handle_request` of httpx's transports also apply to this SDK."""
    assert Transport.handle_request is httpx.HTTPTransport.handle_request
    assert AsyncTransport.handle_async_request is httpx.AsyncHTTPTransport.handle_async_request
    with FaultServer(Fault(answer({}))) as server:
        transport = Transport(Routes().find(httpx.URL(server.url)))
        assert isinstance(transport._pool, httpcore.HTTPConnection)
        transport.close()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_pools_for_proxies_take_no_lock(monkeypatch, scheme):
    """The lock that is taken away is one that httpcore's pools have, and use."""
    if scheme == "socks5":
        pytest.importorskip("socksio")
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:9")
    transport = Transport(Routes().find(httpx.URL("https://hive.test")))

    assert isinstance(transport._pool._optional_thread_lock, nullcontext)
    assert hasattr(httpcore.ConnectionPool()._optional_thread_lock, "__enter__")
