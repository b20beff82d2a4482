"""What a run used, in tokens. Performs no I/O."""

from __future__ import annotations

from typing import Annotated, Optional

from pydantic import BeforeValidator, Field

from .base import Received


def _read_counts(value: object) -> object:
    """Token counts come as an object (the vendor's page "Run with API") or as a plain integer (its reference)."""
    if value is None:
        return {}
    if isinstance(value, (int, float, str)):
        return {"total_tokens": value}
    return value


def none_is_empty(value: object) -> object:
    """Read null as an empty object."""
    return {} if value is None else value


class PromptTokens(Received, frozen=True):
    """What went into the model."""

    total_tokens: Optional[int] = None
    """All tokens of the prompt."""
    cached_tokens: Optional[int] = None
    """Those of them that the provider had in its cache."""


class CompletionTokens(Received, frozen=True):
    """What came out of the model."""

    total_tokens: Optional[int] = None
    """All tokens of the answer, reasoning included."""
    reasoning_tokens: Optional[int] = None
    """Those of them that were reasoning."""


class Usage(Received, frozen=True):
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
