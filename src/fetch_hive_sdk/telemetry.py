"""Observers of calls: `OpenTelemetry` for spans and metrics, `UsageMeter` for tokens, and the base class `Observer`.

    client = FetchHive(observers=[OpenTelemetry(), UsageMeter()])

`OpenTelemetry` requires the package `opentelemetry-api`, which the extra `otel` installs.
"""

from __future__ import annotations

import math
import operator
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, cast
from urllib.parse import urlsplit

from ._observers import AttemptEnded, AttemptStarted, CallEnded, CallStarted, FirstEvent, Observer
from ._text import in_one_line, pad, width_of
from .errors import APIStatusError, ConfigurationError, FetchHiveError, StreamFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.metrics import Histogram, Meter, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from .models.usage import Usage

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "CallEnded",
    "CallStarted",
    "FirstEvent",
    "Observer",
    "OpenTelemetry",
    "UsageMeter",
    "UsageRow",
]


# --- OpenTelemetry ---------------------------------------------------------------------------------------------------

# The names are from the package opentelemetry-semantic-conventions, version 0.66b2, modules gen_ai_attributes,
# server_attributes, error_attributes and gen_ai_metrics. They are copied because that package has no stable release.
# Names that begin with "fetchhive." are defined by this package.
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
PROMPT = "gen_ai.prompt.name"
AGENT = "gen_ai.agent.id"
WORKFLOW = "gen_ai.workflow.name"
STREAMING = "gen_ai.request.stream"
MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - the name of an attribute
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
DEPLOYMENT = "fetchhive.deployment"
VARIANT = "fetchhive.variant"
MAYBE_PROCESSED = "fetchhive.maybe_processed"

DURATION_METRIC = "gen_ai.client.operation.duration"
TOKENS_METRIC = "gen_ai.client.token.usage"
FIRST_CHUNK_METRIC = "gen_ai.client.operation.time_to_first_chunk"

# The histogram buckets that the conventions recommend: 10 ms times powers of 2 for seconds, powers of 4 for tokens.
_SECONDS = [0.01 * 2**power for power in range(14)]
_TOKENS = [4**power for power in range(14)]

# For each operation, its name in the conventions and the attribute for the name of the deployment, workflow or agent.
_OPERATIONS = {
    "invoke_prompt": ("chat", PROMPT),
    "invoke_workflow": ("invoke_workflow", WORKFLOW),
    "invoke_agent": ("invoke_agent", AGENT),
    "invoke_hive_agent": ("invoke_agent", AGENT),
}


class OpenTelemetry(Observer):
    """Creates a client span for each call, and records metrics of durations and tokens.

    The span of a streamed call ends with the stream. The span is a child of the current span of the caller, and its
    `traceparent` is sent as a header. Each attempt is an event of the span. The span never contains the API key, and
    contains inputs and answers only with `capture_content`.

    Args:
        tracer_provider: The provider of the tracer; None means the global provider.
        meter_provider: The provider of the metrics; None means the global provider.
        capture_content: Whether spans contain the inputs and the text of the answer, which may be private.

    Raises:
        ConfigurationError: The package `opentelemetry-api` is not installed.

    Example:
        ```python
        from fetch_hive_sdk.telemetry import OpenTelemetry

        client = FetchHive(observers=[OpenTelemetry()])
        ```
    """

    def __init__(
        self,
        tracer_provider: Optional[TracerProvider] = None,
        meter_provider: Optional[MeterProvider] = None,
        capture_content: bool = False,
    ) -> None:
        try:
            from opentelemetry import metrics, propagate, trace  # noqa: PLC0415 - an optional dependency
        except ImportError:
            raise ConfigurationError(
                "OpenTelemetry requires a package: pip install opentelemetry-api (or the extra otel)"
            ) from None
        self.wants_content = capture_content
        self._trace = trace
        self._propagate = propagate
        self._tracer = trace.get_tracer("fetch_hive_sdk", tracer_provider=tracer_provider)
        meter = metrics.get_meter("fetch_hive_sdk", meter_provider=meter_provider)
        self._duration = _histogram(meter, DURATION_METRIC, "s", "GenAI operation duration.", _SECONDS)
        self._tokens = _histogram(meter, TOKENS_METRIC, "{token}", "Number of input and output tokens used.", _TOKENS)
        self._first_chunk = _histogram(meter, FIRST_CHUNK_METRIC, "s", "Time to receive the first chunk.", _SECONDS)
        self._spans: dict[str, Span] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the providers. The other process uses its global providers."""
        return type(self), (None, None, self.wants_content)

    def call_started(self, event: CallStarted) -> None:
        """Start the span."""
        attributes = _attributes_of(event)
        if event.inputs:
            attributes[INPUT_MESSAGES] = _input_messages(event.inputs)
        operation = attributes[OPERATION]
        name = f"{operation} {event.deployment}" if event.deployment else str(operation)
        self._spans[event.call_id] = self._tracer.start_span(
            name, kind=self._trace.SpanKind.CLIENT, attributes=attributes
        )

    def attempt_started(self, event: AttemptStarted) -> Optional[Mapping[str, str]]:
        """Add `traceparent` to the request."""
        headers: dict[str, str] = {}
        span = self._spans.get(event.call_id)
        if span is not None:
            self._propagate.inject(headers, context=self._trace.set_span_in_context(span))
        return headers

    def attempt_ended(self, event: AttemptEnded) -> None:
        """Add the attempt to the span as an event."""
        span = self._spans.get(event.call_id)
        if span is None:
            return
        attributes: dict[str, Any] = {"fetchhive.attempt": event.attempt, "fetchhive.seconds": event.seconds}
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        if event.error is not None:
            attributes[ERROR_TYPE] = type(event.error).__name__
        span.add_event("fetchhive.attempt", attributes)

    def call_ended(self, event: CallEnded) -> None:
        """End the span with the result of the call, and record the metrics."""
        span = self._spans.pop(event.call_id, None)
        common = {
            name: value for name, value in _attributes_of(event).items() if name not in {DEPLOYMENT, VARIANT, STREAMING}
        }
        if event.model:
            common[MODEL] = event.model
        if event.error is not None:
            common[ERROR_TYPE] = type(event.error).__name__
        self._measure(event, common)
        if span is None:
            return
        for name, value in _results_of(event).items():
            span.set_attribute(name, value)
        if event.error is not None:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, self._describe(event.error)))
        span.end()

    def _describe(self, error: BaseException) -> str:
        # Messages of this package quote neither inputs nor answers. The service's own message, and those of other
        # packages, may.
        if not isinstance(error, FetchHiveError):
            return type(error).__name__
        if self.wants_content or not isinstance(error, (APIStatusError, StreamFailedError)):
            return str(error)
        what = f"status {error.status_code}" if isinstance(error, APIStatusError) else "the run failed"
        return f"{what}, {error.error_code}" if error.error_code else what

    def _measure(self, event: CallEnded, attributes: Mapping[str, Any]) -> None:
        self._duration.record(event.seconds, attributes)
        if event.time_to_first_event is not None:
            self._first_chunk.record(event.time_to_first_event, attributes)
        if event.usage is not None:
            usage = event.usage
            counts = {"input": usage.prompt_tokens.total_tokens, "output": usage.completion_tokens.total_tokens}
            for kind, count in counts.items():
                if count is not None:
                    self._tokens.record(count, {**attributes, TOKEN_TYPE: kind})


def _histogram(meter: Meter, name: str, unit: str, description: str, boundaries: Sequence[float]) -> Histogram:
    try:
        return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=boundaries)
    except TypeError:  # before opentelemetry-api 1.30
        return meter.create_histogram(name, unit, description)


def _attributes_of(event: CallStarted | CallEnded) -> dict[str, Any]:
    # The name of a raw request has its path, which would make a metric of its own for each id.
    other = "raw_request" if " " in event.operation else event.operation or "call"
    operation, name_attribute = _OPERATIONS.get(event.operation, (other, None))
    url = urlsplit(event.endpoint)
    attributes: dict[str, Any] = {
        OPERATION: operation,
        PROVIDER: "fetchhive",
        SERVER_ADDRESS: url.hostname or "",
        SERVER_PORT: url.port or (80 if url.scheme == "http" else 443),
    }
    if name_attribute:
        attributes[STREAMING] = event.streaming
    optional = {name_attribute or DEPLOYMENT: event.deployment, DEPLOYMENT: event.deployment, VARIANT: event.variant}
    attributes.update({name: value for name, value in optional.items() if value})
    return attributes


def _results_of(event: CallEnded) -> dict[str, Any]:
    usage: Optional[Usage] = event.usage
    error = event.error
    results: dict[str, Any] = {
        MODEL: event.model,
        RESPONSE_ID: event.request_id,
        FINISH_REASONS: [event.stop_reason] if event.stop_reason else None,
        FIRST_CHUNK: event.time_to_first_event,
        INPUT_TOKENS: usage.prompt_tokens.total_tokens if usage is not None else None,
        OUTPUT_TOKENS: usage.completion_tokens.total_tokens if usage is not None else None,
        CACHED_TOKENS: usage.prompt_tokens.cached_tokens if usage is not None else None,
        REASONING_TOKENS: usage.completion_tokens.reasoning_tokens if usage is not None else None,
        OUTPUT_MESSAGES: _output_messages(event.text, event.stop_reason) if event.text is not None else None,
        ERROR_TYPE: type(error).__name__ if error is not None else None,
        MAYBE_PROCESSED: error.maybe_processed if isinstance(error, FetchHiveError) else None,
    }
    return {name: value for name, value in results.items() if value is not None}


# Messages in the format of the conventions: gen-ai-input-messages.json and gen-ai-output-messages.json.


def _input_messages(fields: Mapping[str, object]) -> str:
    message = fields.get("message")
    text = message if isinstance(message, str) else _json(fields.get("inputs", fields))
    return _json([{"role": "user", "parts": [{"type": "text", "content": text}]}])


def _output_messages(text: str, stop_reason: Optional[str]) -> str:
    parts = [{"type": "text", "content": text}]
    return _json([{"role": "assistant", "parts": parts, "finish_reason": stop_reason or "unknown"}])


def _json(value: object) -> str:
    from pydantic_core import to_json  # noqa: PLC0415 - only used with capture_content

    return to_json(value).decode()


# --- Usage -----------------------------------------------------------------------------------------------------------


class UsageRow(NamedTuple):
    """The tokens that the runs of one deployment, variant, model and user have used."""

    deployment: Optional[str]
    """The deployment, or the id of the agent."""
    variant: Optional[str]
    """The variant, if the request had one."""
    model: Optional[str]
    """The model that answered."""
    user: Optional[str]
    """The caller's own id of the end user."""
    runs: int
    """The number of runs, including failed runs that may have been billed."""
    prompt_tokens: int
    """Input tokens of the model."""
    cached_tokens: int
    """The prompt tokens that the provider read from its cache."""
    completion_tokens: int
    """Output tokens of the model, including reasoning."""
    reasoning_tokens: int
    """The completion tokens that were reasoning."""
    total_tokens: int
    """All tokens."""
    cost: Optional[float]
    """The cost by the `prices` of the meter; None means that the model has no price."""


_Tokens = tuple[int, int, int, int, int]  # prompt, cached, completion, reasoning, total
_NO_TOKENS: _Tokens = (0, 0, 0, 0, 0)


@dataclass
class _Sums:
    runs: int = 0
    tokens: _Tokens = _NO_TOKENS


class UsageMeter(Observer):
    """Counts the tokens of runs by deployment, variant, model and user. Thread-safe.

    Args:
        prices: For each model, the price of a million prompt tokens and of a million completion tokens. Cached prompt
            tokens cost as much as others. Other models have no cost, because prices are never guessed.

    Raises:
        ConfigurationError: A price is not a pair of numbers.

    Example:
        ```python
        from fetch_hive_sdk.telemetry import UsageMeter

        meter = UsageMeter()
        metered = FetchHive(observers=[meter])
        metered.invoke_prompt(deployment="summarise", inputs={"text": "A long text."})
        print(meter.table())
        ```
    """

    def __init__(self, prices: Optional[Mapping[str, tuple[float, float]]] = None) -> None:
        self._prices = {model: _read_price(model, price) for model, price in (prices or {}).items()}
        self._lock = threading.Lock()
        self._sums: dict[tuple[Optional[str], Optional[str], Optional[str], Optional[str]], _Sums] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the prices only. The other process starts at zero."""
        return type(self), (self._prices,)

    def call_ended(self, event: CallEnded) -> None:
        """Add the tokens of a run."""
        if event.deployment is None or not _may_have_run(event):
            return
        key = (event.deployment, event.variant, event.model, event.user)
        with self._lock:
            sums = self._sums.setdefault(key, _Sums())
            sums.runs += 1
            sums.tokens = cast("_Tokens", tuple(map(operator.add, sums.tokens, _tokens_of(event.usage))))

    def snapshot(self) -> list[UsageRow]:
        """Return the sums so far, sorted by tokens in descending order."""
        with self._lock:
            rows = [
                UsageRow(*key, sums.runs, *sums.tokens, self._cost(key[2], sums.tokens))
                for key, sums in self._sums.items()
            ]
        return sorted(rows, key=lambda row: (-row.total_tokens, str(row)))

    def reset(self) -> list[UsageRow]:
        """Reset all sums to zero, and return the sums before the reset."""
        with self._lock:
            old, self._sums = self._sums, {}
        before = UsageMeter(self._prices)
        before._sums = old
        return before.snapshot()

    def table(self) -> str:
        """Return the sums as a plain text table."""
        lines = [list(UsageRow._fields), *([_cell(value) for value in row] for row in self.snapshot())]
        widths = [max(map(width_of, column)) for column in zip(*lines)]
        names = UsageRow._fields.index("runs")  # numbers follow
        return "\n".join(
            "  ".join(pad(cell, width, right=at >= names) for at, (cell, width) in enumerate(zip(line, widths)))
            for line in lines
        )

    def _cost(self, model: Optional[str], tokens: _Tokens) -> Optional[float]:
        price = self._prices.get(model or "")
        return None if price is None else (tokens[0] * price[0] + tokens[2] * price[1]) / 1e6


def _read_price(model: str, price: object) -> tuple[float, float]:
    values = tuple(cast("Sequence[object]", price)) if isinstance(price, (tuple, list)) else ()
    if len(values) != len(("prompt", "completion")) or not all(map(_is_price, values)):
        raise ConfigurationError(
            f"the price of {model} must be a pair of numbers: for a million prompt and a million completion tokens"
        )
    return cast("tuple[float, float]", values)


def _is_price(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6f}"
    # Users may choose their own ids: a line break or a control code must not reach the terminal.
    return in_one_line(str(value))


def _may_have_run(event: CallEnded) -> bool:
    error = event.error
    return error is None or event.usage is not None or getattr(error, "maybe_processed", True)


def _tokens_of(usage: Optional[Usage]) -> _Tokens:
    if usage is None:
        return _NO_TOKENS
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    sent, received = prompt.total_tokens or 0, completion.total_tokens or 0
    total = sent + received if usage.total_tokens is None else usage.total_tokens
    return sent, prompt.cached_tokens or 0, received, completion.reasoning_tokens or 0, total
