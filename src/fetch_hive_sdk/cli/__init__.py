"""The command line `fetch-hive`. It uses only the package's public API.

Slow imports are inside of `main`, where Ctrl-C ends the program without a traceback.
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
        argv: The arguments without the program name; None means `sys.argv`.

    Returns:
        The exit code, as listed by `--help` of the command.

    Raises:
        SystemExit: For `--help`, `--version` and invalid arguments (2).

    """
    try:
        with _usable_output():
            try:
                from ._commands import run  # noqa: PLC0415 - see above

                return run(sys.argv[1:] if argv is None else argv)
            finally:
                # Also for --help. Unlike sys.stdout.flush, print does nothing if stdout is closed.
                print(end="", flush=True)
                _discard_unwritten(sys.stderr)
    except KeyboardInterrupt:
        return 130
    except OSError as exc:
        return _report_write_error(exc)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from . import _commands  # noqa: PLC0415 - see above

    return _commands.build_parser()


@contextmanager
def _usable_output() -> Generator[None, None, None]:
    """Escape characters that stdout cannot encode, and discard output to a closed stderr."""
    # Occupy the descriptors of closed streams, or the next opened file would get one, and output meant for the stream.
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr
        pass
    os.close(opened)
    # Some terminals encode few characters. Escapes are better than losing a billed answer.
    with suppress(AttributeError):  # stdout is closed or replaced
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


def _report_write_error(error: OSError) -> int:
    # A closed pipe is not an error: the reader has enough.
    if not isinstance(error, BrokenPipeError) and cast("Optional[TextIO]", sys.stderr) is not None:
        with suppress(OSError):
            print(f"fetch-hive: cannot write: {error.strerror}", file=sys.stderr)
    # Python flushes again at exit, and would report an error for unwritten output.
    for output in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            _discard_unwritten(output)
    return 141 if isinstance(error, BrokenPipeError) else 1


def _discard_unwritten(output: TextIO) -> None:
    try:
        output.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, output.fileno())
        os.close(nowhere)
