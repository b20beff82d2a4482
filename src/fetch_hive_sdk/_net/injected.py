"""An httpx client of the caller's as a sender: used as it is, and never closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import httpx

if TYPE_CHECKING:
    AnyClient = Union[httpx.Client, httpx.AsyncClient]


def rebuild(client: AnyClient, request: httpx.Request) -> httpx.Request:
    """Build the request with an injected client, so that its headers, cookies and parameters apply."""
    is_upload = not isinstance(request.stream, httpx.ByteStream)
    rebuilt = client.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=None if is_upload else request.content,
        extensions=request.extensions,
    )
    if not is_upload:
        return rebuilt
    # A client cannot build one whose stream is for blocking and for asyncio.
    return httpx.Request(
        rebuilt.method, rebuilt.url, headers=rebuilt.headers, stream=request.stream, extensions=rebuilt.extensions
    )


class InjectedSender:
    """Sends with an `httpx.Client`."""

    owns_sockets = False

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        return self._client.send(rebuild(self._client, request), stream=True, follow_redirects=False)

    def close(self) -> None:
        """Leave the client open: it is the caller's."""


class AsyncInjectedSender:
    """Sends with an `httpx.AsyncClient`."""

    owns_sockets = False

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        return await self._client.send(rebuild(self._client, request), stream=True, follow_redirects=False)

    async def aclose(self) -> None:
        """Leave the client open: it is the caller's."""
