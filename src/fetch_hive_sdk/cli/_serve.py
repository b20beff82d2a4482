"""`fetch-hive serve`: a service for your own program to talk to, until it is stopped."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Callable

from fetch_hive_sdk.testing import TEST_KEY, Answer, FakeServer

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from fetch_hive_sdk import InvokeRequest


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "serve",
        help="serve a fake of the API on this machine",
        description="Serve a fake of the API on a loopback port until stopped. "
        "Any deployment answers by telling what it was asked.",
    )
    parser.add_argument("--port", type=port, default=0, help="the port; a free one if not given")
    parser.add_argument("--delay", type=seconds, default=0.0, help="seconds between two events of a stream")
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


def tell(request: InvokeRequest) -> Answer:
    """Answer by telling what was asked."""
    variant = f" (variant {request.variant})" if request.variant else ""
    inputs = json.dumps(dict(request.inputs), ensure_ascii=False)
    return Answer(
        f"{request.deployment}{variant} was asked with {inputs}.",
        reasoning="This is a fake: it tells what it was asked.",
        model="fake-model",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until the process is told to stop; return the exit code."""
    fake = FakeServer(tell, delay=options.delay)
    with ExitStack() as stack:
        stopped = stack.enter_context(told_to_stop())
        try:
            url = stack.enter_context(fake.serve(options.port))
        except OSError as exc:
            print(f"fetch-hive: cannot serve on port {options.port}: {exc.strerror}", file=sys.stderr)
            return 1
        print(f"Serving a fake of Fetch Hive on {url} until stopped (Ctrl-C). For your program:\n")
        print(f"export FETCH_HIVE_API_KEY={TEST_KEY}\nexport FETCH_HIVE_BASE_URL={url}\n", flush=True)
        # In short waits: on some systems a wait without end hears no signals.
        while not stopped.wait(0.2):
            pass
    return 0


@contextmanager
def told_to_stop() -> Generator[threading.Event, None, None]:
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
