"""The pace of a job: unit tests, and one run against a server with a lower limit of concurrent calls."""

from __future__ import annotations

import pytest

from counting_server import counting
from fetch_hive_sdk import FetchHive, InvokeRequest
from fetch_hive_sdk.bulk import Job
from fetch_hive_sdk.bulk.pace import Pace


def grown(pace, limit):
    """Record successes until the pace allows `limit` calls."""
    pace.settle_first()
    while pace.limit < limit:
        pace.succeed(pace.limit)
    return pace


def test_the_first_row_is_sent_alone():
    """After it, eight calls may be under way, or fewer if the maximum is lower."""
    pace, small = Pace(64), Pace(3)
    assert pace.limit == small.limit == 1

    for _ in range(100):
        pace.succeed(1)
    assert pace.limit == 1
    pace.settle_first()
    small.settle_first()

    assert (pace.limit, small.limit) == (8, 3)


def test_the_limit_grows_by_one_per_window():
    """A window is as many successes as the limit."""
    pace = grown(Pace(64), 8)

    for _ in range(7):
        pace.succeed(8)
    assert pace.limit == 8
    pace.succeed(8)
    assert pace.limit == 9
    for _ in range(9):
        pace.succeed(9)
    assert pace.limit == 10


def test_a_limit_that_is_not_used_does_not_grow():
    """A few calls under way do not show that more are possible."""
    pace = grown(Pace(64), 20)

    for _ in range(1000):
        pace.succeed(5)

    assert pace.limit == 20


def test_the_limit_never_exceeds_the_maximum():
    """Any number of successes leaves the limit at the maximum."""
    pace = grown(Pace(10), 10)

    for _ in range(1000):
        pace.succeed(10)

    assert pace.limit == 10


def test_the_limit_is_halved_at_most_once_per_window():
    """Rate-limit responses to calls that started before the limit was halved do not halve it again."""
    pace = grown(Pace(64), 40)

    for moment in range(30):
        pace.throttle(now=100 + moment / 1000, begun=99.9)
    assert pace.limit == 20
    pace.throttle(now=101, begun=100.5)
    assert pace.limit == 10
    for moment in range(10):
        pace.throttle(now=200 + moment, begun=199 + moment)
    assert pace.limit == 1


def test_the_limit_recovers_quickly():
    """It grows from half of the refused limit to seven eighths in a few windows, and then slowly."""
    pace = grown(Pace(256), 64)
    pace.throttle(now=1, begun=0)

    successes = 0
    while pace.limit < 56:
        pace.succeed(pace.limit)
        successes += 1
    assert successes < 200
    for _ in range(55):
        pace.succeed(56)
    assert pace.limit == 56


def test_a_pause_lasts_for_retry_after_and_jitter():
    """Retry-After pauses all calls, even if the limit is not halved again."""
    pace = grown(Pace(64, jitter=lambda: 0.5), 8)

    pace.throttle(now=100, begun=99, retry_after=2)
    assert pace.delay(100) == pytest.approx(2.1)
    pace.throttle(now=101, begun=99, retry_after=4)

    assert pace.delay(101) == pytest.approx(4.2)
    assert pace.delay(106) == 0


def test_without_retry_after_the_pause_doubles():
    """It grows from 0.25 to 8 seconds and starts from 0.25 again after a success."""
    pace = grown(Pace(64, jitter=lambda: 1.0), 8)
    pauses = []
    for number in range(8):
        now = 100.0 * (number + 1)
        pace.throttle(now=now, begun=now - 1)
        pauses.append(pace.delay(now))

    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 8, 8]
    pace.succeed(1)
    pace.throttle(now=2000, begun=1999)
    assert pace.delay(2000) == 0.25


def test_calls_a_minute():
    """Calls are evenly spaced."""
    pace = Pace(64, rpm=60)

    pace.begin(100)
    assert pace.delay(100) == 1
    pace.begin(101)
    pace.begin(101)

    assert pace.delay(101) == 2
    assert pace.delay(150) == 0


def test_tokens_a_minute():
    """The next call waits until the tokens used are within the rate."""
    pace = Pace(64, tpm=6000)

    pace.use(50, now=100)
    pace.use(150, now=100)

    assert pace.delay(100) == pytest.approx(2)
    assert pace.delay(103) == 0


def test_the_limit_settles_near_that_of_the_server(tmp_path):
    """With a maximum of 256 and a server that allows 64, few calls are refused and the limit stays near 64."""
    limits = []
    with counting("--delay", "0.05", "--at-once", "64", "--anonymous") as server:
        client = FetchHive("fhk_0123456789", server.url)
        rows = (InvokeRequest(deployment="d", inputs={"text": str(number)}) for number in range(6000))
        job = Job(tmp_path / "job.db")
        report = job.run(client, rows, max_concurrency=256, progress=lambda seen: limits.append(seen.limit))
        stats = server.stats()

    assert report.done == 6000
    assert stats["refused"] / stats["posts"] < 0.08
    # Calls that wait for the client's processor count here but not at the server: the bound is wide.
    assert max(limits) <= 128
    late = sorted(limits[len(limits) // 2 :])
    assert late[len(late) // 2] >= 40
