"""Runs the user's command with a service on a loopback port."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Callable, Optional

from fetch_hive_sdk._config import no_proxy_for_loopback

from ._terminal import complain

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from types import FrameType

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def add_command_to(parser: argparse.ArgumentParser) -> None:
    """Let a parser accept a command without `--`, so that `check_command` can report it."""
    parser.add_argument("misplaced", nargs="*", help=argparse.SUPPRESS)


def check_command(options: argparse.Namespace) -> None:
    """Check that the command follows `--`.

    Raises:
        SystemExit: `--` is missing.

    """
    if options.misplaced:
        options.parser.error(f"put -- before the command: -- {' '.join(options.misplaced)}")


def run_command(command: Sequence[str], url: str, changed: Mapping[str, str]) -> int:
    """Run a command with FETCH_HIVE_BASE_URL set to this machine; return its exit code like a shell.

    Args:
        command: The command and its arguments.
        url: The base URL for the command.
        changed: Other environment variables to set.

    Returns:
        The exit code, or 128 plus the number of the signal that ended it; 126 or 127 if it cannot be started.

    """
    environment = {**os.environ, **changed, "FETCH_HIVE_BASE_URL": url, **no_proxy_for_loopback()}
    with _forward_signals() as forward_to:
        try:
            # The user's own command, without a shell.
            process = subprocess.Popen(command, env=environment)  # noqa: S603
        except OSError as exc:
            complain(f"cannot run {command[0]}: {exc.strerror}")
            return NOT_FOUND if isinstance(exc, FileNotFoundError) else NOT_EXECUTABLE
        forward_to(process)
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _forward_signals() -> Generator[Callable[[subprocess.Popen[bytes]], None], None, None]:
    """Ignore Ctrl-C, which a terminal also sends to the command, and forward other signals to the command.

    Yields:
        A function that takes the command once it runs. It gets the signals that arrived while it was started, Ctrl-C
        included: a terminal sends it only to running programs.

    """
    process: Optional[subprocess.Popen[bytes]] = None
    early: list[int] = []
    from_terminal = _signals("SIGINT", "SIGQUIT")

    # Not SIG_IGN for Ctrl-C, which the command would inherit.
    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
        if process is None:
            early.append(number)
        elif number not in from_terminal:
            process.send_signal(number)

    def forward_to(started: subprocess.Popen[bytes]) -> None:
        nonlocal process
        process = started
        with suppress(ValueError):  # Windows cannot send Ctrl-C
            for number in early:
                started.send_signal(number)

    previous: dict[int, Any] = {}
    for number in from_terminal | _signals("SIGTERM", "SIGHUP"):
        # Keep signals ignored that were ignored at the start, as by nohup.
        if signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, forward)
    try:
        yield forward_to
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _signals(*names: str) -> set[int]:
    """Return the numbers of signals that this system has."""
    return {getattr(signal, name) for name in names if hasattr(signal, name)}
