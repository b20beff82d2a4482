"""A conversation with an agent, which keeps its thread: `FetchHive.conversation`."""

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
    """A conversation with an agent. The service keeps its history, under the name of its thread.

    It keeps the artifacts of the thread, too: `known_artifact_refs` are not needed, and `artifact_refs` choose some of
    them for a message.

    Args:
        client: What it is made with.
        agent: The id of the agent.
        thread_id: The name of the conversation; None for a new one, with a random name.

    Raises:
        pydantic.ValidationError: An argument is not an id. A ValueError.
    """

    agent: str
    """The id of the agent."""
    thread_id: str
    """The name of the conversation: pass it to `FetchHive.conversation` to go on with it later."""

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
            message: What the agent is asked.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.
            **options: The fields of `ConversationOptions`, such as `attachments`.

        Returns:
            The answer.

        Raises:
            TypeError: A keyword is unknown.
            FetchHiveError: Whatever `FetchHive.invoke_agent` raises.

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
        """Send a message and read the answer as it is being written.

        Args:
            message: What the agent is asked.
            timeout: As for `FetchHive.invoke_agent_stream`.
            extra_body: Further fields of the JSON body, for what this version does not know.
            **options: The fields of `ConversationOptions`, such as `attachments`.

        Returns:
            The stream. The message is sent on its first use.

        Raises:
            TypeError: A keyword is unknown.
            pydantic.ValidationError: An argument is refused before anything is sent. A ValueError.

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
        """List the work that goes on in the background of this conversation.

        Args:
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.

        Returns:
            The delegations that have not ended: `client.delegations.wait(id)` waits for one.

        Raises:
            FetchHiveError: Whatever `client.delegations.list` raises.

        """
        return self._delegations.list(self.thread_id, timeout=timeout)

    async def adelegations(self, *, timeout: Optional[Timeout] = None) -> list[AgentDelegation]:
        """List the work in the background: the asyncio twin of `Conversation.delegations`."""
        return await self._delegations.alist(self.thread_id, timeout=timeout)

    @property
    def _delegations(self) -> Delegations:
        return Delegations(self._client._session)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one package

    def _request(self, method: str, message: str, options: ConversationOptions) -> AgentRequest:
        check_keywords(method, options, ConversationOptions.__optional_keys__)
        return AgentRequest(agent=self.agent, message=message, thread_id=self.thread_id, **options)

    def __repr__(self) -> str:
        return f"Conversation(agent={self.agent!r}, thread_id={self.thread_id!r})"
