"""An httpx client of the caller's as a sender: used as it is, and never closed."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Optional, Union

import httpx

from fetch_hive_sdk._extensions import STOP

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


def answer_of(error: httpx.HTTPStatusError) -> httpx.Response:
    """Return the answer for whose status an event hook of the client raised, as if it had not.

    Its body is there if the hook had read it. httpx has closed it.
    """
    answer = error.response
    if answer.is_stream_consumed:
        return answer
    headers = [(name, value) for name, value in answer.headers.multi_items() if name.lower() not in _DESCRIBE_A_BODY]
    return httpx.Response(answer.status_code, headers=headers, extensions=answer.extensions, request=answer.request)


_DESCRIBE_A_BODY = {"content-encoding", "content-length", "transfer-encoding"}


def network_stream_of(response: httpx.Response) -> Optional[Any]:
    """Return what a response is read from, if no other response is read from it, as with HTTP/2."""
    return response.extensions.get("network_stream") if response.http_version.startswith("HTTP/1") else None


def _shut_down(stream: Any) -> None:
    sock = stream.get_extra_info("socket")
    if isinstance(sock, socket.socket):
        with suppress(OSError):
            # Not SSLSocket's own method, which is not for two threads.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class InjectedSender:
    """Sends with an `httpx.Client`."""

    owns_sockets = False

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        rebuilt = rebuild(self._client, request)
        try:
            # No auth of the client: it would replace the key.
            response = self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        stream = network_stream_of(response)
        if stream is not None:
            request.extensions[STOP] = partial(_shut_down, stream)
        return response

    def close(self) -> None:
        """Leave the client open: it is the caller's."""


class AsyncInjectedSender:
    """Sends with an `httpx.AsyncClient`."""

    owns_sockets = False

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        rebuilt = rebuild(self._client, request)
        try:
            response = await self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        stream = network_stream_of(response)
        if stream is not None:
            request.extensions[STOP] = stream.aclose
        return response

    async def aclose(self) -> None:
        """Leave the client open: it is the caller's."""
