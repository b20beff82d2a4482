"""Whether a failed call is made again, and when. Decides; the shells wait. Performs no I/O.

A run costs money, and the API has no key that would make a second request harmless. A request is sent again only
when no byte of it can have started a run, or when the service says that it started none.
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

# The service answered and says that it did not run: Request Timeout (RFC 9110 section 15.5.9), Too Early (RFC 8470),
# Too Many Requests (RFC 6585).
_NOT_PROCESSED = frozenset({408, 425, 429})
_UNAVAILABLE = 503

DAILY_CAP = "api_rate_limit_exceeded"
"""The error code of a cap that resets at midnight UTC: waiting for seconds does not help."""

LONGEST_WAIT = 60.0  # seconds: beyond this the caller knows better what to do with the time
_FIRST_BACKOFF = 0.5  # seconds
_LONGEST_BACKOFF = 8.0  # seconds
_DOUBLINGS = 4  # lead from the first to the longest

# Errors that a retry cannot fix: an untrusted certificate, certificates that cannot be read, an invalid host name, a
# request that cannot be written.
_HOPELESS = (
    ssl.SSLCertVerificationError,
    FileNotFoundError,
    IsADirectoryError,
    UnicodeError,
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


def is_unprocessed(status_code: int, has_retry_after: bool) -> bool:
    """Whether an answer with this status says that no run was started."""
    if status_code == _UNAVAILABLE:
        # With Retry-After, readable or not, it is a service that turns calls away at the door; without, anything may
        # have happened.
        return has_retry_after
    return status_code in _NOT_PROCESSED or status_code < 500  # noqa: PLR2004 - 5xx: the server failed


@dataclass(frozen=True)
class RetryPolicy:
    """How often a call is made again, and after which failures.

    Args:
        max_retries: How many times at most.
        retry_unknown_outcome: Whether to repeat a run that may have been processed, and billed.
        effect: What the call does.
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
            attempt: How many times the call has been made, 1 or more.
            error: What the last attempt ended with.
            is_accepted: Whether its answer had begun with 2xx: then a run has been paid for.
            jitter: A random number from 0 to 1.

        """
        if is_accepted and self.effect in {Effect.RUN, Effect.CREATE}:
            return None
        if attempt > self.max_retries or not self._may_repeat(error):
            return None
        retry_after = error.retry_after if isinstance(error, APIStatusError) else None
        if retry_after is not None:
            return retry_after if retry_after <= LONGEST_WAIT else None
        # Full jitter: callers that failed together do not come back together.
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
        return isinstance(error, APIConnectionError) and not any(map(is_hopeless, causes(error)))


def is_hopeless(cause: BaseException) -> bool:
    """Whether a cause of an error is such that a retry cannot help."""
    # Of OpenSSL's own errors, those about certificates are about files of this machine.
    return isinstance(cause, _HOPELESS) or (getattr(cause, "library", None) in {"X509", "PEM"})


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what led to an error, step by step."""
    cause = error.__cause__
    while cause is not None:
        yield cause
        # httpcore hides what it was told by the system behind "from None".
        cause = cause.__cause__ or cause.__context__
