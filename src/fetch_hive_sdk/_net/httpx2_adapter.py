"""Senders that use an httpx2 client of the caller, converting its responses and errors to httpx. No httpx2 import."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Optional, Protocol, Union

import httpx

from .injected import (
    AsyncInjectedSender,
    InjectedSender,
    answer_of,
    async_body_of,
    body_of,
    note_async_stop,
    note_stop,
    rebuild,
    without_body_headers,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Generator, Iterator


class Httpx2Client(Protocol):
    """The methods of `httpx2.Client` that this SDK uses. Type checkers accept an `httpx2.Client` here."""

    def build_request(self, method: str, url: str, *, content: Any, headers: Any, extensions: Any) -> Any:
        """Build a request with the client's settings."""
        ...

    def send(self, request: Any, *, stream: bool, auth: None, follow_redirects: bool) -> Httpx2Response:
        """Send a request."""
        ...


class Httpx2AsyncClient(Protocol):
    """The methods of `httpx2.AsyncClient` that this SDK uses."""

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
    return any(cls.__name__ == kind and _is_of_httpx2(cls) for cls in type(client).__mro__)


class Httpx2Sender:
    """Sends with an `httpx2.Client`."""

    owns_sockets = False

    def __init__(self, client: Httpx2Client) -> None:
        self._client = client

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        try:
            with _httpx_errors():
                rebuilt = rebuild(self._client, request, str(request.url), body_of(request))
                answer = self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_stop(request, answer)
        return _converted(answer, request)

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
            with _httpx_errors():
                rebuilt = rebuild(self._client, request, str(request.url), async_body_of(request))
                answer = await self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_async_stop(request, answer)
        return _converted(answer, request)

    async def aclose(self) -> None:
        """Do nothing: the caller owns the client."""


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a response, which raises the errors of httpx."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            yield from self._stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for piece in self._stream:
                yield piece

    def close(self) -> None:
        with _httpx_errors():
            self._stream.close()

    async def aclose(self) -> None:
        with _httpx_errors():
            await self._stream.aclose()


@contextmanager
def _httpx_errors() -> Generator[None, None, None]:
    """Replace errors of httpx2 with the httpx errors of the same name."""
    try:
        yield
    except Exception as exc:
        error = _error_of(exc)
        if error is None:
            raise
        raise error from exc


def _error_of(exc: Any) -> Optional[httpx.HTTPError]:
    for cls in type(exc).__mro__:
        twin = getattr(httpx, cls.__name__, None) if _is_of_httpx2(cls) else None
        if twin is httpx.HTTPStatusError:
            # The session sets the request when it removes secrets from the error.
            answer = _converted(exc.response, httpx.Request("POST", ""))
            exc.request = exc.response = None
            return httpx.HTTPStatusError(str(exc), request=answer.request, response=answer)
        if isinstance(twin, type) and issubclass(twin, httpx.HTTPError):
            exc.request = None  # it contains the key
            return twin(str(exc))
    return None


def _converted(answer: Any, request: httpx.Request) -> httpx.Response:
    """Convert a response of httpx2 to one of httpx."""
    status, headers, extensions = answer.status_code, answer.headers.raw, answer.extensions
    if not answer.is_stream_consumed:
        body = _Body(answer.stream)
        return httpx.Response(status, headers=headers, stream=body, extensions=extensions, request=request)
    # An event hook has read it, or a mock transport has created it: the content is already decompressed.
    headers = without_body_headers(headers)
    return httpx.Response(status, headers=headers, content=answer.content, extensions=extensions, request=request)


def _is_of_httpx2(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "httpx2"
