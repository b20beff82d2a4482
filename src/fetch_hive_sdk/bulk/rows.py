"""The rows of the input, which are requests or mappings, read only as they are needed."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Optional, Protocol, TypeVar, Union, cast

from pydantic import BaseModel, ValidationError

from fetch_hive_sdk import BulkError, InvokeRequest

from .failures import RowError
from .kinds import kind_of, write_request
from .store import Row, is_text

if TYPE_CHECKING:
    from fetch_hive_sdk.models.sent import Sent

Key = Union[str, Callable[[Any], object]]
"""The name of a column, or a function that returns the key of a row."""

T = TypeVar("T")

RowValue = Union[BaseModel, Mapping[str, Any]]
"""A request, such as `InvokeRequest`, or a mapping of columns to values."""

_BATCH_SECONDS = 0.01  # how long a batch may take once it has a row
_NAMES_SHOWN = 12  # column names in a message


class RowReader:
    """Converts rows of the input to rows of the journal.

    Args:
        deployment: The prompt deployment, for rows that are mappings.
        variant: The variant of the deployment.
        inputs: The column for each variable of the prompt. None means all columns except the key's.
        key: The column with the key, or a function that returns the key of a row. None means the request's digest.
    """

    def __init__(
        self,
        deployment: Optional[str] = None,
        variant: Optional[str] = None,
        inputs: Optional[Mapping[str, str]] = None,
        key: Optional[Key] = None,
    ) -> None:
        if deployment is None and (variant is not None or inputs is not None):
            raise ValueError("variant and inputs are for rows that are mappings: pass deployment=... as well")
        if not isinstance(cast("object", inputs), (Mapping, type(None))):
            example = '{"text": "body"}'
            raise TypeError(
                f"inputs must be a mapping of variables to columns, such as {example}, not a {_name_of(inputs)}"
            )
        self._deployment = deployment
        self._variant = variant
        self._inputs = inputs
        self._key = key

    def read(self, number: int, value: object) -> Row:
        """Read a row.

        Args:
            number: Its number in the input, from 1.
            value: A request or a mapping.

        Raises:
            RowError: A column or the key is missing, or the request is invalid.
            TypeError: The value is neither a request nor a mapping.

        """
        # A request class may also be a mapping: check for requests first.
        if isinstance(value, BaseModel) and self._deployment is not None:
            raise TypeError(
                f"row {number} is a request, which has its own deployment: deployment=... is for rows that are mappings"
            )
        request = value if isinstance(value, BaseModel) else self._request_of(number, value)
        kind = kind_of(type(request))
        return Row(number, self._key_of(number, value), kind, write_request(cast("Sent", request)), request)

    def _request_of(self, number: int, value: object) -> InvokeRequest:
        if not isinstance(value, Mapping):
            raise TypeError(
                f"row {number} is a {_name_of(value)}: rows are requests, such as InvokeRequest(...), or mappings"
            )
        if self._deployment is None:
            raise TypeError(f"row {number} is a mapping: pass deployment=... to name the deployment to run")
        row = cast("Mapping[str, object]", value)
        try:
            inputs = self._variables(number, row)
            return InvokeRequest(deployment=self._deployment, variant=self._variant, inputs=inputs)
        except ValidationError as exc:
            problem = exc.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, problem["loc"]))
            raise RowError(f"row {number}: {where}: {problem['msg']}") from None

    def _variables(self, number: int, row: Mapping[str, object]) -> dict[str, object]:
        if self._inputs is None:
            return {name: value for name, value in row.items() if name != self._key}
        return {name: _column(number, row, column) for name, column in self._inputs.items()}

    def _key_of(self, number: int, value: object) -> Optional[str]:
        if self._key is None:
            return None
        if not isinstance(self._key, str):
            key = self._key(value)
        elif isinstance(value, Mapping):
            key = _column(number, cast("Mapping[str, object]", value), self._key)
        else:
            raise TypeError("key is the name of a column, and the rows are requests: pass a function of the row")
        problem = problem_of_key(key)
        if problem is not None:
            raise RowError(f"row {number} {problem}")
        return str(key)


def problem_of_key(key: object) -> Optional[str]:
    """Return what is wrong with the key of a row; None if it is valid."""
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        return f"has a key that is a {type(key).__name__}: it must be a string or a whole number"
    if key == "":
        return "has no key: it is empty"
    if isinstance(key, str) and not is_text(key):
        return "has a key with half of a surrogate pair, which UTF-8 cannot encode"
    return None


def _column(number: int, row: Mapping[str, object], name: str) -> object:
    try:
        return row[name]
    except KeyError:
        there = [str(column) for column in row]
        more = ", ..." if len(there) > _NAMES_SHOWN else ""
        names = ", ".join(there[:_NAMES_SHOWN]) + more
        raise RowError(f"row {number} has no column {name!r}: there are {names or 'none'}") from None


class Reader(Protocol):
    """Converts rows of the input to rows of the journal."""

    def read(self, number: int, value: object) -> Row:
        """Read a row of the input."""
        ...


class Source(Protocol):
    """Yields the values of the input in batches."""

    async def take(self, most: int) -> Optional[list[object]]:
        """Return the next values, at least one and at most `most`; None at the end."""
        ...

    def close(self) -> None:
        """Stop reading the input."""
        ...


async def take_unless(stopping: asyncio.Future[None], source: Source, most: int) -> Optional[list[object]]:
    """Return the next values of a source; None at its end, or if a future is done first.

    Raises:
        BulkError: The source raised CancelledError. As it is, the job would seem to be cancelled.
        BaseException: Any other exception of the source.

    """
    task = asyncio.ensure_future(_outcome_of(partial(source.take, most)))
    waited: set[asyncio.Future[Any]] = {task, stopping}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return None
        taken = task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if not isinstance(taken, _Raised):
        return taken
    if isinstance(taken.error, asyncio.CancelledError):
        raise BulkError("the rows raised CancelledError", report=None) from taken.error
    raise taken.error


class _Raised:
    """An exception, as the result of a task. A task that raises SystemExit or KeyboardInterrupt ends the event loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _outcome_of(call: Callable[[], Awaitable[T]]) -> Union[T, _Raised]:
    try:
        return await call()
    except BaseException as exc:  # noqa: BLE001 - the caller raises it
        return _Raised(exc)


class PlainSource:
    """An iterable, read in the event loop."""

    def __init__(self, values: Iterable[object]) -> None:
        self._values: Iterator[object] = iter(values)
        self._error: Optional[BaseException] = None

    async def take(self, most: int) -> Optional[list[object]]:
        """Return the next values, at least one and at most `most`; None at the end."""
        if self._error is not None:
            raise self._error
        taken: list[object] = []
        begun = time.monotonic()
        try:
            for value in self._values:
                taken.append(value)
                if len(taken) >= most or time.monotonic() - begun > _BATCH_SECONDS:
                    break
        except BaseException as exc:
            # Return the values read before the error first.
            if not taken:
                raise
            self._error = exc
        return taken or None

    def close(self) -> None:
        """Stop reading the input."""


class AsyncSource:
    """An asynchronous iterable."""

    def __init__(self, values: AsyncIterable[object]) -> None:
        self._values: AsyncIterator[object] = aiter_of(values)
        self._next: Optional[asyncio.Future[object]] = None

    async def take(self, most: int) -> Optional[list[object]]:
        """Return the next values, at least one and at most `most`; None at the end."""
        taken: list[object] = []
        while len(taken) < most:
            if self._next is None:
                self._next = asyncio.ensure_future(_outcome_of(self._values.__anext__))
            if taken:
                await asyncio.sleep(0)
                if not self._next.done() or isinstance(self._next.result(), _Raised):
                    break  # return what is there; the next call awaits the rest or raises the error
            value = await asyncio.shield(self._next)
            if isinstance(value, _Raised):
                if isinstance(value.error, StopAsyncIteration):
                    break
                raise value.error
            self._next = None
            taken.append(value)
        return taken or None

    def close(self) -> None:
        """Stop reading the input."""
        if self._next is not None:
            self._next.cancel()


def aiter_of(values: AsyncIterable[object]) -> AsyncIterator[object]:
    """Return the iterator of an asynchronous iterable."""
    return values.__aiter__()


class ServedSource:
    """An iterable that is read in the thread that called `Job.run`, for the event loop in another thread.

    For example, a database cursor can only be read in its own thread. A slow iterable does not block the event loop.
    """

    def __init__(self, values: Iterable[object], loop: asyncio.AbstractEventLoop) -> None:
        self._values = values
        self._loop = loop
        self._changed = threading.Condition()
        self._taken: deque[object] = deque()
        # The loop counts the values requested, and the thread counts the values read.
        self._asked = 0
        self._given = 0
        self._waiting: Optional[asyncio.Future[None]] = None
        self._is_woken = False
        self._is_over = False
        self._is_closed = False
        self._error: Optional[BaseException] = None
        self.is_reading: bool = False
        """Whether the thread is in the caller's iterable, which may block for a long time."""

    # Called in the event loop:

    async def take(self, most: int) -> Optional[list[object]]:
        """Return the next values, at least one and at most `most`; None at the end."""
        missing = most - len(self._taken) - (self._asked - self._given)
        if missing > 0:
            with self._changed:
                self._asked += missing
                self._changed.notify_all()
        try:
            while True:
                # Announce the wait before checking for values: the thread adds a value before it checks for a waiter.
                # A wake-up meant for an earlier wait is harmless.
                self._waiting = self._loop.create_future()
                self._is_woken = False
                if self._taken or self._is_over:
                    break
                await self._waiting
        finally:
            self._waiting = None
        taken = [self._taken.popleft() for _ in range(min(most, len(self._taken)))]
        if not taken and self._error is not None:
            raise self._error
        return taken or None

    def close(self) -> None:
        """Stop reading the input, and let `serve` return."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    # Called in the caller's thread:

    def serve(self, wait: Callable[[threading.Condition], None]) -> None:
        """Read values as they are requested, until `close` is called.

        Raises:
            BaseException: An exception of the iterable: see `fail`.

        """
        try:
            values = iter(self._values)
            while self._is_wanted(wait):
                self.is_reading = True
                value = next(values)
                self.is_reading = False
                self._taken.append(value)
                self._given += 1
                self._wake()
        except StopIteration:
            self.fail(None)
        finally:
            self.is_reading = False
        with self._changed:
            while not self._is_closed:
                wait(self._changed)

    def _is_wanted(self, wait: Callable[[threading.Condition], None]) -> bool:
        if self._given >= self._asked:
            with self._changed:
                while not self._is_closed and self._given >= self._asked:
                    wait(self._changed)
        return not self._is_closed

    def fail(self, error: Optional[BaseException]) -> None:
        """End the source: after the values read so far, `take` raises the error, if any."""
        self._error = error
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def is_async(values: object) -> bool:
    """Return whether the input is an asynchronous iterable.

    Raises:
        TypeError: The input is neither an iterable nor an asynchronous iterable.

    """
    if isinstance(values, AsyncIterable):
        return True
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping, BaseModel)):
        return False
    hint = ": read the file first, such as with csv.DictReader" if isinstance(values, (str, os.PathLike)) else ""
    raise TypeError(f"rows must be an iterable of requests or of mappings, not a {_name_of(cast('Any', values))}{hint}")


def _name_of(value: object) -> str:
    return type(value).__name__
