"""An injected httpx2 client as a sender: its answers and errors become those of httpx. Does not import httpx2."""

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
    """The part of an `httpx2.Client` that is used. Checkers accept one where this is expected."""

    def build_request(self, method: str, url: str, *, content: Any, headers: Any, extensions: Any) -> Any:
        """Build a request with the settings of the client."""
        ...

    def send(self, request: Any, *, stream: bool, auth: None, follow_redirects: bool) -> Httpx2Response:
        """Send a request."""
        ...


class Httpx2AsyncClient(Protocol):
    """The part of an `httpx2.AsyncClient` that is used."""

    def build_request(self, method: str, url: str, *, content: Any, headers: Any, extensions: Any) -> Any:
        """Build a request with the settings of the client."""
        ...

    def send(self, request: Any, *, stream: bool, auth: None, follow_redirects: bool) -> Awaitable[Httpx2Response]:
        """Send a request."""
        ...


class Httpx2Response(Protocol):
    """The part of an `httpx2.Response` that is used."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Any:
        """The headers."""
        ...


def sender_of(client: Union[httpx.Client, Httpx2Client]) -> Union[InjectedSender, Httpx2Sender]:
    """Return what sends with an injected client."""
    return InjectedSender(client) if isinstance(client, httpx.Client) else Httpx2Sender(client)


def async_sender_of(
    client: Union[httpx.AsyncClient, Httpx2AsyncClient],
) -> Union[AsyncInjectedSender, AsyncHttpx2Sender]:
    """Return what sends with an injected client."""
    return AsyncInjectedSender(client) if isinstance(client, httpx.AsyncClient) else AsyncHttpx2Sender(client)


def is_httpx2(client: object, kind: str) -> bool:
    """Return whether an object is an httpx2 client of a kind: `Client` or `AsyncClient`."""
    return any(cls.__name__ == kind and _is_of_httpx2(cls) for cls in type(client).__mro__)


class Httpx2Sender:
    """Sends with an `httpx2.Client`."""

    owns_sockets = False

    def __init__(self, client: Httpx2Client) -> None:
        self._client = client

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        try:
            with _httpx_errors():
                rebuilt = rebuild(self._client, request, str(request.url), body_of(request))
                answer = self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_stop(request, answer)
        return _converted(answer, request)

    def close(self) -> None:
        """Leave the client open: it is the caller's."""


class AsyncHttpx2Sender:
    """Sends with an `httpx2.AsyncClient`."""

    owns_sockets = False

    def __init__(self, client: Httpx2AsyncClient) -> None:
        self._client = client

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
        try:
            with _httpx_errors():
                rebuilt = rebuild(self._client, request, str(request.url), async_body_of(request))
                answer = await self._client.send(rebuilt, stream=True, auth=None, follow_redirects=False)
        except httpx.HTTPStatusError as exc:
            return answer_of(exc)
        note_async_stop(request, answer)
        return _converted(answer, request)

    async def aclose(self) -> None:
        """Leave the client open: it is the caller's."""


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of an answer, with the errors of httpx."""

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
    """Raise the error of httpx in place of the error of httpx2 that has the same name."""
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
            # Its request is set where errors are cleaned.
            answer = _converted(exc.response, httpx.Request("POST", ""))
            exc.request = exc.response = None
            return httpx.HTTPStatusError(str(exc), request=answer.request, response=answer)
        if isinstance(twin, type) and issubclass(twin, httpx.HTTPError):
            exc.request = None  # it has the key
            return twin(str(exc))
    return None


def _converted(answer: Any, request: httpx.Request) -> httpx.Response:
    """Return a response of httpx2 as one of httpx."""
    status, headers, extensions = answer.status_code, answer.headers.raw, answer.extensions
    if not answer.is_stream_consumed:
        body = _Body(answer.stream)
        return httpx.Response(status, headers=headers, stream=body, extensions=extensions, request=request)
    # An event hook has read it, or a mock transport has made it: its compression is undone.
    headers = without_body_headers(headers)
    return httpx.Response(status, headers=headers, content=answer.content, extensions=extensions, request=request)


def _is_of_httpx2(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "httpx2"
