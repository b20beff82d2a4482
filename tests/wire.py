"""Sample data for the tests of the protocol."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import httpx

from fetch_hive_sdk._config import read_config

KEY = "fh_live_0123456789/abc"
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=timezone.utc)
BOM = b"\xef\xbb\xbf"
PIECE = 64 * 1024
ANSWER = {
    "request_id": "req_1",
    "model": "gpt-5-nano",
    "duration": 1.25,
    "reasoning": "Let me think. Done.",
    "response": "Hello, bees.",
    "usage": {
        "prompt_tokens": {"total_tokens": 10, "cached_tokens": 2},
        "completion_tokens": {"total_tokens": 20, "reasoning_tokens": 5},
        "total_tokens": 30,
    },
    "stop_reason": "completed",
}
EVENTS = [
    {"type": "reasoning", "request_id": "req_1", "model": "gpt-5-nano", "response": "Let me think. "},
    {"type": "reasoning", "request_id": "req_1", "model": "gpt-5-nano", "response": "Done."},
    {"type": "response", "request_id": "req_1", "model": "gpt-5-nano", "response": "Hello, "},
    {"type": "response", "request_id": "req_1", "model": "gpt-5-nano", "response": "bees."},
    {
        "type": "usage",
        "request_id": "req_1",
        "usage": {**ANSWER["usage"], "duration": 1.25},
        "stop_reason": "completed",
    },
]
HELLO = {"type": "response", "response": "Hello"}
USAGE = {"type": "usage", "usage": {"total_tokens": 3}}
DONE = b"data: [DONE]\n\n"
REQUEST = httpx.Request("POST", "https://api.test/v1/prompt/invoke", headers={"Authorization": f"Bearer {KEY}"})


def config(**settings):
    return read_config(**{"api_key": KEY, "base_url": "https://api.test/v1", "environ": {}, **settings})


def as_json(value):
    return json.dumps(value, ensure_ascii=False).encode()


def as_sse(*events):
    return b"".join(b"data: " + as_json(event) + b"\n\n" for event in events)


def pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


def read_stream(reader, chunks):
    """Read a stream as the clients do."""
    events = []
    for chunk in chunks:
        events += reader.feed(chunk)
        if reader.is_done:
            break
    events += reader.finish()
    return events


def raws(events):
    return [event.raw for event in events]
