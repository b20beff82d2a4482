"""The client's resources, such as `client.agents`, loaded on first access. A base class of `FetchHive`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Optional

from .runs import Runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._config import Timeout
    from .conversations import Conversation
    from .models.envelopes import RawAnswer
    from .models.sent import Id
    from .resources._raw import EffectName
    from .resources.agents import Agents
    from .resources.approvals import Approvals
    from .resources.assets import Assets
    from .resources.catalogue import Catalogue
    from .resources.delegations import Delegations
    from .resources.knowledge_bases import KnowledgeBases
    from .resources.requests import Requests
    from .resources.triggers import Triggers

# ruff: noqa: PLC0415 - imported on first use, because programs that only run prompts do not need them


class Namespaces(Runs):
    """The resources of the API, and `conversation` and `raw_request`."""

    @cached_property
    def requests(self) -> Requests:
        """The records of earlier calls, by request id."""
        from .resources.requests import Requests

        return Requests(self._session)

    @cached_property
    def delegations(self) -> Delegations:
        """Work that agents delegated, such as to workflows."""
        from .resources.delegations import Delegations

        return Delegations(self._session)

    @cached_property
    def approvals(self) -> Approvals:
        """Tool calls that wait for approval."""
        from .resources.approvals import Approvals

        return Approvals(self._session)

    @cached_property
    def agents(self) -> Agents:
        """The agents of the workspace; their chats are `agents.chats`."""
        from .resources.agents import Agents

        return Agents(self._session)

    @cached_property
    def knowledge_bases(self) -> KnowledgeBases:
        """The knowledge bases of the workspace; their items are `knowledge_bases.items`."""
        from .resources.knowledge_bases import KnowledgeBases

        return KnowledgeBases(self._session)

    @cached_property
    def assets(self) -> Assets:
        """The files of the workspace."""
        from .resources.assets import Assets

        return Assets(self._session)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The models, search countries and error codes of the service."""
        from .resources.catalogue import Catalogue

        return Catalogue(self._session)

    @cached_property
    def triggers(self) -> Triggers:
        """The webhook triggers, which start runs with their own secret in place of the API key."""
        from .resources.triggers import Triggers

        return Triggers(self._session)

    def conversation(self, agent: Id, thread_id: Optional[str] = None) -> Conversation:
        """Return a conversation with an agent: its messages share one thread.

        Args:
            agent: The id of the agent.
            thread_id: The id of the conversation to continue; None starts a new one with a random id.

        Returns:
            The conversation. Nothing is sent until you send its first message.

        Raises:
            pydantic.ValidationError: An id is invalid. A subclass of ValueError.

        """
        from .conversations import Conversation

        return Conversation(self, agent, thread_id)

    def raw_request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Optional[Mapping[str, object]] = None,
        effect: Optional[EffectName] = None,
        timeout: Optional[Timeout] = None,
    ) -> RawAnswer:
        """Call an endpoint that has no method yet, with the key, timeouts and retries of the client.

        Args:
            method: `GET`, `POST`, `PATCH`, `PUT` or `DELETE`.
            path: The path below the base URL, such as `/public/models`. Percent-encode the ids in it.
            json: The value of the JSON body; None sends no body.
            query: The query parameters. Those that are None are left out.
            effect: Whether repeating the call is safe: `read` and `settle` (idempotent changes) are retried after an
                unknown outcome, `run` and `create` are not. None means `read` for `GET` and `run` otherwise.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The status, headers and JSON value of the response.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `invoke_prompt`.

        """
        from .resources._raw import raw_call

        return self._session.run(*raw_call(method, path, json, query, effect), timeout=timeout)

    async def araw_request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Optional[Mapping[str, object]] = None,
        effect: Optional[EffectName] = None,
        timeout: Optional[Timeout] = None,
    ) -> RawAnswer:
        """Call an endpoint that has no method yet: the asyncio twin of `raw_request`."""
        from .resources._raw import raw_call

        return await self._session.arun(*raw_call(method, path, json, query, effect), timeout=timeout)
