"""Senders that use an httpx or httpx2 client of the caller. They neither configure nor close it."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Union, cast

import httpx

from fetch_hive_sdk._extensions import STOP

from .conversions import hook_errors, httpx_errors, is_http2, received, without_body_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    from .httpx2_clients import Httpx2AsyncClient, Httpx2Client

    Content = Union[bytes, Iterable[bytes], AsyncIterable[bytes]]


def rebuild(client: Any, request: httpx.Request, body: Content) -> Any:
    """Build the request with the injected client, so that the client's headers, cookies and parameters apply."""
    url = request.url if isinstance(client, (httpx.Client, httpx.AsyncClient)) else str(request.url)
    return client.build_request(
        request.method, url, headers=request.headers.raw, content=body, extensions=request.extensions
    )


def body_of(request: httpx.Request) -> Content:
    """Return the body of a request for a blocking client. Uploads are streamed."""
    stream = request.stream
    return request.content if isinstance(stream, httpx.ByteStream) else iter(cast("httpx.SyncByteStream", stream))


def async_body_of(request: httpx.Request) -> Content:
    """Return the body of a request for an asyncio client."""
    stream = request.stream
    return (
        request.content if isinstance(stream, httpx.ByteStream) else cast("httpx.AsyncByteStream", stream).__aiter__()
    )


def answer_of(error: httpx.HTTPStatusError) -> httpx.Response:
    """Return the response of an error that an event hook raised for its status.

    httpx has closed the response; its body is available only if the hook has read it.
    """
    answer = error.response
    if answer.is_stream_consumed:
        return answer
    headers = without_body_headers(answer.headers.raw)
    return httpx.Response(answer.status_code, headers=headers, extensions=answer.extensions, request=answer.request)


def note_stop(request: httpx.Request, response: Any) -> None:
    """Store in the request a function with which another thread can stop reading the response."""
    stream = _network_stream(response)
    if stream is not None:
        request.extensions[STOP] = partial(_shut_down, stream)


def note_async_stop(request: httpx.Request, response: Any) -> None:
    """Store in the request a function with which another task can stop reading the response."""
    stream = _network_stream(response)
    if stream is not None:
        request.extensions[STOP] = stream.aclose


def _network_stream(response: Any) -> Any:
    # Other calls share an HTTP/2 connection.
    return None if is_http2(response) else response.extensions.get("network_stream")


def _shut_down(stream: Any) -> None:
    sock = stream.get_extra_info("socket")
    if isinstance(sock, socket.socket):
        with suppress(OSError):
            # SSLSocket.shutdown is not thread-safe.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class InjectedSender:
    """Sends with an `httpx.Client` or `httpx2.Client`."""

    owns_sockets = False

    def __init__(self, client: Union[httpx.Client, Httpx2Client]) -> None:
        self._client = client

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        try:
            with httpx_errors():
                rebuilt = rebuild(self._client, request, body_of(request))
                with hook_errors(self._client, rebuilt):
                    # Without the client's auth, which would replace the key.
                    answer = self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_stop(request, answer)
        return received(answer, request)

    def close(self) -> None:
        """Do nothing: the caller owns the client."""


class AsyncInjectedSender:
    """Sends with an `httpx.AsyncClient` or `httpx2.AsyncClient`."""

    owns_sockets = False

    def __init__(self, client: Union[httpx.AsyncClient, Httpx2AsyncClient]) -> None:
        self._client = client

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        try:
            with httpx_errors():
                rebuilt = rebuild(self._client, request, async_body_of(request))
                with hook_errors(self._client, rebuilt):
                    answer = await self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_async_stop(request, answer)
        return received(answer, request)

    async def aclose(self) -> None:
        """Do nothing: the caller owns the client."""
