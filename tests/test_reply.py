"""Replies: their steps, and the body that plays them for both kinds of client."""

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
    """Bytes are sent, pauses are slept, and consecutive pauses are joined."""
    body = ReplyBody([b"a", Pause(1), Pause(2), b"b", b"", b"c", Pause(4)])

    assert read(body) == [b"a", b"b", b"c"]
    assert naps == [3, 4]


@readers
@pytest.mark.parametrize(
    ("fault", "error"), [(Fault.BREAK, httpx.RemoteProtocolError), (Fault.STALL, httpx.ReadTimeout)]
)
def test_fault_raises_an_httpx_error(read, naps, fault, error):
    """The bytes and pauses before a fault are played first."""
    pieces = []

    with pytest.raises(error):
        read(ReplyBody([b"a", Pause(1), fault, b"never"]), pieces)

    assert (pieces, naps) == ([b"a"], [1])


@readers
def test_generator_may_raise(read):
    """The steps can be a generator that raises any error."""

    def steps():
        yield b"a"
        raise AssertionError("not recorded")

    pieces = []
    with pytest.raises(AssertionError, match="not recorded"):
        read(ReplyBody(steps()), pieces)

    assert pieces == [b"a"]


@readers
def test_generator_is_closed_with_the_body(read):
    """A reader that stops early closes the generator."""
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
def test_pause_above_the_limit_raises_at_once(naps, limit):
    """The limit is a number, or an object that knows the remaining time."""
    response = Reply(200, STREAM, [Pause(2), b"a", Pause(2.1), b"b"]).respond(request(read=limit))
    pieces = []

    with pytest.raises(httpx.ReadTimeout):
        read(response.stream, pieces)

    assert (pieces, naps) == ([b"a"], [2])


def test_pace_is_a_pause_between_events():
    """There is no pause before the first event; scripted pauses are added."""
    reply = Reply(200, STREAM, [Pause(5), b"a", b"b", Pause(1), b"c", Fault.BREAK]).paced(2)

    assert list(reply.steps) == [
        Pause(5), b"a", Pause(2), b"b", Pause(2), Pause(1), b"c", Pause(2), Fault.BREAK,
    ]  # fmt: skip


def test_answer_in_one_piece_has_no_pace():
    """Only streams are paced."""
    reply = json_reply(200, {})

    assert reply.paced(5) is reply
    assert reply.respond(request()).is_stream_consumed


def test_compressed_answer_is_not_decompressed():
    """A body with a Content-Encoding is passed through unchanged."""
    response = Reply(200, {"Content-Encoding": "gzip"}, [b"packed"]).respond(request())

    assert b"".join(response.iter_raw()) == b"packed"
