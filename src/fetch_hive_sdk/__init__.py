"""A typed Python client for the Fetch Hive API.

    from fetch_hive_sdk import FetchHive

    client = FetchHive()
    result = client.invoke_prompt(deployment="summarise", inputs={"text": "..."})
    print(result.response)

Importing the package is cheap: its modules are loaded on first use.
"""

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .callbacks import (
        Webhook,
    )
    from .client import (
        FetchHive,
    )
    from .conversations import (
        Conversation,
    )
    from .errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        BulkError,
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
        SignatureError,
        StreamConsumedError,
        StreamError,
        StreamFailedError,
        StreamInterruptedError,
        StreamTimeoutError,
        UnexpectedContentTypeError,
        UnprocessableEntityError,
        WaitTimeoutError,
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
        ConversationOptions,
        DeniedToolCall,
        GeneratedArtifact,
        PendingDelegation,
        PendingToolApproval,
        SummaryEvent,
        ToolApprovalEvent,
        ToolCall,
        ToolEvent,
    )
    from .models.approvals import (
        ApprovalPage,
        Decision,
        ToolActionApproval,
    )
    from .models.callbacks import (
        AgentCompleted,
        AgentFailed,
        CallbackEvent,
        DelegationCompleted,
        UnknownCallback,
    )
    from .models.catalogue import (
        ErrorCatalogue,
        ErrorCode,
        Model,
        SearchCountry,
        SearchServiceCountries,
    )
    from .models.envelopes import (
        Envelope,
        RawAnswer,
    )
    from .models.hive_agents import (
        HiveAgentAccepted,
        HiveAgentRequest,
        HiveAgentSources,
    )
    from .models.json_values import (
        MetadataValue,
    )
    from .models.knowledge_bases import (
        KnowledgeBase,
        KnowledgeBaseChanges,
        KnowledgeBaseFields,
        KnowledgeBaseItem,
        KnowledgeBaseItemChanges,
        KnowledgeBaseItemFields,
        KnowledgeBaseSearch,
        Regeneration,
    )
    from .models.managed_agents import (
        Agent,
        AgentChanges,
        AgentChat,
        AgentChatMessage,
        AgentFields,
        ChatFields,
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
    from .models.requests import (
        RequestRecord,
    )
    from .models.sent import (
        RunRequest,
    )
    from .models.triggers import (
        TriggerAccepted,
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
    from .prompts import (
        AsyncTypedStream,
        Prompt,
        PromptRequest,
        PromptResponse,
        TypedStream,
        prompt,
    )
    from .streaming import (
        aiter_sse,
        iter_sse,
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
    "Agent",
    "AgentAsync",
    "AgentChanges",
    "AgentChat",
    "AgentChatMessage",
    "AgentCompleted",
    "AgentDelegation",
    "AgentEvent",
    "AgentFailed",
    "AgentFields",
    "AgentMessage",
    "AgentReply",
    "AgentRequest",
    "AgentStream",
    "AgentUsageEvent",
    "ApprovalPage",
    "ArtifactEvent",
    "Asset",
    "AsyncAgentStream",
    "AsyncPromptStream",
    "AsyncStream",
    "AsyncTypedStream",
    "Attachment",
    "AuthenticationError",
    "AutoApprovedToolCall",
    "BadRequestError",
    "BulkError",
    "CallbackEvent",
    "ChatFields",
    "CompletionTokens",
    "ConfigurationError",
    "ConflictError",
    "Conversation",
    "ConversationOptions",
    "Decision",
    "DelegationCompleted",
    "DeniedToolCall",
    "Envelope",
    "ErrorCatalogue",
    "ErrorCode",
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
    "KnowledgeBase",
    "KnowledgeBaseChanges",
    "KnowledgeBaseFields",
    "KnowledgeBaseItem",
    "KnowledgeBaseItemChanges",
    "KnowledgeBaseItemFields",
    "KnowledgeBaseSearch",
    "MetadataValue",
    "Model",
    "NotFoundError",
    "OutputValidationError",
    "PartialAnswer",
    "PaymentRequiredError",
    "PendingDelegation",
    "PendingToolApproval",
    "PermissionDeniedError",
    "Prompt",
    "PromptRequest",
    "PromptResponse",
    "PromptStream",
    "PromptTokens",
    "RateLimitError",
    "RawAnswer",
    "ReasoningEvent",
    "Regeneration",
    "RequestRecord",
    "ResponseDecodeError",
    "ResponseError",
    "ResponseEvent",
    "ResponseTooLargeError",
    "ResponseValidationError",
    "RunRequest",
    "SearchCountry",
    "SearchServiceCountries",
    "SignatureError",
    "Stream",
    "StreamConsumedError",
    "StreamError",
    "StreamEvent",
    "StreamFailedError",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "SummaryEvent",
    "ToolActionApproval",
    "ToolApprovalEvent",
    "ToolCall",
    "ToolEvent",
    "TriggerAccepted",
    "TypedStream",
    "UnexpectedContentTypeError",
    "UnknownCallback",
    "UnknownEvent",
    "UnprocessableEntityError",
    "Usage",
    "UsageEvent",
    "WaitTimeoutError",
    "Webhook",
    "WorkflowAccepted",
    "WorkflowRequest",
    "WorkflowRun",
    "WorkflowStart",
    "__version__",
    "aiter_sse",
    "iter_sse",
    "prompt",
]

_HOMES = {
    "callbacks": ["Webhook"],
    "client": ["FetchHive"],
    "conversations": ["Conversation"],
    "errors": [
        "APIConnectionError",
        "APIStatusError",
        "APITimeoutError",
        "AuthenticationError",
        "BadRequestError",
        "BulkError",
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
        "SignatureError",
        "StreamConsumedError",
        "StreamError",
        "StreamFailedError",
        "StreamInterruptedError",
        "StreamTimeoutError",
        "UnexpectedContentTypeError",
        "UnprocessableEntityError",
        "WaitTimeoutError",
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
        "ConversationOptions",
        "DeniedToolCall",
        "GeneratedArtifact",
        "PendingDelegation",
        "PendingToolApproval",
        "SummaryEvent",
        "ToolApprovalEvent",
        "ToolCall",
        "ToolEvent",
    ],
    "models.approvals": ["ApprovalPage", "Decision", "ToolActionApproval"],
    "models.callbacks": ["AgentCompleted", "AgentFailed", "CallbackEvent", "DelegationCompleted", "UnknownCallback"],
    "models.catalogue": ["ErrorCatalogue", "ErrorCode", "Model", "SearchCountry", "SearchServiceCountries"],
    "models.envelopes": ["Envelope", "RawAnswer"],
    "models.hive_agents": ["HiveAgentAccepted", "HiveAgentRequest", "HiveAgentSources"],
    "models.json_values": ["MetadataValue"],
    "models.knowledge_bases": [
        "KnowledgeBase",
        "KnowledgeBaseChanges",
        "KnowledgeBaseFields",
        "KnowledgeBaseItem",
        "KnowledgeBaseItemChanges",
        "KnowledgeBaseItemFields",
        "KnowledgeBaseSearch",
        "Regeneration",
    ],
    "models.managed_agents": ["Agent", "AgentChanges", "AgentChat", "AgentChatMessage", "AgentFields", "ChatFields"],
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
    "models.requests": ["RequestRecord"],
    "models.sent": ["RunRequest"],
    "models.triggers": ["TriggerAccepted"],
    "models.usage": ["CompletionTokens", "PromptTokens", "Usage"],
    "models.workflows": ["WorkflowAccepted", "WorkflowRequest", "WorkflowRun", "WorkflowStart"],
    "prompts": [
        "AsyncTypedStream",
        "Prompt",
        "PromptRequest",
        "PromptResponse",
        "TypedStream",
        "prompt",
    ],
    "streaming": ["aiter_sse", "iter_sse"],
    "streams": ["AgentStream", "AsyncAgentStream", "AsyncPromptStream", "AsyncStream", "PromptStream", "Stream"],
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        for home, names in _HOMES.items():
            if name in names:
                from importlib import import_module  # noqa: PLC0415 - only needed on first use of a name

                value = getattr(import_module(f".{home}", __name__), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
