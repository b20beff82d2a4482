"""Runs `fetch-hive bulk`. Imported only for this command, because it imports more modules than the others."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Literal, Optional, cast

from fetch_hive_sdk import APIConnectionError, APIStatusError, BulkError, ConfigurationError, FetchHive, FetchHiveError
from fetch_hive_sdk._net.proxies import check_proxies
from fetch_hive_sdk._text import count_of, in_one_line
from fetch_hive_sdk.bulk import Budget, BulkReport, Job, JournalError, OutputError, RowError
from fetch_hive_sdk.bulk.export import check_rows_output
from fetch_hive_sdk.bulk.files import FileRows
from fetch_hive_sdk.bulk.rows import RowReader
from fetch_hive_sdk.bulk.shards import journals_of, runs_begun

from ._terminal import complain, note, show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from fetch_hive_sdk.bulk import Item

_NOT_WRITTEN, _WRONG, _NO_KEY, _REFUSED, _NO_ANSWER, _UNREADABLE = 1, 2, 3, 4, 5, 6
_SOME_FAILED, _BUDGET, _JOURNAL = 9, 10, 11
_BUDGETS = {"runs", "tokens", "failures", "seconds"}

# --- Running ----------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    try:
        return _run_rows(options)
    except KeyboardInterrupt:
        if not _sends_nothing(options):
            complain("interrupted: run the same command again to continue")
        raise
    except ValueError as exc:
        if isinstance(exc, FetchHiveError):
            raise
        complain(str(exc))  # for example, --max-concurrency is below --processes
        return _WRONG


def _sends_nothing(options: argparse.Namespace) -> bool:
    """Whether this only shows what would be sent. With a sample, a dry run pays for the rows of the sample."""
    return bool(options.dry_run) and options.sample is None


def _run_rows(options: argparse.Namespace) -> int:
    rows = _rows(options)
    if options.output is not None:
        # Check the output before any call is paid for.
        check_rows_output(options.output, options.journal, None if options.rows == "-" else Path(options.rows))
    if _sends_nothing(options):
        return _dry_run(rows, options)
    if rows.can_be_read_again and next(iter(rows), None) is None:
        return _report_no_rows(rows, options)
    check_proxies()
    return _run_job(FetchHive(base_url=options.base_url, timeout=options.timeout), rows, options)


def _run_job(client: FetchHive, rows: FileRows, options: argparse.Namespace) -> int:
    job = Job(options.journal)
    budget, sample = _budget(options), None
    if options.sample is not None:
        sample = runs_begun(journals_of(job.path)) + options.sample
        budget = replace(budget, runs=sample if budget.runs is None else min(sample, budget.runs))
    try:
        report = _send(job, client, rows, options, budget)
    except BulkError as exc:
        if isinstance(exc.report, BulkReport) and exc.report.rows:
            try:
                _write_output(job, options)
            except JournalError as second:  # raise the first error, which has the unwritten answers
                complain(in_one_line(str(second)))
        raise
    try:
        _print_report(report, rows, options)
        if sample is not None and report.rows:
            _print_estimate(report, rows, options)
    finally:  # even if stdout is gone
        if report.rows:
            _write_output(job, options)
    if not report.rows:
        return _report_no_rows(rows, options)
    is_sampled = report.stopped == "runs" and budget.runs == sample
    return _BUDGET if report.stopped in _BUDGETS and not is_sampled else _code_of(report)


def _rows(options: argparse.Namespace) -> FileRows:
    needed = [column for _, column in options.input]
    source = sys.stdin.buffer if options.rows == "-" else Path(options.rows)
    return FileRows(source, options.format, needed=needed, key=options.key_column, skips_bad=options.skip_bad)


def _budget(options: argparse.Namespace) -> Budget:
    return Budget(
        runs=options.max_runs, tokens=options.max_tokens, failures=options.max_failures, seconds=options.max_seconds
    )


def _send(job: Job, client: FetchHive, rows: FileRows, options: argparse.Namespace, budget: Budget) -> BulkReport:
    return job.run(
        client,
        rows,
        deployment=options.deployment,
        variant=options.variant,
        inputs=_inputs(options),
        key=options.key_column,
        budget=budget,
        max_concurrency=options.max_concurrency,
        processes=options.processes,
        rpm=options.rpm,
        tpm=options.tpm,
        retry_failed=options.retry_failed,
        force=options.force,
        wait_for_reset=options.wait_for_reset,
        progress=False if options.quiet else None,
    )


def _inputs(options: argparse.Namespace) -> Optional[Mapping[str, str]]:
    return dict(options.input) or None


def _dry_run(rows: FileRows, options: argparse.Namespace) -> int:
    reader = RowReader(options.deployment, options.variant, _inputs(options), options.key_column)
    count = 0
    for value in rows:
        count += 1
        row = reader.read(count, value)
        if count == 1:
            print("the first request:")
            print(show(json.dumps(json.loads(row.body), ensure_ascii=False, indent=2), sys.stdout))
            if row.key is not None:
                print(f"its key: {in_one_line(row.key)}")
    if not count:
        return _report_no_rows(rows, options)
    print(f"{count_of(count, 'row')}{_skipped(rows)}; nothing was sent")
    return 0


def _print_estimate(report: BulkReport, rows: FileRows, options: argparse.Namespace) -> None:
    if not report.done:
        return
    # The journal may have rows that this input does not contain.
    total = max(report.rows, sum(1 for _ in rows)) if rows.can_be_read_again else report.rows
    each = report.tokens / report.done
    write = note if options.json else print
    write(
        f"{report.done:,} of {total:,} rows are done and kept, with {each:,.1f} tokens a row:"
        f" about {each * total:,.0f} tokens for all, {each * (total - report.done):,.0f} of them still to come"
    )


def _report_no_rows(rows: FileRows, options: argparse.Namespace) -> int:
    note(f"there are no rows in {options.rows}{_skipped(rows)}")
    if options.json and rows.can_be_read_again and not options.dry_run:
        print(json.dumps({**BulkReport(is_exhausted=True).as_dict(), "skipped": rows.skipped}))
    return 0


def _skipped(rows: FileRows) -> str:
    return f", {count_of(rows.skipped, 'broken line')} skipped" if rows.skipped else ""


def _print_report(report: BulkReport, rows: FileRows, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({**report.as_dict(), "skipped": rows.skipped}))
    else:
        print(f"{report}{_skipped(rows)}")
    if report.in_doubt:
        complain(f"{count_of(report.in_doubt, 'row')} in doubt: see fetch-hive bulk doubt {options.journal}")


def _write_output(job: Job, options: argparse.Namespace) -> None:
    if options.output is not None:
        job.export(options.output)


def _code_of(report: BulkReport) -> int:
    return _SOME_FAILED if report.failed or report.rejected or report.in_doubt else 0


# --- Reading and settling ---------------------------------------------------------------------------------------------


def _job_of(options: argparse.Namespace) -> Job:
    journal: Path = options.journal
    if not journals_of(journal)[0].exists():
        raise JournalError(f"there is no journal {journal}")
    return Job(journal)


def _status(options: argparse.Namespace) -> int:
    report = _job_of(options).status()
    print(json.dumps(report.as_dict()) if options.json else report)
    return 0


def _export(options: argparse.Namespace) -> int:
    count = _job_of(options).export(options.output)
    note(count_of(count, "row"))
    return 0


def _report(options: argparse.Namespace) -> int:
    _job_of(options).report_html(options.html)
    return 0


def _doubt(options: argparse.Namespace) -> int:
    job = _job_of(options)
    settling: list[str] = options.settle or []
    settled = settling[0] if settling else None
    keys: Optional[list[str]] = [*options.keys, *(options.retry or []), *settling[1:]] or None
    if options.retry is None and settled is None:
        return _list_doubt(job.doubt(), keys, as_json=options.json)
    try:
        if settled is None:
            count = job.retry(keys)
        elif settled in {"done", "failed"}:
            count = job.settle(cast("Literal['done', 'failed']", settled), keys)
        else:
            complain("argument --settle: must be done or failed")
            return _WRONG
    except KeyError as exc:
        complain(str(exc.args[0]))
        return _WRONG
    what = f"settled as {settled}" if settled else "will be sent again by the next run"
    note(f"{count_of(count, 'row')}: {what}")
    return 0


def _list_doubt(items: list[Item[object]], keys: Optional[list[str]], *, as_json: bool) -> int:
    for item in items:
        if keys is not None and item.key not in keys:
            continue
        if as_json:
            known = {"key": item.key, "row": item.row, "error": item.error, "request_id": item.request_id}
            print(json.dumps(known))
        else:
            why = in_one_line(item.error or "the process ended while it was under way")
            print(show(f"{item.key}  row {item.row}  {item.request_id or 'no request id'}  {why}", sys.stdout))
    return 0


# --- Commands and errors ----------------------------------------------------------------------------------------------


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "status": _status,
    "export": _export,
    "report": _report,
    "doubt": _doubt,
}


def report_error(error: FetchHiveError) -> int:
    """Print an error and return its exit code."""
    complain(in_one_line(str(error)))
    if isinstance(error, JournalError):
        if error.unwritten:
            complain("the answers that are not in the journal:")
        for item in error.unwritten:
            response = item.body if item.response is None else item.response.raw
            known = {"key": item.key, "row": item.row, "state": item.state, "response": response}
            note(json.dumps(known))
    kinds: list[tuple[type[FetchHiveError], int]] = [
        (RowError, _WRONG),
        (OutputError, _NOT_WRITTEN),
        (JournalError, _JOURNAL),
        (ConfigurationError, _NO_KEY),
        (APIStatusError, _REFUSED),
        (APIConnectionError, _NO_ANSWER),
    ]
    code = next((code for kind, code in kinds if isinstance(error, kind)), None)
    if code is None and isinstance(error, BulkError):
        stopped = error.report.stopped if isinstance(error.report, BulkReport) else None
        code = _NO_ANSWER if stopped == "network" else _REFUSED
    return _UNREADABLE if code is None else code
