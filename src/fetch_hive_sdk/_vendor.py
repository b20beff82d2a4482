"""The method names of the vendor's package, with untyped requests and answers.

A base class of `FetchHive`. The methods that start runs have the vendor's names already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ._protocol.answers import one
from ._protocol.endpoint import Effect, Endpoint, Method
from ._protocol.paths import query_of, segment
from ._protocol.requests import json_body
from .models.json_values import read_json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._config import Timeout
    from ._session import Session
    from .models.envelopes import Envelope
    from .models.sent import Id

    Fields = Mapping[str, Any]

# ruff: noqa: A002 - the vendor's methods have an argument `id`


class VendorNames:
    """The vendor's names for all methods except runs. Typed code uses resources such as `client.agents`."""

    _session: Session

    def get_request(self, id: Id, *, timeout: Optional[Timeout] = None) -> Envelope:
        """Read what became of a call. See `client.requests.get`."""
        path = f"/public/requests/{segment(id)}"
        return self._call("get_request", "GET", Effect.READ, path, timeout=timeout)

    def get_agent_delegation(self, id: Id, *, timeout: Optional[Timeout] = None) -> Envelope:
        """Read a delegation. See `client.delegations.get`."""
        path = f"/agent/delegations/{segment(id)}"
        return self._call("get_agent_delegation", "GET", Effect.READ, path, timeout=timeout)

    def cancel_agent_delegation(self, id: Id, *, timeout: Optional[Timeout] = None) -> Envelope:
        """Cancel a delegation. See `client.delegations.cancel`."""
        path = f"/agent/delegations/{segment(id)}/cancel"
        return self._call("cancel_agent_delegation", "POST", Effect.SETTLE, path, {}, timeout=timeout)

    def list_thread_delegations(self, thread_id: str, *, timeout: Optional[Timeout] = None) -> Envelope:
        """List the open delegations of a conversation. See `client.delegations.list`."""
        path = f"/agent/threads/{segment(thread_id, 'thread_id')}/delegations"
        return self._call("list_thread_delegations", "GET", Effect.READ, path, wrap="delegations", timeout=timeout)

    def list_tool_action_approvals(
        self,
        workspace_id: Id,
        *,
        status: Optional[str] = None,
        agent_id: Optional[Id] = None,
        run_id: Optional[Id] = None,
        request_id: Optional[Id] = None,
        cursor: Optional[str] = None,
        limit: Optional[int] = None,
        timeout: Optional[Timeout] = None,
    ) -> Envelope:
        """List approvals. See `client.approvals.list`."""
        filters = {
            "status": status,
            "agent_id": agent_id,
            "run_id": run_id,
            "request_id": request_id,
            "cursor": cursor,
            "limit": limit,
        }
        query = query_of(filters)
        path = _workspace_path(workspace_id, "tool_action_approvals")
        return self._call(
            "list_tool_action_approvals", "GET", Effect.READ, path, query=query, wrap="approvals", timeout=timeout
        )

    def get_tool_action_approval(
        self, workspace_id: Id, approval_id: Id, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Read an approval. See `client.approvals.get`."""
        path = _workspace_path(workspace_id, "tool_action_approvals/{approval_id}", approval_id=approval_id)
        return self._call("get_tool_action_approval", "GET", Effect.READ, path, timeout=timeout)

    def decide_tool_action_approval(
        self, workspace_id: Id, approval_id: Id, decision: str, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Decide an approval. See `client.approvals.decide`."""
        path = _workspace_path(workspace_id, "tool_action_approvals/{approval_id}/decide", approval_id=approval_id)
        return self._call(
            "decide_tool_action_approval", "POST", Effect.RUN, path, {"decision": decision}, timeout=timeout
        )

    def list_knowledge_bases(self, workspace_id: Id, *, timeout: Optional[Timeout] = None) -> Envelope:
        """List knowledge bases. See `client.knowledge_bases.list`."""
        path = _workspace_path(workspace_id, "knowledge_bases")
        return self._call("list_knowledge_bases", "GET", Effect.READ, path, wrap="knowledge_bases", timeout=timeout)

    def get_knowledge_base(self, workspace_id: Id, id: Id, *, timeout: Optional[Timeout] = None) -> Envelope:
        """Read a knowledge base. See `client.knowledge_bases.get`."""
        path = _workspace_path(workspace_id, "knowledge_bases/{id}", id=id)
        return self._call("get_knowledge_base", "GET", Effect.READ, path, timeout=timeout)

    def create_knowledge_base(
        self, workspace_id: Id, knowledge_base: Fields, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Create a knowledge base. See `client.knowledge_bases.create`."""
        path = _workspace_path(workspace_id, "knowledge_bases")
        return self._call(
            "create_knowledge_base", "POST", Effect.CREATE, path, {"knowledge_base": knowledge_base}, timeout=timeout
        )

    def update_knowledge_base(
        self, workspace_id: Id, id: Id, knowledge_base: Fields, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Change a knowledge base. See `client.knowledge_bases.update`."""
        path = _workspace_path(workspace_id, "knowledge_bases/{id}", id=id)
        return self._call(
            "update_knowledge_base", "PATCH", Effect.SETTLE, path, {"knowledge_base": knowledge_base}, timeout=timeout
        )

    def delete_knowledge_base(self, workspace_id: Id, id: Id, *, timeout: Optional[Timeout] = None) -> Envelope:
        """Delete a knowledge base. See `client.knowledge_bases.delete`."""
        path = _workspace_path(workspace_id, "knowledge_bases/{id}", id=id)
        return self._call("delete_knowledge_base", "DELETE", Effect.SETTLE, path, timeout=timeout)

    def search_knowledge_base(
        self, workspace_id: Id, id: Id, *, timeout: Optional[Timeout] = None, **params: Any
    ) -> Envelope:
        """Search a knowledge base. See `client.knowledge_bases.search`."""
        path = _workspace_path(workspace_id, "knowledge_bases/{id}/search", id=id)
        return self._call("search_knowledge_base", "POST", Effect.RUN, path, params, timeout=timeout)

    def list_knowledge_base_items(
        self, workspace_id: Id, knowledge_base_id: Id, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """List items. See `client.knowledge_bases.items.list`."""
        path = _workspace_path(
            workspace_id, "knowledge_bases/{knowledge_base_id}/items", knowledge_base_id=knowledge_base_id
        )
        return self._call(
            "list_knowledge_base_items", "GET", Effect.READ, path, wrap="knowledge_base_items", timeout=timeout
        )

    def get_knowledge_base_item(
        self, workspace_id: Id, knowledge_base_id: Id, id: Id, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Read an item. See `client.knowledge_bases.items.get`."""
        path = _workspace_path(
            workspace_id, "knowledge_bases/{knowledge_base_id}/items/{id}", knowledge_base_id=knowledge_base_id, id=id
        )
        return self._call("get_knowledge_base_item", "GET", Effect.READ, path, timeout=timeout)

    def create_knowledge_base_item(
        self, workspace_id: Id, knowledge_base_id: Id, knowledge_base_item: Fields, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Create an item. See `client.knowledge_bases.items.create`."""
        path = _workspace_path(
            workspace_id, "knowledge_bases/{knowledge_base_id}/items", knowledge_base_id=knowledge_base_id
        )
        return self._call(
            "create_knowledge_base_item",
            "POST",
            Effect.RUN,
            path,
            {"knowledge_base_item": knowledge_base_item},
            timeout=timeout,
        )

    def update_knowledge_base_item(
        self,
        workspace_id: Id,
        knowledge_base_id: Id,
        id: Id,
        knowledge_base_item: Fields,
        *,
        timeout: Optional[Timeout] = None,
    ) -> Envelope:
        """Change an item. See `client.knowledge_bases.items.update`."""
        path = _workspace_path(
            workspace_id, "knowledge_bases/{knowledge_base_id}/items/{id}", knowledge_base_id=knowledge_base_id, id=id
        )
        return self._call(
            "update_knowledge_base_item",
            "PATCH",
            Effect.RUN,
            path,
            {"knowledge_base_item": knowledge_base_item},
            timeout=timeout,
        )

    def delete_knowledge_base_item(
        self, workspace_id: Id, knowledge_base_id: Id, id: Id, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Delete an item. See `client.knowledge_bases.items.delete`."""
        path = _workspace_path(
            workspace_id, "knowledge_bases/{knowledge_base_id}/items/{id}", knowledge_base_id=knowledge_base_id, id=id
        )
        return self._call("delete_knowledge_base_item", "DELETE", Effect.SETTLE, path, timeout=timeout)

    def regenerate_knowledge_base_item(
        self, workspace_id: Id, knowledge_base_id: Id, id: Id, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Read an item in again. See `client.knowledge_bases.items.regenerate`."""
        path = _workspace_path(
            workspace_id,
            "knowledge_bases/{knowledge_base_id}/items/{id}/regenerate",
            knowledge_base_id=knowledge_base_id,
            id=id,
        )
        return self._call("regenerate_knowledge_base_item", "POST", Effect.RUN, path, {}, timeout=timeout)

    def list_agents(self, workspace_id: Id, *, timeout: Optional[Timeout] = None) -> Envelope:
        """List agents. See `client.agents.list`."""
        path = _workspace_path(workspace_id, "agents")
        return self._call("list_agents", "GET", Effect.READ, path, wrap="agents", timeout=timeout)

    def get_agent(self, workspace_id: Id, id: Id, *, timeout: Optional[Timeout] = None) -> Envelope:
        """Read an agent. See `client.agents.get`."""
        path = _workspace_path(workspace_id, "agents/{id}", id=id)
        return self._call("get_agent", "GET", Effect.READ, path, timeout=timeout)

    def create_agent(self, workspace_id: Id, agent: Fields, *, timeout: Optional[Timeout] = None) -> Envelope:
        """Create an agent. See `client.agents.create`."""
        path = _workspace_path(workspace_id, "agents")
        return self._call("create_agent", "POST", Effect.CREATE, path, {"agent": agent}, timeout=timeout)

    def update_agent(self, workspace_id: Id, id: Id, agent: Fields, *, timeout: Optional[Timeout] = None) -> Envelope:
        """Change an agent. See `client.agents.update`."""
        path = _workspace_path(workspace_id, "agents/{id}", id=id)
        return self._call("update_agent", "PATCH", Effect.SETTLE, path, {"agent": agent}, timeout=timeout)

    def delete_agent(self, workspace_id: Id, id: Id, *, timeout: Optional[Timeout] = None) -> Envelope:
        """Delete an agent. See `client.agents.delete`."""
        path = _workspace_path(workspace_id, "agents/{id}", id=id)
        return self._call("delete_agent", "DELETE", Effect.SETTLE, path, timeout=timeout)

    def get_agent_chat(
        self, workspace_id: Id, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Read a chat. See `client.agents.chats.get`."""
        path = _workspace_path(workspace_id, "agents/{agent_id}/chats/{chat_id}", agent_id=agent_id, chat_id=chat_id)
        return self._call("get_agent_chat", "GET", Effect.READ, path, timeout=timeout)

    def create_agent_chat(
        self, workspace_id: Id, agent_id: Id, chat: Fields, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Create a chat. See `client.agents.chats.create`."""
        path = _workspace_path(workspace_id, "agents/{agent_id}/chats", agent_id=agent_id)
        return self._call("create_agent_chat", "POST", Effect.CREATE, path, {"chat": chat}, timeout=timeout)

    def update_agent_chat(
        self, workspace_id: Id, agent_id: Id, chat_id: Id, chat: Fields, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Change a chat. See `client.agents.chats.rename`."""
        path = _workspace_path(workspace_id, "agents/{agent_id}/chats/{chat_id}", agent_id=agent_id, chat_id=chat_id)
        return self._call("update_agent_chat", "PATCH", Effect.SETTLE, path, {"chat": chat}, timeout=timeout)

    def delete_agent_chat(
        self, workspace_id: Id, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Delete a chat. See `client.agents.chats.delete`."""
        path = _workspace_path(workspace_id, "agents/{agent_id}/chats/{chat_id}", agent_id=agent_id, chat_id=chat_id)
        return self._call("delete_agent_chat", "DELETE", Effect.SETTLE, path, timeout=timeout)

    def clear_agent_chat_messages(
        self, workspace_id: Id, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """Delete the messages of a chat. See `client.agents.chats.clear`."""
        path = _workspace_path(
            workspace_id, "agents/{agent_id}/chats/{chat_id}/clear_messages", agent_id=agent_id, chat_id=chat_id
        )
        return self._call("clear_agent_chat_messages", "PATCH", Effect.SETTLE, path, {}, timeout=timeout)

    def list_agent_chat_messages(
        self, workspace_id: Id, agent_id: Id, chat_id: Id, *, timeout: Optional[Timeout] = None
    ) -> Envelope:
        """List the messages of a chat. See `client.agents.chats.messages`."""
        path = _workspace_path(
            workspace_id, "agents/{agent_id}/chats/{chat_id}/messages", agent_id=agent_id, chat_id=chat_id
        )
        return self._call("list_agent_chat_messages", "GET", Effect.READ, path, wrap="messages", timeout=timeout)

    def _call(
        self,
        operation: str,
        method: Method,
        effect: Effect,
        path: str,
        fields: Optional[Mapping[str, object]] = None,
        *,
        query: Optional[Mapping[str, str]] = None,
        wrap: Optional[str] = None,
        timeout: Optional[Timeout] = None,
    ) -> Envelope:
        from .models.envelopes import Envelope  # noqa: PLC0415 - programs that only run prompts do not need it

        answer = one(Envelope, may_be_empty=True, wrap=wrap)
        endpoint = Endpoint(path, answer, method, effect, query, operation=operation)
        body = None if fields is None else json_body(endpoint, _read_fields(fields, operation), ())
        return self._session.run(endpoint, body, timeout=timeout)


_WRAPPERS = {"agent", "chat", "knowledge_base", "knowledge_base_item"}


def _read_fields(fields: Mapping[str, object], operation: str) -> dict[str, Any]:
    written = read_json_object(fields, operation)
    for name in _WRAPPERS & written.keys():
        if not isinstance(written[name], dict):
            raise ValueError(f"{name} must be a mapping of field names to values")  # noqa: TRY004 - all invalid arguments raise ValueError
    return written


def _workspace_path(workspace_id: Id, template: str, **ids: Id) -> str:
    """Return a path in a workspace, with the ids in a template such as `agents/{id}`."""
    quoted = {name: segment(value, name) for name, value in ids.items()}
    return f"/public/workspaces/{segment(workspace_id, 'workspace_id')}/{template.format(**quoted)}"
