"""Scripted answers of prompts, and the replies made from them. Performs no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Callable, Optional, Union

from fetch_hive_sdk import InvokeRequest

from ._reply import Fault, Reply, json_reply
from ._routes import refusal_reply
from ._script import DEFAULT_MODEL, Event, StreamScript, Usage, count_words, reply_of, script_of, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Answer:
    """The answer of a fake deployment.

    Raises:
        ValueError: The joined pieces differ from the text.
    """

    text: str = ""
    """The text of the answer."""
    reasoning: Optional[str] = None
    """The reasoning of the model, sent before the text."""
    usage: Optional[Usage] = None
    """The `usage` object; None counts words as tokens."""
    model: str = DEFAULT_MODEL
    """The name of the model."""
    pieces: Optional[Sequence[str]] = None
    """The chunks of a stream; None splits the text into words. If `text` is empty, it is the joined pieces."""
    stop_reason: str = "completed"
    """Why the model stopped."""
    duration: float = 0.5
    """Duration of the run in seconds."""
    error: Optional[str] = None
    """The message of an `error` event that ends the stream in place of `usage`. Calls without streaming get a 502, as
    from the service when its provider fails."""
    error_code: Optional[str] = None
    """The code of the error."""

    def __post_init__(self) -> None:
        whole = "".join(self.pieces or ())
        if not self.text:
            object.__setattr__(self, "text", whole)
        elif self.pieces is not None and whole != self.text:
            raise ValueError(
                "the joined pieces must be the text, or the stream would differ from the answer in one piece"
            )


@dataclass(frozen=True)
class Refusal:
    """A response with an error status, in the shape that the API documents."""

    status: int
    """The HTTP status."""
    message: str = "The fake service returns a scripted error"
    """The error message."""
    error_code: Optional[str] = None
    """The machine-readable code, if any."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Additional headers, such as `Retry-After`."""


Script = Union[str, Answer, Refusal, StreamScript, Fault]
"""Every type of scripted answer."""
SCRIPTS = (str, Answer, Refusal, StreamScript, Fault)
Behaviour = Union[Script, Callable[[InvokeRequest], Script]]


def answer_of(events: Sequence[Event]) -> Union[Answer, StreamScript]:
    pieces = [event for event in events if isinstance(event, str) and not event.startswith("data:")]
    return Answer("".join(pieces), pieces=pieces) if len(pieces) == len(events) else script_of(events)


def prompt_reply(script: Script, call: InvokeRequest, request_id: str) -> Reply:
    """Return the reply to a call of a prompt.

    Raises:
        httpx.TransportError: The script is a fault.

    """
    if isinstance(script, Fault):
        script.happen()
    if isinstance(script, str):
        script = Answer(script)
    if isinstance(script, Answer) and call.streaming:
        script = _script_of(script, call)
    if isinstance(script, Answer) and script.error is None:
        return _whole_reply(script, call, request_id)
    if isinstance(script, Answer):
        script = Refusal(502, script.error or "", script.error_code)
    if isinstance(script, StreamScript):
        if call.streaming:
            return reply_of(replace(script, request_id=request_id), call.raw.get("inputs", {}))
        script = Refusal(422, f"the answer of {call.deployment!r} is scripted as a stream: set streaming to true")
    return refusal_reply(script.status, script.message, script.error_code, script.headers)


def _script_of(answer: Answer, call: InvokeRequest) -> StreamScript:
    script = StreamScript(answer.model).reasoning(*words_of(answer.reasoning or ""))
    script = script.text(*(words_of(answer.text) if answer.pieces is None else answer.pieces))
    if answer.error is not None:
        return script.error(answer.error, answer.error_code)
    usage = {"duration": answer.duration, **_usage_of(answer, call)}
    return script.usage(usage, stop_reason=answer.stop_reason)


def _whole_reply(answer: Answer, call: InvokeRequest, request_id: str) -> Reply:
    usage = dict(_usage_of(answer, call))
    fields = {
        "request_id": request_id,
        "model": answer.model,
        # The service reports it at the top level here, and inside `usage` in streams.
        "duration": usage.pop("duration", answer.duration),
        "reasoning": answer.reasoning,
        "response": answer.text,
        "usage": usage,
        "stop_reason": answer.stop_reason,
    }
    return json_reply(200, {name: value for name, value in fields.items() if value is not None})


def _usage_of(answer: Answer, call: InvokeRequest) -> Usage:
    """Return the scripted usage, or one that counts words as tokens."""
    if answer.usage is not None:
        return answer.usage
    return count_words(call.raw.get("inputs", {}), answer.reasoning or "", answer.text)
