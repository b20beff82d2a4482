"""Runs a job as tasks of Ray, on many machines: each task has a shard of the journal, and no row is paid for twice.

    from fetch_hive_sdk.bulk import ray as bulk_ray

    report = bulk_ray.run(client, requests, journals="/data/reviews.db", shards=16)

Ray itself repeats nothing: a task whose worker has died is started again from here, with the journal that it has.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, Union, cast

from fetch_hive_sdk import BulkError, FetchHive

from .budget import Budget, Limits
from .endings import error_of
from .engine import Engine
from .opening import journal_errors, open_for_reading
from .processes import pickle_client, pickle_rows
from .report import BulkReport, sum_of
from .rows import PlainSource, RowReader
from .shards import make_shard, missing_error, shard_of, shard_path
from .store import PENDING, REJECTED, count
from .worker import Failure, SentRows

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from .report import Stop
    from .rows import Key, RowValue
    from .store import Row

__all__ = ["run"]

try:
    # Ray's types are incomplete.
    ray: Any = import_module("ray")
except ModuleNotFoundError:
    raise ModuleNotFoundError("fetch_hive_sdk.bulk.ray needs Ray: pip install ray", name="ray") from None

log: logging.Logger = logging.getLogger("fetch_hive_sdk")

_CHUNK = 1000  # rows in one object of Ray's store
_STARTS = 4  # of a task whose worker dies


@dataclass(frozen=True)
class _Task:
    """What a task runs."""

    client: Union[bytes, Callable[[], FetchHive]]
    path: Path
    budget: Budget
    limits: Limits
    chunks: Sequence[Any]  # references to pickled rows
    rows: int


def run(
    client: Union[FetchHive, Callable[[], FetchHive]],
    requests: Iterable[RowValue],
    *,
    journals: Union[str, os.PathLike[str]],
    shards: int,
    key: Optional[Key] = None,
    budget: Optional[Budget] = None,
    max_concurrency: int = 64,
) -> BulkReport:
    """Run requests as tasks of Ray, and wait for their answers. Called again, it goes on with what is not settled.

    Connect to Ray before, with `ray.init()`. Where all journals can be seen, `Job(journals)` reads them as one.

    Args:
        client: A client; it travels without its API key, which each node reads from its own `FETCH_HIVE_API_KEY`. Or a
            function that makes a client, called in each task.
        requests: Requests, such as `InvokeRequest`: the same ones each time.
        journals: The path of the journal, on a disk that outlives the workers. Each task writes a file of its own,
            `<journals>.shard-0` and so on, and has to find it again if it is started again on another node.
        shards: How many tasks share the rows. Keep it the same for all runs of a job.
        key: A function that makes the key of a row. None for the request itself.
        budget: What the job may use, divided evenly among the tasks.
        max_concurrency: How many calls may be under way at once, at most, in all tasks together.

    Returns:
        What has been done. If the disk of a task is lost, all rows of that task are `in_doubt`, which is logged, too.

    Raises:
        BulkError: A task stopped, as `Job.run` does, or its worker died again and again.
        JournalError: A journal is missing: its rows may have been run and paid for. Nothing was sent.
        ConfigurationError: A node has no API key. Nothing was sent from there.
        ValueError: `shards` or `max_concurrency` is too small.

    """
    if shards < 1 or max_concurrency < shards:
        raise ValueError("shards must be 1 or more, and max_concurrency at least as large")
    maker = pickle_client(client) if isinstance(client, FetchHive) else client
    limits = Limits(max_concurrency, None, None, frozenset({PENDING, REJECTED})).divided_by(shards)
    paths = [shard_path(Path(journals), number) for number in range(shards)]
    _make_journals(paths)
    tasks: list[_Task] = []
    unsent: list[BulkReport] = []
    parts = _distribute(requests, RowReader(key=key), shards)
    for path, (chunks, rows), share in zip(paths, parts, _shares(budget or Budget(), shards)):
        if isinstance(share, Budget):
            tasks.append(_Task(maker, path, share, limits, chunks, rows))
        elif rows:
            unsent.append(BulkReport(pending=rows, stopped=share))
    return _wait_for(tasks, unsent)


def _make_journals(paths: Sequence[Path]) -> None:
    """Make the journals of a new job, all before the first row is sent. So a missing one was lost.

    Raises:
        JournalError: Some journals have rows, and another one is missing.

    """
    found = _get([_task(_rows_in, path).remote(path) for path in paths])
    missing = [path for path, rows in zip(paths, found) if rows is None]
    if missing and any(found):
        raise missing_error(missing[0])
    # Also those without rows: the process that made them may have been killed before it wrote their number.
    _get([_task(make_shard, path).remote(path, len(paths)) for path, rows in zip(paths, found) if not rows])


def _rows_in(path: Path) -> Optional[int]:
    """Return how many rows a journal has; None if there is no journal."""
    if not path.exists():
        return None
    with journal_errors(path), closing(open_for_reading(path)) as connection:
        return sum(count(connection).states)


def _get(tasks: Sequence[Any]) -> list[Any]:
    """Wait for tasks that send nothing.

    Raises:
        BulkError: Such as a `JournalError`, or the worker of a task died.

    """
    try:
        return cast("list[Any]", ray.get(list(tasks)))
    except ray.exceptions.RayError as exc:
        cause = getattr(exc, "cause", None)
        raise cause if isinstance(cause, BulkError) else BulkError(f"a task of Ray failed: {exc}", report=None) from exc


def _distribute(requests: Iterable[object], reader: RowReader, shards: int) -> list[tuple[list[Any], int]]:
    """Put the rows of each shard into Ray's store; return references to them, and how many rows there are."""
    waiting: list[list[Row]] = [[] for _ in range(shards)]
    chunks: list[list[Any]] = [[] for _ in range(shards)]
    counts = [0] * shards
    for number, value in enumerate(requests, 1):
        row = reader.read(number, value)
        shard = shard_of(row, shards)
        waiting[shard].append(row)
        counts[shard] += 1
        if len(waiting[shard]) == _CHUNK:
            chunks[shard].append(ray.put(pickle_rows(waiting[shard])))
            waiting[shard] = []
    for shard, rows in enumerate(waiting):
        if rows:
            chunks[shard].append(ray.put(pickle_rows(rows)))
    return list(zip(chunks, counts))


def _shares(budget: Budget, shards: int) -> list[Union[Budget, Stop]]:
    """Divide a budget; the name of the limit for a shard for which nothing is left."""
    shares: list[Union[Budget, Stop]] = []
    limits: list[tuple[Stop, Optional[int]]] = [
        ("runs", budget.runs),
        ("tokens", budget.tokens),
        ("failures", budget.failures),
    ]
    for number in range(shards):
        amounts: dict[Stop, Optional[int]] = {
            name: None if limit is None else limit // shards + (number < limit % shards) for name, limit in limits
        }
        reached: Optional[Stop] = next((name for name, _ in limits if amounts[name] == 0), None)
        if reached is not None:
            shares.append(reached)
        else:
            shares.append(replace(budget, **amounts))
    return shares


def _wait_for(tasks: Sequence[_Task], unsent: Sequence[BulkReport]) -> BulkReport:
    under_way = {_start(task): (task, 1) for task in tasks}
    reports = list(unsent)
    errors: list[BaseException] = []
    while under_way:
        (ended, *_), _ = ray.wait(list(under_way), num_returns=1)
        task, starts = under_way.pop(ended)
        try:
            report, failure = cast("tuple[Optional[BulkReport], Optional[Failure]]", ray.get(ended))
            error = None if failure is None else failure.restore()
        except ray.exceptions.RayError as exc:  # its worker, or the whole node, has died
            if starts < _STARTS:
                under_way[_start(task)] = (task, starts + 1)
                continue
            report, error = (
                BulkReport(in_doubt=task.rows),
                BulkError(f"the worker of {task.path} died: {exc}", report=None),
            )
        reports += [report] if report is not None else []
        errors += [error] if error is not None else []
    total = sum_of(reports) if reports else BulkReport()
    if errors:
        raise error_of(errors, total)
    return total


def _start(task: _Task) -> Any:
    # Ray must not start it again by itself: `_wait_for` counts the starts.
    return _task(_run_task, task.path).remote(task)


def _task(function: Callable[..., Any], path: Path) -> Any:
    return ray.remote(max_retries=0)(function).options(name=f"fetch-hive {path.name}")


def _run_task(task: _Task) -> tuple[Optional[BulkReport], Optional[Failure]]:
    """Run a shard: the body of a task."""
    if not task.path.exists():
        log.error("the journal %s is lost: its %d rows may have been run and paid for", task.path, task.rows)
        return BulkReport(in_doubt=task.rows), None
    try:
        client = pickle.loads(task.client) if isinstance(task.client, bytes) else task.client()  # noqa: S301 - ours
        return asyncio.run(_run_engine(task, client)), None
    except Exception as error:  # noqa: BLE001 - Ray would raise an error of its own, as if the worker had died
        return getattr(error, "report", None), Failure.of(error)


async def _run_engine(task: _Task, client: FetchHive) -> BulkReport:
    source = PlainSource(_rows_of(task))
    engine = Engine(client, source, SentRows(), task.path, budget=task.budget, limits=task.limits)
    try:
        return await engine.run()
    finally:
        await client.aclose()


def _rows_of(task: _Task) -> Iterator[object]:
    for chunk in task.chunks:
        yield from pickle.loads(cast("bytes", ray.get(chunk)))  # noqa: S301 - put there by `run`
