"""`Job`: rows, a client and a journal together."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, Protocol, TypeVar, Union, cast, overload

from pydantic import TypeAdapter

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._session import runs_asyncio

from .background import Background, Watched
from .budget import Budget, Limits
from .engine import Engine
from .export import export
from .failures import JournalError
from .fleet import start_fleet
from .lock import OwnerLock, is_owned
from .opening import journal_errors, open_for_reading, open_for_writing, quick_check
from .progress import Watch
from .reading import read_all_items, read_reports
from .report import Item
from .rows import AsyncSource, PlainSource, RowReader, ServedSource, is_async
from .shards import journals_of
from .store import DONE, FAILED, PENDING, REJECTED, Store, change_doubt
from .tables import rows_of

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from fetch_hive_sdk import FetchHive

    from .progress import Progress
    from .report import BulkReport, State
    from .rows import Key, RowValue, Source
    from .tables import Rows

OutputT = TypeVar("OutputT")


def run_shard(
    client: FetchHive,
    requests: Iterable[RowValue],
    journal: Union[str, os.PathLike[str]],
    *,
    deployment: Optional[str] = None,
    variant: Optional[str] = None,
    inputs: Optional[Mapping[str, str]] = None,
    key: Optional[Key] = None,
    budget: Optional[Budget] = None,
    max_concurrency: int = 64,
    rpm: Optional[float] = None,
    tpm: Optional[float] = None,
) -> BulkReport:
    """Run a part of a job that another engine has cut into parts, such as a partition of Dask or Spark.

    If the engine runs the part again, it goes on with its journal: no row is paid for twice. For that, the journal has
    to be in the same place each time, on a disk that outlives the worker, and each part needs a journal of its own.

    Args:
        client: The client to send with.
        requests: Requests or mappings, as for `Job.run`: the same ones each time.
        journal: The journal of this part: a path.
        deployment: The prompt deployment to run, for rows that are mappings.
        variant: Its variant.
        inputs: For each variable of the prompt, the column that it comes from. None for all columns.
        key: The column that has the key of a row, or a function that makes it of the row.
        budget: What this part may use.
        max_concurrency: How many calls of this part may be under way at once, at most.
        rpm: Calls a minute, at most.
        tpm: Tokens a minute, at most.

    Returns:
        What has been done.

    Raises:
        BulkError: The part stopped, as `Job.run` does.

    """
    return Job(journal).run(
        client,
        requests,
        deployment=deployment,
        variant=variant,
        inputs=inputs,
        key=key,
        budget=budget,
        max_concurrency=max_concurrency,
        rpm=rpm,
        tpm=tpm,
        progress=False,
    )


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
        rows: Rows,
        *,
        deployment: Optional[str] = None,
        variant: Optional[str] = None,
        inputs: Optional[Mapping[str, str]] = None,
        key: Optional[Key] = None,
        budget: Optional[Budget] = None,
        max_concurrency: int = 64,
        processes: Optional[int] = None,
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
            rows: Requests, such as `InvokeRequest`, or mappings, read as they are needed; or a table of pandas, polars
                or pyarrow, of which NaN and NaT become None. Tables need narwhals, or the extra `bulk`.
            deployment: The prompt deployment to run, for rows that are mappings.
            variant: Its variant, likewise.
            inputs: For each variable of the prompt the column that it comes from, likewise. None for all columns.
            key: What a row is known by: the name of a column, or a function of the row. None for the request itself,
                so that a request that is there three times is run three times.
            budget: What the job may use before it stops.
            max_concurrency: How many calls may be under way at once, at most, in all processes together.
            processes: How many processes share the work, each with a journal of its own, `<path>.shard-0` and so on,
                which `Job` reads as one. How many journals there are is fixed by the first run. Requests, rows with
                `observers` of the client and typed prompts have to be picklable. None for this process alone.
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
            ConfigurationError: The client cannot make asyncio calls, or a table needs a package that is missing.

        """
        values = rows_of(rows)
        reads_async = is_async(values)

        def make(loop: asyncio.AbstractEventLoop) -> Source:
            return AsyncSource(cast("Any", values)) if reads_async else ServedSource(cast("Any", values), loop)

        plan = self._plan(
            client,
            RowReader(deployment, variant, inputs, key),
            values,
            budget,
            max_concurrency=max_concurrency,
            processes=processes,
            rpm=rpm,
            tpm=tpm,
            retry_failed=retry_failed,
            force=force,
            wait_for_reset=wait_for_reset,
            progress=progress,
        )
        return Background(plan, make).run()

    async def arun(
        self,
        client: FetchHive,
        rows: Rows,
        *,
        deployment: Optional[str] = None,
        variant: Optional[str] = None,
        inputs: Optional[Mapping[str, str]] = None,
        key: Optional[Key] = None,
        budget: Optional[Budget] = None,
        max_concurrency: int = 64,
        processes: Optional[int] = None,
        rpm: Optional[float] = None,
        tpm: Optional[float] = None,
        retry_failed: bool = False,
        force: bool = False,
        wait_for_reset: bool = False,
        progress: Union[Callable[[Progress], None], Literal[False], None] = None,
    ) -> BulkReport:
        """Send the rows in this event loop: the asyncio twin of `run`. Cancelled, it finishes what is under way."""
        values = rows_of(rows)
        plan = self._plan(
            client,
            RowReader(deployment, variant, inputs, key),
            values,
            budget,
            max_concurrency=max_concurrency,
            processes=processes,
            rpm=rpm,
            tpm=tpm,
            retry_failed=retry_failed,
            force=force,
            wait_for_reset=wait_for_reset,
            progress=progress,
        )
        source: Source = AsyncSource(cast("Any", values)) if is_async(values) else PlainSource(cast("Any", values))
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
        processes: Optional[int],
        rpm: Optional[float],
        tpm: Optional[float],
        retry_failed: bool,
        force: bool,
        wait_for_reset: bool,
        progress: Union[Callable[[Progress], None], Literal[False], None],
    ) -> Callable[[Source], Watched]:
        """Check the arguments; return what makes the engine."""
        is_async(rows)
        if not runs_asyncio(client):
            raise ConfigurationError(
                "a job makes asyncio calls, and this client has only an http_client: pass async_http_client, too"
            )
        for name, number in (("max_concurrency", max_concurrency), ("processes", processes)):
            if number is not None and (isinstance(cast("object", number), bool) or int(number) < 1):
                raise ValueError(f"{name} must be a whole number, 1 or more")
        for name, limit in (("rpm", rpm), ("tpm", tpm)):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be a positive number")
        sendable = frozenset({PENDING, REJECTED, FAILED} if retry_failed else {PENDING, REJECTED})
        watch = Watch(progress, rows)

        limits = Limits(
            int(max_concurrency),
            rpm,
            tpm,
            sendable,
            may_change_requests=force,
            waits_for_reset=wait_for_reset,
        )
        make_fleet = start_fleet(self.path, processes, client, reader, budget=budget or Budget(), limits=limits)

        def make(source: Source) -> Watched:
            if make_fleet is not None:
                return Watched(make_fleet(source), watch, client)
            engine = Engine(client, source, reader, self.path, budget=budget or Budget(), limits=limits)
            return Watched(engine, watch, client)

        return make

    # --- Looking ------------------------------------------------------------------------------------------------------

    def status(self) -> BulkReport:
        """Return the counts of the journal, also while another process runs the job.

        Raises:
            JournalError: It cannot be read.

        """
        with self._reading() as journals:
            return read_reports(journals)

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
        with self._reading() as journals:
            for stored in read_all_items(journals, wanted):
                yield Item(stored, read_output)

    def doubt(self) -> list[Item[Any]]:
        """Return the rows that may have been run, and paid for: they are never sent again by themselves.

        Look them up by what you know of them, then give them back with `retry` or close them with `settle`.

        Raises:
            JournalError: The journal cannot be read.

        """
        return list(self.results(["in_doubt"]))

    def export(
        self,
        path: Union[str, os.PathLike[str]],
        *,
        prompt: Union[_HasOutput[Any], type[Any], TypeAdapter[Any], None] = None,
    ) -> int:
        """Write the rows to a file in the order of the input, also while another process runs the job.

        Args:
            path: JSON Lines, or a table if its name ends with `.csv` or `.parquet`, with a column for each field of the
                outputs. It is replaced at the end, and not before. Parquet needs pyarrow, or the extra `bulk`.
            prompt: The typed prompt that made the requests, or the type that the answers are: the outputs are then of
                that type. A row whose answer does not fit has no output, and `error` says why. None for the JSON that
                the texts of the answers are, where they are JSON.

        Returns:
            How many rows were written.

        Raises:
            ConfigurationError: A Parquet file needs pyarrow, which is not installed.
            JournalError: The journal is damaged, or cannot be read. What can be read has been written.
            OutputError: The file cannot be written, or is the journal. A JournalError.

        """
        return export(self.path, Path(path), None if prompt is None else _output_reader(prompt))

    def report_html(self, path: Union[str, os.PathLike[str]]) -> None:
        """Write a report for people: one HTML page with plots, also while another process runs the job.

        It shows rates, latencies, tokens, the rows that failed or are in doubt, and what to do about them. It has the
        keys of these rows, and neither requests nor answers. It needs matplotlib, or the extra `bulk`.

        Args:
            path: The HTML file. It is replaced at the end, and not before.

        Raises:
            ConfigurationError: matplotlib is not installed.
            JournalError: The journal cannot be read.
            OutputError: The file cannot be written, or is the journal. A JournalError.

        """
        from .html_report import write_report  # noqa: PLC0415 - not needed to run a job

        with self._reading() as journals:
            write_report(journals, self.path, Path(path))

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
        with ExitStack() as stack:
            stores = [stack.enter_context(_changing(path)) for path in journals_of(self.path)]
            return change_doubt(stores, state, keys)

    # --- Life ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Generator[list[tuple[sqlite3.Connection, Path]], None, None]:
        # New connections each time: nothing of ours is open while a job runs, or where a process forks.
        with ExitStack() as stack:
            yield [(stack.enter_context(_reading(path)), path) for path in journals_of(self.path)]

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


@contextmanager
def _reading(path: Path) -> Generator[sqlite3.Connection, None, None]:
    with closing(open_for_reading(path)) as connection, journal_errors(path):
        # While a run goes on, its owner has checked the file.
        if not is_owned(path):
            quick_check(connection, path)
        yield connection


@contextmanager
def _changing(path: Path) -> Generator[Store, None, None]:
    """Open a journal that no run has, and commit what is changed in the block."""
    with journal_errors(path):
        if not path.exists():
            raise JournalError(f"there is no journal {path}")
        lock = OwnerLock(path)
        try:
            with closing(open_for_writing(path)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                store = Store(connection)
                store.doubt_sent()
                yield store
                connection.execute("COMMIT")  # closing it without that changes nothing
        finally:
            lock.release()


def _output_reader(prompt: object) -> Callable[[Any], Any]:
    """Return what reads an answer as the output type of a typed prompt, or as a type itself."""
    is_type = isinstance(prompt, (type, TypeAdapter))
    output_type: Any = cast("Any", prompt) if is_type else getattr(prompt, "output", prompt)
    return lambda response: response.output_as(output_type)
