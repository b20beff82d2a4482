"""The asyncio I/O of calls: sends the requests and waits between retries. `_protocol` makes all decisions.

Its twin is `_blocking.py`: the same names in the same order.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Optional, TypeVar, cast

from ._protocol.call import NETWORK_ERRORS
from ._protocol.streaming import OPENED
from .errors import FetchHiveError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable

    import httpx

    from ._net.senders import AsyncSharedSender
    from ._protocol.call import Call
    from ._protocol.streaming import EventReader, StreamCall
    from ._protocol.waits import Wait

AnswerT = TypeVar("AnswerT")
EventT = TypeVar("EventT")
T = TypeVar("T")


async def run(call: Call[AnswerT], sender: AsyncSharedSender) -> AnswerT:
    """Make a call and return its answer."""
    with call.watched():
        return call.finish(await _repeat(call, sender, lambda: _answer(call, sender)))


async def wait(poll: Callable[[], Awaitable[T]], schedule: Wait[T], sender: AsyncSharedSender) -> T:
    """Poll until the answer is final, and return it. Raises an error if the client is closed meanwhile."""
    times_closed = sender.pauses.times_closed
    while True:
        try:
            answer = await poll()
        except FetchHiveError as error:
            seconds: Optional[float] = schedule.after_failure(error)
        else:
            seconds = schedule.after_answer(answer)
            if seconds is None:
                return answer
        if not await sender.pauses.wait(seconds or 0.0, times_closed):
            raise schedule.closed()


async def stream(
    call: StreamCall[EventT, AnswerT], sender: AsyncSharedSender, announce: bool
) -> AsyncGenerator[EventT, None]:
    """Make a call and yield its events. With `announce`, yield `OPENED` first, when the response has begun."""
    # Not a method of the stream: the generator would refer to the stream, and keep it alive, with its connection open,
    # until the next garbage collection.
    with call.watched(), call.transcript.recording():
        response = await _open(call, sender)
        try:
            if announce:
                yield OPENED
            reader = call.event_reader(response)
            chunks = _chunks(response)
            chunk = b""
            with call.stream_errors():
                try:
                    async for chunk in chunks:
                        for event in reader.feed(chunk):
                            yield event
                        if reader.is_done:
                            break
                    for event in reader.finish():
                        yield event
                finally:
                    chunk = b""  # may contain the key, and crash reports show local variables
            if reader.is_done and sender.owns_sockets:
                await _await_end(reader, chunks)
        finally:
            await response.aclose()


async def _await_end(reader: EventReader[EventT], chunks: AsyncIterator[bytes]) -> None:
    """Wait briefly for the end of the body, so that the connection can be reused."""
    with suppress(*NETWORK_ERRORS):
        async for _ in chunks:
            if reader.is_overdue():
                break


async def _repeat(call: Call[AnswerT], sender: AsyncSharedSender, attempt: Callable[[], Awaitable[T]]) -> T:
    """Make an attempt, and retry it as the protocol decides, unless the client is closed meanwhile."""
    times_closed = sender.pauses.times_closed
    while True:
        try:
            with call.errors():
                return await attempt()
        except FetchHiveError as error:
            seconds = call.wait_before_retry(error)
            if seconds is None or sender.pauses.times_closed != times_closed:
                raise
        if not await sender.pauses.wait(seconds, times_closed):
            raise call.closed()


async def _answer(call: Call[AnswerT], sender: AsyncSharedSender) -> AnswerT:
    response = await _attempt(call, sender)
    try:
        await _read(call, response)
        return call.parse()
    finally:
        await response.aclose()


async def _open(call: Call[AnswerT], sender: AsyncSharedSender) -> httpx.Response:
    return await _repeat(call, sender, lambda: _attempt(call, sender))


async def _attempt(call: Call[AnswerT], sender: AsyncSharedSender) -> httpx.Response:
    response = await sender.send(call.begin())
    if call.accept(response):
        return response
    # The status and the part of the body that was read are enough for the error, even if the rest is lost.
    try:
        with suppress(FetchHiveError, *NETWORK_ERRORS):
            await _read(call, response)
    finally:
        await response.aclose()
    raise call.refusal()


async def _read(call: Call[AnswerT], response: httpx.Response) -> None:
    # A separate function, so that the chunk, which may repeat the key, is not a local variable where errors are raised.
    async for chunk in _chunks(response):
        call.read(chunk)


def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    # An event hook of an injected client, or a fake, may have read the body already. Otherwise the stream is used
    # directly: aiter_raw() splits and counts the bytes, which costs half a microsecond for each event.
    if response.is_stream_consumed:
        return _once(response.content)
    return cast("httpx.AsyncByteStream", response.stream).__aiter__()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
