"""`Job.run` and `Job.arun` with an in-process service: what they send, what they record, and when they stop."""

from __future__ import annotations

import asyncio
import io
import json
import random
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from contextvars import ContextVar

import httpx
import pytest

from driving import KEY
from fetch_hive_sdk import (
    AuthenticationError,
    BulkError,
    ConfigurationError,
    FetchHive,
    InvokeRequest,
    InvokeResponse,
    prompt,
)
from fetch_hive_sdk.bulk import Budget, BulkReport, Job, JournalError, RowError
from fetch_hive_sdk.telemetry import Observer

OK = {"response": "Short.", "request_id": "req_1", "usage": {"total_tokens": 10}}


class Service:
    """An in-process service that answers by the text of a row and counts its runs."""

    def __init__(self, **scripts):
        self.scripts = {text: list(script) for text, script in scripts.items()}
        self.default = httpx.Response(200, json=OK)
        self.calls = Counter()
        self.under_way = self.peak = 0
        self.delay = 0.0
        self.hung = 0  # calls that wait for a minute
        self.lock = threading.Lock()

    @property
    def total(self):
        return sum(self.calls.values())

    async def __call__(self, request):
        fields = json.loads(request.content)
        text = str(fields.get("inputs", {}).get("text"))
        self.calls[text] += 1
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        self.hung += self.delay == 60
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.under_way -= 1
        script = self.scripts.get(text)
        answer = self.default if not script else script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    async def until(self, number):
        while self.total < number:  # noqa: ASYNC110 - the service has no event to await
            await asyncio.sleep(0.01)

    def client(self, **options):
        transport = httpx.MockTransport(self)
        return FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=transport), **options)


def refusal(status, code=None, **headers):
    return httpx.Response(
        status,
        json={"error": "no", "error_code": code},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def requests(*texts):
    return [InvokeRequest(deployment="d", inputs={"text": text}) for text in texts]


def numbered(count):
    return requests(*map(str, range(count)))


@pytest.fixture(params=["run", "arun"])
def start(request):
    """`Job.run`, then `Job.arun` in a new event loop."""

    def start(job, *args, **options):
        options.setdefault("progress", False)
        if request.param == "run":
            return job.run(*args, **options)
        return asyncio.run(job.arun(*args, **options))

    return start


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job.db")


def states(job):
    return {item.request.inputs["text"]: item.state for item in job.results()}


def check_sum(report):
    assert report.done + report.rejected + report.failed + report.in_doubt + report.pending == report.rows


# --- What is sent -----------------------------------------------------------------------------------------------------


_span = ContextVar("span", default="none")


class Parents(Observer):
    """Records the current span of each call, as `OpenTelemetry` does."""

    def __init__(self):
        self.seen = []

    def call_started(self, event):
        self.seen.append(_span.get())


def test_calls_belong_to_the_context_of_the_caller(start, job):
    """So their spans are children of the caller's span."""
    parents = Parents()
    token = _span.set("job")

    start(job, Service().client(observers=[parents]), numbered(3))
    _span.reset(token)

    assert parents.seen == ["job"] * 3


def test_each_row_is_run_once(start, job):
    """A job runs its rows and keeps the answers in the order of the input. The second run sends nothing."""
    service = Service()

    report = start(job, service.client(), numbered(100))
    again = start(job, service.client(), numbered(100))

    assert (report.done, report.rows, report.tokens, report.is_exhausted, report.stopped) == (
        100,
        100,
        1000,
        True,
        None,
    )
    assert (again.done, again.rows, again.is_exhausted) == (100, 100, True)
    assert service.total == 100
    items = list(job.results())
    assert [item.row for item in items] == list(range(1, 101))
    assert [item.request.inputs["text"] for item in items] == list(map(str, range(100)))
    assert all(isinstance(item.response, InvokeResponse) and item.response.raw == OK for item in items)
    assert {(item.request_id, item.attempts, item.error) for item in items} == {("req_1", 1, None)}


def test_equal_rows_are_run_separately(start, job):
    """A request that occurs three times is run three times, and not again by the next run."""
    service = Service()

    start(job, service.client(), requests("a", "b", "a", "a"))
    start(job, service.client(), requests("a", "b", "a", "a"))
    start(job, service.client(), requests("a", "a", "a", "a"))

    assert service.calls == {"a": 4, "b": 1}
    assert len({item.key for item in job.results()}) == 5


def test_equal_rows_are_counted_over_all_batches(start, job):
    """300 equal rows are run 300 times, in batches of any size."""
    service = Service()

    start(job, service.client(), requests(*["a"] * 300), max_concurrency=7)
    report = start(job, service.client(), requests(*["a"] * 300))

    assert service.calls == {"a": 300}
    assert report.rows == 300


def test_mappings_are_read_by_columns(start, job):
    """For rows that are mappings, the variables and the key are taken from columns."""
    service = Service()
    rows = [{"id": 7, "body": "a", "other": "x"}, {"id": 8, "body": "b", "other": "y"}]

    start(job, service.client(), rows, deployment="d", variant="v", inputs={"text": "body"}, key="id")

    items = list(job.results())
    assert [item.key for item in items] == ["7", "8"]
    assert items[0].request == InvokeRequest(deployment="d", variant="v", inputs={"text": "a"})


def test_by_default_all_columns_except_the_key_are_variables(start, job):
    """The key column is not a variable of the prompt."""
    start(job, Service().client(), [{"id": "1", "text": "a"}], deployment="d", key="id")

    assert [item.request.inputs for item in job.results()] == [{"text": "a"}]


def test_a_key_may_be_a_function_of_the_row(start, job):
    """The function receives the row as it is in the input."""
    start(job, Service().client(), requests("a", "b"), key=lambda request: request.inputs["text"] * 2)

    assert [item.key for item in job.results()] == ["aa", "bb"]


def test_asynchronous_rows(start, job):
    """Rows may be an asynchronous iterable that pauses between rows."""
    service = Service()

    async def rows():
        for request in numbered(30):
            if request.inputs["text"] in {"0", "17"}:
                await asyncio.sleep(0.02)
            yield request

    report = start(job, service.client(), rows())

    assert (report.done, service.total) == (30, 30)


def test_slow_rows_do_not_wait_for_each_other(job):
    """Rows that have been read are sent before the next row arrives."""
    service = Service()
    sent = threading.Event()

    def rows():
        yield from requests("a", "b")
        assert sent.wait(5)
        yield from requests("c")

    def look(progress):
        if progress.report.done == 2:
            sent.set()

    report = job.run(service.client(), rows(), progress=look)

    assert report.done == 3


def test_rows_read_in_another_thread_are_all_sent(job):
    """No row is lost between the threads, in whatever order they run."""
    pauses = random.Random(7)

    def rows():
        for request in numbered(400):
            if pauses.random() < 0.5:
                time.sleep(pauses.random() * 0.002)
            yield request

    report = job.run(Service().client(), rows(), progress=False, max_concurrency=5)

    assert (report.rows, report.done) == (400, 400)


def test_rows_are_read_in_the_thread_that_called(job):
    """For example, an SQLite cursor works only in its own thread."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 'a' AS text UNION SELECT 'b'")
        connection.row_factory = lambda cursor, row: {"text": row[0]}

        report = job.run(Service().client(), connection.execute("SELECT text FROM t"), deployment="d", progress=False)

    assert report.done == 2


def test_no_more_rows_are_read_than_are_needed(start, job):
    """A budget of five runs reads five rows, and one more to detect the end of the input."""
    read = []

    def rows():
        for request in numbered(1000):
            read.append(request)
            yield request

    report = start(job, Service().client(), rows(), budget=Budget(runs=5))

    assert (report.done, report.stopped, report.is_exhausted) == (5, "runs", False)
    assert len(read) == 6


def test_a_grown_input_keeps_its_order(start, job):
    """Results are in the order of the last input, even if it has new rows between the old ones."""
    start(job, Service().client(), requests("a", "c"), key=lambda request: request.inputs["text"])
    start(job, Service().client(), requests("a", "b", "c"), key=lambda request: request.inputs["text"])

    assert [(item.row, item.key) for item in job.results()] == [(1, "a"), (2, "b"), (3, "c")]


def test_rows_in_another_order(start, job):
    """Rows that are removed, inserted, reversed or repeated are found again, and no row is run twice."""
    service = Service()
    key = {"key": lambda request: request.inputs["text"]}
    start(job, service.client(), requests(*"abcdef"), **key)

    for texts in ("fedcba", "acf", "abxcdyef", "bca"):
        assert start(job, service.client(), requests(*texts), **key).is_exhausted
    with pytest.raises(RowError, match="rows 2 and 4 have the same key, 'b'"):
        start(job, service.client(), requests(*"abcb"), **key)
    with pytest.raises(RowError, match="rows 1 and 3 have the same key, 'f'"):
        start(job, service.client(), requests(*"faf"), **key)

    assert service.calls == dict.fromkeys("abcdefxy", 1)
    assert job.status().done == 8


@pytest.mark.parametrize("rows", [[], (), iter([])])
def test_no_rows(start, job, rows):
    """A job without rows is done."""
    assert start(job, Service().client(), rows).is_exhausted
    assert job.status().rows == 0


# --- Bad rows ---------------------------------------------------------------------------------------------------------


def test_one_key_for_two_rows(start, job):
    """Two rows with the same key are an error that names both."""
    rows = [{"id": "x", "text": "a"}, {"id": "y", "text": "b"}, {"id": "x", "text": "c"}]

    with pytest.raises(RowError, match="rows 1 and 3 have the same key, 'x'") as caught:
        start(job, Service().client(), rows, deployment="d", key="id")

    assert isinstance(caught.value, ValueError)
    check_sum(caught.value.report)


def test_a_changed_request_is_refused_unless_forced(start, job):
    """A changed request under a known key is an error. With force, the new request is run."""
    service = Service()
    start(job, service.client(), [{"id": "x", "text": "a"}], deployment="d", key="id")

    with pytest.raises(RowError, match="row 1: the request of 'x' is not the one that the journal has"):
        start(job, service.client(), [{"id": "x", "text": "b"}], deployment="d", key="id")
    report = start(job, service.client(), [{"id": "x", "text": "b"}], deployment="d", key="id", force=True)

    assert service.calls == {"a": 1, "b": 1}
    assert (report.done, report.rows) == (1, 1)
    assert [item.request.inputs for item in job.results()] == [{"text": "b"}]


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"a": 1}, {"inputs": {"text": "body"}}, "row 1 has no column 'body': there are a"),
        ({"a": 1}, {"key": "id"}, "row 1 has no column 'id': there are a"),
        ({"id": ""}, {"key": "id"}, "row 1 has no key"),
        ({"id": None}, {"key": "id"}, "row 1 has a key that is a NoneType"),
        ({"id": 4.5}, {"key": "id"}, "row 1 has a key that is a float: it must be a string or a whole number"),
        ({"id": "\ud800"}, {"key": "id"}, "row 1 has a key with half of a surrogate pair"),
        ({"a": object()}, {}, "row 1: inputs: "),
    ],
)
def test_a_row_that_cannot_be_sent(start, job, row, options, message):
    """The message has the number of the row and the columns that exist."""
    with pytest.raises(RowError, match=message):
        start(job, Service().client(), [row], deployment="d", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deployment": "d", "inputs": ["text"]}, "inputs must be a mapping of variables to columns, .* not a list"),
        ({"deployment": "d", "inputs": "text"}, "inputs must be a mapping of variables to columns, .* not a str"),
        ({"deployment": "d", "budget": 5}, r"budget must be a Budget, such as Budget\(runs=100\), not a int"),
        ({"deployment": "other"}, "row 1 is a request, which has its own deployment"),
    ],
)
def test_arguments_of_the_wrong_type(start, job, options, message):
    """Nothing is sent, and the message says what to pass."""
    service = Service()

    with pytest.raises(TypeError, match=message):
        start(job, service.client(), numbered(2), **options)

    assert not service.calls


def test_file_name_is_not_read_as_rows(start, job, tmp_path):
    """The message says to read the file first."""
    for rows in ("rows.csv", tmp_path / "rows.csv"):
        with pytest.raises(TypeError, match=r"not a \w+: read the file first, such as with csv\.DictReader"):
            start(job, Service().client(), rows, deployment="d")


def test_states_must_be_a_list(job):
    """A string would be read as a list of its letters."""
    with pytest.raises(TypeError, match="states must be a list of states, not a string"):
        list(job.results("done"))


@pytest.mark.parametrize("rows", [[1], ["a"], "text", 5, [{"a": 1}]])
def test_rows_of_the_wrong_kind(start, job, rows):
    """A row that is neither a request nor a mapping is a TypeError."""
    with pytest.raises(TypeError):
        start(job, Service().client(), rows)


def test_an_error_of_the_input_is_raised(start, job):
    """An error of the input reaches the caller after the calls under way have finished."""

    def rows():
        yield from numbered(3)
        raise KeyError("broken input")

    with pytest.raises(KeyError, match="broken input"):
        start(job, Service().client(), rows())

    check_sum(job.status())
    assert job.status().rows == 3


def test_an_error_of_an_asynchronous_input_is_raised(start, job):
    """An error of the input reaches the caller after the calls under way have finished."""

    async def rows():
        for request in numbered(3):
            yield request
        raise KeyError("broken input")

    with pytest.raises(KeyError, match="broken input"):
        start(job, Service().client(), rows())

    assert job.status().rows == 3


def raising(error, service, calls, *, is_async):
    """Rows that raise an error once some calls have begun."""

    async def asynchronous():
        for request in numbered(6):
            yield request
        await service.until(calls)
        raise error

    def plain():
        yield from numbered(6)
        while service.total < calls:  # `Job.run` reads the rows in another thread than the calls
            time.sleep(0.01)
        raise error

    return asynchronous() if is_async else plain()


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_rows_that_exit_let_the_calls_under_way_finish(job, error, is_async):
    """Any exception of the rows reaches the caller after the paid answers have been recorded."""
    service = Service()
    service.delay = 0.2

    with pytest.raises(error):
        job.run(service.client(), raising(error(), service, 6, is_async=is_async), progress=False)

    assert (job.status().done, job.status().in_doubt, service.total) == (6, 0, 6)


def test_plain_rows_of_arun_that_exit_let_the_calls_under_way_finish(job):
    """SystemExit does not end the event loop before the paid answers have been recorded."""
    service = Service()
    service.delay = 0.2

    def rows():
        yield from numbered(6)
        sys.exit(3)

    with pytest.raises(SystemExit):
        asyncio.run(job.arun(service.client(), rows(), progress=False))

    report = job.status()
    assert (report.done, report.pending, report.in_doubt) == (service.total, 6 - service.total, 0)
    assert service.total > 0


def test_rows_that_raise_cancelled_error_do_not_cancel_the_job(start, job):
    """The calls under way finish, and the caller sees an error: the job was not cancelled."""
    service = Service()
    service.delay = 0.2
    rows = raising(asyncio.CancelledError(), service, 6, is_async=True)

    with pytest.raises(BulkError, match="the rows raised CancelledError") as caught:
        start(job, service.client(), rows)

    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert (caught.value.report.done, caught.value.report.in_doubt) == (6, 0)
    assert (job.status().done, service.total) == (6, 6)


def test_progress_function_that_exits_stops_the_job(job):
    """The calls under way finish, and the journal is closed."""
    service = Service()
    service.delay = 0.8

    with pytest.raises(SystemExit):
        job.run(service.client(), numbered(30), max_concurrency=2, progress=lambda _: sys.exit(3))

    report = job.status()
    assert (report.done, report.in_doubt) == (service.total, 0)
    assert job.run(Service().client(), numbered(30), progress=False).done == 30


def test_the_rows_before_a_bad_one_are_in_the_journal(start, job):
    """No row before the bad one is lost, whether the bad row lacks a column or a key."""
    for rows in ([{"a": "x"}, {"a": "y"}, {"b": "z"}], [{"a": "x"}, {"a": "y"}, {"a": ""}]):
        with pytest.raises(RowError, match="row 3"):
            start(job, Service().client(), rows, deployment="d", inputs={"text": "a"}, key="a")

    assert [item.key for item in job.results()] == ["x", "y"]


@pytest.mark.parametrize(
    "options", [{"max_concurrency": 0}, {"max_concurrency": True}, {"rpm": 0}, {"tpm": -1}, {"inputs": {"a": "b"}}]
)
def test_arguments_are_checked(start, job, options):
    """Limits must be positive, and inputs need a deployment."""
    with pytest.raises(ValueError, match=r"must be|are for rows that are mappings"):
        start(job, Service().client(), [], **options)


@pytest.mark.parametrize("name", ["runs", "tokens", "failures", "seconds"])
@pytest.mark.parametrize("limit", [0, -1, True, "5", float("inf")])
def test_budgets_are_positive_numbers(name, limit):
    """Zero, negative numbers and values that are not numbers are a ValueError."""
    with pytest.raises(ValueError, match=name):
        Budget(**{name: limit})


def test_a_client_with_only_a_blocking_client_injected(start, job):
    """The engine makes asyncio calls, which would bypass the injected client."""
    client = FetchHive(KEY, http_client=httpx.Client(transport=httpx.MockTransport(lambda request: None)))

    with pytest.raises(ConfigurationError, match="async_http_client"):
        start(job, client, [])


# --- States of rows ---------------------------------------------------------------------------------------------------

READ = httpx.ReadTimeout("silent")


@pytest.mark.parametrize(
    ("answer", "state", "runs"),
    [
        (refusal(400), "failed", 1),
        (refusal(422, "bad_input"), "failed", 1),
        (refusal(404), "rejected", 1),
        (refusal(500), "in_doubt", 1),
        (refusal(503), "in_doubt", 1),
        (READ, "in_doubt", 1),
        (httpx.ReadError("reset"), "in_doubt", 1),
        (httpx.Response(200, json={"answer": 1}), "failed", 1),
        (httpx.Response(200, content=b"{", headers={"content-type": "application/json"}), "failed", 1),
        (httpx.ConnectError("refused"), "rejected", 3),
    ],
)
def test_the_state_of_a_row(start, job, monkeypatch, answer, state, runs):  # noqa: PLR0917 - fixtures, and a case
    """The service's answer decides the state of a row. The other rows are still sent."""
    monkeypatch.setattr("fetch_hive_sdk.bulk.engine._FIRST_WAIT", 0.01)
    service = Service(bad=[answer])

    report = start(job, service.client(), requests("a", "bad", "c"))

    assert states(job) == {"a": "done", "bad": state, "c": "done"}
    assert service.calls == {"a": 1, "bad": runs, "c": 1}
    check_sum(report)
    (item,) = job.results([state])
    assert item.response is None
    assert item.error
    assert item.attempts == runs


def test_an_unreadable_answer_is_kept(start, job):
    """The body of a paid answer that lacks a field is in the journal."""
    service = Service(a=[httpx.Response(200, json={"answer": 1, "request_id": "req_9"})])

    start(job, service.client(), requests("a"))

    (item,) = job.results()
    assert (item.state, item.body, item.request_id) == ("failed", {"answer": 1, "request_id": "req_9"}, "req_9")
    assert "ResponseValidationError" in item.error


def test_rejected_rows_are_sent_again_and_failed_rows_only_on_request(start, job):
    """The next run sends rejected rows, and with retry_failed also failed rows, but never rows in doubt."""
    again = httpx.Response(200, json=OK)
    service = Service(a=[refusal(404), again], b=[refusal(422), again], c=[refusal(500), again])
    rows = requests("ok", "a", "b", "c")

    start(job, service.client(), rows)
    start(job, service.client(), rows)

    assert states(job) == {"ok": "done", "a": "done", "b": "failed", "c": "in_doubt"}
    report = start(job, service.client(), rows, retry_failed=True)
    assert (report.done, report.in_doubt) == (3, 1)
    assert service.calls == {"ok": 1, "a": 2, "b": 2, "c": 1}


def test_rows_in_doubt_are_settled_by_hand(start, job):
    """`retry` makes rows pending and `settle` closes them. Both report unknown keys."""
    service = Service(**{text: [refusal(500), httpx.Response(200, json=OK)] for text in "abc"})
    start(job, service.client(), requests("ok", *"abc"), key=lambda request: request.inputs["text"])

    assert [item.key for item in job.doubt()] == ["a", "b", "c"]
    for unknown in ("ok", "\udcff"):
        with pytest.raises(KeyError, match="no row in doubt has the key"):
            job.retry(["a", unknown])
    assert len(job.doubt()) == 3
    assert job.retry(["a"]) == 1
    assert job.settle("done", ["b"]) == 1
    assert job.settle("failed") == 1
    report = start(job, service.client(), requests("ok", *"abc"), key=lambda request: request.inputs["text"])

    assert states(job) == {"ok": "done", "a": "done", "b": "done", "c": "failed"}
    assert service.calls["a"] == 2
    assert service.calls["b"] == service.calls["c"] == 1
    check_sum(report)


def test_settling_by_a_key_that_is_a_digest(start, job):
    """A row without a key of its own is settled by the digest of its request."""
    start(job, Service(a=[refusal(500)]).client(), requests("ok", "a"))
    (item,) = job.doubt()

    assert job.settle("done", [item.key]) == 1
    assert job.status().done == 2
    assert [item.response for item in job.results(["done"])][1] is None


# --- Stops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_wrong_key_costs_one_call(start, job, status):
    """The first row is sent alone, and its refusal stops the job."""
    service = Service()
    service.default = refusal(status)

    with pytest.raises(BulkError) as caught:
        start(job, service.client(), numbered(100))

    assert service.total == 1
    assert (caught.value.report.stopped, caught.value.report.rejected) == ("auth", 1)
    assert isinstance(caught.value.report, BulkReport)
    assert caught.value.__cause__ is not None
    check_sum(caught.value.report)
    assert job.status().stopped == "auth"


def test_a_key_that_is_revoked_stops_the_job(start, job):
    """A 401 for any row stops the job. The calls under way finish."""
    service = Service(**{"20": [refusal(401)]})

    with pytest.raises(BulkError) as caught:
        start(job, service.client(), numbered(1000))

    assert isinstance(caught.value.__cause__, AuthenticationError)
    report = caught.value.report
    assert (report.stopped, report.rejected, report.in_doubt) == ("auth", 1, 0)
    assert report.done == service.total - 1 < 100
    start(job, Service().client(), numbered(1000))
    assert job.status().done == 1000


def test_no_such_deployment_stops_at_the_first_row_only(start, job):
    """A 404 for the first row stops the job. Later rows may name other deployments and are only rejected."""
    service = Service(a=[refusal(404)])

    with pytest.raises(BulkError) as caught:
        start(job, service.client(), requests("a", "b", "c"))

    assert caught.value.report.stopped == "deployment"
    assert service.total == 1


def test_row_with_an_unknown_deployment_does_not_stop_later_runs(start, job):
    """It is sent first in the next run. If other rows were done, its 404 does not prevent the rows after it."""
    service = Service(typo=[refusal(404)])
    rows = requests("a", "typo", "b")

    first = start(job, service.client(), rows)
    again = start(job, service.client(), [*rows, *requests("c", "d")])

    assert (first.done, first.rejected, first.stopped) == (2, 1, None)
    assert (again.done, again.rejected, again.stopped) == (4, 1, None)
    assert service.calls["typo"] == 2


def test_unknown_deployment_costs_one_call_in_every_run(start, job):
    """As long as no row was done, the refusal of the first row stops the job."""
    service = Service()
    service.default = refusal(404)

    for _ in range(2):
        with pytest.raises(BulkError):
            start(job, service.client(), numbered(10))

    assert service.total == 2


def test_the_daily_cap_stops_the_job(start, job):
    """The error reports when the cap resets, and the row is rejected."""
    service = Service(a=[refusal(429, "api_rate_limit_exceeded")])

    with pytest.raises(BulkError, match=r"resets at \d{4}-\d\d-\d\d 00:00 UTC") as caught:
        start(job, service.client(), requests("ok", "a"))

    assert (caught.value.report.stopped, caught.value.report.rejected) == ("cap", 1)


def test_waiting_for_the_reset(start, job, monkeypatch):
    """With wait_for_reset, the job continues when the cap has reset."""
    from datetime import datetime, timedelta, timezone  # noqa: PLC0415 - for this test only

    soon = datetime.now(timezone.utc) + timedelta(seconds=0.2)
    monkeypatch.setattr("fetch_hive_sdk.bulk.engine.resets_at", lambda error: soon)
    monkeypatch.setattr("fetch_hive_sdk.bulk.engine._AFTER_RESET", 0.01)
    service = Service(a=[refusal(429, "api_rate_limit_exceeded"), httpx.Response(200, json=OK)])

    report = start(job, service.client(), requests("ok", "a", "b"), wait_for_reset=True)

    assert (report.done, report.rejected) == (3, 0)
    assert service.calls["a"] == 2


def test_a_cap_that_holds_after_its_reset_time(start, job, monkeypatch):
    """If our clock is fast, the job retries at intervals rather than immediately."""
    from datetime import datetime, timedelta, timezone  # noqa: PLC0415 - for this test only

    past = datetime.now(timezone.utc) - timedelta(seconds=60)
    monkeypatch.setattr("fetch_hive_sdk.bulk.engine.resets_at", lambda error: past)
    monkeypatch.setattr("fetch_hive_sdk.bulk.engine._AFTER_RESET", 0.1)
    cap = refusal(429, "api_rate_limit_exceeded")
    service = Service(a=[cap] * 6 + [httpx.Response(200, json=OK)])
    begun = time.monotonic()

    report = start(job, service.client(), requests("ok", "a"), wait_for_reset=True)

    assert (report.done, service.calls["a"]) == (2, 7)
    assert time.monotonic() - begun >= 6 * 0.05


def test_no_network_stops_the_job(start, job, monkeypatch):
    """Each row is tried three times. The job stops after as many consecutive rows as may be under way."""
    monkeypatch.setattr("fetch_hive_sdk.bulk.engine._FIRST_WAIT", 0.01)
    service = Service()
    service.default = httpx.ConnectError("refused")
    service.scripts = {str(number): [service.default] for number in range(100)}

    with pytest.raises(BulkError) as caught:
        start(job, service.client(), numbered(100), max_concurrency=4)

    report = caught.value.report
    assert report.stopped == "network"
    assert 4 <= report.rejected < 12
    assert (report.in_doubt, report.failed) == (0, 0)


def test_a_budget_of_runs_is_never_exceeded(start, job):
    """The budget covers the life of the journal. Rate-limit responses do not count."""
    slow = refusal(429, retry_after="0")
    service = Service(**{str(n): [slow, httpx.Response(200, json=OK)] for n in range(0, 50, 5)})

    first = start(job, service.client(), numbered(50), budget=Budget(runs=7))
    second = start(job, service.client(), numbered(50), budget=Budget(runs=20))
    third = start(job, service.client(), numbered(50), budget=Budget(runs=20))
    whole = start(job, service.client(), numbered(50), budget=Budget(runs=50))

    assert [report.done for report in (first, second, third, whole)] == [7, 20, 20, 50]
    assert [report.stopped for report in (first, second, third, whole)] == ["runs", "runs", "runs", None]
    assert whole.is_exhausted
    assert service.total == 60


def test_rows_in_doubt_count_as_runs(start, job):
    """The budget counts rows that may have been paid for as paid."""
    service = Service()
    service.default = refusal(500)

    report = start(job, service.client(), numbered(50), budget=Budget(runs=5))

    assert (report.in_doubt, service.total, report.stopped) == (5, 5, "runs")


def test_a_budget_of_tokens(start, job):
    """Only the calls under way may exceed the budget."""
    service = Service()

    report = start(job, service.client(), numbered(500), budget=Budget(tokens=200), max_concurrency=4)

    assert report.stopped == "tokens"
    assert 200 <= report.tokens <= 240
    assert start(job, service.client(), numbered(500), budget=Budget(tokens=200)).tokens == report.tokens


@pytest.mark.parametrize(("count", "tokens"), [(-5, 0), (10**30, 10**12), (None, 0)])
def test_impossible_token_counts(start, job, count, tokens):
    """The paid answer is kept, and the journal can still sum up its counts."""
    service = Service()
    service.default = httpx.Response(200, json={**OK, "usage": {"total_tokens": count}})

    report = start(job, service.client(), numbered(3), budget=Budget(tokens=10**15))

    assert (report.done, report.tokens) == (3, 3 * tokens)
    assert job.status().tokens == 3 * tokens


def test_a_budget_of_failures(start, job):
    """Only the calls under way may exceed the number of failures."""
    service = Service()
    service.default = refusal(422)

    report = start(job, service.client(), numbered(500), budget=Budget(failures=3), max_concurrency=2)

    assert report.stopped == "failures"
    assert 3 <= report.failed <= 5


def test_a_budget_of_seconds(start, job):
    """No call starts after that time, and the calls under way finish."""
    service = Service()
    service.delay = 0.05

    report = start(job, service.client(), numbered(5000), budget=Budget(seconds=0.4), max_concurrency=4)

    assert report.stopped == "seconds"
    assert report.in_doubt == 0
    assert 0.4 <= report.seconds < 5
    assert 0 < report.done == service.total < 5000


def test_a_budget_that_suffices_exactly_does_not_stop(start, job):
    """A budget of ten runs for ten rows reads the input to its end."""
    report = start(job, Service().client(), numbered(10), budget=Budget(runs=10, tokens=100))

    assert (report.done, report.stopped, report.is_exhausted) == (10, None, True)


def test_an_unexpected_error_leaves_the_row_in_doubt(start, job):
    """After an error of an event hook, for example, the row may have been run."""
    service = Service(b=[RuntimeError("a hook broke: \udcff")])

    with pytest.raises(RuntimeError, match="a hook broke"):
        start(job, service.client(), requests("a", "b", "c"))

    assert states(job)["b"] == "in_doubt"
    assert [item.error for item in job.doubt()] == ["RuntimeError: a hook broke: \\udcff"]


# --- The pace ---------------------------------------------------------------------------------------------------------


def test_a_throttled_row_goes_back_into_the_queue(start, job):
    """A 429, or a 503 with Retry-After, is never a failure, however often it is returned."""
    slow = refusal(429, retry_after="0")
    busy = refusal(503, retry_after="0")
    service = Service(a=[slow, busy, slow, busy, slow, slow, httpx.Response(200, json=OK)])

    report = start(job, service.client(), requests("ok", "a", "b"))

    assert (report.done, service.calls["a"]) == (3, 7)
    assert {item.request.inputs["text"]: item.attempts for item in job.results()}["a"] == 7


def test_the_retries_of_the_client_are_off(start, job):
    """The pace has to see every rate-limit response."""
    service = Service(a=[refusal(500)])

    start(job, service.client(max_retries=5, retry_unknown_outcome=True), requests("ok", "a"))

    assert service.calls["a"] == 1


def test_max_concurrency_is_never_exceeded(start, job):
    """The limit grows from one call to the maximum and not beyond."""
    service = Service()
    service.delay = 0.005

    start(job, service.client(), numbered(300), max_concurrency=12)

    assert service.peak == 12


def test_rows_a_minute_are_evenly_spaced(start, job):
    """rpm=1200 is one call per 50 ms."""
    begun = time.monotonic()

    start(job, Service().client(), numbered(11), rpm=1200)

    assert 0.5 <= time.monotonic() - begun < 5


def test_tokens_a_minute_are_waited_for(start, job):
    """tpm=12000 is ten tokens per 50 ms."""
    begun = time.monotonic()

    start(job, Service().client(), numbered(12), tpm=12_000, max_concurrency=1)

    assert 0.5 <= time.monotonic() - begun < 5


# --- Reading and stopping ---------------------------------------------------------------------------------------------


def test_one_owner_at_a_time(job):
    """A second run is refused with the process id of the first. Reading does not disturb the run."""
    import os  # noqa: PLC0415 - for this test only

    service = Service()
    service.delay = 0.01
    seen = []

    def look(progress):
        if not seen:
            seen.append(job.status())
            seen.append([item.state for item in job.results()])
            with pytest.raises(JournalError, match=f"in use by process {os.getpid()}"):
                job.run(service.client(), [], progress=False)
            with pytest.raises(JournalError, match="in use"):
                job.retry()

    report = job.run(service.client(), numbered(1000), progress=look, max_concurrency=8)

    assert (report.done, service.total) == (1000, 1000)
    check_sum(seen[0])
    assert 0 < seen[0].rows < 1000
    assert seen[0].in_doubt == 0
    assert set(seen[1]) <= {"done", "pending"}


def test_rows_of_a_dead_owner_are_in_doubt(start, job):
    """A reader reports them in doubt immediately. The next run records that and does not send them."""
    start(job, Service().client(), requests("a", "b", "c"))
    connection = sqlite3.connect(job.path)
    connection.execute("UPDATE rows SET state = 1 WHERE id = 2")
    connection.commit()
    connection.close()

    assert (job.status().in_doubt, job.status().done) == (1, 2)
    assert [item.row for item in job.doubt()] == [2]
    service = Service()
    report = start(job, service.client(), requests("a", "b", "c"))
    assert (report.in_doubt, report.done, service.total) == (1, 2, 0)


async def test_cancelling_finishes_what_is_under_way(job):
    """A cancelled arun waits for the calls under way and records their answers."""
    service = Service()
    service.delay = 0.1
    task = asyncio.ensure_future(job.arun(service.client(), numbered(1000), progress=False, max_concurrency=8))
    await service.until(12)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    report = job.status()
    assert (report.done, report.in_doubt, report.stopped) == (service.total, 0, "signal")
    assert service.under_way == 0


async def test_cancelling_twice_leaves_calls_in_doubt(job):
    """The calls under way are cancelled, and rows marked in advance become pending again."""
    service = Service()
    task = asyncio.ensure_future(job.arun(service.client(), numbered(1000), progress=False, max_concurrency=8))
    await service.until(12)
    service.delay = 60
    while service.hung < 8:  # noqa: ASYNC110 - the service has no event to await
        await asyncio.sleep(0.01)

    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    begun = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task

    report = job.status()
    assert time.monotonic() - begun < 5
    assert report.in_doubt == 8
    assert report.done + report.in_doubt == service.total
    check_sum(report)


@pytest.mark.parametrize("cancellations", [3, 5])
async def test_further_cancellations_leave_no_tasks_behind(job, cancellations):
    """However often arun is cancelled, it returns after its calls have ended and the journal is closed."""
    service = Service()
    task = asyncio.ensure_future(job.arun(service.client(), numbered(50), progress=False, max_concurrency=8))
    await service.until(12)
    service.delay = 60
    while service.hung < 8:  # noqa: ASYNC110 - the service has no event to await
        await asyncio.sleep(0.01)

    for _ in range(cancellations):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert job.status().in_doubt == 8
    assert job.status().stopped == "signal"


def test_end_of_the_event_loop_closes_the_journal(job):
    """When asyncio.run ends with a job under way, only its call is in doubt, not the row marked in advance."""
    service = Service()
    service.delay = 60

    async def main():
        task = asyncio.ensure_future(job.arun(service.client(), numbered(2), progress=False))
        await service.until(1)
        return task

    task = asyncio.run(main())

    assert task.cancelled()
    assert (job.status().in_doubt, job.status().pending, service.total) == (1, 1, 1)


async def test_run_works_inside_a_running_event_loop(job):
    """`run` uses its own thread and event loop."""
    assert job.run(Service().client(), numbered(3), progress=False).done == 3


def test_a_job_can_be_run_in_any_thread(job):
    """Only the main thread handles signals."""
    reports = []
    thread = threading.Thread(target=lambda: reports.append(job.run(Service().client(), numbered(3), progress=False)))
    thread.start()
    thread.join(20)

    assert [report.done for report in reports] == [3]


async def test_arun_touches_no_signal_handlers(job):
    """The handlers belong to the application."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []

    def rows():
        seen.append([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])
        yield from numbered(3)

    await job.arun(Service().client(), rows(), progress=False)

    assert seen == [before]


@pytest.mark.skipif(sys.platform == "win32", reason="a wait for a row cannot be interrupted there")
def test_rows_that_block_are_left_when_the_job_has_ended(job):
    """The budget of seconds holds in the main thread, and the rows are closed before `run` returns."""
    assert threading.current_thread() is threading.main_thread()
    ends = []

    def rows():
        try:
            yield from numbered(3)
            threading.Event().wait(60)
            ends.append("waited for a minute")
        finally:
            ends.append("closed")

    report = job.run(Service().client(), rows(), budget=Budget(seconds=1), progress=False)

    assert (report.done, report.stopped, report.is_exhausted) == (3, "seconds", False)
    assert ends == ["closed"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_signal_handler_of_the_application_is_not_replaced(job):
    """Where the signal that ends a wait for a row has a handler, the job waits for the row."""
    before = signal.signal(signal.SIGURG, lambda *_: None)
    try:
        handler = signal.getsignal(signal.SIGURG)
        seen = []

        def rows():
            yield from numbered(3)
            seen.append(signal.getsignal(signal.SIGURG))

        assert job.run(Service().client(), rows(), progress=False).done == 3
        assert seen == [handler]
        assert signal.getsignal(signal.SIGURG) is handler
    finally:
        signal.signal(signal.SIGURG, before)


def test_run_restores_the_signal_handlers(job):
    """The application's handlers are back in place after a run."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([] if sys.platform == "win32" else [signal.SIGURG])]
    before = [signal.getsignal(number) for number in numbers]

    job.run(Service().client(), numbered(3), progress=False)

    assert [signal.getsignal(number) for number in numbers] == before


def test_a_job_is_a_context_manager(job):
    """`close` does nothing, because files are open only during calls."""
    with Job(job.path) as same:
        same.run(Service().client(), numbered(3), progress=False)
    same.close()

    assert same.status().done == 3
    assert repr(same) == f"Job({str(job.path)!r})"


def test_settling_checks_its_arguments(start, job):
    """A string is not a list of keys, and a row in doubt cannot be settled as pending."""
    start(job, Service(a=[refusal(500)]).client(), requests("ok", "a"))

    with pytest.raises(ValueError, match="settled as done or as failed"):
        job.settle("pending")
    with pytest.raises(TypeError, match="list of keys"):
        job.retry("a")

    assert len(job.doubt()) == 1


def test_force_leaves_rows_in_doubt_as_they_are(start, job):
    """Rows in doubt have to be settled first, because the old request may have been run."""
    service = Service(a=[refusal(500)])
    start(job, service.client(), [{"id": "x", "text": "ok"}, {"id": "y", "text": "a"}], deployment="d", key="id")

    changed = [{"id": "x", "text": "ok"}, {"id": "y", "text": "b"}]
    report = start(job, service.client(), changed, deployment="d", key="id", force=True)

    assert (report.in_doubt, service.calls) == (1, {"ok": 1, "a": 1})
    assert job.retry(["y"]) == 1
    start(job, service.client(), changed, deployment="d", key="id", force=True)
    assert service.calls == {"ok": 1, "a": 1, "b": 1}
    assert [item.request.inputs["text"] for item in job.results()] == ["ok", "b"]


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (BulkReport(done=1, tokens=1), "1 row: 1 done; 1 token, 0.0 s"),
        (BulkReport(done=2000, in_doubt=1, tokens=50_000), "2,001 rows: 2,000 done, 1 in doubt; 50,000 tokens, 0.0 s"),
        (BulkReport(pending=3, stopped="auth"), "3 rows: 0 done, 3 pending; 0 tokens, 0.0 s; stopped: auth"),
    ],
)
def test_a_report_is_one_line(report, text):
    assert str(report) == text


def test_progress_is_reported(start, job):
    """The function is called while the job runs and at its end."""
    seen = []
    service = Service()
    service.delay = 0.4

    start(job, service.client(), numbered(9), progress=seen.append)

    assert seen[-1].report.done == 9
    assert seen[-1].total == 9
    assert seen[0].under_way > 0
    assert "in doubt of 9" in str(seen[0])


def test_an_error_of_the_progress_function_is_logged(start, job, caplog):
    """The error is logged once, and the job continues."""

    def fail(progress):
        raise RuntimeError("no display")

    assert start(job, Service().client(), numbered(3), progress=fail).done == 3
    assert "no display" in caplog.text


def test_progress_lines_without_a_terminal(start, job, capsys):
    """If stderr is not a terminal, the progress is printed as lines."""
    start(job, Service().client(), numbered(3), progress=None)

    assert "3 rows: 3 done; 30 tokens" in capsys.readouterr().err


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self):
        return True


def test_a_bar_on_a_terminal(start, job, monkeypatch):
    """If rich is installed, the progress is a bar."""
    pytest.importorskip("rich")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("fetch_hive_sdk.bulk.progress._Rich.seconds", 0.05)
    service = Service(b=[refusal(422)])
    service.delay = 0.1

    start(job, service.client(), requests("a", "b", "c"), progress=None)

    assert "3 rows: 2 done, 1" in terminal.getvalue()
    assert "rows/s" in terminal.getvalue()


def test_prints_to_a_file_are_not_shown_on_the_terminal(start, job, monkeypatch, capsys):
    """While there is a bar, what the program prints to stdout still goes to stdout."""
    pytest.importorskip("rich")
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")

    def rows():
        for request in numbered(3):
            sys.stdout.write("a row\n")
            yield request

    start(job, Service().client(), rows(), progress=None)

    assert capsys.readouterr().out == "a row\n" * 3
    assert "a row" not in sys.stderr.getvalue()


class GoneTerminal(Terminal):
    """A terminal that is closed after some writes."""

    def __init__(self, writes, *, is_terminal=True):
        super().__init__()
        self.writes = writes
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal

    def write(self, text):
        self.writes -= 1
        if self.writes < 0:
            raise OSError(5, "Input/output error")
        return super().write(text)


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("writes", [0, 2])
def test_terminal_that_is_closed_does_not_end_the_job(start, job, monkeypatch, caplog, writes, is_terminal):  # noqa: PLR0917 - fixtures, and a case
    """The job continues without its progress, which is logged once, and stdout is as before."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("fetch_hive_sdk.bulk.progress._Rich.seconds", 0.05)
    monkeypatch.setattr("fetch_hive_sdk.bulk.progress._Lines.seconds", 0.05)
    stdout = sys.stdout
    terminal = GoneTerminal(writes, is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    service = Service()
    service.delay = 0.2

    report = start(job, service.client(), numbered(6), progress=None)

    assert report.done == 6
    assert caplog.text.count("the progress of a job cannot be shown") == 1
    assert (sys.stdout, sys.stderr) == (stdout, terminal)


def test_closed_terminal_hides_no_error_of_the_job(start, job, monkeypatch):
    """The caller sees why the job stopped, not that the progress could not be shown."""
    monkeypatch.setattr(sys, "stderr", GoneTerminal(0))

    with pytest.raises(BulkError, match="401"):
        start(job, Service(a=[refusal(401)]).client(), requests("a"), progress=None)


def test_closed_stderr_does_not_end_the_job(start, job, monkeypatch):
    """Not even if the log goes to it, too."""
    terminal = Terminal()
    terminal.close()
    monkeypatch.setattr(sys, "stderr", terminal)

    assert start(job, Service().client(), numbered(3), progress=None).done == 3


def test_contents_of_a_progress_line(start, job, monkeypatch, capsys):
    """A line has the counts, the rate, the tokens and the calls under way."""
    monkeypatch.setattr("fetch_hive_sdk.bulk.progress._Lines.seconds", 0.05)
    service = Service()
    service.delay = 0.1

    start(job, service.client(), numbered(12), progress=None)

    line = next(line for line in capsys.readouterr().err.splitlines() if "of 12" in line)
    for part in ("done", "failed", "in doubt", "rows/s", "tokens", "under way"):
        assert part in line


def test_a_new_job_has_no_rows(job):
    """Reading a missing journal does not create it."""
    assert job.status() == BulkReport()
    assert list(job.results()) == job.doubt() == []
    assert not job.path.exists()


@prompt("summarise")
def summarise(text: str) -> dict[str, str]:
    raise NotImplementedError


def test_typed_prompts(start, job):
    """Rows may be requests of a typed prompt. An answer that does not fit the type has been paid for and is kept."""
    service = Service(bad=[httpx.Response(200, json=OK)])
    service.default = httpx.Response(200, json={**OK, "response": '{"title": "x"}'})

    report = start(job, service.client(), (summarise(text=text) for text in ("a", "bad")))

    assert (report.done, report.failed, report.tokens) == (1, 1, 20)
    assert [item.output for item in job.results(["done"], prompt=summarise)] == [{"title": "x"}]
    assert [item.body for item in job.results(["failed"])] == [OK]


def test_outputs_of_a_type(start, job):
    """`results` reads the answers as the type that is passed to it."""
    service = Service()
    service.default = httpx.Response(200, json={**OK, "response": '{"title": "x"}'})
    start(job, service.client(), requests("a"))

    (item,) = job.results(prompt=dict)
    assert item.output == {"title": "x"}
    (plain,) = job.results()
    with pytest.raises(ValueError, match="prompt="):
        _ = plain.output
    with pytest.raises(ValueError, match="no state 'sent'"):
        list(job.results(["sent"]))
