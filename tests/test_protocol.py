"""What is sent, and what is made of the answer. Plain calls with plain values: no client, no socket, no waiting."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import logging
import pickle
import tracemalloc
import zlib
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ErrorEvent,
    FetchHiveError,
    InternalServerError,
    InvokeRequest,
    InvokeResponse,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
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
    UnprocessableEntityError,
    UsageEvent,
)
from fetch_hive_sdk._config import Secret, read_config
from fetch_hive_sdk._protocol import (
    NETWORK_ERRORS,
    USER_AGENT,
    BodyReader,
    Call,
    Endpoint,
    EventReader,
    Inflater,
    Transcript,
    build_request,
    content_encoding,
    content_type,
    find_request_id,
    is_json,
    merge_body,
    parse_answer,
    parse_event,
    read_retry_after,
    refuse,
    without_secrets,
)
from fetch_hive_sdk._retry import RetryPolicy
from fetch_hive_sdk._time import Deadlines

KEY = "fh_live_0123456789/abc"
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=timezone.utc)
BOM = b"\xef\xbb\xbf"
PIECE = 64 * 1024
ANSWER = {
    "request_id": "req_1",
    "model": "gpt-5-nano",
    "duration": 1.25,
    "reasoning": "Let me think. Done.",
    "response": "Hello, bees.",
    "usage": {
        "prompt_tokens": {"total_tokens": 10, "cached_tokens": 2},
        "completion_tokens": {"total_tokens": 20, "reasoning_tokens": 5},
        "total_tokens": 30,
    },
    "stop_reason": "completed",
}
EVENTS = [
    {"type": "reasoning", "request_id": "req_1", "model": "gpt-5-nano", "response": "Let me think. "},
    {"type": "reasoning", "request_id": "req_1", "model": "gpt-5-nano", "response": "Done."},
    {"type": "response", "request_id": "req_1", "model": "gpt-5-nano", "response": "Hello, "},
    {"type": "response", "request_id": "req_1", "model": "gpt-5-nano", "response": "bees."},
    {
        "type": "usage",
        "request_id": "req_1",
        "usage": {**ANSWER["usage"], "duration": 1.25},
        "stop_reason": "completed",
    },
]
HELLO = {"type": "response", "response": "Hello"}
USAGE = {"type": "usage", "usage": {"total_tokens": 3}}
DONE = b"data: [DONE]\n\n"


def config(**settings):
    return read_config(**{"api_key": KEY, "base_url": "https://api.test/v1", "environ": {}, **settings})


def as_json(value):
    return json.dumps(value, ensure_ascii=False).encode()


def as_sse(*events):
    return b"".join(b"data: " + as_json(event) + b"\n\n" for event in events)


def pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


# --- Down: the request -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("streaming", "accept", "encoding"),
    [(False, "application/json", "gzip"), (True, "text/event-stream, application/json", "identity")],
)
def test_request_says_who_sends_it_and_what_it_takes(streaming, accept, encoding):
    """Events must not wait in a compressor; one answer may be compressed in the one way that is undone with a bound."""
    request = build_request(config(), "/prompt/invoke", b"{}", streaming=streaming, limits={"read": 5.0})

    assert (request.method, str(request.url)) == ("POST", "https://api.test/v1/prompt/invoke")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == accept
    assert request.headers["accept-encoding"] == encoding
    assert request.headers["user-agent"] == USER_AGENT
    assert request.content == b"{}"
    assert request.extensions["timeout"] == {"read": 5.0}


def test_request_in_an_error_has_neither_key_nor_body():
    """What it was sent to and how is still told."""
    request = build_request(config(), "/prompt/invoke", b'{"inputs": "private"}', streaming=False, limits={})

    shown = without_secrets(request)

    assert "authorization" not in shown.headers
    assert shown.content == b""
    assert (shown.method, shown.url) == (request.method, request.url)
    assert shown.headers["user-agent"] == USER_AGENT
    assert KEY.encode() not in pickle.dumps(shown)


def test_extra_fields_are_added_to_the_body():
    """For what this version does not know."""
    fields = InvokeRequest(deployment="d", inputs={"a": 1}).raw

    body = merge_body(fields, {"seed": 7, "when": NOW})

    assert json.loads(body) == {**fields, "seed": 7, "when": "2026-11-23T12:00:00Z"}
    assert json.loads(merge_body(fields, None)) == fields


def test_extra_fields_do_not_hide_arguments():
    """What has an argument is passed there; the message names all that are wrong."""
    with pytest.raises(ValueError, match="extra_body must not have streaming, user: there is an argument"):
        merge_body({"deployment": "d"}, {"user": "u", "streaming": True, "seed": 7})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"x": float("nan")}, r"extra_body\.x is nan"),
        ({"x": object()}, r"extra_body\.x is of type object"),
        ([1], "extra_body must be a mapping"),
    ],
)
def test_extra_fields_must_be_json(extra, message):
    """As any input, under their own name."""
    with pytest.raises(ValueError, match=message):
        merge_body({"deployment": "d"}, extra)


# --- Up: bodies ------------------------------------------------------------------------------------------------------


def feed_all(reader, chunks):
    for chunk in chunks:
        reader.feed(chunk)


def read_body(chunks, encoding="", **bound):
    reader = BodyReader(encoding, **bound)
    feed_all(reader, chunks)
    return reader.finish()


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_plain_body_is_taken_as_it_is(encoding):
    """In as many chunks as it comes."""
    assert read_body([b"Hello, ", b"", b"bees"], encoding) == b"Hello, bees"
    assert read_body([], encoding) == b""


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " x-gzip "])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_gzip_is_undone(encoding, size):
    """However its bytes are cut."""
    body = as_json(ANSWER) * 1000

    assert read_body(pieces(gzip.compress(body), size), encoding) == body


@pytest.mark.parametrize("missing", [1, 8, 20])
def test_cut_gzip_is_reported_with_what_came(missing):
    """Even if only its checksum is missing."""
    body = as_json(ANSWER)

    with pytest.raises(ResponseDecodeError, match="ended early") as caught:
        read_body([gzip.compress(body)[:-missing]], "gzip")

    assert body.startswith(caught.value.body)


def test_empty_gzip_is_cut_gzip():
    """Even nothing has a header when it is compressed."""
    with pytest.raises(ResponseDecodeError, match="ended early"):
        read_body([], "gzip")


@pytest.mark.parametrize(
    "body",
    [
        b'{"response": "plain"}',
        bytes.fromhex("1f8b0800000000000003") + b"\xff" * 50,
        gzip.compress(b"whole", mtime=0)[:-8] + bytes(8),
    ],
    ids=["no gzip", "broken inside", "false checksum"],
)
def test_false_gzip_is_reported_with_its_bytes(body):
    """The header says one thing and the bytes another."""
    with pytest.raises(ResponseDecodeError, match="not the gzip data that its header says") as caught:
        read_body([body], "gzip")

    assert caught.value.body == body
    assert isinstance(caught.value.__cause__, zlib.error)


def test_bytes_after_the_gzip_data_are_ignored():
    """As everybody does."""
    assert read_body([gzip.compress(b"whole") + b"padding", b"more"], "gzip") == b"whole"


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "x" * 100])
def test_compression_that_nobody_asked_for_is_reported(encoding):
    """Its name is in the message, but not a long one; the bytes are kept."""
    with pytest.raises(ResponseDecodeError, match="compressed with") as caught:
        read_body([b"\x00bytes"], encoding)

    assert encoding[:20] in str(caught.value)
    assert len(str(caught.value)) < 80
    assert caught.value.body == b"\x00bytes"


def test_long_body_is_refused():
    """Its beginning is kept."""
    with pytest.raises(ResponseTooLargeError, match="longer than 1,000 bytes") as caught:
        read_body([b"x" * 600, b"x" * 600], max_bytes=1000)

    assert caught.value.body == b"x" * 600
    assert read_body([b"x" * 600, b"x" * 400], max_bytes=1000) == b"x" * 1000


def test_bomb_is_met_piece_by_piece():
    """A few bytes that inflate to a thousand times as many never do so at once."""
    bomb = gzip.compress(b"\x00" * 10_000_000)
    inflater = Inflater("gzip")

    sizes = [len(piece) for piece in inflater.feed(bomb)]

    assert max(sizes) <= PIECE
    assert sum(sizes) == 10_000_000


@pytest.mark.parametrize("size", [100, 100_000])
def test_bomb_is_refused_at_the_bound(size):
    """No more than the bound is ever held."""
    reader = BodyReader("gzip", max_bytes=100_000)

    with pytest.raises(ResponseTooLargeError):
        feed_all(reader, pieces(gzip.compress(b"\x00" * 10_000_000), size))

    assert len(reader.so_far()) <= 100_000


def test_what_came_can_be_had_before_the_end():
    """A broken connection leaves it as evidence."""
    reader = BodyReader()
    reader.feed(b'{"response": "Hel')

    assert reader.so_far() == b'{"response": "Hel'


# --- Up: what a body is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "media_type", "json_like"),
    [
        ("application/json", "application/json", True),
        ("Application/JSON; charset=utf-8", "application/json", True),
        ("application/problem+json", "application/problem+json", True),
        ("text/json", "text/json", True),
        (None, "", True),
        ("text/html; charset=utf-8", "text/html", False),
        ("text/event-stream", "text/event-stream", False),
        ("application/jsonp", "application/jsonp", False),
    ],
)
def test_media_type_is_read_from_the_header(header, media_type, json_like):
    """Its parameters and capitals do not matter; a body without a type is taken at its word."""
    response = httpx.Response(200, headers={"content-type": header} if header else {})

    assert content_type(response) == media_type
    assert is_json(media_type) is json_like


def test_response_that_was_read_is_no_longer_compressed():
    """An event hook of an injected client may have read it."""
    zipped = gzip.compress(b"{}")
    unread = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(zipped))
    read = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(zipped))
    read.read()

    assert content_encoding(unread) == "gzip"
    assert content_encoding(read) == ""
    assert content_encoding(httpx.Response(200)) == ""


# --- Up: one answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["application/json", ""])
@pytest.mark.parametrize("before", [b"", BOM, b" \n"])
def test_answer_is_parsed(media_type, before):
    """Every field of the vendor's page, and `raw` is the very object."""
    answer = parse_answer(InvokeResponse, media_type, before + as_json(ANSWER))

    assert answer.response == "Hello, bees."
    assert answer.usage.completion_tokens.reasoning_tokens == 5
    assert answer.raw == ANSWER


@pytest.mark.parametrize(
    "body",
    [
        {"response": ""},
        {"response": "x", "usage": None},
        {"response": "x", "stop_reason": "something_new"},
        {"response": "x", "tomorrow": {"a": [1]}},
        {"response": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    ],
)
def test_unknown_is_passed_on(body):
    """Extra fields, new words, flat counts and missing optional fields are no errors."""
    assert parse_answer(InvokeResponse, "application/json", as_json(body)).raw == body


@pytest.mark.parametrize("media_type", ["text/html", "text/plain", "application/xml"])
def test_other_content_types_are_reported(media_type):
    """A page of a proxy, most likely. Its bytes are kept."""
    page = b"<html>Sign in to the network</html>"

    with pytest.raises(UnexpectedContentTypeError, match=f"is {media_type}, not JSON") as caught:
        parse_answer(InvokeResponse, media_type, page)

    assert caught.value.body == page
    assert caught.value.maybe_processed is True


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \r\n",
        b'{"response": "Hel',
        b"secret word",
        b'{"response": "secret \xff"}',
        b'{"response": "secret", }',
        b"{'response': 'secret'}",
        BOM,
        b"[" * 10_000,
    ],
)
def test_broken_json_is_reported_with_its_bytes(body):
    """The message does not quote them, and no cause does."""
    with pytest.raises(ResponseDecodeError, match="the answer is") as caught:
        parse_answer(InvokeResponse, "application/json", body)

    assert caught.value.body == body
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("body", [b"[]", b'"secret"', b"7", b"null", b"true", b'[{"response": "secret"}]'])
def test_json_that_is_no_object_is_reported(body):
    """With the value."""
    with pytest.raises(ResponseValidationError, match="JSON, but not an object") as caught:
        parse_answer(InvokeResponse, "application/json", body)

    assert caught.value.body == json.loads(body)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"response": None}, "response"),
        ({"response": 7}, "response"),
        ({"response": ["secret"]}, "response"),
        ({"request_id": 7}, "request_id"),
        ({"model": ["secret"]}, "model"),
        ({"duration": "secret"}, "duration"),
        ({"reasoning": {"secret": 1}}, "reasoning"),
        ({"stop_reason": 0}, "stop_reason"),
        ({"usage": "secret"}, "usage"),
        ({"usage": {"total_tokens": "secret"}}, "usage.total_tokens"),
        ({"usage": {"prompt_tokens": "secret"}}, "usage.prompt_tokens"),
        ({"usage": {"prompt_tokens": {"cached_tokens": "secret"}}}, "usage.prompt_tokens.cached_tokens"),
        ({"usage": {"completion_tokens": {"reasoning_tokens": []}}}, "usage.completion_tokens.reasoning_tokens"),
    ],
)
def test_malformed_is_reported(changed, field):
    """The message names the field and never quotes the data; the object is kept, for it has been paid for."""
    body = {**ANSWER, **changed}

    with pytest.raises(ResponseValidationError, match="not as promised") as caught:
        parse_answer(InvokeResponse, "application/json", as_json(body))

    assert f"{field}: " in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.body == body
    assert caught.value.request_id == (None if field == "request_id" else "req_1")
    assert caught.value.__context__ is None


def test_missing_response_is_reported():
    """It is the one promise of an answer."""
    with pytest.raises(ResponseValidationError, match="response: Field required") as caught:
        parse_answer(InvokeResponse, "application/json", b'{"request_id": "req_1"}')

    assert caught.value.request_id == "req_1"


def test_many_mistakes_are_summed_up():
    """Three of them are named."""
    body = {"response": 1, "model": 2, "reasoning": 3, "stop_reason": 4, "duration": "x"}

    with pytest.raises(ResponseValidationError, match="; and 2 more"):
        parse_answer(InvokeResponse, "application/json", as_json(body))


@pytest.mark.parametrize(
    ("body", "request_id"),
    [
        (b'{"request_id": "req_1", "response": "Hel', "req_1"),
        (b'{"response": "Hello" "request_id" \n:\t"0190-af_3"', "0190-af_3"),
        (b'{"response": "\xff", "request_id":"req_1"}', "req_1"),
        (b'<pre>{"request_id": "req_1"}</pre>', "req_1"),
        (b'{"request_id": "req_', None),
        (b'{"request_id": 7, "a"', None),
        (b'{"request_id": "not an id", ', None),
        (b'{"request_id": "' + b"x" * 101 + b'", ', None),
        (b"", None),
    ],
)
def test_request_id_is_found_in_broken_bodies(body, request_id):
    """It is what the vendor's support asks for."""
    assert find_request_id(body) == request_id


@pytest.mark.parametrize("media_type", ["text/html", "application/json"])
def test_error_of_a_broken_body_has_its_request_id(media_type):
    """Whatever is wrong with the body."""
    with pytest.raises(ResponseError) as caught:
        parse_answer(InvokeResponse, media_type, b'{"request_id": "req_1", "response": "Hel')

    assert caught.value.request_id == "req_1"


# --- Up: one event ---------------------------------------------------------------------------------------------------


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
        ({"type": "response", "response": "secret", "model": 7}, "model"),
        ({"type": "usage", "usage": {"total_tokens": "secret"}}, "usage.total_tokens"),
        ({"type": "error", "error": {"secret": 1}}, "error"),
        ({"type": "error", "error": "secret", "error_code": 7}, "error_code"),
    ],
)
def test_malformed_event_is_reported(payload, field):
    """The message names the field and never quotes the data."""
    body = {"request_id": "req_1", **payload}

    with pytest.raises(ResponseValidationError, match="an event of the stream is not as promised") as caught:
        parse_event(as_json(body))

    assert f"{field}: " in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.body == body
    assert caught.value.request_id == "req_1"


@pytest.mark.parametrize("payload", [b"{}", b'{"type": null}', b'{"type": 7}', b"[]", b'"secret"', b"7", b"null"])
def test_event_without_a_type_is_reported(payload):
    """It could be anything."""
    with pytest.raises(ResponseValidationError) as caught:
        parse_event(payload)

    assert caught.value.body == json.loads(payload)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "payload",
    [b"", b" ", b"\n", b"{", b"secret", b'{"type": "response", "response": "secret', b'{"type": "usage", "x": "\xff"}'],
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


# --- Up: a transcript ------------------------------------------------------------------------------------------------


def transcript_of(*events):
    transcript = Transcript()
    for event in events:
        transcript.add(parse_event(as_json(event)))
    return transcript


def test_transcript_gives_the_answer_of_a_call_without_stream():
    """`collect()` and `invoke_prompt()` are the same to the caller."""
    in_one_piece = parse_answer(InvokeResponse, "application/json", as_json(ANSWER))

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


# --- Up: a stream ----------------------------------------------------------------------------------------------------


class Clock:
    """Stands still until it is told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def reader_for(media_type="text/event-stream", encoding="", *, idle_timeout=None, clock=None):
    deadlines = Deadlines(60.0, idle_timeout, clock or Clock())
    deadlines.begin_attempt(streaming=True)
    deadlines.begin_stream()
    return EventReader(media_type, encoding, Transcript(), deadlines)


def read_stream(reader, chunks):
    """Read as the shells do."""
    events = []
    for chunk in chunks:
        events += reader.feed(chunk)
        if reader.is_done:
            break
    events += reader.finish()
    return events


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


def raws(events):
    return [event.raw for event in events]


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
        (b"data: \xff\n\n", ResponseDecodeError),
        (b"data\ndata\n\n", ResponseDecodeError),
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
    expected = parse_answer(InvokeResponse, "application/json", as_json(answer))
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


# --- Up: a silent stream ---------------------------------------------------------------------------------------------


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


# --- Up: refusals ----------------------------------------------------------------------------------------------------

REQUEST = httpx.Request("POST", "https://api.test/v1/prompt/invoke", headers={"Authorization": f"Bearer {KEY}"})


def refusal(status, body=b"", headers=None, **extensions):
    response = httpx.Response(status, headers=headers, request=REQUEST, extensions=extensions)
    data = body if isinstance(body, bytes) else as_json(body)
    return refuse(response, data, api_key=Secret(KEY), now=NOW.timestamp)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, PaymentRequiredError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, InternalServerError),
        (502, InternalServerError),
        (503, InternalServerError),
        (504, InternalServerError),
        (529, InternalServerError),
        (301, APIStatusError),
        (307, APIStatusError),
        (408, APIStatusError),
        (410, APIStatusError),
        (418, APIStatusError),
        (425, APIStatusError),
    ],
)
def test_status_decides_the_class(status, kind):
    """And nothing else does."""
    error = refusal(status, {"message": "No.", "error_code": "rate_limit", "code": "unauthorized"})

    assert type(error) is kind
    assert error.status_code == status
    assert error.maybe_processed is (status >= 500)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"message": "No such thing.", "error": "nope"}, "404 Not Found: No such thing."),
        ({"error": "nope"}, "404 Not Found: nope"),
        ({"message": "", "error": "nope"}, "404 Not Found: nope"),
        ({"message": {"a": 1}, "error": None}, "404 Not Found"),
        ({"message": "m", "error_code": "c"}, "404 Not Found: m (error_code: c)"),
        ({"message": "m", "code": "c", "request_id": "r"}, "404 Not Found: m (error_code: c, request_id: r)"),
        ({"request_id": "r"}, "404 Not Found (request_id: r)"),
        ({}, "404 Not Found"),
        ([{"message": "m"}], "404 Not Found"),
        ("gone", "404 Not Found: gone"),
        (b"", "404 Not Found"),
        (b"plain words\n here", "404 Not Found: plain words here"),
        (b'{"message": "cut', '404 Not Found: {"message": "cut'),
    ],
)
def test_refusal_says_what_the_service_said(body, said):
    """Its message, its code and the request id."""
    assert str(refusal(404, body)) == said


def test_status_without_a_name_is_a_number():
    """The service may invent some."""
    assert str(refusal(529, {"error": "overloaded"})) == "529: overloaded"


def test_message_of_the_service_is_cut():
    """A log line is no place for a book."""
    assert len(str(refusal(400, {"message": "x" * 100_000}))) < 1100


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error_code": "a", "code": "b"}, "a"),
        ({"code": "b"}, "b"),
        ({"error_code": "", "code": "b"}, "b"),
        ({"error_code": 7, "code": "b"}, "b"),
        ({"error_code": None}, None),
        ({}, None),
        ([], None),
        (b"text", None),
    ],
)
def test_error_code_is_taken_from_either_name(body, code):
    """`error_code` first. What is no text is none."""
    assert refusal(400, body).error_code == code


def test_body_of_a_refusal_is_its_value():
    """The JSON if it is some, else the text."""
    assert refusal(400, {"a": [1]}).body == {"a": [1]}
    assert refusal(400, [1]).body == [1]
    assert refusal(400, b"no JSON").body == "no JSON"
    assert refusal(400).body == ""


def test_response_of_a_refusal_can_be_read():
    """On streams, too: it has been read. What described its bytes on the wire is gone."""
    headers = {"content-encoding": "gzip", "content-length": "7", "transfer-encoding": "chunked", "x-trace": "t"}

    error = refusal(400, {"error": "nope"}, headers)

    assert error.response.text == '{"error": "nope"}'
    assert error.response.json() == {"error": "nope"}
    assert error.response.headers["x-trace"] == "t"
    assert error.response.headers.get("content-encoding") is None
    assert "authorization" not in error.request.headers
    assert error.request.url == REQUEST.url


@pytest.mark.parametrize(
    "page",
    [
        b"<html><head><title>502 Bad Gateway</title></head><body><h1>Sorry</h1></body></html>",
        b"<HTML><STYLE>p > a {color: red}</STYLE><script src='x'>if (a < b) { c() }</script >502 Bad Gateway <p>Sorry",
        b"<!doctype html><!-- a > b, so: <p> -->502 Bad Gateway\n\n <a href='x'\n>Sorry</a>",
        b"502 Bad Gateway Sorry<script>" + b"x = 1; " * 10_000,
    ],
)
def test_page_of_a_proxy_is_shown_without_its_markup(page):
    """Its words are enough."""
    error = refusal(502, page, {"content-type": "text/html"})

    assert str(error) == "502 Bad Gateway: 502 Bad Gateway Sorry"
    assert error.body == page.decode()


def test_page_of_a_proxy_is_shown_in_part():
    """At most 200 characters of it."""
    error = refusal(502, b"<p>" + b"word " * 10_000 + b"</p>", {"content-type": "text/html"})

    shown = str(error).partition(": ")[2]
    assert len(shown) == 200
    assert shown.endswith("...")


@pytest.mark.parametrize("charset", ["utf-16", "hex", "zlib", "rot13", "undefined", "idna", "punycode", "nonsense"])
def test_refusal_is_read_whatever_charset_it_claims(charset):
    """Python knows a hundred codecs, each with its own way to fail: then it is UTF-8."""
    error = refusal(500, "Grüße".encode() + b"\xff", {"content-type": f"text/plain; charset={charset}"})

    assert "Gr" in error.response.text
    assert error.maybe_processed is True
    assert pickle.loads(pickle.dumps(error)).response.text == error.response.text


@pytest.mark.parametrize("charset", ["latin-1", "utf-8", "windows-1252"])
def test_refusal_is_read_in_its_charset(charset):
    """If it can be."""
    error = refusal(500, "Grüße".encode(charset), {"content-type": f"text/plain; charset={charset}"})

    assert error.body == error.response.text == "Grüße"


def shown_parts(error):
    """Everything that an error shows, as one text."""
    response = error.response
    parts = [str(error), repr(error), error.body, error.error_code, error.request_id, response.text, response.content]
    parts += [response.headers.multi_items(), response.reason_phrase, response.extensions, vars(error), repr(response)]
    return repr(parts) + repr(pickle.dumps(error))


@pytest.mark.parametrize(
    "body",
    [
        {"message": f"the key {KEY} is not known", "request_id": KEY, "error_code": KEY},
        {"error": {"key": [KEY], KEY: 1}},
        f"the key {KEY} is not known".encode(),
        f'{{"message": "the key {KEY}'.encode(),
        b'{"message": "the key ' + KEY.replace("/", "\\/").encode() + b' is not known"}',
        b'{"message": "the key \\u0066' + KEY[1:].encode() + b' is not known"}',
    ],
)
def test_key_is_masked_in_a_refusal(body):
    """Wherever the service repeats it, however JSON writes it."""
    error = refusal(401, body, {"x-echo": f"Bearer {KEY}"}, reason_phrase=f"Unknown {KEY}".encode())

    shown = shown_parts(error)
    assert KEY not in shown
    assert KEY.replace("/", "\\/") not in shown
    assert "h_live_" not in shown
    assert "***" in shown
    assert error.response.headers["x-echo"] == "Bearer ***"


@pytest.mark.parametrize("double", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_refusal_can_be_copied_and_pickled(double):
    """It may come from a worker process."""
    error = refusal(
        429, {"error": "slow", "code": "c", "request_id": "r"}, {"retry-after": "7"}, network_stream=object()
    )

    twin = double(error)

    assert type(twin) is RateLimitError
    assert str(twin) == str(error)
    assert (twin.status_code, twin.error_code, twin.request_id, twin.retry_after) == (429, "c", "r", 7.0)
    assert twin.response.json() == {"error": "slow", "code": "c", "request_id": "r"}


def test_refusal_is_also_an_httpx_error():
    """Code written against httpx keeps working."""
    error = refusal(404)

    assert isinstance(error, httpx.HTTPStatusError)
    assert error.response.status_code == 404
    assert error.request.method == "POST"


# --- Up: Retry-After -------------------------------------------------------------------------------------------------


def http_date(**delta):
    return format_datetime(NOW + timedelta(**delta), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("1", 1.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("3600", 3600.0),
        ("9999999999", 9999999999.0),
        ("9" * 400, float("inf")),
        (http_date(seconds=0), 0.0),
        (http_date(seconds=2), 2.0),
        (http_date(days=365), 365 * 86400.0),
        ("Mon, 23 Nov 2026 12:00:05 -0000", 5.0),
        ("Mon, 23 Nov 2026 13:00:05 +0100", 5.0),
        ("Monday, 23-Nov-26 12:00:05 GMT", 5.0),
        ("Mon Nov 23 12:00:05 2026", 5.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    """Every form of RFC 9110, and fractions."""
    assert read_retry_after(value, NOW.timestamp) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "-1",
        "+1",
        "1e3",
        "1.",
        ".5",
        "inf",
        "nan",
        "1 2",
        "soon",
        "٣",
        "²",
        http_date(seconds=-1),
        http_date(days=-365),
        "Mon, 31 Feb 2026 12:00:00 GMT",
        "Mon, 23 Nov 2026 25:00:00 GMT",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
    ],
)
def test_retry_after_that_is_none_is_ignored(value):
    """Negative, past, unreadable or missing: the caller's own backoff is as good."""
    assert read_retry_after(value, NOW.timestamp) is None


@given(st.text(max_size=30) | st.builds("Mon, {:02d} Jan {} {}:00:00 {}".format, *[st.integers(-5, 10**20)] * 4))
def test_retry_after_never_fails(value):
    """Whatever a proxy writes there."""
    seconds = read_retry_after(value, NOW.timestamp)

    assert seconds is None or seconds >= 0


def test_refusal_has_its_retry_after():
    """With 503 it says that the call was turned away at the door."""
    turned_away = refusal(503, headers={"retry-after": http_date(seconds=2)})
    failed = refusal(503, headers={"retry-after": "soon"})

    assert (turned_away.retry_after, turned_away.maybe_processed) == (2.0, False)
    assert (failed.retry_after, failed.maybe_processed) == (None, True)


# --- One call --------------------------------------------------------------------------------------------------------

ENDPOINT = Endpoint("/prompt/invoke", InvokeResponse)
NO_TIME = 0.0005  # seconds: less than any wait, so it is over at once


def call_with(*, streaming=False, timeout=60.0, **settings):
    return Call(config(**settings), ENDPOINT, b'{"deployment": "d"}', streaming=streaming, timeout=timeout)


def begun_call(**settings):
    call = call_with(**settings)
    call.begin()
    return call


def accepted_call(**settings):
    call = begun_call(**settings)
    media_type = "text/event-stream" if settings.get("streaming") else "application/json"
    assert call.accept(httpx.Response(200, headers={"content-type": media_type}, request=REQUEST))
    return call


def raised_in(errors, exc):
    """What becomes of an exception in one of the contexts of a call."""
    with pytest.raises(FetchHiveError) as caught, errors:
        raise exc
    return caught.value


def httpx_errors(base=httpx.RequestError):
    """All classes of httpx below this one, and itself."""
    return [
        base,
        *(
            kind
            for child in base.__subclasses__()
            for kind in httpx_errors(child)
            if kind.__module__.startswith("httpx")
        ),
    ]


def test_call_goes_down_and_comes_up():
    """A request, a head, a body, an answer."""
    call = call_with()

    request = call.begin()
    accepted = call.accept(httpx.Response(200, headers={"content-type": "application/json"}, request=request))
    for chunk in pieces(as_json(ANSWER), 50):
        call.read(chunk)

    assert str(request.url) == "https://api.test/v1/prompt/invoke"
    assert request.content == b'{"deployment": "d"}'
    assert request.extensions["timeout"]["connect"] == 10.0
    assert accepted
    assert call.parse().raw == ANSWER


def test_stream_goes_down_and_comes_up():
    """The reader fills the transcript of the call."""
    call = call_with(streaming=True)
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, request=call.begin())

    accepted = call.accept(response)
    events = read_stream(call.event_reader(response), [as_sse(*EVENTS)])

    assert accepted
    assert raws(events) == EVENTS
    assert call.transcript.answer().raw == ANSWER


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 404, 500, 599])
def test_call_takes_nothing_but_2xx(status):
    """A redirect is a refusal: the body is sent nowhere else."""
    call = begun_call()

    assert not call.accept(httpx.Response(status, request=REQUEST))
    assert call.refusal().status_code == status


@pytest.mark.parametrize("status", [200, 201, 202])
def test_call_takes_any_2xx(status):
    """It has been paid for."""
    assert begun_call().accept(httpx.Response(status, request=REQUEST))


def test_refusal_of_a_call_has_what_came_of_its_body():
    """Its compression undone, even if it is cut."""
    call = begun_call()
    call.accept(
        httpx.Response(400, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b""), request=REQUEST)
    )
    call.read(gzip.compress(as_json({"error": "nope"}))[:-4])

    assert "400 Bad Request: nope" in str(call.refusal())


def test_refusal_is_read_within_a_bound():
    """No refusal needs more than 1 MiB."""
    call = begun_call()
    call.accept(httpx.Response(500, request=REQUEST))
    for _ in range(10):
        call.read(b"x" * 100_000)

    with pytest.raises(ResponseTooLargeError):
        call.read(b"x" * 100_000)

    assert len(call.refusal().response.content) <= 1024 * 1024


def test_dripping_body_is_given_up_when_the_time_is_over():
    """What had come is kept, with its request id."""
    call = accepted_call(timeout=NO_TIME)

    with pytest.raises(APITimeoutError, match="not complete in time") as caught:
        call.read(b'{"request_id": "req_1", "resp')

    assert caught.value.phase == "total"
    assert caught.value.maybe_processed is True
    assert caught.value.body == b'{"request_id": "req_1", "resp'
    assert caught.value.request_id == "req_1"


# --- One call: what the network raises -------------------------------------------------------------------------------

NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError"}
PHASES = {"ConnectTimeout": "connect", "WriteTimeout": "write", "PoolTimeout": "pool"}


@pytest.mark.parametrize("kind", sorted(set(httpx_errors()) - {httpx.DecodingError}, key=lambda kind: kind.__name__))
def test_every_httpx_error_becomes_ours(kind):
    """With the phase and with whether a run may have begun."""
    error = raised_in(begun_call().errors(), kind("it happened"))

    assert isinstance(error, APIConnectionError)
    assert isinstance(error, httpx.TransportError)
    assert isinstance(error, APITimeoutError) is issubclass(kind, httpx.TimeoutException)
    assert error.maybe_processed is (kind.__name__ not in NOT_SENT)
    assert isinstance(error.__cause__, kind)
    assert error.attempts == 1
    if isinstance(error, APITimeoutError):
        assert error.phase == PHASES.get(kind.__name__, "read")
        assert "seconds)" in str(error)
    else:
        assert "it happened" in str(error)


@pytest.mark.parametrize(
    ("exc", "maybe_processed"),
    [
        (httpx.InvalidURL("impossible"), False),
        (UnicodeError("label too long"), False),
        (ConnectionResetError("reset"), True),
        (OSError("anything"), True),
        (httpx.StreamClosed(), True),
        (httpx.StreamConsumed(), True),
    ],
)
def test_what_lies_under_httpx_becomes_ours(exc, maybe_processed):
    """Some of it comes through an injected client."""
    error = raised_in(begun_call().errors(), exc)

    assert type(error) is APIConnectionError
    assert error.maybe_processed is maybe_processed


@pytest.mark.parametrize("kind", sorted(set(httpx_errors()) - {httpx.DecodingError}, key=lambda kind: kind.__name__))
def test_every_error_after_the_head_has_been_paid_for(kind):
    """Whatever broke: the request had arrived."""
    call = accepted_call()
    call.read(b'{"request_id": "req_1", "response": "Hel')

    error = raised_in(call.errors(), kind("it happened"))

    assert isinstance(error, APIConnectionError)
    assert error.maybe_processed is True
    assert error.request_id == "req_1"
    assert error.body == b'{"request_id": "req_1", "response": "Hel'
    if isinstance(error, APITimeoutError):
        assert error.phase == "total"
    else:
        assert str(error) == "the connection broke before the answer was complete"


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("exc", [UnicodeError("odd"), httpx.LocalProtocolError("odd"), httpx.PoolTimeout("odd")])
def test_request_that_was_answered_was_sent(status, exc):
    """Even if what broke afterwards looks like a failure to send: nothing is paid for twice."""
    call = begun_call()
    call.accept(httpx.Response(status, request=REQUEST))

    error = raised_in(call.errors(), exc)

    assert error.maybe_processed is True
    assert call.wait_before_retry(error) is None


def test_next_attempt_starts_anew():
    """That an earlier one was answered says nothing about this one."""
    call = begun_call()
    call.accept(httpx.Response(429, request=REQUEST))
    call.begin()

    error = raised_in(call.errors(), httpx.ConnectError("refused"))

    assert error.maybe_processed is False
    assert error.attempts == 2


def test_timeout_of_httpx_has_no_total():
    """A read that takes too long is that and no more."""
    error = raised_in(accepted_call(timeout=httpx.Timeout(5)).errors(), httpx.ReadTimeout("slow"))

    assert error.phase == "read"
    assert error.maybe_processed is True


def test_pool_timeout_says_so():
    """It is the one that the caller can mend."""
    error = raised_in(begun_call().errors(), httpx.PoolTimeout(""))

    assert "no connection became free in time" in str(error)


@pytest.mark.parametrize("accepted", [False, True])
def test_decoding_error_is_a_response_error(accepted):
    """An injected client may decode for itself."""
    call = accepted_call() if accepted else begun_call()

    error = raised_in(call.errors(), httpx.DecodingError("not gzip"))

    assert type(error) is ResponseDecodeError
    assert error.maybe_processed is True


def test_our_own_errors_learn_the_number_of_attempts():
    """They pass through as they are."""
    call = begun_call()
    call.begin()
    original = APIConnectionError("as it is")

    error = raised_in(call.errors(), original)

    assert error is original
    assert error.attempts == 2


def test_key_is_masked_in_what_came_of_an_answer():
    """As it is in a refusal."""
    call = accepted_call()
    call.read(b'{"echo": "' + KEY.encode())

    broken = raised_in(call.errors(), httpx.ReadError("reset"))
    slow = raised_in(call.errors(), httpx.ReadTimeout("slow"))
    false = raised_in(call.errors(), ResponseValidationError("malformed", body={KEY: [KEY]}))

    assert broken.body == slow.body == b'{"echo": "***'
    assert false.body == {"***": ["***"]}


@pytest.mark.parametrize("exc", [KeyError("theirs"), RuntimeError("theirs"), KeyboardInterrupt()])
def test_other_exceptions_pass_through(exc):
    """A mistake in an event hook is the caller's to see."""
    call = begun_call()

    with pytest.raises(type(exc)), call.errors():
        raise exc

    assert not isinstance(exc, NETWORK_ERRORS)


def test_causes_do_not_know_the_key():
    """Not their request, not their texts, not the frames in which headers were sent."""
    try:
        b"\xff".decode()
    except UnicodeDecodeError as frame:
        under_httpx = OSError(f"illegal header {KEY}").with_traceback(frame.__traceback__)
    exc = httpx.ConnectError(f"illegal header {KEY}", request=REQUEST)
    exc.__cause__ = under_httpx

    error = raised_in(begun_call().errors(), exc)

    cause = error.__cause__
    assert cause is not None
    assert "authorization" not in cause.request.headers
    assert cause.__cause__ is not None
    assert KEY not in f"{error} {cause} {cause.__cause__} {cause.args} {cause.__cause__.args}"
    assert cause.__cause__.__traceback__ is None
    assert "authorization" not in error.request.headers
    assert KEY.encode() not in pickle.dumps(error)


def test_causes_in_the_background_do_not_know_the_key_either():
    """An exception raised while another was handled drags it along."""
    background = httpx.ReadError("reset", request=REQUEST)
    exc = httpx.CloseError("closing failed", request=REQUEST)
    exc.__context__ = background

    raised_in(begun_call().errors(), exc)

    assert "authorization" not in exc.request.headers
    assert "authorization" not in background.request.headers


def test_status_error_of_a_hook_does_not_know_the_key():
    """An event hook of an injected client may call `raise_for_status()`."""
    response = httpx.Response(401, headers={"x-echo": KEY}, request=REQUEST)
    exc = httpx.HTTPStatusError(f"401 for {KEY}", request=REQUEST, response=response)

    error = raised_in(begun_call().errors(), exc)

    assert error.__cause__ is exc
    assert "authorization" not in exc.request.headers
    assert "authorization" not in exc.response.request.headers
    assert exc.response.headers["x-echo"] == "***"
    assert KEY not in f"{error} {exc}"


# --- One call: what a broken stream raises ---------------------------------------------------------------------------


def stream_with(*events, **settings):
    call = accepted_call(streaming=True, **settings)
    for event in events:
        call.transcript.add(parse_event(as_json(event)))
    return call


def test_broken_stream_keeps_what_it_gave():
    """And the exception of httpx as its cause."""
    call = stream_with({**HELLO, "request_id": "req_1"})

    error = raised_in(call.stream_errors(), httpx.ReadError("reset"))

    assert type(error) is StreamInterruptedError
    assert error.partial.text == "Hello"
    assert error.request_id == "req_1"
    assert error.attempts == 1
    assert isinstance(error.__cause__, httpx.ReadError)
    assert "authorization" not in error.request.headers


@pytest.mark.parametrize(
    ("idle_timeout", "phase", "said"),
    [(None, "read", "fell silent"), (60.0, "read", "fell silent"), (NO_TIME, "idle", "no event")],
)
def test_silent_stream_tells_what_it_waited_for(idle_timeout, phase, said):
    """A byte, or an event."""
    call = stream_with(HELLO, idle_timeout=idle_timeout)

    error = raised_in(call.stream_errors(), httpx.ReadTimeout("slow"))

    assert type(error) is StreamTimeoutError
    assert isinstance(error, APITimeoutError)
    assert error.phase == phase
    assert said in str(error)
    assert error.partial.text == "Hello"


@pytest.mark.parametrize("exc", [httpx.ReadError("reset"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")])
def test_trouble_after_the_answer_is_none(exc):
    """A server that resets the connection behind the usage has said all there was to say."""
    call = stream_with(HELLO, USAGE)

    with call.stream_errors():
        raise exc

    assert call.transcript.answer().response == "Hello"


def test_interruption_learns_its_request():
    """As every error of a connection has one."""
    call = stream_with(HELLO)

    error = raised_in(call.stream_errors(), call.transcript.interruption("it ended"))

    assert error.request.url == REQUEST.url
    assert error.attempts == 1


def test_broken_event_keeps_what_came_before_it():
    """And the request id, if it has none of its own."""
    call = stream_with({**HELLO, "request_id": "req_1"})

    without_id = raised_in(call.stream_errors(), ResponseDecodeError("broken", body=KEY.encode()))
    with_id = raised_in(call.stream_errors(), ResponseDecodeError("broken", body=b"", request_id="req_2"))

    assert without_id.partial is not None
    assert without_id.partial.text == "Hello"
    assert (without_id.request_id, with_id.request_id) == ("req_1", "req_2")
    assert without_id.body == b"***"


# --- One call: again? ------------------------------------------------------------------------------------------------


def refused_call(status, headers=None, **settings):
    call = begun_call(**settings)
    call.accept(httpx.Response(status, headers=headers, request=REQUEST))
    return call, call.refusal()


def test_call_is_made_again_after_the_time_that_the_service_named():
    """As often as `max_retries` says."""
    call, error = refused_call(429, {"retry-after": "1"}, max_retries=1)

    first = call.wait_before_retry(error)
    call.begin()
    second = call.wait_before_retry(error)

    assert (first, second) == (1.0, None)


@pytest.mark.parametrize(("timeout", "wait"), [(60.0, 30.0), (20.0, None), (httpx.Timeout(1), 30.0)])
def test_wait_that_outlasts_the_call_is_not_begun(timeout, wait):
    """The caller gets the error while the time is still good for something."""
    call, error = refused_call(429, {"retry-after": "30"}, timeout=timeout)

    assert call.wait_before_retry(error) == wait


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "error",
    [APIConnectionError("reset", maybe_processed=True), APIConnectionError("odd"), APITimeoutError("", phase="pool")],
)
def test_answer_that_has_begun_is_never_asked_for_again(streaming, error):
    """It has been paid for, whatever the settings."""
    call = accepted_call(streaming=streaming, retry_unknown_outcome=True)

    assert call.wait_before_retry(error) is None


@pytest.mark.parametrize(("unknown", "repeated"), [(False, False), (True, True)])
def test_unknown_outcome_is_risked_only_if_asked_for(unknown, repeated):
    """The setting of the client reaches the decision."""
    call, error = refused_call(500, retry_unknown_outcome=unknown)

    assert (call.wait_before_retry(error) is not None) is repeated


def test_time_of_a_call_begins_with_its_first_attempt():
    """The second has what is left."""
    call = call_with(timeout=60.0)

    first = call.begin().extensions["timeout"]["pool"]
    second = call.begin().extensions["timeout"]["pool"]

    assert second < first <= 60.0


# --- One call: what is logged ----------------------------------------------------------------------------------------


@pytest.fixture
def debug_log(caplog):
    caplog.set_level(logging.DEBUG, logger="fetch_hive_sdk")
    return caplog


def test_calls_are_logged_for_debugging(debug_log):
    """Where, what came, which attempt, how long, which run; no key and no data."""
    call = accepted_call()
    call.read(as_json(ANSWER))
    call.parse()

    assert [record.name for record in debug_log.records] == ["fetch_hive_sdk"] * 2
    assert "POST https://api.test/v1/prompt/invoke: 200 (attempt 1, " in debug_log.messages[0]
    assert "request id unknown" in debug_log.messages[0]
    assert ": answered (attempt 1, " in debug_log.messages[1]
    assert "request id req_1" in debug_log.messages[1]
    assert KEY not in debug_log.text
    assert "bees" not in debug_log.text


def test_refusals_are_logged_by_their_class(debug_log):
    """What the service said may hold data."""
    call = begun_call()
    call.accept(httpx.Response(429, request=REQUEST))
    call.read(as_json({"message": f"secret {KEY}", "request_id": "req_1"}))

    call.refusal()

    assert "RateLimitError" in debug_log.messages[-1]
    assert "req_1" in debug_log.messages[-1]
    assert "secret" not in debug_log.text
    assert KEY not in debug_log.text


@pytest.mark.parametrize(("events", "outcome"), [([HELLO, USAGE], "stream ended"), ([HELLO], "stream left")])
def test_end_of_a_stream_is_logged(debug_log, events, outcome):
    """Whether it came to its end or was left."""
    call = stream_with(*events)

    with call.stream_errors():
        pass

    assert outcome in debug_log.messages[-1]


def test_nothing_is_logged_unless_asked_for(caplog):
    """A library is silent."""
    caplog.set_level(logging.INFO, logger="fetch_hive_sdk")

    accepted_call()

    assert caplog.records == []


def test_leaving_a_stream_is_no_error():
    """A generator that is closed passes through the same context."""

    def events():
        with stream_with(HELLO).stream_errors():
            yield 1
            yield 2

    generator = events()
    next(generator)

    with contextlib.closing(generator):
        pass

    assert list(generator) == []


# --- Found in review -------------------------------------------------------------------------------------------------


def test_half_an_emoji_loses_only_itself():
    """A provider may cut an emoji between two events: JSON allows the halves, and the answer has been paid for."""
    answer = parse_answer(InvokeResponse, "application/json", b'{"response": "so \\ud83d far"}')
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
    broken, whole = Transcript(), Transcript()
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
    unused = Transcript()
    unused.is_unused = True

    assert not unused.interruption("closed").maybe_processed
    assert Transcript().interruption("closed").maybe_processed


# --- Asked for by mutants --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idle_timeout", [None, NO_TIME])
def test_silent_stream_has_its_request(idle_timeout):
    """The error of a stream that fell silent has the request and the id of its run, and the attempts."""
    call = stream_with({**HELLO, "request_id": "req_1", "model": "m"}, idle_timeout=idle_timeout)

    error = raised_in(call.stream_errors(), httpx.ReadTimeout("slow"))

    assert error.request.url.path.endswith("/prompt/invoke")
    assert (error.request_id, error.attempts) == ("req_1", 1)
    assert (error.partial.request_id, error.partial.model) == ("req_1", "m")


@pytest.mark.parametrize("exc", [httpx.ReadError("reset"), httpx.ReadTimeout("slow")])
def test_broken_call_has_its_request(exc):
    """So has that of a call."""
    error = raised_in(begun_call().errors(), exc)

    assert error.request.url.path.endswith("/prompt/invoke")


def test_times_in_messages_are_those_of_the_call():
    """A call that was over at once took no second."""
    error = raised_in(begun_call().errors(), httpx.ReadTimeout("slow"))

    assert "after 0.0 seconds" in str(error)


def test_model_of_a_later_event_counts():
    """The model is that of the last event that names one."""
    transcript = transcript_of(
        {"type": "reasoning", "response": "a", "model": "m1"},
        {"type": "response", "response": "b", "model": "m2"},
        {"type": "response", "response": "c"},
    )

    assert transcript.partial().model == "m2"


def test_error_event_of_a_call_has_its_attempts():
    """The failure of a stream tells how often the request was sent."""
    call = stream_with({"type": "error"})

    assert call.transcript.failure().attempts == 1


def test_evidence_of_a_refusal_is_whole():
    """The detached response has the version and the phrase of the wire, and lengths that fit its body."""
    error = refusal(
        400,
        b"{}",
        {"content-length": "999", "transfer-encoding": "chunked"},
        http_version=b"HTTP/1.1",
        reason_phrase=b"Odd",
        network_stream=object(),
    )

    assert (error.response.http_version, error.response.reason_phrase) == ("HTTP/1.1", "Odd")
    assert error.response.headers["content-length"] == "2"
    assert "transfer-encoding" not in error.response.headers
    assert set(error.response.extensions) == {"http_version", "reason_phrase"}


def test_request_is_a_post():
    """Written as HTTP writes it."""
    assert begun_call().begin().method == "POST"


def test_text_of_exactly_the_length_is_shown_whole():
    """A message of two hundred characters is not cut."""
    error = refusal(502, b"a" * 200, {"content-type": "text/plain"})

    assert str(error).endswith("a" * 200)


def test_escaped_letters_arrive_as_they_are():
    """Answers and events are read right however the service writes its letters; Pydantic before 2.7.3 does not."""
    answer = parse_answer(InvokeResponse, "application/json", b'{"response": "caf\\u00e9 \\ud83d\\ude00"}')
    event = parse_event('{"type": "response", "response": "caf\\u00e9"}')

    assert answer.response == "café \U0001f600"
    assert event.response == "café"


def test_code_of_a_refusal_is_read_behind_a_byte_order_mark():
    """A refusal is read like an answer: a daily cap is one whatever stands before it."""
    error = refusal(429, BOM + b'{"error": "cap", "error_code": "api_rate_limit_exceeded"}')

    assert error.error_code == "api_rate_limit_exceeded"
    assert RetryPolicy().wait_before_retry(1, error) is None
