"""Tool calls that wait for approval: `client.approvals`."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Callable, Optional, Union

from fetch_hive_sdk._config import read_timeout
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

    _Pages = Callable[[Optional[str]], Endpoint[ApprovalPage]]


class Approvals(Resource):
    """Tool calls that wait for approval."""

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
        """Read one page of approvals.

        Args:
            status: Only approvals with this status, such as `pending`.
            agent_id: Only approvals of this agent.
            run_id: Only approvals of this run.
            request_id: Only approvals of this request.
            cursor: The start of the page: the `next_cursor` of the previous page.
            limit: The maximum number of approvals, up to 50.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The page. The API does not document how to detect the last page.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

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
        """Read one page of approvals: the asyncio twin of `Approvals.list`."""
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
            f"{self._workspace_path()}/tool_action_approvals",
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
            id: The id of the approval.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The approval.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._get(id), timeout=timeout)

    async def aget(self, id: Id, *, timeout: Optional[Timeout] = None) -> ToolActionApproval:
        """Read an approval: the asyncio twin of `Approvals.get`."""
        return await self._session.arun(self._get(id), timeout=timeout)

    def _get(self, id: Id) -> Endpoint[ToolActionApproval]:
        return Endpoint(
            f"{self._workspace_path()}/tool_action_approvals/{segment(id)}",
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
        """Allow or deny a tool call. The decision resumes the run, so it is not retried when the outcome is unknown.

        Args:
            id: The id of the approval: the `approval_id` of a `PendingToolApproval`.
            decision: `allow_once` or `deny`.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The service's response, which may be empty.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

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
            f"{self._workspace_path()}/tool_action_approvals/{segment(id)}/decide",
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
        """Iterate over approvals, following `next_cursor` from page to page. The arguments are checked at the call.

        Args:
            status: Only approvals with this status, such as `pending`.
            agent_id: Only approvals of this agent.
            run_id: Only approvals of this run.
            request_id: Only approvals of this request.
            limit: The maximum number of approvals in a page, up to 50.
            timeout: Timeout for each page, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            An iterator over the approvals.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: A page could not be read: see `list`.

        """
        page_at = self._pages(
            status=status, agent_id=agent_id, run_id=run_id, request_id=request_id, limit=limit, timeout=timeout
        )
        return self._iterate(page_at, timeout)

    def _iterate(self, page_at: _Pages, timeout: Optional[Timeout]) -> Iterator[ToolActionApproval]:
        cursor: Optional[str] = None
        seen: set[str] = set()
        while True:
            page = self._session.run(page_at(cursor), timeout=timeout)
            yield from page.approvals
            cursor = _next_cursor(page, seen)
            if cursor is None:
                return

    def aiterate(
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
        page_at = self._pages(
            status=status, agent_id=agent_id, run_id=run_id, request_id=request_id, limit=limit, timeout=timeout
        )
        return self._aiterate(page_at, timeout)

    async def _aiterate(self, page_at: _Pages, timeout: Optional[Timeout]) -> AsyncIterator[ToolActionApproval]:
        cursor: Optional[str] = None
        seen: set[str] = set()
        while True:
            page = await self._session.arun(page_at(cursor), timeout=timeout)
            for approval in page.approvals:
                yield approval
            cursor = _next_cursor(page, seen)
            if cursor is None:
                return

    def _pages(
        self,
        *,
        status: Optional[str],
        agent_id: Optional[Id],
        run_id: Optional[Id],
        request_id: Optional[Id],
        limit: Optional[int],
        timeout: Optional[Timeout],
    ) -> _Pages:
        """Check the arguments, and return a function that returns the endpoint of the page at a cursor."""

        def page_at(cursor: Optional[str]) -> Endpoint[ApprovalPage]:
            return self._list(
                status=status, agent_id=agent_id, run_id=run_id, request_id=request_id, cursor=cursor, limit=limit
            )

        page_at(None)
        read_timeout(timeout)
        return page_at

    def allow(self, id: Id, *, timeout: Optional[Timeout] = None) -> Decision:
        """Allow a tool call once: `decide(id, "allow_once")`."""
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
        """Allow or deny all tool calls that an agent waits for. A tool call that is not explicitly allowed is denied.

        Args:
            reply: The agent's answer.
            decide: Called with each pending approval: returns True to allow the tool call. The tool call is denied if
                it returns anything else, if it raises, or if the approval has expired. The first exception is raised
                again after all tool calls have been decided.
            timeout: Timeout for each decision, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The service's response to each decision. `client.requests.wait(reply.run_id)` waits for the run.

        Raises:
            APIStatusError: The service refused a decision, such as for a tool call that had already been decided. The
                other decisions have been sent.
            APIConnectionError: The service gave no answer to a decision. The others have not been sent: list the
                pending approvals before you resolve them again.
            FetchHiveError: A call failed: see `client.approvals.decide`.

        """
        decisions: builtins.list[Decision] = []
        with _raise_first_at_end() as errors:
            for id, pending in _decidable(reply):
                word = _decision_on(decide, pending, errors)
                with _collect_refusal(errors):
                    decisions.append(self.decide(id, word, timeout=timeout))
        return decisions

    async def aresolve(
        self,
        reply: Union[AgentReply, AgentUsageEvent],
        decide: Callable[[PendingToolApproval], bool],
        *,
        timeout: Optional[Timeout] = None,
    ) -> builtins.list[Decision]:
        """Allow or deny all tool calls that an agent waits for: the asyncio twin of `Approvals.resolve`."""
        decisions: builtins.list[Decision] = []
        with _raise_first_at_end() as errors:
            for id, pending in _decidable(reply):
                word = _decision_on(decide, pending, errors)
                with _collect_refusal(errors):
                    decisions.append(await self.adecide(id, word, timeout=timeout))
        return decisions


def _next_cursor(page: ApprovalPage, seen: set[str]) -> Optional[str]:
    """Return the cursor of the next page, or None at the end. A repeated cursor is the end: no endless loops."""
    cursor = page.next_cursor
    if not cursor or cursor in seen:
        return None
    seen.add(cursor)
    return cursor


def _decidable(reply: Union[AgentReply, AgentUsageEvent]) -> builtins.list[tuple[str, PendingToolApproval]]:
    return [(pending.approval_id, pending) for pending in reply.pending_tool_approvals if pending.approval_id]


def _decision_on(
    decide: Callable[[PendingToolApproval], bool], pending: PendingToolApproval, errors: builtins.list[Exception]
) -> DecisionWord:
    if _has_expired(pending):
        return "deny"
    try:
        return "allow_once" if decide(pending) is True else "deny"
    except Exception as error:  # noqa: BLE001 - no exception may let the tool call through
        errors.append(error)
        return "deny"


@contextlib.contextmanager
def _collect_refusal(errors: builtins.list[Exception]) -> Generator[None, None, None]:
    """Collect a refusal, such as of a tool call decided in the dashboard, so that the others are still decided."""
    try:
        yield
    except APIStatusError as error:
        errors.append(error)


@contextlib.contextmanager
def _raise_first_at_end() -> Generator[builtins.list[Exception], None, None]:
    """Raise the first error at the end, when every tool call has been decided."""
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


# The response is not documented. With a success status, the tool call has been decided, whatever the body contains.
_DECISION = Answer(lambda value: parse_object(Decision, as_object(value)), empty=lambda: parse_object(Decision, {}))
