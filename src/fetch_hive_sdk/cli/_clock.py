"""Measures the speed of an answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from fetch_hive_sdk import Usage


_LEAST_SECONDS = 0.1  # an answer that arrives at once says nothing about the speed of the model


class Clock:
    """Measures the time to the first token, and the tokens per second after it. Starts when it is made."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._first: Optional[float] = None
        self._last = self._started

    def tick(self) -> None:
        """Note a piece of the answer."""
        self._last = time.monotonic()
        self._first = self._first or self._last

    @property
    def to_first(self) -> Optional[float]:
        """Seconds to the first piece; None before it."""
        return None if self._first is None else self._first - self._started

    def total(self) -> float:
        """Return the seconds until now."""
        return time.monotonic() - self._started

    def rate(self, usage: Usage) -> Optional[float]:
        """Return the tokens per second after the first piece; None if it cannot be measured."""
        tokens = usage.completion_tokens.total_tokens
        if not tokens or self._first is None or self._last - self._first < _LEAST_SECONDS:
            return None
        return tokens / (self._last - self._first)

    def speed(self, usage: Usage) -> Optional[str]:
        """Return the measurements in words; None before the first piece."""
        if self.to_first is None:
            return None
        rate = self.rate(usage)
        return f"first token after {self.to_first:.2f} s" + ("" if rate is None else f", {rate:,.0f} tokens/s")
