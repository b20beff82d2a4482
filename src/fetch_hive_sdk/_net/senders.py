"""What the shells send with: our own connections, an injected client, or a recorder in between.

A sender raises the errors of httpx and no others, but for a `ConfigurationError` where nothing can be sent at all.
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
    """What a client and all those made of it by `with_options` send with.

    Args:
        http_client: An `httpx.Client` of the caller's for blocking calls, or None.
        async_http_client: An `httpx.AsyncClient` of the caller's for asyncio calls, or None.
    """

    def __init__(self, http_client: Optional[httpx.Client], async_http_client: Optional[httpx.AsyncClient]) -> None:
        self.http_client = http_client
        self.async_http_client = async_http_client
        self.sender = _SharedSender(self)
        self.async_sender = _AsyncSharedSender(self)
        self.wrapper: Optional[Wrapper] = None
        self._lock = threading.Lock()
        self._blocking: Optional[Sender] = None
        self._asyncio: Optional[AsyncSender] = None

    @property
    def blocking(self) -> Sender:
        """The connections of blocking calls, or the injected client. Made on first use."""
        if self._blocking is None:
            with self._lock:
                if self._blocking is None:  # still, now that no other thread is at it
                    self._blocking = self._make_sender()
        return self._blocking

    @property
    def asyncio(self) -> AsyncSender:
        """The connections of asyncio calls, or the injected client. Made on first use."""
        if self._asyncio is None:
            with self._lock:
                if self._asyncio is None:
                    self._asyncio = self._make_async_sender()
        return self._asyncio

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
            if self.wrapper is not None:
                raise RuntimeError("this client is being recorded already")
            self.wrapper = wrapper
        try:
            yield
        finally:
            self.wrapper = None

    def close(self) -> None:
        """Close the connections of blocking calls."""
        if self._blocking is not None:
            self._blocking.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        if self._asyncio is not None:
            await self._asyncio.aclose()


class _SharedSender:
    """Looks at each request for what to send it with: a stream may be made before a recorder comes, or after."""

    def __init__(self, senders: Senders) -> None:
        self._senders = senders

    @property
    def owns_sockets(self) -> bool:
        return self._senders.blocking.owns_sockets

    def send(self, request: httpx.Request) -> httpx.Response:
        wrapper, send = self._senders.wrapper, self._senders.blocking.send
        return send(request) if wrapper is None else wrapper.send(send, request)

    def close(self) -> None:
        self._senders.close()


class _AsyncSharedSender:
    def __init__(self, senders: Senders) -> None:
        self._senders = senders

    @property
    def owns_sockets(self) -> bool:
        return self._senders.asyncio.owns_sockets

    async def send(self, request: httpx.Request) -> httpx.Response:
        wrapper, send = self._senders.wrapper, self._senders.asyncio.send
        return await (send(request) if wrapper is None else wrapper.asend(send, request))

    async def aclose(self) -> None:
        await self._senders.aclose()
