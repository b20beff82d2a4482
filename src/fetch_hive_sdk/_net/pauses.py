"""Waits between attempts. Closing the client ends them."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    import asyncio


class Pauses:
    """The waits of blocking calls.

    Each wait has its own lock: a shared lock could stay locked if a signal interrupted a wait.
    """

    def __init__(self) -> None:
        self.times_closed: int = 0
        """The number of times the client has been closed."""
        self._waiting: set[threading.Lock] = set()

    def wait(self, seconds: float, since: int) -> bool:
        """Wait for some seconds. Return False at once if the client is closed, or `times_closed` is not `since`."""
        alarm = threading.Lock()
        alarm.acquire()
        self._waiting.add(alarm)
        try:
            if self.times_closed == since:
                alarm.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
            return self.times_closed == since
        finally:
            self._waiting.discard(alarm)

    def close(self) -> None:
        """End all waits."""
        self.times_closed += 1
        for alarm in self._waiting.copy():
            with suppress(RuntimeError):  # another thread has released it
                alarm.release()


class AsyncPauses:
    """The waits of asyncio calls. With an injected client the event loop may be a different one, such as trio's."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._times_closed: dict[asyncio.AbstractEventLoop, int] = {}

    @property
    def times_closed(self) -> int:
        """The number of times the client has been closed in this event loop."""
        if not self._times_closed:
            return 0
        loop = _running_loop()
        return 0 if loop is None else self._times_closed.get(loop, 0)

    async def wait(self, seconds: float, since: int) -> bool:
        """Wait for some seconds. Return False at once if the client is closed, or `times_closed` is not `since`."""
        loop = _running_loop()
        if loop is None:
            import anyio  # noqa: PLC0415 - slow to import, and rarely needed here

            await anyio.sleep(seconds)
            return True
        alarm: asyncio.Future[None] = loop.create_future()
        self._waiting.add(alarm)
        timer = loop.call_later(seconds, _wake, alarm)
        try:
            if self.times_closed == since:
                await alarm
            return self.times_closed == since
        finally:
            timer.cancel()
            self._waiting.discard(alarm)

    def close(self) -> None:
        """End all waits in this event loop."""
        loop = _running_loop()
        if loop is None:
            return
        for ended in [other for other in self._times_closed if other.is_closed()]:
            del self._times_closed[ended]
        self._times_closed[loop] = self.times_closed + 1
        for alarm in self._waiting.copy():
            if alarm.get_loop() is loop:
                _wake(alarm)


def _running_loop() -> Optional[asyncio.AbstractEventLoop]:
    import asyncio  # noqa: PLC0415 - blocking programs do not need it

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wake(alarm: asyncio.Future[None]) -> None:
    if not alarm.done():
        alarm.set_result(None)
