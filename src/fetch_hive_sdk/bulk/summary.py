"""The summary of a job: rates, latencies, failures, and the rows that need attention.

The journal is read once, in short reads, and summed up on the way: a million rows are never in memory together.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Optional

from .lock import is_owned
from .reading import as_stored, read_all_items, read_pages, read_reports, select_row
from .store import DONE, FAILED, IN_DOUBT, NAMES, REJECTED

if TYPE_CHECKING:
    from .reading import Journals
    from .report import BulkReport, State, Stored

MOST_ROWS = 50  # rows shown per table of failed rows and of rows in doubt
_SLOWEST = 10
_ROWS_AT_ONCE = 5000
_FIRST_WIDTH = 50  # milliseconds per bucket
_MOST_BUCKETS = 160
_LONGEST_PAUSE = 60_000  # milliseconds; longer pauses are left out
_PAUSE_IN_BUCKETS = 10
_STEP = math.log(1.02)  # between two bins of latencies
_MOST_BARS = 36
_MOST_KINDS = 12

_ENDED = f"{DONE}, {REJECTED}, {FAILED}, {IN_DOUBT}"
_SELECT_ENDS = f"""
SELECT rows.id, rows.state, rows.tokens, ends.ended, ends.took FROM rows JOIN ends ON ends.id = rows.id
WHERE rows.id > ? AND rows.state IN ({_ENDED}) AND ends.ended > 0 ORDER BY rows.id LIMIT {_ROWS_AT_ONCE}
"""  # noqa: S608 - only our own numbers
_SELECT_KINDS = f"""
SELECT rows.state, ends.error_code, substr(ends.error, 1, instr(ends.error || ':', ':') - 1), count(*)
FROM rows LEFT JOIN ends ON ends.id = rows.id WHERE rows.state IN ({REJECTED}, {FAILED}, {IN_DOUBT})
GROUP BY 1, 2, 3 ORDER BY 4 DESC
"""  # noqa: S608 - only our own numbers


@dataclass
class _Bucket:
    """The sums of one interval of time."""

    done: int = 0
    others: int = 0
    tokens: int = 0
    change: int = 0
    """The change of the number of calls under way during the interval."""
    area: int = 0
    """What these changes add to the call-milliseconds of the interval."""


@dataclass(frozen=True)
class Point:
    """An interval of the time in which the job worked."""

    begin: float
    """Seconds of work before the interval."""
    seconds: float
    """Length of the interval."""
    done: float
    """Rows answered per second."""
    others: float
    """Rows per second that ended in another state."""
    under_way: float
    """Calls under way, on average."""
    tokens: float
    """Tokens per minute, as reported by the answers."""


class Timeline:
    """Sums up when calls began and ended. Its buckets widen as the timeline grows."""

    def __init__(self) -> None:
        self._width = _FIRST_WIDTH
        self._buckets: dict[int, _Bucket] = {}
        self.first: Optional[int] = None
        """When the first call began, in milliseconds since 1970."""
        self.last: Optional[int] = None
        """When the last call ended, in milliseconds since 1970."""

    def add(self, ended: int, took: int, tokens: int, *, is_done: bool) -> None:
        """Add a call."""
        began = ended - took
        self.first = began if self.first is None else min(began, self.first)
        self.last = ended if self.last is None else max(ended, self.last)
        self._change(began, 1)
        bucket = self._change(ended, -1)
        bucket.done += is_done
        bucket.others += not is_done
        bucket.tokens += tokens
        while len(self._buckets) > _MOST_BUCKETS:
            self._widen()

    def _change(self, moment: int, by: int) -> _Bucket:
        number = moment // self._width
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = _Bucket()
        bucket.change += by
        bucket.area += by * ((number + 1) * self._width - moment)
        return bucket

    def _widen(self) -> None:
        """Join neighbouring buckets in pairs."""
        joined: dict[int, _Bucket] = {}
        for number, old in self._buckets.items():
            new = joined.setdefault(number // 2, _Bucket())
            new.done += old.done
            new.others += old.others
            new.tokens += old.tokens
            new.change += old.change
            new.area += old.area + (0 if number % 2 else old.change * self._width)
        self._buckets = joined
        self._width *= 2

    def points(self) -> tuple[list[Point], list[float]]:
        """Return the intervals, and the positions in seconds of work at which a long pause is left out."""
        seconds = self._width / 1000
        points: list[Point] = []
        pauses: list[float] = []
        under_way, previous = 0, None
        for number in sorted(self._buckets):
            empty = 0 if previous is None else number - previous - 1
            if not under_way and empty > max(_PAUSE_IN_BUCKETS, _LONGEST_PAUSE // self._width):
                pauses.append(len(points) * seconds)
            else:
                for _ in range(empty):
                    points.append(Point(len(points) * seconds, seconds, 0.0, 0.0, float(under_way), 0.0))
            bucket = self._buckets[number]
            area = under_way * self._width + bucket.area
            points.append(
                Point(
                    len(points) * seconds,
                    seconds,
                    bucket.done / seconds,
                    bucket.others / seconds,
                    area / self._width,
                    bucket.tokens / seconds * 60,
                )
            )
            under_way += bucket.change
            previous = number
        return points, pauses


class Latencies:
    """A histogram of the durations of calls, in bins that each are 2 % wider than the one before."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()

    def add(self, took: int) -> None:
        """Add a call that took `took` milliseconds."""
        self._bins[int(math.log(max(took, 1)) / _STEP)] += 1

    def quantile(self, part: float) -> Optional[float]:
        """Return a quantile in seconds, accurate to 2 %; None if there were no calls."""
        wanted = part * sum(self._bins.values())
        for number in sorted(self._bins):
            wanted -= self._bins[number]
            if wanted <= 0:
                return math.exp((number + 0.5) * _STEP) / 1000
        return None

    def bars(self) -> list[tuple[float, float, int]]:
        """Return the bars of a histogram: lower and upper bound in seconds, and number of calls."""
        if not self._bins:
            return []
        first, last = min(self._bins), max(self._bins)
        size = (last - first) // _MOST_BARS + 1
        bars: Counter[int] = Counter()
        for number, count in self._bins.items():
            bars[(number - first) // size] += count

        def edge(place: int) -> float:
            return math.exp((first + place * size) * _STEP) / 1000

        return [(edge(place), edge(place + 1), count) for place, count in sorted(bars.items())]


@dataclass
class Summary:
    """The contents of a report."""

    report: BulkReport
    is_running: bool
    timeline: Timeline = field(default_factory=Timeline)
    latencies: Latencies = field(default_factory=Latencies)
    """The latencies of the rows that were answered."""
    kinds: list[tuple[State, str, int]] = field(default_factory=list["tuple[State, str, int]"])
    """Failures as state, kind of error and number of rows, the most frequent first."""
    slowest: list[tuple[float, Stored]] = field(default_factory=list["tuple[float, Stored]"])
    """The slowest answers: seconds and row."""
    failed: list[Stored] = field(default_factory=list["Stored"])
    """The first rows that failed or were rejected."""
    in_doubt: list[Stored] = field(default_factory=list["Stored"])
    """The first rows in doubt."""


def summarise(journals: Journals) -> Summary:
    """Read a journal and its shards, and sum them up."""
    summary = Summary(read_reports(journals), any(is_owned(path) for _, path in journals))
    slowest: list[tuple[int, int, int]] = []
    for shard, (connection, _) in enumerate(journals):
        for number, state, tokens, ended, took in read_pages(connection, _SELECT_ENDS, _ROWS_AT_ONCE):
            summary.timeline.add(ended, took, tokens, is_done=state == DONE)
            if state == DONE:
                summary.latencies.add(took)
                if len(slowest) < _SLOWEST:
                    heapq.heappush(slowest, (took, -shard, -number))
                elif took > slowest[0][0]:
                    heapq.heapreplace(slowest, (took, -shard, -number))
    for took, shard, number in sorted(slowest, reverse=True):
        values = select_row(journals[-shard][0], -number)
        if values is not None:
            summary.slowest.append((took / 1000, as_stored(values, is_running=True)))
    summary.kinds = _kinds(journals)
    summary.failed = list(islice(read_all_items(journals, frozenset({"failed", "rejected"})), MOST_ROWS))
    summary.in_doubt = list(islice(read_all_items(journals, frozenset({"in_doubt"})), MOST_ROWS))
    return summary


def _kinds(journals: Journals) -> list[tuple[State, str, int]]:
    counts: Counter[tuple[State, str]] = Counter()
    for connection, _ in journals:
        with closing(connection.execute(_SELECT_KINDS)) as cursor:
            for state, code, error, count in cursor:
                counts[NAMES[state], str(code or error or "the process ended")] += count
    return [(state, kind, count) for (state, kind), count in counts.most_common(_MOST_KINDS)]
