"""The events of a prompt: how one is read, and what they come to. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar, Union

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from fetch_hive_sdk.errors import ResponseValidationError
from fetch_hive_sdk.models.base import Received, describe, keep_raw, keep_raw_json
from fetch_hive_sdk.models.prompts import (
    KNOWN_EVENT_TYPES,
    ErrorEvent,
    InvokeResponse,
    KnownEvent,
    ReasoningEvent,
    ResponseEvent,
    StreamEvent,
    UnknownEvent,
    UsageEvent,
)

from .answers import as_object, decode_json, one, parse_answer, parse_object, text_or_none
from .endpoint import Endpoint
from .kinds import Kind
from .streaming import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetch_hive_sdk._config import Config

EventT = TypeVar("EventT", bound=Received)

_KNOWN_EVENT: TypeAdapter[KnownEvent] = TypeAdapter(KnownEvent)
# Straight from bytes to a model: by way of a dict it would cost twice as much.
_validate_event: Callable[[Union[bytes, str]], KnownEvent] = _KNOWN_EVENT.validator.validate_json


def parse_event(payload: Union[bytes, str]) -> StreamEvent:
    """Read the payload of one event of a stream.

    Raises:
        ResponseDecodeError: It is no JSON.
        ResponseValidationError: It is an event of a known type, but not as promised.

    """
    try:
        event = _validate_event(payload)
    except ValidationError:
        # Told apart off the beaten track: almost every event is a known one, as promised.
        data = payload.encode() if isinstance(payload, str) else payload
        return read_uncommon_event(data, _KNOWN_EVENT, KNOWN_EVENT_TYPES)
    if isinstance(event, UsageEvent):
        # Its parts have a `raw` of their own.
        return keep_raw(event, as_object(from_json(payload)))
    keep_raw_json(event, payload)
    return event


def read_uncommon_event(
    data: bytes, known_event: TypeAdapter[EventT], known_types: frozenset[str]
) -> Union[EventT, UnknownEvent]:
    """Read the payload of an event that is not a known one as promised, or only to the stricter reader.

    Raises:
        ResponseDecodeError: It is no JSON.
        ResponseValidationError: It is an event of a known type, but not as promised.

    """
    value = decode_json(data, "an event of the stream")
    raw = as_object(value)
    if isinstance(raw.get("type"), str) and raw["type"] not in known_types:
        return _pass_on(raw)
    try:
        # JSON that only the stricter reader refused: it begins with a byte order mark, or has a field twice.
        return keep_raw(known_event.validate_python(value), raw)
    except ValidationError as exc:
        reason = describe(exc)
    raise ResponseValidationError(
        f"an event of the stream is not as promised: {reason}",
        body=value,
        request_id=text_or_none(raw.get("request_id")),
    )


def _pass_on(raw: dict[str, Any]) -> UnknownEvent:
    fields = {**raw, "type": "unknown", "wire_type": raw["type"], "request_id": text_or_none(raw.get("request_id"))}
    return keep_raw(UnknownEvent.model_validate(fields), raw)


class PromptTranscript(Transcript[StreamEvent, InvokeResponse]):
    """What the stream of a prompt has given so far."""

    parse_event = staticmethod(parse_event)

    def add(self, event: StreamEvent) -> None:
        """Take the next event."""
        request_id = event.request_id
        if request_id:
            self.request_id = request_id
        if isinstance(event, ResponseEvent):
            self._text.write(event.response)
            self.model = event.model or self.model
        elif isinstance(event, ReasoningEvent):
            self._reasoning.write(event.response)
            self.model = event.model or self.model
        elif isinstance(event, UsageEvent):
            self._usage = event
            self.is_complete = True
        elif isinstance(event, ErrorEvent):
            self._error = event
            self.is_complete = True

    def read_whole(self, media_type: str, body: bytes) -> Iterator[StreamEvent]:
        """Give an answer that came in one piece as the events that a stream would have had."""
        return _as_events(parse_answer(one(InvokeResponse), media_type, body))

    def _build_answer(self) -> InvokeResponse:
        return parse_object(InvokeResponse, self._answer_object())

    def _answer_object(self) -> dict[str, Any]:
        usage = dict(as_object(self._usage.raw.get("usage"))) if self._usage else None
        fields = {
            "request_id": self.request_id,
            "model": self.model,
            # A stream has it inside its usage, an answer in one piece beside it.
            "duration": usage.pop("duration", None) if usage else None,
            "reasoning": self._reasoning.getvalue() or None,
            "response": self._text.getvalue(),
            "usage": usage,
            "stop_reason": self._usage.stop_reason if self._usage else None,
        }
        return {name: value for name, value in fields.items() if value is not None}


def _as_events(answer: InvokeResponse) -> Iterator[StreamEvent]:
    if answer.reasoning:
        yield ReasoningEvent(response=answer.reasoning, request_id=answer.request_id, model=answer.model)
    yield ResponseEvent(response=answer.response, request_id=answer.request_id, model=answer.model)
    usage = dict(as_object(answer.raw.get("usage")))
    if answer.duration is not None:
        usage["duration"] = answer.duration
    fields = {"type": "usage", "request_id": answer.request_id, "usage": usage, "stop_reason": answer.stop_reason}
    yield parse_object(UsageEvent, {name: value for name, value in fields.items() if value is not None})


def _endpoint(config: Config) -> Endpoint[InvokeResponse]:
    return Endpoint(config.prompt_path, one(InvokeResponse), operation="invoke_prompt")


KINDS: dict[str, Kind[Any]] = {"invoke_prompt": Kind(_endpoint, PromptTranscript)}
