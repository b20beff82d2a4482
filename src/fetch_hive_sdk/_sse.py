"""Bytes in, event payloads out. Performs no I/O and knows nothing of models.

Server-sent events as the WHATWG text defines them (HTML, section 9.2.6 "Interpreting an event stream"), less what a
client of this API has no use for: event names, ids and reconnection times are read and dropped. An event without
data is none.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Optional

from .errors import ResponseTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EVENT_BYTES = 16 * 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EXCERPT_BYTES = 64 * 1024


class EventDecoder:
    """Cuts an event stream into the payloads of its events, however the bytes arrive.

    Never decodes to `str`: only LF, CR and CRLF end a line of an event stream, and `str.splitlines` knows many more.

    Args:
        max_event_bytes: How long an event may be, in bytes.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        # Beginnings are kept in a buffer that is copied once, when the rest is there:
        # `pending + chunk` would copy a long line again for every chunk.
        self._line = BytesIO()
        self._data: Optional[BytesIO] = None
        self._after_cr = False
        self._first_line = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes and yield the payload of every event that they complete.

        Raises:
            ResponseTooLargeError: An event is longer than `max_event_bytes`.

        """
        chunk = self._with_line_feeds(chunk)
        if b"\n" not in chunk:
            self._keep(chunk)
            return
        *lines, rest = chunk.split(b"\n")
        if self._line.tell():
            self._keep(lines[0])
            lines[0] = self._take_line()
        for line in lines:
            payload = self._read_line(line)
            if payload:
                yield payload
        self._keep(rest)

    def finish(self) -> bytes:
        """Return the data of an event that the end of the stream cut short, empty if there is none."""
        line = self._take_line()
        if line:
            self._read_line(line)
        return self._take_data()

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Make every line end a line feed, where one may begin in one chunk and end in the next."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._after_cr = self._after_cr and not chunk
        return chunk

    def _read_line(self, line: bytes) -> bytes:
        """Take a whole line; return a payload if the line ended an event that has one."""
        if self._first_line:
            self._first_line = False
            if line.startswith(_BYTE_ORDER_MARK):
                line = line[3:]
        if not line:
            return self._take_data()
        if line.startswith(b"data:"):
            self._add_data(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            self._add_data(b"")
        return b""

    def _add_data(self, value: bytes) -> None:
        if self._data is None:
            # BytesIO shares the bytes it is made of until they are changed: one line of data is never copied.
            self._data = BytesIO(value)
            self._data.seek(len(value))
        else:
            self._check_size(len(value) + 1)
            self._data.write(b"\n")
            self._data.write(value)

    def _take_data(self) -> bytes:
        if self._data is None:
            return b""
        data, self._data = self._data.getvalue(), None
        return data

    def _keep(self, part: bytes) -> None:
        self._check_size(len(part))
        self._line.write(part)

    def _take_line(self) -> bytes:
        line, self._line = self._line.getvalue(), BytesIO()
        return line

    def _check_size(self, more: int) -> None:
        held = self._line.tell() + (self._data.tell() if self._data else 0)
        if held + more > self._max_event_bytes:
            beginning = self._data or self._line
            raise ResponseTooLargeError(
                f"an event of the stream is longer than {self._max_event_bytes:,} bytes",
                body=bytes(beginning.getbuffer()[:_EXCERPT_BYTES]),
            )
