"""Bytes in, event payloads out. Performs no I/O and knows nothing of models.

Server-sent events as the WHATWG text defines them (HTML, section 9.2.6 "Interpreting an event stream"), less what a
client of this API has no use for: ids and reconnection times are read and dropped, and so are event names but for
`error`. An event without data is none.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Union

from fetch_hive_sdk.errors import ResponseTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_EVENT_BYTES = 16 * 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EXCERPT_BYTES = 64 * 1024
_EMPTY_EVENT_BYTES = len(b"data: \n\n")


class ErrorPayload(bytes):
    """The payload of an event whose name is `error`."""

    __slots__ = ()


class EventDecoder:
    """Cuts an event stream into the payloads of its events, however the bytes arrive.

    Never decodes to `str`: only LF, CR and CRLF end a line of an event stream, and `str.splitlines` knows many more.

    Args:
        max_event_bytes: How long an event may be, in bytes.
    """

    __slots__ = ("_after_cr", "_data", "_first_line", "_is_between_events", "_is_error", "_line", "_max_event_bytes")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        # The beginning of a line is kept in a buffer that is copied once, when the rest is there:
        # `beginning + chunk` would copy a long line again for every chunk.
        self._line = BytesIO()
        # The data of the event so far. The first line is kept as it is; only a second one needs a buffer.
        self._data: Union[bytes, BytesIO, None] = None
        self._after_cr = False
        self._first_line = True
        self._is_between_events = True
        self._is_error = False

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Take the next bytes and give the payload of every event that they complete. Iterate over it to the end.

        Raises:
            ResponseTooLargeError: An event is longer than `max_event_bytes`.

        """
        # Services write one event at a time, as one line: for that, the rules below come down to this, at half the
        # cost (0.6 instead of 1.3 microseconds an event).
        if (
            self._is_between_events
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and b"\r" not in chunk
        ):
            self._first_line = False
            return (chunk[6:-2],) if len(chunk) > _EMPTY_EVENT_BYTES else ()
        return self._feed_lines(chunk)

    def _feed_lines(self, chunk: bytes) -> Iterator[bytes]:  # noqa: C901 - a line is of one kind of five
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        *lines, rest = chunk.split(b"\n")
        if lines and self._line.tell():
            self._keep(lines[0])
            lines[0] = self._take_line()
        if lines and self._first_line:
            self._first_line = False
            lines[0] = _without_mark(lines[0])
        # In a local name: a method for each line would cost an event a third more.
        data = self._data
        for line in lines:
            if line.startswith(b"data: "):
                data = line[6:] if data is None else self._join(data, line[6:])
            elif not line:
                if data:
                    yield self._named(data if isinstance(data, bytes) else data.getvalue())
                data = None
                self._is_error = False
            elif line.startswith(b"data:") or line == b"data":
                data = line[5:] if data is None else self._join(data, line[5:])
            elif line.startswith(b"event"):
                self._is_error = line in {b"event: error", b"event:error"}
        self._data = data
        if rest:
            self._keep(rest)
        self._is_between_events = data is None and not self._after_cr and not self._line.tell() and not self._is_error

    def finish(self) -> bytes:
        """Return the data of an event that the end of the stream cut short, empty if there is none."""
        line = self._take_line()
        if line:
            # Were the line to end here, it would be read like any other, and the event would go on: no payload yet.
            list(self.feed(line + b"\n"))
        return self._named(self._take_data())

    def _named(self, data: bytes) -> bytes:
        return ErrorPayload(data) if self._is_error else data

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Make every line end a line feed, where one may begin in one chunk and end in the next."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _join(self, data: Union[bytes, BytesIO], value: bytes) -> BytesIO:
        self._check_size(data, len(value) + 1)
        if isinstance(data, bytes):
            first, data = data, BytesIO()
            data.write(first)
        data.write(b"\n")
        data.write(value)
        return data

    def _take_data(self) -> bytes:
        data, self._data = self._data, None
        return data.getvalue() if isinstance(data, BytesIO) else data or b""

    def _keep(self, part: bytes) -> None:
        self._check_size(self._data or b"", len(part))
        self._line.write(part)

    def _take_line(self) -> bytes:
        line, self._line = self._line.getvalue(), BytesIO()
        return line

    def _check_size(self, data: Union[bytes, BytesIO], more: int) -> None:
        held = self._line.tell() + (len(data) if isinstance(data, bytes) else data.tell())
        if held + more > self._max_event_bytes:
            beginning = data if isinstance(data, bytes) else data.getvalue()
            raise ResponseTooLargeError(
                f"an event of the stream is longer than {self._max_event_bytes:,} bytes",
                body=(beginning or self._line.getvalue())[:_EXCERPT_BYTES],
            )


def _without_mark(first_line: bytes) -> bytes:
    return first_line[3:] if first_line.startswith(_BYTE_ORDER_MARK) else first_line
