"""Runs a prompt over many rows, and never pays twice for one, whatever dies.

    from fetch_hive_sdk.bulk import Budget, Job

    job = Job("reviews.db")
    report = job.run(client, rows, deployment="summarise", budget=Budget(runs=10_000))

A journal on the disk is written before each call, so that after a crash it is known what was run, what was not, and
what is in doubt. Uses the package from outside; the package does not know it.
"""

from .budget import Budget
from .failures import JournalError, OutputError, RowError
from .job import Job, run_shard
from .progress import Progress
from .report import BulkReport, Item

__all__ = ["Budget", "BulkReport", "Item", "Job", "JournalError", "OutputError", "Progress", "RowError", "run_shard"]
