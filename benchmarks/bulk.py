"""Measure jobs of `fetch_hive_sdk.bulk` against their targets: speed, memory, and the time for a large journal.

    nox -s bulk                     # or: python benchmarks/bulk.py
    python benchmarks/bulk.py --rows 1000000 --calls 20000 --only memory

The two sides of a ratio take turns within one run. The service runs in its own process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from counting_server import counting
from fetch_hive_sdk import FetchHive, InvokeRequest, InvokeResponse
from fetch_hive_sdk.bulk import Job

KEY = "fhk_0123456789"
AT_ONCE = 64
DELAY = 0.05
TEXT = "A review of about two hundred characters, as they come in a column of a table. " * 3
ANSWER = {
    "request_id": "req_0190f5e4-0000-7000-8000-000000000000",
    "model": "some-model-2025-08-07",
    "response": "The summary of the review, in a sentence or two. " * 6,
    "usage": {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100},
}


def requests(count):
    return (InvokeRequest(deployment="summarise", inputs={"text": f"{number} {TEXT}"}) for number in range(count))


# --- Speed ------------------------------------------------------------------------------------------------------------


async def bare(url, count):
    """Run the same client in a gather with a semaphore, as one would write by hand."""
    async with FetchHive(KEY, url) as client:
        semaphore = asyncio.Semaphore(AT_ONCE)

        async def one(request):
            async with semaphore:
                return await client.ainvoke(request)

        begun = time.perf_counter()
        await asyncio.gather(*map(one, requests(count)))
        return count / (time.perf_counter() - begun)


def journalled(url, count, folder, *, at_once=AT_ONCE, processes=None):
    job = Job(folder / f"{time.monotonic_ns()}.db")
    begun = time.perf_counter()
    options = {"max_concurrency": at_once, "processes": processes, "progress": False}
    report = job.run(FetchHive(KEY, url), requests(count), **options)
    assert report.done == count
    return count / (time.perf_counter() - begun)


def speed(options, folder):
    ratios = []
    with counting("--delay", DELAY, "--padding", "300", "--anonymous") as server:
        for number in range(options.rounds):
            order = [("bare", lambda: asyncio.run(bare(server.url, options.calls)))]
            order.append(("journal", lambda: journalled(server.url, options.calls, folder)))
            rates = {name: measure() for name, measure in (order if number % 2 else reversed(order))}
            ratios.append(rates["journal"] / rates["bare"])
            print(f"  round {number + 1}: {rates['bare']:.0f} rows/s bare, {rates['journal']:.0f} with the journal")
    check("rows per second, relative to the bare client", statistics.median(ratios), 0.8, at_least=True)


def processes(options, folder):
    ratios = []
    with counting("--delay", DELAY, "--padding", "300", "--anonymous") as server:
        for number in range(options.rounds):
            rates = {}
            for count in (1, 2) if number % 2 else (2, 1):
                rates[count] = journalled(server.url, options.calls, folder, at_once=256, processes=count)
            ratios.append(rates[2] / rates[1])
            print(f"  round {number + 1}: {rates[1]:.0f} rows/s with one process, {rates[2]:.0f} with two")
    check("rows per second of two processes, relative to one", statistics.median(ratios), 1.6, at_least=True)


# --- Memory and time of many rows -------------------------------------------------------------------------------------


class Instant(FetchHive):
    """A client that answers immediately: a million calls over a socket would measure the socket."""

    def with_options(self, **_):
        return self

    async def ainvoke(self, _request, **_):
        await asyncio.sleep(0)
        return self.answer


def instant():
    client = Instant(KEY)
    client.answer = InvokeResponse.model_validate(ANSWER)
    return client


def in_a_process(command, path, rows):
    """Run a function of this file in its own process; return the figures that it prints."""
    words = [sys.executable, __file__, "--child", command, "--path", str(path), "--rows", str(rows)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def child(command, path, rows):
    begun = time.perf_counter()
    if command == "read":
        for _ in requests(rows):
            pass
    elif command == "count":
        report = Job(path).status()
        assert report.done == report.rows == rows
    else:
        report = Job(path).run(instant(), requests(rows), progress=False)
        assert report.done == rows
    seconds = time.perf_counter() - begun
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu": time.process_time(),
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def memory(options, folder):
    many, path = options.rows, folder / "many.db"
    small = in_a_process("run", folder / "few.db", 1000)
    large = in_a_process("run", path, many)
    print(f"  {many:,} rows in {large['seconds']:.0f} s ({large['seconds'] / many * 1e6:.0f} µs a row)")
    check("MB above a thousand rows", large["peak"] - small["peak"], 60)
    content = many * (len(requests_json()) + len(json.dumps(ANSWER, separators=(",", ":"))))
    check("size of the journal, relative to its content", path.stat().st_size / content, 1.5)
    counting_it = in_a_process("count", path, many)
    check("seconds to open and count", counting_it["seconds"], 10)
    print(f"  {counting_it['cpu']:.1f} s of the processor")
    reading = in_a_process("read", path, many)
    again = in_a_process("run", path, many)
    check("seconds to find the remaining rows, without reading them", again["seconds"] - reading["seconds"], 30)
    print(f"  {again['cpu'] - reading['cpu']:.1f} s of the processor")
    check("MB above a thousand rows, the second time", again["peak"] - small["peak"], 60)


def requests_json():
    return json.dumps({"deployment": "summarise", "inputs": {"text": f"123456 {TEXT}"}}, separators=(",", ":"))


failed = []


def check(what, value, limit, *, at_least=False):
    is_met = value >= limit if at_least else value <= limit
    print(f"{'ok  ' if is_met else 'FAIL'} {what}: {value:.2f} ({'at least' if at_least else 'at most'} {limit})")
    if not is_met:
        failed.append(what)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000, help="rows per round of the speed test")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large journal")
    parser.add_argument("--only", choices=["speed", "processes", "memory"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.path, options.rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        for measure in (speed, processes, memory):
            if options.only in {None, measure.__name__}:
                print(f"{measure.__name__}:", flush=True)
                measure(options, Path(folder))
    if failed:
        sys.exit(f"not met: {', '.join(failed)}")


if __name__ == "__main__":
    main()
