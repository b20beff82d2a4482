"""How long to wait for what. The clock is a number that the tests set."""

from __future__ import annotations

import math

import httpx
import pytest

from fetch_hive_sdk._deadline import CONNECT_SECONDS, Deadline, Deadlines


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


# --- Deadline --------------------------------------------------------------------------------------------------------


def test_patience_is_a_plain_float_to_others():
    """An injected client knows only floats."""
    patience = Deadline(5, 1000.0)

    assert patience == 5.0
    assert isinstance(patience, float)
    assert f"{patience:.1f} {patience + 1}" == "5.0 6.0"


@pytest.mark.parametrize(("passed", "left"), [(0, 5.0), (7, 3.0), (9.5, 0.5), (10, 0.001), (99, 0.001)])
def test_patience_shrinks_towards_its_deadline(clock, passed, left):
    """Never to 0: to a socket that would mean not to wait at all."""
    patience = Deadline(5, clock.now + 10, clock)

    clock.now += passed

    assert patience.left() == pytest.approx(left)


@pytest.mark.parametrize(("passed", "over"), [(0, False), (9.9, False), (9.9995, True), (10, True), (99, True)])
def test_patience_is_over_at_its_deadline(clock, passed, over):
    """To within a millisecond: a socket that waited for all that was left has waited long enough."""
    patience = Deadline(5, clock.now + 10, clock)

    clock.now += passed

    assert patience.is_over() is over


# --- A call of so many seconds ---------------------------------------------------------------------------------------


def test_total_shrinks_over_the_attempts(clock):
    """A call is over after `timeout` seconds, however many attempts it takes."""
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
def test_connecting_takes_ten_seconds_at_most(clock, timeout, connecting):
    """Name resolution, TCP and TLS together: each asks what is left."""
    limits = Deadlines(timeout, clock=clock).begin_attempt(streaming=False)

    clock.now += 3

    assert limits["connect"] == connecting
    assert limits["connect"].left() == connecting - 3


def test_a_late_attempt_has_a_moment_to_fail(clock):
    """No limit is negative or 0, which would mean something else."""
    deadlines = Deadlines(1.0, clock=clock)

    clock.now += 5
    limits = deadlines.begin_attempt(streaming=False)

    assert {float(limit) for limit in limits.values()} == {0.001}
    assert limits["read"].is_over()


def test_a_dripping_body_does_not_stretch_a_call(clock):
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


def test_head_of_a_stream_comes_within_the_timeout(clock):
    """The time for it shrinks over the attempts, as for any call."""
    deadlines = Deadlines(30.0, clock=clock)

    clock.now += 20
    limits = deadlines.begin_attempt(streaming=True)

    assert limits["read"].left() == 10.0


def test_begun_stream_may_be_silent_for_the_whole_timeout_each_time(clock):
    """However late it began and however long it lasts."""
    deadlines = Deadlines(30.0, clock=clock)
    clock.now += 20
    deadlines.begin_attempt(streaming=True)

    deadlines.await_event()
    clock.now += 3600

    assert deadlines.reading.left() == 30.0
    assert not deadlines.reading.is_over()


def test_idle_timeout_counts_from_event_to_event(clock):
    """Bytes that are no event do not start it again."""
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
    """Each silence is still limited by `timeout`."""
    deadlines = Deadlines(3.0, idle_timeout=60.0, clock=clock)
    deadlines.begin_attempt(streaming=True)
    deadlines.await_event()

    assert deadlines.reading.left() == 3.0


def test_end_of_a_finished_stream_is_awaited_for_a_moment(clock):
    """Whatever the other limits are."""
    deadlines = Deadlines(30.0, idle_timeout=5.0, clock=clock)
    deadlines.begin_attempt(streaming=True)

    deadlines.await_end(0.1)

    assert deadlines.reading.left() == pytest.approx(0.1)


# --- An httpx.Timeout ------------------------------------------------------------------------------------------------


def test_timeout_of_httpx_is_taken_as_httpx_means_it(clock):
    """A limit for each step and each attempt, and none for the whole."""
    deadlines = Deadlines(httpx.Timeout(connect=1, read=2, write=3, pool=4), clock=clock)

    clock.now += 3600
    limits = deadlines.begin_attempt(streaming=False)

    assert limits == {"connect": 1, "read": 2.0, "write": 3, "pool": 4}
    assert limits["read"].left() == 2.0
    assert not deadlines.has_total
    assert deadlines.left() == math.inf


def test_timeout_of_httpx_may_be_none(clock):
    """Then a read may last for days."""
    limits = Deadlines(httpx.Timeout(None), clock=clock).begin_attempt(streaming=False)

    assert (limits["connect"], limits["write"], limits["pool"]) == (None, None, None)
    assert limits["read"].left() > 86400


def test_idle_timeout_goes_with_a_timeout_of_httpx(clock):
    """They limit different things."""
    deadlines = Deadlines(httpx.Timeout(60), idle_timeout=5.0, clock=clock)
    deadlines.begin_attempt(streaming=True)

    deadlines.await_event()

    assert deadlines.reading.left() == 5.0
