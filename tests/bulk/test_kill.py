"""Jobs that are killed: no row is paid for twice, and the number of rows in doubt is bounded."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from counting_server import counting
from fetch_hive_sdk.bulk import Job

ROWS = 200
AT_ONCE = 16

RUN = """
import asyncio, sys
from fetch_hive_sdk import FetchHive, InvokeRequest
from fetch_hive_sdk.bulk import Job

url, path, how, count = sys.argv[1:]
client = FetchHive("fhk_0123456789", url)
rows = (InvokeRequest(deployment="d", inputs={"text": str(number)}) for number in range(int(count)))
job = Job(path)
if how == "run":
    job.run(client, rows, max_concurrency=16, progress=False)
else:
    asyncio.run(job.arun(client, rows, max_concurrency=16, progress=False))
"""

CLI = """
import sys
from fetch_hive_sdk.cli import main

sys.exit(main())
"""

# Prints a line when the job has noticed a signal: a second one that arrives earlier is merged with the first.
# With os.write, as `print` must not be called again by a signal that interrupts it.
NOTICING = """
import os
from fetch_hive_sdk.bulk.background import Background

def hear_and_say(self, number, frame, hear=Background._hear):
    try:
        hear(self, number, frame)
    finally:
        os.write(1, b"noticed\\n")

Background._hear = hear_and_say
"""


@pytest.fixture(scope="module")
def server():
    with counting("--delay", "0.03") as server:
        yield server


class Place:
    """A folder with an input and a journal, and the command that runs it."""

    def __init__(self, start_process, folder, server, how, rows=ROWS):
        self.start_process = start_process
        self.server = server
        self.how = how
        self.rows = rows
        self.job = Job(folder / "job.db")
        self.input = folder / "rows.csv"
        self.input.write_text("text\n" + "".join(f"{number}\n" for number in range(rows)), "utf-8")

    def start(self, *more, prelude=""):
        if self.how == "cli":
            arguments = ["-c", prelude + CLI, "bulk", "run", str(self.input), "--deployment=d", "--input=text=text"]
            arguments += [f"--journal={self.job.path}", f"--max-concurrency={AT_ONCE}", "--quiet", *more]
        else:
            arguments = ["-c", prelude + RUN, self.server.url, str(self.job.path), self.how, str(self.rows)]
        environ = {**os.environ, "FETCH_HIVE_API_KEY": "fhk_0123456789", "FETCH_HIVE_BASE_URL": self.server.url}
        return self.start_process([sys.executable, *arguments], env=environ)

    def wait_until_sent(self, number, seconds=20.0):
        """Wait until the server has run `number` rows."""
        end = time.monotonic() + seconds
        while len(self.server.stats()["runs"]) < number:
            assert time.monotonic() < end, "the job sends nothing"
            time.sleep(0.005)

    def finish(self):
        process = self.start()
        output = process.communicate(timeout=60)
        assert process.returncode in {0, 9}, output

    def check(self, kills):
        """Compare the journal with the runs of the server."""
        runs = self.server.stats()["runs"]
        assert not [text for text, count in runs.items() if count > 1], "paid for twice"
        report = self.job.status()
        assert report.rows == self.rows
        assert report.done + report.in_doubt == self.rows
        assert report.in_doubt <= 2 * AT_ONCE * kills
        done = {item.request.inputs["text"] for item in self.job.results(["done"])}
        doubt = {item.request.inputs["text"] for item in self.job.doubt()}
        assert done <= set(runs) <= done | doubt


@pytest.fixture
def make_place(start_process, tmp_path):
    """Return a function that makes a `Place` in the folder of the test."""
    return partial(Place, start_process, tmp_path)


def kill_at_random_moments(make_place, server, how, choose, kills=1):
    server.reset()
    place = make_place(server, how)
    so_far = 0
    for number in range(kills):
        process = place.start()
        place.wait_until_sent(so_far + choose.randint(0, ROWS // (kills + 1)))
        time.sleep(choose.random() * 0.05)
        process.kill()
        process.communicate()
        so_far = len(server.stats()["runs"])
        report = place.job.status()
        assert report.in_doubt <= 2 * AT_ONCE * (number + 1)
        assert report.done + report.in_doubt >= so_far - AT_ONCE
    place.finish()
    place.check(kills)


@pytest.mark.parametrize("how", ["run", "arun", "cli"])
def test_a_killed_job_pays_for_no_row_twice(make_place, server, how):
    """After `kill -9`, no row is run again, few rows are in doubt, and the counts add up."""
    kill_at_random_moments(make_place, server, how, random.Random(how))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(50))
def test_fifty_kills(make_place, server, seed):
    """Jobs are killed at many random moments, for `run`, `arun` and the command line."""
    kill_at_random_moments(make_place, server, ["run", "arun", "cli"][seed % 3], random.Random(seed), kills=2)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals to send")
@pytest.mark.parametrize("how", ["run", "cli"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_calls_under_way_finish(make_place, server, how, number):
    """After Ctrl-C or SIGTERM, no row is in doubt, and the exit code tells the signals apart."""
    server.reset()
    place = make_place(server, how, rows=1000)  # a second or more after 50 rows
    process = place.start()
    place.wait_until_sent(50)

    process.send_signal(number)
    _, errors = process.communicate(timeout=20)

    expected = {signal.SIGINT: {130, -signal.SIGINT}, signal.SIGTERM: {143}}[number]
    assert process.returncode in expected, errors
    assert (how == "run" and number == signal.SIGINT) == ("KeyboardInterrupt" in errors)
    report = place.job.status()
    assert report.in_doubt == 0
    assert report.done == len(server.stats()["runs"]) < place.rows
    assert report.stopped == "signal"
    place.finish()
    place.check(kills=0)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals to send")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_wait_for_a_row(make_place, server, number, code):
    """The rows read from stdin are finished. The job does not wait for the next line."""
    server.reset()
    place = make_place(server, "cli")
    place.input = "-"
    process = place.start("--format=csv")
    process.stdin.write("text\n1\n2\n3\n")
    process.stdin.flush()
    place.wait_until_sent(3)

    process.send_signal(number)
    process.wait(20)

    process.communicate()
    assert process.returncode == code
    assert (place.job.status().done, place.job.status().in_doubt) == (3, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals to send")
@pytest.mark.parametrize(
    ("how", "number", "codes"),
    [
        ("run", signal.SIGINT, {130, -signal.SIGINT}),
        ("cli", signal.SIGINT, {130}),
        ("run", signal.SIGTERM, {143}),
        ("cli", signal.SIGTERM, {143}),
    ],
)
def test_a_second_signal_leaves_calls_in_doubt(make_place, how, number, codes):
    """A second signal ends the job immediately."""
    with counting("--delay", "30") as slow:
        place = make_place(slow, how)
        process = place.start(prelude=NOTICING)
        place.wait_until_sent(1)
        process.send_signal(number)
        assert process.stdout.readline() == "noticed\n"
        assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)

    assert process.returncode in codes, errors
    assert (how == "run" and number == signal.SIGINT) == ("KeyboardInterrupt" in errors)
    report = place.job.status()
    assert (report.in_doubt, report.done) == (1, 0)


def test_a_child_process_does_not_keep_the_lock(server, tmp_path):
    """When the owner is killed, the journal is free, even if a forked child of the owner still runs."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork")
    program = """
import os, sys, time
from fetch_hive_sdk.bulk.lock import OwnerLock
from pathlib import Path
lock = OwnerLock(Path(sys.argv[1]))
if not os.fork():
    print(os.getpid(), flush=True)
time.sleep(60)
"""
    path = tmp_path / "job.db"
    command = [sys.executable, "-W", "ignore", "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        from fetch_hive_sdk.bulk.lock import is_owned  # noqa: PLC0415 - for this test only

        try:
            assert is_owned(path)
            process.kill()
            process.wait()
            assert not is_owned(path)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to observe writes and syncs")
def test_a_row_is_marked_on_disk_before_its_request_is_sent(make_place, server, tmp_path):
    """The log is synced before each request is written to its socket, so that a power cut loses no mark."""
    place = make_place(server, "run", rows=20)
    log = tmp_path / "calls"
    calls = "trace=fsync,fdatasync,pwrite64,sendto,write,openat"
    command = ["strace", "-f", "-qq", "-s", "5000", "-e", calls, "-o", str(log), sys.executable, "-c", RUN]
    command += [server.url, str(place.job.path), "run", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr:
        pytest.skip("strace is not allowed to trace here")

    synced, written, before, sent = set(), set(), {}, 0
    handle = None
    for line in log.read_text("utf-8", "replace").splitlines():
        thread, call = line.split(maxsplit=1)
        if 'job.db-wal"' in call and "O_CREAT" in call:
            handle = re.search(r"= (\d+)$", call)[1]
        elif call.startswith(f"pwrite64({handle},"):
            written |= texts_of(call)
        elif re.match(rf"f(data)?sync\({handle}\b", call):
            before[thread] = set(written)
            if "unfinished" not in call:
                synced |= before.pop(thread)
        elif re.match(r"<\.\.\. f(data)?sync resumed", call):
            synced |= before.pop(thread, set())
        elif "POST /v1" in call:
            sent += 1
            assert texts_of(call) <= synced, call
    assert sent == 20


def texts_of(call):
    return set(re.findall(r'\{\\"deployment\\":\\"d\\",\\"inputs\\":\{\\"text\\":\\"(\d+)\\"', call))
