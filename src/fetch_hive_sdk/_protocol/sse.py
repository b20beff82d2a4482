"""Bytes in, event payloads out. Performs no I/O and knows nothing of models.

Server-sent events as in the WHATWG specification (HTML, section 9.2.6 "Interpreting an event stream"), without the
parts that this API does not use: ids, reconnection times and event names other than `error` are ignored, and events
without data are skipped.
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
    """The payload of an event with the name `error`."""

    __slots__ = ()


class EventDecoder:
    """Splits an event stream into the payloads of its events. The chunking of the bytes does not matter.

    Never decodes to `str`: lines of an event stream end with LF, CR or CRLF, but `str.splitlines` has more line ends.

    Args:
        max_event_bytes: The maximum size of an event, in bytes.
    """

    __slots__ = ("_after_cr", "_data", "_first_line", "_is_between_events", "_is_error", "_line", "_max_event_bytes")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        # An incomplete line is buffered and copied once, when it is complete. `beginning + chunk` would copy a long
        # line for every chunk.
        self._line = BytesIO()
        # The data of the event so far. The first line needs no copy; only a second line needs a buffer.
        self._data: Union[bytes, BytesIO, None] = None
        self._after_cr = False
        self._first_line = True
        self._is_between_events = True
        self._is_error = False

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Add the next bytes; return the payload of every event that they complete. Iterate over all of them.

        Raises:
            ResponseTooLargeError: An event is longer than `max_event_bytes`.

        """
        # The fast path for a chunk with one event of one line, which is what servers usually send: 0.6 instead of 1.3
        # microseconds per event.
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

    def _feed_lines(self, chunk: bytes) -> Iterator[bytes]:  # noqa: C901 - there are five kinds of lines
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        *lines, rest = chunk.split(b"\n")
        if lines and self._line.tell():
            self._keep(lines[0])
            lines[0] = self._take_line()
        if lines and self._first_line:
            self._first_line = False
            lines[0] = _without_byte_order_mark(lines[0])
        # A local variable: a method call for each line would take a third longer.
        data = self._data
        for line in lines:
            if line.startswith(b"data: "):
                data = line[6:] if data is None else self._join(data, line[6:])
            elif not line:
                if data:
                    yield self._as_payload(data if isinstance(data, bytes) else data.getvalue())
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
        """Return the data of an incomplete event at the end of the stream; empty if there is none."""
        line = self._take_line()
        if line:
            # Ends the line but not the event, so there is no payload yet.
            list(self.feed(line + b"\n"))
        return self._as_payload(self._take_data())

    def _as_payload(self, data: bytes) -> bytes:
        return ErrorPayload(data) if self._is_error else data

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Convert all line ends to LF, including a CRLF that is split between two chunks."""
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


def _without_byte_order_mark(first_line: bytes) -> bytes:
    return first_line[3:] if first_line.startswith(_BYTE_ORDER_MARK) else first_line
