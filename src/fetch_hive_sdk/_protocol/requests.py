"""Builds requests: headers and bodies. Performs no I/O."""

from __future__ import annotations

import contextlib
import platform
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, Optional, Union, cast

import httpx
from pydantic_core import to_json

from fetch_hive_sdk._extensions import OURS
from fetch_hive_sdk._version import __version__
from fetch_hive_sdk.models.json_values import read_json_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Collection, Generator, Iterator, Mapping

    from fetch_hive_sdk._config import Config

    from .endpoint import Endpoint

USER_AGENT = f"fetch-hive-sdk/{__version__} httpx/{httpx.__version__} python/{platform.python_version()}"

_PIECE_BYTES = 64 * 1024  # read at once from an uploaded file

_read_url = lru_cache(maxsize=64)(httpx.URL)  # parsing a URL takes a tenth of the time of a call


class Upload(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is read while it is sent. Each attempt opens and closes one.

    Args:
        read: Reads at most the given number of bytes; returns empty bytes at the end.
        length: The size in bytes.
        close: Closes the file.
        note: Called after each piece, in the event loop.
        read_in_thread: For asyncio, runs a read in a thread; None means to read in the event loop.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        length: int,
        close: Callable[[], None],
        *,
        note: Callable[[], None] = lambda: None,
        read_in_thread: Optional[Callable[[Callable[[], bytes]], Awaitable[bytes]]] = None,
    ) -> None:
        self.error: Optional[Exception] = None
        """The exception of a read. It belongs to the caller's file, and is not a network error."""
        self.length = length
        self._left = length
        self._read = read
        self._close = close
        self._note = note
        self._read_in_thread = read_in_thread

    def __iter__(self) -> Iterator[bytes]:
        with self._reading():
            while self._left:
                piece = self._next()
                self._note()
                yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._reading():
            while self._left:
                piece = self._next() if self._read_in_thread is None else await self._read_in_thread(self._next)
                self._note()
                yield piece

    def _next(self) -> bytes:
        piece = self._read(min(self._left, _PIECE_BYTES))
        if not piece:
            raise ValueError(f"the file was truncated while it was sent: {self._left:,} bytes are missing")
        self._left -= len(piece)
        return piece

    @contextlib.contextmanager
    def _reading(self) -> Generator[None, None, None]:
        try:
            yield
        except Exception as exc:
            self.error = exc
            raise
        finally:
            self._close()

    def close(self) -> None:
        """Close the file if the request was not sent completely."""
        self._close()

    async def aclose(self) -> None:
        """Close the file if the request was not sent completely."""
        self._close()


@dataclass(frozen=True)
class Body:
    """The body of a request.

    Args:
        content: The bytes, or a function that opens an upload for each attempt.
        media_type: The `Content-Type`.
        fields: The fields that are encoded in the bytes, for observers.
    """

    content: Union[bytes, Callable[[], Upload]]
    media_type: str = "application/json"
    fields: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)


def json_body(
    endpoint: Endpoint[Any],
    fields: Mapping[str, object],
    names: Collection[str],
    extra_body: Optional[Mapping[str, object]] = None,
) -> Body:
    """Encode the JSON body of a request.

    Args:
        endpoint: The endpoint.
        fields: The fields.
        names: The names of all arguments, which `extra_body` must not contain.
        extra_body: Fields that this version does not know.

    Raises:
        ValueError: `extra_body` contains the name of an argument, or a value that JSON cannot encode.

    """
    extra = read_json_object(extra_body or {}, "extra_body")
    known = sorted({*names, *fields} & extra.keys())
    if known:
        raise ValueError(f"extra_body must not contain {', '.join(known)}: pass it as an argument")
    merged = {**fields, **extra}
    return Body(to_json({endpoint.wrapper: merged} if endpoint.wrapper else merged), fields=merged)


def _credentials(config: Config, endpoint: Endpoint[Any]) -> dict[str, str]:
    if endpoint.secret is not None:
        return {"X-Fetch-Hive-Webhook-Secret": endpoint.secret.reveal()}
    return {} if endpoint.is_open else {"Authorization": f"Bearer {config.api_key.reveal()}"}


def build_request(
    config: Config,
    endpoint: Endpoint[Any],
    body: Optional[Body],
    *,
    streaming: bool,
    limits: Mapping[str, Optional[float]],
) -> httpx.Request:
    """Build the request of one attempt."""
    url = _read_url(config.base_url + endpoint.path)
    if endpoint.query:
        url = url.copy_merge_params(endpoint.query)
    # Opened before a variable holds secrets: if the file is missing, a crash report shows this frame.
    upload = body.content() if body is not None and callable(body.content) else None
    headers = {
        **_credentials(config, endpoint),
        "Accept": "text/event-stream, application/json" if streaming else "application/json",
        # `BodyReader` decompresses gzip within a limit. Streams are not compressed, so that no event is buffered.
        "Accept-Encoding": "identity" if streaming else "gzip",
        "User-Agent": USER_AGENT,
        **config.default_headers,
    }
    extensions = {"timeout": dict(limits), OURS: True}
    if body is None:
        return httpx.Request(endpoint.method, url, headers=headers, extensions=extensions)
    headers["Content-Type"] = body.media_type
    if upload is None:
        content = cast("bytes", body.content)
        return httpx.Request(endpoint.method, url, headers=headers, content=content, extensions=extensions)
    # httpx adds these only to bodies that it encodes itself.
    headers.update({"Host": url.netloc.decode("ascii"), "Content-Length": str(upload.length)})
    return httpx.Request(endpoint.method, url, headers=headers, stream=upload, extensions=extensions)
