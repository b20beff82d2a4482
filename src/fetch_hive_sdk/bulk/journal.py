"""The journal of a running job: a writer thread that groups the job's changes into commits.

The thread applies the changes in order. It resolves their futures in the event loop after the commit reaches the disk.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from .failures import JournalError
from .lock import OwnerLock
from .opening import journal_errors, open_for_writing
from .store import IN_DOUBT, SENT, Counts, End, Store, count

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from pathlib import Path

    from .failures import RowError
    from .store import Row

_SECONDS_BETWEEN_COMMITS = 0.006  # at least: each commit costs a sync, and changes made meanwhile share the next one


@dataclass
class _Admit:
    rows: Sequence[Row]
    room: int
    answer: asyncio.Future[Admitted]


@dataclass
class _Mark:
    rows: Sequence[Row]
    answer: asyncio.Future[None]


@dataclass
class _Unmark:
    rows: Sequence[Row]


_Work = Union[_Admit, _Mark, _Unmark, End]


@dataclass
class Admitted:
    """The result of admitting rows of the input.

    Args:
        rows: The rows that have to be sent.
        marked: How many of these, from the first, are marked as sent.
        error: The error of the row that stopped the admission, if any.
    """

    rows: list[Row]
    marked: int
    error: Optional[RowError]


class _Answers:
    """The results of one commit, for the event loop."""

    def __init__(self) -> None:
        self.futures: list[tuple[asyncio.Future[Any], object]] = []
        self.freed = 0
        self.failure: Optional[Exception] = None


class Journal:
    """A locked journal and its writer thread.

    Args:
        path: The file.
        loop: The event loop that receives the results.
        on_freed: Called in the loop with the number of rows that are no longer marked as sent.
        on_failure: Called in the loop when a commit fails.
    """

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        on_freed: Callable[[int], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.path = path
        self.counts: Counts = Counts()
        """The counts on disk, as of the last commit."""
        self.unwritten: list[End] = []
        """Ends of rows that could not be written, kept in memory while the job runs."""
        self.seconds: float = 0.0
        """How long all earlier runs took."""
        self._loop = loop
        self._on_freed = on_freed
        self._on_failure = on_failure
        self._store: Store
        self._lock: OwnerLock
        self._work: list[_Work] = []
        self._changed = threading.Condition()
        self._is_closing = False
        self._values: dict[str, object] = {}
        self._syncs = True
        self._thread = threading.Thread(target=self._run, name="fetch-hive-journal", daemon=True)

    async def open(self, sendable: frozenset[int], *, may_change_requests: bool) -> None:
        """Take the lock, open the file and count its rows.

        Raises:
            JournalError: Another process is using the file, it is not a journal, it is damaged, or it cannot be opened.

        """
        await self._loop.run_in_executor(None, self._open, sendable, may_change_requests)
        self._thread.start()

    def _open(self, sendable: frozenset[int], may_change_requests: bool) -> None:
        with journal_errors(self.path):
            self._lock = OwnerLock(self.path)
            try:
                connection = open_for_writing(self.path)
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    self._store = Store(connection)
                    self._store.sendable = sendable
                    self._store.may_change_requests = may_change_requests
                    self._store.begin_pass()
                    connection.execute("COMMIT")
                    self.counts = count(connection)
                    self.seconds = float(self._store.get("seconds", 0.0))
                except BaseException:
                    connection.close()
                    raise
            except BaseException:
                self._lock.release()
                raise

    # --- Called in the event loop -------------------------------------------------------------------------------------

    def admit(self, rows: Sequence[Row], room: int) -> asyncio.Future[Admitted]:
        """Add rows of the input to the journal, and mark the first `room` of those that have to be sent."""
        answer: asyncio.Future[Admitted] = self._loop.create_future()
        self._do(_Admit(rows, room, answer))
        return answer

    def mark(self, rows: Sequence[Row]) -> asyncio.Future[None]:
        """Mark rows as sent."""
        answer: asyncio.Future[None] = self._loop.create_future()
        self._do(_Mark(rows, answer))
        return answer

    def unmark(self, rows: Sequence[Row]) -> None:
        """Unmark rows that have not been sent."""
        self._do(_Unmark(rows))

    def end(self, end: End) -> None:
        """Record the end of a row that was sent."""
        self._do(end)

    def _do(self, work: _Work) -> None:
        with self._changed:
            self._work.append(work)
            if len(self._work) == 1:
                self._changed.notify()

    async def close(self, **values: object) -> None:
        """Write the remaining changes and the given metadata, close the file and release the lock."""
        with self._changed:
            self._values = values
            self._is_closing = True
            self._changed.notify()
        await self._loop.run_in_executor(None, self._thread.join)

    # --- Called in the writer thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        committed = 0.0
        try:
            while True:
                with self._changed:
                    while not self._work and not self._is_closing:
                        self._changed.wait()
                    is_closing = self._is_closing
                wait = committed + _SECONDS_BETWEEN_COMMITS - time.monotonic()
                if wait > 0 and not is_closing:
                    time.sleep(wait)
                with self._changed:
                    work, self._work = self._work, []
                if work or self.unwritten:
                    self._post(self._commit(work))
                    committed = time.monotonic()
                if is_closing:
                    break
        finally:
            self._finish()

    def _commit(self, work: Sequence[_Work]) -> _Answers:
        answers = _Answers()
        # Retry the ends that could not be written before.
        ends = [*self.unwritten, *(item for item in work if isinstance(item, End))]
        try:
            connection = self._store.connection
            # Sync only marks, which must be on disk before their rows are sent, and ends, which have been paid for.
            is_urgent = bool(ends) or any(isinstance(item, _Mark) or getattr(item, "room", 0) for item in work)
            if is_urgent is not self._syncs:
                connection.execute(f"PRAGMA synchronous = {'FULL' if is_urgent else 'NORMAL'}")
                self._syncs = is_urgent
            connection.execute("BEGIN IMMEDIATE")
            delta = self._write(work, ends, answers)
            connection.execute("COMMIT")
        except Exception as exc:  # noqa: BLE001 - after any error, the calls under way finish first
            self._roll_back()
            self.unwritten = ends
            failure = JournalError(str(exc))
            answers.futures = [(item.answer, failure) for item in work if isinstance(item, (_Admit, _Mark))]
            answers.freed = 0
            answers.failure = exc
        else:
            self.unwritten = []
            self._add(delta)
        return answers

    def _write(self, work: Sequence[_Work], ends: Sequence[End], answers: _Answers) -> Counts:
        """Write ends first, then the other changes in order: a row is unmarked before it is marked again."""
        delta = Counts()
        store = self._store
        store.end(ends)
        for end in ends:
            _move(delta, SENT, end.state, 1)
            delta.tokens += end.tokens
            delta.runs += end.runs
        answers.freed = len(ends)
        for item in work:
            if isinstance(item, _Unmark):
                for home in {row.home for row in item.rows}:
                    ids = [row.id for row in item.rows if row.home == home]
                    store.set_state(ids, home)
                    _move(delta, SENT, home, len(ids))
                answers.freed += len(item.rows)
            elif isinstance(item, _Mark):
                store.set_state([row.id for row in item.rows], SENT)
                for row in item.rows:
                    _move(delta, row.home, SENT, 1)
                answers.futures.append((item.answer, None))
            elif isinstance(item, _Admit):
                before = list(store.changes.states)
                rows, marked, error = store.admit(item.rows, item.room)
                for state, changed in enumerate(store.changes.states):
                    delta.states[state] += changed - before[state]
                answers.futures.append((item.answer, Admitted(rows, marked, error)))
        return delta

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._store.connection.in_transaction:
                self._store.connection.execute("ROLLBACK")

    def _add(self, delta: Counts) -> None:
        counts = self.counts
        counts.states = [old + new for old, new in zip(counts.states, delta.states)]
        counts.tokens += delta.tokens
        counts.runs += delta.runs

    def _post(self, answers: _Answers) -> None:
        with suppress(RuntimeError):  # the caller has closed the loop
            self._loop.call_soon_threadsafe(self._deliver, answers)

    def _deliver(self, answers: _Answers) -> None:
        for future, value in answers.futures:
            if not future.done():
                if isinstance(value, BaseException):
                    future.set_exception(value)
                else:
                    future.set_result(value)
        if answers.freed:
            self._on_freed(answers.freed)
        if answers.failure is not None:
            self._on_failure(answers.failure)

    def _finish(self) -> None:
        connection = self._store.connection
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            left = self._store.doubt_sent()
            self._store.set(**self._values)
            connection.execute("COMMIT")
            self.counts.states[SENT] -= left
            self.counts.states[IN_DOUBT] += left
            self.counts.runs += left
        except sqlite3.Error:
            self._roll_back()
        finally:
            # Closing copies the log into the database. If that fails on a full disk, the next owner does it.
            with suppress(sqlite3.Error):
                connection.close()
            self._lock.release()


def _move(counts: Counts, old: int, new: int, number: int) -> None:
    counts.states[old] -= number
    counts.states[new] += number
