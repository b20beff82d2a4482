"""Bytes in, event payloads out. Performs no I/O and knows nothing of models.

Server-sent events as the WHATWG text defines them (HTML, section 9.2.6 "Interpreting an event stream"), less what a
client of this API has no use for: event names, ids and reconnection times are read and dropped. An event without
data is none.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Union

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
        # The beginning of a line is kept in a buffer that is copied once, when the rest is there:
        # `beginning + chunk` would copy a long line again for every chunk.
        self._line = BytesIO()
        # The data of the event so far. The first line is kept as it is; only a second one needs a buffer.
        self._data: Union[bytes, BytesIO, None] = None
        self._after_cr = False
        self._first_line = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes and yield the payload of every event that they complete.

        Raises:
            ResponseTooLargeError: An event is longer than `max_event_bytes`.

        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        *lines, rest = chunk.split(b"\n")
        if lines and self._line.tell():
            self._keep(lines[0])
            lines[0] = self._take_line()
        if lines and self._first_line:
            self._first_line = False
            lines[0] = _without_mark(lines[0])
        for line in lines:
            if line.startswith(b"data:"):
                self._add_data(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line:
                payload = self._take_data()
                if payload:
                    yield payload
            elif line == b"data":
                self._add_data(b"")
        if rest:
            self._keep(rest)

    def finish(self) -> bytes:
        """Return the data of an event that the end of the stream cut short, empty if there is none."""
        line = self._take_line()
        if line:
            # Were the line to end here, it would be read like any other, and the event would go on: no payload yet.
            list(self.feed(line + b"\n"))
        return self._take_data()

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Make every line end a line feed, where one may begin in one chunk and end in the next."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _add_data(self, value: bytes) -> None:
        if self._data is None:
            self._data = value
            return
        self._check_size(len(value) + 1)
        if isinstance(self._data, bytes):
            several = BytesIO()
            several.write(self._data)
            self._data = several
        self._data.write(b"\n")
        self._data.write(value)

    def _take_data(self) -> bytes:
        data, self._data = self._data, None
        return data.getvalue() if isinstance(data, BytesIO) else data or b""

    def _keep(self, part: bytes) -> None:
        self._check_size(len(part))
        self._line.write(part)

    def _take_line(self) -> bytes:
        line, self._line = self._line.getvalue(), BytesIO()
        return line

    def _check_size(self, more: int) -> None:
        data = self._data
        held = self._line.tell() + (data.tell() if isinstance(data, BytesIO) else len(data or b""))
        if held + more > self._max_event_bytes:
            beginning = data.getvalue() if isinstance(data, BytesIO) else data or self._line.getvalue()
            raise ResponseTooLargeError(
                f"an event of the stream is longer than {self._max_event_bytes:,} bytes",
                body=beginning[:_EXCERPT_BYTES],
            )


def _without_mark(first_line: bytes) -> bytes:
    return first_line[3:] if first_line.startswith(_BYTE_ORDER_MARK) else first_line
