"""`fetch-hive`, the command line: shows the package, serves a fake, runs deployments. Uses the package from outside."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Optional, TextIO, cast

from fetch_hive_sdk import __version__

from . import _bulk, _completion, _demo, _doctor, _invoke, _record, _replay, _serve

if TYPE_CHECKING:
    import io
    from collections.abc import Sequence

EPILOG = """\
examples:
  fetch-hive demo
  fetch-hive serve --port 8765
  fetch-hive invoke summarise --input text="A long text." --stream
  fetch-hive bulk run rows.csv --deployment summarise --input text=body --journal rows.db
  fetch-hive record --out cassettes -- pytest tests
  fetch-hive replay cassettes/pytest-tests.json -- pytest tests
  fetch-hive doctor

environment:
  FETCH_HIVE_API_KEY   the key; there is no option for it, as commands are kept in histories and seen in process lists
  FETCH_HIVE_BASE_URL  where the API is, if it is not the service itself
  FETCH_HIVE_LOG       "debug" writes a line for every request to stderr
  NO_COLOR             if set, no colours; FORCE_COLOR wants them even where there is no terminal
"""


_WITH_COMMAND = {"record", "replay"}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments without the name of the program; None for those of the process.

    Returns:
        The exit code: 0, or what `fetch-hive invoke --help` lists.

    Raises:
        SystemExit: For `--help`, `--version` and arguments that are refused (2).

    """
    _print_whatever_comes()
    try:
        try:
            return _run(argv)
        finally:
            # What --help has printed, too. Unlike sys.stdout.flush, print does nothing where there is no stdout.
            print(end="", flush=True)
    except KeyboardInterrupt:
        return 130
    except OSError as exc:
        return _give_up_writing(exc)


def _run(argv: Optional[Sequence[str]]) -> int:
    options = parse(sys.argv[1:] if argv is None else argv)
    if os.environ.get("FETCH_HIVE_LOG", "").lower() == "debug":
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("fetch_hive_sdk").setLevel(logging.DEBUG)
    code: int = options.run(options)
    return code


def _print_whatever_comes() -> None:
    # A model may write any character, and a terminal may know few: escapes are better than losing a paid answer.
    with suppress(AttributeError):  # no stdout, or one of somebody's own making
        cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")


def _give_up_writing(error: OSError) -> int:
    # A reader that has enough is nothing to tell.
    if not isinstance(error, BrokenPipeError):
        print(f"fetch-hive: cannot write: {error.strerror}", file=sys.stderr)
    # Python flushes once more when it ends, and would complain of what is left.
    for output in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            _drop_what_is_left(output)
    return 141 if isinstance(error, BrokenPipeError) else 1


def _drop_what_is_left(output: TextIO) -> None:
    try:
        output.flush()
    except OSError:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), output.fileno())


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the words of a command line.

    What comes after `--` may be a command with options of its own, which are not for argparse to see.

    Raises:
        SystemExit: They are refused, or ask for help.

    """
    own = list(words)
    command: list[str] = []
    if own and own[0] in _WITH_COMMAND and "--" in own:
        cut = own.index("--")
        own, command = own[:cut], own[cut + 1 :]
    options = build_parser().parse_args(own)
    options.command = command
    return options


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="fetch-hive",
        description="Run prompt deployments of Fetch Hive, record and replay them, see how that works without a key.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (_demo, _serve, _invoke, _bulk, _record, _replay, _doctor, _completion):
        command.add_to(commands.add_parser)
    return parser
