"""Replaying: answers as they were recorded, and an error for what was not."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

import httpx
import pytest

from fetch_hive_sdk import (
    ConfigurationError,
    FetchHive,
    NotFoundError,
    RateLimitError,
    StreamFailedError,
    StreamInterruptedError,
)
from fetch_hive_sdk.testing import UnrecordedCallError, replay

PATH = "/prompt/invoke"


@pytest.fixture
def write(tmp_path):
    """Write a cassette from pairs of what was asked and what was answered; return the file."""

    def write(*calls):
        written = [
            {
                "request": {"method": "POST", "path": PATH, "body": {**asked, "streaming": "events" in answer}},
                "response": answer,
            }
            for asked, answer in calls
        ]
        file = tmp_path / "c.json"
        file.write_text(json.dumps({"fetch_hive_cassette": 1, "calls": written}), "utf-8")
        return file

    return write


def whole(text, **further):
    return {"status": 200, "headers": {"content-type": "application/json"}, "body": {"response": text}, **further}


def events(*texts, step=0.0, **further):
    said = [{"type": "response", "response": text} for text in texts]
    said += [] if further else [{"type": "usage", "usage": {"total_tokens": 3}}]
    timed = [{"at": number * step, "event": event} for number, event in enumerate(said)]
    return {"status": 200, "headers": {"content-type": "text/event-stream"}, "events": timed, **further}


def test_answers_as_recorded(drive, write):
    """Answers, streams and refusals come again, in any order, blocking and asyncio."""
    refusal = {"status": 404, "headers": {}, "body": {"error": "no such thing"}}
    file = write(
        ({"deployment": "a"}, whole("A.")), ({"deployment": "b"}, events("B", ".")), ({"deployment": "c"}, refusal)
    )
    client = replay(file).client()

    with pytest.raises(NotFoundError, match="no such thing"):
        drive.invoke(client, deployment="c")
    assert drive.collect(client, deployment="b").response == "B."
    assert drive.invoke(client, deployment="a").response == "A."


def test_answers_wherever_the_service_was(write):
    """The base URL is no part of a recording."""
    client = replay(write(({"deployment": "a"}, whole("A.")))).client(base_url="https://x.test/some/gateway")

    assert client.invoke_prompt(deployment="a").response == "A."


def test_answers_identical_calls_in_their_order(drive, write):
    """The same call is answered as the first time, then as the second, then not any more."""
    cassette = replay(write(({"deployment": "a"}, whole("1.")), ({"deployment": "a"}, whole("2."))))
    client = cassette.client()

    assert [drive.invoke(client, deployment="a").response for _ in range(2)] == ["1.", "2."]
    with pytest.raises(UnrecordedCallError, match=r"recorded 2 times .* but made more often"):
        drive.invoke(client, deployment="a")


def test_repeats_the_last_answer_if_told_to(drive, write):
    """With `repeat`, the last answer is given again and again."""
    client = replay(write(({"deployment": "a"}, whole("1.")), ({"deployment": "a"}, whole("2."))), repeat=True).client()

    assert [drive.invoke(client, deployment="a").response for _ in range(4)] == ["1.", "2.", "2.", "2."]


def test_refuses_what_was_not_recorded(drive, write):
    """A call that is not in the file fails the test, and shows the nearest call field by field."""
    inputs = {"text": "A long text, " * 20 + "the end.", "n": 1, "list": ["x", "y"]}
    file = write(
        ({"deployment": "other"}, whole("O.")), ({"deployment": "d", "inputs": inputs, "user": "ada"}, whole("A."))
    )
    cassette = replay(file)
    changed = {**inputs, "text": "A long text, " * 20 + "the END.", "n": True, "list": ["x"]}

    with pytest.raises(UnrecordedCallError) as caught:
        drive.invoke(cassette.client(), deployment="d", inputs=changed, variant="v")

    expected = f"""\
POST /v1{PATH}: this call was not recorded in {file}. Call 2 is the most similar:
  inputs.text: recorded ...t, A long text, the end.", now ...t, A long text, the END."
  inputs.n: recorded 1, now true
  inputs.list[1]: recorded "y", now missing
  user: recorded "ada", now missing
  variant: not recorded, now "v\""""
    assert str(caught.value) == expected
    assert cassette.mistakes == [str(caught.value)]


def test_tells_a_stream_from_an_answer_in_one_piece(drive, write):
    """What was recorded as the one is not given as the other."""
    with pytest.raises(UnrecordedCallError, match="streaming: recorded true, now false"):
        drive.invoke(replay(write(({"deployment": "a"}, events("A.")))).client(), deployment="a")


def test_refuses_all_where_nothing_was_recorded(drive, write):
    """An empty cassette has an error, too."""
    with pytest.raises(UnrecordedCallError, match=r"the cassette .* is empty"):
        drive.invoke(replay(write()).client(), deployment="a")


def test_is_an_error_although_it_was_swallowed(write):
    """Used as a block, a cassette fails at its end for calls whose errors the code under test has eaten."""

    def careless(client):
        with suppress(Exception):
            client.invoke_prompt(deployment="b")

    with (
        pytest.raises(UnrecordedCallError, match="deployment"),
        replay(write(({"deployment": "a"}, whole("A.")))) as tape,
    ):
        careless(tape.client())


def test_does_not_hide_another_error(write):
    """The error of the block is the one that counts."""
    cassette = replay(write())
    cassette.mistakes.append("something")

    with pytest.raises(KeyError), cassette:
        raise KeyError("mine")


def test_tells_what_nobody_has_asked_for(write):
    """What is left is told, as it was asked."""
    with replay(write(({"deployment": "a"}, whole("A.")), ({"deployment": "b"}, whole("B.")))) as cassette:
        cassette.client().invoke_prompt(deployment="b")

    assert cassette.unplayed == [{"deployment": "a", "streaming": False}]


def test_compares_what_redact_leaves(drive, write):
    """With the function that the recording had, other values are the same call."""
    file = write(({"deployment": "a", "inputs": {"name": "somebody"}}, whole("A.")))

    client = replay(file, redact=lambda request: {**request, "inputs": {"name": "somebody"}}).client()

    assert drive.invoke(client, deployment="a", inputs={"name": "Ada"}).response == "A."


def test_refuses_to_go_on_where_a_stream_was_left(drive, write):
    """A stream that was left early is the same until there; what came then, nobody knows."""
    left = events("A", "B", ended="left")
    cassette = replay(write(({"deployment": "a"}, left), ({"deployment": "a"}, left)))
    client = cassette.client()

    assert [event.response for event in drive.leave(client, 2, deployment="a")] == ["A", "B"]
    with pytest.raises(UnrecordedCallError, match="reader stopped here"):
        drive.collect(client, deployment="a")


def test_breaks_where_the_stream_broke(drive, write):
    """A recorded failure happens again."""
    client = replay(write(({"deployment": "a"}, events("A", ended="broken")))).client()

    with pytest.raises(StreamInterruptedError) as caught:
        drive.collect(client, deployment="a")

    assert caught.value.partial.text == "A"


def test_comes_at_once_unless_told_otherwise(drive, write):
    """A recording of an hour takes no time."""
    client = replay(write(({"deployment": "a"}, events("A", "B", step=3600.0)))).client()

    assert drive.text(client, deployment="a") == ["A", "B"]


@pytest.mark.parametrize("answer", [whole("AB", at=0.2), events("A", "B", step=0.1)])
def test_comes_as_slowly_as_it_was_recorded(drive, write, answer):
    """With `pace=1`, an answer takes its time."""
    client = replay(write(({"deployment": "a"}, answer)), pace=1).client()
    begun = time.monotonic()

    text = drive.collect(client, deployment="a") if "events" in answer else drive.invoke(client, deployment="a")

    assert text.response == "AB"
    assert time.monotonic() - begun >= 0.19


def test_waits_without_stopping_the_event_loop(write):
    """Two slow streams at once take the time of one."""
    slow = events("A", "B", step=0.3)
    client = replay(write(({"deployment": "a"}, slow), ({"deployment": "b"}, slow)), pace=1).client()
    order = []

    async def read(deployment):
        async for piece in client.ainvoke_prompt_stream(deployment=deployment).text():
            order.append(piece)  # noqa: PERF401 - at once, for the order is what it is about

    async def main():
        await asyncio.gather(read("a"), read("b"))

    asyncio.run(main())

    assert order == ["A", "A", "B", "B"]


@pytest.mark.parametrize("pace", [-1, float("nan")])
def test_refuses_a_pace_that_cannot_be(write, pace):
    """Time does not run backwards."""
    with pytest.raises(ValueError, match="pace"):
        replay(write(), pace=pace)


def test_says_that_there_is_no_cassette(tmp_path):
    """A file that is not there is a mistake of the setup."""
    with pytest.raises(ConfigurationError, match="cannot read"):
        replay(tmp_path / "missing.json")


def test_is_a_handler_for_httpx(write):
    """Whatever takes an `httpx.MockTransport` can be answered from a cassette."""
    cassette = replay(write(({"deployment": "a"}, whole("caf\u00e9"))))

    with httpx.Client(transport=httpx.MockTransport(cassette.handle)) as client:
        answer = client.post(f"https://x.test/v1{PATH}", json={"streaming": False, "deployment": "a"})

    assert answer.json() == {"response": "caf\u00e9"}


def test_serves_on_a_port(write):
    """A program that makes its own client is answered, too."""
    calls = [
        ({"deployment": "a"}, whole("A.")),
        ({"deployment": "b"}, events("B.")),
        ({"deployment": "c"}, {"status": 429, "body": {}}),
    ]

    with replay(write(*calls)).serve() as url, FetchHive("any", url, max_retries=0) as client:
        assert client.invoke_prompt(deployment="a").response == "A."
        assert client.invoke_prompt_stream(deployment="b").collect().response == "B."
        with pytest.raises(RateLimitError):
            client.invoke_prompt(deployment="c")


def test_says_on_a_port_what_was_not_recorded(write):
    """A client of any language is told by a refusal; the block is an error at its end, whatever the client did."""
    cassette = replay(write(({"deployment": "a"}, whole("A."))))

    def refused(client):
        with pytest.raises(NotFoundError, match="this call was not recorded") as caught:
            client.invoke_prompt(deployment="b")
        assert caught.value.error_code == "unrecorded_call"

    with (
        pytest.raises(UnrecordedCallError, match="deployment"),
        cassette.serve() as url,
        FetchHive("any", url) as client,
    ):
        refused(client)


@pytest.mark.parametrize("status", [200, 204, 502])
def test_ends_an_empty_answer_on_a_port(write, status):
    """A client does not wait for a body that is empty, and can use its connection again."""
    empty = {"status": status, "headers": {}, "text": ""}
    cassette = replay(write(({"deployment": "a"}, empty)), repeat=True)
    asked = {"deployment": "a", "streaming": False}

    with cassette.serve() as url, httpx.Client(timeout=30) as client:
        answers = [client.post(f"{url}{PATH}", json=asked) for _ in range(2)]

    assert [(answer.status_code, answer.content) for answer in answers] == [(status, b"")] * 2


def test_breaks_on_a_port(write, capfd):
    """A stream that broke is a broken connection there, and nothing on stderr."""
    cassette = replay(write(({"deployment": "a"}, events("A", ended="broken"))))

    with cassette.serve() as url, FetchHive("any", url) as client, pytest.raises(StreamInterruptedError):
        client.invoke_prompt_stream(deployment="a").collect()

    assert capfd.readouterr().err == ""


def test_lets_a_stream_be_left_on_a_port(drive, write):
    """To leave a stream where it was left is no mistake there either; who reads on is told by an event."""
    left = events("A", ended="left")
    cassette = replay(write(({"deployment": "a"}, left), ({"deployment": "a"}, left)))

    with cassette.serve() as url:
        first = drive.leave(FetchHive("any", url), 1, deployment="a")
        with pytest.raises(StreamFailedError, match="reader stopped here") as caught:
            drive.collect(FetchHive("any", url), deployment="a")

    assert [event.response for event in first] == [caught.value.partial.text] == ["A"]
