"""With any fault, a call is billed once, ends with a result or a FetchHiveError, and keeps the received data."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from dataclasses import dataclass, field
from typing import Optional

import pytest

from driving import KEY
from faults.calls import ANSWER, FAILED, HELLO, THINK, USAGE, WORLD
from faults.senders import sending
from faults.server import CLOSE, END, HALF_CLOSE, RESET, STALL, Drip, Fault, FaultServer, answer, begin, chunk, event
from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    FetchHive,
    FetchHiveError,
    InvokeResponse,
    StreamEvent,
    StreamFailedError,
)

CALLS = 500  # for each of the four tests
AT_ONCE = 10
SECONDS = 2.0


@dataclass
class Plan:
    """The server's faults for one call, and the data that the caller must receive."""

    name: str
    faults: list[Fault] = field(default_factory=list)
    text: str = ""
    has_usage: bool = False
    is_whole: bool = True
    """Whether the call may return a result."""
    request_id: Optional[str] = None
    is_reset: bool = False
    """Whether the server ends with a reset, which discards bytes that the client has not read yet."""


def make_plan(dice: random.Random, number: int, kind: str) -> Plan:
    plan = Plan(f"{kind}-{number}")
    while dice.random() < 0.3 and len(plan.faults) < 4:
        plan.faults.append(dice.choice(REFUSALS))
    plan.faults.append(stream_fault(dice, plan) if kind == "stream" else call_fault(dice))
    return plan


REFUSALS = [
    Fault(answer({"error": "x"}, "Retry-After: 0", status=f"{status} No"), *rest, refuses=True)
    for status in (408, 425, 429, 503)
    for rest in ((), (CLOSE,), (RESET,))
]
BODY = answer({**ANSWER, "request_id": "req_1"})
ENDS = [(CLOSE,), (RESET,), (HALF_CLOSE,), (STALL,), (b"\0\xffnonsense\r\n\r\n", CLOSE)]


def call_fault(dice: random.Random) -> Fault:
    """Truncate a response, change one of its bytes, send it slowly, or refuse the call."""
    cut = dice.randrange(len(BODY) + 1)
    place = dice.randrange(len(BODY))
    return dice.choice(
        [
            Fault(BODY),
            Fault(BODY, CLOSE),
            Fault(BODY[:cut], *dice.choice(ENDS)),
            Fault(BODY[:cut], *dice.choice(ENDS)),
            Fault(BODY[:place] + bytes([dice.randrange(256)]) + BODY[place + 1 :], CLOSE),
            Fault(BODY[:cut], Drip(BODY[cut:], dice.choice([0.0, 0.0005, 0.05]))),
            Fault(*dice.choice(ENDS)),
            Fault(answer({"error": "x"}, status=f"{dice.choice([500, 502, 503, 504])} No")),
            Fault(answer({"error": "x"}, status=f"{dice.choice([400, 401, 404, 422])} No"), refuses=True),
            Fault(answer({"request_id": "req_1"})),
        ]
    )


def stream_fault(dice: random.Random, plan: Plan) -> Fault:
    """Send a stream up to a random event, then end it with a random fault. Record the sent data in the plan."""
    if dice.random() < 0.2:
        return call_fault(dice)
    events = [THINK, *(HELLO, WORLD) * dice.randrange(3), USAGE]
    given = events[: dice.randrange(len(events) + 1)]
    plan.text = "".join(item["response"] for item in given if item["type"] == "response")
    plan.has_usage = USAGE in given
    plan.request_id = "req_1" if given else None
    steps = [begin(), *(step for item in given for step in dice.choice([(PING, event(item)), (event(item),)]))]
    ends = [
        (END,),
        (event("[DONE]"), END),
        (event("[DONE]"), STALL),
        (event(FAILED), END),
        (event("broken"), END),
        (event({"type": "response"}), END),
        (event({"type": "tool"}), END),
        (chunk(b'data: {"type": "respo'), END),
        (b"zz\r\n",),
        *ENDS,
    ]
    end = dice.choice(ends)
    plan.is_reset = RESET in end
    plan.is_whole = plan.has_usage or event("[DONE]") in end
    return Fault(*steps, *end)


PING = chunk(b": ping\n\n")


def check(plan: Plan, server: FaultServer, end: object, seen: list[StreamEvent]) -> None:
    """Check the outcome of a call against its plan and the server's counters."""
    assert server.runs[plan.name] <= 1, (plan, end)
    assert isinstance(end, (InvokeResponse, FetchHiveError)), (plan, end)
    if server.posts[plan.name] < len(plan.faults) and not isinstance(end, InvokeResponse):
        # The kept-alive connection of an earlier call broke during this call, or the call timed out.
        assert isinstance(end, (APIConnectionError, APIStatusError)), (plan, end)
        assert end.attempts >= server.posts[plan.name], (plan, end)
        return
    text = "".join(item.response for item in seen if item.type == "response")
    if plan.is_reset and plan.text.startswith(text) and isinstance(end, FetchHiveError):
        assert end.maybe_processed, (plan, end)
        return
    assert text.startswith(plan.text), (plan, end)
    if isinstance(end, InvokeResponse):
        assert server.runs[plan.name] == 1, (plan, end)
        assert end.response.startswith(plan.text), (plan, end)
        assert plan.is_whole, (plan, end)
        assert plan.request_id in {None, end.request_id}, (plan, end)
        return
    assert end.attempts >= server.posts[plan.name], (plan, end)
    assert end.maybe_processed >= server.runs[plan.name], (plan, end)
    assert plan.request_id in {None, end.request_id}, (plan, end)
    if plan.text:
        assert end.partial.text == plan.text, (plan, end)
    if plan.has_usage:
        assert end.partial.usage.total_tokens == 3, (plan, end)


def run_blocking(client: FetchHive, plan: Plan, kind: str, seen: list[StreamEvent]) -> object:
    try:
        if kind == "call":
            return client.invoke_prompt(deployment=plan.name)
        stream = client.invoke_prompt_stream(deployment=plan.name)
        seen.extend(stream)
        return stream.collect()
    except FetchHiveError as error:
        return error


async def run_asyncio(client: FetchHive, plan: Plan, kind: str, seen: list[StreamEvent]) -> object:
    try:
        if kind == "call":
            return await client.ainvoke_prompt(deployment=plan.name)
        stream = client.ainvoke_prompt_stream(deployment=plan.name)
        async for item in stream:
            seen.append(item)  # noqa: PERF401 - keeps the events before an exception
        return await stream.collect()
    except FetchHiveError as error:
        return error


def settings(kind: str, seed: int) -> tuple[FaultServer, list[Plan]]:
    dice = random.Random(seed)
    plans = [make_plan(dice, number, kind) for number in range(CALLS)]
    server = FaultServer()
    server.scripts.update((plan.name, list(plan.faults)) for plan in plans)
    return server, plans


ALL_SENDERS = pytest.mark.parametrize("sender", ["default", "https", "proxy", "injected", "httpx2"])


@pytest.fixture(autouse=True)
def _parametrized_sender(request, monkeypatch, tmp_path):
    """Use the senders that the parameters of a test name."""
    names = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    with contextlib.ExitStack() as stack:
        for name in {"sender", "loop"} & set(names):
            stack.enter_context(sending(names[name], monkeypatch, tmp_path))
        yield


@pytest.mark.nightly
@ALL_SENDERS
@pytest.mark.parametrize(("kind", "seed"), [("call", 1), ("stream", 2)])
def test_blocking_calls_are_billed_once_and_end(kind, seed, sender):
    """Five hundred calls from ten threads with one client."""
    server, plans = settings(kind, seed)
    waiting, failures = list(plans), []

    def work() -> None:
        while waiting:
            plan, seen = waiting.pop(), []
            try:
                check(plan, server, run_blocking(client, plan, kind, seen), seen)
            except BaseException as exc:  # noqa: BLE001 - raised again in the main thread
                failures.append(exc)

    with server, FetchHive(KEY, server.url, timeout=SECONDS) as client:
        threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for failure in failures:
        raise failure
    assert len(server.posts) > 0.9 * CALLS


@pytest.mark.nightly
@ALL_SENDERS
@pytest.mark.parametrize("loop", ["default", "uvloop"])
@pytest.mark.parametrize("kind", ["call", "stream"])
def test_asyncio_calls_are_billed_once_and_end(kind, loop, sender):
    """Five hundred calls from ten tasks with one client."""
    server, plans = settings(kind, 3 if kind == "call" else 4)
    waiting = list(plans)

    async def work() -> None:
        while waiting:
            plan, seen = waiting.pop(), []
            check(plan, server, await run_asyncio(client, plan, kind, seen), seen)

    async def main() -> None:
        nonlocal client
        async with FetchHive(KEY, server.url, timeout=SECONDS) as client:
            await asyncio.gather(*[work() for _ in range(AT_ONCE)])

    client: FetchHive
    with server:
        asyncio.run(main())

    assert len(server.posts) > 0.9 * CALLS


def test_error_event_keeps_the_received_data(drive):
    """The error of a failed run has its text, usage and request id."""
    with FaultServer(Fault(begin(), *map(event, (HELLO, USAGE, FAILED)), END)) as server:
        client = FetchHive(KEY, server.url, timeout=5)
        with pytest.raises(StreamFailedError) as caught:
            drive.collect(client, deployment="d")
        drive.close(client)

    error = caught.value
    assert (error.partial.text, error.partial.usage.total_tokens, error.request_id) == ("Hello", 3, "req_1")
    assert (error.attempts, error.maybe_processed, server.runs["d"]) == (1, True, 1)
