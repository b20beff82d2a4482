"""Senders: the SDK's own connections or an injected client, optionally wrapped by a recorder.

A sender raises only httpx errors, except `ConfigurationError` if the configuration allows no request at all.
"""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Callable, Optional, Protocol, Union

from fetch_hive_sdk.errors import ConfigurationError

from .pauses import AsyncPauses, Pauses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    import httpx

    from .async_connections import AsyncConnections
    from .httpx2_clients import Httpx2AsyncClient, Httpx2Client

    Send = Callable[[httpx.Request], httpx.Response]
    AsyncSend = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Sender(Protocol):
    """Sends requests for the blocking shell."""

    @property
    def owns_sockets(self) -> bool:
        """Whether this uses the SDK's own network streams, which enforce the call's deadline."""
        ...

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        ...

    def close(self) -> None:
        """Close the connections that this sender opened. The next request opens new ones."""
        ...


class AsyncSender(Protocol):
    """Sends requests for the asyncio shell."""

    @property
    def owns_sockets(self) -> bool:
        """Whether this uses the SDK's own network streams, which enforce the call's deadline."""
        ...

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        ...

    async def aclose(self) -> None:
        """Close the connections that this sender opened. The next request opens new ones."""
        ...


class Wrapper(Protocol):
    """Wraps the sender of a client, as a recorder does."""

    def send(self, send: Send, request: httpx.Request) -> httpx.Response:
        """Send a request with the given function."""
        ...

    async def asend(self, send: AsyncSend, request: httpx.Request) -> httpx.Response:
        """Send a request with the given function."""
        ...


class Senders:
    """The senders that a client shares with all clients derived from it by `with_options`.

    Args:
        http_client: An httpx or httpx2 client for blocking calls. None means the SDK's own connections.
        async_http_client: An httpx or httpx2 client for asyncio calls. None means the SDK's own connections.
    """

    def __init__(
        self,
        http_client: Union[httpx.Client, Httpx2Client, None],
        async_http_client: Union[httpx.AsyncClient, Httpx2AsyncClient, None],
    ) -> None:
        self.http_client = http_client
        self.async_http_client = async_http_client
        self.pauses: Pauses = Pauses()
        self.async_pauses: AsyncPauses = AsyncPauses()
        self.sender: SharedSender = SharedSender(self)
        self.async_sender: AsyncSharedSender = AsyncSharedSender(self)
        self.wrapper: Optional[Wrapper] = None
        self._lock = threading.Lock()
        self._blocking: Optional[Sender] = None
        self._asyncio: Optional[AsyncSender] = None

    @property
    def blocking(self) -> Sender:
        """The sender of blocking calls, created on first use."""
        if self._blocking is None:
            with self._lock:
                if self._blocking is None:  # another thread may have created it meanwhile
                    self._blocking = self._make_sender()
        return self._blocking

    @property
    def asyncio(self) -> AsyncSender:
        """The sender of asyncio calls, created on first use."""
        if self._asyncio is None:
            with self._lock:
                if self._asyncio is None:
                    self._asyncio = self._make_async_sender()
        return self._asyncio

    def _make_sender(self) -> Sender:
        if self.http_client is not None:
            from .injected import InjectedSender  # noqa: PLC0415 - needed only for an injected client

            return InjectedSender(self.http_client)
        from .connections import Connections  # noqa: PLC0415 - httpcore is slow to import

        return Connections()

    def _make_async_sender(self) -> AsyncSender:
        if self.async_http_client is not None:
            from .injected import AsyncInjectedSender  # noqa: PLC0415 - needed only for an injected client

            return AsyncInjectedSender(self.async_http_client)
        return _LoadedAsyncSender()

    def load(self) -> None:
        """Import what asyncio calls need now if an event loop is running, as the first call would block the loop."""
        if self.async_http_client is None and _is_loop_running():
            # In a thread: anyio loads its asyncio backend only when it runs an event loop.
            loading = threading.Thread(target=_load)
            loading.start()
            loading.join()

    @contextmanager
    def wrapped(self, wrapper: Wrapper) -> Generator[None, None, None]:
        """Wrap the senders of these clients while the block runs.

        Raises:
            RuntimeError: The senders are already wrapped.

        """
        with self._lock:
            if self.wrapper is not None:
                raise RuntimeError("this client is being recorded already")
            self.wrapper = wrapper
        try:
            yield
        finally:
            self.wrapper = None

    def close(self) -> None:
        """Close the connections of blocking calls and end the waits between their attempts."""
        self.pauses.close()
        if self._blocking is not None:
            self._blocking.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop and end its waits between attempts."""
        self.async_pauses.close()
        if self._asyncio is not None:
            await self._asyncio.aclose()


class _LoadedAsyncSender:
    """The SDK's own connections, imported in a thread for the first request, as importing takes about 0.1 s."""

    owns_sockets = True

    def __init__(self) -> None:
        self.connections: Optional[AsyncConnections] = None
        self._lock = threading.Lock()

    async def send(self, request: httpx.Request) -> httpx.Response:
        connections = self.connections or await self._connect(request.url.scheme)
        return await connections.send(request)

    async def _connect(self, scheme: str) -> AsyncConnections:
        if not _is_loop_running():
            raise ConfigurationError(
                "the async methods need a running asyncio event loop: with trio, call the blocking methods in a "
                "thread, such as trio.to_thread.run_sync(client.invoke_prompt, ...)"
            )
        if not _is_loaded(scheme):
            import asyncio  # noqa: PLC0415 - already loaded, as its loop is running

            await asyncio.get_running_loop().run_in_executor(None, _load, scheme)
        from .async_connections import AsyncConnections  # noqa: PLC0415 - already loaded

        with self._lock:
            self.connections = self.connections or AsyncConnections()
        return self.connections

    async def aclose(self) -> None:
        if self.connections is not None:
            await self.connections.aclose()


def _is_loop_running() -> bool:
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except (RuntimeError, AttributeError):  # no loop is running, or asyncio is being imported
        return False


_loaded: set[str] = set()


def _is_loaded(scheme: str) -> bool:
    return scheme in _loaded


def _load(scheme: str = "http") -> None:
    """Import the dependencies of asyncio calls, and read the trusted certificates if the scheme is https."""
    import anyio  # noqa: PLC0415 - the slow part

    importlib.import_module(f"{__package__}.async_connections")
    if not _loaded:
        anyio.run(anyio.sleep, 0)  # loads anyio's asyncio backend
    _loaded.add("http")
    if scheme == "https":
        import httpx  # noqa: PLC0415

        from .tls import tls_context  # noqa: PLC0415

        with suppress(httpx.ConnectError):  # connecting raises it again
            tls_context()
    _loaded.add(scheme)


class SharedSender:
    """Chooses the sender for each request: a recorder may be installed after a stream was created."""

    def __init__(self, senders: Senders) -> None:
        self._senders = senders
        self.pauses: Pauses = senders.pauses

    @property
    def owns_sockets(self) -> bool:
        """Whether this uses the SDK's own network streams, which enforce the call's deadline."""
        return self._senders.blocking.owns_sockets

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        wrapper, send = self._senders.wrapper, self._senders.blocking.send
        return send(request) if wrapper is None else wrapper.send(send, request)

    def close(self) -> None:
        """Close the connections that this sender opened. The next request opens new ones."""
        self._senders.close()


class AsyncSharedSender:
    """The asyncio twin of `SharedSender`."""

    def __init__(self, senders: Senders) -> None:
        self._senders = senders
        self.pauses: AsyncPauses = senders.async_pauses

    @property
    def owns_sockets(self) -> bool:
        """Whether this uses the SDK's own network streams, which enforce the call's deadline."""
        return self._senders.asyncio.owns_sockets

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        wrapper, send = self._senders.wrapper, self._senders.asyncio.send
        return await (send(request) if wrapper is None else wrapper.asend(send, request))

    async def aclose(self) -> None:
        """Close the connections that this sender opened. The next request opens new ones."""
        await self._senders.aclose()
