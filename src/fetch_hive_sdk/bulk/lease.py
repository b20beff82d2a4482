"""The share of a budget that one of several engines may use. Performs no I/O."""

from __future__ import annotations

from typing import Callable


class Lease:
    """Runs that an engine may begin; it asks for more when they are used up.

    Args:
        on_ask: Called when more runs are needed, once until they are granted.
    """

    def __init__(self, on_ask: Callable[[], None]) -> None:
        self.runs = 0
        """How many runs it may begin, all in all."""
        self.on_change: Callable[[], None] = lambda: None
        self._on_ask = on_ask
        self.is_asking = False
        """Whether it waits for more."""

    def ask(self) -> None:
        """Ask for more runs."""
        if not self.is_asking:
            self.is_asking = True
            self._on_ask()

    def grant(self, runs: int) -> None:
        """Allow more runs."""
        self.runs += runs
        self.is_asking = False
        self.on_change()
