"""The blocking shell: sends what the protocol built, waits as long as it says. Decides nothing.

Its twin is `_asyncio.py`: the same names in the same order.
"""

from __future__ import annotations

import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, cast

from ._events import OPENED, EventReader
from ._protocol import NETWORK_ERRORS, Call
from .errors import FetchHiveError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    import httpx

    from ._pool import Connections
    from .models import InvokeResponse, ReceivedT, StreamEvent


def run(call: Call[ReceivedT], connections: Connections) -> ReceivedT:
    """Make a call and return its answer."""
    with closing(_open(call, connections)) as response, call.errors():
        _read(call, response)
        return call.parse()


def stream(call: Call[InvokeResponse], connections: Connections, announce: bool) -> Generator[StreamEvent, None, None]:
    """Make a call and yield its events; with `announce`, yield `OPENED` first, as soon as the answer has begun."""
    # A plain function: were it a method of the stream, the generator would keep its stream alive, and the connection
    # open, until the garbage collector came by.
    with call.transcript.recording(), closing(_open(call, connections)) as response:
        if announce:
            yield OPENED
        reader = call.event_reader(response)
        chunks = iter(_chunks(response))
        with call.stream_errors():
            for chunk in chunks:
                yield from reader.feed(chunk)
                if reader.is_done:
                    break
            yield from reader.finish()
        if reader.is_done and connections.keep_time:
            _await_end(reader, chunks)


def _await_end(reader: EventReader, chunks: Iterator[bytes]) -> None:
    """Read on to the end of the body for a moment: only then can the connection be used again."""
    with suppress(*NETWORK_ERRORS):
        for _ in chunks:
            if reader.is_overdue():
                break


def _open(call: Call[ReceivedT], connections: Connections) -> httpx.Response:
    """Send the request, again if the protocol says so, until there is an answer to read."""
    while True:
        try:
            with call.errors():
                return _attempt(call, connections)
        except FetchHiveError as error:
            seconds = call.wait_before_retry(error)
            if seconds is None:
                raise
        time.sleep(seconds)


def _attempt(call: Call[ReceivedT], connections: Connections) -> httpx.Response:
    response = connections.send(call.begin())
    if call.accept(response):
        return response
    # What has come of a refusal says enough, whatever happens to the rest.
    with closing(response), suppress(FetchHiveError, *NETWORK_ERRORS):
        _read(call, response)
    raise call.refusal()


def _read(call: Call[ReceivedT], response: httpx.Response) -> None:
    # A function of its own: a refusal may repeat the key, and is no local variable where the error is raised.
    for chunk in _chunks(response):
        call.read(chunk)


def _chunks(response: httpx.Response) -> Iterable[bytes]:
    # Somebody may have read it before us: an event hook of an injected client, or a fake. Else from the stream itself:
    # iter_raw() would cost each event half a microsecond, to cut and count what we do not want cut or counted.
    return (response.content,) if response.is_stream_consumed else cast("httpx.SyncByteStream", response.stream)
