"""`fetch-hive record`: keep the calls of a command, in any language."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from fetch_hive_sdk import ConfigurationError, FetchHive
from fetch_hive_sdk._net.proxies import check_proxies
from fetch_hive_sdk.testing import recording_proxy

from ._running import add_command_to, check_command, run_command
from ._terminal import complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

SERVICE = "https://api.fetchhive.com/v1"
"""Where the API is, if the environment does not say otherwise."""

_PLAIN_WORD = re.compile(r"(?!-)[\w./-]+")

EPILOG = """\
The command finds a proxy on this machine in its FETCH_HIVE_BASE_URL, which passes its calls on to where that pointed
before, with the key that the command sends. The key is not recorded.

The file: with --out FILE.json that one. With a folder, one that is named after the command, so that the same command
writes the same file again: `pytest tests` writes pytest-tests.json, `python app.py` python-app.py.json.

examples:
  fetch-hive record --out cassettes -- pytest tests
  fetch-hive record --out cassettes/shop.json -- node shop.js

exit codes: that of the command; 128 and the number of the signal that ended it; and
  1  the cassette cannot be written    3    a bad base URL or proxy
  2  an argument is wrong              126, 127  the command cannot be run, or is not there
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
        help="the file, if it ends in .json or .jsonl, else the folder of the file; cassettes",
    )
    add_command_to(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    check_command(options)
    if not options.command:
        options.parser.error("a command is needed: fetch-hive record -- COMMAND")
    file = file_for(options.out, options.command)
    upstream = os.environ.get("FETCH_HIVE_BASE_URL") or SERVICE
    try:
        check_proxies()
        # Only to have it checked. The key is the command's business.
        FetchHive("fhk_unused", upstream)
    except ConfigurationError as exc:
        complain(str(exc))
        return 3
    try:
        with ExitStack() as stack:
            proxy = stack.enter_context(recording_proxy(file, upstream.strip()))
            code = run_command(options.command, proxy.url, {})
    except OSError as exc:
        complain(f"cannot write {file}: {exc.strerror}")
        return 1
    _report(file, proxy.calls)
    return code


def file_for(out: Path, command: Sequence[str]) -> Path:
    """Return the file for the calls of a command, named after the program and the word after it.

    Not after more: arguments may hold anything, a password for one, and the same command must find its file again.
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
        complain(f"{calls} {'call' if calls == 1 else 'calls'} recorded in {file}")
    else:
        complain("no answer was recorded: does the command call FETCH_HIVE_BASE_URL?")
