"""Correctly typed uses of bulk jobs. Type checkers must accept them; never run."""

from __future__ import annotations

import csv
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Literal, Optional

from pydantic import BaseModel, TypeAdapter
from typing_extensions import assert_type

from fetch_hive_sdk import BulkError, FetchHive, InvokeRequest, prompt
from fetch_hive_sdk.bulk import Budget, BulkReport, Item, Job, JournalError, Progress, RowError


class Ticket(BaseModel):
    title: str


@prompt("extract-ticket")
def extract(text: str) -> Ticket:
    raise NotImplementedError


def runs(client: FetchHive, texts: list[str]) -> None:
    job = Job("reviews.db")
    assert_type(job.run(client, (extract(text=text) for text in texts)), BulkReport)
    job.run(client, [InvokeRequest(deployment="d", inputs={"text": text}) for text in texts], key=lambda row: row.user)
    job.run(client, [{"text": "a", "n": 1}], deployment="d", inputs={"text": "text"}, key="n", progress=False)
    with Path("rows.csv").open(encoding="utf-8", newline="") as file:
        job.run(client, csv.DictReader(file), deployment="d", budget=Budget(runs=5, seconds=1.5), progress=watch)


def watch(progress: Progress) -> None:
    assert_type(progress.seconds_left, Optional[float])
    assert_type(progress.report.in_doubt, int)


class Frame:
    """A table, as those of pandas, polars and pyarrow are."""

    columns: list[str]

    def join(self, other: Frame, on: str) -> Frame:
        raise NotImplementedError


def tables(client: FetchHive, frame: Frame) -> None:
    with Job("reviews.db") as job:
        assert_type(job.run(client, frame, deployment="d", key="id"), BulkReport)
        assert_type(job.export("reviews.parquet", prompt=extract) + job.export("reviews.csv", prompt=Ticket), int)
        job.report_html(Path("report.html"))


async def arun(client: FetchHive, rows: AsyncGenerator[dict[str, str], None]) -> None:
    with Job(Path("reviews.db")) as job:
        assert_type(await job.arun(client, rows, deployment="d", max_concurrency=8, rpm=60, tpm=1e6), BulkReport)


def outcomes(job: Job) -> None:
    assert_type(job.results(), Iterator[Item[Any]])
    for item in job.results(["done"], prompt=extract):
        assert_type(item.output, Ticket)
        assert_type(item.key, str)
        assert_type(item.state, Literal["pending", "done", "rejected", "failed", "in_doubt"])
    for typed in job.results(prompt=Ticket):
        assert_type(typed.output, Ticket)
    adapter: TypeAdapter[list[int]] = TypeAdapter(list[int])
    for numbers in job.results(prompt=adapter):
        assert_type(numbers.output, "list[int]")
    assert_type(job.doubt(), "list[Item[Any]]")
    assert_type(job.settle("done", ["a"]) + job.retry(), int)


def failures(job: Job, client: FetchHive) -> None:
    try:
        job.run(client, [])
    except JournalError as exc:
        assert_type(exc.unwritten, "list[Item[Any]]")
    except (RowError, BulkError) as exc:
        print(exc.report)
