"""Decides whether and when a failed call is retried. Performs no I/O; the clients wait.

A run costs money, and the API has no idempotency keys. A request is retried only if it cannot have started a run, or
if the service reports that it started none.
"""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional

import httpx

from fetch_hive_sdk._config import DEFAULT_MAX_RETRIES
from fetch_hive_sdk.errors import APIConnectionError, APIStatusError, FetchHiveError

from .endpoint import Effect

if TYPE_CHECKING:
    from collections.abc import Iterator

# Statuses which mean that the request was not processed: Request Timeout (RFC 9110 section 15.5.9), Too Early (RFC
# 8470), Too Many Requests (RFC 6585).
_NOT_PROCESSED = frozenset({408, 425, 429})
_UNAVAILABLE = 503

DAILY_CAP = "api_rate_limit_exceeded"
"""The error code of the daily cap, which resets at midnight UTC: a retry does not help."""

LONGEST_WAIT = 60.0  # seconds; longer waits are left to the caller
_FIRST_BACKOFF = 0.5  # seconds
_LONGEST_BACKOFF = 8.0  # seconds
_DOUBLINGS = 4  # from the first to the longest backoff

# Errors that a retry cannot fix: an untrusted certificate, an unreadable certificate file, an invalid host name, a
# request that cannot be encoded.
_PERMANENT = (
    ssl.SSLCertVerificationError,
    FileNotFoundError,
    IsADirectoryError,
    UnicodeError,
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


def is_unprocessed(status_code: int, has_retry_after: bool) -> bool:
    """Whether a response with this status means that no run was started."""
    if status_code == _UNAVAILABLE:
        # With Retry-After, valid or not, the service rejected the call before processing it. Without, the outcome is
        # unknown.
        return has_retry_after
    return status_code in _NOT_PROCESSED or status_code < 500  # noqa: PLR2004 - 5xx: the server failed


@dataclass(frozen=True)
class RetryPolicy:
    """How often a call is retried, and after which errors.

    Args:
        max_retries: The maximum number of retries.
        retry_unknown_outcome: Whether to retry a run that may have been processed and billed.
        effect: The effect of the call.
    """

    max_retries: int = DEFAULT_MAX_RETRIES
    retry_unknown_outcome: bool = False
    effect: Effect = Effect.RUN

    def wait_before_retry(
        self,
        attempt: int,
        error: FetchHiveError,
        *,
        is_accepted: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> Optional[float]:
        """Seconds to wait before trying again, or None to give up.

        Args:
            attempt: The number of attempts so far, 1 or more.
            error: The error of the last attempt.
            is_accepted: Whether the response was 2xx: then a run is billed.
            jitter: Returns a random number from 0 to 1.

        """
        if is_accepted and self.effect in {Effect.RUN, Effect.CREATE}:
            return None
        if attempt > self.max_retries or not self._may_repeat(error):
            return None
        retry_after = error.retry_after if isinstance(error, APIStatusError) else None
        if retry_after is not None:
            return retry_after if retry_after <= LONGEST_WAIT else None
        # Full jitter: callers that failed at the same time do not retry at the same time.
        return jitter() * min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(attempt - 1, _DOUBLINGS))

    @property
    def _repeats_unknown_outcome(self) -> bool:
        return self.effect is Effect.SETTLE or (self.effect is Effect.RUN and self.retry_unknown_outcome)

    def _may_repeat(self, error: FetchHiveError) -> bool:
        if error.maybe_processed and not self._repeats_unknown_outcome:
            return False
        if isinstance(error, APIStatusError):
            is_server_error = error.status_code >= 500  # noqa: PLR2004 - 5xx: the server failed
            return (is_server_error or error.status_code in _NOT_PROCESSED) and error.error_code != DAILY_CAP
        return isinstance(error, APIConnectionError) and not any(map(is_permanent, causes(error)))


def is_permanent(cause: BaseException) -> bool:
    """Whether a retry cannot fix an error with this cause."""
    # OpenSSL's X509 and PEM errors concern certificate files on this machine.
    return isinstance(cause, _PERMANENT) or (getattr(cause, "library", None) in {"X509", "PEM"})


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the causes of an error, from the nearest to the root."""
    cause = error.__cause__
    while cause is not None:
        yield cause
        # httpcore hides the system's error with "from None".
        cause = cause.__cause__ or cause.__context__
