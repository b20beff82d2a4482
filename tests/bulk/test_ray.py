"""Jobs as tasks of a real Ray, started on this machine. A killed worker pays for nothing twice."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from counting_server import counting
from driving import KEY
from fetch_hive_sdk import BulkError, ConfigurationError, FetchHive, InvokeRequest
from fetch_hive_sdk.bulk import Budget, Job, JournalError
from fetch_hive_sdk.bulk.lock import is_owned, lock_path
from fetch_hive_sdk.bulk.shards import shard_path
from fetch_hive_sdk.testing import FakeServer, Refusal

ray = pytest.importorskip("ray", reason="Ray is not installed")

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]  # Ray has warnings of its own

ROWS = 600
AT_ONCE = 16


@pytest.fixture(scope="module", autouse=True)
def _ray():
    from fetch_hive_sdk.bulk import ray as bulk_ray  # noqa: PLC0415, F401 - it needs Ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def run():
    from fetch_hive_sdk.bulk import ray as bulk_ray  # noqa: PLC0415 - it needs Ray

    return bulk_ray.run


@pytest.fixture
def make_client(server):
    url = server.url
    return lambda: FetchHive(KEY, url)


@pytest.fixture(scope="module")
def service():
    with counting("--delay", "0.02") as server:
        yield server


@pytest.fixture
def server(service):
    service.reset()
    return service


def requests(count):
    return [InvokeRequest(deployment="d", inputs={"text": str(number)}) for number in range(count)]


def test_rows_are_run_once(run, make_client, server, tmp_path):
    for _ in range(2):
        report = run(make_client, requests(50), journals=tmp_path / "job.db", shards=2, max_concurrency=8)
        assert (report.done, report.rows, report.is_exhausted) == (50, 50, True)
    assert set(server.stats()["runs"].values()) == {1}
    assert [item.row for item in Job(tmp_path / "job.db").results()] == list(range(1, 51))


def test_a_killed_worker_pays_for_nothing_twice(run, make_client, server, tmp_path):
    """Its task is started again and goes on with its journal."""
    path = tmp_path / "job.db"
    threading.Thread(target=kill_a_worker, args=(server, shard_path(path, 1))).start()

    report = run(make_client, requests(ROWS), journals=path, shards=2, max_concurrency=AT_ONCE)

    runs = server.stats()["runs"]
    assert not [text for text, count in runs.items() if count > 1]
    assert report.done + report.in_doubt == report.rows == ROWS
    assert 1 <= report.in_doubt <= 2 * AT_ONCE
    job = Job(path)
    done = {item.request.inputs["text"] for item in job.results(["done"])}
    doubt = {item.request.inputs["text"] for item in job.doubt()}
    assert done <= set(runs) <= done | doubt


def test_a_lost_disk_puts_its_shard_in_doubt(run, make_client, server, tmp_path):
    path = tmp_path / "job.db"
    threading.Thread(target=kill_a_worker, args=(server, shard_path(path, 1)), kwargs={"and_delete": True}).start()

    report = run(make_client, requests(ROWS), journals=path, shards=2, max_concurrency=AT_ONCE)

    assert not [text for text, count in server.stats()["runs"].items() if count > 1]
    assert report.rows == ROWS
    assert report.in_doubt > ROWS // 4
    assert len(server.stats()["runs"]) < ROWS


def kill_a_worker(server, journal, and_delete=False):
    while len(server.stats()["runs"]) < ROWS // 10 or not is_owned(journal):
        time.sleep(0.005)
    worker = int(lock_path(journal).read_text("ascii"))
    if and_delete:
        for path in journal.parent.glob(f"{journal.name}*"):
            path.unlink()
    os.kill(worker, signal.SIGKILL)


def test_the_budget_is_divided(run, make_client, server, tmp_path):
    report = run(
        make_client, requests(100), journals=tmp_path / "job.db", shards=2, budget=Budget(runs=21), max_concurrency=8
    )
    assert (report.done, report.stopped) == (21, "runs")
    assert len(server.stats()["runs"]) == 21


def test_a_refusal_is_an_error_with_the_report(run, tmp_path):
    fake = FakeServer(default=Refusal(401))
    with fake.serve() as url, pytest.raises(BulkError, match="refuses the calls") as caught:
        run(lambda: FetchHive(KEY, url), requests(20), journals=tmp_path / "job.db", shards=2)
    assert caught.value.report.rejected == len(fake.calls) <= 2


def test_nodes_without_a_key_say_so(run, server, tmp_path):
    """A client travels without its key."""
    with pytest.raises(ConfigurationError, match="FETCH_HIVE_API_KEY"):
        run(FetchHive(KEY, server.url), requests(4), journals=tmp_path / "job.db", shards=1)
    assert not server.stats()["posts"]


def test_a_budget_smaller_than_the_number_of_tasks(run, make_client, server, tmp_path):
    """Tasks without a share send nothing, and the report counts their rows."""
    report = run(
        make_client, requests(60), journals=tmp_path / "job.db", shards=4, budget=Budget(runs=2), max_concurrency=8
    )
    assert (report.done, report.stopped, report.is_exhausted) == (2, "runs", False)
    assert report.pending > 0
    assert len(server.stats()["runs"]) == 2


def test_a_journal_that_is_lost_between_two_runs_stops_the_job(run, make_client, server, tmp_path):
    """Its rows may have been paid for."""
    path = tmp_path / "job.db"
    run(make_client, requests(20), journals=path, shards=2)
    shard_path(path, 1).unlink()

    with pytest.raises(JournalError, match=r"job\.db\.shard-1 is missing"):
        run(make_client, requests(20), journals=path, shards=2)

    assert set(server.stats()["runs"].values()) == {1}


def test_errors_of_the_caller_are_not_taken_for_a_dead_worker(run, server, tmp_path):
    def make_client():
        raise LookupError("no such client")

    with pytest.raises(LookupError, match="no such client"):
        run(make_client, requests(4), journals=tmp_path / "job.db", shards=1)
    assert not server.stats()["posts"]
