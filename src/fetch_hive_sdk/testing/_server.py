"""A threaded HTTP server on a loopback port for a handler of httpx requests. h11 parses HTTP."""

from __future__ import annotations

import socketserver
import sys
import threading
import time
import traceback
from contextlib import closing, contextmanager, suppress
from email.utils import formatdate
from http import HTTPStatus
from socket import IPPROTO_TCP, MSG_PEEK, SHUT_RDWR, SHUT_WR, TCP_NODELAY, create_connection, socket
from typing import TYPE_CHECKING, Any, Callable, Optional, cast

import h11
import httpx

from fetch_hive_sdk._text import in_one_line

from ._reply import json_reply

if TYPE_CHECKING:
    from collections.abc import Generator

Handler = Callable[[httpx.Request], httpx.Response]

_MAX_HEAD = 64 * 1024
_MAX_BODY = 256 * 1024 * 1024
_WITHOUT_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_STATUSES = {status.value for status in HTTPStatus}
_READ_SIZE = 64 * 1024
_LINGER_SECONDS = 1.0
_LINGER_READS = 256


@contextmanager
def serve(handler: Handler, port: int = 0) -> Generator[str, None, None]:
    """Serve on a loopback port until the block is left; yield the address.

    Errors of httpx that the handler or the response body raises become faults on the port: a timeout keeps the
    connection open without an answer, any other `httpx.TransportError` closes it. Any other error is printed on one
    line, and answered with a 500 if the answer has not begun.
    """
    with _Server(handler, port) as server:
        thread = threading.Thread(target=server.accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.stop()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    # Room for many concurrent connections.
    request_queue_size = 128
    # Seconds between checks whether to stop; `stop` need not wait for them.
    timeout = 0.5

    def __init__(self, handler: Handler, port: int) -> None:
        self.handler = handler
        self._open: set[socket] = set()
        self._lock = threading.Lock()
        self._is_stopping = False
        super().__init__(("127.0.0.1", port), _Connection)

    # Not serve_forever(): its shutdown() waits for the next poll, which would slow down every test with a server.
    def accept(self) -> None:
        """Serve until `stop` is called."""
        while not self._is_stopping:
            self.handle_request()

    def stop(self) -> None:
        """Stop `accept`, waking it with a connection."""
        self._is_stopping = True
        with suppress(OSError):
            create_connection(("127.0.0.1", self.server_address[1])).close()

    def get_request(self) -> tuple[socket, Any]:
        try:
            return super().get_request()
        except OSError:
            # Without file descriptors the connection stays in the queue, and accept() would spin.
            time.sleep(0.05)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - as in the standard library
        return not self._is_stopping

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as in the standard library
        _report_error()

    def server_close(self) -> None:
        # Close the connections that clients keep open, which ends the threads reading from them.
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(SHUT_RDWR)
        super().server_close()


def _report_error() -> str:
    """Print the error that is being handled on one line, and return its description."""
    _, error, frames = sys.exc_info()
    place = traceback.extract_tb(frames)[-1]
    problem = in_one_line(f"the server failed: {type(error).__name__}: {error} ({place.filename}:{place.lineno})")
    with suppress(OSError, ValueError):  # stderr may be closed
        print(f"fetch-hive: {problem}", file=sys.stderr, flush=True)  # noqa: T201 - no caller to raise it to
    return problem


class _RefusedRequest(Exception):  # noqa: N818 - not an error of this program
    """An invalid request, which is answered without calling the handler."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.reply = json_reply(status, {"error": reason, "message": reason})


class _Connection(socketserver.BaseRequestHandler):
    """Serves one client until it disconnects."""

    request: socket

    def handle(self) -> None:
        self.request.setsockopt(IPPROTO_TCP, TCP_NODELAY, True)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        # A client may disconnect at any time.
        with suppress(ConnectionError):
            while self._answer():
                self._http.start_next_cycle()

    def _answer(self) -> bool:
        """Answer a request; return whether the connection can be kept."""
        try:
            request = self._receive()
            if request is None:
                return False
            with closing(self._respond(request)) as response:
                self._send(response, request.method)
        except _RefusedRequest as exc:
            self._send(exc.reply.respond(httpx.Request("POST", "")), "POST")
            self._let_finish()
            return False
        except httpx.TimeoutException:
            # Keep the connection open until the client disconnects or the server stops.
            while self.request.recv(_READ_SIZE):
                pass
            return False
        except httpx.TransportError:
            return False
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _respond(self, request: httpx.Request) -> httpx.Response:
        try:
            return cast("_Server", self.server).handler(request)
        except httpx.TransportError:
            raise
        # A bug of the fake or of a function that scripts an answer, or pytest's Failed. The error of this thread would
        # be reported for whatever test runs at that moment.
        except BaseException:  # noqa: BLE001 - as above
            problem = _report_error()
            return json_reply(500, {"error": problem, "message": problem}).respond(request)

    def _let_finish(self) -> None:
        # Closing while the client is still sending would discard the answer.
        self.request.shutdown(SHUT_WR)
        self.request.settimeout(_LINGER_SECONDS)
        with suppress(OSError):
            for _ in range(_LINGER_READS):
                if not self.request.recv(_READ_SIZE):
                    break

    def _receive(self) -> Optional[httpx.Request]:
        """Read a request; return None if the client disconnected."""
        try:
            head = self._read_event()
            if not isinstance(head, h11.Request):
                return None
            host = dict(head.headers).get(b"host", b"localhost")
            url = httpx.URL(f"http://{host.decode()}{head.target.decode()}")
            body = self._read_body(dict(head.headers).get(b"content-length", b"0"))
        except h11.RemoteProtocolError as exc:
            raise _RefusedRequest(exc.error_status_hint, str(exc)) from None
        except (ValueError, httpx.InvalidURL):
            raise _RefusedRequest(HTTPStatus.BAD_REQUEST, "The host or the path is invalid") from None
        extensions = {"has_left": self._has_left}
        return httpx.Request(head.method.decode(), url, headers=list(head.headers), content=body, extensions=extensions)

    def _has_left(self) -> bool:
        """Whether the client has closed its connection."""
        try:
            self.request.setblocking(False)
            try:
                return not self.request.recv(1, MSG_PEEK)
            except BlockingIOError:
                return False
            finally:
                self.request.setblocking(True)
        except OSError:  # it was reset, or the server closed it
            return True

    def _read_body(self, length: bytes) -> bytes:
        body = bytearray()
        while int(length) <= _MAX_BODY and len(body) <= _MAX_BODY:
            event = self._read_event()
            if not isinstance(event, h11.Data):
                return bytes(body)
            body += event.data
        raise _RefusedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body exceeds {_MAX_BODY} bytes")

    def _read_event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[]))
            self._http.receive_data(self.request.recv(_READ_SIZE))

    def _send(self, response: httpx.Response, method: str) -> None:
        status = response.status_code
        headers = [*response.headers.raw, (b"Server", b"FakeFetchHive"), (b"Date", formatdate(usegmt=True).encode())]
        # Not response.content, which httpx has decompressed though the headers declare a compression.
        content = b"".join(response.stream) if isinstance(response.stream, httpx.ByteStream) else None
        if content is not None and "content-length" not in response.headers and status not in _WITHOUT_BODY:
            headers.append((b"Content-Length", str(len(content)).encode()))
        reason = HTTPStatus(status).phrase if status in _STATUSES else ""
        self._write(h11.Response(status_code=status, headers=headers, reason=reason.encode()))
        if method != "HEAD" and status not in _WITHOUT_BODY:
            for piece in response.iter_raw() if content is None else [content]:
                self._write(h11.Data(data=piece))
        self._write(h11.EndOfMessage())

    def _write(self, event: h11.Event) -> None:
        self.request.sendall(self._http.send(event) or b"")
