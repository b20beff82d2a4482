"""The arguments of `fetch-hive bulk`, which runs a deployment over the rows of a file."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Callable

from fetch_hive_sdk import FetchHiveError

from ._calling import check_stdin

CODES = """\
exit codes:
  0  all rows are done             5  no connection for many consecutive rows
  1  the output cannot be written  9  rows have failed or are in doubt
  2  invalid argument or row       10 a budget was reached
  3  no key, URL or package        11 the journal cannot be used, or the disk is full
  4  refused by the service        130, 143  Ctrl-C, SIGTERM: the calls under way have finished
"""

EPILOG = """\
examples:
  fetch-hive bulk run reviews.csv --deployment summarise --input text=body --key-column id --journal reviews.db
  fetch-hive bulk status reviews.db
  fetch-hive bulk export reviews.db --output out.jsonl
  fetch-hive bulk report reviews.db --html report.html
  fetch-hive bulk doubt reviews.db
  fetch-hive bulk doubt reviews.db --settle done 17 23

No row is run twice, even after a crash: the same command resumes where the last one stopped.

"""

RUN_EPILOG = """\
examples:
  fetch-hive bulk run reviews.csv --deployment summarise --input text=body --journal reviews.db --dry-run
  fetch-hive bulk run reviews.csv --deployment summarise --input text=body --journal reviews.db --sample 10
  fetch-hive bulk run reviews.csv --deployment summarise --variant prod --input text=body --key-column id \\
      --journal reviews.db --output out.jsonl --max-runs 10000 --max-concurrency 64

The API key is read from FETCH_HIVE_API_KEY. There is no option for it, because shells record commands.

"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "bulk",
        help="run a prompt deployment over many rows, each paid for once",
        description="Run a prompt deployment over the rows of a file, and manage the results.",
        epilog=EPILOG + CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_run, _add_status, _add_export, _add_report, _add_doubt):
        add(commands.add_parser)


def _add(
    add_parser: Callable[..., argparse.ArgumentParser], name: str, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    parser = add_parser(
        name,
        help=description[0].lower() + description[1:].rstrip("."),
        description=description,
        epilog=epilog + CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def run(options: argparse.Namespace) -> int:
        from ._bulk_run import COMMANDS, report_error  # noqa: PLC0415 - not needed before

        try:
            return COMMANDS[name](options)
        except FetchHiveError as exc:
            return report_error(exc)

    parser.set_defaults(run=run, parser=parser)
    return parser


def _add_run(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = _add(add_parser, "run", "Send the rows of a file that have not been run yet.", RUN_EPILOG)
    parser.add_argument("rows", type=check_stdin, metavar="FILE", help="a CSV, JSON Lines or Parquet file; - for stdin")
    parser.add_argument("--deployment", required=True, help="the name of the deployment")
    parser.add_argument("--variant", help="the name of the variant")
    parser.add_argument(
        "--input",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help="a variable of the prompt and its column; may be repeated; by default, all columns",
    )
    parser.add_argument(
        "--key-column", metavar="COLUMN", help="the column with the key of a row; by default, the row's content"
    )
    parser.add_argument(
        "--journal", required=True, type=Path, metavar="FILE", help="the journal of the job; created if needed"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="a file to write all rows to at the end: .jsonl, .csv or .parquet"
    )
    parser.add_argument(
        "--format", choices=["csv", "jsonl", "parquet"], help="the format of the input; by default, from its name"
    )
    parser.add_argument("--skip-bad", action="store_true", help="skip and count broken lines")
    parser.add_argument("--max-runs", type=_count, metavar="N", help="stop after N runs, over the life of the journal")
    parser.add_argument(
        "--max-tokens", type=_count, metavar="N", help="stop after N tokens, over the life of the journal"
    )
    parser.add_argument("--max-failures", type=_count, metavar="N", help="stop after N failures")
    parser.add_argument("--max-seconds", type=_number, metavar="SECONDS", help="stop sending after this time")
    parser.add_argument("--max-concurrency", type=_count, default=64, metavar="N", help="most concurrent calls; 64")
    parser.add_argument("--processes", type=_count, metavar="N", help="share the work among N processes")
    parser.add_argument("--rpm", type=_number, metavar="N", help="most calls per minute")
    parser.add_argument("--tpm", type=_number, metavar="N", help="most tokens per minute")
    parser.add_argument("--retry-failed", action="store_true", help="send failed rows again")
    parser.add_argument("--force", action="store_true", help="run changed requests under keys of the journal")
    parser.add_argument(
        "--wait-for-reset", action="store_true", help="when the daily cap is reached, wait until it resets"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show the first request and the number of rows, and send nothing but the rows of --sample",
    )
    parser.add_argument("--sample", type=_count, metavar="N", help="run, pay and keep N rows, and estimate the rest")
    parser.add_argument("--base-url", help="the base URL of the API; by default, FETCH_HIVE_BASE_URL")
    parser.add_argument("--timeout", type=_number, default=120.0, metavar="SECONDS", help="timeout of each call; 120")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_status(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = _add(add_parser, "status", "Show the status of a job, even while it runs.")
    parser.add_argument("journal", type=Path, metavar="FILE", help="the journal")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_export(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = _add(add_parser, "export", "Write the rows to a file, even while the job runs.")
    parser.add_argument("journal", type=Path, metavar="FILE", help="the journal")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="the output file: .jsonl, .csv or .parquet"
    )


def _add_report(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = _add(add_parser, "report", "Write a page with plots of a job, even while it runs.")
    parser.add_argument("journal", type=Path, metavar="FILE", help="the journal")
    parser.add_argument("--html", required=True, type=Path, metavar="FILE", help="the output file")


def _add_doubt(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = _add(add_parser, "doubt", "List or settle the rows that may have been run and paid for.")
    parser.add_argument("journal", type=Path, metavar="FILE", help="the journal")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="keys of rows; by default, all rows in doubt")
    what = parser.add_mutually_exclusive_group()
    # Both options take keys as well, because argparse does not look for positional arguments after them.
    what.add_argument(
        "--retry", nargs="*", metavar="KEY", help="let the next run send the rows again, which may pay for them twice"
    )
    what.add_argument("--settle", nargs="+", metavar=("done|failed", "KEY"), help="close rows whose outcome you know")
    parser.add_argument("--json", action="store_true", help="list the rows as JSON Lines")


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not name or not equals or not column:
        raise argparse.ArgumentTypeError("must be NAME=COLUMN")
    return name, column


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more: {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number: {text!r}")
    return number
