"""A fake Fetch Hive service with scripted answers: takes a request, returns a response. Uses no sockets."""

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
from ._routes import API_PATH, Incoming, RefusedError, Route, RouteTable, UnknownEndpointError, path_of
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
"""The API key of `FakeServer.client`."""

TEST_WORKSPACE = "ws_test"
"""The default workspace of `FakeServer.client`."""


class _ReceivedRequest(ReceivedRun, InvokeRequest, frozen=True, extra="allow"):
    """A received prompt request."""


class Service(Platform):
    """The base of all fakes of the service: returns scripted answers and records the calls.

    Args:
        default: The answer of deployments without a scripted one; None means 404.
        api_key: The only accepted API key; None accepts any.
        delay: Seconds between the events of a stream.
    """

    calls: list[InvokeRequest]
    """The accepted requests, oldest first. `raw` is the JSON object of a request."""

    mistakes: list[str]
    """Apparent mistakes in the test: calls after the last answer of a list."""

    wrong_urls: list[str]
    """A message for each call whose path is not an endpoint, with the right base URL."""

    default: Optional[Behaviour]
    """The answer of deployments without a scripted one; None means 404. Can be changed at any time."""

    delay: float
    """Seconds between the events of a stream. Can be changed at any time."""

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
        self.wrong_urls = []
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
        """Script the answer of a deployment, for calls with and without streaming.

        Args:
            deployment: The name of the deployment.
            answer: The text; an `Answer`, a `Refusal`, a `StreamScript` or a `Fault`; a function of the request that
                returns one of them; or a list of these with one answer for each call. Calls after the last answer get
                a 422 and are added to `mistakes`.
            variant: The variant with this answer; None for all variants without an answer of their own.
            reasoning: The reasoning of the model, sent before the text.
            usage: The `usage` object; None counts words as tokens.
            model: The name of the model.
            pieces: The chunks of a stream. If the text is empty, it is the joined pieces.
            error: The message of an `error` event that ends the stream.
            error_code: The code of the error.

        Raises:
            ValueError: The joined pieces differ from the text, or the list is empty.
            TypeError: `answer` has an unsupported type, or is not a string but passed with `reasoning`, `usage` or
                another argument that belongs in an `Answer`.

        """
        text = answer if isinstance(answer, str) else ""
        scripted = Answer(text, reasoning, usage, model, pieces, error=error, error_code=error_code)
        if not isinstance(answer, str) and scripted != Answer():
            raise TypeError("reasoning, usage and so on can only be passed with a string: put them into the Answer")
        self._prompts.put(deployment, scripted if isinstance(answer, str) else answer, variant)

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
        """Script an error response for a deployment.

        Args:
            deployment: The name of the deployment.
            status: The HTTP status, such as 429.
            variant: The variant that fails; None for all variants without an answer of their own.
            message: The error message.
            error_code: The machine-readable code; None for no code.
            headers: Additional headers, such as `{"Retry-After": "1"}`.

        """
        self._prompts.put(deployment, Refusal(status, message, error_code, headers or {}), variant)

    def streams(
        self, deployment: str, events: Union[StreamScript, Sequence[Event]], *, variant: Optional[str] = None
    ) -> None:
        """Script the events of a deployment's stream, one by one.

        Args:
            deployment: The name of the deployment.
            events: A `StreamScript`, which can have pauses, faults and any kind of end. Or a list of strings, which
                become `response` events, of events as dicts or models, and of strings that begin with `data:`, which
                are sent unchanged. A list of text alone is followed by `usage` and `[DONE]`; any other stream ends
                after the last item, and calls without streaming get a 422.
            variant: The variant with this stream; None for all variants without an answer of their own.

        """
        self._prompts.put(deployment, events if isinstance(events, StreamScript) else answer_of(events), variant)

    def breaks(self, deployment: str, *, variant: Optional[str] = None) -> None:
        """Script a connection that breaks before the deployment has answered.

        The request has arrived, so the run may have happened: the client's error has `maybe_processed=True`.

        Args:
            deployment: The name of the deployment.
            variant: The variant that breaks; None for all variants without an answer of their own.

        """
        self._prompts.put(deployment, Fault.BREAK, variant)

    def stalls(self, deployment: str, *, variant: Optional[str] = None) -> None:
        """Script a deployment that never answers.

        On a port the connection stays open until the client disconnects or the server is stopped. In process,
        `httpx.ReadTimeout` is raised at once whatever the client's `timeout` is, so that tests need not wait for it.

        Args:
            deployment: The name of the deployment.
            variant: The variant that never answers; None for all variants without an answer of their own.

        """
        self._prompts.put(deployment, Fault.STALL, variant)

    @contextmanager
    def serve(self, port: int = 0, delay: Optional[float] = None) -> Generator[str, None, None]:
        """Serve on a loopback port until the block is left.

        Args:
            port: The port; 0 chooses a free one.
            delay: Seconds between the events of a stream; None means the server's `delay`.

        Returns:
            The `base_url` for clients.

        Raises:
            OSError: The port is in use.

        """
        handler = self.handle if delay is None else partial(self._respond, delay=delay)
        with serve(handler, port) as address:
            yield f"{address}{API_PATH}"

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request. Can be passed to `httpx.MockTransport`.

        Args:
            request: The request of a client.

        Returns:
            The response that the service would return.

        Raises:
            httpx.RemoteProtocolError: The deployment is scripted to break.
            httpx.ReadTimeout: The deployment is scripted to stall.

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
            # Browsers ask for files such as /favicon.ico, without a key.
            if isinstance(exc, UnknownEndpointError) and (
                request.method != "GET" or "authorization" in request.headers
            ):
                self.wrong_urls.append(str(exc))
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
            raise RefusedError(401, "The API key is missing or invalid", "validation_error")

    # --- Endpoints ----------------------------------------------------------------------------------------------------

    def _list_error_codes(self, incoming: Incoming) -> Reply:  # noqa: ARG002 - all endpoints have one signature
        return json_reply(200, error_catalogue())

    def _invoke_prompt(self, incoming: Incoming) -> Reply:
        call = as_call(_ReceivedRequest, read_object(incoming.request))
        self.calls.append(call)
        return self._answer_prompt(call, incoming.delay)

    def _answer_prompt(self, call: InvokeRequest, delay: float) -> Reply:
        script = self._script_for(self._prompts, call.deployment, call, call.variant, self.default)
        return prompt_reply(script, call, self._store_run(script, call)).paced(delay)

    def _store_run(self, script: Script, call: InvokeRequest) -> str:
        """Store the run of a prompt, so that `client.requests` finds it; return its request id."""
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
    """A fake Fetch Hive service with scripted answers, for tests without network and cost.

    Use it in process, with `client()` or as the handler of an `httpx.MockTransport`, or on a loopback port, with
    `serve()`. Thread-safe.

    Args:
        default: The answer of deployments without a scripted one: a string, an `Answer`, a `Refusal`, or a function of
            the request that returns one of them. None means 404, as from the service.
        api_key: The only accepted API key; None accepts any.
        delay: Seconds between the events of a stream.

    Example:
        ```python
        fake = FakeServer()
        fake.answers("summarise", "Short.")
        assert fake.client().invoke_prompt(deployment="summarise").response == "Short."
        ```
    """

    def client(self, api_key: str = TEST_KEY, **options: Unpack[ClientOptions]) -> FetchHive:
        """Return a client whose calls, blocking and asyncio, this server answers in process.

        Args:
            api_key: The API key of the client.
            **options: Further arguments of `FetchHive`, except those that choose the HTTP client.

        Returns:
            The client. It need not be closed.

        """

        def handle(request: httpx.Request) -> httpx.Response:
            # In process, any base URL is accepted, such as that of a gateway.
            base_path = path_of(client.base_url)
            return self.handle(request) if base_path == API_PATH else self._respond(request, base_path=base_path)

        client = connect(handle, api_key, **options)
        return client


class FakeHive(Service):
    """A fake service with a client for it: the value of the fixture `fetch_hive`.

    Example:
        ```python
        def test_summary(fetch_hive: FakeHive) -> None:
            fetch_hive.answers("summarise", "Short.")
            assert fetch_hive.client.invoke_prompt(deployment="summarise").response == "Short."
        ```
    """

    client: FetchHive
    """A client whose calls are answered in process, blocking and asyncio. There is nothing to close."""

    url: str
    """The URL of the same service on a loopback port. `FETCH_HIVE_BASE_URL` is set to it, so `FetchHive()` uses it."""

    @contextmanager
    def running(self) -> Generator[FakeHive, None, None]:
        """Serve on `url` until the block is left. The fixture does this for you."""
        with self.serve() as self.url:
            self.client = connect(self.handle, base_url=self.url)
            yield self


class ClientOptions(TypedDict, total=False):
    """The arguments of `FetchHive` that the client of a fake accepts."""

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
    """Return a client whose calls are answered by a handler in process."""
    transport = httpx.MockTransport(handler)
    options.setdefault("workspace_id", TEST_WORKSPACE)
    return FetchHive(
        api_key=api_key,
        http_client=httpx.Client(transport=transport),
        async_http_client=httpx.AsyncClient(transport=transport),
        **options,  # pyrefly: ignore[open-unpacking] - checked calls pass no others
    )
