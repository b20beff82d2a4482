"""`fetch-hive serve`: a service for your own program to talk to, until it is stopped."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk.emulator import Emulator
from fetch_hive_sdk.testing import TEST_KEY, Answer

from ._terminal import complain

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from fetch_hive_sdk import InvokeRequest

USUAL_FILE = "fetch-hive.toml"

EPILOG = """\
examples:
  fetch-hive serve
  fetch-hive serve --file fetch-hive.toml --port 8765

exit codes:
  0  stopped          2  an argument or the file is wrong
  1  the port is taken
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "serve",
        help="serve a fake of the API on this machine",
        description="Serve a fake of the API on a loopback port until stopped, and a page that shows the calls.\n"
        "Any deployment answers by telling what it was asked; with --file, those of the file\n"
        "answer as they are described there, and no others.",
        epilog=EPILOG,
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="a TOML file of deployments; read again on changes")
    parser.add_argument("--port", type=port, default=0, help="the port; a free one if not given")
    parser.add_argument("--delay", type=seconds, metavar="SECONDS", help="between two events of a stream; 0")
    parser.set_defaults(run=run)


def port(text: str) -> int:
    """Read a port. argparse says "invalid port value" of what is no number."""
    number = int(text)
    if not 0 <= number <= 65535:  # noqa: PLR2004 - the last port there is
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return number


def seconds(text: str) -> float:
    """Read a delay. argparse says "invalid seconds value" of what is no number."""
    delay = float(text)
    if not 0 <= delay <= 3600:  # noqa: PLR2004 - an hour
        raise argparse.ArgumentTypeError("a delay is from 0 to 3600 seconds")
    return delay


def describe_call(request: InvokeRequest) -> Answer:
    """Answer with what was asked."""
    variant = f" (variant {request.variant})" if request.variant else ""
    inputs = json.dumps(dict(request.inputs), ensure_ascii=False)
    return Answer(
        f"{request.deployment}{variant} was asked with {inputs}.",
        reasoning="This is a fake: it tells what it was asked.",
        model="fake-model",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until the process is told to stop; return the exit code."""
    try:
        emulator = _make_emulator(options.file, options.delay)
    except ConfigurationError as exc:
        complain(str(exc))
        return 2
    with ExitStack() as stack:
        stopped = stack.enter_context(stop_on_signal())
        try:
            url = stack.enter_context(emulator.serve(options.port, page=True))
        except OSError as exc:
            complain(f"cannot serve on port {options.port}: {exc.strerror}")
            return 1
        _welcome(url, options.file)
        # In short waits: on some systems a wait without end hears no signals. And the file may change.
        while not stopped.wait(0.3):
            _reload(emulator, options.file)
            # A server may run for weeks, and nobody here asks what it was called with.
            emulator.calls.clear()
    return 0


def _make_emulator(file: Optional[Path], delay: Optional[float]) -> Emulator:
    if file is not None:
        return Emulator.from_file(file, delay=delay)
    if Path(USUAL_FILE).is_file():
        complain(f"there is a {USUAL_FILE} here, which is not used: --file {USUAL_FILE} serves it")
    return Emulator(default=describe_call, delay=delay or 0.0)


def _welcome(url: str, file: Optional[Path]) -> None:
    print(f"Serving {file or 'a fake of Fetch Hive'} on {url} until stopped (Ctrl-C). For your program:\n")
    # The key of a file is in the file, and is told to nobody.
    print(f"export FETCH_HIVE_API_KEY={TEST_KEY}" + (f"  # or the api_key of {file}" if file else ""))
    print(f"export FETCH_HIVE_BASE_URL={url}\n")
    print(f"The calls are shown on {url[: -len('v1')]}\n", flush=True)


def _reload(emulator: Emulator, file: Optional[Path]) -> None:
    try:
        if emulator.reload():
            complain(f"{file} reloaded")
    except ConfigurationError as exc:
        complain(f"{exc} (what it said before is served on)")


@contextmanager
def stop_on_signal() -> Generator[threading.Event, None, None]:
    """Yield an event that Ctrl-C and SIGTERM set."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what a signal handler is called with
        stopped.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
