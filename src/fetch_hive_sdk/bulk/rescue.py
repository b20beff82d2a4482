"""Opens a repaired copy of a journal that SQLite cannot open: one that is truncated or has lost its first page."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .failures import JournalError
from .lock import beside
from .opening import journal_errors, open_nothing
from .store import APPLICATION_ID

if TYPE_CHECKING:
    from collections.abc import Generator

# Fields of the database header: https://www.sqlite.org/fileformat2.html#the_database_header
_PAGE_SIZE = slice(16, 18)
_FORMATS = slice(18, 20)
_CHANGES = slice(24, 28)
_PAGES = slice(28, 32)
_APPLICATION = slice(68, 72)
_VALID_FOR = slice(92, 96)
_HEADER = 100  # bytes
_WAL = b"\2\2"


@contextmanager
def open_copy(path: Path) -> Generator[sqlite3.Connection, None, None]:
    """Open a copy with the first page of a new journal, padded with zeros if the journal is truncated.

    The first page says where the tables begin. Except for a few numbers, it is the same in all journals.

    Raises:
        JournalError: No row can be read.

    """
    with tempfile.TemporaryDirectory(prefix="fetch-hive-") as folder, journal_errors(path):
        copy, log = Path(folder, "copy.db"), beside(path, "-wal")
        shutil.copyfile(path, copy)
        if log.exists():
            shutil.copyfile(log, copy.with_name(f"{copy.name}-wal"))
        _replace_first_page(copy, path, has_log=log.exists())
        connection = sqlite3.connect(copy, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()


def _replace_first_page(copy: Path, path: Path, *, has_log: bool) -> None:
    connection = open_nothing(copy.with_name("new.db"))
    connection.close()
    new = copy.with_name("new.db").read_bytes()
    with copy.open("r+b") as file:
        old = file.read(_HEADER)
        if old[_APPLICATION] != APPLICATION_ID.to_bytes(4, "big") or old[_PAGE_SIZE] != new[_PAGE_SIZE]:
            raise JournalError(f"{path} is damaged, and is left as it is: nothing of it can be read")
        size = int.from_bytes(new[_PAGE_SIZE], "big")
        pages = max(int.from_bytes(old[_PAGES], "big"), -(-path.stat().st_size // size))
        first = bytearray(new[:size])
        first[_PAGES] = pages.to_bytes(4, "big")
        first[_VALID_FOR] = first[_CHANGES]
        if has_log:
            first[_FORMATS] = _WAL
        file.seek(0)
        file.write(first)
        file.truncate(pages * size)
