"""Terminal output: colours on a terminal only, and no control characters from the service."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import Literal, Optional, TextIO

Style = Literal["dim", "red", "green", "yellow"]

# C0 except line feed and tab, DEL, C1. Other non-printing characters join emojis and letters.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_CODES: dict[Style, str] = {"dim": "2", "red": "31", "green": "32", "yellow": "33"}


def is_terminal(output: Optional[TextIO]) -> bool:
    """Whether an output is a terminal."""
    return output is not None and output.isatty()


def has_colours(output: Optional[TextIO]) -> bool:
    """Whether to use colours: NO_COLOR disables them, FORCE_COLOR enables them everywhere."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") != "0":
        return True
    return is_terminal(output) and os.environ.get("TERM") != "dumb"


def paint(text: str, style: Style, output: Optional[TextIO]) -> str:
    """Return text in a colour, if the output has colours."""
    return f"\033[{_CODES[style]}m{text}\033[0m" if has_colours(output) else text


def show(text: str, output: Optional[TextIO]) -> str:
    """Return text from the service. For a terminal, control characters are removed."""
    if not is_terminal(output):
        return text
    return _CONTROLS.sub("", text)


def complain(text: str) -> None:
    """Print a message to stderr."""
    print_error(f"{paint('fetch-hive:', 'red', sys.stderr)} {text}")


def print_error(text: str) -> None:
    """Print text to stderr. If stderr is gone, such as a terminal that was closed, the command continues."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
