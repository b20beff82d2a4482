"""The time limits of a call. Performs no I/O; the clients and the network streams wait."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Callable, Optional

import httpx

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._config import Timeout

Clock = Callable[[], float]

CONNECT_SECONDS = 10.0  # maximum for connecting, if the whole call has more time
_SHORTEST_WAIT = 0.001  # seconds; a socket timeout of 0 would mean non-blocking
FOREVER = 1e6  # seconds (eleven days), which does not overflow any clock or socket timeout


class Deadline(float):
    """A timeout in seconds for one wait, which also has a deadline for all waits.

    httpx and httpcore pass timeouts as plain numbers to each socket, where the time starts again with every read: a
    server that sends a byte now and then could extend a call without end. A `Deadline` passes through them as a number,
    and our network streams call its `left()` before each wait. An injected client uses it as a plain number.
    """

    __slots__ = ("clock", "deadline")

    deadline: float
    clock: Clock

    def __new__(cls, seconds: float, deadline: float, clock: Clock = time.monotonic) -> Self:
        self = super().__new__(cls, seconds)
        self.deadline = deadline
        self.clock = clock
        return self

    def left(self) -> float:
        """Seconds that the next wait may take."""
        return max(_SHORTEST_WAIT, min(self, FOREVER, self.deadline - self.clock()))

    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        # With a tolerance of the shortest wait: a socket may wake up slightly early.
        return self.deadline - self.clock() <= _SHORTEST_WAIT


class Deadlines:
    """The time limits of one call with all its attempts.

    Args:
        timeout: Seconds for the whole call, or an `httpx.Timeout`.
        idle_timeout: Maximum seconds between two events of a stream; None means no limit.
        clock: Returns the time in seconds.
    """

    def __init__(self, timeout: Timeout, idle_timeout: Optional[float] = None, clock: Clock = time.monotonic) -> None:
        self.timeout = timeout
        self.idle_timeout = idle_timeout
        self.clock = clock
        self.started = clock()
        self._total = math.inf if isinstance(timeout, httpx.Timeout) else self.started + timeout
        self.reading = Deadline(0, math.inf, clock)

    @property
    def has_total(self) -> bool:
        """Whether the whole call has a time limit."""
        return self._total < math.inf

    def left(self) -> float:
        """Seconds left for the whole call; infinite if it has no limit."""
        return self._total - self.clock()

    def begin_attempt(self, *, streaming: bool) -> dict[str, Optional[float]]:
        """Return the limits of the next attempt, for the `timeout` extension of an httpx request."""
        if isinstance(self.timeout, httpx.Timeout):
            limits = {
                step: None if seconds is None else min(seconds, FOREVER)
                for step, seconds in self.timeout.as_dict().items()
            }
            seconds = limits["read"]
            self.reading = Deadline(FOREVER if seconds is None else seconds, math.inf, self.clock)
            return {**limits, "read": self.reading}
        now = self.clock()
        left = min(max(_SHORTEST_WAIT, self._total - now), FOREVER)
        connecting = min(CONNECT_SECONDS, left)
        # Once a stream has begun, `timeout` limits each wait for bytes, even if the beginning took long.
        self.reading = Deadline(min(self.timeout, FOREVER) if streaming else left, self._total, self.clock)
        return {
            "connect": Deadline(connecting, now + connecting, self.clock),
            "pool": left,
            "write": Deadline(left, self._total, self.clock),
            "read": self.reading,
        }

    def await_event(self) -> None:
        """Start the wait for the next event. The time that the caller takes to handle an event does not count."""
        self.reading.deadline = math.inf if self.idle_timeout is None else self.clock() + self.idle_timeout

    def await_end(self, seconds: float) -> None:
        """Start the wait for the end of the stream, with a limit of its own."""
        self.reading.deadline = self.clock() + seconds
