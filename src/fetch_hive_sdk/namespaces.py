"""Everything but runs, as properties of the client. Each is loaded when it is first touched. A base of `FetchHive`."""

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

# ruff: noqa: PLC0415 - imports stand where they are needed: prompts need none of it


class Namespaces(Runs):
    """The calls that start no run, by family."""

    @cached_property
    def requests(self) -> Requests:
        """What became of earlier calls, by their request ids."""
        from .resources.requests import Requests

        return Requests(self._session)

    @cached_property
    def delegations(self) -> Delegations:
        """Work that agents have handed over, such as to workflows."""
        from .resources.delegations import Delegations

        return Delegations(self._session)

    @cached_property
    def approvals(self) -> Approvals:
        """Tool calls that need a decision."""
        from .resources.approvals import Approvals

        return Approvals(self._session)

    @cached_property
    def agents(self) -> Agents:
        """The agents of the workspace, and their chats: `agents.chats`."""
        from .resources.agents import Agents

        return Agents(self._session)

    @cached_property
    def knowledge_bases(self) -> KnowledgeBases:
        """The knowledge bases of the workspace, and their items: `knowledge_bases.items`."""
        from .resources.knowledge_bases import KnowledgeBases

        return KnowledgeBases(self._session)

    @cached_property
    def assets(self) -> Assets:
        """The files of the workspace."""
        from .resources.assets import Assets

        return Assets(self._session)

    @cached_property
    def catalogue(self) -> Catalogue:
        """What the service offers: models, countries and error codes."""
        from .resources.catalogue import Catalogue

        return Catalogue(self._session)

    @cached_property
    def triggers(self) -> Triggers:
        """Starts of runs by a webhook's secret."""
        from .resources.triggers import Triggers

        return Triggers(self._session)

    def conversation(self, agent: Id, thread_id: Optional[str] = None) -> Conversation:
        """Return a conversation with an agent, which keeps its thread.

        Args:
            agent: The id of the agent.
            thread_id: The name of the conversation, to go on with it; None for a new one, with a random name.

        Returns:
            The conversation. Nothing is sent yet.

        Raises:
            pydantic.ValidationError: An argument is not an id. A ValueError.

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
        """Call a place of the API that has no method yet, under the same rules as all others.

        Args:
            method: `GET`, `POST`, `PATCH`, `PUT` or `DELETE`.
            path: What follows the base URL, such as `/public/models`. Ids in it are yours to quote.
            json: The value of the JSON body; None for no body.
            query: What follows the `?`. None values are left out.
            effect: What it does: `read` and `settle` are repeated after an unknown outcome, `run` and `create` are
                not. None: `read` for `GET`, else `run`.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.

        Returns:
            The status, the headers and the JSON value of the answer.

        Raises:
            ValueError: An argument is refused before anything is sent.
            FetchHiveError: Whatever `invoke_prompt` raises.

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
        """Call a place of the API that has no method yet: the asyncio twin of `raw_request`."""
        from .resources._raw import raw_call

        return await self._session.arun(*raw_call(method, path, json, query, effect), timeout=timeout)
