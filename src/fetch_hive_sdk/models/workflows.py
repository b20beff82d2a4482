"""The requests to run a workflow deployment, and the answers. Performs no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Optional, TypeVar, Union, cast, overload

from pydantic import BaseModel, Field, SecretStr, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from .base import Received
from .json_values import MetadataValue, Text
from .output import read_output
from .secrets import reveal_secrets
from .sent import CallbackUrl, Inputs, Metadata, Name, RunRequest, ToolApproval

T = TypeVar("T")

# --- What we send ----------------------------------------------------------------------------------------------------


class _WorkflowFields(RunRequest, frozen=True):
    run: ClassVar[str] = "invoke_workflow"
    optional_texts: ClassVar[frozenset[str]] = frozenset({"variant"})
    wire_names: ClassVar[frozenset[str]] = frozenset({"async"})

    deployment: Name
    """The name of the workflow deployment."""
    variant: Optional[Text] = None
    """The name of the variant. Not sent if empty: the service then runs the default variant."""
    inputs: Inputs = Field(default_factory=dict)
    """Values for the Start step: a mapping or a Pydantic model that Pydantic can serialize to JSON."""
    user: Optional[Text] = None
    """Your own opaque id of the end user."""
    metadata: Metadata = Field(default_factory=dict)
    """Your own flat data for audit and log filtering."""
    tool_approval: Optional[ToolApproval] = None
    """`auto_approve` runs tools without approval, for this run only. The API key needs the permission for it."""


class WorkflowRequest(_WorkflowFields, frozen=True):
    """One run of a workflow deployment that waits for the result. Pass it to `FetchHive.invoke`.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or has the wrong type. The message never quotes values.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            deployment: str,
            variant: Optional[str] = None,
            inputs: Union[Mapping[str, object], BaseModel, None] = None,
            user: Optional[str] = None,
            metadata: Optional[Mapping[str, MetadataValue]] = None,
            tool_approval: Optional[ToolApproval] = None,
        ) -> None: ...


class WorkflowStart(_WorkflowFields, frozen=True):
    """One run of a workflow deployment whose result is sent to a callback URL. Pass it to `FetchHive.invoke`.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or has the wrong type. The message never quotes values.
    """

    run: ClassVar[str] = "start_workflow"

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            deployment: str,
            variant: Optional[str] = None,
            inputs: Union[Mapping[str, object], BaseModel, None] = None,
            callback_url: Optional[str] = None,
            user: Optional[str] = None,
            metadata: Optional[Mapping[str, MetadataValue]] = None,
            tool_approval: Optional[ToolApproval] = None,
        ) -> None: ...

    callback_url: Optional[CallbackUrl] = None
    """The HTTPS URL that the service sends the result to. The API documents it as required."""

    def wire_fields(self) -> dict[str, object]:
        """Return the fields with the names of the API."""
        fields = self.given_fields()
        url = fields.pop("callback_url", None)
        return {**fields, "async": {"enabled": True, **({"callback_url": url} if url is not None else {})}}


def check_callback(callback_url: object, async_mode: object) -> bool:
    """Return `async_mode`, after checking that it fits `callback_url`.

    Raises:
        ValueError: `callback_url` would be ignored, and the run billed without a callback.

    """
    if not isinstance(async_mode, bool):
        raise ValueError("async_mode must be True or False")  # noqa: TRY004 - invalid arguments are always ValueErrors
    if callback_url is not None and not async_mode:
        raise ValueError("callback_url needs async_mode=True: the service sends no callback for a synchronous run")
    return async_mode


# --- What we receive -------------------------------------------------------------------------------------------------


class _Run(Received, frozen=True):
    request_id: Optional[str] = None
    """The id of the request: `client.requests.get(request_id)` returns its status."""
    run_id: Optional[str] = None
    """The id of the run."""
    status: Optional[str] = None
    """`run_status` or else `status`: `completed`, `failed`, `running` or `queued`; the service may add values."""

    @model_validator(mode="before")
    @classmethod
    def _read_status(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        fields = cast("dict[str, object]", value)
        statuses = (fields.get("run_status"), fields.get("status"))
        return {**fields, "status": next((status for status in statuses if status and isinstance(status, str)), None)}


class WorkflowRun(_Run, frozen=True):
    """The answer of a workflow deployment."""

    output: Any = None
    """The output of the workflow: usually a string, which may be JSON, or an object."""
    error: Optional[str] = None
    """The error message, if the run failed."""

    @overload
    def output_as(self, output_type: type[T]) -> T: ...

    @overload
    def output_as(self, output_type: TypeAdapter[T]) -> T: ...

    def output_as(self, output_type: Union[type[T], TypeAdapter[T]]) -> T:
        """Parse the output to a type of yours: a string as in `InvokeResponse.output_as`, other JSON values directly.

        Args:
            output_type: A Pydantic model, a dataclass, a TypedDict, `list[int]`, or a `pydantic.TypeAdapter`.

        Returns:
            The validated value.

        Raises:
            OutputValidationError: The output does not match the type. Its `response` is this answer.

        """
        return read_output(self.output, output_type, self)


class WorkflowAccepted(_Run, frozen=True):
    """A workflow was started. The service sends the result to the callback URL."""

    webhook_secret: Optional[SecretStr] = None
    """The secret that signs the callback: pass it to `Webhook`. Hidden in `repr`; `["webhook_secret"]` is a string."""

    @model_validator(mode="after")
    def _check_ids(self) -> WorkflowAccepted:
        if self.request_id is None and self.run_id is None:
            raise PydanticCustomError("no_id", "has neither request_id nor run_id")
        return self

    def _dump_fields(self) -> dict[str, Any]:
        return reveal_secrets(self, super()._dump_fields())
