"""Tool calls that require approval. Performs no I/O."""

from __future__ import annotations

from typing import Any, Literal, Optional

from pydantic import Field
from typing_extensions import TypedDict

from .agents import ReceivedId
from .base import Received

DecisionWord = Literal["allow_once", "deny"]
"""The decisions that are possible with an API key."""


class DecisionFields(TypedDict):
    """The fields of a decision."""

    decision: DecisionWord
    """The decision."""


class ToolActionApproval(Received, frozen=True):
    """A tool call that requires or required approval. All fields except the id may be missing."""

    id: ReceivedId
    """The id of the approval."""
    status: Optional[str] = None
    """`pending` until the decision; the service may add values."""
    decision: Optional[str] = None
    """The decision."""
    summary: Optional[str] = None
    """What the tool will do if it is allowed."""
    provider_type: Optional[str] = None
    """The kind of service that provides the tool."""
    action_slug: Optional[str] = None
    """The name of the action."""
    action_label: Optional[str] = None
    """The display name of the action."""
    confirmation: Optional[str] = None
    """The kind of confirmation that is required."""
    approvals_required: Optional[int] = None
    """The number of people who have to approve."""
    arguments: Optional[dict[str, Any]] = None
    """The arguments of the tool call."""
    original_arguments: Optional[dict[str, Any]] = None
    """The arguments before they were edited."""
    changed_fields: Optional[list[Any]] = None
    """The arguments that were edited."""
    result: Any = None
    """The result of the tool call."""
    error: Optional[str] = None
    """The error message, if the tool call failed."""
    risk_level: Optional[str] = None
    """The risk of the tool call."""
    requested_by_kind: Optional[str] = None
    """The kind of run that requested the approval."""
    requested_by: Optional[dict[str, Any]] = None
    """The run that requested the approval."""
    agent_run_id: Optional[str] = None
    """The id of the agent run."""
    prompt_workflow_run_id: Optional[str] = None
    """The id of the workflow run."""
    created_at: Optional[str] = None
    """When the approval was requested."""
    expires_at: Optional[str] = None
    """When the approval expires."""
    decided_at: Optional[str] = None
    """When the decision was made."""
    decided_by: Optional[str] = None
    """Who made the decision."""
    decided_via: Optional[str] = None
    """Where the decision was made."""
    workspace_id: Optional[str] = None
    """The id of the workspace."""
    batch_items: Optional[list[Any]] = None
    """Other tool calls of the same approval."""
    capabilities: Optional[dict[str, Any]] = None
    """The decisions that are possible in the dashboard."""


class ApprovalPage(Received, frozen=True):
    """One page of the list of approvals."""

    approvals: list[ToolActionApproval] = Field(default_factory=list[ToolActionApproval])
    """The approvals."""
    next_cursor: Optional[ReceivedId] = None
    """The `cursor` of the next page, if the service sends one. The API does not document it."""


class Decision(Received, frozen=True):
    """The answer to a decision. The API does not document it, and it may be empty."""

    message: Optional[str] = None
    """The service's message."""
    approval: Optional[ToolActionApproval] = None
    """The approval after the decision, if the service sent it."""
