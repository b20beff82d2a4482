"""Parses the text of an answer to the caller's type. Performs no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar, Union, cast, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from fetch_hive_sdk.errors import OutputValidationError

from .base import describe

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
    adapter: TypeAdapter[T] = output_type if isinstance(output_type, TypeAdapter) else TypeAdapter(output_type)
    text = _find_json(output) if isinstance(output, str) else to_json(output).decode()
    try:
        return adapter.validate_json(text)
    except ValidationError as exc:
        reason = describe(exc)
    try:
        return adapter.validate_python(text if isinstance(output, str) else output)
    except ValidationError:
        # Not chained: errors of Pydantic quote the text, which is in `response` anyway.
        pass
    reason += _describe_prose(text)
    raise OutputValidationError(f"the answer does not match {_name_of(output_type)}: {reason}", response=response)


def _name_of(output_type: object) -> str:
    if isinstance(output_type, TypeAdapter):
        return "the output type"
    if isinstance(output_type, type) and not get_args(output_type):
        return str(output_type.__name__)
    return str(output_type)


_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
_LONGEST_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*)```", re.DOTALL | re.MULTILINE)


def _find_json(text: str) -> str:
    """Return the content of the first Markdown code fence, or the whole text if there is none."""
    # A JSON string may contain a fence, so the content may also extend to the last closing fence.
    found = [match.group(1).strip() for fence in (_FENCE, _LONGEST_FENCE) for match in [fence.search(text)] if match]
    return next(filter(_is_json, found), found[0] if found else text.strip())


def _is_json(text: str) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True


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
