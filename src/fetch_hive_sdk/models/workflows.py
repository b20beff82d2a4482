"""What a workflow deployment is run with, and what it answers. Performs no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Optional, TypeVar, Union, cast, overload

from pydantic import BaseModel, Field, SecretStr, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from .base import Received
from .json_values import MetadataValue, Text
from .output import read_output
from .secrets import write_secrets_out
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
    """The name of the variant. Left out when empty: the service then runs the default variant."""
    inputs: Inputs = Field(default_factory=dict)
    """Values for the Start step: a mapping or a Pydantic model of anything that Pydantic can turn into JSON."""
    user: Optional[Text] = None
    """Your own opaque id of the person who calls."""
    metadata: Metadata = Field(default_factory=dict)
    """Flat data of your own for audit and log filtering."""
    tool_approval: Optional[ToolApproval] = None
    """`auto_approve` runs tools without asking, in this run only; the key needs that right."""


class WorkflowRequest(_WorkflowFields, frozen=True):
    """One run of a workflow deployment whose result is waited for. Pass it to `FetchHive.invoke`.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or of the wrong kind. Its text never quotes the values.
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
    """One run of a workflow deployment that answers by a callback. Pass it to `FetchHive.invoke`.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or of the wrong kind. Its text never quotes the values.
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
    """Where the service sends the result: an HTTPS address. By the documentation, the service refuses without it."""

    def wire_fields(self) -> dict[str, object]:
        """Return the fields under the names that the service knows."""
        fields = self.given_fields()
        url = fields.pop("callback_url", None)
        return {**fields, "async": {"enabled": True, **({"callback_url": url} if url is not None else {})}}


def check_callback(callback_url: object, async_mode: object) -> bool:
    """Tell whether a workflow is to be started without waiting.

    Raises:
        ValueError: `callback_url` would be ignored, and the run billed without a callback.

    """
    if not isinstance(async_mode, bool):
        raise ValueError("async_mode must be True or False")  # noqa: TRY004 - all refused arguments are ValueErrors
    if callback_url is not None and not async_mode:
        raise ValueError("callback_url needs async_mode=True: a workflow that is waited for sends no callback")
    return async_mode


# --- What we receive -------------------------------------------------------------------------------------------------


class _Run(Received, frozen=True):
    request_id: Optional[str] = None
    """The id of the request: `client.requests.get(request_id)` tells what became of it."""
    run_id: Optional[str] = None
    """The id of the run."""
    status: Optional[str] = None
    """`completed`, `failed`, `running` or `queued`; an open set. Read from `run_status`, else from `status`."""

    @model_validator(mode="before")
    @classmethod
    def _read_status(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        fields = cast("dict[str, object]", value)
        statuses = (fields.get("run_status"), fields.get("status"))
        return {**fields, "status": next((status for status in statuses if status and isinstance(status, str)), None)}


class WorkflowRun(_Run, frozen=True):
    """The answer to one run of a workflow deployment."""

    output: Any = None
    """What the workflow gave: usually a string, which may be JSON, or an object."""
    error: Optional[str] = None
    """What went wrong, if the run failed."""

    @overload
    def output_as(self, output_type: type[T]) -> T: ...

    @overload
    def output_as(self, output_type: TypeAdapter[T]) -> T: ...

    def output_as(self, output_type: Union[type[T], TypeAdapter[T]]) -> T:
        """Read the output as a type of yours: a string as `InvokeResponse.output_as` does, other JSON as it is.

        Args:
            output_type: A Pydantic model, a dataclass, a TypedDict, `list[int]`, or a `pydantic.TypeAdapter`.

        Returns:
            The value, validated.

        Raises:
            OutputValidationError: The output does not fit. Its `response` is this answer.

        """
        return read_output(self.output, output_type, self)


class WorkflowAccepted(_Run, frozen=True):
    """A workflow has been started; its result comes by a callback."""

    webhook_secret: Optional[SecretStr] = None
    """What the callback is signed with: pass it to `Webhook`. Not in `repr`; `["webhook_secret"]` has the text."""

    @model_validator(mode="after")
    def _check_ids(self) -> WorkflowAccepted:
        if self.request_id is None and self.run_id is None:
            raise PydanticCustomError("no_id", "has neither request_id nor run_id")
        return self

    def _written_out(self) -> dict[str, Any]:
        return write_secrets_out(self, super()._written_out())
