"""The blocking shell: sends what the protocol built, waits as long as it says. Decides nothing.

Its twin is `_asyncio.py`: the same names in the same order.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Callable, Optional, TypeVar, cast

from ._protocol.call import NETWORK_ERRORS
from ._protocol.streaming import OPENED
from .errors import FetchHiveError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    import httpx

    from ._net.senders import SharedSender
    from ._protocol.call import Call
    from ._protocol.streaming import EventReader, StreamCall
    from ._protocol.waits import Wait

AnswerT = TypeVar("AnswerT")
EventT = TypeVar("EventT")
T = TypeVar("T")


def run(call: Call[AnswerT], sender: SharedSender) -> AnswerT:
    """Make a call and return its answer."""
    with call.watched():
        return call.finish(_repeat(call, sender, lambda: _answer(call, sender)))


def wait(ask: Callable[[], T], waits: Wait[T], sender: SharedSender) -> T:
    """Look at something that goes on, until it is over, or the client is closed meanwhile."""
    times_closed = sender.pauses.times_closed
    while True:
        try:
            answer = ask()
        except FetchHiveError as error:
            seconds: Optional[float] = waits.after_failure(error)
        else:
            seconds = waits.after_answer(answer)
            if seconds is None:
                return answer
        if not sender.pauses.wait(seconds or 0.0, times_closed):
            raise waits.closed()


def stream(call: StreamCall[EventT, AnswerT], sender: SharedSender, announce: bool) -> Generator[EventT, None, None]:
    """Make a call and yield its events; with `announce`, yield `OPENED` first, as soon as the answer has begun."""
    # A plain function: were it a method of the stream, the generator would keep its stream alive, and the connection
    # open, until the garbage collector came by.
    with call.watched(), call.transcript.recording(), closing(_open(call, sender)) as response:
        if announce:
            yield OPENED
        reader = call.event_reader(response)
        chunks = iter(_chunks(response))
        chunk = b""
        with call.stream_errors():
            try:
                for chunk in chunks:
                    yield from reader.feed(chunk)
                    if reader.is_done:
                        break
                yield from reader.finish()
            finally:
                chunk = b""  # the key may stand in it, and a crash report shows variables
        if reader.is_done and sender.owns_sockets:
            _await_end(reader, chunks)


def _await_end(reader: EventReader[EventT], chunks: Iterator[bytes]) -> None:
    """Read on to the end of the body for a moment: only then can the connection be used again."""
    with suppress(*NETWORK_ERRORS):
        for _ in chunks:
            if reader.is_overdue():
                break


def _repeat(call: Call[AnswerT], sender: SharedSender, work: Callable[[], T]) -> T:
    """Do the work of one attempt, again if the protocol says so and the client has not been closed meanwhile."""
    times_closed = sender.pauses.times_closed
    while True:
        try:
            with call.errors():
                return work()
        except FetchHiveError as error:
            seconds = call.wait_before_retry(error)
            if seconds is None or sender.pauses.times_closed != times_closed:
                raise
        if not sender.pauses.wait(seconds, times_closed):
            raise call.closed()


def _answer(call: Call[AnswerT], sender: SharedSender) -> AnswerT:
    with closing(_attempt(call, sender)) as response:
        _read(call, response)
        return call.parse()


def _open(call: Call[AnswerT], sender: SharedSender) -> httpx.Response:
    return _repeat(call, sender, lambda: _attempt(call, sender))


def _attempt(call: Call[AnswerT], sender: SharedSender) -> httpx.Response:
    response = sender.send(call.begin())
    if call.accept(response):
        return response
    # What has come of a refusal says enough, whatever happens to the rest.
    with closing(response), suppress(FetchHiveError, *NETWORK_ERRORS):
        _read(call, response)
    raise call.refusal()


def _read(call: Call[AnswerT], response: httpx.Response) -> None:
    # A function of its own: a refusal may repeat the key, and is no local variable where the error is raised.
    for chunk in _chunks(response):
        call.read(chunk)


def _chunks(response: httpx.Response) -> Iterable[bytes]:
    # Somebody may have read it before us: an event hook of an injected client, or a fake. Else from the stream itself:
    # iter_raw() would cost each event half a microsecond, to cut and count what we do not want cut or counted.
    return (response.content,) if response.is_stream_consumed else cast("httpx.SyncByteStream", response.stream)
