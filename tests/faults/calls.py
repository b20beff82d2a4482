"""One call against the fault server, from either client: how it ended, how long it took, what it gave away."""

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

PROMPT = "what-nobody-else-may-read"
SAID = "Hello world"

ANSWER = {"response": SAID, "request_id": "req_1", "usage": {"total_tokens": 3}, "stop_reason": "completed"}
THINK = {"type": "reasoning", "response": "Hm.", "request_id": "req_1"}
HELLO = {"type": "response", "response": "Hello", "request_id": "req_1"}
WORLD = {"type": "response", "response": " world", "request_id": "req_1"}
USAGE = {"type": "usage", "usage": {"total_tokens": 3}, "request_id": "req_1", "stop_reason": "completed"}
FAILED = {"type": "error", "message": "provider down", "error_code": "provider_error", "request_id": "req_1"}

GOOD = Fault(answer(ANSWER))
GOOD_STREAM = Fault(begin(), *map(event, (THINK, HELLO, WORLD, USAGE, "[DONE]")), END)


@dataclass
class Outcome:
    """How a call ended."""

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
    """Make a call. Whatever it raises that is no error of ours goes up, and fails the test."""
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
    """Make calls one after the other, in one event loop; return their results or errors, then close the client."""
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


def everything_about(error: BaseException, *, local_variables: bool = True) -> str:
    """Return all that a log, a crash report or a pickle could show of an error, chain and local variables included."""
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
    """The key is nowhere in an error, whatever happened."""
    shown = everything_about(error, local_variables=local_variables)
    place = shown.find(KEY[4:])
    assert place < 0, shown[max(place - 500, 0) : place + 100]
