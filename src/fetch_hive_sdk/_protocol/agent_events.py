"""The endpoint for running agents, and the parser of their events. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from fetch_hive_sdk.models.agents import (
    AgentEvent,
    AgentReply,
    AgentUsageEvent,
    ArtifactEvent,
    KnownAgentEvent,
    SummaryEvent,
    ToolApprovalEvent,
    ToolEvent,
)
from fetch_hive_sdk.models.base import keep_raw, keep_raw_json
from fetch_hive_sdk.models.prompts import ErrorEvent, ReasoningEvent, ResponseEvent

from .answers import as_object, one, parse_answer, parse_object
from .endpoint import Endpoint
from .kinds import Kind
from .prompt_events import parse_uncommon_event, without_key
from .streaming import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetch_hive_sdk._config import Config

_KNOWN_EVENT: TypeAdapter[KnownAgentEvent] = TypeAdapter(KnownAgentEvent)
_validate_event: Callable[[Union[bytes, str]], KnownAgentEvent] = _KNOWN_EVENT.validator.validate_json

_MODELS: dict[object, type[KnownAgentEvent]] = {
    "summary": SummaryEvent,
    "reasoning": ReasoningEvent,
    "response": ResponseEvent,
    "tool": ToolEvent,
    "artifact": ArtifactEvent,
    "tool_approval": ToolApprovalEvent,
    "usage": AgentUsageEvent,
}
_WITH_NESTED_MODELS = (AgentUsageEvent, ArtifactEvent, ToolApprovalEvent)


def parse_event(payload: Union[bytes, str]) -> AgentEvent:
    """Parse the payload of one event of an agent's stream.

    Raises:
        ResponseDecodeError: The payload is not valid JSON.
        ResponseValidationError: An event of a known type does not match the API.

    """
    event: Optional[KnownAgentEvent] = None
    try:  # noqa: SIM105 - as in prompt_events
        event = _validate_event(payload)
    except ValidationError:
        pass
    if event is None or event.type == "error":
        return parse_uncommon_event(payload, _MODELS)
    if isinstance(event, _WITH_NESTED_MODELS):
        # The models inside also have a `raw`.
        return keep_raw(event, as_object(from_json(payload)))
    keep_raw_json(event, payload)
    return event


class AgentTranscript(Transcript[AgentEvent, AgentReply]):
    """The events of an agent's stream so far, accumulated."""

    parse_event = staticmethod(parse_event)

    def __init__(self) -> None:
        super().__init__()
        self._tool_calls: list[dict[str, Any]] = []
        self._artifacts: list[object] = []
        self._approvals: list[object] = []

    def add(self, event: AgentEvent) -> AgentEvent:
        """Add the next event and return it, with the API key masked in errors."""
        self.request_id = event.request_id or self.request_id
        if isinstance(event, ResponseEvent):
            self._text.write(event.response)
            self.model = event.model or self.model
        elif isinstance(event, ReasoningEvent):
            self._reasoning.write(event.response)
            self.model = event.model or self.model
        elif isinstance(event, AgentUsageEvent):
            self._usage = event
            self.is_complete = True
        elif isinstance(event, ErrorEvent):
            event = self._error = without_key(event, self.secret)
            self.is_complete = True
        else:
            self._add_other(event)
        return event

    def _add_other(self, event: AgentEvent) -> None:
        if isinstance(event, ToolEvent):
            call = {"tool_name": event.tool, "tool_input": event.tool_input, "observation": event.observation}
            self._tool_calls.append({name: value for name, value in call.items() if value is not None})
        elif isinstance(event, ArtifactEvent) and event.artifact is not None:
            self._artifacts.append(event.artifact.raw)
        elif isinstance(event, ToolApprovalEvent) and event.approval is not None:
            self._approvals.append(event.approval.raw)

    def read_whole(self, media_type: str, body: bytes) -> Iterator[AgentEvent]:
        """Convert a JSON answer to the events that a stream would have had."""
        return _as_events(parse_answer(one(AgentReply), media_type, body))

    def _build_answer(self) -> AgentReply:
        last = dict(self._usage.raw) if self._usage else {}
        last.pop("type", None)
        received = {
            "request_id": self.request_id,
            "model": self.model,
            "reasoning": self._reasoning.getvalue(),
            "response": self._text.getvalue(),
            "tool_calls": self._tool_calls,
            "artifacts": self._artifacts,
            "pending_tool_approvals": self._approvals,
        }
        # The fields of the last event, such as the status and the pending approvals, are the newest. An empty one does
        # not replace what was streamed before.
        newest = _without_empty(last)
        return parse_object(AgentReply, {**last, "response": "", **_without_empty(received), **newest})


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def _as_events(answer: AgentReply) -> Iterator[AgentEvent]:
    raw = answer.raw
    common = {name: raw[name] for name in ("request_id", "model") if raw.get(name) is not None}
    if answer.reasoning:
        yield parse_object(ReasoningEvent, {"type": "reasoning", **common, "response": answer.reasoning})
    for call in answer.tool_calls:
        fields = {"tool": call.tool_name, "tool_input": call.tool_input, "observation": call.observation}
        yield parse_object(ToolEvent, {"type": "tool", **fields, "request_id": answer.request_id})
    for artifact in answer.artifacts:
        yield parse_object(ArtifactEvent, {"type": "artifact", "artifact": artifact.raw})
    yield parse_object(ResponseEvent, {"type": "response", **common, "response": answer.response})
    other_events = {"response", "reasoning", "tool_calls", "artifacts", "model"}
    yield parse_object(
        AgentUsageEvent, {"type": "usage", **{name: value for name, value in raw.items() if name not in other_events}}
    )


def _endpoint(_: Config) -> Endpoint[AgentReply]:
    return Endpoint("/agent/invoke", one(AgentReply), operation="invoke_agent")


KINDS: dict[str, Kind[Any]] = {"invoke_agent": Kind(_endpoint, AgentTranscript)}
