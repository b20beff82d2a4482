"""`Job`: runs rows with a client and records them in a journal."""

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
    """Run one part of a job that another engine splits, such as a partition of Dask or Spark.

    If the engine runs the part again, the part resumes from its journal, and no row is paid for twice. For that, pass
    the same path each time, on a disk that outlives the worker, and a different path for each part.

    Args:
        client: The client to send with.
        requests: Requests or mappings, as for `Job.run`; the same ones each time.
        journal: The path of this part's journal.
        deployment: The prompt deployment, for rows that are mappings.
        variant: The variant of the deployment.
        inputs: The column for each variable of the prompt. None means all columns.
        key: The name of the column with the row's key, or a function that returns the key of a row. None means that
            the request itself identifies the row.
        budget: The budget of this part. None means no limits.
        max_concurrency: Most concurrent calls of this part.
        rpm: Most calls per minute. None means no limit.
        tpm: Most tokens per minute. None means no limit.

    Returns:
        The counts of the part's journal.

    Raises:
        BulkError: The part stopped on an error, as `Job.run` does.

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
    """A job over many rows. A journal records the state of each row, so that no row is run twice, even after a crash.

    Args:
        path: The journal, a SQLite file. The first `run` creates it; later runs resume from it.

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
        """The path of the journal."""

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
        """Send the rows that are pending or were rejected, and wait for their answers.

        Rows in doubt are never sent automatically: see `retry`. The job runs in a background thread, and the rows are
        read in the calling thread. In the main thread, the first Ctrl-C or SIGTERM lets the calls under way finish; a
        second one cancels them and leaves their rows in doubt.

        If the job ends while `rows` wait for the next row, such as a line from a pipe, the wait is interrupted after a
        second. In other threads than the main thread, and on Windows, `run` returns when the next row arrives.

        Args:
            client: The client to send with. The job turns off its retries. A client with only a custom `http_client`
                cannot be used.
            rows: Requests, such as `InvokeRequest`, or mappings, read lazily; or a table of pandas, polars or pyarrow,
                whose NaN and NaT become None. Tables of pandas and polars need narwhals, which the extra `bulk`
                installs.
            deployment: The prompt deployment, for rows that are mappings.
            variant: The variant of the deployment, for rows that are mappings.
            inputs: The column for each variable of the prompt, for rows that are mappings. None means all columns
                except the key's.
            key: The name of the column with the row's key, or a function that returns the key of a row. None means
                that the request itself identifies the row; a request that occurs three times is run three times.
            budget: The limits at which the job stops. None means no limits.
            max_concurrency: Most concurrent calls, over all processes together.
            processes: How many processes share the work. Each has its own journal, `<path>.shard-0` and so on, and
                `Job` reads them as one. The first run fixes their number. Requests, rows, the client's `observers` and
                typed prompts must be picklable. None means to use only this process.
            rpm: Most calls per minute. None means no limit.
            tpm: Most tokens per minute; the calls under way may exceed it. None means no limit.
            retry_failed: Whether to send failed rows again.
            force: Whether a row's request may differ from the one in the journal under the same key. The new request
                replaces it and is run.
            wait_for_reset: Whether to wait for the reset when the daily cap is reached, instead of stopping.
            progress: A function that is called with a `Progress` every half second, in the job's thread. False shows
                nothing. None shows the progress on stderr: a bar on a terminal if rich is installed, otherwise a line
                every ten seconds.

        Returns:
            The counts of the journal. `stopped` names the budget that was reached, if any.

        Raises:
            BulkError: The job stopped on an error: a wrong API key, an unknown deployment, no credit, the daily cap, no
                network or a full disk. Its `report` has the counts so far.
            JournalError: The journal cannot be used. A subclass of BulkError.
            RowError: A row cannot be sent, or two rows have the same key. A subclass of BulkError and ValueError.
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
        """Send the rows in this event loop: the asyncio twin of `run`. If cancelled, finishes the calls under way."""
        # First: rows that cannot be iterated must leave no processes behind.
        values = rows_of(rows)
        source: Source = AsyncSource(cast("Any", values)) if is_async(values) else PlainSource(cast("Any", values))
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
        engine = plan(source)
        task = asyncio.ensure_future(engine.run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            engine.stop("signal")
            while not task.done():
                try:
                    await asyncio.wait({task})
                except asyncio.CancelledError:  # noqa: PERF203 - no cancellation may leave tasks behind
                    engine.abandon()
            if not task.cancelled():
                task.exception()  # mark it as retrieved
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
        """Check the arguments; return a function that makes the engine."""
        is_async(rows)
        if not isinstance(cast("object", budget), (Budget, type(None))):
            raise TypeError(f"budget must be a Budget, such as Budget(runs=100), not a {type(budget).__name__}")
        if not runs_asyncio(client):
            raise ConfigurationError(
                "a job makes asyncio calls, and this client has only an http_client: pass async_http_client as well"
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

    # --- Reading ------------------------------------------------------------------------------------------------------

    def status(self) -> BulkReport:
        """Return the counts of the journal. Works while another process runs the job.

        Raises:
            JournalError: The journal cannot be read.

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
        """Iterate over the rows in the order of the input. Works while another process runs the job.

        Args:
            states: Yield only rows in these states. None means all states.
            prompt: The typed prompt that made the requests, or the output type itself. Sets the type of each item's
                `output`.

        Raises:
            JournalError: The journal cannot be read.
            TypeError: `states` is a string, not a list of states.
            ValueError: A state is unknown.

        """
        if isinstance(states, str):
            raise TypeError("states must be a list of states, not a string")
        read_output = None if prompt is None else _output_reader(prompt)
        wanted = None if states is None else frozenset(states)
        with self._reading() as journals:
            for stored in read_all_items(journals, wanted):
                yield Item(stored, read_output)

    def doubt(self) -> list[Item[Any]]:
        """Return the rows in doubt, which may have been run and paid for. They are never sent again automatically.

        Find out whether they were run, for example by their request ids, then send them again with `retry` or close
        them with `settle`.

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
        """Write the rows to a file in the order of the input. Works while another process runs the job.

        Args:
            path: The file. A name that ends with `.csv` or `.parquet` makes a table with a column for each field of the
                outputs; any other name makes JSON Lines. An existing file is replaced only when the new one is
                complete. Parquet needs pyarrow, which the extra `bulk` installs.
            prompt: The typed prompt that made the requests, or the output type itself. A row whose answer does not fit
                has no output, and its `error` explains why. None means to parse the texts of the answers that are JSON.

        Returns:
            The number of rows written.

        Raises:
            ConfigurationError: The file is a Parquet file and pyarrow is not installed.
            JournalError: The journal is damaged or cannot be read. The rows that could be read have been written.
            OutputError: The file cannot be written, is the journal, or has the suffix of another format, such as
                `.xlsx`. A subclass of JournalError.

        """
        return export(self.path, Path(path), None if prompt is None else _output_reader(prompt))

    def report_html(self, path: Union[str, os.PathLike[str]]) -> None:
        """Write a report as one HTML page with plots. Works while another process runs the job.

        The report shows rates, latencies, tokens, the rows that failed or are in doubt, and what to do about them. It
        contains the keys of these rows, but no requests and no answers. It needs matplotlib, which the extra `bulk`
        installs.

        Args:
            path: The HTML file. An existing file is replaced only when the report is complete.

        Raises:
            ConfigurationError: matplotlib is not installed.
            JournalError: The journal cannot be read.
            OutputError: The file cannot be written, or it is the journal. A subclass of JournalError.

        """
        from .html_report import write_report  # noqa: PLC0415 - not needed to run a job

        with self._reading() as journals:
            write_report(journals, self.path, Path(path))

    # --- Settling -----------------------------------------------------------------------------------------------------

    def retry(self, keys: Optional[Sequence[str]] = None) -> int:
        """Make rows in doubt pending: the next run sends them again, which may pay for them twice.

        Args:
            keys: The keys of the rows. None means all rows in doubt.

        Returns:
            The number of rows changed.

        Raises:
            KeyError: A key belongs to no row in doubt. Nothing has been changed.
            JournalError: The journal cannot be used, or a run is using it.

        """
        return self._change_doubt(PENDING, keys)

    def settle(self, state: Literal["done", "failed"], keys: Optional[Sequence[str]] = None) -> int:
        """Close rows in doubt whose outcome you know: they are not sent again.

        Args:
            state: The new state of the rows.
            keys: The keys of the rows. None means all rows in doubt.

        Returns:
            The number of rows changed.

        Raises:
            KeyError: A key belongs to no row in doubt. Nothing has been changed.
            JournalError: The journal cannot be used, or a run is using it.

        """
        if state not in {"done", "failed"}:
            raise ValueError("a row in doubt can only be settled as done or as failed")
        return self._change_doubt(DONE if state == "done" else FAILED, keys)

    def _change_doubt(self, state: int, keys: Optional[Sequence[str]]) -> int:
        if isinstance(keys, str):
            raise TypeError("keys must be a list of keys, not a string")
        with ExitStack() as stack:
            stores = [stack.enter_context(_changing(path)) for path in journals_of(self.path)]
            return change_doubt(stores, state, keys)

    # --- Opening and closing ------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Generator[list[tuple[sqlite3.Connection, Path]], None, None]:
        # New connections each time: the job keeps none open while it runs or when the process forks.
        with ExitStack() as stack:
            yield [(stack.enter_context(_reading(path)), path) for path in journals_of(self.path)]

    def close(self) -> None:
        """Do nothing: files are open only while they are used. Exists for use in a `with` statement."""

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
        # If a run is using the journal, it has already checked the file.
        if not is_owned(path):
            quick_check(connection, path)
        yield connection


@contextmanager
def _changing(path: Path) -> Generator[Store, None, None]:
    """Open a journal that no run is using; commit the changes made in the block."""
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
                connection.execute("COMMIT")  # closing the connection without it discards the changes
        finally:
            lock.release()


def _output_reader(prompt: object) -> Callable[[Any], Any]:
    """Return a function that reads an answer as a type, or as the output type of a typed prompt."""
    is_type = isinstance(prompt, (type, TypeAdapter))
    output_type: Any = cast("Any", prompt) if is_type else getattr(prompt, "output", prompt)
    return lambda response: response.output_as(output_type)
