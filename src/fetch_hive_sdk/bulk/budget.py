"""The budget and the limits of a job. Performs no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Optional


@dataclass(frozen=True)
class Budget:
    """The limits of a job. When the job reaches one, it finishes the calls under way and returns.

    None means no limit.

    Raises:
        ValueError: A limit is not a positive number.
    """

    runs: Optional[int] = None
    """Most runs over the life of the journal. Never exceeded. Calls that cannot have started a run do not count."""
    tokens: Optional[int] = None
    """Most tokens over the life of the journal. The calls under way when the limit is reached may exceed it."""
    failures: Optional[int] = None
    """Most rows that fail, are rejected or end in doubt, counted from the start of this call of `Job.run`."""
    seconds: Optional[float] = None
    """How many seconds this call of `Job.run` keeps sending."""

    def __post_init__(self) -> None:
        for field in fields(self):
            limit: object = getattr(self, field.name)
            if limit is None:
                continue
            if not isinstance(limit, (int, float)) or isinstance(limit, bool) or not 0 < limit < math.inf:
                raise ValueError(f"{field.name} must be a positive number")
            if field.name != "seconds" and limit != int(limit):
                raise ValueError(f"{field.name} must be a whole number")


@dataclass(frozen=True)
class Limits:
    """How fast a job sends, and which rows it sends."""

    max_concurrency: int
    """Most concurrent calls."""
    rpm: Optional[float]
    """Most calls per minute."""
    tpm: Optional[float]
    """Most tokens per minute."""
    sendable: frozenset[int]
    """The states whose rows are sent."""
    may_change_requests: bool = False
    """Whether a row's request may differ from the one in the journal."""
    waits_for_reset: bool = False
    """Whether to wait until the daily cap resets."""

    def divided_by(self, count: int) -> Limits:
        """Return the limits of one of `count` shards."""
        rpm, tpm = (None if limit is None else limit / count for limit in (self.rpm, self.tpm))
        return replace(self, max_concurrency=max(1, self.max_concurrency // count), rpm=rpm, tpm=tpm)
