"""The blocking I/O of calls: sends the requests and waits between retries. `_protocol` makes all decisions.

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


def wait(poll: Callable[[], T], schedule: Wait[T], sender: SharedSender) -> T:
    """Poll until the answer is final, and return it. Raises an error if the client is closed meanwhile."""
    times_closed = sender.pauses.times_closed
    while True:
        try:
            answer = poll()
        except FetchHiveError as error:
            seconds: Optional[float] = schedule.after_failure(error)
        else:
            seconds = schedule.after_answer(answer)
            if seconds is None:
                return answer
        if not sender.pauses.wait(seconds or 0.0, times_closed):
            raise schedule.closed()


def stream(call: StreamCall[EventT, AnswerT], sender: SharedSender, announce: bool) -> Generator[EventT, None, None]:
    """Make a call and yield its events. With `announce`, yield `OPENED` first, when the response has begun."""
    # Not a method of the stream: the generator would refer to the stream, and keep it alive, with its connection open,
    # until the next garbage collection.
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
                chunk = b""  # may contain the key, and crash reports show local variables
        if reader.is_done and sender.owns_sockets:
            _await_end(reader, chunks)


def _await_end(reader: EventReader[EventT], chunks: Iterator[bytes]) -> None:
    """Wait briefly for the end of the body, so that the connection can be reused."""
    with suppress(*NETWORK_ERRORS):
        for _ in chunks:
            if reader.is_overdue():
                break


def _repeat(call: Call[AnswerT], sender: SharedSender, attempt: Callable[[], T]) -> T:
    """Make an attempt, and retry it as the protocol decides, unless the client is closed meanwhile."""
    times_closed = sender.pauses.times_closed
    while True:
        try:
            with call.errors():
                return attempt()
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
    # The status and the part of the body that was read are enough for the error, even if the rest is lost.
    with closing(response), suppress(FetchHiveError, *NETWORK_ERRORS):
        _read(call, response)
    raise call.refusal()


def _read(call: Call[AnswerT], response: httpx.Response) -> None:
    # A separate function, so that the chunk, which may repeat the key, is not a local variable where errors are raised.
    for chunk in _chunks(response):
        call.read(chunk)


def _chunks(response: httpx.Response) -> Iterable[bytes]:
    # An event hook of an injected client, or a fake, may have read the body already. Otherwise the stream is used
    # directly: iter_raw() splits and counts the bytes, which costs half a microsecond for each event.
    return (response.content,) if response.is_stream_consumed else cast("httpx.SyncByteStream", response.stream)
