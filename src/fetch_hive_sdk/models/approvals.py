"""Tool calls that need a decision. Performs no I/O."""

from __future__ import annotations

from typing import Any, Literal, Optional

from pydantic import Field
from typing_extensions import TypedDict

from .agents import ReceivedId
from .base import Received

DecisionWord = Literal["allow_once", "deny"]
"""What may be decided with an API key."""


class DecisionFields(TypedDict):
    """What a decision is sent with."""

    decision: DecisionWord
    """What is decided."""


class ToolActionApproval(Received, frozen=True):
    """A tool call that needs, or needed, a decision. All but the id may be missing."""

    id: ReceivedId
    """Its id."""
    status: Optional[str] = None
    """`pending`, until it is decided; an open set."""
    decision: Optional[str] = None
    """What was decided."""
    summary: Optional[str] = None
    """What the tool is about to do."""
    provider_type: Optional[str] = None
    """What kind of service the tool belongs to."""
    action_slug: Optional[str] = None
    """The name of the action."""
    action_label: Optional[str] = None
    """The action, in words."""
    confirmation: Optional[str] = None
    """What kind of confirmation it needs."""
    approvals_required: Optional[int] = None
    """How many people have to allow it."""
    arguments: Optional[dict[str, Any]] = None
    """What the tool would be given."""
    original_arguments: Optional[dict[str, Any]] = None
    """What it would have been given before they were edited."""
    changed_fields: Optional[list[Any]] = None
    """Which arguments were edited."""
    result: Any = None
    """What came of it."""
    error: Optional[str] = None
    """What went wrong."""
    risk_level: Optional[str] = None
    """How dangerous it is."""
    requested_by_kind: Optional[str] = None
    """What kind of run asks."""
    requested_by: Optional[dict[str, Any]] = None
    """Which run asks."""
    agent_run_id: Optional[str] = None
    """The run of the agent."""
    prompt_workflow_run_id: Optional[str] = None
    """The run of the workflow."""
    created_at: Optional[str] = None
    """When it was asked."""
    expires_at: Optional[str] = None
    """Until when it can be decided."""
    decided_at: Optional[str] = None
    """When it was decided."""
    decided_by: Optional[str] = None
    """Who decided."""
    decided_via: Optional[str] = None
    """Where it was decided."""
    workspace_id: Optional[str] = None
    """The workspace that it belongs to."""
    batch_items: Optional[list[Any]] = None
    """What else would be done with it."""
    capabilities: Optional[dict[str, Any]] = None
    """Which decisions are possible in the dashboard."""


class ApprovalPage(Received, frozen=True):
    """One page of the list of approvals."""

    approvals: list[ToolActionApproval] = Field(default_factory=list[ToolActionApproval])
    """The approvals."""
    next_cursor: Optional[str] = None
    """What to pass as `cursor` for the next page, if the service sends one. None is documented."""


class Decision(Received, frozen=True):
    """The answer to a decision. The service does not document it: it may be empty."""

    message: Optional[str] = None
    """What the service says about it."""
    approval: Optional[ToolActionApproval] = None
    """The approval as it is now, if the service sent it."""
