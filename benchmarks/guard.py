"""Count the work of an event, a call and an import, and fail if one of them has grown by more than a quarter.

It counts the bytecode instructions that Python executes, because that count does not depend on the load of the machine.
It cannot see work inside C and Rust code. `guard.json` has the expected figures, and the versions of httpx and Pydantic
for which they were counted, with Python 3.11.

    python benchmarks/guard.py            compare
    python benchmarks/guard.py --update   write the new figures to guard.json
"""

from __future__ import annotations

import inspect
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Callable

import httpx

from fetch_hive_sdk import FetchHive

EXPECTED = Path(__file__).with_suffix(".json")
ROOM = 1.25
FEW, MANY = 64, 128

EVENT = b'data: {"request_id":"req_1","type":"response","model":"gpt-5-nano","response":" word"}\n\n'
ANSWER = {
    "request_id": "req_1",
    "model": "gpt-5-nano",
    "duration": 4.64,
    "response": "the quick brown fox jumps over a lazy dog",
    "usage": {
        "prompt_tokens": {"total_tokens": 24, "cached_tokens": 0},
        "completion_tokens": {"total_tokens": 187, "reasoning_tokens": 64},
        "total_tokens": 211,
    },
    "stop_reason": "completed",
}


def answer(request: httpx.Request) -> httpx.Response:
    """Answer with JSON, or with the number of events in the inputs of the call."""
    body = json.loads(request.content)
    if not body.get("streaming"):
        return httpx.Response(200, json=ANSWER)
    events = iter([*[EVENT] * body["inputs"]["events"], b"data: [DONE]\n\n"])
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=events)


def count(work: Callable[[], object]) -> int:
    """Return the number of instructions executed."""
    found = 0

    def trace(frame, event, _):
        nonlocal found
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        found += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return found


def count_warm(work: Callable[[], object]) -> int:
    """Do the work once before counting it, so that caches are filled."""
    work()
    return count(work)


def count_import() -> int:
    """Count the import in a new process that has already imported httpx and Pydantic."""
    lines = [
        "from __future__ import annotations",
        "import sys, httpx, pydantic",
        inspect.getsource(count),
        "print(count(lambda: __import__('fetch_hive_sdk').FetchHive))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


def count_all() -> dict[str, int]:
    """Return the three figures."""
    with httpx.Client(transport=httpx.MockTransport(answer)) as http_client:
        client = FetchHive("fhk_guard", "http://localhost/v1", http_client=http_client)

        def stream(events: int) -> None:
            list(client.invoke_prompt_stream(deployment="summarise", inputs={"events": events}))

        few, many = (count_warm(lambda events=events: stream(events)) for events in (FEW, MANY))
        call = count_warm(lambda: client.invoke_prompt(deployment="summarise", inputs={"text": "A long text."}))
    return {"an event": (many - few) // (MANY - FEW), "a call": call, "an import": count_import()}


def main() -> None:
    """Count, and compare or update."""
    expected = json.loads(EXPECTED.read_text("utf-8"))
    if platform.python_version_tuple()[:2] != ("3", "11"):
        sys.exit("the guard needs Python 3.11, for which its figures were counted")
    counted = count_all()
    if "--update" in sys.argv:
        expected = {"versions": {name: metadata.version(name) for name in ("httpx", "pydantic")}, "bytecodes": counted}
        EXPECTED.write_text(json.dumps(expected, indent=1) + "\n", "utf-8")
    has_grown = False
    for name, now in counted.items():
        before = expected["bytecodes"][name]
        has_grown |= now > before * ROOM
        print(f"{name}: {now:,} instructions, {before:,} expected")
    if has_grown:
        sys.exit(f"more than {ROOM:.0%} of the expected work; if the change is worth it: nox -s guard -- --update")


if __name__ == "__main__":
    main()
