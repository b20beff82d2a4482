"""What an engine has used of its budget, and what it may still begin. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Optional

if TYPE_CHECKING:
    from .budget import Budget
    from .report import Stop


class Lease:
    """Runs that an engine may begin; it asks for more when they are used up.

    Args:
        on_ask: Called when more runs are needed; not called again until they are granted.
    """

    def __init__(self, on_ask: Callable[[], None]) -> None:
        self.runs: int = 0
        """How many runs it may begin, in total."""
        self.on_change: Callable[[], None] = lambda: None
        self._on_ask = on_ask
        self.is_asking: bool = False
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


class Spending:
    """Counts runs, tokens and failures against a budget.

    Args:
        budget: The limits.
        lease: The runs that are granted, if several engines share a budget.
    """

    def __init__(self, budget: Budget, lease: Optional[Lease]) -> None:
        self.budget = budget
        self.lease = lease
        self.runs: int = 0
        """Runs over the life of the journal."""
        self.tokens: int = 0
        """Tokens over the life of the journal."""
        self.failures: int = 0
        """Rows of this run of the job that failed, were rejected or are in doubt."""
        self.runs_before: Optional[int] = None
        """Runs of earlier runs of the job; None until the journal is open."""

    def begin(self, runs: int, tokens: int) -> None:
        """Begin with what earlier runs of the job have used."""
        self.runs = self.runs_before = runs
        self.tokens = tokens

    def add(self, *, may_have_run: bool, tokens: int, is_failure: bool) -> None:
        """Count the end of a row."""
        self.runs += may_have_run
        self.tokens += tokens
        self.failures += is_failure

    @property
    def new_runs(self) -> int:
        """Runs that ended since the job was started."""
        return self.runs - (self.runs_before or 0)

    def room(self, room: int, reserved: int, arming: int) -> int:
        """Return how many more rows may be marked.

        Args:
            room: How many the pace allows.
            reserved: How many are marked and have not ended.
            arming: How many are being marked.
        """
        if self.reached() is not None:
            return 0
        if self.budget.runs is not None:
            room = min(room, self.budget.runs - self.runs - reserved)
        if self.lease is not None:
            room = min(room, self.lease.runs - self.new_runs - reserved - arming)
        return room

    def reached(self) -> Optional[Stop]:
        """Return the budget that keeps rows from being marked, if one does."""
        if self.budget.runs is not None and self.runs >= self.budget.runs:
            return "runs"
        return self.used_up()

    def used_up(self) -> Optional[Stop]:
        """Return the budget that also keeps marked rows from being sent: their runs were counted, their tokens not."""
        if self.budget.tokens is not None and self.tokens >= self.budget.tokens:
            return "tokens"
        if self.budget.failures is not None and self.failures >= self.budget.failures:
            return "failures"
        return None

    def ask(self, begun: int) -> None:
        """Ask for more runs, if the lease is used up by those that have begun."""
        if self.lease is not None and self.lease.runs <= self.new_runs + begun:
            self.lease.ask()

    def give_back(self, begun: int) -> int:
        """Give back the runs of the lease that have not begun; return how many."""
        if self.lease is None:
            return 0
        unused = max(0, self.lease.runs - self.new_runs - begun)
        self.lease.runs -= unused
        return unused
