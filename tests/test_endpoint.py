"""Endpoints: their answers, their request bodies, and which effects are retried. Uses a mock transport."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import httpx
import pytest

from driving import KEY, Blocking, Pieces
from fetch_hive_sdk import (
    APIConnectionError,
    FetchHive,
    FetchHiveError,
    InternalServerError,
    InvokeRequest,
    ResponseDecodeError,
    Usage,
)
from fetch_hive_sdk._protocol.answers import many, nothing, one
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint
from fetch_hive_sdk._protocol.requests import Body, Upload, json_body
from fetch_hive_sdk.errors import ResponseValidationError

USAGE = {"total_tokens": 3}


class Service:
    """Returns one response after the other, and keeps the requests. Responses that are exceptions are raised."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def run(drive, monkeypatch):
    """Make a call with the session of a client, blocking or asyncio."""
    monkeypatch.setattr("fetch_hive_sdk._protocol.retry._FIRST_BACKOFF", 0)

    def run(service: Service, endpoint: Endpoint, body: Body | None = None, **options: object) -> object:
        session = drive.client(service, **options)._session
        if isinstance(drive, Blocking):
            return session.run(endpoint, body)
        return asyncio.run(session.arun(endpoint, body))

    return run


# --- Answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "value", "expected"),
    [
        (one(Usage), USAGE, Usage(total_tokens=3)),
        (one(Usage, under="usage"), {"usage": USAGE, "message": "ok"}, Usage(total_tokens=3)),
        (many(Usage), [USAGE, USAGE], [Usage(total_tokens=3)] * 2),
        (many(Usage, under="usages"), {"usages": []}, []),
        (many(Usage, under="usages"), [USAGE], [Usage(total_tokens=3)]),
        (nothing(), {"message": "Agent deleted"}, None),
    ],
)
def test_endpoint_determines_how_the_body_is_parsed(run, answer, value, expected):
    """An object, a list, a wrapped value, or nothing."""
    assert run(Service(httpx.Response(200, json=value)), Endpoint("/x", answer)) == expected


@pytest.mark.parametrize("status", [200, 204])
def test_empty_body_is_accepted_if_no_answer_is_expected(run, status):
    """Such as for deletions."""
    assert run(Service(httpx.Response(status)), Endpoint("/x", nothing(), "DELETE", Effect.SETTLE)) is None


def test_empty_body_is_an_error_if_an_answer_is_expected(run):
    """It is not taken for an empty answer."""
    with pytest.raises(ResponseDecodeError, match="empty"):
        run(Service(httpx.Response(200)), Endpoint("/x", one(Usage)))


@pytest.mark.parametrize(
    ("answer", "value", "message"),
    [
        (one(Usage, under="usage"), {"other": 1}, "has no usage"),
        (one(Usage, under="usage"), [1], "has no usage"),
        (many(Usage), USAGE, "not a list"),
        (many(Usage), [1], "not an object"),
    ],
)
def test_unexpected_json_is_reported(run, answer, value, message):
    """The error has the value."""
    with pytest.raises(ResponseValidationError, match=message):
        run(Service(httpx.Response(200, json=value)), Endpoint("/x", answer))


# --- Requests --------------------------------------------------------------------------------------------------------


def test_body_may_be_wrapped():
    """Under the key that the service expects."""
    body = json_body(Endpoint("/x", nothing(), wrapper="agent"), {"name": "a"}, InvokeRequest.model_fields, {"more": 1})

    assert json.loads(body.content) == {"agent": {"name": "a", "more": 1}}


def test_query_is_part_of_the_url(run):
    """Its values are quoted."""
    service = Service(httpx.Response(200, json=USAGE))

    run(service, Endpoint("/x", one(Usage), "GET", Effect.READ, query={"cursor": "a b&c"}))

    assert dict(service.requests[0].url.params) == {"cursor": "a b&c"}
    assert "content-type" not in service.requests[0].headers


def upload(*opened: BytesIO, length: int = 12) -> Body:
    """A body that opens one file after the other."""
    files = iter(opened)

    def open_next() -> Upload:
        file = next(files)
        return Upload(file.read, length, file.close)

    return Body(open_next, media_type="text/plain")


def test_upload_is_opened_for_each_attempt(run):
    """Each attempt sends the whole file, and every file is closed."""
    service = Service(httpx.Response(429), httpx.Response(200, json=USAGE))
    files = [BytesIO(b"first second"), BytesIO(b"first second")]

    run(service, Endpoint("/x", one(Usage)), upload(*files))

    assert [request.content for request in service.requests] == [b"first second"] * 2
    assert service.requests[1].headers["content-length"] == "12"
    assert service.requests[1].headers["content-type"] == "text/plain"
    assert "transfer-encoding" not in service.requests[1].headers
    assert all(file.closed for file in files)


def test_upload_is_sent_with_its_length(drive):
    """Over the package's own connections, to a server that reads it."""
    with listening(ANSWER_200) as site:
        session = FetchHive(KEY, site.url)._session
        endpoint, body = Endpoint("/x", one(Usage)), upload(BytesIO(b"first second"))
        if isinstance(drive, Blocking):
            assert session.run(endpoint, body).total_tokens == 3
            session.senders.close()
        else:
            assert asyncio.run(session.arun(endpoint, body)).total_tokens == 3

    assert site.bodies == [b"first second"]


def test_file_that_cannot_be_opened_is_not_a_network_error(run):
    """The exception is not translated, and nothing is sent."""
    service = Service()

    def fail() -> Upload:
        raise FileNotFoundError(2, "gone", "a.pdf")

    with pytest.raises(FileNotFoundError, match="gone"):
        run(service, Endpoint("/x", one(Usage), effect=Effect.SETTLE), Body(fail))

    assert service.requests == []


def test_file_that_cannot_be_read_is_not_a_network_error(run):
    """The call is not retried, regardless of its effect."""

    class Broken(BytesIO):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "disk error")

    with pytest.raises(OSError, match="disk error"):
        run(Service(), Endpoint("/x", one(Usage), effect=Effect.SETTLE), upload(Broken()))


def test_truncated_file_is_reported(run):
    """Its length does not match the Content-Length that was sent."""
    with pytest.raises(ValueError, match="2 bytes are missing"):
        run(Service(), Endpoint("/x", one(Usage)), upload(BytesIO(b"0123456789")))


ANSWER_200 = json.dumps(USAGE).encode()


@contextmanager
def listening(answer: bytes):
    class Visit(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    with ThreadingHTTPServer(("127.0.0.1", 0), Visit) as server:
        server.daemon_threads = True
        server.bodies = []
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


# --- Retries ---------------------------------------------------------------------------------------------------------

BROKEN = httpx.ReadError("reset")
TIMEOUT = httpx.ReadTimeout("late")


def cut() -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "application/json"}, stream=Pieces(b"{", BROKEN))


@pytest.mark.parametrize("effect", [Effect.SETTLE, Effect.READ])
@pytest.mark.parametrize("fault", [lambda: BROKEN, lambda: httpx.Response(500), cut], ids=["reset", "500", "cut body"])
def test_idempotent_call_is_retried_after_an_unknown_outcome(run, effect, fault):
    """The result is the same, regardless of the number of calls."""
    service = Service(fault(), httpx.Response(200, json=USAGE))

    assert run(service, Endpoint("/x", one(Usage), effect=effect)) == Usage(total_tokens=3)
    assert len(service.requests) == 2


@pytest.mark.parametrize("options", [{}, {"retry_unknown_outcome": True}], ids=["", "retry_unknown_outcome"])
@pytest.mark.parametrize("fault", [lambda: BROKEN, lambda: httpx.Response(500), cut], ids=["reset", "500", "cut body"])
def test_creation_is_never_retried_after_an_unknown_outcome(run, options, fault):
    """Not even with `retry_unknown_outcome`."""
    service = Service(fault(), httpx.Response(200, json=USAGE))

    with pytest.raises((APIConnectionError, InternalServerError)) as caught:
        run(service, Endpoint("/x", one(Usage), effect=Effect.CREATE), **options)

    assert caught.value.maybe_processed
    assert len(service.requests) == 1


def test_accepted_run_is_never_retried(run):
    """It was billed, regardless of the error and the settings."""
    service = Service(cut(), httpx.Response(200, json=USAGE))

    with pytest.raises(APIConnectionError) as caught:
        run(service, Endpoint("/x", one(Usage)), retry_unknown_outcome=True)

    assert caught.value.maybe_processed
    assert len(service.requests) == 1


DOUBTS = {
    Effect.CREATE: "; the object may have been created: check before you call again",
    Effect.SETTLE: "; the change may have been made: it is safe to call again",
    Effect.RUN: "",
    Effect.READ: "",
}


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize(
    "fault",
    [lambda: BROKEN, lambda: httpx.Response(500), cut, lambda: httpx.Response(200, text="<p>"), lambda: TIMEOUT],
    ids=["reset", "500", "cut body", "not JSON", "timeout"],
)
def test_message_describes_an_unknown_outcome(run, effect, fault):
    """For calls that start no run, the message states whether it is safe to call again."""
    service = Service(fault())

    with pytest.raises(FetchHiveError) as caught:
        run(service, Endpoint("/x", one(Usage), effect=effect), max_retries=0)

    assert caught.value.maybe_processed is (effect is not Effect.READ)
    assert str(caught.value).endswith(DOUBTS[effect])
    assert ("may have been" in str(caught.value)) is bool(DOUBTS[effect])
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize(
    "fault", [lambda: httpx.Response(422), lambda: httpx.ConnectError("refused")], ids=["422", "refused"]
)
def test_message_of_a_known_outcome_has_no_warning(run, effect, fault):
    """The request was rejected, or cannot have arrived."""
    with pytest.raises(FetchHiveError) as caught:
        run(Service(fault()), Endpoint("/x", one(Usage), effect=effect), max_retries=0)

    assert caught.value.maybe_processed is False
    assert "may have been" not in str(caught.value)


def test_failed_read_was_not_processed(run):
    """`maybe_processed` is False, because reading changes nothing."""
    service = Service(*[httpx.Response(500)] * 3)

    with pytest.raises(InternalServerError) as caught:
        run(service, Endpoint("/x", one(Usage), "GET", Effect.READ))

    assert not caught.value.maybe_processed
    assert caught.value.attempts == 3


def test_daily_cap_is_not_retried(run):
    """Reads count against it too."""
    refusal = httpx.Response(429, json={"error": "cap", "error_code": "api_rate_limit_exceeded"})
    service = Service(refusal)

    with pytest.raises(Exception, match="cap"):
        run(service, Endpoint("/x", one(Usage), "GET", Effect.READ))

    assert len(service.requests) == 1
