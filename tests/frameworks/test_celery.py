"""The page on Celery: its tasks run in the real package, in a worker and eagerly, against a fake service."""

from __future__ import annotations

import pytest

from fetch_hive_sdk import APIConnectionError, UnprocessableEntityError
from fetch_hive_sdk.testing import Fault, Refusal
from recipes import import_as, recipe, skip_unless_installed

skip_unless_installed("celery")

from celery import Celery  # noqa: E402 - only if it is installed
from celery.contrib.testing.worker import start_worker  # noqa: E402 - only if it is installed

PAGE = "frameworks/celery.md"


@pytest.fixture(scope="module")
def module():
    """The module of the page. Celery registers a task once in a process."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FETCH_HIVE_API_KEY", "fhk_docs")
        environment.setenv("CELERY_BROKER_URL", "memory://")
        environment.setenv("CELERY_RESULT_BACKEND", "cache+memory://")
        module = recipe(PAGE, "Celery")

    @module.app.task(name="unchanged")
    def summarise_unchanged() -> str:
        return module.client.invoke_prompt(deployment="summarise").response

    module.summarise_unchanged = summarise_unchanged
    return module


@pytest.fixture(scope="module")
def _running(module):
    """A worker in a thread, with a broker in memory. It takes seconds to stop."""
    with start_worker(module.app, pool="solo", perform_ping_check=False, loglevel="critical"):
        yield


@pytest.fixture
def worker(module, fetch_hive, monkeypatch, _running):
    """The worker, with a client that leaves all retries to it."""
    monkeypatch.setattr(module, "client", fetch_hive.client.with_options(max_retries=0))


def error_of(result) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the question
        result.get(timeout=20)
    return caught.value


@pytest.mark.usefixtures("worker")
def test_retried_task_succeeds(module, fetch_hive):
    """A refused call is sent again, by a message through the broker, with the same task id."""
    fetch_hive.answers("summarise", [Refusal(429, headers={"Retry-After": "0"}), "Short."])

    result = module.summarise.delay("A long text.")

    assert result.get(timeout=20) == "Short."
    assert [call.metadata for call in fetch_hive.calls] == [{"task_id": result.id}] * 2


def test_long_wait_is_cut(module, fetch_hive, monkeypatch):
    """A countdown longer than the visibility timeout of the broker would deliver the task twice."""
    countdowns = []

    def retry(exc, countdown):
        countdowns.append(countdown)
        return exc

    monkeypatch.setattr(module, "client", fetch_hive.client.with_options(max_retries=0))
    monkeypatch.setattr(module.summarise, "retry", retry)
    fetch_hive.answers("summarise", [Refusal(429, headers={"Retry-After": "7200"})])

    with pytest.raises(module.SummaryError):
        module.summarise("A long text.")

    assert countdowns == [900]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("failure", [Fault.BREAK, Refusal(500)], ids=["lost answer", "server error"])
def test_run_that_may_have_happened_is_not_repeated(module, fetch_hive, failure):
    """The error arrives as JSON, and still has what is needed to look up the run."""
    fetch_hive.answers("summarise", [failure, "Short."])

    error = error_of(module.summarise.delay("A long text."))

    assert isinstance(error, module.SummaryError)
    assert error.maybe_processed
    assert len(fetch_hive.calls) == 1


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("failure", [Refusal(401), Refusal(422)], ids=["401", "422"])
def test_refusal_that_cannot_pass_is_not_repeated(module, fetch_hive, failure):
    """A wrong key stays wrong."""
    fetch_hive.answers("summarise", [failure, "Short."])

    assert not error_of(module.summarise.delay("A long text.")).maybe_processed
    assert len(fetch_hive.calls) == 1


@pytest.mark.usefixtures("worker")
def test_json_keeps_only_the_message(module, fetch_hive):
    """As the page states; an error that lost its facts does not say that a second call is safe."""
    fetch_hive.answers("summarise", [Refusal(422, message="Too long"), Fault.BREAK])

    refusal = error_of(module.summarise_unchanged.delay())
    broken = error_of(module.summarise_unchanged.delay())

    assert type(refusal) is Exception
    assert "UnprocessableEntityError" in str(refusal)
    assert "Too long" in str(refusal)
    assert type(broken) is APIConnectionError
    assert broken.maybe_processed


def test_pickle_keeps_everything(fetch_hive):
    """With the settings of the page, the error arrives complete."""
    app = Celery("pickled", broker="memory://", backend="cache+memory://")
    app.conf.task_default_queue = "pickled"  # not that of the other worker
    recipe(PAGE, "Celery pickle", app=app)
    fetch_hive.fails("summarise", 422, message="Too long")

    @app.task(name="pickled", shared=False)
    def summarise() -> str:
        return fetch_hive.client.invoke_prompt(deployment="summarise").response

    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="critical"):
        error = error_of(summarise.delay())

    assert type(error) is UnprocessableEntityError
    assert error.response.json()["error"] == "Too long"


@pytest.mark.parametrize("name", ["test_busy_service_is_called_again", "test_nothing_is_paid_for_twice"])
def test_test_of_the_page_passes(module, fetch_hive, monkeypatch, name):
    """The tests that the page shows pass, with the module of the page as `summaries.tasks`."""
    import_as("summaries.tasks", module, monkeypatch)
    page = recipe(PAGE, "Celery test")
    page._tasks_run_here.__wrapped__(fetch_hive, monkeypatch)

    getattr(page, name)(fetch_hive)

    module.app.conf.task_always_eager = False
