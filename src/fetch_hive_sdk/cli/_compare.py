"""`fetch-hive compare`: run cases through variants of a deployment, and show the answers side by side."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, cast

from pydantic import ValidationError

from fetch_hive_sdk import (
    APIStatusError,
    ConfigurationError,
    FetchHiveError,
    InvokeRequest,
    NotFoundError,
    ReasoningEvent,
    ResponseEvent,
)
from fetch_hive_sdk._text import count_of, in_one_line, pad, wrap

from ._calling import EXIT_CODES, add_options, call, exit_code, name_of, prints_utf8, read_text, refuse
from ._clock import Clock
from ._terminal import complain, note, paint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetch_hive_sdk import FetchHive, Usage

EPILOG = f"""\
examples:
  fetch-hive compare summarise --variant prod --variant draft --inputs cases.jsonl
  fetch-hive compare summarise --variant prod --variant draft --inputs cases.jsonl --html compared.html
  fetch-hive compare summarise --variant prod --variant draft --inputs cases.jsonl --file fetch-hive.toml

Each line of the file of cases is a JSON object of variables. Every case is one paid run per variant, unless --file
answers from a file of deployments, as fetch-hive serve does.

{EXIT_CODES}"""

_STOPPING = {401, 402, 403}  # further calls would be refused, too
_DAILY_CAP = "api_rate_limit_exceeded"
_BAR = " | "
_LEAST_WIDTH = 20  # of a column; on a narrower terminal, the answers are below each other


@dataclass(frozen=True)
class Result:
    """The answer of a variant to a case."""

    text: str
    seconds: float
    to_first: Optional[float]
    usage: Optional[Usage]
    error: Optional[FetchHiveError] = None
    is_interrupted: bool = False

    @property
    def failure(self) -> Optional[str]:
        """Why the answer is missing or not complete; None if it is complete."""
        if self.is_interrupted:
            return "interrupted"
        return None if self.error is None else f"{type(self.error).__name__}: {self.error}"

    @property
    def facts(self) -> str:
        """The times and tokens, in one line."""
        facts = [f"{self.seconds:.2f} s"]
        if self.to_first is not None:
            facts.append(f"first token {self.to_first:.2f} s")
        if self.usage is not None and self.usage.total_tokens is not None:
            facts.append(f"{self.usage.total_tokens} tokens")
        return ", ".join(facts)


@dataclass(frozen=True)
class Row:
    """A case, and the answers to it: of all variants, or of the first ones if the command was interrupted."""

    inputs: dict[str, object]
    results: Sequence[Result]


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "compare",
        help="compare variants of a deployment, case by case",
        description="Run cases through variants of a deployment. Shows answers, times and tokens side by side.",
        epilog=EPILOG,
    )
    parser.add_argument("deployment", help="the deployment of a prompt")
    parser.add_argument(
        "--variant", action="append", required=True, metavar="NAME", help="a variant; repeat it for each one"
    )
    parser.add_argument(
        "--inputs", type=_cases, required=True, metavar="FILE", help="a JSON Lines file of variables; - for stdin"
    )
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="answer from a TOML file of deployments, without a key"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the comparison as a page")
    parser.add_argument("--json", action="store_true", help="print one JSON object per case")
    add_options(parser, with_workspace=False)
    parser.set_defaults(run=run, parser=parser)


def _cases(path: str) -> list[dict[str, object]]:
    cases: list[dict[str, object]] = []
    # Not splitlines(): it also breaks lines at characters that JSON allows in strings.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            case: object = json.loads(line)
        except (ValueError, RecursionError):
            raise argparse.ArgumentTypeError(f"{name_of(path)}, line {number} is not valid JSON") from None
        if not isinstance(case, dict):
            raise argparse.ArgumentTypeError(f"{name_of(path)}, line {number} is not a JSON object of variables")
        cases.append(cast("dict[str, object]", case))
    if not cases:
        raise argparse.ArgumentTypeError(f"{name_of(path)} has no cases")
    return cases


def run(options: argparse.Namespace) -> int:
    """Run the cases; return the exit code."""
    parser: argparse.ArgumentParser = options.parser
    twice = [variant for variant in options.variant if options.variant.count(variant) > 1]
    if twice:
        parser.error(f"--variant {twice[0]} is given twice")
    requests = [
        [_request_of(options, variant, inputs, number) for variant in options.variant]
        for number, inputs in enumerate(options.inputs, 1)
    ]
    # Before anything is paid for.
    if options.html is not None and (problem := _why_not_writable(options.html)):
        parser.error(f"argument --html: cannot write {options.html}: {problem}")

    def work(client: FetchHive) -> int:
        if options.file is None and not options.json:
            cases, variants = len(requests), len(options.variant)
            sizes = f"{count_of(cases, 'case')} through {count_of(variants, 'variant')}"
            note(f"{count_of(cases * variants, 'paid run')}: {sizes}")
        return _compare(client, requests, options)

    if options.file is None:
        return call(options, work, as_json=options.json)
    from fetch_hive_sdk.emulator import Emulator  # noqa: PLC0415 - only for this option

    try:
        return work(Emulator.from_file(options.file).client(timeout=options.timeout))
    except ConfigurationError as exc:
        complain(in_one_line(str(exc)))
        return 2


def _request_of(options: argparse.Namespace, variant: str, inputs: dict[str, object], number: int) -> InvokeRequest:
    try:
        return InvokeRequest(deployment=options.deployment, variant=variant, inputs=inputs or None)
    except ValidationError as exc:
        refuse(options, exc, f"case {number}: ")


def _why_not_writable(path: Path) -> Optional[str]:
    try:
        is_new = not path.exists()
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except (OSError, ValueError) as exc:
        return str(getattr(exc, "strerror", exc))
    return None


def _compare(client: FetchHive, requests: Sequence[Sequence[InvokeRequest]], options: argparse.Namespace) -> int:
    rows: list[Row] = []
    first_error: Optional[FetchHiveError] = None
    results: list[Result] = []
    is_written = True
    try:
        for inputs, of_case in zip(options.inputs, requests):
            results = []
            rows.append(Row(inputs, results))
            for request in of_case:
                _measure(client, request, results)
            _print(rows[-1], len(rows), options)
            first_error = first_error or next((result.error for result in results if result.error), None)
            if _is_hopeless(results):
                complain("stopped: the other cases would be refused, too")
                break
    except KeyboardInterrupt:
        if results and (len(results) < len(options.variant) or results[-1].is_interrupted):
            _print(rows[-1], len(rows), options)
        raise
    finally:
        # Also after Ctrl-C: these answers were paid for.
        rows = [row for row in rows if row.results]
        if options.html is not None and rows:
            is_written = _write_page(rows, options)
    if not options.json:
        _print_totals(rows, options.variant)
    if not is_written:
        return 1
    return 0 if first_error is None else exit_code(first_error)


def _is_hopeless(results: Sequence[Result]) -> bool:
    """Whether the service would refuse the other cases, too."""
    errors = [result.error for result in results if isinstance(result.error, APIStatusError)]
    if any(error.status_code in _STOPPING or error.error_code == _DAILY_CAP for error in errors):
        return True
    return len(errors) == len(results) and all(isinstance(error, NotFoundError) for error in errors)


def _measure(client: FetchHive, request: InvokeRequest, results: list[Result]) -> None:
    """Run a case through a variant, and add its result: after Ctrl-C, the part of the answer so far."""
    clock = Clock()
    stream = client.stream(request)
    error: Optional[FetchHiveError] = None
    is_interrupted = True
    try:
        with stream:
            for event in stream:
                if isinstance(event, (ReasoningEvent, ResponseEvent)):
                    clock.tick()
            stream.collect()
        is_interrupted = False
    except FetchHiveError as exc:
        error, is_interrupted = exc, False
    finally:
        partial = stream.partial
        if partial.text or not is_interrupted:
            results.append(Result(partial.text, clock.total(), clock.to_first, partial.usage, error, is_interrupted))


def _print(row: Row, number: int, options: argparse.Namespace) -> None:
    if options.json:
        results = {variant: _fields_of(result) for variant, result in zip(options.variant, row.results)}
        line = json.dumps({"case": number, "inputs": row.inputs, "variants": results}, ensure_ascii=not prints_utf8())
        print(line, flush=True)
        return
    print(paint(f"case {number}: {in_one_line(json.dumps(row.inputs, ensure_ascii=False))}", "dim", sys.stdout))
    count = len(row.results)
    width = (shutil.get_terminal_size().columns - len(_BAR) * (count - 1)) // count
    if width < _LEAST_WIDTH:
        for variant, result in zip(options.variant, row.results):
            print(*_column(variant, result, max(_LEAST_WIDTH, shutil.get_terminal_size().columns)), "", sep="\n")
        return
    columns = [_column(variant, result, width) for variant, result in zip(options.variant, row.results)]
    for cells in zip_longest(*columns, fillvalue=""):
        print(_BAR.join(pad(cell, width) for cell in cells).rstrip())
    print(flush=True)


def _column(variant: str, result: Result, width: int) -> list[str]:
    text = result.text if result.failure is None else f"{result.text}\n[{result.failure}]"
    facts = wrap(result.facts, width)
    lines = [*wrap(in_one_line(variant), width), *facts, "-" * max(map(len, facts))]
    for line in text.strip("\n").splitlines():
        lines += wrap(in_one_line(line), width)
    return lines


def _fields_of(result: Result) -> dict[str, object]:
    fields = {
        "response": result.text,
        "seconds": round(result.seconds, 3),
        "seconds_to_first_token": None if result.to_first is None else round(result.to_first, 3),
        "usage": None if result.usage is None else result.usage.raw,
        "error": result.failure,
    }
    return {name: value for name, value in fields.items() if value is not None}


def totals(rows: Sequence[Row], at: int) -> str:
    """Return the sums of a variant, in one line."""
    results = [row.results[at] for row in rows if at < len(row.results)]
    if not results:
        return "no cases"
    errors = sum(result.failure is not None for result in results)
    tokens = sum(result.usage.total_tokens or 0 for result in results if result.usage is not None)
    seconds = sum(result.seconds for result in results) / len(results)
    failed = f", {errors} failed" if errors else ""
    return f"{count_of(len(results), 'case')}{failed}, {seconds:.2f} s on average, {tokens:,} tokens"


def _print_totals(rows: Sequence[Row], variants: Sequence[str]) -> None:
    for at, variant in enumerate(variants):
        print(f"{in_one_line(variant)}: {totals(rows, at)}")


def _write_page(rows: Sequence[Row], options: argparse.Namespace) -> bool:
    """Write the page. If that fails, print the reason and return False."""
    from ._compare_page import page_of  # noqa: PLC0415 - only for this option

    page = page_of(options.deployment, options.variant, rows)
    try:
        options.html.write_text(page, "utf-8", errors="backslashreplace")
    except OSError as exc:
        complain(f"cannot write {options.html}: {exc.strerror}")
        return False
    note(f"written to {options.html}")
    return True
