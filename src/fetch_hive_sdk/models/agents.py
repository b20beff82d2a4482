"""What an agent is run with, and what it answers. Performs no I/O."""

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
"""How many attachments, images and artifact refs a message may have in all."""
MAX_KNOWN_REFS = 50

# --- What we send ----------------------------------------------------------------------------------------------------

Role = Literal["user", "assistant", "system"]


class Attachment(Sent, frozen=True):
    """A file for an agent: an HTTPS address, and what is known of the file."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            file_url: str,
            id: Optional[Id] = None,  # noqa: A002 - as the service calls it
            file_name: Optional[str] = None,
            file_type: Optional[str] = None,
        ) -> None: ...

    file_url: Text
    """Where the file is. Only HTTPS."""
    id: Optional[IdText] = None
    """Its id, if it is an uploaded asset or an artifact."""
    file_name: Optional[Text] = None
    """Its name."""
    file_type: Optional[Text] = None
    """Its media type."""


def _read_attachments(value: object) -> object:
    return [_read_attachment(item, index) for index, item in enumerate(_listed(value))]


def _listed(value: object) -> Sequence[object]:
    # A string is a sequence, too: each of its letters would be taken for an address.
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
            "attachment_url", "number {index} must have an https:// address", {"index": index + 1}
        )
    return part


Attachments = Annotated[Sequence[Union[str, Mapping[str, object]]], BeforeValidator(_read_attachments)]


class AgentMessage(Sent, frozen=True):
    """An earlier turn of a conversation that you keep yourself."""

    if TYPE_CHECKING:

        def __init__(
            self, *, role: Role, content: str, attachments: Optional[Sequence[AnyAttachment]] = None
        ) -> None: ...

    role: Role
    """Who spoke."""
    content: Text
    """What was said."""
    attachments: Attachments = ()
    """Files, as those of `AgentRequest`."""


class AgentAsync(Sent, frozen=True):
    """How background work of an agent is treated."""

    if TYPE_CHECKING:

        def __init__(self, *, callback_url: Optional[str] = None, allow_background: Optional[bool] = None) -> None: ...

    callback_url: Optional[CallbackUrl] = None
    """Where the service reports background work that has finished: an HTTPS address."""
    allow_background: Optional[bool] = None
    """Whether workflow tools may go on in the background. By default with a thread or a callback address only."""


def _read_messages(value: object) -> object:
    return [_read_message(item, index) for index, item in enumerate(_listed(value))]


def _read_message(value: object, index: int) -> dict[str, Any]:
    if isinstance(value, Mapping):
        # The rest of a mapping is sent as it is.
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
    """One turn of an agent. Pass it to `FetchHive.invoke` or `FetchHive.stream`.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or of the wrong kind. Its text never quotes the values.
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
    """What it is asked."""
    thread_id: Optional[Text] = None
    """The conversation, by a name of yours: created on first use, resumed later. Left out when empty: no memory."""
    user: Optional[Text] = None
    """Your own opaque id of the person who calls."""
    metadata: Metadata = Field(default_factory=dict)
    """Flat data of your own for audit and log filtering. The model does not see it."""
    messages: Annotated[Sequence[Mapping[str, object]], BeforeValidator(_read_messages)] = ()
    """Earlier turns that you keep yourself. They win over those of the thread."""
    image_urls: Attachments = ()
    """HTTPS addresses of images. Sent among the attachments."""
    attachments: Attachments = ()
    """HTTPS addresses, an `Attachment`, an `Asset` or an artifact. Five at most, with images and artifact refs."""
    known_artifact_refs: Refs = ()
    """Ids of artifacts that a conversation that you keep yourself may find. 50 at most."""
    artifact_refs: Refs = ()
    """Ids of artifacts that were chosen for this message."""
    async_options: Annotated[Mapping[str, object], BeforeValidator(_read_async)] = Field(default_factory=dict)
    """How background work is treated."""
    tool_approval: Optional[ToolApproval] = None
    """`auto_approve` runs tools without asking, in this run only; the key needs that right."""

    @model_validator(mode="after")
    def _count_files(self) -> AgentRequest:
        if len(self.attachments) + len(self.image_urls) + len(self.artifact_refs) > MAX_FILES:
            raise PydanticCustomError(
                "too_many_files",
                "attachments, image_urls and artifact_refs must not be more than {limit} together",
                {"limit": MAX_FILES},
            )
        if len(self.known_artifact_refs) > MAX_KNOWN_REFS:
            raise PydanticCustomError(
                "too_many_refs", "known_artifact_refs must not be more than {limit}", {"limit": MAX_KNOWN_REFS}
            )
        return self

    def wire_fields(self) -> dict[str, object]:
        """Return the fields under the names that the service knows."""
        fields = self.given_fields()
        files = [*self.attachments, *self.image_urls]
        fields.pop("image_urls", None)
        if files:
            fields["attachments"] = files
        if "async_options" in fields:
            fields["async"] = fields.pop("async_options")
        return fields


class ConversationOptions(TypedDict, total=False):
    """What a message of a `Conversation` may have besides its text: the fields of `AgentRequest`."""

    user: Optional[str]
    """Your own opaque id of the person who calls."""
    metadata: Optional[Mapping[str, MetadataValue]]
    """Flat data of your own for audit and log filtering. The model does not see it."""
    messages: Optional[Sequence[Union[AgentMessage, Mapping[str, object]]]]
    """Earlier turns that you keep yourself. They win over those of the thread."""
    image_urls: Optional[Sequence[str]]
    """HTTPS addresses of images."""
    attachments: Optional[Sequence[AnyAttachment]]
    """HTTPS addresses, an `Attachment`, an `Asset` or an artifact. Five at most, with images and artifact refs."""
    known_artifact_refs: Optional[Sequence[Id]]
    """Ids of artifacts from elsewhere that the agent may find: those of its own thread it knows. 50 at most."""
    artifact_refs: Optional[Sequence[Id]]
    """Ids of artifacts that were chosen for this message, such as those of an earlier answer."""
    async_options: Union[AgentAsync, Mapping[str, object], None]
    """How background work is treated."""
    tool_approval: Optional[ToolApproval]
    """`auto_approve` runs tools without asking, in this run only; the key needs that right."""


# --- What we receive -------------------------------------------------------------------------------------------------


def read_text_id(value: object) -> object:
    """Read an id that came as a number as its text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ReceivedId = Annotated[str, BeforeValidator(read_text_id)]


def _parsed(text: object) -> Any:
    """Read JSON that came as a text; what is none stays as it is."""
    if not isinstance(text, str):
        return text
    try:
        return from_json(text)
    except ValueError:
        return text


class Asset(Received, frozen=True):
    """An uploaded file."""

    id: ReceivedId
    """Its id."""
    file_name: Optional[str] = None
    """Its name."""
    file_url: Optional[str] = None
    """Where it can be fetched, without the API key, until `file_url_expires_at`."""
    file_url_expires_at: Optional[str] = None
    """When `file_url` ends."""
    file_type: Optional[str] = None
    """Its media type."""
    file_size: Optional[int] = None
    """How many bytes it has."""
    asset_type: Optional[str] = None
    """What the service takes it for, such as `image`."""
    object_key: Optional[str] = None
    """Where the service keeps it."""
    workspace_id: Optional[str] = None
    """The workspace that it belongs to."""
    uploaded_at: Optional[str] = None
    """When it was uploaded."""
    error_message: Optional[str] = None
    """What went wrong with it."""
    transcription: Optional[dict[str, Any]] = None
    """How the transcription of a recording goes."""


class GeneratedArtifact(Received, frozen=True):
    """A file that an agent made."""

    id: Optional[ReceivedId] = None
    """Its id: pass it in `artifact_refs`."""
    file_url: Optional[str] = None
    """Where it can be fetched, without the API key."""
    file_name: Optional[str] = None
    """Its name."""
    file_type: Optional[str] = None
    """Its media type."""
    file_size: Optional[int] = None
    """How many bytes it has."""
    asset_type: Optional[str] = None
    """What the service takes it for."""
    origin: Optional[str] = None
    """Where it comes from."""
    tool_id: Optional[str] = None
    """The tool that made it."""
    tool_name: Optional[str] = None
    """The name of that tool."""


class ToolCall(Received, frozen=True):
    """A tool that an agent used."""

    tool_name: Optional[str] = None
    """The name of the tool."""
    tool_input: Any = None
    """What it was given, as it came: JSON as a string. `input` is the value."""
    observation: Any = None
    """What it gave, as it came: JSON as a string. `output` is the value."""

    @property
    def input(self) -> Any:
        """What the tool was given. Text that is not JSON stays text."""
        return _parsed(self.tool_input)

    @property
    def output(self) -> Any:
        """What the tool gave. Text that is not JSON stays text."""
        return _parsed(self.observation)


class PendingDelegation(Received, frozen=True):
    """Work that goes on in the background."""

    id: Optional[ReceivedId] = None
    """Its id: `client.delegations.wait(id)` waits for it."""
    kind: Optional[str] = None
    """Such as `workflow`."""
    target: Optional[dict[str, Any]] = None
    """What works."""
    expected_by: Optional[str] = None
    """When it is expected to end."""


class PendingToolApproval(Received, frozen=True):
    """A tool call that waits for a decision."""

    approval_id: Optional[ReceivedId] = None
    """Its id: pass it to `client.approvals.decide`."""
    tool_name: Optional[str] = None
    """The name of the tool."""
    summary: Optional[str] = None
    """What the tool is about to do."""
    arguments: Optional[dict[str, Any]] = None
    """What it would be given."""
    expires_at: Optional[str] = None
    """Until when it can be decided."""
    review_url: Optional[str] = None
    """Its page in the dashboard."""


class DeniedToolCall(Received, frozen=True):
    """A tool call that was not allowed."""

    tool_name: Optional[str] = None
    """The name of the tool."""
    approval_id: Optional[str] = None
    """The approval that was denied, if there was one."""
    reason: Optional[str] = None
    """Why, such as `policy_deny`."""


class AutoApprovedToolCall(Received, frozen=True):
    """A tool call that `auto_approve` let through."""

    tool_name: Optional[str] = None
    """The name of the tool."""
    summary: Optional[str] = None
    """What the tool did."""


def _list(value: object) -> object:
    # What was paid for is not lost because a list beside it is no list, or has something odd in it.
    items = cast("list[object]", value) if isinstance(value, list) else []
    return list(filter(_is_object, items))


def _is_object(item: object) -> bool:
    return isinstance(item, (dict, Received))


class _Turn(Received, frozen=True):
    status: Optional[str] = None
    """`completed` or `awaiting_approval`; an open set."""
    run_id: Optional[str] = None
    """The id of the run."""
    thread_id: Optional[str] = None
    """The conversation that it belongs to."""
    tool_approval: Optional[str] = None
    """How approvals were treated: `policy` or `auto_approve`."""
    pending_tool_approvals: Annotated[list[PendingToolApproval], BeforeValidator(_list)] = Field(
        default_factory=list[PendingToolApproval]
    )
    """Tool calls that wait for a decision."""
    denied_tool_calls: Annotated[list[DeniedToolCall], BeforeValidator(_list)] = Field(
        default_factory=list[DeniedToolCall]
    )
    """Tool calls that were not allowed."""
    auto_approved_tool_calls: Annotated[list[AutoApprovedToolCall], BeforeValidator(_list)] = Field(
        default_factory=list[AutoApprovedToolCall]
    )
    """Tool calls that `auto_approve` let through."""

    @property
    def is_awaiting_approval(self) -> bool:
        """Whether the run has paused until its tool calls are decided."""
        return self.status == "awaiting_approval"


class AgentReply(_Turn, frozen=True):
    """The answer to one turn of an agent."""

    response: Annotated[str, BeforeValidator(lambda v: "" if v is None else v)] = ""
    """The text of the answer; empty if there is none."""
    request_id: Optional[str] = None
    """The id of the run: `client.requests.get(request_id)` tells what became of it."""
    model: Optional[str] = None
    """The model that answered."""
    usage: Annotated[Usage, BeforeValidator(none_is_empty)] = Field(default_factory=Usage)
    """What the run used."""
    stop_reason: Optional[str] = None
    """Why the model stopped."""
    reasoning: Optional[str] = None
    """What the model thought before it answered. Streams have it."""
    tool_calls: Annotated[list[ToolCall], BeforeValidator(_list)] = Field(default_factory=list[ToolCall])
    """The tools that it used."""
    artifacts: Annotated[list[GeneratedArtifact], BeforeValidator(_list)] = Field(
        default_factory=list[GeneratedArtifact]
    )
    """The files that it made."""
    pending_delegations: Annotated[list[PendingDelegation], BeforeValidator(_list)] = Field(
        default_factory=list[PendingDelegation]
    )
    """Work that goes on in the background."""

    @overload
    def output_as(self, output_type: type[T]) -> T: ...

    @overload
    def output_as(self, output_type: TypeAdapter[T]) -> T: ...

    def output_as(self, output_type: Union[type[T], TypeAdapter[T]]) -> T:
        """Read the text of the answer as a type of yours, as `InvokeResponse.output_as` does.

        Args:
            output_type: A Pydantic model, a dataclass, a TypedDict, `list[int]`, or a `pydantic.TypeAdapter`.

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


# --- Events ----------------------------------------------------------------------------------------------------------


class _AgentEvent(Received, frozen=True):
    request_id: Optional[str] = None
    """The id of the run: look it up in the dashboard's logs."""


class SummaryEvent(_AgentEvent, frozen=True):
    """The first event of a long conversation: the service has shortened its history."""

    type: Literal["summary"] = "summary"
    """Tells the events of a stream apart."""
    summary_text: Optional[str] = None
    """The shortened history."""
    original_token_count: Optional[int] = None
    """How many tokens it had before."""
    context_limit: Optional[int] = None
    """How many the model can take."""
    model: Optional[str] = None
    """The model that shortened it."""
    provider: Optional[str] = None
    """Who runs that model."""


class ToolEvent(_AgentEvent, frozen=True):
    """The agent has used a tool."""

    type: Literal["tool"] = "tool"
    """Tells the events of a stream apart."""
    tool_id: Optional[str] = None
    """The id of the tool."""
    tool: Optional[str] = None
    """The name of the tool."""
    tool_type: Optional[str] = None
    """What kind of tool it is."""
    tool_input: Any = None
    """What it was given, as it came: an object. `input` is the value."""
    observation: Any = None
    """What it gave, as it came: JSON as a string. `output` is the value."""

    @property
    def input(self) -> Any:
        """What the tool was given."""
        return _parsed(self.tool_input)

    @property
    def output(self) -> Any:
        """What the tool gave. Text that is not JSON stays text."""
        return _parsed(self.observation)


class ArtifactEvent(_AgentEvent, frozen=True):
    """The agent has made a file."""

    type: Literal["artifact"] = "artifact"
    """Tells the events of a stream apart."""
    artifact: Optional[GeneratedArtifact] = None
    """The file."""


class ToolApprovalEvent(_AgentEvent, frozen=True):
    """A tool call waits for a decision."""

    type: Literal["tool_approval"] = "tool_approval"
    """Tells the events of a stream apart."""
    approval: Optional[PendingToolApproval] = None
    """The tool call."""


class AgentUsageEvent(UsageEvent, _Turn, frozen=True):
    """The last event of a healthy stream of an agent."""


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
"""The events that are documented."""

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
"""One event of an agent's stream: tell them apart by `event.type == "response"` or by `isinstance`."""

# --- Delegations -----------------------------------------------------------------------------------------------------


class AgentDelegation(Received, frozen=True):
    """Work that an agent has handed over, such as to a workflow."""

    id: ReceivedId
    """Its id."""
    status: Optional[str] = None
    """`pending`, `running`, `completed`, `failed`, `cancelled` or `expired`; an open set."""
    kind: Optional[str] = None
    """`workflow`, `sub_agent` or `hive_agent_run`; an open set."""
    target: Optional[dict[str, Any]] = None
    """What works."""
    result: Any = None
    """What came of it."""
    expected_by: Optional[str] = None
    """When it is expected to end."""
    delivered_at: Optional[str] = None
    """When its callback was delivered."""
    delivery_error: Optional[str] = None
    """Why its callback was not delivered."""
    parent_request_id: Optional[str] = None
    """The request of the agent that handed it over."""
    tool_call_id: Optional[str] = None
    """The tool call that it belongs to."""
    workflow_run_id: Optional[str] = None
    """The run, if it is a workflow."""
    created_at: Optional[str] = None
    """When it was handed over."""


AnyAttachment = Union[str, Attachment, Asset, GeneratedArtifact, Mapping[str, object]]
"""What can be attached to a message."""
