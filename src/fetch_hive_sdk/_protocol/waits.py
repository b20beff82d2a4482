"""How long to wait between two looks at something that goes on. Decides; the shells wait. Performs no I/O."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, Callable, Generic, Optional, TypeVar, cast

from fetch_hive_sdk.errors import (
    APIConnectionError,
    APIStatusError,
    ConfigurationError,
    FetchHiveError,
    WaitTimeoutError,
)

from .retry import DAILY_CAP

if TYPE_CHECKING:
    from fetch_hive_sdk._deadline import Clock

T = TypeVar("T")

_PASSING = frozenset({408, 425, 429})  # and 5xx: refusals that say nothing about what is waited for


class Wait(Generic[T]):
    """Waits until something is over.

    Args:
        what: What is waited for, in words.
        is_over: Whether an answer is the last one.
        max_wait: Seconds to wait at most.
        first_wait: Seconds between the first two looks; they double from then on.
        longest_wait: Seconds between two looks at most.
        clock: Tells the time in seconds.
        jitter: A random number from 0 to 1.
    """

    def __init__(
        self,
        what: str,
        is_over: Callable[[T], bool],
        *,
        max_wait: float,
        first_wait: float,
        longest_wait: float,
        clock: Clock = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        for name, seconds in (("max_wait", max_wait), ("first_wait", first_wait), ("longest_wait", longest_wait)):
            if not isinstance(cast("object", seconds), (int, float)) or not 0 <= seconds < math.inf:
                raise ConfigurationError(f"{name} must be a number of seconds")
        self.last: Optional[T] = None
        self._what = what
        self._is_over = is_over
        self._max_wait = max_wait
        self._next = first_wait
        self._longest = longest_wait
        self._clock = clock
        self._jitter = jitter
        self._started = clock()

    def after_answer(self, answer: T) -> Optional[float]:
        """Seconds to wait before the next look, or None if it is over.

        Raises:
            WaitTimeoutError: The time is over.

        """
        self.last = answer
        return None if self._is_over(answer) else self._pause(0, None)

    def after_failure(self, error: FetchHiveError) -> float:
        """Seconds to wait before the next look, after one that failed.

        Raises:
            FetchHiveError: The error, if waiting does not help: it says something of what is waited for, or of the day.
            WaitTimeoutError: The time is over.

        """
        if isinstance(error, APIStatusError):
            passes = error.status_code in _PASSING or error.status_code >= 500  # noqa: PLR2004 - 5xx
            if not passes or error.error_code == DAILY_CAP:
                raise error
            return self._pause(error.retry_after or 0, error)
        if not isinstance(error, APIConnectionError):
            raise error
        return self._pause(0, error)

    def closed(self) -> APIConnectionError:
        """Return the error of a wait during which the client was closed."""
        message = f"the client was closed while it waited for {self._what} to end"
        return APIConnectionError(message, maybe_processed=False)

    def _pause(self, at_least: float, error: Optional[FetchHiveError]) -> float:
        left = self._max_wait - (self._clock() - self._started)
        if left <= 0 or at_least > left:
            raise WaitTimeoutError(
                f"{self._what} did not end within {self._max_wait:g} seconds", last=self.last
            ) from error
        # Half of it at least: every look counts against the daily cap.
        seconds = max(at_least, self._next * (0.5 + self._jitter() / 2))
        self._next = min(self._next * 2, self._longest)
        return min(seconds, left)
