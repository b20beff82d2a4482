"""Makes calls to the fault server with either client, and records results, durations and leaked secrets."""

from __future__ import annotations

import asyncio
import pickle
import time
import traceback
from dataclasses import dataclass, field
from typing import Optional

from driving import KEY, Blocking
from faults.server import END, Fault, answer, begin, event
from fetch_hive_sdk import APIStatusError, FetchHive, FetchHiveError, InvokeResponse, StreamEvent

PROMPT = "confidential-input"
ANSWER_TEXT = "Hello world"

ANSWER = {"response": ANSWER_TEXT, "request_id": "req_1", "usage": {"total_tokens": 3}, "stop_reason": "completed"}
THINK = {"type": "reasoning", "response": "Hm.", "request_id": "req_1"}
HELLO = {"type": "response", "response": "Hello", "request_id": "req_1"}
WORLD = {"type": "response", "response": " world", "request_id": "req_1"}
USAGE = {"type": "usage", "usage": {"total_tokens": 3}, "request_id": "req_1", "stop_reason": "completed"}
FAILED = {"type": "error", "message": "provider down", "error_code": "provider_error", "request_id": "req_1"}

GOOD = Fault(answer(ANSWER))
GOOD_STREAM = Fault(begin(), *map(event, (THINK, HELLO, WORLD, USAGE, "[DONE]")), END)


@dataclass
class Outcome:
    """The outcome of a call."""

    result: Optional[InvokeResponse] = None
    events: list[StreamEvent] = field(default_factory=list)
    error: Optional[FetchHiveError] = None
    seconds: float = 0.0

    @property
    def text(self) -> str:
        if self.result is not None:
            return self.result.response
        return "".join(event.response for event in self.events if event.type == "response")


def attempt(drive, client: FetchHive, *, stream: bool = False, collect: bool = False, **fields: object) -> Outcome:
    """Make a call. Exceptions other than `FetchHiveError` propagate and fail the test."""
    fields = {"deployment": "d", "inputs": {"text": PROMPT}, **fields}
    outcome = Outcome()
    begun = time.monotonic()
    try:
        if collect:
            outcome.result = drive.collect(client, **fields)
        elif stream:
            drive.events(client, outcome.events, **fields)
        else:
            outcome.result = drive.invoke(client, **fields)
    except FetchHiveError as error:
        outcome.error = error
    outcome.seconds = time.monotonic() - begun
    return outcome


def in_a_row(drive, client: FetchHive, *kinds: str, seconds: Optional[list[float]] = None) -> list[object]:
    """Make calls one after the other in one event loop, close the client, and return the results or errors."""
    times = [] if seconds is None else seconds

    def blocking() -> list[object]:
        ends = []
        for kind in kinds:
            begun = time.monotonic()
            try:
                if kind == "stream":
                    ends.append(client.invoke_prompt_stream(deployment="d").collect())
                else:
                    ends.append(client.invoke_prompt(deployment="d"))
            except FetchHiveError as error:
                ends.append(error)
            times.append(time.monotonic() - begun)
        client.close()
        return ends

    async def asynchronous() -> list[object]:
        ends = []
        for kind in kinds:
            begun = time.monotonic()
            try:
                if kind == "stream":
                    ends.append(await client.ainvoke_prompt_stream(deployment="d").collect())
                else:
                    ends.append(await client.ainvoke_prompt(deployment="d"))
            except FetchHiveError as error:
                ends.append(error)
            times.append(time.monotonic() - begun)
        await client.aclose()
        return ends

    return blocking() if isinstance(drive, Blocking) else asyncio.run(asynchronous())


def everything_shown_by(error: BaseException, *, local_variables: bool = True) -> str:
    """Return all that a log, a crash report or a pickle could show of an error, including its chain and locals."""
    report = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=local_variables)
    parts = ["".join(report.format()), pickle.dumps(error).decode("latin-1")]
    link: Optional[BaseException] = error
    while link is not None:
        parts += [str(link), repr(link), repr(link.args), _state(link)]
        link = link.__cause__ or link.__context__
    return "\n".join(parts)


def _state(error: BaseException) -> str:
    parts = [repr(vars(error))]
    request = vars(error).get("_request")
    if request is not None:
        parts.append(repr(dict(request.headers.multi_items())))
    if isinstance(error, APIStatusError):
        parts.append(repr(error.response.headers.multi_items()))
        parts.append(repr(error.response.request.headers.multi_items()))
        parts.append(error.response.text)
    return "\n".join(parts)


def assert_keeps_the_key(error: BaseException, *, local_variables: bool = True) -> None:
    """Assert that no part of an error contains the API key."""
    shown = everything_shown_by(error, local_variables=local_variables)
    place = shown.find(KEY[4:])
    assert place < 0, shown[max(place - 500, 0) : place + 100]
