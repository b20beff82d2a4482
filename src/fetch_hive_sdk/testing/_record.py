"""Records the calls of a client, or of anything that calls through a proxy on a loopback port."""

from __future__ import annotations

import errno
import math
import os
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

import httpx

from fetch_hive_sdk._session import wrap_sender

from ._cassette import (
    File,
    RecordedCall,
    RecordedRequest,
    Redact,
    is_over,
    keep_answer,
    keep_request,
    key_of,
    write_file,
)
from ._server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Generator, Iterator

    from fetch_hive_sdk import FetchHive

Send = Callable[[httpx.Request], httpx.Response]
AsyncSend = Callable[[httpx.Request], "Awaitable[httpx.Response]"]

_KEPT_HEADERS = ("content-type", "retry-after")
_DIGITS = 3  # of the seconds: finer than that is noise
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_CONNECT_SECONDS = 10.0
# What belongs to one connection, or is written anew for the next.
_HOP_BY_HOP = {
    "connection",
    "content-length",
    "date",
    "host",
    "keep-alive",
    "server",
    "te",
    "transfer-encoding",
    "upgrade",
}


@contextmanager
def record(path: File, client: FetchHive, *, redact: Optional[Redact] = None) -> Generator[FetchHive, None, None]:
    """Record the calls that a client makes in the block, and write them to a file when it ends.

    The calls go to the service as always: blocking and asyncio, streams with their pace, refusals and repetitions too.
    Only what was answered is kept, neither the key nor other headers of a request. Calls of clients made by
    `with_options` are recorded as well, because they share the connections. Threads may share the client.

    Args:
        path: The file, a JSON file by custom. Its folder is made if it is not there.
        client: The client.
        redact: Takes the JSON object of each request and returns what is kept in its place. `replay` needs the same
            function. It is called before a request is sent: if it fails, nothing has been paid for.

    Returns:
        The client, for `with record("file.json", FetchHive()) as client:`.

    Raises:
        RuntimeError: The client is being recorded already.
        OSError: The file cannot be written.

    """
    recorder = _Recorder(client.base_url, redact)
    with _writing(path, recorder), wrap_sender(client, recorder):
        yield client


class RecordingProxy:
    """Stands before the service on a loopback port, passes calls on and keeps them. Made by `recording_proxy`."""

    url: str
    """The address to give to clients as `base_url`. They send their own keys."""

    def __init__(self, url: str, recorder: _Recorder) -> None:
        self.url = url
        self._recorder = recorder

    @property
    def calls(self) -> int:
        """How many calls have been recorded so far."""
        return len(self._recorder.calls())


@contextmanager
def recording_proxy(
    path: File, base_url: str, *, port: int = 0, redact: Optional[Redact] = None
) -> Generator[RecordingProxy, None, None]:
    """Record the calls of any program, in any language, that calls a loopback port in place of the service.

    Args:
        path: The file, written when the block ends.
        base_url: Where the service is.
        port: The port; 0 for a free one.
        redact: As for `record`.

    Returns:
        The proxy. Its `url` is the `base_url` for clients, who send their own keys.

    Raises:
        OSError: The port is taken, or the file cannot be written.

    """
    recorder = _Recorder(base_url, redact)
    with ExitStack() as stack:
        stack.enter_context(_writing(path, recorder))
        # No limit on reading: how long to wait for an answer is the caller's decision.
        client = stack.enter_context(httpx.Client(timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS)))
        address = stack.enter_context(serve(_Forwarder(client, base_url, recorder).handle, port))
        yield RecordingProxy(f"{address}{recorder.base_path}", recorder)


class _Forwarder:
    """Passes requests on to the service, and its answers back as they come."""

    def __init__(self, client: httpx.Client, base_url: str, recorder: _Recorder) -> None:
        self._client = client
        self._base_url = httpx.URL(base_url)
        self._recorder = recorder

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request with what the service answers."""
        try:
            return self._pass_back(self._recorder.send(self._pass_on, request))
        except _NOT_SENT as exc:
            # What clients take for a service that has not run anything: they may try again.
            return _fail(503, exc, {"Retry-After": "1"})
        except httpx.TransportError as exc:
            return _fail(502, exc)

    def _pass_on(self, request: httpx.Request) -> httpx.Response:
        url = self._base_url.copy_with(raw_path=request.url.raw_path)
        # What everybody can read: another program may know compressions that this one does not.
        headers = {**_end_to_end(request.headers), "accept-encoding": "identity"}
        onward = self._client.build_request(request.method, url, headers=headers, content=request.content)
        return self._client.send(onward, stream=True, follow_redirects=False)

    def _pass_back(self, response: httpx.Response) -> httpx.Response:
        status, headers = response.status_code, _end_to_end(response.headers)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return httpx.Response(status, headers=headers, stream=_PassedOn(response))
        with closing(response):
            content = b"".join(response.iter_raw())
        # Not as an argument: httpx would undo a compression, and the header says that there is one.
        return httpx.Response(status, headers=headers, content=content)


def _fail(status: int, exc: Exception, headers: Optional[dict[str, str]] = None) -> httpx.Response:
    problem = f"no answer from the service: {str(exc) or type(exc).__name__}"
    return httpx.Response(status, headers=headers, json={"error": problem, "message": problem})


def _end_to_end(headers: httpx.Headers) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}


class _PassedOn(httpx.SyncByteStream):
    """The body of an answer as it comes; the service's connection is given back, whoever leaves first."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with closing(self._response):
            try:
                yield from self._response.iter_raw()
            except httpx.TransportError as exc:
                # The server of ours takes this for a connection that broke, and breaks its own.
                raise ConnectionResetError(str(exc)) from exc


@contextmanager
def _writing(path: File, recorder: _Recorder) -> Generator[None, None, None]:
    """Write what was recorded when the block ends, however it ends."""
    # The program may go to another folder while it is recorded.
    file = Path(path).absolute()
    folder = file.parent
    folder.mkdir(parents=True, exist_ok=True)
    # Now, not when the answers have been paid for.
    if file.is_dir() or not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "a cassette cannot be written here", os.fspath(path))
    try:
        yield
    finally:
        calls = recorder.calls()
        # A block that failed before its first answer does not cost an older file.
        if calls:
            write_file(file, calls)


class _Recorder:
    """Keeps calls while they are under way. Threads and tasks may share it.

    Args:
        base_url: Where the service is; its path is left out of what is kept.
        redact: See `record`.
    """

    def __init__(self, base_url: str, redact: Optional[Redact]) -> None:
        self.base_path: str = httpx.URL(base_url).path.rstrip("/")
        self._redact = redact
        self._takes: list[_Take] = []

    def send(self, send: Send, request: httpx.Request) -> httpx.Response:
        """Send a request, and keep its answer."""
        take = _Take(request, keep_request(request, self.base_path, self._redact))
        response = send(request)
        self._takes.append(take)
        return take.listen(response)

    async def asend(self, send: AsyncSend, request: httpx.Request) -> httpx.Response:
        """Send a request, and keep its answer."""
        take = _Take(request, keep_request(request, self.base_path, self._redact))
        response = await send(request)
        self._takes.append(take)
        return take.listen(response)

    def calls(self) -> list[RecordedCall]:
        """Return the calls that have been answered, in an order that is the same for the same program."""
        return [call for take in _in_order(list(self._takes)) for call in take.calls()]


class _Take:
    """One call while it is under way."""

    def __init__(self, request: httpx.Request, kept: RecordedRequest) -> None:
        self.order = str(sorted(kept.fields().items()))
        self.started = time.monotonic()
        self.ended = math.inf
        self._request = kept
        self._key = key_of(request)
        self._status = 0
        self._headers: dict[str, str] = {}
        self._encoding = ""
        self._chunks: list[tuple[float, bytes]] = []
        self._is_whole = False
        self._is_broken = False

    def listen(self, response: httpx.Response) -> httpx.Response:
        """Take the head of an answer, and its body as somebody reads it."""
        self._status = response.status_code
        self._headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        if response.is_stream_consumed:  # a fake, or an event hook has read it: its compression is undone
            with self.reading() as note:
                note(response.content)
        else:
            self._encoding = response.headers.get("content-encoding", "")
            response.stream = _Tee(response.stream, self)
        return response

    @contextmanager
    def reading(self) -> Generator[Callable[[bytes], None], None, None]:
        """Yield what takes the next bytes; see how the reading ends."""
        try:
            yield self._note
            self._is_whole = True
        except Exception:
            self._is_broken = True
            raise
        finally:
            self.end()

    def end(self) -> None:
        """See that nobody reads on: once, however often it is told."""
        self.ended = min(self.ended, time.monotonic())

    def _note(self, chunk: bytes) -> None:
        self._chunks.append((round(time.monotonic() - self.started, _DIGITS), chunk))

    def calls(self) -> Iterator[RecordedCall]:
        """Yield the call if there is an answer to keep: a whole one, or what there is of a stream."""
        try:
            answer = keep_answer(self._status, self._headers, self._unpacked(), self._key)
        except httpx.DecodingError:
            return
        # The client stops reading at the end marker, and does not always wait for the end of the body.
        if answer.events is not None and not self._is_whole and not any(is_over(event) for event in answer.events):
            answer = answer.model_copy(update={"ended": "broken" if self._is_broken else "left"})
        if answer.events is not None or self._is_whole:
            yield RecordedCall(request=self._request, response=answer)

    def _unpacked(self) -> list[tuple[float, bytes]]:
        chunks = list(self._chunks)
        if self._encoding in {"", "identity"} or not chunks:
            return chunks
        moment = 0.0

        def packed() -> Iterator[bytes]:
            nonlocal moment
            for moment, chunk in chunks:  # noqa: B007 - read below, for what is unpacked of the chunk
                yield chunk

        response = httpx.Response(200, headers={"content-encoding": self._encoding}, content=packed())
        return [(moment, piece) for piece in response.iter_bytes()]


class _Tee(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is noted while its caller reads it."""

    def __init__(self, stream: Union[httpx.SyncByteStream, httpx.AsyncByteStream], take: _Take) -> None:
        self._stream: Any = stream
        self._take = take

    def __iter__(self) -> Iterator[bytes]:
        with self._take.reading() as note:
            for chunk in self._stream:
                note(chunk)
                yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._take.reading() as note:
            async for chunk in self._stream:
                note(chunk)
                yield chunk

    # The generators above may end later, when the garbage collector comes by.
    def close(self) -> None:
        self._take.end()
        self._stream.close()

    async def aclose(self) -> None:
        self._take.end()
        await self._stream.aclose()


def _in_order(takes: list[_Take]) -> list[_Take]:
    """Sort calls by their beginnings; those that were under way at the same time by what they ask.

    Which of two threads comes first is chance, and would be another file each time.
    """
    groups: list[list[_Take]] = []
    busy_until = -math.inf
    for take in sorted(takes, key=lambda take: take.started):
        if take.started >= busy_until:
            groups.append([])
        groups[-1].append(take)
        busy_until = max(busy_until, take.ended)
    return [take for group in groups for take in sorted(group, key=lambda take: take.order)]
