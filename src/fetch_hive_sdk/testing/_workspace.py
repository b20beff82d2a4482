"""Fake workspaces, stored in memory: agents and chats, knowledge bases and items, assets.

Messages and statuses are those of the service, which answers 422 for an unknown object, but 404 for an unknown chat.
"""

from __future__ import annotations

import email.parser
import email.policy
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Optional, cast
from urllib.parse import quote

from ._ledger import Run, now
from ._received import read_object
from ._reply import Reply, json_reply
from ._routes import Incoming, RefusedError, Route
from ._script import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.message import EmailMessage

    from ._ledger import Ledger

Record = dict[str, object]

_WORKSPACE = "/public/workspaces/{workspace}"
_SEARCH_FIELDS = ("search_query", "search_type", "search_chunk_limit", "search_score_threshold")
_SEARCH_TYPES = {"hybrid", "vector", "full_text"}


@dataclass(frozen=True)
class _Kind:
    """A kind of stored object, such as agents."""

    wrapper: str
    """The key of one object in requests and answers."""
    plural: str
    one: str
    """The name in messages, with its article."""
    deleted: str
    """The message after a deletion."""
    required: tuple[str, ...]
    complete: Callable[[Record], Record]
    """Returns the fields that the service adds."""
    path_name: str
    """The name in paths that stands for its id."""
    parent: Optional[_Kind] = None
    """The kind it is stored in; None for the workspace."""
    missing_status: int = 422


def _complete_agent(fields: Record) -> Record:
    return {"description": None, "status": "active", **fields}


def _complete_chat(fields: Record) -> Record:
    return {
        "last_message_content": None,
        "last_message_sent_at": None,
        "message_count": 0,
        "generated_at": now(),
        "status": "active",
        **fields,
    }


def _complete_knowledge_base(fields: Record) -> Record:
    found = {
        "description": None,
        "search_type": "hybrid",
        "search_score_threshold": 0.1,
        "search_chunk_limit": 8,
        "data_item_count": 0,
        "generated_at": now(),
        "status": "active",
        "is_active": True,
        "is_archived": False,
        **fields,
    }
    kinds = {f"is_{kind}_search": found["search_type"] == kind for kind in sorted(_SEARCH_TYPES)}
    # The service accepts a number, but returns a string.
    return {**found, **kinds, "search_score_threshold": str(found["search_score_threshold"])}


def _complete_item(fields: Record) -> Record:
    return {"item_type": "custom", "description": None, "run_status": "completed", "status": "active", **fields}


_AGENT = _Kind(
    "agent", "agents", "an agent", "Agent deleted", ("name", "llm_model", "model_type"), _complete_agent, "agent"
)
_CHAT = _Kind(
    "chat",
    "chats",
    "a chat",
    "Successfully deleted the chat.",
    ("name",),
    _complete_chat,
    "chat",
    _AGENT,
    missing_status=404,
)
_KNOWLEDGE_BASE = _Kind(
    "knowledge_base",
    "knowledge_bases",
    "a knowledge base",
    "Knowledge base marked for deletion",
    ("name",),
    _complete_knowledge_base,
    "base",
)
_ITEM = _Kind(
    "knowledge_base_item",
    "knowledge_base_items",
    "a knowledge base item",
    "Knowledge base item deleted",
    ("name",),
    _complete_item,
    "item",
    _KNOWLEDGE_BASE,
)


@dataclass
class _Stored:
    """A stored object, such as an agent, and the objects inside it."""

    record: Record
    children: dict[str, _Stored] = field(default_factory=dict[str, "_Stored"])


class Workspaces:
    """The workspaces of a fake service. Every id is an empty workspace at first. Thread-safe.

    Args:
        ledger: The storage of runs.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stored: dict[tuple[str, str], dict[str, _Stored]] = {}
        self._assets: dict[str, dict[str, Record]] = {}
        self._files: dict[str, tuple[str, bytes]] = {}
        self._lock = threading.RLock()

    def routes(self) -> Iterable[Route]:
        """Return the endpoints of workspaces."""
        agents, bases = f"{_WORKSPACE}/agents", f"{_WORKSPACE}/knowledge_bases"
        chats, items = f"{agents}/{{agent}}/chats", f"{bases}/{{base}}/items"
        table: list[tuple[str, str, Callable[[Incoming], Reply]]] = [
            ("GET", agents, lambda incoming: self._list(incoming, _AGENT)),
            *self._rows(agents, _AGENT),
            *self._rows(chats, _CHAT),
            ("PATCH", f"{chats}/{{chat}}/clear_messages", self._clear_messages),
            ("GET", f"{chats}/{{chat}}/messages", self._list_messages),
            ("GET", bases, lambda incoming: self._list(incoming, _KNOWLEDGE_BASE)),
            *self._rows(bases, _KNOWLEDGE_BASE),
            ("POST", f"{bases}/{{base}}/search", self._search),
            ("GET", items, lambda incoming: self._list(incoming, _ITEM)),
            *self._rows(items, _ITEM),
            ("POST", f"{items}/{{item}}/regenerate", self._regenerate),
            ("GET", f"{_WORKSPACE}/assets", self._list_assets),
            ("POST", f"{_WORKSPACE}/assets", self._upload),
        ]
        # A file needs no key, only its URL.
        return [*(Route(*row) for row in table), Route("GET", "/files/{file}/{name}", self._send_file, needs_key=False)]

    def _rows(self, path: str, kind: _Kind) -> list[tuple[str, str, Callable[[Incoming], Reply]]]:
        one = f"{path}/{{{kind.path_name}}}"
        return [
            ("POST", path, lambda incoming: self._create(incoming, kind)),
            ("GET", one, lambda incoming: self._get(incoming, kind)),
            ("PATCH", one, lambda incoming: self._update(incoming, kind)),
            ("DELETE", one, lambda incoming: self._delete(incoming, kind)),
        ]

    # --- Stored objects -----------------------------------------------------------------------------------------------

    def _all(self, incoming: Incoming, kind: _Kind) -> dict[str, _Stored]:
        """Return all objects of a kind in the workspace, agent or knowledge base of the path."""
        if kind.parent is not None:
            return self._find(incoming, kind.parent, kind.missing_status).children
        return self._stored.setdefault((incoming.names["workspace"], kind.plural), {})

    def _find(self, incoming: Incoming, kind: _Kind, missing_status: Optional[int] = None) -> _Stored:
        stored = self._all(incoming, kind).get(incoming.names[kind.path_name])
        if stored is None:
            raise RefusedError(
                missing_status or kind.missing_status, f"{kind.one.partition(' ')[2].capitalize()} not found."
            )
        return stored

    def _list(self, incoming: Incoming, kind: _Kind) -> Reply:
        with self._lock:
            return json_reply(200, {kind.plural: [stored.record for stored in self._all(incoming, kind).values()]})

    def _get(self, incoming: Incoming, kind: _Kind) -> Reply:
        with self._lock:
            return json_reply(200, {kind.wrapper: self._find(incoming, kind).record})

    def _create(self, incoming: Incoming, kind: _Kind) -> Reply:
        fields = _unwrapped(incoming, kind)
        _check_present(fields, kind.required)
        if kind is _ITEM:
            fields = {**fields, "knowledge_base_id": incoming.names["base"]}
        with self._lock:
            stored = _Stored({"id": new_id(), **kind.complete(fields)})
            self._all(incoming, kind)[str(stored.record["id"])] = stored
            self._count_items(incoming, kind)
        return json_reply(200, {"message": f"Successfully created {kind.one}.", kind.wrapper: stored.record})

    def _update(self, incoming: Incoming, kind: _Kind) -> Reply:
        fields = _unwrapped(incoming, kind)
        with self._lock:
            stored = self._find(incoming, kind)
            changed = {**stored.record, **fields}
            _check_present(changed, kind.required)
            stored.record = {**stored.record, **kind.complete(changed)}
        return json_reply(200, {"message": f"Successfully updated {kind.one}.", kind.wrapper: stored.record})

    def _delete(self, incoming: Incoming, kind: _Kind) -> Reply:
        with self._lock:
            stored = self._find(incoming, kind)
            del self._all(incoming, kind)[str(stored.record["id"])]
            self._count_items(incoming, kind)
        return json_reply(200, {"message": kind.deleted})

    # --- Chats --------------------------------------------------------------------------------------------------------

    def _clear_messages(self, incoming: Incoming) -> Reply:
        with self._lock:
            stored = self._find(incoming, _CHAT)
            stored.children.clear()
            stored.record = {**stored.record, "message_count": 0, "last_message_content": None}
            return json_reply(200, {"message": "Successfully cleared the messages.", "chat": stored.record})

    def _list_messages(self, incoming: Incoming) -> Reply:
        with self._lock:
            messages = [message.record for message in self._find(incoming, _CHAT).children.values()]
            return json_reply(200, {"messages": messages})

    # --- Knowledge bases ----------------------------------------------------------------------------------------------

    def _count_items(self, incoming: Incoming, kind: _Kind) -> None:
        if kind is _ITEM:
            base = self._find(incoming, _KNOWLEDGE_BASE)
            base.record = {**base.record, "data_item_count": len(base.children)}

    def _regenerate(self, incoming: Incoming) -> Reply:
        with self._lock:
            self._find(incoming, _ITEM)
        run = self._ledger.start(Run("knowledge_base_item", looks=1))
        return json_reply(200, {"message": "Generating knowledge base item...", "request_id": run.request_id})

    def _search(self, incoming: Incoming) -> Reply:
        query = read_object(incoming.request)
        _check_present(query, _SEARCH_FIELDS)
        _check_search_type(query)
        limit = query["search_chunk_limit"]
        if not isinstance(limit, int) or limit < 1:
            raise RefusedError(422, "search_chunk_limit must be a positive whole number", "validation_error")
        with self._lock:
            base = self._find(incoming, _KNOWLEDGE_BASE)
            found = _matches(base.children.values(), str(query["search_query"]))
        message = "Successfully ran a search on a knowledge base."
        return json_reply(200, {"message": message, "response": {"matches": found[:limit]}})

    # --- Assets -------------------------------------------------------------------------------------------------------

    def _list_assets(self, incoming: Incoming) -> Reply:
        with self._lock:
            assets = self._assets.get(incoming.names["workspace"], {})
            return json_reply(200, {"assets": list(assets.values())})

    def _upload(self, incoming: Incoming) -> Reply:
        name, media_type, content = _read_file(incoming)
        workspace, key = incoming.names["workspace"], new_id()
        base_url = str(incoming.request.url).partition("/public/workspaces/")[0]
        asset: Record = {
            "id": key,
            "object_key": f"uploads/{workspace}/{name}",
            "file_name": name,
            "file_url": f"{base_url}/files/{key}/{quote(name, safe='')}",
            "file_url_expires_at": now(3600),
            "file_type": media_type,
            "file_size": len(content),
            "asset_type": media_type.partition("/")[0],
            "workspace_id": workspace,
            "uploaded_at": now(),
            "error_message": None,
            "transcription": None,
        }
        with self._lock:
            self._assets.setdefault(workspace, {})[key] = asset
            self._files[key] = media_type, content
        return json_reply(200, {"message": "Asset uploaded successfully.", "asset": asset})

    def _send_file(self, incoming: Incoming) -> Reply:
        with self._lock:
            found = self._files.get(incoming.names["file"])
        if found is None:
            raise RefusedError(404, "File not found")
        media_type, content = found
        return Reply(200, {"Content-Type": media_type}, [content])


def _unwrapped(incoming: Incoming, kind: _Kind) -> Record:
    fields = read_object(incoming.request).get(kind.wrapper)
    if not isinstance(fields, dict):
        raise RefusedError(400, f"param is missing or the value is empty: {kind.wrapper}", "validation_error")
    if kind is _KNOWLEDGE_BASE:
        _check_search_type(cast("Record", fields))
    return cast("Record", fields)


def _check_present(fields: Record, names: Iterable[str]) -> None:
    for name in names:
        value = fields.get(name)
        if value is None or value == "" or isinstance(value, (list, dict)):
            raise RefusedError(422, f"{name} can't be blank", "missing_required_field")


def _check_search_type(fields: Record) -> None:
    # As a string, because a list cannot be looked up in a set.
    if str(fields.get("search_type", "hybrid")) not in _SEARCH_TYPES:
        raise RefusedError(422, "Invalid search type.", "validation_error")


def _matches(items: Iterable[_Stored], query: str) -> list[Record]:
    """Return the items that contain words of the query, best first. A simple stand-in for the real search."""
    words = set(query.lower().split())
    found: list[tuple[float, Record]] = []
    for item in items:
        text = str(item.record.get("data_content") or "")
        hits = words & set(text.lower().split())
        if hits:
            score = round(len(hits) / len(words), 3)
            match = {"id": item.record["id"], "name": item.record.get("name"), "content": text, "score": score}
            found.append((score, match))
    return [match for _, match in sorted(found, key=lambda each: -each[0])]


def _read_file(incoming: Incoming) -> tuple[str, str, bytes]:
    """Return the name, media type and content of the first file in a form."""
    request = incoming.request
    boundary = _parse_head(f"Content-Type: {request.headers.get('content-type', '')}".encode()).get_boundary()
    # Not split by the email package, which would parse the content of a part that is an e-mail.
    parts = (b"\r\n" + request.read()).split(f"\r\n--{boundary}".encode())[1:] if boundary else []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        fields = _parse_head(head.strip())
        name = fields.get_filename()
        if name:
            return name, fields.get_content_type(), content
    raise RefusedError(422, "The form has no file", "missing_required_field")


def _parse_head(head: bytes) -> EmailMessage:
    return email.parser.BytesHeaderParser(policy=email.policy.HTTP).parsebytes(head)
