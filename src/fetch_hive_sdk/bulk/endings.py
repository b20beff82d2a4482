"""How a job is doing, and what is said when it stops. Performs no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from fetch_hive_sdk import FetchHiveError

from .failures import JournalError
from .report import BulkReport, Item
from .verdicts import resets_at

if TYPE_CHECKING:
    from .journal import Journal
    from .report import Stop


@dataclass(frozen=True)
class Snapshot:
    """How a job is doing while it runs."""

    report: BulkReport
    """The counts so far."""
    limit: int
    """How many calls may be under way now."""
    under_way: int
    """How many are."""
    ended: int
    """Rows that came to an end in this run."""
    paused: float
    """Seconds until the next call may begin; 0 if it may begin now."""
    runs: int = 0
    """Runs that ended since the job was started."""
    tokens: int = 0
    """Tokens over the life of the journal."""
    failures: int = 0
    """Rows that did not end well since the job was started."""
    is_first: bool = False
    """Whether the first row has not come to an end yet."""
    is_answered: bool = True
    """Whether the service has answered a row."""


def message_of(stop: Optional[Stop], reason: Optional[BaseException], maximum: int) -> Optional[str]:
    """Say why a job stopped, if that is an error and not a budget."""
    if stop == "auth":
        return f"the service refuses the calls of this job: {reason}"
    if stop == "deployment":
        return f"the first row was refused, and so would be the others: {reason}"
    if stop == "network":
        return f"{maximum} rows in a row had no connection: {reason}"
    if stop == "cap" and isinstance(reason, FetchHiveError):
        moment = resets_at(reason).strftime("%Y-%m-%d %H:%M UTC")
        return f"the daily cap is reached, and resets at {moment}: {reason}"
    return None


def disk_error(journal: Journal, report: BulkReport, reason: Optional[BaseException]) -> JournalError:
    """Return the error for a journal that cannot be written, with the answers that it lacks."""
    items: list[Item[Any]] = [Item(end.as_stored()) for end in journal.unwritten if end.row is not None]
    error = JournalError(
        f"the journal {journal.path} cannot be written: {reason}. Nothing more was sent."
        f" {len(items)} answers that it lacks are in `unwritten` of this error. {report}",
        report=report,
    )
    error.unwritten = items
    return error
