"""What the triggers of agents and workflows are sent, and what they answer. Performs no I/O."""

from __future__ import annotations

from typing import Optional

from pydantic import Field

from .base import Received
from .json_values import Text
from .sent import CallbackUrl, Inputs, Metadata, Sent


class _Trigger(Sent, frozen=True):
    callback_url: CallbackUrl
    """Where the service sends the result: an HTTPS address."""

    def wire_fields(self) -> dict[str, object]:
        """Return the fields under the names that the service knows."""
        fields = self.given_fields()
        url = fields.pop("callback_url")
        return {**fields, "async": {"callback_url": url}}


class AgentTrigger(_Trigger, frozen=True):
    """What the trigger of an agent is sent."""

    message: Text
    """What it is asked."""
    thread_id: Optional[Text] = None
    """The conversation, by a name of yours."""
    user: Optional[Text] = None
    """Your own opaque id of the person who calls."""
    metadata: Metadata = Field(default_factory=dict)
    """Flat data of your own for audit and log filtering."""


class WorkflowTrigger(_Trigger, frozen=True):
    """What the trigger of a workflow is sent."""

    inputs: Inputs = Field(default_factory=dict)
    """Values for the Start step."""


class TriggerAccepted(Received, frozen=True):
    """A run has been started by a trigger; its result comes by a callback."""

    request_id: Optional[str] = None
    """The id of the request: `client.requests.get(request_id)` tells what became of it."""
    run_id: Optional[str] = None
    """The id of the run."""
    run_status: Optional[str] = None
    """`running` or `queued`; an open set."""
