"""Cassettes: what is recorded, the file format, and errors in files."""

from __future__ import annotations

import json

import httpx
import pytest

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._secret import Secret
from fetch_hive_sdk.testing._cassette import (
    RecordedAnswer,
    RecordedCall,
    is_last,
    read_file,
    record_answer,
    record_request,
    secrets_of,
)
from fetch_hive_sdk.testing._cassette_writer import CassetteWriter

KEY = "fhk_0123456789"
STREAM = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}


def request(body=b"{}", key=KEY, path="/v1/prompt/invoke"):
    return httpx.Request("POST", f"https://x.test{path}", headers={"Authorization": f"Bearer {key}"}, content=body)


def write_file(file, *calls):
    with CassetteWriter(file) as writer:
        for call in calls:
            writer.append(call)


def body_of(answer: RecordedAnswer) -> bytes:
    return b"".join(piece for _, piece in answer.pieces())


def test_records_the_path_below_the_base_url():
    """The path is recorded without the base URL, but with its query."""
    assert record_request(request(path="/v1/prompt/invoke?a=1"), "/v1").path == "/prompt/invoke?a=1"
    assert record_request(request(path="/v10/prompt/invoke"), "/v1").path == "/v10/prompt/invoke"


@pytest.mark.parametrize("body", [b"", b"no JSON", b"\xff", b"[1]", b'{"a": NaN}'])
def test_records_any_body(body):
    """A body that is not a JSON object is recorded too; an absent one is left out."""
    kept = record_request(request(body))

    assert ("body" in kept.model_fields_set) is bool(body)


def test_masks_the_key():
    """The API key is masked everywhere, however JSON escapes it."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)
    asked = record_request(request(json.dumps({KEY: [KEY]}).encode(), path=f"/v1/{KEY}"))
    headers = {"retry-after": KEY, **STREAM}
    chunks = [(0.0, f'data: {{"type": "{escaped}"}}\n\n: {KEY}\n\n'.encode()), (0.1, KEY.encode() + b"\xff")]

    answer = record_answer(200, headers, chunks, Secret(KEY))

    assert KEY not in asked.model_dump_json() + answer.model_dump_json()
    assert answer.events[0].event == {"type": "***"}
    assert answer.events[2].content() == b"***\xff"


ESCAPED = "".join(f"\\u{ord(char):04x}" for char in KEY)


@pytest.mark.parametrize("written", [KEY, ESCAPED, ESCAPED.upper().replace("U", "u"), ESCAPED.replace("\\", "\\\\")])
@pytest.mark.parametrize(
    "event",
    [
        'data:{"a": "%s"}\n\n',
        'data: {"a": "%s"}\r\n\r\n',
        'data: {\ndata: "a": "%s"}\n\n',
        'data: {"a": "%s',
        ": %s\n\n",
    ],
)
def test_masks_an_escaped_key_in_every_form_of_an_event(event, written):
    """Data other than `data: ...` and a blank line is recorded unchanged except for the key."""
    answer = record_answer(200, STREAM, [(0.0, (event % written).encode())], Secret(KEY))

    assert body_of(answer).decode() == event % "***"


def test_masks_an_escaped_key_in_plain_text():
    """The key is also masked in bodies that are not JSON."""
    assert body_of(record_answer(200, JSON, [(0.0, f'{{"a": "{ESCAPED}'.encode())], Secret(KEY))) == b'{"a": "***'


@pytest.mark.parametrize("number", ["1e400", "-1e999", "NaN", "Infinity"])
def test_records_invalid_json_as_text(tmp_path, number):
    """A cassette is valid JSON with any request and answer, and replays them unchanged."""
    body = f'{{"n": {number}}}'.encode()
    events = f'data: {{"n": {number}}}\n\n'.encode()
    calls = [
        RecordedCall(
            request=record_request(request(body)), response=record_answer(200, JSON, [(0.0, body)], Secret(KEY))
        ),
        RecordedCall(
            request=record_request(request(body)), response=record_answer(200, STREAM, [(0.0, events)], Secret(KEY))
        ),
    ]
    file = tmp_path / "c.json"
    write_file(file, *calls)

    json.loads(file.read_text("utf-8").splitlines()[0], parse_constant=pytest.fail)
    assert [body_of(call.response) for call in read_file(file)] == [body, events]


def test_does_not_mask_common_words():
    """A test key such as "key" is not masked, because it would remove words from answers."""
    assert record_request(request(b'{"a": "the key"}', key="key")).body == {"a": "the key"}


def test_records_redacted_requests():
    """The result of `redact` is recorded instead of the request; it may change its argument."""

    def redact(body):
        body["inputs"]["name"] = "somebody"
        return body

    kept = record_request(request(b'{"inputs": {"name": "Ada", "n": 1}}'), redact=redact)

    assert kept.body == {"inputs": {"name": "somebody", "n": 1}}


@pytest.mark.parametrize("returned", [None, "text", {"a": object()}, {"a": float("nan")}])
def test_redact_must_return_json(returned):
    """A `redact` that returns None, or values that are not JSON, is an error before the request is sent."""
    with pytest.raises((TypeError, ValueError)):
        record_request(request(), redact=lambda body: returned)


@pytest.mark.parametrize(
    "body",
    [
        b'{"response": "caf\xc3\xa9", "n": 1.0, "big": 123456789012345678901234567890}',
        b"[1, 2]",
        b'"text"',
        b"null",
        b"",
        b"<html>\r\n</html>",
        b"\xff\xfe",
        b'{"response": "\\ud83d"}',
        b'{"n": NaN}',
        b"[" * 100_000,
        b"[" * 100 + b"]" * 100,
        b"[" * 400 + b"]" * 400,
    ],
)
def test_body_survives_the_file(tmp_path, body):
    """JSON is replayed as the same JSON, any other body byte by byte."""
    answer = record_answer(200, JSON, [(0.1, body[:3]), (0.2, body[3:])], Secret(KEY))
    write_file(tmp_path / "c.json", RecordedCall(request=record_request(request()), response=answer))

    (call,) = read_file(tmp_path / "c.json")

    assert body_of(call.response) == body
    assert call.response.at == 0.2


@pytest.mark.parametrize(
    "wire",
    [
        b'data: {"type": "response", "response": "a"}\n\ndata: [DONE]\n\n',
        b': ping\n\ndata:{"type": "x"}\r\n\r\nid: 1\rdata: 1\r\rdata: {"a": "\\ud83d"}\n\n',
        b'\n\n\ndata: {"type": "x"}\n\n\0data: \xff\n\n',
        b'data: {"type": "cut',
        b"",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_stream_survives_the_file(tmp_path, wire, size):
    """A stream is replayed byte by byte, with comments, line ends and broken events, however it was chunked."""
    chunks = [(float(at), wire[at : at + size]) for at in range(0, len(wire), size)]
    answer = record_answer(200, STREAM, chunks, Secret(KEY))
    write_file(tmp_path / "c.json", RecordedCall(request=record_request(request()), response=answer))

    (call,) = read_file(tmp_path / "c.json")

    assert body_of(call.response) == wire
    assert [event.at for event in call.response.events] == sorted(event.at for event in call.response.events)


def test_times_an_event_by_its_last_byte():
    """An event has the time at which it was complete."""
    chunks = [(0.1, b'data: {"a": 1}\n'), (0.2, b'\ndata: {"a": 2}\n\ndata: {'), (0.3, b'"a": 3}\n\n')]

    events = record_answer(200, STREAM, chunks, Secret("")).events

    assert [(event.at, event.event["a"]) for event in events] == [(0.2, 1), (0.2, 2), (0.3, 3)]


@pytest.mark.parametrize(
    ("wire", "over"),
    [
        (b'data: {"type": "usage"}\n\n', True),
        (b'data: {"type": "error"}\n\n', True),
        (b"data: [DONE]\n\n", True),
        (b'data: {"type": "response"}\n\n', False),
        (b": usage\n\n", False),
    ],
)
def test_stream_is_complete_with_its_last_event(wire, over):
    """A stream is complete with usage, an error or the end marker."""
    (event,) = record_answer(200, STREAM, [(0.0, wire)], Secret("")).events

    assert is_last(event) is over


def test_writes_one_call_per_line(tmp_path):
    """The file is JSON Lines with unescaped letters, sorted headers and independent lines."""
    wire = [(0.1, 'data: {"response": "café"}\n\n'.encode()), (0.25, b": ping\n\n")]
    answer = record_answer(200, {"retry-after": "1", **STREAM}, wire, Secret(KEY))
    call = RecordedCall(request=record_request(request(b'{"b": [1], "a": {}}'), "/v1"), response=answer)
    file = tmp_path / "c.json"

    write_file(file, call, call)

    line = (
        '{"fetch_hive_cassette": 2, '
        '"request": {"method": "POST", "path": "/prompt/invoke", "body": {"b": [1], "a": {}}}, '
        '"response": {"status": 200, "headers": {"content-type": "text/event-stream", "retry-after": "1"}, '
        '"events": [{"at": 0.1, "event": {"response": "café"}}, {"at": 0.25, "wire": ": ping\\n\\n"}]}}\n'
    )
    assert file.read_text("utf-8") == line * 2
    assert read_file(file) == [call, call]
    assert list(tmp_path.iterdir()) == [file]


def test_reads_the_old_format(tmp_path):
    """A cassette of version 1.0, one JSON object on many lines, can be read."""
    call = RecordedCall(
        request=record_request(request()), response=record_answer(200, JSON, [(0.1, b"{}")], Secret(KEY))
    )
    file = tmp_path / "c.json"
    old = {"fetch_hive_cassette": 1, "calls": [call.model_dump(exclude_unset=True)] * 2}
    file.write_text(json.dumps(old, indent=2), "utf-8")

    assert read_file(file) == [call, call]


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n", b'{"fetch_hive_cassette": 2, "requ', b'{"a": "caf\xc3'])
def test_ignores_an_incomplete_last_line(tmp_path, end):
    """A killed recorder loses only its last call. Blank lines and other line ends are ignored."""
    call = RecordedCall(
        request=record_request(request()), response=record_answer(200, JSON, [(0.1, b"{}")], Secret(KEY))
    )
    file = tmp_path / "c.json"
    write_file(file, call)
    file.write_bytes(file.read_bytes() + end)

    assert read_file(file) == [call]


CALL = {"request": {"method": "POST", "path": "/x"}, "response": {"status": 200}}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xff", "is not JSON"),
        (b"[]", "is not a cassette"),
        (b'{"calls": []}', "is not a cassette"),
        (b'{"fetch_hive_cassette": 3, "calls": []}', "its format is 3"),
        (b'{"fetch_hive_cassette": 2}', "invalid line 1: request: Field required"),
        (json.dumps({"fetch_hive_cassette": 2, **CALL}).encode() + b"\n{\n", "line 2 is not JSON"),
        (json.dumps({"fetch_hive_cassette": 2, **CALL}).encode() + b"\n{}", "is not a cassette"),
        (b'{"fetch_hive_cassette": 1}', r"c\.json: calls: Field required"),
        (json.dumps({"fetch_hive_cassette": 1, "calls": [{**CALL, "x": 1}]}).encode(), r"calls\.0\.x"),
        (
            json.dumps({"fetch_hive_cassette": 1, "calls": [{**CALL, "response": {"status": 2}}]}).encode(),
            "calls.0.response.status",
        ),
    ],
)
def test_invalid_file_is_explained(tmp_path, content, complaint):
    """The error has the file, the place and the reason in one sentence."""
    file = tmp_path / "c.json"
    file.write_bytes(content)

    with pytest.raises(ConfigurationError, match=complaint) as caught:
        read_file(file)

    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        ({"status": 101}, "status: Input should be greater than or equal to 200"),
        ({"status": 1000}, "status: Input should be less than or equal to 999"),
        ({"headers": {"content-type": "a\nb"}}, "headers: Illegal header value"),
        ({"headers": {"x-café": "a"}}, "headers: Illegal header name"),
        ({"headers": {"Content-Length": "3"}}, "headers: remove content-length"),
        ({"body": {"a": ["\ud800"]}}, "body: .* surrogates not allowed"),
        ({"body": {"\ud800": 1}}, "body: .* surrogates not allowed"),
        ({"body": {"a": float("nan")}}, "body: Out of range float values"),
        ({"text": "\ud800"}, "text: .* surrogates not allowed"),
        ({"base64": "!!!"}, "base64: "),
        ({"events": [{"at": 0, "wire": "\ud800"}]}, "events.0.wire: .* surrogates not allowed"),
        ({"events": [{"at": 0, "event": {"\ud800": 1}}]}, "events.0.event: .* surrogates not allowed"),
        ({"body": {}, "ended": "left"}, "only an answer with events can have ended"),
    ],
)
def test_edited_answer_that_cannot_be_sent_is_rejected(tmp_path, edit, complaint):
    """The line is named when the cassette is read, not when it is replayed."""
    file = tmp_path / "c.json"
    lines = [
        {"fetch_hive_cassette": 2, **CALL, "response": answer} for answer in ({"status": 200}, {"status": 200, **edit})
    ]
    file.write_text("\n".join(map(json.dumps, lines)), "utf-8")

    with pytest.raises(ConfigurationError, match=f"invalid line 2: response\\W+{complaint}"):
        read_file(file)


def test_missing_file_is_explained(tmp_path):
    """The error for a missing file is one sentence too."""
    with pytest.raises(ConfigurationError, match=r"cannot read .*missing\.json: No such file"):
        read_file(tmp_path / "missing.json")


def test_masks_webhook_secrets():
    """Webhook secrets are masked in answers and events, and trigger secrets in queries."""
    body = b'{"run_id": "r", "webhook_secret": "whsec_1", "data": [{"webhook_secret": "whsec_2"}]}'

    whole = record_answer(202, JSON, [(0.0, body)], Secret(KEY))
    event = record_answer(200, STREAM, [(0.0, b'data: {"webhook_secret": "whsec_3"}\n\n')], Secret(KEY))
    asked = record_request(request(path="/v1/agent/webhooks/a?secret=whsec_4&b=1"))

    assert b"whsec" not in body_of(whole) + body_of(event)
    assert whole.body["run_id"] == "r"
    assert asked.path == "/v1/agent/webhooks/a?secret=***&b=1"


@pytest.mark.parametrize(
    ("headers", "params"), [({"X-Fetch-Hive-Webhook-Secret": "whsec_5"}, {}), ({}, {"secret": "whsec_5"})]
)
def test_masks_the_secret_of_a_trigger(headers, params):
    """It is in a header, which is not recorded, or in the query; the body and the answer may repeat it."""
    url = httpx.URL("https://x.test/v1/agent/webhooks/a", params=params)
    sent = httpx.Request("POST", url, headers=headers, json={"message": "whsec_5"})

    answer = record_answer(401, JSON, [(0.0, b'{"error": "whsec_5 is wrong"}')], secrets_of(sent))

    assert record_request(sent).body == {"message": "***"}
    assert answer.body == {"error": "*** is wrong"}


def test_masks_webhook_secrets_in_truncated_json():
    """A truncated answer is recorded as text."""
    answer = record_answer(202, JSON, [(0.0, b'{"run_id": "r", "webhook_secret": "whsec_6')], Secret(KEY))

    assert body_of(answer) == b'{"run_id": "r", "webhook_secret": "***'


def test_form_boundary_is_fixed():
    """Clients choose a random boundary; with a fixed one, the same upload is the same call."""
    kept = []
    for boundary in ("one", "two"):
        body = f"--{boundary}\r\n\r\nbees\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        kept.append(record_request(httpx.Request("POST", "https://x.test/v1/assets", headers=headers, content=body)))

    assert kept[0] == kept[1]
    assert "bees" in kept[0].body
