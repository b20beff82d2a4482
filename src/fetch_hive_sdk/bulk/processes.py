"""The processes of a job, as the parent sees them: started, sent orders to, listened to."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Optional, Union

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._secret import Secret
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

_starting = threading.Lock()


class Worker:
    """A worker process.

    Args:
        setup: What it runs.
        process: The process, started.
        pipe: To it and from it.
    """

    def __init__(self, setup: Setup, process: BaseProcess, pipe: Connection) -> None:
        self.shards: list[int] = [shard for shard, _ in setup.shards]
        self.setup = setup
        self._process = process
        self._pipe = pipe
        self._orders: queue.SimpleQueue[Union[Order, Secret, bytes, None]] = queue.SimpleQueue()
        self._reader: Optional[threading.Thread] = None

    def send(self, order: Union[Order, Secret, bytes]) -> None:
        """Send an order. Returns at once."""
        self._orders.put(order)

    def listen(self, on_answer: Callable[[Answer], None], on_death: Callable[[str], None]) -> None:
        """Call a function, in a thread, with each answer, and another with how the process ended."""
        threading.Thread(target=self._write, daemon=True).start()
        self._reader = threading.Thread(target=self._read, args=(on_answer, on_death), daemon=True)
        self._reader.start()

    def _write(self) -> None:
        with suppress(OSError):  # it has died: `_read` notices
            while True:
                order = self._orders.get()
                if order is None:
                    return
                if isinstance(order, Secret):
                    self._pipe.send_bytes(order.reveal().encode())
                elif isinstance(order, bytes):
                    self._pipe.send_bytes(order)
                else:
                    self._pipe.send(order)

    def _read(self, on_answer: Callable[[Answer], None], on_death: Callable[[str], None]) -> None:
        with suppress(EOFError, OSError):
            while True:
                on_answer(self._pipe.recv())
        self._orders.put(None)
        self._reap()
        code = self._process.exitcode
        on_death(f"signal {-code}" if code is not None and code < 0 else f"exit code {code}")

    def close(self) -> None:
        """Wait until the process has ended. Its shards have, or were ordered to: if it goes on, it is killed."""
        self._orders.put(None)
        if self._reader is None:
            self._pipe.close()  # which ends a process that waits for its setup
            self._reap()
            return
        self._reader.join(_END_SECONDS)
        if self._reader.is_alive():
            self._process.kill()
            self._reader.join()
        # Only now: closing a pipe does not wake a thread that reads it.
        self._pipe.close()

    def _reap(self) -> None:
        """Wait for the process. Only one thread may do so: a second one would not see how it ended."""
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def start_workers(client: FetchHive, setups: Sequence[Setup]) -> list[Worker]:
    """Start a process for each setup. Called in the thread of the caller, before the job has others.

    Raises:
        OSError: The system refuses another process.

    """
    context = multiprocessing.get_context()
    # A forked process has the ends of all pipes, a spawned one those that it is given.
    is_forked = context.get_start_method() == "fork"
    workers: list[Worker] = []
    # With two jobs at once, a process of one would keep the pipes of the other open.
    with _starting:
        pipes = [context.Pipe() for _ in setups]
        try:
            for number, (setup, (ours, theirs)) in enumerate(zip(setups, pipes)):
                others = [end for pair in pipes for end in pair if end is not theirs and not end.closed]
                arguments = (theirs, others if is_forked else [])
                # A daemon: the end of the program does not wait for processes of a job that has failed.
                name = f"fetch-hive-job-{number}"
                process = context.Process(target=work, args=arguments, name=name, daemon=True)
                process.start()
                theirs.close()
                workers.append(Worker(setup, process, ours))
        except BaseException:
            for pair in pipes:
                for end in pair:
                    end.close()
            for worker in workers:
                worker.close()
            raise
    for worker in workers:
        worker.send(pickle.dumps(worker.setup))
        worker.send(api_key_of(client))
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
