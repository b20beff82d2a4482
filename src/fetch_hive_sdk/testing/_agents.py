"""Scripted answers of agents, with tools, approvals and background work, and the replies made from them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Optional, Union

from fetch_hive_sdk.models.agents import AgentRequest

from ._answers import Answer, Refusal
from ._ledger import Approval, Delegation, Run, now
from ._received import ReceivedRun
from ._reply import Fault, Reply, json_reply
from ._routes import refusal_reply
from ._script import DEFAULT_MODEL, StreamScript, Usage, count_words, reply_of, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._ledger import Ledger


class ReceivedAgentRequest(ReceivedRun, AgentRequest, frozen=True, extra="allow"):
    """A received agent request."""

    @property
    def is_streaming(self) -> bool:
        """Whether the request asks for a stream."""
        return self.raw.get("streaming") is True


@dataclass(frozen=True)
class ToolUse:
    """A tool call in the answer of a fake agent."""

    name: str
    """The name of the tool."""
    input: Mapping[str, object] = field(default_factory=dict[str, object])
    """The arguments of the call."""
    output: object = None
    """The result of the call: any JSON value."""
    needs_approval: bool = False
    """Whether the run waits for an approval, unless the request has `tool_approval="auto_approve"`."""
    summary: str = ""
    """The summary in the approval; empty to show the name of the tool."""
    expires_in: Optional[float] = 3600.0
    """Seconds until the approval expires: negative if it already has, None if it never does."""


@dataclass(frozen=True)
class BackgroundRun:
    """Background work that a fake agent delegates. `client.delegations` reports its status."""

    kind: str = "workflow"
    """The kind of work: `workflow`, `sub_agent` or `hive_agent_run`."""
    target: Mapping[str, object] = field(default_factory=dict[str, object])
    """The workflow or agent that was started."""
    result: Mapping[str, object] = field(default_factory=dict[str, object])
    """The result of the work."""
    looks: int = 1
    """How often it is reported as running before it ends."""
    outcome: str = "completed"
    """The final status."""


@dataclass(frozen=True)
class AgentAnswer:
    """The answer of a fake agent to one message."""

    text: str = ""
    """The text of the answer."""
    tools: Sequence[ToolUse] = ()
    """The tool calls, in order."""
    background: Sequence[BackgroundRun] = ()
    """Background work. Unless the request has a thread, a callback URL or `allow_background`, its result is returned as
    a tool call."""
    artifacts: Sequence[Mapping[str, object]] = ()
    """The created files, in the shape of the API."""
    text_if_denied: Optional[str] = None
    """The text if an approval is denied; None uses `text`."""
    reasoning: Optional[str] = None
    """The reasoning of the model, only sent in streams."""
    usage: Optional[Usage] = None
    """The `usage` object; None counts words as tokens."""
    model: str = DEFAULT_MODEL
    """The name of the model."""
    stop_reason: str = "completed"
    """Why the model stopped."""
    error: Optional[str] = None
    """The message of an `error` event that ends the stream. Calls without streaming get a 502."""
    error_code: Optional[str] = None
    """The code of the error."""


AgentScript = Union[str, AgentAnswer, Answer, Refusal, StreamScript, Fault]
"""Every type of scripted answer of an agent."""
AGENT_SCRIPTS = (str, AgentAnswer, Answer, Refusal, StreamScript, Fault)
AgentBehaviour = Union[AgentScript, Callable[[AgentRequest], AgentScript]]


def agent_reply(script: AgentScript, call: ReceivedAgentRequest, ledger: Ledger) -> Reply:
    """Return the reply to a call of an agent, and store its run.

    Raises:
        httpx.TransportError: The script is a fault.

    """
    if isinstance(script, Fault):
        ledger.start(_run_of(call))
        script.happen()
    if isinstance(script, StreamScript):
        if not call.is_streaming:
            return refusal_reply(422, f"the answer of {call.agent!r} is scripted as a stream: set streaming to true")
        run = _run_of(call)
        run.request_id = script.request_id or run.request_id
        ledger.start(run)
        return reply_of(StreamScript(script.model, run.request_id, script.steps), call.message)
    if isinstance(script, Refusal):
        return refusal_reply(script.status, script.message, script.error_code, script.headers)
    answer = _as_agent_answer(script)
    if answer.error is not None and not call.is_streaming:
        return refusal_reply(502, answer.error, answer.error_code)
    turn = AgentTurn(answer, call, ledger)
    return turn.stream() if call.is_streaming else json_reply(200, turn.fields())


def start_agent(script: AgentScript, call: ReceivedAgentRequest, ledger: Ledger) -> Run:
    """Start the run of an agent by a trigger, and store it. Its result is sent by a callback."""
    answer = _as_agent_answer(script) if isinstance(script, (str, Answer, AgentAnswer)) else AgentAnswer(error="failed")
    run = _run_of(call)
    run.callback_url, run.event_type = _text_or_none(call.async_options.get("callback_url")), "agent"
    run.data = {"response": answer.text} if answer.error is None else {"error": answer.error}
    run.outcome = "completed" if answer.error is None else "failed"
    return ledger.start(run)


def _as_agent_answer(script: Union[str, AgentAnswer, Answer]) -> AgentAnswer:
    if isinstance(script, AgentAnswer):
        return script
    if isinstance(script, str):
        return AgentAnswer(script)
    return AgentAnswer(
        script.text,
        reasoning=script.reasoning,
        usage=script.usage,
        model=script.model,
        stop_reason=script.stop_reason,
        error=script.error,
        error_code=script.error_code,
    )


def _run_of(call: AgentRequest) -> Run:
    return Run("agent_completion", metadata=call.metadata)


class AgentTurn:
    """One answer of an agent. The constructor stores its run, approvals and background work.

    Args:
        answer: The scripted answer.
        call: The request.
        ledger: The storage of runs.
    """

    def __init__(self, answer: AgentAnswer, call: ReceivedAgentRequest, ledger: Ledger) -> None:
        self._answer = answer
        self._mode = call.tool_approval or "policy"
        self._call = call
        self.run = _run_of(call)
        pending = [] if self._mode == "auto_approve" else [tool for tool in answer.tools if tool.needs_approval]
        self._approvals = [self._approval(tool) for tool in pending]
        self._uses = [tool for tool in answer.tools if tool not in pending]
        self._delegations = self._delegate()
        self.is_paused = bool(self._approvals)
        self.run.data = {"response": answer.text}
        self.run.outcome = "completed" if answer.error is None else "failed"
        if self.is_paused:
            self.run.callback_url, self.run.event_type = _text_or_none(call.async_options.get("callback_url")), "agent"
            ledger.pause(self.run, self._approvals)
        else:
            ledger.start(self.run)
        ledger.delegate(self._delegations)

    def fields(self) -> dict[str, object]:
        """Return the answer as a JSON object."""
        answer = self._answer
        fields = {
            "response": "" if self.is_paused else answer.text,
            "model": answer.model,
            "tool_calls": [
                {"tool_name": tool.name, "tool_input": _json(tool.input), "observation": _json(tool.output)}
                for tool in self._uses
            ],
            "artifacts": list(answer.artifacts),
            "pending_delegations": [delegation.summary() for delegation in self._delegations],
            "usage": self._usage(),
            **self._status_fields(),
        }
        return {"request_id": self.run.request_id, **fields}

    def stream(self) -> Reply:
        """Return the answer as a stream of events."""
        answer, ids = self._answer, {"request_id": self.run.request_id}
        script = StreamScript(answer.model, self.run.request_id).reasoning(*words_of(answer.reasoning or ""))
        for tool in self._uses:
            used = {"tool_id": tool.name, "tool": tool.name, "tool_type": "function", "tool_input": tool.input}
            script = script.event({"type": "tool", **ids, **used, "observation": _json(tool.output)})
        for artifact in answer.artifacts:
            script = script.event({"type": "artifact", **ids, "artifact": artifact})
        for approval in self._approvals:
            script = script.event({"type": "tool_approval", **ids, "approval": approval.pending()})
        if not self.is_paused:
            script = script.text(*words_of(answer.text))
        if answer.error is not None:
            return reply_of(script.error(answer.error, answer.error_code), self._call.message)
        last = {"type": "usage", **ids, "usage": {"duration": 0.5, **self._usage()}, **self._status_fields()}
        last["stop_reason"] = answer.stop_reason
        if self._delegations:
            last["pending_delegations"] = [delegation.summary() for delegation in self._delegations]
        return reply_of(script.event(last).wire("data: [DONE]\n\n").ends_early(), self._call.message)

    def _status_fields(self) -> dict[str, object]:
        auto = [tool for tool in self._uses if tool.needs_approval]
        return {
            "run_id": self.run.request_id,
            "thread_id": self._call.thread_id,
            "status": "awaiting_approval" if self.is_paused else "completed",
            "tool_approval": self._mode,
            "pending_tool_approvals": [approval.pending() for approval in self._approvals],
            "denied_tool_calls": [],
            "auto_approved_tool_calls": [{"tool_name": tool.name, "summary": _summary(tool)} for tool in auto],
        }

    def _usage(self) -> Usage:
        if self._answer.usage is not None:
            return self._answer.usage
        text = "" if self.is_paused else self._answer.text
        return count_words(self._call.message, self._answer.reasoning or "", text)

    def _approval(self, tool: ToolUse) -> Approval:
        expires_at = None if tool.expires_in is None else now(tool.expires_in)
        return Approval(
            self.run, self._call.agent, tool.name, _summary(tool), dict(tool.input), expires_at, self._after_decisions
        )

    def _after_decisions(self, approvals: Sequence[Approval]) -> Mapping[str, object]:
        denied = [approval for approval in approvals if approval.decision == "deny"]
        text = self._answer.text
        if denied and self._answer.text_if_denied is not None:
            text = self._answer.text_if_denied
        calls = [{"tool_name": each.tool_name, "approval_id": each.id, "reason": "denied"} for each in denied]
        return {"response": text, "denied_tool_calls": calls}

    def _delegate(self) -> list[Delegation]:
        options = self._call.async_options
        callback_url = _text_or_none(options.get("callback_url"))
        if not options.get("allow_background", bool(self._call.thread_id or callback_url)):
            self._uses += [ToolUse(work.kind, work.target, work.result) for work in self._answer.background]
            return []
        thread = self._call.thread_id
        return [
            Delegation(
                work.kind, work.target, work.outcome, work.result, work.looks, self.run.request_id, thread, callback_url
            )
            for work in self._answer.background
        ]


def _summary(tool: ToolUse) -> str:
    return tool.summary or tool.name


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text_or_none(value: object) -> Optional[str]:
    return value if isinstance(value, str) and value else None
