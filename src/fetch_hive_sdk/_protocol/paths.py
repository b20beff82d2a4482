"""Builds paths and queries of URLs from arguments. Performs no I/O."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Optional, Union, cast
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping


def segment(value: Union[str, uuid.UUID], name: str = "id") -> str:
    """Quote an id as one path segment.

    Raises:
        ValueError: The id is empty, `.` or `..`, which would lead to a different path, or cannot be encoded.

    """
    if not isinstance(cast("object", value), (str, uuid.UUID)):
        raise ValueError(f"{name} must be a string or a UUID")  # noqa: TRY004 - invalid arguments are always ValueErrors
    text = str(value)
    if not text.strip() or text in {".", ".."}:
        raise ValueError(f"{name} must not be empty, '.' or '..'")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise ValueError(f"{name} has a lone surrogate, which UTF-8 cannot encode") from None


def query_of(values: Mapping[str, object]) -> Optional[dict[str, str]]:
    """Return the parameters of a query as strings; None if there are none. Parameters that are None are left out.

    Raises:
        ValueError: A value has the wrong type or cannot be encoded. The message does not quote it.

    """
    return {name: _as_text(name, value) for name, value in values.items() if value is not None} or None


def _as_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float, uuid.UUID)):
        raise ValueError(f"{name} must be a string, a number, a boolean or a UUID")  # noqa: TRY004 - as above
    try:
        text = str(value)
    except ValueError:  # Python limits the digits of an integer
        raise ValueError(f"{name} is too large") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has a lone surrogate, which UTF-8 cannot encode") from None
    return text
