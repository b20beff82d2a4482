"""Descriptions of deployments for an `Emulator`, in Python and in TOML."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Optional, Union, cast

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk.testing import Answer

from ._toml import TOMLError, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails
    from typing_extensions import Self

VariableType = Literal["string", "integer", "number", "boolean", "array", "object", "any"]

# The types of JSON. Boolean comes first, because bool is a subclass of int.
_TYPES: dict[str, type] = {
    "boolean": bool,
    "string": str,
    "integer": int,
    "number": float,
    "array": list,
    "object": dict,
}

# {{name}} escapes {name}. Other braces are literal, because an answer may be JSON.
_FIELD = re.compile(r"\{\{([\w-]+)\}\}|\{([\w-]+)\}")


def _refuse(reason: str, *at: Union[str, int]) -> PydanticCustomError:
    # The reason is a parameter, because Pydantic would expand braces in the template.
    return PydanticCustomError("deployment", "{reason}", {"reason": reason, "at": at})


# --- Variables -------------------------------------------------------------------------------------------------------


class _Model(BaseModel, frozen=True):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Variable(_Model, frozen=True):
    """A variable of a prompt. In a file, a string is its type: `text = "string"`."""

    type: VariableType = "any"
    """The required JSON type of a value; "any" allows every type."""
    required: bool = True
    """Whether calls without it are rejected. A variable with a default is never required."""
    default: Any = None
    """The value in calls without one."""

    @model_validator(mode="before")
    @classmethod
    def _read_type_alone(cls, value: object) -> object:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_default(self) -> Self:
        if self.default is not None and not (has_type(self.default, self.type) and is_json(self.default)):
            raise _refuse(f"must be of type {self.type}", "default")
        return self


def name_type(value: object) -> str:
    """Return the name of the JSON type of a value."""
    return next((name for name, kind in _TYPES.items() if isinstance(value, kind)), "null")


def is_json(value: object) -> bool:
    """Return whether a value can be written as JSON. Dates of TOML cannot, for example."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def has_type(value: object, wanted: str) -> bool:
    """Return whether a JSON value has a type of `Variable`."""
    return wanted in {"any", name_type(value)} or (wanted, name_type(value)) == ("number", "integer")


# --- Answers ---------------------------------------------------------------------------------------------------------

AnswerText = Union[str, "dict[str, Any]"]
"""A string with `{name}` for variables, or a table of such strings, which is returned as JSON."""


def _read_answer(value: object) -> object:
    if value is not None:
        _check_answers(cast("list[object]", value) if isinstance(value, list) else [value])
    return cast("Any", value)


def _check_answers(answers: list[object]) -> None:
    if not answers or not all(isinstance(answer, (str, dict)) for answer in answers):
        raise _refuse("must be a string, a table, or a list of these")
    if not is_json(answers):
        raise _refuse("has a value that is not valid JSON, such as a date")


class Tokens(_Model, frozen=True):
    """The reported token usage of a run."""

    prompt_tokens: int = Field(default=0, ge=0)
    """Tokens in the prompt."""
    cached_tokens: int = Field(default=0, ge=0)
    """Prompt tokens that came from a cache."""
    completion_tokens: int = Field(default=0, ge=0)
    """Tokens in the answer, including reasoning."""
    reasoning_tokens: int = Field(default=0, ge=0)
    """Answer tokens that were reasoning."""


MIDWAY = {"cut", "stall", "end", "error"}
"""The faults in the middle of an answer."""


def _read_fault(value: object) -> str:
    word = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if word in MIDWAY or re.fullmatch(r"[45]\d\d", word):
        return word
    raise _refuse("must be a status from 400 to 599, or cut, stall, end or error")


class PlannedFault(_Model, frozen=True):
    """A fault in some calls of a deployment."""

    fault: Annotated[Union[int, str], PlainValidator(_read_fault)]
    """An error status from 400 to 599; or "cut", "stall", "end" or "error", which happen in mid-answer."""
    every: Optional[int] = Field(default=None, ge=1)
    """Every how many calls it happens; None means every call."""
    first: Optional[int] = Field(default=None, ge=1)
    """How many of the first calls it happens in; replaces `every`."""
    message: Optional[str] = None
    """The error message, for a status or "error"."""
    error_code: Optional[str] = None
    """The machine-readable error code; None means the documented code of the status, if there is one."""
    retry_after: Optional[float] = Field(default=None, ge=0, le=86400, allow_inf_nan=False)
    """Seconds in the header `Retry-After`, for a status."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.every is not None and self.first is not None:
            raise _refuse("cannot be combined with every", "first")
        without = {"error": ["retry_after"]}.get(str(self.fault), ["message", "error_code", "retry_after"])
        for name in without if self.fault in MIDWAY else []:
            if getattr(self, name) is not None:
                raise _refuse(f"cannot be combined with the fault {self.fault}", name)
        return self


class Variant(_Model, frozen=True):
    """The settings of a variant that differ from its deployment."""

    answer: Annotated[Union[AnswerText, list[AnswerText], None], PlainValidator(_read_answer)] = None
    """The answer: a string, in which `{name}` is replaced by a variable; a table of such strings, which is returned as
    JSON; or a list of answers, which are returned in turn. None returns the inputs as JSON."""
    reasoning: Optional[str] = None
    """The reasoning of the model, with `{name}` for variables."""
    model: str = Answer.model
    """The name of the model."""
    usage: Optional[Tokens] = None
    """The token usage; None counts words as tokens."""
    delay: Optional[float] = Field(default=None, ge=0, le=3600, allow_inf_nan=False)
    """Seconds between the events of a stream; None means the `delay` of the server."""
    faults: list[PlannedFault] = Field(default_factory=list[PlannedFault])
    """The faults. If several are due in a call, the first one happens."""


class DeploymentTable(Variant, frozen=True):
    """A deployment without its name, which is the key of its table in a file."""

    variables: Optional[dict[str, Variable]] = None
    """The variables by name. None means those used in its answers, each required and of any type."""
    variants: dict[str, Variant] = Field(default_factory=dict[str, Variant])
    """The variants by name. Without any, calls of every variant get the same answer."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.variables is not None:
            for place, text in _texts_of(self):
                for name in _names_in(text):
                    if name not in self.variables:
                        raise _refuse(f"{{{name}}} is not one of the variables{_suggest(name, self.variables)}", *place)
        return self


class Deployment(DeploymentTable, frozen=True):
    """A deployment of an `Emulator`."""

    name: str = Field(min_length=1)
    """The name of the deployment."""


def _texts_of(deployment: DeploymentTable) -> Iterator[tuple[tuple[Union[str, int], ...], str]]:
    for place, variant in [
        ((), deployment),
        *((("variants", name), item) for name, item in deployment.variants.items()),
    ]:
        for field in ("answer", "reasoning"):
            for text in _texts_in(getattr(variant, field)):
                yield (*place, field), text


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        items = cast("dict[str, object]", value).values() if isinstance(value, dict) else cast("list[object]", value)
        for item in items:
            yield from _texts_in(item)


def _names_in(text: str) -> list[str]:
    return [name for _, name in _FIELD.findall(text) if name]


def variables_of(deployment: DeploymentTable) -> Mapping[str, Variable]:
    """Return the variables of a deployment: the described ones, or else those used in its answers."""
    if deployment.variables is not None:
        return deployment.variables
    return {name: Variable() for _, text in _texts_of(deployment) for name in _names_in(text)}


def fill_in(answer: object, values: Mapping[str, object]) -> object:
    """Replace `{name}` in a string or in the strings of a table, where a string of `{name}` alone keeps its type."""
    if isinstance(answer, dict):
        return {key: _fill_in_value(item, values) for key, item in cast("dict[str, object]", answer).items()}
    return _fill_in_text(str(answer), values)


def _fill_in_value(value: object, values: Mapping[str, object]) -> object:
    if isinstance(value, list):
        return [_fill_in_value(item, values) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return fill_in(cast("object", value), values)
    alone = _FIELD.fullmatch(value) if isinstance(value, str) else None
    if alone and alone[2] in values:
        return values[alone[2]]
    return _fill_in_text(value, values) if isinstance(value, str) else value


def _fill_in_text(text: str, values: Mapping[str, object]) -> str:
    return _FIELD.sub(lambda found: f"{{{found[1]}}}" if found[1] else as_text(values.get(found[2], "")), text)


def as_text(value: object) -> str:
    """Return a string unchanged, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- The file --------------------------------------------------------------------------------------------------------


class DeploymentFile(_Model, frozen=True):
    """The content of a file of deployments."""

    api_key: Optional[SecretStr] = Field(default=None, min_length=1)
    """The only accepted API key; None accepts any."""
    delay: float = Field(default=0.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds between the events of a stream, for deployments without a `delay`."""
    deployments: dict[str, DeploymentTable] = Field(default_factory=dict[str, DeploymentTable])
    """The deployments, by name."""


def read_file(path: Path) -> DeploymentFile:
    """Read a file of deployments.

    Raises:
        ConfigurationError: The file cannot be read, is not TOML, or has an invalid value. The message has the file, the
            reason, and the line of a syntax error or the path of a value, such as `deployments.d.answer`.

    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot read the file: {exc.strerror}") from None
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise ConfigurationError(f"{path}:{line}: not valid UTF-8") from None
    try:
        return DeploymentFile.model_validate(read_toml(text))
    except TOMLError as exc:
        raise ConfigurationError(f"{path}:{exc.line}: {exc.reason}") from None
    except ValidationError as exc:
        problems = exc.errors(include_url=False, include_input=False)
        # A missing key is often a misspelt one: report the unknown key first.
        misspelt = [problem for problem in problems if problem["type"] == "extra_forbidden"]
        raise ConfigurationError(f"{path}: {_explain((misspelt or problems)[0])}") from None


def _explain(problem: ErrorDetails) -> str:
    place = (*problem["loc"], *problem.get("ctx", {}).get("at", ()))
    where = ".".join(map(str, place))
    if problem["type"] == "extra_forbidden":
        return f"{where} is unknown{_suggest(str(place[-1]), _keys_at(place[:-1]))}"
    if problem["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {problem['msg']}"


_TABLES: dict[str, type[_Model]] = {
    "deployments": DeploymentTable,
    "variants": Variant,
    "variables": Variable,
    "faults": PlannedFault,
}


def _keys_at(place: Sequence[Union[str, int]]) -> Iterable[str]:
    """Return the keys of the table at a place. A name or a number follows each key, except `usage`, which is last."""
    if not place:
        return DeploymentFile.model_fields
    table = Tokens if len(place) % 2 else _TABLES[str(place[-2])]
    return table.model_fields


def _suggest(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown word; an empty string without one."""
    close = difflib.get_close_matches(word, sorted(known), 1)
    return f": did you mean {close[0]}?" if close else ""
