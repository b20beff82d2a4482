"""For one call of each effect and every fault: how often it is sent. Money and change are never doubled by us."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from driving import KEY, Blocking
from faults.calls import assert_keeps_the_key
from faults.server import CLOSE, RESET, STALL, Fault, FaultServer, answer, begin, chunk
from fetch_hive_sdk import APITimeoutError, FetchHive, FetchHiveError

RETRIES = 2

CALLS = {
    "run": ("invoke_agent", (), {"agent": "a", "message": "m"}),
    "run, by a change": ("approvals.decide", ("ap", "allow_once"), {}),
    "create": ("knowledge_bases.create", (), {"name": "n"}),
    "settle": ("agents.update", ("a",), {"name": "n"}),
    "settle, by a deletion": ("agents.delete", ("a",), {}),
    "read": ("agents.get", ("a",), {}),
}
REPEATED = {"settle", "settle, by a deletion", "read"}
RUNS = {"run", "run, by a change"}

# What says that nothing was done: repeated for every effect.
UNDONE = {
    "429": Fault(answer({"error": "slow down"}, "Retry-After: 0", status="429 X")),
    "503 with Retry-After": Fault(answer({"error": "busy"}, "Retry-After: 0", status="503 X")),
    "408": Fault(answer({"error": "late"}, status="408 X")),
    "425": Fault(answer({"error": "early"}, status="425 X")),
}
# What does not say what happened.
UNKNOWN = {
    "reset before an answer": Fault(RESET),
    "closed before an answer": Fault(CLOSE),
    "500": Fault(answer({"error": "oops"}, status="500 X")),
    "502, a page": Fault(b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<br>"),
    "503 bare": Fault(answer({"error": "busy"}, status="503 X")),
    "504": Fault(answer({"error": "late"}, status="504 X")),
    "answer cut short": Fault(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", CLOSE),
    "answer reset": Fault(begin(), chunk(b"{"), RESET),
}
# What is the same however often one asks.
FINAL = {
    "400": Fault(answer({"error": "bad"}, status="400 X")),
    "404": Fault(answer({"error": "gone"}, status="404 X")),
    "409": Fault(answer({"error": "decided"}, status="409 X")),
    "422": Fault(answer({"error": "refused"}, status="422 X")),
    "the daily cap": Fault(answer({"error": "cap", "error_code": "api_rate_limit_exceeded"}, status="429 X")),
    "307": Fault(answer({}, "Location: /elsewhere", status="307 X")),
}


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch):
    monkeypatch.setattr("fetch_hive_sdk._protocol.retry._FIRST_BACKOFF", 0)


def make(drive, effect: str, fault: Fault, **options: object) -> tuple[object, int]:
    """Make a call; return its result or its error, and how many requests there were."""
    name, args, fields = CALLS[effect]
    with FaultServer(fault) as server:
        settings = {"timeout": 5, "max_retries": RETRIES, "workspace_id": "w", **options}
        client = FetchHive(KEY, server.url, **settings)

        def blocking() -> object:
            with client:
                return method_of(client, name)(*args, **fields)

        async def asynchronous() -> object:
            async with client:
                *homes, last = name.split(".")
                return await method_of(client, ".".join([*homes, f"a{last}"]))(*args, **fields)

        try:
            result = blocking() if isinstance(drive, Blocking) else asyncio.run(asynchronous())
        except FetchHiveError as error:
            result = error
        return result, server.total_posts


def method_of(client: FetchHive, name: str):
    method: object = client
    for part in name.split("."):
        method = getattr(method, part)
    assert inspect.ismethod(method)
    return method


@pytest.mark.parametrize("effect", CALLS)
@pytest.mark.parametrize("fault", UNDONE.values(), ids=UNDONE)
def test_what_was_not_done_is_done_again(drive, effect, fault):
    """The service says that it did nothing."""
    error, sent = make(drive, effect, fault)

    assert isinstance(error, FetchHiveError)
    assert (sent, error.attempts, error.maybe_processed) == (1 + RETRIES, 1 + RETRIES, False)


@pytest.mark.parametrize("effect", CALLS)
@pytest.mark.parametrize("fault", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_outcome_is_repeated_only_where_that_does_no_harm(drive, effect, fault):
    """Reading and settling; never what runs or creates. Only reading can never have done anything."""
    error, sent = make(drive, effect, fault)

    assert isinstance(error, FetchHiveError)
    assert sent == error.attempts == (1 + RETRIES if effect in REPEATED else 1)
    assert error.maybe_processed is (effect != "read")
    assert_keeps_the_key(error)


@pytest.mark.parametrize("effect", CALLS)
@pytest.mark.parametrize("fault", FINAL.values(), ids=FINAL)
def test_a_refusal_that_stays_is_not_repeated(drive, effect, fault):
    """Whatever the call does."""
    error, sent = make(drive, effect, fault)

    assert isinstance(error, FetchHiveError)
    assert (sent, error.maybe_processed) == (1, False)


@pytest.mark.parametrize("effect", CALLS)
@pytest.mark.parametrize("fault", [UNKNOWN["500"], UNKNOWN["reset before an answer"]], ids=["500", "reset"])
def test_runs_are_repeated_for_those_who_ask_for_it(drive, effect, fault):
    """`retry_unknown_outcome` is about runs: what creates would be there twice."""
    _, sent = make(drive, effect, fault, retry_unknown_outcome=True)

    assert sent == (1 if effect == "create" else 1 + RETRIES)


@pytest.mark.parametrize("effect", CALLS)
def test_silence_ends_a_call_of_every_effect(drive, effect):
    """The time of a call is over once for all its attempts."""
    error, sent = make(drive, effect, Fault(STALL), timeout=0.4)

    assert isinstance(error, APITimeoutError)
    assert sent == 1
    assert error.maybe_processed is (effect != "read")
