"""Creates, checks and opens journal files, for their one owner or for readers."""

from __future__ import annotations

import os
import sqlite3
import sys
import warnings
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union
from urllib.parse import quote

from .failures import DamageError, JournalError
from .lock import beside
from .store import APPLICATION_ID, TABLES, VERSION

if TYPE_CHECKING:
    from collections.abc import Generator

_MAGIC = b"SQLite format 3\0"
_BUSY_SECONDS = 10.0
_CACHE_KIB = 8192
_PIECE = 1 << 20
_MOST_READ_AHEAD = 4 << 30  # bytes; more may not fit into the system's cache
_NETWORK_TYPES = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs")


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open a journal for writing, or create it. The caller holds its lock.

    Raises:
        JournalError: The file is not a journal, it is damaged, or it cannot be opened.

    """
    with journal_errors(path):
        if path.exists() and path.stat().st_size:
            _read_ahead(path)
        else:
            warn_of_network(path)
        connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
        try:
            _set_up(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    is_new = _is_blank(connection)
    if not is_new:
        _check_version(connection, path)
        quick_check(connection, path)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalError(f"{path}: this file system cannot hold a journal (SQLite's WAL mode): use a local disk")
    # A commit returns only after its data has reached the disk.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone does not reach the disk
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    if is_new:
        connection.execute("BEGIN IMMEDIATE")
        _make_tables(connection)
        connection.execute("COMMIT")
        sync_folder(path.parent)


def _make_tables(connection: sqlite3.Connection) -> None:
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _is_blank(connection: sqlite3.Connection) -> bool:
    """Return whether a database is empty: a process may have died right after it created the file."""
    with closing(connection.execute("SELECT count(*) FROM sqlite_master")) as cursor:
        (tables,) = cursor.fetchone()
    with closing(connection.execute("PRAGMA application_id")) as cursor:
        (application,) = cursor.fetchone()
    return not tables and not application


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a journal for reading, which does not block its owner.

    Raises:
        JournalError: The file is not a journal, or it cannot be read.

    """
    with journal_errors(path):
        if not path.exists() or (path.is_file() and not path.stat().st_size):
            return open_nothing()
        # A cleanly closed journal has no -wal file. In a read-only directory, where SQLite cannot create one, it can
        # still be read as immutable.
        is_alone = not beside(path, "-wal").exists()
        is_fixed = is_alone and not os.access(path.parent, os.W_OK)
        url = f"file:{quote(os.fsencode(path))}?mode=ro{'&immutable=1' if is_fixed else ''}"
        connection = sqlite3.connect(
            url, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
        )
        try:
            if _is_blank(connection):
                connection.close()
                return open_nothing()
            _check_version(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_nothing(path: Union[str, Path] = ":memory:") -> sqlite3.Connection:
    """Return a journal without rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    _make_tables(connection)
    return connection


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    with closing(connection.execute("PRAGMA application_id")) as cursor:
        (application,) = cursor.fetchone()
    with closing(connection.execute("PRAGMA user_version")) as cursor:
        (version,) = cursor.fetchone()
    if application != APPLICATION_ID:
        raise JournalError(f"{path} is not a journal: it is a database of another program")
    if version != VERSION:
        raise JournalError(
            f"{path} has journal version {version}, but this package reads version {VERSION}: use a newer package"
        )


def quick_check(connection: sqlite3.Connection, path: Path) -> None:
    """Check the whole file for damage.

    Raises:
        JournalError: The journal is damaged.

    """
    try:
        with closing(connection.execute("PRAGMA quick_check(1)")) as cursor:
            (found,) = cursor.fetchone()
    except sqlite3.DatabaseError as exc:
        found = str(exc)
    if found != "ok":
        raise DamageError(damage_of(path))


def _read_ahead(path: Path) -> None:
    """Load a file into the system's cache by a sequential read, since `quick_check` reads pages in random order.

    Only before this process opens the file with SQLite. On POSIX, closing a file drops all locks that the process has
    on it, those of SQLite included; then another program may delete the -wal file of a running job.
    """
    with suppress(OSError), path.open("rb", buffering=0) as file:
        piece, left = bytearray(_PIECE), _MOST_READ_AHEAD
        while left > 0 and (size := file.readinto(piece)):
            left -= size


def damage_of(path: Path) -> str:
    """Return the message for a damaged journal, with what to do about it."""
    return (
        f"{path} is damaged, and is left as it is: `fetch-hive bulk export {path} --output rows.jsonl` writes the rows"
        " that can be read"
    )


@contextmanager
def journal_errors(path: Path) -> Generator[None, None, None]:
    """Convert errors of SQLite and the system into a `JournalError`."""
    try:
        yield
    except sqlite3.Error as exc:
        if path.is_dir():
            raise JournalError(f"{path} is a directory, not a journal") from exc
        if type(exc) is sqlite3.DatabaseError:  # "file is not a database", "database disk image is malformed"
            if str(exc) == "file is not a database" and not _begins_like_a_database(path):
                raise JournalError(f"{path} is not a journal: it is another kind of file") from exc
            raise DamageError(damage_of(path)) from exc
        raise JournalError(f"{path}: {exc}") from exc
    except OSError as exc:
        reason = exc.strerror or exc
        if isinstance(exc, FileNotFoundError) and not path.parent.is_dir():
            reason = f"there is no directory {path.parent.absolute()}"
        raise JournalError(f"cannot open the journal {path}: {reason}") from exc


def _begins_like_a_database(path: Path) -> bool:
    with path.open("rb") as file:  # not while SQLite has it open: see `_read_ahead`
        return file.read(len(_MAGIC)) == _MAGIC


def sync_folder(folder: Path) -> None:
    """Sync a directory, so that a new file in it survives a power cut."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def warn_of_network(path: Path) -> None:
    """Warn if a new journal would be on a network file system, where locks and syncs are not reliable."""
    kind = file_system_of(path)
    if kind in _NETWORK_TYPES or str(path.absolute()).startswith("\\\\"):
        warnings.warn(
            f"{path} is on a network file system ({kind or 'a network drive'}), where locks and syncs are not reliable:"
            " put the journal on a local disk",
            stacklevel=6,
        )


def file_system_of(path: Path, mounts: Path = Path("/proc/mounts")) -> Optional[str]:
    """Return the type of the file system of a file; None if the system does not report it."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    folder = str(path.absolute().parent.resolve())
    best, kind = "", None
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004 - device, place, type
            continue
        place = fields[1].replace("\\040", " ")
        is_above = folder == place or folder.startswith(place.rstrip("/") + "/")
        if is_above and len(place) >= len(best):
            best, kind = place, fields[2]
    return kind
