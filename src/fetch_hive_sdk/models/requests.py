"""The service's records of calls. Performs no I/O."""

from __future__ import annotations

from typing import Any, Optional

from .base import Received


class RequestRecord(Received, frozen=True):
    """The service's record of a call."""

    request_id: str
    """The id of the call."""
    id: Optional[str] = None
    """The id of the record."""
    status: Optional[str] = None
    """The status of the call, such as `completed`; the service may add values."""
    request_type: Optional[str] = None
    """The type of the call, such as `prompt_completion`; the service may add values."""
    requestable_type: Optional[str] = None
    """The type of the object that the call created."""
    requestable_id: Optional[str] = None
    """The id of the object that the call created."""
    message: Optional[str] = None
    """The service's message."""
    generated_at: Optional[str] = None
    """When the service received the call."""
    started_at: Optional[str] = None
    """When the call started."""
    ended_at: Optional[str] = None
    """When the call ended; None while it runs."""
    metadata: Optional[dict[str, Any]] = None
    """Metadata of the service."""
    user_metadata: Optional[dict[str, Any]] = None
    """The `metadata` that was sent with the call."""
    data: Any = None
    """The result of the call. The API does not document its form."""


_ENDS = frozenset({"completed", "failed", "cancelled", "canceled", "expired", "error"})


def is_over(record: RequestRecord) -> bool:
    """Whether a call has ended, with or without success. `ended_at` is checked because few statuses are documented."""
    return bool(record.ended_at) or record.status in _ENDS
