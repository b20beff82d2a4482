"""Parses the text of an answer to the caller's type. Performs no I/O."""

from __future__ import annotations

import re
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Union, cast, get_args

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_json

from fetch_hive_sdk.errors import OutputValidationError

from .base import describe
from .partial import is_json

if TYPE_CHECKING:
    from .agents import AgentReply
    from .prompts import InvokeResponse
    from .workflows import WorkflowRun

T = TypeVar("T")


def read_output(
    output: object,
    output_type: Union[type[T], TypeAdapter[T]],
    response: Union[InvokeResponse, AgentReply, WorkflowRun],
) -> T:
    """Validate the output of an answer: a string as JSON or else as the value itself, other JSON values directly.

    Raises:
        OutputValidationError: The output does not match the type. Its `response` is the argument `response`.

    """
    if output_type is str and isinstance(output, str):
        return cast("T", output)
    adapter = adapter_of(output_type)
    text = _find_json(output) if isinstance(output, str) else to_json(output).decode()
    try:
        return adapter.validate_json(text)
    except ValidationError as exc:
        reason = describe(exc) + _describe_prose(text)
    except Exception as exc:  # noqa: BLE001 - whatever a validator of the caller raises, the answer is not lost
        reason = _describe_bug(exc)
    # It may be a string without quotes. The whole text comes first, as prose may contain a fence.
    for value in (output.strip(), text) if isinstance(output, str) else (output,):
        # Not chained: errors of Pydantic quote the text, which is in `response` anyway.
        with suppress(Exception):
            return adapter.validate_python(value)
    raise OutputValidationError(f"the answer does not match {_name_of(output_type)}: {reason}", response=response)


def adapter_of(output_type: Union[type[T], TypeAdapter[T]]) -> TypeAdapter[T]:
    """Return the adapter of an output type, which is complete.

    Raises:
        TypeError: Pydantic cannot validate the type, or it names a type that is not defined.

    """
    try:
        adapter: TypeAdapter[T] = output_type if isinstance(output_type, TypeAdapter) else TypeAdapter(output_type)
        _ = adapter.validator.title  # completes a model whose types were not defined when its class was
    except (PydanticUserError, NameError) as exc:
        reason = str(exc).partition("\n")[0].partition(". ")[0].partition(", then ")[0]
        raise TypeError(f"{_name_of(output_type)} cannot be an output type: {reason}") from exc
    return adapter


def _describe_bug(error: Exception) -> str:
    """Say where a validator of the caller raised an error. Its text may quote the answer."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"its validator raised {type(error).__name__} in {Path(frame.f_code.co_filename).name}, line {line}"


def _name_of(output_type: object) -> str:
    if isinstance(output_type, TypeAdapter):
        return "the output type"
    if isinstance(output_type, type) and not get_args(output_type):
        return str(output_type.__name__)
    return str(output_type)


# Code fences of Markdown, https://spec.commonmark.org/0.31.2/#fenced-code-blocks: three or more backticks or tildes. An
# unclosed fence extends to the end of the text, which may be truncated or may have lost the fence to a stop sequence.
_OPENING = r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n"
_FENCE = re.compile(_OPENING + r"(.*?)(?:^[ \t]*\1[`~]*[ \t\r]*$|\Z)", re.DOTALL | re.MULTILINE)
_LONGEST_FENCE = re.compile(_OPENING + r"(.*)\1", re.DOTALL | re.MULTILINE)


def _find_json(text: str) -> str:
    """Return the content of a Markdown code fence, or the whole text if there is none."""
    # The first fence with JSON. As a JSON string may contain a fence, the content may extend to the last closing fence.
    matches = [*_FENCE.finditer(text), *_LONGEST_FENCE.finditer(text)]
    found = [match.group(2).strip() for match in matches]
    return next(filter(is_json, found), found[0] if found else text.strip())


def _describe_prose(text: str) -> str:
    """Describe where the JSON seems to begin, if there is prose before it."""
    begin = re.search(r"[\[{]", text)
    if begin is None or begin.start() == 0:
        return ""
    line = text.count("\n", 0, begin.start()) + 1
    column = begin.start() - text.rfind("\n", 0, begin.start())
    return (
        f"; there is prose before the JSON, which seems to begin at line {line} column {column}: ask the model for "
        "JSON only, or for JSON in a Markdown code fence"
    )
