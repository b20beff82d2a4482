"""JSON that is still being written, read as far as it goes. Performs no I/O."""

from __future__ import annotations

import re
from typing import Any, Optional

from pydantic_core import from_json

NOTHING: Any = object()
"""What a text shows that has not come to its JSON, or is not JSON."""

_OPENING_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[^\n`]*\n", re.MULTILINE)

# A value that does not begin with a bracket or a quote, and what may follow it: the closing fence.
_BARE_VALUE = re.compile(r"\s*[\w.+-]+\s*((?:```|~~~).*)?$", re.DOTALL)

# An escape that is still being written, or half of a surrogate pair. Pydantic before 2.10 leaves such a string out.
_CUT_ESCAPE = re.compile(
    r"\\(?:u(?:[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?|[0-9a-fA-F]{0,3}))?$", re.ASCII
)
_LONGEST_ESCAPE = 11


class PartialJSON:
    """The text of an answer that is still being written.

    Args:
        text: How it begins.
    """

    def __init__(self, text: str = "") -> None:
        self.text: str = text
        """What has been written so far."""
        self._begin: Optional[int] = None
        """Where the JSON begins, once that is known."""
        self._line = 0
        """Where the line begins from which an opening fence is looked for."""

    def add(self, piece: str) -> None:
        """Take the next piece of the text."""
        self.text += piece

    def read(self, *, is_whole: bool = False) -> Any:
        """Return the value that the text shows so far; `NOTHING` if it shows none.

        A string that is still being written is included. An opening Markdown fence is skipped, and what stands before
        it. A number, `true`, `false` or `null` outside of an object and an array is only shown when it is complete: it
        may as well be the first word of prose.

        Args:
            is_whole: Whether no more text will come.

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
            # What follows the value, such as the closing fence, is not looked at.
            return from_json(_without_cut_escape(json), allow_inf_nan=False, allow_partial="trailing-strings")
        except (ValueError, TypeError):  # a TypeError for half of a surrogate pair
            return NOTHING

    def _find_begin(self) -> Optional[int]:
        # Looked for in what is new: a long answer in prose is not searched from its beginning with each piece.
        if self._begin is None and self.text.lstrip()[:1] in {"{", "[", '"'}:
            self._begin = 0
        end_of_lines = self.text.rfind("\n") + 1
        if self._begin is None and end_of_lines > self._line:
            opening = _OPENING_FENCE.search(self.text, self._line)
            self._begin = opening.end() if opening else None
            self._line = end_of_lines
        return self._begin


def _without_cut_escape(json: str) -> str:
    cut = _CUT_ESCAPE.search(json, max(0, len(json) - _LONGEST_ESCAPE))
    if cut is None:
        return json
    before = json[: cut.start()]
    is_escaped = (len(before) - len(before.rstrip("\\"))) % 2
    return json if is_escaped else before
