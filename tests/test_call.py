"""What is sent, and one call over all its attempts. Plain calls with plain values: no client, no socket, no waiting."""

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
def test_request_says_who_sends_it_and_what_it_takes(streaming, accept, encoding):
    """Events must not wait in a compressor; one answer may be compressed in the one way that is undone with a bound."""
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
    """What it was sent to and how is still told."""
    request = build_request(config(), ENDPOINT, Body(b'{"inputs": "private"}'), streaming=False, limits={})

    shown = without_secrets(request)

    assert "authorization" not in shown.headers
    assert shown.content == b""
    assert (shown.method, shown.url) == (request.method, request.url)
    assert shown.headers["user-agent"] == USER_AGENT
    assert KEY.encode() not in pickle.dumps(shown)


def test_extra_fields_are_added_to_the_body():
    """For what this version does not know."""
    fields = InvokeRequest(deployment="d", inputs={"a": 1}).raw

    body = json_body(ENDPOINT, fields, InvokeRequest.model_fields, {"seed": 7, "when": NOW})

    assert json.loads(body.content) == {**fields, "seed": 7, "when": "2026-11-23T12:00:00Z"}
    assert json.loads(json_body(ENDPOINT, fields, InvokeRequest.model_fields).content) == fields


def test_extra_fields_do_not_hide_arguments():
    """What has an argument is passed there; the message names all that are wrong."""
    with pytest.raises(ValueError, match="extra_body must not have streaming, user: there is an argument"):
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
def test_extra_fields_must_be_json(extra, message):
    """As any input, under their own name."""
    with pytest.raises(ValueError, match=message):
        json_body(ENDPOINT, {"deployment": "d"}, InvokeRequest.model_fields, extra)


def test_get_request_has_no_body():
    """Nor a header that would describe it."""
    request = build_request(config(), LOOK_UP, None, streaming=False, limits={})

    assert (request.method, str(request.url)) == ("GET", "https://api.test/v1/things/1")
    assert request.content == b""
    assert not {"content-type", "content-length"} & set(request.headers)


# --- One call --------------------------------------------------------------------------------------------------------

NO_TIME = 0.0005  # seconds: less than any wait, so it is over at once


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


def look_up(**settings):
    call = Call(config(**settings), LOOK_UP, timeout=60.0)
    call.begin()
    return call


def test_another_endpoint_has_an_answer_of_its_own():
    """Any model of what is received may be the answer, whether it has a request id or not."""
    call = look_up()

    call.accept(httpx.Response(200, headers={"content-type": "application/json"}, request=REQUEST))
    call.read(b'{"total_tokens": 3}')

    assert call.parse() == Usage(total_tokens=3)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_get_that_is_refused_is_made_again(status):
    """It starts no run, so that nothing can have been billed."""
    call = look_up()
    call.accept(httpx.Response(status, request=REQUEST))

    error = raised_in(call.errors(), call.refusal())

    assert error.maybe_processed is False
    assert call.wait_before_retry(error) is not None


def test_get_whose_connection_breaks_is_made_again():
    """Nor can a request that may have arrived."""
    call = look_up()

    error = raised_in(call.errors(), httpx.ReadError("reset"))

    assert error.maybe_processed is False
    assert call.wait_before_retry(error) is not None


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
        message = "the connection to api.test:443 broke before the answer was complete: it happened"
        assert str(error) == f"{message} (request_id: req_1)"


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
    [
        APIConnectionError("reset", maybe_processed=True),
        APIConnectionError("odd", maybe_processed=False),
        APITimeoutError("", phase="pool", maybe_processed=False),
    ],
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


def test_error_event_of_a_call_has_its_attempts():
    """The failure of a stream tells how often the request was sent."""
    call = stream_with({"type": "error"})

    assert call.transcript.failure().attempts == 1


def test_request_is_a_post():
    """Written as HTTP writes it."""
    assert begun_call().begin().method == "POST"


def test_silence_of_a_stream_may_last_for_the_whole_timeout():
    """However late the stream began; a call as a whole has what is left."""
    streamed, called = call_with(streaming=True).begin(), call_with().begin()

    assert streamed.extensions["timeout"]["read"] == 60.0
    assert called.extensions["timeout"]["read"] < 60.0


def test_long_answers_are_read():
    """The smaller bound is for refusals."""
    call = accepted_call()
    for _ in range(3):
        call.read(b" " * 1_000_000)
    call.read(as_json(ANSWER))

    assert call.parse().response == ANSWER["response"]


def test_compressed_stream_is_read():
    """Nobody asked for it, and it can be read."""
    call = begun_call(streaming=True)
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    response = httpx.Response(200, headers=headers, stream=httpx.ByteStream(b""), request=REQUEST)
    call.accept(response)

    events = read_stream(call.event_reader(response), [gzip.compress(as_sse(*EVENTS))])

    assert raws(events) == EVENTS


def test_cut_json_answer_to_a_stream_is_kept():
    """What came of it is in the error of the stream."""
    call = begun_call(streaming=True)
    response = httpx.Response(200, headers={"content-type": "application/json"}, request=REQUEST)
    call.accept(response)
    assert list(call.event_reader(response).feed(b'{"request_id": "req_1", "resp')) == []

    error = raised_in(call.stream_errors(), httpx.ReadError("reset"))

    assert str(error).startswith("the connection broke in the middle of the stream")
    assert (error.body, error.request_id) == (b'{"request_id": "req_1", "resp', "req_1")


def test_decoding_error_says_what_was_wrong():
    """With the body that we do not have."""
    error = raised_in(accepted_call().errors(), httpx.DecodingError("not gzip"))

    assert str(error) == "the answer is not compressed as its header says"
    assert error.body == b""


def test_bytes_that_are_no_answer_have_their_request_id():
    """Found in the body, where the error does not know it."""
    error = raised_in(accepted_call().errors(), ResponseTooLargeError("too long", body=b'{"request_id": "req_1", '))

    assert error.request_id == "req_1"


def test_causes_keep_their_texts():
    """Only the key goes."""
    error = raised_in(begun_call().errors(), httpx.ConnectError(f"illegal {KEY}", request=REQUEST))

    assert error.__cause__.args == ("illegal ***",)
