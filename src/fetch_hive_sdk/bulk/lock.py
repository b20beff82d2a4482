"""A lock on a file beside the journal, which dies with its process."""

from __future__ import annotations

import os
import sys
import time
import weakref
from pathlib import Path
from typing import IO, Optional, cast

from .failures import JournalError

if sys.platform == "win32":  # pragma: no cover - the other system
    import msvcrt
else:
    import fcntl

_TRIES = 20
_SECONDS_BETWEEN = 0.02  # a reader that looks holds it for less
_FIRST_BYTE_LOCKED = 1 << 20  # on Windows, where a locked byte cannot be read: far behind the process id


class OwnerLock:
    """Held by the one process that may write to a journal, from its making to `release`.

    Raises:
        JournalError: Another process, or another job in this one, has it; the message names its process id.
        OSError: The file cannot be made.
    """

    def __init__(self, journal: Path) -> None:
        self._path = lock_path(journal)
        self._file: Optional[IO[bytes]] = self._path.open("a+b")
        if not any(self._try(number) for number in range(_TRIES)):
            self._file.seek(0)
            owner = self._file.read(32).decode("ascii", "replace").strip()
            self._file.close()
            raise JournalError(f"{journal} is in use by process {owner or 'unknown'}: wait for it, or end it")
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode())
        self._file.flush()
        _held.add(self)

    def _try(self, number: int) -> bool:
        if number:
            time.sleep(_SECONDS_BETWEEN)
        return _lock(cast("IO[bytes]", self._file), shared=False)

    def release(self) -> None:
        """Let others have the journal."""
        if self._file is not None:
            # The file stays: were it deleted, two owners could hold two files of one name.
            self._file.close()
            self._file = None

    def forget(self) -> None:
        """In a child process, after a fork: the lock is the parent's, and must not live on in here."""
        # Closing this copy of the file leaves the parent's lock as it is.
        self.release()


_held: weakref.WeakSet[OwnerLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def lock_path(journal: Path) -> Path:
    """Return the file that stands beside a journal and is locked by its owner."""
    return beside(journal, ".lock")


def beside(journal: Path, end: str) -> Path:
    """Return a file that belongs to a journal: one and the same by whatever link the journal is reached."""
    real = Path(os.path.realpath(journal))
    return real.with_name(f"{real.name}{end}")


def is_owned(journal: Path) -> bool:
    """Whether a process has the journal now."""
    try:
        with lock_path(journal).open("rb") as file:
            return not _lock(file, shared=True)
    except OSError:
        return False


def _lock(file: IO[bytes], *, shared: bool) -> bool:
    try:
        if sys.platform == "win32":  # pragma: no cover - the other system
            file.seek(_FIRST_BYTE_LOCKED)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
