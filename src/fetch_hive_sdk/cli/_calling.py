"""What the commands that call the service share: their options, and how they report what went wrong."""

from __future__ import annotations

import argparse
import codecs
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NoReturn, Optional, TextIO, cast

from pydantic import ValidationError

from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    ConfigurationError,
    FetchHive,
    FetchHiveError,
    StreamError,
)
from fetch_hive_sdk._net.proxies import check_proxies

from ._terminal import complain, in_one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

EXIT_CODES = """\
exit codes:
  0  answered                        5  no usable answer: not reached, or not in time
  1  the answer cannot be written    6  an answer that is not as the API promises
  2  an argument is wrong            130, 141  Ctrl-C, closed pipe
  3  no key, a bad base URL or proxy
  4  refused by the service
"""


def add_options(parser: argparse.ArgumentParser, *, with_workspace: bool = True) -> None:
    """Add the options that every command has that calls the service."""
    parser.add_argument("--base-url", help="where the API is; FETCH_HIVE_BASE_URL if not given")
    parser.add_argument("--timeout", type=seconds, default=120.0, metavar="SECONDS", help="for the whole call; 120")
    if with_workspace:
        parser.add_argument("--workspace", metavar="ID", help="the workspace; FETCH_HIVE_WORKSPACE_ID if not given")


def seconds(text: str) -> float:
    """Read a time limit. argparse says "invalid seconds value" of what is no number."""
    limit = float(text)
    if not 0 < limit < math.inf:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return limit


def pair(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError("must be NAME=VALUE")
    return name, value


def scalar(text: str) -> object:
    """Read what is a scalar of JSON as that, and anything else as the text that it is."""
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    return value if value is None or isinstance(value, (int, float, str)) else text


def read_json(path: str) -> object:
    """Read a JSON file, or stdin for `-`. As the type of an option, it reports what is wrong with the file."""
    if path == "-" and cast("Optional[TextIO]", sys.stdin) is None:
        raise argparse.ArgumentTypeError("cannot read -: the standard input is closed")
    try:
        # Bytes: json detects UTF-8 and UTF-16, with and without a byte order mark, better than the locale does.
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return cast("object", json.loads(data))
    except OSError as exc:
        raise argparse.ArgumentTypeError(f"cannot read {path}: {exc.strerror}") from None
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f"{path} is not JSON") from None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is Python's, not JSON")


def call(options: argparse.Namespace, work: Callable[[FetchHive], int], *, as_json: bool) -> int:
    """Do the work of a command with a client; return the exit code."""
    try:
        check_proxies()
        with FetchHive(
            base_url=options.base_url, timeout=options.timeout, workspace_id=getattr(options, "workspace", None)
        ) as client:
            return work(client)
    except FetchHiveError as exc:
        report(exc, as_json=as_json)
        return exit_code(exc)


def refuse(options: argparse.Namespace, error: ValueError) -> NoReturn:
    """Say what is wrong with the arguments, and exit."""
    parser: argparse.ArgumentParser = options.parser
    if not isinstance(error, ValidationError):
        parser.error(str(error))
    problem = error.errors(include_url=False, include_input=False)[0]
    parser.error(f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}")


def print_json(value: object) -> None:
    """Print a value as JSON, with the letters that the output can write."""
    print(json.dumps(value, ensure_ascii=not prints_utf8(), indent=2), flush=True)


def prints_utf8() -> bool:
    """Whether the output can write all letters."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return codecs.lookup(encoding).name == "utf-8"


def report(error: FetchHiveError, *, as_json: bool) -> None:
    """Say on stderr what went wrong."""
    if not as_json:
        billed = "; it may have been processed and billed" if error.maybe_processed else ""
        complain(in_one_line(str(error)) + billed)
        return
    known: Mapping[str, object] = {
        "error": type(error).__name__,
        "message": str(error),
        "status_code": getattr(error, "status_code", None),
        "error_code": getattr(error, "error_code", None),
        "request_id": error.request_id,
        "maybe_processed": error.maybe_processed,
        "exit_code": exit_code(error),
    }
    print(json.dumps({name: value for name, value in known.items() if value is not None}), file=sys.stderr)


def exit_code(error: FetchHiveError) -> int:
    """Return the exit code of a failure."""
    kinds: list[tuple[type[Exception], int]] = [
        (ConfigurationError, 3),
        (APIStatusError, 4),
        (StreamError, 7),
        (APIConnectionError, 5),
        (TimeoutError, 5),
    ]
    return next((code for kind, code in kinds if isinstance(error, kind)), 6)
