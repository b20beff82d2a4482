"""Fixtures for all tests."""

from __future__ import annotations

import asyncio
import shutil
import signal

import hypothesis
import pytest

from driving import Asyncio, Blocking

# Examples have no deadline, because the machine may be busy.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# With no loop set, pytest-asyncio would create one, which the next `asyncio.run` would drop without closing it.
asyncio.set_event_loop(None)

# Signals that a shell ignores for what it starts in the background (`&`, `nohup`) are ignored here, too, but not in the
# programs that the tests start: those do not inherit a handler.
for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda number, frame: None)


def pytest_addoption(parser):
    parser.addoption(
        "--sender", default="default", help="the HTTP client for the fault suite: see tests/faults/senders.py"
    )


@pytest.fixture(params=[Blocking(), Asyncio()], ids=["blocking", "asyncio"])
def drive(request):
    """The driver of the blocking client, then that of the asyncio client."""
    return request.param


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    """Remove API keys, URLs and proxies from the environment of the tests."""
    for name in ("FETCH_HIVE_API_KEY", "FETCH_HIVE_BASE_URL", "FETCH_HIVE_WORKSPACE_ID", "FETCH_HIVE_LOG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


# --- Browser ----------------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Not for the session: while playwright runs, no other event loop can run in this thread.
@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, if it and playwright are installed."""
    api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("the browser tests need chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()
