"""Runs a prompt over many rows and never pays for a row twice, even after a crash.

    from fetch_hive_sdk.bulk import Budget, Job

    job = Job("reviews.db")
    report = job.run(client, rows, deployment="summarise", budget=Budget(runs=10_000))

The job records each row in a journal on disk before it sends the call. After a crash, the journal shows which rows were
run, which were not, and which are in doubt. This package imports `fetch_hive_sdk`, never the other way round.
"""

from .budget import Budget
from .failures import JournalError, OutputError, RowError
from .job import Job, run_shard
from .progress import Progress
from .report import BulkReport, Item

__all__ = ["Budget", "BulkReport", "Item", "Job", "JournalError", "OutputError", "Progress", "RowError", "run_shard"]
