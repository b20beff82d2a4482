"""A typed Python client for the Fetch Hive API.

    from fetch_hive_sdk import FetchHive

    client = FetchHive()
    result = client.invoke_prompt(deployment="summarise", inputs={"text": "..."})
    print(result.response)

Importing the package is free; a name is loaded when it is asked for.
"""

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .client import (
        FetchHive,
    )
    from .errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConfigurationError,
        ConflictError,
        FetchHiveError,
        InternalServerError,
        NotFoundError,
        OutputValidationError,
        PaymentRequiredError,
        PermissionDeniedError,
        RateLimitError,
        ResponseDecodeError,
        ResponseError,
        ResponseTooLargeError,
        ResponseValidationError,
        StreamError,
        StreamFailedError,
        StreamInterruptedError,
        StreamTimeoutError,
        UnexpectedContentTypeError,
        UnprocessableEntityError,
    )
    from .models.agents import (
        AgentAsync,
        AgentDelegation,
        AgentEvent,
        AgentMessage,
        AgentReply,
        AgentRequest,
        AgentUsageEvent,
        ArtifactEvent,
        Asset,
        Attachment,
        AutoApprovedToolCall,
        DeniedToolCall,
        GeneratedArtifact,
        PendingDelegation,
        PendingToolApproval,
        SummaryEvent,
        ToolApprovalEvent,
        ToolCall,
        ToolEvent,
    )
    from .models.hive_agents import (
        HiveAgentAccepted,
        HiveAgentRequest,
        HiveAgentSources,
    )
    from .models.json_values import (
        MetadataValue,
    )
    from .models.prompts import (
        ErrorEvent,
        InvokeRequest,
        InvokeResponse,
        PartialAnswer,
        ReasoningEvent,
        ResponseEvent,
        StreamEvent,
        UnknownEvent,
        UsageEvent,
    )
    from .models.sent import (
        RunRequest,
    )
    from .models.usage import (
        CompletionTokens,
        PromptTokens,
        Usage,
    )
    from .models.workflows import (
        WorkflowAccepted,
        WorkflowRequest,
        WorkflowRun,
        WorkflowStart,
    )
    from .streams import (
        AgentStream,
        AsyncAgentStream,
        AsyncPromptStream,
        AsyncStream,
        PromptStream,
        Stream,
    )

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AgentAsync",
    "AgentDelegation",
    "AgentEvent",
    "AgentMessage",
    "AgentReply",
    "AgentRequest",
    "AgentStream",
    "AgentUsageEvent",
    "ArtifactEvent",
    "Asset",
    "AsyncAgentStream",
    "AsyncPromptStream",
    "AsyncStream",
    "Attachment",
    "AuthenticationError",
    "AutoApprovedToolCall",
    "BadRequestError",
    "CompletionTokens",
    "ConfigurationError",
    "ConflictError",
    "DeniedToolCall",
    "ErrorEvent",
    "FetchHive",
    "FetchHiveError",
    "GeneratedArtifact",
    "HiveAgentAccepted",
    "HiveAgentRequest",
    "HiveAgentSources",
    "InternalServerError",
    "InvokeRequest",
    "InvokeResponse",
    "MetadataValue",
    "NotFoundError",
    "OutputValidationError",
    "PartialAnswer",
    "PaymentRequiredError",
    "PendingDelegation",
    "PendingToolApproval",
    "PermissionDeniedError",
    "PromptStream",
    "PromptTokens",
    "RateLimitError",
    "ReasoningEvent",
    "ResponseDecodeError",
    "ResponseError",
    "ResponseEvent",
    "ResponseTooLargeError",
    "ResponseValidationError",
    "RunRequest",
    "Stream",
    "StreamError",
    "StreamEvent",
    "StreamFailedError",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "SummaryEvent",
    "ToolApprovalEvent",
    "ToolCall",
    "ToolEvent",
    "UnexpectedContentTypeError",
    "UnknownEvent",
    "UnprocessableEntityError",
    "Usage",
    "UsageEvent",
    "WorkflowAccepted",
    "WorkflowRequest",
    "WorkflowRun",
    "WorkflowStart",
    "__version__",
]

_HOMES = {
    "client": ["FetchHive"],
    "errors": [
        "APIConnectionError",
        "APIStatusError",
        "APITimeoutError",
        "AuthenticationError",
        "BadRequestError",
        "ConfigurationError",
        "ConflictError",
        "FetchHiveError",
        "InternalServerError",
        "NotFoundError",
        "OutputValidationError",
        "PaymentRequiredError",
        "PermissionDeniedError",
        "RateLimitError",
        "ResponseDecodeError",
        "ResponseError",
        "ResponseTooLargeError",
        "ResponseValidationError",
        "StreamError",
        "StreamFailedError",
        "StreamInterruptedError",
        "StreamTimeoutError",
        "UnexpectedContentTypeError",
        "UnprocessableEntityError",
    ],
    "models.agents": [
        "AgentAsync",
        "AgentDelegation",
        "AgentEvent",
        "AgentMessage",
        "AgentReply",
        "AgentRequest",
        "AgentUsageEvent",
        "ArtifactEvent",
        "Asset",
        "Attachment",
        "AutoApprovedToolCall",
        "DeniedToolCall",
        "GeneratedArtifact",
        "PendingDelegation",
        "PendingToolApproval",
        "SummaryEvent",
        "ToolApprovalEvent",
        "ToolCall",
        "ToolEvent",
    ],
    "models.hive_agents": ["HiveAgentAccepted", "HiveAgentRequest", "HiveAgentSources"],
    "models.json_values": ["MetadataValue"],
    "models.prompts": [
        "ErrorEvent",
        "InvokeRequest",
        "InvokeResponse",
        "PartialAnswer",
        "ReasoningEvent",
        "ResponseEvent",
        "StreamEvent",
        "UnknownEvent",
        "UsageEvent",
    ],
    "models.sent": ["RunRequest"],
    "models.usage": ["CompletionTokens", "PromptTokens", "Usage"],
    "models.workflows": ["WorkflowAccepted", "WorkflowRequest", "WorkflowRun", "WorkflowStart"],
    "streams": ["AgentStream", "AsyncAgentStream", "AsyncPromptStream", "AsyncStream", "PromptStream", "Stream"],
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        for home, names in _HOMES.items():
            if name in names:
                from importlib import import_module  # noqa: PLC0415 - not needed before the first name is asked for

                value = getattr(import_module(f".{home}", __name__), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
