"""A job in several processes: the journal in shards, one budget, and what happens when one of the processes dies."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import multiprocessing
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from counting_server import counting
from driving import KEY
from fetch_hive_sdk import BulkError, ConfigurationError, FetchHive, InvokeRequest, prompt
from fetch_hive_sdk.bulk import Budget, BulkReport, Job, JournalError, RowError, run_shard
from fetch_hive_sdk.bulk.endings import disk_error, error_of
from fetch_hive_sdk.bulk.lock import OwnerLock, is_owned
from fetch_hive_sdk.bulk.opening import open_for_writing
from fetch_hive_sdk.bulk.processes import Worker
from fetch_hive_sdk.bulk.rows import RowReader
from fetch_hive_sdk.bulk.shards import journals_of, make_shard, shard_of, shard_path
from fetch_hive_sdk.bulk.worker import Failure, Reclaim
from fetch_hive_sdk.testing import FakeServer, Refusal

# From Python 3.12 on, a fork beside other threads is warned of; the fakes of these tests have such threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

if sys.platform != "win32":
    import resource

AT_ONCE = 16
ROWS = 1000  # so many that a job runs for a second or more after a test has seen it send


@prompt("d")
def shout(text: str) -> str:
    raise NotImplementedError


def requests(count):
    return (InvokeRequest(deployment="d", inputs={"text": str(number)}) for number in range(count))


@pytest.fixture(scope="module")
def server():
    with counting("--delay", "0.02") as server:
        yield server


@pytest.fixture
def counted(server):
    server.reset()
    return server


@pytest.fixture
def served():
    fake = FakeServer(default=lambda call: call.inputs["text"].upper())
    with fake.serve() as url:
        fake.url = url
        yield fake


both = pytest.mark.parametrize("how", ["run", "arun"])


def skewed(count, shard=0, deployment="d"):
    """Return requests that all belong to one of two shards."""
    texts = (f"{shard}-{number}" for number in itertools.count())
    found = (InvokeRequest(deployment=deployment, inputs={"text": text}) for text in texts)
    reader = RowReader()
    ours = (request for request in found if shard_of(reader.read(1, request), 2) == shard)
    return list(itertools.islice(ours, count))


# --- As one job -------------------------------------------------------------------------------------------------------


def test_each_row_is_run_once_and_results_are_in_the_order_of_the_input(served, tmp_path):
    job = Job(tmp_path / "job.db")

    report = job.run(
        FetchHive(KEY, served.url),
        [{"text": f"row {n}"} for n in range(100)],
        deployment="d",
        processes=2,
        max_concurrency=8,
        progress=False,
    )

    assert (report.done, report.rows, report.is_exhausted, report.stopped) == (100, 100, True, None)
    assert [item.response.response for item in job.results()] == [f"ROW {n}" for n in range(100)]
    assert [item.row for item in job.results()] == list(range(1, 101))
    assert len(served.calls) == 100
    status = job.status()
    assert (status.done, status.is_exhausted) == (100, True)
    job.export(tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["response"] for line in lines] == [f"ROW {n}" for n in range(100)]


async def test_asyncio_twin(served, tmp_path):
    job = Job(tmp_path / "job.db")

    async def rows():
        for request in requests(20):
            yield request

    report = await job.arun(FetchHive(KEY, served.url), rows(), processes=2, progress=False)

    assert report.done == 20


def test_later_runs_go_on_with_other_numbers_of_processes(served, tmp_path):
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    for processes, budget in ((2, 10), (1, 20), (None, 30), (5, 40)):
        report = job.run(client, requests(40), processes=processes, budget=Budget(runs=budget), progress=False)
        assert report.done == budget
    assert len(served.calls) == 40
    assert len({call.inputs["text"] for call in served.calls}) == 40


@pytest.mark.parametrize("second", [range(20, 40), range(40, 60), [*range(50, 60), *range(30)]])
def test_results_and_exports_are_in_the_order_of_the_last_input(served, tmp_path, second):
    """Also if it lacks rows that an earlier input had."""
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    for numbers in (range(40), second):
        rows = [{"id": f"k{number}", "text": "a"} for number in numbers]
        job.run(client, rows, deployment="d", inputs={"text": "text"}, key="id", processes=3, progress=False)
    expected = [f"k{number}" for number in second]

    job.export(tmp_path / "rows.jsonl")

    exported = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    found = [(item.key, item.row) for item in job.results()]
    assert [key for key, _ in found if key in expected] == expected
    assert [(record["key"], record["row"]) for record in exported] == found
    assert len(found) == len({*expected, *(f"k{number}" for number in range(40))})


def test_equal_rows_are_run_as_often_as_they_are_there(served, tmp_path):
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    rows = [InvokeRequest(deployment="d", inputs={"text": "same"})] * 5 + list(requests(5))
    for _ in range(2):
        assert job.run(client, rows, processes=2, progress=False).done == 10
    assert len(served.calls) == 10


def test_one_key_for_two_rows_is_an_error_with_both_numbers(served, tmp_path):
    rows = [{"id": "a", "text": "1"}, {"id": "b", "text": "2"}, {"id": "a", "text": "3"}]

    with pytest.raises(RowError, match="rows 1 and 3 have the same key, 'a'") as caught:
        Job(tmp_path / "job.db").run(
            FetchHive(KEY, served.url), rows, deployment="d", key="id", processes=2, progress=False
        )

    assert caught.value.report.done == 2


def test_typed_prompts_have_their_output(served, tmp_path):
    job = Job(tmp_path / "job.db")
    job.run(FetchHive(KEY, served.url), (shout(text=str(n)) for n in range(4)), processes=2, progress=False)
    assert [item.output for item in job.results(prompt=shout)] == ["0", "1", "2", "3"]


def test_rows_that_cannot_be_pickled_are_an_error(served, tmp_path):
    @prompt("d")
    def local(text: str) -> str:
        raise NotImplementedError

    with pytest.raises(RowError, match=r"row 1 .*processes"):
        Job(tmp_path / "job.db").run(FetchHive(KEY, served.url), [local(text="a")], processes=2, progress=False)


def test_in_doubt_of_all_shards_is_settled_together(tmp_path):
    fake = FakeServer(default=Refusal(500))
    job = Job(tmp_path / "job.db")
    with fake.serve() as url:
        job.run(
            FetchHive(KEY, url),
            [{"id": n, "text": "x"} for n in range(6)],
            deployment="d",
            key="id",
            processes=2,
            progress=False,
        )
    assert [item.key for item in job.doubt()] == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(KeyError, match="'9'"):
        job.settle("done", ["0", "1", "2", "9"])
    assert len(job.doubt()) == 6
    assert job.settle("done", ["0", "1", "2"]) == 3
    assert job.retry() == 3
    assert (job.status().done, job.status().pending) == (3, 3)


# --- Budgets and stops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [1, 7, 50])
def test_runs_are_never_exceeded(served, tmp_path, runs):
    report = Job(tmp_path / "job.db").run(
        FetchHive(KEY, served.url), requests(100), processes=3, budget=Budget(runs=runs), progress=False
    )
    assert (report.done, report.stopped) == (runs, "runs")
    assert len(served.calls) == runs


def test_tokens_are_exceeded_by_no_more_than_what_is_under_way(counted, tmp_path):
    report = Job(tmp_path / "job.db").run(
        FetchHive(KEY, counted.url),
        requests(ROWS),
        processes=2,
        max_concurrency=8,
        budget=Budget(tokens=500),
        progress=False,
    )
    assert report.stopped == "tokens"
    assert 500 <= report.tokens <= 500 + 10 * 8


@both
def test_runs_are_reclaimed_at_intervals(counted, tmp_path, monkeypatch, how):
    """Each answer of a process may lead to the next request. Without a pause, they would keep all processes busy."""
    reclaims, send = [], Worker.send

    def count(self, order):
        if isinstance(order, Reclaim):
            reclaims.append(order)
        send(self, order)

    monkeypatch.setattr(Worker, "send", count)

    report = run_both(
        how,
        Job(tmp_path / "job.db"),
        FetchHive(KEY, counted.url),
        requests(100),
        max_concurrency=8,
        rpm=1200,
        budget=Budget(runs=20),
    )

    assert report.done == 20
    assert 0 < len(reclaims) <= 2 * (report.seconds / 0.05 + 2)


@both
def test_rows_that_a_budget_leaves_are_not_exhausted(served, tmp_path, how):
    job = Job(tmp_path / "job.db")

    report = run_both(how, job, FetchHive(KEY, served.url), requests(3), budget=Budget(runs=2))

    assert (report.done, report.stopped, report.is_exhausted) == (2, "runs", False)
    assert not job.status().is_exhausted


def test_failures_stop_the_job(tmp_path):
    fake = FakeServer(default=Refusal(422))
    with fake.serve() as url:
        report = Job(tmp_path / "job.db").run(
            FetchHive(KEY, url),
            requests(500),
            processes=2,
            max_concurrency=4,
            budget=Budget(failures=10),
            progress=False,
        )
    assert report.stopped == "failures"
    assert 10 <= report.failed <= 10 + 4


def test_a_wrong_key_costs_one_call(tmp_path):
    """The first row goes alone, before all processes."""
    fake = FakeServer(default=Refusal(401))
    with fake.serve() as url, pytest.raises(BulkError, match="refuses the calls") as caught:
        Job(tmp_path / "job.db").run(FetchHive(KEY, url), requests(100), processes=3, progress=False)
    assert len(fake.calls) == 1
    assert (caught.value.report.stopped, caught.value.report.rejected) == ("auth", 1)
    assert str(caught.value.report) in str(caught.value)


def test_a_deployment_that_is_missing_later_is_rejected(served, tmp_path):
    """Only the first row of all stops the job with a 404."""
    served.fails("gone", 404)
    rows = [*requests(3), *[InvokeRequest(deployment="gone", inputs={"text": str(n)}) for n in range(6)]]
    report = Job(tmp_path / "job.db").run(FetchHive(KEY, served.url), rows, processes=2, progress=False)
    assert (report.done, report.rejected, report.stopped) == (3, 6, None)


@both
@pytest.mark.parametrize("shard", [0, 1])
def test_the_first_row_of_the_input_is_sent_first(served, tmp_path, how, shard):
    """Whichever process is ready first, so that a 404 of a later row stops nothing."""
    served.fails("gone", 404)
    rows = [*skewed(1, shard), *skewed(5, 1 - shard, deployment="gone")]

    report = run_both(how, Job(tmp_path / "job.db"), FetchHive(KEY, served.url), rows)

    assert served.calls[0].inputs == rows[0].inputs
    assert (report.done, report.rejected, report.stopped) == (1, 5, None)


@both
def test_settled_first_rows_do_not_hold_up_others(served, tmp_path, how):
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    run_both(how, job, client, skewed(20))

    report = run_both(how, job, client, [*skewed(20), *skewed(20, 1)])

    assert report.done == len(served.calls) == 40


def test_rows_that_raise_are_an_error_after_what_is_under_way(served, tmp_path):
    def rows():
        yield from requests(5)
        raise OSError("the table is gone")

    with pytest.raises(OSError, match="the table is gone"):
        Job(tmp_path / "job.db").run(FetchHive(KEY, served.url), rows(), processes=2, progress=False)
    assert Job(tmp_path / "job.db").status().in_doubt == 0


@pytest.mark.parametrize(
    ("raised", "caught"), [(SystemExit, SystemExit), (asyncio.CancelledError, BulkError)], ids=["exit", "cancelled"]
)
def test_rows_that_exit_or_are_cancelled_let_the_calls_under_way_finish(counted, tmp_path, raised, caught):
    """Any exception of the rows reaches the caller after the paid answers have been recorded."""

    def rows():
        yield from requests(5)
        while not counted.stats()["runs"]:
            time.sleep(0.005)
        raise raised

    with pytest.raises(caught):
        Job(tmp_path / "job.db").run(FetchHive(KEY, counted.url), rows(), processes=2, progress=False)

    report = Job(tmp_path / "job.db").status()
    assert report.in_doubt == 0
    assert report.done == len(counted.stats()["runs"]) > 0


def run_both(how, job, *arguments, **options):
    """Run a job with `Job.run` or with its asyncio twin."""
    options = {"processes": 2, "progress": False, **options}
    if how == "run":
        return job.run(*arguments, **options)
    return asyncio.run(job.arun(*arguments, **options))


@both
@pytest.mark.parametrize("budget", [Budget(runs=5), Budget(tokens=1_000_000), Budget(failures=100)])
def test_runs_of_rejected_rows_go_to_other_shards(served, tmp_path, how, budget):
    """Even if the rows of the other shard fill all buffers, so that nothing reaches the first shard any more."""
    served.fails("gone", 404)
    rows = [*skewed(1), *skewed(40, deployment="gone"), *skewed(3000, 1)]

    report = run_both(how, Job(tmp_path / "job.db"), FetchHive(KEY, served.url), rows, budget=budget)

    assert report.rejected >= 1
    assert report.done == (5 if budget.runs else 3001)


@both
def test_used_up_tokens_of_one_shard_keep_all_from_sending(counted, tmp_path, how):
    """No row is sent before the counts of all journals are known."""
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, counted.url)
    run_both(how, job, client, skewed(20, 1))

    report = run_both(how, job, client, [*skewed(20), *skewed(20, 1)], budget=Budget(tokens=200))

    assert (report.stopped, counted.stats()["posts"]) == ("tokens", 20)


@both
def test_a_journal_in_use_keeps_all_shards_from_sending(counted, tmp_path, how):
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, counted.url)
    run_both(how, job, client, [])
    lock = OwnerLock(shard_path(job.path, 1))
    try:
        with pytest.raises(JournalError, match=f"in use by process {os.getpid()}"):
            run_both(how, job, client, requests(20))
    finally:
        lock.release()
    assert not counted.stats()["posts"]


@both
def test_an_error_in_one_shard_stops_the_others_at_once(tmp_path, how):
    """They do not wait for its calls in progress."""
    fake = FakeServer(default="Short.")
    fake.fails("gone", 401)
    bad = skewed(1, deployment="gone")
    with fake.serve() as url, pytest.raises(BulkError, match="refuses the calls") as caught:
        run_both(how, Job(tmp_path / "job.db"), FetchHive(KEY, url), [*skewed(4, 1), *bad, *requests(2000)])
    assert caught.value.report.stopped == "auth"
    assert len(fake.calls) < 2000


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is a call of Linux")
@both
def test_answers_that_no_journal_could_take_are_in_the_error(counted, tmp_path, how):
    """Those of all shards: they were paid for."""

    async def rows():
        for request in requests(20):
            yield request
        for number in range(40):
            yield InvokeRequest(deployment="d", inputs={"text": f"held {number}"})
        await until_run(counted, 21)
        for worker in multiprocessing.active_children():
            # No file can grow beyond this: what comes to the disk from now on is refused.
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        counted.release()
        for number in range(1000):
            yield InvokeRequest(deployment="d", inputs={"text": f"later {number}"})

    with pytest.raises(JournalError, match=r"cannot be written.* answers that are not in it") as caught:
        run_both(how, Job(tmp_path / "job.db"), FetchHive(KEY, counted.url), rows(), max_concurrency=8)

    error, runs = caught.value, counted.stats()["runs"]
    assert error.report.stopped == "disk"
    assert error.unwritten
    assert set(runs.values()) == {1}
    assert error.report.done + len(error.unwritten) == len(runs) < 1060
    assert [item.row for item in error.unwritten] == sorted(item.row for item in error.unwritten)


class DemandingError(Exception):
    """An error that can be pickled, and not unpickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def test_errors_that_do_not_survive_pickling_keep_their_text():
    error = Failure.of(DemandingError("this", "that")).restore()
    assert isinstance(error, BulkError)
    assert str(error) == "DemandingError: this and that"


def test_a_full_disk_that_cost_no_answer_speaks_of_none():
    journal = SimpleNamespace(path=Path("job.db"), unwritten=[])

    error = disk_error(journal, BulkReport(), OSError("disk full"))

    assert str(error).startswith("the journal job.db cannot be written: disk full. Nothing more was sent. 0 rows")
    assert error.unwritten == []


def test_the_report_replaces_nothing_else_in_a_message():
    error = error_of([RowError("row 1 has no column 'None'")], BulkReport(done=1))
    assert str(error) == "row 1 has no column 'None'"
    assert error.report.done == 1


# --- Cancelled --------------------------------------------------------------------------------------------------------


async def until_run(server, number):
    while len(server.stats()["runs"]) < number:  # noqa: ASYNC110 - the server is another process
        await asyncio.sleep(0.005)


async def test_cancelled_once_it_finishes_what_is_under_way(counted, tmp_path):
    job = Job(tmp_path / "job.db")
    task = asyncio.ensure_future(job.arun(FetchHive(KEY, counted.url), requests(ROWS), processes=2, progress=False))
    await until_run(counted, 20)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    report = job.status()
    assert (report.in_doubt, report.stopped) == (0, "signal")
    assert report.done == len(counted.stats()["runs"]) < ROWS
    assert not multiprocessing.active_children()


async def test_cancelled_twice_it_leaves_calls_in_doubt(tmp_path):
    job = Job(tmp_path / "job.db")
    with counting("--delay", "60") as slow:
        task = asyncio.ensure_future(job.arun(FetchHive(KEY, slow.url), requests(20), processes=2, progress=False))
        await until_run(slow, 1)

        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.1)

        with pytest.raises(asyncio.CancelledError):
            await task
    assert job.status().in_doubt == 1
    assert not multiprocessing.active_children()


def test_the_end_of_the_event_loop_ends_the_processes(tmp_path):
    """`asyncio.run` cancels all tasks when it is interrupted."""
    job = Job(tmp_path / "job.db")

    async def interrupt(server):
        task = asyncio.ensure_future(job.arun(FetchHive(KEY, server.url), requests(20), processes=2, progress=False))
        await until_run(server, 1)
        assert not task.done()

    with counting("--delay", "60") as slow:
        asyncio.run(interrupt(slow))

    assert not multiprocessing.active_children()
    assert job.status().in_doubt == 1


# --- Refused before anything is sent ----------------------------------------------------------------------------------


def test_journals_of_one_process_stay_so(served, tmp_path):
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    job.run(client, requests(1), progress=False)
    with pytest.raises(JournalError, match="in one process"):
        job.run(client, requests(2), processes=2, progress=False)


@pytest.mark.parametrize("number", [0, 1])
def test_a_missing_shard_stops_the_job(served, tmp_path, number):
    """Its rows may have been paid for."""
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    job.run(client, requests(4), processes=2, progress=False)
    for path in tmp_path.glob(f"job.db.shard-{number}*"):
        path.unlink()
    for processes in (2, None):
        with pytest.raises(JournalError, match=rf"job\.db\.shard-{number} is missing"):
            job.run(client, requests(4), processes=processes, progress=False)
    with pytest.raises(JournalError, match=rf"job\.db\.shard-{number} is missing"):
        job.status()
    assert len(served.calls) == 4


@pytest.mark.parametrize("has_tables", [False, True])
def test_a_job_that_was_killed_while_it_made_its_shards_makes_them_again(served, tmp_path, has_tables):
    """Until the first shard has their number, there is no journal."""
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    make_shard(shard_path(job.path, 2), 3)
    with closing(sqlite3.connect(shard_path(job.path, 0))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    if has_tables:
        open_for_writing(shard_path(job.path, 0)).close()
    assert not job.status().rows

    report = job.run(client, requests(30), processes=2, progress=False)

    assert (report.done, job.status().done, len(served.calls)) == (30, 30, 30)
    assert journals_of(job.path) == [shard_path(job.path, number) for number in range(2)]


def test_clients_that_cannot_be_pickled_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="processes need a client that can be pickled"):
        Job(tmp_path / "job.db").run(FakeServer().client(), requests(1), processes=2, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("processes", [0, -1, True])
def test_processes_is_a_whole_number(tmp_path, processes):
    with pytest.raises(ValueError, match="processes must be a whole number"):
        Job(tmp_path / "job.db").run(FetchHive(KEY), [], processes=processes)


def test_fewer_calls_at_once_than_shards_are_refused(served, tmp_path):
    with pytest.raises(ValueError, match="at least 4"):
        Job(tmp_path / "job.db").run(FetchHive(KEY, served.url), requests(1), processes=4, max_concurrency=2)
    assert not list(tmp_path.iterdir())


@both
def test_rows_that_cannot_be_iterated_leave_no_process(served, tmp_path, how):
    class Rows:
        def __iter__(self):
            raise OSError("no such table")

    with pytest.raises(OSError, match="no such table"):
        run_both(how, Job(tmp_path / "job.db"), FetchHive(KEY, served.url), Rows())
    assert not multiprocessing.active_children()


# --- What dies --------------------------------------------------------------------------------------------------------

UNKNOWN = """
import multiprocessing, sys
from fetch_hive_sdk import FetchHive, InvokeRequest, prompt
from fetch_hive_sdk.bulk import Job
from fetch_hive_sdk.telemetry import Observer

if __name__ == "__main__":
    what, url, path, method = sys.argv[1:]
    multiprocessing.set_start_method(method)

    @prompt("d")
    def shout(text: str) -> str: ...

    class Watcher(Observer):
        pass

    row = shout(text="a") if what == "row" else InvokeRequest(deployment="d", inputs={"text": "a"})
    client = FetchHive("fhk_0123456789", url, observers=[Watcher()] if what == "observer" else [])
    Job(path).run(client, [row] * 4000, processes=2, progress=False)
"""


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("row", "RowError: a row cannot be unpickled in another process: AttributeError: .*'shout'"),
        (
            "observer",
            "ConfigurationError: a process of the job cannot unpickle the client: AttributeError: .*'Watcher'",
        ),
    ],
)
def test_what_other_processes_cannot_import_is_an_error(counted, tmp_path, what, message):
    """With spawn, they do not have what a program defines under `if __name__`."""
    program = tmp_path / "program.py"
    program.write_text(UNKNOWN, "utf-8")
    arguments = [sys.executable, program, what, counted.url, tmp_path / "job.db", "spawn"]

    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False, timeout=60)

    assert re.search(message, done.stderr), done.stderr
    assert not counted.stats()["posts"]


PROGRAM = """
import multiprocessing, sys
from fetch_hive_sdk import FetchHive, InvokeRequest
from fetch_hive_sdk.bulk import Job

if __name__ == "__main__":
    url, path, count, method = sys.argv[1:]
    multiprocessing.set_start_method(method)

    def rows():
        print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
        for number in range(int(count)):
            yield InvokeRequest(deployment="d", inputs={"text": str(number)})

    client = FetchHive("fhk_0123456789", url)
    print(Job(path).run(client, rows(), processes=2, max_concurrency=16, progress=False))
"""


class Run:
    """A job in processes, started as a program of its own in a group of its own."""

    def __init__(self, start_process, server, folder, method="fork"):
        self.start_process = start_process
        self.server = server
        self.job = Job(folder / "job.db")
        self.shards = [shard_path(self.job.path, number) for number in range(2)]
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM, "utf-8")
        self.method = method

    def start(self):
        arguments = [self.program, self.server.url, self.job.path, ROWS, self.method]
        process = self.start_process([sys.executable, *map(str, arguments)], start_new_session=True)
        self.workers = [int(number) for number in process.stdout.readline().split()]
        return process

    def wait_until_run(self, number, seconds=30.0):
        end = time.monotonic() + seconds
        while len(self.server.stats()["runs"]) < number:
            assert time.monotonic() < end, "the job sends nothing"
            time.sleep(0.005)

    def wait_until_free(self, seconds=30.0):
        """Wait until no process has the journal any more."""
        end = time.monotonic() + seconds
        while any(map(is_owned, self.shards)):
            assert time.monotonic() < end, "a worker does not end"
            time.sleep(0.01)

    def finish(self):
        process = self.start()
        output = process.communicate(timeout=60)
        assert process.returncode == 0, output

    def check(self, kills=1):
        runs = self.server.stats()["runs"]
        assert not [text for text, count in runs.items() if count > 1], "paid for twice"
        report = self.job.status()
        assert (report.rows, report.done + report.in_doubt) == (ROWS, ROWS)
        assert report.in_doubt <= 2 * AT_ONCE * kills
        done = {item.request.inputs["text"] for item in self.job.results(["done"])}
        doubt = {item.request.inputs["text"] for item in self.job.doubt()}
        assert done <= set(runs) <= done | doubt


def kill(run, process, what):
    if what == "parent":
        process.kill()
    elif what == "worker":
        os.kill(random.choice(run.workers), signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def make_run(start_process, counted, tmp_path):
    """Return a function that makes a `Run` in the folder of the test."""
    return partial(Run, start_process, counted, tmp_path)


posix = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals to send")


@posix
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("what", ["parent", "worker", "group"])
def test_nothing_is_paid_for_twice(make_run, what, method):
    """`kill -9` of the parent, of one worker, or of all: what is in doubt is known, and not much."""
    run = make_run(method)
    process = run.start()
    run.wait_until_run(60)

    kill(run, process, what)

    _, errors = process.communicate(timeout=60)
    assert process.returncode
    if what == "worker":
        assert "a process of the job died (signal 9)" in errors
    run.wait_until_free()
    assert run.job.status().in_doubt <= 2 * AT_ONCE
    run.finish()
    run.check()


@posix
@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(30))
def test_thirty_kills(make_run, seed):
    """The same at random moments."""
    dice = random.Random(seed)
    run = make_run(["fork", "spawn"][seed % 2])
    for number in range(2):
        process = run.start()
        run.wait_until_run(dice.randint(1, ROWS // 3) + number * ROWS // 3)
        time.sleep(dice.random() * 0.05)
        kill(run, process, ["parent", "worker", "group"][seed % 3])
        process.communicate(timeout=60)
        run.wait_until_free()
    run.finish()
    run.check(kills=2)


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_signal_lets_it_finish_what_is_under_way(make_run, counted, number, code):
    """As Ctrl-C on a terminal, it goes to the whole group."""
    run = make_run()
    process = run.start()
    run.wait_until_run(60)

    os.killpg(process.pid, number)

    _, errors = process.communicate(timeout=30)
    assert process.returncode in {code, 130 if number == signal.SIGINT else code}, errors
    report = run.job.status()
    assert (report.in_doubt, report.stopped) == (0, "signal")
    assert report.done == len(counted.stats()["runs"]) < ROWS


@posix
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_second_owner_is_refused_with_the_id_of_the_first_process(make_run, counted, method):
    """Not with that of a worker."""
    run = make_run(method)
    process = run.start()
    run.wait_until_run(30)
    os.killpg(process.pid, signal.SIGSTOP)  # so that it does not end meanwhile

    with pytest.raises(JournalError, match=f"is in use by process {process.pid}:"):
        run.job.retry()
    with pytest.raises(JournalError, match=f"is in use by process {process.pid}:"):
        run.job.run(FetchHive(KEY, counted.url), requests(1), processes=2, progress=False)

    os.killpg(process.pid, signal.SIGCONT)
    process.communicate(timeout=60)


@posix
@both
def test_a_signal_to_one_process_is_an_error(counted, tmp_path, how):
    """Such as from a system that is short of memory: the job is not done, and was not asked to stop."""

    async def rows():
        for request in requests(ROWS):
            yield request
            if len(counted.stats()["runs"]) >= 60:
                for worker in multiprocessing.active_children()[:1]:
                    os.kill(worker.pid, signal.SIGTERM)
                break
        for number in range(10_000):
            yield InvokeRequest(deployment="d", inputs={"text": f"later {number}"})

    with pytest.raises(BulkError, match="a process of the job was ended by a signal") as caught:
        run_both(how, Job(tmp_path / "job.db"), FetchHive(KEY, counted.url), rows())

    report = caught.value.report
    assert (report.in_doubt, report.stopped) == (0, "signal")
    assert 60 <= report.done == len(counted.stats()["runs"]) < 10_000


@posix
def test_the_key_is_on_no_command_line_and_in_no_file(make_run, tmp_path):
    run = make_run("spawn")
    process = run.start()
    run.wait_until_run(30)

    places = [Path(f"/proc/{pid}/{name}") for pid in run.workers for name in ("cmdline", "environ")]
    seen = b"".join(place.read_bytes() for place in places if place.exists())
    process.communicate(timeout=60)

    assert len(run.workers) == 2
    assert KEY.encode() not in seen
    assert not [path for path in tmp_path.iterdir() if path != run.program and KEY.encode() in path.read_bytes()]


@both
def test_no_process_no_thread_and_no_descriptor_is_left(served, tmp_path, how):
    def left():
        gc.collect()
        descriptors = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
        names = {thread.name for thread in threading.enumerate() if "job" in thread.name}
        return len(multiprocessing.active_children()), names, descriptors

    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    run_both(how, job, client, requests(4))
    before = left()

    run_both(how, job, client, requests(8))

    assert left() == before
    assert before[:2] == (0, set())


def test_a_process_that_cannot_be_started_leaves_none_and_shows_no_key(served, tmp_path, monkeypatch):
    start, started = multiprocessing.context.Process.start, []

    def refuse(self):
        started.append(self)
        if len(started) == 2:
            raise OSError("no more processes")
        start(self)

    monkeypatch.setattr(multiprocessing.get_context().Process, "start", refuse)

    with pytest.raises(OSError, match="no more processes") as caught:
        Job(tmp_path / "job.db").run(FetchHive(KEY, served.url), requests(4), processes=2, progress=False)

    frames = [frame for frame, _ in traceback.walk_tb(caught.tb)][1:]
    assert KEY not in repr([frame.f_locals for frame in frames])
    assert not multiprocessing.active_children()


def test_the_end_of_a_program_does_not_wait_for_a_job_in_a_daemon_thread(counted, tmp_path):
    """Its processes finish what is under way."""
    program = tmp_path / "program.py"
    program.write_text(DAEMON, "utf-8")

    done = subprocess.run(
        [sys.executable, str(program), counted.url, str(tmp_path / "job.db")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    report = Job(tmp_path / "job.db").status()
    assert (report.in_doubt, report.done) == (0, len(counted.stats()["runs"]))
    assert report.done < 5000


DAEMON = """
import multiprocessing, sys, threading, time
from fetch_hive_sdk import FetchHive, InvokeRequest
from fetch_hive_sdk.bulk import Job

if __name__ == "__main__":
    url, path = sys.argv[1:]
    rows = [InvokeRequest(deployment="d", inputs={"text": str(number)}) for number in range(5000)]
    job = Job(path)
    client = FetchHive("fhk_0123456789", url)
    options = {"processes": 2, "progress": False}
    threading.Thread(target=job.run, args=(client, rows), kwargs=options, daemon=True).start()
    # SQLite must not be in use in this thread while the other one forks.
    while len(multiprocessing.active_children()) < 2 or not job.status().done:
        time.sleep(0.01)
"""


# --- One shard --------------------------------------------------------------------------------------------------------


def test_a_shard_is_run_wherever_its_journal_is(served, tmp_path):
    """In a task of another engine, which may run it again."""
    for _ in range(2):
        report = run_shard(FetchHive(KEY, served.url), requests(5), tmp_path / "part-7.db")
        assert report.done == 5
    assert len(served.calls) == 5
