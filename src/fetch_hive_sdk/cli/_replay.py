"""`fetch-hive replay`: answers the calls of a command, or of any program, from a cassette."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING, Callable

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._text import in_one_line
from fetch_hive_sdk.testing import TEST_KEY, Cassette, UnrecordedCallError, replay

from ._running import add_command_to, check_command, run_command
from ._serve import port, stop_on_signal
from ._terminal import complain

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = """\
examples:
  fetch-hive replay cassettes/pytest-tests.json -- pytest tests
  fetch-hive replay cassettes/shop.json --port 8765 --pace 1

A call that was not recorded gets a 404 and a message on stderr, and sets the exit code to 1.

exit codes: that of the command, or 128 plus the number of the signal that ended it, or
  0  stopped
  1  a call was not recorded, or the port is in use
  2  invalid argument or file
  126, 127  the command cannot be run, or was not found
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "replay",
        usage="fetch-hive replay FILE [--port N] [--pace FACTOR] [--repeat] [-- COMMAND [ARGUMENT ...]]",
        help="answer calls from a cassette",
        description="Run a command and answer its calls from a cassette. Without a command, serve the cassette on a "
        "loopback port until stopped.",
        epilog=EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="the cassette")
    parser.add_argument("--port", type=port, default=0, metavar="N", help="the port; default: a free one")
    parser.add_argument(
        "--pace",
        type=factor,
        default=0.0,
        help="the pace of streams: 0 at once, 1 as recorded, 2 twice as slow; default: 0",
    )
    parser.add_argument(
        "--repeat", action="store_true", help="repeat the last answer for calls made more often than recorded"
    )
    add_command_to(parser)
    parser.set_defaults(run=run, parser=parser)


def factor(text: str) -> float:
    """Parse a pace. argparse reports "invalid factor value" for other strings."""
    pace = float(text)
    if not 0 <= pace <= 1000:  # noqa: PLR2004 - a generous limit
        raise argparse.ArgumentTypeError("must be a number from 0 to 1000")
    return pace


def run(options: argparse.Namespace) -> int:
    """Run the command, or serve until the process is stopped; return the exit code."""
    check_command(options)
    try:
        cassette = replay(options.file, pace=options.pace, repeat=options.repeat)
    except ConfigurationError as exc:
        complain(in_one_line(str(exc)))
        return 2
    code = 0
    try:
        with ExitStack() as stack:
            try:
                url = stack.enter_context(cassette.serve(options.port))
            except OSError as exc:
                complain(f"cannot serve on port {options.port}: {exc.strerror}")
                return 1
            code = _run_with(options.command, url) if options.command else _serve(cassette, options.file, url)
    except UnrecordedCallError as exc:
        complain(str(exc))
        return code or 1
    return code


def _run_with(command: Sequence[str], url: str) -> int:
    # Keep a real key out of the command.
    return run_command(command, url, {"FETCH_HIVE_API_KEY": TEST_KEY})


def _serve(cassette: Cassette, file: str, url: str) -> int:
    with stop_on_signal() as stopped:
        print(f"Serving {file} on {url} until stopped (Ctrl-C). For your program:\n")
        print(f"export FETCH_HIVE_API_KEY={TEST_KEY}\nexport FETCH_HIVE_BASE_URL={url}\n", flush=True)
        reported = 0
        # With a timeout, because waiting without one blocks signals on some systems.
        while not stopped.wait(0.2):
            for mistake in cassette.mistakes[reported:]:
                complain(mistake)
                reported += 1
    return 0
