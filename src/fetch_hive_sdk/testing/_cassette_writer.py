"""Writes a cassette call by call, so that a crash loses only the calls that have not ended."""

from __future__ import annotations

import errno
import math
import os
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ._cassette import write_call

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from typing_extensions import Self

    from ._cassette import File, RecordedCall

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        # Windows prevents others from reading a locked range, so lock a byte far beyond the end.
        os.lseek(file, 2**40, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    @contextmanager
    def _excluding_forks(file: int) -> Generator[None, None, None]:  # noqa: ARG001 - as below
        yield

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @contextmanager
    def _excluding_forks(file: int) -> Generator[None, None, None]:
        # Unlike the lock above, this one is not shared with forked processes.
        fcntl.lockf(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN)


@dataclass(frozen=True)
class _Line:
    content: bytes
    started: float
    ended: float
    sort_key: str


class CassetteWriter:
    """Appends calls to a file as they end.

    The file is opened and locked at once, but an older recording is kept until the first call ends.
    Symbolic links and file modes are preserved. If a line cannot be written, the file keeps the lines before it, calls
    continue, and leaving the block raises the error. Forked processes append to the same file.

    Args:
        path: The file. A missing folder is created.

    Raises:
        OSError: The file cannot be written, or another recorder is writing to it.

    """

    def __init__(self, path: File) -> None:
        # Resolved now: the program may change its folder, and links must not be replaced.
        self._path = Path(os.path.realpath(path))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._is_new = not self._path.exists()
        # Shared with forked processes: locked by the one that writes, and not empty once a call is in the cassette.
        self._state = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the cassette
        try:
            self._file = self._open(os.fspath(path))
        except BaseException:
            self._state.close()
            raise
        self._process = os.getpid()
        self._lines: list[_Line] = []
        self._error: Optional[OSError] = None
        self._guard = threading.Lock()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._lines)

    def _open(self, name: str) -> int:
        while True:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            except OSError as exc:
                raise PermissionError(errno.EACCES, "the file is not writable", name) from exc
            try:
                _lock(file)
            except OSError as exc:
                # Any other error means that the file system does not support locks.
                if exc.errno in {errno.EAGAIN, errno.EACCES, errno.EDEADLK}:
                    os.close(file)
                    raise BlockingIOError(errno.EAGAIN, "another recorder is writing to this cassette", name) from None
            # The last recorder may have removed or replaced the file between the two lines above.
            if self._is_in_place(file):
                return file
            os.close(file)

    def _is_in_place(self, file: int) -> bool:
        """Whether a descriptor is that of the file at the path."""
        try:
            return os.path.samestat(os.fstat(file), self._path.stat())
        except OSError:
            return False

    def append(self, call: RecordedCall, *, started: float = 0.0, ended: float = 0.0, sort_key: str = "") -> None:
        """Append a call.

        Args:
            call: The call.
            started: When it started, on any clock.
            ended: When it ended.
            sort_key: Orders calls that ran at the same time.

        """
        line = _Line(write_call(call), started, ended, sort_key)
        with self._guard:
            if self._error is None and not self._is_closed:
                try:
                    with _excluding_forks(self._state.fileno()):
                        self._write(line.content)
                    self._lines.append(line)
                except OSError as exc:
                    self._error = exc

    def _has_begun(self) -> bool:
        return os.fstat(self._state.fileno()).st_size > 0

    def _write(self, content: bytes) -> None:
        has_begun = self._has_begun()
        older = b"" if has_begun else self._read_all()
        length = os.fstat(self._file).st_size if has_begun else 0
        try:
            os.ftruncate(self._file, length)
            self._write_at(length, content)
            os.ftruncate(self._state.fileno(), 1)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._file, length)
                self._write_at(length, older)
            raise

    def _read_all(self) -> bytes:
        os.lseek(self._file, 0, os.SEEK_SET)
        return b"".join(iter(lambda: os.read(self._file, 1 << 20), b""))

    def _write_at(self, position: int, content: bytes) -> None:
        os.lseek(self._file, position, os.SEEK_SET)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._close()
        # An error of the block itself takes precedence.
        if self._error is not None and exc_type is None:
            raise self._error

    def _close(self) -> None:
        with self._guard, self._state:
            self._is_closed = True
            has_begun, in_place = self._has_begun(), self._is_in_place(self._file)
            # Forked processes may have added calls, whose order is unknown.
            is_ours = os.fstat(self._file).st_size == sum(len(line.content) for line in self._lines)
            if sys.platform == "win32":  # which can neither remove nor replace an open file
                os.close(self._file)
            if os.getpid() != self._process:
                pass  # the process that opened the file does the rest
            elif has_begun and not in_place:
                self._error = self._error or FileNotFoundError(errno.ENOENT, "the file was removed", str(self._path))
            elif not has_begun and in_place and self._is_new:
                with suppress(OSError):
                    self._path.unlink()
            elif is_ours and self._lines != (lines := _sorted(self._lines)):
                self._replace(lines)
            if sys.platform != "win32":  # closing releases the lock, so it comes last
                os.close(self._file)

    def _replace(self, lines: list[_Line]) -> None:
        """Write the lines in another order. The file is replaced at once; if that fails, it stays unchanged."""
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            new.write_bytes(b"".join(line.content for line in lines))
            shutil.copymode(self._path, new)
            new.replace(self._path)
        except OSError:
            with suppress(OSError):
                new.unlink()


def _sorted(lines: list[_Line]) -> list[_Line]:
    """Sort calls by their start, and concurrent calls by their requests.

    The order of concurrent calls is random, and would change the file with every recording.
    """
    groups: list[list[_Line]] = []
    busy_until = -math.inf
    for line in sorted(lines, key=lambda line: line.started):
        if line.started >= busy_until:
            groups.append([])
        groups[-1].append(line)
        busy_until = max(busy_until, line.ended)
    return [line for group in groups for line in sorted(group, key=lambda line: line.sort_key)]
