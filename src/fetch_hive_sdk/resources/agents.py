"""The agents of a workspace and their chats: `client.agents`, `client.agents.chats`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Optional

from fetch_hive_sdk._protocol.answers import many, maybe_one, nothing, one
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint
from fetch_hive_sdk._protocol.paths import segment
from fetch_hive_sdk._protocol.requests import json_body
from fetch_hive_sdk._protocol.writes import write_body
from fetch_hive_sdk.models.managed_agents import (
    Agent,
    AgentChanges,
    AgentChat,
    AgentChatMessage,
    AgentFields,
    ChatFields,
)

from ._base import Resource

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from fetch_hive_sdk._config import Timeout
    from fetch_hive_sdk._protocol.requests import Body
    from fetch_hive_sdk.models.sent import Id


class Agents(Resource):
    """The agents of the workspace: list, create, change and delete them. To run one, call `client.invoke_agent`."""

    @cached_property
    def chats(self) -> AgentChats:
        """The chats of the agents."""
        return AgentChats(self._session)

    def list(self, *, timeout: Optional[Timeout] = None) -> builtins.list[Agent]:
        """List the agents of the workspace.

        Args:
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The complete list: the API documents no paging.

        Raises:
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._list(), timeout=timeout)

    async def alist(self, *, timeout: Optional[Timeout] = None) -> builtins.list[Agent]:
        """List the agents of the workspace: the asyncio twin of `Agents.list`."""
        return await self._session.arun(self._list(), timeout=timeout)

    def _list(self) -> Endpoint[builtins.list[Agent]]:
        return Endpoint(
            f"{self._workspace_path()}/agents", many(Agent, under="agents"), "GET", Effect.READ, operation="agents.list"
        )

    def get(self, id: Id, *, timeout: Optional[Timeout] = None) -> Agent:
        """Read an agent.

        Args:
            id: The id of the agent.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The agent. Archived agents are reported as not found.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._get(id), timeout=timeout)

    async def aget(self, id: Id, *, timeout: Optional[Timeout] = None) -> Agent:
        """Read an agent: the asyncio twin of `Agents.get`."""
        return await self._session.arun(self._get(id), timeout=timeout)

    def _get(self, id: Id) -> Endpoint[Agent]:
        return Endpoint(
            f"{self._workspace_path()}/agents/{segment(id)}",
            one(Agent, under="agent"),
            "GET",
            Effect.READ,
            operation="agents.get",
        )

    def create(
        self,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[AgentFields],
    ) -> Agent:
        """Create an agent.

        Args:
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **fields: The fields of `AgentFields` to set. Omitted fields are not sent.

        Returns:
            The new agent.

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
        **fields: Unpack[AgentFields],
    ) -> Agent:
        """Create an agent: the asyncio twin of `Agents.create`."""
        return await self._session.arun(*self._create(fields, extra_body), timeout=timeout)

    def _create(
        self, fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[Agent], Body]:
        endpoint = Endpoint(
            f"{self._workspace_path()}/agents",
            one(Agent, under="agent"),
            "POST",
            Effect.CREATE,
            operation="agents.create",
            wrapper="agent",
        )
        return endpoint, write_body(endpoint, AgentFields, fields, extra_body)

    def update(
        self,
        id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[AgentChanges],
    ) -> Agent:
        """Change an agent.

        Args:
            id: The id of the agent.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **fields: The fields of `AgentChanges` to set. Omitted fields are not sent.

        Returns:
            The updated agent.

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
        **fields: Unpack[AgentChanges],
    ) -> Agent:
        """Change an agent: the asyncio twin of `Agents.update`."""
        return await self._session.arun(*self._update(id, fields, extra_body), timeout=timeout)

    def _update(
        self, id: Id, fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[Agent], Body]:
        endpoint = Endpoint(
            f"{self._workspace_path()}/agents/{segment(id)}",
            one(Agent, under="agent"),
            "PATCH",
            Effect.SETTLE,
            operation="agents.update",
            wrapper="agent",
        )
        return endpoint, write_body(endpoint, AgentChanges, fields, extra_body)

    def delete(self, id: Id, *, timeout: Optional[Timeout] = None) -> None:
        """Delete an agent.

        Args:
            id: The id of the agent.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._delete(id), timeout=timeout)

    async def adelete(self, id: Id, *, timeout: Optional[Timeout] = None) -> None:
        """Delete an agent: the asyncio twin of `Agents.delete`."""
        return await self._session.arun(self._delete(id), timeout=timeout)

    def _delete(self, id: Id) -> Endpoint[None]:
        return Endpoint(
            f"{self._workspace_path()}/agents/{segment(id)}",
            nothing(),
            "DELETE",
            Effect.SETTLE,
            operation="agents.delete",
        )


class AgentChats(Resource):
    """The chats of the agents. The API cannot list them."""

    def create(
        self,
        agent_id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[ChatFields],
    ) -> AgentChat:
        """Create a chat.

        Args:
            agent_id: The id of the agent.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **fields: The fields of `ChatFields` to set. Omitted fields are not sent.

        Returns:
            The new chat.

        Raises:
            TypeError: A keyword argument is unknown, or a required one is missing.
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(*self._create(agent_id, fields, extra_body), timeout=timeout)

    async def acreate(
        self,
        agent_id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[ChatFields],
    ) -> AgentChat:
        """Create a chat: the asyncio twin of `AgentChats.create`."""
        return await self._session.arun(*self._create(agent_id, fields, extra_body), timeout=timeout)

    def _create(
        self, agent_id: Id, fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[AgentChat], Body]:
        endpoint = Endpoint(
            self._chats(agent_id),
            one(AgentChat, under="chat"),
            "POST",
            Effect.CREATE,
            operation="agents.chats.create",
            wrapper="chat",
        )
        return endpoint, write_body(endpoint, ChatFields, fields, extra_body)

    def get(self, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None) -> AgentChat:
        """Read a chat.

        Args:
            agent_id: The id of the agent.
            chat_id: The id of the chat.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The chat.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._get(agent_id, chat_id), timeout=timeout)

    async def aget(self, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None) -> AgentChat:
        """Read a chat: the asyncio twin of `AgentChats.get`."""
        return await self._session.arun(self._get(agent_id, chat_id), timeout=timeout)

    def _get(self, agent_id: Id, chat_id: Id) -> Endpoint[AgentChat]:
        return Endpoint(
            self._chat(agent_id, chat_id),
            one(AgentChat, under="chat"),
            "GET",
            Effect.READ,
            operation="agents.chats.get",
        )

    def rename(
        self,
        agent_id: Id,
        chat_id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[ChatFields],
    ) -> AgentChat:
        """Rename a chat.

        Args:
            agent_id: The id of the agent.
            chat_id: The id of the chat.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **fields: The fields of `ChatFields` to set. Omitted fields are not sent.

        Returns:
            The updated chat.

        Raises:
            TypeError: A keyword argument is unknown, or a required one is missing.
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(*self._rename(agent_id, chat_id, fields, extra_body), timeout=timeout)

    async def arename(
        self,
        agent_id: Id,
        chat_id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **fields: Unpack[ChatFields],
    ) -> AgentChat:
        """Rename a chat: the asyncio twin of `AgentChats.rename`."""
        return await self._session.arun(*self._rename(agent_id, chat_id, fields, extra_body), timeout=timeout)

    def _rename(
        self, agent_id: Id, chat_id: Id, fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[AgentChat], Body]:
        endpoint = Endpoint(
            self._chat(agent_id, chat_id),
            one(AgentChat, under="chat"),
            "PATCH",
            Effect.SETTLE,
            operation="agents.chats.rename",
            wrapper="chat",
        )
        return endpoint, write_body(endpoint, ChatFields, fields, extra_body)

    def delete(self, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None) -> None:
        """Delete a chat.

        Args:
            agent_id: The id of the agent.
            chat_id: The id of the chat.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._delete(agent_id, chat_id), timeout=timeout)

    async def adelete(self, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None) -> None:
        """Delete a chat: the asyncio twin of `AgentChats.delete`."""
        return await self._session.arun(self._delete(agent_id, chat_id), timeout=timeout)

    def _delete(self, agent_id: Id, chat_id: Id) -> Endpoint[None]:
        return Endpoint(
            self._chat(agent_id, chat_id),
            nothing(),
            "DELETE",
            Effect.SETTLE,
            operation="agents.chats.delete",
        )

    def clear(
        self,
        agent_id: Id,
        chat_id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Optional[AgentChat]:
        """Delete the messages of a chat.

        Args:
            agent_id: The id of the agent.
            chat_id: The id of the chat.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The updated chat, or None if the service does not return it.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(*self._clear(agent_id, chat_id, extra_body), timeout=timeout)

    async def aclear(
        self,
        agent_id: Id,
        chat_id: Id,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Optional[AgentChat]:
        """Delete the messages of a chat: the asyncio twin of `AgentChats.clear`."""
        return await self._session.arun(*self._clear(agent_id, chat_id, extra_body), timeout=timeout)

    def _clear(
        self, agent_id: Id, chat_id: Id, extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[Optional[AgentChat]], Body]:
        path = f"{self._chat(agent_id, chat_id)}/clear_messages"
        endpoint = Endpoint(
            path, maybe_one(AgentChat, under="chat"), "PATCH", Effect.SETTLE, operation="agents.chats.clear"
        )
        return endpoint, json_body(endpoint, {}, (), extra_body)

    def messages(self, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None) -> list[AgentChatMessage]:
        """List the messages of a chat, the oldest first.

        Args:
            agent_id: The id of the agent.
            chat_id: The id of the chat.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The complete list: the API documents no paging.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._messages(agent_id, chat_id), timeout=timeout)

    async def amessages(
        self, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None
    ) -> list[AgentChatMessage]:
        """List the messages of a chat: the asyncio twin of `AgentChats.messages`."""
        return await self._session.arun(self._messages(agent_id, chat_id), timeout=timeout)

    def _messages(self, agent_id: Id, chat_id: Id) -> Endpoint[list[AgentChatMessage]]:
        return Endpoint(
            f"{self._chat(agent_id, chat_id)}/messages",
            many(AgentChatMessage, under="messages"),
            "GET",
            Effect.READ,
            operation="agents.chats.messages",
        )

    def _chats(self, agent_id: Id) -> str:
        return f"{self._workspace_path()}/agents/{segment(agent_id, 'agent_id')}/chats"

    def _chat(self, agent_id: Id, chat_id: Id) -> str:
        return f"{self._chats(agent_id)}/{segment(chat_id, 'chat_id')}"
