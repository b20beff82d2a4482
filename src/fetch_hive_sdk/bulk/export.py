"""Writes the rows of a journal to a file: JSON Lines or CSV, row by row, in the order of the input."""

from __future__ import annotations

import csv
import json
import os
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Callable, Optional, cast

from .failures import DamageError, JournalError, OutputError
from .lock import beside, is_owned
from .opening import journal_errors, open_for_reading, quick_check
from .reading import in_order, read_items, salvage
from .rescue import open_copy
from .shards import journals_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from .report import Stored

_FIELDS = ("key", "row", "state", "attempts", "error_code", "error", "request_id", "response")
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_MOST_OUTPUT_COLUMNS = 200
_SECRET, _HIDDEN = "webhook_secret", "**********"

Record = dict[str, Any]


def export(journal: Path, path: Path) -> int:
    """Write all rows of a journal; return how many.

    Raises:
        JournalError: The journal is damaged: what can be read has been written.
        OutputError: The file cannot be written.

    """
    path = check_output(path, journal)
    with ExitStack() as stack:
        return _export([stack.enter_context(_open(shard)) for shard in journals_of(journal)], journal, path)


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


def _export(shards: Sequence[_Reading], journal: Path, path: Path) -> int:
    write = _write_csv if path.suffix.lower() == ".csv" else _write_jsonl
    try:
        with replacing(path) as file:
            count = write(file, _Records(shards))
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror or exc}") from exc
    if any(shard.is_damaged for shard in shards):
        lost = sum(shard.lost for shard in shards)
        others = f"at least {lost:,} could not" if lost else "others may be missing"
        raise JournalError(
            f"{journal} is damaged, and is left as it is: {count:,} rows could be read and are in {path}, {others}"
        )
    return count


def check_output(path: Path, journal: Path, rows: Optional[Path] = None) -> Path:
    """Return the file that an export replaces: what a link points to.

    Args:
        path: Where the rows are wanted.
        journal: The journal that they come from.
        rows: The file of the job's input, if it is one.

    Raises:
        OutputError: It is the journal or the input, it is not a file, or its folder is not there.

    """
    target = Path(os.path.realpath(path))
    ends = ("", "-wal", "-shm", "-journal", ".lock")
    if any(_is_same(target, beside(file, end)) for file in journals_of(journal) for end in ends):
        raise OutputError(f"cannot write {path}: it is the journal, or belongs to it")
    if rows is not None and _is_same(target, rows):
        raise OutputError(f"cannot write {path}: the rows are read from it")
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a directory")
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write {path}: it is not a regular file, and so cannot be replaced")
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
    """Reads the rows of a journal that may be damaged, as often as is needed."""

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
    """The rows of a journal and its shards as they are exported, as often as is needed."""

    def __init__(self, shards: Sequence[_Reading]) -> None:
        self._shards = shards

    def __iter__(self) -> Iterator[Record]:
        return map(record_of, in_order([iter(shard) for shard in self._shards]))


def record_of(stored: Stored) -> Record:
    """Return a row as it is exported."""
    value = stored.value if stored.state in {"done", "failed", "in_doubt"} else None
    answer = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    text: Any = answer.get("response", value)
    if isinstance(text, dict) and _SECRET in text:
        # Exports are handed on. Code that verifies the callback gets the secret from `Job.results`.
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
    if isinstance(text, str) and stored.state == "done":
        output = _output_of(text)
        if output is not None:
            record["output"] = output
    return record


def _total(count: Any) -> Optional[int]:
    """Token counts come as an object or as a plain number."""
    total: Any = cast("dict[str, Any]", count).get("total_tokens") if isinstance(count, dict) else count
    return total if isinstance(total, int) else None


def _output_of(text: str) -> Any:
    """Return the JSON object or list that a text is, in a code fence or not; None if it is none."""
    text = text.strip()
    opening, _, rest = text.partition("\n")
    if opening.startswith("```") and rest.endswith("```"):
        text = rest[:-3].strip()
    if text[:1] not in {"{", "["}:
        return None
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


def _write_jsonl(file: IO[str], records: Iterable[Record]) -> int:
    count = 0
    for record in records:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
        count += 1
    return count


def _write_csv(file: IO[str], records: Iterable[Record]) -> int:
    # Once to see which columns there are, and once to write them: rows are never all in memory.
    names: dict[str, None] = {}
    for record in records:
        output = record.get("output")
        if isinstance(output, dict) and len(names) < _MOST_OUTPUT_COLUMNS:
            names.update(dict.fromkeys(cast("dict[str, Any]", output)))
    writer = csv.writer(file)
    writer.writerow([*_FIELDS, *(f"usage_{name}" for name in _COUNTS), *(f"output_{name}" for name in names)])
    count = 0
    for record in records:
        usage, output = cast("dict[str, Any]", record.get("usage") or {}), record.get("output")
        fields = cast("dict[str, Any]", output) if isinstance(output, dict) else {}
        values = [record[name] for name in _FIELDS]
        values += [usage.get(name) for name in _COUNTS] + [fields.get(name) for name in names]
        writer.writerow([_cell(value) for value in values])
        count += 1
    return count


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list, bool)) else value


@contextmanager
def replacing(path: Path, sync: Callable[[int], None] = os.fsync) -> Generator[IO[str], None, None]:
    """Open a file beside another, which it replaces at the end: never is there half a file."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            yield file
            file.flush()
            sync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
