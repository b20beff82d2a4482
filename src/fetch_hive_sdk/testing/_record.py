"""Records the calls of a client, or of anything that calls through a proxy on a loopback port."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Callable, Optional

import httpx

from fetch_hive_sdk._net.proxies import loopback_mounts
from fetch_hive_sdk._session import wrap_sender

from ._cassette import File, RecordedCall, RecordedRequest, Redact, is_over, keep_answer, keep_request, secrets_of
from ._cassette_writer import CassetteWriter
from ._reply import Reply, json_reply
from ._routes import path_of
from ._server import serve
from ._watch import WatchedBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Iterator

    from fetch_hive_sdk import FetchHive

    from ._watch import End

Send = Callable[[httpx.Request], httpx.Response]
AsyncSend = Callable[[httpx.Request], "Awaitable[httpx.Response]"]

_KEPT_HEADERS = ("content-type", "retry-after")
_DIGITS = 3  # of the seconds: finer than that is noise
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_CONNECT_SECONDS = 10.0
# What belongs to one connection, or is written again for the next.
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
    """Record the calls that a client makes in the block. Each is in the file when it ends.

    The calls go to the service as always: blocking and asyncio, streams with their pace, refusals and repetitions too.
    Only what was answered is kept, neither the key nor other headers of a request. Calls of clients made by
    `with_options` are recorded as well, because they share the connections. Threads may share the client.

    Args:
        path: The file: JSON Lines, one call a line. Its folder is made if it is not there. An older recording stays
            until the first call has been answered.
        client: The client.
        redact: Takes the JSON object of each request and returns what is kept in its place. `replay` needs the same
            function. It is called before a request is sent: if it fails, nothing has been paid for.

    Returns:
        The client, for `with record("file.json", FetchHive()) as client:`.

    Raises:
        RuntimeError: The client is being recorded already.
        OSError: The file cannot be written, or another recorder is writing it. What happens in the middle is raised at
            the end of the block, as the calls have been paid for.

    """
    recorder = _Recorder(client.base_url, redact)
    with wrap_sender(client, recorder), recorder.writing(path):
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
        return self._recorder.calls


@contextmanager
def recording_proxy(
    path: File, base_url: str, *, port: int = 0, redact: Optional[Redact] = None
) -> Generator[RecordingProxy, None, None]:
    """Record the calls of any program, in any language, that calls a loopback port in place of the service.

    Args:
        path: The file, as for `record`.
        base_url: Where the service is.
        port: The port; 0 for a free one.
        redact: As for `record`.

    Returns:
        The proxy. Its `url` is the `base_url` for clients, who send their own keys.

    Raises:
        OSError: The port is taken, the file cannot be written, or another recorder is writing it.

    """
    url = httpx.URL(base_url)
    recorder = _Recorder(base_url, redact)
    with ExitStack() as stack:
        stack.enter_context(recorder.writing(path))
        client = stack.enter_context(httpx.Client(mounts=loopback_mounts(url)))
        address = stack.enter_context(serve(_Forwarder(client, url, recorder).handle, port))
        yield RecordingProxy(f"{address}{recorder.base_path}", recorder)


class _Forwarder:
    """Passes requests on to the service, and its answers back as they come."""

    def __init__(self, client: httpx.Client, url: httpx.URL, recorder: _Recorder) -> None:
        self._client = client
        self._url = url
        self._recorder = recorder

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request with what the service answers."""
        try:
            return self._pass_back(self._recorder.send(self._pass_on, request))
        except _NOT_SENT as exc:
            # What clients take for a service that has not run anything: they may try again.
            return _fail(503, exc, {"Retry-After": "1"}).respond(request)
        except httpx.TransportError as exc:
            return _fail(502, exc).respond(request)

    def _pass_on(self, request: httpx.Request) -> httpx.Response:
        # Not the client's build_request: it adds headers of its own, and the cookies that another caller was given.
        onward = httpx.Request(
            request.method,
            self._url.copy_with(raw_path=request.url.raw_path),
            # A compression that the caller knows may be unknown here.
            headers=[*_end_to_end(request.headers, b"accept-encoding"), (b"accept-encoding", b"identity")],
            content=request.content,
            # No limit on reading: how long to wait for an answer is the caller's decision.
            extensions={"timeout": httpx.Timeout(None, connect=_CONNECT_SECONDS).as_dict()},
        )
        return self._client.send(onward, stream=True, follow_redirects=False)

    def _pass_back(self, response: httpx.Response) -> httpx.Response:
        status, headers = response.status_code, _end_to_end(response.headers)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return httpx.Response(status, headers=headers, stream=response.stream)
        with closing(response):
            content = b"".join(response.iter_raw())
        return Reply(status, headers, [content]).respond(response.request)


def _fail(status: int, exc: Exception, headers: Optional[dict[str, str]] = None) -> Reply:
    problem = f"no answer from the service: {str(exc) or type(exc).__name__}"
    return json_reply(status, {"error": problem, "message": problem}, headers)


def _end_to_end(headers: httpx.Headers, *others: bytes) -> list[tuple[bytes, bytes]]:
    # Pairs: cookies stand on lines of their own.
    return [(name, value) for name, value in headers.raw if name.lower() not in {*_HOP_BY_HOP, *others}]


class _Recorder:
    """Keeps each call when it ends. Threads and tasks may share it.

    Args:
        base_url: Where the service is; its path is left out of what is kept.
        redact: See `record`.
    """

    def __init__(self, base_url: str, redact: Optional[Redact]) -> None:
        self.base_path: str = path_of(base_url)
        self._redact = redact
        self._writer: Optional[CassetteWriter] = None
        self._under_way: set[_CallUnderWay] = set()
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """How many calls have been kept."""
        return 0 if self._writer is None else len(self._writer)

    @contextmanager
    def writing(self, path: File) -> Generator[None, None, None]:
        """Keep calls in a file until the block is left, then what is still under way, as far as it has come."""
        with CassetteWriter(path) as self._writer:
            try:
                yield
            finally:
                for call in sorted(self._under_way, key=lambda call: call.started):
                    self._keep(call, "left")

    def send(self, send: Send, request: httpx.Request) -> httpx.Response:
        """Send a request, and keep its answer."""
        call = self._begin(request)
        return self._listen(call, send(request))

    async def asend(self, send: AsyncSend, request: httpx.Request) -> httpx.Response:
        """Send a request, and keep its answer."""
        call = self._begin(request)
        return self._listen(call, await send(request))

    def _begin(self, request: httpx.Request) -> _CallUnderWay:
        return _CallUnderWay(request, keep_request(request, self.base_path, self._redact))

    def _listen(self, call: _CallUnderWay, response: httpx.Response) -> httpx.Response:
        """Take the head of an answer, and its body as it is read."""
        call.answer(response)
        self._under_way.add(call)
        if response.is_stream_consumed:  # a fake, or an event hook has read it
            call.note(response.content)
            self._keep(call, "done")
        else:
            response.stream = WatchedBody(response.stream, call.note, lambda end: self._keep(call, end))
        return response

    def _keep(self, call: _CallUnderWay, end: End) -> None:
        ended = time.monotonic()
        with self._lock:
            if call not in self._under_way or self._writer is None:
                return
            self._under_way.discard(call)
        for recorded in call.recorded(end):
            self._writer.append(recorded, started=call.started, ended=ended, asked=call.asked)


class _CallUnderWay:
    """What has come of a call so far."""

    def __init__(self, request: httpx.Request, kept: RecordedRequest) -> None:
        self.asked = str(sorted(kept.fields().items()))
        self.started = time.monotonic()
        self._request = kept
        self._secret = secrets_of(request)
        self._status = 0
        self._headers: dict[str, str] = {}
        self._encoding = ""
        self._chunks: list[tuple[float, bytes]] = []

    def answer(self, response: httpx.Response) -> None:
        """Take the head of the answer."""
        self._status = response.status_code
        self._headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        # Where the body has been read, its compression is undone.
        self._encoding = "" if response.is_stream_consumed else response.headers.get("content-encoding", "")

    def note(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        self._chunks.append((round(time.monotonic() - self.started, _DIGITS), chunk))

    def recorded(self, end: End) -> Iterator[RecordedCall]:
        """Yield the call if there is an answer to keep: a whole one, or what there is of a stream."""
        try:
            answer = keep_answer(self._status, self._headers, self._unpacked(), self._secret)
        except httpx.DecodingError:
            return
        # The client stops reading at the end marker, and does not always wait for the end of the body.
        if answer.events is not None and end != "done" and not any(is_over(event) for event in answer.events):
            answer = answer.model_copy(update={"ended": end})
        if answer.events is not None or end == "done":
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
