"""Requests and calls with all attempts. The tests use plain values: no client, no sockets, no waiting."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import pickle

import httpx
import pytest

from fetch_hive_sdk import (
    APIConnectionError,
    APITimeoutError,
    FetchHiveError,
    InvokeRequest,
    InvokeResponse,
    ResponseDecodeError,
    ResponseTooLargeError,
    ResponseValidationError,
    StreamInterruptedError,
    StreamTimeoutError,
    Usage,
)
from fetch_hive_sdk._extensions import CLOSED
from fetch_hive_sdk._protocol.answers import one
from fetch_hive_sdk._protocol.call import NETWORK_ERRORS, Call
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint
from fetch_hive_sdk._protocol.prompt_events import PromptTranscript, parse_event
from fetch_hive_sdk._protocol.refusals import without_secrets
from fetch_hive_sdk._protocol.requests import USER_AGENT, Body, build_request, json_body
from fetch_hive_sdk._protocol.streaming import StreamCall
from wire import (
    ANSWER,
    EVENTS,
    HELLO,
    KEY,
    NOW,
    REQUEST,
    USAGE,
    as_json,
    as_sse,
    config,
    pieces,
    raws,
    read_stream,
)

ENDPOINT = Endpoint("/prompt/invoke", one(InvokeResponse))
BODY = Body(b'{"deployment": "d"}')
LOOK_UP = Endpoint("/things/1", one(Usage), "GET", Effect.READ)

# --- The request -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("streaming", "accept", "encoding"),
    [(False, "application/json", "gzip"), (True, "text/event-stream, application/json", "identity")],
)
def test_request_has_user_agent_and_accept_headers(streaming, accept, encoding):
    """Streams are not compressed, so that no event is buffered; answers may be compressed with gzip."""
    request = build_request(config(), ENDPOINT, Body(b"{}"), streaming=streaming, limits={"read": 5.0})

    assert (request.method, str(request.url)) == ("POST", "https://api.test/v1/prompt/invoke")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == accept
    assert request.headers["accept-encoding"] == encoding
    assert request.headers["user-agent"] == USER_AGENT
    assert request.content == b"{}"
    assert request.extensions["timeout"] == {"read": 5.0}


def test_request_in_an_error_has_neither_key_nor_body():
    """It still has the method, the URL and the other headers."""
    request = build_request(config(), ENDPOINT, Body(b'{"inputs": "private"}'), streaming=False, limits={})

    shown = without_secrets(request, config().api_key)

    assert "authorization" not in shown.headers
    assert shown.content == b""
    assert (shown.method, shown.url) == (request.method, request.url)
    assert shown.headers["user-agent"] == USER_AGENT
    assert KEY.encode() not in pickle.dumps(shown)


def test_extra_body_is_added_to_the_body():
    """For fields that this version does not know."""
    fields = InvokeRequest(deployment="d", inputs={"a": 1}).raw

    body = json_body(ENDPOINT, fields, InvokeRequest.model_fields, {"seed": 7, "when": NOW})

    assert json.loads(body.content) == {**fields, "seed": 7, "when": "2026-11-23T12:00:00Z"}
    assert json.loads(json_body(ENDPOINT, fields, InvokeRequest.model_fields).content) == fields


def test_extra_body_must_not_contain_arguments():
    """The message names all of them."""
    with pytest.raises(ValueError, match="extra_body must not contain streaming, user: pass it as an argument"):
        json_body(
            ENDPOINT, {"deployment": "d"}, InvokeRequest.model_fields, {"user": "u", "streaming": True, "seed": 7}
        )


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"x": float("nan")}, r"extra_body\.x is nan"),
        ({"x": object()}, r"extra_body\.x is of type object"),
        ([1], "extra_body must be a mapping"),
    ],
)
def test_extra_body_must_be_json(extra, message):
    """Like inputs. The message has the path of the value."""
    with pytest.raises(ValueError, match=message):
        json_body(ENDPOINT, {"deployment": "d"}, InvokeRequest.model_fields, extra)


def test_get_request_has_no_body():
    """It has no headers about a body either."""
    request = build_request(config(), LOOK_UP, None, streaming=False, limits={})

    assert (request.method, str(request.url)) == ("GET", "https://api.test/v1/things/1")
    assert request.content == b""
    assert not {"content-type", "content-length"} & set(request.headers)


# --- Calls -----------------------------------------------------------------------------------------------------------

NO_TIME = 0.0005  # seconds: shorter than any wait, so the call times out immediately


def call_with(*, streaming=False, timeout=60.0, **settings):
    if streaming:
        return StreamCall(config(**settings), ENDPOINT, BODY, timeout=timeout, transcript=PromptTranscript())
    return Call(config(**settings), ENDPOINT, BODY, timeout=timeout)


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
    """The exception that leaves a context of the call when this one is raised in it."""
    with pytest.raises(FetchHiveError) as caught, errors:
        raise exc
    return caught.value


def httpx_errors(base=httpx.RequestError):
    """This class of httpx and all its subclasses."""
    return [
        base,
        *(
            kind
            for child in base.__subclasses__()
            for kind in httpx_errors(child)
            if kind.__module__.startswith("httpx")
        ),
    ]


def test_call_returns_the_answer():
    """Request, status, body, answer."""
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


def look_up(**settings):
    call = Call(config(**settings), LOOK_UP, timeout=60.0)
    call.begin()
    return call


def test_endpoint_determines_the_model():
    """Any received model may be the answer, with or without a request id."""
    call = look_up()

    call.accept(httpx.Response(200, headers={"content-type": "application/json"}, request=REQUEST))
    call.read(b'{"total_tokens": 3}')

    assert call.parse() == Usage(total_tokens=3)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_get_is_retried_after_an_error_response(status):
    """It starts no run, so nothing can have been billed."""
    call = look_up()
    call.accept(httpx.Response(status, request=REQUEST))

    error = raised_in(call.errors(), call.refusal())

    assert error.maybe_processed is False
    assert call.wait_before_retry(error) is not None


def test_get_is_retried_after_a_broken_connection():
    """Even if the request may have arrived."""
    call = look_up()

    error = raised_in(call.errors(), httpx.ReadError("reset"))

    assert error.maybe_processed is False
    assert call.wait_before_retry(error) is not None


def test_stream_call_yields_events():
    """The reader adds them to the transcript of the call."""
    call = call_with(streaming=True)
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, request=call.begin())

    accepted = call.accept(response)
    events = read_stream(call.event_reader(response), [as_sse(*EVENTS)])

    assert accepted
    assert raws(events) == EVENTS
    assert call.transcript.answer().raw == ANSWER


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 404, 500, 599])
def test_other_statuses_are_errors(status):
    """Redirects too: the body is not sent to another URL."""
    call = begun_call()

    assert not call.accept(httpx.Response(status, request=REQUEST))
    assert call.refusal().status_code == status


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_2xx_is_accepted(status):
    """The run was billed."""
    assert begun_call().accept(httpx.Response(status, request=REQUEST))


def test_status_error_has_the_received_part_of_the_body():
    """Decompressed, even if it is truncated."""
    call = begun_call()
    call.accept(
        httpx.Response(400, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b""), request=REQUEST)
    )
    call.read(gzip.compress(as_json({"error": "nope"}))[:-4])

    assert "400 Bad Request: nope" in str(call.refusal())


def test_status_error_has_the_request_id_of_a_truncated_body():
    """It is searched in the part that was received, as for other errors."""
    call = begun_call()
    call.accept(httpx.Response(500, request=REQUEST))
    call.read(b'{"error": "boom", "request_id": "req_1"')

    error = call.refusal()

    assert error.request_id == "req_1"
    assert str(error).endswith("(request_id: req_1)")


def test_body_of_an_error_response_is_limited():
    """To 1 MiB."""
    call = begun_call()
    call.accept(httpx.Response(500, request=REQUEST))
    for _ in range(10):
        call.read(b"x" * 100_000)

    with pytest.raises(ResponseTooLargeError):
        call.read(b"x" * 100_000)

    assert len(call.refusal().response.content) <= 1024 * 1024


def test_slow_body_times_out():
    """The error has the received part and its request id."""
    call = accepted_call(timeout=NO_TIME)

    with pytest.raises(APITimeoutError, match="not complete in time") as caught:
        call.read(b'{"request_id": "req_1", "resp')

    assert caught.value.phase == "total"
    assert caught.value.maybe_processed is True
    assert caught.value.body == b'{"request_id": "req_1", "resp'
    assert caught.value.request_id == "req_1"


# --- Calls: network errors -------------------------------------------------------------------------------------------

NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError"}
PHASES = {"ConnectTimeout": "connect", "WriteTimeout": "write", "PoolTimeout": "pool"}


@pytest.mark.parametrize("kind", sorted(set(httpx_errors()) - {httpx.DecodingError}, key=lambda kind: kind.__name__))
def test_every_httpx_error_is_translated(kind):
    """With the phase, and with whether a run may have started."""
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
def test_errors_below_httpx_are_translated(exc, maybe_processed):
    """An injected client may raise some of them."""
    error = raised_in(begun_call().errors(), exc)

    assert type(error) is APIConnectionError
    assert error.maybe_processed is maybe_processed


@pytest.mark.parametrize("kind", sorted(set(httpx_errors()) - {httpx.DecodingError}, key=lambda kind: kind.__name__))
def test_errors_after_the_response_began_may_be_billed(kind):
    """The request had arrived."""
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
        message = "the connection to api.test:443 broke before the answer was complete: it happened"
        assert str(error) == f"{message} (request_id: req_1)"


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("exc", [UnicodeError("odd"), httpx.LocalProtocolError("odd"), httpx.PoolTimeout("odd")])
def test_answered_request_counts_as_sent(status, exc):
    """Even if a later error looks like a failure to connect. The call is not retried."""
    call = begun_call()
    call.accept(httpx.Response(status, request=REQUEST))

    error = raised_in(call.errors(), exc)

    assert error.maybe_processed is True
    assert call.wait_before_retry(error) is None


def test_next_attempt_resets_the_state():
    """The status of an earlier attempt does not matter."""
    call = begun_call()
    call.accept(httpx.Response(429, request=REQUEST))
    call.begin()

    error = raised_in(call.errors(), httpx.ConnectError("refused"))

    assert error.maybe_processed is False
    assert error.attempts == 2


def test_httpx_timeout_has_no_total():
    """A read that takes too long has the phase `read`."""
    error = raised_in(accepted_call(timeout=httpx.Timeout(5)).errors(), httpx.ReadTimeout("slow"))

    assert error.phase == "read"
    assert error.maybe_processed is True


def test_pool_timeout_has_its_own_message():
    """It is the one that the caller can fix."""
    error = raised_in(begun_call().errors(), httpx.PoolTimeout(""))

    assert "no connection to api.test:443 became free in time" in str(error)


@pytest.mark.parametrize("accepted", [False, True])
def test_decoding_error_is_a_response_error(accepted):
    """An injected client may decompress the body itself."""
    call = accepted_call() if accepted else begun_call()

    error = raised_in(call.errors(), httpx.DecodingError("not gzip"))

    assert type(error) is ResponseDecodeError
    assert error.maybe_processed is True


def test_errors_of_the_package_get_the_number_of_attempts():
    """They are not translated."""
    call = begun_call()
    call.begin()
    original = APIConnectionError("as it is")

    error = raised_in(call.errors(), original)

    assert error is original
    assert error.attempts == 2


def test_key_is_masked_in_the_received_part():
    """As in error responses."""
    call = accepted_call()
    call.read(b'{"echo": "' + KEY.encode())

    broken = raised_in(call.errors(), httpx.ReadError("reset"))
    slow = raised_in(call.errors(), httpx.ReadTimeout("slow"))
    false = raised_in(call.errors(), ResponseValidationError("malformed", body={KEY: [KEY]}))

    assert broken.body == slow.body == b'{"echo": "***'
    assert false.body == {"***": ["***"]}


@pytest.mark.parametrize("exc", [KeyError("theirs"), RuntimeError("theirs"), KeyboardInterrupt()])
def test_other_exceptions_pass_through(exc):
    """An error in an event hook reaches the caller."""
    call = begun_call()

    with pytest.raises(type(exc)), call.errors():
        raise exc

    assert not isinstance(exc, NETWORK_ERRORS)


def test_causes_do_not_contain_the_key():
    """Neither in their requests, nor in their messages, nor in the frames that sent the headers."""
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


def test_contexts_do_not_contain_the_key():
    """Exceptions that were being handled when the error was raised."""
    background = httpx.ReadError("reset", request=REQUEST)
    exc = httpx.CloseError("closing failed", request=REQUEST)
    exc.__context__ = background

    raised_in(begun_call().errors(), exc)

    assert "authorization" not in exc.request.headers
    assert "authorization" not in background.request.headers


def test_status_error_of_an_event_hook_does_not_contain_the_key():
    """An event hook of an injected client may call `raise_for_status()`."""
    response = httpx.Response(401, headers={"x-echo": KEY}, request=REQUEST)
    exc = httpx.HTTPStatusError(f"401 for {KEY}", request=REQUEST, response=response)

    error = raised_in(begun_call().errors(), exc)

    assert error.__cause__ is exc
    assert "authorization" not in exc.request.headers
    assert "authorization" not in exc.response.request.headers
    assert exc.response.headers["x-echo"] == "***"
    assert KEY not in f"{error} {exc}"


# --- Calls: broken streams -------------------------------------------------------------------------------------------


def stream_with(*events, **settings):
    call = accepted_call(streaming=True, **settings)
    for event in events:
        call.transcript.add(parse_event(as_json(event)))
    return call


def test_broken_stream_keeps_its_events():
    """The exception of httpx is the cause."""
    call = stream_with({**HELLO, "request_id": "req_1"})

    error = raised_in(call.stream_errors(), httpx.ReadError("reset"))

    assert type(error) is StreamInterruptedError
    assert error.partial.text == "Hello"
    assert str(error) == "the connection broke in the middle of the stream from api.test:443: reset (request_id: req_1)"
    assert error.request_id == "req_1"
    assert error.attempts == 1
    assert isinstance(error.__cause__, httpx.ReadError)
    assert "authorization" not in error.request.headers


def test_stream_closed_by_another_thread_is_not_blamed_on_the_client():
    """Closing the stream and closing its client end the connection in the same way."""
    error = raised_in(stream_with(HELLO).stream_errors(), httpx.ReadError(CLOSED))

    assert str(error).endswith(
        "broke in the middle of the stream from api.test:443: the stream or its client was closed"
    )


@pytest.mark.parametrize(
    ("idle_timeout", "phase", "message"),
    [
        (None, "read", "stream from api.test:443 sent no data"),
        (60.0, "read", "sent no data"),
        (NO_TIME, "idle", "no event"),
    ],
)
def test_stream_timeout_has_its_phase(idle_timeout, phase, message):
    """`read` for bytes, `idle` for events."""
    call = stream_with(HELLO, idle_timeout=idle_timeout)

    error = raised_in(call.stream_errors(), httpx.ReadTimeout("slow"))

    assert type(error) is StreamTimeoutError
    assert isinstance(error, APITimeoutError)
    assert error.phase == phase
    assert message in str(error)
    assert error.partial.text == "Hello"


@pytest.mark.parametrize("exc", [httpx.ReadError("reset"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")])
def test_network_error_after_the_answer_is_ignored(exc):
    """A server may reset the connection after the usage, when the answer is complete."""
    call = stream_with(HELLO, USAGE)

    with call.stream_errors():
        raise exc

    assert call.transcript.answer().response == "Hello"


def test_interruption_has_its_request():
    """Like every connection error."""
    call = stream_with(HELLO)

    error = raised_in(call.stream_errors(), call.transcript.interruption("it ended"))

    assert error.request.url == REQUEST.url
    assert error.attempts == 1


def test_invalid_event_keeps_the_events_before_it():
    """And the request id, if the error has none."""
    call = stream_with({**HELLO, "request_id": "req_1"})

    without_id = raised_in(call.stream_errors(), ResponseDecodeError("broken", body=KEY.encode()))
    with_id = raised_in(call.stream_errors(), ResponseDecodeError("broken", body=b"", request_id="req_2"))

    assert without_id.partial is not None
    assert without_id.partial.text == "Hello"
    assert (without_id.request_id, with_id.request_id) == ("req_1", "req_2")
    assert without_id.body == b"***"


# --- Calls: retries --------------------------------------------------------------------------------------------------


def refused_call(status, headers=None, **settings):
    call = begun_call(**settings)
    call.accept(httpx.Response(status, headers=headers, request=REQUEST))
    return call, call.refusal()


def test_call_is_retried_after_retry_after():
    """At most `max_retries` times."""
    call, error = refused_call(429, {"retry-after": "1"}, max_retries=1)

    first = call.wait_before_retry(error)
    call.begin()
    second = call.wait_before_retry(error)

    assert (first, second) == (1.0, None)


@pytest.mark.parametrize(("timeout", "wait"), [(60.0, 30.0), (20.0, None), (httpx.Timeout(1), 30.0)])
def test_wait_longer_than_the_time_left_is_skipped(timeout, wait):
    """The caller gets the error immediately."""
    call, error = refused_call(429, {"retry-after": "30"}, timeout=timeout)

    assert call.wait_before_retry(error) == wait


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        APIConnectionError("reset", maybe_processed=True),
        APIConnectionError("odd", maybe_processed=False),
        APITimeoutError("", phase="pool", maybe_processed=False),
    ],
)
def test_accepted_run_is_never_retried(streaming, error):
    """It was billed, regardless of the settings."""
    call = accepted_call(streaming=streaming, retry_unknown_outcome=True)

    assert call.wait_before_retry(error) is None


@pytest.mark.parametrize(("unknown", "repeated"), [(False, False), (True, True)])
def test_unknown_outcome_is_retried_only_if_enabled(unknown, repeated):
    """By the setting of the client."""
    call, error = refused_call(500, retry_unknown_outcome=unknown)

    assert (call.wait_before_retry(error) is not None) is repeated


def test_attempts_share_the_time_limit():
    """The second attempt has the rest of the time."""
    call = call_with(timeout=60.0)

    first = call.begin().extensions["timeout"]["pool"]
    second = call.begin().extensions["timeout"]["pool"]

    assert second < first <= 60.0


# --- Calls: logging --------------------------------------------------------------------------------------------------


@pytest.fixture
def debug_log(caplog):
    caplog.set_level(logging.DEBUG, logger="fetch_hive_sdk")
    return caplog


def test_calls_are_logged_at_debug_level(debug_log):
    """URL, status, attempt, duration and request id; neither the key nor data."""
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


def test_error_responses_are_logged_by_their_class(debug_log):
    """The message of the service may contain data."""
    call = begun_call()
    call.accept(httpx.Response(429, request=REQUEST))
    call.read(as_json({"message": f"secret {KEY}", "request_id": "req_1"}))

    call.refusal()

    assert "RateLimitError" in debug_log.messages[-1]
    assert "req_1" in debug_log.messages[-1]
    assert "secret" not in debug_log.text
    assert KEY not in debug_log.text


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ([HELLO, USAGE], "stream complete"),
        ([HELLO], "stream incomplete"),
        ([HELLO, {"type": "error"}], "stream failed"),
    ],
)
def test_end_of_a_stream_is_logged(debug_log, events, outcome):
    """Whether it was complete."""
    call = stream_with(*events)

    with call.stream_errors():
        pass

    assert outcome in debug_log.messages[-1]


def test_nothing_is_logged_by_default(caplog):
    """Only at debug level."""
    caplog.set_level(logging.INFO, logger="fetch_hive_sdk")

    accepted_call()

    assert caplog.records == []


def test_leaving_a_stream_is_not_an_error():
    """Closing a generator raises GeneratorExit in the same context."""

    def events():
        with stream_with(HELLO).stream_errors():
            yield 1
            yield 2

    generator = events()
    next(generator)

    with contextlib.closing(generator):
        pass

    assert list(generator) == []


# --- Found by mutation testing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("idle_timeout", [None, NO_TIME])
def test_stream_timeout_has_its_request(idle_timeout):
    """It also has the request id and the attempts."""
    call = stream_with({**HELLO, "request_id": "req_1", "model": "m"}, idle_timeout=idle_timeout)

    error = raised_in(call.stream_errors(), httpx.ReadTimeout("slow"))

    assert error.request.url.path.endswith("/prompt/invoke")
    assert (error.request_id, error.attempts) == ("req_1", 1)
    assert (error.partial.request_id, error.partial.model) == ("req_1", "m")


@pytest.mark.parametrize("exc", [httpx.ReadError("reset"), httpx.ReadTimeout("slow")])
def test_broken_call_has_its_request(exc):
    """The same for calls without streaming."""
    error = raised_in(begun_call().errors(), exc)

    assert error.request.url.path.endswith("/prompt/invoke")


def test_message_about_an_invalid_host_name_says_what_to_check():
    """Python's codec for host names raises a UnicodeError."""
    error = raised_in(begun_call().errors(), UnicodeError("label empty or too long"))

    assert str(error) == "could not connect to api.test:443: label empty or too long: check the host name of base_url"


def test_message_has_the_duration_of_the_call():
    """A call that timed out immediately took 0.0 seconds."""
    error = raised_in(begun_call().errors(), httpx.ReadTimeout("slow"))

    assert "after 0.0 seconds" in str(error)


def test_error_event_of_a_call_has_its_attempts():
    """The error has the number of attempts."""
    call = stream_with({"type": "error"})

    assert call.transcript.failure().attempts == 1


def test_request_is_a_post():
    """The method is in upper case."""
    assert begun_call().begin().method == "POST"


def test_stream_has_the_whole_timeout_for_each_wait():
    """Regardless of when it began; other calls have the rest of the time."""
    streamed, called = call_with(streaming=True).begin(), call_with().begin()

    assert streamed.extensions["timeout"]["read"] == 60.0
    assert called.extensions["timeout"]["read"] < 60.0


def test_long_answers_are_accepted():
    """The smaller limit is for error responses."""
    call = accepted_call()
    for _ in range(3):
        call.read(b" " * 1_000_000)
    call.read(as_json(ANSWER))

    assert call.parse().response == ANSWER["response"]


def test_compressed_stream_is_decompressed():
    """Although the request does not accept compression."""
    call = begun_call(streaming=True)
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    response = httpx.Response(200, headers=headers, stream=httpx.ByteStream(b""), request=REQUEST)
    call.accept(response)

    events = read_stream(call.event_reader(response), [gzip.compress(as_sse(*EVENTS))])

    assert raws(events) == EVENTS


def test_truncated_json_answer_to_a_stream_is_kept():
    """The error of the stream has the received part."""
    call = begun_call(streaming=True)
    response = httpx.Response(200, headers={"content-type": "application/json"}, request=REQUEST)
    call.accept(response)
    assert list(call.event_reader(response).feed(b'{"request_id": "req_1", "resp')) == []

    error = raised_in(call.stream_errors(), httpx.ReadError("reset"))

    assert str(error).startswith("the connection broke in the middle of the stream from api.test:443: reset")
    assert (error.body, error.request_id) == (b'{"request_id": "req_1", "resp', "req_1")


def test_decoding_error_has_a_message():
    """Its body is empty, because the client does not have the bytes."""
    error = raised_in(accepted_call().errors(), httpx.DecodingError("not gzip"))

    assert str(error) == "the answer does not match its Content-Encoding header"
    assert error.body == b""


def test_invalid_body_has_its_request_id():
    """It is searched in the body if the error has none."""
    error = raised_in(accepted_call().errors(), ResponseTooLargeError("too long", body=b'{"request_id": "req_1", '))

    assert error.request_id == "req_1"


def test_causes_keep_their_messages():
    """Only the key is masked."""
    error = raised_in(begun_call().errors(), httpx.ConnectError(f"illegal {KEY}", request=REQUEST))

    assert error.__cause__.args == ("illegal ***",)
