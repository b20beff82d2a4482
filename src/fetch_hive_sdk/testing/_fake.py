"""A fake Fetch Hive service with scripted answers. Knows no sockets: a request in, a response out."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Optional, TypedDict, Union

import httpx

from fetch_hive_sdk import FetchHive, InvokeRequest

from ._answers import SCRIPTS, Answer, Behaviour, Refusal, Script, answer_of, prompt_reply
from ._catalogue import error_catalogue
from ._ledger import Run
from ._platform import Platform
from ._received import ReceivedRun, as_call, read_object
from ._reply import Fault, Reply, json_reply
from ._routes import API_PATH, Incoming, RefusedError, Route, RouteTable, path_of
from ._script import DEFAULT_MODEL, Event, StreamScript, Usage, new_request_id
from ._scripted import ScriptedAnswers
from ._server import serve

if TYPE_CHECKING:
    import uuid
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from typing_extensions import Unpack

    from fetch_hive_sdk.telemetry import Observer

    from ._server import Handler

TEST_KEY = "fhk_test"
"""The key that `FakeServer.client` sends."""

TEST_WORKSPACE = "ws_test"
"""The workspace of `FakeServer.client`, unless it is given another."""


class _ReceivedRequest(ReceivedRun, InvokeRequest, frozen=True, extra="allow"):
    """A request as it came."""


class Service(Platform):
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
        super().__init__()
        self.calls = []
        self.mistakes = []
        self.default = default
        self.delay = delay
        self._api_key = api_key
        expected = "a string, an Answer, a Refusal, a StreamScript or a Fault"
        self._prompts: ScriptedAnswers[InvokeRequest, Script] = ScriptedAnswers("deployment", SCRIPTS, expected)
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
        self._prompts.put(deployment, told if isinstance(answer, str) else answer, variant)

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
        self._prompts.put(deployment, Refusal(status, message, error_code, headers or {}), variant)

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
        self._prompts.put(deployment, events if isinstance(events, StreamScript) else answer_of(events), variant)

    def breaks(self, deployment: str, *, variant: Optional[str] = None) -> None:
        """Tell that the connection breaks before a deployment has answered.

        The request has arrived, so that the run may have happened: the client's error has `maybe_processed=True`.

        Args:
            deployment: The name of the deployment.
            variant: The variant that is never answered; None for all that nobody has described.

        """
        self._prompts.put(deployment, Fault.BREAK, variant)

    def stalls(self, deployment: str, *, variant: Optional[str] = None) -> None:
        """Tell that a deployment never answers.

        On a port the connection stays open and silent until the client leaves or the server is stopped. In process the
        client gets its `httpx.ReadTimeout` at once, whatever its `timeout` is, so that no test has to wait for it.

        Args:
            deployment: The name of the deployment.
            variant: The variant that is never answered; None for all that nobody has described.

        """
        self._prompts.put(deployment, Fault.STALL, variant)

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
            *self._platform_routes(),
        ]

    def _check_key(self, request: httpx.Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key or self._api_key not in {None, key}:
            raise RefusedError(401, "The API key is missing or wrong", "validation_error")

    # --- Endpoints ----------------------------------------------------------------------------------------------------

    def _list_error_codes(self, incoming: Incoming) -> Reply:  # noqa: ARG002 - every endpoint is called alike
        return json_reply(200, error_catalogue())

    def _invoke_prompt(self, incoming: Incoming) -> Reply:
        call = as_call(_ReceivedRequest, read_object(incoming.request))
        self.calls.append(call)
        return self._answer_prompt(call, incoming.delay)

    def _answer_prompt(self, call: InvokeRequest, delay: float) -> Reply:
        script = self._script_for(self._prompts, call.deployment, call, call.variant, self.default)
        return prompt_reply(script, call, self._keep_run(script, call)).paced(delay)

    def _keep_run(self, script: Script, call: InvokeRequest) -> str:
        """Keep the run of a prompt for those who look it up; return its request id."""
        if isinstance(script, Refusal):
            return new_request_id()
        run = Run("prompt_completion", metadata=call.metadata)
        if isinstance(script, Answer):
            run.outcome, run.data = "completed" if script.error is None else "failed", {"response": script.text}
        elif isinstance(script, str):
            run.data = {"response": script}
        elif isinstance(script, StreamScript):
            run.request_id = script.request_id or run.request_id
        return self._ledger.start(run).request_id


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
    timeout: Union[float, httpx.Timeout, None]
    idle_timeout: Optional[float]
    max_retries: int
    retry_unknown_outcome: bool
    prompt_path: str
    allow_http: bool
    default_headers: Optional[Mapping[str, str]]
    observers: Iterable[Observer]
    workspace_id: Union[str, uuid.UUID, None]
    correlate: bool


def connect(handler: Handler, api_key: str = TEST_KEY, **options: Unpack[ClientOptions]) -> FetchHive:
    """Return a client whose calls a handler answers in process."""
    transport = httpx.MockTransport(handler)
    options.setdefault("workspace_id", TEST_WORKSPACE)
    return FetchHive(
        api_key=api_key,
        http_client=httpx.Client(transport=transport),
        async_http_client=httpx.AsyncClient(transport=transport),
        **options,  # pyrefly: ignore[open-unpacking] - a checked call has no further ones
    )
