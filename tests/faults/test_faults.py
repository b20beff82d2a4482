"""The table of what goes wrong and what we answer, row by row, from a server that does each of these things."""

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
    FAILED,
    GOOD,
    GOOD_STREAM,
    HELLO,
    PROMPT,
    SAID,
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

LIMIT = 0.4  # seconds: the timeout of cases that wait for it
SOON = 3.0  # seconds: what no case may take unless it says so, on a slow machine too


@dataclass(frozen=True)
class Case:
    """One row of the table: what the server does, and how the call ends."""

    name: str
    faults: tuple[Fault, ...]
    error: Optional[type[FetchHiveError]] = None
    says: str = ""
    has: dict[str, object] = field(default_factory=dict)
    posts: int = 1
    attempts: int = 0
    text: str = SAID
    partial: Optional[str] = None
    options: dict[str, object] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("call",)
    at_least: float = 0.0
    within: float = SOON
    says_key: bool = False
    """Whether what the service says, and we read, has the key: then local variables have it, and nothing else."""
    check: Callable[[Outcome], Optional[bool]] = lambda outcome: None

    def run(self, drive, kind: str, server: FaultServer) -> Outcome:
        client = FetchHive(KEY, server.url, **{"timeout": 5.0, "max_retries": 2, **self.options})
        outcome = attempt(drive, client, stream=kind == "stream", collect=kind == "collect")
        drive.close(client)
        return outcome


def cases(*rows: Case):
    """Parametrise a test with every case, in each of its kinds."""
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
        assert case.says in str(error)
        assert {name: getattr(error, name) for name in case.has} == case.has
        assert error.attempts == (case.attempts or posts)
        assert_keeps_the_key(error, local_variables=not case.says_key)
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

# --- Before an answer ------------------------------------------------------------------------------------------------


@cases(
    Case("reset before the status line", (Fault(RESET),), APIConnectionError, has=PAID, kinds=BOTH),
    Case("close before the status line", (Fault(CLOSE),), APIConnectionError, has=PAID, kinds=BOTH),
    Case("half-close before the status line", (Fault(HALF_CLOSE),), APIConnectionError, has=PAID, kinds=BOTH),
    Case("reset in the status line", (Fault(b"HTTP/1.1 2", RESET),), APIConnectionError, has=PAID, kinds=BOTH),
    Case("close in the headers", (Fault(b"HTTP/1.1 200 OK\r\nX: ", CLOSE),), APIConnectionError, has=PAID, kinds=BOTH),
    Case("not HTTP", (Fault(b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE),), APIConnectionError, has=PAID, kinds=BOTH),
    Case("not HTTP, without end", (Fault(Flood(b"x" * 9999)),), APIConnectionError, has=PAID, kinds=BOTH),
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
        has={**PAID, "phase": "read"},
        options={"timeout": httpx.Timeout(5, read=LIMIT)},
        kinds=BOTH,
        at_least=LIMIT,
    ),
    Case(
        "headers that drip",
        (Fault(Drip(answer(ANSWER), 0.1)),),
        APITimeoutError,
        has={**PAID, "phase": "read"},
        options=QUICK,
        kinds=BOTH,
        at_least=LIMIT,
    ),
    Case(
        "103 without end",
        (Fault(Flood(b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05)),),
        APITimeoutError,
        has={**PAID, "phase": "read"},
        options=QUICK,
        kinds=BOTH,
        at_least=LIMIT,
    ),
)
def test_no_answer_is_an_unknown_outcome(case, kind, drive):
    """A request that went out and was not answered may have been billed: it is not sent again."""
    check(case, drive, kind)


@cases(
    Case("reset", (Fault(RESET), GOOD), options={"retry_unknown_outcome": True}, posts=2),
    Case(
        "no reply",
        (Fault(STALL),),
        APITimeoutError,
        has=PAID,
        options={"retry_unknown_outcome": True, "timeout": LIMIT},
        kinds=BOTH,
    ),
    Case("500", (Fault(answer({}, status="500 No")), GOOD), options={"retry_unknown_outcome": True}, posts=2),
    Case(
        "reset in a paid body",
        (Fault(answer(ANSWER, length=999), RESET),),
        APIConnectionError,
        has=PAID,
        options={"retry_unknown_outcome": True},
    ),
)
def test_an_unknown_outcome_is_repeated_on_demand(case, kind, drive):
    """`retry_unknown_outcome` repeats what has no answer; what has a 2xx status line is never repeated."""
    check(case, drive, kind)


@pytest.mark.parametrize("stream", [False, True], ids=list(BOTH))
def test_a_refused_connection_is_tried_again(drive, stream):
    """Where nobody listens, nothing was sent: the call is made again, then given up."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        client = FetchHive(KEY, f"http://127.0.0.1:{reserved.getsockname()[1]}/v1", timeout=5, max_retries=1)
        outcome = attempt(drive, client, stream=stream)

    assert type(outcome.error) is APIConnectionError
    assert "could not connect" in str(outcome.error)
    assert (outcome.error.maybe_processed, outcome.error.attempts) == (False, 2)
    assert_keeps_the_key(outcome.error)


def test_an_unknown_host_is_tried_again(drive, monkeypatch):
    """A name that cannot be found now may be found a moment later."""
    asked = []

    def getaddrinfo(*args, **kwargs):
        asked.append(args)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    outcome = attempt(drive, FetchHive(KEY, "https://hive.invalid/v1", timeout=5, max_retries=1))

    assert type(outcome.error) is APIConnectionError
    assert (outcome.error.maybe_processed, outcome.error.attempts, len(asked)) == (False, 2, 2)


@pytest.mark.parametrize("host", ["a" * 70 + ".test", "hive..test", "xn--a.test"])
def test_an_impossible_host_is_given_up_at_once(drive, host, monkeypatch):
    """A host name that cannot be will be no better in a second."""
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it was tried again"))
    try:
        client = FetchHive(KEY, f"https://{host}/v1", timeout=5)
    except FetchHiveError:
        return
    outcome = attempt(drive, client)

    assert type(outcome.error) is APIConnectionError
    assert (outcome.error.maybe_processed, outcome.error.attempts) == (False, 1)
    assert_keeps_the_key(outcome.error)


@pytest.mark.parametrize("stream", [False, True], ids=list(BOTH))
def test_a_trusted_certificate_is_accepted(drive, tls, stream):
    """Over TLS everything is as without."""
    with FaultServer(GOOD_STREAM if stream else GOOD, tls=tls) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        outcome = attempt(drive, client, stream=stream)
        drive.close(client)

    assert outcome.text == SAID


def test_an_untrusted_certificate_is_given_up_at_once(drive, tls, monkeypatch):
    """The key goes to nobody whose certificate is not trusted, and no second try would help."""
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
def test_a_failed_handshake_is_tried_again(drive, tls, greeting, error):
    """A TLS handshake that hangs or breaks has sent nothing."""
    # Broken once it has begun: before, Python's own SSLSocket leaves itself to the collector.
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


def test_a_hanging_handshake_ends_with_the_call(drive, tls):
    """The time for the whole call bounds the handshake, too."""
    with FaultServer(GOOD, tls=tls, greeting=(HANG,)) as server:
        client = FetchHive(KEY, server.url, timeout=LIMIT)
        outcome = attempt(drive, client)
        drive.close(client)

    assert type(outcome.error) is APITimeoutError
    assert (outcome.error.phase, outcome.error.maybe_processed) == ("connect", False)
    assert LIMIT <= outcome.seconds < SOON


def test_faults_over_tls_are_as_without(drive, tls):
    """A TLS connection that is cut without a farewell is a broken connection."""
    for fault in (Fault(RESET), Fault(answer(ANSWER, length=999), RESET), Fault(answer(ANSWER, length=999), CLOSE)):
        with FaultServer(fault, tls=tls) as server:
            client = FetchHive(KEY, server.url, timeout=5)
            outcome = attempt(drive, client)
            drive.close(client)

        assert type(outcome.error) is APIConnectionError
        assert (outcome.error.maybe_processed, server.total_posts) == (True, 1)


def test_an_exhausted_pool_says_so(drive):
    """An injected client that has no connection left is a wait for a connection, not for the service."""
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
    assert "no connection became free" in str(outcome.error)
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


def test_a_connection_closed_meanwhile_is_replaced(drive):
    """A kept connection that the server has closed is noticed before anything is sent on it."""
    with FaultServer(Fault(answer(ANSWER), CLOSE), GOOD) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        first = in_two_rows(drive, client, lambda: server.wait_until(lambda: server.open_connections == 0))

    assert [result.response for result in first] == [SAID, SAID]
    assert (server.connections, server.total_posts) == (2, 2)


def in_two_rows(drive, client, between):
    """Make two calls in one event loop, with something in between that the server has to do."""
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


def test_a_kept_connection_that_dies_in_our_hands_is_not_repeated(drive):
    """A kept connection that takes the request and dies is like any other reset: the request may have arrived."""
    with FaultServer(GOOD, Fault(RESET)) as server:
        result, error = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), "call", "call")

    assert result.response == SAID
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
def test_what_was_not_processed_is_sent_again(case, kind, drive):
    """When the service says that it ran nothing, the call is made again, after the time that it names."""
    check(case, drive, kind)


@cases(
    Case(
        "429 for ever",
        (refusal(TOO_MANY, "Retry-After: 0"),),
        RateLimitError,
        "slow down",
        {**UNPAID, "retry_after": 0.0, "error_code": "some_code", "status_code": 429},
        posts=3,
        kinds=BOTH,
    ),
    Case(
        "503 for ever",
        (refusal("503 Busy", "Retry-After: 0"),),
        InternalServerError,
        has={**UNPAID, "retry_after": 0.0, "status_code": 503},
        posts=3,
        kinds=BOTH,
    ),
    Case("408 for ever", (refusal("408 Late"),), APIStatusError, has=UNPAID, posts=2, options={"max_retries": 1}),
    Case("425 for ever", (refusal("425 Early"),), APIStatusError, has=UNPAID, posts=2, options={"max_retries": 1}),
    Case("no retries", (refusal(TOO_MANY),), RateLimitError, has=UNPAID, options={"max_retries": 0}),
    Case(
        "refused, then reset",
        (refusal(TOO_MANY, "Retry-After: 0", body={"request_id": "req_refused"}), Fault(RESET)),
        APIConnectionError,
        has={**PAID, "request_id": None, "body": b""},
        posts=2,
    ),
)
def test_retries_come_to_an_end(case, kind, drive):
    """After `max_retries` the last refusal is raised; a retry whose outcome is unknown is not repeated."""
    check(case, drive, kind)


@cases(
    Case(
        "429, Retry-After 3600",
        (refusal(TOO_MANY, "Retry-After: 3600"),),
        RateLimitError,
        has={**UNPAID, "retry_after": 3600.0},
        kinds=BOTH,
    ),
    Case(
        "429, daily cap",
        (refusal(TOO_MANY, body={"error": "cap", "error_code": "api_rate_limit_exceeded"}),),
        RateLimitError,
        has={**UNPAID, "error_code": "api_rate_limit_exceeded"},
        kinds=BOTH,
    ),
    Case(
        "429, Retry-After that does not fit",
        (refusal(TOO_MANY, "Retry-After: 20"),),
        RateLimitError,
        has={**UNPAID, "retry_after": 20.0},
        kinds=BOTH,
    ),
)
def test_a_wait_that_is_too_long_is_left_to_the_caller(case, kind, drive):
    """A limit that a short wait does not help is raised at once."""
    check(case, drive, kind)


PAGE = "<html><head><style>p {}</style></head><body><h1>Bad &amp; gone</h1><p>" + "so sorry " * 99 + "</body></html>"


def has_a_short_message(outcome: Outcome) -> None:
    message = str(outcome.error).partition(": ")[2]
    assert "so sorry" in message
    assert len(message) <= 200
    assert not set("<>") & set(message)
    assert outcome.error.response.text == PAGE


@cases(
    Case("500", (Fault(answer({"error": "x"}, status="500 No")),), InternalServerError, has=PAID, kinds=BOTH),
    Case(
        "502 with a page",
        (Fault(answer(PAGE, status="502 Bad Gateway", media_type="text/html")),),
        InternalServerError,
        has={**PAID, "body": PAGE},
        kinds=BOTH,
        check=has_a_short_message,
    ),
    Case("503 bare", (Fault(answer({}, status="503 Busy")),), InternalServerError, has=PAID, kinds=BOTH),
    Case("504", (Fault(answer("", status="504 Late")),), InternalServerError, has=PAID, kinds=BOTH),
    Case("529", (Fault(answer("", status="529 Full")),), InternalServerError, has=PAID, kinds=BOTH),
    Case("999", (Fault(answer("", status="999 What")),), InternalServerError, has=PAID, kinds=BOTH),
)
def test_a_server_error_is_an_unknown_outcome(case, kind, drive):
    """A server that failed may have run, and billed, the call: it is not sent again."""
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
def test_a_refusal_has_a_class(case, kind, drive):
    """Each refusal is raised at once as its class, with what the service said."""
    check(case, drive, kind)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(drive, status):
    """The key and the inputs go nowhere else."""
    with FaultServer(GOOD) as elsewhere:
        moved = refusal(f"{status} Moved", f"Location: {elsewhere.url}/prompt/invoke")
        check(Case("redirect", (moved,), APIStatusError, has={"status_code": status, **UNPAID}), drive, "call")
        check(Case("redirect", (moved,), APIStatusError, has={"status_code": status, **UNPAID}), drive, "stream")

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
    Case("in the reason", (refusal(f"401 {KEY}"),), AuthenticationError, "401 ***", says_key=True, kinds=BOTH),
    Case(
        "in a cut body",
        (Fault(answer(f'{{"error": "{KEY}', status="401 No", length=999), CLOSE, refuses=True),),
        AuthenticationError,
        kinds=BOTH,
    ),
    Case("in what is not HTTP", (Fault(f"{KEY}\r\n\r\n".encode(), CLOSE),), APIConnectionError, kinds=BOTH),
    Case("in a header line", (Fault(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()),), APIConnectionError, kinds=BOTH),
    Case(
        "in an answer that is no JSON", (Fault(answer(f"key {KEY}")),), ResponseDecodeError, says_key=True, kinds=BOTH
    ),
    Case("in a false answer", (Fault(answer({"key": KEY})),), ResponseValidationError, says_key=True),
    Case("in a cut answer", (Fault(answer(f'"{KEY}', length=999), RESET),), APIConnectionError),
)
def test_a_repeated_key_is_masked(case, kind, drive, caplog):
    """A service that repeats the key does not make us show it: `check` looks everywhere."""
    caplog.set_level(logging.DEBUG, "fetch_hive_sdk")

    check(case, drive, kind)

    assert KEY not in caplog.text


@cases(
    Case("body cut short", (Fault(answer("{", status="404 No", length=99), CLOSE, refuses=True),), NotFoundError),
    Case("body reset", (Fault(answer("{", status="404 No", length=99), RESET, refuses=True),), NotFoundError),
    Case(
        "body that stalls",
        (Fault(answer("{", status="404 No", length=99), STALL, refuses=True),),
        NotFoundError,
        options=QUICK,
        kinds=BOTH,
    ),
    Case(
        "body that drips",
        (Fault(begin(status="404 No"), Flood(chunk(b"."), 0.05), refuses=True),),
        NotFoundError,
        options=QUICK,
        kinds=BOTH,
    ),
    Case(
        "body without end",
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
        "false gzip",
        (refusal("404 No", "Content-Encoding: gzip", body=b"nonsense"),),
        NotFoundError,
        kinds=BOTH,
    ),
    Case(
        "true gzip",
        (refusal("404 No", "Content-Encoding: gzip", body=gzip.compress(b'{"error": "unzipped"}')),),
        NotFoundError,
        "unzipped",
    ),
    Case("bad UTF-8", (refusal("404 No", body=b"\xff\xfe caf\xe9"),), NotFoundError),
    Case("impossible charset", (refusal("404 No", body=b"x", media_type="text/html; charset=zlib"),), NotFoundError),
    Case("no body", (Fault(b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", refuses=True),), NotFoundError, "404"),
    Case("JSON that is no object", (refusal("404 No", body='["no"]'),), NotFoundError, has={"body": ["no"]}),
)
def test_a_refusal_survives_its_body(case, kind, drive):
    """The status line says enough, whatever is wrong with the rest."""
    check(case, drive, kind)


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_a_refused_call_gives_its_connection_back(drive, kind):
    """After a refusal the next call uses the same connection."""
    with FaultServer(refusal("404 No"), refusal("404 No"), GOOD) as server:
        *refused, result = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), kind, kind, "call")

    assert [type(error) for error in refused] == [NotFoundError, NotFoundError]
    assert result.response == SAID
    assert server.connections == 1


def test_a_request_that_is_refused_unread_is_a_refusal(drive):
    """A service that answers before it has read a large body, and closes, has refused the call."""
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

BROKEN = '{"request_id": "req_7", "response": "Hel'
KNOWN = {**PAID, "request_id": "req_7"}
HUGE = 64 * 1024 * 1024


def bomb(size: int) -> bytes:
    zipper = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    megabyte = b" " * 1024 * 1024
    return b"".join(zipper.compress(megabyte) for _ in range(size // len(megabyte))) + zipper.flush()


@cases(
    Case(
        "cut short",
        (Fault(answer(BROKEN, length=999), CLOSE),),
        APIConnectionError,
        has={**KNOWN, "body": BROKEN.encode()},
    ),
    Case(
        "reset",
        (Fault(answer(BROKEN, length=999), RESET),),
        APIConnectionError,
        has={**KNOWN, "body": BROKEN.encode()},
    ),
    Case("reset before the body", (Fault(answer("", length=9), RESET),), APIConnectionError, has={**PAID, "body": b""}),
    Case(
        "broken chunk",
        (Fault(begin(media_type="application/json"), chunk(BROKEN.encode()), b"zz\r\n", STALL),),
        APIConnectionError,
        has=KNOWN,
    ),
    Case(
        "missing end of the chunks",
        (Fault(begin(media_type="application/json"), chunk(json.dumps(ANSWER).encode()), CLOSE),),
        APIConnectionError,
        has={**PAID, "request_id": "req_1"},
    ),
    Case(
        "two lengths",
        (Fault(answer(ANSWER, "Content-Length: 5")),),
        APIConnectionError,
        has=PAID,
        kinds=BOTH,
    ),
    Case("300 kB header", (Fault(answer(ANSWER, "X: " + "x" * 300_000)),), APIConnectionError, has=PAID, kinds=BOTH),
    Case("300 kB of headers", (Fault(answer(ANSWER, *["X: " + "x" * 99] * 3000)),), APIConnectionError, kinds=BOTH),
    Case("length that is none", (Fault(answer(ANSWER, "Content-Length: many")),), APIConnectionError, kinds=BOTH),
)
def test_a_broken_answer_keeps_what_came(case, kind, drive):
    """A paid answer that does not arrive whole is an error that has what came of it."""
    check(case, drive, kind)


@cases(
    Case("empty", (Fault(answer("")),), ResponseDecodeError, has={**PAID, "body": b""}),
    Case("blank", (Fault(answer(" \n")),), ResponseDecodeError, has={"body": b" \n"}),
    Case("204", (Fault(b"HTTP/1.1 204 No Content\r\n\r\n"),), ResponseDecodeError, has=PAID),
    Case("broken JSON", (Fault(answer(BROKEN)),), ResponseDecodeError, has={**KNOWN, "body": BROKEN.encode()}),
    Case("bad UTF-8", (Fault(answer(b'{"response": "\xff"}')),), ResponseDecodeError, has=PAID),
    Case("length too small", (Fault(answer(ANSWER, length=9), CLOSE),), ResponseDecodeError, has=PAID),
    Case("deep JSON", (Fault(answer("[" * 100_000)),), ResponseDecodeError, has=PAID),
    Case(
        "cut gzip",
        (Fault(answer(gzip.compress(json.dumps(ANSWER).encode())[:-9], "Content-Encoding: gzip")),),
        ResponseDecodeError,
        has={**PAID, "request_id": "req_1"},
    ),
    Case(
        "false gzip",
        (Fault(answer(ANSWER, "Content-Encoding: gzip")),),
        ResponseDecodeError,
        has={**PAID, "body": json.dumps(ANSWER).encode(), "request_id": "req_1"},
    ),
    Case(
        "gzip that breaks",
        (Fault(answer(bytes([*gzip.compress(b"x" * 99)[:-8], *b"\0" * 8]), "Content-Encoding: gzip")),),
        ResponseDecodeError,
        has=PAID,
    ),
    Case("brotli", (Fault(answer(b"\x1b", "Content-Encoding: br")),), ResponseDecodeError, has=PAID),
    Case(
        "page", (Fault(answer(PAGE, media_type="text/html")),), UnexpectedContentTypeError, has={"body": PAGE.encode()}
    ),
    Case("text", (Fault(answer("Hello", media_type="text/plain")),), UnexpectedContentTypeError, has=PAID),
    Case(
        "events", (Fault(begin(), event(HELLO), END),), UnexpectedContentTypeError, has={**PAID, "request_id": "req_1"}
    ),
    Case("list", (Fault(answer("[1]")),), ResponseValidationError, has={**PAID, "body": [1]}),
    Case("string", (Fault(answer('"Hello"')),), ResponseValidationError, has={**PAID, "body": "Hello"}),
    Case("number", (Fault(answer("42")),), ResponseValidationError, has={**PAID, "body": 42}),
    Case("null", (Fault(answer("null")),), ResponseValidationError, has={**PAID, "body": None}),
    *(
        Case(
            f"response {name}",
            (Fault(answer({"request_id": "req_7", **fields})),),
            ResponseValidationError,
            has={**KNOWN, "body": {"request_id": "req_7", **fields}},
        )
        for name, fields in {
            "missing": {},
            "null": {"response": None},
            "a number": {"response": 1},
            "a list": {"response": ["Hello"]},
        }.items()
    ),
)
def test_an_answer_that_is_not_as_promised_is_reported(case, kind, drive):
    """What came is in `body`, for it has been paid for."""
    check(case, drive, kind)


@cases(
    Case(
        "body that drips",
        (Fault(begin(media_type="application/json"), Flood(chunk(b" "), 0.1)),),
        APITimeoutError,
        "not complete in time",
        {**PAID, "phase": "total"},
        options=QUICK,
        at_least=LIMIT,
    ),
    Case(
        "body that stalls",
        (Fault(answer(BROKEN, length=999), STALL),),
        APITimeoutError,
        has={**KNOWN, "phase": "total", "body": BROKEN.encode()},
        options=QUICK,
        at_least=LIMIT,
    ),
    Case(
        "drips, then stalls",
        (Fault(answer("", length=99), Drip(BROKEN.encode(), 0.01), STALL),),
        APITimeoutError,
        has={**PAID, "phase": "total"},
        options={"timeout": 1.0},
        at_least=1.0,
    ),
    Case(
        "late headers, then a stall",
        (Fault(0.8, answer(BROKEN, length=999), STALL),),
        APITimeoutError,
        has={**KNOWN, "phase": "total"},
        options={"timeout": 1.0},
        at_least=1.0,
        within=1.7,
    ),
    Case(
        "every piece just in time",
        (Fault(0.6, b"HTTP/1.1 ", 0.6, b"200 OK\r\n", 0.6, answer(ANSWER)[17:57], 0.6, answer(ANSWER)[57:]),),
        APITimeoutError,
        has=PAID,
        options={"timeout": 1.0},
        at_least=1.0,
        within=1.7,
    ),
    Case(
        "after a retry",
        (refusal(TOO_MANY, "Retry-After: 0.7"), Fault(STALL)),
        APITimeoutError,
        has=PAID,
        posts=2,
        options={"timeout": 1.0},
        at_least=1.0,
        within=1.6,
    ),
    Case(
        "a wait that does not fit",
        (refusal(TOO_MANY, "Retry-After: 2"),),
        RateLimitError,
        has={**UNPAID, "retry_after": 2.0},
        options={"timeout": 1.0},
        within=0.9,
    ),
    Case(
        "stall, httpx.Timeout",
        (Fault(answer(BROKEN, length=999), STALL),),
        APITimeoutError,
        has={**PAID, "phase": "read"},
        options={"timeout": httpx.Timeout(5, read=LIMIT)},
        at_least=LIMIT,
    ),
    Case(
        "drips in time, httpx.Timeout",
        (Fault(Drip(answer(ANSWER), 0.005)),),
        options={"timeout": httpx.Timeout(5, read=LIMIT)},
        at_least=LIMIT,
        within=10,
    ),
)
def test_a_call_ends_in_time(case, kind, drive):
    """`timeout` bounds the call as a whole: attempts, waits and a dripping body included."""
    check(case, drive, kind)


FLAT = {"response": SAID, "new": {"a": [1]}, "stop_reason": "brand_new", "usage": {"prompt_tokens": 1, "new": 2}}


@cases(
    Case("bare", (Fault(answer({"response": SAID})),)),
    Case("extra fields", (Fault(answer(FLAT)),), check=lambda outcome: outcome.result["new"] == {"a": [1]}),
    Case("in gzip", (Fault(answer(gzip.compress(json.dumps(ANSWER).encode()), "Content-Encoding: gzip")),)),
    Case("in chunks", (Fault(begin(media_type="application/json"), chunk(json.dumps(ANSWER).encode()), END),)),
    Case("until the connection closes", (Fault(answer(ANSWER).replace(b"Content-Length", b"X-Length"), CLOSE),)),
    Case("in bytes", (Fault(*[bytes([byte]) for byte in answer(ANSWER)]),)),
    Case("without a media type", (Fault(answer(ANSWER, media_type="")),)),
    Case("with a suffix", (Fault(answer(ANSWER, media_type="application/vnd.hive+json; charset=latin-1")),)),
    Case("with a byte order mark", (Fault(answer(b"\xef\xbb\xbf" + json.dumps(ANSWER).encode())),)),
    Case("as HTTP/1.0", (Fault(answer(ANSWER).replace(b"HTTP/1.1", b"HTTP/1.0"), CLOSE),)),
    Case("after 103", (Fault(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", answer(ANSWER)),)),
    Case("after 100 and 103", (Fault(b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hm\r\n\r\n", answer(ANSWER)),)),
    Case("and more", (Fault(answer(ANSWER), b"HTTP/1.1 200 OK\r\n\r\nmore", CLOSE),)),
    Case("201", (Fault(answer(ANSWER, status="201 Made")),)),
    Case("just before the reset", (Fault(answer(ANSWER), RESET),)),
)
def test_a_good_answer_is_an_answer(case, kind, drive):
    """What is unusual and harmless is read."""
    check(case, drive, kind)


# --- Streams ---------------------------------------------------------------------------------------------------------

STARTED = (begin(), event(THINK), event(HELLO))
CUT = {**PAID, "request_id": "req_1"}


def has_thought(outcome: Outcome) -> None:
    assert outcome.error.partial.reasoning == "Hm."
    assert outcome.error.partial.request_id == "req_1"
    assert [event.type for event in outcome.events[:2]] == ["reasoning", "response"]


def interrupted(name: str, *steps: object, **facts: object) -> Case:
    settings = {"partial": "Hello", "kinds": STREAM, "check": has_thought, **facts}
    return Case(name, (Fault(*STARTED, *steps),), StreamInterruptedError, has=CUT, **settings)


@cases(
    interrupted("ends cleanly", END),
    interrupted("ends inside an event", chunk(b'data: {"type": "resp'), END),
    interrupted("ends inside a line", chunk(b"dat"), END),
    interrupted("ends inside a character", chunk(b'data: {"type": "response", "response": "\xe2\x82'), END),
    interrupted("reset", RESET),
    interrupted("reset inside an event", chunk(b'data: {"type": "resp'), RESET),
    interrupted("missing end of the chunks", CLOSE),
    interrupted("half-close", HALF_CLOSE),
    interrupted("broken chunk", b"zz\r\n", STALL),
    interrupted("cut chunk", b"ff\r\ndata: ", CLOSE),
    Case(
        "missing bytes",
        (Fault(answer(f"data: {json.dumps(HELLO)}\n\n", media_type="text/event-stream", length=999), CLOSE),),
        StreamInterruptedError,
        has=CUT,
        partial="Hello",
        kinds=STREAM,
    ),
    Case("nothing at all", (Fault(begin(), END),), StreamInterruptedError, partial="", has=PAID, kinds=STREAM),
    Case("reset at once", (Fault(begin(), RESET),), StreamInterruptedError, partial="", has=PAID, kinds=STREAM),
    Case("empty 200", (Fault(answer("", media_type="")),), StreamInterruptedError, has=PAID, kinds=STREAM),
    Case("collect", (Fault(*STARTED, END),), StreamInterruptedError, has=CUT, kinds=("collect",)),
    Case("collect, reset", (Fault(*STARTED, RESET),), StreamInterruptedError, has=CUT, kinds=("collect",)),
)
def test_a_stream_that_breaks_off_is_interrupted(case, kind, drive):
    """The whole events come first, then an error that has all of them."""
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
def test_a_stream_that_is_complete_is_an_answer(case, kind, drive):
    """After `usage`, `error` or `[DONE]` nothing is missing, however the connection ends."""
    check(case, drive, kind)


def idle(name: str, *steps: object, phase: str, **facts: object) -> Case:
    settings = {"partial": "Hello", "kinds": STREAM, "check": has_thought, "at_least": LIMIT, **facts}
    has = {**CUT, "phase": phase}
    return Case(name, (Fault(*STARTED, *steps),), StreamTimeoutError, has=has, **settings)


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
    idle(
        "an event that drips, idle_timeout", Flood(chunk(b"data"), 0.05), phase="idle", options={"idle_timeout": LIMIT}
    ),
    Case(
        "silence at once",
        (Fault(begin(), STALL),),
        StreamTimeoutError,
        has={**PAID, "phase": "read"},
        partial="",
        options=QUICK,
        kinds=STREAM,
        at_least=LIMIT,
    ),
    Case(
        "silence after a late beginning",
        (Fault(0.5, begin(), 0.5, event(HELLO), STALL),),
        StreamTimeoutError,
        has={**PAID, "phase": "read"},
        partial="Hello",
        options={"timeout": 0.8},
        kinds=STREAM,
        at_least=1.7,
    ),
)
def test_a_stream_that_falls_silent_times_out(case, kind, drive):
    """Silence for `timeout`, or no event for `idle_timeout`, ends a stream; what came is kept."""
    check(case, drive, kind)


@cases(
    Case(
        "only comments",
        (Fault(*STARTED, *[0.1, PINGS] * 8, *ALL[3:], END),),
        options=QUICK,
        kinds=STREAM,
        at_least=0.8,
    ),
    Case(
        "slow and healthy",
        (Fault(begin(), *(step for item in (THINK, HELLO, WORLD, USAGE) for step in (0.3, event(item))), END),),
        options={"timeout": 0.8, "idle_timeout": 0.8},
        kinds=STREAM,
        at_least=1.2,
    ),
    Case(
        "an event that drips",
        (Fault(*STARTED, Drip(event(WORLD), 0.01), *ALL[4:], END),),
        options=QUICK,
        kinds=STREAM,
        at_least=0.5,
    ),
    Case(
        "unknown events, idle_timeout",
        (Fault(*STARTED, *[0.1, event({"type": "ping"})] * 8, *ALL[3:], END),),
        options={"idle_timeout": LIMIT},
        kinds=STREAM,
        at_least=0.8,
    ),
)
def test_a_sign_of_life_keeps_a_stream(case, kind, drive):
    """As long as bytes arrive, and events where `idle_timeout` asks for them, a stream may last for ever."""
    check(case, drive, kind)


@pytest.mark.parametrize("entered", [False, True], ids=["iterated", "entered"])
def test_a_slow_caller_does_not_break_a_stream(drive, entered):
    """The time that the caller takes for an event, or before the first, is no silence of the service."""
    late = Fault(begin(), *(step for item in (HELLO, WORLD, USAGE) for step in (0.5, PINGS, 0.2, event(item))), END)
    with FaultServer(late) as server:
        client = FetchHive(KEY, server.url, timeout=5, idle_timeout=0.4 if entered else 1.0)
        # Each event is late by 0.7 seconds, of which the caller is away for 0.6, or all and more.
        seen = slow_reading(drive, client, entered, 0.6 if entered else 1.2)

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
        {**CUT, "error_code": "provider_error"},
        kinds=("collect",),
        attempts=0,
        check=lambda outcome: outcome.error.partial.text == "Hello",
    ),
    Case(
        "collect, the connection stays open",
        (Fault(*STARTED, event(FAILED), STALL),),
        StreamFailedError,
        "provider down",
        {**CUT, "error_code": "provider_error"},
        kinds=("collect",),
    ),
)
def test_an_error_event_is_an_event_and_an_error(case, kind, drive):
    """Iterating yields it; `collect()` raises it, and waits for nothing more."""
    check(case, drive, kind)


def false_event(name: str, payload: str, error: type[FetchHiveError]) -> Case:
    steps = (*STARTED, event(payload), event(WORLD), event(USAGE), END)
    return Case(name, (Fault(*steps),), error, has=CUT, partial="Hello", kinds=STREAM, check=has_thought)


@cases(
    false_event("broken JSON", '{"type": "response", "resp', ResponseDecodeError),
    false_event("deep JSON", "[" * 100_000, ResponseDecodeError),
    false_event("list", "[]", ResponseValidationError),
    false_event("response missing", '{"type": "response"}', ResponseValidationError),
    false_event("response null", '{"type": "response", "response": null}', ResponseValidationError),
    false_event("response a number", '{"type": "response", "response": 1}', ResponseValidationError),
    false_event("reasoning missing", '{"type": "reasoning"}', ResponseValidationError),
    Case(
        "bad UTF-8",
        (Fault(*STARTED, chunk(b'data: {"type": "response", "response": "\xff"}\n\n'), END),),
        ResponseDecodeError,
        has=CUT,
        partial="Hello",
        kinds=STREAM,
    ),
    Case(
        "gzip nobody asked for, false",
        (Fault(begin("Content-Encoding: gzip"), event(HELLO), END),),
        ResponseDecodeError,
        has=PAID,
        partial="",
        kinds=STREAM,
    ),
    Case("page", (Fault(answer(PAGE, media_type="text/html")),), UnexpectedContentTypeError, has=PAID, kinds=STREAM),
    Case("list as JSON", (Fault(answer("[]")),), ResponseValidationError, has={"body": []}, kinds=STREAM),
    Case("broken JSON answer", (Fault(answer(BROKEN)),), ResponseDecodeError, has=KNOWN, kinds=STREAM),
    Case(
        "cut JSON answer",
        (Fault(answer(BROKEN, length=999), RESET),),
        StreamInterruptedError,
        has={**KNOWN, "body": BROKEN.encode()},
        kinds=STREAM,
    ),
)
def test_a_false_event_is_reported(case, kind, drive):
    """Nothing is skipped in silence, and what came before is in reach."""
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
        "a false charset", (Fault(begin(media_type="text/event-stream; charset=utf-16"), *ALL[1:], END),), kinds=STREAM
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
def test_an_unusual_stream_is_read(case, kind, drive):
    """What is unusual and harmless is read."""
    check(case, drive, kind)


# --- After [DONE] ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest",
    [(END,), (0.02, END), (event(HELLO), END), (chunk(b": bye\n\n"), END)],
    ids=["end", "end a moment later", "an event", "a comment"],
)
def test_a_stream_that_ends_gives_its_connection_back(drive, rest):
    """When the body ends soon after `[DONE]`, the next call uses the same connection; what stood between is none."""
    with FaultServer(Fault(*ALL, event("[DONE]"), *rest)) as server:
        results = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), "stream", "stream", "stream")

    assert [result.response for result in results] == [SAID] * 3
    assert server.connections == 1


@pytest.mark.parametrize(
    "rest",
    [(STALL,), (Flood(PINGS, 0.03),), (Flood(chunk(b":\n" * 4096)),), (RESET,), (b"zz\r\n", STALL)],
    ids=["silent", "drips", "floods", "reset", "broken"],
)
def test_a_stream_that_does_not_end_is_closed(drive, rest):
    """When the body does not end soon after `[DONE]`, its connection is closed; the answer is whole all the same."""
    with FaultServer(Fault(*ALL, event("[DONE]"), *rest)) as server:
        seconds = []
        results = in_a_row(drive, FetchHive(KEY, server.url, timeout=30), "stream", "stream", seconds=seconds)
        assert server.wait_until(lambda: server.open_connections == 0)

    assert [result.response for result in results] == [SAID] * 2
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
        # Not getrusage: a child inherits the peak of the process that started it.
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


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
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
        "body without end",
        "body too long",
        "line without end",
        "line without end in small chunks",
        "event without end",
        "event of short lines without end",
        "comment without end",
        "gzip bomb for a stream",
        "gzip bomb as JSON for a stream",
    ],
)
def test_what_does_not_end_is_cut_off(kind, fault, limit, shell):
    """The limit is met piece by piece: memory grows by little more than what may be kept, and time with the size."""
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
    assert seconds < 15  # of the processor: were each chunk joined to all before it, they would be minutes
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
def test_every_wire_form_means_the_same(drive, form):
    """Whatever the line ends, the marks and the fields around it, and however it is cut, a stream is the same."""
    data = FORMS[form]
    whole = Fault(begin(), chunk(data), END)
    bytewise = Fault(begin(), *[chunk(data[n : n + 1]) for n in range(len(data))], END)
    with FaultServer(whole, bytewise) as server:
        results = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), "stream", "stream")

    assert [(result.response, result.usage.total_tokens) for result in results] == [(SAID, 3)] * 2


def test_separators_of_other_texts_are_text(drive):
    """U+2028 and its like end no line, and characters survive being cut."""
    data = b"data: %s\n\ndata: %s\n\n" % (EXOTIC, LAST)
    with FaultServer(Fault(begin(), *[chunk(data[n : n + 1]) for n in range(len(data))], END)) as server:
        (result,) = in_a_row(drive, FetchHive(KEY, server.url, timeout=5), "stream")

    assert result.response == "a\u2028b\u2029c\u0085d\u20ac\U0001f41d"


# --- What is logged --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=list(BOTH))
def test_the_log_tells_what_happened_and_no_secret(drive, stream, caplog):
    """DEBUG lines have method, URL, status, attempt, seconds and request id; no level has key, inputs or answers."""
    caplog.set_level(1, "fetch_hive_sdk")
    with FaultServer(refusal(TOO_MANY, "Retry-After: 0"), GOOD_STREAM if stream else GOOD) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        outcome = attempt(drive, client, stream=stream)
        drive.close(client)

    records = [record for record in caplog.records if record.name == "fetch_hive_sdk"]
    lines = "\n".join(record.getMessage() for record in records)
    assert outcome.text == SAID
    assert {record.levelno for record in records} == {logging.DEBUG}
    for word in ("POST", server.url, "429", "200", "attempt 1", "attempt 2", " s, ", "req_1"):
        assert word in lines
    for secret in (KEY, PROMPT, "Hello", "Hm.", "slow down"):
        assert secret not in lines
