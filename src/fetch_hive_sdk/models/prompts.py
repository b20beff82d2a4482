"""The request to run a prompt deployment, its answer and its events. Performs no I/O.

Requests forbid unknown fields, so that a typo fails at the call. Answers keep unknown fields, so that new versions of
the API still parse.

The fields are from the vendor's pages "Run with Python SDK" and "Run with API".
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

    Most callers pass the same fields as keywords to `FetchHive.invoke_prompt`. Create an `InvokeRequest` to prepare a
    call in one place and make it in another, or to make it more than once.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or has the wrong type. The message never quotes values.
    """

    run: ClassVar[str] = "invoke_prompt"
    optional_texts: ClassVar[frozenset[str]] = frozenset({"variant"})

    if TYPE_CHECKING:
        # The arguments accept more types than the fields have after validation.
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
    """The name of the variant. Not sent if empty: the service then runs the default variant."""
    inputs: Inputs = Field(default_factory=dict)
    """Values for the prompt's variables: a mapping or a Pydantic model that Pydantic can serialize to JSON."""
    user: Optional[Text] = None
    """Your own opaque id of the end user, shown in the dashboard's user tracking."""
    metadata: Metadata = Field(default_factory=dict)
    """Your own flat data for audit and log filtering. The model does not see it."""
    streaming: bool = False
    """Whether the answer is streamed as events. Ignored: the method that you call decides."""

    def wire_fields(self) -> dict[str, object]:
        """Return the fields with the names of the API."""
        return {**self.given_fields(), "streaming": self.streaming}


# --- What we receive -------------------------------------------------------------------------------------------------


class InvokeResponse(Received, frozen=True):
    """The answer of a prompt deployment.

    Also reads like the dict of the vendor's SDK: `result["response"]` is `result.raw["response"]`.
    """

    response: str
    """The text of the answer."""
    request_id: Optional[str] = None
    """The id of the run: look it up in the dashboard's logs."""
    model: Optional[str] = None
    """The model that answered."""
    duration: Optional[float] = None
    """The duration of the run in seconds."""
    reasoning: Optional[str] = None
    """The reasoning of the model, if it is available."""
    usage: Annotated[Usage, BeforeValidator(none_is_empty)] = Field(default_factory=Usage)
    """The tokens that the run used."""
    stop_reason: Optional[str] = None
    """Why the model stopped, such as `completed`. A plain string: the service may add values at any time."""

    @overload
    def output_as(self, output_type: type[T]) -> T: ...

    @overload
    def output_as(self, output_type: TypeAdapter[T]) -> T: ...

    def output_as(self, output_type: Union[type[T], TypeAdapter[T]]) -> T:
        """Parse the text of the answer to a type of yours.

        The text is parsed as JSON. If it has a Markdown code fence, only the content of the fence is parsed. If the
        text is not JSON, or does not match the type, it is validated as the value itself: for a `Literal` type, an
        enumeration or a date, the text can be a bare word. For `str`, the text is returned unchanged.

        Args:
            output_type: The type that you asked the model for: a Pydantic model, a dataclass, a TypedDict, `list[int]`,
                or anything else that Pydantic can validate. Wrap types that are not classes (a `Union`, a `Literal`)
                in a `pydantic.TypeAdapter`, so that type checkers accept them.

        Returns:
            The validated value.

        Raises:
            OutputValidationError: The text does not match the type. Its `response` is this answer.

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
    """The next piece of the reasoning."""

    type: Literal["reasoning"] = "reasoning"
    """The discriminator of the event types."""
    response: str
    """The next piece of the reasoning: append it to the pieces before."""
    model: Optional[str] = None
    """The model that answers."""


class ResponseEvent(_Event, frozen=True):
    """The next piece of the answer."""

    type: Literal["response"] = "response"
    """The discriminator of the event types."""
    response: str
    """The next piece of the text: append it to the pieces before."""
    model: Optional[str] = None
    """The model that answers."""


class UsageEvent(_Event, frozen=True):
    """The last event of a successful stream."""

    type: Literal["usage"] = "usage"
    """The discriminator of the event types."""
    usage: Annotated[Usage, BeforeValidator(none_is_empty)] = Field(default_factory=Usage)
    """The tokens that the run used."""
    stop_reason: Optional[str] = None
    """Why the model stopped. A plain string: the service may add values at any time."""


class ErrorEvent(_Event, frozen=True):
    """The last event of a stream that failed after it began."""

    type: Literal["error"] = "error"
    """The discriminator of the event types."""
    error: Optional[str] = None
    """The error message, in the language of the account: for display, not for comparison."""
    message: Optional[str] = None
    """The error message of newer versions of the service."""
    error_code: Optional[str] = None
    """The service's machine-readable code, if it sent one."""

    @model_validator(mode="before")
    @classmethod
    def _read_code(cls, value: object) -> object:
        """Accept `code`, the older name of `error_code`."""
        if not isinstance(value, dict):
            return value
        fields = cast("dict[str, object]", value)
        code = fields.get("error_code") or fields.get("code")
        return {**fields, "error_code": code} if code else fields


class UnknownEvent(_Event, frozen=True):
    """An event of a type that this version does not know. `raw` has its content."""

    type: Literal["unknown"] = "unknown"
    """Always `unknown`, so that type checkers can narrow events by `type`."""
    wire_type: str
    """The type that the service sent; empty if it sent none, such as for a heartbeat."""

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
            raise PydanticCustomError("known_event", "must not be an event of a known type")
        return {**fields, "type": "unknown", "wire_type": wire_type}

    def _dump_fields(self) -> dict[str, Any]:
        fields = super()._dump_fields()
        fields["type"] = fields.pop("wire_type")
        return fields


KNOWN_EVENT_TYPES = frozenset({"reasoning", "response", "usage", "error"})

KnownEvent = Annotated[
    Union[ReasoningEvent, ResponseEvent, UsageEvent, ErrorEvent],
    Field(discriminator="type"),
]
"""The documented events."""

StreamEvent = Union[ReasoningEvent, ResponseEvent, UsageEvent, ErrorEvent, UnknownEvent]
"""One event of a stream: check its type with `event.type == "response"` or `isinstance`."""


class PartialAnswer(BaseModel, frozen=True):
    """The part of a streamed answer that was received before the stream failed."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    text: str = ""
    """The text of the answer so far."""
    reasoning: str = ""
    """The reasoning so far."""
    usage: Optional[Usage] = None
    """The tokens that the run used, if the service sent them before."""
    request_id: Optional[str] = None
    """The id of the run."""
    model: Optional[str] = None
    """The model that answered."""
    stop_reason: Optional[str] = None
    """Why the model stopped, if the service sent it before."""
