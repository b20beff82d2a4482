"""A file as a multipart body: opened again for each attempt and read while it is sent."""

from __future__ import annotations

import mimetypes
import os
import secrets
from io import BytesIO
from typing import IO, Any, Callable, Optional, Union, cast

from fetch_hive_sdk._protocol.requests import Body, Upload

Content = Union[bytes, IO[bytes]]
File = Union[str, "os.PathLike[str]", Content, "tuple[str, Content]"]
"""A path, bytes, a file opened in binary mode, or a tuple of a name and bytes or an open file."""

Progress = Callable[[int, int], None]
"""Called with the number of bytes sent and the total."""


def multipart(
    file: File,
    file_name: Optional[str],
    content_type: Optional[str],
    part_name: str,
    progress: Optional[Progress],
) -> Body:
    """Return a multipart body with one file. The file is opened when the request is sent.

    Raises:
        ValueError: `file` is not a file, or its length is unknown.

    """
    own_name, opener = _read_file(file)
    name = file_name or own_name
    kind = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    for what, text in (("file_name", name), ("content_type", kind), ("part_name", part_name)):
        if not isinstance(cast("object", text), str) or not text or not text.isprintable():
            raise ValueError(f"{what} must be a string without line breaks")
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{_quote(part_name)}"; filename="{_quote(name)}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()

    def begin() -> Upload:
        return _Form(opener(), head, tail, progress).upload()

    return Body(begin, media_type=f"multipart/form-data; boundary={boundary}", fields={"file_name": name})


def _quote(text: str) -> str:
    # https://html.spec.whatwg.org/#multipart-form-data: an unescaped quote would end the value.
    return text.replace('"', "%22")


class _OpenFile:
    """A file opened for one attempt."""

    def __init__(self, file: IO[bytes], length: int, *, is_ours: bool) -> None:
        self.file = file
        self.length = length
        self.close: Callable[[], None] = file.close if is_ours else lambda: None


class _Form:
    """The bytes of a multipart body: head, file, tail."""

    def __init__(self, opened: _OpenFile, head: bytes, tail: bytes, progress: Optional[Progress]) -> None:
        self._opened = opened
        self._head = BytesIO(head)
        self._tail = BytesIO(tail)
        self._left = opened.length
        self._reported = opened.length
        self._progress = progress
        self._length = len(head) + opened.length + len(tail)

    def upload(self) -> Upload:
        return Upload(self._read, self._length, self._opened.close, note=self._report, read_in_thread=_read_in_thread)

    def _read(self, size: int) -> bytes:
        piece = self._head.read(size)
        if piece:
            return piece
        if not self._left:
            return self._tail.read(size)
        piece = self._opened.file.read(min(size, self._left))
        self._left -= len(piece)
        return piece

    def _report(self) -> None:
        if self._progress is not None and self._left < self._reported:
            self._reported = self._left
            self._progress(self._opened.length - self._left, self._opened.length)


async def _read_in_thread(read: Callable[[], bytes]) -> bytes:
    from anyio import to_thread  # noqa: PLC0415 - blocking programs do not need it

    # A slow disk must not block the event loop. Cancellation waits for the read to finish, so the file is not closed
    # during it.
    return await to_thread.run_sync(read)


def _read_file(file: File) -> tuple[str, Callable[[], _OpenFile]]:
    given: Any = file
    if isinstance(given, (str, os.PathLike)):
        path: str = os.fspath(given)
        return os.path.basename(path), lambda: _open_path(path)  # noqa: PTH119 - the Path may be of another operating system
    if isinstance(given, tuple):
        pair = cast("tuple[object, ...]", given)
        if len(pair) != 2 or not isinstance(pair[0], str):  # noqa: PLR2004 - a pair
            raise ValueError("a file given as a tuple must be (name, content): a string, then bytes or an open file")
        return pair[0], _read_content(pair[1])
    name = getattr(given, "name", None)
    return os.path.basename(name) if isinstance(name, str) and name else "file", _read_content(given)  # noqa: PTH119 - only a name


def _open_path(path: str) -> _OpenFile:
    file = open(path, "rb")  # noqa: SIM115, PTH123 - closed by the upload
    return _OpenFile(file, os.fstat(file.fileno()).st_size, is_ours=True)


def _read_content(content: object) -> Callable[[], _OpenFile]:
    if isinstance(content, (bytes, bytearray)):
        data = bytes(content)
        return lambda: _OpenFile(BytesIO(data), len(data), is_ours=True)
    if not hasattr(content, "read"):
        raise ValueError("file must be a path, bytes, a file opened in binary mode, or a tuple (name, content)")
    file = cast("IO[bytes]", content)
    try:
        start = file.tell()
        length = file.seek(0, os.SEEK_END) - start
        file.seek(start)
    except (OSError, AttributeError, ValueError):
        raise ValueError("the length of the file is unknown: pass its bytes, or a seekable file") from None
    if not isinstance(cast("object", file.read(0)), bytes):
        raise ValueError("file must be opened in binary mode")  # noqa: TRY004 - all invalid arguments raise ValueError

    def begin() -> _OpenFile:
        file.seek(start)
        return _OpenFile(file, length, is_ours=False)

    return begin
