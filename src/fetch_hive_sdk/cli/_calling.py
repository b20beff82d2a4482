"""Options and error reporting shared by the commands that call the service."""

from __future__ import annotations

import argparse
import codecs
import json
import math
import os
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
from fetch_hive_sdk._text import in_one_line

from ._terminal import complain, note

if TYPE_CHECKING:
    from collections.abc import Mapping

EXIT_CODES = """\
exit codes:
  0  success                         5  no answer: connection failed, or timeout
  1  the answer cannot be written    6  the answer does not match the API
  2  invalid argument                130, 141  Ctrl-C, closed pipe
  3  no key, invalid base URL or proxy
  4  error response of the service
"""


def add_options(parser: argparse.ArgumentParser, *, with_workspace: bool = True) -> None:
    """Add the options of all commands that call the service."""
    parser.add_argument("--base-url", help="the base URL of the API; default: FETCH_HIVE_BASE_URL")
    parser.add_argument(
        "--timeout", type=seconds, default=120.0, metavar="SECONDS", help="time limit for the whole call; default: 120"
    )
    if with_workspace:
        parser.add_argument("--workspace", metavar="ID", help="the workspace; default: FETCH_HIVE_WORKSPACE_ID")


def seconds(text: str) -> float:
    """Parse a time limit. argparse reports "invalid seconds value" for other strings."""
    limit = float(text)
    if not 0 < limit < math.inf:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return limit


def pair(text: str) -> tuple[str, str]:
    """Parse NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError("must be NAME=VALUE")
    return name, value


def variable(text: str) -> tuple[str, str]:
    """Parse NAME=TEXT. `@FILE` reads the text from a file, `-` from stdin; `@@` and `--` are a literal `@` and `-`."""
    name, value = pair(text)
    if value == "-":
        return name, read_text("-")
    if value == "--":
        return name, "-"
    if value.startswith("@@"):
        return name, value[1:]
    if value == "@":
        raise argparse.ArgumentTypeError("must be NAME=@FILE; @@ stands for a literal @")
    if value.startswith("@"):
        return name, read_text(value[1:])
    return name, value


def read_text(path: str) -> str:
    """Read a text file, or stdin for `-`. Like `read_bytes`, it raises argparse's error."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError(f"{name_of(path)} is not text in UTF-8") from None


def read_bytes(path: str) -> bytes:
    """Read a file, or stdin for `-`. Can be used by the `type` of an option, because it raises argparse's error."""
    if path == "-" and "_ARGCOMPLETE" in os.environ:
        return b""  # the shell asks for completions: standard input is the terminal
    check_stdin(path)
    if path == "-" and sys.stdin.isatty():
        keys = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"
        complain(f"reading from standard input; end it with {keys}")
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except (OSError, ValueError) as exc:
        raise argparse.ArgumentTypeError(f"cannot read {path}: {getattr(exc, 'strerror', exc)}") from None
    if path == "-" and not data:
        raise argparse.ArgumentTypeError("standard input is empty; it can be read only once")
    return data


def check_stdin(path: str) -> str:
    """Return the path; raise argparse's error if it is `-` and stdin is closed."""
    if path == "-" and cast("Optional[TextIO]", sys.stdin) is None:
        raise argparse.ArgumentTypeError("cannot read -: standard input is closed")
    return path


def scalar(text: str) -> object:
    """Parse a scalar of JSON; return anything else as a string."""
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    return value if value is None or isinstance(value, (int, float, str)) else text


def read_json(path: str) -> object:
    """Read a JSON file, or stdin for `-`. Can be the `type` of an option, because it raises argparse's error."""
    data = read_bytes(path)
    try:
        # Bytes: json detects UTF-8 and UTF-16, with and without a byte order mark, better than the locale does.
        return cast("object", json.loads(data))
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f"{name_of(path)} is not valid JSON") from None


def name_of(path: str) -> str:
    """Return how messages name a file, which may be stdin."""
    return "standard input" if path == "-" else path


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def call(options: argparse.Namespace, work: Callable[[FetchHive], int], *, as_json: bool) -> int:
    """Run the work of a command with a client; return the exit code."""
    try:
        check_proxies()
        with FetchHive(
            base_url=options.base_url, timeout=options.timeout, workspace_id=getattr(options, "workspace", None)
        ) as client:
            return work(client)
    except FetchHiveError as exc:
        report(exc, as_json=as_json)
        return exit_code(exc)


def refuse(
    options: argparse.Namespace, error: ValueError, where: str = "", names: Optional[Mapping[str, str]] = None
) -> NoReturn:
    """Report invalid arguments and exit. `names` are the options for fields with other names."""
    parser: argparse.ArgumentParser = options.parser
    if not isinstance(error, ValidationError):
        parser.error(f"{where}{error}")
    problem = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, problem["loc"]))
    parser.error(f"{where}{(names or {}).get(field, field)}: {problem['msg']}")


def print_json(value: object) -> None:
    """Print a value as JSON, escaping letters that the output cannot encode."""
    print(json.dumps(value, ensure_ascii=not prints_utf8(), indent=2), flush=True)


def prints_utf8() -> bool:
    """Whether the output can encode all letters."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return codecs.lookup(encoding).name == "utf-8"


def report(error: FetchHiveError, *, as_json: bool) -> None:
    """Print an error to stderr."""
    if not as_json:
        billed = "; the call may have been processed and billed" if error.maybe_processed else ""
        complain(in_one_line(str(error)) + billed)
        return
    fields: Mapping[str, object] = {
        "error": type(error).__name__,
        "message": str(error),
        "status_code": getattr(error, "status_code", None),
        "error_code": getattr(error, "error_code", None),
        "request_id": error.request_id,
        "maybe_processed": error.maybe_processed,
        "exit_code": exit_code(error),
    }
    note(json.dumps({name: value for name, value in fields.items() if value is not None}))


def exit_code(error: FetchHiveError) -> int:
    """Return the exit code for an error."""
    kinds: list[tuple[type[Exception], int]] = [
        (ConfigurationError, 3),
        (APIStatusError, 4),
        (StreamError, 7),
        (APIConnectionError, 5),
        (TimeoutError, 5),
    ]
    return next((code for kind, code in kinds if isinstance(error, kind)), 6)
