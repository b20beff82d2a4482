"""Errors that a job raises itself, rather than the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetch_hive_sdk import BulkError

if TYPE_CHECKING:
    from .report import BulkReport, Item


class JournalError(BulkError):
    """A journal cannot be used.

    The file is not a journal, it is damaged, another process is using it, or it cannot be written.

    Args:
        message: What is wrong and what to do about it.
        report: What the job has done so far; None if it has not started.
    """

    unwritten: list[Item[Any]]
    """Rows that ended but could not be written to the journal, where they are in doubt. They have been paid for."""

    def __init__(self, message: str, *, report: BulkReport | None = None) -> None:
        super().__init__(message, report=report)
        self.unwritten = []


class DamageError(JournalError):
    """A journal is damaged. Internal: callers catch it as a `JournalError`."""


class OutputError(JournalError):
    """The output file of an export or a report cannot be written. The journal is unchanged.

    Args:
        message: The file and what is wrong with it.
        report: Always None: no job is running.
    """


class RowError(BulkError, ValueError):
    """A row cannot be sent: a column is missing, another row has the same key, or its line is broken.

    Args:
        message: The row and what is wrong with it.
        report: What the job has done so far; None if it has not started.
    """

    def __init__(self, message: str, *, report: BulkReport | None = None) -> None:
        super().__init__(message, report=report)
