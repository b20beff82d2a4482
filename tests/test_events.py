"""What is made of a stream. Plain calls with plain values: no client, no socket, no waiting."""

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

# --- One event -------------------------------------------------------------------------------------------------------


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
    """From bytes and from text; `raw` is the very object."""
    event = parse_event(as_json(payload))

    assert type(event) is kind
    assert event.type == payload["type"]
    assert event.raw == payload
    assert parse_event(json.dumps(payload)) == event


def test_unknown_event_is_passed_on():
    """An event type from the future reaches the caller, word for word."""
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
def test_odd_but_readable_events_are_read(payload, raw):
    """A byte order mark, a field twice (the last counts), blanks around."""
    assert parse_event(payload).raw == raw


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"type": "response"}, "response"),
        ({"type": "response", "response": None, "x": "secret"}, "response"),
        ({"type": "reasoning", "response": ["secret"]}, "response"),
    ],
)
def test_malformed_event_is_reported(payload, field):
    """The message names the field and never quotes the data."""
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
    """A heartbeat, or an event from the future: it costs no answer."""
    event = parse_event(payload)

    assert isinstance(event, UnknownEvent)
    assert (event.type, event.wire_type, event.raw) == ("unknown", "", raw)


def test_event_that_is_a_list_is_reported():
    """It is JSON, and nothing that an event could be."""
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
def test_error_event_is_read_in_any_form(payload, message, code):
    """With an object in `error`, with a number as its code, without a type, or by the name of the event."""
    event = parse_event(payload)

    assert isinstance(event, ErrorEvent)
    assert (event.message or event.error, event.error_code) == (message, code)


def test_name_of_an_event_tells_an_error():
    """`event: error` counts, in all its forms; another name does not."""
    lines = b'event: error\ndata: {"message": "down"}\n\n'
    for chunks in ([lines], pieces(lines, 1), [lines[:-2]]):
        (event,) = read_stream(reader_for(), chunks)
        assert (type(event), event.message) == (ErrorEvent, "down")

    named = b'event: ping\ndata: {"at": 1}\n\n'
    unknown, response, usage = read_stream(reader_for(), [named + as_sse(HELLO, USAGE)])
    assert (unknown.type, response.type, usage.type) == ("unknown", "response", "usage")


def test_an_error_does_not_show_the_key():
    """Wherever the service repeats it: in the event, in what is raised for it, and in its code."""
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
def test_what_is_not_promised_costs_no_event(payload, field):
    """It is left out, and `raw` has it."""
    event = parse_event(as_json(payload))

    assert getattr(event, field) in (None, Usage())
    assert event.raw == payload


def test_broken_json_is_not_quoted_by_a_traceback():
    """The error of Pydantic, which has it, is not in the chain."""
    with pytest.raises(ResponseDecodeError) as caught:
        parse_event(b'{"type": "response", "response": "secret')

    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "payload",
    [b"{", b"[", b"[DONE", b'{"type": "response", "response": "secret', b'{"type": "usage", "x": "\xff"}'],
)
def test_event_that_is_no_json_is_reported(payload):
    """With its bytes, and without quoting them."""
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
    """Nothing that a service sends raises anything else, now or when `raw` is read."""
    try:
        event = parse_event(json.dumps(value))
    except ResponseError:
        return

    assert isinstance(event.raw, dict)


@given(
    st.binary(max_size=30) | st.binary(max_size=9).map(lambda inner: b'{"type":"usage","usage":{"x":' + inner + b"}}")
)
def test_any_bytes_are_parsed_or_reported(payload):
    """Even those that are no text."""
    try:
        event = parse_event(payload)
    except ResponseError:
        return

    assert isinstance(event.raw, dict)


# --- A transcript ----------------------------------------------------------------------------------------------------


def transcript_of(*events):
    transcript = PromptTranscript()
    for event in events:
        transcript.add(parse_event(as_json(event)))
    return transcript


def test_transcript_gives_the_answer_of_a_call_without_stream():
    """`collect()` and `invoke_prompt()` are the same to the caller."""
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
    """And leaves out what it did not."""
    answer = transcript_of(HELLO, usage_event).answer()

    assert {name: value for name, value in answer.raw.items() if value != {}} == expected
    assert answer.response == "Hello"


def test_transcript_of_done_alone_has_no_usage():
    """`[DONE]` ends a stream whose usage was not sent."""
    transcript = transcript_of(HELLO)
    transcript.is_complete = True

    assert transcript.answer().raw == {"response": "Hello"}


def test_unfinished_transcript_gives_no_answer():
    """But what there is."""
    transcript = transcript_of(*EVENTS[:3])

    with pytest.raises(StreamInterruptedError, match="closed before its end") as caught:
        transcript.answer()

    partial = caught.value.partial
    assert (partial.text, partial.reasoning) == ("Hello, ", "Let me think. Done.")
    assert (partial.request_id, partial.model) == ("req_1", "gpt-5-nano")
    assert partial.usage is None
    assert caught.value.maybe_processed is True


def test_partial_answer_has_all_that_came():
    """The usage and the reason to stop, too."""
    partial = transcript_of(*EVENTS).partial()

    assert partial.text == "Hello, bees."
    assert partial.usage is not None
    assert partial.usage.total_tokens == 30
    assert partial.stop_reason == "completed"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"error": "failed"}, "failed"),
        ({"message": "the model failed", "error": "failed"}, "the model failed"),
        ({"message": "", "error": "failed"}, "failed"),
        ({}, "the run failed"),
        ({"error": "failed", "error_code": "provider_failed"}, "failed (error_code: provider_failed)"),
        ({"error": "failed", "code": "c", "request_id": "req_9"}, "failed (error_code: c, request_id: req_9)"),
    ],
)
def test_error_event_fails_the_answer(event, said):
    """With what the service said and what had come before."""
    transcript = transcript_of(HELLO, {"type": "error", **event})

    with pytest.raises(StreamFailedError) as caught:
        transcript.answer()

    assert str(caught.value) == said
    assert caught.value.error_code == (event.get("error_code") or event.get("code"))
    assert caught.value.partial.text == "Hello"
    assert transcript.is_complete


def test_transcript_keeps_the_last_ids_that_it_heard():
    """Not every event has them."""
    transcript = transcript_of({**HELLO, "request_id": "req_1", "model": "m"}, HELLO, {"type": "future", "x": 1}, USAGE)

    assert (transcript.request_id, transcript.model) == ("req_1", "m")
    assert transcript.failure() is None


# --- A stream --------------------------------------------------------------------------------------------------------


class Clock:
    """Stands still until it is told."""

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
    """Iterate, and keep in `seen` what came before an error."""
    for item in items:
        seen.append(item)
    return ()


@pytest.mark.parametrize("media_type", ["text/event-stream", ""])
def test_stream_gives_its_events(media_type):
    """Word for word, in order, and then the answer."""
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
def test_chunking_never_matters(places, newline, before, unterminated):
    """However the bytes are cut, in characters too, the events come out the same."""
    events = [*EVENTS[:3], {"type": "response", "response": "Grüße 🐝 \u2028\u2029\x85\x7f"}, EVENTS[4]]
    stream = (before + as_sse(*events) + DONE).replace(b"\n", newline)
    stream = stream.rstrip(b"\r\n") if unterminated else stream
    edges = [0, *sorted(place % len(stream) for place in places), len(stream)]

    found = read_stream(reader_for(), [stream[start:end] for start, end in zip(edges, edges[1:])])

    assert raws(found) == events


def test_done_ends_a_stream():
    """Nothing after it counts, not even an error of form."""
    reader = reader_for()

    events = read_stream(reader, [as_sse(HELLO) + DONE + as_sse(HELLO) + b"data: {broken\n\n"])

    assert raws(events) == [HELLO]
    assert reader.is_done
    assert reader.transcript.is_complete
    assert list(reader.finish()) == []


@pytest.mark.parametrize("done", [b"data: [DONE]\n\n", b"data:[DONE] \r\n\r\n", b"data: [DONE]\n", b"data: [DONE]"])
def test_done_counts_in_every_form(done):
    """Without its blank line, too."""
    reader = reader_for()

    events = read_stream(reader, [as_sse(HELLO) + done])

    assert raws(events) == [HELLO]
    assert reader.is_done


def test_end_of_a_finished_stream_is_awaited_for_a_moment():
    """A tenth of a second: then its connection is not worth the wait."""
    clock = Clock()
    reader = reader_for(clock=clock)
    read_stream(reader, [DONE])

    assert not reader.is_overdue()
    clock.now += 0.1
    assert reader.is_overdue()


@pytest.mark.parametrize("end", [USAGE, {"type": "error", "error": "failed"}])
def test_usage_or_error_completes_a_stream(end):
    """`[DONE]` is no promise of the vendor's pages. An error event is yielded like any other."""
    events = read_stream(reader_for(), [as_sse(HELLO, end)])

    assert raws(events) == [HELLO, end]


def test_last_event_without_its_blank_line_counts_if_it_is_whole():
    """The one thing that goes beyond the WHATWG text: it has been paid for."""
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
def test_stream_that_ends_too_early_is_interrupted(rest):
    """The whole events first, then the error with what there was."""
    events, error = read_broken_stream(reader_for(), [as_sse({**HELLO, "request_id": "req_1"}) + rest])

    assert [event.response for event in events] == ["Hello"]
    assert type(error) is StreamInterruptedError
    assert error.partial.text == "Hello"
    assert error.request_id == "req_1"
    assert error.maybe_processed is True


def test_stream_of_nothing_is_interrupted():
    """An empty 200 is no answer."""
    events, error = read_broken_stream(reader_for(), [])

    assert events == []
    assert type(error) is StreamInterruptedError


def test_rest_after_the_answer_does_not_matter():
    """A complete answer stays one, whatever is cut off behind it."""
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
def test_broken_event_is_reported_after_those_before_it(bad, kind):
    """Nothing is skipped in silence."""
    reader = reader_for()

    events, error = read_broken_stream(reader, [as_sse(HELLO) + bad])

    assert raws(events) == [HELLO]
    assert type(error) is kind
    assert reader.transcript.partial().text == "Hello"


def test_stream_may_be_compressed():
    """Though nobody asked for it."""
    zipped = gzip.compress(as_sse(*EVENTS) + DONE)

    events = read_stream(reader_for(encoding="gzip"), pieces(zipped, 10))

    assert raws(events) == EVENTS


def test_cut_compressed_stream_is_interrupted():
    """What could be read of it comes first."""
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
def test_json_answer_to_a_stream_gives_the_same_answer(answer, encoding):
    """As events: reasoning if there is any, response, usage."""
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
    """As it is to a call without stream."""
    events, error = read_broken_stream(reader_for(media_type), [body])

    assert events == []
    assert type(error) is kind


def test_bomb_in_a_json_answer_to_a_stream_is_met_piece_by_piece():
    """No more than the bound is ever held, which is that of any answer."""
    reader = reader_for("application/json", "gzip")
    reader._body._max_bytes = 100_000
    bomb = gzip.compress(b" " * 10_000_000)

    tracemalloc.start()
    _, error = read_broken_stream(reader, [bomb])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert type(error) is ResponseTooLargeError
    assert peak < 1_000_000


def test_cut_json_answer_to_a_stream_is_reported():
    """Its compression ended early."""
    zipped = gzip.compress(as_json(ANSWER))[:-1]

    _, error = read_broken_stream(reader_for("application/json", "gzip"), [zipped])

    assert "ended early" in str(error)


# --- A silent stream -------------------------------------------------------------------------------------------------


def test_comments_keep_a_stream_alive():
    """A model may think for minutes; breaking off would throw away a paid run."""
    clock = Clock()
    reader = reader_for(clock=clock)

    for _ in range(100):
        clock.now += 50
        assert list(reader.feed(b": thinking\n\n")) == []

    assert raws(reader.feed(as_sse(HELLO))) == [HELLO]


def test_comments_are_no_events():
    """With `idle_timeout` set, only events count."""
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


def test_each_event_starts_the_idle_time_again():
    """Even one that nobody knows; a late event is better than none."""
    clock = Clock()
    reader = reader_for(idle_timeout=10, clock=clock)

    for event in (HELLO, {"type": "future"}, HELLO, USAGE):
        clock.now += 11
        assert raws(reader.feed(as_sse(event))) == [event]
        assert not reader.is_overdue()


def test_complete_stream_that_only_comments_is_over():
    """The answer is there: it is no timeout."""
    clock = Clock()
    reader = reader_for(idle_timeout=10, clock=clock)
    list(reader.feed(as_sse(HELLO, USAGE)))
    clock.now += 11

    events = read_stream(reader, [b": still here\n\n"])

    assert events == []
    assert reader.is_done
    assert reader.transcript.answer().response == "Hello"


# --- Found in review -------------------------------------------------------------------------------------------------


def test_half_an_emoji_loses_only_itself():
    """A provider may cut an emoji between two events: JSON allows the halves, and the answer has been paid for."""
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
def test_unknown_event_is_passed_on_whatever_its_fields_are(wire):
    """What is not known cannot be wrong: it stands in `raw`, and the type is the one of the service."""
    event = parse_event(json.dumps(wire))

    assert isinstance(event, UnknownEvent)
    assert (event.wire_type, event.request_id) == (wire["type"], None)
    assert event.raw == wire


@pytest.mark.parametrize(
    "chunks", [[b'{"response": "paid",', b' "request_id": "req_9"}'], [b" \n", b'{"response": "paid"}']]
)
def test_json_of_no_type_is_read_as_json(chunks):
    """A stream whose media type nobody tells is JSON if it begins like it; no event stream does."""
    events = read_stream(reader_for(""), chunks)

    assert [event.type for event in events] == ["response", "usage"]


def test_events_of_no_type_are_read_as_events():
    """Anything else is an event stream."""
    events = read_stream(reader_for(""), [b"\n", *[as_sse({"type": "response", "response": "a"}, {"type": "usage"})]])

    assert [event.type for event in events] == ["response", "usage"]


def test_json_for_a_stream_keeps_request_and_model_in_every_event():
    """The events of an answer in one piece know where they are from."""
    answer = {"response": "a", "reasoning": "b", "request_id": "req_1", "model": "m"}
    events = read_stream(reader_for("application/json"), [json.dumps(answer).encode()])

    assert [event.request_id for event in events] == ["req_1"] * 3
    assert [event.raw.get("model") for event in events] == ["m", "m", None]


def test_end_of_a_stream_is_told_again():
    """Who comes to a stream that is over is told how it ended; a whole one just ends."""
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


def test_stream_that_was_never_sent_was_never_billed():
    """Closing a stream before its use is no run."""
    unused = PromptTranscript()
    unused.is_unused = True

    assert not unused.interruption("closed").maybe_processed
    assert unused.interruption("closed").attempts == 0
    assert PromptTranscript().interruption("closed").maybe_processed


# --- Asked for by mutants --------------------------------------------------------------------------------------------


def test_model_of_a_later_event_counts():
    """The model is that of the last event that names one."""
    transcript = transcript_of(
        {"type": "reasoning", "response": "a", "model": "m1"},
        {"type": "response", "response": "b", "model": "m2"},
        {"type": "response", "response": "c"},
    )

    assert transcript.partial().model == "m2"


def test_escaped_letters_arrive_as_they_are():
    """Answers and events are read right however the service writes its letters; Pydantic before 2.7.3 does not."""
    answer = parse_answer(one(InvokeResponse), "application/json", b'{"response": "caf\\u00e9 \\ud83d\\ude00"}')
    event = parse_event('{"type": "response", "response": "caf\\u00e9"}')

    assert answer.response == "café \U0001f600"
    assert event.response == "café"


def test_model_of_the_reasoning_counts():
    """Where only the reasoning names the model, that is the model."""
    transcript = transcript_of(
        {"type": "reasoning", "response": "a", "model": "m1"}, {"type": "response", "response": "b"}
    )

    assert transcript.partial().model == "m1"


def test_failure_has_its_request_id():
    """The error that the service sent is that of a run."""
    transcript = transcript_of({"type": "response", "response": "a", "request_id": "req_1"}, {"type": "error"})

    assert transcript.failure().request_id == "req_1"


def test_json_of_no_type_may_begin_with_blanks():
    """What looks like JSON is JSON, wherever it begins."""
    events = read_stream(reader_for(""), [b' \n {"response": "paid"}'])

    assert [event.raw["type"] for event in events] == ["response", "usage"]


def test_known_event_is_what_it_says_whatever_its_name():
    """The type in the data is the service's own, the name may be a gateway's."""
    assert isinstance(parse_event(ErrorPayload(as_json(HELLO))), ResponseEvent)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "error": f"the key {KEY} is not known", "error_code": KEY},
        {"type": "error", "error": {"message": KEY, "code": KEY}, "request_id": KEY, "more": [{KEY: KEY}]},
        {"error": {"message": f"Bearer {KEY}"}},
    ],
)
def test_key_in_an_error_event_is_masked(event):
    """In the event, and in the error, whichever way one looks at it."""
    reader = reader_for()
    reader.transcript.secret = Secret(KEY)
    escaped = as_json(event).replace(KEY.encode(), b"\\u0066" + KEY[1:].replace("/", "\\/").encode())

    (said, seen) = read_stream(reader, [as_sse({"type": "response", "response": KEY}) + b"data: " + escaped + b"\n\n"])
    error = reader.transcript.failure()

    assert said.response == KEY
    assert isinstance(seen, ErrorEvent)
    for shown in (seen, seen.raw, dict(seen), error, error.error_code, error.request_id, vars(error), error.partial):
        assert KEY not in str(shown)
        assert KEY not in repr(shown)
    assert KEY.encode() not in pickle.dumps(seen) + pickle.dumps(error)
    assert "***" in str(error)
    assert error.partial.text == "***"


def test_error_event_without_the_key_is_passed_on_as_it_is():
    """The very object."""
    reader = reader_for()
    reader.transcript.secret = Secret(KEY)

    (seen,) = read_stream(reader, [as_sse({"type": "error", "error": "failed", "code": 7})])

    assert seen is reader.transcript._error
    assert seen.raw == {"type": "error", "error": "failed", "code": 7}


def test_long_message_of_an_error_event_is_cut():
    """A log line is no place for a book; the event has it whole."""
    transcript = transcript_of({"type": "error", "error": "x" * 100_000})

    assert len(str(transcript.failure())) < 1100


def test_interruption_says_the_request_id_and_masks_the_key():
    """Those who look for the run need it."""
    transcript = transcript_of({**HELLO, "request_id": "req_1"}, {"type": "reasoning", "response": f"I know {KEY}"})
    transcript.secret = Secret(KEY)

    error = transcript.interruption("the stream broke off")

    assert str(error) == "the stream broke off (request_id: req_1)"
    assert error.partial.reasoning == "I know ***"
    assert transcript.partial().reasoning == f"I know {KEY}"


def test_collected_answer_keeps_a_usage_that_cannot_be_read():
    """The attribute is empty, the dict has what came."""
    answer = transcript_of(HELLO, {"type": "usage", "usage": "many", "stop_reason": 7}).answer()

    assert answer.usage.total_tokens is None
    assert answer.raw == {"response": "Hello", "usage": "many"}


def test_stream_flushed_member_by_member_is_read_whole():
    """A server that flushes each event begins a new member of gzip data; some of them are empty."""
    zipped = b"".join(gzip.compress(as_sse(event)) + gzip.compress(b"") for event in EVENTS) + gzip.compress(DONE)

    for size in (1, 10, 10_000):
        assert raws(read_stream(reader_for(encoding="gzip"), pieces(zipped, size))) == EVENTS


def test_each_member_of_a_compressed_stream_is_an_event_at_once():
    """What has been flushed is not kept back until the next member begins."""
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
def test_error_by_name_fails_the_stream(wire):
    """However the bytes are cut; the next event is not one for it."""
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
    """By its code alone, too."""
    event = parse_event(as_json(payload))

    assert isinstance(event, ErrorEvent)
    assert (event.message or event.error, event.error_code) == (error, code)
    assert event.raw == payload


def test_error_of_an_unknown_type_is_known_by_its_name():
    """What the server marks as an error is one."""
    event = parse_event(ErrorPayload(b'{"type": "overloaded", "message": "busy"}'))

    assert isinstance(event, ErrorEvent)
    assert event.message == "busy"
    assert event.raw == {"type": "overloaded", "message": "busy"}
