"""Reads rows of a CSV, JSON Lines or Parquet file lazily."""

from __future__ import annotations

import csv
import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Optional, Union, cast

from .failures import RowError
from .parquet import ParquetReader
from .rows import problem_of_key
from .store import is_text

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

Format = Literal["csv", "jsonl", "parquet"]

_LONGEST_FIELD = 2**31 - 1  # characters; the csv module's default is 131,072
_FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


class FileRows:
    """The rows of a file, as mappings. A regular file can be iterated several times.

    Args:
        path: The file, or the binary stream of standard input, which can be read only once.
        kind: The format. None means to take it from the file's suffix.
        needed: The columns that each row must have.
        key: The column with the key, which each row must have as well.
        skips_bad: Whether to skip and count broken lines.

    Raises:
        RowError: The file does not exist, its format is unknown, or a line is broken.
        ConfigurationError: The file is a Parquet file and pyarrow is not installed.
    """

    def __init__(
        self,
        path: Union[Path, IO[bytes]],
        kind: Optional[Format] = None,
        *,
        needed: Sequence[str] = (),
        key: Optional[str] = None,
        skips_bad: bool = False,
    ) -> None:
        self._path = path
        self._name = str(path) if isinstance(path, Path) else "stdin"
        found = kind or (_FORMATS.get(path.suffix.lower()) if isinstance(path, Path) else None)
        if found is None:
            raise RowError(
                f"{self._name}: not recognised as CSV, JSON Lines or Parquet:"
                " name it .csv, .jsonl or .parquet, or pass --format"
            )
        self._kind: Format = found
        if found == "parquet" and not self._is_file(path):
            raise RowError(f"{self._name}: Parquet can only be read from a file")
        self._needed = [*needed, *([] if key is None else [key])]
        self._key = key
        self._skips_bad = skips_bad
        self.skipped: int = 0
        """The number of broken lines skipped so far."""
        self._length: Optional[int] = None

    @property
    def can_be_read_again(self) -> bool:
        """Whether the input is a regular file rather than stdin or a pipe, such as `<(command)`."""
        return self._is_file(self._path)

    @staticmethod
    def _is_file(path: Union[Path, IO[bytes]]) -> bool:
        return isinstance(path, Path) and not path.is_fifo()

    def __iter__(self) -> Iterator[dict[str, object]]:
        self.skipped = 0
        unit = "row" if self._kind == "parquet" else "line"
        with self._open() as file:
            for line, row in self._read(file):
                problem = row if isinstance(row, str) else self._missing(row) or self._problem_of_key(row)
                if problem is None:
                    yield cast("dict[str, object]", row)
                elif self._skips_bad:
                    self.skipped += 1
                else:
                    raise RowError(f"{self._name}, {unit} {line}: {problem}")

    def __length_hint__(self) -> int:
        """Count the rows of a regular file."""
        if not self.can_be_read_again or not isinstance(self._path, Path):
            raise TypeError("a stream or pipe cannot be counted")  # length_hint() then returns its default
        if self._length is None:
            self._length = self._count(self._path)
        return self._length

    def _count(self, path: Path) -> int:
        if self._kind == "parquet":  # the footer has the number of rows
            with self._open() as file:
                return ParquetReader(file, self._name).count
        return sum(1 for _ in FileRows(path, self._kind, skips_bad=True))

    @contextmanager
    def _open(self) -> Generator[IO[bytes], None, None]:
        if not isinstance(self._path, Path):
            yield self._path
            return
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            raise RowError(f"there is no file {self._path}") from None
        except OSError as exc:
            raise RowError(f"cannot read {self._path}: {exc.strerror or exc}") from None
        with file:
            yield file

    def _missing(self, row: Mapping[str, object]) -> Optional[str]:
        missing = [name for name in self._needed if name not in row]
        if not missing:
            return None
        found = ", ".join(row) or "none"
        # Spreadsheets in many countries write semicolons.
        hint = "; the fields must be separated by commas" if len(row) == 1 and re.search(r"[;\t|]", found) else ""
        return f"there is no column {missing[0]!r}: there are {found}{hint}"

    def _problem_of_key(self, row: Mapping[str, object]) -> Optional[str]:
        problem = None if self._key is None else problem_of_key(row[self._key])
        return None if problem is None else f"it {problem}"

    # The readers yield the number of each line with its row, or with a message if the line is broken.

    def _read(self, file: IO[bytes]) -> Iterator[tuple[int, Union[dict[str, object], str]]]:
        if self._kind == "csv":
            return self._read_csv(file)
        return self._read_jsonl(file) if self._kind == "jsonl" else self._read_parquet(file)

    def _read_parquet(self, file: IO[bytes]) -> Iterator[tuple[int, dict[str, object]]]:
        reader = ParquetReader(file, self._name)
        problem = self._missing(dict.fromkeys(reader.columns, ""))
        if problem is not None:
            raise RowError(f"{self._name}: {problem}")
        yield from enumerate(reader, 1)

    def _read_csv(self, file: IO[bytes]) -> Iterator[tuple[int, Union[dict[str, object], str]]]:
        csv.field_size_limit(_LONGEST_FIELD)
        # An invalid UTF-8 byte breaks only its own row.
        reader = csv.reader((line.decode("utf-8", "surrogateescape") for line in file), strict=True)
        header: Optional[list[str]] = None
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as exc:
                yield reader.line_num, f"it is not CSV: {exc}"
                continue
            if header is None:
                header = self._header(fields)
            elif fields:
                yield reader.line_num, _row_of(header, fields)

    def _header(self, fields: list[str]) -> list[str]:
        header = [fields[0].removeprefix("\ufeff") if fields else "", *fields[1:]]
        if not all(map(is_text, header)):
            raise RowError(f"{self._name}: it is not UTF-8")
        problem = self._missing(dict.fromkeys(header, ""))
        if problem is not None:
            raise RowError(f"{self._name}: {problem}")
        if len(set(header)) < len(header):
            raise RowError(f"{self._name}: two columns have the same name")
        return header

    def _read_jsonl(self, file: IO[bytes]) -> Iterator[tuple[int, Union[dict[str, object], str]]]:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not text:
                continue
            try:
                value: Any = json.loads(text, parse_constant=_refuse)
            except (ValueError, RecursionError):
                yield number, "it is not JSON"
                continue
            if b"\\ud" in text.lower() and not is_text(json.dumps(value, ensure_ascii=False)):
                yield number, "it has half of a surrogate pair, which UTF-8 cannot encode"
                continue
            yield number, cast("dict[str, object]", value) if isinstance(value, dict) else "it is not a JSON object"


def _refuse(constant: str) -> None:
    # Python's parser accepts NaN and infinities, which are not valid JSON.
    raise ValueError(constant)


def _row_of(header: list[str], fields: list[str]) -> Union[dict[str, object], str]:
    if len(fields) != len(header):
        return f"it has {len(fields)} fields, and the header has {len(header)}"
    if not all(map(is_text, fields)):
        return "it is not UTF-8"
    return dict(zip(header, fields))
