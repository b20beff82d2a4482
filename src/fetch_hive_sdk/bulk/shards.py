"""A journal in several files, which are called shards: rows are spread over them by the hash of their keys.

    reviews.db.shard-0, reviews.db.shard-1, ...

Each shard is a journal of its own, with its own owner. Their number is fixed when they are made, so that a row finds
the same shard in each run.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Optional

from .failures import JournalError
from .lock import OwnerLock
from .opening import journal_errors, open_for_reading, open_for_writing
from .store import SENT, Store, get_meta, hash_of, key_of
from .store import count as count_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .store import Row


def journals_of(path: Path) -> list[Path]:
    """Return the files of a journal: its shards, or itself if it has none.

    Raises:
        JournalError: A shard is missing, or the first one cannot be read.

    """
    count = count_shards(path)
    if count is None:
        return [path]
    shards = [shard_path(path, number) for number in range(count)]
    missing = [shard for shard in shards if not shard.exists()]
    if missing:
        raise missing_error(missing[0])
    return shards


def count_shards(path: Path) -> Optional[int]:
    """Return the number of shards of a journal. None if it has none, or if the process that made them was killed.

    Raises:
        JournalError: The first shard is missing or cannot be read.

    """
    first, second = shard_path(path, 0), shard_path(path, 1)
    if first.exists():
        with journal_errors(first), closing(open_for_reading(first)) as connection:
            count: Optional[int] = get_meta(connection, "shards")
            if count is not None:
                return count
            if any(count_rows(connection).states):
                return 1
    if second.exists():
        with journal_errors(second), closing(open_for_reading(second)) as connection:
            if get_meta(connection, "shards") is not None and get_meta(connection, "pass") is not None:
                raise missing_error(first)  # all shards are made before one is used
    return None


def missing_error(shard: Path) -> JournalError:
    """Return the error for a job that has lost a shard of its journal."""
    return JournalError(
        f"{shard} is missing: its rows may have been run and paid for. Put the file back; without it, this job cannot"
        " go on"
    )


def make_journals(path: Path, count: int) -> list[Path]:
    """Return the shards of a journal, and make them if there is no journal yet.

    Args:
        path: The journal.
        count: How many shards to make.

    Raises:
        JournalError: There is a journal without shards, or a file cannot be made.

    """
    if path.exists():
        raise JournalError(
            f"{path} is the journal of a job in one process: go on without processes, or begin a new journal"
        )
    if count_shards(path) is not None:
        return journals_of(path)
    # The first one comes last: if it has their number, all are there.
    for number in reversed(range(count)):
        make_shard(shard_path(path, number), count)
    return journals_of(path)


def make_shard(path: Path, count: int) -> None:
    """Make one shard of a journal, if it is not there.

    Raises:
        JournalError: The file cannot be made, or another process has it.

    """
    with journal_errors(path):
        lock = OwnerLock(path)
        try:
            with closing(open_for_writing(path)) as connection:
                store = Store(connection)
                if store.get("shards") is None:
                    store.set(shards=count)
        finally:
            lock.release()


def runs_begun(journals: Sequence[Path]) -> int:
    """Return how many runs the rows of some journals have begun; those that are marked as sent are in doubt.

    Raises:
        JournalError: A journal cannot be read.

    """
    runs = 0
    for journal in journals:
        with journal_errors(journal), closing(open_for_reading(journal)) as connection:
            counts = count_rows(connection)
        runs += counts.runs + counts.states[SENT]
    return runs


def shard_path(path: Path, number: int) -> Path:
    """Return the file of a shard."""
    return path.with_name(f"{path.name}.shard-{number}")


def shard_of(row: Row, count: int) -> int:
    """Return the number of the shard that a row belongs to."""
    return hash_of(key_of(row)) % count
