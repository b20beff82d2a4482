"""Strict JSON: no NaN, no infinity, no lone surrogates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from pydantic_core import from_json

if TYPE_CHECKING:
    from pydantic import JsonValue


def read_json(data: bytes) -> JsonValue:
    """Parse JSON that can be written back unchanged.

    Raises:
        ValueError: The data is not JSON, is nested too deeply, or has a number that a float cannot hold or a lone
            surrogate.

    """
    # json.loads would accept NaN, and limits the depth only by Python's stack.
    value = from_json(data, allow_inf_nan=False)
    # 1e400 is valid JSON, but infinite in Python.
    json.dumps(value, allow_nan=False)
    return cast("JsonValue", value)


def write_json(value: object) -> str:
    """Write JSON on one line without escaping letters, as the service does."""
    return json.dumps(value, ensure_ascii=False)
