"""Replaying recorded answers, and errors for other calls."""

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
    """Write a cassette from pairs of a request and an answer; return the file."""

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
    sent = [{"type": "response", "response": text} for text in texts]
    sent += [] if further else [{"type": "usage", "usage": {"total_tokens": 3}}]
    timed = [{"at": number * step, "event": event} for number, event in enumerate(sent)]
    return {"status": 200, "headers": {"content-type": "text/event-stream"}, "events": timed, **further}


def test_returns_recorded_answers(drive, write):
    """Answers, streams and errors are replayed in any order, blocking and asyncio."""
    refusal = {"status": 404, "headers": {}, "body": {"error": "no such thing"}}
    file = write(
        ({"deployment": "a"}, whole("A.")), ({"deployment": "b"}, events("B", ".")), ({"deployment": "c"}, refusal)
    )
    client = replay(file).client()

    with pytest.raises(NotFoundError, match="no such thing"):
        drive.invoke(client, deployment="c")
    assert drive.collect(client, deployment="b").response == "B."
    assert drive.invoke(client, deployment="a").response == "A."


def test_base_url_is_not_compared(write):
    """Recordings do not contain the base URL."""
    client = replay(write(({"deployment": "a"}, whole("A.")))).client(base_url="https://x.test/some/gateway")

    assert client.invoke_prompt(deployment="a").response == "A."


def test_identical_calls_are_answered_in_order(drive, write):
    """Identical calls get their answers in the recorded order. One more call is an error."""
    cassette = replay(write(({"deployment": "a"}, whole("1.")), ({"deployment": "a"}, whole("2."))))
    client = cassette.client()

    assert [drive.invoke(client, deployment="a").response for _ in range(2)] == ["1.", "2."]
    with pytest.raises(UnrecordedCallError, match=r"recorded 2 times .* but made more often"):
        drive.invoke(client, deployment="a")


def test_repeat_returns_the_last_answer(drive, write):
    """With `repeat`, the last answer is returned again and again."""
    client = replay(write(({"deployment": "a"}, whole("1.")), ({"deployment": "a"}, whole("2."))), repeat=True).client()

    assert [drive.invoke(client, deployment="a").response for _ in range(4)] == ["1.", "2.", "2.", "2."]


def test_rejects_unrecorded_calls(drive, write):
    """The error shows how the call differs from the most similar one."""
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


def test_stream_and_answer_are_different_calls(drive, write):
    """A recorded stream is not returned to a call without streaming."""
    with pytest.raises(UnrecordedCallError, match="streaming: recorded true, now false"):
        drive.invoke(replay(write(({"deployment": "a"}, events("A.")))).client(), deployment="a")


def test_empty_cassette_rejects_all_calls(drive, write):
    """An empty cassette has an error message of its own."""
    with pytest.raises(UnrecordedCallError, match=r"the cassette .* is empty"):
        drive.invoke(replay(write()).client(), deployment="a")


def test_swallowed_error_is_raised_at_the_end(write):
    """At the end of a block, errors that the tested code has swallowed are raised."""

    def careless(client):
        with suppress(Exception):
            client.invoke_prompt(deployment="b")

    with (
        pytest.raises(UnrecordedCallError, match="deployment"),
        replay(write(({"deployment": "a"}, whole("A.")))) as tape,
    ):
        careless(tape.client())


def test_error_of_the_block_takes_precedence(write):
    """An error raised in the block is not replaced."""
    cassette = replay(write())
    cassette.mistakes.append("something")

    with pytest.raises(KeyError), cassette:
        raise KeyError("mine")


def test_lists_unplayed_calls(write):
    """`unplayed` has the requests that were not made."""
    with replay(write(({"deployment": "a"}, whole("A.")), ({"deployment": "b"}, whole("B.")))) as cassette:
        cassette.client().invoke_prompt(deployment="b")

    assert cassette.unplayed == [{"deployment": "a", "streaming": False}]


def test_compares_redacted_requests(drive, write):
    """With `redact`, redacted fields are not compared."""
    file = write(({"deployment": "a", "inputs": {"name": "somebody"}}, whole("A.")))

    client = replay(file, redact=lambda request: {**request, "inputs": {"name": "somebody"}}).client()

    assert drive.invoke(client, deployment="a", inputs={"name": "Ada"}).response == "A."


def test_incomplete_stream_raises_at_its_end(drive, write):
    """A stream whose reader stopped early is replayed up to there. Reading on is an error."""
    left = events("A", "B", ended="left")
    cassette = replay(write(({"deployment": "a"}, left), ({"deployment": "a"}, left)))
    client = cassette.client()

    assert [event.response for event in drive.leave(client, 2, deployment="a")] == ["A", "B"]
    with pytest.raises(UnrecordedCallError, match="reader stopped here"):
        drive.collect(client, deployment="a")


def test_broken_stream_breaks_again(drive, write):
    """A recorded failure is replayed."""
    client = replay(write(({"deployment": "a"}, events("A", ended="broken")))).client()

    with pytest.raises(StreamInterruptedError) as caught:
        drive.collect(client, deployment="a")

    assert caught.value.partial.text == "A"


def test_replays_at_once_by_default(drive, write):
    """A recording of an hour takes no time."""
    client = replay(write(({"deployment": "a"}, events("A", "B", step=3600.0)))).client()

    assert drive.text(client, deployment="a") == ["A", "B"]


@pytest.mark.parametrize("answer", [whole("AB", at=0.2), events("A", "B", step=0.1)])
def test_pace_replays_the_recorded_times(drive, write, answer):
    """With `pace=1`, an answer takes the recorded time."""
    client = replay(write(({"deployment": "a"}, answer)), pace=1).client()
    begun = time.monotonic()

    text = drive.collect(client, deployment="a") if "events" in answer else drive.invoke(client, deployment="a")

    assert text.response == "AB"
    assert time.monotonic() - begun >= 0.19


def test_pace_does_not_block_the_event_loop(write):
    """Two concurrent slow streams take the time of one."""
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
def test_rejects_negative_pace(write, pace):
    """The pace must be 0 or more."""
    with pytest.raises(ValueError, match="pace"):
        replay(write(), pace=pace)


def test_missing_cassette_is_an_error(tmp_path):
    """A missing file is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match="cannot read"):
        replay(tmp_path / "missing.json")


def test_is_a_handler_for_httpx(write):
    """`handle` works with `httpx.MockTransport`."""
    cassette = replay(write(({"deployment": "a"}, whole("caf\u00e9"))))

    with httpx.Client(transport=httpx.MockTransport(cassette.handle)) as client:
        answer = client.post(f"https://x.test/v1{PATH}", json={"streaming": False, "deployment": "a"})

    assert answer.json() == {"response": "caf\u00e9"}


def test_serves_on_a_port(write):
    """A program with its own client gets the answers on a port."""
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


def test_unrecorded_call_on_a_port_is_a_404(write):
    """Clients in any language get the message in a 404, and the block raises it at its end."""
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
def test_empty_answer_on_a_port_ends(write, status):
    """A client does not wait for an empty body, and can reuse the connection."""
    empty = {"status": status, "headers": {}, "text": ""}
    cassette = replay(write(({"deployment": "a"}, empty)), repeat=True)
    asked = {"deployment": "a", "streaming": False}

    with cassette.serve() as url, httpx.Client(timeout=30) as client:
        answers = [client.post(f"{url}{PATH}", json=asked) for _ in range(2)]

    assert [(answer.status_code, answer.content) for answer in answers] == [(status, b"")] * 2


def test_broken_stream_on_a_port(write, capfd):
    """A broken stream breaks the connection, and prints nothing."""
    cassette = replay(write(({"deployment": "a"}, events("A", ended="broken"))))

    with cassette.serve() as url, FetchHive("any", url) as client, pytest.raises(StreamInterruptedError):
        client.invoke_prompt_stream(deployment="a").collect()

    assert capfd.readouterr().err == ""


def test_stream_left_before_its_first_event_on_a_port_ends_with_an_error_event(write):
    """There is no time of an event to take over."""
    with (
        replay(write(({"deployment": "a"}, events(ended="left")))).serve() as url,
        FetchHive("fhk_any", url) as client,
        pytest.raises(StreamFailedError, match="the reader stopped here"),
    ):
        client.invoke_prompt_stream(deployment="a").collect()


def test_incomplete_stream_on_a_port_ends_with_an_error_event(drive, write):
    """A client that stops where the recording stops is not a mistake. Reading on gets an error event."""
    left = events("A", ended="left")
    cassette = replay(write(({"deployment": "a"}, left), ({"deployment": "a"}, left)))

    with cassette.serve() as url:
        first = drive.leave(FetchHive("any", url), 1, deployment="a")
        with pytest.raises(StreamFailedError, match="reader stopped here") as caught:
            drive.collect(FetchHive("any", url), deployment="a")

    assert [event.response for event in first] == [caught.value.partial.text] == ["A"]
