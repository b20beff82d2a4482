"""The knowledge bases of a workspace, their items, and what a search finds. Performs no I/O."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Optional

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from .agents import ReceivedId
from .base import Received
from .sent import Id

SearchType = Literal["hybrid", "vector", "full_text"]
"""How a knowledge base is searched."""


def _write_switch(value: bool) -> str:
    return "enabled" if value else "disabled"


Switch = Annotated[bool, AfterValidator(_write_switch)]
"""A bool that the service knows as `enabled` or `disabled`."""

# --- What we send ----------------------------------------------------------------------------------------------------


class _Named(TypedDict):
    name: str
    """What it is called."""


class KnowledgeBaseFields(_Named, total=False):
    """The keywords of `client.knowledge_bases.create`. `name` is required."""

    description: Optional[str]
    """What is in it."""
    search_type: Optional[SearchType]
    """How it is searched."""
    search_score_threshold: Optional[float]
    """How well a chunk must fit, from 0 to 1."""
    search_chunk_limit: Optional[int]
    """How many chunks a search finds at most, from 1 to 20."""


class KnowledgeBaseChanges(TypedDict, total=False):
    """The keywords of `client.knowledge_bases.update`. A field that is not given stays; None is sent as null."""

    name: Optional[str]
    """What it is called."""
    description: Optional[str]
    """What is in it."""
    search_type: Optional[SearchType]
    """How it is searched."""
    search_score_threshold: Optional[float]
    """How well a chunk must fit, from 0 to 1."""
    search_chunk_limit: Optional[int]
    """How many chunks a search finds at most, from 1 to 20."""


class KnowledgeBaseItemFields(_Named, total=False):
    """The keywords of `client.knowledge_bases.items.create`. `name` is required."""

    item_type: Optional[Literal["custom", "website_scrape", "document"]]
    """What kind of item it is."""
    response_type: Optional[str]
    """Such as `text`."""
    asset_id: Optional[Id]
    """The uploaded file of a document: see `client.assets.upload`."""
    description: Optional[str]
    """What it is about."""
    data_content: Optional[str]
    """The text of a custom item."""
    data_query: Optional[str]
    """The address of the page of a website item."""
    delete_email_data: Optional[Switch]
    """Whether e-mail addresses are removed from it."""
    delete_telephone_data: Optional[Switch]
    """Whether telephone numbers are removed from it."""
    chunking_strategy: Optional[str]
    """How it is cut into chunks, such as `default`."""
    chunk_overlap: Optional[int]
    """How much of a chunk is part of the next one, too."""
    maximum_chunk_length: Optional[int]
    """How long a chunk may be."""


class KnowledgeBaseItemChanges(TypedDict, total=False):
    """The keywords of `client.knowledge_bases.items.update`. A field that is not given stays; None is sent as null."""

    name: Optional[str]
    """What it is called."""
    description: Optional[str]
    """What it is about."""
    data_content: Optional[str]
    """The text of a custom item."""
    data_query: Optional[str]
    """The address of the page of a website item."""
    delete_email_data: Optional[Switch]
    """Whether e-mail addresses are removed from it."""
    delete_telephone_data: Optional[Switch]
    """Whether telephone numbers are removed from it."""
    chunking_strategy: Optional[str]
    """How it is cut into chunks, such as `default`."""
    chunk_overlap: Optional[int]
    """How much of a chunk is part of the next one, too."""
    maximum_chunk_length: Optional[int]
    """How long a chunk may be."""


class SearchFields(TypedDict):
    """What a search is sent with. The service requires all of it."""

    search_query: str
    """What is looked for."""
    search_type: SearchType
    """How it is searched."""
    search_chunk_limit: Annotated[int, Field(ge=1, le=20)]
    """How many chunks are found at most."""
    search_score_threshold: Annotated[float, Field(ge=0, le=1)]
    """How well a chunk must fit."""


# --- What we receive -------------------------------------------------------------------------------------------------


class KnowledgeBase(Received, frozen=True):
    """A knowledge base of a workspace."""

    id: ReceivedId
    """Its id."""
    name: Optional[str] = None
    """What it is called."""
    description: Optional[str] = None
    """What is in it."""
    data_item_count: Optional[int] = None
    """How many items it has."""
    search_type: Optional[str] = None
    """How it is searched: `hybrid`, `vector` or `full_text`; an open set."""
    search_score_threshold: Optional[float] = None
    """How well a chunk must fit, from 0 to 1. The service sends it as a string."""
    search_chunk_limit: Optional[int] = None
    """How many chunks a search finds at most."""
    generated_at: Optional[str] = None
    """When it was created."""
    status: Optional[str] = None
    """Such as `active`."""
    is_active: Optional[bool] = None
    """Whether it can be used."""
    is_archived: Optional[bool] = None
    """Whether it was put away."""
    is_hybrid_search: Optional[bool] = None
    """Whether it is searched both ways."""
    is_vector_search: Optional[bool] = None
    """Whether it is searched by meaning."""
    is_full_text_search: Optional[bool] = None
    """Whether it is searched by words."""


class KnowledgeBaseItem(Received, frozen=True):
    """An item of a knowledge base. The service documents few of its fields: all but the id may be missing."""

    id: ReceivedId
    """Its id."""
    name: Optional[str] = None
    """What it is called."""
    description: Optional[str] = None
    """What it is about."""
    knowledge_base_id: Optional[str] = None
    """The knowledge base that it belongs to."""
    item_type: Optional[str] = None
    """`custom`, `website_scrape` or `document`; an open set."""
    run_status: Optional[str] = None
    """How far it has been read in."""
    status: Optional[str] = None
    """Whether it is active."""
    request_id: Optional[str] = None
    """The request that reads it in, if the service sent it: `client.requests.wait(request_id)`."""


class KnowledgeBaseSearch(Received, frozen=True):
    """What a search has found."""

    message: Optional[str] = None
    """What the service says about it."""
    response: Any = None
    """What was found, as the service sent it: its form is not documented."""


class Regeneration(Received, frozen=True):
    """An item is being read in again."""

    message: Optional[str] = None
    """What the service says about it."""
    request_id: Optional[str] = None
    """The request that reads it in: `client.requests.wait(request_id)`."""
