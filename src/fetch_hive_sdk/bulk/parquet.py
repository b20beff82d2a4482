"""Reads and writes Parquet files in batches, with pyarrow."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Union, cast

from .failures import RowError
from .packages import load
from .tables import check_names, rows_of_batch

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

Kind = Union[str, tuple[str, str], None]
"""The kind of a column's values: `bool`, `int`, `float`, `str`, `json`, a list of one of these, or None if unknown.

A list without items is `("list", "")`.
"""

_WHAT = "Parquet files"
_ROWS_AT_ONCE = 1000
_ROWS_IN_A_GROUP, _BYTES_IN_A_GROUP = 20_000, 1 << 24
_LARGEST = 2**63


def check_parquet() -> None:
    """Check that pyarrow can be imported.

    Raises:
        ConfigurationError: pyarrow is not installed.

    """
    load("pyarrow.parquet", _WHAT)


# --- Reading ----------------------------------------------------------------------------------------------------------


class ParquetReader:
    """The rows of a Parquet file in order, as plain Python values.

    Args:
        file: The file, at its start.
        name: The file's name for messages.

    Raises:
        ConfigurationError: pyarrow is not installed.
        RowError: The file is not Parquet, it is damaged, or two of its columns have the same name.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._name = name
        self._errors = (load("pyarrow", _WHAT).ArrowException, OSError)
        parquet = load("pyarrow.parquet", _WHAT)
        with self._reading():
            self._file: Any = parquet.ParquetFile(file)
        self.columns: list[str] = list(self._file.schema_arrow.names)
        """The names of the columns."""
        check_names(self.columns, name)
        self.count: int = self._file.metadata.num_rows
        """The number of rows."""

    def __iter__(self) -> Iterator[dict[str, object]]:
        batches = self._file.iter_batches(batch_size=_ROWS_AT_ONCE)
        while True:
            with self._reading():
                batch = next(batches, None)
            if batch is None:
                return
            yield from rows_of_batch(batch)

    @contextmanager
    def _reading(self) -> Generator[None, None, None]:
        try:
            yield
        except self._errors as exc:
            reason = (str(exc).splitlines() or [type(exc).__name__])[0]
            raise RowError(f"{self._name}: it is not Parquet, or it is damaged: {reason}") from exc


# --- Writing ----------------------------------------------------------------------------------------------------------


def kind_of(value: object) -> Kind:
    """Return the kind of a JSON value."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -_LARGEST <= value < _LARGEST else "json"
    if isinstance(value, (float, str)):
        return "str" if isinstance(value, str) else "float"
    if isinstance(value, list):
        kind: Kind = None
        for item in cast("list[object]", value):
            kind = merged(kind, kind_of(item))
        return ("list", kind or "") if not isinstance(kind, tuple) and kind != "json" else "json"
    return "json"


def merged(one: Kind, other: Kind) -> Kind:
    """Return the kind of a column whose values are of two kinds."""
    if one == other or other is None:
        return one
    if one is None:
        return other
    if isinstance(one, tuple) and isinstance(other, tuple):
        kind = merged(one[1] or None, other[1] or None)
        return ("list", kind) if isinstance(kind, str) and kind != "json" else "json"
    return "float" if {one, other} == {"int", "float"} else "json"


def write_parquet(file: IO[bytes], kinds: Mapping[str, Kind], rows: Iterable[Mapping[str, object]]) -> int:
    """Write rows to a file; return their number.

    Args:
        file: The file.
        kinds: The names and kinds of the columns.
        rows: The rows: JSON values by column name.

    """
    pyarrow, parquet = load("pyarrow", _WHAT), load("pyarrow.parquet", _WHAT)
    schema = pyarrow.schema([(name, _type_of(kind, pyarrow)) for name, kind in kinds.items()])
    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for batch in _batches(kinds, rows):
            writer.write_table(pyarrow.table(batch, schema=schema))
            count += len(next(iter(batch.values())))
    return count


def _batches(
    kinds: Mapping[str, Kind], rows: Iterable[Mapping[str, object]]
) -> Iterator[Mapping[str, Sequence[object]]]:
    columns: dict[str, list[object]] = {name: [] for name in kinds}
    count = size = 0
    for row in rows:
        for name, kind in kinds.items():
            value = _fit(row.get(name), kind)
            size += len(value) if isinstance(value, str) else 8
            columns[name].append(value)
        count += 1
        if count >= _ROWS_IN_A_GROUP or size >= _BYTES_IN_A_GROUP:
            yield columns
            columns = {name: [] for name in kinds}
            count = size = 0
    if count:
        yield columns


def _type_of(kind: Kind, pyarrow: Any) -> Any:
    if isinstance(kind, tuple):
        return pyarrow.list_(_type_of(kind[1], pyarrow))
    names = {"bool": pyarrow.bool_, "int": pyarrow.int64, "float": pyarrow.float64}
    return names.get(kind or "", pyarrow.string)()


def _fit(value: object, kind: Kind) -> object:
    """Convert a value to the kind of its column; return None if it does not fit.

    A running job may add rows after the kinds were determined, so that a value may not fit.
    """
    if value is None:
        return None
    if kind == "str" and isinstance(value, str):
        return _as_utf8(value)
    if kind in {"json", "str", None}:
        return _as_utf8(json.dumps(value, ensure_ascii=False))
    if merged(kind, kind_of(value)) != kind:
        return None
    if isinstance(kind, tuple):
        return [_fit(item, kind[1]) for item in cast("list[object]", value)]
    return float(cast("float", value)) if kind == "float" else value


def _as_utf8(text: str) -> str:
    """Return a string that UTF-8 can encode: lone surrogates become escapes."""
    return text.encode("utf-8", "backslashreplace").decode() if not text.isascii() else text
