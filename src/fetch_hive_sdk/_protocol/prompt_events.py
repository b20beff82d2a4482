"""The events of a prompt: how one is read, and what they come to. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from fetch_hive_sdk.errors import ResponseValidationError
from fetch_hive_sdk.models.base import keep_raw, keep_raw_json
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
    from collections.abc import Iterator

    from fetch_hive_sdk._config import Config
    from fetch_hive_sdk._secret import Secret

_MODELS: dict[object, type[Union[ReasoningEvent, ResponseEvent, UsageEvent]]] = {
    "reasoning": ReasoningEvent,
    "response": ResponseEvent,
    "usage": UsageEvent,
}
_KNOWN_EVENT: TypeAdapter[KnownEvent] = TypeAdapter(KnownEvent)
# Straight from bytes to a model: by way of a dict it would cost twice as much.
_validate_event: Callable[[Union[bytes, str]], KnownEvent] = _KNOWN_EVENT.validator.validate_json


def parse_event(payload: Union[bytes, str]) -> StreamEvent:
    """Read the payload of one event of a stream.

    Raises:
        ResponseDecodeError: It is broken JSON.
        ResponseValidationError: It is an event of a known type without what is promised of it.

    """
    event: Optional[KnownEvent] = None
    try:  # noqa: SIM105 - contextlib.suppress would cost each event half as much as its parsing
        event = _validate_event(payload)
    except ValidationError:
        pass
    if event is None or event.type == "error":
        # Off the beaten track: almost every event is a known one, as promised. And not where the error of Pydantic is
        # at hand: it quotes the payload.
        return _parse_uncommon_event(payload.encode() if isinstance(payload, str) else payload)
    if event.type == "usage":
        # Its parts have a `raw` of their own.
        return keep_raw(event, as_object(from_json(payload)))
    keep_raw_json(event, payload)
    return event


def _parse_uncommon_event(data: bytes) -> StreamEvent:
    raw = read_event_object(data)
    kind = raw.get("type")
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is not None:
        return parse_object(model, raw, "an event of the stream")
    return parse_error_event(raw) if kind == "error" or is_error(raw, data) else pass_on(raw)


def read_event_object(data: bytes) -> dict[str, Any]:
    """Read the payload of an event as an object. One that is not an object, such as a heartbeat, is put into one.

    Raises:
        ResponseDecodeError: It is broken JSON.

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


def is_error(raw: dict[str, Any], data: bytes) -> bool:
    """Whether an event that is not a known one is an error: by its name, or, if it has no type, by what it has."""
    if isinstance(data, ErrorPayload):
        return True
    looks_like_one = bool(raw.get("error") or raw.get("error_code")) and "response" not in raw
    return looks_like_one and not isinstance(raw.get("type"), str)


def parse_error_event(raw: dict[str, Any]) -> ErrorEvent:
    """Read an error event, whatever its form."""
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


def pass_on(raw: dict[str, Any]) -> UnknownEvent:
    """Pass an event on that this version does not know, or that has no type."""
    wire_type = raw.get("type")
    fields = {
        **raw,
        "type": "unknown",
        "wire_type": wire_type if isinstance(wire_type, str) else "",
        "request_id": text_or_none(raw.get("request_id")),
    }
    return keep_raw(UnknownEvent.model_validate(fields), raw)


def without_key(event: ErrorEvent, secret: Optional[Secret]) -> ErrorEvent:
    """Return an error event with the key masked."""
    raw = event.raw
    masked = as_object(secret.hide_in_value(raw)) if secret is not None else raw
    return event if masked == raw else parse_error_event(masked)


class PromptTranscript(Transcript[StreamEvent, InvokeResponse]):
    """What the stream of a prompt has given so far."""

    parse_event = staticmethod(parse_event)

    def add(self, event: StreamEvent) -> StreamEvent:
        """Take the next event, and return it: with the key masked in an error."""
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
        """Give an answer that came in one piece as the events that a stream would have had."""
        return _as_events(parse_answer(one(InvokeResponse), media_type, body))

    def _build_answer(self) -> InvokeResponse:
        return parse_object(InvokeResponse, self._answer_object())

    def _answer_object(self) -> dict[str, Any]:
        usage: object = self._usage.raw.get("usage") if self._usage is not None else None
        # Its own, because the duration is taken out of it. One that cannot be read is kept as it came.
        counts = dict(usage) if is_object(usage) else None
        fields = {
            "request_id": self.request_id,
            "model": self.model,
            # A stream has it inside its usage, an answer in one piece beside it.
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
