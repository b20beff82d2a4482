"""What the service posts to a callback address. Performs no I/O."""

from __future__ import annotations

from typing import Any, Optional, cast

from .base import Received


class CallbackEvent(Received, frozen=True):
    """A callback: the base of those that are documented."""

    event_type: Optional[str] = None
    """What has happened, such as `agent.completed`; an open set."""
    request_id: Optional[str] = None
    """The id of the request that it belongs to."""
    data: Any = None
    """What came of it."""

    def _read(self, name: str) -> Any:
        data: object = self.data
        return cast("dict[str, Any]", data).get(name) if isinstance(data, dict) else None


class AgentCompleted(CallbackEvent, frozen=True):
    """An agent has answered."""

    @property
    def response(self) -> Any:
        """The answer, usually a string; None if there is none."""
        return self._read("response")


class AgentFailed(CallbackEvent, frozen=True):
    """An agent has failed."""

    @property
    def error(self) -> Any:
        """What went wrong, usually a string; None if the service does not say."""
        return self._read("error")


class DelegationCompleted(CallbackEvent, frozen=True):
    """Work that an agent had handed over has ended."""


class UnknownCallback(CallbackEvent, frozen=True):
    """A callback that this version does not know, such as that of a workflow: all of it is in `raw`."""
