"""A service that says what it is told to say. Knows no sockets: a request in, a response out."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, ClassVar, Optional, Union

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from fetch_hive_sdk import FetchHive, InvokeRequest, StreamEvent

from ._server import serve

TEST_KEY = "fhk_test"
"""The key that `FakeServer.client` sends."""

DEFAULT_MODEL = "fake-model"

Usage = Mapping[str, object]
Event = Union[str, StreamEvent, Mapping[str, object]]


@dataclass(frozen=True)
class Answer:
    """What a fake deployment says.

    Args:
        text: The text of the answer.
        reasoning: What the model thought before, if anything.
        usage: The `usage` object; None to count the words.
        model: The name of the model.
        pieces: The text as it is cut for a stream; None to cut it at its words. It is the text, too, if that is empty.
        stop_reason: Why the model stopped.
        duration: Seconds that the run took.
        error: The text of an `error` event that ends a stream in place of its `usage`; a call without a stream is
            refused with 502, as the service does when its provider fails.
        error_code: The code of that error.

    Raises:
        ValueError: The pieces, put together, are not the text.
    """

    text: str = ""
    reasoning: Optional[str] = None
    usage: Optional[Usage] = None
    model: str = DEFAULT_MODEL
    pieces: Optional[Sequence[str]] = None
    stop_reason: str = "completed"
    duration: float = 0.5
    error: Optional[str] = None
    error_code: Optional[str] = None

    def __post_init__(self) -> None:
        whole = "".join(self.pieces or ())
        if not self.text:
            object.__setattr__(self, "text", whole)
        elif self.pieces is not None and whole != self.text:
            raise ValueError("the pieces, put together, are not the text: a stream would tell another story")


@dataclass(frozen=True)
class Refusal:
    """An answer that is not 2xx, in the shape that the API documents.

    Args:
        status: The HTTP status.
        message: What the service says.
        error_code: The machine-readable code, if any.
        headers: Further headers, `Retry-After` for one.
    """

    status: int
    message: str = "The fake service was told to fail"
    error_code: Optional[str] = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class _Script:
    """The events of a stream, word for word."""

    events: Sequence[Event]


class _ReceivedRequest(InvokeRequest):
    """A request as it came. In `raw` are also the fields that this version does not know, from `extra_body`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    @property
    def raw(self) -> dict[str, object]:
        return {**super().raw, **(self.model_extra or {})}

    # Tests compare with what they could have sent, which is an InvokeRequest.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, InvokeRequest) and self.raw == other.raw

    __hash__ = InvokeRequest.__hash__


Reply = Union[str, Answer, Refusal]
Behaviour = Union[Reply, _Script, Callable[[InvokeRequest], Reply]]


class FakeServer:
    """Answers like the service, from what it is told to say, with no network and no bill.

    Use it in process, through `client()` or as the handler of an `httpx.MockTransport`, or on a loopback port with
    `serve()`. It may be used from several threads.

    Args:
        default: What deployments answer that nobody has described: a text, an `Answer`, a `Refusal`, or a function of
            the request that returns one of them. None: 404, as the service does.
        api_key: The only key that is let in; None for any.
        delay: Seconds between two events of a stream.

    Example:
        ```python
        fake = FakeServer()
        fake.answers("summarise", "Short.")
        assert fake.client().invoke_prompt(deployment="summarise").response == "Short."
        ```
    """

    calls: list[InvokeRequest]
    """The requests that were let in, in the order in which they came. `raw` has the JSON object of each."""

    def __init__(
        self,
        default: Union[Reply, Callable[[InvokeRequest], Reply], None] = None,
        *,
        api_key: Optional[str] = None,
        delay: float = 0.0,
    ) -> None:
        self.calls = []
        self.delay = delay
        self._default: Optional[Behaviour] = default
        self._api_key = api_key
        self._behaviours: dict[tuple[str, Optional[str]], Behaviour] = {}

    def answers(
        self,
        deployment: str,
        answer: Union[str, Answer, Callable[[InvokeRequest], Reply]] = "",
        *,
        variant: Optional[str] = None,
        reasoning: Optional[str] = None,
        usage: Optional[Usage] = None,
        model: str = DEFAULT_MODEL,
        pieces: Optional[Sequence[str]] = None,
        error: Optional[str] = None,
        error_code: Optional[str] = None,
    ) -> None:
        """Tell what a deployment answers, in one piece or as a stream.

        Args:
            deployment: The name of the deployment.
            answer: The text; an `Answer`, which has all that follows; or a function of the request that returns a
                text, an `Answer` or a `Refusal`.
            variant: The variant that says so; None for all that nobody has described.
            reasoning: What the model thought before.
            usage: The `usage` object; None to count the words.
            model: The name of the model.
            pieces: The text as it is cut for a stream. It is the text, too, if that is empty.
            error: The text of an `error` event with which a stream ends.
            error_code: The code of that error.

        Raises:
            ValueError: The pieces, put together, are not the text.
            TypeError: There is an `Answer` or a function, and also what only goes with a text.

        """
        text = answer if isinstance(answer, str) else ""
        told = Answer(text, reasoning, usage, model, pieces, error=error, error_code=error_code)
        if not isinstance(answer, str) and told != Answer():
            raise TypeError("reasoning, usage and the like go with a text: put them into the Answer")
        self._behaviours[deployment, variant] = told if isinstance(answer, str) else answer

    def fails(
        self,
        deployment: str,
        status: int,
        *,
        variant: Optional[str] = None,
        message: str = Refusal.message,
        error_code: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> None:
        """Tell that a deployment is refused.

        Args:
            deployment: The name of the deployment.
            status: The HTTP status, 429 for one.
            variant: The variant that is refused; None for all that nobody has described.
            message: What the service says.
            error_code: The machine-readable code, if any.
            headers: Further headers, `{"Retry-After": "1"}` for one.

        """
        self._behaviours[deployment, variant] = Refusal(status, message, error_code, headers or {})

    def streams(self, deployment: str, events: Sequence[Event], *, variant: Optional[str] = None) -> None:
        """Tell the events of a deployment's stream, one by one.

        Args:
            deployment: The name of the deployment.
            events: Pieces of text, which become `response` events, events as dicts or models, and texts in the form
                `data: ...`, which are sent word for word. After pieces of text alone, usage and `[DONE]` follow; else
                the stream ends where you end it, and a call that asks for no stream is refused with 422.
            variant: The variant that says so; None for all that nobody has described.

        """
        pieces = [event for event in events if isinstance(event, str) and not event.startswith("data:")]
        is_text = len(pieces) == len(events)
        self._behaviours[deployment, variant] = Answer("".join(pieces), pieces=pieces) if is_text else _Script(events)

    def client(self, api_key: str = TEST_KEY, **options: Any) -> FetchHive:
        """Return a client whose calls this server answers in process, blocking and asyncio.

        Args:
            api_key: The key that it sends.
            **options: Further arguments of `FetchHive`.

        Returns:
            The client. There is nothing to close.

        """
        transport = httpx.MockTransport(self.handle)
        return FetchHive(
            api_key=api_key,
            http_client=httpx.Client(transport=transport),
            async_http_client=httpx.AsyncClient(transport=transport),
            **options,
        )

    @contextmanager
    def serve(self, port: int = 0, delay: Optional[float] = None) -> Generator[str, None, None]:
        """Serve on a loopback port until the block is left.

        Args:
            port: The port; 0 for a free one.
            delay: Seconds between two events of a stream; None for the server's own `delay`.

        Returns:
            The URL to give to a client as `base_url`.

        Raises:
            OSError: The port is taken.

        """
        handler = self.handle if delay is None else partial(self._handle, delay=delay)
        with serve(handler, port) as address:
            yield f"{address}/v1"

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request: the handler for an `httpx.MockTransport`.

        Args:
            request: The request of a client.

        Returns:
            What the service would answer.

        """
        return self._handle(request, self.delay)

    def _handle(self, request: httpx.Request, delay: float) -> httpx.Response:
        refusal = self._check(request)
        if refusal is not None:
            return _refuse(refusal)
        try:
            call = _ReceivedRequest.model_validate_json(request.read())
        except ValidationError as exc:
            problem = exc.errors(include_url=False)[0]
            where = ".".join(str(part) for part in problem["loc"]) or "the body"
            return _refuse(Refusal(422, f"{where}: {problem['msg']}", "validation_error"))
        self.calls.append(call)
        return self._answer(call, delay)

    def _check(self, request: httpx.Request) -> Optional[Refusal]:
        if not request.url.path.endswith("/invoke"):
            return Refusal(404, "There is no such endpoint")
        if request.method != "POST":
            return Refusal(405, "Use POST")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key or self._api_key not in {None, key}:
            return Refusal(401, "The API key is missing or wrong", "validation_error")
        return None

    def _answer(self, call: InvokeRequest, delay: float) -> httpx.Response:
        behaviour = self._behaviour_for(call)
        if isinstance(behaviour, Refusal):
            return _refuse(behaviour)
        if isinstance(behaviour, _Script):
            if not call.streaming:
                return _refuse(Refusal(422, f"{call.deployment!r} was told the events of a stream: ask for one"))
            return _stream(behaviour.events, delay)
        answer = Answer(behaviour) if isinstance(behaviour, str) else behaviour
        if call.streaming:
            return _stream(_events_of(answer, call), delay)
        if answer.error is not None:
            return _refuse(Refusal(502, answer.error, answer.error_code))
        return _send_json(200, _json_of(answer, call))

    def _behaviour_for(self, call: InvokeRequest) -> Union[Reply, _Script]:
        described = self._behaviours.get((call.deployment, call.variant or None))
        if described is None:
            described = self._behaviours.get((call.deployment, None), self._default)
        if described is None:
            return Refusal(404, f"There is no deployment {call.deployment!r}")
        return described(call) if callable(described) else described


class _Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes piece by piece, to both kinds of client."""

    def __init__(self, pieces: Sequence[bytes], delay: float) -> None:
        self._pieces = pieces
        self._delay = delay

    def __iter__(self) -> Iterator[bytes]:
        for number, piece in enumerate(self._pieces):
            if number and self._delay:
                time.sleep(self._delay)
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number, piece in enumerate(self._pieces):
            if number and self._delay:
                await asyncio.sleep(self._delay)
            yield piece


def _stream(events: Iterable[Event], delay: float) -> httpx.Response:
    pieces = [_as_wire(event) for event in events]
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=_Pieces(pieces, delay))


def _refuse(refusal: Refusal) -> httpx.Response:
    body = {"error": refusal.message, "message": refusal.message, "error_code": refusal.error_code}
    known = {name: value for name, value in body.items() if value is not None}
    return _send_json(refusal.status, known, refusal.headers)


def _send_json(status: int, value: Mapping[str, object], further: Optional[Mapping[str, str]] = None) -> httpx.Response:
    headers = httpx.Headers({"Content-Type": "application/json"})
    headers.update(dict(further or {}))
    # Not json=...: the versions of httpx do not agree on whether to escape, and the service does not.
    return httpx.Response(status, headers=headers, content=json.dumps(value, ensure_ascii=False).encode())


def _as_wire(event: Event) -> bytes:
    if isinstance(event, str) and event.startswith("data:"):
        return event.encode()
    if isinstance(event, str):
        event = {"type": "response", "response": event}
    value = event.raw if isinstance(event, BaseModel) else event
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _events_of(answer: Answer, call: InvokeRequest) -> Iterator[Event]:
    facts = {"request_id": _new_request_id(), "model": answer.model}
    if answer.reasoning:
        for piece in _words_of(answer.reasoning):
            yield {**facts, "type": "reasoning", "response": piece}
    for piece in _words_of(answer.text) if answer.pieces is None else answer.pieces:
        yield {**facts, "type": "response", "response": piece}
    if answer.error is not None:
        failure = {"type": "error", "error": answer.error, "message": answer.error, "error_code": answer.error_code}
        yield {**facts, **{name: value for name, value in failure.items() if value is not None}}
    else:
        usage = {"duration": answer.duration, **_usage_of(answer, call)}
        request_id = facts["request_id"]
        yield {"request_id": request_id, "type": "usage", "usage": usage, "stop_reason": answer.stop_reason}
    yield "data: [DONE]\n\n"


def _json_of(answer: Answer, call: InvokeRequest) -> dict[str, object]:
    usage = dict(_usage_of(answer, call))
    fields = {
        "request_id": _new_request_id(),
        "model": answer.model,
        # The service has it up here, and in a stream inside of usage.
        "duration": usage.pop("duration", answer.duration),
        "reasoning": answer.reasoning,
        "response": answer.text,
        "usage": usage,
        "stop_reason": answer.stop_reason,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _usage_of(answer: Answer, call: InvokeRequest) -> Mapping[str, object]:
    """Count words for tokens, where nobody has said what to answer."""
    if answer.usage is not None:
        return answer.usage
    asked = len(_words_of(json.dumps(call.raw.get("inputs", {}))))
    thought = len(_words_of(answer.reasoning or ""))
    said = len(_words_of(answer.text))
    return {
        "prompt_tokens": {"total_tokens": asked, "cached_tokens": 0},
        "completion_tokens": {"total_tokens": thought + said, "reasoning_tokens": thought},
        "total_tokens": asked + thought + said,
    }


def _words_of(text: str) -> list[str]:
    """Cut a text at its words; put together again, the pieces are the text."""
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)


def _new_request_id() -> str:
    return f"req_{uuid.uuid4().hex}"
