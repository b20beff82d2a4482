"""Reads a journal, in short reads that do not block its owner. Changes nothing."""

from __future__ import annotations

import heapq
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Optional

from .lock import is_owned
from .report import STATES, BulkReport, Stored, sum_of
from .store import CODES, DONE, FAILED, IN_DOUBT, NAMES, PENDING, REJECTED, SENT, count, get_meta, show_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .report import State

    Journals = Sequence[tuple[sqlite3.Connection, Path]]

_ROWS_AT_ONCE = 500
_NUMBERS_AT_ONCE = 10_000
_FEWEST_BYTES = 60  # the smallest size of a row, over all tables

_SELECT = """
SELECT rows.id, rows.key, rows.row, rows.state, rows.kind, rows.attempts, rows.tokens,
    requests.body, ends.body, ends.error_code, ends.error, ends.request_id
FROM rows LEFT JOIN requests ON requests.id = rows.id LEFT JOIN ends ON ends.id = rows.id
"""
_SELECT_NUMBERS = f"""
SELECT id, row FROM rows WHERE id > ? ORDER BY id LIMIT {_NUMBERS_AT_ONCE}
"""  # noqa: S608 - only our own number


def read_report(connection: sqlite3.Connection, path: Path) -> BulkReport:
    """Count the rows of a journal."""
    is_running = is_owned(path)
    counts = count(connection)
    sent = counts.states[SENT]
    return BulkReport(
        done=counts.states[DONE],
        rejected=counts.states[REJECTED],
        failed=counts.states[FAILED],
        in_doubt=counts.states[IN_DOUBT] + (0 if is_running else sent),
        pending=counts.states[PENDING] + (sent if is_running else 0),
        tokens=counts.tokens,
        seconds=float(get_meta(connection, "seconds", 0.0)),
        is_exhausted=bool(get_meta(connection, "exhausted", 0)),
        stopped=get_meta(connection, "stopped"),
    )


def read_reports(journals: Journals) -> BulkReport:
    """Count the rows of a journal and its shards."""
    return sum_of([read_report(connection, path) for connection, path in journals])


def read_all_items(journals: Journals, states: Optional[frozenset[State]] = None) -> Iterator[Stored]:
    """Iterate over the rows of a journal and its shards in the order of the input.

    Raises:
        ValueError: A state is unknown.

    """
    return in_order([read_items(connection, path, states) for connection, path in journals])


def in_order(shards: Sequence[Iterator[Stored]]) -> Iterator[Stored]:
    """Merge the rows of shards that are each in the order of the input."""
    return shards[0] if len(shards) == 1 else heapq.merge(*shards, key=lambda stored: stored.row)


def read_items(
    connection: sqlite3.Connection, path: Path, states: Optional[frozenset[State]] = None
) -> Iterator[Stored]:
    """Iterate over the rows of one journal in the order of the input.

    Raises:
        ValueError: A state is unknown.

    """
    unknown = (states or frozenset()) - frozenset(STATES)
    if unknown:
        raise ValueError(f"there is no state {min(unknown)!r}: there are {', '.join(STATES)}")
    codes = None if states is None else sorted({*(CODES[state] for state in states), SENT})
    condition = "" if codes is None else f" AND rows.state IN ({', '.join(map(str, codes))})"
    read = _read_by_id if _is_by_id(connection) else _read_reordered
    for values in read(connection, condition):
        stored = as_stored(values, is_running=values[3] == SENT and is_owned(path))
        if states is None or stored.state in states:
            yield stored


def _is_by_id(connection: sqlite3.Connection) -> bool:
    """Return whether the ids of a journal are in the order of the input."""
    if get_meta(connection, "shards", 1) == 1:
        return not get_meta(connection, "reordered", 0)
    # Shards are merged by the numbers of their rows. A row that the last input does not contain keeps an older number.
    last = 0
    for _, number in read_pages(connection, _SELECT_NUMBERS, _NUMBERS_AT_ONCE):
        if number < last:
            return False
        last = number
    return True


def _read_by_id(connection: sqlite3.Connection, condition: str) -> Iterator[tuple[Any, ...]]:
    sql = f"{_SELECT} WHERE rows.id > ?{condition} ORDER BY rows.id LIMIT {_ROWS_AT_ONCE}"
    return read_pages(connection, sql, _ROWS_AT_ONCE)


def read_pages(connection: sqlite3.Connection, sql: str, size: int) -> Iterator[tuple[Any, ...]]:
    """Yield what a statement selects, a page at a time, so that no read lasts long.

    Args:
        connection: The journal.
        sql: Selects an id and other values of at most `size` rows whose id is greater than its parameter, in order.
        size: Rows in a page.
    """
    last = -1
    while True:
        with closing(connection.execute(sql, (last,))) as cursor:
            found = cursor.fetchall()
        yield from found
        if len(found) < size:
            return
        last = found[-1][0]


def _read_reordered(connection: sqlite3.Connection, condition: str) -> Iterator[tuple[Any, ...]]:
    # The order of the input has changed: read everything at once and let SQLite sort it on disk.
    with closing(connection.execute(f"{_SELECT} WHERE 1{condition} ORDER BY rows.row, rows.id")) as cursor:
        yield from cursor


def select_row(connection: sqlite3.Connection, number: int) -> Optional[tuple[Any, ...]]:
    """Select a row by its id in the journal."""
    with closing(connection.execute(f"{_SELECT} WHERE rows.id = ?", (number,))) as cursor:
        found: Optional[tuple[Any, ...]] = cursor.fetchone()
    return found


def as_stored(values: tuple[Any, ...], *, is_running: bool) -> Stored:
    """Make a row from the values of a select."""
    _, key, row, code, kind, attempts, tokens, request, *end = values
    if code == SENT:
        code = PENDING if is_running else IN_DOUBT
    if code == PENDING:
        end = [None] * 4  # the stored end belongs to an earlier attempt
    return Stored(show_key(key), row, NAMES[code], kind, attempts, tokens, request, *end)


def salvage(connection: sqlite3.Connection) -> Iterator[Optional[Stored]]:
    """Read a damaged journal row by row; yield None for each row that cannot be read."""
    known = [_try(connection, f"SELECT max(id) FROM {table}") for table in ("rows", "requests", "ends")]  # noqa: S608
    largest = max((found[0] or 0 for found in known if found), default=0)
    lost = 0
    for number in range(1, 1 + (largest if all(known) else _most_rows(connection))):
        stored = _salvage_row(connection, number)
        if stored is None:
            lost += 1
            continue
        yield from [None] * lost
        lost = 0
        yield stored
    if all(known):
        yield from [None] * lost


def _most_rows(connection: sqlite3.Connection) -> int:
    """Return the largest number of rows that a journal of this size can have."""
    with (
        closing(connection.execute("PRAGMA page_count")) as count,
        closing(connection.execute("PRAGMA page_size")) as size,
    ):
        return int(count.fetchone()[0] * size.fetchone()[0]) // _FEWEST_BYTES


def _salvage_row(connection: sqlite3.Connection, number: int) -> Optional[Stored]:
    row = _try(connection, "SELECT key, row, state, kind, attempts, tokens FROM rows WHERE id = ?", number)
    request = _try(connection, "SELECT body FROM requests WHERE id = ?", number)
    end = _try(connection, "SELECT body, error_code, error, request_id FROM ends WHERE id = ?", number)
    if row is None:
        if end is None or end[0] is None:
            return None
        # The key is lost, but the answer can be read and has been paid for.
        row = ("", number, DONE if end[2] is None else FAILED, 0, 0, 0)
    values = (number, *row, request[0] if request else "{}", *(end or [None] * 4))
    return as_stored(values, is_running=False)


def _try(connection: sqlite3.Connection, sql: str, *values: object) -> Optional[tuple[Any, ...]]:
    try:
        with closing(connection.execute(sql, values)) as cursor:
            found: Optional[tuple[Any, ...]] = cursor.fetchone()
            return found
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None
