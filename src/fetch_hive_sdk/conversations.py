"""A conversation with an agent in one thread: `FetchHive.conversation`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Optional

from ._protocol.writes import check_keywords
from .models.agents import AgentReply, AgentRequest, ConversationOptions
from .resources.delegations import Delegations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from ._config import Timeout
    from .models.agents import AgentDelegation
    from .models.sent import Id
    from .runs import Runs
    from .streams import AgentStream, AsyncAgentStream


class Conversation:
    """A conversation with an agent. The service keeps its history under the id of its thread.

    The service also keeps the artifacts of the thread: `known_artifact_refs` is not needed, and `artifact_refs` selects
    the artifacts for a message.

    Args:
        client: The client that sends the messages.
        agent: The id of the agent.
        thread_id: The id of the conversation to continue; None starts a new one with a random id.

    Raises:
        pydantic.ValidationError: An id is invalid. A subclass of ValueError.
    """

    agent: str
    """The id of the agent."""
    thread_id: str
    """The id of the conversation: pass it to `FetchHive.conversation` to continue later."""

    def __init__(self, client: Runs, agent: Id, thread_id: Optional[str]) -> None:
        checked = AgentRequest(agent=agent, message="", thread_id=thread_id)
        self.agent = str(checked.agent)
        self.thread_id = checked.thread_id or uuid.uuid4().hex
        self._client = client

    def send(
        self,
        message: str,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **options: Unpack[ConversationOptions],
    ) -> AgentReply:
        """Send a message and wait for the answer.

        Args:
            message: The message to the agent.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **options: The fields of `ConversationOptions`, such as `attachments`.

        Returns:
            The answer.

        Raises:
            TypeError: A keyword argument is unknown.
            FetchHiveError: The call failed: see `FetchHive.invoke_agent`.

        """
        return self._client.invoke(self._request("send", message, options), timeout=timeout, extra_body=extra_body)

    async def asend(
        self,
        message: str,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **options: Unpack[ConversationOptions],
    ) -> AgentReply:
        """Send a message: the asyncio twin of `Conversation.send`."""
        return await self._client.ainvoke(
            self._request("asend", message, options), timeout=timeout, extra_body=extra_body
        )

    def stream(
        self,
        message: str,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **options: Unpack[ConversationOptions],
    ) -> AgentStream:
        """Send a message and stream the answer.

        Args:
            message: The message to the agent.
            timeout: As for `FetchHive.invoke_agent_stream`.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.
            **options: The fields of `ConversationOptions`, such as `attachments`.

        Returns:
            The stream. The message is sent on first use of the stream.

        Raises:
            TypeError: A keyword argument is unknown.
            pydantic.ValidationError: An argument is invalid; nothing has been sent. A subclass of ValueError.

        """
        return self._client.stream(self._request("stream", message, options), timeout=timeout, extra_body=extra_body)

    def astream(
        self,
        message: str,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
        **options: Unpack[ConversationOptions],
    ) -> AsyncAgentStream:
        """Send a message and stream the answer: the asyncio twin of `Conversation.stream`. Called without `await`."""
        return self._client.astream(self._request("astream", message, options), timeout=timeout, extra_body=extra_body)

    def delegations(self, *, timeout: Optional[Timeout] = None) -> list[AgentDelegation]:
        """List the open delegations of this conversation: background work that has not ended.

        Args:
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The open delegations. `client.delegations.wait(id)` waits for one.

        Raises:
            FetchHiveError: The call failed: see `client.delegations.list`.

        """
        return self._delegations.list(self.thread_id, timeout=timeout)

    async def adelegations(self, *, timeout: Optional[Timeout] = None) -> list[AgentDelegation]:
        """List the open delegations: the asyncio twin of `Conversation.delegations`."""
        return await self._delegations.alist(self.thread_id, timeout=timeout)

    @property
    def _delegations(self) -> Delegations:
        return Delegations(self._client._session)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one package

    def _request(self, method: str, message: str, options: ConversationOptions) -> AgentRequest:
        check_keywords(method, options, ConversationOptions.__optional_keys__)
        return AgentRequest(agent=self.agent, message=message, thread_id=self.thread_id, **options)

    def __repr__(self) -> str:
        return f"Conversation(agent={self.agent!r}, thread_id={self.thread_id!r})"
