"""How often a call of each effect is sent for each fault. Retries never repeat a paid or creating call by accident."""

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
    "run, by a decision": ("approvals.decide", ("ap", "allow_once"), {}),
    "create": ("knowledge_bases.create", (), {"name": "n"}),
    "settle": ("agents.update", ("a",), {"name": "n"}),
    "settle, by deletion": ("agents.delete", ("a",), {}),
    "read": ("agents.get", ("a",), {}),
}
RETRIED = {"settle", "settle, by deletion", "read"}
RUNS = {"run", "run, by a decision"}

# Responses which state that the call was not processed: retried for every effect.
UNPROCESSED = {
    "429": Fault(answer({"error": "slow down"}, "Retry-After: 0", status="429 X")),
    "503 with Retry-After": Fault(answer({"error": "busy"}, "Retry-After: 0", status="503 X")),
    "408": Fault(answer({"error": "late"}, status="408 X")),
    "425": Fault(answer({"error": "early"}, status="425 X")),
}
# Faults after which the outcome of the call is unknown.
UNKNOWN = {
    "reset before a response": Fault(RESET),
    "closed before a response": Fault(CLOSE),
    "500": Fault(answer({"error": "oops"}, status="500 X")),
    "502, a page": Fault(b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<br>"),
    "503 bare": Fault(answer({"error": "busy"}, status="503 X")),
    "504": Fault(answer({"error": "late"}, status="504 X")),
    "truncated response": Fault(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", CLOSE),
    "reset in the response": Fault(begin(), chunk(b"{"), RESET),
}
# Responses that a retry cannot change.
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
    """Make a call. Return its result or error, and the number of requests."""
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
@pytest.mark.parametrize("fault", UNPROCESSED.values(), ids=UNPROCESSED)
def test_unprocessed_calls_are_retried(drive, effect, fault):
    """The service reports that it did not process the call."""
    error, sent = make(drive, effect, fault)

    assert isinstance(error, FetchHiveError)
    assert (sent, error.attempts, error.maybe_processed) == (1 + RETRIES, 1 + RETRIES, False)


@pytest.mark.parametrize("effect", CALLS)
@pytest.mark.parametrize("fault", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_outcome_is_retried_only_if_safe(drive, effect, fault):
    """Calls that read or settle are retried, calls that run or create are not. Only reads have no effect."""
    error, sent = make(drive, effect, fault)

    assert isinstance(error, FetchHiveError)
    assert sent == error.attempts == (1 + RETRIES if effect in RETRIED else 1)
    assert error.maybe_processed is (effect != "read")
    assert_keeps_the_key(error)


@pytest.mark.parametrize("effect", CALLS)
@pytest.mark.parametrize("fault", FINAL.values(), ids=FINAL)
def test_final_error_is_not_retried(drive, effect, fault):
    """For any effect of the call."""
    error, sent = make(drive, effect, fault)

    assert isinstance(error, FetchHiveError)
    assert (sent, error.maybe_processed) == (1, False)


@pytest.mark.parametrize("effect", CALLS)
@pytest.mark.parametrize("fault", [UNKNOWN["500"], UNKNOWN["reset before a response"]], ids=["500", "reset"])
def test_retry_unknown_outcome_applies_to_runs(drive, effect, fault):
    """`retry_unknown_outcome` applies to runs, but not to creating calls, which would create duplicates."""
    _, sent = make(drive, effect, fault, retry_unknown_outcome=True)

    assert sent == (1 if effect == "create" else 1 + RETRIES)


@pytest.mark.parametrize("effect", CALLS)
def test_timeout_applies_to_every_effect(drive, effect):
    """One timeout covers all attempts of a call."""
    error, sent = make(drive, effect, Fault(STALL), timeout=0.4)

    assert isinstance(error, APITimeoutError)
    assert sent == 1
    assert error.maybe_processed is (effect != "read")
