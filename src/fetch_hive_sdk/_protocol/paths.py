"""Ids in paths, and what follows the `?`. Performs no I/O."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Optional, Union, cast
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping


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


def query_of(values: Mapping[str, object]) -> Optional[dict[str, str]]:
    """Return what follows the `?` of an address, by name; None for nothing. What is None is left out.

    Raises:
        ValueError: A value is not one that can stand there. It is not quoted.

    """
    return {name: _as_text(name, value) for name, value in values.items() if value is not None} or None


def _as_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float, uuid.UUID)):
        raise ValueError(f"{name} must be a string, a number, a boolean or a UUID")  # noqa: TRY004 - as above
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has half of a surrogate pair, which UTF-8 cannot carry") from None
    return text
