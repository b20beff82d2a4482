"""The page on Django: its code runs in the real framework, against a fake service."""

from __future__ import annotations

import asyncio

import pytest

from fetch_hive_sdk.errors import StreamInterruptedError
from fetch_hive_sdk.testing import StreamScript
from recipes import Browser, Calls, configure_django, import_as, recipe, skip_unless_installed

skip_unless_installed("django")
configure_django()

from django import VERSION  # noqa: E402 - only if it is installed
from django.core.handlers.asgi import ASGIHandler  # noqa: E402 - only if it is installed
from django.test import Client, override_settings  # noqa: E402 - only if it is installed

PAGE = "frameworks/django.md"
DOCUMENT = {"text": "A long text."}

both_kinds = pytest.mark.parametrize("folder", ["", "/async"], ids=["blocking", "asyncio"])


@pytest.fixture
def module(fetch_hive):
    module = recipe(PAGE, "Django")
    with override_settings(ROOT_URLCONF=module):
        yield module


@pytest.fixture
def calls(module):
    calls = Calls()
    module.client = module.client.with_options(observers=[calls])
    return calls


def post(path: str):
    return Client().post(path, DOCUMENT, content_type="application/json")


async def visit(path: str, **options) -> Browser:
    return await asyncio.wait_for(Browser(path, DOCUMENT, **options).visit(ASGIHandler()), 20)


@both_kinds
def test_answer_is_json(module, fetch_hive, folder):
    """The view returns the text of the answer."""
    fetch_hive.answers("summarise", "Short.")

    assert post(f"{folder}/summaries").json()["summary"] == "Short."


@both_kinds
@pytest.mark.parametrize(("refusal", "status"), [(401, 502), (429, 503), (500, 502)])
def test_error_has_a_status_of_its_own(module, fetch_hive, folder, refusal, status):
    """The application does not pass on the status and the message of the service."""
    fetch_hive.fails("summarise", refusal, message="Not for users")
    module.client = module.client.with_options(max_retries=0)

    for path in ("/summaries", "/summaries/stream"):
        response = post(folder + path)

        assert response.status_code == status
        assert b"Not for users" not in response.content


def test_stream_is_passed_on(module, fetch_hive, calls):
    """The browser receives the text, and the stream is closed."""
    fetch_hive.answers("summarise", pieces=["Once ", "upon ", "a time."])

    response = post("/summaries/stream")

    assert response.getvalue() == b"Once upon a time."
    assert (len(calls.open), calls.ended) == (0, 1)


async def test_stream_is_passed_on_under_asgi(module, fetch_hive, calls):
    """The browser receives the text, and the stream is closed."""
    fetch_hive.answers("summarise", pieces=["Once ", "upon ", "a time."])

    browser = await visit("/async/summaries/stream")

    assert (browser.status, browser.text) == (200, "Once upon a time.")
    assert (len(calls.open), calls.ended) == (0, 1)


@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read halfway"])
def test_stream_is_closed_when_the_browser_leaves(module, fetch_hive, calls, is_read):
    """The server closes the response, and the call ends, although the service would have sent more."""
    fetch_hive.streams("summarise", StreamScript().text("Once ").stalls())
    response = post("/summaries/stream")
    if is_read:
        next(iter(response))
    assert len(calls.open) == 1

    response.close()

    assert (len(calls.open), calls.ended) == (0, 1)


@pytest.mark.skipif(VERSION < (5,), reason="Django 5.0 and newer notice that the browser leaves")
async def test_stream_is_closed_when_the_browser_leaves_under_asgi(module, fetch_hive, calls):
    """Django cancels the response, and the call ends."""
    fetch_hive.streams("summarise", StreamScript().text("Once ").stalls())

    await visit("/async/summaries/stream", leaves=True)

    assert (len(calls.open), calls.ended) == (0, 1)


def test_broken_stream_breaks_the_response(module, fetch_hive):
    """The error reaches the server."""
    fetch_hive.streams("summarise", StreamScript().text("Once ").breaks())

    with pytest.raises(StreamInterruptedError):
        post("/summaries/stream").getvalue()


def test_test_of_the_page_passes(module, fetch_hive, monkeypatch):
    """The test that the page shows passes, with the views of the page as `summaries.views`."""
    import_as("summaries.views", module, monkeypatch)

    recipe(PAGE, "Django test").test_refused_call(fetch_hive, monkeypatch)
