"""Decides how long to wait between two polls. Performs no I/O; the clients wait."""

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

from .retry import DAILY_CAP, causes, is_permanent

if TYPE_CHECKING:
    from fetch_hive_sdk._deadline import Clock

T = TypeVar("T")

_SHORTEST_DOUBLED = 0.1  # seconds: doubling a first wait of 0 would be 0 for ever
_TEMPORARY = frozenset({408, 425, 429})  # and 5xx: failures of the poll, not of the polled run


class Wait(Generic[T]):
    """Polls until a run has ended.

    Args:
        what: What is polled, for messages.
        is_over: Returns whether an answer is final.
        max_wait: Maximum seconds to wait in all.
        first_wait: Seconds between the first two polls; doubled after each poll.
        longest_wait: Maximum seconds between two polls.
        request_id: The id of the polled run, for errors; None if it is not known.
        clock: Returns the time in seconds.
        jitter: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        what: str,
        is_over: Callable[[T], bool],
        *,
        max_wait: float,
        first_wait: float,
        longest_wait: float,
        request_id: Optional[str] = None,
        clock: Clock = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        for name, seconds in (("max_wait", max_wait), ("first_wait", first_wait), ("longest_wait", longest_wait)):
            if not isinstance(cast("object", seconds), (int, float)) or not 0 <= seconds < math.inf:
                raise ConfigurationError(f"{name} must be a finite number of seconds, 0 or more")
        self.last: Optional[T] = None
        self._what = what
        self._is_over = is_over
        self._max_wait = max_wait
        self._next = min(first_wait, longest_wait)
        self._longest = longest_wait
        self._request_id = request_id
        self._clock = clock
        self._jitter = jitter
        self._started = clock()

    def after_answer(self, answer: T) -> Optional[float]:
        """Seconds to wait before the next poll, or None if the answer is final.

        Raises:
            WaitTimeoutError: `max_wait` has passed.

        """
        self.last = answer
        return None if self._is_over(answer) else self._pause(0, None)

    def after_failure(self, error: FetchHiveError) -> float:
        """Seconds to wait before the next poll, after one that failed.

        Raises:
            FetchHiveError: The error of the poll, if it is not temporary or if the daily cap is reached.
            WaitTimeoutError: `max_wait` has passed.

        """
        if isinstance(error, APIStatusError):
            is_temporary = error.status_code in _TEMPORARY or error.status_code >= 500  # noqa: PLR2004 - 5xx
            if not is_temporary or error.error_code == DAILY_CAP:
                raise error
            return self._pause(error.retry_after or 0, error)
        if not isinstance(error, APIConnectionError) or any(map(is_permanent, causes(error))):
            raise error
        return self._pause(0, error)

    def closed(self) -> APIConnectionError:
        """Return the error for a client that was closed while it waited."""
        message = f"the client was closed while it waited for {self._what} to end"
        return APIConnectionError(message, request_id=self._request_id, maybe_processed=False)

    def _pause(self, at_least: float, error: Optional[FetchHiveError]) -> float:
        left = self._max_wait - (self._clock() - self._started)
        if left <= 0 or at_least > left:
            message = f"{self._what} did not end within {self._max_wait:g} seconds"
            if error is not None:
                message += f"; the last poll failed: {error}"
            raise WaitTimeoutError(message, last=self.last, request_id=self._request_id) from error
        # At least half of the wait: every poll counts against the daily cap.
        seconds = max(at_least, self._next * (0.5 + self._jitter() / 2))
        self._next = min(max(self._next * 2, _SHORTEST_DOUBLED), self._longest)
        return min(seconds, left)
