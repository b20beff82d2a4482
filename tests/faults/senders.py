"""The senders with which the fault suite can run. Choose one with `pytest --sender=proxy`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

from faults.proxy import Proxy
from faults.server import LOOPBACK, FaultServer
from fetch_hive_sdk._net import tls as tls_module
from fetch_hive_sdk._net.injected import AsyncInjectedSender, InjectedSender
from fetch_hive_sdk._net.senders import Senders

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path
    from types import ModuleType

    from fetch_hive_sdk._net.senders import AsyncSender, Sender

SENDERS = ("default", "https", "proxy", "uvloop", "injected", "httpx2")


@contextlib.contextmanager
def sending(sender: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Generator[None, None, None]:
    """Make all servers and clients created in the block use a sender, including those of subprocesses."""
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
            stack.enter_context(_injected(httpx, monkeypatch))
        if sender == "httpx2":
            library = pytest.importorskip("httpx2", reason="httpx2 needs Python 3.11")
            stack.enter_context(_injected(library, monkeypatch))
        yield


def make_tls(monkeypatch: pytest.MonkeyPatch) -> tuple[trustme.CA, ssl.SSLContext]:
    """Return a certificate authority that the client trusts, and a server TLS context with its certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "hive.test").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(tls_module, "_make_tls_context", lambda: trusting)
    return authority, context


def use_uvloop() -> contextlib.ExitStack:
    """Make `asyncio.run` and new event loops use uvloop until the returned stack is closed."""
    import uvloop  # noqa: PLC0415 - not available on Windows

    with warnings.catch_warnings():
        # Python 3.16 removes policies, but only a policy affects every asyncio.run of the suite.
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
def _injected(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    """Inject a client of httpx or httpx2 into all clients that are created without one."""
    opened: list[ReopenedSender] = []
    make, make_async = Senders._make_sender, Senders._make_async_sender

    def make_sender(senders: Senders) -> Sender:
        if senders.http_client is not None:
            return make(senders)
        opened.append(ReopenedSender(library))
        return opened[-1]

    def make_async_sender(senders: Senders) -> AsyncSender:
        return AsyncReopenedSender(library) if senders.async_http_client is None else make_async(senders)

    monkeypatch.setattr(Senders, "_make_sender", make_sender)
    monkeypatch.setattr(Senders, "_make_async_sender", make_async_sender)
    yield
    for sender in opened:
        sender.close()


class ReopenedSender:
    """An injected client that is closed and reopened with the SDK client, as the tests expect."""

    owns_sockets = False

    def __init__(self, library: ModuleType) -> None:
        self._library = library
        self._client = self._open()

    def _open(self) -> Any:
        return self._library.Client(verify=tls_module.tls_context())

    def send(self, request: httpx.Request) -> httpx.Response:
        return InjectedSender(self._client).send(request)

    def close(self) -> None:
        self._client.close()
        self._client = self._open()


class AsyncReopenedSender:
    """The asyncio twin of `ReopenedSender`: one injected client for each event loop, closed with the loop."""

    owns_sockets = False

    def __init__(self, library: ModuleType) -> None:
        self._library = library
        self._loops: dict[asyncio.AbstractEventLoop, tuple[AsyncSender, AsyncGenerator[None, None]]] = {}

    async def send(self, request: httpx.Request) -> httpx.Response:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            client = self._library.AsyncClient(verify=tls_module.tls_context())
            self._loops[loop] = AsyncInjectedSender(client), _close_at_end(client)
            await self._loops[loop][1].__anext__()
        return await self._loops[loop][0].send(request)

    async def aclose(self) -> None:
        _, guard = self._loops.pop(asyncio.get_running_loop(), (None, None))
        if guard is not None:
            await guard.aclose()


async def _close_at_end(client: Any) -> AsyncGenerator[None, None]:
    """Close the client when the event loop shuts down, as loops close the async generators started in them."""
    try:
        yield
    finally:
        await client.aclose()
