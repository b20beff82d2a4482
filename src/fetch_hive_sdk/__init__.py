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
    from .models.json_values import MetadataValue
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
    from .models.usage import (
        CompletionTokens,
        PromptTokens,
        Usage,
    )
    from .prompts import (
        AsyncTypedStream,
        Prompt,
        PromptRequest,
        PromptResponse,
        TypedStream,
        prompt,
    )
    from .streams import (
        AsyncPromptStream,
        AsyncStream,
        PromptStream,
        Stream,
    )

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncPromptStream",
    "AsyncStream",
    "AsyncTypedStream",
    "AuthenticationError",
    "BadRequestError",
    "BulkError",
    "CompletionTokens",
    "ConfigurationError",
    "ConflictError",
    "ErrorEvent",
    "FetchHive",
    "FetchHiveError",
    "InternalServerError",
    "InvokeRequest",
    "InvokeResponse",
    "MetadataValue",
    "NotFoundError",
    "OutputValidationError",
    "PartialAnswer",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "Prompt",
    "PromptRequest",
    "PromptResponse",
    "PromptStream",
    "PromptTokens",
    "RateLimitError",
    "ReasoningEvent",
    "ResponseDecodeError",
    "ResponseError",
    "ResponseEvent",
    "ResponseTooLargeError",
    "ResponseValidationError",
    "SignatureError",
    "Stream",
    "StreamConsumedError",
    "StreamError",
    "StreamEvent",
    "StreamFailedError",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "TypedStream",
    "UnexpectedContentTypeError",
    "UnknownEvent",
    "UnprocessableEntityError",
    "Usage",
    "UsageEvent",
    "WaitTimeoutError",
    "__version__",
    "prompt",
]

_HOMES = {
    "client": ["FetchHive"],
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
        "StreamConsumedError",
        "SignatureError",
        "StreamError",
        "StreamFailedError",
        "StreamInterruptedError",
        "StreamTimeoutError",
        "UnexpectedContentTypeError",
        "UnprocessableEntityError",
        "WaitTimeoutError",
    ],
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
    "models.usage": ["CompletionTokens", "PromptTokens", "Usage"],
    "prompts": [
        "AsyncTypedStream",
        "Prompt",
        "PromptRequest",
        "PromptResponse",
        "TypedStream",
        "prompt",
    ],
    "streams": ["AsyncPromptStream", "AsyncStream", "PromptStream", "Stream"],
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
