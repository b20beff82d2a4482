"""What goes over the wire, as Pydantic models. Performs no I/O.

What we send forbids unknown fields, so that a typo fails at the call; what we receive keeps them, so that
tomorrow's API still parses. The unknown is passed on, the malformed is reported.

The fields are those of the vendor's pages "Run with Python SDK" and "Run with API".
"""

from __future__ import annotations

import copy
import math
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Callable,
    ClassVar,
    Literal,
    Optional,
    TypeVar,
    Union,
    cast,
    get_args,
    overload,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError, from_json, to_jsonable_python

from .errors import OutputValidationError

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

MetadataValue = Union[str, int, float, bool, None]
"""What a value of `metadata` may be: the service refuses anything nested."""


# --- What we send ----------------------------------------------------------------------------------------------------


def _read_inputs(value: object) -> object:
    """Turn what the caller passed into JSON values of our own, so that later changes to it change nothing."""
    if value is None:
        return {}
    if not isinstance(value, (Mapping, BaseModel)):
        raise PydanticCustomError("inputs_type", "must be a mapping or a Pydantic model")
    try:
        return _to_json_value(cast("object", value), "inputs", ())
    except _NotJSONError as exc:
        raise PydanticCustomError("inputs_json", "{reason}", {"reason": str(exc)}) from None


def read_json_object(value: Mapping[str, object], name: str) -> dict[str, object]:
    """Return a mapping as JSON values of our own.

    Raises:
        ValueError: It has a value that JSON cannot carry; the text says where.

    """
    if not isinstance(cast("object", value), Mapping):
        raise ValueError(f"{name} must be a mapping")  # noqa: TRY004 - to callers all refused arguments are ValueErrors
    try:
        return cast("dict[str, object]", _to_json_value(dict(value), name, ()))
    except _NotJSONError as exc:
        raise ValueError(str(exc)) from None


class _NotJSONError(Exception):
    """A value that JSON cannot carry; its text says where and why."""


def _to_json_value(value: object, path: str, parents: tuple[int, ...]) -> object:
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return value
    if kind is str:
        return _to_json_text(cast("str", value), path)
    if kind is float:
        if math.isfinite(cast("float", value)):
            return value
        raise _NotJSONError(f"{path} is {value}, which JSON cannot carry")
    if id(value) in parents:
        raise _NotJSONError(f"{path} contains itself, which JSON cannot carry")
    if len(parents) >= _MAX_DEPTH:
        raise _NotJSONError(f"{path[:80]}... is nested more than {_MAX_DEPTH} levels deep")
    parents = (*parents, id(value))
    if isinstance(value, Mapping):
        return _to_json_object(cast("Mapping[object, object]", value), path, parents)
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[object]", value)
        return [_to_json_value(item, f"{path}[{index}]", parents) for index, item in enumerate(items)]
    if isinstance(value, BaseModel):
        # A model may be set to write null for NaN: it is refused here before the model can hide it.
        _refuse_infinite(_dump(value, path), path)
    return _to_json_value(_as_json(value, path), path, parents)


_MAX_DEPTH = 100


def _refuse_infinite(value: object, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotJSONError(f"{path} is {value}, which JSON cannot carry")
    if isinstance(value, dict):
        for name, item in cast("dict[object, object]", value).items():
            _refuse_infinite(item, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("Sequence[object]", value)):
            _refuse_infinite(item, f"{path}[{index}]")


def _dump(model: BaseModel, path: str) -> object:
    try:
        return model.model_dump(by_alias=True)
    except (ValueError, RecursionError):
        raise _NotJSONError(f"{path} is of type {type(model).__name__}, which JSON cannot carry") from None


def _to_json_object(value: Mapping[object, object], path: str, parents: tuple[int, ...]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, item in value.items():
        name = _to_json_key(key, path)
        if name in result:
            raise _NotJSONError(f"{path} has the key {name} twice, once as a text and once as something else")
        result[name] = _to_json_value(item, f"{path}.{name}", parents)
    return result


def _to_json_key(key: object, path: str) -> str:
    where = f"a key of {path}"
    if isinstance(key, str) and not isinstance(key, Enum):
        return _to_json_text(str.__str__(key), where)
    try:
        (name,) = cast("dict[str, None]", to_jsonable_python({key: None}))
    except (ValueError, TypeError):
        raise _NotJSONError(f"{where} is of type {type(key).__name__}, which JSON cannot carry") from None
    return _to_json_text(name, where)


def _to_json_text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _NotJSONError(f"{path} has half of a surrogate pair, which UTF-8 cannot carry") from None
    return text


def _as_json(value: object, path: str) -> object:
    try:
        return cast("object", to_jsonable_python(value))
    except (ValueError, RecursionError):
        raise _NotJSONError(f"{path} is of type {type(value).__name__}, which JSON cannot carry") from None


def _check_text(text: str) -> str:
    try:
        return _to_json_text(text, "it")
    except _NotJSONError as exc:
        raise PydanticCustomError("text_json", "{reason}", {"reason": str(exc)}) from None


Text = Annotated[str, AfterValidator(_check_text)]
_MetadataText = Union[Text, int, float, bool, None]


def _not_empty(deployment: str) -> str:
    if not deployment.strip():
        raise PydanticCustomError("deployment_empty", "must not be empty: pass the name of a prompt deployment")
    return deployment


def _check_metadata(value: object) -> object:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PydanticCustomError("metadata_type", "must be a mapping")
    for key, item in cast("Mapping[object, object]", value).items():
        if not isinstance(key, str) or not key:
            raise PydanticCustomError("metadata_key", "every key must be a text that is not empty")
        if isinstance(item, float) and not math.isfinite(item):
            raise PydanticCustomError("metadata_number", "the value of {key} is not a finite number", {"key": key})
        if not (item is None or isinstance(item, (str, int, float, bool))):
            raise PydanticCustomError(
                "metadata_value",
                "the value of {key} must be a string, a number, a boolean or None: the service refuses nested metadata",
                {"key": key},
            )
    return dict(cast("Mapping[str, object]", value))


class InvokeRequest(BaseModel, frozen=True):
    """One run of a prompt deployment, validated before anything is sent.

    Most callers pass the same fields as keywords to `FetchHive.invoke_prompt`. Build an `InvokeRequest` to prepare a
    call in one place and make it in another, or to run it more than once.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or of the wrong kind. Its text never quotes the values.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    if TYPE_CHECKING:
        # What may be passed is more than what the fields are once it has been read.
        def __init__(
            self,
            *,
            deployment: str,
            variant: Optional[str] = None,
            inputs: Union[Mapping[str, object], BaseModel, None] = None,
            user: Optional[str] = None,
            metadata: Optional[Mapping[str, MetadataValue]] = None,
            streaming: bool = False,
        ) -> None: ...

    deployment: Annotated[Text, AfterValidator(_not_empty)]
    """The name of the prompt deployment."""
    variant: Optional[Text] = None
    """The name of the variant. Left out when empty: the service then runs the default variant."""
    inputs: Annotated[Mapping[str, object], BeforeValidator(_read_inputs)] = Field(default_factory=dict)
    """Values for the prompt's variables: a mapping or a Pydantic model of anything that Pydantic can turn into JSON."""
    user: Optional[Text] = None
    """Your own opaque id of the person who calls, shown in the dashboard's user tracking."""
    metadata: Annotated[Mapping[Text, _MetadataText], BeforeValidator(_check_metadata)] = Field(default_factory=dict)
    """Flat data of your own for audit and log filtering. The model does not see it."""
    streaming: bool = False
    """Whether the answer comes as events. The method you call decides this, whatever stands here."""

    @property
    def raw(self) -> dict[str, object]:
        """The JSON object that will be sent. Fields that are empty are left out."""
        return copy.deepcopy(fields_to_send(self))


def fields_to_send(request: BaseModel) -> dict[str, object]:
    """Return `request.raw` as it is in the request itself, for those who only read it."""
    fields = {name: getattr(request, name) for name in type(request).model_fields}
    return {name: value for name, value in fields.items() if value not in (None, "", {})}


# --- What we receive -------------------------------------------------------------------------------------------------


class _Received(BaseModel, frozen=True):
    """A JSON object of the service: typed attributes, `.raw` for the dict, and read access like a dict."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", hide_input_in_errors=True)

    # What the service sent: JSON bytes until somebody asks, the dict from then on. In a slot, because a private
    # attribute of Pydantic costs a microsecond an event and takes part in equality.
    __slots__ = ("_raw_source",)

    @property
    def raw(self) -> dict[str, Any]:
        """The very dict from the wire. Of a model that you built yourself: its fields, without those that are None."""
        source: Union[bytes, str, dict[str, Any], None] = getattr(self, "_raw_source", None)
        if isinstance(source, dict):
            return source
        raw: dict[str, Any] = self._written_out() if source is None else from_json(source)
        _set_raw_source(self, raw)
        return raw

    def _written_out(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)

    def __getitem__(self, key: str) -> Any:
        return self.raw[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Read one value as of a dict.

        Args:
            key: The name that the service sent it under.
            default: What is returned if there is no such name.

        Returns:
            The value as it came, else `default`.

        """
        return self.raw.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self.raw

    # Pydantic yields pairs; a dict yields its keys.
    # pyrefly: ignore[bad-override]
    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self.raw)

    def keys(self) -> KeysView[str]:
        """The names that the service sent, as of a dict."""
        return self.raw.keys()

    def values(self) -> ValuesView[Any]:
        """The values that the service sent, as of a dict."""
        return self.raw.values()

    def items(self) -> ItemsView[str, Any]:
        """The names and values that the service sent, as of a dict."""
        return self.raw.items()

    # Copies and pickles know nothing of slots: what the service sent goes along by hand.

    def __copy__(self) -> Self:
        copied = super().__copy__()
        object.__setattr__(copied, "_raw_source", self.raw)
        return copied

    def __deepcopy__(self, memo: Optional[dict[int, Any]] = None) -> Self:
        return keep_raw(super().__deepcopy__(memo), copy.deepcopy(self.raw, memo))

    def __getstate__(self) -> dict[Any, Any]:
        return {**super().__getstate__(), "raw": self.raw}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        keep_raw(self, state["raw"])

    def model_copy(self, *, update: Optional[Mapping[str, Any]] = None, deep: bool = False) -> Self:
        """Copy the model. A copy with changes has a `raw` of its own."""
        copied = super().model_copy(update=dict(update) if update else None, deep=deep)
        if update:
            object.__setattr__(copied, "_raw_source", None)
        return copied


ReceivedT = TypeVar("ReceivedT", bound=_Received)


def keep_raw(model: ReceivedT, raw: dict[str, Any]) -> ReceivedT:
    """Let `model.raw` be the dict that the model was made of, and that of its parts the parts of the dict."""
    object.__setattr__(model, "_raw_source", raw)
    for name, part in model.__dict__.items():
        inner = raw.get(name)
        if isinstance(part, _Received) and isinstance(inner, dict):
            keep_raw(part, cast("dict[str, Any]", inner))
    return model


# The setter of the slot itself: anything around it would cost each event 0.1 microseconds, a tenth of its parsing.
_set_raw_source: Callable[[_Received, Union[bytes, str, dict[str, Any]]], None] = vars(_Received)["_raw_source"].__set__

keep_raw_json: Callable[[_Received, Union[bytes, str]], None] = _set_raw_source
"""Let `model.raw` be the object in a JSON text, decoded when somebody asks."""


def _read_counts(value: object) -> object:
    """Token counts come as an object (the vendor's page "Run with API") or as a plain integer (its reference)."""
    if value is None:
        return {}
    if isinstance(value, int):
        return {"total_tokens": value}
    return value


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


class PromptTokens(_Received, frozen=True):
    """What went into the model."""

    total_tokens: Optional[int] = None
    """All tokens of the prompt."""
    cached_tokens: Optional[int] = None
    """Those of them that the provider had in its cache."""


class CompletionTokens(_Received, frozen=True):
    """What came out of the model."""

    total_tokens: Optional[int] = None
    """All tokens of the answer, reasoning included."""
    reasoning_tokens: Optional[int] = None
    """Those of them that were reasoning."""


class Usage(_Received, frozen=True):
    """What a run used. A count that the service did not send is None."""

    prompt_tokens: Annotated[PromptTokens, BeforeValidator(_read_counts)] = Field(default_factory=PromptTokens)
    """What went into the model."""
    completion_tokens: Annotated[CompletionTokens, BeforeValidator(_read_counts)] = Field(
        default_factory=CompletionTokens
    )
    """What came out of the model."""
    total_tokens: Optional[int] = None
    """Both together."""
    duration: Optional[float] = None
    """Seconds that the run took. Sent in streams; an answer in one piece has it in `InvokeResponse.duration`."""


class InvokeResponse(_Received, frozen=True):
    """The answer to one run of a prompt deployment.

    Reads like the dict of the vendor's SDK, too: `result["response"]` is `result.raw["response"]`.
    """

    response: str
    """The text of the answer."""
    request_id: Optional[str] = None
    """The id of the run: look it up in the dashboard's logs."""
    model: Optional[str] = None
    """The model that answered."""
    duration: Optional[float] = None
    """Seconds that the run took."""
    reasoning: Optional[str] = None
    """What the model thought before it answered, if it tells."""
    usage: Annotated[Usage, BeforeValidator(_none_is_empty)] = Field(default_factory=Usage)
    """What the run used."""
    stop_reason: Optional[str] = None
    """Why the model stopped, `completed` for one. A plain string: the service may add values at any time."""

    @overload
    def output_as(self, output_type: type[T]) -> T: ...

    @overload
    def output_as(self, output_type: TypeAdapter[T]) -> T: ...

    def output_as(self, output_type: Union[type[T], TypeAdapter[T]]) -> T:
        """Read the text of the answer as a type of yours.

        The text is read as JSON, a Markdown code fence around it removed. A text that is not JSON, or not of that
        type, is tried as the value itself, so that `Literal` types, enumerations and dates can be a bare word.

        Args:
            output_type: What you asked the model for: a Pydantic model, a dataclass, a TypedDict, `list[int]`, or
                anything else that Pydantic can validate. What is no class to a type checker (a `Union`, a `Literal`)
                goes in a `pydantic.TypeAdapter`.

        Returns:
            The value, validated.

        Raises:
            OutputValidationError: The text does not fit. Its `response` is this answer.

        """
        adapter: TypeAdapter[T] = output_type if isinstance(output_type, TypeAdapter) else TypeAdapter(output_type)
        text = _without_fence(self.response)
        try:
            return adapter.validate_json(text)
        except ValidationError as exc:
            reason = describe(exc)
        try:
            return adapter.validate_python(text)
        except ValidationError:
            # Not chained: the errors of Pydantic quote the text, and our error has it all in `response`.
            pass
        raise OutputValidationError(f"the answer does not fit {_name_of(output_type)}: {reason}", response=self)


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


def describe(error: ValidationError) -> str:
    """Say in one line what does not fit, without a value of the data."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        ": ".join(filter(None, (".".join(map(str, item["loc"])), _QUOTING.get(item["type"], item["msg"]))))
        for item in details[:3]
    ]
    more = len(details) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


# Errors of Pydantic whose messages have a value in them, or whatever the validator of a user's type says.
_QUOTING = {
    "union_tag_invalid": "Input has a tag that is none of the expected",
    "value_error": "Value error",
    "assertion_error": "Assertion failed",
}


class _Event(_Received, frozen=True):
    request_id: Optional[str] = None
    """The id of the run: look it up in the dashboard's logs."""


class ReasoningEvent(_Event, frozen=True):
    """The next piece of what the model thinks."""

    type: Literal["reasoning"] = "reasoning"
    """Tells the events of a stream apart."""
    response: str
    """The next piece of reasoning, to be appended to the ones before."""
    model: Optional[str] = None
    """The model that answers."""


class ResponseEvent(_Event, frozen=True):
    """The next piece of the answer."""

    type: Literal["response"] = "response"
    """Tells the events of a stream apart."""
    response: str
    """The next piece of text, to be appended to the ones before."""
    model: Optional[str] = None
    """The model that answers."""


class UsageEvent(_Event, frozen=True):
    """The last event of a healthy stream."""

    type: Literal["usage"] = "usage"
    """Tells the events of a stream apart."""
    usage: Annotated[Usage, BeforeValidator(_none_is_empty)] = Field(default_factory=Usage)
    """What the run used."""
    stop_reason: Optional[str] = None
    """Why the model stopped. A plain string: the service may add values at any time."""


class ErrorEvent(_Event, frozen=True):
    """The last event of a stream that failed after it had begun."""

    type: Literal["error"] = "error"
    """Tells the events of a stream apart."""
    error: Optional[str] = None
    """What went wrong, in the language of the account: show it, do not compare it."""
    message: Optional[str] = None
    """The same, from newer versions of the service."""
    error_code: Optional[str] = None
    """The service's machine-readable code, if it sent one."""

    @model_validator(mode="before")
    @classmethod
    def _read_code(cls, value: object) -> object:
        """`code` is the older name of `error_code`."""
        if not isinstance(value, dict):
            return value
        fields = cast("dict[str, object]", value)
        code = fields.get("error_code") or fields.get("code")
        return {**fields, "error_code": code} if code else fields


class UnknownEvent(_Event, frozen=True):
    """An event of a type that this version does not know, passed on word for word in `raw`."""

    type: Literal["unknown"] = "unknown"
    """Always `unknown`, so that comparing `type` tells the known events apart exactly."""
    wire_type: str
    """The type that the service sent."""

    @model_validator(mode="before")
    @classmethod
    def _read_type(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        fields = cast("dict[str, object]", value)
        wire_type = fields.get("type")
        if "type" not in fields or (wire_type == "unknown" and "wire_type" in fields):
            return fields
        if isinstance(wire_type, str) and wire_type in KNOWN_EVENT_TYPES:
            raise PydanticCustomError("known_event", "is an event of a known type")
        return {**fields, "type": "unknown", "wire_type": wire_type}

    def _written_out(self) -> dict[str, Any]:
        fields = super()._written_out()
        fields["type"] = fields.pop("wire_type")
        return fields


KNOWN_EVENT_TYPES = frozenset({"reasoning", "response", "usage", "error"})

KnownEvent = Annotated[
    Union[ReasoningEvent, ResponseEvent, UsageEvent, ErrorEvent],
    Field(discriminator="type"),
]
"""The events that the vendor documents."""

StreamEvent = Union[ReasoningEvent, ResponseEvent, UsageEvent, ErrorEvent, UnknownEvent]
"""One event of a stream: tell them apart by `event.type == "response"` or by `isinstance`."""


class PartialAnswer(BaseModel, frozen=True):
    """What a stream had given when it broke off: nothing that was paid for is lost."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    text: str = ""
    """The text of the answer so far."""
    reasoning: str = ""
    """The reasoning so far."""
    usage: Optional[Usage] = None
    """What the run used, if the service had come to tell."""
    request_id: Optional[str] = None
    """The id of the run."""
    model: Optional[str] = None
    """The model that answered."""
    stop_reason: Optional[str] = None
    """Why the model stopped, if the service had come to tell."""
