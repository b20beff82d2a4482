"""The asyncio shell: sends what the protocol built, waits as long as it says. Decides nothing.

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


async def wait(ask: Callable[[], Awaitable[T]], waits: Wait[T], sender: AsyncSharedSender) -> T:
    """Look at something that goes on, until it is over, or the client is closed meanwhile."""
    times_closed = sender.pauses.times_closed
    while True:
        try:
            answer = await ask()
        except FetchHiveError as error:
            seconds: Optional[float] = waits.after_failure(error)
        else:
            seconds = waits.after_answer(answer)
            if seconds is None:
                return answer
        if not await sender.pauses.wait(seconds or 0.0, times_closed):
            raise waits.closed()


async def stream(
    call: StreamCall[EventT, AnswerT], sender: AsyncSharedSender, announce: bool
) -> AsyncGenerator[EventT, None]:
    """Make a call and yield its events; with `announce`, yield `OPENED` first, as soon as the answer has begun."""
    # A plain function: were it a method of the stream, the generator would keep its stream alive, and the connection
    # open, until the garbage collector came by.
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
                    chunk = b""  # the key may stand in it, and a crash report shows variables
            if reader.is_done and sender.owns_sockets:
                await _await_end(reader, chunks)
        finally:
            await response.aclose()


async def _await_end(reader: EventReader[EventT], chunks: AsyncIterator[bytes]) -> None:
    """Read on to the end of the body for a moment: only then can the connection be used again."""
    with suppress(*NETWORK_ERRORS):
        async for _ in chunks:
            if reader.is_overdue():
                break


async def _repeat(call: Call[AnswerT], sender: AsyncSharedSender, work: Callable[[], Awaitable[T]]) -> T:
    """Do the work of one attempt, again if the protocol says so and the client has not been closed meanwhile."""
    times_closed = sender.pauses.times_closed
    while True:
        try:
            with call.errors():
                return await work()
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
    # What has come of a refusal says enough, whatever happens to the rest.
    try:
        with suppress(FetchHiveError, *NETWORK_ERRORS):
            await _read(call, response)
    finally:
        await response.aclose()
    raise call.refusal()


async def _read(call: Call[AnswerT], response: httpx.Response) -> None:
    # A function of its own: a refusal may repeat the key, and is no local variable where the error is raised.
    async for chunk in _chunks(response):
        call.read(chunk)


def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    # Somebody may have read it before us: an event hook of an injected client, or a fake. Else from the stream itself:
    # aiter_raw() would cost each event half a microsecond, to cut and count what we do not want cut or counted.
    if response.is_stream_consumed:
        return _once(response.content)
    return cast("httpx.AsyncByteStream", response.stream).__aiter__()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
