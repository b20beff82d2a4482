"""What a fake service keeps of its runs: requests, delegations, approvals and callbacks. Knows no requests of HTTP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Callable, Optional

from ._script import new_id, new_request_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WEBHOOK_SECRET = "whsec_fake"  # noqa: S105 - of a fake
"""What fakes sign their callbacks with, and expect of triggers."""

SIGNATURE_HEADER = "X-Fetch-Hive-Signature"

_OPEN = frozenset({"pending", "running"})


def now(seconds: float = 0.0) -> str:
    """Return the time, so many seconds from now, as the service writes it."""
    moment = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Callback:
    """A signed callback, as the service would send it."""

    url: str
    """Where it goes."""
    body: bytes
    """The JSON, as it is signed."""
    headers: Mapping[str, str] = field(repr=False)
    """Its headers, with the signature."""


@dataclass
class Run:
    """A request that can be looked up."""

    request_type: str
    outcome: str = "completed"
    """The status that it ends with."""
    data: Optional[Mapping[str, object]] = None
    metadata: Optional[Mapping[str, object]] = None
    looks: int = 0
    """How many looks still show it under way."""
    callback_url: Optional[str] = None
    event_type: str = ""
    request_id: str = field(default_factory=new_request_id)
    status: str = "running"
    started_at: str = field(default_factory=now)
    ended_at: Optional[str] = None

    def record(self) -> dict[str, object]:
        """Return what `GET /public/requests/{id}` answers."""
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, self.request_id)),
            "request_id": self.request_id,
            "status": self.status,
            "request_type": self.request_type,
            "requestable_type": None,
            "requestable_id": None,
            "message": None,
            "generated_at": self.started_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "metadata": {},
            "user_metadata": dict(self.metadata or {}),
            "data": self.data if self.ended_at else None,
        }


@dataclass
class Delegation:
    """Background work of an agent."""

    kind: str
    target: Mapping[str, object]
    outcome: str
    result: Mapping[str, object]
    looks: int
    parent: str
    thread_id: Optional[str] = None
    callback_url: Optional[str] = None
    status: str = "running"
    id: str = field(default_factory=new_id)
    tool_call_id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:12]}")
    created_at: str = field(default_factory=now)
    expected_by: str = field(default_factory=lambda: now(60))

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.status in _OPEN

    def record(self) -> dict[str, object]:
        """Return what `GET /agent/delegations/{id}` answers."""
        return {
            "id": self.id,
            "status": self.status,
            "kind": self.kind,
            "target": self.target,
            "result": self.result if self.status == "completed" else None,
            "expected_by": self.expected_by,
            "delivered_at": None,
            "delivery_error": None,
            "parent_request_id": self.parent,
            "tool_call_id": self.tool_call_id,
            "workflow_run_id": None,
            "created_at": self.created_at,
        }

    def summary(self) -> dict[str, object]:
        """Return it as an agent's answer has it."""
        return {"id": self.id, "kind": self.kind, "target": self.target, "expected_by": self.expected_by}


@dataclass
class Approval:
    """A tool call that waits for a decision."""

    run: Run
    agent: str
    tool_name: str
    summary: str
    arguments: Mapping[str, object]
    expires_at: Optional[str]
    on_end: Callable[[Sequence[Approval]], Mapping[str, object]]
    """Returns the data of the run, once all its approvals are decided."""
    id: str = field(default_factory=new_id)
    status: str = "pending"
    decision: Optional[str] = None
    created_at: str = field(default_factory=now)
    decided_at: Optional[str] = None

    def record(self) -> dict[str, object]:
        """Return what `GET .../tool_action_approvals/{id}` answers."""
        return {
            "id": self.id,
            "status": self.status,
            "decision": self.decision,
            "summary": self.summary,
            "action_label": self.tool_name,
            "arguments": self.arguments,
            "agent_run_id": self.run.request_id,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "decided_at": self.decided_at,
            "capabilities": {"can_always_allow": False, "can_run_decision": False},
        }

    def pending(self) -> dict[str, object]:
        """Return it as an agent's answer has it."""
        return {
            "approval_id": self.id,
            "tool_name": self.tool_name,
            "summary": self.summary,
            "arguments": self.arguments,
            "expires_at": self.expires_at,
            "review_url": f"https://app.fetchhive.invalid/approvals/{self.id}",
        }

    def belongs_to(self, query: Mapping[str, str]) -> bool:
        """Whether a list with this query shows it."""
        facts = {"agent_id": self.agent, "run_id": self.run.request_id, "request_id": self.run.request_id}
        wanted = {"status": query.get("status") or "pending"}
        wanted.update({name: query[name] for name in facts if query.get(name)})
        return all({"status": self.status, **facts}[name] == value for name, value in wanted.items())


class Ledger:
    """All runs of a fake service. Threads may share it."""

    def __init__(self) -> None:
        self.callbacks: list[Callback] = []
        self._untaken: list[Callback] = []
        self._runs: dict[str, Run] = {}
        self._delegations: dict[str, Delegation] = {}
        self._approvals: dict[str, Approval] = {}
        self._lock = threading.RLock()

    def start(self, run: Run) -> Run:
        """Take a run in. One that needs no looks has ended, unless its result is called back."""
        with self._lock:
            self._runs[run.request_id] = run
            if run.looks <= 0 and run.callback_url is None and run.status == "running":
                self._end(run)
        return run

    def pause(self, run: Run, approvals: Sequence[Approval]) -> None:
        """Let a run wait for decisions."""
        with self._lock:
            run.status = "awaiting_approval"
            self.start(run)
            self._approvals.update({approval.id: approval for approval in approvals})

    def delegate(self, delegations: Sequence[Delegation]) -> None:
        """Take background work in."""
        with self._lock:
            self._delegations.update({delegation.id: delegation for delegation in delegations})

    # --- Looking ------------------------------------------------------------------------------------------------------

    def look_up(self, request_id: str) -> Optional[dict[str, object]]:
        """Return the record of a request, which is one look nearer to its end; None if there is none."""
        with self._lock:
            run = self._runs.get(request_id)
            if run is None:
                return None
            if run.status == "running" and run.looks <= 0:
                self._end(run)
            run.looks -= 1
            return run.record()

    def records(self) -> list[dict[str, object]]:
        """Return the records of all requests, the oldest first, without coming nearer to their ends."""
        with self._lock:
            return [run.record() for run in self._runs.values()]

    def look_at_delegation(self, delegation_id: str) -> Optional[dict[str, object]]:
        """Return a delegation, which is one look nearer to its end; None if there is none."""
        with self._lock:
            delegation = self._delegations.get(delegation_id)
            if delegation is None:
                return None
            if delegation.is_open and delegation.looks <= 0:
                self._finish(delegation)
            delegation.looks -= 1
            return delegation.record()

    def open_delegations(self, thread_id: str) -> list[dict[str, object]]:
        """Return the delegations of a thread that go on."""
        with self._lock:
            found = [each for each in self._delegations.values() if each.thread_id == thread_id and each.is_open]
            return [delegation.record() for delegation in found]

    def approvals(self, query: Mapping[str, str]) -> list[dict[str, object]]:
        """Return the approvals that a list with this query shows."""
        with self._lock:
            return [approval.record() for approval in self._approvals.values() if approval.belongs_to(query)]

    def approval(self, approval_id: str) -> Optional[dict[str, object]]:
        """Return an approval, or None."""
        with self._lock:
            approval = self._approvals.get(approval_id)
            return None if approval is None else approval.record()

    # --- Changing -----------------------------------------------------------------------------------------------------

    def cancel(self, delegation_id: str) -> Optional[dict[str, object]]:
        """Cancel a delegation, if it goes on; None if there is none."""
        with self._lock:
            delegation = self._delegations.get(delegation_id)
            if delegation is None:
                return None
            if delegation.is_open:
                delegation.status = "cancelled"
            return delegation.record()

    def decide(self, approval_id: str, decision: str) -> bool:
        """Decide, and let the run go on when nothing else is to be decided; return whether it was still open."""
        with self._lock:
            approval = self._approvals[approval_id]
            if approval.status != "pending":
                return False
            approval.status = "denied" if decision == "deny" else "allowed"
            approval.decision, approval.decided_at = decision, now()
            siblings = [each for each in self._approvals.values() if each.run is approval.run]
            if all(each.status != "pending" for each in siblings):
                approval.run.data = approval.on_end(siblings)
                approval.run.status = "running"
                self._end(approval.run)
            return True

    def end_called_back(self) -> list[Callback]:
        """End what will be called back, and return the callbacks that have not been taken."""
        with self._lock:
            for run in self._runs.values():
                if run.callback_url is not None and run.status == "running":
                    self._end(run)
            for delegation in self._delegations.values():
                if delegation.callback_url is not None and delegation.is_open:
                    self._finish(delegation)
            taken, self._untaken = self._untaken, []
            return taken

    def _end(self, run: Run) -> None:
        run.status, run.ended_at = run.outcome, now()
        if run.callback_url is not None:
            event_type = f"{run.event_type}.{'completed' if run.outcome == 'completed' else 'failed'}"
            self._call_back(run.callback_url, event_type, run.request_id, run.data or {})

    def _finish(self, delegation: Delegation) -> None:
        delegation.status = delegation.outcome
        if delegation.callback_url is not None:
            self._call_back(
                delegation.callback_url, "agent.delegation.completed", delegation.parent, delegation.record()
            )

    def _call_back(self, url: str, event_type: str, request_id: str, data: Mapping[str, object]) -> None:
        body = json.dumps({"event_type": event_type, "request_id": request_id, "data": data}, ensure_ascii=False)
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: sign(body.encode())}
        callback = Callback(url, body.encode(), headers)
        self.callbacks.append(callback)
        self._untaken.append(callback)


def sign(body: bytes, secret: str = WEBHOOK_SECRET) -> str:
    """Return the signature of a callback, in one of the forms that the documentation allows for."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def cursor_at(place: int) -> str:
    """Return the cursor of a page that begins at this place."""
    return base64.urlsafe_b64encode(str(place).encode()).decode()


def place_of(cursor: str) -> int:
    """Return where a page begins; 0 for a cursor that is none."""
    try:
        return int(base64.urlsafe_b64decode(cursor.encode()))
    except ValueError:
        return 0
