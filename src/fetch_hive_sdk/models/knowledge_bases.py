"""Knowledge bases, their items and search results. Performs no I/O."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Optional

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from .agents import ReceivedId
from .base import Received
from .sent import Id

SearchType = Literal["hybrid", "vector", "full_text"]
"""The search method of a knowledge base."""


def _write_switch(value: bool) -> str:
    return "enabled" if value else "disabled"


Switch = Annotated[bool, AfterValidator(_write_switch)]
"""A bool that is sent as `enabled` or `disabled`."""

# --- What we send ----------------------------------------------------------------------------------------------------


class _Named(TypedDict):
    name: str
    """The name."""


class KnowledgeBaseFields(_Named, total=False):
    """The keywords of `client.knowledge_bases.create`. `name` is required."""

    description: Optional[str]
    """The description."""
    search_type: Optional[SearchType]
    """The search method."""
    search_score_threshold: Optional[float]
    """The minimum score of a chunk, from 0 to 1."""
    search_chunk_limit: Optional[int]
    """The maximum number of chunks that a search returns, from 1 to 20."""


class KnowledgeBaseChanges(TypedDict, total=False):
    """The keywords of `client.knowledge_bases.update`. Omitted fields stay unchanged; None is sent as null."""

    name: Optional[str]
    """The name."""
    description: Optional[str]
    """The description."""
    search_type: Optional[SearchType]
    """The search method."""
    search_score_threshold: Optional[float]
    """The minimum score of a chunk, from 0 to 1."""
    search_chunk_limit: Optional[int]
    """The maximum number of chunks that a search returns, from 1 to 20."""


class KnowledgeBaseItemFields(_Named, total=False):
    """The keywords of `client.knowledge_bases.items.create`. `name` is required."""

    item_type: Optional[Literal["custom", "website_scrape", "document"]]
    """The type of the item."""
    response_type: Optional[str]
    """The response type, such as `text`."""
    asset_id: Optional[Id]
    """The id of the uploaded file of a document: see `client.assets.upload`."""
    description: Optional[str]
    """The description."""
    data_content: Optional[str]
    """The text of a custom item."""
    data_query: Optional[str]
    """The URL of a website item."""
    delete_email_data: Optional[Switch]
    """Whether email addresses are removed from the text."""
    delete_telephone_data: Optional[Switch]
    """Whether telephone numbers are removed from the text."""
    chunking_strategy: Optional[str]
    """How the text is split into chunks, such as `default`."""
    chunk_overlap: Optional[int]
    """The overlap of two consecutive chunks."""
    maximum_chunk_length: Optional[int]
    """The maximum length of a chunk."""


class KnowledgeBaseItemChanges(TypedDict, total=False):
    """The keywords of `client.knowledge_bases.items.update`. Omitted fields stay unchanged; None is sent as null."""

    name: Optional[str]
    """The name."""
    description: Optional[str]
    """The description."""
    data_content: Optional[str]
    """The text of a custom item."""
    data_query: Optional[str]
    """The URL of a website item."""
    delete_email_data: Optional[Switch]
    """Whether email addresses are removed from the text."""
    delete_telephone_data: Optional[Switch]
    """Whether telephone numbers are removed from the text."""
    chunking_strategy: Optional[str]
    """How the text is split into chunks, such as `default`."""
    chunk_overlap: Optional[int]
    """The overlap of two consecutive chunks."""
    maximum_chunk_length: Optional[int]
    """The maximum length of a chunk."""


class SearchFields(TypedDict):
    """The fields of a search. All are required by the service."""

    search_query: str
    """The query."""
    search_type: SearchType
    """The search method."""
    search_chunk_limit: Annotated[int, Field(ge=1, le=20)]
    """The maximum number of chunks in the result, from 1 to 20."""
    search_score_threshold: Annotated[float, Field(ge=0, le=1)]
    """The minimum score of a chunk, from 0 to 1."""


# --- What we receive -------------------------------------------------------------------------------------------------


class KnowledgeBase(Received, frozen=True):
    """A knowledge base of a workspace."""

    id: ReceivedId
    """The id of the knowledge base."""
    name: Optional[str] = None
    """The name."""
    description: Optional[str] = None
    """The description."""
    data_item_count: Optional[int] = None
    """The number of items."""
    search_type: Optional[str] = None
    """The search method: `hybrid`, `vector` or `full_text`; the service may add values."""
    search_score_threshold: Optional[float] = None
    """The minimum score of a chunk, from 0 to 1. The service sends it as a string."""
    search_chunk_limit: Optional[int] = None
    """The maximum number of chunks that a search returns."""
    generated_at: Optional[str] = None
    """When the knowledge base was created."""
    status: Optional[str] = None
    """The status, such as `active`."""
    is_active: Optional[bool] = None
    """Whether the knowledge base is active."""
    is_archived: Optional[bool] = None
    """Whether the knowledge base is archived."""
    is_hybrid_search: Optional[bool] = None
    """Whether the search method is `hybrid`."""
    is_vector_search: Optional[bool] = None
    """Whether the search method is `vector`."""
    is_full_text_search: Optional[bool] = None
    """Whether the search method is `full_text`."""


class KnowledgeBaseItem(Received, frozen=True):
    """An item of a knowledge base. The API documents few of its fields: all except the id may be missing."""

    id: ReceivedId
    """The id of the item."""
    name: Optional[str] = None
    """The name."""
    description: Optional[str] = None
    """The description."""
    knowledge_base_id: Optional[str] = None
    """The id of the knowledge base."""
    item_type: Optional[str] = None
    """`custom`, `website_scrape` or `document`; the service may add values."""
    run_status: Optional[str] = None
    """The state of the import."""
    status: Optional[str] = None
    """The status, such as `active`."""
    request_id: Optional[str] = None
    """The id of the import, if the service sent it: `client.requests.wait(request_id)` waits for its end."""


class KnowledgeBaseSearch(Received, frozen=True):
    """The result of a search."""

    message: Optional[str] = None
    """The service's message."""
    response: Any = None
    """The matches as the service sent them. The API does not document their form."""


class Regeneration(Received, frozen=True):
    """The import of an item was started again."""

    message: Optional[str] = None
    """The service's message."""
    request_id: Optional[str] = None
    """The id of the import: `client.requests.wait(request_id)` waits for its end."""
