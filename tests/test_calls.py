"""The log of calls, and the news of it."""

from __future__ import annotations

import json

import httpx
import pytest

from fetch_hive_sdk.emulator import _calls as calls_module
from fetch_hive_sdk.emulator._calls import CallLog
from fetch_hive_sdk.testing import FakeServer

KEY = "fhk_0123456789"


def post(body, key=KEY):
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Request("POST", "http://127.0.0.1/v1/prompt/invoke", content=body, headers=headers)


def news_of(log):
    """All messages until there are no more."""
    messages = []
    for message in log.follow(patience=0):
        if message is None:
            return messages
        messages.append(message)
    return messages


def snapshot_of(log):
    return news_of(log)[0]["calls"]


@pytest.fixture
def fake():
    fake = FakeServer()
    fake.answers("d", "one two")
    return fake


@pytest.fixture
def log(fake):
    return CallLog(fake.handle)


def test_an_answer_is_written_down(log):
    """A record has what was asked, and what was answered."""
    answer = log.handle(post(b'{"deployment": "d", "inputs": {"text": "a"}}'))

    (record,) = snapshot_of(log)
    assert record["request"] == {"deployment": "d", "inputs": {"text": "a"}}
    assert record["body"] == answer.json()
    assert (record["status"], record["state"], record["events"]) == (200, "done", [])
    assert record["ms"] >= 0


def test_a_refusal_is_written_down(log):
    """Calls that are refused have their place, too, those that are no JSON included."""
    log.handle(post(b'{"deployment": "e"}'))
    log.handle(post(b"\xff no JSON"))

    first, second = snapshot_of(log)
    assert (first["status"], first["state"]) == (404, "done")
    assert (second["status"], second["request"]) == (422, "\ufffd no JSON")


def test_a_stream_is_written_down_event_by_event(log):
    """The events of a stream have their times, in order; the record is done when it ends."""
    answer = log.handle(post(b'{"deployment": "d", "streaming": true}'))
    (begun,) = snapshot_of(log)
    content = b"".join(answer.iter_raw())

    (ended,) = snapshot_of(log)
    assert (begun["state"], begun["status"], begun["events"]) == ("open", 200, [])
    assert ended["state"] == "done"
    assert [getattr(event["data"], "get", str)("type") for event in ended["events"][:-1]] == ["response"] * 2 + [
        "usage"
    ]
    assert ended["events"][-1]["data"] == "[DONE]"
    times = [event["ms"] for event in ended["events"]]
    assert times == sorted(times)
    assert content.endswith(b"data: [DONE]\n\n")


class Breaking(httpx.SyncByteStream):
    def __iter__(self):
        yield b"data: {}\n\n"
        raise httpx.ReadError("broken")


@pytest.mark.parametrize("reads_on", [True, False])
def test_what_breaks_off_is_written_down(reads_on):
    """A record tells an answer that the server broke from one that the client did not want to the end."""
    headers = {"content-type": "text/event-stream"}
    log = CallLog(lambda request: httpx.Response(200, headers=headers, stream=Breaking()))
    pieces = iter(log.handle(post(b"{}")).stream)

    next(pieces)
    if reads_on:
        with pytest.raises(httpx.ReadError):
            next(pieces)
    else:
        pieces.close()

    (record,) = snapshot_of(log)
    assert record["state"] == ("broken" if reads_on else "left")


def test_a_handler_that_fails_is_written_down():
    """A call that nobody could answer is broken, not open for ever."""

    def fail(request):
        raise ZeroDivisionError

    log = CallLog(fail)

    with pytest.raises(ZeroDivisionError):
        log.handle(post(b"{}"))

    assert snapshot_of(log)[0]["state"] == "broken"


def test_an_answer_in_pieces_is_written_down_whole():
    """JSON that comes in pieces is one answer."""
    log = CallLog(lambda request: httpx.Response(200, content=iter([b'{"response":', b' "a"}'])))

    log.handle(post(b"{}")).read()

    assert snapshot_of(log)[0]["body"] == {"response": "a"}


def test_no_key_is_written_down(fake, log):
    """The key that a call was made with is masked wherever it stands: in inputs, answers and events."""
    fake.answers("d", lambda call: f"{call.inputs['text']}")
    body = b'{"deployment": "d", "inputs": {"text": "fhk_0123456789"}%s}'

    log.handle(post(body % b""))
    b"".join(log.handle(post(body % b', "streaming": true')).iter_raw())

    assert KEY not in repr(news_of(log))
    assert [record["request"]["inputs"] for record in snapshot_of(log)] == [{"text": "***"}] * 2


def test_a_key_that_is_no_secret_masks_nothing(log):
    """Programs that call a fake often have a word for a key."""
    log.handle(post(b'{"deployment": "d", "inputs": {"text": "any"}}', key="any"))

    assert snapshot_of(log)[0]["request"]["inputs"] == {"text": "any"}


def test_only_the_latest_calls_are_kept(log, monkeypatch):
    """The log has a bound: the oldest call goes first."""
    monkeypatch.setattr(calls_module, "_SIZE", 3)

    for _ in range(5):
        log.handle(post(b'{"deployment": "d"}'))

    assert [record["id"] for record in snapshot_of(log)] == [3, 4, 5]


def test_long_texts_and_streams_are_cut(fake, log, monkeypatch):
    """What a call may take of the memory has a bound, too."""
    monkeypatch.setattr(calls_module, "_MOST_EVENTS", 4)
    fake.streams("d", ["piece "] * 9)

    inputs = {"text": "x" * 99_999, "list": [1] * 999, "short": "s"}

    body = json.dumps({"deployment": "d", "streaming": True, "inputs": inputs}).encode()
    b"".join(log.handle(post(body)).iter_raw())

    (record,) = snapshot_of(log)
    kept = record["request"].pop("inputs")
    assert record["is_shortened"]
    assert record["request"] == {"deployment": "d", "streaming": True}
    assert kept == {"text": "x" * 2000 + "... (99999 characters)", "list": [1] * 100, "short": "s"}
    assert [event["data"]["type"] for event in record["events"][:-1]] == ["response"] * 4 + ["usage"]
    assert (record["left_out"], record["events"][-1]["data"]) == (5, "[DONE]")


def test_news_come_once(log):
    """After the snapshot come the changes alone."""
    following = log.follow(patience=0)
    snapshot = next(following)
    log.handle(post(b'{"deployment": "d"}'))

    messages = [next(following) for _ in range(3)]

    assert snapshot == {"kind": "snapshot", "calls": []}
    assert [message and message["kind"] for message in messages] == ["call", "change", None]
    assert messages[1]["facts"]["status"] == 200


def test_who_missed_too_much_begins_anew(log, monkeypatch):
    """A slow reader gets a snapshot in place of news that are forgotten."""
    log._news = type(log._news)(maxlen=2)
    following = log.follow(patience=0)
    next(following)
    for _ in range(3):
        log.handle(post(b'{"deployment": "d"}'))

    message = next(following)

    assert (message["kind"], len(message["calls"])) == ("snapshot", 3)


def test_a_closed_log_ends_its_news(log):
    """Those who follow are let go."""
    following = log.follow()
    next(following)

    log.close()

    assert list(following) == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "[" * 1000])
def test_what_browsers_cannot_read_is_kept_as_text(log, number):
    """The news are JSON as browsers have it, whatever was sent."""
    log.handle(post(f'{{"deployment": "d", "inputs": {number}}}'.encode()))

    json.dumps(news_of(log), allow_nan=False)
    assert number in snapshot_of(log)[0]["request"]


def test_an_escaped_key_is_masked(log):
    """A key is found although JSON escapes it, in what is JSON and in what is not."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)

    log.handle(post(f'{{"deployment": "{escaped}"}}'.encode()))
    log.handle(post(f'{{"deployment": "{escaped}'.encode()))

    assert [record["request"] for record in snapshot_of(log)] == [{"deployment": "***"}, '{"deployment": "***']
