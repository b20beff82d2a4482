"""The runs of a fake service, with their delegations, approvals and callbacks. Knows nothing of HTTP."""

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

WEBHOOK_SECRET = "whsec_fake"  # noqa: S105 - not a real secret
"""The secret that signs the callbacks of fakes, and that triggers must send."""

SIGNATURE_HEADER = "X-Fetch-Hive-Signature"

_OPEN = frozenset({"pending", "running"})


def now(seconds: float = 0.0) -> str:
    """Return the time `seconds` from now, in the format of the service."""
    moment = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Callback:
    """A signed callback, as the service would send it."""

    url: str
    """The URL to send it to."""
    body: bytes
    """The signed JSON."""
    headers: Mapping[str, str] = field(repr=False)
    """The headers, with the signature."""


@dataclass
class Run:
    """A run, which can be looked up by its request id."""

    request_type: str
    outcome: str = "completed"
    """The final status."""
    data: Optional[Mapping[str, object]] = None
    metadata: Optional[Mapping[str, object]] = None
    looks: int = 0
    """How many more times it is reported as running."""
    callback_url: Optional[str] = None
    event_type: str = ""
    request_id: str = field(default_factory=new_request_id)
    status: str = "running"
    started_at: str = field(default_factory=now)
    ended_at: Optional[str] = None

    def record(self) -> dict[str, object]:
        """Return the answer of `GET /public/requests/{id}`."""
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
    """Background work that an agent has delegated."""

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
        """Whether it is still running."""
        return self.status in _OPEN

    def record(self) -> dict[str, object]:
        """Return the answer of `GET /agent/delegations/{id}`."""
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
        """Return it in the shape of an agent's answer."""
        return {"id": self.id, "kind": self.kind, "target": self.target, "expected_by": self.expected_by}


@dataclass
class Approval:
    """A tool call that needs an approval."""

    run: Run
    agent: str
    tool_name: str
    summary: str
    arguments: Mapping[str, object]
    expires_at: Optional[str]
    on_end: Callable[[Sequence[Approval]], Mapping[str, object]]
    """Returns the data of the run after the last decision."""
    id: str = field(default_factory=new_id)
    status: str = "pending"
    decision: Optional[str] = None
    created_at: str = field(default_factory=now)
    decided_at: Optional[str] = None

    def record(self) -> dict[str, object]:
        """Return the answer of `GET .../tool_action_approvals/{id}`."""
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
        """Return it in the shape of an agent's answer."""
        return {
            "approval_id": self.id,
            "tool_name": self.tool_name,
            "summary": self.summary,
            "arguments": self.arguments,
            "expires_at": self.expires_at,
            "review_url": f"https://app.fetchhive.invalid/approvals/{self.id}",
        }

    def matches(self, query: Mapping[str, str]) -> bool:
        """Whether the query of a list matches this approval."""
        ids = {"agent_id": self.agent, "run_id": self.run.request_id, "request_id": self.run.request_id}
        wanted = {"status": query.get("status") or "pending"}
        wanted.update({name: query[name] for name in ids if query.get(name)})
        return all({"status": self.status, **ids}[name] == value for name, value in wanted.items())


class Ledger:
    """All runs of a fake service. Thread-safe."""

    def __init__(self) -> None:
        self.callbacks: list[Callback] = []
        self._undelivered: list[Callback] = []
        self._runs: dict[str, Run] = {}
        self._delegations: dict[str, Delegation] = {}
        self._approvals: dict[str, Approval] = {}
        self._lock = threading.RLock()

    def start(self, run: Run) -> Run:
        """Add a run. It ends at once if it has neither `looks` nor a callback."""
        with self._lock:
            self._runs[run.request_id] = run
            if run.looks <= 0 and run.callback_url is None and run.status == "running":
                self._end(run)
        return run

    def pause(self, run: Run, approvals: Sequence[Approval]) -> None:
        """Add a run that waits for approvals."""
        with self._lock:
            run.status = "awaiting_approval"
            self.start(run)
            self._approvals.update({approval.id: approval for approval in approvals})

    def delegate(self, delegations: Sequence[Delegation]) -> None:
        """Add background work."""
        with self._lock:
            self._delegations.update({delegation.id: delegation for delegation in delegations})

    # --- Reading ------------------------------------------------------------------------------------------------------

    def look_up(self, request_id: str) -> Optional[dict[str, object]]:
        """Return the record of a request and count down its `looks`; None for an unknown id."""
        with self._lock:
            run = self._runs.get(request_id)
            if run is None:
                return None
            if run.status == "running" and run.looks <= 0:
                self._end(run)
            run.looks -= 1
            return run.record()

    def records(self) -> list[dict[str, object]]:
        """Return the records of all requests, oldest first, without counting down their `looks`."""
        with self._lock:
            return [run.record() for run in self._runs.values()]

    def look_up_delegation(self, delegation_id: str) -> Optional[dict[str, object]]:
        """Return a delegation and count down its `looks`; None for an unknown id."""
        with self._lock:
            delegation = self._delegations.get(delegation_id)
            if delegation is None:
                return None
            if delegation.is_open and delegation.looks <= 0:
                self._finish(delegation)
            delegation.looks -= 1
            return delegation.record()

    def open_delegations(self, thread_id: str) -> list[dict[str, object]]:
        """Return the running delegations of a thread."""
        with self._lock:
            found = [each for each in self._delegations.values() if each.thread_id == thread_id and each.is_open]
            return [delegation.record() for delegation in found]

    def approvals(self, query: Mapping[str, str]) -> list[dict[str, object]]:
        """Return the approvals that match a query."""
        with self._lock:
            return [approval.record() for approval in self._approvals.values() if approval.matches(query)]

    def approval(self, approval_id: str) -> Optional[dict[str, object]]:
        """Return an approval; None for an unknown id."""
        with self._lock:
            approval = self._approvals.get(approval_id)
            return None if approval is None else approval.record()

    # --- Changing -----------------------------------------------------------------------------------------------------

    def cancel(self, delegation_id: str) -> Optional[dict[str, object]]:
        """Cancel a delegation unless it has ended; None for an unknown id."""
        with self._lock:
            delegation = self._delegations.get(delegation_id)
            if delegation is None:
                return None
            if delegation.is_open:
                delegation.status = "cancelled"
            return delegation.record()

    def decide(self, approval_id: str, decision: str) -> bool:
        """Decide an approval, and end the run after the last one. Return False if it was decided before."""
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

    def take_callbacks(self) -> list[Callback]:
        """End all runs and delegations with a callback, and return the undelivered callbacks."""
        with self._lock:
            for run in self._runs.values():
                if run.callback_url is not None and run.status == "running":
                    self._end(run)
            for delegation in self._delegations.values():
                if delegation.callback_url is not None and delegation.is_open:
                    self._finish(delegation)
            undelivered, self._undelivered = self._undelivered, []
            return undelivered

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
        self._undelivered.append(callback)


def sign(body: bytes, secret: str = WEBHOOK_SECRET) -> str:
    """Return the signature of a callback, in one of the documented forms."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def cursor_of(index: int) -> str:
    """Return the cursor of a page that begins at an index."""
    return base64.urlsafe_b64encode(str(index).encode()).decode()


def index_of(cursor: str) -> int:
    """Return the index at which a page begins; 0 for an invalid cursor."""
    try:
        return int(base64.urlsafe_b64decode(cursor.encode()))
    except ValueError:
        return 0
