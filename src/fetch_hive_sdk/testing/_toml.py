"""TOML with line numbers: reads a text, and finds where in it something stands. Knows nothing of deployments."""

from __future__ import annotations

import importlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Optional, Union, cast

from fetch_hive_sdk import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

Place = tuple[Union[str, int], ...]
"""Keys of tables and places in arrays, from the outside in."""


class TOMLError(ValueError):
    """A text that is not TOML. `line` is where, from 1; `reason` is why."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def read_toml(text: str) -> dict[str, object]:
    """Return what a text says.

    Raises:
        TOMLError: It is not TOML.
        ConfigurationError: This Python has no reader of TOML.

    """
    loads = _reader()
    try:
        # The standard reads CRLF as LF.
        return loads(text)
    except RecursionError:
        raise TOMLError("it is nested too deep", 1) from None
    except ValueError as exc:
        found = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", str(exc), re.DOTALL)
        reason, line = found.groups() if found else (str(exc), None)
        raise TOMLError(reason, int(line) if line else text.rstrip().count("\n") + 1) from None


def _reader() -> Callable[[str], dict[str, object]]:
    for name in ("tomllib", "tomli"):
        with suppress(ImportError):
            return cast("Callable[[str], dict[str, object]]", importlib.import_module(name).loads)
    raise ConfigurationError("Python before 3.11 cannot read TOML by itself: pip install tomli")


def line_of(text: str, path: Place) -> int:
    """Return the line, from 1, where the value at a path begins, or the innermost table that should have it.

    Args:
        text: A text that is TOML.
        path: Where the value is.

    """
    while path:
        statement = _statement_of(text, path)
        if statement is not None:
            return statement
        path = path[:-1]
    return 1


def _statement_of(text: str, path: Place) -> Optional[int]:
    # The first beginning of the text that has the value ends with the statement that sets it. This leaves the grammar
    # to the reader of TOML; a file has few lines, and only a broken one is looked through.
    lines = text.split("\n")
    begin = 0
    for end in range(1, len(lines) + 1):
        try:
            document = read_toml("\n".join(lines[:end]) + "\n")
        except TOMLError:
            continue
        if _has(document, path):
            return begin + 1 + _within(lines[begin:end], path)
        begin = end
    return None


def _has(value: object, path: Place) -> bool:
    try:
        for step in path:
            value = cast("dict[Union[str, int], object]", value)[step]
    except (LookupError, TypeError):
        return False
    return True


def _within(lines: Sequence[str], path: Place) -> int:
    """Find the line of a key in a statement of several lines: an array of tables, one each line, for one."""
    key = next((step for step in reversed(path) if isinstance(step, str)), "")
    places = [number for number, line in enumerate(lines) if re.search(rf"(?<![\w-]){re.escape(key)}\W*=", line)]
    turn = next((step for step in reversed(path) if isinstance(step, int)), 0)
    return places[min(turn, len(places) - 1)] if places else 0
