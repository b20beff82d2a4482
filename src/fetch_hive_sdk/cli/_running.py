"""Runs a command of the user's with a service on a loopback port."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Optional

from fetch_hive_sdk._config import no_proxy_for_loopback

from ._terminal import complain

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from types import FrameType

_NOT_EXECUTABLE = 126
_NOT_FOUND = 127


def add_command_to(parser: argparse.ArgumentParser) -> None:
    """Let a parser see a command that stands where it should not, to say so."""
    parser.add_argument("misplaced", nargs="*", help=argparse.SUPPRESS)


def check_command(options: argparse.Namespace) -> None:
    """Check that the command stands after `--`.

    Raises:
        SystemExit: It does not.

    """
    if options.misplaced:
        options.parser.error(f"put -- before the command: -- {' '.join(options.misplaced)}")


def run_command(command: Sequence[str], url: str, changed: Mapping[str, str]) -> int:
    """Run a command whose FETCH_HIVE_BASE_URL points to this machine, and return its exit code as a shell would.

    Args:
        command: The command and its arguments.
        url: The base URL for it.
        changed: Further variables of its environment.

    Returns:
        The exit code; 128 and the number of the signal that ended it; 126 or 127 if it could not be started.

    """
    environment = {**os.environ, **changed, "FETCH_HIVE_BASE_URL": url, **no_proxy_for_loopback()}
    try:
        # The user's own words, and no shell.
        process = subprocess.Popen(command, env=environment)  # noqa: S603
    except OSError as exc:
        complain(f"cannot run {command[0]}: {exc.strerror}")
        return _NOT_FOUND if isinstance(exc, FileNotFoundError) else _NOT_EXECUTABLE
    with _left_to(process):
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _left_to(process: subprocess.Popen[bytes]) -> Generator[None, None, None]:
    """Let the command decide what Ctrl-C means: a terminal sends it to both. Pass on what is sent to this process."""

    def nothing(number: int, frame: FrameType | None) -> None:
        """Not SIG_IGN: that would be handed down to commands."""

    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what a signal handler is called with
        process.send_signal(number)

    handlers = {"SIGINT": nothing, "SIGQUIT": nothing, "SIGTERM": pass_on, "SIGHUP": pass_on}
    previous: dict[signal.Signals, Any] = {}
    for name, handler in handlers.items():
        number: Optional[signal.Signals] = getattr(signal, name, None)
        # What is ignored from the start, as below nohup, stays so.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
