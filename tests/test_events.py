"""Parsing streams. The tests call functions with plain values: no client, no sockets, no waiting."""

from __future__ import annotations

import gzip
import json
import pickle
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch_hive_sdk import (
    ErrorEvent,
    FetchHiveError,
    InvokeResponse,
    ReasoningEvent,
    ResponseDecodeError,
    ResponseError,
    ResponseEvent,
    ResponseTooLargeError,
    ResponseValidationError,
    StreamFailedError,
    StreamInterruptedError,
    StreamTimeoutError,
    UnexpectedContentTypeError,
    UnknownEvent,
    Usage,
    UsageEvent,
)
from fetch_hive_sdk._deadline import Deadlines
from fetch_hive_sdk._protocol import agent_events
from fetch_hive_sdk._protocol.answers import one, parse_answer
from fetch_hive_sdk._protocol.prompt_events import PromptTranscript, parse_event
from fetch_hive_sdk._protocol.sse import ErrorPayload
from fetch_hive_sdk._protocol.streaming import EventReader
from fetch_hive_sdk._secret import Secret
from wire import (
    ANSWER,
    BOM,
    DONE,
    EVENTS,
    HELLO,
    KEY,
    USAGE,
    as_json,
    as_sse,
    pieces,
    raws,
    read_stream,
)

PARSERS = (parse_event, agent_events.parse_event)

# --- Events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (EVENTS[0], ReasoningEvent),
        (EVENTS[2], ResponseEvent),
        (EVENTS[4], UsageEvent),
        ({"type": "usage"}, UsageEvent),
        ({"type": "usage", "usage": None}, UsageEvent),
        ({"type": "error"}, ErrorEvent),
        ({"type": "error", "error": "failed", "code": "provider_failed"}, ErrorEvent),
        ({"type": "response", "response": "x", "tomorrow": [1]}, ResponseEvent),
    ],
)
def test_known_events_are_parsed(payload, kind):
    """From bytes and from strings; `raw` is the decoded object."""
    event = parse_event(as_json(payload))

    assert type(event) is kind
    assert event.type == payload["type"]
    assert event.raw == payload
    assert parse_event(json.dumps(payload)) == event


def test_unknown_event_is_passed_on():
    """An event of an unknown type reaches the caller unchanged."""
    event = parse_event('{"type": "tool_call", "request_id": "req_1", "tool": "search"}')

    assert isinstance(event, UnknownEvent)
    assert (event.type, event.wire_type, event.request_id) == ("unknown", "tool_call", "req_1")
    assert event.raw == {"type": "tool_call", "request_id": "req_1", "tool": "search"}


@pytest.mark.parametrize(
    ("payload", "raw"),
    [
        (BOM + b'{"type": "response", "response": "a"}', {"type": "response", "response": "a"}),
        (b'{"type": "response", "type": "usage", "response": "a"}', {"type": "usage", "response": "a"}),
        (b'{"type": "response", "response": "a", "response": "b"}', {"type": "response", "response": "b"}),
        (b' \t{"type": "response", "response": "a"} ', {"type": "response", "response": "a"}),
    ],
)
def test_unusual_json_is_parsed(payload, raw):
    """A byte order mark, a duplicate field (the last counts), surrounding whitespace."""
    assert parse_event(payload).raw == raw


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"type": "response"}, "response"),
        ({"type": "response", "response": None, "x": "secret"}, "response"),
        ({"type": "reasoning", "response": ["secret"]}, "response"),
    ],
)
def test_invalid_event_is_reported(payload, field):
    """The message names the field and does not quote values."""
    body = {"request_id": "req_1", **payload}

    with pytest.raises(ResponseValidationError, match="an event of the stream does not match the API") as caught:
        parse_event(as_json(body))

    assert f"{field}: " in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.body == body
    assert caught.value.request_id == "req_1"


@pytest.mark.parametrize(
    ("payload", "raw"),
    [
        (b"{}", {}),
        (b"null", {}),
        (b'{"type": null}', {"type": None}),
        (b'{"type": 7, "x": 1}', {"type": 7, "x": 1}),
        (b'"ping"', {"data": '"ping"'}),
        (b"7", {"data": "7"}),
        (b" ping\n", {"data": "ping"}),
        (b"\xff", {"data": "\ufffd"}),
        (b"", {"data": ""}),
    ],
)
def test_event_without_a_type_is_passed_on(payload, raw):
    """Such as a heartbeat. The answer is not lost."""
    event = parse_event(payload)

    assert isinstance(event, UnknownEvent)
    assert (event.type, event.wire_type, event.raw) == ("unknown", "", raw)


def test_event_that_is_a_list_is_reported():
    """It is valid JSON, but not an event."""
    with pytest.raises(ResponseValidationError, match="not an object"):
        parse_event(b'["secret"]')


@pytest.mark.parametrize(
    ("payload", "message", "code"),
    [
        (b'{"type": "error", "error": "down", "error_code": "e1"}', "down", "e1"),
        (b'{"type": "error", "error": {"message": "down", "code": "e1"}}', "down", "e1"),
        (b'{"type": "error", "message": "down", "error_code": 7}', "down", "7"),
        (b'{"error": {"message": "down", "code": 7}}', "down", "7"),
        (b'{"error": "down"}', "down", None),
        (b'{"type": "error"}', None, None),
        (ErrorPayload(b'{"message": "down", "code": "e1"}'), "down", "e1"),
        (ErrorPayload(b"down"), "down", None),
    ],
)
def test_error_event_is_parsed_in_any_form(payload, message, code):
    """With an object in `error`, a number as its code, without a type, or with the event name `error`."""
    for parse in PARSERS:
        event = parse(payload)

        assert isinstance(event, ErrorEvent)
        assert (event.message or event.error, event.error_code) == (message, code)


def test_event_name_marks_an_error():
    """Only `event: error` does, in any form; other names do not."""
    lines = b'event: error\ndata: {"message": "down"}\n\n'
    for chunks in ([lines], pieces(lines, 1), [lines[:-2]]):
        (event,) = read_stream(reader_for(), chunks)
        assert (type(event), event.message) == (ErrorEvent, "down")

    named = b'event: ping\ndata: {"at": 1}\n\n'
    unknown, response, usage = read_stream(reader_for(), [named + as_sse(HELLO, USAGE)])
    assert (unknown.type, response.type, usage.type) == ("unknown", "response", "usage")


def test_error_event_does_not_contain_the_key():
    """Neither the event nor the exception nor its code, wherever the service repeats the key."""
    reader = reader_for()
    reader.transcript.secret = Secret("fhk_0123456789")

    (event,) = read_stream(
        reader, [as_sse({"type": "error", "error": "bad fhk_0123456789", "error_code": "fhk_0123456789"})]
    )

    failure = reader.transcript.failure()
    shown = repr(event) + str(event.raw) + str(failure) + failure.error_code + repr(pickle.dumps(failure))
    assert "***" in shown
    assert "0123456789" not in shown


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"type": "response", "response": "a", "model": 7}, "model"),
        ({"type": "usage", "usage": "x"}, "usage"),
        ({"type": "usage", "usage": {"total_tokens": "x"}, "stop_reason": 7}, "stop_reason"),
    ],
)
def test_invalid_optional_field_does_not_lose_the_event(payload, field):
    """The field has its default, and `raw` has the value that was sent."""
    event = parse_event(as_json(payload))

    assert getattr(event, field) in (None, Usage())
    assert event.raw == payload


def test_invalid_json_is_not_quoted_in_a_traceback():
    """The exception of Pydantic, which quotes it, is not in the chain."""
    with pytest.raises(ResponseDecodeError) as caught:
        parse_event(b'{"type": "response", "response": "secret')

    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "payload",
    [b"{", b"[", b"[DONE", b'{"type": "response", "response": "secret', b'{"type": "usage", "x": "\xff"}'],
)
def test_event_that_is_not_json_is_reported(payload):
    """The error has its bytes, and the message does not quote them."""
    with pytest.raises(ResponseDecodeError, match="an event of the stream is") as caught:
        parse_event(payload)

    assert caught.value.body == payload
    assert "secret" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(["type", "response", "usage", "error", "error_code", "request_id", "model", "extra"])
event_types = st.sampled_from(["response", "reasoning", "usage", "error", "future"])


@given(st.dictionaries(field_names, json_values | event_types) | json_values)
def test_any_event_is_parsed_or_reported(value):
    """No JSON value raises another exception, neither while it is parsed nor while `raw` is read."""
    try:
        event = parse_event(json.dumps(value))
    except ResponseError:
        return

    assert isinstance(event.raw, dict)


@given(
    st.binary(max_size=30) | st.binary(max_size=9).map(lambda inner: b'{"type":"usage","usage":{"x":' + inner + b"}}")
)
def test_any_bytes_are_parsed_or_reported(payload):
    """Even if they are not UTF-8."""
    try:
        event = parse_event(payload)
    except ResponseError:
        return

    assert isinstance(event.raw, dict)


# --- Transcripts -----------------------------------------------------------------------------------------------------


def transcript_of(*events):
    transcript = PromptTranscript()
    for event in events:
        transcript.add(parse_event(as_json(event)))
    return transcript


def test_transcript_returns_the_answer_of_a_call_without_streaming():
    """`collect()` and `invoke_prompt()` return the same."""
    in_one_piece = parse_answer(one(InvokeResponse), "application/json", as_json(ANSWER))

    answer = transcript_of(*EVENTS).answer()

    assert answer == in_one_piece
    assert answer.raw == in_one_piece.raw


@pytest.mark.parametrize(
    ("usage_event", "expected"),
    [
        ({"type": "usage"}, {"response": "Hello"}),
        ({"type": "usage", "usage": None}, {"response": "Hello"}),
        ({"type": "usage", "usage": {"duration": 2.5}}, {"response": "Hello", "duration": 2.5}),
        (
            {"type": "usage", "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            {"response": "Hello", "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        ),
    ],
)
def test_transcript_has_what_the_service_sent(usage_event, expected):
    """Fields that the service did not send are left out."""
    answer = transcript_of(HELLO, usage_event).answer()

    assert {name: value for name, value in answer.raw.items() if value != {}} == expected
    assert answer.response == "Hello"


def test_transcript_with_only_done_has_no_usage():
    """`[DONE]` ends a stream even if the usage was not sent."""
    transcript = transcript_of(HELLO)
    transcript.is_complete = True

    assert transcript.answer().raw == {"response": "Hello"}


def test_incomplete_transcript_has_no_answer():
    """The error has the part that was received."""
    transcript = transcript_of(*EVENTS[:3])

    with pytest.raises(StreamInterruptedError, match="closed before its end") as caught:
        transcript.answer()

    partial = caught.value.partial
    assert (partial.text, partial.reasoning) == ("Hello, ", "Let me think. Done.")
    assert (partial.request_id, partial.model) == ("req_1", "gpt-5-nano")
    assert partial.usage is None
    assert caught.value.maybe_processed is True


def test_partial_answer_has_everything_received():
    """Including the usage and the stop reason."""
    partial = transcript_of(*EVENTS).partial()

    assert partial.text == "Hello, bees."
    assert partial.usage is not None
    assert partial.usage.total_tokens == 30
    assert partial.stop_reason == "completed"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"error": "failed"}, "failed"),
        ({"message": "the model failed", "error": "failed"}, "the model failed"),
        ({"message": "", "error": "failed"}, "failed"),
        ({}, "the run failed"),
        ({"error": "failed", "error_code": "provider_failed"}, "failed (error_code: provider_failed)"),
        ({"error": "failed", "code": "c", "request_id": "req_9"}, "failed (error_code: c, request_id: req_9)"),
    ],
)
def test_error_event_fails_the_answer(event, message):
    """The error has the service's message and the part that was received."""
    transcript = transcript_of(HELLO, {"type": "error", **event})

    with pytest.raises(StreamFailedError) as caught:
        transcript.answer()

    assert str(caught.value) == message
    assert caught.value.error_code == (event.get("error_code") or event.get("code"))
    assert caught.value.partial.text == "Hello"
    assert transcript.is_complete


def test_transcript_keeps_the_last_request_id():
    """Not every event has one."""
    transcript = transcript_of({**HELLO, "request_id": "req_1", "model": "m"}, HELLO, {"type": "future", "x": 1}, USAGE)

    assert (transcript.request_id, transcript.model) == ("req_1", "m")
    assert transcript.failure() is None


# --- Streams ---------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that the tests advance."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def reader_for(media_type="text/event-stream", encoding="", *, idle_timeout=None, clock=None):
    deadlines = Deadlines(60.0, idle_timeout, clock or Clock())
    deadlines.begin_attempt(streaming=True)
    deadlines.await_event()
    return EventReader(parse_event, PromptTranscript(), media_type=media_type, encoding=encoding, deadlines=deadlines)


def read_broken_stream(reader, chunks):
    """The events before an error, and the error."""
    events = []
    try:
        for chunk in chunks:
            events += list_until_error(reader.feed(chunk), events)
        events += list_until_error(reader.finish(), events)
    except FetchHiveError as error:
        return events, error
    raise AssertionError("the stream was not broken")


def list_until_error(items, seen):
    """Iterate, and append the items before an error to `seen`."""
    for item in items:
        seen.append(item)
    return ()


@pytest.mark.parametrize("media_type", ["text/event-stream", ""])
def test_stream_yields_its_events(media_type):
    """Unchanged and in order; then the answer is available."""
    reader = reader_for(media_type)

    events = read_stream(reader, [as_sse(*EVENTS)])

    assert raws(events) == EVENTS
    assert reader.transcript.answer().raw == ANSWER
    assert not reader.is_done


@given(
    places=st.lists(st.integers(0, 2000), max_size=12),
    newline=st.sampled_from([b"\n", b"\r", b"\r\n"]),
    before=st.sampled_from([b"", BOM, b": hello\n\n", b"id: 1\n\n", b"retry: 9\nevent: x\nunknown\n\n", b"data:\n\n"]),
    unterminated=st.booleans(),
)
def test_chunking_does_not_matter(places, newline, before, unterminated):
    """However the bytes are split, even inside of characters, the events are the same."""
    events = [*EVENTS[:3], {"type": "response", "response": "Grüße 🐝 \u2028\u2029\x85\x7f"}, EVENTS[4]]
    stream = (before + as_sse(*events) + DONE).replace(b"\n", newline)
    stream = stream.rstrip(b"\r\n") if unterminated else stream
    edges = [0, *sorted(place % len(stream) for place in places), len(stream)]

    found = read_stream(reader_for(), [stream[start:end] for start, end in zip(edges, edges[1:])])

    assert raws(found) == events


def test_done_ends_a_stream():
    """Everything after it is ignored, even if it is invalid."""
    reader = reader_for()

    events = read_stream(reader, [as_sse(HELLO) + DONE + as_sse(HELLO) + b"data: {broken\n\n"])

    assert raws(events) == [HELLO]
    assert reader.is_done
    assert reader.transcript.is_complete
    assert list(reader.finish()) == []


@pytest.mark.parametrize("done", [b"data: [DONE]\n\n", b"data:[DONE] \r\n\r\n", b"data: [DONE]\n", b"data: [DONE]"])
def test_done_is_recognized_in_every_form(done):
    """Even without its blank line."""
    reader = reader_for()

    events = read_stream(reader, [as_sse(HELLO) + done])

    assert raws(events) == [HELLO]
    assert reader.is_done


def test_end_of_a_finished_stream_has_a_short_limit():
    """After a tenth of a second the connection is closed instead of reused."""
    clock = Clock()
    reader = reader_for(clock=clock)
    read_stream(reader, [DONE])

    assert not reader.is_overdue()
    clock.now += 0.1
    assert reader.is_overdue()


@pytest.mark.parametrize("end", [USAGE, {"type": "error", "error": "failed"}])
def test_usage_or_error_completes_a_stream(end):
    """The vendor does not document `[DONE]` as required. An error event is yielded like other events."""
    events = read_stream(reader_for(), [as_sse(HELLO, end)])

    assert raws(events) == [HELLO, end]


def test_last_event_without_its_blank_line_counts_if_it_is_complete():
    """The only deviation from the WHATWG specification, because the answer was billed."""
    events = read_stream(reader_for(), [as_sse(HELLO) + b"data: " + as_json(USAGE)])

    assert raws(events) == [HELLO, USAGE]


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"data: " + as_json(USAGE)[:-1],
        b"data: [DON",
        b"data",
        b": comment",
        b'data: {"type": "resp',
        b"data: \xff",
    ],
)
def test_stream_that_ends_early_is_interrupted(rest):
    """The complete events are yielded, and the error has the part that was received."""
    events, error = read_broken_stream(reader_for(), [as_sse({**HELLO, "request_id": "req_1"}) + rest])

    assert [event.response for event in events] == ["Hello"]
    assert type(error) is StreamInterruptedError
    assert error.partial.text == "Hello"
    assert error.request_id == "req_1"
    assert error.maybe_processed is True


def test_empty_stream_is_interrupted():
    """An empty 200 response is not an answer."""
    events, error = read_broken_stream(reader_for(), [])

    assert events == []
    assert type(error) is StreamInterruptedError


def test_incomplete_event_after_the_answer_is_ignored():
    """The answer is complete."""
    events = read_stream(reader_for(), [as_sse(HELLO, USAGE) + b'data: {"type": "fut'])

    assert raws(events) == [HELLO, USAGE]


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (b"data: {broken\n\n", ResponseDecodeError),
        (b'data: {"type": "response"}\n\n', ResponseValidationError),
        (b'data: {"type": "response"}', ResponseValidationError),
        (b"data: []\n\n", ResponseValidationError),
    ],
)
def test_invalid_event_is_reported_after_the_events_before_it(bad, kind):
    """No event is skipped silently."""
    reader = reader_for()

    events, error = read_broken_stream(reader, [as_sse(HELLO) + bad])

    assert raws(events) == [HELLO]
    assert type(error) is kind
    assert reader.transcript.partial().text == "Hello"


def test_stream_may_be_compressed():
    """Although the request does not accept compression."""
    zipped = gzip.compress(as_sse(*EVENTS) + DONE)

    events = read_stream(reader_for(encoding="gzip"), pieces(zipped, 10))

    assert raws(events) == EVENTS


def test_truncated_compressed_stream_is_interrupted():
    """The events that could be decompressed are yielded before."""
    zipped = gzip.compress(as_sse(HELLO, {"type": "response", "response": "x" * 99}), compresslevel=0)

    events, error = read_broken_stream(reader_for(encoding="gzip"), [zipped[:80]])

    assert raws(events) == [HELLO]
    assert type(error) is StreamInterruptedError


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        {"response": "Hello"},
        {"response": "", "request_id": "req_1"},
        {"response": "Hello", "duration": 0.5, "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    ],
)
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_json_answer_to_a_stream_is_converted_to_events(answer, encoding):
    """Reasoning if there is any, response, usage."""
    body = gzip.compress(as_json(answer)) if encoding else as_json(answer)
    reader = reader_for("application/json", encoding)

    events = read_stream(reader, pieces(body, 10))

    assert [event.type for event in events if event.type != "reasoning"] == ["response", "usage"]
    assert [event.response for event in events if event.type == "reasoning"] == [
        value for name, value in answer.items() if name == "reasoning"
    ]
    collected = reader.transcript.answer()
    expected = parse_answer(one(InvokeResponse), "application/json", as_json(answer))
    assert collected.model_dump(exclude_none=True) == expected.model_dump(exclude_none=True)


@pytest.mark.parametrize(
    ("media_type", "body", "kind"),
    [
        ("text/html", b"<html></html>", UnexpectedContentTypeError),
        ("application/json", b'{"response": "Hel', ResponseDecodeError),
        ("application/json", b"", ResponseDecodeError),
        ("application/json", b"{}", ResponseValidationError),
    ],
)
def test_other_answer_to_a_stream_is_reported(media_type, body, kind):
    """As for a call without streaming."""
    events, error = read_broken_stream(reader_for(media_type), [body])

    assert events == []
    assert type(error) is kind


def test_gzip_bomb_in_a_json_answer_to_a_stream_is_limited():
    """To the same size as other answers."""
    reader = reader_for("application/json", "gzip")
    reader._body._max_bytes = 100_000
    bomb = gzip.compress(b" " * 10_000_000)

    tracemalloc.start()
    _, error = read_broken_stream(reader, [bomb])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert type(error) is ResponseTooLargeError
    assert peak < 1_000_000


def test_truncated_json_answer_to_a_stream_is_reported():
    """Its compressed data ended early."""
    zipped = gzip.compress(as_json(ANSWER))[:-1]

    _, error = read_broken_stream(reader_for("application/json", "gzip"), [zipped])

    assert "ended early" in str(error)


# --- Timeouts --------------------------------------------------------------------------------------------------------


def test_comments_keep_a_stream_alive():
    """A model may reason for minutes; closing the connection would lose a billed run."""
    clock = Clock()
    reader = reader_for(clock=clock)

    for _ in range(100):
        clock.now += 50
        assert list(reader.feed(b": thinking\n\n")) == []

    assert raws(reader.feed(as_sse(HELLO))) == [HELLO]


def test_comments_are_not_events():
    """With `idle_timeout`, only events count."""
    clock = Clock()
    reader = reader_for(idle_timeout=10, clock=clock)
    list(reader.feed(as_sse(HELLO)))
    clock.now += 9
    list(reader.feed(b": thinking\n\n"))
    clock.now += 2

    with pytest.raises(StreamTimeoutError, match="idle_timeout") as caught:
        list(reader.feed(b": thinking\n\n"))

    assert caught.value.phase == "idle"
    assert caught.value.partial.text == "Hello"


def test_each_event_restarts_the_idle_timeout():
    """Even if its type is unknown or it arrives late."""
    clock = Clock()
    reader = reader_for(idle_timeout=10, clock=clock)

    for event in (HELLO, {"type": "future"}, HELLO, USAGE):
        clock.now += 11
        assert raws(reader.feed(as_sse(event))) == [event]
        assert not reader.is_overdue()


def test_complete_stream_with_comments_ends():
    """The answer is complete, so this is not a timeout."""
    clock = Clock()
    reader = reader_for(idle_timeout=10, clock=clock)
    list(reader.feed(as_sse(HELLO, USAGE)))
    clock.now += 11

    events = read_stream(reader, [b": still here\n\n"])

    assert events == []
    assert reader.is_done
    assert reader.transcript.answer().response == "Hello"


# --- Found in review -------------------------------------------------------------------------------------------------


def test_split_emoji_does_not_lose_the_event():
    """A provider may split an emoji between two events. JSON allows the halves, which are replaced by U+FFFD."""
    answer = parse_answer(one(InvokeResponse), "application/json", b'{"response": "so \\ud83d far"}')
    event = parse_event('{"type": "response", "response": "\\ude00!", "request_id": "req_1"}')

    assert answer.response == answer.raw["response"] == "so \ufffd far"
    assert isinstance(event, ResponseEvent)
    assert (event.response, event.request_id) == ("\ufffd!", "req_1")


@pytest.mark.parametrize(
    "wire",
    [
        {"type": "tool", "request_id": 5},
        {"type": "unknown", "wire_type": 5},
        {"type": "unknown", "wire_type": "tool", "request_id": None},
    ],
)
def test_unknown_event_may_have_any_fields(wire):
    """They are in `raw`, and `wire_type` is the type that the service sent."""
    event = parse_event(json.dumps(wire))

    assert isinstance(event, UnknownEvent)
    assert (event.wire_type, event.request_id) == (wire["type"], None)
    assert event.raw == wire


@pytest.mark.parametrize(
    "chunks", [[b'{"response": "paid",', b' "request_id": "req_9"}'], [b" \n", b'{"response": "paid"}']]
)
def test_json_without_a_media_type_is_parsed_as_json(chunks):
    """It begins with a brace, which an event stream never does."""
    events = read_stream(reader_for(""), chunks)

    assert [event.type for event in events] == ["response", "usage"]


def test_events_without_a_media_type_are_parsed_as_events():
    """Everything else is an event stream."""
    events = read_stream(reader_for(""), [b"\n", *[as_sse({"type": "response", "response": "a"}, {"type": "usage"})]])

    assert [event.type for event in events] == ["response", "usage"]


def test_events_of_a_json_answer_have_request_id_and_model():
    """Like the events of a stream."""
    answer = {"response": "a", "reasoning": "b", "request_id": "req_1", "model": "m"}
    events = read_stream(reader_for("application/json"), [json.dumps(answer).encode()])

    assert [event.request_id for event in events] == ["req_1"] * 3
    assert [event.raw.get("model") for event in events] == ["m", "m", None]


def test_error_of_a_stream_is_raised_again():
    """Later calls raise the error that ended the stream; a complete stream raises none."""
    broken, whole = PromptTranscript(), PromptTranscript()
    with pytest.raises(StreamInterruptedError), broken.recording():
        raise broken.interruption("the connection broke")
    with whole.recording():
        whole.add(UsageEvent())

    whole.check_end()
    with pytest.raises(StreamInterruptedError, match="the connection broke"):
        broken.check_end()
    assert broken.is_over
    assert whole.is_over


def test_unused_stream_was_not_processed():
    """Closing a stream before its first use starts no run."""
    unused = PromptTranscript()
    unused.is_unused = True

    assert not unused.interruption("closed").maybe_processed
    assert unused.interruption("closed").attempts == 0
    assert PromptTranscript().interruption("closed").maybe_processed


# --- Found by mutation testing ---------------------------------------------------------------------------------------


def test_model_of_the_last_event_counts():
    """The last event that has a model."""
    transcript = transcript_of(
        {"type": "reasoning", "response": "a", "model": "m1"},
        {"type": "response", "response": "b", "model": "m2"},
        {"type": "response", "response": "c"},
    )

    assert transcript.partial().model == "m2"


def test_escaped_characters_are_decoded():
    """Pydantic before 2.7.3 does not decode all of them."""
    answer = parse_answer(one(InvokeResponse), "application/json", b'{"response": "caf\\u00e9 \\ud83d\\ude00"}')
    event = parse_event('{"type": "response", "response": "caf\\u00e9"}')

    assert answer.response == "café \U0001f600"
    assert event.response == "café"


def test_model_of_the_reasoning_counts():
    """If only reasoning events have a model."""
    transcript = transcript_of(
        {"type": "reasoning", "response": "a", "model": "m1"}, {"type": "response", "response": "b"}
    )

    assert transcript.partial().model == "m1"


def test_error_of_an_error_event_has_its_request_id():
    """The error has the request id of the run."""
    transcript = transcript_of({"type": "response", "response": "a", "request_id": "req_1"}, {"type": "error"})

    assert transcript.failure().request_id == "req_1"


def test_json_without_a_media_type_may_begin_with_whitespace():
    """It is still recognized as JSON."""
    events = read_stream(reader_for(""), [b' \n {"response": "paid"}'])

    assert [event.raw["type"] for event in events] == ["response", "usage"]


def test_type_takes_precedence_over_the_event_name():
    """The service sets the type, but a gateway may set the event name."""
    for parse in PARSERS:
        assert isinstance(parse(ErrorPayload(as_json(HELLO))), ResponseEvent)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "error": f"the key {KEY} is not known", "error_code": KEY},
        {"type": "error", "error": {"message": KEY, "code": KEY}, "request_id": KEY, "more": [{KEY: KEY}]},
        {"error": {"message": f"Bearer {KEY}"}},
    ],
)
def test_key_in_an_error_event_is_masked(event):
    """In the event and in the error, with any access."""
    reader = reader_for()
    reader.transcript.secret = Secret(KEY)
    escaped = as_json(event).replace(KEY.encode(), b"\\u0066" + KEY[1:].replace("/", "\\/").encode())

    (answer, error_event) = read_stream(
        reader, [as_sse({"type": "response", "response": KEY}) + b"data: " + escaped + b"\n\n"]
    )
    error = reader.transcript.failure()

    assert answer.response == KEY
    assert isinstance(error_event, ErrorEvent)
    for shown in (
        error_event,
        error_event.raw,
        dict(error_event),
        error,
        error.error_code,
        error.request_id,
        vars(error),
        error.partial,
    ):
        assert KEY not in str(shown)
        assert KEY not in repr(shown)
    assert KEY.encode() not in pickle.dumps(error_event) + pickle.dumps(error)
    assert "***" in str(error)
    assert error.partial.text == "***"


def test_error_event_without_the_key_is_unchanged():
    """It is the same object."""
    reader = reader_for()
    reader.transcript.secret = Secret(KEY)

    (error_event,) = read_stream(reader, [as_sse({"type": "error", "error": "failed", "code": 7})])

    assert error_event is reader.transcript._error
    assert error_event.raw == {"type": "error", "error": "failed", "code": 7}


def test_long_message_of_an_error_event_is_shortened():
    """Messages are often logged. The event has the whole message."""
    transcript = transcript_of({"type": "error", "error": "x" * 100_000})

    assert len(str(transcript.failure())) < 1100


def test_interruption_has_the_request_id_and_masks_the_key():
    """The request id helps to find the run."""
    transcript = transcript_of({**HELLO, "request_id": "req_1"}, {"type": "reasoning", "response": f"I know {KEY}"})
    transcript.secret = Secret(KEY)

    error = transcript.interruption("the stream broke off")

    assert str(error) == "the stream broke off (request_id: req_1)"
    assert error.partial.reasoning == "I know ***"
    assert transcript.partial().reasoning == f"I know {KEY}"


def test_collected_answer_keeps_an_invalid_usage():
    """The attribute has the default, and `raw` the value that was sent."""
    answer = transcript_of(HELLO, {"type": "usage", "usage": "many", "stop_reason": 7}).answer()

    assert answer.usage.total_tokens is None
    assert answer.raw == {"response": "Hello", "usage": "many"}


def test_stream_of_gzip_members_is_decompressed():
    """A server may begin a gzip member for each event; some members are empty."""
    zipped = b"".join(gzip.compress(as_sse(event)) + gzip.compress(b"") for event in EVENTS) + gzip.compress(DONE)

    for size in (1, 10, 10_000):
        assert raws(read_stream(reader_for(encoding="gzip"), pieces(zipped, size))) == EVENTS


def test_event_of_a_gzip_member_is_yielded_immediately():
    """It does not wait for the next member."""
    reader = reader_for(encoding="gzip")

    for event in EVENTS:
        assert raws(reader.feed(gzip.compress(as_sse(event)))) == [event]


@pytest.mark.parametrize(
    "wire",
    [
        b"event: error\ndata: busy\n\n",
        b"data: busy\nevent: error\n\n",
        b"event:error\r\ndata:busy\r\n\r\n",
        b"event: ping\nevent: error\ndata: busy\n\n",
        b'event: error\ndata: {"message": "busy"}\n\n',
        b'data: {"error": {"message": "busy"}}\n\n',
    ],
)
def test_error_by_event_name_fails_the_stream(wire):
    """With any chunking. The name applies to one event only."""
    for size in (1, 5, 1000):
        reader = reader_for()

        events = read_stream(reader, pieces(as_sse(HELLO) + wire, size))

        assert [event.type for event in events] == ["response", "error"]
        with pytest.raises(StreamFailedError, match=r"^busy$"):
            reader.transcript.answer()


@pytest.mark.parametrize(
    ("payload", "error", "code"),
    [
        ({"error_code": "c", "message": "b"}, "b", "c"),
        ({"error_code": 500, "type": None}, None, "500"),
        ({"error": {"error": "a", "request_id": "r"}, "type": 7}, "a", None),
    ],
)
def test_error_without_a_type_is_an_error(payload, error, code):
    """Even if it has only a code."""
    for parse in PARSERS:
        event = parse(as_json(payload))

        assert isinstance(event, ErrorEvent)
        assert (event.message or event.error, event.error_code) == (error, code)
        assert event.raw == payload


def test_event_name_marks_an_error_of_an_unknown_type():
    """The name `error` is enough."""
    for parse in PARSERS:
        event = parse(ErrorPayload(b'{"type": "overloaded", "message": "busy"}'))

        assert isinstance(event, ErrorEvent)
        assert event.message == "busy"
        assert event.raw == {"type": "overloaded", "message": "busy"}
