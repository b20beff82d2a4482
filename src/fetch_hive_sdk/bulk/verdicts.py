"""Classifies errors of calls: whether the row may have been run, and what the job does next. Performs no I/O."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal, Optional, Union

from pydantic_core import to_json

from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    FetchHiveError,
    OutputValidationError,
    ResponseError,
)

from .store import FAILED, IN_DOUBT, REJECTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from .report import Stop

_DAILY_CAP = "api_rate_limit_exceeded"
_TRY_AGAIN = (408, 425)  # not processed, but not rate limited either
_TOO_FAST = 429
_UNAVAILABLE = 503
_NO_SUCH_DEPLOYMENT = 404
_NOT_ALLOWED = (401, 402, 403)
_MOST_TOKENS = 10**12  # per row: the sum of a million rows must stay below 2**63 for SQLite


@dataclass(frozen=True)
class Verdict:
    """What to do about a row whose call has failed.

    Args:
        what: `end`: the row ends. `throttled`: the row goes back into the queue and the job slows down. `unsent`: the
            row was not run and is retried a few times. `cap`: the row goes back into the queue until the cap resets.
        state: The state in which the row ends.
        stop: Why the job has to stop. None means that it continues.
        retry_after: The pause that the service requests, in seconds. None if it requests none.
    """

    what: Literal["end", "throttled", "unsent", "cap"]
    state: int = FAILED
    stop: Optional[Stop] = None
    retry_after: Optional[float] = None


def judge(error: FetchHiveError, *, is_first: bool) -> Verdict:
    """Return what to do about a row whose call raised an error.

    Args:
        error: The error.
        is_first: Whether this is the first row of the run to end.

    """
    if isinstance(error, APIStatusError):
        return _judge_status(error, is_first=is_first)
    if isinstance(error, (ResponseError, OutputValidationError)):
        return Verdict("end", FAILED)
    if error.maybe_processed:
        return Verdict("end", IN_DOUBT)
    if isinstance(error, APIConnectionError):
        return Verdict("unsent", REJECTED, "network")
    return Verdict("end", FAILED)


def _judge_status(error: APIStatusError, *, is_first: bool) -> Verdict:  # noqa: PLR0911 - one return per case
    status = error.status_code
    if status == _TOO_FAST and error.error_code == _DAILY_CAP:
        return Verdict("cap", REJECTED, "cap")
    if status == _TOO_FAST or (status == _UNAVAILABLE and not error.maybe_processed):
        return Verdict("throttled", retry_after=error.retry_after)
    if error.maybe_processed:
        return Verdict("end", IN_DOUBT)
    if status in _TRY_AGAIN:
        return Verdict("unsent", REJECTED)
    if status in _NOT_ALLOWED:
        return Verdict("end", REJECTED, "auth")
    if status == _NO_SUCH_DEPLOYMENT:
        return Verdict("end", REJECTED, "deployment" if is_first else None)
    return Verdict("end", FAILED)


def body_of(error: FetchHiveError) -> Union[str, bytes, None]:
    """Return the body of an answer that cannot be read, which has been paid for; None if there is none."""
    if isinstance(error, OutputValidationError):
        return to_json(error.response.raw).decode()
    body: object = getattr(error, "body", None)
    if isinstance(error, APIStatusError) or body in (None, b""):
        return None
    if isinstance(body, bytes):
        return body
    try:
        return to_json(body).decode()
    except ValueError:
        return repr(body)


def resets_at(error: FetchHiveError, now: Callable[[], float] = time.time) -> datetime:
    """Return when the daily cap resets: the time reported by the service, or else the next midnight in UTC."""
    known: object = getattr(error, "resets_at", None)
    if isinstance(known, datetime):
        return known if known.tzinfo else known.replace(tzinfo=timezone.utc)
    today = datetime.fromtimestamp(now(), timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


def tokens_of(answer: object) -> int:
    """Return the tokens that an answer reports; 0 if it reports none or a negative number."""
    return min(max(0, _tokens_of(answer)), _MOST_TOKENS)


def _tokens_of(answer: object) -> int:
    usage: object = getattr(answer, "usage", None)
    total: object = getattr(usage, "total_tokens", None)
    if isinstance(total, int):
        return total
    parts: list[object] = [
        getattr(getattr(usage, name, None), "total_tokens", None) for name in ("prompt_tokens", "completion_tokens")
    ]
    return sum(part for part in parts if isinstance(part, int))
