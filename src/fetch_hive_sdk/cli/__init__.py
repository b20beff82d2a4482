"""`fetch-hive`, the command line: shows the package, serves a fake, runs deployments. Uses the package from outside."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING, Optional

from fetch_hive_sdk import __version__

from . import _demo, _invoke, _serve

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = """\
examples:
  fetch-hive demo
  fetch-hive serve --port 8765
  fetch-hive invoke summarise --input text="A long text." --stream

environment:
  FETCH_HIVE_API_KEY   the key; there is no option for it, as commands are kept in histories and seen in process lists
  FETCH_HIVE_BASE_URL  where the API is, if it is not the service itself
  FETCH_HIVE_LOG       "debug" writes a line for every request to stderr
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments without the name of the program; None for those of the process.

    Returns:
        The exit code: 0, or what `fetch-hive invoke --help` lists.

    Raises:
        SystemExit: For `--help`, `--version` and arguments that are refused (2).

    """
    options = build_parser().parse_args(argv)
    if os.environ.get("FETCH_HIVE_LOG", "").lower() == "debug":
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("fetch_hive_sdk").setLevel(logging.DEBUG)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has enough. Nobody is left to flush to at exit, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="fetch-hive",
        description="Run prompt deployments of Fetch Hive, or see how that works without a key.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (_demo, _serve, _invoke):
        command.add_to(commands.add_parser)
    return parser
