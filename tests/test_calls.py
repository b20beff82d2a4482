"""The log of calls and its feed."""

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


def messages_of(log):
    """Return all messages until there are no more."""
    messages = []
    for message in log.follow(timeout=0):
        if message is None:
            return messages
        messages.append(message)
    return messages


def snapshot_of(log):
    return messages_of(log)[0]["calls"]


@pytest.fixture
def fake():
    fake = FakeServer()
    fake.answers("d", "one two")
    return fake


@pytest.fixture
def log(fake):
    return CallLog(fake.handle)


def test_answer_is_logged(log):
    """A record has the request and the answer."""
    answer = log.handle(post(b'{"deployment": "d", "inputs": {"text": "a"}}'))

    (record,) = snapshot_of(log)
    assert record["request"] == {"deployment": "d", "inputs": {"text": "a"}}
    assert record["body"] == answer.json()
    assert (record["status"], record["state"], record["events"]) == (200, "done", [])
    assert record["ms"] >= 0


def test_error_response_is_logged(log):
    """Rejected calls are logged too, including those that are not JSON."""
    log.handle(post(b'{"deployment": "e"}'))
    log.handle(post(b"\xff no JSON"))

    first, second = snapshot_of(log)
    assert (first["status"], first["state"]) == (404, "done")
    assert (second["status"], second["request"]) == (422, "\ufffd no JSON")


def test_stream_is_logged_event_by_event(log):
    """The events are logged in order with their times; the record is done when the stream ends."""
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
def test_incomplete_stream_is_logged(reads_on):
    """A record distinguishes answers broken by the server from those left by the client."""
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


def test_failing_handler_is_logged():
    """A call whose handler raises is broken, not open."""

    def fail(request):
        raise ZeroDivisionError

    log = CallLog(fail)

    with pytest.raises(ZeroDivisionError):
        log.handle(post(b"{}"))

    assert snapshot_of(log)[0]["state"] == "broken"


def test_answer_in_chunks_is_logged_once():
    """JSON received in chunks is one answer."""
    log = CallLog(lambda request: httpx.Response(200, content=iter([b'{"response":', b' "a"}'])))

    log.handle(post(b"{}")).read()

    assert snapshot_of(log)[0]["body"] == {"response": "a"}


def test_key_is_masked(fake, log):
    """The API key of a call is masked in inputs, answers and events."""
    fake.answers("d", lambda call: f"{call.inputs['text']}")
    body = b'{"deployment": "d", "inputs": {"text": "fhk_0123456789"}%s}'

    log.handle(post(body % b""))
    b"".join(log.handle(post(body % b', "streaming": true')).iter_raw())

    assert KEY not in repr(messages_of(log))
    assert [record["request"]["inputs"] for record in snapshot_of(log)] == [{"text": "***"}] * 2


def test_common_words_are_not_masked(log):
    """Programs that call a fake often use a plain word as the key."""
    log.handle(post(b'{"deployment": "d", "inputs": {"text": "any"}}', key="any"))

    assert snapshot_of(log)[0]["request"]["inputs"] == {"text": "any"}


def test_log_size_is_limited(log, monkeypatch):
    """The oldest calls are removed first."""
    monkeypatch.setattr(calls_module, "_MAX_CALLS", 3)

    for _ in range(5):
        log.handle(post(b'{"deployment": "d"}'))

    assert [record["id"] for record in snapshot_of(log)] == [3, 4, 5]


def test_record_size_is_limited(fake, log, monkeypatch):
    """Long strings and streams are shortened."""
    monkeypatch.setattr(calls_module, "_MAX_EVENTS", 4)
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


def test_feed_sends_each_change_once(log):
    """After the snapshot, only changes are sent."""
    following = log.follow(timeout=0)
    snapshot = next(following)
    log.handle(post(b'{"deployment": "d"}'))

    messages = [next(following) for _ in range(3)]

    assert snapshot == {"kind": "snapshot", "calls": []}
    assert [message and message["kind"] for message in messages] == ["call", "change", None]
    assert messages[1]["facts"]["status"] == 200


def test_slow_follower_gets_a_new_snapshot(log, monkeypatch):
    """A follower that missed too many messages gets a new snapshot."""
    log._messages = type(log._messages)(maxlen=2)
    following = log.follow(timeout=0)
    next(following)
    for _ in range(3):
        log.handle(post(b'{"deployment": "d"}'))

    message = next(following)

    assert (message["kind"], len(message["calls"])) == ("snapshot", 3)


def test_closed_log_ends_its_feeds(log):
    """All followers end."""
    following = log.follow()
    next(following)

    log.close()

    assert list(following) == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "[" * 1000])
def test_invalid_json_is_logged_as_text(log, number):
    """The feed is valid JSON for browsers with any request."""
    log.handle(post(f'{{"deployment": "d", "inputs": {number}}}'.encode()))

    json.dumps(messages_of(log), allow_nan=False)
    assert number in snapshot_of(log)[0]["request"]


def test_escaped_key_is_masked(log):
    """The key is masked although JSON escapes it, in JSON and in other text."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)

    log.handle(post(f'{{"deployment": "{escaped}"}}'.encode()))
    log.handle(post(f'{{"deployment": "{escaped}'.encode()))

    assert [record["request"] for record in snapshot_of(log)] == [{"deployment": "***"}, '{"deployment": "***']
