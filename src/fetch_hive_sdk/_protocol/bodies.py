"""Collects and decompresses the body of a response, up to a size limit. Performs no I/O."""

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
_MAGIC = b"\x1f\x8b"  # the first bytes of a gzip member


class BodyReader:
    """Collects and decompresses a body chunk by chunk, up to a size limit.

    httpx would decompress a whole chunk at once, which a gzip bomb can expand to a thousand times its size.

    Args:
        content_encoding: The `Content-Encoding` header, or empty.
        max_bytes: The maximum size of the body after decompression, in bytes.
    """

    def __init__(self, content_encoding: str = "", max_bytes: int = MAX_BODY_BYTES) -> None:
        self._inflate = Inflater(content_encoding)
        self._max_bytes = max_bytes
        self._body = BytesIO()

    def feed(self, chunk: bytes) -> None:
        """Add the next bytes.

        Raises:
            ResponseTooLargeError: The body is longer than `max_bytes`.
            ResponseDecodeError: The bytes do not match the `Content-Encoding` header.

        """
        try:
            for piece in self._inflate.feed(chunk):
                if self._body.tell() + len(piece) > self._max_bytes:
                    excerpt = bytes(self._body.getbuffer()[:_PIECE_BYTES])
                    raise ResponseTooLargeError(f"the answer is longer than {self._max_bytes:,} bytes", body=excerpt)
                self._body.write(piece)
        except ResponseDecodeError as error:
            error.body = self.so_far() or error.body  # the decompressed beginning is more useful than the broken chunk
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
    """Decompresses `Content-Encoding: gzip` in pieces of at most 64 KiB, so that a gzip bomb cannot fill the memory.

    RFC 1952 section 2.2: gzip data is a series of members. Some servers write each event as a member of its own.
    """

    def __init__(self, content_encoding: str) -> None:
        self._encoding = content_encoding.strip().lower()
        self._is_gzip = self._encoding in {"gzip", "x-gzip"}
        self._member = zlib.decompressobj(_GZIP)
        self._between = b""  # bytes after a member that are too few to tell whether another member begins
        self._padding = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Decompress the next bytes and yield the result.

        Raises:
            ResponseDecodeError: The bytes do not match the `Content-Encoding` header, the encoding is not supported,
                or too many bytes follow the compressed data.

        """
        if not self._is_gzip:
            if self._encoding not in {"", "identity"}:
                message = f"the answer is compressed with {self._encoding[:20]!r}, which is not supported"
                raise ResponseDecodeError(message, body=chunk)
            yield chunk
            return
        while chunk:
            if self._member.eof:
                chunk = self._begin_member(self._between + chunk)
                continue
            try:
                piece = self._member.decompress(chunk, _PIECE_BYTES)
            except zlib.error as exc:
                message = "the answer is not valid gzip data, although its Content-Encoding is gzip"
                raise ResponseDecodeError(message, body=chunk) from exc
            # One of them is empty: `unused_data` until the end of the member, `unconsumed_tail` after it.
            chunk = self._member.unused_data or self._member.unconsumed_tail
            yield piece

    def _begin_member(self, rest: bytes) -> bytes:
        """Handle the bytes after a member; return the beginning of the next member, if there is one."""
        self._between = b""
        # After other bytes, a member is padding too: otherwise the result would depend on how the bytes are chunked.
        if rest.startswith(_MAGIC) and not self._padding:
            self._member = zlib.decompressobj(_GZIP)
            return rest
        if _MAGIC.startswith(rest) and not self._padding:
            self._between = rest
            return b""
        self._padding += len(rest)
        if self._padding > _PIECE_BYTES:
            raise ResponseDecodeError("the answer has more bytes after the end of its gzip data", body=rest)
        return b""

    def finish(self, body: bytes) -> None:
        """Check that the compressed data is complete.

        Raises:
            ResponseDecodeError: The compressed data ended early.

        """
        if self._is_gzip and not self._member.eof:
            raise ResponseDecodeError("the gzip data of the answer ended early", body=body)


def content_encoding(response: httpx.Response) -> str:
    """Return the compression of the chunks of a response; empty if there is none."""
    # A response that was read before (by an event hook or a mock) yields its body decompressed.
    return "" if response.is_stream_consumed else str(response.headers.get("content-encoding", ""))


def content_type(response: httpx.Response) -> str:
    """Return the media type of a response; empty if it has none."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
