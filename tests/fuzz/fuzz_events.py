"""Feeds the event reader with what a fuzzer makes up: `nox -s fuzz`, or `python tests/fuzz/fuzz_events.py`.

Whatever the bytes are, and however they are cut, reading them gives the same events and ends well or with an error of
ours. What a run finds is committed as a test.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["fetch_hive_sdk"]):
    from fetch_hive_sdk import FetchHiveError
    from fetch_hive_sdk._deadline import Deadlines
    from fetch_hive_sdk._protocol.prompt_events import PromptTranscript, parse_event
    from fetch_hive_sdk._protocol.streaming import EventReader


def read(chunks: list[bytes]) -> tuple[list[object], str]:
    """Read a body that comes in these chunks; return its events and how it ended."""
    deadlines = Deadlines(60.0)
    deadlines.begin_attempt(streaming=True)
    deadlines.await_event()
    reader = EventReader(
        parse_event, PromptTranscript(), media_type="text/event-stream", encoding="", deadlines=deadlines
    )
    events: list[object] = []
    try:
        for chunk in chunks:
            events.extend(event.raw for event in reader.feed(chunk))
            if reader.is_done:
                break
        events.extend(event.raw for event in reader.finish())
    except FetchHiveError as error:
        return events, type(error).__name__
    return events, "complete"


def test_one_input(data: bytes) -> None:
    """Read the bytes whole, in two pieces and one by one: it must not matter."""
    provider = atheris.FuzzedDataProvider(data)
    cut = provider.ConsumeIntInRange(0, 64)
    body = provider.ConsumeBytes(len(data))
    whole = read([body])
    assert read([body[:cut], body[cut:]]) == whole
    assert read([body[place : place + 1] for place in range(len(body))]) == whole
    with suppress(FetchHiveError):
        parse_event(body)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
