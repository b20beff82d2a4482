"""A process of a job: runs the engines of some shards. The parent process sends the rows and grants the runs.

The parent sends `Rows`, `Grant` and the other orders below; the worker answers with `Taken`, `Asked`, `State`,
`Returned` and `Ended`. When the parent dies, the worker finishes the calls under way and sends nothing more.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Callable, Optional, Union, cast

from fetch_hive_sdk import BulkError, ConfigurationError

from .budget import Budget, Limits
from .engine import Engine
from .failures import RowError
from .lock import set_owner
from .spending import Lease

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from fetch_hive_sdk import FetchHive

    from .endings import Snapshot
    from .report import BulkReport, Stop
    from .store import Row

_TICK_SECONDS = 0.1  # between two reports of a shard
_ASKING_SECONDS = 0.01  # the same while it opens its journal or waits for runs, which may depend on what it has used
_KEY = "FETCH_HIVE_API_KEY"


@dataclass(frozen=True)
class Setup:
    """What a worker runs. The API key follows in a message of its own, which is not pickled."""

    client: bytes  # pickled: without its key
    shards: Sequence[tuple[int, Path]]
    limits: Limits  # of each shard


# --- Orders of the parent ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """The next rows of a shard."""

    shard: int
    rows: bytes  # pickled where they are read, so that an error names the row


@dataclass(frozen=True)
class End:
    """There are no more rows."""


@dataclass(frozen=True)
class Grant:
    """A shard may begin more runs."""

    shard: int
    runs: int


@dataclass(frozen=True)
class Reclaim:
    """All shards give back the runs that they do not need now."""


@dataclass(frozen=True)
class Pass:
    """Another shard has sent the first row."""

    is_answered: bool


@dataclass(frozen=True)
class StopSending:
    """The shards send nothing more."""

    why: Optional[Stop]
    is_abandoned: bool = False


# --- Answers of the worker --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """A shard is done with a batch of rows: they are settled, or have been sent."""

    shard: int
    rows: int


@dataclass(frozen=True)
class Asked:
    """A shard has rows to send, and has used up its runs."""

    shard: int
    snapshot: Snapshot


@dataclass(frozen=True)
class State:
    """How a shard is doing."""

    shard: int
    snapshot: Snapshot


@dataclass(frozen=True)
class Returned:
    """A shard gives back runs that it was granted."""

    shard: int
    runs: int


@dataclass(frozen=True)
class Ended:
    """A shard has come to its end."""

    shard: int
    snapshot: Snapshot
    report: Optional[BulkReport]
    error: Optional[Failure]


@dataclass(frozen=True)
class Unable:
    """The process cannot begin."""

    error: Failure


@dataclass(frozen=True)
class Failure:
    """An error of a worker, which the parent raises."""

    pickled: bytes
    text: str  # for an error that cannot be pickled, or whose class the parent does not find

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Make one of an error."""
        try:
            pickled = pickle.dumps(error)
        except Exception:  # noqa: BLE001 - an error may be of any class
            pickled = b""
        return cls(pickled, f"{type(error).__name__}: {error}")

    def restore(self) -> Exception:
        """Return the error, or a `BulkError` with its text."""
        try:
            error: object = pickle.loads(self.pickled)  # noqa: S301 - from our worker
        except Exception:  # noqa: BLE001 - an error may be of any class
            error = None
        return error if isinstance(error, Exception) else BulkError(self.text, report=None)


Order = Union[Rows, End, Grant, Reclaim, Pass, StopSending]
Answer = Union[Taken, Asked, State, Returned, Ended, Unable]


# --- The process ------------------------------------------------------------------------------------------------------


def work(pipe: Connection, inherited: Sequence[Connection]) -> None:
    """Run the worker: the main function of the process.

    Args:
        pipe: To the parent and from it.
        inherited: Ends of other pipes that a forked process inherits. It closes them, as they would stay open.
    """
    for other in inherited:
        other.close()
    # Ctrl-C goes to all processes of a terminal: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A forked process must not wake the event loop of the parent, nor call its handlers.
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_owner(cast("int", cast("BaseProcess", multiprocessing.parent_process()).pid))
    try:
        setup = cast("Setup", pickle.loads(pipe.recv_bytes()))  # noqa: S301 - from the parent
        client = _client_of(setup.client, pipe)
    except (EOFError, OSError):
        return  # the parent has died, or could not start all workers
    except Exception as exc:  # noqa: BLE001 - an observer of the client may be of any class
        error = ConfigurationError(f"a process of the job cannot unpickle the client: {type(exc).__name__}: {exc}")
        pipe.send(Unable(Failure.of(error)))
        return
    asyncio.run(_Worker(pipe, setup, client).run())


def _client_of(pickled: bytes, pipe: Connection) -> FetchHive:
    """Unpickle the client. Its key comes through the pipe, and is in no variable that a traceback could show."""
    # A client is pickled without its key, and reads it from the environment.
    before = os.environ.get(_KEY)
    os.environ[_KEY] = pipe.recv_bytes().decode()
    try:
        return cast("FetchHive", pickle.loads(pickled))  # noqa: S301 - from the parent
    finally:
        del os.environ[_KEY]
        if before is not None:
            os.environ[_KEY] = before


class SentRows:
    """The reader of an engine whose rows were read by the parent."""

    def read(self, number: int, value: object) -> Row:  # noqa: ARG002 - the row has its number
        """Return the row."""
        return cast("Row", value)


class _Source:
    """Rows that the parent sends."""

    def __init__(self, on_taken: Callable[[int], None]) -> None:
        self._rows: deque[object] = deque()
        self._changed = asyncio.Event()
        self._is_over = False
        self._error: Optional[Exception] = None
        self._on_taken = on_taken
        self._taken = 0  # rows of the last batch: those that must be sent are sent before the next batch is taken

    def put(self, pickled: bytes) -> None:
        try:
            self._rows.extend(cast("Sequence[object]", pickle.loads(pickled)))  # noqa: S301 - from the parent
        except Exception as exc:  # noqa: BLE001 - a typed prompt may be of any class
            self._error = self._error or RowError(
                f"a row cannot be unpickled in another process: {type(exc).__name__}: {exc}."
                " Define its typed prompt or class in a module that can be imported"
            )
        self._changed.set()

    def end(self) -> None:
        self._is_over = True
        self._changed.set()

    async def take(self, most: int) -> Optional[list[object]]:
        """Return the next values, at least one and not more than are wanted; None at the end."""
        if self._taken:
            self._on_taken(self._taken)
            self._taken = 0
        while not self._rows:
            if self._error is not None:
                raise self._error
            if self._is_over:
                return None
            self._changed.clear()
            await self._changed.wait()
        taken = [self._rows.popleft() for _ in range(min(most, len(self._rows)))]
        self._taken = len(taken)
        return taken

    def close(self) -> None:
        """Give no more."""


class _Worker:
    def __init__(self, pipe: Connection, setup: Setup, client: FetchHive) -> None:
        self._pipe = pipe
        self._setup = setup
        self._client = client
        self._sources: dict[int, _Source] = {}
        self._leases: dict[int, Lease] = {}
        self._engines: dict[int, Engine] = {}
        self._is_orphan = False

    async def run(self) -> None:
        setup, loop = self._setup, asyncio.get_running_loop()
        for shard, path in setup.shards:
            source = self._sources[shard] = _Source(partial(self._say_taken, shard))
            lease = self._leases[shard] = Lease(self._ask_for(shard))
            self._engines[shard] = Engine(
                self._client,
                source,
                SentRows(),
                path,
                budget=Budget(),
                limits=setup.limits,
                lease=lease,
            )
        with suppress(NotImplementedError):  # on Windows
            loop.add_signal_handler(signal.SIGTERM, self._obey, StopSending("signal"))
        threading.Thread(target=self._listen, args=(loop,), daemon=True).start()
        try:
            await asyncio.gather(*(self._run(shard) for shard in self._engines))
        finally:
            await self._client.aclose()

    async def _run(self, shard: int) -> None:
        engine = self._engines[shard]
        ticking = asyncio.ensure_future(self._tick(shard))
        report, error = None, None
        try:
            report = await engine.run()
        except Exception as exc:  # noqa: BLE001 - the parent raises it
            error = Failure.of(exc)
        ticking.cancel()
        self._say(Ended(shard, engine.snapshot(), report, error))

    async def _tick(self, shard: int) -> None:
        last = None
        while True:
            snapshot = self._engines[shard].snapshot()
            is_waited_for = self._leases[shard].is_asking or snapshot.runs_before is None
            await asyncio.sleep(_ASKING_SECONDS if is_waited_for else _TICK_SECONDS)
            snapshot = self._engines[shard].snapshot()
            if snapshot != last:
                self._say(State(shard, snapshot))
            last = snapshot

    def _ask_for(self, shard: int) -> Callable[[], None]:
        return lambda: self._say(Asked(shard, self._engines[shard].snapshot()))

    def _say_taken(self, shard: int, rows: int) -> None:
        self._say(Taken(shard, rows))

    def _say(self, answer: Answer) -> None:
        if not self._is_orphan:
            with suppress(OSError):  # the parent has died: `_listen` notices
                self._pipe.send(answer)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the orders of the parent, in a thread."""
        with suppress(RuntimeError):  # the loop has ended
            try:
                while True:
                    loop.call_soon_threadsafe(self._obey, self._pipe.recv())
            except (EOFError, OSError):
                self._is_orphan = True
                loop.call_soon_threadsafe(self._obey, StopSending("signal"))

    def _obey(self, order: Order) -> None:
        if isinstance(order, Rows):
            self._sources[order.shard].put(order.rows)
        elif isinstance(order, Grant):
            self._leases[order.shard].grant(order.runs)
        elif isinstance(order, End):
            for source in self._sources.values():
                source.end()
        elif isinstance(order, StopSending):
            for engine in self._engines.values():
                engine.abandon() if order.is_abandoned else engine.stop(order.why)
        elif isinstance(order, Pass):
            for engine in self._engines.values():
                engine.pass_first(is_answered=order.is_answered)
        else:
            for shard, engine in self._engines.items():
                self._say(Returned(shard, engine.give_back_lease()))
