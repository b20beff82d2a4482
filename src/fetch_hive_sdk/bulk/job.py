"""`Job`: rows, a client and a journal together."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, Protocol, TypeVar, Union, cast, overload

from pydantic import TypeAdapter

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._session import runs_asyncio

from .budget import Budget
from .engine import Engine
from .export import export
from .failures import JournalError
from .lock import OwnerLock, is_owned
from .opening import journal_errors, open_for_reading, open_for_writing, quick_check
from .pace import Pace
from .progress import Watch
from .reading import read_items, read_report
from .report import Item
from .rows import AsyncSource, PlainSource, RowReader, ServedSource, is_async
from .store import DONE, FAILED, PENDING, REJECTED, Store

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import AsyncIterable, Generator, Iterable, Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

    from typing_extensions import Self

    from fetch_hive_sdk import FetchHive

    from .progress import Progress
    from .report import BulkReport, State
    from .rows import Key, RowValue, Source

OutputT = TypeVar("OutputT")

_SIGTERM_EXIT = 128 + 15
_LOOK_SECONDS = 0.2  # Windows does not interrupt a wait when a signal comes


class _HasOutput(Protocol[OutputT]):
    """A typed prompt."""

    @property
    def output(self) -> Union[type[OutputT], TypeAdapter[OutputT]]: ...


class Job:
    """A job over many rows: each is run once, whatever dies, and a journal knows what has become of it.

    Args:
        path: The journal: a SQLite file. A new one is made by the first `run`; an old one is gone on with.

    Example:
        ```python
        rows = [{"text": "The shop was down."}, {"text": "It is up again."}]
        job = Job("reviews.db")
        report = job.run(client, rows, deployment="summarise", inputs={"text": "text"}, progress=False)
        print(report.done, "of", report.rows)
        for item in job.results():
            print(item.key, item.state, item.response)
        ```
    """

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self.path: Path = Path(path)
        """The journal."""

    # --- Running ------------------------------------------------------------------------------------------------------

    def run(
        self,
        client: FetchHive,
        rows: Union[Iterable[RowValue], AsyncIterable[RowValue]],
        *,
        deployment: Optional[str] = None,
        variant: Optional[str] = None,
        inputs: Optional[Mapping[str, str]] = None,
        key: Optional[Key] = None,
        budget: Optional[Budget] = None,
        max_concurrency: int = 64,
        rpm: Optional[float] = None,
        tpm: Optional[float] = None,
        retry_failed: bool = False,
        force: bool = False,
        wait_for_reset: bool = False,
        progress: Union[Callable[[Progress], None], Literal[False], None] = None,
    ) -> BulkReport:
        """Send the rows that are not settled, and wait for their answers.

        Rows that are pending or were rejected are sent; those in doubt never by themselves, see `retry`. It runs in a
        thread of its own, while the rows are read in yours. In the main thread, Ctrl-C and SIGTERM let it finish what
        is under way; a second one leaves that in doubt.

        Args:
            client: What to send with. Its own repeats are off inside the job. A client with only an `http_client`
                injected cannot be used.
            rows: Requests, such as `InvokeRequest`, or mappings. Read as they are needed.
            deployment: The prompt deployment to run, for rows that are mappings.
            variant: Its variant, likewise.
            inputs: For each variable of the prompt the column that it comes from, likewise. None for all columns.
            key: What a row is known by: the name of a column, or a function of the row. None for the request itself,
                so that a request that is there three times is run three times.
            budget: What the job may use before it stops.
            max_concurrency: How many calls may be under way at once, at most.
            rpm: Calls a minute, at most.
            tpm: Tokens a minute, at most; what is under way comes on top.
            retry_failed: Whether rows that have failed are sent again.
            force: Whether a row may have another request than the journal has under its key. The new one is run.
            wait_for_reset: Whether to wait until tomorrow where the daily cap is reached.
            progress: Called with a `Progress` now and then, in the thread of the job; False for silence. None shows it
                on stderr: with rich, if it is installed, on a terminal, and a line every ten seconds elsewhere.

        Returns:
            What has been done. `stopped` names the budget that was reached, if one was.

        Raises:
            BulkError: The job stopped: a wrong key, no such deployment, no credit, the daily cap, no network, a full
                disk. Its `report` says what has been done.
            JournalError: The journal cannot be used. A BulkError.
            RowError: A row cannot be sent as it is, or two have the same key. A BulkError and a ValueError.
            ConfigurationError: The client cannot make asyncio calls.

        """
        reads_async = is_async(rows)

        def make(loop: asyncio.AbstractEventLoop) -> Source:
            return AsyncSource(cast("Any", rows)) if reads_async else ServedSource(cast("Any", rows), loop)

        plan = self._plan(
            client,
            RowReader(deployment, variant, inputs, key),
            rows,
            budget,
            max_concurrency=max_concurrency,
            rpm=rpm,
            tpm=tpm,
            retry_failed=retry_failed,
            force=force,
            wait_for_reset=wait_for_reset,
            progress=progress,
        )
        return _Background(plan, make).run()

    async def arun(
        self,
        client: FetchHive,
        rows: Union[Iterable[RowValue], AsyncIterable[RowValue]],
        *,
        deployment: Optional[str] = None,
        variant: Optional[str] = None,
        inputs: Optional[Mapping[str, str]] = None,
        key: Optional[Key] = None,
        budget: Optional[Budget] = None,
        max_concurrency: int = 64,
        rpm: Optional[float] = None,
        tpm: Optional[float] = None,
        retry_failed: bool = False,
        force: bool = False,
        wait_for_reset: bool = False,
        progress: Union[Callable[[Progress], None], Literal[False], None] = None,
    ) -> BulkReport:
        """Send the rows in this event loop: the asyncio twin of `run`. Cancelled, it finishes what is under way."""
        plan = self._plan(
            client,
            RowReader(deployment, variant, inputs, key),
            rows,
            budget,
            max_concurrency=max_concurrency,
            rpm=rpm,
            tpm=tpm,
            retry_failed=retry_failed,
            force=force,
            wait_for_reset=wait_for_reset,
            progress=progress,
        )
        source: Source = AsyncSource(cast("Any", rows)) if is_async(rows) else PlainSource(cast("Any", rows))
        engine = plan(source)
        task = asyncio.ensure_future(engine.run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            engine.stop("signal")
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                engine.abandon()
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # it is known
            raise

    def _plan(
        self,
        client: FetchHive,
        reader: RowReader,
        rows: object,
        budget: Optional[Budget],
        *,
        max_concurrency: int,
        rpm: Optional[float],
        tpm: Optional[float],
        retry_failed: bool,
        force: bool,
        wait_for_reset: bool,
        progress: Union[Callable[[Progress], None], Literal[False], None],
    ) -> Callable[[Source], _Watched]:
        """Check the arguments; return what makes the engine."""
        is_async(rows)
        if not runs_asyncio(client):
            raise ConfigurationError(
                "a job makes asyncio calls, and this client has only an http_client: pass async_http_client, too"
            )
        if isinstance(cast("object", max_concurrency), bool) or int(max_concurrency) < 1:
            raise ValueError("max_concurrency must be a whole number, 1 or more")
        for name, limit in (("rpm", rpm), ("tpm", tpm)):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be a positive number")
        sendable = frozenset({PENDING, REJECTED, FAILED} if retry_failed else {PENDING, REJECTED})
        watch = Watch(progress, rows)

        def make(source: Source) -> _Watched:
            engine = Engine(
                client,
                source,
                reader,
                self.path,
                pace=Pace(int(max_concurrency), rpm=rpm, tpm=tpm),
                budget=budget or Budget(),
                maximum=int(max_concurrency),
                sendable=sendable,
                may_change_requests=force,
                waits_for_reset=wait_for_reset,
            )
            return _Watched(engine, watch, client)

        return make

    # --- Looking ------------------------------------------------------------------------------------------------------

    def status(self) -> BulkReport:
        """Return the counts of the journal, also while another process runs the job.

        Raises:
            JournalError: It cannot be read.

        """
        with self._reading() as connection:
            return read_report(connection, self.path)

    @overload
    def results(self, states: Optional[Iterable[State]] = None) -> Iterator[Item[Any]]: ...

    @overload
    def results(
        self,
        states: Optional[Iterable[State]] = None,
        *,
        prompt: Union[_HasOutput[OutputT], type[OutputT], TypeAdapter[OutputT]],
    ) -> Iterator[Item[OutputT]]: ...

    def results(self, states: Optional[Iterable[State]] = None, *, prompt: Any = None) -> Iterator[Item[Any]]:
        """Go through the rows in the order of the input, also while another process runs the job.

        Args:
            states: Only those in one of these states.
            prompt: The typed prompt that made the requests, or the type that the answers are: the `output` of each
                item is then of that type.

        Raises:
            JournalError: The journal cannot be read.
            ValueError: There is no such state.

        """
        read_output = None if prompt is None else _output_reader(prompt)
        wanted = None if states is None else frozenset(states)
        with self._reading() as connection:
            for stored in read_items(connection, self.path, wanted):
                yield Item(stored, read_output)

    def doubt(self) -> list[Item[Any]]:
        """Return the rows that may have been run, and paid for: they are never sent again by themselves.

        Look them up by what you know of them, then give them back with `retry` or close them with `settle`.

        Raises:
            JournalError: The journal cannot be read.

        """
        return list(self.results(["in_doubt"]))

    def export(self, path: Union[str, os.PathLike[str]]) -> int:
        """Write the rows to a file in the order of the input, also while another process runs the job.

        Args:
            path: JSON Lines, or CSV if its name ends with `.csv`. It is replaced at the end, and not before.

        Returns:
            How many rows were written.

        Raises:
            JournalError: The journal is damaged, or cannot be read. What can be read has been written.
            OutputError: The file cannot be written, or is the journal. A JournalError.

        """
        return export(self.path, Path(path))

    # --- Settling -----------------------------------------------------------------------------------------------------

    def retry(self, keys: Optional[Sequence[str]] = None) -> int:
        """Give rows in doubt back to the next run, which sends them again, and may pay for them again.

        Args:
            keys: Only these; None for all.

        Returns:
            How many rows there were.

        Raises:
            KeyError: No row in doubt has one of these keys. Nothing is changed.
            JournalError: The journal cannot be used, or a run has it.

        """
        return self._change_doubt(PENDING, keys)

    def settle(self, state: Literal["done", "failed"], keys: Optional[Sequence[str]] = None) -> int:
        """Close rows in doubt: you know what has become of them.

        Args:
            state: What they are from now on.
            keys: Only these; None for all.

        Returns:
            How many rows there were.

        Raises:
            KeyError: No row in doubt has one of these keys. Nothing is changed.
            JournalError: The journal cannot be used, or a run has it.

        """
        if state not in {"done", "failed"}:
            raise ValueError("a row in doubt is settled as done or as failed")
        return self._change_doubt(DONE if state == "done" else FAILED, keys)

    def _change_doubt(self, state: int, keys: Optional[Sequence[str]]) -> int:
        if isinstance(keys, str):
            raise TypeError("keys is a list of keys")
        with journal_errors(self.path):
            if not self.path.exists():
                raise JournalError(f"there is no journal {self.path}")
            lock = OwnerLock(self.path)
            try:
                with closing(open_for_writing(self.path)) as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    store = Store(connection)
                    store.doubt_sent()
                    changed, unknown = store.change_doubt(state, keys)
                    if unknown:
                        connection.execute("ROLLBACK")
                        raise KeyError(f"no row in doubt has the key {unknown[0]!r}")
                    connection.execute("COMMIT")
            finally:
                lock.release()
        return changed

    # --- Life ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection, None, None]:
        # A new connection each time: nothing of ours is open while a job runs, or where a process forks.
        connection = open_for_reading(self.path)
        try:
            with journal_errors(self.path):
                # While a run goes on, its owner has checked the file.
                if not is_owned(self.path):
                    quick_check(connection, self.path)
                yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """Do nothing: files are open only while they are used. For `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Job({str(self.path)!r})"


def _output_reader(prompt: object) -> Callable[[Any], Any]:
    """Return what reads an answer as the output type of a typed prompt, or as a type itself."""
    is_type = isinstance(prompt, (type, TypeAdapter))
    output_type: Any = cast("Any", prompt) if is_type else getattr(prompt, "output", prompt)
    return lambda response: response.output_as(output_type)


class _Watched:
    """An engine, and those who watch it."""

    def __init__(self, engine: Engine, watch: Watch, client: FetchHive) -> None:
        self.engine = engine
        self.client = client
        self.stop = engine.stop
        self.abandon = engine.abandon
        self._watch = watch

    async def run(self) -> BulkReport:
        with self._watch.watching(self.engine.snapshot):
            return await self.engine.run()


class _Background:
    """Runs a job in a thread of its own, with a loop of its own, while the thread that called reads the rows."""

    def __init__(
        self, plan: Callable[[Source], _Watched], make_source: Callable[[asyncio.AbstractEventLoop], Source]
    ) -> None:
        self._plan = plan
        self._make_source = make_source
        self._loop = asyncio.new_event_loop()
        self._source = make_source(self._loop)
        self._watched: Optional[_Watched] = None
        self._thread = threading.Thread(target=self._work, name="fetch-hive-job", daemon=True)
        self._report: Optional[BulkReport] = None
        self._error: Optional[BaseException] = None
        self._signals: list[int] = []
        self._previous: dict[signal.Signals, Any] = {}

    def run(self) -> BulkReport:
        with self._catching_signals():
            self._thread.start()
            try:
                self._serve()
                while self._thread.is_alive():
                    self._thread.join(_LOOK_SECONDS)
            except BaseException:
                # A second signal, or what the rows raise that is not an Exception.
                self._tell(lambda watched: watched.abandon())
                self._thread.join()
                raise
        self._finish()
        if self._error is not None:
            raise self._error
        return cast("BulkReport", self._report)

    def _serve(self) -> None:
        """Read the rows as they are wanted. The first signal ends a wait for the next one."""
        if isinstance(self._source, ServedSource):
            try:
                self._source.serve(self._wait)
            except (KeyboardInterrupt, SystemExit):
                if len(self._signals) != 1:
                    raise

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
        # Where the next row is waited for, such as one of stdin, nothing else would end that.
        if not is_first or (isinstance(self._source, ServedSource) and self._source.is_reading):
            raise SystemExit(_SIGTERM_EXIT) if number == signal.SIGTERM else KeyboardInterrupt

    def _tell(self, what: Callable[[_Watched], None]) -> None:
        def tell() -> None:
            if self._watched is not None:
                what(self._watched)

        with suppress(RuntimeError):  # it has just ended
            self._loop.call_soon_threadsafe(tell)

    # In the thread of the job:

    def _work(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._main())
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

    async def _main(self) -> None:
        watched = self._watched = self._plan(self._source)
        if self._signals:
            watched.stop("signal")
        try:
            self._report = await watched.run()
        finally:
            # Those of this loop, which ends now.
            await watched.client.aclose()
