"""The requests to the triggers of agents and workflows, and their answers. Performs no I/O."""

from __future__ import annotations

from typing import Optional

from pydantic import Field

from .base import Received
from .json_values import Text
from .sent import CallbackUrl, Inputs, Metadata, Sent


class _Trigger(Sent, frozen=True):
    callback_url: CallbackUrl
    """The HTTPS URL that the service sends the result to."""

    def wire_fields(self) -> dict[str, object]:
        """Return the fields with the names of the API."""
        fields = self.given_fields()
        url = fields.pop("callback_url")
        return {**fields, "async": {"callback_url": url}}


class AgentTrigger(_Trigger, frozen=True):
    """The fields for the trigger of an agent."""

    message: Text
    """The message to the agent."""
    thread_id: Optional[Text] = None
    """Your own id of the conversation."""
    user: Optional[Text] = None
    """Your own opaque id of the end user."""
    metadata: Metadata = Field(default_factory=dict)
    """Your own flat data for audit and log filtering."""


class WorkflowTrigger(_Trigger, frozen=True):
    """The fields for the trigger of a workflow."""

    inputs: Inputs = Field(default_factory=dict)
    """Values for the Start step."""


class TriggerAccepted(Received, frozen=True):
    """A trigger started a run. The service sends the result to the callback URL."""

    request_id: Optional[str] = None
    """The id of the request: `client.requests.get(request_id)` returns its status."""
    run_id: Optional[str] = None
    """The id of the run."""
    run_status: Optional[str] = None
    """`running` or `queued`; the service may add values."""
