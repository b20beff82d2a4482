"""Runs a job in a thread of its own, with an event loop of its own, while the caller's thread reads the rows."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Callable, Optional, Protocol, cast

from .rows import ServedSource

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from fetch_hive_sdk import FetchHive

    from .endings import Snapshot
    from .progress import Watch
    from .report import BulkReport, Stop
    from .rows import Source

_SIGTERM_EXIT = 128 + 15
_LOOK_SECONDS = 0.2  # Windows does not interrupt a wait when a signal comes
_READING_SECONDS = 1.0  # for the rows to return, once the job has ended


class Runs(Protocol):
    """What runs a job: an `Engine`, or a `Fleet` of processes."""

    async def run(self) -> BulkReport:
        """Send the rows, and return what has been done."""
        ...

    def stop(self, why: Optional[Stop]) -> None:
        """Send nothing more. What is under way is finished and written down."""
        ...

    def abandon(self) -> None:
        """Stop, and leave what is under way in doubt."""
        ...

    def snapshot(self) -> Snapshot:
        """Return how it is doing."""
        ...


class Watched:
    """An engine and its progress display."""

    def __init__(self, engine: Runs, watch: Watch, client: FetchHive) -> None:
        self.engine = engine
        self.client = client
        self.stop: Callable[[Optional[Stop]], None] = engine.stop
        self.abandon: Callable[[], None] = engine.abandon
        self._watch = watch

    async def run(self) -> BulkReport:
        """Run the job, and show how it is doing."""
        with self._watch.watching(self.engine.snapshot):
            return await self.engine.run()


class _JobEndedError(BaseException):
    """Ends a wait for the next row. Not an Exception, which the rows may catch."""


class Background:
    """Runs a job in a thread of its own, with a loop of its own, while the thread that called reads the rows."""

    def __init__(
        self, plan: Callable[[Source], Watched], make_source: Callable[[asyncio.AbstractEventLoop], Source]
    ) -> None:
        self._plan = plan
        self._make_source = make_source
        self._loop = asyncio.new_event_loop()
        self._source = make_source(self._loop)
        self._watched: Optional[Watched] = None
        # In the context of the caller, as with `arun`, so that the spans of calls are children of the caller's span.
        context = copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="fetch-hive-job", daemon=True)
        self._report: Optional[BulkReport] = None
        self._error: Optional[BaseException] = None
        self._signals: list[int] = []
        self._previous: dict[signal.Signals, Any] = {}
        self._has_ended = False
        self._has_served = threading.Event()

    def run(self) -> BulkReport:
        """Run the job, and return its report."""
        with self._catching_signals():
            self._thread.start()
            try:
                try:
                    self._serve()
                finally:
                    self._has_served.set()
                while self._thread.is_alive():
                    self._thread.join(_LOOK_SECONDS)
            except BaseException:
                # A second signal.
                self._tell(lambda watched: watched.abandon())
                self._thread.join()
                raise
        self._finish()
        if self._error is not None:
            raise self._error
        return cast("BulkReport", self._report)

    def _serve(self) -> None:
        """Read the rows on request. The first signal and the end of the job end a wait for the next row."""
        if isinstance(self._source, ServedSource):
            try:
                self._source.serve(self._wait)
            except BaseException as exc:
                if len(self._signals) > 1:
                    raise
                if not self._signals:
                    self._source.fail(exc)

    def _wait(self, condition: threading.Condition) -> None:
        condition.wait(_LOOK_SECONDS if sys.platform == "win32" else None)

    def _finish(self) -> None:
        """Let the signal that ended the job have its usual effect."""
        if not self._signals:
            return
        number = self._signals[0]
        handler = self._previous[signal.Signals(number)]
        if callable(handler):
            handler(number, None)
        elif number == signal.SIGTERM:
            raise SystemExit(_SIGTERM_EXIT) from self._error
        else:
            raise KeyboardInterrupt from self._error

    @contextmanager
    def _catching_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.getsignal(number)
            if previous is not signal.SIG_IGN and previous is not None:
                self._previous[number] = previous
                signal.signal(number, self._hear)
        # By default this signal is ignored, so that one that comes late does no harm.
        if sys.platform != "win32" and signal.getsignal(signal.SIGURG) is signal.SIG_DFL:
            self._previous[signal.SIGURG] = signal.signal(signal.SIGURG, self._leave_rows)
        try:
            yield
        finally:
            for number, previous in self._previous.items():
                signal.signal(number, previous)

    def _hear(self, number: int, frame: Optional[FrameType]) -> None:  # noqa: ARG002 - for signal
        self._signals.append(number)
        is_first = len(self._signals) == 1
        if is_first:
            self._tell(lambda watched: watched.stop("signal"))
        # Only an exception ends a wait for the next row, such as a line of stdin.
        if not is_first or (isinstance(self._source, ServedSource) and self._source.is_reading):
            raise SystemExit(_SIGTERM_EXIT) if number == signal.SIGTERM else KeyboardInterrupt

    def _leave_rows(self, number: int, frame: Optional[FrameType]) -> None:  # noqa: ARG002 - for signal
        if self._has_ended and isinstance(self._source, ServedSource) and self._source.is_reading:
            raise _JobEndedError

    def _tell(self, what: Callable[[Watched], None]) -> None:
        def tell() -> None:
            if self._watched is not None:
                what(self._watched)

        with suppress(RuntimeError):  # it has just ended
            self._loop.call_soon_threadsafe(tell)

    # In the thread of the job:

    def _work(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            main = self._loop.create_task(self._main())
            try:
                self._loop.run_until_complete(main)
            except BaseException:
                # SystemExit in any task, such as that of the progress, ends the loop before the job.
                if not main.done():
                    self._tell(lambda watched: watched.stop(None))
                    self._loop.run_until_complete(main)
                raise
        except BaseException as exc:  # noqa: BLE001 - whatever it is, what is under way has to be finished first
            self._error = exc
        finally:
            try:
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
            finally:
                asyncio.set_event_loop(None)
                self._loop.close()
                self._source.close()
                self._end_reading()

    def _end_reading(self) -> None:
        """Interrupt the main thread if the job has ended and the rows still block, as on a pipe without a new line."""
        self._has_ended = True
        if sys.platform != "win32" and signal.SIGURG in self._previous and not self._has_served.wait(_READING_SECONDS):
            signal.pthread_kill(cast("int", threading.main_thread().ident), signal.SIGURG)

    async def _main(self) -> None:
        watched = self._watched = self._plan(self._source)
        if self._signals:
            watched.stop("signal")
        try:
            self._report = await watched.run()
        finally:
            # Those of this loop, which ends now.
            await watched.client.aclose()
