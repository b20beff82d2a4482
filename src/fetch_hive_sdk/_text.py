"""Plain text on a terminal: one line, counts, and columns.

In columns, Chinese, Japanese and Korean letters and emojis are two cells wide.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARKS = {"Mn", "Me", "Cf"}  # drawn on the letter before, or invisible


def in_one_line(text: str) -> str:
    """Return text on one line, without control characters. For messages of the service or a proxy."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def count_of(number: int, what: str) -> str:
    """Return a number with its noun, such as `1 call` and `2,000 calls`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def width_of(text: str) -> int:
    """Return the number of cells of a line."""
    return len(text) if text.isascii() else sum(map(_width_of_character, text))


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill a line with blanks, after the text or, with `right`, before it."""
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


def wrap(text: str, width: int) -> list[str]:
    """Break a line into lines of at most `width` cells, at blanks where possible. An empty line is one line."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if width_of(joined) > width and line:
            lines.append(line)
            joined = word
        *full, line = _pieces(joined, width)
        lines += full
    return [*lines, line]


def _width_of_character(character: str) -> int:
    if unicodedata.category(character) in _MARKS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _pieces(line: str, width: int) -> Iterator[str]:
    """Cut a line into pieces of at most `width` cells, and at least one character."""
    start = used = 0
    for index, character in enumerate(line):
        cells = _width_of_character(character)
        used += cells
        if used > width and index > start:
            yield line[start:index]
            start, used = index, cells
    yield line[start:]
