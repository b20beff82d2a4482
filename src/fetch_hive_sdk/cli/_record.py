"""`fetch-hive record`: records the calls of a command in any language."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from fetch_hive_sdk import ConfigurationError, FetchHive
from fetch_hive_sdk._net.proxies import check_proxies
from fetch_hive_sdk._text import count_of, in_one_line
from fetch_hive_sdk.testing import recording_proxy

from ._running import NOT_EXECUTABLE, NOT_FOUND, add_command_to, check_command, run_command
from ._terminal import complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

SERVICE = "https://api.fetchhive.com/v1"
"""The default base URL of the API."""

_PLAIN_WORD = re.compile(r"(?!-)[\w./-]+")

EPILOG = """\
The command runs with FETCH_HIVE_BASE_URL set to a proxy on this machine. The proxy forwards its calls, with the API key
that the command sends, to the previous FETCH_HIVE_BASE_URL or the service. The key is not recorded.

With --out FILE.json, the calls are recorded in that file. With a folder, the file is named after the command: `pytest
tests` writes pytest-tests.json, `python app.py` writes python-app.py.json.

examples:
  fetch-hive record --out cassettes -- pytest tests
  fetch-hive record --out cassettes/shop.json -- node shop.js

exit codes: that of the command, or 128 plus the number of the signal that ended it, or
  1  the cassette cannot be written    3         invalid base URL, proxy or certificates
  2  invalid argument                  126, 127  the command cannot be run, or was not found
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "record",
        usage="fetch-hive record [--out FILE.json|FOLDER] -- COMMAND [ARGUMENT ...]",
        help="run a command and record its calls",
        description="Run a command and record the calls that it makes to Fetch Hive in a cassette.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("cassettes"),
        metavar="PATH",
        help="a file that ends in .json or .jsonl, or a folder; default: cassettes",
    )
    add_command_to(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    check_command(options)
    if not options.command:
        options.parser.error("the command is missing: fetch-hive record -- COMMAND")
    file = file_for(options.out, options.command)
    new_folders = [folder for folder in file.parents if not folder.exists()]
    upstream = os.environ.get("FETCH_HIVE_BASE_URL") or SERVICE
    try:
        check_proxies()
        # Only checks the base URL. The command has its own key.
        FetchHive("fhk_unused", upstream)
        with ExitStack() as stack:
            proxy = stack.enter_context(recording_proxy(file, upstream.strip()))
            code = run_command(options.command, proxy.url, {})
    except ConfigurationError as exc:
        complain(in_one_line(str(exc)))
        return 3
    except OSError as exc:
        complain(f"cannot write {file}: {exc.strerror}")
        return 1
    if not proxy.calls:
        with suppress(OSError):
            for folder in new_folders:
                folder.rmdir()
    if proxy.calls or code not in {NOT_EXECUTABLE, NOT_FOUND}:
        _report(file, proxy.calls)
    return code


def file_for(out: Path, command: Sequence[str]) -> Path:
    """Return the file for the calls of a command, named after the program and its first argument.

    Further arguments are ignored, because they may contain secrets, or change with each run.
    """
    if out.suffix in {".json", ".jsonl"}:
        return out
    program, *arguments = command
    if arguments[:1] == ["-m"]:  # python -m pytest
        del arguments[0]
    words = [Path(program).stem, *(Path(word).name for word in arguments[:1] if _PLAIN_WORD.fullmatch(word))]
    return out / f"{'-'.join(words)}.json"


def _report(file: Path, calls: int) -> None:
    if calls:
        complain(f"{count_of(calls, 'call')} recorded in {file}")
    else:
        complain("no answer was recorded: does the command call FETCH_HIVE_BASE_URL?")
