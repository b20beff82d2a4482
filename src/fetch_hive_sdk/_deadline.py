"""How long to wait for what. Decides; the shells and the sockets wait. Performs no I/O."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Callable, Optional

import httpx

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._config import Timeout

Clock = Callable[[], float]

CONNECT_SECONDS = 10.0  # at most, of the time for the whole call
_SHORTEST_WAIT = 0.001  # seconds: to a socket, 0 would mean "do not wait at all"
FOREVER = 1e6  # seconds: eleven days, which every clock and socket can count


class Deadline(float):
    """Seconds that one wait may take, and the moment at which all waiting must be over.

    httpx and httpcore hand a time limit, as a plain number of seconds, through to each socket; there it would begin
    again with every read, and a server that sends a byte now and then could stretch a call for ever. So the number
    that we give them also knows the moment: our own sockets ask it for the seconds that are `left()` before each
    wait. To everything else, such as an injected client, it is the number.
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
        """Whether the moment has passed."""
        # To within the shortest wait: a socket that waited for all that was left has waited long enough.
        return self.deadline - self.clock() <= _SHORTEST_WAIT


class Deadlines:
    """The time limits of one call, over all its attempts.

    Args:
        timeout: Seconds for the whole call, or an `httpx.Timeout`.
        idle_timeout: Seconds between two events of a stream, or None.
        clock: Tells the time in seconds.
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
        """Whether the call as a whole is limited."""
        return self._total < math.inf

    def left(self) -> float:
        """Seconds until the call as a whole must be over; infinite if it is not limited."""
        return self._total - self.clock()

    def begin_attempt(self, *, streaming: bool) -> dict[str, Optional[float]]:
        """Return the limits of the next attempt, as httpx has them in a request's `timeout` extension."""
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
        # A stream may be silent for the whole `timeout` once it has begun, however late it began.
        self.reading = Deadline(min(self.timeout, FOREVER) if streaming else left, self._total, self.clock)
        return {
            "connect": Deadline(connecting, now + connecting, self.clock),
            "pool": left,
            "write": Deadline(left, self._total, self.clock),
            "read": self.reading,
        }

    def await_event(self) -> None:
        """From now on the next event is waited for. The time that the caller takes for an event does not count."""
        self.reading.deadline = math.inf if self.idle_timeout is None else self.clock() + self.idle_timeout

    def await_end(self, seconds: float) -> None:
        """From now on only the end is waited for, and not for long."""
        self.reading.deadline = self.clock() + seconds
