"""Parsing response bodies. The tests call functions with plain values: no client, no sockets, no waiting."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import zlib
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Optional

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from fetch_hive_sdk import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    InvokeResponse,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    PromptTokens,
    RateLimitError,
    ResponseDecodeError,
    ResponseError,
    ResponseTooLargeError,
    ResponseValidationError,
    UnexpectedContentTypeError,
    UnprocessableEntityError,
    Usage,
)
from fetch_hive_sdk._protocol.answers import find_request_id, is_json, many, one, parse_answer
from fetch_hive_sdk._protocol.bodies import BodyReader, Inflater, content_encoding, content_type
from fetch_hive_sdk._protocol.refusals import read_retry_after, refuse
from fetch_hive_sdk._protocol.retry import RetryPolicy
from fetch_hive_sdk._secret import Secret
from fetch_hive_sdk.models.base import Received
from wire import (
    ANSWER,
    BOM,
    KEY,
    NOW,
    PIECE,
    REQUEST,
    as_json,
    pieces,
)

# --- Bodies ----------------------------------------------------------------------------------------------------------


def feed_all(reader, chunks):
    for chunk in chunks:
        reader.feed(chunk)


def read_body(chunks, encoding="", **bound):
    reader = BodyReader(encoding, **bound)
    feed_all(reader, chunks)
    return reader.finish()


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_plain_body_is_collected(encoding):
    """In any number of chunks."""
    assert read_body([b"Hello, ", b"", b"bees"], encoding) == b"Hello, bees"
    assert read_body([], encoding) == b""


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " x-gzip "])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_gzip_is_decompressed(encoding, size):
    """With any chunking."""
    body = as_json(ANSWER) * 1000

    assert read_body(pieces(gzip.compress(body), size), encoding) == body


@pytest.mark.parametrize("missing", [1, 8, 20])
def test_truncated_gzip_is_reported_with_its_beginning(missing):
    """Even if only the checksum is missing."""
    body = as_json(ANSWER)

    with pytest.raises(ResponseDecodeError, match="ended early") as caught:
        read_body([gzip.compress(body)[:-missing]], "gzip")

    assert body.startswith(caught.value.body)


def test_empty_body_is_truncated_gzip():
    """Compressed data has a header even if it is empty."""
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
def test_invalid_gzip_is_reported_with_its_bytes(body):
    """The `Content-Encoding` header does not match the body."""
    with pytest.raises(ResponseDecodeError, match="not valid gzip data") as caught:
        read_body([body], "gzip")

    assert caught.value.body == body
    assert isinstance(caught.value.__cause__, zlib.error)


def test_bytes_after_the_gzip_data_are_ignored():
    """As other decoders do."""
    assert read_body([gzip.compress(b"whole") + b"padding", b"more"], "gzip") == b"whole"


def test_bytes_after_the_gzip_data_are_limited():
    """An endless body would block the call."""
    padding = [b"x" * (PIECE // 2)] * 3

    with pytest.raises(ResponseDecodeError, match="more bytes after the end") as caught:
        read_body([gzip.compress(b"whole"), *padding], "gzip")

    assert caught.value.body == b"whole"


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "x" * 100])
def test_unsupported_compression_is_reported(encoding):
    """The message has its shortened name; the error has the bytes."""
    with pytest.raises(ResponseDecodeError, match="compressed with") as caught:
        read_body([b"\x00bytes"], encoding)

    assert encoding[:20] in str(caught.value)
    assert len(str(caught.value)) < 80
    assert caught.value.body == b"\x00bytes"


def test_long_body_is_rejected():
    """The error has its beginning."""
    with pytest.raises(ResponseTooLargeError, match="longer than 1,000 bytes") as caught:
        read_body([b"x" * 600, b"x" * 600], max_bytes=1000)

    assert caught.value.body == b"x" * 600
    assert read_body([b"x" * 600, b"x" * 400], max_bytes=1000) == b"x" * 1000


def test_gzip_bomb_is_decompressed_in_pieces():
    """A small chunk that expands a thousandfold is never decompressed at once."""
    bomb = gzip.compress(b"\x00" * 10_000_000)
    inflater = Inflater("gzip")

    sizes = [len(piece) for piece in inflater.feed(bomb)]

    assert max(sizes) <= PIECE
    assert sum(sizes) == 10_000_000


@pytest.mark.parametrize("size", [100, 100_000])
def test_gzip_bomb_is_rejected_at_the_limit(size):
    """Memory never holds more than the limit."""
    reader = BodyReader("gzip", max_bytes=100_000)

    with pytest.raises(ResponseTooLargeError):
        feed_all(reader, pieces(gzip.compress(b"\x00" * 10_000_000), size))

    assert len(reader.so_far()) <= 100_000


def test_received_part_is_available_before_the_end():
    """It is the evidence if the connection breaks."""
    reader = BodyReader()
    reader.feed(b'{"response": "Hel')

    assert reader.so_far() == b'{"response": "Hel'


# --- Media types -----------------------------------------------------------------------------------------------------


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
    """Parameters and case are ignored; a body without a media type is taken for JSON."""
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


# --- Answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["application/json", ""])
@pytest.mark.parametrize("before", [b"", BOM, b" \n"])
def test_answer_is_parsed(media_type, before):
    """Every field of the vendor's page is an attribute, and `raw` is the decoded object."""
    answer = parse_answer(one(InvokeResponse), media_type, before + as_json(ANSWER))

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
def test_unknown_values_are_accepted(body):
    """Extra fields, new values, integer counts and missing optional fields are not errors."""
    assert parse_answer(one(InvokeResponse), "application/json", as_json(body)).raw == body


@pytest.mark.parametrize("media_type", ["text/html", "text/plain", "application/xml"])
def test_other_content_types_are_reported(media_type):
    """Usually an HTML page of a proxy. The error has its bytes."""
    page = b"<html>Sign in to the network</html>"

    with pytest.raises(UnexpectedContentTypeError, match=f"is {media_type}, not JSON") as caught:
        parse_answer(one(InvokeResponse), media_type, page)

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
def test_invalid_json_is_reported_with_its_bytes(body):
    """Neither the message nor a cause quotes them."""
    with pytest.raises(ResponseDecodeError, match="the answer is") as caught:
        parse_answer(one(InvokeResponse), "application/json", body)

    assert caught.value.body == body
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("body", [b"[]", b'"secret"', b"7", b"null", b"true", b'[{"response": "secret"}]'])
def test_json_that_is_not_an_object_is_reported(body):
    """The error has the value."""
    with pytest.raises(ResponseValidationError, match="JSON, but not an object") as caught:
        parse_answer(one(InvokeResponse), "application/json", body)

    assert caught.value.body == json.loads(body)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"response": None}, "response"),
        ({"response": 7}, "response"),
        ({"response": ["secret"]}, "response"),
    ],
)
def test_invalid_answer_is_reported(changed, field):
    """The message names the field and does not quote values; the error has the object, which was billed."""
    body = {**ANSWER, **changed}

    with pytest.raises(ResponseValidationError, match="does not match the API") as caught:
        parse_answer(one(InvokeResponse), "application/json", as_json(body))

    assert f"{field}: " in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.body == body
    assert caught.value.request_id == "req_1"
    assert caught.value.__context__ is None


USAGE = InvokeResponse.model_validate(ANSWER).usage
PROMPT, COMPLETION = USAGE.prompt_tokens, USAGE.completion_tokens


@pytest.mark.parametrize(
    ("changed", "readable"),
    [
        ({"request_id": 7}, {"request_id": None}),
        ({"model": ["x"]}, {"model": None}),
        ({"duration": "x"}, {"duration": None}),
        ({"reasoning": {"x": 1}, "stop_reason": 0}, {"reasoning": None, "stop_reason": None}),
        ({"usage": "x"}, {"usage": Usage()}),
        ({"usage": [1]}, {"usage": Usage()}),
        ({"usage": {"total_tokens": "x", "duration": 2}}, {"usage": Usage(duration=2)}),
        ({"usage": {"total_tokens": "12", "duration": 12.0}}, {"usage": Usage(total_tokens=12, duration=12)}),
        ({"usage": {"total_tokens": 12.0}}, {"usage": Usage(total_tokens=12)}),
        ({"usage": {"total_tokens": 12.5}}, {"usage": Usage()}),
        ({"usage": {"prompt_tokens": "12"}}, {"usage": Usage(prompt_tokens=PromptTokens(total_tokens=12))}),
        ({"usage": {"prompt_tokens": 12.0}}, {"usage": Usage(prompt_tokens=PromptTokens(total_tokens=12))}),
        ({"usage": {"prompt_tokens": "x", "total_tokens": 1}}, {"usage": Usage(total_tokens=1)}),
        ({"usage": {"prompt_tokens": {"cached_tokens": "x"}}}, {"usage": Usage()}),
        ({"usage": {"completion_tokens": {"reasoning_tokens": []}}}, {"usage": Usage()}),
    ],
)
def test_invalid_optional_field_does_not_lose_the_answer(changed, readable):
    """The field has its default, and `raw` has the value that was sent."""
    body = {**ANSWER, **changed}

    answer = parse_answer(one(InvokeResponse), "application/json", as_json(body))

    whole = InvokeResponse.model_validate(ANSWER)
    expected = whole.model_copy(update=readable)
    for name in InvokeResponse.model_fields:
        assert getattr(answer, name) == getattr(expected, name), name
    assert answer.raw == body


def test_missing_response_is_reported():
    """It is the only required field of an answer."""
    with pytest.raises(ResponseValidationError, match="response: Field required") as caught:
        parse_answer(one(InvokeResponse), "application/json", b'{"request_id": "req_1"}')

    assert caught.value.request_id == "req_1"


def test_message_names_three_errors():
    """It only counts the others."""

    class Resource(Received, frozen=True):
        id: str
        name: str
        kind: str
        size: int
        owner: str

    with pytest.raises(ResponseValidationError, match=r"id: .*; name: .*; kind: .*; and 2 more"):
        parse_answer(one(Resource), "application/json", b"{}")


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
def test_request_id_is_found_in_invalid_bodies(body, request_id):
    """The vendor's support needs it."""
    assert find_request_id(body) == request_id


@pytest.mark.parametrize("media_type", ["text/html", "application/json"])
def test_error_of_an_invalid_body_has_its_request_id(media_type):
    """For any error of the body."""
    with pytest.raises(ResponseError) as caught:
        parse_answer(one(InvokeResponse), media_type, b'{"request_id": "req_1", "response": "Hel')

    assert caught.value.request_id == "req_1"


# --- Error responses -------------------------------------------------------------------------------------------------


def refusal(status, body=b"", headers=None, **extensions):
    response = httpx.Response(status, headers=headers, request=REQUEST, extensions=extensions)
    data = body if isinstance(body, bytes) else as_json(body)
    return refuse(response, data, mask=Secret(KEY), now=NOW.timestamp)


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
def test_status_determines_the_class(status, kind):
    """The body and the headers do not matter."""
    error = refusal(status, {"message": "No.", "error_code": "rate_limit", "code": "unauthorized"})

    assert type(error) is kind
    assert error.status_code == status
    assert error.maybe_processed is (status >= 500)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "No such thing.", "error": "nope"}, "404 Not Found: No such thing."),
        ({"error": "nope"}, "404 Not Found: nope"),
        ({"error": {"message": "nope", "code": "c"}}, "404 Not Found: nope (error_code: c)"),
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
def test_error_has_the_message_of_the_service(body, message):
    """With the error code and the request id."""
    assert str(refusal(404, body)) == message


def test_unknown_status_has_no_reason_phrase():
    """The message has only the number."""
    assert str(refusal(529, {"error": "overloaded"})) == "529: overloaded"


def test_long_message_of_the_service_is_shortened():
    """Messages are often logged."""
    assert len(str(refusal(400, {"message": "x" * 100_000}))) < 1100


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error_code": "a", "code": "b"}, "a"),
        ({"code": "b"}, "b"),
        ({"error_code": "", "code": "b"}, "b"),
        ({"error_code": 7, "code": "b"}, "b"),
        ({"error": {"message": "m", "error_code": "a", "code": "b"}}, "a"),
        ({"error": {"code": "b"}}, "b"),
        ({"code": "a", "error": {"code": "b"}}, "a"),
        ({"error_code": None}, None),
        ({}, None),
        ([], None),
        (b"text", None),
    ],
)
def test_error_code_is_read_from_both_names(body, code):
    """`error_code` takes precedence over `code`, and outer fields over inner ones. Only strings count."""
    assert refusal(400, body).error_code == code


def test_error_has_the_body():
    """The JSON value, or the text if it is not JSON."""
    assert refusal(400, {"a": [1]}).body == {"a": [1]}
    assert refusal(400, [1]).body == [1]
    assert refusal(400, b"no JSON").body == "no JSON"
    assert refusal(400).body == ""


def test_error_has_a_readable_response():
    """Even for streams. Headers about the encoding are removed."""
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
def test_html_is_shown_without_its_markup(page):
    """The message has only the text of the page."""
    error = refusal(502, page, {"content-type": "text/html"})

    assert str(error) == "502 Bad Gateway: 502 Bad Gateway Sorry"
    assert error.body == page.decode()


def test_html_is_shortened():
    """To 200 characters."""
    error = refusal(502, b"<p>" + b"word " * 10_000 + b"</p>", {"content-type": "text/html"})

    shown = str(error).partition(": ")[2]
    assert len(shown) == 200
    assert shown.endswith("...")


@pytest.mark.parametrize("charset", ["utf-16", "hex", "zlib", "rot13", "undefined", "idna", "punycode", "nonsense"])
def test_unsupported_charset_is_read_as_utf_8(charset):
    """Many of Python's codecs fail for some bytes."""
    error = refusal(500, "Grüße".encode() + b"\xff", {"content-type": f"text/plain; charset={charset}"})

    assert "Gr" in error.response.text
    assert error.maybe_processed is True
    assert pickle.loads(pickle.dumps(error)).response.text == error.response.text


@pytest.mark.parametrize("charset", ["latin-1", "utf-8", "windows-1252"])
def test_supported_charset_is_used(charset):
    """The text is decoded with the charset of the header."""
    error = refusal(500, "Grüße".encode(charset), {"content-type": f"text/plain; charset={charset}"})

    assert error.body == error.response.text == "Grüße"


def shown_parts(error):
    """Everything that an error shows, as one string."""
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
def test_key_is_masked_in_an_error_response(body):
    """Wherever the service repeats it, with any escapes of JSON."""
    error = refusal(401, body, {"x-echo": f"Bearer {KEY}"}, reason_phrase=f"Unknown {KEY}".encode())

    shown = shown_parts(error)
    assert KEY not in shown
    assert KEY.replace("/", "\\/") not in shown
    assert "h_live_" not in shown
    assert "***" in shown
    assert error.response.headers["x-echo"] == "Bearer ***"


@pytest.mark.parametrize("double", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_status_error_can_be_copied_and_pickled(double):
    """A worker process may raise it."""
    error = refusal(
        429, {"error": "slow", "code": "c", "request_id": "r"}, {"retry-after": "7"}, network_stream=object()
    )

    twin = double(error)

    assert type(twin) is RateLimitError
    assert str(twin) == str(error)
    assert (twin.status_code, twin.error_code, twin.request_id, twin.retry_after) == (429, "c", "r", 7.0)
    assert twin.response.json() == {"error": "slow", "code": "c", "request_id": "r"}


def test_status_error_is_also_an_httpx_error():
    """Code written against httpx keeps working."""
    error = refusal(404)

    assert isinstance(error, httpx.HTTPStatusError)
    assert error.response.status_code == 404
    assert error.request.method == "POST"


# --- Retry-After -----------------------------------------------------------------------------------------------------


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
        "Mon, 31 Feb 2026 12:00:00 GMT",
        "Mon, 23 Nov 2026 25:00:00 GMT",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_invalid_retry_after_is_ignored(value):
    """Then the backoff of the client applies."""
    assert read_retry_after(value, NOW.timestamp) is None


@pytest.mark.parametrize(
    "value", ["-1", "-0.5", http_date(seconds=-1), http_date(days=-365), "Mon, 01 Jan 0001 00:00:00 +2359"]
)
def test_past_retry_after_is_zero(value):
    """For negative numbers and past dates there is nothing to wait for."""
    assert read_retry_after(value, NOW.timestamp) == 0.0


@given(st.text(max_size=30) | st.builds("Mon, {:02d} Jan {} {}:00:00 {}".format, *[st.integers(-5, 10**20)] * 4))
def test_any_retry_after_is_parsed(value):
    """For any string."""
    seconds = read_retry_after(value, NOW.timestamp)

    assert seconds is None or seconds >= 0


def test_error_has_retry_after():
    """503 with Retry-After means that the call was not processed."""
    turned_away = refusal(503, headers={"retry-after": http_date(seconds=2)})
    failed = refusal(503, headers={"retry-after": "soon"})

    assert (turned_away.retry_after, turned_away.maybe_processed) == (2.0, False)
    assert (failed.retry_after, failed.maybe_processed) == (None, False)
    assert refusal(503).maybe_processed
    assert not refusal(503, headers={"retry-after": "-1"}).maybe_processed


def test_daily_cap_error_has_the_reset_time():
    """At the next midnight UTC, with the numbers that the service sent."""
    body = b'{"error": "cap", "error_code": "api_rate_limit_exceeded", "limit": 50, "current": 51}'

    capped, throttled = refusal(429, body), refusal(429, b'{"error": "slow down", "limit": "many"}')

    assert (capped.limit, capped.current) == (50, 51)
    assert capped.resets_at == datetime(2026, 11, 24, tzinfo=timezone.utc)
    assert (throttled.limit, throttled.current, throttled.resets_at) == (None, None, None)


# --- Found by mutation testing ---------------------------------------------------------------------------------------


def test_response_of_an_error_is_complete():
    """It has the HTTP version, the reason phrase, and a length that matches the body."""
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


def test_text_of_the_maximum_length_is_not_shortened():
    """A message of 200 characters stays complete."""
    error = refusal(502, b"a" * 200, {"content-type": "text/plain"})

    assert str(error).endswith("a" * 200)


def test_error_response_may_have_a_byte_order_mark():
    """It is parsed like an answer, so that the daily cap is detected."""
    error = refusal(429, BOM + b'{"error": "cap", "error_code": "api_rate_limit_exceeded"}')

    assert error.error_code == "api_rate_limit_exceeded"
    assert RetryPolicy().wait_before_retry(1, error) is None


def test_invalid_json_is_reported_with_its_position():
    """The message does not quote the document."""
    with pytest.raises(ResponseDecodeError, match=r"line 1 column \d+"):
        parse_answer(one(InvokeResponse), "application/json", b'{"response": oops}')


def test_masking_keeps_the_other_values():
    """Only the key is replaced."""
    error = refusal(401, b'{"message": "\\u0066' + KEY[1:].encode() + b'", "error_code": "unknown_key"}')

    assert error.body == {"message": "***", "error_code": "unknown_key"}
    assert error.response.json() == error.body


# --- gzip in members -------------------------------------------------------------------------------------------------


def inflated(data: bytes, size: int) -> bytes:
    inflater = Inflater("gzip")
    body = b"".join(piece for at in range(0, len(data), size) for piece in inflater.feed(data[at : at + size]))
    inflater.finish(body)
    return body


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize(
    "members", [[b"one"], [b"one", b"two"], [b"", b"one", b"", b"two", b""], [b"x" * 200_000, b"y" * 200_000]]
)
def test_gzip_members_are_decompressed(members, size):
    """RFC 1952: members follow each other. Each is yielded as soon as it is complete."""
    if size == 1 and len(members[0]) > 1000:
        pytest.skip("the same as with two bytes, and slow")
    assert inflated(b"".join(map(gzip.compress, members)), size) == b"".join(members)


def test_gzip_member_is_yielded_when_it_ends():
    """If a server flushes a stream member by member, its events are not delayed."""
    inflater = Inflater("gzip")

    assert b"".join(inflater.feed(gzip.compress(b"first"))) == b"first"
    assert b"".join(inflater.feed(gzip.compress(b"second"))) == b"second"


@pytest.mark.parametrize("rest", [b"", b"\0" * 100, b"\x1f", b"garbage"])
def test_padding_after_the_last_gzip_member_is_ignored(rest):
    """Up to a limit."""
    assert inflated(gzip.compress(b"one") + rest, 3) == b"one"


def test_truncated_second_gzip_member_is_reported():
    """It is part of the answer."""
    with pytest.raises(ResponseDecodeError, match="ended early"):
        inflated(gzip.compress(b"one") + gzip.compress(b"two")[:-4], 100)


@pytest.mark.parametrize("missing", [1, 8, 20])
def test_truncated_second_member_is_reported_with_the_first(missing):
    """The first member alone is not the whole answer."""
    zipped = gzip.compress(b"Hello, ") + gzip.compress(b"bees" * 9)

    with pytest.raises(ResponseDecodeError, match="ended early") as caught:
        read_body([zipped[:-missing]], "gzip")

    assert caught.value.body.startswith(b"Hello, ")


def test_invalid_second_member_is_reported_with_the_first():
    """Bytes that begin like a member must be one."""
    with pytest.raises(ResponseDecodeError, match="not valid gzip data") as caught:
        read_body([gzip.compress(b"Hello") + b"\x1f\x8bpadding"], "gzip")

    assert caught.value.body == b"Hello"


def test_gzip_bomb_of_many_members_is_limited():
    """Each member is small, but the limit applies to all together."""
    reader = BodyReader("gzip", max_bytes=100_000)

    with pytest.raises(ResponseTooLargeError):
        feed_all(reader, [gzip.compress(b" " * 50_000)] * 3)

    assert len(reader.so_far()) <= 100_000


@pytest.mark.parametrize(
    ("sent", "attribute", "value"),
    [
        ({"request_id": 7}, "request_id", None),
        ({"model": ["x"]}, "model", None),
        ({"duration": "x"}, "duration", None),
        ({"duration": "1.5"}, "duration", 1.5),
        ({"reasoning": {"x": 1}}, "reasoning", None),
        ({"stop_reason": 0}, "stop_reason", None),
        ({"usage": "x"}, "usage", Usage()),
        ({"usage": [1]}, "usage", Usage()),
        ({"usage": 12}, "usage", Usage()),
        ({"usage": {"total_tokens": "x", "duration": 2}}, "usage", Usage(duration=2)),
        ({"usage": {"total_tokens": "12"}}, "usage", Usage(total_tokens=12)),
        ({"usage": {"total_tokens": 12.0}}, "usage", Usage(total_tokens=12)),
        ({"usage": {"total_tokens": 12.5}}, "usage", Usage()),
        ({"usage": {"prompt_tokens": "12"}}, "usage", Usage(prompt_tokens=PromptTokens(total_tokens=12))),
        ({"usage": {"prompt_tokens": 12.0}}, "usage", Usage(prompt_tokens=PromptTokens(total_tokens=12))),
        ({"usage": {"prompt_tokens": 12.5}}, "usage", Usage()),
        ({"usage": {"prompt_tokens": "x", "total_tokens": 3}}, "usage", Usage(total_tokens=3)),
        ({"usage": {"prompt_tokens": []}}, "usage", Usage()),
        (
            {"usage": {"prompt_tokens": {"cached_tokens": "x", "total_tokens": "7"}}},
            "usage",
            Usage(prompt_tokens=PromptTokens(total_tokens=7)),
        ),
        ({"usage": {"completion_tokens": {"reasoning_tokens": []}}}, "usage", Usage()),
    ],
)
def test_invalid_optional_fields_get_their_default(sent, attribute, value):
    """A billed answer is not lost; `raw` has the value that was sent."""
    body = {"response": "paid", **sent}

    answer = parse_answer(one(InvokeResponse), "application/json", as_json(body))

    read = getattr(answer, attribute)
    assert read.model_dump() == value.model_dump() if isinstance(value, Usage) else read == value
    assert answer.response == "paid"
    assert answer.raw == body


def test_invalid_items_of_lists_are_left_out():
    """An invalid optional field of an item gets its default, and an invalid item is left out."""

    class Item(Received, frozen=True):
        id: str
        size: Optional[int] = None

    class Box(Received, frozen=True):
        things: list[Item] = Field(default_factory=list)

    def read(*things):
        return parse_answer(one(Box), "", as_json({"things": things}))

    assert [item.size for item in read({"id": "a", "size": "x"}, {"id": "b", "size": "2"}).things] == [None, 2]
    rest = read({"size": 2}, {"id": "b", "size": "x"}, None, {"id": 7}, {"id": "e"}).things
    assert [item.raw for item in rest] == [{"id": "b", "size": "x"}, {"id": "e"}]
    assert read({"size": 2}).things == []
    assert read({"id": "a", "new": 1}).things[0].raw == {"id": "a", "new": 1}
    with pytest.raises(ResponseValidationError):
        parse_answer(many(Item), "", as_json([{"size": 1}]))


@pytest.mark.parametrize(
    ("body", "limit", "current", "resets_at"),
    [
        (
            {"error_code": "api_rate_limit_exceeded", "limit": 50, "current": 51},
            50,
            51,
            datetime(2026, 11, 24, tzinfo=timezone.utc),
        ),
        (
            {"code": "api_rate_limit_exceeded", "limit": "50", "current": 12.5},
            50,
            None,
            datetime(2026, 11, 24, tzinfo=timezone.utc),
        ),
        ({"error_code": "too_many_requests", "limit": {"a": 1}, "current": 3.0}, None, 3, None),
        ([], None, None, None),
        (b"<html>", None, None, None),
    ],
)
def test_rate_limit_error_has_limit_and_reset_time(body, limit, current, resets_at):
    """The daily cap resets at the next midnight UTC."""
    error = refusal(429, body)

    assert (error.limit, error.current, error.resets_at) == (limit, current, resets_at)


def test_daily_cap_at_midnight_lasts_a_day():
    """It resets at the next midnight, not at the current one."""
    midnight = datetime(2026, 12, 31, tzinfo=timezone.utc)
    response = httpx.Response(429, request=REQUEST)

    error = refuse(response, b'{"code": "api_rate_limit_exceeded"}', mask=Secret(KEY), now=midnight.timestamp)

    assert error.resets_at == datetime(2027, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_padding_that_looks_like_a_member_is_padding(size):
    """After other padding. The chunking of the bytes does not matter."""
    zipped = gzip.compress(b"whole") + b"padding" + gzip.compress(b"not this") + b"\x1f\x8b"

    assert read_body(pieces(zipped, size), "gzip") == b"whole"


def test_invalid_nested_object_is_left_out():
    """The answer was billed, and is not lost."""

    class Item(Received, frozen=True):
        id: str
        size: Optional[int] = None

    class Box(Received, frozen=True):
        title: str
        item: Optional[Item] = None

    box = parse_answer(one(Box), "", as_json({"title": "paid", "item": {"size": "x", "new": 1}}))

    assert (box.title, box.item) == ("paid", None)
    assert box["item"] == {"size": "x", "new": 1}
