"""Makes ten thousand faulty calls and checks for leaks. Run by `nox -s soak`, not by pytest.

Run it as `python tests/faults/soak.py [calls]`. It exits with status 1 if file descriptors, threads, tasks or memory
have grown since the first fifth of the calls, in which caches fill. A signal handler's exception interrupts a tenth of
the calls. The call after each of them must succeed, which shows that no lock is held.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).parents[1]))  # as in pytest

from driving import KEY
from faults.calls import ANSWER_TEXT, GOOD
from faults.server import FaultServer
from faults.test_invariant import REFUSALS, call_fault, make_plan
from fetch_hive_sdk import APIConnectionError, FetchHive, FetchHiveError

ROUNDS = 10
AT_ONCE = 10
WARM_ROUNDS = 2
MAX_GROWTH_KIB = 4096
SECONDS = 0.3
LOCKED_SECONDS = 10.0
ABORT_SECONDS = 900.0
INTERRUPTED_SECONDS = [0.0003, 0.001, 0.003, 0.01, 0.1]  # upper bounds: a call takes about a millisecond


@dataclass
class State:
    """The resources that must not grow."""

    descriptors: int
    threads: int
    tasks: int
    connections: int
    memory_kib: int

    def __str__(self) -> str:
        return (
            f"{self.descriptors} descriptors, {self.threads} threads, {self.tasks} tasks, "
            f"{self.connections} connections, {self.memory_kib} KiB"
        )


def look(server: FaultServer, tasks: int) -> State:
    gc.collect()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    memory = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return State(descriptors, threading.active_count(), tasks, server.open_connections, memory)


class AlarmError(Exception):
    """Raised by a SIGALRM handler, like the soft time limit of a task queue worker."""


class Alarm:
    """Raises an exception in the main thread at a random moment of a function, if it runs long enough."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.is_set = False
        self.rings = 0
        signal.signal(signal.SIGALRM, self.ring)

    def ring(self, number: int, frame: object) -> None:
        if self.is_set:
            self.is_set = False
            self.rings += 1
            raise self.dice.choice([AlarmError, KeyboardInterrupt])

    def interrupt(self, work: Callable[[], None]) -> None:
        with suppress(AlarmError, KeyboardInterrupt):
            try:
                self.is_set = True
                signal.setitimer(signal.ITIMER_REAL, self.dice.uniform(1e-5, self.dice.choice(INTERRUPTED_SECONDS)))
                work()
            finally:
                self.is_set = False
        signal.setitimer(signal.ITIMER_REAL, 0)


class Soak:
    """Makes faulty calls with one client, each with a random plan."""

    def __init__(self, server: FaultServer, client: FetchHive) -> None:
        self.server = server
        self.client = client
        self.dice = random.Random(5)
        self.numbers = count()
        self.lock = threading.Lock()

    def prepare(self) -> tuple[str, str, float]:
        """Configure the server for the next call. Return the call's name, kind and timeout in seconds."""
        with self.lock:
            kind = self.dice.choice(["call", "stream", "left", "dropped"])
            plan = make_plan(self.dice, next(self.numbers), "call" if kind == "call" else "stream")
            self.server.scripts[plan.name] = plan.faults
            return plan.name, kind, self.dice.choice([0.0005, 0.002, 0.01, 60, 60, 60, 60])

    def forget(self, name: str) -> None:
        with self.lock:
            runs = self.server.runs.pop(name, 0)
            self.server.posts.pop(name, None)
            # Keep a script for a request that is still in transit.
            self.server.scripts[name] = LATE
            self.server.heads.clear()
        if runs > 1:
            raise SystemExit(f"{name} ran {runs} times")

    def call(self) -> None:
        name, kind, _ = self.prepare()
        self._call(name, kind)
        self.forget(name)

    def _call(self, name: str, kind: str) -> None:
        with suppress(FetchHiveError):
            if kind == "call":
                self.client.invoke_prompt(deployment=name)
            elif kind == "stream":
                self.client.invoke_prompt_stream(deployment=name).collect()
            elif kind == "left":
                with self.client.invoke_prompt_stream(deployment=name) as stream:
                    next(iter(stream), None)
            else:
                next(iter(self.client.invoke_prompt_stream(deployment=name)), None)

    def run_interrupted(self, calls: int) -> None:
        """Make calls that a signal handler's exception interrupts, each followed by a call that must succeed."""
        alarm = Alarm(self.dice)
        for number in range(calls):
            name, kind, _ = self.prepare()
            alarm.interrupt(partial(self._call, name, kind))
            self.forget(name)
            if number % 10:
                self.check()
            else:  # another thread, as a lock may be reentrant
                thread = threading.Thread(target=self.check, daemon=True)
                thread.start()
                thread.join(LOCKED_SECONDS)
                if thread.is_alive():
                    raise SystemExit(f"a lock is still held after call {number}")
            if not self.server.wait_until(lambda: self.server.open_connections <= 1):
                raise SystemExit(f"{self.server.open_connections} connections are open after call {number}")
        self.client.close()

    def check(self) -> None:
        # The kept-alive connection of an earlier fault may break during the next call.
        with suppress(APIConnectionError):
            self.client.invoke_prompt(deployment="good", timeout=LOCKED_SECONDS)
        assert self.client.invoke_prompt(deployment="good", timeout=LOCKED_SECONDS).response == ANSWER_TEXT

    async def acall(self) -> None:
        name, kind, seconds = self.prepare()
        with suppress(FetchHiveError, asyncio.TimeoutError):
            await asyncio.wait_for(self._acall(name, kind), seconds)
        self.forget(name)

    async def _acall(self, name: str, kind: str) -> None:
        if kind == "call":
            await self.client.ainvoke_prompt(deployment=name)
        elif kind == "stream":
            await self.client.ainvoke_prompt_stream(deployment=name).collect()
        elif kind == "left":
            async with self.client.ainvoke_prompt_stream(deployment=name) as stream:
                async for _ in stream:
                    break
        else:
            async for _ in self.client.ainvoke_prompt_stream(deployment=name):
                break

    def run_blocking(self, calls: int) -> None:
        """Make calls from several threads."""
        errors: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(calls // AT_ONCE):
                    self.call()
            except BaseException as exc:  # noqa: BLE001 - raised again below
                errors.append(exc)

        threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in errors:
            raise error

    async def run_asyncio(self, calls: int) -> int:
        """Make calls from several tasks, and return the number of leftover tasks."""

        async def work() -> None:
            for _ in range(calls // AT_ONCE):
                await self.acall()

        await asyncio.gather(*[work() for _ in range(AT_ONCE)])
        for _ in range(100):
            gc.collect()
            if len(asyncio.all_tasks()) == 1:
                break
            await asyncio.sleep(0.01)
        tasks = len(asyncio.all_tasks()) - 1
        await self.client.aclose()
        return tasks


LATE = [REFUSALS[0]]


def main(calls: int) -> int:
    # Aborts if a call never ends. It runs during all measurements, so it does not count as growth.
    guard = threading.Timer(ABORT_SECONDS, os._exit, [2])
    guard.daemon = True
    guard.start()
    states: list[State] = []
    with FaultServer(call_fault(random.Random(1))) as server, FetchHive(KEY, server.url, timeout=SECONDS) as client:
        soak = Soak(server, client)
        for number in range(ROUNDS):
            server.scripts["good"] = [GOOD]
            soak.run_interrupted(calls // ROUNDS // 10)
            soak.run_blocking(calls // ROUNDS // 2)
            client.close()
            tasks = asyncio.run(soak.run_asyncio(calls // ROUNDS // 2))
            server.scripts.clear()
            server.wait_until(lambda: server.open_connections == 0)
            states.append(look(server, tasks))
            print(f"round {number + 1}: {states[-1]}", flush=True)  # noqa: T201 - a script
    guard.cancel()
    return compare(states[WARM_ROUNDS - 1], states[-1])


def compare(warm: State, end: State) -> int:
    grown = [name for name in ("descriptors", "threads", "tasks") if getattr(end, name) > getattr(warm, name)]
    if end.connections:
        grown.append("connections")
    if end.memory_kib > warm.memory_kib + MAX_GROWTH_KIB:
        grown.append("memory")
    print(f"grown: {', '.join(grown)}" if grown else "no growth")  # noqa: T201 - a script
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
