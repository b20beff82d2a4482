"""The pace of a job: how many calls may be under way, and when the next may start. Performs no I/O.

The first row is sent alone. After it, eight calls may be under way, and one more after each window of successes: as
many answers as the limit. A rate-limit response halves the limit, at most once per window, and pauses all calls.
Afterwards the limit grows faster until it comes near the value at which the service refused, then slowly again.
"""

from __future__ import annotations

import random
from typing import Callable, Optional

_FIRST_LIMIT = 8  # concurrent calls after the first row
_FIRST_PAUSE = 0.25  # seconds, after a rate-limit response without Retry-After
_LONGEST_PAUSE = 8.0  # seconds
_DOUBLINGS = 5  # from the first pause to the longest
_JITTER = 0.1  # share of a pause requested by the service
_NEAR = 7 / 8  # share of the refused limit above which the limit grows by one per window
_STEPS_BACK = 8  # growth per window below that share


class Pace:
    """Decides how many calls may be under way, and when the next may start.

    Args:
        maximum: Most concurrent calls.
        rpm: Most calls per minute, evenly spaced. None means no limit.
        tpm: Most tokens per minute; the calls under way may exceed it. None means no limit.
        jitter: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        maximum: int,
        *,
        rpm: Optional[float] = None,
        tpm: Optional[float] = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.limit: int = 1
        """How many calls may be under way now."""
        self._maximum = maximum
        self._spacing = 60 / rpm if rpm else 0.0
        self._per_token = 60 / tpm if tpm else 0.0
        self._jitter = jitter
        self.is_first: bool = True
        self._successes = 0
        self._ceiling = 0.0
        self._halved_at = float("-inf")
        self._throttled = 0  # consecutive windows
        self._paused_until = float("-inf")
        self._spaced_until = float("-inf")
        self._paid_until = float("-inf")

    def delay(self, now: float) -> float:
        """Return the seconds until the next call may start; 0 if it may start now."""
        return max(0.0, max(self._paused_until, self._spaced_until, self._paid_until) - now)

    def begin(self, now: float) -> None:
        """Record that a call starts."""
        self._spaced_until = max(self._spaced_until, now) + self._spacing

    def settle_first(self) -> None:
        """Record that the first row has ended: others may be sent concurrently."""
        if self.is_first:
            self.is_first = False
            self.limit = min(_FIRST_LIMIT, self._maximum)

    def succeed(self, under_way: int) -> None:
        """Record an answer that arrived while `under_way` calls were under way."""
        self._throttled = 0
        # Fewer calls than half the limit do not show whether the limit could grow.
        if self.is_first or under_way * 2 < self.limit:
            return
        self._successes += 1
        is_near = self.limit >= self._ceiling * _NEAR
        if self._successes >= (self.limit if is_near else self.limit / _STEPS_BACK):
            self._successes = 0
            self.limit = min(self.limit + 1, self._maximum)

    def use(self, tokens: int, now: float) -> None:
        """Record the tokens of an answer."""
        self._paid_until = max(self._paid_until, now) + tokens * self._per_token

    def throttle(self, now: float, begun: float, retry_after: Optional[float] = None) -> None:
        """Record a rate-limit response.

        Args:
            now: The time, in seconds of the monotonic clock.
            begun: When the call started.
            retry_after: The pause that the service requests, in seconds. None if it requests none.

        """
        if begun >= self._halved_at:
            self._throttled += 1
            self._ceiling = float(self.limit)
            self._halved_at = now
            self._successes = 0
            self.limit = max(1, self.limit // 2)
            if retry_after is None:
                doublings = min(self._throttled - 1, _DOUBLINGS)
                self.pause(now + self._jitter() * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**doublings))
        if retry_after is not None:
            self.pause(now + retry_after * (1 + _JITTER * self._jitter()))

    def pause(self, until: float) -> None:
        """Let no call start before a point in time."""
        self._paused_until = max(self._paused_until, until)
