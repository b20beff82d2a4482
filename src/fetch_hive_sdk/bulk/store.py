"""The SQLite database of a journal: its tables, and how they are read and changed. Not thread-safe.

`rows` is small and changes often. Requests and their ends are written once, in tables of their own. One statement
writes many rows, because each statement has to acquire Python's global lock twice.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional, Union, cast

from .failures import RowError
from .report import STATES, Stored

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from .report import State

APPLICATION_ID = 0x46_48_42_4A  # "FHBJ"
VERSION = 1

PENDING, SENT, DONE, REJECTED, FAILED, IN_DOUBT = range(6)
CODES: dict[State, int] = {
    "pending": PENDING,
    "done": DONE,
    "rejected": REJECTED,
    "failed": FAILED,
    "in_doubt": IN_DOUBT,
}
NAMES: dict[int, State] = {CODES[name]: name for name in STATES}

TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE rows(
    id INTEGER PRIMARY KEY,  -- in the order in which rows first appeared
    hash INTEGER,            -- hash of the key
    key,                     -- text: the user's key; blob: SHA-256 of the request and its occurrence
    digest INTEGER,          -- digest of the request, if the key is the user's
    row INTEGER,             -- number of the row in the last input that contained it
    pass INTEGER,            -- last run that read the row
    kind INTEGER,            -- kind of the request
    state INTEGER,
    attempts INTEGER,        -- how many times the row was sent
    runs INTEGER,            -- how many times the row may have been run
    tokens INTEGER
);
CREATE INDEX rows_by_hash ON rows(hash);
CREATE TABLE requests(id INTEGER PRIMARY KEY, body TEXT);
CREATE TABLE ends(
    id INTEGER PRIMARY KEY,
    body,                    -- the answer as text, or as a blob if it could not be decoded
    error_code TEXT,
    error TEXT,
    request_id TEXT,         -- unless the body contains it
    ended INTEGER,           -- milliseconds since 1970
    took INTEGER             -- milliseconds
);
CREATE TABLE repeats(hash INTEGER PRIMARY KEY, pass INTEGER, count INTEGER)
""".strip().split(";\n")

_SELECT_KNOWN = "SELECT key, id, digest, row, pass, state, attempts FROM rows"
_MOST_VALUES = 64  # rows per statement
_MOST_HASHES = 256


@dataclass
class Row:
    """A row of the input, read and checked."""

    number: int
    key: Optional[str]
    kind: int
    body: str
    request: Any
    # Set by the journal:
    id: int = 0
    attempts: int = 0
    home: int = PENDING  # the state to which the row returns if it is not sent
    # Set by the engine:
    tries: int = 0
    began: float = 0.0
    is_waiting: bool = False  # waiting for a retry, not under way
    stored_key: Union[str, bytes] = ""


@dataclass
class End:
    """The end of a row that was sent."""

    id: int
    state: int
    attempts: int
    runs: int = 0
    tokens: int = 0
    body: Union[str, bytes, None] = field(default=None, repr=False)  # may contain a webhook secret
    error_code: Optional[str] = None
    error: Optional[str] = None
    request_id: Optional[str] = None
    ended: int = 0
    took: int = 0
    is_back: bool = False  # certainly not run: the row goes back into the queue
    row: Optional[Row] = None

    def as_stored(self) -> Stored:
        """Return the row as the journal would store it."""
        row = cast("Row", self.row)
        return Stored(
            show_key(row.stored_key),
            row.number,
            NAMES[self.state],
            row.kind,
            self.attempts,
            self.tokens,
            row.body,
            self.body,
            self.error_code,
            self.error,
            self.request_id,
        )


@dataclass
class Counts:
    """The number of rows in each state, with their tokens and runs."""

    states: list[int] = field(default_factory=lambda: [0] * 6)
    tokens: int = 0
    runs: int = 0


@dataclass
class _Known:
    id: int
    digest: Optional[int]
    row: int
    seen: int
    state: int
    attempts: int


_Key = Union[str, bytes]


class Store:
    """A journal that is open for writing.

    Args:
        connection: The database in autocommit mode, with its tables.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.sendable: frozenset[int] = frozenset({PENDING, REJECTED})
        self.may_change_requests = False
        self.changes: Counts = Counts()
        """The sum of all changes of the counts made by admitting rows."""
        self.number_of_pass: int = 0
        self.last_id: int = 0
        # Most inputs repeat the rows of the last run in the same order. While they do, with no row left out, this id is
        # enough to record which rows have been read: all rows up to it.
        self.in_order: int = 0
        self.is_reordered: bool = bool(self.get("reordered", 0))
        self.next_id: int = 1 + self.one("SELECT coalesce(max(id), 0) FROM rows")

    # --- Metadata -----------------------------------------------------------------------------------------------------

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value of the journal's metadata."""
        return get_meta(self.connection, name, default)

    def set(self, **values: object) -> None:
        """Write values of the journal's metadata."""
        self.connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def begin_pass(self) -> None:
        """Start to read the input from its first row. Rows still marked as sent become in doubt."""
        self.doubt_sent()
        self.number_of_pass = self.get("pass", 0) + 1
        self.last_id = self.in_order = 0
        self.set(**{"pass": self.number_of_pass, "exhausted": 0, "stopped": None})

    def doubt_sent(self) -> int:
        """Put rows in doubt that a dead owner left marked as sent: they may have been run. Return their number."""
        return self.connection.execute(
            "UPDATE rows SET state = ?, runs = runs + 1, attempts = attempts + 1 WHERE state = ?", (IN_DOUBT, SENT)
        ).rowcount

    # --- Admitting and ending rows ------------------------------------------------------------------------------------

    def admit(self, rows: Sequence[Row], room: int) -> tuple[list[Row], int, Optional[RowError]]:
        """Add rows of the input to the journal, and mark the first of those that have to be sent.

        Args:
            rows: The next rows of the input.
            room: How many rows may be marked as sent.

        Returns:
            The rows that have to be sent, how many of these (from the first) are marked, and the error of the row that
            stopped the admission, if any.

        """
        keys = [key_of(row) for row in rows]
        known = self.look_ahead(len(rows))
        known.update(self.look_up({hash_of(key) for key in keys if key not in known}))
        return _Admission(self, rows, keys, known).run(room)

    def look_ahead(self, number: int) -> dict[_Key, _Known]:
        """Return the journal's next rows by id: an unchanged input continues with exactly these rows.

        They are stored side by side, but their hashes are spread over the index. With a million rows the index is
        larger than SQLite's cache, so that each lookup by hash would read the file.
        """
        sql = f"{_SELECT_KNOWN} WHERE id > ? ORDER BY id LIMIT ?"
        return {key: _Known(*values) for key, *values in self.connection.execute(sql, (self.last_id, number))}

    def look_up(self, hashes: Iterable[int]) -> dict[_Key, _Known]:
        """Return the journal's rows whose keys have these hashes."""
        found: dict[_Key, _Known] = {}
        left = list(hashes)
        while left:
            some, left = left[:_MOST_HASHES], left[_MOST_HASHES:]
            # Use few different statements, because the SQLite driver caches prepared statements.
            size = next(n for n in (1, 8, 64, _MOST_HASHES) if n >= len(some))
            some += [some[0]] * (size - len(some))
            sql = f"{_SELECT_KNOWN} WHERE hash IN ({_marks(size)})"
            for key, *values in self.connection.execute(sql, some):
                found[key] = _Known(*values)
        return found

    def set_state(self, ids: Sequence[int], state: int) -> None:
        """Set the state of rows."""
        for some in _pieces(ids, _MOST_VALUES):
            sql = f"UPDATE rows SET state = ? WHERE id IN ({_marks(len(some))})"  # noqa: S608 - only question marks
            self.connection.execute(sql, (state, *some))

    def end(self, ends: Sequence[End]) -> None:
        """Record the ends of rows."""
        rows = [(end.id, end.state, end.attempts, end.runs, end.tokens) for end in ends]
        self.insert(
            "rows(id, state, attempts, runs, tokens)",
            rows,
            " ON CONFLICT(id) DO UPDATE SET state = excluded.state, attempts = excluded.attempts,"
            " runs = rows.runs + excluded.runs, tokens = rows.tokens + excluded.tokens",
        )
        self.insert(
            "ends",
            [
                (end.id, end.body, end.error_code, end.error, end.request_id, end.ended, end.took)
                for end in ends
                if not end.is_back
            ],
            " ON CONFLICT(id) DO UPDATE SET body = excluded.body, error_code = excluded.error_code,"
            " error = excluded.error, request_id = excluded.request_id, ended = excluded.ended, took = excluded.took",
        )

    def insert(self, table: str, rows: Sequence[tuple[object, ...]], conflict: str = "") -> None:
        """Insert rows, many per statement."""
        for some in _pieces(rows, _MOST_VALUES):
            values = ", ".join([f"({_marks(len(some[0]))})"] * len(some))
            self.connection.execute(
                f"INSERT INTO {table} VALUES {values}{conflict}",  # noqa: S608 - only question marks and our own names
                [value for row in some for value in row],
            )

    # --- Settling rows in doubt ---------------------------------------------------------------------------------------

    def change_all_doubt(self, state: int) -> int:
        """Set the state of all rows in doubt; return their number."""
        return self.connection.execute("UPDATE rows SET state = ? WHERE state = ?", (state, IN_DOUBT)).rowcount

    def change_one_doubt(self, state: int, key: str) -> bool:
        """Set the state of the row in doubt with a key; return whether there is one."""
        sql = "UPDATE rows SET state = ? WHERE hash = ? AND key = ? AND state = ?"
        return any(
            self.connection.execute(sql, (state, hash_of(form), form, IN_DOUBT)).rowcount for form in _forms(key)
        )

    def one(self, sql: str, values: Sequence[object] = ()) -> Any:
        """Return the first value of the first row, or None if there are no rows."""
        with closing(self.connection.execute(sql, values)) as cursor:
            found = cursor.fetchone()
        return found[0] if found else None


def change_doubt(stores: Sequence[Store], state: int, keys: Optional[Sequence[str]]) -> int:
    """Set the state of all rows in doubt, or of those with these keys; return their number.

    Args:
        stores: A journal or its shards.
        state: The new state.
        keys: The keys of the rows. None means all rows in doubt.

    Raises:
        KeyError: A key belongs to no row in doubt.

    """
    if keys is None:
        return sum(store.change_all_doubt(state) for store in stores)
    for key in keys:
        if not any(store.change_one_doubt(state, key) for store in stores):
            raise KeyError(f"no row in doubt has the key {key!r}")
    return len(keys)


class _Admission:
    """Adds one batch of rows to the journal."""

    def __init__(self, store: Store, rows: Sequence[Row], keys: list[_Key], known: dict[_Key, _Known]) -> None:
        self._store = store
        self._rows = rows
        self._keys = keys
        self._known = known
        self._pass = store.number_of_pass
        self._new: list[tuple[object, ...]] = []
        self._bodies: list[tuple[object, ...]] = []
        self._seen: list[int] = []
        self._moved: list[tuple[int, int, int]] = []
        self._to_send: list[Row] = []
        self._old: list[int] = []  # rows to send that are already in the journal
        self._room = 0

    def run(self, room: int) -> tuple[list[Row], int, Optional[RowError]]:
        self._room = room
        error = None
        try:
            for row, key in zip(self._rows, self._keys):
                self._take(row, key)
        except RowError as exc:
            error = exc
        self._write()
        return self._to_send, min(room, len(self._to_send)), error

    def _take(self, row: Row, key: _Key) -> None:
        known = self._known.get(key)
        if known is not None and self._was_read(known):
            if row.key is not None:
                raise RowError(f"rows {known.row} and {row.number} have the same key, {row.key!r}")
            key = self._next_occurrence(key)
            known = self._known.get(key)
        row.stored_key = key
        if known is None:
            self._add(row, key)
        else:
            self._find(row, known)

    def _was_read(self, known: _Known) -> bool:
        return known.id <= self._store.in_order or known.seen == self._pass

    def _next_occurrence(self, key: _Key) -> _Key:
        """Return the key for another occurrence of a request that this run has already read."""
        store, first = self._store, hash_of(key)
        sql = "SELECT count FROM repeats WHERE hash = ? AND pass = ?"
        count = (store.one(sql, (first, self._pass)) or 0) + 1
        store.connection.execute("INSERT OR REPLACE INTO repeats VALUES (?, ?, ?)", (first, self._pass, count))
        key = hashlib.sha256(b"%s %d" % (cast("bytes", key), count)).digest()
        if key not in self._known:
            self._known.update(store.look_up([hash_of(key)]))
        return key

    def _add(self, row: Row, key: _Key) -> None:
        store = self._store
        row.id, store.next_id = store.next_id, store.next_id + 1
        state = SENT if len(self._to_send) < self._room else PENDING
        digest = None if row.key is None else _digest_of(row)
        self._new.append((row.id, hash_of(key), key, digest, row.number, self._pass, row.kind, state, 0, 0, 0))
        self._bodies.append((row.id, row.body))
        self._known[key] = _Known(row.id, digest, row.number, self._pass, state, 0)
        self._track_order(row.id)
        if row.id == store.in_order + 1:
            store.in_order += 1
        self._to_send.append(row)
        store.changes.states[state] += 1

    def _find(self, row: Row, known: _Known) -> None:
        row.id, row.attempts = known.id, known.attempts
        if row.key is not None and known.digest != _digest_of(row):
            self._change(row, known)
        if known.row == row.number:
            if row.id == self._store.in_order + 1:
                self._store.in_order += 1
            else:
                self._seen.append(row.id)
        else:
            self._moved.append((self._pass, row.number, row.id))
        known.row, known.seen = row.number, self._pass
        self._track_order(row.id)
        row.home = known.state
        if known.state in self._store.sendable:
            if len(self._to_send) < self._room:
                self._old.append(row.id)
                self._move(known.state, SENT)
            self._to_send.append(row)

    def _move(self, old: int, new: int) -> None:
        self._store.changes.states[old] -= 1
        self._store.changes.states[new] += 1

    def _change(self, row: Row, known: _Known) -> None:
        if not self._store.may_change_requests:
            raise RowError(
                f"row {row.number}: the request of {row.key!r} is not the one that the journal has (then in row"
                f" {known.row}): use another key or journal, or run the new one with force=True (--force)"
            )
        if known.state == IN_DOUBT:
            return  # rows in doubt have to be settled first
        self._move(known.state, PENDING)
        known.state = PENDING
        connection = self._store.connection
        sql = "UPDATE rows SET digest = ?, kind = ?, state = ? WHERE id = ?"
        connection.execute(sql, (_digest_of(row), row.kind, PENDING, row.id))
        connection.execute("UPDATE requests SET body = ? WHERE id = ?", (row.body, row.id))
        connection.execute("DELETE FROM ends WHERE id = ?", (row.id,))

    def _track_order(self, number: int) -> None:
        """Record whether the ids are still in the order of the input."""
        store = self._store
        if number < store.last_id and not store.is_reordered:
            store.is_reordered = True
            store.set(reordered=1)
        store.last_id = number

    def _write(self) -> None:
        store = self._store
        store.insert("rows", self._new)
        store.insert("requests", self._bodies)
        for some in _pieces(self._seen, _MOST_HASHES):
            sql = f"UPDATE rows SET pass = ? WHERE id IN ({_marks(len(some))})"  # noqa: S608 - only question marks
            store.connection.execute(sql, (self._pass, *some))
        store.connection.executemany("UPDATE rows SET pass = ?, row = ? WHERE id = ?", self._moved)
        store.set_state(self._old, SENT)


# --- Reading ----------------------------------------------------------------------------------------------------------


def get_meta(connection: sqlite3.Connection, name: str, default: Any = None) -> Any:
    """Return a value of the journal's metadata."""
    with closing(connection.execute("SELECT value FROM meta WHERE name = ?", (name,))) as cursor:
        found = cursor.fetchone()
    return default if found is None else found[0]


def count(connection: sqlite3.Connection) -> Counts:
    """Count the rows of a journal."""
    counts = Counts()
    sql = "SELECT state, count(*), sum(tokens), sum(runs) FROM rows GROUP BY state"
    for state, rows, tokens, runs in connection.execute(sql):
        counts.states[state] = rows
        counts.tokens += tokens
        counts.runs += runs
    return counts


# --- Keys -------------------------------------------------------------------------------------------------------------


def key_of(row: Row) -> _Key:
    """Return the key of a row, or the digest of its request if it has no key."""
    if row.key is not None:
        return row.key
    return hashlib.sha256(b"%d %s" % (row.kind, row.body.encode())).digest()


def _digest_of(row: Row) -> int:
    return _number(hashlib.sha256(b"%d %s" % (row.kind, row.body.encode())).digest())


def hash_of(key: _Key) -> int:
    """Return the hash of a key, as stored in the index."""
    return _number(hashlib.sha256(key.encode()).digest() if isinstance(key, str) else key)


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big", signed=True)


def _forms(key: str) -> list[_Key]:
    """Return the forms that a displayed key may have in the journal: a string, or a digest in hexadecimal."""
    if not is_text(key):
        return []  # no journal contains such a key
    try:
        return [key, bytes.fromhex(key)]
    except ValueError:
        return [key]


def is_text(key: str) -> bool:
    """Return whether a string can be encoded as UTF-8, which fails for lone surrogates."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def show_key(key: _Key) -> str:
    """Return a key as it is displayed."""
    return key if isinstance(key, str) else key.hex()


# --- Statements -------------------------------------------------------------------------------------------------------


def _marks(number: int) -> str:
    return ", ".join("?" * number)


def _pieces(values: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    """Split values into pieces whose lengths are powers of two, so that there are few different statements."""
    begin = 0
    while begin < len(values):
        size = most
        while size > len(values) - begin:
            size //= 2
        yield values[begin : begin + size]
        begin += size
