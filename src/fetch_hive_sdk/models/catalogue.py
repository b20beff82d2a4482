"""The catalogue of the service: models, search countries and error codes. Performs no I/O."""

from __future__ import annotations

from typing import Optional

from pydantic import Field

from .base import Received


class Model(Received, frozen=True):
    """An available model."""

    id: str
    """The id of the model: pass it as `llm_model`."""
    name: Optional[str] = None
    """The display name."""
    slug: Optional[str] = None
    """The name in URLs."""
    provider: Optional[str] = None
    """The provider, such as `openai`."""
    provider_name: Optional[str] = None
    """The display name of the provider."""
    context_limit: Optional[int] = None
    """The maximum number of tokens in the context."""
    model_type: Optional[str] = None
    """`llm` or `image_generation`; the service may add values."""
    is_image_generation: Optional[bool] = None
    """Whether it generates images."""
    is_vision: Optional[bool] = None
    """Whether it accepts images."""
    is_reasoning: Optional[bool] = None
    """Whether it reasons before it answers."""
    is_tool_calling: Optional[bool] = None
    """Whether it can call tools."""
    is_json_schema: Optional[bool] = None
    """Whether it supports answers that follow a JSON schema."""


class SearchCountry(Received, frozen=True):
    """A country that a search service supports."""

    country_name: Optional[str] = None
    """The name of the country."""
    alpha2: Optional[str] = None
    """The two-letter country code."""
    value: Optional[str] = None
    """The value to configure for the search service."""


class SearchServiceCountries(Received, frozen=True):
    """The countries that a search service supports."""

    service: Optional[str] = None
    """The search service, such as `google_search`."""
    name: Optional[str] = None
    """The display name of the search service."""
    country_value_field: Optional[str] = None
    """The name of the setting for the country."""
    country_value_format: Optional[str] = None
    """`country_name` or `alpha2`; the service may add values."""
    countries: list[SearchCountry] = Field(default_factory=list[SearchCountry])
    """The countries."""


class ErrorCode(Received, frozen=True):
    """A machine-readable error code."""

    code: Optional[str] = None
    """The code."""
    status: Optional[int] = None
    """The HTTP status of the error response."""
    field: Optional[str] = None
    """The field of the error response that contains the code."""
    category: Optional[str] = None
    """The category of the error."""
    message_key: Optional[str] = None
    """The translation key of the message."""
    message: Optional[str] = None
    """The message, which may contain placeholders."""
    client_action_key: Optional[str] = None
    """The translation key of the advice."""
    client_action: Optional[str] = None
    """Advice for the caller."""


class ErrorCatalogue(Received, frozen=True):
    """All error codes."""

    locale: Optional[str] = None
    """The language of the messages."""
    default_field: Optional[str] = None
    """The field of error responses that contains the code by default."""
    codes: list[ErrorCode] = Field(default_factory=list[ErrorCode])
    """The error codes."""
