"""JSON as the standard has it, read and written strictly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from pydantic_core import from_json

if TYPE_CHECKING:
    from pydantic import JsonValue


def read_json(data: bytes) -> JsonValue:
    """Read JSON that can be written as the same JSON again.

    Raises:
        ValueError: It is not JSON, has a number that no float can hold, half of a surrogate pair, or is nested too
            deeply.

    """
    # Not json.loads: that takes NaN, and has no limit of depth but that of Python's stack.
    value = from_json(data, allow_inf_nan=False)
    # 1e400 is JSON, and infinite to Python.
    json.dumps(value, allow_nan=False)
    return cast("JsonValue", value)


def write_json(value: object) -> str:
    """Write JSON in one line, its letters as they are. The service does not escape them, either."""
    return json.dumps(value, ensure_ascii=False)
