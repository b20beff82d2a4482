"""Parses incomplete JSON, as received so far. Performs no I/O."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

NOTHING: Any = object()
"""Returned if the JSON has not begun, or if the text is not JSON."""

_OPENING_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n", re.MULTILINE)

# An incomplete escape, or half of a surrogate pair. Pydantic before 2.10 would drop the string.
_CUT_ESCAPE = re.compile(
    r"\\(?:u(?:[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?|[0-9a-fA-F]{0,3}))?$", re.ASCII
)
_LONGEST_ESCAPE = 11


def read_partial(text: str) -> Any:
    """Parse the beginning of a JSON answer; return `NOTHING` if there is no value yet.

    Incomplete strings are included. An opening Markdown code fence, and the text before it, are skipped.
    """
    begun = text.lstrip()
    if begun[:1] not in {"{", "[", '"'}:
        opening = _OPENING_FENCE.search(text)
        begun = text[opening.end() :] if opening else begun
    try:
        # Text after the value, such as the closing fence, is ignored.
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
