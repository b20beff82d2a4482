"""Parses incomplete JSON, as received so far. Performs no I/O."""

from __future__ import annotations

import re
from typing import Any, Optional

from pydantic_core import from_json

NOTHING: Any = object()
"""Returned if the JSON has not begun, or if the text is not JSON."""

_OPENING_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n", re.MULTILINE)

# A value that does not begin with a bracket or a quote, which a closing fence may follow.
_BARE_VALUE = re.compile(
    r"\s*(?:-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)\s*((?:```|~~~).*)?$", re.DOTALL
)

# An incomplete escape, or half of a surrogate pair. Pydantic before 2.10 would drop the string.
_CUT_ESCAPE = re.compile(
    r"\\(?:u(?:[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?|[0-9a-fA-F]{0,3}))?$", re.ASCII
)
_LONGEST_ESCAPE = 11


class PartialJSON:
    """The text of an answer that is being streamed.

    Args:
        text: The beginning of the text.
    """

    def __init__(self, text: str = "") -> None:
        self.text: str = text
        """The text so far."""
        self._begin: Optional[int] = None
        """The position of the JSON, if it is known."""
        self._fence: Optional[str] = None
        """The fence that was opened and not closed yet."""
        self._is_found = False
        """Whether a fence with JSON was closed."""
        self._line = 0
        """The position of the line where the search for fences continues."""

    def add(self, piece: str) -> None:
        """Append the next piece of the text."""
        self.text += piece

    def read(self, *, is_whole: bool = False) -> Any:
        """Parse the text so far; return `NOTHING` if there is no value yet.

        Incomplete strings are included. An opening Markdown code fence, and the text before it, are skipped. A number,
        `true`, `false` or `null` outside of an object or an array is only returned when it is complete, because it may
        be the first word of prose.

        Args:
            is_whole: Whether the text is complete.

        """
        begin = self._find_begin()
        if begin is None and not is_whole:
            return NOTHING
        json = self.text[begin or 0 :]
        if json.lstrip()[:1] not in {"{", "[", '"'}:
            bare = _BARE_VALUE.match(json)
            if bare is None or not (is_whole or bare.group(1)):
                return NOTHING
        try:
            # Text after the value, such as the closing fence, is ignored.
            return from_json(_without_cut_escape(json), allow_inf_nan=False, allow_partial="trailing-strings")
        except (ValueError, TypeError):  # a TypeError for half of a surrogate pair
            return NOTHING

    def _find_begin(self) -> Optional[int]:
        # Searches only new text, so that long prose is not searched again for each piece. A line of JSON cannot begin
        # with a fence: if one follows, the bracket or the quote was the beginning of prose.
        if self._begin is None and self.text.lstrip()[:1] in {"{", "[", '"'}:
            self._begin = 0
        end_of_lines = self.text.rfind("\n") + 1
        while self._line < end_of_lines and not self._is_found:
            self._line = self._next_fence() or end_of_lines
        return self._begin

    def _next_fence(self) -> Optional[int]:
        """Find the next opening or closing fence, and return the position after it."""
        if self._fence is None:
            found = _OPENING_FENCE.search(self.text, self._line)
            if found is not None:
                self._fence, self._begin = found.group(1), found.end()
        else:
            found = re.compile(rf"^[ \t]*{self._fence}[`~]*[ \t\r]*\n", re.MULTILINE).search(self.text, self._line)
            if found is not None:
                self._is_found = is_json(self.text[self._begin : found.start()])
                self._begin = self._begin if self._is_found else None
                self._fence = None
        return found.end() if found is not None else None


def is_json(text: str) -> bool:
    """Whether a string is one complete JSON value."""
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def _without_cut_escape(json: str) -> str:
    cut = _CUT_ESCAPE.search(json, max(0, len(json) - _LONGEST_ESCAPE))
    if cut is None:
        return json
    before = json[: cut.start()]
    is_escaped = (len(before) - len(before.rstrip("\\"))) % 2
    return json if is_escaped else before
