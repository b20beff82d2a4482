"""The page on Flask: its code runs in the real framework, against a fake service."""

from __future__ import annotations

import pytest

from fetch_hive_sdk.errors import StreamInterruptedError
from fetch_hive_sdk.testing import StreamScript
from recipes import Calls, import_as, recipe, skip_unless_installed

skip_unless_installed("flask")

PAGE = "frameworks/flask.md"
DOCUMENT = {"text": "A long text."}


@pytest.fixture
def module(fetch_hive):
    return recipe(PAGE, "Flask")


@pytest.fixture
def post(module):
    return lambda path, **options: module.app.test_client().post(path, json=DOCUMENT, **options)


@pytest.fixture
def calls(module):
    calls = Calls()
    module.client = module.client.with_options(observers=[calls])
    return calls


def test_answer_is_json(post, fetch_hive):
    """The view returns the text of the answer."""
    fetch_hive.answers("summarise", "Short.")

    assert post("/summaries").get_json()["summary"] == "Short."


@pytest.mark.parametrize(("refusal", "status"), [(401, 502), (429, 503), (500, 502)])
def test_error_has_a_status_of_its_own(module, post, fetch_hive, refusal, status):
    """The application does not pass on the status and the message of the service."""
    fetch_hive.fails("summarise", refusal, message="Not for users")
    module.client = module.client.with_options(max_retries=0)

    response = post("/summaries")

    assert response.status_code == status
    assert "Not for users" not in response.text


def test_stream_is_passed_on(post, fetch_hive, calls):
    """The browser receives the text, and the stream is closed."""
    fetch_hive.answers("summarise", pieces=["Once ", "upon ", "a time."])

    response = post("/summaries/stream")

    assert (response.status_code, response.text) == (200, "Once upon a time.")
    assert (len(calls.open), calls.ended) == (0, 1)


def test_refused_stream_is_not_an_empty_200(post, fetch_hive):
    """The error handler answers."""
    fetch_hive.fails("summarise", 422)

    assert post("/summaries/stream").status_code == 502


@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read halfway"])
def test_stream_is_closed_when_the_browser_leaves(post, fetch_hive, calls, is_read):
    """The server closes the response, and the call ends, although the service would have sent more."""
    fetch_hive.streams("summarise", StreamScript().text("Once ").stalls())
    response = post("/summaries/stream", buffered=False)
    if is_read:
        next(response.response)
    assert len(calls.open) == 1

    response.close()

    assert (len(calls.open), calls.ended) == (0, 1)


def test_broken_stream_breaks_the_response(post, fetch_hive):
    """The error reaches the server."""
    fetch_hive.streams("summarise", StreamScript().text("Once ").breaks())

    with pytest.raises(StreamInterruptedError):
        post("/summaries/stream", buffered=True)


def test_test_of_the_page_passes(module, fetch_hive, monkeypatch):
    """The test that the page shows passes, with the application of the page as `app.main`."""
    import_as("app.main", module, monkeypatch)

    recipe(PAGE, "Flask test").test_refused_call(fetch_hive, monkeypatch)
