"""The ways in which a call can leave, one of which a whole run of the fault suite takes: `pytest --sender=proxy`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from typing import TYPE_CHECKING

import httpx
import trustme

from faults.proxy import Proxy
from faults.server import LOOPBACK, FaultServer
from fetch_hive_sdk._net import tls as tls_module
from fetch_hive_sdk._net.injected import AsyncInjectedSender, InjectedSender
from fetch_hive_sdk._net.senders import Senders

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    import pytest

    from fetch_hive_sdk._net.senders import AsyncSender, Sender

SENDERS = ("default", "https", "proxy", "uvloop", "injected")


@contextlib.contextmanager
def sending(sender: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Generator[None, None, None]:
    """Let servers and clients that are made in the block use a sender, in programs that the block starts, too."""
    with contextlib.ExitStack() as stack:
        if sender in {"https", "proxy"}:
            authority, context = make_tls(monkeypatch)
            monkeypatch.setattr(FaultServer, "usual_tls", context)
            authority.cert_pem.write_to_path(str(folder / "trusted.pem"))
            monkeypatch.setenv("SSL_CERT_FILE", str(folder / "trusted.pem"))
        if sender == "proxy":
            proxy = stack.enter_context(Proxy())
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:hidden@{LOOPBACK}:{proxy.port}")
            monkeypatch.setattr(FaultServer, "usual_host", "hive.test")
        if sender == "uvloop":
            stack.enter_context(use_uvloop())
        if sender == "injected":
            stack.enter_context(_injected(monkeypatch))
        yield


def make_tls(monkeypatch: pytest.MonkeyPatch) -> tuple[trustme.CA, ssl.SSLContext]:
    """Return an authority that the client trusts, and the server's side of TLS with a certificate of it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "hive.test").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(tls_module, "_make_tls_context", lambda: trusting)
    return authority, context


def use_uvloop() -> contextlib.ExitStack:
    """Let `asyncio.run` and its like use uvloop, until the end of what is returned."""
    import uvloop  # noqa: PLC0415 - not on Windows

    with warnings.catch_warnings():
        # Policies go away in Python 3.16. Nothing else reaches every asyncio.run of a suite.
        warnings.simplefilter("ignore", DeprecationWarning)
        before = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    stack = contextlib.ExitStack()
    stack.callback(_set_policy, before)
    return stack


def _set_policy(policy: asyncio.AbstractEventLoopPolicy) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(policy)


@contextlib.contextmanager
def _injected(monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    """Let clients that are given no httpx client have one all the same."""
    opened: list[ReopenedSender] = []
    make, make_async = Senders._make_sender, Senders._make_async_sender

    def make_sender(senders: Senders) -> Sender:
        if senders.http_client is not None:
            return make(senders)
        opened.append(ReopenedSender())
        return opened[-1]

    def make_async_sender(senders: Senders) -> AsyncSender:
        return AsyncReopenedSender() if senders.async_http_client is None else make_async(senders)

    monkeypatch.setattr(Senders, "_make_sender", make_sender)
    monkeypatch.setattr(Senders, "_make_async_sender", make_async_sender)
    yield
    for sender in opened:
        sender.close()


class ReopenedSender(InjectedSender):
    """An injected client whose connections end with the client's, as the tests expect: its owner closes it for them."""

    def __init__(self) -> None:
        super().__init__(httpx.Client(verify=tls_module.tls_context()))

    def close(self) -> None:
        self._client.close()
        self._client = httpx.Client(verify=tls_module.tls_context())


class AsyncReopenedSender:
    """The twin: an injected client for each event loop, closed at the end of the loop."""

    owns_sockets = False

    def __init__(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, tuple[AsyncInjectedSender, AsyncGenerator[None, None]]] = {}

    async def send(self, request: httpx.Request) -> httpx.Response:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            client = httpx.AsyncClient(verify=tls_module.tls_context())
            self._loops[loop] = AsyncInjectedSender(client), _close_at_end(client)
            await self._loops[loop][1].__anext__()
        return await self._loops[loop][0].send(request)

    async def aclose(self) -> None:
        _, guard = self._loops.pop(asyncio.get_running_loop(), (None, None))
        if guard is not None:
            await guard.aclose()


async def _close_at_end(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Let the event loop close a client, which it does with all asynchronous generators that were begun in it."""
    try:
        yield
    finally:
        await client.aclose()
