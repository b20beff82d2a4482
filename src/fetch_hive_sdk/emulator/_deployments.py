"""Descriptions of the deployments of an `Emulator`, in Python and in TOML. Answers nothing by itself."""

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
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails
    from typing_extensions import Self

VariableType = Literal["string", "integer", "number", "boolean", "array", "object", "any"]

# Of JSON values. A boolean comes first: to Python it is an int, too.
_TYPES: dict[str, type] = {
    "boolean": bool,
    "string": str,
    "integer": int,
    "number": float,
    "array": list,
    "object": dict,
}

# {{name}} is a way to write {name} itself. All other braces are what they are: an answer may be JSON.
_FIELD = re.compile(r"\{\{([\w-]+)\}\}|\{([\w-]+)\}")


def _refuse(reason: str, *at: Union[str, int]) -> PydanticCustomError:
    # Not as the template: Pydantic would fill in the braces of a reason that quotes some.
    return PydanticCustomError("deployment", "{reason}", {"reason": reason, "at": at})


# --- Variables -------------------------------------------------------------------------------------------------------


class _Model(BaseModel, frozen=True):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Variable(_Model, frozen=True):
    """A variable of a prompt. In a file, its type alone will do: `text = "string"`."""

    type: VariableType = "any"
    """The type of JSON that a value must have; "any" for all of them."""
    required: bool = True
    """Whether a call without it is refused. A variable with a default is never required."""
    default: Any = None
    """Its value where a call has none."""

    @model_validator(mode="before")
    @classmethod
    def _read_type_alone(cls, value: object) -> object:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_default(self) -> Self:
        if self.default is not None and not (has_type(self.default, self.type) and is_json(self.default)):
            raise _refuse(f"must be of the type {self.type}", "default")
        return self


def name_type(value: object) -> str:
    """Name the type of a JSON value as JSON does."""
    return next((name for name, kind in _TYPES.items() if isinstance(value, kind)), "null")


def is_json(value: object) -> bool:
    """Return whether JSON can carry a value. It has no dates, for one, as TOML does."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def has_type(value: object, wanted: str) -> bool:
    """Return whether a JSON value is of a type of `Variable`."""
    return wanted in {"any", name_type(value)} or (wanted, name_type(value)) == ("number", "integer")


# --- Answers ---------------------------------------------------------------------------------------------------------

AnswerText = Union[str, "dict[str, Any]"]
"""A text with `{name}` for the variables; or a table of such, which is answered as JSON."""


def _read_answer(value: object) -> object:
    if value is not None:
        _check_turns(cast("list[object]", value) if isinstance(value, list) else [value])
    return cast("Any", value)


def _check_turns(turns: list[object]) -> None:
    if not turns or not all(isinstance(turn, (str, dict)) for turn in turns):
        raise _refuse("must be a text, a table, or a list of those")
    if not is_json(turns):
        raise _refuse("has a value that JSON cannot carry, a date for one")


class Tokens(_Model, frozen=True):
    """The tokens that a run is said to have used."""

    prompt_tokens: int = Field(default=0, ge=0)
    """Tokens of the prompt."""
    cached_tokens: int = Field(default=0, ge=0)
    """How many of those came from a cache."""
    completion_tokens: int = Field(default=0, ge=0)
    """Tokens of the answer, reasoning included."""
    reasoning_tokens: int = Field(default=0, ge=0)
    """How many of those were reasoning."""


MIDWAY = {"cut", "stall", "end", "error"}
"""The faults that let an answer begin."""


def _read_fault(value: object) -> str:
    word = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if word in MIDWAY or re.fullmatch(r"[45]\d\d", word):
        return word
    raise _refuse("must be a status from 400 to 599, cut, stall, end or error")


class PlannedFault(_Model, frozen=True):
    """Something that goes wrong with some calls of a deployment."""

    fault: Annotated[Union[int, str], PlainValidator(_read_fault)]
    """A status from 400 to 599; or "cut", "stall", "end" or "error", which go wrong in the middle of the answer."""
    every: Optional[int] = Field(default=None, ge=1)
    """Each how many calls; None for all."""
    first: Optional[int] = Field(default=None, ge=1)
    """How many calls from the first on, in place of `every`."""
    message: Optional[str] = None
    """What the service says, with a status or "error"."""
    error_code: Optional[str] = None
    """The machine-readable code of that; None for the one that the API documents, if there is one."""
    retry_after: Optional[float] = Field(default=None, ge=0, le=86400, allow_inf_nan=False)
    """Seconds for the header `Retry-After`, with a status."""

    @model_validator(mode="after")
    def _check_what_goes_together(self) -> Self:
        if self.every is not None and self.first is not None:
            raise _refuse("every and first exclude each other", "first")
        without = {"error": ["retry_after"]}.get(str(self.fault), ["message", "error_code", "retry_after"])
        for name in without if self.fault in MIDWAY else []:
            if getattr(self, name) is not None:
                raise _refuse(f"{self.fault} cannot say that", name)
        return self


class Variant(_Model, frozen=True):
    """What a variant of a deployment says otherwise than the deployment."""

    answer: Annotated[Union[AnswerText, list[AnswerText], None], PlainValidator(_read_answer)] = None
    """What it says: a text, in which `{name}` stands for a variable; a table of such, which is answered as JSON; or a
    list, taken in turn. None for the inputs themselves, as JSON."""
    reasoning: Optional[str] = None
    """What the model thought before, with `{name}` for the variables."""
    model: str = Answer.model
    """The name of the model."""
    usage: Optional[Tokens] = None
    """The tokens; None to count the words."""
    delay: Optional[float] = Field(default=None, ge=0, le=3600, allow_inf_nan=False)
    """Seconds between two events of a stream; None for those of the server."""
    faults: list[PlannedFault] = Field(default_factory=list[PlannedFault])
    """What goes wrong. Of several that are due, the first."""


class DeploymentTable(Variant, frozen=True):
    """A deployment without its name, which stands before it in a file."""

    variables: Optional[dict[str, Variable]] = None
    """What it takes, by name. None for what its answer needs, each required and of any type."""
    variants: dict[str, Variant] = Field(default_factory=dict[str, Variant])
    """What differs, by the name of the variant. Without any, every variant is answered alike."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.variables is not None:
            for place, text in _texts_of(self):
                for name in _names_in(text):
                    if name not in self.variables:
                        raise _refuse(f"{{{name}}} is not among the variables{_guess(name, self.variables)}", *place)
        return self


class Deployment(DeploymentTable, frozen=True):
    """A deployment that an `Emulator` serves."""

    name: str = Field(min_length=1)
    """Its name."""


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
    """Return what a deployment takes: what is written, else what its texts need."""
    if deployment.variables is not None:
        return deployment.variables
    return {name: Variable() for _, text in _texts_of(deployment) for name in _names_in(text)}


def fill_in(said: object, values: Mapping[str, object]) -> object:
    """Replace each `{name}` in a text, or in the texts of a table. A text that is a name alone becomes the value."""
    if isinstance(said, dict):
        return {key: _fill_in_value(item, values) for key, item in cast("dict[str, object]", said).items()}
    return _fill_in_text(str(said), values)


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
    """Write a JSON value: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- The file --------------------------------------------------------------------------------------------------------


class DeploymentFile(_Model, frozen=True):
    """What a file says."""

    api_key: Optional[SecretStr] = Field(default=None, min_length=1)
    """The only key that is let in; None for any."""
    delay: float = Field(default=0.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds between two events of a stream, for the deployments that say none."""
    deployments: dict[str, DeploymentTable] = Field(default_factory=dict[str, DeploymentTable])
    """The deployments, by name."""


def read_file(path: Path) -> DeploymentFile:
    """Read a file of deployments.

    Raises:
        ConfigurationError: It cannot be read, is not TOML, or has a value that is not valid. The message has the file
            and the reason, and the line of a syntax error or the path of a value, such as `deployments.d.answer`.

    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise ConfigurationError(f"{path}:{line}: this is not UTF-8") from None
    try:
        return DeploymentFile.model_validate(read_toml(text))
    except TOMLError as exc:
        raise ConfigurationError(f"{path}:{exc.line}: {exc.reason}") from None
    except ValidationError as exc:
        problems = exc.errors(include_url=False, include_input=False)
        # A key that is missing has often been misspelt: then the misspelling is reported.
        misspelt = [problem for problem in problems if problem["type"] == "extra_forbidden"]
        raise ConfigurationError(f"{path}: {_explain((misspelt or problems)[0])}") from None


def _explain(problem: ErrorDetails) -> str:
    place = (*problem["loc"], *problem.get("ctx", {}).get("at", ()))
    where = ".".join(map(str, place))
    if problem["type"] == "extra_forbidden":
        return f"{where} is unknown{_guess(str(place[-1]), _KEYS)}"
    if problem["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {problem['msg']}"


_MODELS = (DeploymentFile, DeploymentTable, Variable, Tokens, PlannedFault)
_KEYS = {name for model in _MODELS for name in model.model_fields}


def _guess(word: str, known: Iterable[str]) -> str:
    """Say what was perhaps meant."""
    close = difflib.get_close_matches(word, sorted(known), 1)
    return f": is it {close[0]}?" if close else ""
