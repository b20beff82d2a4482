"""The text of an answer, read as a type of the caller's. Performs no I/O."""

from __future__ import annotations

import re
from contextlib import suppress
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
    """Read the output of an answer: a text as JSON of a type or as the value itself, other JSON as what it is.

    Raises:
        OutputValidationError: The text does not fit. Its `response` is the one given here.

    """
    if output_type is str and isinstance(output, str):
        return cast("T", output)
    adapter: TypeAdapter[T] = output_type if isinstance(output_type, TypeAdapter) else TypeAdapter(output_type)
    text = _find_json(output) if isinstance(output, str) else to_json(output).decode()
    try:
        return adapter.validate_json(text)
    except ValidationError as exc:
        reason = describe(exc)
    # It may be a string without quotes: first the whole, as prose may have a fence in it.
    for value in (output.strip(), text) if isinstance(output, str) else (output,):
        # Not chained: the errors of Pydantic quote the text, and our error has it all in `response`.
        with suppress(ValidationError):
            return adapter.validate_python(value)
    reason += _describe_prose(text)
    raise OutputValidationError(f"the answer does not fit {_name_of(output_type)}: {reason}", response=response)


def _name_of(output_type: object) -> str:
    if isinstance(output_type, TypeAdapter):
        return "the output type"
    if isinstance(output_type, type) and not get_args(output_type):
        return str(output_type.__name__)
    return str(output_type)


# Of Markdown, https://spec.commonmark.org/0.31.2/#fenced-code-blocks: three or more backticks or tildes. A fence that
# is not closed goes to the end of the text: where the text was cut, or a stop sequence has taken the closing fence.
_OPENING = r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n"
_FENCE = re.compile(_OPENING + r"(.*?)(?:^[ \t]*\1[`~]*[ \t\r]*$|\Z)", re.DOTALL | re.MULTILINE)
_LONGEST_FENCE = re.compile(_OPENING + r"(.*)\1", re.DOTALL | re.MULTILINE)


def _find_json(text: str) -> str:
    """Return what is in the Markdown fence of a text, where there is one, else all of it."""
    # The first fence with JSON; or, as JSON may have a fence inside a string, up to the last one.
    matches = [*_FENCE.finditer(text), *_LONGEST_FENCE.finditer(text)]
    found = [match.group(2).strip() for match in matches]
    return next(filter(_is_json, found), found[0] if found else text.strip())


def _is_json(text: str) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def _describe_prose(text: str) -> str:
    """Say where the JSON of a text seems to begin, if there is prose before it."""
    begin = re.search(r"[\[{]", text)
    if begin is None or begin.start() == 0:
        return ""
    line = text.count("\n", 0, begin.start()) + 1
    column = begin.start() - text.rfind("\n", 0, begin.start())
    return (
        f"; there is prose before what looks like JSON, at line {line} column {column}: ask the model for JSON alone, "
        "or for JSON in a Markdown fence"
    )
