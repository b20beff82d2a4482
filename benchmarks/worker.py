"""Measure one client in its own process and environment. Imports only the standard library and the client.

The argument is the name of a module in `clients/`. Each line of standard input is a command in JSON, answered with one
line of figures: the CPU seconds of this process with all its threads, and the wall-clock seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import resource
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "clients"))


class Measured:
    """The CPU and wall-clock time of a block of code."""

    def __enter__(self):
        gc.collect()  # garbage made earlier does not count; garbage made by the block does, so the collector stays on
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.cpu, self.wall = time.process_time() - self._cpu, time.perf_counter() - self._wall

    def figures(self, count: int) -> dict[str, float]:
        """Return the seconds for one of `count` units."""
        return {"cpu": self.cpu / count, "wall": self.wall / count, "units": count}


class Worker:
    """The commands. Each takes the options in `scenarios.py` and returns figures."""

    def __init__(self, client) -> None:
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._threads = ThreadPoolExecutor(1)
        self._opened: dict[tuple[str, bool], object] = {}

    def _open(self, url: str, *, is_asyncio: bool = False):
        """Open a client, or return the one that an earlier round opened."""
        if (url, is_asyncio) not in self._opened:
            opened = self._loop.run_until_complete(self._client.aopen(url)) if is_asyncio else self._client.open(url)
            self._opened[url, is_asyncio] = opened
        return self._opened[url, is_asyncio]

    def close(self) -> dict[str, float]:
        for (_, is_asyncio), opened in self._opened.items():
            if is_asyncio:
                self._loop.run_until_complete(self._client.aclose(opened))
            else:
                self._client.close(opened)
        self._opened.clear()
        gc.collect()
        return {}

    # --- Calls ---

    def calls(self, url: str, count: int, *, is_asyncio: bool = False) -> dict[str, float]:
        """Make one call after the other."""
        opened = self._open(url, is_asyncio=is_asyncio)

        async def acall() -> None:
            for _ in range(count):
                await self._client.acall(opened)

        with Measured() as measured:
            if is_asyncio:
                self._loop.run_until_complete(acall())
            else:
                for _ in range(count):
                    self._client.call(opened)
        return measured.figures(count)

    def at_once(self, url: str, count: int, *, is_asyncio: bool = False) -> dict[str, float]:
        """Make `count` calls at the same time: in tasks of one event loop, or in threads that start together."""
        opened = self._open(url, is_asyncio=is_asyncio)
        if is_asyncio:

            async def gather() -> None:
                await asyncio.gather(*(self._client.acall(opened) for _ in range(count)))

            with Measured() as measured:
                self._loop.run_until_complete(gather())
            return measured.figures(count)
        if self._threads._max_workers != count:
            self._threads.shutdown()
            self._threads = ThreadPoolExecutor(count)
        start = threading.Barrier(count + 1)

        def call() -> None:
            start.wait()
            self._client.call(opened)

        calls = [self._threads.submit(call) for _ in range(count)]
        with Measured() as measured:
            start.wait()
            for done in calls:
                done.result()
        return measured.figures(count)

    # --- Streams ---

    def streams(self, url: str, events: int, *, count: int = 1, is_asyncio: bool = False) -> dict[str, float]:
        """Read whole streams, one after the other; return the figures for one event."""
        opened = self._open(url, is_asyncio=is_asyncio)
        seen = 0

        async def aread() -> None:
            nonlocal seen
            for _ in range(count):
                async for _event in self._client.astream(opened):
                    seen += 1

        with Measured() as measured:
            if is_asyncio:
                self._loop.run_until_complete(aread())
            else:
                for _ in range(count):
                    for _event in self._client.stream(opened):
                        seen += 1
        if seen < events * count and getattr(self._client, "DECODES", True):
            raise RuntimeError(f"{seen} events of {events * count}")
        return measured.figures(events * count)

    def first_event(self, url: str, count: int, *, is_asyncio: bool = False) -> dict[str, float]:
        """Measure from the call to its first event. The rest of the stream is read, too, but not measured."""
        opened = self._open(url, is_asyncio=is_asyncio)
        total = {"cpu": 0.0, "wall": 0.0, "units": count}

        async def aread() -> None:
            stream = self._client.astream(opened).__aiter__()
            with Measured() as measured:
                await stream.__anext__()
            add(measured)
            async for _event in stream:
                pass

        def read() -> None:
            stream = iter(self._client.stream(opened))
            with Measured() as measured:
                next(stream)
            add(measured)
            for _event in stream:
                pass

        def add(measured: Measured) -> None:
            total["cpu"] += measured.cpu / count
            total["wall"] += measured.wall / count

        for _ in range(count):
            if is_asyncio:
                self._loop.run_until_complete(aread())
            else:
                read()
        return total

    def read_pieces(self, url: str, event_bytes: int) -> dict[str, float]:  # noqa: ARG002 - all commands take it
        """Read one long event from memory in pieces of 1 KiB, to measure the client without the network."""
        opened, seen = self._client.open_on_pieces(event_bytes, 1024), 0
        with Measured() as measured:
            for _event in self._client.stream(opened):
                seen += 1
        if not seen:
            raise RuntimeError("no event")
        return measured.figures(1)

    # --- In a fresh process ---

    def clients(self, url: str) -> dict[str, float]:
        """Measure the first client with a call, another client, another one with a call, and the memory of a client."""
        kept = []

        def open_client():
            kept.append(self._client.open(url))
            return kept[-1]

        with Measured() as first:
            self._client.call(open_client())
        with Measured() as another:
            open_client()
        with Measured() as used:
            self._client.call(open_client())
        tracemalloc.start()
        open_client()  # by now everything that clients share exists
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        open_client()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        resident = peak_bytes()
        for _ in range(20):
            open_client()
        resident = (peak_bytes() - resident) / 20
        for opened in kept:
            self._client.close(opened)
        more = {"first": first.cpu, "used": used.cpu, "bytes": after - before, "resident": resident}
        return {"cpu": another.cpu, "wall": another.wall, **more}

    def peak(self, url: str, long_url: str, events: int) -> dict[str, float]:
        """Measure how much a long stream raises the peak of memory over that of a short one."""
        self.streams(url, 1)
        before = peak_bytes()
        measured = self.streams(long_url, events)
        return {**measured, "bytes": peak_bytes() - before}


def peak_bytes() -> int:
    """Return the peak memory of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    client = importlib.import_module(sys.argv[1])
    print(json.dumps({"skip": getattr(client, "SKIP", ""), "versions": versions()}), flush=True)
    worker = Worker(client)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:  # noqa: BLE001 - the runner reports which client failed, and continues
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that matter."""
    from importlib import metadata  # noqa: PLC0415 - not before the client is imported

    names = [
        "fetch-hive-sdk",
        "openai",
        "anthropic",
        "httpx",
        "httpcore",
        "httpx2",
        "httpcore2",
        "h11",
        "aiohttp",
        "pydantic",
    ]
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


if __name__ == "__main__":
    main()
