"""How fast a job goes: how many calls at once, and how long to wait before the next. Performs no I/O.

The first row goes alone. Then eight go at once, and one more for each window of successes (as many answers as may be
under way). A refusal for being too fast halves that, at most once a window, and all wait together. On the way back
up to where it was refused, it grows faster, and slows down before it gets there.
"""

from __future__ import annotations

import random
from typing import Callable, Optional

_FIRST_LIMIT = 8  # calls at once, after the first row
_FIRST_PAUSE = 0.25  # seconds, after a refusal without Retry-After
_LONGEST_PAUSE = 8.0  # seconds
_DOUBLINGS = 5  # lead from the first to the longest
_JITTER = 0.1  # of a pause that the service asks for
_NEAR = 7 / 8  # of the limit that was refused: from here on, one more for each window
_STEPS_BACK = 8  # a window, until then


class Pace:
    """Decides how many calls may be under way, and when the next may begin.

    Args:
        maximum: Calls at once, at most.
        rpm: Calls a minute, evenly spaced; None for no limit.
        tpm: Tokens a minute; exceeded at most by what is under way. None for no limit.
        jitter: A random number from 0 to 1.
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
        self.is_first = True
        self._successes = 0
        self._ceiling = 0.0
        self._halved_at = float("-inf")
        self._throttled = 0  # windows in a row
        self._paused_until = float("-inf")
        self._spaced_until = float("-inf")
        self._paid_until = float("-inf")

    def delay(self, now: float) -> float:
        """Seconds until the next call may begin; 0 if it may begin now."""
        return max(0.0, max(self._paused_until, self._spaced_until, self._paid_until) - now)

    def begin(self, now: float) -> None:
        """Take note that a call begins."""
        self._spaced_until = max(self._spaced_until, now) + self._spacing

    def settle_first(self) -> None:
        """Take note that the first row has come to an end: others may follow."""
        if self.is_first:
            self.is_first = False
            self.limit = min(_FIRST_LIMIT, self._maximum)

    def succeed(self, under_way: int) -> None:
        """Take note of an answer, which came while so many calls were under way."""
        self._throttled = 0
        # Without enough calls to fill it, the limit has not been tried.
        if self.is_first or under_way * 2 < self.limit:
            return
        self._successes += 1
        is_near = self.limit >= self._ceiling * _NEAR
        if self._successes >= (self.limit if is_near else self.limit / _STEPS_BACK):
            self._successes = 0
            self.limit = min(self.limit + 1, self._maximum)

    def use(self, tokens: int, now: float) -> None:
        """Take note of the tokens of an answer."""
        self._paid_until = max(self._paid_until, now) + tokens * self._per_token

    def throttle(self, now: float, begun: float, retry_after: Optional[float] = None) -> None:
        """Take note of a refusal for being too fast, of a call that was begun at some moment."""
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
        """Let nothing begin before a moment."""
        self._paused_until = max(self._paused_until, until)
