"""A reply: its steps, and the one body that plays them for both kinds of client."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from fetch_hive_sdk.testing import Fault
from fetch_hive_sdk.testing._reply import Pause, Reply, ReplyBody, json_reply

STREAM = {"Content-Type": "text/event-stream"}


def request(**timeout):
    return httpx.Request("POST", "https://x.test", extensions={"timeout": timeout})


def read(body, into=None):
    pieces = [] if into is None else into
    pieces.extend(body)
    return pieces


def aread(body, into=None):
    pieces = [] if into is None else into

    async def main():
        async for piece in body:
            pieces.append(piece)

    asyncio.run(main())
    return pieces


readers = pytest.mark.parametrize("read", [read, aread], ids=["blocking", "asyncio"])


@pytest.fixture
def naps(monkeypatch):
    naps = []

    async def nap(seconds):
        naps.append(seconds)

    monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr(asyncio, "sleep", nap)
    return naps


@readers
def test_steps_are_played_in_order(read, naps):
    """Bytes come as they are, pauses are waits, and several in a row are one."""
    body = ReplyBody([b"a", Pause(1), Pause(2), b"b", b"", b"c", Pause(4)])

    assert read(body) == [b"a", b"b", b"c"]
    assert naps == [3, 4]


@readers
@pytest.mark.parametrize(
    ("fault", "error"), [(Fault.BREAK, httpx.RemoteProtocolError), (Fault.STALL, httpx.ReadTimeout)]
)
def test_a_fault_is_an_error_of_httpx(read, naps, fault, error):
    """What came before a fault has been read, and its wait is over."""
    pieces = []

    with pytest.raises(error):
        read(ReplyBody([b"a", Pause(1), fault, b"never"]), pieces)

    assert (pieces, naps) == ([b"a"], [1])


@readers
def test_a_generator_may_raise(read):
    """Steps that are found out as they are played may end in any error."""

    def steps():
        yield b"a"
        raise AssertionError("not recorded")

    pieces = []
    with pytest.raises(AssertionError, match="not recorded"):
        read(ReplyBody(steps()), pieces)

    assert pieces == [b"a"]


@readers
def test_a_generator_is_closed_with_the_body(read):
    """A reader that leaves ends the generator, and what it holds is given back."""
    ended = []

    def steps():
        try:
            yield b"a"
            yield b"b"
        finally:
            ended.append(True)

    body = ReplyBody(steps())
    if read is aread:

        async def leave():
            pieces = body.__aiter__()
            await pieces.__anext__()
            await pieces.aclose()

        asyncio.run(leave())
    else:
        pieces = iter(body)
        next(pieces)
        pieces.close()

    assert ended == [True]


@pytest.mark.parametrize("limit", [2, type("Left", (), {"left": lambda self: 2})()])
def test_a_silence_longer_than_the_limit_is_a_timeout_at_once(naps, limit):
    """The limit is a number, or an object that knows what is left."""
    response = Reply(200, STREAM, [Pause(2), b"a", Pause(2.1), b"b"]).respond(request(read=limit))
    pieces = []

    with pytest.raises(httpx.ReadTimeout):
        read(response.stream, pieces)

    assert (pieces, naps) == ([b"a"], [2])


def test_a_pace_goes_between_events():
    """A pace is no pause before the first event; a scripted pause comes on top of it."""
    reply = Reply(200, STREAM, [Pause(5), b"a", b"b", Pause(1), b"c", Fault.BREAK]).paced(2)

    assert list(reply.steps) == [
        Pause(5), b"a", Pause(2), b"b", Pause(2), Pause(1), b"c", Pause(2), Fault.BREAK,
    ]  # fmt: skip


def test_an_answer_in_one_piece_has_no_pace():
    """A pace is for events."""
    reply = json_reply(200, {})

    assert reply.paced(5) is reply
    assert reply.respond(request()).is_stream_consumed


def test_a_compressed_answer_is_passed_on_as_it_is():
    """Bytes that a header calls compressed are not unpacked on their way."""
    response = Reply(200, {"Content-Encoding": "gzip"}, [b"packed"]).respond(request())

    assert b"".join(response.iter_raw()) == b"packed"
