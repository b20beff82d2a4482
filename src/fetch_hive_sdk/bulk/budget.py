"""What a job may use before it stops. Performs no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Optional


@dataclass(frozen=True)
class Budget:
    """What a job may use. When one of the limits is reached, the job finishes what is under way and returns.

    Raises:
        ValueError: A limit is not a positive number.
    """

    runs: Optional[int] = None
    """Runs over the life of the journal: never exceeded. Calls that surely started no run do not count."""
    tokens: Optional[int] = None
    """Tokens over the life of the journal: exceeded at most by what is under way when it is reached."""
    failures: Optional[int] = None
    """Rows that fail, are rejected or are in doubt, counted from the beginning of this run."""
    seconds: Optional[float] = None
    """How long this run goes on sending."""

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
    """How fast a job goes, and which rows it sends."""

    max_concurrency: int
    """Calls at once, at most."""
    rpm: Optional[float]
    """Calls a minute, at most."""
    tpm: Optional[float]
    """Tokens a minute, at most."""
    sendable: frozenset[int]
    """The states of the rows that are sent."""
    may_change_requests: bool = False
    """Whether a request may differ from the one in the journal."""
    waits_for_reset: bool = False
    """Whether to wait until the daily cap is lifted."""

    def divided_by(self, count: int) -> Limits:
        """Return the limits of one of several shards."""
        rpm, tpm = (None if limit is None else limit / count for limit in (self.rpm, self.tpm))
        return replace(self, max_concurrency=max(1, self.max_concurrency // count), rpm=rpm, tpm=tpm)
