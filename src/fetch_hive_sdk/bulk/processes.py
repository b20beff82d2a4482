"""The processes of a job, as the parent sees them: started, sent orders to, listened to."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Union

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._session import api_key_of

from .failures import RowError
from .worker import Setup, work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from fetch_hive_sdk import FetchHive

    from .store import Row
    from .worker import Answer, Order

_END_SECONDS = 10.0  # for a worker to end after its last shard


class Worker:
    """A worker process.

    Args:
        setup: What it runs.
        process: The process, not started yet.
        pipe: To it and from it.
    """

    def __init__(self, setup: Setup, process: BaseProcess, pipe: Connection) -> None:
        self.shards: list[int] = [shard for shard, _ in setup.shards]
        self.setup = setup
        self._process = process
        self._pipe = pipe
        self._orders: queue.SimpleQueue[Union[Order, bytes, None]] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the process."""
        self._process.start()

    def send(self, order: Union[Order, bytes]) -> None:
        """Send an order. Returns at once."""
        self._orders.put(order)

    def listen(self, on_answer: Callable[[Answer], None], on_death: Callable[[str], None]) -> None:
        """Call a function, in a thread, with each answer, and another with how the process ended."""
        threading.Thread(target=self._write, daemon=True).start()
        threading.Thread(target=self._read, args=(on_answer, on_death), daemon=True).start()

    def _write(self) -> None:
        with suppress(OSError):  # it has died: `_read` notices
            while True:
                order = self._orders.get()
                if order is None:
                    return
                if isinstance(order, bytes):
                    self._pipe.send_bytes(order)
                else:
                    self._pipe.send(order)

    def _read(self, on_answer: Callable[[Answer], None], on_death: Callable[[str], None]) -> None:
        with suppress(EOFError, OSError):
            while True:
                on_answer(self._pipe.recv())
        self._orders.put(None)
        self._process.join(_END_SECONDS)
        code = self._process.exitcode
        on_death(f"signal {-code}" if code is not None and code < 0 else f"exit code {code}")

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self._orders.put(None)
        self._pipe.close()
        self._process.join()


def start_workers(client: FetchHive, setups: Sequence[Setup]) -> list[Worker]:
    """Start a process for each setup. Called in the thread of the caller, before there are others.

    Raises:
        ConfigurationError: The client cannot be sent to another process.

    """
    context = multiprocessing.get_context()
    pipes = [context.Pipe() for _ in setups]
    # A forked process has the ends of all pipes, a spawned one those that it is given.
    is_forked = context.get_start_method() == "fork"
    workers: list[Worker] = []
    for number, (setup, (ours, theirs)) in enumerate(zip(setups, pipes)):
        others = [end for pair in pipes for end in pair if end is not theirs] if is_forked else []
        process = context.Process(target=work, args=(theirs, others), name=f"fetch-hive-job-{number}")
        workers.append(Worker(setup, process, ours))
    key = api_key_of(client).encode()
    for worker, (_, theirs) in zip(workers, pipes):
        worker.start()
        theirs.close()
    for worker in workers:
        worker.send(pickle.dumps(worker.setup))
        worker.send(key)
    return workers


def pickle_client(client: FetchHive) -> bytes:
    """Return a client as it travels to another process: without its key.

    Raises:
        ConfigurationError: It cannot travel.

    """
    try:
        return pickle.dumps(client)
    except Exception as exc:
        raise ConfigurationError(f"processes need a client that can be pickled, and this one cannot: {exc}") from exc


def pickle_rows(rows: list[Row]) -> bytes:
    """Return rows as they travel to another process.

    Raises:
        RowError: One of them cannot travel.

    """
    try:
        return pickle.dumps(rows)
    except Exception:
        for row in rows:
            _check_row(row)
        raise


def _check_row(row: Row) -> None:
    try:
        pickle.dumps(row)
    except Exception as exc:
        raise RowError(f"row {row.number} cannot be pickled, as rows must be for other processes: {exc}") from exc
