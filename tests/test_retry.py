"""Whether and when a failed call is retried. The tests create the errors and set the random number."""

from __future__ import annotations

import ssl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    FetchHiveError,
    RateLimitError,
    ResponseDecodeError,
    StreamFailedError,
)
from fetch_hive_sdk._protocol.retry import DAILY_CAP, LONGEST_WAIT, RetryPolicy, is_unprocessed
from fetch_hive_sdk.models.prompts import PartialAnswer

REQUEST = httpx.Request("POST", "https://api.test/v1/prompt/invoke")


def refused(status, *, error_code=None, retry_after=None):
    """An error as `refuse` would create it."""
    return APIStatusError(
        "refused",
        response=httpx.Response(status, request=REQUEST),
        error_code=error_code,
        retry_after=retry_after,
        maybe_processed=not is_unprocessed(status, retry_after is not None),
    )


def caused(error, *causes):
    """The error with a chain of causes."""
    link = error
    for cause in causes:
        link.__cause__ = cause
        link = cause
    return error


def is_retried(error, *, unknown=False):
    policy = RetryPolicy(max_retries=2, retry_unknown_outcome=unknown)
    return policy.wait_before_retry(1, error, jitter=lambda: 1.0) is not None


# --- Responses without a run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 402, 403, 404, 408, 409, 422, 425, 429])
def test_4xx_starts_no_run(status):
    """The service rejected the request before it started a run."""
    assert is_unprocessed(status, has_retry_after=False)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_5xx_may_have_started_a_run(status):
    """The status does not show when the error occurred."""
    assert not is_unprocessed(status, has_retry_after=False)


def test_only_503_with_retry_after_starts_no_run():
    """503 with Retry-After means that the request was rejected before it was processed."""
    assert is_unprocessed(503, has_retry_after=True)
    assert not is_unprocessed(500, has_retry_after=True)


# --- What is retried -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429])
def test_unprocessed_call_is_retried(status):
    """The status means that the call was not processed."""
    assert is_retried(refused(status))


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 402, 403, 404, 409, 410, 418, 422])
@pytest.mark.parametrize("unknown", [False, True])
def test_4xx_that_a_retry_cannot_fix_is_not_retried(status, unknown):
    """The service would reject the same request again."""
    assert not is_retried(refused(status), unknown=unknown)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_unknown_outcome_is_retried_only_if_enabled(status):
    """A second call may be billed again."""
    assert not is_retried(refused(status))
    assert is_retried(refused(status), unknown=True)


def test_503_with_retry_after_is_retried():
    """After the time in Retry-After."""
    wait = RetryPolicy().wait_before_retry(1, refused(503, retry_after=3.0))

    assert wait == 3.0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("unknown", [False, True])
def test_daily_cap_is_not_retried(status, retry_after, unknown):
    """It resets at midnight UTC, so a retry does not help."""
    error = refused(status, error_code=DAILY_CAP, retry_after=retry_after)

    assert not is_retried(error, unknown=unknown)


def test_other_error_codes_are_retried():
    """`too_many_requests` is temporary."""
    assert is_retried(refused(429, error_code="too_many_requests"))


@pytest.mark.parametrize(
    "error",
    [
        APIConnectionError("could not connect", maybe_processed=False),
        APITimeoutError("could not connect in time", phase="connect", maybe_processed=False),
        APITimeoutError("no connection became free", phase="pool", maybe_processed=False),
    ],
)
def test_unsent_call_is_retried(error):
    """Not a byte of the request was sent."""
    assert is_retried(error)


@pytest.mark.parametrize(
    "error",
    [
        APIConnectionError("reset", maybe_processed=True),
        APITimeoutError("no answer", phase="read", maybe_processed=True),
        APITimeoutError("stuck", phase="write", maybe_processed=True),
    ],
)
def test_call_that_may_have_arrived_is_retried_only_if_enabled(error):
    """A second call may be billed again."""
    assert not is_retried(error)
    assert is_retried(error, unknown=True)


@pytest.mark.parametrize(
    "error",
    [
        FetchHiveError("anything else"),
        ConfigurationError("no key"),
        ResponseDecodeError("not JSON", body=b"{"),
        StreamFailedError("the provider failed", partial=PartialAnswer()),
    ],
)
@pytest.mark.parametrize("unknown", [False, True])
def test_other_errors_are_not_retried(error, unknown):
    """They are not network errors, or the run was billed."""
    assert not is_retried(error, unknown=unknown)


@pytest.mark.parametrize(
    "cause",
    [
        ssl.SSLCertVerificationError("self-signed certificate"),
        UnicodeError("label too long"),
        httpx.InvalidURL("no such host can be"),
        httpx.UnsupportedProtocol("ftp"),
        httpx.LocalProtocolError("an illegal header"),
    ],
)
@pytest.mark.parametrize("unknown", [False, True])
def test_permanent_causes_are_not_retried(cause, unknown):
    """A retry cannot fix them, regardless of their depth in the chain of causes."""
    direct = caused(APIConnectionError("could not connect", maybe_processed=False), cause)
    deep = caused(
        APIConnectionError("could not connect", maybe_processed=False),
        httpx.ConnectError("failed"),
        OSError("failed"),
        cause,
    )

    assert not is_retried(direct, unknown=unknown)
    assert not is_retried(deep, unknown=unknown)


@pytest.mark.parametrize("cause", [ConnectionRefusedError(), ssl.SSLError("handshake"), OSError("name not found")])
def test_other_causes_are_retried(cause):
    """A service that restarts refuses connections for a moment."""
    assert is_retried(
        caused(APIConnectionError("could not connect", maybe_processed=False), httpx.ConnectError("failed"), cause)
    )


# --- How often -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_retries", "repeated"), [(0, []), (1, [1]), (2, [1, 2]), (5, [1, 2, 3, 4, 5])])
def test_call_is_retried_max_retries_times(max_retries, repeated):
    """The first attempt is not a retry."""
    policy = RetryPolicy(max_retries)

    attempts = [n for n in range(1, 10) if policy.wait_before_retry(n, refused(429)) is not None]

    assert attempts == repeated


# --- When ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0), (100, 8.0), (5000, 8.0)]
)
def test_backoff_doubles_up_to_eight_seconds(attempt, longest):
    """After that it stays constant."""
    policy = RetryPolicy(max_retries=10_000)

    assert policy.wait_before_retry(attempt, refused(429), jitter=lambda: 1.0) == longest
    assert policy.wait_before_retry(attempt, refused(429), jitter=lambda: 0.5) == longest / 2
    assert policy.wait_before_retry(attempt, refused(429), jitter=lambda: 0.0) == 0.0


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_backoff_is_never_out_of_bounds(attempt, jitter):
    """Full jitter: from 0 to the maximum of the attempt."""
    wait = RetryPolicy(10_000).wait_before_retry(
        attempt, APIConnectionError("refused", maybe_processed=False), jitter=lambda: jitter
    )

    assert wait is not None
    assert 0.0 <= wait <= 8.0


def test_jitter_is_random_by_default():
    """Callers that failed at the same time do not retry at the same time."""
    waits = {
        RetryPolicy().wait_before_retry(1, APIConnectionError("refused", maybe_processed=False)) for _ in range(20)
    }

    assert len(waits) > 1


@pytest.mark.parametrize("retry_after", [0.0, 0.5, 1.0, 59.9, LONGEST_WAIT])
def test_retry_after_is_used(retry_after):
    """The wait is exactly what the service sent."""
    wait = RetryPolicy().wait_before_retry(1, refused(429, retry_after=retry_after), jitter=lambda: 0.1)

    assert wait == retry_after


@pytest.mark.parametrize("retry_after", [60.1, 3600.0, float("inf")])
def test_long_retry_after_is_left_to_the_caller(retry_after):
    """Waits of more than a minute are left to the caller."""
    error = refused(429, retry_after=retry_after)

    assert RetryPolicy().wait_before_retry(1, error) is None
    assert error.retry_after == retry_after


def test_rate_limit_without_retry_after_uses_backoff():
    """As after a connection error."""
    error = RateLimitError("slow down", response=httpx.Response(429, request=REQUEST))

    assert RetryPolicy().wait_before_retry(2, error, jitter=lambda: 1.0) == 1.0
