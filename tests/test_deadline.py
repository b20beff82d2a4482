"""The time limits of a call. The tests set the clock."""

from __future__ import annotations

import math

import httpx
import pytest

from fetch_hive_sdk._deadline import CONNECT_SECONDS, Deadline, Deadlines


class Clock:
    """A clock that the tests advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


# --- Deadline --------------------------------------------------------------------------------------------------------


def test_deadline_is_a_float():
    """An injected client only supports floats."""
    timeout = Deadline(5, 1000.0)

    assert timeout == 5.0
    assert isinstance(timeout, float)
    assert f"{timeout:.1f} {timeout + 1}" == "5.0 6.0"


@pytest.mark.parametrize(("passed", "left"), [(0, 5.0), (7, 3.0), (9.5, 0.5), (10, 0.001), (99, 0.001)])
def test_time_left_shrinks_towards_the_deadline(clock, passed, left):
    """Never to 0, which would make a socket non-blocking."""
    timeout = Deadline(5, clock.now + 10, clock)

    clock.now += passed

    assert timeout.left() == pytest.approx(left)


@pytest.mark.parametrize(("passed", "over"), [(0, False), (9.9, False), (9.9995, True), (10, True), (99, True)])
def test_deadline_is_over_within_a_millisecond(clock, passed, over):
    """A socket may wake up slightly early."""
    timeout = Deadline(5, clock.now + 10, clock)

    clock.now += passed

    assert timeout.is_over() is over


# --- A limit in seconds ----------------------------------------------------------------------------------------------


def test_attempts_share_the_total(clock):
    """A call is over after `timeout` seconds, regardless of the number of attempts."""
    deadlines = Deadlines(30.0, clock=clock)

    first = deadlines.begin_attempt(streaming=False)
    clock.now += 12
    second = deadlines.begin_attempt(streaming=False)
    clock.now += 12
    third = deadlines.begin_attempt(streaming=False)

    assert [first["read"], second["read"], third["read"]] == [30.0, 18.0, 6.0]
    assert [first["write"], second["write"], third["write"]] == [30.0, 18.0, 6.0]
    assert [first["pool"], second["pool"], third["pool"]] == [30.0, 18.0, 6.0]
    assert deadlines.has_total
    assert deadlines.left() == 6.0


@pytest.mark.parametrize(("timeout", "connecting"), [(30.0, CONNECT_SECONDS), (4.0, 4.0)])
def test_connecting_takes_at_most_ten_seconds(clock, timeout, connecting):
    """Name resolution, TCP and TLS share the limit."""
    limits = Deadlines(timeout, clock=clock).begin_attempt(streaming=False)

    clock.now += 3

    assert limits["connect"] == connecting
    assert limits["connect"].left() == connecting - 3


def test_limits_of_a_late_attempt_are_positive(clock):
    """0 and negative timeouts have another meaning."""
    deadlines = Deadlines(1.0, clock=clock)

    clock.now += 5
    limits = deadlines.begin_attempt(streaming=False)

    assert {float(limit) for limit in limits.values()} == {0.001}
    assert limits["read"].is_over()


def test_slow_body_does_not_extend_a_call(clock):
    """Each wait for a byte is shorter than the one before."""
    deadlines = Deadlines(10.0, clock=clock)
    deadlines.begin_attempt(streaming=False)

    waits = []
    for _ in range(4):
        waits.append(deadlines.reading.left())
        clock.now += 3

    assert waits == [10.0, 7.0, 4.0, 1.0]
    assert deadlines.reading.is_over()


# --- A stream --------------------------------------------------------------------------------------------------------


def test_stream_must_begin_within_the_timeout(clock):
    """The attempts share this time, as for other calls."""
    deadlines = Deadlines(30.0, clock=clock)

    clock.now += 20
    limits = deadlines.begin_attempt(streaming=True)

    assert limits["read"].left() == 10.0


def test_begun_stream_has_the_whole_timeout_for_each_wait(clock):
    """Regardless of when it began and how long it lasts."""
    deadlines = Deadlines(30.0, clock=clock)
    clock.now += 20
    deadlines.begin_attempt(streaming=True)

    deadlines.await_event()
    clock.now += 3600

    assert deadlines.reading.left() == 30.0
    assert not deadlines.reading.is_over()


def test_idle_timeout_counts_from_event_to_event(clock):
    """Bytes that complete no event do not restart it."""
    deadlines = Deadlines(30.0, idle_timeout=5.0, clock=clock)
    deadlines.begin_attempt(streaming=True)
    deadlines.await_event()

    clock.now += 4
    before = deadlines.reading.left()
    deadlines.await_event()
    after = deadlines.reading.left()
    clock.now += 5

    assert (before, after) == (1.0, 5.0)
    assert deadlines.reading.is_over()


def test_idle_timeout_may_be_longer_than_the_timeout(clock):
    """`timeout` still limits each wait for bytes."""
    deadlines = Deadlines(3.0, idle_timeout=60.0, clock=clock)
    deadlines.begin_attempt(streaming=True)
    deadlines.await_event()

    assert deadlines.reading.left() == 3.0


def test_end_of_a_finished_stream_has_a_short_limit(clock):
    """It replaces the other limits."""
    deadlines = Deadlines(30.0, idle_timeout=5.0, clock=clock)
    deadlines.begin_attempt(streaming=True)

    deadlines.await_end(0.1)

    assert deadlines.reading.left() == pytest.approx(0.1)


# --- An httpx.Timeout ------------------------------------------------------------------------------------------------


def test_httpx_timeout_limits_each_step(clock):
    """Each step of each attempt has a limit, the whole call has none."""
    deadlines = Deadlines(httpx.Timeout(connect=1, read=2, write=3, pool=4), clock=clock)

    clock.now += 3600
    limits = deadlines.begin_attempt(streaming=False)

    assert limits == {"connect": 1, "read": 2.0, "write": 3, "pool": 4}
    assert limits["read"].left() == 2.0
    assert not deadlines.has_total
    assert deadlines.left() == math.inf


def test_httpx_timeout_may_be_unlimited(clock):
    """Then a read may last for days."""
    limits = Deadlines(httpx.Timeout(None), clock=clock).begin_attempt(streaming=False)

    assert (limits["connect"], limits["write"], limits["pool"]) == (None, None, None)
    assert limits["read"].left() > 86400


def test_idle_timeout_works_with_an_httpx_timeout(clock):
    """They limit different waits."""
    deadlines = Deadlines(httpx.Timeout(60), idle_timeout=5.0, clock=clock)
    deadlines.begin_attempt(streaming=True)

    deadlines.await_event()

    assert deadlines.reading.left() == 5.0
