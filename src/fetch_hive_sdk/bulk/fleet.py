"""Runs a job in several processes: reads the rows, sends each to its shard, and divides the budget among them.

It has the methods of an `Engine`. A shard only begins runs that it was granted, so that all shards together stay within
the budget. When all journals are open, one shard sends the first row alone, which tests the key and the deployment.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from fetch_hive_sdk import BulkError

from .endings import Snapshot, error_of
from .opening import open_for_reading
from .processes import pickle_client, pickle_rows, start_workers
from .reading import read_report
from .report import BulkReport, sum_of
from .rows import take_unless
from .shards import count_shards, make_journals, shard_of, shard_path
from .worker import Asked, End, Ended, Grant, Pass, Reclaim, Returned, Rows, Setup, StopSending, Taken, Unable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fetch_hive_sdk import FetchHive

    from .budget import Budget, Limits
    from .processes import Worker
    from .report import Stop
    from .rows import RowReader, Source
    from .store import Row
    from .worker import Answer, Order

T = TypeVar("T")

_ROWS_AT_ONCE = 256
_ROWS_AHEAD = 1024  # that were sent to a shard and are not read yet: settled rows are skipped quickly
_NO_LIMIT = 1 << 40
_RECLAIM_SECONDS = 0.05  # at least, between two requests to give runs back


class _Shard:
    """The last known state of a shard."""

    def __init__(self, number: int, worker: Worker) -> None:
        self.number = number
        self.worker = worker
        self.snapshot = Snapshot(BulkReport(), 0, 0, 0, 0.0)
        self.ahead = 0  # rows that were sent to it and that it is not done with
        self.granted = 0
        self.is_asking = False
        self.has_ended = False
        self.report: Optional[BulkReport] = None


class Fleet:
    """One run of a job in several processes.

    Args:
        source: The values of the input.
        reader: Makes rows of them.
        path: The journal.
        workers: The processes, started.
        budget: What the job may use.
        maximum: Calls at once, at most.
    """

    def __init__(
        self,
        source: Source,
        reader: RowReader,
        path: Path,
        workers: Sequence[Worker],
        *,
        budget: Budget,
        maximum: int,
    ) -> None:
        self._source = source
        self._reader = reader
        self._path = path
        self._workers = workers
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        shards = [_Shard(number, worker) for worker in workers for number in worker.shards]
        self._shards = {shard.number: shard for shard in sorted(shards, key=lambda shard: shard.number)}
        self._maximum = maximum
        self._block = max(1, maximum // len(shards))
        self._counts_ends = budget.tokens is not None or budget.failures is not None
        self._is_limited = self._counts_ends or budget.runs is not None
        self._scout: Optional[_Shard] = None  # sends the first row, before all others
        self._is_first = True
        self._numbered = 0
        self._first: Optional[_Shard] = None  # has the first row of the input
        self._changed = asyncio.Event()
        self._stopping: asyncio.Future[None] = self._loop.create_future()
        self._stop: Optional[Stop] = None
        self._is_signalled = False  # this process, and not only a worker
        self._reclaiming: Optional[asyncio.TimerHandle] = None
        self._errors: list[BaseException] = []
        self._is_exhausted = False
        self._started = time.monotonic()

    # --- From outside, in the loop ------------------------------------------------------------------------------------

    async def run(self) -> BulkReport:
        """Send the rows, and return what has been done.

        Raises:
            BulkError: It stopped for a reason that is not a budget, or a process died.

        """
        for worker in self._workers:
            worker.listen(self._in_loop(self._hear), self._in_loop(partial(self._bury, worker)))
        seconds = None
        if self._budget.seconds is not None:
            seconds = self._loop.call_later(self._budget.seconds, self.stop, "seconds")
        try:
            try:
                await self._feed()
            except asyncio.CancelledError:
                raise
            except BaseException as exc:  # noqa: BLE001 - after any error, the calls under way finish first
                self._errors.append(exc)
                self.stop(None)
            await self._wait_until(lambda: all(shard.has_ended for shard in self._shards.values()))
        except BaseException:  # the event loop ends, and cancels the job
            self.abandon()
            raise
        finally:
            if seconds is not None:
                seconds.cancel()
            self._source.close()
            for worker in self._workers:
                await self._loop.run_in_executor(None, worker.close)
        return await self._loop.run_in_executor(None, self._conclude)

    def stop(self, why: Optional[Stop]) -> None:
        """Send nothing more. What is under way is finished and written down."""
        self._is_signalled = self._is_signalled or why == "signal"
        self._send_stop(StopSending(why))

    def abandon(self) -> None:
        """Stop, and leave what is under way in doubt."""
        self._is_signalled = True
        self._send_stop(StopSending("signal", is_abandoned=True))

    def _send_stop(self, order: StopSending) -> None:
        if self._stop is None:
            self._stop = order.why
        if not self._stopping.done():
            self._stopping.set_result(None)
        self._send_all(order)
        self._changed.set()

    def snapshot(self) -> Snapshot:
        """Return how it is doing."""
        snapshots = [shard.snapshot for shard in self._shards.values()]
        return Snapshot(
            sum_of([snapshot.report for snapshot in snapshots]),
            sum(snapshot.limit for snapshot in snapshots),
            sum(snapshot.under_way for snapshot in snapshots),
            sum(snapshot.ended for snapshot in snapshots),
            min(snapshot.paused for snapshot in snapshots),
        )

    # --- Rows go to their shards --------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        most_ahead = _ROWS_AHEAD * len(self._shards)
        while True:
            await self._wait_until(lambda: self._ahead() < most_ahead or self._stopping.done())
            values = await self._take()
            if values is None:
                break
            rows: dict[int, list[Row]] = {}
            try:
                for value in values:
                    self._numbered += 1
                    row = self._reader.read(self._numbered, value)
                    rows.setdefault(shard_of(row, len(self._shards)), []).append(row)
            finally:
                # Those before a row that is wrong are sent.
                for number, some in rows.items():
                    shard = self._shards[number]
                    shard.ahead += len(some)
                    # Dictionaries keep their order: this one has the first row.
                    self._first = self._first or shard
                    shard.worker.send(Rows(number, pickle_rows(some)))
        self._is_exhausted = not self._stopping.done()
        if self._is_exhausted:
            self._send_all(End())

    def _ahead(self) -> int:
        return sum(shard.ahead for shard in self._shards.values())

    async def _take(self) -> Optional[list[object]]:
        """Return the next values; None at the end, or when the job stops."""
        return None if self._stopping.done() else await take_unless(self._stopping, self._source, _ROWS_AT_ONCE)

    # --- What the workers answer --------------------------------------------------------------------------------------

    def _in_loop(self, what: Callable[[T], None]) -> Callable[[T], None]:
        def call(argument: T) -> None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(what, argument)

        return call

    def _hear(self, answer: Answer) -> None:
        if isinstance(answer, Taken):
            self._shards[answer.shard].ahead -= answer.rows
            if self._is_first:
                self._grant()
        elif isinstance(answer, Unable):
            self._errors.append(answer.error.restore())
            self.stop(None)
        else:
            self._hear_of(self._shards[answer.shard], answer)
            self._open()
            self._check_budget()
            self._grant()
        self._changed.set()

    def _hear_of(self, shard: _Shard, answer: Any) -> None:
        if isinstance(answer, Returned):
            if not shard.has_ended:  # its runs are known
                shard.granted -= answer.runs
            return
        shard.snapshot = answer.snapshot
        if answer.snapshot.is_stopping and not self._stopping.done():
            # The others need not wait for its calls in progress.
            self._send_stop(StopSending(answer.snapshot.report.stopped))
        if isinstance(answer, Asked):
            shard.is_asking = True
        elif isinstance(answer, Ended):
            self._end(shard, answer)

    def _end(self, shard: _Shard, answer: Ended) -> None:
        shard.has_ended, shard.is_asking, shard.report = True, False, answer.report
        shard.granted = answer.snapshot.runs
        stopped = answer.snapshot.report.stopped
        if answer.error is not None:
            self._errors.append(answer.error.restore())
        if (answer.error is not None or stopped is not None) and not self._stopping.done():  # such as a locked journal
            self._send_stop(StopSending(stopped))

    def _bury(self, worker: Worker, how: str) -> None:
        """Record that a process has ended. If one of its shards has not, the process died."""
        left = [self._shards[number] for number in worker.shards if not self._shards[number].has_ended]
        for shard in left:
            shard.has_ended = True
        if left:
            report = self.snapshot().report
            message = f"a process of the job died ({how}): the rows that it had under way are in doubt. {report}"
            self._errors.append(BulkError(message, report=report))
            self.stop(None)
        self._changed.set()

    # --- The budget ---------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Let all shards send, once the first row has come to its end."""
        scout = self._scout
        if not self._is_first or scout is None or self._stopping.done():
            return
        if scout.has_ended and scout.snapshot.is_first:
            self._scout = None  # it had nothing to send, or was stopped
        elif not scout.snapshot.is_first and scout.snapshot.ended:
            self._is_first = False
            self._send_all(Pass(scout.snapshot.is_answered))

    def _check_budget(self) -> None:
        budget, snapshots = self._budget, [shard.snapshot for shard in self._shards.values()]
        if self._stopping.done() or not self._is_open:
            return
        if budget.tokens is not None and sum(each.tokens for each in snapshots) >= budget.tokens:
            self.stop("tokens")
        elif budget.failures is not None and sum(each.failures for each in snapshots) >= budget.failures:
            self.stop("failures")
        elif budget.runs is not None and any(shard.is_asking for shard in self._shards.values()):
            used = self._runs_before + sum(each.runs for each in snapshots)
            if used >= budget.runs:
                self.stop("runs")

    @property
    def _is_open(self) -> bool:
        """Whether all journals are open. Before that, what the job has used is not known."""
        return all(shard.snapshot.runs_before is not None for shard in self._shards.values())

    @property
    def _runs_before(self) -> int:
        """Runs of earlier runs of the job."""
        return sum(shard.snapshot.runs_before or 0 for shard in self._shards.values())

    def _left(self) -> int:
        """Return how many runs may still be granted."""
        if self._budget.runs is None:
            return _NO_LIMIT
        return self._budget.runs - self._runs_before - sum(shard.granted for shard in self._shards.values())

    def _grant(self) -> None:
        if self._stopping.done() or not self._is_open:
            return
        is_short = False
        for shard in self._shards.values():
            if not shard.is_asking:
                continue
            if self._is_first:
                if self._scout is None and self._left() > 0 and self._may_scout(shard):
                    self._scout = shard
                    self._grant_to(shard, 1)
                continue
            runs = self._left()
            if self._counts_ends:
                runs = min(runs, self._maximum - self._outstanding())
            if self._is_limited:
                runs = min(runs, self._block)
            if runs > 0:
                self._grant_to(shard, runs)
            else:
                is_short = True
        if is_short:
            self._reclaim()

    def _may_scout(self, shard: _Shard) -> bool:
        """Return whether a shard may send the first row: the others wait until the rows before theirs are settled."""
        first = self._first
        return first is None or shard is first or first.has_ended or not first.ahead

    def _reclaim(self) -> None:
        """Let shards give back what they were granted and do not need now, such as for a row that was rejected."""
        if self._reclaiming is not None:
            return  # each answer leads here again, and would ask for more answers
        self._reclaiming = self._loop.call_later(_RECLAIM_SECONDS, self._reclaim_again)
        for worker in self._workers:
            shards = [self._shards[number] for number in worker.shards]
            if any(shard.granted > shard.snapshot.runs + shard.snapshot.under_way for shard in shards):
                worker.send(Reclaim())

    def _reclaim_again(self) -> None:
        self._reclaiming = None
        self._grant()

    def _outstanding(self) -> int:
        """Return how many granted runs have not ended yet, as far as is known."""
        return sum(shard.granted - shard.snapshot.runs for shard in self._shards.values())

    def _grant_to(self, shard: _Shard, runs: int) -> None:
        shard.granted += runs
        shard.is_asking = False
        shard.worker.send(Grant(shard.number, runs))

    # --- The end ------------------------------------------------------------------------------------------------------

    def _send_all(self, order: Order) -> None:
        for worker in self._workers:
            worker.send(order)

    async def _wait_until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def _conclude(self) -> BulkReport:
        total = sum_of([self._report_of(shard) for shard in self._shards.values()])
        report = replace(
            total,
            seconds=time.monotonic() - self._started,
            is_exhausted=self._is_exhausted and total.is_exhausted,
            stopped=self._stop,
        )
        if self._stop == "signal" and not self._is_signalled:
            message = f"a process of the job was ended by a signal; its calls under way were finished. {report}"
            self._errors.append(BulkError(message, report=report))
        if not self._errors:
            return report
        raise error_of(self._errors, report)

    def _report_of(self, shard: _Shard) -> BulkReport:
        """Return the report of the engine, or that of the journal if the process died."""
        if shard.report is not None:
            return shard.report
        path = shard_path(self._path, shard.number)
        with closing(open_for_reading(path)) as connection:
            return read_report(connection, path)


def start_fleet(
    path: Path, processes: Optional[int], client: FetchHive, reader: RowReader, *, budget: Budget, limits: Limits
) -> Optional[Callable[[Source], Fleet]]:
    """Start the processes of a job; return the function that makes the fleet, or None for a job in this process alone.

    Called in the thread of the caller, before the job starts threads: it is safer to fork without them.

    Raises:
        JournalError: The journal is one of a job in one process, or cannot be made.
        ConfigurationError: The client cannot be sent to another process.
        ValueError: There are fewer calls at once than shards.

    """
    count = count_shards(path)
    if count is None:
        if processes is None:
            return None
        count = int(processes)
    pickled = pickle_client(client)
    if limits.max_concurrency < count:
        raise ValueError(f"max_concurrency must be at least {count}, the number of journals that share it")
    journals = make_journals(path, count)
    shards = list(enumerate(journals))
    number = min(int(processes or 1), count)
    setups = [Setup(pickled, shards[place::number], limits.divided_by(count)) for place in range(number)]
    workers = start_workers(client, setups)

    def make(source: Source) -> Fleet:
        return Fleet(source, reader, path, workers, budget=budget, maximum=limits.max_concurrency)

    return make
