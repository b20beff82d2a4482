"""The parser of all commands, and how a command is run."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from fetch_hive_sdk import __version__

from . import (
    _api,
    _bulk,
    _compare,
    _completion,
    _demo,
    _doctor,
    _invoke,
    _kb,
    _prompts,
    _record,
    _replay,
    _requests,
    _serve,
)
from ._parser import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

EPILOG = """\
examples:
  fetch-hive demo
  fetch-hive serve --port 8765
  fetch-hive invoke summarise --input text="A long text." --stream
  fetch-hive compare summarise --variant prod --variant draft --inputs cases.jsonl
  fetch-hive bulk run rows.csv --deployment summarise --input text=body --journal rows.db
  fetch-hive invoke --agent AGENT --message "Draft a reply to ticket 8841"
  fetch-hive api GET /public/models
  fetch-hive requests wait REQUEST
  fetch-hive kb search KNOWLEDGE_BASE "refund window"
  fetch-hive record --out cassettes -- pytest tests
  fetch-hive replay cassettes/pytest-tests.json -- pytest tests
  fetch-hive prompts check my_app.prompts
  fetch-hive doctor

environment:
  FETCH_HIVE_API_KEY       the API key; there is no option, because options appear in histories and process lists
  FETCH_HIVE_BASE_URL      the base URL of the API, if it is not that of the service
  FETCH_HIVE_WORKSPACE_ID  the workspace, for commands such as kb
  FETCH_HIVE_LOG           "debug" logs every request to stderr
  NO_COLOR                 disables colours; FORCE_COLOR enables them without a terminal
"""

_WITH_COMMAND = {"record", "replay"}


def run(words: Sequence[str]) -> int:
    """Run a command; return its exit code."""
    if "_ARGCOMPLETE" in os.environ:
        _completion.complete(build_parser())
    options = parse(words)
    if os.environ.get("FETCH_HIVE_LOG", "").lower() == "debug":
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("fetch_hive_sdk").setLevel(logging.DEBUG)
    code: int = options.run(options)
    return code


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line.

    The words after `--` are a command with options of its own, so argparse does not get them.

    Raises:
        SystemExit: The arguments are invalid, or ask for help.

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
    parser = Parser(
        prog="fetch-hive",
        description="Run prompts, workflows and agents of Fetch Hive, record and replay them, or try it without a key.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    modules = (
        _demo,
        _serve,
        _invoke,
        _compare,
        _bulk,
        _api,
        _requests,
        _kb,
        _record,
        _replay,
        _prompts,
        _doctor,
        _completion,
    )
    for command in modules:
        command.add_to(commands.add_parser)
    return parser
