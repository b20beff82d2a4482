"""The fault table: for each row, a server that produces the fault, and the expected outcome of the call."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Callable, Optional

import httpx
import pytest

from driving import KEY, Blocking
from faults.calls import (
    ANSWER,
    ANSWER_TEXT,
    FAILED,
    GOOD,
    GOOD_STREAM,
    HELLO,
    PROMPT,
    THINK,
    USAGE,
    WORLD,
    Outcome,
    assert_keeps_the_key,
    attempt,
    in_a_row,
)
from faults.server import (
    CLOSE,
    END,
    HALF_CLOSE,
    HANG,
    LISTEN,
    RESET,
    STALL,
    Drip,
    Fault,
    FaultServer,
    Flood,
    answer,
    begin,
    chunk,
    event,
)
from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    FetchHive,
    FetchHiveError,
    InternalServerError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    ResponseValidationError,
    StreamFailedError,
    StreamInterruptedError,
    StreamTimeoutError,
    UnexpectedContentTypeError,
    UnknownEvent,
    UnprocessableEntityError,
)
from fetch_hive_sdk._net import tls as tls_module

LIMIT = 0.4  # seconds: the timeout of cases that reach it
SOON = 3.0  # seconds: the maximum of each case by default, even on a slow machine


@dataclass(frozen=True)
class Case:
    """One row of the table: the faults of the server, and the expected outcome of the call."""

    name: str
    faults: tuple[Fault, ...]
    error: Optional[type[FetchHiveError]] = None
    message: str = ""
    attrs: dict[str, object] = field(default_factory=dict)
    posts: int = 1
    attempts: int = 0
    text: str = ANSWER_TEXT
    partial: Optional[str] = None
    options: dict[str, object] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("call",)
    at_least: float = 0.0
    within: float = SOON
    echoes_key: bool = False
    """Whether the response contains the key and is read. Then the key may be in local variables, but nowhere else."""
    check: Callable[[Outcome], Optional[bool]] = lambda outcome: None

    def run(self, drive, kind: str, server: FaultServer) -> Outcome:
        client = FetchHive(KEY, server.url, **{"timeout": 5.0, "max_retries": 2, **self.options})
        outcome = attempt(drive, client, stream=kind == "stream", collect=kind == "collect")
        drive.close(client)
        return outcome


def cases(*rows: Case):
    """Parametrize a test with all cases, for each of their kinds."""
    return pytest.mark.parametrize(
        ("case", "kind"),
        [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in rows for kind in case.kinds],
    )


def check(case: Case, drive, kind: str) -> None:
    with FaultServer(*case.faults) as server:
        outcome = case.run(drive, kind, server)
        posts = server.total_posts
        assert server.wait_until(lambda: server.open_connections == 0), "a connection was left open"
    error = outcome.error
    if case.error is None:
        if error is not None:
            raise error
        assert outcome.text == case.text
    else:
        assert type(error) is case.error, outcome
        assert case.message in str(error)
        assert {name: getattr(error, name) for name in case.attrs} == case.attrs
        assert error.attempts == (case.attempts or posts)
        assert_keeps_the_key(error, local_variables=not case.echoes_key)
        if case.partial is not None:
            assert error.partial.text == case.partial == outcome.text
    assert case.check(outcome) in {None, True}
    assert posts == case.posts
    assert case.at_least <= outcome.seconds < case.within


BOTH = ("call", "stream")
STREAM = ("stream",)
PAID = {"maybe_processed": True}
UNPAID = {"maybe_processed": False}
QUICK = {"timeout": LIMIT}

# --- Before a response -----------------------------------------------------------------------------------------------


@cases(
    Case("reset before the status line", (Fault(RESET),), APIConnectionError, attrs=PAID, kinds=BOTH),
    Case("close before the status line", (Fault(CLOSE),), APIConnectionError, attrs=PAID, kinds=BOTH),
    Case("half-close before the status line", (Fault(HALF_CLOSE),), APIConnectionError, attrs=PAID, kinds=BOTH),
    Case("reset in the status line", (Fault(b"HTTP/1.1 2", RESET),), APIConnectionError, attrs=PAID, kinds=BOTH),
    Case(
        "close in the headers",
        (Fault(b"HTTP/1.1 200 OK\r\nX: ", CLOSE),),
        APIConnectionError,
        attrs=PAID,
        kinds=BOTH,
    ),
    Case("not HTTP", (Fault(b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE),), APIConnectionError, attrs=PAID, kinds=BOTH),
    Case("not HTTP, endless", (Fault(Flood(b"x" * 9999)),), APIConnectionError, attrs=PAID, kinds=BOTH),
    Case(
        "no reply",
        (Fault(STALL),),
        APITimeoutError,
        "did not answer in time",
        {**PAID, "phase": "read", "request_id": None, "body": b""},
        options=QUICK,
        kinds=BOTH,
        at_least=LIMIT,
    ),
    Case(
        "no reply, httpx.Timeout",
        (Fault(STALL),),
        APITimeoutError,
        attrs={**PAID, "phase": "read"},
        options={"timeout": httpx.Timeout(5, read=LIMIT)},
        kinds=BOTH,
        at_least=LIMIT,
    ),
    Case(
        "slow headers",
        (Fault(Drip(answer(ANSWER), 0.1)),),
        APITimeoutError,
        attrs={**PAID, "phase": "read"},
        options=QUICK,
        kinds=BOTH,
        at_least=LIMIT,
    ),
    Case(
        "endless 103",
        (Fault(Flood(b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05)),),
        APITimeoutError,
        attrs={**PAID, "phase": "read"},
        options=QUICK,
        kinds=BOTH,
        at_least=LIMIT,
    ),
)
def test_missing_response_is_an_unknown_outcome(case, kind, drive):
    """A request without a response may have been billed, so it is not retried."""
    check(case, drive, kind)


@cases(
    Case("reset", (Fault(RESET), GOOD), options={"retry_unknown_outcome": True}, posts=2),
    Case(
        "no reply",
        (Fault(STALL),),
        APITimeoutError,
        attrs=PAID,
        options={"retry_unknown_outcome": True, "timeout": LIMIT},
        kinds=BOTH,
    ),
    Case("500", (Fault(answer({}, status="500 No")), GOOD), options={"retry_unknown_outcome": True}, posts=2),
    Case(
        "reset in a paid body",
        (Fault(answer(ANSWER, length=999), RESET),),
        APIConnectionError,
        attrs=PAID,
        options={"retry_unknown_outcome": True},
    ),
)
def test_retry_unknown_outcome_retries_missing_responses(case, kind, drive):
    """`retry_unknown_outcome` retries calls without a response, but never after a 2xx status line."""
    check(case, drive, kind)


@pytest.mark.parametrize("stream", [False, True], ids=list(BOTH))
def test_refused_connection_is_retried(drive, stream):
    """If no server listens, nothing was sent: the call is retried up to `max_retries` times."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        client = FetchHive(KEY, f"http://127.0.0.1:{reserved.getsockname()[1]}/v1", timeout=5, max_retries=1)
        outcome = attempt(drive, client, stream=stream)

    assert type(outcome.error) is APIConnectionError
    assert "could not connect" in str(outcome.error)
    assert (outcome.error.maybe_processed, outcome.error.attempts) == (False, 2)
    assert_keeps_the_key(outcome.error)


def test_unknown_host_is_retried(drive, monkeypatch):
    """A failed DNS lookup may be temporary."""
    asked = []

    def getaddrinfo(*args, **kwargs):
        asked.append(args)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    outcome = attempt(drive, FetchHive(KEY, "https://hive.invalid/v1", timeout=5, max_retries=1))

    assert type(outcome.error) is APIConnectionError
    assert (outcome.error.maybe_processed, outcome.error.attempts, len(asked)) == (False, 2, 2)


@pytest.mark.parametrize("host", ["a" * 70 + ".test", "hive..test", "xn--a.test"])
def test_invalid_host_name_is_not_retried(drive, host, monkeypatch):
    """A retry cannot fix an invalid host name."""
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("the call was retried"))
    try:
        client = FetchHive(KEY, f"https://{host}/v1", timeout=5)
    except FetchHiveError:
        return
    outcome = attempt(drive, client)

    assert type(outcome.error) is APIConnectionError
    assert (outcome.error.maybe_processed, outcome.error.attempts) == (False, 1)
    assert_keeps_the_key(outcome.error)


@pytest.mark.parametrize("stream", [False, True], ids=list(BOTH))
def test_trusted_certificate_is_accepted(drive, tls, stream):
    """Calls and streams succeed over TLS."""
    with FaultServer(GOOD_STREAM if stream else GOOD, tls=tls) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        outcome = attempt(drive, client, stream=stream)
        drive.close(client)

    assert outcome.text == ANSWER_TEXT


def test_untrusted_certificate_is_not_retried(drive, tls, monkeypatch):
    """The key is not sent to a server with an untrusted certificate, and a retry cannot fix it."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr(tls_module, "_make_tls_context", ssl.create_default_context)
    with FaultServer(GOOD, tls=tls) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        outcome = attempt(drive, client)
        drive.close(client)

    assert type(outcome.error) is APIConnectionError
    assert "certificate" in str(outcome.error)
    assert (outcome.error.maybe_processed, outcome.error.attempts) == (False, 1)
    assert (server.connections, server.total_posts) == (1, 0)
    assert_keeps_the_key(outcome.error)


@pytest.mark.parametrize(
    ("greeting", "error"),
    [((HANG,), APITimeoutError), ((LISTEN, CLOSE), APIConnectionError), ((LISTEN, RESET), APIConnectionError)],
    ids=["hangs", "closed", "reset"],
)
def test_failed_handshake_is_retried(drive, tls, greeting, error):
    """No byte of the request is sent if the TLS handshake hangs or fails."""
    # Fail only after the handshake has started: earlier, Python's SSLSocket leaves its socket to the collector.
    with FaultServer(GOOD, tls=tls, greeting=greeting) as server:
        client = FetchHive(KEY, server.url, timeout=httpx.Timeout(5, connect=LIMIT), max_retries=1)
        outcome = attempt(drive, client)
        drive.close(client)

    assert type(outcome.error) is error
    assert getattr(outcome.error, "phase", "connect") == "connect"
    assert (outcome.error.maybe_processed, outcome.error.attempts) == (False, 2)
    assert (server.connections, server.total_posts) == (2, 0)
    assert outcome.seconds < SOON
    assert_keeps_the_key(outcome.error)


def test_timeout_includes_the_handshake(drive, tls):
    """A hanging TLS handshake ends when the timeout of the call does."""
    with FaultServer(GOOD, tls=tls, greeting=(HANG,)) as server:
        client = FetchHive(KEY, server.url, timeout=LIMIT)
        outcome = attempt(drive, client)
        drive.close(client)

    assert type(outcome.error) is APITimeoutError
    assert (outcome.error.phase, outcome.error.maybe_processed) == ("connect", False)
    assert LIMIT <= outcome.seconds < SOON


def test_faults_over_tls_are_connection_errors(drive, tls):
    """A TLS connection closed without close_notify is a broken connection."""
    for fault in (Fault(RESET), Fault(answer(ANSWER, length=999), RESET), Fault(answer(ANSWER, length=999), CLOSE)):
        with FaultServer(fault, tls=tls) as server:
            client = FetchHive(KEY, server.url, timeout=5)
            outcome = attempt(drive, client)
            drive.close(client)

        assert type(outcome.error) is APIConnectionError
        assert (outcome.error.maybe_processed, server.total_posts) == (True, 1)


def test_exhausted_pool_is_a_pool_timeout(drive):
    """If an injected client has no free connection, the error reports a wait for a connection, not for the service."""
    limits = httpx.Limits(max_connections=1)
    with FaultServer(GOOD_STREAM) as server:
        if isinstance(drive, Blocking):
            with httpx.Client(limits=limits) as injected:
                client = FetchHive(KEY, server.url, timeout=LIMIT, http_client=injected)
                with client.invoke_prompt_stream(deployment="holds"):
                    outcome = attempt(drive, client)
        else:
            outcome = drive_exhausted(server, limits)

    assert type(outcome.error) is APITimeoutError
    assert "became free in time" in str(outcome.error)
    assert (outcome.error.phase, outcome.error.maybe_processed) == ("pool", False)
    assert server.posts == {"holds": 1}
    assert outcome.seconds < SOON


def drive_exhausted(server, limits):
    async def main():
        outcome = Outcome()
        async with httpx.AsyncClient(limits=limits) as injected:
            client = FetchHive(KEY, server.url, timeout=LIMIT, async_http_client=injected)
            async with client.ainvoke_prompt_stream(deployment="holds"):
                try:
                    await client.ainvoke_prompt(deployment="d")
                except FetchHiveError as error:
                    outcome.error = error
        return outcome

    return asyncio.run(main())


def test_closed_keepalive_connection_is_replaced(drive):
    """A connection that the server has closed while idle is detected before a request is sent on it."""
    with FaultServer(Fault(answer(ANSWER), CLOSE), GOOD) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        first = two_calls(drive, client, lambda: server.wait_until(lambda: server.open_connections == 0))

    assert [result.response for result in first] == [ANSWER_TEXT, ANSWER_TEXT]
    assert (server.connections, server.total_posts) == (2, 2)


def two_calls(drive, client, between):
    """Make two calls in one event loop, and wait for a condition of the server in between."""
    if isinstance(drive, Blocking):
        first = client.invoke_prompt(deployment="d")
        assert between()
        second = client.invoke_prompt(deployment="d")
        client.close()
        return [first, second]

    async def main():
        first = await client.ainvoke_prompt(deployment="d")
        assert await asyncio.to_thread(between)
        second = await client.ainvoke_prompt(deployment="d")
        await client.aclose()
        return [first, second]

    return asyncio.run(main())


def test_broken_keepalive_connection_is_not_retried(drive):
    """If a reused connection breaks after the request was sent, the server may have received the request."""
    with FaultServer(GOOD, Fault(RESET)) as server:
        result, error = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), "call", "call")

    assert result.response == ANSWER_TEXT
    assert type(error) is APIConnectionError
    assert (error.maybe_processed, error.attempts) == (True, 1)
    assert (server.connections, server.total_posts) == (1, 2)


# --- Statuses --------------------------------------------------------------------------------------------------------


def refusal(status: str, *headers: str, body: object = None, media_type: str = "application/json") -> Fault:
    content = {"error": "slow down", "error_code": "some_code"} if body is None else body
    return Fault(answer(content, *headers, status=status, media_type=media_type), refuses=True)


def in_two_seconds() -> bytes:
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)
    return answer({}, f"Retry-After: {date}", status="429 Too Many Requests")


def good(kind_of_fault: Fault) -> tuple[Fault, Fault]:
    return kind_of_fault, GOOD


TOO_MANY = "429 Too Many Requests"


@cases(
    Case("429, Retry-After 1", good(refusal(TOO_MANY, "Retry-After: 1")), posts=2, at_least=1.0, within=4.0),
    Case("429, a date", good(Fault(in_two_seconds, refuses=True)), posts=2, at_least=0.9, within=5.0),
    Case("429, Retry-After 0", good(refusal(TOO_MANY, "Retry-After: 0")), posts=2),
    Case("429, negative", good(refusal(TOO_MANY, "Retry-After: -5")), posts=2),
    Case("429, unreadable", good(refusal(TOO_MANY, "Retry-After: soon")), posts=2),
    Case("429, missing", good(refusal(TOO_MANY)), posts=2),
    Case("503 with Retry-After", good(refusal("503 Busy", "Retry-After: 0")), posts=2),
    Case("503, negative", good(refusal("503 Busy", "Retry-After: -5")), posts=2),
    Case("503, past", good(refusal("503 Busy", "Retry-After: Mon, 23 Nov 2020 12:00:05 GMT")), posts=2),
    Case("503, unreadable", good(refusal("503 Busy", "Retry-After: soon")), posts=2),
    Case("503, twice", good(refusal("503 Busy", "Retry-After: 0", "Retry-After: 3600")), posts=2),
    Case("429, past", good(refusal(TOO_MANY, "Retry-After: Mon, 23 Nov 2020 12:00:05 GMT")), posts=2),
    Case("429, twice", good(refusal(TOO_MANY, "Retry-After: 0", "Retry-After: 3600")), posts=2),
    Case("408", good(refusal("408 Request Timeout")), posts=2),
    Case("425", good(refusal("425 Too Early")), posts=2),
    Case("429 twice", (refusal(TOO_MANY, "Retry-After: 0"), *good(refusal(TOO_MANY, "Retry-After: 0"))), posts=3),
)
def test_unprocessed_calls_are_retried(case, kind, drive):
    """If the service reports that it did not run the call, the call is retried after its `Retry-After`."""
    check(case, drive, kind)


@cases(
    Case(
        "429 always",
        (refusal(TOO_MANY, "Retry-After: 0"),),
        RateLimitError,
        "slow down",
        {**UNPAID, "retry_after": 0.0, "error_code": "some_code", "status_code": 429},
        posts=3,
        kinds=BOTH,
    ),
    Case(
        "503 always",
        (refusal("503 Busy", "Retry-After: 0"),),
        InternalServerError,
        attrs={**UNPAID, "retry_after": 0.0, "status_code": 503},
        posts=3,
        kinds=BOTH,
    ),
    Case("408 always", (refusal("408 Late"),), APIStatusError, attrs=UNPAID, posts=2, options={"max_retries": 1}),
    Case("425 always", (refusal("425 Early"),), APIStatusError, attrs=UNPAID, posts=2, options={"max_retries": 1}),
    Case("no retries", (refusal(TOO_MANY),), RateLimitError, attrs=UNPAID, options={"max_retries": 0}),
    Case(
        "refused, then reset",
        (refusal(TOO_MANY, "Retry-After: 0", body={"request_id": "req_refused"}), Fault(RESET)),
        APIConnectionError,
        attrs={**PAID, "request_id": None, "body": b""},
        posts=2,
    ),
)
def test_retries_are_limited(case, kind, drive):
    """After `max_retries` the last error is raised. A retry with an unknown outcome is not retried."""
    check(case, drive, kind)


@cases(
    Case(
        "429, Retry-After 3600",
        (refusal(TOO_MANY, "Retry-After: 3600"),),
        RateLimitError,
        attrs={**UNPAID, "retry_after": 3600.0},
        kinds=BOTH,
    ),
    Case(
        "429, daily cap",
        (refusal(TOO_MANY, body={"error": "cap", "error_code": "api_rate_limit_exceeded"}),),
        RateLimitError,
        attrs={**UNPAID, "error_code": "api_rate_limit_exceeded"},
        kinds=BOTH,
    ),
    Case(
        "429, Retry-After beyond the deadline",
        (refusal(TOO_MANY, "Retry-After: 20"),),
        RateLimitError,
        attrs={**UNPAID, "retry_after": 20.0},
        kinds=BOTH,
    ),
)
def test_long_retry_after_is_not_waited_for(case, kind, drive):
    """A rate limit that lasts longer than the call may wait is raised at once."""
    check(case, drive, kind)


PAGE = "<html><head><style>p {}</style></head><body><h1>Bad &amp; gone</h1><p>" + "so sorry " * 99 + "</body></html>"


def has_a_short_message(outcome: Outcome) -> None:
    message = str(outcome.error).partition(": ")[2]
    assert "so sorry" in message
    assert len(message) <= 200
    assert not set("<>") & set(message)
    assert outcome.error.response.text == PAGE


@cases(
    Case("500", (Fault(answer({"error": "x"}, status="500 No")),), InternalServerError, attrs=PAID, kinds=BOTH),
    Case(
        "502 with a page",
        (Fault(answer(PAGE, status="502 Bad Gateway", media_type="text/html")),),
        InternalServerError,
        attrs={**PAID, "body": PAGE},
        kinds=BOTH,
        check=has_a_short_message,
    ),
    Case("503 bare", (Fault(answer({}, status="503 Busy")),), InternalServerError, attrs=PAID, kinds=BOTH),
    Case("504", (Fault(answer("", status="504 Late")),), InternalServerError, attrs=PAID, kinds=BOTH),
    Case("529", (Fault(answer("", status="529 Full")),), InternalServerError, attrs=PAID, kinds=BOTH),
    Case("999", (Fault(answer("", status="999 What")),), InternalServerError, attrs=PAID, kinds=BOTH),
)
def test_server_error_is_an_unknown_outcome(case, kind, drive):
    """A server that failed may have run and billed the call, so it is not retried."""
    check(case, drive, kind)


@cases(
    *(
        Case(
            f"{status}",
            (refusal(f"{status} No", body={"message": "because", "code": "why", "request_id": "req_9"}),),
            error,
            "because",
            {**UNPAID, "error_code": "why", "request_id": "req_9", "status_code": status, "retry_after": None},
            kinds=BOTH,
            check=lambda outcome: json.loads(outcome.error.response.text)["code"] == "why",
        )
        for status, error in {
            400: BadRequestError,
            401: AuthenticationError,
            402: PaymentRequiredError,
            403: PermissionDeniedError,
            404: NotFoundError,
            409: ConflictError,
            418: APIStatusError,
            422: UnprocessableEntityError,
        }.items()
    )
)
def test_each_client_error_has_a_class(case, kind, drive):
    """Each 4xx status is raised at once as its own class, with the message of the service."""
    check(case, drive, kind)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(drive, status):
    """The key and the inputs are not sent to another server."""
    with FaultServer(GOOD) as elsewhere:
        moved = refusal(f"{status} Moved", f"Location: {elsewhere.url}/prompt/invoke")
        check(Case("redirect", (moved,), APIStatusError, attrs={"status_code": status, **UNPAID}), drive, "call")
        check(Case("redirect", (moved,), APIStatusError, attrs={"status_code": status, **UNPAID}), drive, "stream")

    assert elsewhere.connections == 0


@cases(
    Case(
        "in JSON",
        (refusal("401 No", f"X-Echo: {KEY}", body={"error": f"bad key {KEY}", KEY: [KEY]}),),
        AuthenticationError,
        "bad key ***",
        kinds=BOTH,
    ),
    Case(
        "escaped in JSON",
        (refusal("401 No", body='{"error": "bad key ' + KEY.replace("_", "\\u005f") + '"}'),),
        AuthenticationError,
        "bad key ***",
        kinds=BOTH,
    ),
    Case(
        "in a page",
        (refusal("401 No", body=f"<p>bad key {KEY}</p>", media_type="text/html"),),
        AuthenticationError,
        "bad key ***",
        kinds=BOTH,
    ),
    Case("in the reason", (refusal(f"401 {KEY}"),), AuthenticationError, "401 ***", echoes_key=True, kinds=BOTH),
    Case(
        "in a truncated body",
        (Fault(answer(f'{{"error": "{KEY}', status="401 No", length=999), CLOSE, refuses=True),),
        AuthenticationError,
        kinds=BOTH,
    ),
    Case("in a non-HTTP response", (Fault(f"{KEY}\r\n\r\n".encode(), CLOSE),), APIConnectionError, kinds=BOTH),
    Case("in a header line", (Fault(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()),), APIConnectionError, kinds=BOTH),
    Case(
        "in a response that is not JSON",
        (Fault(answer(f"key {KEY}")),),
        ResponseDecodeError,
        echoes_key=True,
        kinds=BOTH,
    ),
    Case("in an invalid response", (Fault(answer({"key": KEY})),), ResponseValidationError, echoes_key=True),
    Case("in a truncated response", (Fault(answer(f'"{KEY}', length=999), RESET),), APIConnectionError),
)
def test_echoed_key_is_masked(case, kind, drive, caplog):
    """If the service echoes the key, neither errors nor logs show it. `check` searches all parts of the error."""
    caplog.set_level(logging.DEBUG, "fetch_hive_sdk")

    check(case, drive, kind)

    assert KEY not in caplog.text


@cases(
    Case("truncated body", (Fault(answer("{", status="404 No", length=99), CLOSE, refuses=True),), NotFoundError),
    Case("body reset", (Fault(answer("{", status="404 No", length=99), RESET, refuses=True),), NotFoundError),
    Case(
        "stalled body",
        (Fault(answer("{", status="404 No", length=99), STALL, refuses=True),),
        NotFoundError,
        options=QUICK,
        kinds=BOTH,
    ),
    Case(
        "slow body",
        (Fault(begin(status="404 No"), Flood(chunk(b"."), 0.05), refuses=True),),
        NotFoundError,
        options=QUICK,
        kinds=BOTH,
    ),
    Case(
        "endless body",
        (Fault(begin(status="404 No"), Flood(chunk(b"." * 9999)), refuses=True),),
        NotFoundError,
        kinds=BOTH,
    ),
    Case(
        "gzip bomb",
        (refusal("404 No", "Content-Encoding: gzip", body=gzip.compress(b"." * 10_000_000)),),
        NotFoundError,
        kinds=BOTH,
    ),
    Case(
        "invalid gzip",
        (refusal("404 No", "Content-Encoding: gzip", body=b"nonsense"),),
        NotFoundError,
        kinds=BOTH,
    ),
    Case(
        "valid gzip",
        (refusal("404 No", "Content-Encoding: gzip", body=gzip.compress(b'{"error": "unzipped"}')),),
        NotFoundError,
        "unzipped",
    ),
    Case("bad UTF-8", (refusal("404 No", body=b"\xff\xfe caf\xe9"),), NotFoundError),
    Case("unknown charset", (refusal("404 No", body=b"x", media_type="text/html; charset=zlib"),), NotFoundError),
    Case("no body", (Fault(b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", refuses=True),), NotFoundError, "404"),
    Case("JSON that is not an object", (refusal("404 No", body='["no"]'),), NotFoundError, attrs={"body": ["no"]}),
)
def test_status_error_is_raised_whatever_its_body(case, kind, drive):
    """The status determines the error, even if the body is invalid or incomplete."""
    check(case, drive, kind)


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_connection_is_reused_after_an_error_status(drive, kind):
    """The call after an error response uses the same connection."""
    with FaultServer(refusal("404 No"), refusal("404 No"), GOOD) as server:
        *refused, result = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), kind, kind, "call")

    assert [type(error) for error in refused] == [NotFoundError, NotFoundError]
    assert result.response == ANSWER_TEXT
    assert server.connections == 1


def test_error_before_the_body_was_read_is_the_response(drive):
    """If the service returns an error before it has read a large body, and closes, the call raises that error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse_unread():
            sock, _ = listener.accept()
            with sock:
                sock.recv(1)
                sock.sendall(answer({"error": "too long"}, "Connection: close", status="413 Too Long"))
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass

        thread = threading.Thread(target=refuse_unread)
        thread.start()
        client = FetchHive(KEY, f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout=5)
        outcome = attempt(drive, client, inputs={"text": "x" * 8_000_000})
        drive.close(client)
        thread.join()

    assert type(outcome.error) is APIStatusError
    assert (outcome.error.status_code, outcome.error.attempts) == (413, 1)


# --- After a 2xx status line -----------------------------------------------------------------------------------------

TRUNCATED = '{"request_id": "req_7", "response": "Hel'
KNOWN = {**PAID, "request_id": "req_7"}
HUGE = 64 * 1024 * 1024


def bomb(size: int) -> bytes:
    zipper = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    megabyte = b" " * 1024 * 1024
    return b"".join(zipper.compress(megabyte) for _ in range(size // len(megabyte))) + zipper.flush()


@cases(
    Case(
        "truncated",
        (Fault(answer(TRUNCATED, length=999), CLOSE),),
        APIConnectionError,
        attrs={**KNOWN, "body": TRUNCATED.encode()},
    ),
    Case(
        "reset",
        (Fault(answer(TRUNCATED, length=999), RESET),),
        APIConnectionError,
        attrs={**KNOWN, "body": TRUNCATED.encode()},
    ),
    Case(
        "reset before the body",
        (Fault(answer("", length=9), RESET),),
        APIConnectionError,
        attrs={**PAID, "body": b""},
    ),
    Case(
        "invalid chunk",
        (Fault(begin(media_type="application/json"), chunk(TRUNCATED.encode()), b"zz\r\n", STALL),),
        APIConnectionError,
        attrs=KNOWN,
    ),
    Case(
        "missing last chunk",
        (Fault(begin(media_type="application/json"), chunk(json.dumps(ANSWER).encode()), CLOSE),),
        APIConnectionError,
        attrs={**PAID, "request_id": "req_1"},
    ),
    Case(
        "two lengths",
        (Fault(answer(ANSWER, "Content-Length: 5")),),
        APIConnectionError,
        attrs=PAID,
        kinds=BOTH,
    ),
    Case(
        "300 kB header",
        (Fault(answer(ANSWER, "X: " + "x" * 300_000)),),
        APIConnectionError,
        attrs=PAID,
        kinds=BOTH,
    ),
    Case("300 kB of headers", (Fault(answer(ANSWER, *["X: " + "x" * 99] * 3000)),), APIConnectionError, kinds=BOTH),
    Case("invalid length", (Fault(answer(ANSWER, "Content-Length: many")),), APIConnectionError, kinds=BOTH),
)
def test_incomplete_response_keeps_the_received_body(case, kind, drive):
    """The error of an incomplete response has the received part of its body."""
    check(case, drive, kind)


@cases(
    Case("empty", (Fault(answer("")),), ResponseDecodeError, attrs={**PAID, "body": b""}),
    Case("blank", (Fault(answer(" \n")),), ResponseDecodeError, attrs={"body": b" \n"}),
    Case("204", (Fault(b"HTTP/1.1 204 No Content\r\n\r\n"),), ResponseDecodeError, attrs=PAID),
    Case(
        "invalid JSON",
        (Fault(answer(TRUNCATED)),),
        ResponseDecodeError,
        attrs={**KNOWN, "body": TRUNCATED.encode()},
    ),
    Case("bad UTF-8", (Fault(answer(b'{"response": "\xff"}')),), ResponseDecodeError, attrs=PAID),
    Case("length too small", (Fault(answer(ANSWER, length=9), CLOSE),), ResponseDecodeError, attrs=PAID),
    Case("deep JSON", (Fault(answer("[" * 100_000)),), ResponseDecodeError, attrs=PAID),
    Case(
        "truncated gzip",
        (Fault(answer(gzip.compress(json.dumps(ANSWER).encode())[:-9], "Content-Encoding: gzip")),),
        ResponseDecodeError,
        attrs={**PAID, "request_id": "req_1"},
    ),
    Case(
        "invalid gzip",
        (Fault(answer(ANSWER, "Content-Encoding: gzip")),),
        ResponseDecodeError,
        attrs={**PAID, "body": json.dumps(ANSWER).encode(), "request_id": "req_1"},
    ),
    Case(
        "corrupted gzip",
        (Fault(answer(bytes([*gzip.compress(b"x" * 99)[:-8], *b"\0" * 8]), "Content-Encoding: gzip")),),
        ResponseDecodeError,
        attrs=PAID,
    ),
    Case("brotli", (Fault(answer(b"\x1b", "Content-Encoding: br")),), ResponseDecodeError, attrs=PAID),
    Case(
        "page",
        (Fault(answer(PAGE, media_type="text/html")),),
        UnexpectedContentTypeError,
        attrs={"body": PAGE.encode()},
    ),
    Case("text", (Fault(answer("Hello", media_type="text/plain")),), UnexpectedContentTypeError, attrs=PAID),
    Case(
        "events",
        (Fault(begin(), event(HELLO), END),),
        UnexpectedContentTypeError,
        attrs={**PAID, "request_id": "req_1"},
    ),
    Case("list", (Fault(answer("[1]")),), ResponseValidationError, attrs={**PAID, "body": [1]}),
    Case("string", (Fault(answer('"Hello"')),), ResponseValidationError, attrs={**PAID, "body": "Hello"}),
    Case("number", (Fault(answer("42")),), ResponseValidationError, attrs={**PAID, "body": 42}),
    Case("null", (Fault(answer("null")),), ResponseValidationError, attrs={**PAID, "body": None}),
    *(
        Case(
            f"response {name}",
            (Fault(answer({"request_id": "req_7", **fields})),),
            ResponseValidationError,
            attrs={**KNOWN, "body": {"request_id": "req_7", **fields}},
        )
        for name, fields in {
            "missing": {},
            "null": {"response": None},
            "a number": {"response": 1},
            "a list": {"response": ["Hello"]},
        }.items()
    ),
)
def test_invalid_response_is_an_error_with_its_body(case, kind, drive):
    """The response may have been billed, so the error keeps it in `body`."""
    check(case, drive, kind)


@cases(
    Case(
        "slow body",
        (Fault(begin(media_type="application/json"), Flood(chunk(b" "), 0.1)),),
        APITimeoutError,
        "not complete in time",
        {**PAID, "phase": "total"},
        options=QUICK,
        at_least=LIMIT,
    ),
    Case(
        "stalled body",
        (Fault(answer(TRUNCATED, length=999), STALL),),
        APITimeoutError,
        attrs={**KNOWN, "phase": "total", "body": TRUNCATED.encode()},
        options=QUICK,
        at_least=LIMIT,
    ),
    Case(
        "slow, then stalled",
        (Fault(answer("", length=99), Drip(TRUNCATED.encode(), 0.01), STALL),),
        APITimeoutError,
        attrs={**PAID, "phase": "total"},
        options={"timeout": 1.0},
        at_least=1.0,
    ),
    Case(
        "late headers, then a stalled body",
        (Fault(0.8, answer(TRUNCATED, length=999), STALL),),
        APITimeoutError,
        attrs={**KNOWN, "phase": "total"},
        options={"timeout": 1.4},
        at_least=1.4,
        within=2.1,
    ),
    Case(
        "each piece within the timeout",
        (Fault(0.6, b"HTTP/1.1 ", 0.6, b"200 OK\r\n", 0.6, answer(ANSWER)[17:57], 0.6, answer(ANSWER)[57:]),),
        APITimeoutError,
        attrs=PAID,
        options={"timeout": 1.0},
        at_least=1.0,
        within=1.7,
    ),
    Case(
        "after a retry",
        (refusal(TOO_MANY, "Retry-After: 0.8"), Fault(STALL)),
        APITimeoutError,
        attrs=PAID,
        posts=2,
        options={"timeout": 1.5},
        at_least=1.5,
        within=2.2,
    ),
    Case(
        "Retry-After beyond the deadline",
        (refusal(TOO_MANY, "Retry-After: 2"),),
        RateLimitError,
        attrs={**UNPAID, "retry_after": 2.0},
        options={"timeout": 1.0},
        within=0.9,
    ),
    Case(
        "stalled body, httpx.Timeout",
        (Fault(answer(TRUNCATED, length=999), STALL),),
        APITimeoutError,
        attrs={**PAID, "phase": "read"},
        options={"timeout": httpx.Timeout(5, read=LIMIT)},
        at_least=LIMIT,
    ),
    Case(
        "slow body, httpx.Timeout",
        (Fault(Drip(answer(ANSWER), 0.005)),),
        options={"timeout": httpx.Timeout(5, read=0.9)},
        at_least=0.9,
        within=10,
    ),
)
def test_timeout_limits_the_whole_call(case, kind, drive):
    """`timeout` limits the call including retries, waits and a slowly sent body."""
    check(case, drive, kind)


FLAT = {"response": ANSWER_TEXT, "new": {"a": [1]}, "stop_reason": "brand_new", "usage": {"prompt_tokens": 1, "new": 2}}


@cases(
    Case("only the required field", (Fault(answer({"response": ANSWER_TEXT})),)),
    Case("extra fields", (Fault(answer(FLAT)),), check=lambda outcome: outcome.result["new"] == {"a": [1]}),
    Case("in gzip", (Fault(answer(gzip.compress(json.dumps(ANSWER).encode()), "Content-Encoding: gzip")),)),
    Case("in chunks", (Fault(begin(media_type="application/json"), chunk(json.dumps(ANSWER).encode()), END),)),
    Case("until the connection closes", (Fault(answer(ANSWER).replace(b"Content-Length", b"X-Length"), CLOSE),)),
    Case("in single bytes", (Fault(*[bytes([byte]) for byte in answer(ANSWER)]),)),
    Case("without a media type", (Fault(answer(ANSWER, media_type="")),)),
    Case("with a suffix", (Fault(answer(ANSWER, media_type="application/vnd.hive+json; charset=latin-1")),)),
    Case("with a byte order mark", (Fault(answer(b"\xef\xbb\xbf" + json.dumps(ANSWER).encode())),)),
    Case("as HTTP/1.0", (Fault(answer(ANSWER).replace(b"HTTP/1.1", b"HTTP/1.0"), CLOSE),)),
    Case("after 103", (Fault(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", answer(ANSWER)),)),
    Case("after 100 and 103", (Fault(b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hm\r\n\r\n", answer(ANSWER)),)),
    Case("with excess bytes", (Fault(answer(ANSWER), b"HTTP/1.1 200 OK\r\n\r\nmore", CLOSE),)),
    Case("201", (Fault(answer(ANSWER, status="201 Made")),)),
    Case("just before the reset", (Fault(answer(ANSWER), RESET),)),
)
def test_unusual_valid_response_is_accepted(case, kind, drive):
    """Unusual but valid responses are parsed."""
    check(case, drive, kind)


# --- Streams ---------------------------------------------------------------------------------------------------------

STARTED = (begin(), event(THINK), event(HELLO))
RUN_1 = {**PAID, "request_id": "req_1"}


def has_reasoning(outcome: Outcome) -> None:
    assert outcome.error.partial.reasoning == "Hm."
    assert outcome.error.partial.request_id == "req_1"
    assert [event.type for event in outcome.events[:2]] == ["reasoning", "response"]


def interrupted(name: str, *steps: object, **facts: object) -> Case:
    settings = {"partial": "Hello", "kinds": STREAM, "check": has_reasoning, **facts}
    return Case(name, (Fault(*STARTED, *steps),), StreamInterruptedError, attrs=RUN_1, **settings)


@cases(
    interrupted("ends cleanly", END),
    interrupted("ends inside an event", chunk(b'data: {"type": "resp'), END),
    interrupted("ends inside a line", chunk(b"dat"), END),
    interrupted("ends inside a character", chunk(b'data: {"type": "response", "response": "\xe2\x82'), END),
    interrupted("reset", RESET),
    interrupted("reset inside an event", chunk(b'data: {"type": "resp'), RESET),
    interrupted("missing last chunk", CLOSE),
    interrupted("half-close", HALF_CLOSE),
    interrupted("invalid chunk", b"zz\r\n", STALL),
    interrupted("truncated chunk", b"ff\r\ndata: ", CLOSE),
    Case(
        "missing bytes",
        (Fault(answer(f"data: {json.dumps(HELLO)}\n\n", media_type="text/event-stream", length=999), CLOSE),),
        StreamInterruptedError,
        attrs=RUN_1,
        partial="Hello",
        kinds=STREAM,
    ),
    Case("nothing at all", (Fault(begin(), END),), StreamInterruptedError, partial="", attrs=PAID, kinds=STREAM),
    Case("reset at once", (Fault(begin(), RESET),), StreamInterruptedError, partial="", attrs=PAID, kinds=STREAM),
    Case("empty 200", (Fault(answer("", media_type="")),), StreamInterruptedError, attrs=PAID, kinds=STREAM),
    Case("collect", (Fault(*STARTED, END),), StreamInterruptedError, attrs=RUN_1, kinds=("collect",)),
    Case("collect, reset", (Fault(*STARTED, RESET),), StreamInterruptedError, attrs=RUN_1, kinds=("collect",)),
)
def test_incomplete_stream_is_interrupted(case, kind, drive):
    """The stream yields all complete events, then raises an error that contains them."""
    check(case, drive, kind)


ALL = (*STARTED, event(WORLD), event(USAGE))


@cases(
    Case("as documented", (GOOD_STREAM,), kinds=(*STREAM, "collect")),
    Case("without [DONE]", (Fault(*ALL, END),), kinds=(*STREAM, "collect")),
    Case("reset after usage", (Fault(*ALL, RESET),), kinds=(*STREAM, "collect")),
    Case("closed after usage", (Fault(*ALL, CLOSE),), kinds=(*STREAM, "collect")),
    Case("silent after usage", (Fault(*ALL, STALL),), options=QUICK, kinds=(*STREAM, "collect"), at_least=LIMIT),
    Case(
        "comments after usage",
        (Fault(*ALL, Flood(chunk(b": ping\n\n"), 0.05)),),
        options={"idle_timeout": LIMIT},
        kinds=STREAM,
        at_least=LIMIT,
    ),
    Case("[DONE] without usage", (Fault(*STARTED, event(WORLD), event("[DONE]"), END),), kinds=(*STREAM, "collect")),
    Case("[DONE] without its blank line", (Fault(*ALL, chunk(b"data: [DONE]"), END),), kinds=STREAM),
    Case(
        "last event without its blank line",
        (Fault(*STARTED, event(WORLD), chunk(b"data: " + json.dumps(USAGE).encode()), END),),
        kinds=STREAM,
    ),
)
def test_stream_is_complete_after_its_final_event(case, kind, drive):
    """After `usage`, `error` or `[DONE]` a stream is complete, however the connection ends."""
    check(case, drive, kind)


def idle(name: str, *steps: object, phase: str, **facts: object) -> Case:
    settings = {"partial": "Hello", "kinds": STREAM, "check": has_reasoning, "at_least": LIMIT, **facts}
    attrs = {**RUN_1, "phase": phase}
    return Case(name, (Fault(*STARTED, *steps),), StreamTimeoutError, attrs=attrs, **settings)


PINGS = chunk(b": ping\n\n")


@cases(
    idle("silence", STALL, phase="read", options=QUICK),
    idle("silence, httpx.Timeout", STALL, phase="read", options={"timeout": httpx.Timeout(5, read=LIMIT)}),
    idle("silence inside an event", chunk(b"data: {"), STALL, phase="read", options=QUICK),
    idle("silence, idle_timeout", STALL, phase="idle", options={"idle_timeout": LIMIT}),
    idle("comments, idle_timeout", Flood(PINGS, 0.05), phase="idle", options={"idle_timeout": LIMIT}),
    idle(
        "a flood of comments, idle_timeout", Flood(chunk(b":\n" * 4096)), phase="idle", options={"idle_timeout": LIMIT}
    ),
    idle("a slow event, idle_timeout", Flood(chunk(b"data"), 0.05), phase="idle", options={"idle_timeout": LIMIT}),
    Case(
        "silence at once",
        (Fault(begin(), STALL),),
        StreamTimeoutError,
        attrs={**PAID, "phase": "read"},
        partial="",
        options=QUICK,
        kinds=STREAM,
        at_least=LIMIT,
    ),
    Case(
        "silence after a late beginning",
        (Fault(0.5, begin(), 0.5, event(HELLO), STALL),),
        StreamTimeoutError,
        attrs={**PAID, "phase": "read"},
        partial="Hello",
        options={"timeout": 1.1},
        kinds=STREAM,
        at_least=2.0,
    ),
)
def test_silent_stream_times_out(case, kind, drive):
    """A stream ends after `timeout` without bytes or `idle_timeout` without events. Its error has all events."""
    check(case, drive, kind)


@cases(
    Case(
        "only comments",
        (Fault(*STARTED, *[0.1, PINGS] * 10, *ALL[3:], END),),
        options={"timeout": 0.9},
        kinds=STREAM,
        at_least=0.9,
    ),
    Case(
        "slow events",
        (Fault(begin(), *(step for item in (THINK, HELLO, WORLD, USAGE) for step in (0.3, event(item))), END),),
        options={"timeout": 0.8, "idle_timeout": 0.8},
        kinds=STREAM,
        at_least=1.2,
    ),
    Case(
        "a slow event",
        (Fault(*STARTED, Drip(event(WORLD), 0.02), *ALL[4:], END),),
        options={"timeout": 0.9},
        kinds=STREAM,
        at_least=0.9,
    ),
    Case(
        "unknown events, idle_timeout",
        (Fault(*STARTED, *[0.1, event({"type": "ping"})] * 10, *ALL[3:], END),),
        options={"idle_timeout": 0.9},
        kinds=STREAM,
        at_least=0.9,
    ),
)
def test_active_stream_does_not_time_out(case, kind, drive):
    """A stream has no time limit while bytes arrive, and events if `idle_timeout` is set."""
    check(case, drive, kind)


@pytest.mark.parametrize("entered", [False, True], ids=["iterated", "entered"])
def test_slow_consumer_does_not_cause_a_timeout(drive, entered):
    """The timeouts exclude the time that the caller spends on an event or before reading the first one."""
    # The caller sleeps for most of the time before an event, or longer than before all of them.
    pause, seconds = (1.0, 1.0) if entered else (0.1, 1.2)
    late = Fault(begin(), *(step for item in (HELLO, WORLD, USAGE) for step in (pause, PINGS, 0.2, event(item))), END)
    with FaultServer(late) as server:
        client = FetchHive(KEY, server.url, timeout=5, idle_timeout=0.8 if entered else 1.0)
        seen = slow_reading(drive, client, entered, seconds)

    assert seen == ["response", "response", "usage"]


def slow_reading(drive, client, entered, seconds):
    def blocking():
        seen = []
        stream = client.invoke_prompt_stream(deployment="d")
        if entered:
            stream.__enter__()
            time.sleep(seconds)
        for item in stream:
            seen.append(item.type)
            time.sleep(seconds)
        client.close()
        return seen

    async def asynchronous():
        seen = []
        stream = client.ainvoke_prompt_stream(deployment="d")
        if entered:
            await stream.__aenter__()
            await asyncio.sleep(seconds)
        async for item in stream:
            seen.append(item.type)
            await asyncio.sleep(seconds)
        await client.aclose()
        return seen

    return blocking() if isinstance(drive, Blocking) else asyncio.run(asynchronous())


def ends_with_an_error_event(outcome: Outcome) -> None:
    assert [event.type for event in outcome.events] == ["reasoning", "response", "error"]
    assert outcome.events[-1].message == "provider down"


@cases(
    Case("[DONE]", (Fault(*STARTED, event(FAILED), event("[DONE]"), END),), text="Hello", kinds=STREAM),
    Case("end", (Fault(*STARTED, event(FAILED), END),), text="Hello", kinds=STREAM, check=ends_with_an_error_event),
    Case("reset", (Fault(*STARTED, event(FAILED), RESET),), text="Hello", kinds=STREAM, check=ends_with_an_error_event),
    Case(
        "collect",
        (Fault(*STARTED, event(FAILED), END),),
        StreamFailedError,
        "provider down",
        {**RUN_1, "error_code": "provider_error"},
        kinds=("collect",),
        attempts=0,
        check=lambda outcome: outcome.error.partial.text == "Hello",
    ),
    Case(
        "collect, the connection stays open",
        (Fault(*STARTED, event(FAILED), STALL),),
        StreamFailedError,
        "provider down",
        {**RUN_1, "error_code": "provider_error"},
        kinds=("collect",),
    ),
)
def test_error_event_is_yielded_or_raised(case, kind, drive):
    """Iteration yields the error event. `collect()` raises it without waiting for more events."""
    check(case, drive, kind)


def invalid_event(name: str, payload: str, error: type[FetchHiveError]) -> Case:
    steps = (*STARTED, event(payload), event(WORLD), event(USAGE), END)
    return Case(name, (Fault(*steps),), error, attrs=RUN_1, partial="Hello", kinds=STREAM, check=has_reasoning)


@cases(
    invalid_event("invalid JSON", '{"type": "response", "resp', ResponseDecodeError),
    invalid_event("deep JSON", "[" * 100_000, ResponseDecodeError),
    invalid_event("list", "[]", ResponseValidationError),
    invalid_event("response missing", '{"type": "response"}', ResponseValidationError),
    invalid_event("response null", '{"type": "response", "response": null}', ResponseValidationError),
    invalid_event("response a number", '{"type": "response", "response": 1}', ResponseValidationError),
    invalid_event("reasoning missing", '{"type": "reasoning"}', ResponseValidationError),
    Case(
        "bad UTF-8",
        (Fault(*STARTED, chunk(b'data: {"type": "response", "response": "\xff"}\n\n'), END),),
        ResponseDecodeError,
        attrs=RUN_1,
        partial="Hello",
        kinds=STREAM,
    ),
    Case(
        "invalid gzip",
        (Fault(begin("Content-Encoding: gzip"), event(HELLO), END),),
        ResponseDecodeError,
        attrs=PAID,
        partial="",
        kinds=STREAM,
    ),
    Case(
        "page",
        (Fault(answer(PAGE, media_type="text/html")),),
        UnexpectedContentTypeError,
        attrs=PAID,
        kinds=STREAM,
    ),
    Case("list as JSON", (Fault(answer("[]")),), ResponseValidationError, attrs={"body": []}, kinds=STREAM),
    Case("invalid JSON response", (Fault(answer(TRUNCATED)),), ResponseDecodeError, attrs=KNOWN, kinds=STREAM),
    Case(
        "truncated JSON response",
        (Fault(answer(TRUNCATED, length=999), RESET),),
        StreamInterruptedError,
        attrs={**KNOWN, "body": TRUNCATED.encode()},
        kinds=STREAM,
    ),
)
def test_invalid_event_is_an_error(case, kind, drive):
    """Invalid events are never skipped silently, and the error has the events before them."""
    check(case, drive, kind)


@cases(
    Case(
        "a stream in gzip",
        (
            Fault(
                begin("Content-Encoding: gzip"),
                chunk(
                    gzip.compress(
                        b"".join(b"data: %s\n\n" % json.dumps(item).encode() for item in (HELLO, WORLD, USAGE))
                    )
                ),
                END,
            ),
        ),
        kinds=STREAM,
    ),
    Case(
        "an unknown type",
        (Fault(*STARTED, event({"type": "tool_call", "tool": "search"}), *ALL[3:], END),),
        kinds=STREAM,
        check=lambda outcome: isinstance(outcome.events[2], UnknownEvent) and outcome.events[2].raw["tool"] == "search",
    ),
    Case(
        "JSON for a stream",
        (Fault(answer({**ANSWER, "reasoning": "Hm."})),),
        kinds=(*STREAM, "collect"),
        check=lambda outcome: [event.type for event in outcome.events] in ([], ["reasoning", "response", "usage"]),
    ),
    Case("events without a media type", (Fault(begin(media_type="")[:-2] + b"\r\n", *ALL[1:], END),), kinds=STREAM),
    Case(
        "a wrong charset", (Fault(begin(media_type="text/event-stream; charset=utf-16"), *ALL[1:], END),), kinds=STREAM
    ),
    Case("103 first", (Fault(b"HTTP/1.1 103 Early Hints\r\n\r\n", *ALL, END),), kinds=STREAM),
    Case(
        "HTTP/1.0",
        (
            Fault(
                b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
                *(b"data: %s\n\n" % json.dumps(item).encode() for item in (HELLO, WORLD, USAGE)),
                CLOSE,
            ),
        ),
        kinds=STREAM,
    ),
)
def test_unusual_valid_stream_is_accepted(case, kind, drive):
    """Unusual but valid streams are parsed."""
    check(case, drive, kind)


# --- After [DONE] ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest",
    [(END,), (0.02, END), (event(HELLO), END), (chunk(b": bye\n\n"), END)],
    ids=["end", "end a moment later", "an event", "a comment"],
)
def test_connection_is_reused_after_a_complete_stream(drive, rest):
    """If the body ends soon after `[DONE]`, the next call reuses the connection. Events after `[DONE]` are ignored."""
    with FaultServer(Fault(*ALL, event("[DONE]"), *rest)) as server:
        results = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), "stream", "stream", "stream")

    assert [result.response for result in results] == [ANSWER_TEXT] * 3
    assert server.connections == 1


@pytest.mark.parametrize(
    "rest",
    [(STALL,), (Flood(PINGS, 0.03),), (Flood(chunk(b":\n" * 4096)),), (RESET,), (b"zz\r\n", STALL)],
    ids=["silent", "slow comments", "many comments", "reset", "broken"],
)
def test_stream_that_stays_open_after_done_is_closed(drive, rest):
    """If the body does not end soon after `[DONE]`, the connection is closed; the result is still complete."""
    with FaultServer(Fault(*ALL, event("[DONE]"), *rest)) as server:
        seconds = []
        results = in_a_row(drive, FetchHive(KEY, server.url, timeout=30), "stream", "stream", seconds=seconds)
        assert server.wait_until(lambda: server.open_connections == 0)

    assert [result.response for result in results] == [ANSWER_TEXT] * 2
    assert server.connections == 2
    assert max(seconds) < 1.0


# --- Memory ----------------------------------------------------------------------------------------------------------

MEBIBYTE = 1024 * 1024

PROBE = """
    import asyncio, json, sys, time
    from fetch_hive_sdk import FetchHive, FetchHiveError

    url, kind, shell = sys.argv[1:]
    client = FetchHive("fhk_0123456789", url, timeout=60)

    def peak():
        # Not getrusage(): a child process inherits its parent's peak.
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

    async def acall(deployment):
        if kind == "call":
            return await client.ainvoke_prompt(deployment=deployment)
        async for _ in client.ainvoke_prompt_stream(deployment=deployment):
            pass

    def call(deployment):
        if shell == "asyncio":
            return asyncio.run(acall(deployment))
        if kind == "call":
            return client.invoke_prompt(deployment=deployment)
        for _ in client.invoke_prompt_stream(deployment=deployment):
            pass

    call("good")
    before, begun = peak(), time.process_time()
    try:
        call("bad")
    except FetchHiveError as error:
        size = len(error.body)
        print(json.dumps([type(error).__name__, peak() - before, time.process_time() - begun, size]))
"""


def flood_of(*steps: object) -> Fault:
    return Fault(begin(), *steps)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
@pytest.mark.parametrize("shell", ["blocking", "asyncio"])
@pytest.mark.parametrize(
    ("kind", "fault", "limit"),
    [
        ("call", Fault(answer(bomb(8 * HUGE), "Content-Encoding: gzip")), 40),
        ("call", Fault(begin(media_type="application/json"), Flood(chunk(b" " * 60_000))), 40),
        ("call", Fault(answer(" " * 48 * MEBIBYTE)), 40),
        ("stream", flood_of(chunk(b"data: "), Flood(chunk(b"x" * 60_000))), 32),
        ("stream", flood_of(chunk(b"data: "), Flood(chunk(b"x" * 400))), 32),
        ("stream", flood_of(Flood(chunk(b"data: " + b"x" * 6000 + b"\n"))), 32),
        ("stream", flood_of(Flood(chunk(b"data: of a short line\n" * 4000))), 32),
        ("stream", flood_of(chunk(b": "), Flood(chunk(b"x" * 60_000))), 32),
        ("stream", Fault(begin("Content-Encoding: gzip"), chunk(bomb(8 * HUGE)), STALL), 32),
        ("stream", Fault(answer(bomb(8 * HUGE), "Content-Encoding: gzip")), 40),
    ],
    ids=[
        "gzip bomb",
        "endless body",
        "too long body",
        "endless line",
        "endless line in small chunks",
        "endless event",
        "endless event of short lines",
        "endless comment",
        "gzip bomb for a stream",
        "gzip bomb as JSON for a stream",
    ],
)
def test_endless_responses_are_limited(kind, fault, limit, shell):
    """The size limit is checked for each chunk: memory stays near the limit, and time grows linearly."""
    with FaultServer(fault) as server:
        server.scripts["good"] = [GOOD if kind == "call" else GOOD_STREAM]
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PROBE), server.url, kind, shell],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

    name, growth, seconds, kept = json.loads(done.stdout)
    assert name == "ResponseTooLargeError"
    assert growth < limit * MEBIBYTE
    assert kept <= 64 * 1024
    assert seconds < 15  # CPU time: joining each chunk to all earlier ones would take minutes
    assert server.posts["bad"] == 1


# --- Wire forms of SSE -----------------------------------------------------------------------------------------------

ONE, TWO, LAST = (json.dumps(item).encode() for item in (HELLO, WORLD, USAGE))
LINES = b"data: %s\n\ndata: %s\n\ndata: %s\n\n" % (ONE, TWO, LAST)
EXOTIC = '{"type": "response", "response": "a\u2028b\u2029c\u0085d\u20ac\U0001f41d"}'.encode()

FORMS = {
    "LF": LINES,
    "CR": LINES.replace(b"\n", b"\r"),
    "CRLF": LINES.replace(b"\n", b"\r\n"),
    "mixed": b"data: %s\r\rdata: %s\n\r\ndata: %s\r\n\r" % (ONE, TWO, LAST),
    "byte order mark": b"\xef\xbb\xbf" + LINES,
    "without the space": LINES.replace(b"data: ", b"data:"),
    "several data lines": b"data: {\ndata: %s\n\ndata:%s\ndata:\n\ndata: %s\n\n" % (ONE[1:], TWO, LAST),
    "other fields": b"event: x\nid: 1\nretry: 5\nnew: y\n" + LINES.replace(b"\n\n", b"\nid: 7\n\n"),
    "only an id": b"id: 1\n\n" + LINES,
    "only a comment": b": hello\n\n:\n\n" + LINES,
    "empty data": b"data:\n\ndata: \n\ndata\n\n" + LINES,
    "field without a colon": b"data\nevent\nid\n\n" + LINES,
    "last event without its blank line": LINES[:-2],
    "last line feed missing": LINES[:-1],
    "[DONE] without its blank line": LINES + b"data: [DONE]",
}


@pytest.mark.parametrize("form", FORMS)
def test_all_sse_formats_are_equivalent(drive, form):
    """Line endings, byte order marks, other fields and chunk boundaries do not change the events."""
    data = FORMS[form]
    whole = Fault(begin(), chunk(data), END)
    bytewise = Fault(begin(), *[chunk(data[n : n + 1]) for n in range(len(data))], END)
    with FaultServer(whole, bytewise) as server:
        results = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), "stream", "stream")

    assert [(result.response, result.usage.total_tokens) for result in results] == [(ANSWER_TEXT, 3)] * 2


def test_unicode_line_separators_do_not_end_a_line(drive):
    """U+2028 and similar characters are part of the data, and characters may be split between chunks."""
    data = b"data: %s\n\ndata: %s\n\n" % (EXOTIC, LAST)
    with FaultServer(Fault(begin(), *[chunk(data[n : n + 1]) for n in range(len(data))], END)) as server:
        (result,) = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), "stream")

    assert result.response == "a\u2028b\u2029c\u0085d\u20ac\U0001f41d"


# --- Logging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=list(BOTH))
def test_log_describes_the_call_without_secrets(drive, stream, caplog):
    """DEBUG lines have method, URL, status, attempt, seconds and request id. Keys, inputs and outputs are absent."""
    caplog.set_level(1, "fetch_hive_sdk")
    with FaultServer(refusal(TOO_MANY, "Retry-After: 0"), GOOD_STREAM if stream else GOOD) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        outcome = attempt(drive, client, stream=stream)
        drive.close(client)

    records = [record for record in caplog.records if record.name == "fetch_hive_sdk"]
    lines = "\n".join(record.getMessage() for record in records)
    assert outcome.text == ANSWER_TEXT
    assert {record.levelno for record in records} == {logging.DEBUG}
    for word in ("POST", server.url, "429", "200", "attempt 1", "attempt 2", " s, ", "req_1"):
        assert word in lines
    for secret in (KEY, PROMPT, "Hello", "Hm.", "slow down"):
        assert secret not in lines
