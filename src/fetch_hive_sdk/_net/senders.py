"""What the shells send with: our own connections, an injected client, or a recorder in between.

A sender raises the errors of httpx, and no others.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, Optional, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    import httpx

    Send = Callable[[httpx.Request], httpx.Response]
    AsyncSend = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Sender(Protocol):
    """Sends requests for the blocking shell."""

    @property
    def owns_sockets(self) -> bool:
        """Whether the sockets are our own, which ask how long they may still wait."""
        ...

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        ...

    def close(self) -> None:
        """Close what this opened. The next request opens it again."""
        ...


class AsyncSender(Protocol):
    """Sends requests for the asyncio shell."""

    @property
    def owns_sockets(self) -> bool:
        """Whether the sockets are our own, which ask how long they may still wait."""
        ...

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        ...

    async def aclose(self) -> None:
        """Close what this opened. The next request opens it again."""
        ...


class Wrapper(Protocol):
    """Stands between a client and its sender, as a recorder does."""

    def send(self, send: Send, request: httpx.Request) -> httpx.Response:
        """Send a request with the function that is given."""
        ...

    async def asend(self, send: AsyncSend, request: httpx.Request) -> httpx.Response:
        """Send a request with the function that is given."""
        ...


class Senders:
    """What a client and all those made of it by `with_options` send with. Made on first use.

    Args:
        http_client: An `httpx.Client` of the caller's for blocking calls, or None.
        async_http_client: An `httpx.AsyncClient` of the caller's for asyncio calls, or None.
    """

    def __init__(self, http_client: Optional[httpx.Client], async_http_client: Optional[httpx.AsyncClient]) -> None:
        self.http_client = http_client
        self.async_http_client = async_http_client
        self._lock = threading.Lock()
        self._sender: Optional[Sender] = None
        self._async_sender: Optional[AsyncSender] = None
        self._wrapper: Optional[Wrapper] = None

    @property
    def blocking(self) -> Sender:
        """The sender of blocking calls."""
        if self._sender is None:
            with self._lock:
                if self._sender is None:  # still, now that no other thread is at it
                    self._sender = self._make_sender()
        return self._sender if self._wrapper is None else _WrappedSender(self._sender, self._wrapper)

    @property
    def asyncio(self) -> AsyncSender:
        """The sender of asyncio calls."""
        if self._async_sender is None:
            with self._lock:
                if self._async_sender is None:
                    self._async_sender = self._make_async_sender()
        wrapper = self._wrapper
        return self._async_sender if wrapper is None else _WrappedAsyncSender(self._async_sender, wrapper)

    def _make_sender(self) -> Sender:
        if self.http_client is not None:
            from .injected import InjectedSender  # noqa: PLC0415 - only for those who inject one

            return InjectedSender(self.http_client)
        from .connections import Connections  # noqa: PLC0415 - httpcore takes time to import, and may never be needed

        return Connections()

    def _make_async_sender(self) -> AsyncSender:
        if self.async_http_client is not None:
            from .injected import AsyncInjectedSender  # noqa: PLC0415 - only for those who inject one

            return AsyncInjectedSender(self.async_http_client)
        from .connections import AsyncConnections  # noqa: PLC0415 - httpcore takes time to import

        return AsyncConnections()

    @contextmanager
    def wrapped(self, wrapper: Wrapper) -> Generator[None, None, None]:
        """Let a wrapper stand between the clients and their senders, for as long as the block runs.

        Raises:
            RuntimeError: There is one already.

        """
        with self._lock:
            if self._wrapper is not None:
                raise RuntimeError("this client is being recorded already")
            self._wrapper = wrapper
        try:
            yield
        finally:
            self._wrapper = None

    def close(self) -> None:
        """Close the connections of blocking calls."""
        if self._sender is not None:
            self._sender.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        if self._async_sender is not None:
            await self._async_sender.aclose()


class _WrappedSender:
    def __init__(self, sender: Sender, wrapper: Wrapper) -> None:
        self._sender = sender
        self._wrapper = wrapper
        self.owns_sockets = sender.owns_sockets

    def send(self, request: httpx.Request) -> httpx.Response:
        return self._wrapper.send(self._sender.send, request)

    def close(self) -> None:
        self._sender.close()


class _WrappedAsyncSender:
    def __init__(self, sender: AsyncSender, wrapper: Wrapper) -> None:
        self._sender = sender
        self._wrapper = wrapper
        self.owns_sockets = sender.owns_sockets

    async def send(self, request: httpx.Request) -> httpx.Response:
        return await self._wrapper.asend(self._sender.send, request)

    async def aclose(self) -> None:
        await self._sender.aclose()
