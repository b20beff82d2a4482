"""Ids in paths. Performs no I/O."""

from __future__ import annotations

import uuid
from typing import Union, cast
from urllib.parse import quote


def segment(value: Union[str, uuid.UUID], name: str = "id") -> str:
    """Quote an id as one segment of a path.

    Raises:
        ValueError: It would not be one: it is empty, `.` or `..`, which lead to another place.

    """
    if not isinstance(cast("object", value), (str, uuid.UUID)):
        raise ValueError(f"{name} must be a string or a UUID")  # noqa: TRY004 - all refused arguments are ValueErrors
    text = str(value)
    if not text.strip() or text in {".", ".."}:
        raise ValueError(f"{name} must not be empty, '.' or '..'")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise ValueError(f"{name} has half of a surrogate pair, which UTF-8 cannot carry") from None
