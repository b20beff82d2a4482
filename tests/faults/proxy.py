"""An HTTP proxy on loopback. Does not import the SDK."""

from __future__ import annotations

import contextlib
import socket
import threading

from faults.server import LOOPBACK


class Proxy:
    """An HTTP proxy that opens every tunnel to a loopback port: a fixed one, or the port that the client requests."""

    def __init__(self, port=None):
        self.heads = []
        self._to = port
        self._listener = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._tunnel, args=(sock,), daemon=True).start()

    def _tunnel(self, sock):
        with contextlib.suppress(OSError), sock:
            head = b""
            while b"\r\n\r\n" not in head:
                received = sock.recv(65536)
                if not received:
                    return
                head += received
            self.heads.append(head)
            requested_port = int(head.split(b" ")[1].rpartition(b":")[2])
            with socket.create_connection((LOOPBACK, self._to or requested_port)) as other:
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self._copy, args=(other, sock), daemon=True)
                back.start()
                self._copy(sock, other)
                back.join()

    def _copy(self, source, sink):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                sink.sendall(data)
                if not data:
                    break
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
