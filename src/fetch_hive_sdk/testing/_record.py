"""Records the calls of a client, or of any program through a proxy on a loopback port."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Callable, Optional

import httpx
from pydantic import ValidationError

from fetch_hive_sdk._extensions import OURS
from fetch_hive_sdk._net.plain_clients import plain_client
from fetch_hive_sdk._session import wrap_sender

from ._cassette import (
    File,
    RecordedCall,
    RecordedRequest,
    Redact,
    is_last,
    record_answer,
    record_request,
    secrets_of,
)
from ._cassette_writer import CassetteWriter
from ._reply import Reply, json_reply
from ._routes import path_of, refusal_reply
from ._server import serve
from ._watch import WatchedBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Iterator, Mapping

    from fetch_hive_sdk import FetchHive

    from ._watch import End

Send = Callable[[httpx.Request], httpx.Response]
AsyncSend = Callable[[httpx.Request], "Awaitable[httpx.Response]"]

_RECORDED_HEADERS = ("content-type", "retry-after")
_DIGITS = 3  # of the seconds: more would be noise
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_CONNECT_SECONDS = 10.0
# Headers of one connection, and headers that the next hop writes itself.
_HOP_BY_HOP = {
    b"connection",
    b"content-length",
    b"date",
    b"host",
    b"keep-alive",
    b"server",
    b"te",
    b"transfer-encoding",
    b"upgrade",
}


@contextmanager
def record(path: File, client: FetchHive, *, redact: Optional[Redact] = None) -> Generator[FetchHive, None, None]:
    """Record the calls that a client makes in the block. Each call is written to the file when it ends.

    The calls go to the service as usual: blocking and asyncio, streams with their pace, errors and retries. The API key
    and other headers of requests are not recorded, nor are calls without an answer. Clients made by `with_options` are
    recorded too, because they share the connections. Threads can share the client.

    Args:
        path: The file: JSON Lines with one call per line. A missing folder is created. An older recording is kept
            until the first call ends.
        client: The client.
        redact: Takes the JSON object of each request and returns the one to record instead. Pass the same function to
            `replay`. It is called before the request is sent, so an error in it costs nothing.

    Returns:
        The client, for `with record("file.json", FetchHive()) as client:`.

    Raises:
        RuntimeError: The client is already being recorded.
        OSError: The file cannot be written, or another recorder is writing to it. An error while calls are recorded is
            raised at the end of the block, because the calls have been billed.

    """
    recorder = _Recorder(client.base_url, redact)
    with wrap_sender(client, recorder), recorder.writing(path):
        yield client


class RecordingProxy:
    """A proxy on a loopback port that forwards calls to the service and records them. Made by `recording_proxy`."""

    url: str
    """The `base_url` for clients. They send their own API keys."""

    def __init__(self, url: str, recorder: _Recorder) -> None:
        self.url = url
        self._recorder = recorder

    @property
    def calls(self) -> int:
        """The number of calls recorded so far."""
        return self._recorder.calls


@contextmanager
def recording_proxy(
    path: File, base_url: str, *, port: int = 0, redact: Optional[Redact] = None
) -> Generator[RecordingProxy, None, None]:
    """Record the calls of any program, in any language, with a proxy on a loopback port.

    Args:
        path: The file, as for `record`.
        base_url: The base URL of the service.
        port: The port; 0 chooses a free one.
        redact: As for `record`.

    Returns:
        The proxy. Its `url` is the `base_url` for clients, which send their own API keys.

    Raises:
        ConfigurationError: A proxy in the environment is invalid, or the trusted certificates cannot be read.
        OSError: The port is in use, the file cannot be written, or another recorder is writing to it.

    """
    url = httpx.URL(base_url)
    recorder = _Recorder(base_url, redact)
    with ExitStack() as stack:
        client = stack.enter_context(plain_client(url))
        stack.enter_context(recorder.writing(path))
        address = stack.enter_context(serve(_Forwarder(client, url, recorder).handle, port))
        yield RecordingProxy(f"{address}{recorder.base_path}", recorder)


class _Forwarder:
    """Forwards requests to the service and streams back its answers."""

    def __init__(self, client: httpx.Client, url: httpx.URL, recorder: _Recorder) -> None:
        self._client = client
        self._url = url
        self._recorder = recorder

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request with the answer of the service."""
        try:
            call = self._recorder.begin(request)
        except Exception as exc:  # noqa: BLE001 - redact is the user's own code
            problem = f"redact failed, so the call was not sent: {type(exc).__name__}: {exc}"
            return refusal_reply(400, problem, "redact_failed").respond(request)
        try:
            return self._return(self._recorder.watch(call, self._forward(request)))
        except _NOT_SENT as exc:
            # Clients treat 503 as a service that has not started the run, and may retry.
            return _fail(503, exc, {"Retry-After": "1"}).respond(request)
        except httpx.TransportError as exc:
            return _fail(502, exc).respond(request)

    def _forward(self, request: httpx.Request) -> httpx.Response:
        # Not build_request, which adds headers of this client, and cookies set for other callers.
        forwarded = httpx.Request(
            request.method,
            self._url.copy_with(raw_path=request.url.raw_path),
            # The caller may accept compressions that cannot be decoded here.
            headers=[*_end_to_end(request.headers, b"accept-encoding"), (b"accept-encoding", b"identity")],
            content=request.content,
            extensions={
                # No read timeout: the caller decides how long to wait.
                "timeout": httpx.Timeout(None, connect=_CONNECT_SECONDS).as_dict(),
                OURS: True,
                "trace": partial(_check_caller, request.extensions["has_left"]),
            },
        )
        return self._client.send(forwarded, stream=True, follow_redirects=False)

    def _return(self, response: httpx.Response) -> httpx.Response:
        status, headers = response.status_code, _end_to_end(response.headers)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return httpx.Response(status, headers=headers, stream=response.stream)
        with closing(response):
            content = b"".join(response.iter_raw())
        return Reply(status, headers, [content]).respond(response.request)


def _check_caller(has_left: Callable[[], bool], event: str, info: Mapping[str, object]) -> None:  # noqa: ARG001 - as httpcore calls it
    """Raise an error before a call is sent whose caller closed the connection while the proxy was connecting."""
    if event.endswith("send_request_headers.started") and has_left():
        raise httpx.ConnectError("the caller closed its connection")


def _fail(status: int, exc: Exception, headers: Optional[dict[str, str]] = None) -> Reply:
    problem = f"the service did not answer: {str(exc) or type(exc).__name__}"
    return json_reply(status, {"error": problem, "message": problem}, headers)


def _end_to_end(headers: httpx.Headers, *others: bytes) -> list[tuple[bytes, bytes]]:
    # A list of pairs, because Set-Cookie may occur more than once.
    return [(name, value) for name, value in headers.raw if name.lower() not in {*_HOP_BY_HOP, *others}]


class _Recorder:
    """Records each call when it ends. Threads and tasks can share it.

    Args:
        base_url: The base URL of the service. Its path is not recorded.
        redact: See `record`.
    """

    def __init__(self, base_url: str, redact: Optional[Redact]) -> None:
        self.base_path: str = path_of(base_url)
        self._redact = redact
        self._writer: Optional[CassetteWriter] = None
        self._open_calls: set[_OpenCall] = set()
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """The number of recorded calls."""
        return 0 if self._writer is None else len(self._writer)

    @contextmanager
    def writing(self, path: File) -> Generator[None, None, None]:
        """Record calls to a file until the block is left, then the received part of the open ones."""
        with CassetteWriter(path) as self._writer:
            try:
                yield
            finally:
                for call in sorted(self._open_calls, key=lambda call: call.started):
                    # A process forked in the block may leave it, too.
                    if call.process == os.getpid():
                        self._finish(call, "left")

    def send(self, send: Send, request: httpx.Request) -> httpx.Response:
        """Send a request and record its answer."""
        call = self.begin(request)
        return self.watch(call, send(request))

    async def asend(self, send: AsyncSend, request: httpx.Request) -> httpx.Response:
        """Send a request and record its answer."""
        call = self.begin(request)
        return self.watch(call, await send(request))

    def begin(self, request: httpx.Request) -> _OpenCall:
        """Return the call of a request that will be sent. Errors of `redact` are raised."""
        return _OpenCall(request, record_request(request, self.base_path, self._redact))

    def watch(self, call: _OpenCall, response: httpx.Response) -> httpx.Response:
        """Record the head of an answer, and its body while it is read."""
        call.answer(response)
        self._open_calls.add(call)
        if response.is_stream_consumed:  # read by a fake or by an event hook
            call.note(response.content)
            self._finish(call, "done")
        else:
            response.stream = WatchedBody(response.stream, call.note, lambda end: self._finish(call, end))
        return response

    def _finish(self, call: _OpenCall, end: End) -> None:
        ended = time.monotonic()
        with self._lock:
            if call not in self._open_calls or self._writer is None:
                return
            self._open_calls.discard(call)
        for recorded in call.recorded(end):
            self._writer.append(recorded, started=call.started, ended=ended, sort_key=call.sort_key)


class _OpenCall:
    """A call whose answer has not ended."""

    def __init__(self, request: httpx.Request, recorded: RecordedRequest) -> None:
        self.sort_key: str = str(sorted(recorded.fields().items()))
        self.started: float = time.monotonic()
        self.process: int = os.getpid()
        self._request = recorded
        self._secret = secrets_of(request)
        self._status = 0
        self._headers: dict[str, str] = {}
        self._encoding = ""
        self._chunks: list[tuple[float, bytes]] = []

    def answer(self, response: httpx.Response) -> None:
        """Record the status and headers of the answer."""
        self._status = response.status_code
        self._headers = {name: response.headers[name] for name in _RECORDED_HEADERS if name in response.headers}
        # httpx has decompressed a body that was read.
        self._encoding = "" if response.is_stream_consumed else response.headers.get("content-encoding", "")

    def note(self, chunk: bytes) -> None:
        """Record the next chunk of the body."""
        self._chunks.append((round(time.monotonic() - self.started, _DIGITS), chunk))

    def recorded(self, end: End) -> Iterator[RecordedCall]:
        """Yield the call if it has a complete answer, or any part of a stream."""
        try:
            answer = record_answer(self._status, self._headers, self._decompressed(), self._secret)
        # A ValidationError: the answer of a mock that no service can send, such as status 100.
        except (httpx.DecodingError, ValidationError):
            return
        # Clients may stop reading at the end marker, before the end of the body.
        if answer.events is not None and end != "done" and not any(is_last(event) for event in answer.events):
            answer = answer.model_copy(update={"ended": end})
        if answer.events is not None or end == "done":
            yield RecordedCall(request=self._request, response=answer)

    def _decompressed(self) -> list[tuple[float, bytes]]:
        chunks = list(self._chunks)
        if self._encoding in {"", "identity"} or not chunks:
            return chunks
        moment = 0.0

        def compressed() -> Iterator[bytes]:
            nonlocal moment
            for moment, chunk in chunks:  # noqa: B007 - read below, with each decompressed piece
                yield chunk

        response = httpx.Response(200, headers={"content-encoding": self._encoding}, content=compressed())
        return [(moment, piece) for piece in response.iter_bytes()]
