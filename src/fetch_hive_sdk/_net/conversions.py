"""Converts the responses and errors of injected clients to those of httpx."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Optional

import httpx

from fetch_hive_sdk._extensions import HOOK_RAISED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    HeaderList = list[tuple[bytes, bytes]]

_HTTPX_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
# The clients raise some errors of httpcore and h2 as they are, such as those of closing a response.
_OTHER_PACKAGES = {"httpx2", "httpcore", "httpcore2"}
_BODY_HEADERS = {b"content-encoding", b"content-length", b"transfer-encoding"}


def package_of(cls: type) -> str:
    """Return the name of the package that defines a class."""
    return cls.__module__.partition(".")[0]


@contextmanager
def httpx_errors() -> Generator[None, None, None]:
    """Replace errors of httpx2, httpcore and h2 with errors of httpx."""
    handled_by_caller = sys.exc_info()[1]
    try:
        yield
    except Exception as exc:
        error = _httpx_error_of(exc, handled_by_caller)
        for link in _chain(exc, handled_by_caller):
            _remove_request(link)
        if error is None:
            raise
        raise error from exc


@contextmanager
def hook_errors(client: Any, request: Any) -> Generator[None, None, None]:
    """Replace network errors that an event hook raised after the response, such as those of another request.

    Otherwise a `ConnectError` would mean that the run was not sent, and it would be repeated and paid twice.
    """
    handled_by_caller = sys.exc_info()[1]
    try:
        yield
    except Exception as exc:
        # Errors of the transport have the request. Hooks for requests run before anything is sent.
        if not client.event_hooks["response"] or _request_of(exc) is request:
            raise
        error = _httpx_error_of(exc, handled_by_caller) or exc
        if not isinstance(error, (httpx.HTTPError, httpx.InvalidURL, UnicodeError)):
            raise
        raise httpx.ReadError(f"{HOOK_RAISED} {type(error).__name__}: {error}") from exc


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a response, which raises the errors of httpx."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with httpx_errors():
            yield from self._stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with httpx_errors():
            async for piece in self._stream:
                yield piece

    def close(self) -> None:
        with httpx_errors():
            self._stream.close()

    async def aclose(self) -> None:
        with httpx_errors():
            await self._stream.aclose()


def is_http2(response: Any) -> bool:
    """Return whether a response was received over HTTP/2."""
    return bool(response.extensions.get("http_version") == b"HTTP/2")


def received(answer: Any, request: httpx.Request) -> httpx.Response:
    """Return the response of an injected client as one of httpx that raises only errors of httpx."""
    if not isinstance(answer, httpx.Response):
        return converted(answer, request)
    if is_http2(answer):
        answer.stream = Body(answer.stream)  # would raise errors of h2
    return answer


def converted(answer: Any, request: httpx.Request) -> httpx.Response:
    """Convert a response of httpx2 to one of httpx."""
    status, headers, extensions = answer.status_code, answer.headers.raw, answer.extensions
    content = _content_of(answer)
    if content is None:
        body = Body(answer.stream)
        response = httpx.Response(status, headers=headers, stream=body, extensions=extensions, request=request)
        response.is_stream_consumed = answer.is_stream_consumed  # an event hook may have iterated over it
        return response
    # An event hook has read it, or a mock transport has created it: the content is already decompressed.
    headers = without_body_headers(headers)
    return httpx.Response(status, headers=headers, content=content, extensions=extensions, request=request)


def without_body_headers(headers: HeaderList) -> HeaderList:
    """Return the headers without those that describe the encoding and length of the body."""
    return [(name, value) for name, value in headers if name.lower() not in _BODY_HEADERS]


def _httpx_error_of(exc: Any, handled_by_caller: Optional[BaseException]) -> Optional[Exception]:
    """Return the error of httpx to raise in place of `exc`, or None."""
    if any(package_of(type(link)) == "h2" for link in _chain(exc, handled_by_caller)):
        # httpcore calls it a LocalProtocolError, as if the request had not been sent. But h2 also raises its errors for
        # invalid frames from the server, at any time.
        return httpx.RemoteProtocolError(str(exc))
    if isinstance(exc, _HTTPX_ERRORS):
        return None
    for cls in type(exc).__mro__:
        if package_of(cls) in _OTHER_PACKAGES:
            if cls.__name__ == "ConnectionNotAvailable":  # an HTTP/2 connection ended in the middle of the body
                return httpx.RemoteProtocolError("the connection ended")
            twin = getattr(httpx, cls.__name__, None)
            if isinstance(twin, type) and issubclass(twin, _HTTPX_ERRORS):
                return _twin_of(exc, twin)
    return None


def _twin_of(exc: Any, twin: Any) -> Exception:
    if twin is httpx.HTTPStatusError:
        # The session sets the request when it removes secrets from the error.
        answer = converted(exc.response, httpx.Request("POST", ""))
        return httpx.HTTPStatusError(str(exc), request=answer.request, response=answer)
    has_fixed_message = httpx.StreamError in twin.__bases__
    error: Exception = twin() if has_fixed_message else twin(str(exc))
    return error


def _remove_request(exc: Any) -> None:
    """Remove the request of an httpx2 error, which contains the key. The session does so for httpx errors."""
    is_other = not isinstance(exc, httpx.HTTPError)
    if is_other and any(package_of(cls) == "httpx2" and cls.__name__ == "HTTPError" for cls in type(exc).__mro__):
        exc.request = None
        if hasattr(exc, "response"):
            exc.response = None


def _chain(exc: BaseException, end: Optional[BaseException]) -> Iterator[BaseException]:
    """Yield an exception and its causes, up to one that is not part of it."""
    link: Optional[BaseException] = exc
    while link is not None and link is not end:
        yield link
        link = link.__cause__ or link.__context__


def _request_of(exc: Any) -> Any:
    try:
        return exc.request
    except (AttributeError, RuntimeError):  # it has no request, or the request is not set
        return None


def _content_of(answer: Any) -> Optional[bytes]:
    """Return the content of a response if it has been read, or else None."""
    try:
        content: bytes = answer.content
    except RuntimeError:  # ResponseNotRead
        return None
    return content
