"""Counts the work that one event and one call take, and fails when there is more of it than there was.

Counts, not seconds: they are the same on a busy machine and on a fast one. For each piece of work

* `bytecodes`: the instructions that the interpreter carries out,
* `c_calls`: the functions written in C or Rust that it calls,
* `pydantic_calls`: those among them that read, check or write JSON with Pydantic,
* `bytes`: what it leaves in memory,

are compared with `guard.json`, which has them for each version of Python. They say nothing about what happens inside
of C and Rust; with `--instructions`, valgrind counts that, too, if it is there.

    python benchmarks/guard.py                   compare
    python benchmarks/guard.py --update          take what is counted now as what is expected
    python benchmarks/guard.py --instructions    with the instructions of the processor, in a minute or two
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, NamedTuple

import httpx

from fetch_hive_sdk import FetchHive
from fetch_hive_sdk._protocol.sse import EventDecoder

EXPECTED = Path(__file__).with_suffix(".json")
PYTHON = "{}.{}".format(*sys.version_info)
SLACK = {"instructions": 1.20}  # they differ between two builds of one version of Python
USUAL_SLACK = 1.10
TIMES = 64

# --- The work --------------------------------------------------------------------------------------------------------

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "writes", "it", "down"]
EVENTS = [
    b'data: {"request_id":"req_019d5284","type":"response","model":"gpt-5-nano","response":" %b"}\n\n' % word.encode()
    for word in (WORDS * TIMES)[:TIMES]
]
LONG_EVENT = b'data: {"type":"response","response":"%b"}\n\n' % (b"x" * 255 * 1024)
ANSWER = json.dumps(
    {
        "request_id": "req_019d5284",
        "model": "gpt-5-nano",
        "duration": 4.64,
        "response": " ".join(WORDS * 5),
        "usage": {
            "prompt_tokens": {"total_tokens": 24, "cached_tokens": 0},
            "completion_tokens": {"total_tokens": 187, "reasoning_tokens": 64},
            "total_tokens": 211,
        },
        "stop_reason": "completed",
    }
).encode()
FIELDS = {"deployment": "summarise", "inputs": {"text": "A long text."}, "user": "u1", "metadata": {"team": "x"}}


def _client(answer: Callable[[httpx.Request], httpx.Response]) -> FetchHive:
    transport = httpx.Client(transport=httpx.MockTransport(answer), trust_env=False)
    return FetchHive(api_key="fhk_guard", base_url="http://localhost/v1", http_client=transport)


def _json(_request: object) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": "application/json"}, content=ANSWER)


def _stream(_request: object) -> httpx.Response:
    return httpx.Response(
        200, headers={"Content-Type": "text/event-stream"}, content=iter([*EVENTS, b"data: [DONE]\n\n"])
    )


CALLS, STREAMS = _client(_json), _client(_stream)


# What the shells ask of the protocol.
def _begin(*, streaming: bool = False):
    call = CALLS._prompt_call(None, FIELDS, streaming=streaming, timeout=None, extra_body=None)
    return call, call.begin()


def _accepted():
    call, _ = _begin()
    call.accept(_json(None))
    return call


def _parse(call) -> object:
    call.read(ANSWER)
    return call.parse()


def _reader():
    call, _ = _begin(streaming=True)
    response = _stream(None)
    call.accept(response)
    return call.event_reader(response)


def _feed(chunks: list[bytes]) -> Callable[[object], object]:
    return lambda reader: [list(reader.feed(chunk)) for chunk in chunks]


class Work(NamedTuple):
    """A piece of work: what is made for it before, and how many things it does at once."""

    prepare: Callable[[], Any]
    do: Callable[[Any], object]
    times: int = 1


PIECES = [LONG_EVENT[at : at + 1024] for at in range(0, len(LONG_EVENT), 1024)]
WORK = {
    "decode an event": Work(EventDecoder, _feed(EVENTS), TIMES),
    "decode an event, all in one chunk": Work(EventDecoder, _feed([b"".join(EVENTS)]), TIMES),
    "decode a KiB of a long event": Work(EventDecoder, _feed(PIECES), len(PIECES)),
    "read an event": Work(_reader, _feed(EVENTS), TIMES),
    "read an event, all in one chunk": Work(_reader, _feed([b"".join(EVENTS)]), TIMES),
    "build a request": Work(lambda: None, lambda _: _begin()),
    "parse an answer": Work(_accepted, _parse),
    "a call": Work(lambda: None, lambda _: CALLS.invoke_prompt(**FIELDS)),
    "a stream of 64 events": Work(lambda: None, lambda _: list(STREAMS.invoke_prompt_stream(**FIELDS))),
}

# --- Counting --------------------------------------------------------------------------------------------------------


def count(work: Work) -> dict[str, float]:
    """Return what a piece of work takes, for one of the things that it does."""
    for _ in range(3):
        work.do(work.prepare())  # what is done once only, and kept
    counters = {"bytecodes": _bytecodes, "c_calls": _c_calls, "pydantic_calls": _pydantic_calls, "bytes": _bytes}
    return {name: round(_counted(counter, work) / work.times, 1) for name, counter in counters.items()}


def _counted(counter: Callable[[Callable[[], object]], int], work: Work) -> int:
    prepared = work.prepare()
    gc.collect()
    gc.disable()
    try:
        return counter(lambda: work.do(prepared))
    finally:
        gc.enable()


def _bytecodes(work: Callable[[], object]) -> int:
    found = 0

    def step(*_: object) -> None:
        nonlocal found
        found += 1

    def trace(frame, event, _):
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            step()
        return trace

    # From Python 3.12 on, tracing misses some of them.
    monitoring = getattr(sys, "monitoring", None)
    if monitoring:
        monitoring.use_tool_id(monitoring.DEBUGGER_ID, "guard")
        monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.INSTRUCTION, step)
        monitoring.set_events(monitoring.DEBUGGER_ID, monitoring.events.INSTRUCTION)
    else:
        sys.settrace(trace)
    try:
        work()
    finally:
        if monitoring:
            monitoring.set_events(monitoring.DEBUGGER_ID, 0)
            monitoring.free_tool_id(monitoring.DEBUGGER_ID)
        else:
            sys.settrace(None)
    return found


def _c_calls(work: Callable[[], object]) -> int:
    return len(_called(work))


def _pydantic_calls(work: Callable[[], object]) -> int:
    # One of them may take longer than all the rest, and would not be seen among the C calls.
    homes = (f"{function.__module__} {type(function.__self__).__module__}" for function in _called(work))
    return sum("pydantic_core" in home for home in homes)


def _called(work: Callable[[], object]) -> list[Any]:
    found = []

    def profile(_frame, event, function) -> None:
        if event == "c_call":
            found.append(function)

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def _bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = work()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return after - before


# --- Counting the instructions of the processor ----------------------------------------------------------------------


def yardstick(_: object) -> object:
    """Do what Python code does in general: the instructions of everything else are divided by those of this."""
    words = [{"name": f"{number}", "data": b"a: b\nc: d\n\n".split(b"\n")} for number in range(200)]
    return json.loads(json.dumps([word["name"] for word in words]))


def count_instructions() -> dict[str, float]:
    """Let valgrind count; return how many thousandths of the yardstick each piece of work is."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/%p", sys.executable, __file__]
        environ = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([*command, "--under-valgrind"], capture_output=True, text=True, check=False, env=environ)
        if done.returncode:
            sys.exit(done.stderr)
        files = json.loads(done.stdout)
        counted = {name: _total(Path(folder, ten)) - _total(Path(folder, none)) for name, (none, ten) in files.items()}
    unit = counted.pop("yardstick")
    return {name: round(value / unit / WORK[name].times * 1000, 2) for name, value in counted.items()}


def _work_under_valgrind() -> None:
    """Do each piece of work no times and ten times, each in a fork: valgrind writes a file for every process."""
    files = {}
    for name, work in {"yardstick": Work(lambda: None, yardstick), **WORK}.items():
        for _ in range(5):
            work.do(work.prepare())
        prepared = [work.prepare() for _ in range(10)]
        gc.collect()
        gc.disable()
        # A fork begins with the count of this process, so nothing else may happen between the two.
        files[name] = [str(_fork(work, some)) for some in ([], prepared)]
        gc.enable()
    print(json.dumps(files))


def _fork(work: Work, prepared: list[object]) -> int:
    pid = os.fork()
    if not pid:
        for one in prepared:
            work.do(one)
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def _total(path: Path) -> int:
    (line,) = (line for line in path.read_text("utf-8").splitlines() if line.startswith("totals:"))
    return int(line.split()[1])


# --- Comparing -------------------------------------------------------------------------------------------------------


def compare(counted: dict[str, dict[str, float]], expected: dict[str, dict[str, float]]) -> list[str]:
    """Return a sentence for everything that has grown."""
    grown = []
    for work, counts in counted.items():
        before = {name: expected.get(work, {}).get(name, 0) for name in counts}
        grown += [
            f"{work}: {name} have grown by {value / before[name] - 1:.0%}, from {before[name]:,} to {value:,}"
            if before[name]
            else f"{work}: nothing is expected of its {name} yet"
            for name, value in counts.items()
            if value > before[name] * SLACK.get(name, USUAL_SLACK)
        ]
    return grown


def main() -> None:
    """Count, and compare or update."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="take what is counted now as what is expected")
    parser.add_argument("--instructions", action="store_true", help="count those of the processor, too, with valgrind")
    parser.add_argument("--under-valgrind", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.under_valgrind:
        _work_under_valgrind()
        return
    counted = {name: count(work) for name, work in WORK.items()}
    if options.instructions and not shutil.which("valgrind"):
        sys.exit("valgrind is not here: leave --instructions out, or install it")
    for name, instructions in (count_instructions() if options.instructions else {}).items():
        counted[name]["instructions"] = instructions
    _show(counted)
    everything = json.loads(EXPECTED.read_text("utf-8"))
    if options.update:
        _update(everything, counted)
        return
    if PYTHON not in everything["pythons"]:
        sys.exit(f"nothing is expected of Python {PYTHON} yet: run this with --update and commit {EXPECTED.name}")
    grown = compare(counted, everything["pythons"][PYTHON])
    if grown:
        others = [f"{name} {now}, not {was}" for name, (now, was) in _other_versions(everything).items()]
        hints = [f"Installed is {', '.join(others)}: that may be the reason."] if others else []
        update = f"If it is worth that: python benchmarks/{Path(__file__).name} --update, and commit {EXPECTED.name}."
        sys.exit("\n".join(["", *grown, "", *hints, update]))
    print("\nNothing has grown.")


def _show(counted: dict[str, dict[str, float]]) -> None:
    for work, counts in counted.items():
        print(f"{work:36}", *(f"{value:>10,.1f} {name}" for name, value in counts.items()))


def _update(everything: dict, counted: dict[str, dict[str, float]]) -> None:
    before = everything["pythons"].get(PYTHON, {})
    # Instructions that were not counted this time are still expected.
    everything["pythons"][PYTHON] = {work: {**before.get(work, {}), **counts} for work, counts in counted.items()}
    everything["pythons"] = dict(sorted(everything["pythons"].items(), key=lambda item: int(item[0].split(".")[1])))
    EXPECTED.write_text(json.dumps(everything, indent=1) + "\n", "utf-8")
    print(f"\n{EXPECTED.name} has them for Python {PYTHON} now.")


def _other_versions(everything: dict) -> dict[str, tuple[str, str]]:
    versions = {name: (metadata.version(name), was) for name, was in everything["versions"].items()}
    return {name: (now, was) for name, (now, was) in versions.items() if now != was}


if __name__ == "__main__":
    main()
