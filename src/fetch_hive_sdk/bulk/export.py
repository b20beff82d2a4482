"""Writes the rows of a journal to a file: JSON Lines, CSV or Parquet, in the order of the input."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Callable, Optional, cast

from pydantic_core import to_jsonable_python

from fetch_hive_sdk import OutputValidationError

from .failures import DamageError, JournalError, OutputError
from .kinds import read_response
from .lock import beside, is_owned
from .opening import journal_errors, open_for_reading, quick_check
from .parquet import check_parquet, kind_of, merged, write_parquet
from .reading import in_order, read_items, salvage
from .rescue import open_copy
from .shards import journals_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from .parquet import Kind
    from .report import Stored

_FIELDS: dict[str, Kind] = {
    "key": "str",
    "row": "int",
    "state": "str",
    "attempts": "int",
    "error_code": "str",
    "error": "str",
    "request_id": "str",
    "response": "str",
}
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_MOST_OUTPUT_COLUMNS = 200
_SECRET, _HIDDEN = "webhook_secret", "**********"

Record = dict[str, Any]

ReadOutput = Callable[[Any], Any]
"""Reads an answer as the output type of a typed prompt."""


def export(journal: Path, path: Path, read_output: Optional[ReadOutput] = None) -> int:
    """Write all rows of a journal to a file; return their number.

    Args:
        journal: The journal.
        path: The file. Its suffix selects the format.
        read_output: Reads the output of an answer. None means to parse the answer's text if it is JSON.

    Raises:
        ConfigurationError: The file is a Parquet file and pyarrow is not installed.
        JournalError: The journal is damaged. The rows that could be read have been written.
        OutputError: The file cannot be written.

    """
    target = check_rows_output(path, journal)
    write = _WRITERS.get(path.suffix.lower(), _write_jsonl)
    with ExitStack() as stack:
        shards = [stack.enter_context(_open(shard)) for shard in journals_of(journal)]
        return _export(shards, journal, target, lambda file: write(file, _Records(shards, read_output)))


@contextmanager
def _open(journal: Path) -> Generator[_Reading, None, None]:
    try:
        opened = open_for_reading(journal)
    except DamageError:
        with open_copy(journal) as copy:
            yield _Reading(copy, journal, is_damaged=True)
        return
    with closing(opened) as connection, journal_errors(journal):
        yield _Reading(connection, journal)


def _export(shards: Sequence[_Reading], journal: Path, path: Path, write: Callable[[IO[bytes]], int]) -> int:
    try:
        with replacing(path) as file:
            count = write(file)
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror or exc}") from exc
    if any(shard.is_damaged for shard in shards):
        lost = sum(shard.lost for shard in shards)
        others = f"at least {lost:,} could not" if lost else "others may be missing"
        raise JournalError(
            f"{journal} is damaged, and is left as it is: {count:,} rows could be read and are in {path}, {others}"
        )
    return count


def check_rows_output(path: Path, journal: Path, rows: Optional[Path] = None) -> Path:
    """Return the file that an export of rows will replace, with links resolved.

    Args:
        path: The output file.
        journal: The journal to export.
        rows: The job's input file; None if the input is not a file.

    Raises:
        ConfigurationError: The output is a Parquet file and pyarrow is not installed.
        OutputError: The suffix is that of another format, or see `check_output`.

    """
    target = check_output(path, journal, rows)
    if path.suffix.lower() in _OTHER_FORMATS:
        raise OutputError(
            f"cannot write {path}: an export is CSV, JSON Lines or Parquet: name it .csv, .jsonl or .parquet"
        )
    if path.suffix.lower() == ".parquet":
        check_parquet()
    return target


def check_output(path: Path, journal: Path, rows: Optional[Path] = None) -> Path:
    """Return the file that will be replaced, with links resolved.

    Args:
        path: The output file.
        journal: The journal.
        rows: The job's input file; None if the input is not a file.

    Raises:
        OutputError: The output is the journal or the input, is not a regular file, or its directory does not exist.

    """
    target = Path(os.path.realpath(path))
    ends = ("", "-wal", "-shm", "-journal", ".lock")
    if any(_is_same(target, beside(file, end)) for file in journals_of(journal) for end in ends):
        raise OutputError(f"cannot write {path}: it is the journal, or belongs to it")
    if rows is not None and _is_same(target, rows):
        raise OutputError(f"cannot write {path}: it is the input file")
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a directory")
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write {path}: it is not a regular file")
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no directory {target.parent}")
    return target


def _is_same(path: Path, other: Path) -> bool:
    if path == Path(os.path.realpath(other)):
        return True
    try:
        return path.samefile(other)
    except OSError:
        return False


class _Reading:
    """The rows of a journal that may be damaged. Can be iterated several times."""

    def __init__(self, connection: sqlite3.Connection, journal: Path, *, is_damaged: bool = False) -> None:
        self._connection = connection
        self._journal = journal
        self.lost = 0
        self.is_damaged = is_damaged
        if not is_damaged and not is_owned(journal):
            try:
                quick_check(connection, journal)
            except DamageError:
                self.is_damaged = True

    def __iter__(self) -> Iterator[Stored]:
        self.lost = 0
        for stored in self._stored():
            if stored is None:
                self.lost += 1
            else:
                yield stored

    def _stored(self) -> Iterator[Optional[Stored]]:
        if self.is_damaged:
            return salvage(self._connection)
        return read_items(self._connection, self._journal)


class _Records:
    """The exported rows of a journal and its shards. Can be iterated several times."""

    def __init__(self, shards: Sequence[_Reading], read_output: Optional[ReadOutput]) -> None:
        self._shards = shards
        self._read_output = read_output

    def __iter__(self) -> Iterator[Record]:
        for stored in in_order([iter(shard) for shard in self._shards]):
            yield record_of(stored, self._read_output)


def record_of(stored: Stored, read_output: Optional[ReadOutput] = None) -> Record:
    """Return a row as a record of the export."""
    value = stored.value if stored.state in {"done", "failed", "in_doubt"} else None
    answer = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    text: Any = answer.get("response", value)
    if isinstance(text, dict) and _SECRET in text:
        # Exports are shared with others. Code that verifies the callback gets the secret from `Job.results`.
        text = {**cast("dict[str, Any]", text), _SECRET: _HIDDEN}
    record: Record = {
        "key": stored.key,
        "row": stored.row,
        "state": stored.state,
        "attempts": stored.attempts,
        "error_code": stored.error_code,
        "error": stored.error,
        "request_id": stored.request_id or answer.get("request_id"),
        "response": text,
    }
    usage = answer.get("usage")
    if isinstance(usage, dict):
        record["usage"] = {name: _total(cast("dict[str, Any]", usage).get(name)) for name in _COUNTS}
    if stored.state == "done":
        if read_output is not None:
            record.update(_typed_output_of(stored, read_output))
        elif isinstance(text, str) and (output := _output_of(text)) is not None:
            record["output"] = output
    return record


def _typed_output_of(stored: Stored, read_output: ReadOutput) -> Record:
    """Return the typed output of an answer, or the error if it does not fit: the row stays done and paid for."""
    if stored.body is None:
        return {}
    try:
        return {"output": to_jsonable_python(read_output(read_response(stored.kind, stored.value)))}
    except OutputValidationError as exc:
        return {"error": f"OutputValidationError: {' '.join(str(exc).split())}"}


def _total(count: Any) -> Optional[int]:
    """Return a token count, which is an object or a plain number, as a number."""
    total: Any = cast("dict[str, Any]", count).get("total_tokens") if isinstance(count, dict) else count
    return total if isinstance(total, int) else None


def _output_of(text: str) -> Any:
    """Parse a JSON object or list, with or without a code fence; return None if the string is neither."""
    text = text.strip()
    opening, _, rest = text.partition("\n")
    if opening.startswith("```") and rest.endswith("```"):
        text = rest[:-3].strip()
    if text[:1] not in {"{", "["}:
        return None
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


def _write_jsonl(file: IO[bytes], records: Iterable[Record]) -> int:
    count = 0
    for record in records:
        file.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        count += 1
    return count


def _write_csv(file: IO[bytes], records: Iterable[Record]) -> int:
    names = _columns_of(records)
    count = 0
    text = io.TextIOWrapper(file, "utf-8", "surrogatepass", newline="")
    # Without an escape character, Python 3.10 refuses a NUL. This one is a noncharacter, which does not occur.
    writer = csv.writer(text, escapechar="\U0010ffff" if sys.version_info < (3, 11) else None)
    writer.writerow(names)
    for record in records:
        values = _flat(record)
        writer.writerow([_cell(values.get(name)) for name in names])
        count += 1
    text.detach()  # flushes; the caller closes the file
    return count


def _write_parquet(file: IO[bytes], records: Iterable[Record]) -> int:
    return write_parquet(file, _columns_of(records), map(_flat, records))


# Files with other names are JSON Lines, unless the name promises another format.
_WRITERS: dict[str, Callable[[IO[bytes], Iterable[Record]], int]] = {".csv": _write_csv, ".parquet": _write_parquet}
_OTHER_FORMATS = {".arrow", ".feather", ".gz", ".ods", ".tsv", ".xls", ".xlsx", ".zip"}


def _columns_of(records: Iterable[Record]) -> dict[str, Kind]:
    """Return the columns of a table of all rows, with their kinds.

    This iterates over all rows. Writing them iterates again, so that they are never all in memory.
    """
    outputs: dict[str, Kind] = {}
    for record in records:
        for name, value in _flat_output(record).items():
            if name in outputs or len(outputs) < _MOST_OUTPUT_COLUMNS:
                outputs[name] = merged(outputs.get(name), kind_of(value))
    return {**_FIELDS, **{f"usage_{name}": "int" for name in _COUNTS}, **outputs}


def _flat(record: Record) -> Record:
    """Return a record with one value per column."""
    usage = cast("dict[str, Any]", record.get("usage") or {})
    fields = {name: record[name] for name in _FIELDS}
    return {**fields, **{f"usage_{name}": usage.get(name) for name in _COUNTS}, **_flat_output(record)}


def _flat_output(record: Record) -> Record:
    if "output" not in record:
        return {}
    output = record["output"]
    if not isinstance(output, dict):
        return {"output": output}
    return {f"output_{name}": value for name, value in cast("dict[str, Any]", output).items()}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list, bool)) else value


@contextmanager
def replacing(path: Path, sync: Callable[[int], None] = os.fsync) -> Generator[IO[bytes], None, None]:
    """Open a temporary file that replaces `path` when the block ends without an error."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            sync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
