"""The endpoints of a fake service for workflows, agents and their runs: everything except prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Optional, Union, cast

import httpx

from fetch_hive_sdk._config import is_loopback

from ._agents import AGENT_SCRIPTS, AgentBehaviour, AgentScript, ReceivedAgentRequest, agent_reply, start_agent
from ._answers import Answer, Behaviour, Refusal
from ._catalogue import countries_of, model_catalogue, search_services
from ._ledger import WEBHOOK_SECRET, Callback, Ledger, cursor_of, index_of
from ._received import as_call, read_object
from ._reply import Fault, Reply, json_reply
from ._routes import Incoming, RefusedError, Route
from ._scripted import CallT, NoAnswerLeftError, ScriptedAnswers, ScriptT
from ._workflows import (
    WORKFLOW_SCRIPTS,
    AnyWorkflowRequest,
    HiveAgentBehaviour,
    ReceivedHiveAgentRequest,
    ReceivedWorkflowRequest,
    ReceivedWorkflowStart,
    WorkflowBehaviour,
    WorkflowScript,
    hive_agent_reply,
    start_workflow,
    workflow_reply,
)
from ._workspace import Workspaces

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fetch_hive_sdk.models.agents import AgentRequest
    from fetch_hive_sdk.models.hive_agents import HiveAgentRequest

_APPROVALS = "/public/workspaces/{workspace}/tool_action_approvals"
_DECISIONS = {"allow_once", "deny"}
_PAGE = 50
_DELIVERY_SECONDS = 10.0


class Platform:
    """The base of all fakes for everything except prompts."""

    agent_calls: list[AgentRequest]
    """The accepted agent requests, oldest first."""

    workflow_calls: list[AnyWorkflowRequest]
    """The accepted workflow requests, oldest first: each a `WorkflowRequest` or a `WorkflowStart`."""

    hive_agent_calls: list[HiveAgentRequest]
    """The accepted Hive Agent requests, oldest first."""

    mistakes: list[str]
    default: Optional[Behaviour]

    def __init__(self) -> None:
        self.agent_calls = []
        self.workflow_calls = []
        self.hive_agent_calls = []
        self._ledger = Ledger()
        self._workspaces = Workspaces(self._ledger)
        expected = "a string, an AgentAnswer, a Refusal, a StreamScript or a Fault"
        self._agents: ScriptedAnswers[AgentRequest, AgentScript] = ScriptedAnswers("agent", AGENT_SCRIPTS, expected)
        types, expected = WORKFLOW_SCRIPTS, "a string, a mapping, a WorkflowAnswer, a Refusal or a Fault"
        self._workflows: ScriptedAnswers[AnyWorkflowRequest, WorkflowScript] = ScriptedAnswers(
            "workflow", types, expected
        )
        self._hive_agents: ScriptedAnswers[HiveAgentRequest, WorkflowScript] = ScriptedAnswers(
            "Hive Agent", types, expected
        )

    # --- Scripted answers ---------------------------------------------------------------------------------------------

    def answers_agent(self, agent: str, answer: Union[AgentBehaviour, Sequence[AgentBehaviour]]) -> None:
        """Script the answer of an agent, for calls with and without streaming.

        Args:
            agent: The id of the agent.
            answer: The text; an `AgentAnswer` with tools, approvals, files or background work; a `Refusal`, a
                `StreamScript` or a `Fault`; a function of the `AgentRequest` that returns one of them; or a list of
                these with one answer for each call. Calls after the last answer get a 422 and are added to `mistakes`.

        Raises:
            ValueError: The list is empty.
            TypeError: `answer` has an unsupported type.

        """
        self._agents.put(agent, answer)

    def answers_workflow(
        self,
        deployment: str,
        answer: Union[WorkflowBehaviour, Sequence[WorkflowBehaviour]],
        *,
        variant: Optional[str] = None,
    ) -> None:
        """Script the answer of a workflow.

        Args:
            deployment: The name of the deployment.
            answer: The output as a string or a mapping; a `WorkflowAnswer`, which can fail or take time; a `Refusal` or
                a `Fault`; a function of the `WorkflowRequest` or `WorkflowStart` that returns one of them; or a list of
                these with one answer for each call.
            variant: The variant with this answer; None for all variants without an answer of their own.

        Raises:
            ValueError: The list is empty.
            TypeError: `answer` has an unsupported type.

        """
        self._workflows.put(deployment, answer, variant)

    def answers_hive_agent(
        self, hive_agent: str, answer: Union[HiveAgentBehaviour, Sequence[HiveAgentBehaviour]]
    ) -> None:
        """Script the result of a Hive Agent.

        Args:
            hive_agent: The id of the Hive Agent.
            answer: As for `answers_workflow`; a function gets the `HiveAgentRequest`.

        Raises:
            ValueError: The list is empty.
            TypeError: `answer` has an unsupported type.

        """
        self._hive_agents.put(hive_agent, answer)

    # --- Recorded runs ------------------------------------------------------------------------------------------------

    @property
    def records(self) -> list[dict[str, object]]:
        """The records of all runs as in `client.requests`, oldest first, including those without an answer."""
        return self._ledger.records()

    @property
    def callbacks(self) -> list[Callback]:
        """The signed callbacks of ended runs, oldest first. `deliver_callbacks` ends the running ones."""
        return list(self._ledger.callbacks)

    @property
    def webhook_secret(self) -> str:
        """The secret that signs callbacks, and that triggers must send."""
        return WEBHOOK_SECRET

    def deliver_callbacks(self) -> list[int]:
        """End all runs with a callback URL, and send the callbacks for this machine.

        Runs that wait for an approval keep waiting. Callbacks to other machines are not sent; like all others, they
        are in `callbacks`.

        Returns:
            The HTTP status of each delivery; 0 means no answer.

        """
        due = [callback for callback in self._ledger.take_callbacks() if _is_local(callback)]
        if not due:
            return []
        with httpx.Client(trust_env=False, timeout=_DELIVERY_SECONDS) as client:
            return [_send(client, callback) for callback in due]

    # --- Endpoints ----------------------------------------------------------------------------------------------------

    def _platform_routes(self) -> Iterable[Route]:
        return [
            Route("POST", "/workflow/invoke", self._invoke_workflow),
            Route("POST", "/agent/invoke", self._invoke_agent),
            Route("POST", "/hive-agent/invoke", self._invoke_hive_agent),
            Route("POST", "/agent/webhooks/{agent}", self._trigger_agent, needs_key=False),
            Route("POST", "/workflow/webhooks/{workflow}/variants/{variant}", self._trigger_workflow, needs_key=False),
            Route("GET", "/public/requests/{request}", self._look_up),
            Route("GET", "/agent/delegations/{delegation}", self._get_delegation),
            Route("POST", "/agent/delegations/{delegation}/cancel", self._cancel_delegation),
            Route("GET", "/agent/threads/{thread}/delegations", self._list_delegations),
            Route("GET", _APPROVALS, self._list_approvals),
            Route("GET", f"{_APPROVALS}/{{approval}}", self._get_approval),
            Route("POST", f"{_APPROVALS}/{{approval}}/decide", self._decide),
            Route("GET", "/public/models", lambda _: json_reply(200, model_catalogue())),
            Route(
                "GET",
                "/public/search_services/countries",
                lambda _: json_reply(200, {"services": search_services()}),
                needs_key=False,
            ),
            Route("GET", "/public/search_services/{service}/countries", self._list_countries, needs_key=False),
            *self._workspaces.routes(),
        ]

    def _invoke_workflow(self, incoming: Incoming) -> Reply:
        fields = read_object(incoming.request)
        options = _pop_async_options(fields)
        call: AnyWorkflowRequest
        if options.get("enabled") is True:
            if not options.get("callback_url"):
                raise RefusedError(422, "callback_url is required when async is enabled", "missing_required_field")
            call = as_call(ReceivedWorkflowStart, {**fields, "callback_url": options["callback_url"]})
        else:
            call = as_call(ReceivedWorkflowRequest, fields)
        self.workflow_calls.append(call)
        return workflow_reply(self._workflow_script(call), call, self._ledger)

    def _invoke_agent(self, incoming: Incoming) -> Reply:
        call = _read_agent_call(read_object(incoming.request))
        self.agent_calls.append(call)
        return agent_reply(self._agent_script(call), call, self._ledger).paced(incoming.delay)

    def _invoke_hive_agent(self, incoming: Incoming) -> Reply:
        fields = read_object(incoming.request)
        url = _pop_async_options(fields).get("callback_url")
        call = as_call(ReceivedHiveAgentRequest, {**fields, "callback_url": url})
        self.hive_agent_calls.append(call)
        return hive_agent_reply(self._hive_agent_script(call), call, self._ledger)

    def _trigger_agent(self, incoming: Incoming) -> Reply:
        _check_secret(incoming.request)
        fields = read_object(incoming.request)
        call = _read_agent_call({**fields, "agent": incoming.names["agent"]})
        if not call.async_options.get("callback_url"):
            raise RefusedError(422, "async.callback_url is required", "missing_required_field")
        self.agent_calls.append(call)
        run = start_agent(self._agent_script(call), call, self._ledger)
        return json_reply(202, {"request_id": run.request_id, "run_status": "running"})

    def _trigger_workflow(self, incoming: Incoming) -> Reply:
        _check_secret(incoming.request)
        fields = read_object(incoming.request)
        url = _pop_async_options(fields).get("callback_url")
        if not url:
            raise RefusedError(422, "async.callback_url is required", "missing_required_field")
        names = {"deployment": incoming.names["workflow"], "variant": incoming.names["variant"]}
        call = as_call(ReceivedWorkflowStart, {**fields, **names, "callback_url": url})
        self.workflow_calls.append(call)
        run = start_workflow(self._workflow_script(call), call, self._ledger)
        return json_reply(202, {"request_id": run.request_id, "run_status": "running"})

    def _look_up(self, incoming: Incoming) -> Reply:
        return _found(self._ledger.look_up(incoming.names["request"]), "Request")

    def _get_delegation(self, incoming: Incoming) -> Reply:
        return _found(self._ledger.look_up_delegation(incoming.names["delegation"]), "Delegation")

    def _cancel_delegation(self, incoming: Incoming) -> Reply:
        return _found(self._ledger.cancel(incoming.names["delegation"]), "Delegation")

    def _list_delegations(self, incoming: Incoming) -> Reply:
        return json_reply(200, {"delegations": self._ledger.open_delegations(incoming.names["thread"])})

    def _list_approvals(self, incoming: Incoming) -> Reply:
        query = dict(incoming.request.url.params)
        approvals = self._ledger.approvals(query)
        first = index_of(query.get("cursor", ""))
        try:
            limit = int(query["limit"])
        except (KeyError, ValueError):
            limit = _PAGE
        end = first + max(1, min(limit, _PAGE))
        page: dict[str, object] = {"approvals": approvals[first:end]}
        # The API documents the parameter `cursor`, but not the field that returns it.
        return json_reply(200, {**page, "next_cursor": cursor_of(end)} if end < len(approvals) else page)

    def _get_approval(self, incoming: Incoming) -> Reply:
        approval = self._ledger.approval(incoming.names["approval"])
        return _found(approval and {"approval": approval}, "Approval")

    def _decide(self, incoming: Incoming) -> Reply:
        approval_id = incoming.names["approval"]
        decision = str(read_object(incoming.request).get("decision"))
        if self._ledger.approval(approval_id) is None:
            raise RefusedError(404, "Approval not found")
        if decision not in _DECISIONS:
            raise RefusedError(422, "The decision is not allowed for this action", "validation_error")
        if not self._ledger.decide(approval_id, decision):
            raise RefusedError(409, "This approval has already been decided")
        # The API reference documents an empty answer.
        return Reply(200, {}, [])

    def _list_countries(self, incoming: Incoming) -> Reply:
        countries = countries_of(incoming.names["service"])
        if countries is None:
            supported = [service["service"] for service in search_services()]
            return json_reply(404, {"error": "unsupported_service", "supported_services": supported})
        return json_reply(200, countries)

    # --- Scripts ------------------------------------------------------------------------------------------------------

    def _agent_script(self, call: AgentRequest) -> AgentScript:
        return self._script_for(self._agents, call.agent, call, None, self._plain_default)

    def _workflow_script(self, call: AnyWorkflowRequest) -> WorkflowScript:
        return self._script_for(self._workflows, call.deployment, call, call.variant, self._plain_default)

    def _hive_agent_script(self, call: HiveAgentRequest) -> WorkflowScript:
        return self._script_for(self._hive_agents, call.hive_agent, call, None, self._plain_default)

    @property
    def _plain_default(self) -> Union[str, Answer, Refusal, Fault, None]:
        """The default answer, unless only prompts can use it: a function or a stream."""
        return self.default if isinstance(self.default, (str, Answer, Refusal, Fault)) else None

    def _script_for(
        self,
        answers: ScriptedAnswers[CallT, ScriptT],
        name: str,
        call: CallT,
        variant: Optional[str],
        default: Union[ScriptT, Callable[[CallT], ScriptT], None],
    ) -> Union[ScriptT, Refusal]:
        """Return the scripted answer to a call; a refusal if there is none, or none is left."""
        try:
            script = answers.find(name, call, variant or None, default)
        except NoAnswerLeftError as exc:
            self.mistakes.append(str(exc))
            return Refusal(422, str(exc))
        if script is not None:
            return script
        known = sorted(repr(name) if key is None else f"{name!r} ({key})" for name, key in self._known(answers))
        listed = f"Known {answers.title}s: {', '.join(known)}" if known else f"No {answers.title}s are scripted"
        return Refusal(404, f"There is no {answers.title} {name!r}. {listed}")

    def _known(self, answers: ScriptedAnswers[CallT, ScriptT]) -> set[tuple[str, Optional[str]]]:
        return answers.keys()


def _read_agent_call(fields: dict[str, object]) -> ReceivedAgentRequest:
    # `async`, the API's name, is a keyword of Python.
    return as_call(
        ReceivedAgentRequest, {"async_options" if name == "async" else name: value for name, value in fields.items()}
    )


def _pop_async_options(fields: dict[str, object]) -> Mapping[str, object]:
    options = fields.pop("async", None)
    return cast("dict[str, object]", options) if isinstance(options, dict) else {}


def _found(record: Optional[dict[str, object]], what: str) -> Reply:
    if record is None:
        raise RefusedError(404, f"{what} not found")
    return json_reply(200, record)


def _check_secret(request: httpx.Request) -> None:
    given = request.headers.get("x-fetch-hive-webhook-secret") or request.url.params.get("secret")
    if given != WEBHOOK_SECRET:
        raise RefusedError(401, "The webhook secret is missing or invalid", "validation_error")


def _is_local(callback: Callback) -> bool:
    try:
        return is_loopback(httpx.URL(callback.url).host)
    except httpx.InvalidURL:
        return False


def _send(client: httpx.Client, callback: Callback) -> int:
    try:
        return client.post(callback.url, content=callback.body, headers=callback.headers).status_code
    except httpx.HTTPError:
        return 0
