"""Scripted answers of workflows and Hive Agents, and the replies made from them. Performs no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from fetch_hive_sdk.models.hive_agents import HiveAgentRequest
from fetch_hive_sdk.models.workflows import WorkflowRequest, WorkflowStart

from ._answers import Answer, Refusal
from ._ledger import WEBHOOK_SECRET, Run
from ._received import ReceivedRun
from ._reply import Fault, Reply, json_reply
from ._routes import refusal_reply

if TYPE_CHECKING:
    from ._ledger import Ledger

AnyWorkflowRequest = Union[WorkflowRequest, WorkflowStart]


class ReceivedWorkflowRequest(ReceivedRun, WorkflowRequest, frozen=True, extra="allow"):
    """A received workflow request."""


class ReceivedWorkflowStart(ReceivedRun, WorkflowStart, frozen=True, extra="allow"):
    """A received request to start a workflow."""


class ReceivedHiveAgentRequest(ReceivedRun, HiveAgentRequest, frozen=True, extra="allow"):
    """A received request to start a Hive Agent."""


@dataclass(frozen=True)
class WorkflowAnswer:
    """The answer of a fake workflow or Hive Agent."""

    output: Any = None
    """The output: any JSON value."""
    status: str = "completed"
    """The status of the run: `completed` or `failed`."""
    error: Optional[str] = None
    """The error message of a failed run."""
    looks: int = 1
    """How often `client.requests` reports a started run as running before it ends."""


WorkflowScript = Union[str, Mapping[str, object], WorkflowAnswer, Answer, Refusal, Fault]
"""Every type of scripted answer of a workflow or Hive Agent."""
WORKFLOW_SCRIPTS = (str, Mapping, WorkflowAnswer, Answer, Refusal, Fault)
WorkflowBehaviour = Union[WorkflowScript, Callable[[AnyWorkflowRequest], WorkflowScript]]
HiveAgentBehaviour = Union[WorkflowScript, Callable[[HiveAgentRequest], WorkflowScript]]


def workflow_reply(script: WorkflowScript, call: AnyWorkflowRequest, ledger: Ledger) -> Reply:
    """Return the reply to a call of a workflow, and store its run.

    Raises:
        httpx.TransportError: The script is a fault.

    """
    if isinstance(script, Refusal):
        return refusal_reply(script.status, script.message, script.error_code, script.headers)
    answer = as_workflow_answer(script)
    run_id = start_workflow(script, call, ledger).request_id
    if isinstance(script, Fault):
        script.happen()
    ids = {"request_id": run_id, "run_id": run_id}
    if isinstance(call, WorkflowStart):
        return json_reply(202, {**ids, "run_status": "queued", "webhook_secret": WEBHOOK_SECRET})
    return json_reply(200, {**ids, "run_status": answer.status, "output": answer.output, "error": answer.error})


def hive_agent_reply(script: WorkflowScript, call: HiveAgentRequest, ledger: Ledger) -> Reply:
    """Return the reply to the start of a Hive Agent, and store its run.

    Raises:
        httpx.TransportError: The script is a fault.

    """
    if isinstance(script, Refusal):
        return refusal_reply(script.status, script.message, script.error_code, script.headers)
    run_id = _start("hive_agent", script, call, ledger).request_id
    if isinstance(script, Fault):
        script.happen()
    ids = {"request_id": run_id, "run_id": run_id}
    return json_reply(202, {**ids, "status": "pending", "webhook_secret": WEBHOOK_SECRET})


def start_workflow(script: WorkflowScript, call: AnyWorkflowRequest, ledger: Ledger) -> Run:
    """Start the run of a workflow and store it."""
    return _start("workflow", script, call, ledger)


def _start(
    event_type: str, script: WorkflowScript, call: Union[AnyWorkflowRequest, HiveAgentRequest], ledger: Ledger
) -> Run:
    answer = as_workflow_answer(script)
    data = {"output": answer.output, "error": answer.error}
    run = Run(f"{event_type}_run", answer.status, data, call.metadata)
    if not isinstance(call, WorkflowRequest):
        run.looks, run.callback_url, run.event_type = answer.looks, call.callback_url, event_type
    return ledger.start(run)


def as_workflow_answer(script: WorkflowScript) -> WorkflowAnswer:
    """Return any scripted answer as a `WorkflowAnswer`."""
    if isinstance(script, WorkflowAnswer):
        return script
    if isinstance(script, Answer):
        return WorkflowAnswer(script.text, "completed" if script.error is None else "failed", script.error)
    if isinstance(script, (Fault, Refusal)):
        return WorkflowAnswer()
    return WorkflowAnswer(script if isinstance(script, str) else dict(script))
