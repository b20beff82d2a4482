"""How the command line shows things: colours on a terminal and nowhere else, and no text that could steer it."""

from __future__ import annotations

import os
import re
import sys
from typing import Literal, Optional, TextIO

Style = Literal["dim", "red", "green", "yellow"]

# C0 without line feed and tab, DEL, C1. Not all that cannot be printed: what joins emojis and letters is needed.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_CODES: dict[Style, str] = {"dim": "2", "red": "31", "green": "32", "yellow": "33"}


def is_terminal(output: Optional[TextIO]) -> bool:
    """Whether somebody sees what is written there."""
    return output is not None and output.isatty()


def has_colours(output: Optional[TextIO]) -> bool:
    """Whether to write colours there: NO_COLOR forbids them, FORCE_COLOR wants them everywhere."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") != "0":
        return True
    return is_terminal(output) and os.environ.get("TERM") != "dumb"


def paint(text: str, style: Style, output: Optional[TextIO]) -> str:
    """Return a text in a colour, if there are colours where it goes."""
    return f"\033[{_CODES[style]}m{text}\033[0m" if has_colours(output) else text


def show(text: str, output: Optional[TextIO]) -> str:
    """Return what a model wrote as it is, but on a terminal without the characters that could steer it."""
    if not is_terminal(output):
        return text
    return _CONTROLS.sub("", text)


def in_one_line(text: str) -> str:
    """Return a text on one line: a service, or a proxy before it, may say anything."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def complain(text: str) -> None:
    """Tell on stderr what is wrong."""
    print(f"{paint('fetch-hive:', 'red', sys.stderr)} {text}", file=sys.stderr, flush=True)
