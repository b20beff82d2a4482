"""`fetch-hive bulk`: run a deployment over the rows of a file, and see what has become of them."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Callable

from fetch_hive_sdk import FetchHiveError

CODES = """\
exit codes:
  0  all rows are done             5  no connection for many rows in a row
  1  the output cannot be written  9  rows have failed or are in doubt
  2  an argument or a row is wrong 10 a budget was reached
  3  no key, URL or package        11 the journal cannot be used, or the disk is full
  4  refused by the service        130, 143  Ctrl-C, SIGTERM: what was under way has been finished
"""

EPILOG = """\
examples:
  fetch-hive bulk run reviews.csv --deployment summarise --input text=body --key-column id --journal reviews.db
  fetch-hive bulk status reviews.db
  fetch-hive bulk export reviews.db --output out.jsonl
  fetch-hive bulk report reviews.db --html report.html
  fetch-hive bulk doubt reviews.db
  fetch-hive bulk doubt reviews.db --settle done 17 23

Each row is run once, whatever dies: the same command goes on where the last one ended.

"""

RUN_EPILOG = """\
examples:
  fetch-hive bulk run reviews.csv --deployment summarise --input text=body --journal reviews.db --dry-run
  fetch-hive bulk run reviews.csv --deployment summarise --input text=body --journal reviews.db --sample 10
  fetch-hive bulk run reviews.csv --deployment summarise --variant prod --input text=body --key-column id \\
      --journal reviews.db --output out.jsonl --max-runs 10000 --max-concurrency 64

The key comes from FETCH_HIVE_API_KEY; there is no option for it, as commands are kept in histories.

"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "bulk",
        help="run a prompt deployment over many rows, each paid for once",
        description="Run a prompt deployment over the rows of a file, and see what has become of them.",
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
    parser = _add(add_parser, "run", "Send the rows of a file that are not settled yet.", RUN_EPILOG)
    parser.add_argument("rows", metavar="FILE", help="a CSV, JSON Lines or Parquet file; - for stdin")
    parser.add_argument("--deployment", required=True, help="the name of the deployment")
    parser.add_argument("--variant", help="the name of the variant")
    parser.add_argument(
        "--input",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help="a variable of the prompt, and the column that it comes from; may be repeated; all columns if not given",
    )
    parser.add_argument(
        "--key-column", metavar="COLUMN", help="the column by which a row is known; its content if not given"
    )
    parser.add_argument(
        "--journal", required=True, type=Path, metavar="FILE", help="what is known of the rows; made if needed"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write all rows there at the end: .jsonl, .csv or .parquet"
    )
    parser.add_argument(
        "--format", choices=["csv", "jsonl", "parquet"], help="of the input, if its name does not say it"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave broken lines out, and count them")
    parser.add_argument("--max-runs", type=_count, metavar="N", help="stop after so many runs, over all times together")
    parser.add_argument("--max-tokens", type=_count, metavar="N", help="stop after so many tokens, likewise")
    parser.add_argument("--max-failures", type=_count, metavar="N", help="stop after so many failures")
    parser.add_argument("--max-seconds", type=_number, metavar="SECONDS", help="send nothing more after that time")
    parser.add_argument("--max-concurrency", type=_count, default=64, metavar="N", help="calls at once, at most; 64")
    parser.add_argument("--processes", type=_count, metavar="N", help="share the work among N processes")
    parser.add_argument("--rpm", type=_number, metavar="N", help="calls a minute, at most")
    parser.add_argument("--tpm", type=_number, metavar="N", help="tokens a minute, at most")
    parser.add_argument("--retry-failed", action="store_true", help="send rows again that have failed")
    parser.add_argument("--force", action="store_true", help="accept other requests under the keys of the journal")
    parser.add_argument("--wait-for-reset", action="store_true", help="wait until tomorrow if the daily cap is reached")
    parser.add_argument("--dry-run", action="store_true", help="show the first request and the number of rows")
    parser.add_argument("--sample", type=_count, metavar="N", help="run N rows, which are kept, and estimate the rest")
    parser.add_argument("--base-url", help="where the API is; FETCH_HIVE_BASE_URL if not given")
    parser.add_argument("--timeout", type=_number, default=120.0, metavar="SECONDS", help="for each call; 120")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_status(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = _add(add_parser, "status", "Show how a job is doing, also while it runs.")
    parser.add_argument("journal", type=Path, metavar="FILE", help="the journal")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_export(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = _add(add_parser, "export", "Write the rows to a file, also while the job runs.")
    parser.add_argument("journal", type=Path, metavar="FILE", help="the journal")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="where to: .jsonl, .csv or .parquet")


def _add_report(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = _add(add_parser, "report", "Write a page with plots of a job, also while it runs.")
    parser.add_argument("journal", type=Path, metavar="FILE", help="the journal")
    parser.add_argument("--html", required=True, type=Path, metavar="FILE", help="where to")


def _add_doubt(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = _add(add_parser, "doubt", "List or settle the rows that may have been run, and paid for.")
    parser.add_argument("journal", type=Path, metavar="FILE", help="the journal")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="only these rows; all that are in doubt if not given")
    what = parser.add_mutually_exclusive_group()
    # Both take keys, too: argparse does not look for arguments behind an option.
    what.add_argument(
        "--retry", nargs="*", metavar="KEY", help="let the next run send them again, and maybe pay for them again"
    )
    what.add_argument("--settle", nargs="+", metavar=("done|failed", "KEY"), help="close them: you know what they are")
    parser.add_argument("--json", action="store_true", help="list them as JSON Lines")


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
