"""The text of an answer, read as a type of the caller's. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, Union, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

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
    adapter: TypeAdapter[T] = output_type if isinstance(output_type, TypeAdapter) else TypeAdapter(output_type)
    text = _without_fence(output) if isinstance(output, str) else to_json(output)
    try:
        return adapter.validate_json(text)
    except ValidationError as exc:
        reason = describe(exc)
    try:
        return adapter.validate_python(text if isinstance(output, str) else output)
    except ValidationError:
        # Not chained: the errors of Pydantic quote the text, and our error has it all in `response`.
        pass
    raise OutputValidationError(f"the answer does not fit {_name_of(output_type)}: {reason}", response=response)


def _name_of(output_type: object) -> str:
    if isinstance(output_type, TypeAdapter):
        return "the output type"
    if isinstance(output_type, type) and not get_args(output_type):
        return str(output_type.__name__)
    return str(output_type)


def _without_fence(text: str) -> str:
    text = text.strip()
    opening, _, rest = text.partition("\n")
    if opening.startswith("```") and "`" not in opening[3:] and rest.endswith("```"):
        return rest[:-3].strip()
    return text
