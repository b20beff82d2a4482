"""The engine of a job: workers send rows within a pace and a budget, and the journal records each row first.

    source -> admitted and marked as sent on disk -> armed -> under way -> end written to disk
                       ^                                          |
                       +------------- rate limited ---------------+

The engine arms one row per slot in advance, so that workers never wait for the disk: a worker takes its next row while
the journal writes the end of the last one. At most twice as many rows as may be under way are marked as sent.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Optional, cast

from pydantic_core import to_json

from fetch_hive_sdk import BulkError, ConfigurationError, FetchHiveError, OutputValidationError

from .endings import Snapshot, disk_error, error_of, message_of
from .failures import JournalError
from .journal import Journal
from .pace import Pace
from .report import BulkReport
from .rows import take_unless
from .spending import Spending
from .store import DONE, FAILED, IN_DOUBT, PENDING, REJECTED, SENT, End
from .verdicts import body_of, judge, resets_at, tokens_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from fetch_hive_sdk import FetchHive

    from .budget import Budget, Limits
    from .report import Stop
    from .rows import Reader, Source
    from .spending import Lease
    from .store import Row
    from .verdicts import Verdict

_TRIES = 3  # attempts to connect per row
_FIRST_WAIT = 0.5  # seconds between the first two attempts; doubles each time
_LARGEST_BATCH = 1024  # rows read at once while almost all of them are settled
_SETTLED_SHARE = 0.1  # if at most this share of a batch has to be sent, the next batch is larger
_LONG_PAUSE = 2.0  # seconds; armed rows are given back before a longer pause
_AFTER_RESET = 5.0  # seconds to wait after the daily cap resets, at most: clocks differ
_ERROR_CHARACTERS = 2000  # the journal keeps this much of a message


class Engine:
    """One run of a job.

    Args:
        client: The client to send with.
        source: The values of the input.
        reader: Converts values to rows.
        path: The journal.
        budget: The budget of the job.
        limits: How fast the job sends, and which rows it sends.
        lease: How many runs this engine may start, if several engines share a budget.
    """

    def __init__(
        self,
        client: FetchHive,
        source: Source,
        reader: Reader,
        path: Path,
        *,
        budget: Budget,
        limits: Limits,
        lease: Optional[Lease] = None,
    ) -> None:
        # The client must not retry: the pace has to see every rate-limit response.
        self._client: Any = client.with_options(max_retries=0)
        self._source = source
        self._reader = reader
        self._pace = Pace(limits.max_concurrency, rpm=limits.rpm, tpm=limits.tpm)
        self._spending = Spending(budget, lease)
        self._maximum = limits.max_concurrency
        self._sendable = limits.sendable
        self._may_change_requests = limits.may_change_requests
        self._waits_for_reset = limits.waits_for_reset
        if lease is not None:
            lease.on_change = self._look_again
        self._loop = asyncio.get_running_loop()
        self._journal = Journal(path, self._loop, self._free, self._fail_to_write)
        self._changed = asyncio.Event()
        self._stopping: asyncio.Future[None] = self._loop.create_future()
        self._started = time.monotonic()
        # Rows under way and rows to send:
        self._ready: deque[Row] = deque()  # to send, not marked yet
        self._armed: deque[Row] = deque()  # marked as sent
        self._marked = 0  # marked on disk or being marked
        self._arming = 0  # being marked
        self._under_way: dict[asyncio.Task[None], Optional[Row]] = {}
        self._active = 0
        self._timer: Optional[asyncio.TimerHandle] = None
        # Progress:
        self._numbered = 0
        self._batch = 0
        self._is_exhausted = False
        self._is_open = False
        self._is_first = True
        self._ended = 0
        self._unreached = 0  # consecutive rows without a connection
        # Why the job stops:
        self._stop: Optional[Stop] = None
        self._error: Optional[BaseException] = None
        self._reason: Optional[BaseException] = None
        self._disk_problem: Optional[Exception] = None

    # --- Control, called in the event loop ----------------------------------------------------------------------------

    async def run(self) -> BulkReport:
        """Send the rows and return the report.

        Raises:
            BulkError: The job stopped for a reason other than its budget.
            BaseException: An exception of the rows.

        """
        await self._journal.open(self._sendable, may_change_requests=self._may_change_requests)
        self._is_open = True
        self._spending.begin(self._journal.counts.runs, self._journal.counts.tokens)
        seconds = None
        if self._spending.budget.seconds is not None:
            seconds = self._loop.call_later(self._spending.budget.seconds, self.stop, "seconds")
        try:
            try:
                await self._feed()
            except JournalError as exc:
                self._fail_to_write(exc)
            except BaseException as exc:  # noqa: BLE001 - after any error, the calls under way finish first
                self._give_up(exc)
            await self._drain()
        finally:
            if seconds is not None:
                seconds.cancel()
            await self._close()
        return self._conclude()

    def stop(self, why: Optional[Stop]) -> None:
        """Stop sending. The calls under way finish, and the journal records them."""
        if self._stop is None:
            self._stop = why
        if not self._stopping.done():
            self._stopping.set_result(None)
        self._changed.set()

    def abandon(self) -> None:
        """Cancel the calls under way and leave their rows in doubt."""
        self.stop("signal")
        for task in self._under_way:
            task.cancel()

    def snapshot(self) -> Snapshot:
        """Return the status of the job."""
        return Snapshot(
            self._report(),
            self._pace.limit,
            self._active,
            self._ended,
            self._pace.delay(time.monotonic()),
            runs=self._spending.new_runs,
            tokens=self._spending.tokens,
            failures=self._spending.failures,
            is_first=self._pace.is_first,
            is_answered=not self._is_first,
            is_stopping=self.is_stopping,
            runs_before=self._spending.runs_before,
        )

    @property
    def is_stopping(self) -> bool:
        """Whether the engine has stopped sending."""
        return self._stopping.done()

    # --- Reading rows -------------------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        while not self.is_stopping:
            self._changed.clear()
            if self._is_exhausted and not self._ready and not self._reserved:
                return
            if not await self._arm():
                await self._changed.wait()

    async def _arm(self) -> bool:  # noqa: PLR0911 - one return per case
        """Mark the next rows; return whether there was anything to do."""
        is_paused = self._is_paused_for_long
        if is_paused or self._spending.used_up():
            self._give_back()
        if is_paused:
            return False
        room = self._room()
        if self._ready:
            if room > 0:
                await self._mark(room)
                return True
            self._stop_at_budget()
            if not self.is_stopping:
                self._spending.ask(self._reserved + self._arming)
            return False
        if self._is_exhausted:
            return False
        if room > 0:
            await self._read(max(room, self._batch), room)
            return True
        if self._spending.lease is not None and self._marked < 2 * self._pace.limit:
            # Settled rows need no lease.
            await self._read(max(2 * self._pace.limit, self._batch), 0)
            return True
        if not self._reserved and self._spending.reached():
            # A reached budget stops the job only if there is another row to send.
            await self._read(1, 0)
            return True
        return False

    def _room(self) -> int:
        """Return how many more rows may be marked now."""
        # Twice the current limit, and so never more than twice the maximum.
        return self._spending.room(2 * self._pace.limit - self._marked, self._reserved, self._arming)

    def give_back_lease(self) -> int:
        """Give back the runs of the lease that no row needs now; return how many."""
        needed = 0 if self._is_paused_for_long else min(len(self._ready), 2 * self._pace.limit - self._marked)
        return self._spending.give_back(self._reserved + self._arming + max(0, needed))

    def pass_first(self, *, is_answered: bool) -> None:
        """Send rows concurrently from now on: another engine has sent the first row."""
        self._is_first = self._is_first and not is_answered
        self._pace.settle_first()
        self._look_again()

    def _look_again(self) -> None:
        self._changed.set()
        self._pump()

    @property
    def _reserved(self) -> int:
        """The number of marked rows that have not ended."""
        return len(self._armed) + self._active

    def _stop_at_budget(self) -> None:
        """Stop if the next row cannot be sent because a budget is used up."""
        reached = self._spending.reached()
        if reached:
            self.stop(reached)

    async def _mark(self, room: int) -> None:
        rows = [self._ready.popleft() for _ in range(min(room, len(self._ready)))]
        self._marked += len(rows)
        self._arming = len(rows)
        try:
            await self._journal.mark(rows)
        except Exception:
            self._marked -= len(rows)
            self._ready.extendleft(reversed(rows))
            raise
        finally:
            self._arming = 0
        self._armed.extend(rows)
        self._pump()

    async def _read(self, most: int, room: int) -> None:
        values = await take_unless(self._stopping, self._source, most)
        if values is None:
            # The source has ended, unless the job was stopped.
            self._is_exhausted = not self.is_stopping
            return
        rows: list[Row] = []
        problem: Optional[Exception] = None
        for value in values:
            self._numbered += 1
            try:
                rows.append(self._reader.read(self._numbered, value))
            except Exception as exc:  # noqa: BLE001 - the key may be the caller's function; earlier rows are still sent
                problem = exc
                break
        if self._spending.lease is not None:  # it may have been given back in the meantime
            room = max(0, min(room, self._room()))
        self._marked += room
        self._arming = room
        try:
            admitted = await self._journal.admit(rows, room)
        except Exception:
            self._marked -= room
            raise
        finally:
            self._arming = 0
        self._marked -= room - admitted.marked
        self._armed.extend(admitted.rows[: admitted.marked])
        self._ready.extend(admitted.rows[admitted.marked :])
        problem = admitted.error or problem
        if problem is not None:
            raise problem
        is_settled = len(admitted.rows) <= len(rows) * _SETTLED_SHARE
        self._batch = min(_LARGEST_BATCH, 2 * max(len(rows), self._batch)) if is_settled else 0
        self._pump()

    # --- Sending rows -------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start a worker for each row that may be sent now."""
        while self._active < self._pace.limit:
            row = self._next()
            if row is None:
                return
            self._active += 1
            task = self._loop.create_task(self._work(row))
            self._under_way[task] = row
            task.add_done_callback(self._leave)

    def _next(self) -> Optional[Row]:
        """Return the next row, or None if none may be sent now."""
        if self.is_stopping or not self._armed or self._spending.used_up():
            return None
        now = time.monotonic()
        delay = self._pace.delay(now)
        if delay > 0:
            self._wake_in(delay)
            return None
        self._pace.begin(now)
        return self._armed.popleft()

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._changed.set()
        self._pump()

    async def _work(self, row: Optional[Row]) -> None:
        """Send a row, then the next ones as long as they may be sent."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        while row is not None:
            self._under_way[task] = row
            await self._send(row)
            self._under_way[task] = None
            self._changed.set()
            row = self._next() if self._active <= self._pace.limit else None

    def _leave(self, task: asyncio.Task[None]) -> None:
        row = self._under_way.pop(task)
        self._active -= 1
        if row is not None:
            # The task was cancelled, or the call raised an unexpected error: if the row was sent, it may have been run.
            error = None if task.cancelled() else task.exception()
            if row.is_waiting:
                self._put_back(row)
            else:
                row.attempts += 1
                self._end(
                    row, IN_DOUBT, error or BulkError("the job was ended while the call was under way", report=None)
                )
            if error is not None:
                self._give_up(error)
        self._changed.set()
        self._pump()

    async def _send(self, row: Row) -> None:
        row.began = time.monotonic()
        try:
            answer = await self._client.ainvoke(row.request)
        except ConfigurationError as error:
            self._put_back(row)
            self._give_up(error)
        except FetchHiveError as error:
            row.attempts += 1
            await self._take_error(row, error)
        else:
            row.attempts += 1
            self._take_answer(row, answer)

    def _take_answer(self, row: Row, answer: Any) -> None:
        tokens = tokens_of(answer)
        self._pace.use(tokens, time.monotonic())
        self._answered()
        raw: object = getattr(answer, "raw", None)
        body = to_json(answer if raw is None else raw).decode()
        self._end(row, DONE, body=body, tokens=tokens)

    def _answered(self) -> None:
        """Record that the service has answered."""
        self._is_first = False
        self._unreached = 0
        self._pace.settle_first()
        self._pace.succeed(self._active)

    async def _take_error(self, row: Row, error: FetchHiveError) -> None:
        # A row that was rejected before, while others were run, says nothing about the rows after it.
        verdict = judge(error, is_first=self._is_first and not (row.home == REJECTED and self._spending.runs_before))
        if verdict.what == "unsent":
            await self._try_again(row, error, verdict)
        elif verdict.what == "throttled":
            self._unreached = 0
            self._pace.throttle(time.monotonic(), row.began, verdict.retry_after)
            self._put_back(row)
        elif verdict.what == "cap" and self._waits_for_reset:
            self._wait_for(resets_at(error))
            self._put_back(row)
        else:
            self._take_end(row, error, verdict)

    def _take_end(self, row: Row, error: FetchHiveError, verdict: Verdict) -> None:
        if verdict.state == IN_DOUBT:
            self._is_first = False
            self._unreached = 0
            self._pace.settle_first()
        else:
            self._answered()
        if verdict.stop is not None:
            self._reason = self._reason or error
            self.stop(verdict.stop)
        paid: object = getattr(error, "response", None) if isinstance(error, OutputValidationError) else None
        self._end(row, verdict.state, error, body=body_of(error), tokens=tokens_of(paid))

    async def _try_again(self, row: Row, error: FetchHiveError, verdict: Verdict) -> None:
        """Retry a row that cannot have been run, up to `_TRIES` attempts in all."""
        row.tries += 1
        if row.tries < _TRIES and not self.is_stopping:
            wait = _FIRST_WAIT * 2.0 ** (row.tries - 1) * (0.5 + random.random() / 2)  # noqa: S311 - jitter need not be secure
            row.is_waiting = True
            await asyncio.wait({self._stopping}, timeout=wait)
            row.is_waiting = False
            if self._stopping.done():
                self._put_back(row)
            else:
                self._armed.appendleft(row)
            return
        row.tries = 0
        self._pace.settle_first()
        self._end(row, REJECTED, error)
        if verdict.stop == "network":
            self._unreached += 1
            if self._unreached >= self._maximum:
                self._reason = self._reason or error
                self.stop("network")
        else:
            self._unreached = 0

    def _wait_for(self, moment: datetime) -> None:
        # If our clock is fast, the reset time has passed but the cap still holds: wait a little in any case.
        seconds = max(0.0, moment.timestamp() - time.time())
        jitter = _AFTER_RESET * (0.5 + random.random() / 2)  # noqa: S311 - jitter need not be secure
        self._pace.pause(time.monotonic() + seconds + jitter)

    @property
    def _is_paused_for_long(self) -> bool:
        delay = self._pace.delay(time.monotonic())
        if delay > _LONG_PAUSE:
            self._wake_in(delay - _LONG_PAUSE)
            return True
        return False

    # --- Ending rows --------------------------------------------------------------------------------------------------

    def _end(
        self,
        row: Row,
        state: int,
        error: Optional[BaseException] = None,
        *,
        body: Any = None,
        tokens: int = 0,
    ) -> None:
        may_have_run = state in {DONE, FAILED, IN_DOUBT}
        self._spending.add(may_have_run=may_have_run, tokens=tokens, is_failure=state != DONE)
        self._ended += 1
        now = time.time()
        self._journal.end(
            End(
                row.id,
                state,
                row.attempts,
                int(may_have_run),
                tokens,
                body,
                getattr(error, "error_code", None),
                None if error is None else _describe(error),
                getattr(error, "request_id", None),
                int(now * 1000),
                int((time.monotonic() - row.began) * 1000),
                row=row,
            )
        )

    def _put_back(self, row: Row) -> None:
        """Put a row that cannot have been run back into the queue."""
        self._journal.end(End(row.id, row.home, row.attempts, is_back=True))
        self._ready.appendleft(row)

    def _give_back(self) -> None:
        """Unmark the rows that have not been sent."""
        if self._armed:
            rows = list(self._armed)
            self._armed.clear()
            self._journal.unmark(rows)
            self._ready.extendleft(reversed(rows))

    def _free(self, number: int) -> None:
        self._marked -= number
        self._changed.set()

    # --- The end ------------------------------------------------------------------------------------------------------

    def _give_up(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self.stop(None)

    def _fail_to_write(self, error: Exception) -> None:
        self._disk_problem = self._disk_problem or error
        self.stop("disk")

    async def _drain(self) -> None:
        while self._under_way:
            try:
                await asyncio.wait(list(self._under_way))
            except asyncio.CancelledError as exc:  # noqa: PERF203 - the event loop ends: wait again
                self._give_up(exc)
                self.abandon()
        self._give_back()

    async def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._source.close()
        seconds = self._journal.seconds + time.monotonic() - self._started
        await self._journal.close(exhausted=int(self._is_exhausted), stopped=self._stop, seconds=seconds)
        self._is_open = False

    def _report(self) -> BulkReport:
        counts = self._journal.counts
        # Marked rows may still be given back; once the journal is closed, they are in doubt.
        marked = counts.states[SENT]
        return BulkReport(
            done=counts.states[DONE],
            rejected=counts.states[REJECTED],
            failed=counts.states[FAILED],
            in_doubt=counts.states[IN_DOUBT] + (0 if self._is_open else marked),
            pending=counts.states[PENDING] + (marked if self._is_open else 0),
            tokens=counts.tokens,
            seconds=time.monotonic() - self._started,
            is_exhausted=self._is_exhausted,
            stopped=self._stop,
        )

    def _conclude(self) -> BulkReport:
        report = self._report()
        if self._disk_problem is not None:  # before all others: its error has answers that were paid for
            raise disk_error(self._journal, report, self._disk_problem) from self._disk_problem
        if self._error is not None:
            raise error_of([self._error], report)
        message = message_of(self._stop, self._reason, self._maximum)
        if message is None:
            return report
        raise BulkError(f"{message}. {report}", report=report) from self._reason


def _describe(error: BaseException) -> str:
    # The message of another library's exception may contain lone surrogates, for example from a non-UTF-8 file name.
    text = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
    return text.encode("utf-8", "backslashreplace").decode()
