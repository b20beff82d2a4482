"""The events that the service posts to a callback URL. Performs no I/O."""

from __future__ import annotations

from typing import Any, Optional, cast

from .base import Received


class CallbackEvent(Received, frozen=True):
    """The base class of all callbacks."""

    event_type: Optional[str] = None
    """The type of the event, such as `agent.completed`; the service may add values."""
    request_id: Optional[str] = None
    """The id of the request that the event belongs to."""
    data: Any = None
    """The data of the event."""

    def _read(self, name: str) -> Any:
        data: object = self.data
        return cast("dict[str, Any]", data).get(name) if isinstance(data, dict) else None


class AgentCompleted(CallbackEvent, frozen=True):
    """An agent run completed."""

    @property
    def response(self) -> Any:
        """The answer, usually a string; None if there is none."""
        return self._read("response")


class AgentFailed(CallbackEvent, frozen=True):
    """An agent run failed."""

    @property
    def error(self) -> Any:
        """The error, usually a string; None if the service sent none."""
        return self._read("error")


class DelegationCompleted(CallbackEvent, frozen=True):
    """A delegation of an agent ended."""


class UnknownCallback(CallbackEvent, frozen=True):
    """A callback of a type that this version does not know, such as that of a workflow. `raw` has its content."""
