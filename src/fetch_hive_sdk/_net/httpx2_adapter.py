"""Senders that use an httpx2 client of the caller, converting its responses and errors to httpx. No httpx2 import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Union

import httpx

from .conversions import converted, hook_errors, httpx_errors, package_of
from .injected import (
    AsyncInjectedSender,
    InjectedSender,
    answer_of,
    async_body_of,
    body_of,
    note_async_stop,
    note_stop,
    rebuild,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Httpx2Client(Protocol):
    """The methods of `httpx2.Client` that this SDK uses. Type checkers accept an `httpx2.Client` here."""

    @property
    def event_hooks(self) -> Any:
        """The event hooks."""
        ...

    def build_request(self, method: str, url: str, *, content: Any, headers: Any, extensions: Any) -> Any:
        """Build a request with the client's settings."""
        ...

    def send(self, request: Any, *, stream: bool, auth: None, follow_redirects: bool) -> Httpx2Response:
        """Send a request."""
        ...


class Httpx2AsyncClient(Protocol):
    """The methods of `httpx2.AsyncClient` that this SDK uses."""

    @property
    def event_hooks(self) -> Any:
        """The event hooks."""
        ...

    def build_request(self, method: str, url: str, *, content: Any, headers: Any, extensions: Any) -> Any:
        """Build a request with the client's settings."""
        ...

    def send(self, request: Any, *, stream: bool, auth: None, follow_redirects: bool) -> Awaitable[Httpx2Response]:
        """Send a request."""
        ...


class Httpx2Response(Protocol):
    """The attributes of `httpx2.Response` that this SDK uses."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Any:
        """The headers."""
        ...


def sender_of(client: Union[httpx.Client, Httpx2Client]) -> Union[InjectedSender, Httpx2Sender]:
    """Return the sender for an injected client."""
    return InjectedSender(client) if isinstance(client, httpx.Client) else Httpx2Sender(client)


def async_sender_of(
    client: Union[httpx.AsyncClient, Httpx2AsyncClient],
) -> Union[AsyncInjectedSender, AsyncHttpx2Sender]:
    """Return the sender for an injected client."""
    return AsyncInjectedSender(client) if isinstance(client, httpx.AsyncClient) else AsyncHttpx2Sender(client)


def is_httpx2(client: object, kind: str) -> bool:
    """Return whether an object is an httpx2 client. `kind` is `Client` or `AsyncClient`."""
    return any(cls.__name__ == kind and package_of(cls) == "httpx2" for cls in type(client).__mro__)


class Httpx2Sender:
    """Sends with an `httpx2.Client`."""

    owns_sockets = False

    def __init__(self, client: Httpx2Client) -> None:
        self._client = client

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        try:
            with httpx_errors():
                rebuilt = rebuild(self._client, request, str(request.url), body_of(request))
                with hook_errors(self._client, rebuilt):
                    answer = self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_stop(request, answer)
        return converted(answer, request)

    def close(self) -> None:
        """Do nothing: the caller owns the client."""


class AsyncHttpx2Sender:
    """Sends with an `httpx2.AsyncClient`."""

    owns_sockets = False

    def __init__(self, client: Httpx2AsyncClient) -> None:
        self._client = client

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        try:
            with httpx_errors():
                rebuilt = rebuild(self._client, request, str(request.url), async_body_of(request))
                with hook_errors(self._client, rebuilt):
                    answer = await self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_async_stop(request, answer)
        return converted(answer, request)

    async def aclose(self) -> None:
        """Do nothing: the caller owns the client."""
