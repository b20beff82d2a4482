"""`_blocking` and `_asyncio`, which send the requests: the same tests for both."""

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
    """A fake service that returns scripted answers in turn, and records the requests."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_call_sends_one_post(drive):
    """A call POSTs the JSON body to the endpoint, with the key in a header."""
    service = Service(httpx.Response(200, json=ANSWER))
    client = drive.client(service)

    result = drive.invoke(client, deployment="d", inputs={"text": "long"})

    (request,) = service.requests
    assert (request.method, str(request.url)) == ("POST", "https://api.fetchhive.com/v1/prompt/invoke")
    assert json.loads(request.content) == {"deployment": "d", "inputs": {"text": "long"}, "streaming": False}
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept"] == "application/json"
    assert result.response == result["response"] == "Short."


def test_stream_sends_one_post(drive):
    """A stream requests events and yields them typed, in order."""
    service = Service(streamed(*sse(HELLO, WORLD, USAGE, "[DONE]")))

    events = drive.events(drive.client(service), deployment="d")

    (request,) = service.requests
    assert json.loads(request.content) == {"deployment": "d", "streaming": True}
    assert request.headers["accept"] == "text/event-stream, application/json"
    assert [event.raw for event in events] == [HELLO, WORLD, USAGE]


def test_stream_is_sent_on_first_use(drive):
    """The arguments are validated at the call; the request is sent on first use."""
    service = Service()
    client = drive.client(service)

    client.invoke_prompt_stream(deployment="d")
    client.ainvoke_prompt_stream(deployment="d")
    with pytest.raises(ValueError, match="must not be empty"):
        client.invoke_prompt_stream(deployment="")

    assert service.requests == []


@pytest.mark.parametrize("status", [408, 425, 429])
def test_unprocessed_request_is_retried(drive, status):
    """These statuses mean that no run was started."""
    refusal = httpx.Response(status, headers={"retry-after": "0"}, json={"error": "later"})
    service = Service(refusal, httpx.Response(200, json=ANSWER))

    result = drive.invoke(drive.client(service), deployment="d")

    assert result.response == "Short."
    assert len(service.requests) == 2


def test_retries_are_limited(drive):
    """After `max_retries` retries the last error is raised, with the number of attempts."""
    service = Service(*[httpx.Response(429, headers={"retry-after": "0"}, json={"error": "later"}) for _ in range(3)])

    with pytest.raises(RateLimitError) as caught:
        drive.invoke(drive.client(service), deployment="d")

    assert caught.value.attempts == len(service.requests) == 3
    assert not caught.value.maybe_processed


def test_unknown_outcome_is_not_retried(drive):
    """After a read timeout or a server error the run may have been billed, so only one request is sent."""
    for answer, error_class in [
        (httpx.ReadTimeout("quiet"), APITimeoutError),
        (httpx.Response(500), InternalServerError),
    ]:
        service = Service(answer)

        with pytest.raises(error_class) as caught:
            drive.invoke(drive.client(service), deployment="d")

        assert caught.value.maybe_processed
        assert len(service.requests) == 1


def test_unknown_outcome_is_retried_with_the_option(drive, monkeypatch):
    """`retry_unknown_outcome=True` retries, and may be billed again."""
    service = Service(httpx.Response(503), httpx.ReadError("reset"), httpx.Response(200, json=ANSWER))
    client = drive.client(service, retry_unknown_outcome=True)
    monkeypatch.setattr("fetch_hive_sdk._protocol.retry._FIRST_BACKOFF", 0)

    result = drive.invoke(client, deployment="d")

    assert result.response == "Short."
    assert len(service.requests) == 3


def test_refused_stream_raises_with_its_body(drive):
    """A refused stream raises like a call, reads the response and releases the connection."""
    body = Pieces(b'{"error": "no such', b' key"}')
    service = Service(httpx.Response(401, headers={"content-type": "application/json"}, stream=body))

    with pytest.raises(AuthenticationError, match="no such key") as caught:
        drive.events(drive.client(service), deployment="d")

    assert caught.value.response.text == '{"error": "no such key"}'
    assert body.is_closed


def test_refusal_with_a_broken_body_keeps_its_status(drive):
    """The status is reported even if the connection breaks during the body of the error."""
    body = Pieces(b'{"error": "no such', httpx.ReadError("reset"))
    service = Service(httpx.Response(401, stream=body))

    with pytest.raises(AuthenticationError) as caught:
        drive.invoke(drive.client(service), deployment="d")

    assert caught.value.body == '{"error": "no such'
    assert body.is_closed


def test_broken_body_keeps_received_bytes(drive):
    """The run has been billed, so the error contains the received bytes and the request id."""
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
def test_undocumented_2xx_answer_is_an_error(drive, answer, error_class):
    """The error reports that the run may have been billed, and contains the body."""
    with pytest.raises(error_class) as caught:
        drive.invoke(drive.client(Service(httpx.Response(200, **answer))), deployment="d")

    assert caught.value.maybe_processed
    assert caught.value.attempts == 1
    assert caught.value.body is not None


def test_broken_stream_keeps_received_events(drive):
    """The complete events are yielded, and then the error is raised, which contains them too."""
    service = Service(streamed(*sse(HELLO, WORLD), httpx.ReadError("reset")))
    seen = []

    with pytest.raises(StreamInterruptedError) as caught:
        drive.events(drive.client(service), into=seen, deployment="d")

    assert [event.raw for event in seen] == [HELLO, WORLD]
    assert caught.value.partial.text == "Hello world"
    assert caught.value.request_id == "req_1"
    assert caught.value.attempts == 1
    assert "authorization" not in caught.value.request.headers


def test_stream_without_an_end_is_interrupted(drive):
    """A body that ends without usage, error or `[DONE]` is incomplete."""
    with pytest.raises(StreamInterruptedError, match="ended before") as caught:
        drive.events(drive.client(Service(streamed(*sse(HELLO)))), deployment="d")

    assert caught.value.partial.text == "Hello"


def test_stream_that_breaks_after_usage_is_complete(drive):
    """Usage is the last event, so a broken connection after it loses nothing."""
    service = Service(streamed(*sse(HELLO, USAGE), httpx.ReadError("reset")))

    result = drive.collect(drive.client(service), deployment="d")

    assert result.response == "Hello"


def test_malformed_event_is_an_error(drive):
    """The events before it are yielded, and then the error is raised, which contains them too."""
    with pytest.raises(ResponseDecodeError) as caught:
        drive.events(drive.client(Service(streamed(*sse(HELLO, "{")))), deployment="d")

    assert caught.value.partial.text == "Hello"
    assert caught.value.request_id == "req_1"
    assert caught.value.body == b"{"


def test_error_event_is_yielded_or_raised(drive):
    """Iterating yields an error event; `text()` and `collect()` raise it."""
    failure = {"type": "error", "error": "provider failed", "error_code": "provider_error"}
    pieces = sse(HELLO, failure, "[DONE]")

    events = drive.events(drive.client(Service(streamed(*pieces))), deployment="d")
    assert [event.raw for event in events] == [HELLO, failure]

    for verb in (drive.text, drive.collect):
        with pytest.raises(StreamFailedError, match="provider failed") as caught:
            verb(drive.client(Service(streamed(*pieces))), deployment="d")

        assert caught.value.error_code == "provider_error"
        assert caught.value.partial.text == "Hello"


def test_unknown_event_is_passed_on(drive):
    """An event of an unknown type reaches the caller unchanged."""
    tool = {"type": "tool_call", "tool": "search"}

    events = drive.events(drive.client(Service(streamed(*sse(tool, USAGE)))), deployment="d")

    assert isinstance(events[0], UnknownEvent)
    assert events[0].raw == tool


def test_json_answer_to_a_stream_is_accepted(drive):
    """A JSON response to a streaming request yields the same events and the same collected answer."""
    answer = {**ANSWER, "reasoning": "Hm.", "duration": 1.5, "stop_reason": "completed", "model": "m"}

    events = drive.events(drive.client(Service(httpx.Response(200, json=answer))), deployment="d")
    result = drive.collect(drive.client(Service(httpx.Response(200, json=answer))), deployment="d")

    assert [event.type for event in events] == ["reasoning", "response", "usage"]
    assert result.raw == answer


def test_html_answer_to_a_stream_is_an_error(drive):
    """The error contains the body."""
    with pytest.raises(UnexpectedContentTypeError) as caught:
        drive.events(drive.client(Service(httpx.Response(200, html="<p>Hi</p>"))), deployment="d")

    assert caught.value.body == b"<p>Hi</p>"


def test_nothing_is_read_after_done(drive):
    """Events after `[DONE]` are ignored; the connection of an injected client is closed."""
    body = Pieces(*sse(HELLO, USAGE, "[DONE]"), *sse(WORLD) * 5)
    service = Service(httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body))

    events = drive.events(drive.client(service), deployment="d")

    assert [event.type for event in events] == ["response", "usage"]
    assert body.taken == 3
    assert body.is_closed


def test_leaving_a_stream_early_releases_the_connection(drive):
    """Leaving `with`, or a plain loop, closes the response."""
    for verb in (lambda client: drive.leave(client, 1, deployment="d"), lambda c: drive.break_off(c, deployment="d")):
        body = Pieces(*sse(HELLO, WORLD, USAGE))
        service = Service(httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body))

        verb(drive.client(service))

        assert body.taken == 1
        assert body.is_closed


def test_entering_sends_the_request(drive):
    """Entering `with` waits for the response and raises its error."""
    body = Pieces(*sse(HELLO, USAGE))
    service = Service(httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body))

    assert drive.leave(drive.client(service), 0, deployment="d") == []
    assert len(service.requests) == 1
    assert body.is_closed

    with pytest.raises(AuthenticationError):
        drive.leave(drive.client(Service(httpx.Response(401))), 0, deployment="d")


def test_redirect_is_an_error(drive):
    """The body is not sent to another URL, even if the injected client follows redirects."""
    service = Service(httpx.Response(307, headers={"location": "https://elsewhere.test/"}))
    client = drive.client(service)
    injected = client._session.senders.http_client or client._session.senders.async_http_client
    injected.follow_redirects = True

    with pytest.raises(httpx.HTTPStatusError, match="307"):
        drive.invoke(client, deployment="d")

    assert len(service.requests) == 1


# --- Keys in tracebacks ----------------------------------------------------------------------------------------------


BROKEN_BODIES = {
    "broken JSON": ("application/json", {}, [b'{"response": "%s', b", "]),
    "undocumented JSON": ("application/json", {}, [b'{"text": "%s"}']),
    "a list": ("application/json", {}, [b'["%s"]']),
    "HTML": ("text/html", {}, [b"<p>%s</p>"]),
    "invalid gzip": ("application/json", {"content-encoding": "gzip"}, [b"%s"]),
    "truncated": ("application/json", {}, [b'{"response": "%s', httpx.ReadError("reset")]),
    "too long": ("application/json", {}, [b"%s", *[b" " * 1024 * 1024] * 33]),
}
BROKEN_STREAMS = {
    "malformed event": [b'data: {"response": "%s\n\n'],
    "undocumented event": [b'data: {"type": "response", "x": "%s"}\n\n'],
    "a list": [b'data: ["%s"]\n\n'],
    "truncated event": [b'data: {"type": "response", "response": "%s'],
    "reset": [b'data: {"type": "response"', b', "response": "%s', httpx.ReadError("reset")],
}


def with_key(pieces):
    return [piece.replace(b"%s", KEY.encode()) if isinstance(piece, bytes) else piece for piece in pieces]


def assert_shows_no_key(error):
    assert KEY not in shown_by(error)


@pytest.mark.parametrize("method", ["invoke", "events", "collect"])
@pytest.mark.parametrize("case", BROKEN_BODIES)
def test_tracebacks_do_not_keep_a_key_in_an_answer(drive, case, method):
    """Functions that parse a response clear their variables before the error leaves them."""
    media_type, headers, pieces = BROKEN_BODIES[case]

    def answer(request):
        return httpx.Response(200, headers={"content-type": media_type, **headers}, stream=Pieces(*with_key(pieces)))

    with pytest.raises(FetchHiveError) as caught:
        getattr(drive, method)(drive.client(answer), deployment="d")

    assert_shows_no_key(caught.value)
    assert caught.value.__traceback__ is not None


@pytest.mark.parametrize("method", ["events", "collect", "text"])
@pytest.mark.parametrize("case", BROKEN_STREAMS)
def test_tracebacks_do_not_keep_a_key_in_a_stream(drive, case, method):
    """Functions that parse events clear their variables, including the rest of the chunk."""
    with pytest.raises(FetchHiveError) as caught:
        getattr(drive, method)(drive.client(lambda _: streamed(*with_key(BROKEN_STREAMS[case]))), deployment="d")

    assert_shows_no_key(caught.value)


def refuse_to_connect(_):
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize("method", ["invoke", "collect"])
@pytest.mark.parametrize("answer", [refuse_to_connect, lambda _: httpx.Response(200, json={"text": "?"})])
def test_exception_handled_by_the_caller_is_not_modified(drive, answer, method):
    """It becomes the context of the error that the call raises. Its traceback, variables and message stay unchanged."""
    client = drive.client(answer, max_retries=0)
    handled = None
    try:
        fail_with(f"about {KEY}")
    except ValueError as exc:
        handled = exc
        with pytest.raises(FetchHiveError):
            getattr(drive, method)(client, deployment="d")

    assert str(handled) == f"about {KEY}"
    assert [frame.f_locals.get("text") for frame, _ in traceback.walk_tb(handled.__traceback__)][-1] == f"about {KEY}"


def fail_with(text: str) -> None:
    raise ValueError(text)
