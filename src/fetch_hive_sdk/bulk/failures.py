"""Errors of jobs that are not the service's, with what to do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetch_hive_sdk import BulkError

if TYPE_CHECKING:
    from .report import BulkReport, Item


class JournalError(BulkError):
    """A journal cannot be used: it is not one, it is damaged, another process has it, the disk refuses it.

    Args:
        message: What is wrong, and what to do.
        report: What has been done so far, if the job has begun.
    """

    unwritten: list[Item[Any]]
    """Rows that have ended, and whose ends the disk refused: the journal has them in doubt. They were paid for."""

    def __init__(self, message: str, *, report: BulkReport | None = None) -> None:
        super().__init__(message, report=report)
        self.unwritten = []


class DamageError(JournalError):
    """A journal is damaged. For the package itself: to others it is a `JournalError`."""


class OutputError(JournalError):
    """An export cannot be written where it is wanted. The journal is as it was.

    Args:
        message: Which file it is, and what is wrong with it.
        report: None: no job is running.
    """


class RowError(BulkError, ValueError):
    """A row cannot be sent as it is: a column is missing, its key is another row's, its line is broken.

    Args:
        message: Which row it is, and what is wrong with it.
        report: What has been done so far, if the job has begun.
    """

    def __init__(self, message: str, *, report: BulkReport | None = None) -> None:
        super().__init__(message, report=report)
