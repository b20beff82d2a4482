"""The request to run an agent, its answer and its events. Performs no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Optional, TypeVar, Union, cast, overload

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError, from_json
from typing_extensions import TypedDict

from .base import Received
from .json_values import MetadataValue, Text
from .output import read_output
from .prompts import ErrorEvent, ReasoningEvent, ResponseEvent, UnknownEvent, UsageEvent
from .sent import (
    CallbackUrl,
    Id,
    IdText,
    Metadata,
    RunRequest,
    Sent,
    ToolApproval,
    check_callback_url,
    is_secure,
    read_part,
)
from .usage import Usage, none_is_empty

T = TypeVar("T")

MAX_FILES = 5
"""The maximum number of attachments, images and artifact refs of a message together."""
MAX_KNOWN_REFS = 50

# --- What we send ----------------------------------------------------------------------------------------------------

Role = Literal["user", "assistant", "system"]


class Attachment(Sent, frozen=True):
    """A file for an agent: an HTTPS URL with optional details."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            file_url: str,
            id: Optional[Id] = None,  # noqa: A002 - the name in the API
            file_name: Optional[str] = None,
            file_type: Optional[str] = None,
        ) -> None: ...

    file_url: Text
    """The HTTPS URL of the file."""
    id: Optional[IdText] = None
    """The id of the file, if it is an uploaded asset or an artifact."""
    file_name: Optional[Text] = None
    """The name of the file."""
    file_type: Optional[Text] = None
    """The media type of the file."""


def _read_attachments(value: object) -> object:
    return [_read_attachment(item, index) for index, item in enumerate(_as_list(value))]


def _as_list(value: object) -> Sequence[object]:
    # Not Sequence: a string is one too, and each of its characters would be read as a URL.
    if not isinstance(value, (list, tuple)):
        raise PydanticCustomError("list_type", "must be a list or a tuple")
    return cast("Sequence[object]", value)


def _read_attachment(value: object, index: int) -> object:
    if isinstance(value, (Asset, GeneratedArtifact)):
        known = {name: value.raw.get(name) for name in Attachment.model_fields}
        value = {name: item for name, item in known.items() if item is not None}
    if isinstance(value, str):
        url: object = value
        part: object = value
    else:
        part = read_part(value, Attachment, f"[{index}]")
        url = part.get("file_url")
    if not is_secure(url):
        raise PydanticCustomError(
            "attachment_url",
            "number {index} must have an https:// URL: to send a local file, pass the result of client.assets.upload()",
            {"index": index + 1},
        )
    return part


Attachments = Annotated[Sequence[Union[str, Mapping[str, object]]], BeforeValidator(_read_attachments)]


class AgentMessage(Sent, frozen=True):
    """An earlier message of a conversation whose history you manage yourself."""

    if TYPE_CHECKING:

        def __init__(
            self, *, role: Role, content: str, attachments: Optional[Sequence[AnyAttachment]] = None
        ) -> None: ...

    role: Role
    """The author of the message."""
    content: Text
    """The text of the message."""
    attachments: Attachments = ()
    """Files, as in `AgentRequest.attachments`."""


class AgentAsync(Sent, frozen=True):
    """Options for the background work of an agent."""

    if TYPE_CHECKING:

        def __init__(self, *, callback_url: Optional[str] = None, allow_background: Optional[bool] = None) -> None: ...

    callback_url: Optional[CallbackUrl] = None
    """The HTTPS URL that the service sends the results of background work to."""
    allow_background: Optional[bool] = None
    """Whether workflow tools may run in the background. The default is True only with a thread or a callback URL."""


def _read_messages(value: object) -> object:
    return [_read_message(item, index) for index, item in enumerate(_as_list(value))]


def _read_message(value: object, index: int) -> dict[str, Any]:
    if isinstance(value, Mapping):
        # The other items of a mapping are sent unchanged.
        fields = cast("Mapping[object, object]", value)
        files = fields.get("attachments")
        value = fields if files is None else {**fields, "attachments": _read_attachments(files)}
    return read_part(value, AgentMessage, f"[{index}]")


def _read_async(value: object) -> object:
    options = read_part(value, AgentAsync, "async_options")
    url = options.get("callback_url")
    if url is not None:
        check_callback_url(url)
    return options


Refs = Sequence[IdText]


class AgentRequest(RunRequest, frozen=True):
    """One run of an agent. Pass it to `FetchHive.invoke` or `FetchHive.stream`.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or has the wrong type. The message never quotes values.
    """

    run: ClassVar[str] = "invoke_agent"
    optional_texts: ClassVar[frozenset[str]] = frozenset(
        {"thread_id", "attachments", "image_urls", "known_artifact_refs", "artifact_refs"}
    )
    wire_names: ClassVar[frozenset[str]] = frozenset({"async", "streaming"})

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            agent: Id,
            message: str,
            thread_id: Optional[str] = None,
            user: Optional[str] = None,
            metadata: Optional[Mapping[str, MetadataValue]] = None,
            messages: Optional[Sequence[Union[AgentMessage, Mapping[str, object]]]] = None,
            image_urls: Optional[Sequence[str]] = None,
            attachments: Optional[Sequence[AnyAttachment]] = None,
            known_artifact_refs: Optional[Sequence[Id]] = None,
            artifact_refs: Optional[Sequence[Id]] = None,
            async_options: Union[AgentAsync, Mapping[str, object], None] = None,
            tool_approval: Optional[ToolApproval] = None,
        ) -> None: ...

    agent: IdText
    """The id of the agent."""
    message: Text
    """The message to the agent."""
    thread_id: Optional[Text] = None
    """Your own id of the conversation: created on first use, resumed later. Not sent if empty: then without memory."""
    user: Optional[Text] = None
    """Your own opaque id of the end user."""
    metadata: Metadata = Field(default_factory=dict)
    """Your own flat data for audit and log filtering. The model does not see it."""
    messages: Annotated[Sequence[Mapping[str, object]], BeforeValidator(_read_messages)] = ()
    """Earlier messages, if you manage the history yourself. They take precedence over the thread."""
    image_urls: Attachments = ()
    """HTTPS URLs of images. Sent as attachments."""
    attachments: Attachments = ()
    """HTTPS URLs, `Attachment`, `Asset` or artifact objects. At most five, including images and artifact refs."""
    known_artifact_refs: Refs = ()
    """Ids of artifacts that the agent may find, if you manage the history yourself. At most 50."""
    artifact_refs: Refs = ()
    """Ids of artifacts to attach to this message."""
    async_options: Annotated[Mapping[str, object], BeforeValidator(_read_async)] = Field(default_factory=dict)
    """Options for background work."""
    tool_approval: Optional[ToolApproval] = None
    """`auto_approve` runs tools without approval, for this run only. The API key needs the permission for it."""

    @model_validator(mode="after")
    def _count_files(self) -> AgentRequest:
        if len(self.attachments) + len(self.image_urls) + len(self.artifact_refs) > MAX_FILES:
            raise PydanticCustomError(
                "too_many_files",
                "attachments, image_urls and artifact_refs must have at most {limit} items together",
                {"limit": MAX_FILES},
            )
        if len(self.known_artifact_refs) > MAX_KNOWN_REFS:
            raise PydanticCustomError(
                "too_many_refs", "known_artifact_refs must have at most {limit} items", {"limit": MAX_KNOWN_REFS}
            )
        return self

    def wire_fields(self) -> dict[str, object]:
        """Return the fields with the names of the API."""
        fields = self.given_fields()
        files = [*self.attachments, *self.image_urls]
        fields.pop("image_urls", None)
        if files:
            fields["attachments"] = files
        if "async_options" in fields:
            fields["async"] = fields.pop("async_options")
        return fields


class ConversationOptions(TypedDict, total=False):
    """The options of a message of a `Conversation`: the other fields of `AgentRequest`."""

    user: Optional[str]
    """Your own opaque id of the end user."""
    metadata: Optional[Mapping[str, MetadataValue]]
    """Your own flat data for audit and log filtering. The model does not see it."""
    messages: Optional[Sequence[Union[AgentMessage, Mapping[str, object]]]]
    """Earlier messages, if you manage the history yourself. They take precedence over the thread."""
    image_urls: Optional[Sequence[str]]
    """HTTPS URLs of images."""
    attachments: Optional[Sequence[AnyAttachment]]
    """HTTPS URLs, `Attachment`, `Asset` or artifact objects. At most five, including images and artifact refs."""
    known_artifact_refs: Optional[Sequence[Id]]
    """Ids of artifacts from other threads that the agent may find. At most 50."""
    artifact_refs: Optional[Sequence[Id]]
    """Ids of artifacts to attach to this message, such as those of an earlier answer."""
    async_options: Union[AgentAsync, Mapping[str, object], None]
    """Options for background work."""
    tool_approval: Optional[ToolApproval]
    """`auto_approve` runs tools without approval, for this run only. The API key needs the permission for it."""


# --- What we receive -------------------------------------------------------------------------------------------------


def read_text_id(value: object) -> object:
    """Convert an id that is a number to a string."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ReceivedId = Annotated[str, BeforeValidator(read_text_id)]


def _parsed(text: object) -> Any:
    """Decode a JSON string; return other values unchanged."""
    if not isinstance(text, str):
        return text
    try:
        return from_json(text)
    except ValueError:
        return text


class Asset(Received, frozen=True):
    """An uploaded file."""

    id: ReceivedId
    """The id of the file."""
    file_name: Optional[str] = None
    """The name of the file."""
    file_url: Optional[str] = None
    """The download URL, which needs no API key, valid until `file_url_expires_at`."""
    file_url_expires_at: Optional[str] = None
    """When `file_url` expires."""
    file_type: Optional[str] = None
    """The media type of the file."""
    file_size: Optional[int] = None
    """The size in bytes."""
    asset_type: Optional[str] = None
    """The kind of file, such as `image`."""
    object_key: Optional[str] = None
    """The key of the file in the service's storage."""
    workspace_id: Optional[str] = None
    """The id of the workspace."""
    uploaded_at: Optional[str] = None
    """When the file was uploaded."""
    error_message: Optional[str] = None
    """The error message, if the service could not process the file."""
    transcription: Optional[dict[str, Any]] = None
    """The state of the transcription of a recording."""


class GeneratedArtifact(Received, frozen=True):
    """A file that an agent created."""

    id: Optional[ReceivedId] = None
    """The id of the file: pass it in `artifact_refs`."""
    file_url: Optional[str] = None
    """The download URL, which needs no API key."""
    file_name: Optional[str] = None
    """The name of the file."""
    file_type: Optional[str] = None
    """The media type of the file."""
    file_size: Optional[int] = None
    """The size in bytes."""
    asset_type: Optional[str] = None
    """The kind of file."""
    origin: Optional[str] = None
    """The origin of the file."""
    tool_id: Optional[str] = None
    """The id of the tool that created the file."""
    tool_name: Optional[str] = None
    """The name of that tool."""


class ToolCall(Received, frozen=True):
    """A tool call of an agent."""

    tool_name: Optional[str] = None
    """The name of the tool."""
    tool_input: Any = None
    """The input of the tool as the service sent it: JSON as a string. `input` is the decoded value."""
    observation: Any = None
    """The output of the tool as the service sent it: JSON as a string. `output` is the decoded value."""

    @property
    def input(self) -> Any:
        """The input of the tool, decoded. Text that is not JSON is returned unchanged."""
        return _parsed(self.tool_input)

    @property
    def output(self) -> Any:
        """The output of the tool, decoded. Text that is not JSON is returned unchanged."""
        return _parsed(self.observation)


class PendingDelegation(Received, frozen=True):
    """Background work of an agent that has not ended."""

    id: Optional[ReceivedId] = None
    """The id of the delegation: `client.delegations.wait(id)` waits for its end."""
    kind: Optional[str] = None
    """The kind of work, such as `workflow`."""
    target: Optional[dict[str, Any]] = None
    """The workflow or agent that does the work."""
    expected_by: Optional[str] = None
    """The expected time of its end."""


class PendingToolApproval(Received, frozen=True):
    """A tool call that waits for approval."""

    approval_id: Optional[ReceivedId] = None
    """The id of the approval: pass it to `client.approvals.decide`."""
    tool_name: Optional[str] = None
    """The name of the tool."""
    summary: Optional[str] = None
    """What the tool will do if it is allowed."""
    arguments: Optional[dict[str, Any]] = None
    """The arguments of the tool call."""
    expires_at: Optional[str] = None
    """When the approval expires."""
    review_url: Optional[str] = None
    """The page of the approval in the dashboard."""


class DeniedToolCall(Received, frozen=True):
    """A tool call that was denied."""

    tool_name: Optional[str] = None
    """The name of the tool."""
    approval_id: Optional[str] = None
    """The id of the denied approval, if there was one."""
    reason: Optional[str] = None
    """The reason, such as `policy_deny`."""


class AutoApprovedToolCall(Received, frozen=True):
    """A tool call that `auto_approve` allowed."""

    tool_name: Optional[str] = None
    """The name of the tool."""
    summary: Optional[str] = None
    """What the tool did."""


def _list(value: object) -> object:
    # A billed answer is not lost because an optional list is not a list, or has an invalid item.
    items = cast("list[object]", value) if isinstance(value, list) else []
    return list(filter(_is_object, items))


def _is_object(item: object) -> bool:
    return isinstance(item, (dict, Received))


class _Turn(Received, frozen=True):
    status: Optional[str] = None
    """`completed` or `awaiting_approval`; the service may add values."""
    run_id: Optional[str] = None
    """The id of the run."""
    thread_id: Optional[str] = None
    """The id of the conversation."""
    tool_approval: Optional[str] = None
    """How approvals were handled: `policy` or `auto_approve`."""
    pending_tool_approvals: Annotated[list[PendingToolApproval], BeforeValidator(_list)] = Field(
        default_factory=list[PendingToolApproval]
    )
    """Tool calls that wait for approval."""
    denied_tool_calls: Annotated[list[DeniedToolCall], BeforeValidator(_list)] = Field(
        default_factory=list[DeniedToolCall]
    )
    """Tool calls that were denied."""
    auto_approved_tool_calls: Annotated[list[AutoApprovedToolCall], BeforeValidator(_list)] = Field(
        default_factory=list[AutoApprovedToolCall]
    )
    """Tool calls that `auto_approve` allowed."""

    @property
    def is_awaiting_approval(self) -> bool:
        """Whether the run is paused until its tool calls are approved or denied."""
        return self.status == "awaiting_approval"


class AgentReply(_Turn, frozen=True):
    """The answer of an agent."""

    response: Annotated[str, BeforeValidator(lambda v: "" if v is None else v)] = ""
    """The text of the answer; empty if there is none."""
    request_id: Optional[str] = None
    """The id of the run: `client.requests.get(request_id)` returns its status."""
    model: Optional[str] = None
    """The model that answered."""
    usage: Annotated[Usage, BeforeValidator(none_is_empty)] = Field(default_factory=Usage)
    """The tokens that the run used."""
    stop_reason: Optional[str] = None
    """Why the model stopped."""
    reasoning: Optional[str] = None
    """The reasoning of the model. Only for streams."""
    tool_calls: Annotated[list[ToolCall], BeforeValidator(_list)] = Field(default_factory=list[ToolCall])
    """The tool calls of the agent."""
    artifacts: Annotated[list[GeneratedArtifact], BeforeValidator(_list)] = Field(
        default_factory=list[GeneratedArtifact]
    )
    """The files that the agent created."""
    pending_delegations: Annotated[list[PendingDelegation], BeforeValidator(_list)] = Field(
        default_factory=list[PendingDelegation]
    )
    """Background work that has not ended."""

    @overload
    def output_as(self, output_type: type[T]) -> T: ...

    @overload
    def output_as(self, output_type: TypeAdapter[T]) -> T: ...

    def output_as(self, output_type: Union[type[T], TypeAdapter[T]]) -> T:
        """Parse the text of the answer to a type of yours, like `InvokeResponse.output_as`.

        Args:
            output_type: A Pydantic model, a dataclass, a TypedDict, `list[int]`, or a `pydantic.TypeAdapter`.

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


# --- Events ----------------------------------------------------------------------------------------------------------


class _AgentEvent(Received, frozen=True):
    request_id: Optional[str] = None
    """The id of the run: look it up in the dashboard's logs."""


class SummaryEvent(_AgentEvent, frozen=True):
    """The first event for a long conversation: the service summarized its history."""

    type: Literal["summary"] = "summary"
    """The discriminator of the event types."""
    summary_text: Optional[str] = None
    """The summary of the history."""
    original_token_count: Optional[int] = None
    """The number of tokens of the history before."""
    context_limit: Optional[int] = None
    """The maximum number of tokens in the context of the model."""
    model: Optional[str] = None
    """The model that wrote the summary."""
    provider: Optional[str] = None
    """The provider of that model."""


class ToolEvent(_AgentEvent, frozen=True):
    """The agent called a tool."""

    type: Literal["tool"] = "tool"
    """The discriminator of the event types."""
    tool_id: Optional[str] = None
    """The id of the tool."""
    tool: Optional[str] = None
    """The name of the tool."""
    tool_type: Optional[str] = None
    """The type of the tool."""
    tool_input: Any = None
    """The input of the tool as the service sent it: an object. `input` is the decoded value."""
    observation: Any = None
    """The output of the tool as the service sent it: JSON as a string. `output` is the decoded value."""

    @property
    def input(self) -> Any:
        """The input of the tool."""
        return _parsed(self.tool_input)

    @property
    def output(self) -> Any:
        """The output of the tool, decoded. Text that is not JSON is returned unchanged."""
        return _parsed(self.observation)


class ArtifactEvent(_AgentEvent, frozen=True):
    """The agent created a file."""

    type: Literal["artifact"] = "artifact"
    """The discriminator of the event types."""
    artifact: Optional[GeneratedArtifact] = None
    """The file."""


class ToolApprovalEvent(_AgentEvent, frozen=True):
    """A tool call waits for approval."""

    type: Literal["tool_approval"] = "tool_approval"
    """The discriminator of the event types."""
    approval: Optional[PendingToolApproval] = None
    """The tool call."""


class AgentUsageEvent(UsageEvent, _Turn, frozen=True):
    """The last event of a successful stream of an agent."""


KnownAgentEvent = Annotated[
    Union[
        SummaryEvent,
        ReasoningEvent,
        ResponseEvent,
        ToolEvent,
        ArtifactEvent,
        ToolApprovalEvent,
        AgentUsageEvent,
        ErrorEvent,
    ],
    Field(discriminator="type"),
]
"""The documented events."""

AgentEvent = Union[
    SummaryEvent,
    ReasoningEvent,
    ResponseEvent,
    ToolEvent,
    ArtifactEvent,
    ToolApprovalEvent,
    AgentUsageEvent,
    ErrorEvent,
    UnknownEvent,
]
"""One event of an agent's stream: check its type with `event.type == "response"` or `isinstance`."""

# --- Delegations -----------------------------------------------------------------------------------------------------


class AgentDelegation(Received, frozen=True):
    """Work that an agent delegated, such as to a workflow."""

    id: ReceivedId
    """The id of the delegation."""
    status: Optional[str] = None
    """`pending`, `running`, `completed`, `failed`, `cancelled` or `expired`; the service may add values."""
    kind: Optional[str] = None
    """`workflow`, `sub_agent` or `hive_agent_run`; the service may add values."""
    target: Optional[dict[str, Any]] = None
    """The workflow or agent that does the work."""
    result: Any = None
    """The result of the work."""
    expected_by: Optional[str] = None
    """The expected time of its end."""
    delivered_at: Optional[str] = None
    """When the callback was delivered."""
    delivery_error: Optional[str] = None
    """Why the callback was not delivered."""
    parent_request_id: Optional[str] = None
    """The id of the agent's request."""
    tool_call_id: Optional[str] = None
    """The id of the agent's tool call."""
    workflow_run_id: Optional[str] = None
    """The id of the workflow run, if the work is a workflow."""
    created_at: Optional[str] = None
    """When the delegation was created."""


AnyAttachment = Union[str, Attachment, Asset, GeneratedArtifact, Mapping[str, object]]
"""A file to attach to a message."""
