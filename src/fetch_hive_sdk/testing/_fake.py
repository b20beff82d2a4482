"""A service that says what it is told to say. Knows no sockets: a request in, a response out."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Callable, ClassVar, Optional, TypedDict, Union, cast

import httpx
from pydantic import ConfigDict, ValidationError

from fetch_hive_sdk import FetchHive, InvokeRequest

from ._catalogue import error_catalogue
from ._script import (
    DEFAULT_MODEL,
    Event,
    Fault,
    StreamScript,
    Usage,
    count_words,
    new_request_id,
    respond,
    script_of,
    words_of,
)
from ._server import Handler, serve

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from typing_extensions import Unpack

TEST_KEY = "fhk_test"
"""The key that `FakeServer.client` sends."""


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


class _ReceivedRequest(InvokeRequest, frozen=True):
    """A request as it came. In `raw` are also the fields that this version does not know, from `extra_body`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    @property
    def raw(self) -> dict[str, object]:
        return {**super().raw, **(self.model_extra or {})}

    # A failing test shows what it could have written.
    def __repr_name__(self) -> str:
        return InvokeRequest.__name__

    # Tests compare with what they could have sent, which is an InvokeRequest.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, InvokeRequest) and self.raw == other.raw

    __hash__ = InvokeRequest.__hash__


Reply = Union[str, Answer, Refusal, StreamScript, Fault]
REPLIES = (str, Answer, Refusal, StreamScript, Fault)
Behaviour = Union[Reply, Callable[[InvokeRequest], Reply]]


class _Turns:
    """Replies that are taken in turn, each of them once."""

    def __init__(self, replies: Sequence[Behaviour]) -> None:
        if not replies:
            raise ValueError("there must be an answer in the list")
        self.replies = [_checked(reply) for reply in replies]
        self._taken = 0
        self._lock = threading.Lock()

    def take(self) -> tuple[int, Optional[Behaviour]]:
        """Return the number of this call, and what is said to it; None if nothing is left."""
        with self._lock:
            self._taken += 1
            number = self._taken
        return number, self.replies[number - 1] if number <= len(self.replies) else None


class Service:
    """What every fake of the service does: it answers from what it is told to say, and remembers what it was asked.

    Args:
        default: What deployments answer that nobody has described; None for 404.
        api_key: The only key that is let in; None for any.
        delay: Seconds between two events of a stream.
    """

    calls: list[InvokeRequest]
    """The requests that were let in, in the order in which they came. `raw` has the JSON object of each."""

    mistakes: list[str]
    """What the test seems to have got wrong: calls for which no answer was left."""

    default: Optional[Behaviour]
    """What deployments answer that nobody has described; None for 404. May be changed at any time."""

    delay: float
    """Seconds between two events of a stream. May be changed at any time."""

    def __init__(
        self,
        default: Optional[Behaviour] = None,
        *,
        api_key: Optional[str] = None,
        delay: float = 0.0,
    ) -> None:
        self.calls = []
        self.mistakes = []
        self.default = default
        self.delay = delay
        self._api_key = api_key
        self._behaviours: dict[tuple[str, Optional[str]], Union[Behaviour, _Turns]] = {}

    def answers(
        self,
        deployment: str,
        answer: Union[Behaviour, Sequence[Behaviour]] = "",
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
            answer: The text; an `Answer`, which has all that follows; a `Refusal`, a `StreamScript` or a `Fault`; a
                function of the request that returns one of them; or a list of all these, which are taken in turn, one
                for each call. A call for which none is left is refused with 422, and noted in `mistakes`.
            variant: The variant that says so; None for all that nobody has described.
            reasoning: What the model thought before.
            usage: The `usage` object; None to count the words.
            model: The name of the model.
            pieces: The text as it is cut for a stream. It is the text, too, if that is empty.
            error: The text of an `error` event with which a stream ends.
            error_code: The code of that error.

        Raises:
            ValueError: The pieces, put together, are not the text; or the list is empty.
            TypeError: There is something else than a text, and also what only goes with a text; or it is no answer.

        """
        text = answer if isinstance(answer, str) else ""
        told = Answer(text, reasoning, usage, model, pieces, error=error, error_code=error_code)
        if not isinstance(answer, str) and told != Answer():
            raise TypeError("reasoning, usage and the like go with a text: put them into the Answer")
        if isinstance(answer, str):
            self._behaviours[deployment, variant] = told
        elif not callable(answer) and isinstance(answer, Sequence):
            self._behaviours[deployment, variant] = _Turns(answer)
        else:
            # ty: ignore[invalid-argument-type] - it has in mind a callable that is a sequence
            self._behaviours[deployment, variant] = _checked(answer)

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

    def streams(
        self, deployment: str, events: Union[StreamScript, Sequence[Event]], *, variant: Optional[str] = None
    ) -> None:
        """Tell the events of a deployment's stream, one by one.

        Args:
            deployment: The name of the deployment.
            events: A `StreamScript`, which has pauses, faults and ends of all kinds. Or a list of pieces of text, which
                become `response` events, events as dicts or models, and texts in the form `data: ...`, which are sent
                word for word; after pieces of text alone, usage and `[DONE]` follow, else the stream ends where you
                end it. A call that asks for no stream is refused with 422, but for pieces of text alone.
            variant: The variant that says so; None for all that nobody has described.

        """
        self._behaviours[deployment, variant] = events if isinstance(events, StreamScript) else _told_by(events)

    def breaks(self, deployment: str, *, variant: Optional[str] = None) -> None:
        """Tell that the connection breaks before a deployment has answered.

        The request has arrived, so that the run may have happened: the client's error has `maybe_processed=True`.

        Args:
            deployment: The name of the deployment.
            variant: The variant that is never answered; None for all that nobody has described.

        """
        self._behaviours[deployment, variant] = Fault.BREAK

    def stalls(self, deployment: str, *, variant: Optional[str] = None) -> None:
        """Tell that a deployment never answers.

        On a port the connection stays open and silent until the client leaves or the server is stopped. In process the
        client gets its `httpx.ReadTimeout` at once, whatever its `timeout` is, so that no test has to wait for it.

        Args:
            deployment: The name of the deployment.
            variant: The variant that is never answered; None for all that nobody has described.

        """
        self._behaviours[deployment, variant] = Fault.STALL

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

        Raises:
            httpx.RemoteProtocolError: The deployment was told to break.
            httpx.ReadTimeout: The deployment was told to stall.

        """
        return self._handle(request, self.delay)

    def _handle(self, request: httpx.Request, delay: float) -> httpx.Response:
        if request.method == "GET" and request.url.path.endswith("/error_codes"):
            return _send_json(200, error_catalogue())
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
        return self._answer(call, delay, request)

    def _check(self, request: httpx.Request) -> Optional[Refusal]:
        if not request.url.path.endswith("/invoke"):
            return Refusal(404, "There is no such endpoint")
        if request.method != "POST":
            return Refusal(405, "Use POST")
        return self._check_key(request)

    def _check_key(self, request: httpx.Request) -> Optional[Refusal]:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key or self._api_key not in {None, key}:
            return Refusal(401, "The API key is missing or wrong", "validation_error")
        return None

    def _answer(self, call: InvokeRequest, delay: float, request: httpx.Request) -> httpx.Response:
        reply = self._reply_to(call)
        if isinstance(reply, Fault):
            reply.happen()
        if isinstance(reply, str):
            reply = Answer(reply)
        if isinstance(reply, Answer):
            if not call.streaming:
                return _send_whole(reply, call)
            reply = _script_of(reply, call)
        if isinstance(reply, StreamScript):
            if call.streaming:
                return respond(reply, call.raw.get("inputs", {}), delay, request)
            reply = Refusal(422, f"{call.deployment!r} was told the events of a stream: ask for one")
        return _refuse(reply)

    def _reply_to(self, call: InvokeRequest) -> Reply:
        described = self._behaviours.get((call.deployment, call.variant or None))
        if described is None:
            described = self._behaviours.get((call.deployment, None), self.default)
        if isinstance(described, _Turns):
            described = self._take_from(described, call)
        if described is None:
            return Refusal(404, f"There is no deployment {call.deployment!r}")
        return described if isinstance(described, REPLIES) else _checked_reply(described(call))

    def _take_from(self, turns: _Turns, call: InvokeRequest) -> Behaviour:
        number, behaviour = turns.take()
        if behaviour is None:
            mistake = f"{call.deployment!r} was told {len(turns.replies)} answers, and this is call {number}"
            self.mistakes.append(mistake)
            return Refusal(422, mistake)
        return behaviour


class FakeServer(Service):
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

    def client(self, api_key: str = TEST_KEY, **options: Unpack[ClientOptions]) -> FetchHive:
        """Return a client whose calls this server answers in process, blocking and asyncio.

        Args:
            api_key: The key that it sends.
            **options: Further arguments of `FetchHive`, but for those that say what calls are sent with.

        Returns:
            The client. There is nothing to close.

        """
        return connect(self.handle, api_key, **options)


class ClientOptions(TypedDict, total=False):
    """The arguments of `FetchHive` that a client of a fake may have."""

    base_url: Optional[str]
    timeout: Union[float, httpx.Timeout]
    idle_timeout: Optional[float]
    max_retries: int
    retry_unknown_outcome: bool
    prompt_path: str
    allow_http: bool


def connect(handler: Handler, api_key: str = TEST_KEY, **options: Unpack[ClientOptions]) -> FetchHive:
    """Return a client whose calls a handler answers in process."""
    transport = httpx.MockTransport(handler)
    return FetchHive(
        api_key=api_key,
        http_client=httpx.Client(transport=transport),
        async_http_client=httpx.AsyncClient(transport=transport),
        **options,  # pyrefly: ignore[open-unpacking] - a checked call has no further ones
    )


def _checked(behaviour: Behaviour) -> Behaviour:
    return behaviour if callable(behaviour) else _checked_reply(behaviour)


def _checked_reply(reply: Reply) -> Reply:
    if not isinstance(cast("object", reply), REPLIES):
        kind = type(reply).__name__
        raise TypeError(f"an answer is a text, an Answer, a Refusal, a StreamScript or a Fault; this is of type {kind}")
    return reply


def _told_by(events: Sequence[Event]) -> Union[Answer, StreamScript]:
    pieces = [event for event in events if isinstance(event, str) and not event.startswith("data:")]
    return Answer("".join(pieces), pieces=pieces) if len(pieces) == len(events) else script_of(events)


def _refuse(refusal: Refusal) -> httpx.Response:
    body = {"error": refusal.message, "message": refusal.message, "error_code": refusal.error_code}
    known = {name: value for name, value in body.items() if value is not None}
    return _send_json(refusal.status, known, refusal.headers)


def _send_json(status: int, value: Mapping[str, object], further: Optional[Mapping[str, str]] = None) -> httpx.Response:
    headers = httpx.Headers({"Content-Type": "application/json"})
    headers.update(dict(further or {}))
    # Not json=...: the versions of httpx do not agree on whether to escape, and the service does not.
    return httpx.Response(status, headers=headers, content=json.dumps(value, ensure_ascii=False).encode())


def _script_of(answer: Answer, call: InvokeRequest) -> StreamScript:
    script = StreamScript(answer.model).reasoning(*words_of(answer.reasoning or ""))
    script = script.text(*(words_of(answer.text) if answer.pieces is None else answer.pieces))
    if answer.error is not None:
        return script.error(answer.error, answer.error_code)
    usage = {"duration": answer.duration, **_usage_of(answer, call)}
    return script.usage(usage, stop_reason=answer.stop_reason)


def _send_whole(answer: Answer, call: InvokeRequest) -> httpx.Response:
    if answer.error is not None:
        return _refuse(Refusal(502, answer.error, answer.error_code))
    usage = dict(_usage_of(answer, call))
    fields = {
        "request_id": new_request_id(),
        "model": answer.model,
        # The service has it up here, and in a stream inside of usage.
        "duration": usage.pop("duration", answer.duration),
        "reasoning": answer.reasoning,
        "response": answer.text,
        "usage": usage,
        "stop_reason": answer.stop_reason,
    }
    return _send_json(200, {name: value for name, value in fields.items() if value is not None})


def _usage_of(answer: Answer, call: InvokeRequest) -> Usage:
    """Count words for tokens, where nobody has said what to answer."""
    if answer.usage is not None:
        return answer.usage
    return count_words(call.raw.get("inputs", {}), answer.reasoning or "", answer.text)
