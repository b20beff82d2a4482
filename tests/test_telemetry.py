"""Observers: the events that they receive from blocking and asyncio calls, OpenTelemetry, and the usage meter."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import logging
import pickle
import sys
import threading
from types import MappingProxyType

import httpx
import pytest
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel, model_validator

from driving import KEY, sse, streamed
from fetch_hive_sdk import (
    ConfigurationError,
    FetchHive,
    FetchHiveError,
    InternalServerError,
    OutputValidationError,
    PromptRequest,
    StreamFailedError,
    StreamInterruptedError,
    telemetry,
)
from fetch_hive_sdk.telemetry import CallEnded, Observer, OpenTelemetry, UsageMeter
from fetch_hive_sdk.testing import FakeServer

USAGE = {
    "prompt_tokens": {"total_tokens": 10, "cached_tokens": 2},
    "completion_tokens": {"total_tokens": 20, "reasoning_tokens": 5},
    "total_tokens": 30,
}
ANSWER = {"response": "Short.", "request_id": "req_1", "model": "m-1", "usage": USAGE, "stop_reason": "completed"}
EVENTS = [
    {"type": "response", "response": "Sho", "request_id": "req_1", "model": "m-1"},
    {"type": "response", "response": "rt."},
    {"type": "usage", "usage": USAGE, "stop_reason": "completed"},
]
CALL = {"deployment": "summarise", "variant": "v", "inputs": {"text": "private"}, "user": "u1"}


class Recorder(Observer):
    """Records the events that it receives."""

    def __init__(self, *, wants_content: bool = False) -> None:
        self.wants_content = wants_content
        self.events: list[object] = []

    def call_started(self, event):
        self.events.append(event)

    def attempt_started(self, event):
        self.events.append(event)
        return {"X-Trace": f"t{event.attempt}", "Authorization": "Bearer other", "X-Number": 3}

    def attempt_ended(self, event):
        self.events.append(event)

    def first_event(self, event):
        self.events.append(event)

    def call_ended(self, event):
        self.events.append(event)

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    @property
    def end(self) -> CallEnded:
        assert self.names.count("CallEnded") == 1
        return self.events[-1]


def answering(*answers):
    """A handler that returns the answers in turn, or raises those that are exceptions."""
    remaining, requests = list(answers), []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        answer = remaining.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    handle.requests = requests
    return handle


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch):
    monkeypatch.setattr("fetch_hive_sdk._protocol.retry._FIRST_BACKOFF", 0)


# --- Observers -------------------------------------------------------------------------------------------------------


def test_observer_receives_all_events_of_a_call(drive):
    """All events have the id of the call. They contain neither inputs nor the answer."""
    recorder = Recorder()
    client = drive.client(answering(httpx.Response(200, json=ANSWER)), observers=[recorder])

    drive.invoke(client, **CALL)

    started, end = recorder.events[0], recorder.end
    assert recorder.names == ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]
    assert len({event.call_id for event in recorder.events}) == 1
    assert (started.operation, started.deployment, started.variant, started.user) == (
        "invoke_prompt",
        "summarise",
        "v",
        "u1",
    )
    assert started.endpoint == "https://api.fetchhive.com/v1/prompt/invoke"
    assert (started.streaming, started.inputs) == (False, None)
    assert (end.model, end.stop_reason, end.request_id, end.usage.total_tokens) == ("m-1", "completed", "req_1", 30)
    assert (end.error, end.attempts, end.text, end.time_to_first_event) == (None, 1, None, None)
    assert recorder.events[2].status == 200
    assert "private" not in repr(recorder.events)
    assert "Short." not in repr(recorder.events)


def test_wants_content_adds_inputs_and_text(drive):
    """Events then contain the fields of the request and the text of the answer."""
    recorder = Recorder(wants_content=True)

    drive.invoke(drive.client(answering(httpx.Response(200, json=ANSWER)), observers=[recorder]), **CALL)

    assert recorder.events[0].inputs["inputs"] == {"text": "private"}
    assert recorder.end.text == "Short."


def test_observer_receives_each_attempt_and_can_add_headers(drive):
    """A retried call is one call with several attempts. Added headers never replace the API key."""
    recorder = Recorder()
    handle = answering(httpx.Response(429), httpx.ConnectError("refused"), httpx.Response(200, json=ANSWER))

    drive.invoke(drive.client(handle, observers=[recorder]), **CALL)

    ends = [event for event in recorder.events if type(event).__name__ == "AttemptEnded"]
    assert [(end.attempt, end.status, type(end.error).__name__) for end in ends] == [
        (1, 429, "RateLimitError"),
        (2, None, "APIConnectionError"),
        (3, 200, "NoneType"),
    ]
    assert [request.headers["x-trace"] for request in handle.requests] == ["t1", "t2", "t3"]
    assert {request.headers["authorization"] for request in handle.requests} == {f"Bearer {KEY}"}
    assert "x-number" not in handle.requests[0].headers
    assert recorder.end.attempts == 3


def test_observer_receives_the_error_of_a_call(drive):
    """It is the error that the caller catches."""
    recorder = Recorder()

    with pytest.raises(InternalServerError) as caught:
        drive.invoke(drive.client(answering(httpx.Response(500)), observers=[recorder]), **CALL)

    assert recorder.end.error is caught.value
    assert recorder.events[2].error is caught.value


def test_observer_receives_the_first_event_and_the_end_of_a_stream(drive):
    """The call ends when the stream ends. The last event has the collected answer."""
    recorder = Recorder(wants_content=True)
    client = drive.client(answering(streamed(*sse(*EVENTS, "[DONE]"))), observers=[recorder])

    drive.events(client, **CALL)

    assert recorder.names == ["CallStarted", "AttemptStarted", "FirstEvent", "AttemptEnded", "CallEnded"]
    end = recorder.end
    assert (end.streaming, end.text, end.usage.total_tokens, end.model) == (True, "Short.", 30, "m-1")
    assert 0 <= end.time_to_first_event <= end.seconds


def test_observer_receives_the_end_of_interrupted_and_closed_streams(drive):
    """An interruption is an error; closing a stream early is not."""
    interrupted, closed = Recorder(), Recorder()
    handle = answering(streamed(*sse(EVENTS[0]), httpx.ReadError("reset")), streamed(*sse(*EVENTS)))
    client = drive.client(handle)

    with pytest.raises(StreamInterruptedError) as caught:
        drive.events(client.with_options(observers=[interrupted]), **CALL)
    drive.leave(client.with_options(observers=[closed]), 1, **CALL)

    assert interrupted.end.error is caught.value
    assert (closed.end.error, closed.end.usage) == (None, None)


FAILURE = {"type": "error", "error": "cannot read 'private'", "error_code": "model_failed"}


@pytest.mark.parametrize("how", ["events", "collect", "text"])
def test_observer_receives_the_failure_of_a_stream(drive, how):
    """An `error` event is the error of the call, however the stream is read."""
    recorder = Recorder()
    handle = answering(streamed(*sse(EVENTS[0], FAILURE)))

    with contextlib.suppress(StreamFailedError):
        getattr(drive, how)(drive.client(handle, observers=[recorder]), **CALL)

    assert isinstance(recorder.end.error, StreamFailedError)
    assert recorder.end.error.error_code == "model_failed"
    assert recorder.end.model == "m-1"


def test_observer_receives_a_cancellation():
    """Cancelling a task ends its call with `CancelledError`."""
    recorder = Recorder()
    started = []

    async def hang(request: httpx.Request) -> httpx.Response:
        started[0].set()
        await asyncio.Event().wait()

    client = FetchHive(
        KEY, async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(hang)), observers=[recorder]
    )

    async def main() -> None:
        started.append(asyncio.Event())  # created here, as Python 3.9 binds it to the current event loop
        task = asyncio.ensure_future(client.ainvoke_prompt(**CALL))
        await started[0].wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert isinstance(recorder.end.error, asyncio.CancelledError)


class Faulty(Observer):
    def call_started(self, event):
        raise ValueError("no")

    def call_ended(self, event):
        raise ValueError("no")


def test_exception_of_an_observer_does_not_affect_the_call(drive, caplog):
    """It is logged once, and the other observers still receive their events."""
    recorder = Recorder()
    client = drive.client(
        answering(*[httpx.Response(200, json=ANSWER) for _ in range(2)]), observers=[Faulty(), recorder]
    )

    with caplog.at_level(logging.WARNING, "fetch_hive_sdk"):
        for _ in range(2):
            assert drive.invoke(client, **CALL).response == "Short."

    assert [record.getMessage() for record in caplog.records] == [
        "the observer Faulty raised an exception (further ones are not logged)"
    ]
    assert recorder.names.count("CallEnded") == 2


def test_faulty_observers_are_not_kept_alive(drive, caplog):
    """A program may create an observer for each call."""
    client = drive.client(answering(*[httpx.Response(200, json=ANSWER) for _ in range(3)]))

    caplog.set_level(logging.CRITICAL, "fetch_hive_sdk")  # pytest keeps the records, which refer to the observers

    for _ in range(3):
        drive.invoke(client.with_options(observers=[Faulty()]), **CALL)
    gc.collect()

    assert not [known for known in gc.get_objects() if isinstance(known, Faulty)]


class FaultyProperty(Observer):
    @property
    def wants_content(self):
        raise ValueError("no")


def test_exception_of_wants_content_does_not_affect_the_call(drive, caplog):
    """Like an exception of a method."""
    client = drive.client(answering(httpx.Response(200, json=ANSWER)), observers=[FaultyProperty()])

    assert drive.invoke(client, **CALL).response == "Short."
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Snow": "\u2603"},
        {"X-Lines": "a\r\nX-Evil: b"},
        {"X Blank": "a"},
        {"": "a"},
        {3: "a"},
        {"Transfer-Encoding": "chunked"},
        {"content-length": "3"},
        {"Accept": "text/html"},
        {"user-agent": "other", "X-TENANT": "other"},
        "X-Text: a",
        [("X-Pair", "a")],
    ],
)
def test_invalid_and_existing_headers_are_not_added(drive, headers):
    """Observers can neither add invalid headers nor replace headers of the request."""
    recorder = Recorder()
    recorder.attempt_started = lambda event: headers
    handle = answering(httpx.Response(200, json=ANSWER), httpx.Response(200, json=ANSWER))
    client = drive.client(handle, default_headers={"X-Tenant": "t1"})

    drive.invoke(client, **CALL)
    drive.invoke(client.with_options(observers=[recorder]), **CALL)

    plain, observed = handle.requests
    assert observed.headers == plain.headers
    assert recorder.end.error is None


def test_added_headers_can_be_any_mapping(drive):
    """Not only a dict."""
    recorder = Recorder()
    recorder.attempt_started = lambda event: MappingProxyType({"X-Trace": "t1"})
    handle = answering(httpx.Response(200, json=ANSWER))

    drive.invoke(drive.client(handle, observers=[recorder]), **CALL)

    assert handle.requests[0].headers["x-trace"] == "t1"


def test_observer_receives_the_first_event_of_a_json_answer_to_a_stream(drive):
    """A JSON answer is converted to events."""
    recorder = Recorder()

    drive.events(drive.client(answering(httpx.Response(200, json=ANSWER)), observers=[recorder]), **CALL)

    assert recorder.names == ["CallStarted", "AttemptStarted", "FirstEvent", "AttemptEnded", "CallEnded"]
    assert recorder.end.time_to_first_event is not None


def test_observer_receives_an_output_error(drive):
    """The call failed, but the usage of the run is known and counted."""
    recorder, meter = Recorder(), UsageMeter()
    client = drive.client(answering(httpx.Response(429), httpx.Response(200, json=ANSWER)), observers=[recorder, meter])

    with pytest.raises(OutputValidationError) as caught:
        drive.call(client, "invoke", PromptRequest(deployment="summarise", output=int))

    assert recorder.end.error is caught.value
    assert caught.value.attempts == recorder.end.attempts == 2
    assert recorder.end.usage.total_tokens == meter.snapshot()[0].total_tokens == 30


class WithFailingValidator(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _raise(cls, value: object) -> object:
        raise OSError("the dictionary is missing")


def test_oserror_of_a_validator_is_not_a_network_error(drive):
    """The call is not retried, and the error has the answer, which was paid for."""
    requests = []
    handle = answering(httpx.Response(200, json={**ANSWER, "response": "{}"}))

    def count(request):
        requests.append(request)
        return handle(request)

    client = drive.client(count, retry_unknown_outcome=True)

    with pytest.raises(OutputValidationError, match=r"validator raised OSError in test_telemetry.py") as caught:
        drive.call(client, "invoke", PromptRequest(deployment="summarise", output=WithFailingValidator))

    assert len(requests) == caught.value.attempts == 1
    assert caught.value.response.response == "{}"


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("requests.get", lambda client: client.requests.get("req_1")),
        ("requests.get", lambda client: client.requests.wait("req_1", max_wait=0.01)),
        ("requests.get", lambda client: client.requests.await_("req_1", max_wait=0.01)),
        ("catalogue.models", lambda client: client.catalogue.models()),
        ("catalogue.models", lambda client: client.catalogue.amodels()),
        ("GET /new", lambda client: client.raw_request("GET", "/new")),
        ("GET /new", lambda client: client.araw_request("GET", "/new")),
        ("get_request", lambda client: client.get_request("req_1")),
    ],
)
def test_observer_receives_calls_of_every_kind(operation, call):
    """Calls of resources, polls, raw requests, and the blocking methods with the names of the vendor's SDK."""
    recorder = Recorder()

    async def main() -> None:
        result = call(FakeServer().client(observers=[recorder]))
        if inspect.isawaitable(result):
            await result

    with contextlib.suppress(FetchHiveError):
        asyncio.run(main())

    assert recorder.names == ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]
    assert (recorder.events[0].operation, recorder.events[0].streaming) == (operation, False)


def test_with_options_replaces_the_observers(drive):
    """An empty sequence removes them; without the argument they are kept."""
    first, second = Recorder(), Recorder()
    client = drive.client(answering(*[httpx.Response(200, json=ANSWER) for _ in range(3)]), observers=[first])

    for options in ({"timeout": 5}, {"observers": [second]}, {"observers": ()}):
        drive.invoke(client.with_options(**options), **CALL)

    assert first.names.count("CallEnded") == second.names.count("CallEnded") == 1


def test_invalid_observers_are_configuration_errors():
    """The error is raised when the client is created."""
    for wrong in ([object()], [Recorder], Recorder()):
        with pytest.raises(ConfigurationError, match="observers must be a list"):
            FetchHive(KEY, observers=wrong)


# --- OpenTelemetry ---------------------------------------------------------------------------------------------------


class Collected:
    """Collects spans and metrics with the in-memory exporters of the OpenTelemetry SDK."""

    def __init__(self, **options: object) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.observer = OpenTelemetry(self.provider, self.meters, **options)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def metrics(self) -> dict[str, list[object]]:
        found = self.reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        return {metric.name: list(metric.data.data_points) for metric in found}


def test_call_has_a_client_span(drive):
    """Its attributes have the names of the semantic conventions, and contain neither inputs nor the answer."""
    collected = Collected()
    client = drive.client(answering(httpx.Response(200, json=ANSWER)), observers=[collected.observer])

    drive.invoke(client, **CALL)

    (span,) = collected.spans
    assert (span.name, span.kind.name) == ("chat summarise", "CLIENT")
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fetchhive",
        "gen_ai.prompt.name": "summarise",
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "m-1",
        "gen_ai.response.id": "req_1",
        "gen_ai.response.finish_reasons": ("completed",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "server.address": "api.fetchhive.com",
        "server.port": 443,
        "fetchhive.deployment": "summarise",
        "fetchhive.variant": "v",
    }


def test_span_of_a_raw_request_does_not_contain_its_path():
    """A name for each id would be a time series of its own."""
    collected = Collected()
    client = FakeServer().client(observers=[collected.observer])

    for number in range(2):
        with contextlib.suppress(FetchHiveError):
            client.raw_request("GET", f"/new/{number}")

    assert {span.name for span in collected.spans} == {"raw_request"}
    assert {span.attributes["gen_ai.operation.name"] for span in collected.spans} == {"raw_request"}


@pytest.mark.skipif(sys.version_info < (3, 10), reason="this version of the conventions requires Python 3.10")
def test_attribute_names_are_from_the_conventions():
    """Every name in `telemetry.py` is in the package opentelemetry-semantic-conventions."""
    home = "opentelemetry.semconv._incubating"
    names = ("attributes.gen_ai_attributes", "attributes.server_attributes", "attributes.error_attributes")
    modules = [pytest.importorskip(f"{home}.{name}") for name in (*names, "metrics.gen_ai_metrics")]

    known = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    prefixes = ("gen_ai.", "server.", "error.")
    ours = {value for value in vars(telemetry).values() if isinstance(value, str) and value.startswith(prefixes)}
    assert ours
    assert ours <= known


def test_request_has_a_traceparent_header(drive):
    """It has the ids of the span, which is a child of the current span."""
    collected = Collected()
    handle = answering(httpx.Response(200, json=ANSWER))
    client = drive.client(handle, observers=[collected.observer])

    with collected.provider.get_tracer("app").start_as_current_span("request"):
        drive.invoke(client, **CALL)

    span, parent = collected.spans
    trace, own = f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"
    assert handle.requests[0].headers["traceparent"].startswith(f"00-{trace}-{own}-")
    assert span.parent.span_id == parent.context.span_id


def test_span_of_a_failed_call_has_the_error(drive):
    """It has the class of the error, and whether the run may have been billed. Each attempt is an event."""
    collected = Collected()
    client = drive.client(answering(httpx.Response(429), httpx.Response(500)), observers=[collected.observer])

    with pytest.raises(InternalServerError):
        drive.invoke(client, **CALL)

    (span,) = collected.spans
    assert span.status.status_code.name == "ERROR"
    assert span.attributes["error.type"] == "InternalServerError"
    assert span.attributes["fetchhive.maybe_processed"] is True
    statuses = [event.attributes["http.response.status_code"] for event in span.events]
    assert statuses == [429, 500]


def test_interrupted_and_closed_streams_end_their_spans(drive):
    """An interruption is an error; closing a stream early is not."""
    collected = Collected()
    handle = answering(streamed(*sse(EVENTS[0]), httpx.ReadError("reset")), streamed(*sse(*EVENTS)))
    client = drive.client(handle, observers=[collected.observer])

    with pytest.raises(StreamInterruptedError):
        drive.events(client, **CALL)
    drive.leave(client, 1, **CALL)

    interrupted, closed = collected.spans
    assert (interrupted.status.status_code.name, closed.status.status_code.name) == ("ERROR", "UNSET")
    assert interrupted.attributes["error.type"] == "StreamInterruptedError"
    assert interrupted.attributes["fetchhive.maybe_processed"] is True
    assert "error.type" not in closed.attributes


@pytest.mark.parametrize("captures", [False, True])
def test_status_of_a_span_quotes_the_service_only_with_the_content(drive, captures):
    """The service's own message may quote inputs. Without `capture_content`, the span has the codes only."""
    collected = Collected(capture_content=captures)
    refusal = httpx.Response(422, json={"error": "cannot read 'private'", "error_code": "bad_input"})
    client = drive.client(
        answering(refusal, streamed(*sse(EVENTS[0], FAILURE)), httpx.Response(200, text="private")),
        observers=[collected.observer],
    )

    for method in (drive.invoke, drive.collect, drive.invoke):
        with pytest.raises(FetchHiveError):
            method(client, **CALL)

    refused, failed, unreadable = collected.spans
    assert failed.attributes["error.type"] == "StreamFailedError"
    assert ("bad_input" in refused.status.description, "422" in refused.status.description) == (True, True)
    assert "model_failed" in failed.status.description
    assert [("private" in span.status.description) for span in (refused, failed)] == [captures, captures]
    assert "private" not in unreadable.status.description


def test_cancelled_call_ends_its_span():
    """The error of the span is `CancelledError`."""
    collected = Collected()
    tasks = []

    async def cancel(request: httpx.Request) -> httpx.Response:
        tasks[0].cancel()
        await asyncio.sleep(0)

    transport = httpx.MockTransport(cancel)
    client = FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=transport), observers=[collected.observer])

    async def main() -> None:
        tasks.append(asyncio.ensure_future(client.ainvoke_prompt(**CALL)))
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

    asyncio.run(main())

    (span,) = collected.spans
    assert (span.status.status_code.name, span.attributes["error.type"]) == ("ERROR", "CancelledError")
    assert "fetchhive.maybe_processed" not in span.attributes


def test_spans_of_threads_are_separate():
    """Each span is a child of the current span of its own thread."""
    collected = Collected()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=ANSWER))
    client = FetchHive(KEY, http_client=httpx.Client(transport=transport), observers=[collected.observer])
    tracer = collected.provider.get_tracer("app")

    def work(number: int) -> None:
        with tracer.start_as_current_span(f"chat d{number}"):
            for _ in range(5):
                client.invoke_prompt(deployment=f"d{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert_children_of_their_own(collected.spans, 40)


def assert_children_of_their_own(spans, count):
    names = {span.context.span_id: span.name for span in spans}
    children = [span for span in spans if span.parent is not None]
    assert len(children) == count
    assert all(names[span.parent.span_id] == span.name for span in children)


def test_spans_of_tasks_are_separate():
    """Each stream of a task is a child of the current span of the task that reads it."""
    collected = Collected()
    transport = httpx.MockTransport(lambda _: streamed(*sse(*EVENTS, "[DONE]")))
    client = FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=transport), observers=[collected.observer])
    tracer = collected.provider.get_tracer("app")

    async def work(number: int) -> None:
        with tracer.start_as_current_span(f"chat d{number}"):
            for _ in range(3):
                async for _ in client.ainvoke_prompt_stream(deployment=f"d{number}"):
                    await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*map(work, range(5)))

    asyncio.run(main())

    assert_children_of_their_own(collected.spans, 15)


def test_span_of_an_abandoned_stream_ends():
    """Without `close()`, it ends when the garbage collector finds the stream. Nothing failed."""
    collected = Collected()
    transport = httpx.MockTransport(lambda _: streamed(*sse(*EVENTS, "[DONE]")))
    client = FetchHive(KEY, http_client=httpx.Client(transport=transport), observers=[collected.observer])

    stream = client.invoke_prompt_stream(**CALL)
    next(stream)
    assert not collected.spans
    del stream
    gc.collect()

    (span,) = collected.spans
    assert span.status.status_code.name == "UNSET"
    assert not collected.observer._spans


def test_stream_has_metrics(drive):
    """Metrics for duration, tokens and the time to the first event."""
    collected = Collected(capture_content=True)
    client = drive.client(answering(streamed(*sse(*EVENTS, "[DONE]"))), observers=[collected.observer])

    drive.events(client, **CALL)

    metrics = collected.metrics()
    assert set(metrics) == {
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.time_to_first_chunk",
    }
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in metrics["gen_ai.client.token.usage"]}
    assert tokens == {"input": 10, "output": 20}
    (span,) = collected.spans
    assert json.loads(span.attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": '{"text":"private"}'}]}
    ]
    assert json.loads(span.attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Short."}], "finish_reason": "completed"}
    ]
    seconds = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
    assert metrics["gen_ai.client.operation.duration"][0].explicit_bounds == seconds
    assert metrics["gen_ai.client.operation.time_to_first_chunk"][0].explicit_bounds == seconds
    assert metrics["gen_ai.client.token.usage"][0].explicit_bounds[:5] == (1, 4, 16, 64, 256)
    assert metrics["gen_ai.client.token.usage"][0].explicit_bounds[-1] == 67108864


class OldMeter(NoOpMeter):
    def create_histogram(self, name, unit="", description=""):
        return super().create_histogram(name, unit, description)


class OldMeterProvider(NoOpMeterProvider):
    def get_meter(self, *args, **options):
        return OldMeter("old")


def test_meters_without_bucket_boundaries_are_supported(drive):
    """Such as the meters of opentelemetry-api before 1.30."""
    client = drive.client(
        answering(httpx.Response(200, json=ANSWER)), observers=[OpenTelemetry(meter_provider=OldMeterProvider())]
    )

    assert drive.invoke(client, **CALL).response == "Short."


def test_missing_opentelemetry_is_a_configuration_error(monkeypatch):
    """The message contains the command to install it."""
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry", None)

    with pytest.raises(ConfigurationError, match="pip install opentelemetry-api"):
        OpenTelemetry()


# --- UsageMeter ------------------------------------------------------------------------------------------------------


def test_meter_sums_the_tokens_of_runs(drive):
    """By deployment, variant, model and user, with a cost for models that have a price."""
    meter = UsageMeter(prices={"m-1": (1.0, 2.0)})
    other = {**ANSWER, "model": "m-2", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    answers = [httpx.Response(200, json=answer) for answer in (ANSWER, ANSWER, other)]
    client = drive.client(answering(*answers, httpx.Response(401)), observers=[meter])

    for _ in range(3):
        drive.invoke(client, **CALL)
    with pytest.raises(Exception, match="401"):
        drive.invoke(client, **CALL)

    first, second = meter.snapshot()
    assert first == ("summarise", "v", "m-1", "u1", 2, 20, 4, 40, 10, 60, pytest.approx(100e-6))
    assert second == ("summarise", "v", "m-2", "u1", 1, 1, 0, 2, 0, 3, None)
    header, *lines = meter.table().splitlines()
    assert header.split() == list(first._fields)
    assert [line.split()[4] for line in lines] == ["2", "1"]
    assert meter.reset() == [first, second]
    assert meter.snapshot() == []


def test_columns_of_the_table_are_aligned(drive):
    """Also with wide letters. Control characters of a user's id do not reach the terminal."""
    meter = UsageMeter(prices={"m-1": (1000.0, 200_000.0)})
    client = drive.client(answering(*[httpx.Response(200, json=ANSWER) for _ in range(2)]), observers=[meter])

    for user in ("漢字", "a\x1b[2J\nb"):
        drive.invoke(client, deployment="d", user=user)

    header, first, second = meter.table().splitlines()
    assert (first.split()[3:], second.split()[3:]) == (
        ["a", "[2J", "b", "1", "10", "2", "20", "5", "30", "4.010000"],
        ["漢字", "1", "10", "2", "20", "5", "30", "4.010000"],
    )
    assert len(header) == len(first) == len(second) + 2  # two letters are two cells wide
    assert (header[-4:], first[-4:], second[-4:]) == ("cost", "0000", "0000")


def test_invalid_prices_are_errors():
    """The error is raised when the meter is created, not when it is read."""
    for wrong in (0.05, (0.05,), (0.05, 0.4, 1), "12", ("1", "2"), (-1, 1), (1, float("nan")), (1, True), None):
        with pytest.raises(ConfigurationError, match="the price of m must be a pair of numbers"):
            UsageMeter(prices={"m": wrong})


def test_meter_is_thread_safe():
    """Concurrent runs are all counted."""
    meter = UsageMeter()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=ANSWER))
    client = FetchHive(KEY, http_client=httpx.Client(transport=transport), observers=[meter])
    threads = [threading.Thread(target=lambda: [client.invoke_prompt(**CALL) for _ in range(20)]) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert meter.snapshot()[0].runs == 160


def test_observers_are_pickled_with_their_client(monkeypatch):
    """They keep their settings, and start at zero in the other process."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
    client = FetchHive(KEY, observers=[UsageMeter({"m": (1, 2)}), OpenTelemetry(capture_content=True)])

    meter, spans = pickle.loads(pickle.dumps(client))._session.config.observers

    assert meter._prices == {"m": (1, 2)}
    assert spans.wants_content
