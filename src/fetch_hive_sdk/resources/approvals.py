"""Tool calls that need a decision: `client.approvals`."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Callable, Optional, Union

from fetch_hive_sdk._protocol.answers import Answer, as_object, one, parse_object
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint
from fetch_hive_sdk._protocol.paths import query_of, segment
from fetch_hive_sdk._protocol.writes import write_body
from fetch_hive_sdk.errors import APIStatusError
from fetch_hive_sdk.models.approvals import ApprovalPage, Decision, DecisionFields, ToolActionApproval

from ._base import Resource

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Generator, Iterator, Mapping

    from fetch_hive_sdk._config import Timeout
    from fetch_hive_sdk._protocol.requests import Body
    from fetch_hive_sdk.models.agents import AgentReply, AgentUsageEvent, PendingToolApproval
    from fetch_hive_sdk.models.approvals import DecisionWord
    from fetch_hive_sdk.models.sent import Id


class Approvals(Resource):
    """Tool calls that need a decision."""

    def list(
        self,
        *,
        status: Optional[str] = None,
        agent_id: Optional[Id] = None,
        run_id: Optional[Id] = None,
        request_id: Optional[Id] = None,
        cursor: Optional[str] = None,
        limit: Optional[int] = None,
        timeout: Optional[Timeout] = None,
    ) -> ApprovalPage:
        """Read one page of the list of approvals.

        Args:
            status: Only those with this status, such as `pending`.
            agent_id: Only those of this agent.
            run_id: Only those of this run.
            request_id: Only those of this request.
            cursor: Where the page begins: the `next_cursor` of the one before.
            limit: How many at most, up to 50.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.

        Returns:
            The page. No sign that there is another is documented.

        Raises:
            ValueError: An argument is refused before anything is sent.
            FetchHiveError: Whatever `FetchHive.invoke_prompt` raises.

        """
        return self._session.run(
            self._list(
                status=status, agent_id=agent_id, run_id=run_id, request_id=request_id, cursor=cursor, limit=limit
            ),
            timeout=timeout,
        )

    async def alist(
        self,
        *,
        status: Optional[str] = None,
        agent_id: Optional[Id] = None,
        run_id: Optional[Id] = None,
        request_id: Optional[Id] = None,
        cursor: Optional[str] = None,
        limit: Optional[int] = None,
        timeout: Optional[Timeout] = None,
    ) -> ApprovalPage:
        """Read one page of the list of approvals: the asyncio twin of `Approvals.list`."""
        return await self._session.arun(
            self._list(
                status=status, agent_id=agent_id, run_id=run_id, request_id=request_id, cursor=cursor, limit=limit
            ),
            timeout=timeout,
        )

    def _list(
        self,
        *,
        status: Optional[str],
        agent_id: Optional[Id],
        run_id: Optional[Id],
        request_id: Optional[Id],
        cursor: Optional[str],
        limit: Optional[int],
    ) -> Endpoint[ApprovalPage]:
        return Endpoint(
            f"{self._workspace}/tool_action_approvals",
            one(ApprovalPage),
            "GET",
            Effect.READ,
            operation="approvals.list",
            query=query_of(
                {
                    "status": status,
                    "agent_id": agent_id,
                    "run_id": run_id,
                    "request_id": request_id,
                    "cursor": cursor,
                    "limit": limit,
                }
            ),
        )

    def get(self, id: Id, *, timeout: Optional[Timeout] = None) -> ToolActionApproval:
        """Read an approval.

        Args:
            id: Its id.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.

        Returns:
            The approval.

        Raises:
            ValueError: An argument is refused before anything is sent.
            FetchHiveError: Whatever `FetchHive.invoke_prompt` raises.

        """
        return self._session.run(self._get(id), timeout=timeout)

    async def aget(self, id: Id, *, timeout: Optional[Timeout] = None) -> ToolActionApproval:
        """Read an approval: the asyncio twin of `Approvals.get`."""
        return await self._session.arun(self._get(id), timeout=timeout)

    def _get(self, id: Id) -> Endpoint[ToolActionApproval]:
        return Endpoint(
            f"{self._workspace}/tool_action_approvals/{segment(id)}",
            one(ToolActionApproval, under="approval"),
            "GET",
            Effect.READ,
            operation="approvals.get",
        )

    def decide(
        self,
        id: Id,
        decision: DecisionWord,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Decision:
        """Allow or deny a tool call. The run goes on by itself, so it is not repeated when its outcome is unknown.

        Args:
            id: The id of the approval: the `approval_id` of a pending one.
            decision: `allow_once` or `deny`.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            What the service says to it, which may be nothing.

        Raises:
            ValueError: An argument is refused before anything is sent.
            FetchHiveError: Whatever `FetchHive.invoke_prompt` raises.

        """
        return self._session.run(*self._decide(id, decision, extra_body), timeout=timeout)

    async def adecide(
        self,
        id: Id,
        decision: DecisionWord,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Decision:
        """Allow or deny a tool call: the asyncio twin of `Approvals.decide`."""
        return await self._session.arun(*self._decide(id, decision, extra_body), timeout=timeout)

    def _decide(
        self, id: Id, decision: DecisionWord, extra_body: Optional[Mapping[str, object]]
    ) -> tuple[Endpoint[Decision], Body]:
        endpoint = Endpoint(
            f"{self._workspace}/tool_action_approvals/{segment(id)}/decide",
            _DECISION,
            "POST",
            Effect.RUN,
            operation="approvals.decide",
        )
        return endpoint, write_body(endpoint, DecisionFields, {"decision": decision}, extra_body)

    def iterate(
        self,
        *,
        status: Optional[str] = None,
        agent_id: Optional[Id] = None,
        run_id: Optional[Id] = None,
        request_id: Optional[Id] = None,
        limit: Optional[int] = None,
        timeout: Optional[Timeout] = None,
    ) -> Iterator[ToolActionApproval]:
        """Iterate over approvals, page after page for as long as the service names a next one.

        Args:
            status: Only those with this status, such as `pending`.
            agent_id: Only those of this agent.
            run_id: Only those of this run.
            request_id: Only those of this request.
            limit: How many a page has at most, up to 50.
            timeout: Seconds for each page, or an `httpx.Timeout`; None for the client's.

        Yields:
            The approvals.

        Raises:
            FetchHiveError: Whatever `list` raises.

        """
        cursor: Optional[str] = None
        seen: set[str] = set()
        while True:
            page = self.list(
                status=status,
                agent_id=agent_id,
                run_id=run_id,
                request_id=request_id,
                cursor=cursor,
                limit=limit,
                timeout=timeout,
            )
            yield from page.approvals
            cursor = _next_cursor(page, seen)
            if cursor is None:
                return

    async def aiterate(
        self,
        *,
        status: Optional[str] = None,
        agent_id: Optional[Id] = None,
        run_id: Optional[Id] = None,
        request_id: Optional[Id] = None,
        limit: Optional[int] = None,
        timeout: Optional[Timeout] = None,
    ) -> AsyncIterator[ToolActionApproval]:
        """Iterate over approvals: the asyncio twin of `Approvals.iterate`. Called without `await`."""
        cursor: Optional[str] = None
        seen: set[str] = set()
        while True:
            page = await self.alist(
                status=status,
                agent_id=agent_id,
                run_id=run_id,
                request_id=request_id,
                cursor=cursor,
                limit=limit,
                timeout=timeout,
            )
            for approval in page.approvals:
                yield approval
            cursor = _next_cursor(page, seen)
            if cursor is None:
                return

    def allow(self, id: Id, *, timeout: Optional[Timeout] = None) -> Decision:
        """Allow a tool call, this time: `decide(id, "allow_once")`."""
        return self.decide(id, "allow_once", timeout=timeout)

    async def aallow(self, id: Id, *, timeout: Optional[Timeout] = None) -> Decision:
        """Allow a tool call: the asyncio twin of `Approvals.allow`."""
        return await self.adecide(id, "allow_once", timeout=timeout)

    def deny(self, id: Id, *, timeout: Optional[Timeout] = None) -> Decision:
        """Deny a tool call: `decide(id, "deny")`."""
        return self.decide(id, "deny", timeout=timeout)

    async def adeny(self, id: Id, *, timeout: Optional[Timeout] = None) -> Decision:
        """Deny a tool call: the asyncio twin of `Approvals.deny`."""
        return await self.adecide(id, "deny", timeout=timeout)

    def resolve(
        self,
        reply: Union[AgentReply, AgentUsageEvent],
        decide: Callable[[PendingToolApproval], bool],
        *,
        timeout: Optional[Timeout] = None,
    ) -> builtins.list[Decision]:
        """Decide all tool calls that an agent waits for. What is not clearly allowed is denied.

        Args:
            reply: The answer of the agent.
            decide: Asked for each tool call: True allows it. If it raises, or returns anything else, or the approval
                has expired, the tool call is denied. What it raised is raised when all have been decided.
            timeout: Seconds for each decision, or an `httpx.Timeout`; None for the client's.

        Returns:
            What the service says to each decision. `client.requests.wait(reply.run_id)` waits for the run.

        Raises:
            APIStatusError: The service refused a decision, such as one that had been made. The others have been sent.
            FetchHiveError: Whatever `client.approvals.decide` raises.

        """
        decisions: builtins.list[Decision] = []
        with _first_of_many() as errors:
            for id, pending in _decidable(reply):
                word = _ask(decide, pending, errors)
                with _kept(errors):
                    decisions.append(self.decide(id, word, timeout=timeout))
        return decisions

    async def aresolve(
        self,
        reply: Union[AgentReply, AgentUsageEvent],
        decide: Callable[[PendingToolApproval], bool],
        *,
        timeout: Optional[Timeout] = None,
    ) -> builtins.list[Decision]:
        """Decide all tool calls that an agent waits for: the asyncio twin of `Approvals.resolve`."""
        decisions: builtins.list[Decision] = []
        with _first_of_many() as errors:
            for id, pending in _decidable(reply):
                word = _ask(decide, pending, errors)
                with _kept(errors):
                    decisions.append(await self.adecide(id, word, timeout=timeout))
        return decisions


def _next_cursor(page: ApprovalPage, seen: set[str]) -> Optional[str]:
    """Return where the next page begins, or None at the end: a cursor that has been there would lead in a circle."""
    cursor = page.next_cursor
    if not cursor or cursor in seen:
        return None
    seen.add(cursor)
    return cursor


def _decidable(reply: Union[AgentReply, AgentUsageEvent]) -> builtins.list[tuple[str, PendingToolApproval]]:
    return [(pending.approval_id, pending) for pending in reply.pending_tool_approvals if pending.approval_id]


def _ask(
    decide: Callable[[PendingToolApproval], bool], pending: PendingToolApproval, errors: builtins.list[Exception]
) -> DecisionWord:
    if _has_expired(pending):
        return "deny"
    try:
        return "allow_once" if decide(pending) is True else "deny"
    except Exception as error:  # noqa: BLE001 - whatever it is, the tool call must not go through
        errors.append(error)
        return "deny"


@contextlib.contextmanager
def _kept(errors: builtins.list[Exception]) -> Generator[None, None, None]:
    """Keep a refusal of the service, such as of what has been decided in the dashboard: the others are still open."""
    try:
        yield
    except APIStatusError as error:
        errors.append(error)


@contextlib.contextmanager
def _first_of_many() -> Generator[builtins.list[Exception], None, None]:
    """Raise the first of the errors at the end: by then, every tool call has been decided."""
    errors: builtins.list[Exception] = []
    yield errors
    if errors:
        raise errors[0]


def _has_expired(pending: PendingToolApproval) -> bool:
    if not pending.expires_at:
        return False
    try:
        moment = datetime.fromisoformat(pending.expires_at.replace("Z", "+00:00"))
    except ValueError:
        return False  # the service decides
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment <= datetime.now(timezone.utc)


# Its answer is not documented: it has been decided, whatever is said to it.
_DECISION = Answer(lambda value: parse_object(Decision, as_object(value)), empty=lambda: parse_object(Decision, {}))
