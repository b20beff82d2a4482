"""The report of a job as one HTML page without external resources or scripts. Contains no requests and no answers."""

from __future__ import annotations

import math
import shlex
from datetime import datetime, timezone
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Optional

from .export import check_output, replacing
from .failures import OutputError
from .plots import plots_of, seconds_text, short
from .report import STATES, Item
from .summary import MOST_ROWS, summarise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .reading import Journals
    from .report import BulkReport, Stop, Stored
    from .summary import Summary

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_LONGEST_ERROR = 300
_LONGEST_KEY = 40
_DIGEST = 64  # hexadecimal digits of a key that is the digest of a request

_STOPS: dict[Stop, str] = {
    "runs": "The budget of runs was reached: run the job again with a larger one.",
    "tokens": "The budget of tokens was reached: run the job again with a larger one.",
    "failures": "The budget of failures was reached: see what went wrong, then run the job again.",
    "seconds": "The budget of seconds was reached: run the job again.",
    "auth": "The service refused the calls: check the key and the credit of the workspace, then run the job again.",
    "deployment": "The first row was refused: check the name of the deployment, then run the job again.",
    "cap": "The daily cap was reached: run the job again when the cap has reset, or with --wait-for-reset.",
    "network": "There was no connection: run the job again.",
    "disk": "The journal could not be written: make room on its disk, then run the job again.",
    "signal": "The job was interrupted: run it again.",
}
_NOT_RUN = (
    "Rows that are pending or were rejected have not run and were not paid for. Run the job again to send them. Rows"
    " that are done are not sent again."
)
_FAILED = (
    "Rows that failed are sent again only on request: add <code>--retry-failed</code> to the command, or"
    " <code>retry_failed=True</code> to <code>Job.run</code>. An answer that could not be read has been paid for and is"
    " in the export."
)

_Step = tuple[str, "list[list[str]]"]
"""An instruction as HTML, and the commands that carry it out."""


def write_report(journals: Journals, journal: Path, path: Path) -> None:
    """Write the report of a journal to a file. An existing file is replaced only when the report is complete.

    Args:
        journals: The journal or its shards, open for reading.
        journal: The path of the journal.
        path: The HTML file.

    Raises:
        ConfigurationError: matplotlib is not installed.
        OutputError: The file cannot be written, or it is the journal.

    """
    path = check_output(path, journal)
    page = report_page(summarise(journals), journal, datetime.now(timezone.utc))
    try:
        with replacing(path) as file:
            file.write(page.encode("utf-8", "backslashreplace"))
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror or exc}") from exc


def report_page(summary: Summary, journal: Path, now: datetime) -> str:
    """Return the HTML of the report."""
    style = (resources.files("fetch_hive_sdk.bulk") / "report.css").read_text("utf-8")
    name = escape(journal.name)
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{name}: report</title>",
        f"<style>\n{style}</style>",
        "<header>",
        f"<h1>{name}</h1>",
        f'<p><span class="status">{_status_of(summary)}</span>',
        f'<span class="soft">As of {now:%Y-%m-%d %H:%M:%S} UTC{_times_of(summary)}.</span></p>',
        *_counts(summary),
        "</header>",
        "<main>",
        *_tiles(summary),
        *_steps(summary, journal),
        *_plots(summary),
        *_tables(summary),
        "</main>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _status_of(summary: Summary) -> str:
    report = summary.report
    if summary.is_running:
        return "Running."
    if not report.rows:
        return "No run has begun."
    if report.stopped is not None:
        return f"Stopped: {report.stopped}."
    if not report.is_exhausted:
        return "Incomplete: the process ended, or not all rows could be read."
    return "Finished." if report.done == report.rows else "At its end, but not every row is done."


def _times_of(summary: Summary) -> str:
    first, last = summary.timeline.first, summary.timeline.last
    if first is None or last is None:
        return ""
    return f"; the first call began {_time_text(first)}, the last one ended {_time_text(last)}"


def _time_text(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, timezone.utc):%Y-%m-%d %H:%M:%S}"


def _counts(summary: Summary) -> Iterator[str]:
    report = summary.report
    counts = [(state, int(getattr(report, state))) for state in STATES]
    counts = [(state, count) for state, count in sorted(counts, key=lambda item: item[0] == "pending") if count]
    yield '<div class="bar" aria-hidden="true">'
    for state, count in counts:
        yield f'<span class="{state}" style="flex: {count}"></span>'
    yield "</div>"
    yield '<ul class="counts">'
    for state, count in counts:
        share = f"{count / report.rows:.1%}"
        label = state.replace("_", " ")
        yield f'<li><i class="{state}"></i>{count:,} {label} <span class="soft">{share}</span></li>'
    yield "</ul>"


def _tiles(summary: Summary) -> Iterator[str]:
    report = summary.report
    points, _ = summary.timeline.points()
    worked = points[-1].begin + points[-1].seconds if points else 0.0
    tiles = [("rows", f"{report.rows:,}"), ("tokens", f"{short(report.tokens)}")]
    if report.done:
        tiles.append(("tokens a row", f"{report.tokens / report.done:,.1f}"))
    if worked:
        tiles += [("time of work", seconds_text(worked)), ("rows a second", f"{report.done / worked:,.1f}")]
        tiles.append(("calls at once", f"{math.ceil(max(point.under_way for point in points)):,}"))
    for label, part in (("median time", 0.5), ("95 % within", 0.95), ("99 % within", 0.99)):
        seconds = summary.latencies.quantile(part)
        if seconds is not None:
            tiles.append((label, seconds_text(seconds)))
    yield '<dl class="tiles">'
    for label, value in tiles:
        yield f"<div><dt>{label}</dt><dd>{value}</dd></div>"
    yield "</dl>"


# --- What to do -------------------------------------------------------------------------------------------------------


def _steps(summary: Summary, journal: Path) -> Iterator[str]:
    steps = [*_steps_of(summary, journal)]
    if not steps:
        return
    yield "<h2>What to do</h2>"
    yield '<ul class="steps">'
    for text, commands in steps:
        yield f"<li>{text}"
        for command in commands:
            yield f"<pre>{escape(shlex.join(command))}</pre>"
        yield "</li>"
    yield "</ul>"


def _steps_of(summary: Summary, journal: Path) -> Iterator[_Step]:
    report, file = summary.report, str(journal)
    if summary.is_running:
        status = ["fetch-hive", "bulk", "status", file]
        again = ["fetch-hive", "bulk", "report", file, "--html", "report.html"]
        yield "The job runs. See how it is doing, or make this page again:", [status, again]
        if report.in_doubt:
            yield f"{_in_doubt(report)} Settle them when the job has ended; list them now:", [_doubt(file)]
        return
    if report.in_doubt:
        yield from _steps_of_doubt(summary, file)
    if report.stopped is not None:
        yield f"{_STOPS.get(report.stopped, '')} Rows that are done are not sent again.", []
    elif report.pending or report.rejected:
        yield _NOT_RUN, []
    if report.failed:
        yield _FAILED, []
    if report.done:
        yield "Write the answers to a file:", [["fetch-hive", "bulk", "export", file, "--output", "answers.csv"]]


def _steps_of_doubt(summary: Summary, file: str) -> Iterator[_Step]:
    doubt, rows = _doubt(file), summary.in_doubt
    look_up = next((["fetch-hive", "requests", "get", row.request_id] for row in rows if row.request_id), None)
    yield f"{_in_doubt(summary.report)} List them, and look up their runs:", [doubt, *([look_up] if look_up else [])]
    # One of several keys as an example. argparse would read a key that begins with a dash as an option.
    keys = [row.key for row in rows[:1] if summary.report.in_doubt > 1 and not row.key.startswith("-")]
    settle, retry = [*doubt, "--settle", "done"], [*doubt, "--retry"]
    yield "Settle those that have run, or all of them:", [*([*settle, key] for key in keys), settle]
    yield (
        "Or let the next run send them again, which may pay for them twice:",
        [*([*retry, key] for key in keys), retry],
    )


def _doubt(file: str) -> list[str]:
    return ["fetch-hive", "bulk", "doubt", file]


def _in_doubt(report: BulkReport) -> str:
    rows = "1 row is" if report.in_doubt == 1 else f"{report.in_doubt:,} rows are"
    return f"{rows} in doubt and may have been run and paid for."


# --- Plots and tables -------------------------------------------------------------------------------------------------


def _plots(summary: Summary) -> Iterator[str]:
    plots = plots_of(summary)
    yield "<h2>How it went</h2>"
    if not plots:
        yield '<p class="soft">No row has ended yet.</p>'
        return
    yield '<div class="plots">'
    for title, svg in plots:
        yield f"<figure><figcaption>{title}</figcaption>\n{svg}\n</figure>"
    yield "</div>"


def _tables(summary: Summary) -> Iterator[str]:
    if summary.kinds:
        yield "<h2>What went wrong</h2>"
        kinds = [[escape(kind), state.replace("_", " "), f"{count:,}"] for state, kind, count in summary.kinds]
        yield from _table(["kind", "state", "#rows"], kinds)
    if summary.in_doubt:
        yield "<h2>Rows in doubt</h2>"
        rows = [[_key(row), f"{row.row:,}", _code(row.request_id), _error(row)] for row in summary.in_doubt]
        yield from _table(["key", "#row", "request id", "why"], rows, summary.report.in_doubt)
    if summary.failed:
        yield "<h2>Rows that failed or were rejected</h2>"
        rows = [[_key(row), f"{row.row:,}", row.state, f"{row.attempts:,}", _error(row)] for row in summary.failed]
        count = summary.report.failed + summary.report.rejected
        yield from _table(["key", "#row", "state", "#attempts", "why"], rows, count)
    if summary.slowest:
        yield "<h2>The slowest answers</h2>"
        rows = [
            [_key(row), f"{row.row:,}", seconds_text(seconds), f"{row.tokens:,}", _code(Item(row).request_id)]
            for seconds, row in summary.slowest
        ]
        yield from _table(["key", "#row", "#time", "#tokens", "request id"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], count: int = 0) -> Iterator[str]:
    """Yield a table. Cells are HTML; columns whose names begin with `#` contain numbers."""
    names = [name.removeprefix("#") for name in head]
    classes = [' class="number"' if name.startswith("#") else "" for name in head]
    yield "<table>"
    cells = "".join(f"<th{kind}>{name}</th>" for name, kind in zip(names, classes))
    yield f"<thead><tr>{cells}</tr></thead>"
    yield "<tbody>"
    for row in rows:
        cells = "".join(
            f'<td{kind} data-name="{name}"><span>{cell}</span></td>' for name, kind, cell in zip(names, classes, row)
        )
        yield f"<tr>{cells}</tr>"
    yield "</tbody>"
    yield "</table>"
    if count > len(rows) >= MOST_ROWS:
        yield f'<p class="soft">The first {len(rows):,} of {count:,}; the export has all.</p>'


def _key(row: Stored) -> str:
    key = row.key
    if len(key) <= _LONGEST_KEY:
        return f"<code>{escape(key)}</code>"
    # A digest is abbreviated to its first digits, like a commit hash.
    end = 12 if len(key) == _DIGEST else _LONGEST_KEY - 1
    return f'<code title="{escape(key)}">{escape(key[:end])}…</code>'


def _code(text: Optional[str]) -> str:
    return f"<code>{escape(text)}</code>" if text else ""


def _error(row: Stored) -> str:
    text = row.error or "the process ended while it was under way"
    return escape(text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…")
