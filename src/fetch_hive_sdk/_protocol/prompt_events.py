"""The endpoint for running prompts, and the parser of their events. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from fetch_hive_sdk.errors import ResponseValidationError
from fetch_hive_sdk.models.base import ReceivedT, keep_raw, keep_raw_json
from fetch_hive_sdk.models.prompts import (
    ErrorEvent,
    InvokeResponse,
    KnownEvent,
    ReasoningEvent,
    ResponseEvent,
    StreamEvent,
    UnknownEvent,
    UsageEvent,
)

from .answers import as_object, decode_json, is_object, one, parse_answer, parse_object, text_or_none
from .endpoint import Endpoint
from .kinds import Kind
from .refusals import read_error
from .sse import ErrorPayload
from .streaming import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fetch_hive_sdk._config import Config
    from fetch_hive_sdk._secret import Secret

_MODELS: dict[object, type[Union[ReasoningEvent, ResponseEvent, UsageEvent]]] = {
    "reasoning": ReasoningEvent,
    "response": ResponseEvent,
    "usage": UsageEvent,
}
_KNOWN_EVENT: TypeAdapter[KnownEvent] = TypeAdapter(KnownEvent)
# Parses bytes to a model directly: with a dict in between it would take twice as long.
_validate_event: Callable[[Union[bytes, str]], KnownEvent] = _KNOWN_EVENT.validator.validate_json


def parse_event(payload: Union[bytes, str]) -> StreamEvent:
    """Parse the payload of one event of a stream.

    Raises:
        ResponseDecodeError: The payload is not valid JSON.
        ResponseValidationError: An event of a known type does not match the API.

    """
    event: Optional[KnownEvent] = None
    try:  # noqa: SIM105 - contextlib.suppress takes half as long as parsing the event
        event = _validate_event(payload)
    except ValidationError:
        pass
    if event is None or event.type == "error":
        # The rare case. Outside of the `except` block, because the exception of Pydantic quotes the payload.
        return parse_uncommon_event(payload, _MODELS)
    if event.type == "usage":
        # The models inside also have a `raw`.
        return keep_raw(event, as_object(from_json(payload)))
    keep_raw_json(event, payload)
    return event


def parse_uncommon_event(
    payload: Union[bytes, str], models: Mapping[object, type[ReceivedT]]
) -> Union[ReceivedT, ErrorEvent, UnknownEvent]:
    """Parse an event that the validator of a stream did not accept, or an error event.

    Args:
        payload: The payload of the event.
        models: The models of the other known events, by type.

    Raises:
        ResponseDecodeError: The payload is not valid JSON.
        ResponseValidationError: An event of a known type does not match the API.

    """
    data = payload.encode() if isinstance(payload, str) else payload
    raw = _read_event_object(data)
    kind = raw.get("type")
    model = models.get(kind) if isinstance(kind, str) else None
    if model is not None:
        return parse_object(model, raw, "an event of the stream")
    return _parse_error_event(raw) if kind == "error" or _is_error(raw, data) else _pass_on(raw)


def _read_event_object(data: bytes) -> dict[str, Any]:
    """Decode the payload of an event as an object. A plain string, such as a heartbeat, is wrapped into an object.

    Raises:
        ResponseDecodeError: The payload is not valid JSON.
        ResponseValidationError: The payload is a list.

    """
    text = data.strip()
    value: object = None
    if text.startswith((b"{", b"[", b"\xef\xbb\xbf")):
        value = decode_json(data, "an event of the stream")
        if not is_object(value):
            raise ResponseValidationError("an event of the stream is JSON, but not an object", body=value)
        return value
    if text == b"null":
        return {}
    return {"data": text.decode("utf-8", "replace")}


def _is_error(raw: dict[str, Any], data: bytes) -> bool:
    """Whether an event of no known type is an error: by its event name or, if it has no type, by its fields."""
    if isinstance(data, ErrorPayload):
        return True
    looks_like_one = bool(raw.get("error") or raw.get("error_code")) and "response" not in raw
    return looks_like_one and not isinstance(raw.get("type"), str)


def _parse_error_event(raw: dict[str, Any]) -> ErrorEvent:
    """Parse an error event in any of its forms."""
    details = read_error(raw if "data" not in raw else {"message": raw["data"], **raw})
    fields = {
        **raw,
        "type": "error",
        "error": text_or_none(raw.get("error")) or details.message,
        "message": text_or_none(raw.get("message")),
        "error_code": details.code,
        "request_id": details.request_id,
    }
    return keep_raw(ErrorEvent.model_validate(fields), raw)


def _pass_on(raw: dict[str, Any]) -> UnknownEvent:
    """Return an `UnknownEvent` for an event of an unknown type, or without a type."""
    wire_type = raw.get("type")
    fields = {
        **raw,
        "type": "unknown",
        "wire_type": wire_type if isinstance(wire_type, str) else "",
        "request_id": text_or_none(raw.get("request_id")),
    }
    return keep_raw(UnknownEvent.model_validate(fields), raw)


def without_key(event: ErrorEvent, secret: Optional[Secret]) -> ErrorEvent:
    """Return an error event with the API key masked."""
    raw = event.raw
    masked = as_object(secret.hide_in_value(raw)) if secret is not None else raw
    return event if masked == raw else _parse_error_event(masked)


class PromptTranscript(Transcript[StreamEvent, InvokeResponse]):
    """The events of a prompt's stream so far, accumulated."""

    parse_event = staticmethod(parse_event)

    def add(self, event: StreamEvent) -> StreamEvent:
        """Add the next event and return it, with the API key masked in errors."""
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
            event = self._error = without_key(event, self.secret)
            self.is_complete = True
        return event

    def read_whole(self, media_type: str, body: bytes) -> Iterator[StreamEvent]:
        """Convert a JSON answer to the events that a stream would have had."""
        return _as_events(parse_answer(one(InvokeResponse), media_type, body))

    def _build_answer(self) -> InvokeResponse:
        return parse_object(InvokeResponse, self._answer_object())

    def _answer_object(self) -> dict[str, Any]:
        usage: object = self._usage.raw.get("usage") if self._usage is not None else None
        # A copy, because the duration is removed from it. A usage that is not an object is kept unchanged.
        counts = dict(usage) if is_object(usage) else None
        fields = {
            "request_id": self.request_id,
            "model": self.model,
            # Streams have it inside of `usage`, JSON answers next to it.
            "duration": counts.pop("duration", None) if counts is not None else None,
            "reasoning": self._reasoning.getvalue() or None,
            "response": self._text.getvalue(),
            "usage": counts if counts is not None else usage,
            "stop_reason": self._usage.stop_reason if self._usage is not None else None,
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
