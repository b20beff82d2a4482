"""The same faults over aiohttp: `pytest tests/faults --async-transport=aiohttp -k "not blocking"`."""

from __future__ import annotations

import functools

import pytest

from fetch_hive_sdk import FetchHive

# What aiohttp does otherwise; docs/performance.md tells it.
HEADLESS = "aiohttp forgets the head of an answer if what came with it in one packet is broken"
DIFFERENCES = {
    "test_a_broken_answer_keeps_what_came[asyncio-broken chunk-call]": HEADLESS,
    "test_an_answer_that_is_not_as_promised_is_reported[asyncio-length too small-call]": HEADLESS,
    "test_a_stream_that_breaks_off_is_interrupted[asyncio-broken chunk-stream]": HEADLESS,
    "test_a_stream_that_does_not_end_is_closed[asyncio-broken]": HEADLESS,
}


def pytest_addoption(parser):
    parser.addoption("--async-transport", choices=["httpx", "aiohttp"], default="httpx")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--async-transport") == "httpx":
        return
    for item in items:
        if item.path.name == "test_life.py":
            item.add_marker(pytest.mark.skip(reason="looks into the connections of our own"))
        if item.name in DIFFERENCES:
            # Not strict: what comes in one packet is up to the system.
            item.add_marker(pytest.mark.xfail(reason=DIFFERENCES[item.name], strict=False))


@pytest.fixture
def async_transport(request):
    """What asyncio calls are sent with."""
    return request.config.getoption("--async-transport")


@pytest.fixture(autouse=True)
def _use_transport(async_transport, monkeypatch):
    """Every client that has no injected one sends asyncio calls with the transport that was asked for."""
    make = FetchHive.__init__

    @functools.wraps(make)
    def make_with_transport(self, *args, **options):
        if options.get("async_http_client") is None:
            options.setdefault("async_transport", async_transport)
        make(self, *args, **options)

    if async_transport != "httpx":
        monkeypatch.setattr(FetchHive, "__init__", make_with_transport)
