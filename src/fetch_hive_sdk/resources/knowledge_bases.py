"""The knowledge bases of a workspace and their items: `client.knowledge_bases`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Optional

from fetch_hive_sdk._protocol.answers import many, nothing, one
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint
from fetch_hive_sdk._protocol.paths import segment
from fetch_hive_sdk._protocol.requests import json_body
from fetch_hive_sdk._protocol.writes import write_body
from fetch_hive_sdk.models.knowledge_bases import (
    KnowledgeBase,
    KnowledgeBaseChanges,
    KnowledgeBaseFields,
    KnowledgeBaseItem,
    KnowledgeBaseItemChanges,
    KnowledgeBaseItemFields,
    KnowledgeBaseSearch,
    Regeneration,
    SearchFields,
)

from ._base import Resource

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from fetch_hive_sdk._config import Timeout
    from fetch_hive_sdk._protocol.requests import Body
    from fetch_hive_sdk.models.knowledge_bases import SearchType
    from fetch_hive_sdk.models.sent import Id


class KnowledgeBases(Resource):
    """The knowledge bases of the workspace."""

    @cached_property
    def items(self) -> KnowledgeBaseItems:
        """The items of the knowledge bases."""
        return KnowledgeBaseItems(self._session)

    def list(self, *, timeout: Optional[Timeout] = None) -> builtins.list[KnowledgeBase]:
        """List the knowledge bases of the workspace.

        Args:
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The complete list: the API documents no paging.

        Raises:
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._list(), timeout=timeout)

    async def alist(self, *, timeout: Optional[Timeout] = None) -> builtins.list[KnowledgeBase]:
        """List the knowledge bases of the workspace: the asyncio twin of `KnowledgeBases.list`."""
        return await self._session.arun(self._list(), timeout=timeout)

    def _list(self) -> Endpoint[builtins.list[KnowledgeBase]]:
        return Endpoint(
            f"{self._workspace_path()}/knowledge_bases",
            many(KnowledgeBase, under="knowledge_bases"),
            "GET",
            Effect.READ,
            operation="knowledge_bases.list",
        )

    def get(self, id: Id, *, timeout: Optional[Timeout] = None) -> KnowledgeBase:
        """Read a knowledge base.

        Args:
            id: The id of the knowledge base.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The knowledge base. Archived knowledge bases are reported as not found.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._get(id), timeout=timeout)

    async def aget(self, id: Id, *, timeout: Optional[Timeout] = None) -> KnowledgeBase:
        """Read a knowledge base: the asyncio twin of `KnowledgeBases.get`."""
        return await self._session.arun(self._get(id), timeout=timeout)

    def _get(self, id: Id) -> Endpoint[KnowledgeBase]:
        return Endpoint(
            f"{self._workspace_path()}/knowledge_bases/{segment(id)}",
            one(KnowledgeBase, under="knowledge_base"),
            "GET",
            Effect.READ,
            operation="knowledge_bases.get",
        )

    def create(
        self,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[KnowledgeBaseFields],
    ) -> KnowledgeBase:
        """Create a knowledge base.

        Args:
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **fields: The fields of `KnowledgeBaseFields` to set. Omitted fields are not sent.

        Returns:
            The new knowledge base.

        Raises:
            TypeError: A keyword argument is unknown, or a required one is missing.
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(*self._create(fields, extra_body), timeout=timeout)

    async def acreate(
        self,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[KnowledgeBaseFields],
    ) -> KnowledgeBase:
        """Create a knowledge base: the asyncio twin of `KnowledgeBases.create`."""
        return await self._session.arun(*self._create(fields, extra_body), timeout=timeout)

    def _create(
        self, fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[KnowledgeBase], Body]:
        endpoint = Endpoint(
            f"{self._workspace_path()}/knowledge_bases",
            one(KnowledgeBase, under="knowledge_base"),
            "POST",
            Effect.CREATE,
            operation="knowledge_bases.create",
            wrapper="knowledge_base",
        )
        return endpoint, write_body(endpoint, KnowledgeBaseFields, fields, extra_body)

    def update(
        self,
        id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[KnowledgeBaseChanges],
    ) -> KnowledgeBase:
        """Change a knowledge base.

        Args:
            id: The id of the knowledge base.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **fields: The fields of `KnowledgeBaseChanges` to set. Omitted fields are not sent.

        Returns:
            The updated knowledge base.

        Raises:
            TypeError: A keyword argument is unknown, or a required one is missing.
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(*self._update(id, fields, extra_body), timeout=timeout)

    async def aupdate(
        self,
        id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[KnowledgeBaseChanges],
    ) -> KnowledgeBase:
        """Change a knowledge base: the asyncio twin of `KnowledgeBases.update`."""
        return await self._session.arun(*self._update(id, fields, extra_body), timeout=timeout)

    def _update(
        self, id: Id, fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[KnowledgeBase], Body]:
        endpoint = Endpoint(
            f"{self._workspace_path()}/knowledge_bases/{segment(id)}",
            one(KnowledgeBase, under="knowledge_base"),
            "PATCH",
            Effect.SETTLE,
            operation="knowledge_bases.update",
            wrapper="knowledge_base",
        )
        return endpoint, write_body(endpoint, KnowledgeBaseChanges, fields, extra_body)

    def delete(self, id: Id, *, timeout: Optional[Timeout] = None) -> None:
        """Delete a knowledge base. The service finishes the deletion in the background.

        Args:
            id: The id of the knowledge base.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._delete(id), timeout=timeout)

    async def adelete(self, id: Id, *, timeout: Optional[Timeout] = None) -> None:
        """Delete a knowledge base: the asyncio twin of `KnowledgeBases.delete`."""
        return await self._session.arun(self._delete(id), timeout=timeout)

    def _delete(self, id: Id) -> Endpoint[None]:
        return Endpoint(
            f"{self._workspace_path()}/knowledge_bases/{segment(id)}",
            nothing(),
            "DELETE",
            Effect.SETTLE,
            operation="knowledge_bases.delete",
        )

    def search(
        self,
        id: Id,
        query: str,
        *,
        search_type: SearchType = "hybrid",
        chunk_limit: int = 8,
        score_threshold: float = 0.0,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> KnowledgeBaseSearch:
        """Search a knowledge base. This may be billed, so it is not retried when the outcome is unknown.

        Args:
            id: The id of the knowledge base.
            query: The search query.
            search_type: The search method.
            chunk_limit: The maximum number of chunks to return, from 1 to 20.
            score_threshold: The minimum score of a chunk, from 0 to 1.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The chunks that were found.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(
            *self._search(
                id, query, extra_body, search_type=search_type, chunk_limit=chunk_limit, score_threshold=score_threshold
            ),
            timeout=timeout,
        )

    async def asearch(
        self,
        id: Id,
        query: str,
        *,
        search_type: SearchType = "hybrid",
        chunk_limit: int = 8,
        score_threshold: float = 0.0,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> KnowledgeBaseSearch:
        """Search a knowledge base: the asyncio twin of `KnowledgeBases.search`."""
        return await self._session.arun(
            *self._search(
                id, query, extra_body, search_type=search_type, chunk_limit=chunk_limit, score_threshold=score_threshold
            ),
            timeout=timeout,
        )

    def _search(
        self,
        id: Id,
        query: str,
        extra_body: Optional[Mapping[str, object]],
        *,
        search_type: SearchType,
        chunk_limit: int,
        score_threshold: float,
    ) -> tuple[Endpoint[KnowledgeBaseSearch], Body]:
        endpoint = Endpoint(
            f"{self._workspace_path()}/knowledge_bases/{segment(id)}/search",
            one(KnowledgeBaseSearch),
            "POST",
            Effect.RUN,
            operation="knowledge_bases.search",
        )
        return endpoint, write_body(
            endpoint,
            SearchFields,
            {
                "search_query": query,
                "search_type": search_type,
                "search_chunk_limit": chunk_limit,
                "search_score_threshold": score_threshold,
            },
            extra_body,
        )


class KnowledgeBaseItems(Resource):
    """The items of the knowledge bases."""

    def list(self, knowledge_base_id: Id, *, timeout: Optional[Timeout] = None) -> builtins.list[KnowledgeBaseItem]:
        """List the items of a knowledge base.

        Args:
            knowledge_base_id: The id of the knowledge base.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The complete list: the API documents no paging.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._list(knowledge_base_id), timeout=timeout)

    async def alist(
        self, knowledge_base_id: Id, *, timeout: Optional[Timeout] = None
    ) -> builtins.list[KnowledgeBaseItem]:
        """List the items of a knowledge base: the asyncio twin of `KnowledgeBaseItems.list`."""
        return await self._session.arun(self._list(knowledge_base_id), timeout=timeout)

    def _list(self, knowledge_base_id: Id) -> Endpoint[builtins.list[KnowledgeBaseItem]]:
        return Endpoint(
            self._items(knowledge_base_id),
            many(KnowledgeBaseItem, under="knowledge_base_items"),
            "GET",
            Effect.READ,
            operation="knowledge_bases.items.list",
        )

    def get(self, knowledge_base_id: Id, id: Id, *, timeout: Optional[Timeout] = None) -> KnowledgeBaseItem:
        """Read an item.

        Args:
            knowledge_base_id: The id of the knowledge base.
            id: The id of the item.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The item.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._get(knowledge_base_id, id), timeout=timeout)

    async def aget(self, knowledge_base_id: Id, id: Id, *, timeout: Optional[Timeout] = None) -> KnowledgeBaseItem:
        """Read an item: the asyncio twin of `KnowledgeBaseItems.get`."""
        return await self._session.arun(self._get(knowledge_base_id, id), timeout=timeout)

    def _get(self, knowledge_base_id: Id, id: Id) -> Endpoint[KnowledgeBaseItem]:
        return Endpoint(
            self._item(knowledge_base_id, id),
            one(KnowledgeBaseItem, under="knowledge_base_item"),
            "GET",
            Effect.READ,
            operation="knowledge_bases.items.get",
        )

    def create(
        self,
        knowledge_base_id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[KnowledgeBaseItemFields],
    ) -> KnowledgeBaseItem:
        """Add an item to a knowledge base. This may be billed, so it is not retried when the outcome is unknown.

        Args:
            knowledge_base_id: The id of the knowledge base.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **fields: The fields of `KnowledgeBaseItemFields` to set. Omitted fields are not sent.

        Returns:
            The new item. The service goes on processing it.

        Raises:
            TypeError: A keyword argument is unknown, or a required one is missing.
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(*self._create(knowledge_base_id, fields, extra_body), timeout=timeout)

    async def acreate(
        self,
        knowledge_base_id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[KnowledgeBaseItemFields],
    ) -> KnowledgeBaseItem:
        """Add an item to a knowledge base: the asyncio twin of `KnowledgeBaseItems.create`."""
        return await self._session.arun(*self._create(knowledge_base_id, fields, extra_body), timeout=timeout)

    def _create(
        self, knowledge_base_id: Id, fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[KnowledgeBaseItem], Body]:
        endpoint = Endpoint(
            self._items(knowledge_base_id),
            one(KnowledgeBaseItem, under="knowledge_base_item"),
            "POST",
            Effect.RUN,
            operation="knowledge_bases.items.create",
            wrapper="knowledge_base_item",
        )
        return endpoint, write_body(endpoint, KnowledgeBaseItemFields, fields, extra_body)

    def update(
        self,
        knowledge_base_id: Id,
        id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[KnowledgeBaseItemChanges],
    ) -> KnowledgeBaseItem:
        """Change an item. This may be billed, so it is not retried when the outcome is unknown.

        Args:
            knowledge_base_id: The id of the knowledge base.
            id: The id of the item.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **fields: The fields of `KnowledgeBaseItemChanges` to set. Omitted fields are not sent.

        Returns:
            The updated item.

        Raises:
            TypeError: A keyword argument is unknown, or a required one is missing.
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(*self._update(knowledge_base_id, id, fields, extra_body), timeout=timeout)

    async def aupdate(
        self,
        knowledge_base_id: Id,
        id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[KnowledgeBaseItemChanges],
    ) -> KnowledgeBaseItem:
        """Change an item: the asyncio twin of `KnowledgeBaseItems.update`."""
        return await self._session.arun(*self._update(knowledge_base_id, id, fields, extra_body), timeout=timeout)

    def _update(
        self, knowledge_base_id: Id, id: Id, fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[KnowledgeBaseItem], Body]:
        endpoint = Endpoint(
            self._item(knowledge_base_id, id),
            one(KnowledgeBaseItem, under="knowledge_base_item"),
            "PATCH",
            Effect.RUN,
            operation="knowledge_bases.items.update",
            wrapper="knowledge_base_item",
        )
        return endpoint, write_body(endpoint, KnowledgeBaseItemChanges, fields, extra_body)

    def delete(self, knowledge_base_id: Id, id: Id, *, timeout: Optional[Timeout] = None) -> None:
        """Delete an item.

        Args:
            knowledge_base_id: The id of the knowledge base.
            id: The id of the item.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._delete(knowledge_base_id, id), timeout=timeout)

    async def adelete(self, knowledge_base_id: Id, id: Id, *, timeout: Optional[Timeout] = None) -> None:
        """Delete an item: the asyncio twin of `KnowledgeBaseItems.delete`."""
        return await self._session.arun(self._delete(knowledge_base_id, id), timeout=timeout)

    def _delete(self, knowledge_base_id: Id, id: Id) -> Endpoint[None]:
        return Endpoint(
            self._item(knowledge_base_id, id),
            nothing(),
            "DELETE",
            Effect.SETTLE,
            operation="knowledge_bases.items.delete",
        )

    def regenerate(
        self,
        knowledge_base_id: Id,
        id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Regeneration:
        """Process an item again. This may be billed, so it is not retried when the outcome is unknown.

        Args:
            knowledge_base_id: The id of the knowledge base.
            id: The id of the item.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The request that processes the item, if the service returns one: pass its id to `client.requests.wait`.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(*self._regenerate(knowledge_base_id, id, extra_body), timeout=timeout)

    async def aregenerate(
        self,
        knowledge_base_id: Id,
        id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Regeneration:
        """Process an item again: the asyncio twin of `KnowledgeBaseItems.regenerate`."""
        return await self._session.arun(*self._regenerate(knowledge_base_id, id, extra_body), timeout=timeout)

    def _regenerate(
        self, knowledge_base_id: Id, id: Id, extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[Regeneration], Body]:
        endpoint = Endpoint(
            f"{self._item(knowledge_base_id, id)}/regenerate",
            one(Regeneration, may_be_empty=True),
            "POST",
            Effect.RUN,
            operation="knowledge_bases.items.regenerate",
        )
        return endpoint, json_body(endpoint, {}, (), extra_body)

    def _items(self, knowledge_base_id: Id) -> str:
        return f"{self._workspace_path()}/knowledge_bases/{segment(knowledge_base_id, 'knowledge_base_id')}/items"

    def _item(self, knowledge_base_id: Id, id: Id) -> str:
        return f"{self._items(knowledge_base_id)}/{segment(id)}"
