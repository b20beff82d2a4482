"""What a fake deployment answers, and what it is on the wire. Knows no sockets."""

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
    """What a fake deployment says.

    Raises:
        ValueError: The pieces, put together, are not the text.
    """

    text: str = ""
    """The text of the answer."""
    reasoning: Optional[str] = None
    """What the model thought before, if anything."""
    usage: Optional[Usage] = None
    """The `usage` object; None to count the words."""
    model: str = DEFAULT_MODEL
    """The name of the model."""
    pieces: Optional[Sequence[str]] = None
    """The text as it is cut for a stream; None to cut it at its words. It is the text, too, if that is empty."""
    stop_reason: str = "completed"
    """Why the model stopped."""
    duration: float = 0.5
    """Seconds that the run took."""
    error: Optional[str] = None
    """The text of an `error` event that ends a stream in place of its `usage`; a call without a stream is refused with
    502, as the service does when its provider fails."""
    error_code: Optional[str] = None
    """The code of that error."""

    def __post_init__(self) -> None:
        whole = "".join(self.pieces or ())
        if not self.text:
            object.__setattr__(self, "text", whole)
        elif self.pieces is not None and whole != self.text:
            raise ValueError("the pieces, put together, are not the text: a stream would tell another story")


@dataclass(frozen=True)
class Refusal:
    """An answer that is not 2xx, in the shape that the API documents."""

    status: int
    """The HTTP status."""
    message: str = "The fake service was told to fail"
    """What the service says."""
    error_code: Optional[str] = None
    """The machine-readable code, if any."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further headers, `Retry-After` for one."""


Script = Union[str, Answer, Refusal, StreamScript, Fault]
"""All that an answer can be given as."""
SCRIPTS = (str, Answer, Refusal, StreamScript, Fault)
Behaviour = Union[Script, Callable[[InvokeRequest], Script]]


def answer_of(events: Sequence[Event]) -> Union[Answer, StreamScript]:
    pieces = [event for event in events if isinstance(event, str) and not event.startswith("data:")]
    return Answer("".join(pieces), pieces=pieces) if len(pieces) == len(events) else script_of(events)


def prompt_reply(script: Script, call: InvokeRequest, request_id: str) -> Reply:
    """Return the reply to a call of a prompt, which has this request id.

    Raises:
        httpx.TransportError: There is none: a fault comes in its place.

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
        script = Refusal(422, f"{call.deployment!r} was told the events of a stream: ask for one")
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
        # The service has it up here, and in a stream inside of usage.
        "duration": usage.pop("duration", answer.duration),
        "reasoning": answer.reasoning,
        "response": answer.text,
        "usage": usage,
        "stop_reason": answer.stop_reason,
    }
    return json_reply(200, {name: value for name, value in fields.items() if value is not None})


def _usage_of(answer: Answer, call: InvokeRequest) -> Usage:
    """Count words for tokens, where nobody has said what to answer."""
    if answer.usage is not None:
        return answer.usage
    return count_words(call.raw.get("inputs", {}), answer.reasoning or "", answer.text)
