"""A job in several processes: the journal in shards, one budget, and what happens when one of the processes dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from counting_server import counting
from driving import KEY
from fetch_hive_sdk import BulkError, ConfigurationError, FetchHive, InvokeRequest, prompt
from fetch_hive_sdk.bulk import Budget, Job, JournalError, RowError, run_shard
from fetch_hive_sdk.testing import FakeServer, Refusal

# From Python 3.12 on, a fork beside other threads is warned of; the fakes of these tests have such threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

AT_ONCE = 16
ROWS = 300


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


def test_rows_that_raise_are_an_error_after_what_is_under_way(served, tmp_path):
    def rows():
        yield from requests(5)
        raise OSError("the table is gone")

    with pytest.raises(OSError, match="the table is gone"):
        Job(tmp_path / "job.db").run(FetchHive(KEY, served.url), rows(), processes=2, progress=False)
    assert Job(tmp_path / "job.db").status().in_doubt == 0


# --- Refused before anything is sent ----------------------------------------------------------------------------------


def test_journals_of_one_process_stay_so(served, tmp_path):
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    job.run(client, requests(1), progress=False)
    with pytest.raises(JournalError, match="in one process"):
        job.run(client, requests(2), processes=2, progress=False)


def test_a_missing_shard_stops_the_job(served, tmp_path):
    """Its rows may have been paid for."""
    job, client = Job(tmp_path / "job.db"), FetchHive(KEY, served.url)
    job.run(client, requests(4), processes=2, progress=False)
    for path in tmp_path.glob("job.db.shard-1*"):
        path.unlink()
    with pytest.raises(JournalError, match=r"job\.db\.shard-1 is missing"):
        job.run(client, requests(4), processes=2, progress=False)
    with pytest.raises(JournalError, match=r"job\.db\.shard-1 is missing"):
        job.status()
    assert len(served.calls) == 4


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


# --- What dies --------------------------------------------------------------------------------------------------------

PROGRAM = """
import multiprocessing, sys
from fetch_hive_sdk import FetchHive, InvokeRequest
from fetch_hive_sdk.bulk import Job

if __name__ == "__main__":
    url, path, count, method = sys.argv[1:]
    multiprocessing.set_start_method(method)
    rows = (InvokeRequest(deployment="d", inputs={"text": str(number)}) for number in range(int(count)))
    print(Job(path).run(FetchHive("fhk_0123456789", url), rows, processes=2, max_concurrency=16, progress=False))
"""


class Run:
    """A job in processes, started as a program of its own in a group of its own."""

    def __init__(self, server, folder, method="fork"):
        self.server = server
        self.job = Job(folder / "job.db")
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM, "utf-8")
        self.method = method

    def start(self):
        arguments = [self.program, self.server.url, self.job.path, ROWS, self.method]
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_until_run(self, number, seconds=30.0):
        end = time.monotonic() + seconds
        while len(self.server.stats()["runs"]) < number:
            assert time.monotonic() < end, "the job sends nothing"
            time.sleep(0.005)

    def wait_until_free(self, seconds=30.0):
        """Wait until no process has the journal any more."""
        end = time.monotonic() + seconds
        while workers_of(self.job.path):
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


def workers_of(path):
    """Return the process ids that own shards of a journal now."""
    from fetch_hive_sdk.bulk.lock import is_owned, lock_path  # noqa: PLC0415 - for this test only

    shards = [shard for shard in path.parent.glob(f"{path.name}.shard-?") if is_owned(shard)]
    texts = [lock_path(shard).read_text("ascii").strip() for shard in shards]
    return sorted({int(text) for text in texts if text})


def kill(run, process, what):
    if what == "parent":
        process.kill()
    elif what == "worker":
        os.kill(random.choice(workers_of(run.job.path)), signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGKILL)


posix = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals to send")


@posix
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("what", ["parent", "worker", "group"])
def test_nothing_is_paid_for_twice(counted, tmp_path, what, method):
    """`kill -9` of the parent, of one worker, or of all: what is in doubt is known, and not much."""
    run = Run(counted, tmp_path, method)
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
def test_thirty_kills(counted, tmp_path, seed):
    """The same at random moments."""
    dice = random.Random(seed)
    run = Run(counted, tmp_path, ["fork", "spawn"][seed % 2])
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
def test_a_signal_lets_it_finish_what_is_under_way(counted, tmp_path, number, code):
    """As Ctrl-C on a terminal, it goes to the whole group."""
    run = Run(counted, tmp_path)
    process = run.start()
    run.wait_until_run(60)

    os.killpg(process.pid, number)

    _, errors = process.communicate(timeout=30)
    assert process.returncode in {code, 130 if number == signal.SIGINT else code}, errors
    report = run.job.status()
    assert (report.in_doubt, report.stopped) == (0, "signal")
    assert report.done == len(counted.stats()["runs"]) < ROWS


@posix
def test_the_key_is_on_no_command_line_and_in_no_file(counted, tmp_path):
    run = Run(counted, tmp_path, "spawn")
    process = run.start()
    run.wait_until_run(30)

    workers = workers_of(run.job.path)
    places = [Path(f"/proc/{pid}/{name}") for pid in workers for name in ("cmdline", "environ")]
    seen = b"".join(place.read_bytes() for place in places if place.exists())
    process.communicate(timeout=60)

    assert len(workers) == 2
    assert KEY.encode() not in seen
    assert not [path for path in tmp_path.iterdir() if path != run.program and KEY.encode() in path.read_bytes()]


def test_no_process_is_left(served, tmp_path):
    Job(tmp_path / "job.db").run(FetchHive(KEY, served.url), requests(4), processes=2, progress=False)
    assert not multiprocessing.active_children()


# --- One shard --------------------------------------------------------------------------------------------------------


def test_a_shard_is_run_wherever_its_journal_is(served, tmp_path):
    """In a task of another engine, which may run it again."""
    for _ in range(2):
        report = run_shard(FetchHive(KEY, served.url), requests(5), tmp_path / "part-7.db")
        assert report.done == 5
    assert len(served.calls) == 5
