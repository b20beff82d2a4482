"""The body of an answer, collected piece by piece within a bound, its compression undone. Performs no I/O."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from fetch_hive_sdk.errors import ResponseDecodeError, ResponseTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_REFUSAL_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_GZIP = zlib.MAX_WBITS | 16
_MAGIC = b"\x1f\x8b"  # how a member of gzip data begins


class BodyReader:
    """Collects a body piece by piece, its compression undone, within a bound.

    httpx would inflate a whole piece at once, a thousand times its size if somebody means ill.

    Args:
        content_encoding: The header of that name, or empty.
        max_bytes: How long the body may be, in bytes after decompression.
    """

    def __init__(self, content_encoding: str = "", max_bytes: int = MAX_BODY_BYTES) -> None:
        self._inflate = Inflater(content_encoding)
        self._max_bytes = max_bytes
        self._body = BytesIO()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            ResponseTooLargeError: There are more than `max_bytes`.
            ResponseDecodeError: They are not compressed as the header says.

        """
        try:
            for piece in self._inflate.feed(chunk):
                if self._body.tell() + len(piece) > self._max_bytes:
                    excerpt = bytes(self._body.getbuffer()[:_PIECE_BYTES])
                    raise ResponseTooLargeError(f"the answer is longer than {self._max_bytes:,} bytes", body=excerpt)
                self._body.write(piece)
        except ResponseDecodeError as error:
            error.body = self.so_far() or error.body  # rather what could be read than where it broke
            raise

    def finish(self) -> bytes:
        """Return the whole body.

        Raises:
            ResponseDecodeError: The compressed data ended early.

        """
        body = self.so_far()
        self._inflate.finish(body)
        return body

    def so_far(self) -> bytes:
        """Return what has been received."""
        return self._body.getvalue()


class Inflater:
    """Undoes `Content-Encoding: gzip` in pieces of 64 KiB at most, so that a bomb is met piece by piece.

    RFC 1952 section 2.2: gzip data is a series of members, one after the other. A service that flushes by member
    begins another one for each event.
    """

    def __init__(self, content_encoding: str) -> None:
        self._encoding = content_encoding.strip().lower()
        self._is_zipped = self._encoding in {"gzip", "x-gzip"}
        self._member = zlib.decompressobj(_GZIP)
        self._between = b""  # what came after the end of a member, while it is too short to tell what it is
        self._padding = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes and yield what they contain.

        Raises:
            ResponseDecodeError: They are not compressed as the header says, or in a way that was not asked for, or go
                on and on after the end of the compressed data.

        """
        if not self._is_zipped:
            if self._encoding not in {"", "identity"}:
                raise ResponseDecodeError(f"the answer is compressed with {self._encoding[:20]!r}", body=chunk)
            yield chunk
            return
        while chunk:
            if self._member.eof:
                chunk = self._begin_member(self._between + chunk)
                continue
            try:
                piece = self._member.decompress(chunk, _PIECE_BYTES)
            except zlib.error as exc:
                raise ResponseDecodeError("the answer is not the gzip data that its header says", body=chunk) from exc
            # One of them is empty: the first until the end of the member, the second after it.
            chunk = self._member.unused_data or self._member.unconsumed_tail
            yield piece

    def _begin_member(self, rest: bytes) -> bytes:
        """Take what comes after the end of a member; return the beginning of the next one, if it is there."""
        self._between = b""
        # After anything else, what looks like a member is part of that: how the bytes are cut must not decide.
        if rest.startswith(_MAGIC) and not self._padding:
            self._member = zlib.decompressobj(_GZIP)
            return rest
        if _MAGIC.startswith(rest) and not self._padding:
            self._between = rest
            return b""
        self._padding += len(rest)
        if self._padding > _PIECE_BYTES:
            raise ResponseDecodeError("the answer goes on after the end of its gzip data", body=rest)
        return b""

    def finish(self, body: bytes) -> None:
        """Check that the compressed data is whole.

        Raises:
            ResponseDecodeError: It ended early.

        """
        if self._is_zipped and not self._member.eof:
            raise ResponseDecodeError("the gzip data of the answer ended early", body=body)


def content_encoding(response: httpx.Response) -> str:
    """Return how the chunks of this response are compressed, empty if they are not."""
    # A response that somebody has read (an event hook, a mock) gives its body decoded.
    return "" if response.is_stream_consumed else str(response.headers.get("content-encoding", ""))


def content_type(response: httpx.Response) -> str:
    """Return the media type of a response, empty if it has none."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
