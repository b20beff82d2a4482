"""`fetch-hive`, the command line: shows the package, serves a fake, runs deployments. Uses the package from outside.

What takes time to import is imported inside of `main`, where Ctrl-C ends it quietly.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Optional, TextIO, cast

if TYPE_CHECKING:
    import argparse
    import io
    from collections.abc import Generator, Sequence


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments without the name of the program; None for those of the process.

    Returns:
        The exit code: 0, or what `fetch-hive invoke --help` lists.

    Raises:
        SystemExit: For `--help`, `--version` and arguments that are refused (2).

    """
    try:
        with _usable_output():
            try:
                from ._commands import run  # noqa: PLC0415 - see above

                return run(sys.argv[1:] if argv is None else argv)
            finally:
                # What --help has printed, too. Unlike sys.stdout.flush, print does nothing where there is no stdout.
                print(end="", flush=True)
    except KeyboardInterrupt:
        return 130
    except OSError as exc:
        return _give_up_writing(exc)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from . import _commands  # noqa: PLC0415 - see above

    return _commands.build_parser()


@contextmanager
def _usable_output() -> Generator[None, None, None]:
    """Let what cannot be written be escaped, and what goes to a stderr that is closed be lost."""
    # Where a stream is closed, the next file that is opened would get its place, and what is written there by mistake.
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr
        pass
    os.close(opened)
    # A model may write any character, and a terminal may know few: escapes are better than losing a paid answer.
    with suppress(AttributeError):  # no stdout, or one of another kind
        cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    if cast("Optional[TextIO]", sys.stderr) is not None:
        yield
        return
    # print(file=None) writes to stdout.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - pathlib takes time to import
        sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stderr = cast("TextIO", None)


def _give_up_writing(error: OSError) -> int:
    # A reader that has enough is not worth a line.
    if not isinstance(error, BrokenPipeError) and cast("Optional[TextIO]", sys.stderr) is not None:
        with suppress(OSError):
            print(f"fetch-hive: cannot write: {error.strerror}", file=sys.stderr)
    # Python flushes again when it ends, and would complain about what is left.
    for output in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            _drop_what_is_left(output)
    return 141 if isinstance(error, BrokenPipeError) else 1


def _drop_what_is_left(output: TextIO) -> None:
    try:
        output.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, output.fileno())
        os.close(nowhere)
