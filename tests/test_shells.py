"""The two shells, `_blocking` and `_asyncio`: the same tests for both."""

from __future__ import annotations

import json
import traceback

import httpx
import pytest

from driving import ANSWER, KEY, Pieces, shown_by, sse, streamed
from fetch_hive_sdk import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    FetchHiveError,
    InternalServerError,
    RateLimitError,
    ResponseDecodeError,
    ResponseValidationError,
    StreamFailedError,
    StreamInterruptedError,
    UnexpectedContentTypeError,
    UnknownEvent,
)

HELLO = {"type": "response", "response": "Hello", "request_id": "req_1"}
WORLD = {"type": "response", "response": " world", "request_id": "req_1"}
USAGE = {"type": "usage", "usage": {"total_tokens": 3}, "request_id": "req_1", "stop_reason": "completed"}


class Service:
    """Answers from a list, one answer a request, and keeps the requests."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_call_is_one_post(drive):
    """A call is a POST of the JSON body to the endpoint, with the key in its header."""
    service = Service(httpx.Response(200, json=ANSWER))
    client = drive.client(service)

    result = drive.invoke(client, deployment="d", inputs={"text": "long"})

    (request,) = service.requests
    assert (request.method, str(request.url)) == ("POST", "https://api.fetchhive.com/v1/prompt/invoke")
    assert json.loads(request.content) == {"deployment": "d", "inputs": {"text": "long"}, "streaming": False}
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept"] == "application/json"
    assert result.response == result["response"] == "Short."


def test_a_stream_is_one_post(drive):
    """A stream asks for events and yields them typed, in the order in which they come."""
    service = Service(streamed(*sse(HELLO, WORLD, USAGE, "[DONE]")))

    events = drive.events(drive.client(service), deployment="d")

    (request,) = service.requests
    assert json.loads(request.content) == {"deployment": "d", "streaming": True}
    assert request.headers["accept"] == "text/event-stream, application/json"
    assert [event.raw for event in events] == [HELLO, WORLD, USAGE]


def test_nothing_is_sent_before_the_stream_is_used(drive):
    """The arguments of a stream are validated at the call, the request waits for the first use."""
    service = Service()
    client = drive.client(service)

    client.invoke_prompt_stream(deployment="d")
    client.ainvoke_prompt_stream(deployment="d")
    with pytest.raises(ValueError, match="must not be empty"):
        client.invoke_prompt_stream(deployment="")

    assert service.requests == []


@pytest.mark.parametrize("status", [408, 425, 429])
def test_what_was_not_processed_is_sent_again(drive, status):
    """A refusal that says that nothing was run is followed by another attempt."""
    refusal = httpx.Response(status, headers={"retry-after": "0"}, json={"error": "later"})
    service = Service(refusal, httpx.Response(200, json=ANSWER))

    result = drive.invoke(drive.client(service), deployment="d")

    assert result.response == "Short."
    assert len(service.requests) == 2


def test_retries_come_to_an_end(drive):
    """After `max_retries` more attempts the error of the last one is raised, and counts them."""
    service = Service(*[httpx.Response(429, headers={"retry-after": "0"}, json={"error": "later"}) for _ in range(3)])

    with pytest.raises(RateLimitError) as caught:
        drive.invoke(drive.client(service), deployment="d")

    assert caught.value.attempts == len(service.requests) == 3
    assert not caught.value.maybe_processed


def test_an_unknown_outcome_is_not_repeated(drive):
    """A read timeout and a server's failure may be a paid run: the call ends with one request."""
    for answer, error_class in [
        (httpx.ReadTimeout("quiet"), APITimeoutError),
        (httpx.Response(500), InternalServerError),
    ]:
        service = Service(answer)

        with pytest.raises(error_class) as caught:
            drive.invoke(drive.client(service), deployment="d")

        assert caught.value.maybe_processed
        assert len(service.requests) == 1


def test_an_unknown_outcome_is_repeated_on_demand(drive, monkeypatch):
    """Who passes `retry_unknown_outcome=True` gets another attempt, and maybe another bill."""
    service = Service(httpx.Response(503), httpx.ReadError("reset"), httpx.Response(200, json=ANSWER))
    client = drive.client(service, retry_unknown_outcome=True)
    monkeypatch.setattr("fetch_hive_sdk._protocol.retry._FIRST_BACKOFF", 0)

    result = drive.invoke(client, deployment="d")

    assert result.response == "Short."
    assert len(service.requests) == 3


def test_a_refused_stream_has_a_readable_body(drive):
    """A stream that is refused raises like any call, its response read and its connection given back."""
    body = Pieces(b'{"error": "no such', b' key"}')
    service = Service(httpx.Response(401, headers={"content-type": "application/json"}, stream=body))

    with pytest.raises(AuthenticationError, match="no such key") as caught:
        drive.events(drive.client(service), deployment="d")

    assert caught.value.response.text == '{"error": "no such key"}'
    assert body.is_closed


def test_a_refusal_survives_its_body(drive):
    """The status is told even if the body of the refusal breaks off."""
    body = Pieces(b'{"error": "no such', httpx.ReadError("reset"))
    service = Service(httpx.Response(401, stream=body))

    with pytest.raises(AuthenticationError) as caught:
        drive.invoke(drive.client(service), deployment="d")

    assert caught.value.body == '{"error": "no such'
    assert body.is_closed


def test_a_broken_body_keeps_what_came(drive):
    """An answer that breaks off has been paid for: what came of it and its request id are in the error."""
    service = Service(
        streamed(b'{"request_id": "req_7", "resp', httpx.ReadError("reset"), media_type="application/json")
    )

    with pytest.raises(APIConnectionError) as caught:
        drive.invoke(drive.client(service), deployment="d")

    assert caught.value.maybe_processed
    assert caught.value.request_id == "req_7"
    assert caught.value.body == b'{"request_id": "req_7", "resp'


@pytest.mark.parametrize(
    ("answer", "error_class"),
    [
        ({"html": "<h1>Welcome</h1>"}, UnexpectedContentTypeError),
        ({"content": b"{"}, ResponseDecodeError),
        ({"content": b""}, ResponseDecodeError),
        ({"json": ["Short."]}, ResponseValidationError),
        ({"json": {"request_id": "req_1"}}, ResponseValidationError),
    ],
)
def test_a_false_answer_is_reported(drive, answer, error_class):
    """A 2xx answer that is not what it promised raises, says that it was paid for, and keeps what came."""
    with pytest.raises(error_class) as caught:
        drive.invoke(drive.client(Service(httpx.Response(200, **answer))), deployment="d")

    assert caught.value.maybe_processed
    assert caught.value.attempts == 1
    assert caught.value.body is not None


def test_a_stream_that_breaks_keeps_what_came(drive):
    """The whole events come first, then the interruption, which has them too."""
    service = Service(streamed(*sse(HELLO, WORLD), httpx.ReadError("reset")))
    seen = []

    with pytest.raises(StreamInterruptedError) as caught:
        drive.events(drive.client(service), into=seen, deployment="d")

    assert [event.raw for event in seen] == [HELLO, WORLD]
    assert caught.value.partial.text == "Hello world"
    assert caught.value.request_id == "req_1"
    assert caught.value.attempts == 1
    assert "authorization" not in caught.value.request.headers


def test_a_stream_that_ends_too_early_is_interrupted(drive):
    """The end of the body without usage, error or `[DONE]` is no end of the answer."""
    with pytest.raises(StreamInterruptedError, match="ended before") as caught:
        drive.events(drive.client(Service(streamed(*sse(HELLO)))), deployment="d")

    assert caught.value.partial.text == "Hello"


def test_a_stream_that_breaks_after_its_usage_is_whole(drive):
    """After the last event nothing is missing, however the connection ends."""
    service = Service(streamed(*sse(HELLO, USAGE), httpx.ReadError("reset")))

    result = drive.collect(drive.client(service), deployment="d")

    assert result.response == "Hello"


def test_a_broken_event_is_reported(drive):
    """An event that is not JSON raises after the events before it, and keeps them."""
    with pytest.raises(ResponseDecodeError) as caught:
        drive.events(drive.client(Service(streamed(*sse(HELLO, "{")))), deployment="d")

    assert caught.value.partial.text == "Hello"
    assert caught.value.request_id == "req_1"
    assert caught.value.body == b"{"


def test_an_error_event_is_an_event_and_an_error(drive):
    """Iterating yields an error event; text and collect raise it."""
    failure = {"type": "error", "error": "provider failed", "error_code": "provider_error"}
    pieces = sse(HELLO, failure, "[DONE]")

    events = drive.events(drive.client(Service(streamed(*pieces))), deployment="d")
    assert [event.raw for event in events] == [HELLO, failure]

    for verb in (drive.text, drive.collect):
        with pytest.raises(StreamFailedError, match="provider failed") as caught:
            verb(drive.client(Service(streamed(*pieces))), deployment="d")

        assert caught.value.error_code == "provider_error"
        assert caught.value.partial.text == "Hello"


def test_an_unknown_event_is_passed_on(drive):
    """An event type from the future reaches the caller, word for word."""
    tool = {"type": "tool_call", "tool": "search"}

    events = drive.events(drive.client(Service(streamed(*sse(tool, USAGE)))), deployment="d")

    assert isinstance(events[0], UnknownEvent)
    assert events[0].raw == tool


def test_json_for_a_stream_is_the_same_answer(drive):
    """A service that answers a stream with JSON gives the same events, and the same collected answer."""
    answer = {**ANSWER, "reasoning": "Hm.", "duration": 1.5, "stop_reason": "completed", "model": "m"}

    events = drive.events(drive.client(Service(httpx.Response(200, json=answer))), deployment="d")
    result = drive.collect(drive.client(Service(httpx.Response(200, json=answer))), deployment="d")

    assert [event.type for event in events] == ["reasoning", "response", "usage"]
    assert result.raw == answer


def test_a_page_for_a_stream_is_no_answer(drive):
    """An HTML page in place of events is reported, its bytes kept."""
    with pytest.raises(UnexpectedContentTypeError) as caught:
        drive.events(drive.client(Service(httpx.Response(200, html="<p>Hi</p>"))), deployment="d")

    assert caught.value.body == b"<p>Hi</p>"


def test_nothing_is_read_after_done(drive):
    """After `[DONE]` there are no events; an injected client's connection is closed, not read on."""
    body = Pieces(*sse(HELLO, USAGE, "[DONE]"), *sse(WORLD) * 5)
    service = Service(httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body))

    events = drive.events(drive.client(service), deployment="d")

    assert [event.type for event in events] == ["response", "usage"]
    assert body.taken == 3
    assert body.is_closed


def test_leaving_early_gives_the_connection_back(drive):
    """`with`, and a plain loop that is left, close the response."""
    for verb in (lambda client: drive.leave(client, 1, deployment="d"), lambda c: drive.break_off(c, deployment="d")):
        body = Pieces(*sse(HELLO, WORLD, USAGE))
        service = Service(httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body))

        verb(drive.client(service))

        assert body.taken == 1
        assert body.is_closed


def test_entering_sends_the_request(drive):
    """On entering `with` the request has been answered, and a refusal is raised there."""
    body = Pieces(*sse(HELLO, USAGE))
    service = Service(httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body))

    assert drive.leave(drive.client(service), 0, deployment="d") == []
    assert len(service.requests) == 1
    assert body.is_closed

    with pytest.raises(AuthenticationError):
        drive.leave(drive.client(Service(httpx.Response(401))), 0, deployment="d")


def test_a_redirect_is_an_error(drive):
    """The body is sent nowhere else, whatever the injected client would do."""
    service = Service(httpx.Response(307, headers={"location": "https://elsewhere.test/"}))
    client = drive.client(service)
    injected = client._session.senders.http_client or client._session.senders.async_http_client
    injected.follow_redirects = True

    with pytest.raises(httpx.HTTPStatusError, match="307"):
        drive.invoke(client, deployment="d")

    assert len(service.requests) == 1


# --- Where the key may stand -----------------------------------------------------------------------------------------


BROKEN_BODIES = {
    "broken JSON": ("application/json", {}, [b'{"response": "%s', b", "]),
    "not as promised": ("application/json", {}, [b'{"text": "%s"}']),
    "a list": ("application/json", {}, [b'["%s"]']),
    "a page": ("text/html", {}, [b"<p>%s</p>"]),
    "false gzip": ("application/json", {"content-encoding": "gzip"}, [b"%s"]),
    "cut": ("application/json", {}, [b'{"response": "%s', httpx.ReadError("reset")]),
    "too long": ("application/json", {}, [b"%s", *[b" " * 1024 * 1024] * 33]),
}
BROKEN_STREAMS = {
    "a broken event": [b'data: {"response": "%s\n\n'],
    "an event that is not as promised": [b'data: {"type": "response", "x": "%s"}\n\n'],
    "a list": [b'data: ["%s"]\n\n'],
    "half an event": [b'data: {"type": "response", "response": "%s'],
    "reset": [b'data: {"type": "response"', b', "response": "%s', httpx.ReadError("reset")],
}


def with_key(pieces):
    return [piece.replace(b"%s", KEY.encode()) if isinstance(piece, bytes) else piece for piece in pieces]


def assert_shows_no_key(error):
    assert KEY not in shown_by(error)


@pytest.mark.parametrize("method", ["invoke", "events", "collect"])
@pytest.mark.parametrize("case", BROKEN_BODIES)
def test_a_key_in_an_answer_is_in_no_variable_of_a_traceback(drive, case, method):
    """What came is in the variables of the functions that read it: they are cleared before the error gets out."""
    media_type, headers, pieces = BROKEN_BODIES[case]

    def answer(request):
        return httpx.Response(200, headers={"content-type": media_type, **headers}, stream=Pieces(*with_key(pieces)))

    with pytest.raises(FetchHiveError) as caught:
        getattr(drive, method)(drive.client(answer), deployment="d")

    assert_shows_no_key(caught.value)
    assert caught.value.__traceback__ is not None


@pytest.mark.parametrize("method", ["events", "collect", "text"])
@pytest.mark.parametrize("case", BROKEN_STREAMS)
def test_a_key_in_a_stream_is_in_no_variable_of_a_traceback(drive, case, method):
    """Nor what came in the same piece."""
    with pytest.raises(FetchHiveError) as caught:
        getattr(drive, method)(drive.client(lambda _: streamed(*with_key(BROKEN_STREAMS[case]))), deployment="d")

    assert_shows_no_key(caught.value)


def refuse_to_connect(_):
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize("method", ["invoke", "collect"])
@pytest.mark.parametrize("answer", [refuse_to_connect, lambda _: httpx.Response(200, json={"text": "?"})])
def test_an_exception_that_the_caller_handles_is_left_alone(drive, answer, method):
    """It becomes the context of ours, and is not ours to clean: neither its traceback and variables nor its text."""
    client = drive.client(answer, max_retries=0)
    mine = None
    try:
        fail_with(f"about {KEY}")
    except ValueError as exc:
        mine = exc
        with pytest.raises(FetchHiveError):
            getattr(drive, method)(client, deployment="d")

    assert str(mine) == f"about {KEY}"
    assert [frame.f_locals.get("text") for frame, _ in traceback.walk_tb(mine.__traceback__)][-1] == f"about {KEY}"


def fail_with(text: str) -> None:
    raise ValueError(text)
