"""`fetch-hive serve`: serves a fake of the API until stopped."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._text import in_one_line
from fetch_hive_sdk.emulator import Emulator
from fetch_hive_sdk.testing import TEST_KEY, Answer

from ._terminal import complain

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from fetch_hive_sdk import InvokeRequest

DEFAULT_FILE = "fetch-hive.toml"
_MOST_REPORTS = 100

EPILOG = """\
examples:
  fetch-hive serve
  fetch-hive serve --file fetch-hive.toml --port 8765

exit codes:
  0  stopped          2  invalid argument or file
  1  the port is in use
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "serve",
        help="serve a fake of the API on this machine",
        description="Serve a fake of the API on a loopback port until stopped, with a page that shows the calls.\n"
        "Any deployment answers with a description of the call. With --file, only the deployments\n"
        "of the file answer, as described there.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="a TOML file of deployments; reloaded when it changes"
    )
    parser.add_argument("--port", type=port, default=0, help="the port; default: a free one")
    parser.add_argument(
        "--delay", type=seconds, metavar="SECONDS", help="seconds between the events of a stream; default: 0"
    )
    parser.set_defaults(run=run)


def port(text: str) -> int:
    """Parse a port. argparse reports "invalid port value" for other strings."""
    number = int(text)
    if not 0 <= number <= 65535:  # noqa: PLR2004 - the highest port
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return number


def seconds(text: str) -> float:
    """Parse a delay. argparse reports "invalid seconds value" for other strings."""
    delay = float(text)
    if not 0 <= delay <= 3600:  # noqa: PLR2004 - an hour
        raise argparse.ArgumentTypeError("must be from 0 to 3600 seconds")
    return delay


def describe_call(request: InvokeRequest) -> Answer:
    """Answer with a description of the call."""
    variant = f" (variant {request.variant})" if request.variant else ""
    inputs = json.dumps(dict(request.inputs), ensure_ascii=False)
    return Answer(
        f"{request.deployment}{variant} was called with {inputs}.",
        reasoning="This fake service describes the call.",
        model="fake-model",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until the process is stopped; return the exit code."""
    try:
        emulator = _make_emulator(options.file, options.delay)
    except ConfigurationError as exc:
        complain(in_one_line(str(exc)))
        return 2
    with ExitStack() as stack:
        stopped = stack.enter_context(stop_on_signal())
        try:
            url = stack.enter_context(emulator.serve(options.port, page=True))
        except OSError as exc:
            complain(f"cannot serve on port {options.port}: {exc.strerror}")
            return 1
        _welcome(url, options.file)
        reported: set[str] = set()
        # With a timeout, to reload the file, and because waiting without one blocks signals on some systems.
        while not stopped.wait(0.3):
            _reload(emulator, options.file)
            # Nothing here reads the recorded calls, and a server may run for weeks.
            emulator.calls.clear()
            _report_wrong_urls(emulator, reported)
    return 0


def _make_emulator(file: Optional[Path], delay: Optional[float]) -> Emulator:
    if file is not None:
        return Emulator.from_file(file, delay=delay)
    if Path(DEFAULT_FILE).is_file():
        complain(f"{DEFAULT_FILE} is ignored: to serve it, pass --file {DEFAULT_FILE}")
    return Emulator(default=describe_call, delay=delay or 0.0)


def _welcome(url: str, file: Optional[Path]) -> None:
    print(f"Serving {file or 'a fake of Fetch Hive'} on {url} until stopped (Ctrl-C). For your program:\n")
    # Do not print the key of the file.
    print(f"export FETCH_HIVE_API_KEY={TEST_KEY}" + (f"  # or the api_key of {file}" if file else ""))
    print(f"export FETCH_HIVE_BASE_URL={url}\n")
    print(f"The calls are shown on {url[: -len('v1')]}\n", flush=True)


def _reload(emulator: Emulator, file: Optional[Path]) -> None:
    try:
        if emulator.reload():
            complain(f"{file} reloaded")
    except ConfigurationError as exc:
        complain(in_one_line(f"{exc} (still serving its previous content)"))


def _report_wrong_urls(emulator: Emulator, reported: set[str]) -> None:
    """Report calls of unknown paths, each path once: the client's base URL is probably wrong."""
    wrong, emulator.wrong_urls = emulator.wrong_urls, []
    for message in dict.fromkeys(wrong):
        if message not in reported and len(reported) < _MOST_REPORTS:
            reported.add(message)
            complain(in_one_line(message))


@contextmanager
def stop_on_signal() -> Generator[threading.Event, None, None]:
    """Yield an event that is set by Ctrl-C or SIGTERM."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
        stopped.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
