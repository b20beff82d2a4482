"""A lock on a file beside the journal. The system releases it when the process ends."""

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
_SECONDS_BETWEEN = 0.02  # `is_owned` holds the lock for less
_FIRST_BYTE_LOCKED = 1 << 20  # Windows cannot read a locked byte: lock one far behind the process id


class OwnerLock:
    """The lock of the one process that may write to a journal. Held from its creation until `release`.

    Raises:
        JournalError: Another process, or another job in this process, holds the lock. The message has the process id.
        OSError: The lock file cannot be created.
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
        self._file.write(f"{_owner or os.getpid()}\n".encode())
        self._file.flush()
        _held.add(self)

    def _try(self, number: int) -> bool:
        if number:
            time.sleep(_SECONDS_BETWEEN)
        return _lock(cast("IO[bytes]", self._file), shared=False)

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            # Keep the file: if it were deleted, two owners could lock two different files with the same name.
            self._file.close()
            self._file = None

    def forget(self) -> None:
        """Close the child's copy of the file after a fork: the lock belongs to the parent."""
        # Closing the copy does not release the parent's lock.
        self.release()


_owner: Optional[int] = None


def set_owner(process: int) -> None:
    """Name another process as the owner in the locks of this one: a worker of a job names the job's first process."""
    global _owner  # noqa: PLW0603 - of the whole process
    _owner = process


_held: weakref.WeakSet[OwnerLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def lock_path(journal: Path) -> Path:
    """Return the file beside a journal that its owner locks."""
    return beside(journal, ".lock")


def beside(journal: Path, end: str) -> Path:
    """Return a file that belongs to a journal: the same file for every link to the journal."""
    real = Path(os.path.realpath(journal))
    return real.with_name(f"{real.name}{end}")


def is_owned(journal: Path) -> bool:
    """Return whether a process holds the lock of a journal."""
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
