"""The results of a job: its counts and its rows. Performs no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, Generic, Literal, Optional, TypeVar, Union, cast

from fetch_hive_sdk._text import count_of

from .kinds import read_request, read_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

OutputT = TypeVar("OutputT")

State = Literal["pending", "done", "rejected", "failed", "in_doubt"]
"""The state of a row.

* `pending`: not sent yet.
* `done`: answered.
* `rejected`: certainly not run, for example because of a wrong API key or no connection. The next run sends it again.
* `failed`: refused permanently, or the answer could not be read.
* `in_doubt`: may have been run and paid for. Never sent again automatically.
"""

STATES: tuple[State, ...] = ("pending", "done", "rejected", "failed", "in_doubt")

Stop = Literal["runs", "tokens", "failures", "seconds", "auth", "deployment", "cap", "network", "disk", "signal"]
"""Why a job stopped before the end of its rows: the budget that it reached, or the error."""


@dataclass(frozen=True)
class BulkReport:
    """The counts of a job's journal, over all its runs."""

    done: int = 0
    """Rows that were answered."""
    rejected: int = 0
    """Rows that were certainly not run. The next run sends them again."""
    failed: int = 0
    """Rows that were refused permanently, or whose answer could not be read."""
    in_doubt: int = 0
    """Rows that may have been run and paid for: see `Job.doubt`."""
    pending: int = 0
    """Rows in the journal that have not been sent."""
    tokens: int = 0
    """Tokens used, as reported by the answers."""
    seconds: float = 0.0
    """The duration of this run; from `Job.status`, of all runs together."""
    is_exhausted: bool = False
    """Whether all rows of the input have been read."""
    stopped: Optional[Stop] = None
    """Why the run stopped before the end of the rows; None if it did not stop early."""

    @property
    def rows(self) -> int:
        """The number of rows in the journal: the sum of the five counts."""
        return self.done + self.rejected + self.failed + self.in_doubt + self.pending

    def as_dict(self) -> dict[str, object]:
        """Return the report as a dict that can be written as JSON."""
        return {"rows": self.rows, **{field.name: getattr(self, field.name) for field in fields(self)}}

    def __str__(self) -> str:
        counts = ", ".join(
            f"{count:,} {state.replace('_', ' ')}" for state, count in self._counts() if count or state == "done"
        )
        stopped = f"; stopped: {self.stopped}" if self.stopped else ""
        return (
            f"{count_of(self.rows, 'row')}: {counts}; {count_of(self.tokens, 'token')}, {self.seconds:.1f} s{stopped}"
        )

    def _counts(self) -> list[tuple[State, int]]:
        return [(state, getattr(self, state)) for state in ("done", "rejected", "failed", "in_doubt", "pending")]


def sum_of(reports: Sequence[BulkReport]) -> BulkReport:
    """Return the combined report of several shards."""
    counts = {name: sum(getattr(report, name) for report in reports) for name in (*STATES, "tokens")}
    return BulkReport(
        **counts,
        seconds=max(report.seconds for report in reports),
        is_exhausted=all(report.is_exhausted for report in reports),
        stopped=next((report.stopped for report in reports if report.stopped), None),
    )


@dataclass(frozen=True)
class Stored:
    """A row of the journal."""

    key: str
    row: int
    state: State
    kind: int
    attempts: int
    tokens: int
    request: str
    body: Union[str, bytes, None] = field(repr=False)  # the answer of a started workflow contains its webhook secret
    error_code: Optional[str]
    error: Optional[str]
    request_id: Optional[str]

    @property
    def value(self) -> Any:
        """The answer as a JSON value, or as a string if it is not valid JSON."""
        if self.body is None:
            return None
        try:
            return json.loads(self.body)
        except ValueError:
            return self.body if isinstance(self.body, str) else self.body.decode("utf-8", "backslashreplace")


class Item(Generic[OutputT]):
    """A row of a job with its state and answer. Read-only; the request and the response are parsed on first access."""

    def __init__(self, stored: Stored, read_output: Optional[Callable[[Any], OutputT]] = None) -> None:
        self._stored = stored
        self._read_output = read_output

    @property
    def key(self) -> str:
        """The key of the row: your key, or the 64 hexadecimal digits of its request's digest."""
        return self._stored.key

    @property
    def row(self) -> int:
        """The number of the row in the input, from 1."""
        return self._stored.row

    @property
    def state(self) -> State:
        """The state of the row."""
        return self._stored.state

    @property
    def attempts(self) -> int:
        """How many times the row was sent, including refused calls."""
        return self._stored.attempts

    @property
    def error(self) -> Optional[str]:
        """What went wrong, in one sentence; None if nothing did."""
        return self._stored.error

    @property
    def error_code(self) -> Optional[str]:
        """The machine-readable error code of the service; None if it sent none."""
        return self._stored.error_code

    @cached_property
    def request(self) -> BaseModel:
        """The request, such as an `InvokeRequest`."""
        return read_request(self._stored.kind, json.loads(self._stored.request))

    @cached_property
    def response(self) -> Any:
        """The answer, such as an `InvokeResponse`; None unless the row is done and has an answer."""
        if self.state != "done" or self._stored.body is None:
            return None
        return read_response(self._stored.kind, self._stored.value)

    @property
    def body(self) -> object:
        """The body of an answer that could not be read, as a JSON value or a string. None for all other rows."""
        return None if self.state == "done" else self._stored.value

    @property
    def request_id(self) -> Optional[str]:
        """The service's id of the request; None if it is unknown."""
        if self._stored.request_id is not None:
            return self._stored.request_id
        value = self._stored.value
        found = cast("dict[str, object]", value).get("request_id") if isinstance(value, dict) else None
        return found if isinstance(found, str) else None

    @cached_property
    def output(self) -> OutputT:
        """The answer as the output type passed to `Job.results`.

        Raises:
            OutputValidationError: The text of the answer does not fit the type.
            ValueError: The row has no answer, or `Job.results` was called without `prompt`.

        """
        if self._read_output is None:
            raise ValueError("there is no output type: pass it as results(prompt=...)")
        if self.response is None:
            raise ValueError(f"row {self.row} has no answer: it is {self.state}")
        return self._read_output(self.response)

    def __repr__(self) -> str:
        return f"Item(key={self.key!r}, row={self.row}, state={self.state!r})"
