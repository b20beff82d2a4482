"""The pages on FastAPI and Starlette: their code runs in the real frameworks, against a fake service."""

from __future__ import annotations

import asyncio
import re

import pytest

from fetch_hive_sdk.testing import StreamScript
from recipes import Browser, Calls, import_as, recipe, skip_unless_installed

skip_unless_installed("fastapi")

import starlette.requests  # noqa: E402 - only if it is installed

PAGE = "frameworks/fastapi.md"
DOCUMENT = {"text": "A long text."}


@pytest.fixture(params=["FastAPI", "Starlette"])
def module(request, fetch_hive):
    return recipe(PAGE, request.param)


@pytest.fixture
def fastapi_module(fetch_hive):
    return recipe(PAGE, "FastAPI")


def watch(module) -> Calls:
    calls = Calls()
    module.client = module.client.with_options(observers=[calls])
    return calls


async def visit(module, path: str, **options) -> Browser:
    return await asyncio.wait_for(Browser(path, DOCUMENT, **options).visit(module.app), 20)


async def test_answer_is_json(fastapi_module, fetch_hive):
    """The endpoint returns the text and the request id of the answer."""
    fetch_hive.answers("summarise", "Short.")

    browser = await visit(fastapi_module, "/summaries")

    assert browser.status == 200
    assert '"summary":"Short."' in browser.text
    assert [call.inputs for call in fetch_hive.calls] == [DOCUMENT]


@pytest.mark.parametrize(("refusal", "status"), [(401, 502), (429, 503), (500, 502)])
async def test_error_has_a_status_of_its_own(fastapi_module, fetch_hive, refusal, status):
    """The application does not pass on the status and the message of the service."""
    fetch_hive.fails("summarise", refusal, message="Not for users")
    fastapi_module.client = fastapi_module.client.with_options(max_retries=0)

    browser = await visit(fastapi_module, "/summaries")

    assert browser.status == status
    assert "Not for users" not in browser.text


async def test_stream_is_passed_on(module, fetch_hive):
    """The browser receives the text, and the stream is closed."""
    fetch_hive.answers("summarise", pieces=["Once ", "upon ", "a time."])
    calls = watch(module)

    browser = await visit(module, "/summaries/stream")

    assert (browser.status, browser.text) == (200, "Once upon a time.")
    assert (len(calls.open), calls.ended) == (0, 1)


async def test_refused_stream_is_not_an_empty_200(module, fetch_hive):
    """The exception handler answers: the status was not sent yet."""
    fetch_hive.fails("summarise", 422)

    browser = await visit(module, "/summaries/stream")

    assert browser.status == 502
    assert "not available" in browser.text


STORY = StreamScript().text("Once ").pause(0.2).text("upon ").stalls()


async def test_stream_is_closed_when_the_browser_leaves(module, fetch_hive):
    """The server reports the disconnect, and the call ends, although the service would have sent more."""
    fetch_hive.streams("summarise", STORY)
    calls = watch(module)

    await visit(module, "/summaries/stream", leaves=True)

    assert (len(calls.open), calls.ended) == (0, 1)


async def test_stream_is_closed_when_the_next_piece_cannot_be_sent(module, fetch_hive):
    """From ASGI 2.4 on, a failed `send` reports the disconnect."""
    fetch_hive.streams("summarise", STORY)
    calls = watch(module)

    with pytest.raises(starlette.requests.ClientDisconnect):
        await visit(module, "/summaries/stream", leaves=True, spec_version="2.4")

    assert (len(calls.open), calls.ended) == (0, 1)


async def test_broken_stream_breaks_the_response(module, fetch_hive):
    """The server sees an error, and so cuts the connection to the browser."""
    fetch_hive.streams("summarise", StreamScript().text("Once ").breaks())
    browser = Browser("/summaries/stream", DOCUMENT)

    with pytest.raises(RuntimeError, match="response already started"):
        await browser.visit(module.app)

    assert (browser.status, browser.text) == (200, "Once ")


async def test_events_end_with_the_usage(fastapi_module, fetch_hive):
    """The browser receives each piece as an event, then one last event."""
    fetch_hive.answers("summarise", pieces=["Once\n", "upon"])

    browser = await visit(fastapi_module, "/summaries/events?text=long")

    assert browser.text.startswith('event: text\ndata: "Once\\n"\n\nevent: text\ndata: "upon"\n\nevent: done\n')


async def test_events_end_with_the_failure(fastapi_module, fetch_hive):
    """A stream that breaks off ends with the event `failed`."""
    fetch_hive.streams("summarise", StreamScript().text("Once ").breaks())

    browser = await visit(fastapi_module, "/summaries/events?text=long")

    assert re.findall("event: (.*)", browser.text) == ["text", "failed"]


def test_test_of_the_page_passes(fastapi_module, fetch_hive, monkeypatch):
    """The test that the page shows passes, with the application of the page as `app.main`."""
    import_as("app.main", fastapi_module, monkeypatch)

    recipe(PAGE, "FastAPI test").test_refused_call(fetch_hive, monkeypatch)
