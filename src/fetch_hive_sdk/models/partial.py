"""JSON that is still being written, read as far as it goes. Performs no I/O."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

NOTHING: Any = object()
"""What a text shows that has not come to its JSON, or is none."""

_OPENING_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n", re.MULTILINE)

# An escape that is still being written, or half of a surrogate pair. Pydantic before 2.10 leaves such a string out.
_CUT_ESCAPE = re.compile(
    r"\\(?:u(?:[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?|[0-9a-fA-F]{0,3}))?$", re.ASCII
)
_LONGEST_ESCAPE = 11


def read_partial(text: str) -> Any:
    """Return the value that the beginning of an answer shows so far; `NOTHING` if it shows none.

    A string that is still being written is included. An opening Markdown fence is skipped, and what stands before it.
    """
    begun = text.lstrip()
    if begun[:1] not in {"{", "[", '"'}:
        opening = _OPENING_FENCE.search(text)
        begun = text[opening.end() :] if opening else begun
    try:
        # What follows the value, such as the closing fence, is not looked at.
        return from_json(_without_cut_escape(begun), allow_inf_nan=False, allow_partial="trailing-strings")
    except (ValueError, TypeError):  # a TypeError for half of a surrogate pair
        return NOTHING


def _without_cut_escape(json: str) -> str:
    cut = _CUT_ESCAPE.search(json, max(0, len(json) - _LONGEST_ESCAPE))
    if cut is None:
        return json
    before = json[: cut.start()]
    is_escaped = (len(before) - len(before.rstrip("\\"))) % 2
    return json if is_escaped else before
