"""What a prompt deployment is run with, and what it answers. Performs no I/O.

What we send forbids unknown fields, so that a typo fails at the call; what we receive keeps them, so that
tomorrow's API still parses. The unknown is passed on, the malformed is reported.

The fields are those of the vendor's pages "Run with Python SDK" and "Run with API".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Optional, TypeVar, Union, cast, overload

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from .base import Received
from .json_values import MetadataValue, Text
from .output import read_output
from .sent import Inputs, Metadata, RunRequest
from .usage import Usage, none_is_empty

T = TypeVar("T")

# --- What we send ----------------------------------------------------------------------------------------------------


def _not_empty(deployment: str) -> str:
    if not deployment.strip():
        raise PydanticCustomError("deployment_empty", "must not be empty: pass the name of a prompt deployment")
    return deployment


class InvokeRequest(RunRequest, frozen=True):
    """One run of a prompt deployment, validated before anything is sent.

    Most callers pass the same fields as keywords to `FetchHive.invoke_prompt`. Build an `InvokeRequest` to prepare a
    call in one place and make it in another, or to run it more than once.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or of the wrong kind. Its text never quotes the values.
    """

    run: ClassVar[str] = "invoke_prompt"
    optional_texts: ClassVar[frozenset[str]] = frozenset({"variant"})

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
    inputs: Inputs = Field(default_factory=dict)
    """Values for the prompt's variables: a mapping or a Pydantic model of anything that Pydantic can turn into JSON."""
    user: Optional[Text] = None
    """Your own opaque id of the person who calls, shown in the dashboard's user tracking."""
    metadata: Metadata = Field(default_factory=dict)
    """Flat data of your own for audit and log filtering. The model does not see it."""
    streaming: bool = False
    """Whether the answer comes as events. The method you call decides this, whatever stands here."""

    def wire_fields(self) -> dict[str, object]:
        """Return the fields under the names that the service knows."""
        return {**self.given_fields(), "streaming": self.streaming}


# --- What we receive -------------------------------------------------------------------------------------------------


class InvokeResponse(Received, frozen=True):
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
    usage: Annotated[Usage, BeforeValidator(none_is_empty)] = Field(default_factory=Usage)
    """What the run used."""
    stop_reason: Optional[str] = None
    """Why the model stopped, `completed` for one. A plain string: the service may add values at any time."""

    @overload
    def output_as(self, output_type: type[T]) -> T: ...

    @overload
    def output_as(self, output_type: TypeAdapter[T]) -> T: ...

    def output_as(self, output_type: Union[type[T], TypeAdapter[T]]) -> T:
        """Read the text of the answer as a type of yours.

        The text is read as JSON; if there is a Markdown code fence, what is in it. A text that is not JSON, or not of
        that type, is tried as the value itself, so that `Literal` types, enumerations and dates can be a bare word.
        For `str` it is the text as it is.

        Args:
            output_type: What you asked the model for: a Pydantic model, a dataclass, a TypedDict, `list[int]`, or
                anything else that Pydantic can validate. What is no class to a type checker (a `Union`, a `Literal`)
                goes in a `pydantic.TypeAdapter`.

        Returns:
            The value, validated.

        Raises:
            OutputValidationError: The text does not fit. Its `response` is this answer.

        """
        return read_output(self.response, output_type, self)

    def _repr_markdown_(self) -> Optional[str]:
        """Show the text in a notebook."""
        from .markdown import safe_markdown  # noqa: PLC0415 - only notebooks need it

        return safe_markdown(self.response)


class _Event(Received, frozen=True):
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
    usage: Annotated[Usage, BeforeValidator(none_is_empty)] = Field(default_factory=Usage)
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
    """The type that the service sent; empty if it sent none, as in a heartbeat."""

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
