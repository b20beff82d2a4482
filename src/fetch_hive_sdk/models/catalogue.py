"""What the service offers: models, countries and error codes. Performs no I/O."""

from __future__ import annotations

from typing import Optional

from pydantic import Field

from .base import Received


class Model(Received, frozen=True):
    """A model that can be used."""

    id: str
    """Its id: pass it as `llm_model`."""
    name: Optional[str] = None
    """What it is called."""
    slug: Optional[str] = None
    """Its name for addresses."""
    provider: Optional[str] = None
    """Who runs it, such as `openai`."""
    provider_name: Optional[str] = None
    """Who runs it, in words."""
    context_limit: Optional[int] = None
    """How many tokens it can take."""
    model_type: Optional[str] = None
    """`llm` or `image_generation`; an open set."""
    is_image_generation: Optional[bool] = None
    """Whether it makes images."""
    is_vision: Optional[bool] = None
    """Whether it accepts images."""
    is_reasoning: Optional[bool] = None
    """Whether it thinks before it answers."""
    is_tool_calling: Optional[bool] = None
    """Whether it can use tools."""
    is_json_schema: Optional[bool] = None
    """Whether it can answer by a JSON schema."""


class SearchCountry(Received, frozen=True):
    """A country that a search service knows."""

    country_name: Optional[str] = None
    """Its name."""
    alpha2: Optional[str] = None
    """Its code of two letters."""
    value: Optional[str] = None
    """What to configure on the service."""


class SearchServiceCountries(Received, frozen=True):
    """The countries that a search service knows."""

    service: Optional[str] = None
    """The service, such as `google_search`."""
    name: Optional[str] = None
    """The service, in words."""
    country_value_field: Optional[str] = None
    """The setting that takes the country."""
    country_value_format: Optional[str] = None
    """`country_name` or `alpha2`; an open set."""
    countries: list[SearchCountry] = Field(default_factory=list[SearchCountry])
    """The countries."""


class ErrorCode(Received, frozen=True):
    """A machine-readable code of an error."""

    code: Optional[str] = None
    """The code."""
    status: Optional[int] = None
    """The HTTP status that it comes with."""
    field: Optional[str] = None
    """The field of the answer that has it."""
    category: Optional[str] = None
    """What kind of error it is."""
    message_key: Optional[str] = None
    """The name of its text."""
    message: Optional[str] = None
    """Its text, which may have placeholders."""
    client_action_key: Optional[str] = None
    """The name of what to do."""
    client_action: Optional[str] = None
    """What to do."""


class ErrorCatalogue(Received, frozen=True):
    """All error codes."""

    locale: Optional[str] = None
    """The language of the texts."""
    default_field: Optional[str] = None
    """The field of an answer that has the code."""
    codes: list[ErrorCode] = Field(default_factory=list[ErrorCode])
    """The codes."""
