"""The token usage of runs. Performs no I/O."""

from __future__ import annotations

from typing import Annotated, Optional

from pydantic import BeforeValidator, Field

from .base import Received


def _read_counts(value: object) -> object:
    """Accept token counts as an object (the vendor's page "Run with API") or as an integer (the vendor's reference)."""
    if value is None:
        return {}
    if isinstance(value, (int, float, str)):
        return {"total_tokens": value}
    return value


def none_is_empty(value: object) -> object:
    """Convert null to an empty object."""
    return {} if value is None else value


class PromptTokens(Received, frozen=True):
    """The tokens of the prompt."""

    total_tokens: Optional[int] = None
    """The number of tokens of the prompt."""
    cached_tokens: Optional[int] = None
    """The number of these tokens that were in the provider's cache."""


class CompletionTokens(Received, frozen=True):
    """The tokens of the answer."""

    total_tokens: Optional[int] = None
    """The number of tokens of the answer, including reasoning."""
    reasoning_tokens: Optional[int] = None
    """The number of these tokens that were used for reasoning."""


class Usage(Received, frozen=True):
    """The tokens that a run used. Counts that the service did not send are None."""

    prompt_tokens: Annotated[PromptTokens, BeforeValidator(_read_counts)] = Field(default_factory=PromptTokens)
    """The tokens of the prompt."""
    completion_tokens: Annotated[CompletionTokens, BeforeValidator(_read_counts)] = Field(
        default_factory=CompletionTokens
    )
    """The tokens of the answer."""
    total_tokens: Optional[int] = None
    """The sum of both."""
    duration: Optional[float] = None
    """The duration of the run in seconds. Only for streams; other answers have `InvokeResponse.duration`."""
