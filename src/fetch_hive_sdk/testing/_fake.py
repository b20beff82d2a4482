"""A fake Fetch Hive service with scripted answers. Knows no sockets: a request in, a response out."""

from __future__ import annotations

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
from ._json import read_json
from ._reply import Fault, Reply, json_reply
from ._routes import API_PATH, Incoming, RefusedError, Route, RouteTable, path_of, refusal_reply
from ._script import (
    DEFAULT_MODEL,
    Event,
    StreamScript,
    Usage,
    count_words,
    new_request_id,
    reply_of,
    script_of,
    words_of,
)
from ._server import serve

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from typing_extensions import Unpack

    from ._server import Handler

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


Script = Union[str, Answer, Refusal, StreamScript, Fault]
"""All that an answer can be given as."""
SCRIPTS = (str, Answer, Refusal, StreamScript, Fault)
Behaviour = Union[Script, Callable[[InvokeRequest], Script]]


class _AnswerQueue:
    """Answers that are given one after the other, each of them once."""

    def __init__(self, answers: Sequence[Behaviour]) -> None:
        if not answers:
            raise ValueError("there must be an answer in the list")
        self.answers = [_checked(answer) for answer in answers]
        self._taken = 0
        self._lock = threading.Lock()

    def take(self) -> tuple[int, Optional[Behaviour]]:
        """Return the number of this call, and its answer; None if none is left."""
        with self._lock:
            self._taken += 1
            number = self._taken
        return number, self.answers[number - 1] if number <= len(self.answers) else None


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
        self._behaviours: dict[tuple[str, Optional[str]], Union[Behaviour, _AnswerQueue]] = {}
        self._routes = RouteTable(self._endpoints())

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
            self._behaviours[deployment, variant] = _AnswerQueue(answer)
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
        handler = self.handle if delay is None else partial(self._respond, delay=delay)
        with serve(handler, port) as address:
            yield f"{address}{API_PATH}"

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
        return self._respond(request)

    def _respond(
        self, request: httpx.Request, *, base_path: str = API_PATH, delay: Optional[float] = None
    ) -> httpx.Response:
        try:
            route, names = self._routes.find(request, base_path)
            if route.needs_key:
                self._check_key(request)
            reply = route.answer(Incoming(request, names, self.delay if delay is None else delay))
        except RefusedError as exc:
            reply = exc.reply
        return reply.respond(request)

    def _endpoints(self) -> Iterable[Route]:
        return [
            Route("POST", "/prompt/invoke", self._invoke_prompt),
            Route("POST", "/invoke", self._invoke_prompt),
            Route("GET", "/error_codes", self._list_error_codes, needs_key=False),
        ]

    def _check_key(self, request: httpx.Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key or self._api_key not in {None, key}:
            raise RefusedError(401, "The API key is missing or wrong", "validation_error")

    # --- Endpoints ----------------------------------------------------------------------------------------------------

    def _list_error_codes(self, incoming: Incoming) -> Reply:  # noqa: ARG002 - every endpoint is called alike
        return json_reply(200, error_catalogue())

    def _invoke_prompt(self, incoming: Incoming) -> Reply:
        call = _read_call(incoming.request)
        self.calls.append(call)
        return self._answer_prompt(call, incoming.delay)

    def _answer_prompt(self, call: InvokeRequest, delay: float) -> Reply:
        return prompt_reply(self._script_for(call), call).paced(delay)

    def _script_for(self, call: InvokeRequest) -> Script:
        behaviour = self._behaviours.get((call.deployment, call.variant or None))
        if behaviour is None:
            behaviour = self._behaviours.get((call.deployment, None), self.default)
        if isinstance(behaviour, _AnswerQueue):
            behaviour = self._take_from(behaviour, call)
        if behaviour is None:
            return Refusal(404, f"There is no deployment {call.deployment!r}: {self._known_deployments()}")
        return behaviour if isinstance(behaviour, SCRIPTS) else _checked_script(behaviour(call))

    def _known_deployments(self) -> str:
        known = [repr(name) if variant is None else f"{name!r} ({variant})" for name, variant in self._described()]
        return f"known are {', '.join(sorted(known))}" if known else "none has been described"

    def _described(self) -> set[tuple[str, Optional[str]]]:
        """Return the deployments that have an answer, with the variant if only that has one."""
        known = self._behaviours.keys()
        return {(name, variant) for name, variant in known if variant is None or (name, None) not in known}

    def _take_from(self, queue: _AnswerQueue, call: InvokeRequest) -> Behaviour:
        number, behaviour = queue.take()
        if behaviour is None:
            mistake = f"{call.deployment!r} was told {len(queue.answers)} answers, and this is call {number}"
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

        def handle(request: httpx.Request) -> httpx.Response:
            # In process any base URL will do, such as that of a gateway.
            base_path = path_of(client.base_url)
            return self.handle(request) if base_path == API_PATH else self._respond(request, base_path=base_path)

        client = connect(handle, api_key, **options)
        return client


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
    return behaviour if callable(behaviour) else _checked_script(behaviour)


def _checked_script(script: Script) -> Script:
    if not isinstance(cast("object", script), SCRIPTS):
        kind = type(script).__name__
        raise TypeError(f"an answer is a text, an Answer, a Refusal, a StreamScript or a Fault; this is of type {kind}")
    return script


def _read_call(request: httpx.Request) -> InvokeRequest:
    body = request.read()
    try:
        read_json(body)
        return _ReceivedRequest.model_validate_json(body)
    except ValidationError as exc:
        problem = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the body"
        raise RefusedError(422, f"{where}: {problem['msg']}", "validation_error") from None
    except ValueError as exc:
        raise RefusedError(422, f"the body is not valid JSON: {exc}", "validation_error") from None


def _told_by(events: Sequence[Event]) -> Union[Answer, StreamScript]:
    pieces = [event for event in events if isinstance(event, str) and not event.startswith("data:")]
    return Answer("".join(pieces), pieces=pieces) if len(pieces) == len(events) else script_of(events)


def prompt_reply(script: Script, call: InvokeRequest) -> Reply:
    """Return the reply to a call of a prompt.

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
        return _whole_reply(script, call)
    if isinstance(script, Answer):
        script = Refusal(502, script.error or "", script.error_code)
    if isinstance(script, StreamScript):
        if call.streaming:
            return reply_of(script, call.raw.get("inputs", {}))
        script = Refusal(422, f"{call.deployment!r} was told the events of a stream: ask for one")
    return refusal_reply(script.status, script.message, script.error_code, script.headers)


def _script_of(answer: Answer, call: InvokeRequest) -> StreamScript:
    script = StreamScript(answer.model).reasoning(*words_of(answer.reasoning or ""))
    script = script.text(*(words_of(answer.text) if answer.pieces is None else answer.pieces))
    if answer.error is not None:
        return script.error(answer.error, answer.error_code)
    usage = {"duration": answer.duration, **_usage_of(answer, call)}
    return script.usage(usage, stop_reason=answer.stop_reason)


def _whole_reply(answer: Answer, call: InvokeRequest) -> Reply:
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
    return json_reply(200, {name: value for name, value in fields.items() if value is not None})


def _usage_of(answer: Answer, call: InvokeRequest) -> Usage:
    """Count words for tokens, where nobody has said what to answer."""
    if answer.usage is not None:
        return answer.usage
    return count_words(call.raw.get("inputs", {}), answer.reasoning or "", answer.text)
