"""The status of a running job, and the messages when it stops. Performs no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from fetch_hive_sdk import BulkError, FetchHiveError

from .failures import JournalError
from .report import BulkReport, Item
from .verdicts import resets_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .journal import Journal
    from .report import Stop


@dataclass(frozen=True)
class Snapshot:
    """The status of a running job."""

    report: BulkReport
    """The counts so far."""
    limit: int
    """How many calls may be under way now."""
    under_way: int
    """How many calls are under way."""
    ended: int
    """Rows that have ended in this run."""
    paused: float
    """Seconds until the next call may begin; 0 if it may begin now."""
    runs: int = 0
    """Runs that have ended since the job started."""
    tokens: int = 0
    """Tokens over the life of the journal."""
    failures: int = 0
    """Rows that have ended in any state other than done since the job started."""
    is_first: bool = False
    """Whether the first row is still to end."""
    is_answered: bool = True
    """Whether the service has answered any row."""
    is_stopping: bool = False
    """Whether nothing more is sent."""
    runs_before: Optional[int] = None
    """Runs of earlier runs of the job; None until the journal is open."""


def message_of(stop: Optional[Stop], reason: Optional[BaseException], maximum: int) -> Optional[str]:
    """Return why a job stopped; None if that is not an error, or the error of another shard."""
    if reason is None:
        return None
    if stop == "auth":
        return f"the service refuses the calls of this job: {reason}"
    if stop == "deployment":
        return f"the first row was refused, as all others would be: {reason}"
    if stop == "network":
        return f"{maximum} rows in a row had no connection: {reason}"
    if stop == "cap" and isinstance(reason, FetchHiveError):
        moment = resets_at(reason).strftime("%Y-%m-%d %H:%M UTC")
        return f"the daily cap has been reached and resets at {moment}: {reason}"
    return None


def disk_error(journal: Journal, report: BulkReport, reason: Optional[BaseException]) -> JournalError:
    """Return the error for a journal that cannot be written, with the answers missing from it."""
    items: list[Item[Any]] = [Item(end.as_stored()) for end in journal.unwritten if end.row is not None]
    missing = " The answers that are not in it are in the `unwritten` attribute of this error." if items else ""
    error = JournalError(
        f"the journal {journal.path} cannot be written: {reason}. Nothing more was sent.{missing} {report}",
        report=report,
    )
    error.unwritten = items
    return error


def error_of(errors: Sequence[BaseException], report: BulkReport) -> BaseException:
    """Return the error that a job in several shards raises.

    Args:
        errors: The errors of the shards, at least one.
        report: The report of all shards, which replaces that of the shard.

    Returns:
        The first error, or the first one that has answers missing in a journal: its `unwritten` are those of all.

    """
    losses = [error for error in errors if isinstance(error, JournalError) and error.unwritten]
    if losses:
        losses[0].unwritten = sorted((item for loss in losses for item in loss.unwritten), key=lambda item: item.row)
    error = losses[0] if losses else errors[0]
    if isinstance(error, BulkError):
        if error.report is not None:
            error.args = (str(error.args[0]).replace(str(error.report), str(report)),)
        error.report = report
    return error
