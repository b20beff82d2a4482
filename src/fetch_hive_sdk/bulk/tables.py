"""Reads rows from tables of pandas, polars and pyarrow in batches. Imports none of these packages at import time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Union, cast

from .failures import RowError
from .packages import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence

    from .rows import RowValue

_TABLES = {
    ("pandas", "DataFrame"),
    ("modin", "DataFrame"),
    ("polars", "DataFrame"),
    ("polars", "LazyFrame"),
    ("pyarrow", "Table"),
    ("narwhals", "DataFrame"),
    ("narwhals", "LazyFrame"),
}
_ROWS_AT_ONCE = 1000
_MICROSECONDS_END = len("2025-01-01T00:00:00.000000")


class Table(Protocol):
    """A table of pandas, polars, pyarrow or narwhals, including a `LazyFrame`."""

    @property
    def columns(self) -> object:
        """The columns, or their names."""
        ...

    def join(self, *args: Any, **kwargs: Any) -> object:
        """Not called. Distinguishes tables from other objects with `columns`."""
        ...


Rows = Union["Iterable[RowValue]", "AsyncIterable[RowValue]", Table]
"""The input of a job: an iterable, an asynchronous iterable or a table."""


def rows_of(values: Rows) -> Union[Iterable[RowValue], AsyncIterable[RowValue]]:
    """Return the rows of a table. Returns other values unchanged.

    Raises:
        ConfigurationError: The package that reads the table is not installed.
        RowError: Two columns of the table have the same name.

    """
    names = {(cls.__module__.partition(".")[0], cls.__name__) for cls in type(values).__mro__}
    if ("pyarrow", "Table") in names:
        return _ArrowRows(values)
    if names & _TABLES:
        return _FrameRows(values)
    return cast("Union[Iterable[RowValue], AsyncIterable[RowValue]]", values)


class _FrameRows:
    """The rows of a table, read with narwhals."""

    def __init__(self, native: Any) -> None:
        narwhals = load("narwhals", "tables as rows")
        self._is_lazy = type(native).__name__ == "LazyFrame"
        if not self._is_lazy:  # a LazyFrame may have to compute its column names
            check_names(list(native.columns), "the table")
        self._frame: Any = narwhals.from_native(native)

    def __iter__(self) -> Iterator[dict[str, object]]:
        frame = self._frame.collect() if self._is_lazy else self._frame
        for begin in range(0, len(frame), _ROWS_AT_ONCE):
            yield from self._rows_of(frame[begin : begin + _ROWS_AT_ONCE])

    def _rows_of(self, batch: Any) -> Iterator[dict[str, object]]:
        rows = [{name: plain(value) for name, value in row.items()} for row in batch.iter_rows(named=True)]
        # pandas returns times with their nanoseconds, polars without.
        for name, kind in batch.schema.items():
            if getattr(kind, "time_unit", None) == "ns" and hasattr(kind, "time_zone"):
                for row, nanoseconds in zip(rows, batch[name].dt.nanosecond()):
                    row[name] = _with_nanoseconds(row[name], plain(nanoseconds))
        return iter(rows)

    def __length_hint__(self) -> int:
        """Count the rows, unless the table is lazy."""
        if self._is_lazy:
            raise TypeError("a LazyFrame has to be computed to be counted")  # length_hint() then returns its default
        return len(self._frame)


class _ArrowRows:
    """The rows of a pyarrow table."""

    def __init__(self, table: Any) -> None:
        names: Sequence[str] = table.column_names
        check_names(names, "the table")
        self._table = table

    def __iter__(self) -> Iterator[dict[str, object]]:
        for batch in self._table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield from rows_of_batch(batch)

    def __length_hint__(self) -> int:
        """Count the rows."""
        return int(self._table.num_rows)


def check_names(names: Sequence[object], what: str) -> None:
    """Check that the column names of a table are unique.

    Raises:
        RowError: Two columns have the same name.

    """
    if len(set(names)) < len(names):
        raise RowError(f"{what}: two columns have the same name")


def rows_of_batch(batch: Any) -> Iterator[dict[str, object]]:
    """Iterate over the rows of a pyarrow `RecordBatch` as plain Python values."""
    names: Sequence[str] = batch.schema.names
    columns = [_values_of(column) for column in batch.columns]
    for values in zip(*columns):
        yield dict(zip(names, values))


def _values_of(column: Any) -> list[object]:
    pyarrow = load("pyarrow", "tables of pyarrow")
    kind = column.type
    if getattr(kind, "unit", None) != "ns":
        return [plain(value) for value in column.to_pylist()]
    # Without pandas, pyarrow cannot convert values with nanoseconds to Python objects.
    if pyarrow.types.is_timestamp(kind):
        rounded = pyarrow.timestamp("us", kind.tz)
    else:
        rounded = pyarrow.duration("us") if pyarrow.types.is_duration(kind) else pyarrow.time64("us")
    values: list[object] = column.cast(rounded, safe=False).to_pylist()
    if not pyarrow.types.is_timestamp(kind):
        return values
    numbers = column.cast(pyarrow.int64()).to_pylist()
    return [_with_nanoseconds(value, number) for value, number in zip(values, numbers)]


def _with_nanoseconds(value: object, nanoseconds: object) -> object:
    """Return a time with nanoseconds, which `datetime` cannot hold, as an ISO 8601 string; other values unchanged."""
    if not isinstance(value, datetime) or not isinstance(nanoseconds, int) or not nanoseconds % 1000:
        return value
    text = value.isoformat(timespec="microseconds")
    return f"{text[:_MICROSECONDS_END]}{nanoseconds % 1000:03}{text[_MICROSECONDS_END:]}"


def plain(value: object) -> object:
    """Convert a value of a table to a plain Python value. Missing values become None.

    Times with nanoseconds become ISO 8601 strings: `datetime` would drop the nanoseconds.
    """
    kind = type(value)
    if value is None or kind in {str, int, bool}:
        return value
    if isinstance(value, float):
        return None if value != value else float(value)  # noqa: PLR0124 - NaN
    if isinstance(value, dict):
        return {plain(name): plain(item) for name, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("Sequence[object]", value)]
    return _plain_numpy(value) if hasattr(value, "dtype") else _plain_pandas(value)


def _plain_pandas(value: Any) -> object:
    """Convert a pandas `Timestamp` or `Timedelta` to the standard type that it derives from."""
    if type(value).__name__ in {"NaTType", "NAType"}:
        return None
    if hasattr(value, "to_pydatetime"):
        return value.isoformat() if value.nanosecond else value.to_pydatetime()
    return value.to_pytimedelta() if hasattr(value, "to_pytimedelta") else value


def _plain_numpy(value: Any) -> object:
    name = str(value.dtype)
    if value.shape == () and name.startswith(("datetime64", "timedelta64")):
        item = value.astype(f"{value.dtype.kind}8[us]").item()
        if item is None or name.startswith("timedelta64"):
            return item
        # A string keeps the nanoseconds, if there are any.
        return item if value == value.astype("M8[us]") else str(value)
    return plain(value.tolist())
