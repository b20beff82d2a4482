"""Shows the progress of a job: as a bar on a terminal, as lines elsewhere, or through the caller's function."""

from __future__ import annotations

import asyncio
import logging
import operator
import sys
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, Protocol, Union, cast

if TYPE_CHECKING:
    from collections.abc import Generator

    from .endings import Snapshot
    from .report import BulkReport

log: logging.Logger = logging.getLogger("fetch_hive_sdk")

_TICK_SECONDS = 0.5
_LINE_SECONDS = 10.0
_RATE_SECONDS = 15.0  # the window for the rate
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True)
class Progress:
    """The progress of a running job."""

    report: BulkReport
    """The counts so far."""
    limit: int
    """How many calls may be under way now."""
    under_way: int
    """How many calls are under way."""
    rows_per_second: float
    """Rows that ended per second, over the last 15 seconds."""
    total: Optional[int]
    """The number of rows in the input; None if it is unknown."""
    seconds_left: Optional[float]
    """Estimated seconds until the job ends at this rate; None if they cannot be estimated."""
    paused: float
    """Seconds until the next call may start; 0 if it may start now."""

    def __str__(self) -> str:
        report = self.report
        counts = f"{report.done:,} done, {report.failed + report.rejected:,} failed, {report.in_doubt:,} in doubt"
        total = f" of {self.total:,}" if self.total is not None else ""
        parts = [
            f"{counts}{total}",
            f"{self.rows_per_second:.1f} rows/s",
            f"{report.tokens:,} tokens",
            f"{self.under_way}/{self.limit} under way",
        ]
        if self.paused >= 1:
            parts.append(f"paused for {duration(self.paused)}")
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """Format a duration, such as `1:05` or `2 h 03 min`."""
    whole = int(seconds)
    if whole >= _HOUR:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _MINUTE}:{whole % _MINUTE:02}"


class _Display(Protocol):
    seconds: float

    def show(self, progress: Progress) -> None: ...

    def close(self, progress: Progress) -> None: ...


class Watch:
    """Reports the progress of a job at intervals.

    Args:
        progress: A function to call. False reports nothing; None means stderr.
        rows: The input, whose length is used if it is known.
    """

    def __init__(self, progress: Union[Callable[[Progress], None], Literal[False], None], rows: object) -> None:
        self._progress = progress
        hint = -1
        if progress is not False:  # counting the rows of a file takes time
            with suppress(Exception):  # the total is optional
                hint = operator.length_hint(cast("Any", rows), -1)
        self._total = hint if hint >= 0 else None
        self._seen: deque[tuple[float, int]] = deque()
        self._has_failed = False

    @contextmanager
    def watching(self, look: Callable[[], Snapshot]) -> Generator[None, None, None]:
        """Report the progress in the event loop while the block runs, and once at its end.

        The job continues if its progress cannot be shown, such as on a terminal that was closed.
        """
        display = None
        with self._logging_errors():
            display = self._display()
        if display is None:
            yield
            return
        self._seen.append((time.monotonic(), 0))
        task = asyncio.ensure_future(self._tick(display, look))
        try:
            yield
        finally:
            task.cancel()
            with self._logging_errors():
                display.close(self._progress_of(look()))

    @contextmanager
    def _logging_errors(self) -> Generator[None, None, None]:
        """Log the first error of the display."""
        try:
            yield
        except Exception:
            if not self._has_failed:
                with suppress(Exception):  # the log may go to the same terminal
                    log.exception("the progress of a job cannot be shown; the job continues")
            self._has_failed = True

    def _display(self) -> Optional[_Display]:
        if self._progress is False:
            return None
        if callable(self._progress):
            return _Function(self._progress)
        if sys.stderr is None:
            return None
        if sys.stderr.isatty():
            with suppress(ImportError):
                return _Rich(self._total)
        return _Lines()

    async def _tick(self, display: _Display, look: Callable[[], Snapshot]) -> None:
        while True:
            await asyncio.sleep(display.seconds)
            with self._logging_errors():
                display.show(self._progress_of(look()))

    def _progress_of(self, snapshot: Snapshot) -> Progress:
        now = time.monotonic()
        self._seen.append((now, snapshot.ended))
        while len(self._seen) > 2 and self._seen[1][0] < now - _RATE_SECONDS:  # noqa: PLR2004 - two make a rate
            self._seen.popleft()
        (begin, before), report = self._seen[0], snapshot.report
        rate = (snapshot.ended - before) / max(now - begin, 0.001)
        left = None
        if self._total is not None and rate > 0:
            left = max(0, self._total - (report.rows - report.pending)) / rate
        return Progress(report, snapshot.limit, snapshot.under_way, rate, self._total, left, snapshot.paused)


class _Function:
    """Calls the caller's function."""

    seconds = _TICK_SECONDS

    def __init__(self, function: Callable[[Progress], None]) -> None:
        self._function = function

    def show(self, progress: Progress) -> None:
        self._function(progress)

    close = show


class _Lines:
    """Prints a line every ten seconds and one at the end."""

    seconds = _LINE_SECONDS

    def show(self, progress: Progress) -> None:
        _print(str(progress))

    def close(self, progress: Progress) -> None:
        _print(str(progress.report))


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress is printed


class _Rich:
    """Shows a bar on a terminal."""

    seconds = _TICK_SECONDS

    def __init__(self, total: Optional[int]) -> None:

        from rich.console import Console  # noqa: PLC0415 - not needed before
        from rich.progress import BarColumn, TextColumn  # noqa: PLC0415 - not needed before
        from rich.progress import Progress as Bar  # noqa: PLC0415 - not needed before

        text = TextColumn("{task.description}", markup=False)
        self._bar = Bar(
            BarColumn(bar_width=20),
            text,
            console=Console(stderr=True),
            auto_refresh=False,
            # What the program prints while the job runs is shown above the bar, unless it goes to a file.
            redirect_stdout=bool(sys.stdout and sys.stdout.isatty()),
        )
        self._task = self._bar.add_task("starting", total=total)
        self._bar.start()

    def show(self, progress: Progress) -> None:
        report = progress.report
        self._bar.update(self._task, description=str(progress), completed=report.rows - report.pending)
        self._bar.refresh()

    def close(self, progress: Progress) -> None:
        self._bar.update(self._task, description=str(progress.report), completed=progress.report.rows)
        try:
            self._bar.refresh()
        finally:
            self._bar.stop()  # restores stdout and stderr
