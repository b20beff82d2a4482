"""A loopback server for a handler of httpx requests, with the standard library alone."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, create_connection, socket
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Callable, cast

import httpx

if TYPE_CHECKING:
    from collections.abc import Generator

Handler = Callable[[httpx.Request], httpx.Response]


@contextmanager
def serve(handler: Handler, port: int = 0) -> Generator[str, None, None]:
    """Serve on a loopback port until the block is left; yield the address.

    What the handler, or the body that it returns, raises of httpx really happens on the port: a timeout is silence
    until the client leaves or the block is left, any other `httpx.TransportError` closes the connection there.
    """
    with _Server(handler, port) as server:
        thread = threading.Thread(target=server.accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.stop()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Calls may come many at once.
    request_queue_size = 128
    # Seconds between two looks at whether to stop; `stop` does not wait for them.
    timeout = 0.5

    def __init__(self, handler: Handler, port: int) -> None:
        self.handler = handler
        self._open: set[socket] = set()
        self._lock = threading.Lock()
        self._is_stopping = False
        super().__init__(("127.0.0.1", port), _Visit)

    def server_bind(self) -> None:
        # Not super(): http.server asks the name service what 127.0.0.1 is called, which may take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    # Not serve_forever(): shutdown() takes as long as its next look, and every test that serves would wait for that.
    def accept(self) -> None:
        """Serve until told to stop."""
        while not self._is_stopping:
            self.handle_request()

    def stop(self) -> None:
        """Tell `accept` to return, and wake it with a visitor."""
        self._is_stopping = True
        with suppress(OSError):
            create_connection(("127.0.0.1", self.server_port)).close()

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

    def server_close(self) -> None:
        # Clients keep connections open; the threads that wait on them end when they are cut.
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(SHUT_RDWR)
        super().server_close()


class _Visit(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server_version = "FakeFetchHive"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing: a test's output is its own."""

    def handle(self) -> None:
        # A client may go away at any time, which is nobody's fault.
        with suppress(ConnectionError):
            super().handle()

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The standard library looks for do_GET, do_POST and so on: the handler knows what to do with each.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        try:
            request = self._read_request()
        except (ValueError, httpx.InvalidURL):
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        try:
            self._send(cast("_Server", self.server).handler(request))
        except httpx.TimeoutException:
            self._fall_silent()
        except httpx.TransportError:
            self.close_connection = True

    def _fall_silent(self) -> None:
        self.close_connection = True
        # Until the client leaves, or the server closes.
        while self.connection.recv(4096):
            pass

    def _read_request(self) -> httpx.Request:
        length = int(self.headers.get("Content-Length") or 0)
        if length < 0 or "Transfer-Encoding" in self.headers:
            raise ValueError("a body must come with its length")
        return httpx.Request(
            self.command,
            f"http://{self.headers.get('Host', 'localhost')}{self.path}",
            headers=list(self.headers.items()),
            content=self.rfile.read(length),
        )

    def _send(self, response: httpx.Response) -> None:
        if response.is_stream_consumed:
            self._send_whole(response)
        else:
            self._send_in_pieces(response)

    def _send_head(self, response: httpx.Response) -> None:
        self.send_response(response.status_code)
        for name, value in response.headers.items():
            self.send_header(name, value)

    def _send_whole(self, response: httpx.Response) -> None:
        self._send_head(response)
        # httpx writes no length of an empty body, and without one a client waits for more.
        if "content-length" not in response.headers and response.status_code != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(response.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.content)

    def _send_in_pieces(self, response: httpx.Response) -> None:
        self._send_head(response)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # An empty chunk would be the last one.
        for piece in filter(None, response.iter_raw()):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")
