"""Senders that use an httpx client of the caller. They neither configure nor close it."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Union, cast

import httpx

from fetch_hive_sdk._extensions import STOP

from .conversions import Body, hook_errors, httpx_errors, without_body_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    Content = Union[bytes, Iterable[bytes], AsyncIterable[bytes]]


class _BuildsRequests(Protocol):
    def build_request(self, method: str, url: Any, *, content: Any, headers: Any, extensions: Any) -> Any: ...


def rebuild(client: _BuildsRequests, request: httpx.Request, url: Union[httpx.URL, str], body: Content) -> Any:
    """Build the request with the injected client, so that the client's headers, cookies and parameters apply."""
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


def is_http2(response: Any) -> bool:
    """Return whether a response was received over HTTP/2."""
    return bool(response.extensions.get("http_version") == b"HTTP/2")


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
    """Sends with an `httpx.Client`."""

    owns_sockets = False

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        try:
            with httpx_errors():
                rebuilt = rebuild(self._client, request, request.url, body_of(request))
                with hook_errors(self._client, rebuilt):
                    # Without the client's auth, which would replace the key.
                    response = self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_stop(request, response)
        if is_http2(response):
            response.stream = Body(response.stream)  # raises errors of h2
        return response

    def close(self) -> None:
        """Do nothing: the caller owns the client."""


class AsyncInjectedSender:
    """Sends with an `httpx.AsyncClient`."""

    owns_sockets = False

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        try:
            with httpx_errors():
                rebuilt = rebuild(self._client, request, request.url, async_body_of(request))
                with hook_errors(self._client, rebuilt):
                    response = await self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_async_stop(request, response)
        if is_http2(response):
            response.stream = Body(response.stream)  # raises errors of h2
        return response

    async def aclose(self) -> None:
        """Do nothing: the caller owns the client."""
