"""Work that agents delegated: `client.delegations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from fetch_hive_sdk._protocol.answers import many, maybe_one, one
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint
from fetch_hive_sdk._protocol.paths import segment
from fetch_hive_sdk._protocol.requests import json_body
from fetch_hive_sdk._protocol.waits import Wait
from fetch_hive_sdk.models.agents import AgentDelegation

from ._base import Resource

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from fetch_hive_sdk._config import Timeout
    from fetch_hive_sdk._protocol.requests import Body
    from fetch_hive_sdk.models.sent import Id


class Delegations(Resource):
    """Work that agents delegated, such as to workflows."""

    def get(self, id: Id, *, timeout: Optional[Timeout] = None) -> AgentDelegation:
        """Read a delegation.

        Args:
            id: The id of the delegation.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The delegation.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._get(id), timeout=timeout)

    async def aget(self, id: Id, *, timeout: Optional[Timeout] = None) -> AgentDelegation:
        """Read a delegation: the asyncio twin of `Delegations.get`."""
        return await self._session.arun(self._get(id), timeout=timeout)

    def _get(self, id: Id) -> Endpoint[AgentDelegation]:
        return Endpoint(
            f"/agent/delegations/{segment(id)}", one(AgentDelegation), "GET", Effect.READ, operation="delegations.get"
        )

    def list(self, thread_id: str, *, timeout: Optional[Timeout] = None) -> builtins.list[AgentDelegation]:
        """List the open delegations of a conversation.

        Args:
            thread_id: The id of the conversation, as passed to `invoke_agent`.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The delegations that have not ended.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._list(thread_id), timeout=timeout)

    async def alist(self, thread_id: str, *, timeout: Optional[Timeout] = None) -> builtins.list[AgentDelegation]:
        """List the open delegations of a conversation: the asyncio twin of `Delegations.list`."""
        return await self._session.arun(self._list(thread_id), timeout=timeout)

    def _list(self, thread_id: str) -> Endpoint[builtins.list[AgentDelegation]]:
        return Endpoint(
            f"/agent/threads/{segment(thread_id, 'thread_id')}/delegations",
            many(AgentDelegation, under="delegations"),
            "GET",
            Effect.READ,
            operation="delegations.list",
        )

    def cancel(
        self, id: Id, *, timeout: Optional[Timeout] = None, extra_body: Optional[Mapping[str, object]] = None
    ) -> Optional[AgentDelegation]:
        """Cancel a delegation. A delegation that has ended is not changed.

        Args:
            id: The id of the delegation.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The updated delegation, or None if the service does not return it.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(*self._cancel(id, extra_body), timeout=timeout)

    async def acancel(
        self, id: Id, *, timeout: Optional[Timeout] = None, extra_body: Optional[Mapping[str, object]] = None
    ) -> Optional[AgentDelegation]:
        """Cancel a delegation: the asyncio twin of `Delegations.cancel`."""
        return await self._session.arun(*self._cancel(id, extra_body), timeout=timeout)

    def _cancel(
        self, id: Id, extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[Optional[AgentDelegation]], Body]:
        endpoint = Endpoint(
            f"/agent/delegations/{segment(id)}/cancel",
            maybe_one(AgentDelegation),
            "POST",
            Effect.SETTLE,
            operation="delegations.cancel",
        )
        return endpoint, json_body(endpoint, {}, (), extra_body)

    def wait(
        self,
        id: Id,
        *,
        max_wait: float = 600.0,
        first_wait: float = 2.0,
        longest_wait: float = 30.0,
        timeout: Optional[Timeout] = None,
    ) -> AgentDelegation:
        """Wait until a delegation has ended, successfully or not.

        Args:
            id: The id of the delegation.
            max_wait: Maximum wait, in seconds. The last poll may take longer, up to its `timeout`.
            first_wait: Seconds between the first two polls. The interval doubles after each poll.
            longest_wait: Maximum interval between two polls, in seconds.
            timeout: Timeout for each poll, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The delegation; its `status` shows how it ended.

        Raises:
            WaitTimeoutError: The wait took longer than `max_wait`. `last` is the result of the last poll.
            RateLimitError: The daily limit has been reached. Every poll counts towards it.
            FetchHiveError: A poll failed: see `FetchHive.invoke_prompt`. Transient errors do not end the wait.

        """
        waits = _wait(max_wait, first_wait, longest_wait)
        return self._session.wait(lambda: self.get(id, timeout=timeout), waits)

    async def await_(
        self,
        id: Id,
        *,
        max_wait: float = 600.0,
        first_wait: float = 2.0,
        longest_wait: float = 30.0,
        timeout: Optional[Timeout] = None,
    ) -> AgentDelegation:
        """Wait until a delegation has ended: the asyncio twin of `Delegations.wait`."""
        waits = _wait(max_wait, first_wait, longest_wait)
        return await self._session.await_(lambda: self.aget(id, timeout=timeout), waits)


_ENDS = frozenset({"completed", "failed", "cancelled", "canceled", "expired"})


def _is_over(delegation: AgentDelegation) -> bool:
    return delegation.status in _ENDS


def _wait(max_wait: float, first_wait: float, longest_wait: float) -> Wait[AgentDelegation]:
    return Wait("the delegation", _is_over, max_wait=max_wait, first_wait=first_wait, longest_wait=longest_wait)
