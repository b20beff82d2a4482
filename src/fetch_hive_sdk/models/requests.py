"""What became of a call. Performs no I/O."""

from __future__ import annotations

from typing import Any, Optional

from .base import Received


class RequestRecord(Received, frozen=True):
    """What the service knows of a call, by its request id."""

    request_id: str
    """The id of the call."""
    id: Optional[str] = None
    """The id of the record."""
    status: Optional[str] = None
    """Such as `completed`; an open set."""
    request_type: Optional[str] = None
    """Such as `prompt_completion`; an open set."""
    requestable_type: Optional[str] = None
    """What kind of thing came of it."""
    requestable_id: Optional[str] = None
    """The id of what came of it."""
    message: Optional[str] = None
    """What the service says about it."""
    generated_at: Optional[str] = None
    """When it came in."""
    started_at: Optional[str] = None
    """When it was begun."""
    ended_at: Optional[str] = None
    """When it ended; None while it runs."""
    metadata: Optional[dict[str, Any]] = None
    """Data of the service's own."""
    user_metadata: Optional[dict[str, Any]] = None
    """The `metadata` that was sent with the call."""
    data: Any = None
    """What came of it. Its form is not documented."""


_ENDS = frozenset({"completed", "failed", "cancelled", "canceled", "expired", "error"})


def is_over(record: RequestRecord) -> bool:
    """Whether a call has ended, well or not. Few statuses are documented: the time of its end is the safer sign."""
    return bool(record.ended_at) or record.status in _ENDS
