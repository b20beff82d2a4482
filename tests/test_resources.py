"""Agents, chats, knowledge bases, items, assets, approvals, requests and delegations. Over a mock transport."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import re
import threading
import time
import uuid
from io import BytesIO

import httpx
import pytest
from pydantic import ValidationError

from driving import KEY, Asyncio, Blocking, shown_by
from fetch_hive_sdk import (
    Agent,
    AgentChat,
    AgentDelegation,
    AgentReply,
    APIConnectionError,
    Asset,
    ConfigurationError,
    ConflictError,
    Decision,
    FetchHive,
    FetchHiveError,
    KnowledgeBase,
    NotFoundError,
    RateLimitError,
    RequestRecord,
    ResponseDecodeError,
    ResponseValidationError,
    WaitTimeoutError,
)
from fetch_hive_sdk._protocol.retry import DAILY_CAP
from fetch_hive_sdk._protocol.waits import Wait

WORKSPACE = "/v1/public/workspaces/ws-1"
AGENT = {"id": 7, "name": "Bees", "future": True}
ITEM = {"id": "it", "name": "Bees"}
KB = {"id": "kb", "search_score_threshold": "0.1"}
CHAT = {"id": "c"}
ONE_ID, TWO_IDS = ["a/1"], ["a/1", uuid.UUID(int=2)]
TWO = "a%2F1", "00000000-0000-0000-0000-000000000002"


class Service:
    """Gives each answer in order, repeats the last one, and records the requests."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):  # a copy, because the other client uses it, too
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return httpx.Response(200, json=answer)

    @property
    def body(self) -> object:
        content = self.requests[-1].content
        return json.loads(content) if content else None

    @property
    def place(self) -> str:
        return f"{self.requests[-1].method} {self.requests[-1].url.raw_path.decode()}"


def call(drive, client: FetchHive, name: str, /, *args: object, **fields: object) -> object:
    """Call `client.a.b(...)` or its asyncio twin."""
    *homes, method = name.split(".")
    owner: object = client
    for home in homes:
        owner = getattr(owner, home)
    if isinstance(drive, Blocking):
        return getattr(owner, method)(*args, **fields)
    twin = getattr(owner, "await_" if method == "wait" else f"a{method}")
    assert inspect.iscoroutinefunction(twin)
    return asyncio.run(twin(*args, **fields))


def client_of(drive, service: Service, **options: object) -> FetchHive:
    return drive.client(service, **{"workspace_id": "ws-1", **options})


ROWS = [
    ("agents.list", [], {}, {"agents": [AGENT]}, f"GET {WORKSPACE}/agents", None),
    ("agents.get", ONE_ID, {}, {"agent": AGENT}, f"GET {WORKSPACE}/agents/a%2F1", None),
    (
        "agents.create",
        [],
        {"name": "n", "llm_model": "m", "model_type": "hosted", "temperature": None, "extra_body": {"x": 1}},
        {"message": "ok", "agent": AGENT},
        f"POST {WORKSPACE}/agents",
        {"agent": {"name": "n", "llm_model": "m", "model_type": "hosted", "temperature": None, "x": 1}},
    ),
    (
        "agents.update",
        ONE_ID,
        {"description": None, "max_token": 5},
        {"agent": AGENT},
        f"PATCH {WORKSPACE}/agents/a%2F1",
        {"agent": {"description": None, "max_token": 5}},
    ),
    ("agents.delete", ONE_ID, {}, {"message": "Agent deleted"}, f"DELETE {WORKSPACE}/agents/a%2F1", None),
    (
        "agents.chats.create",
        ONE_ID,
        {"name": "n"},
        {"chat": CHAT},
        f"POST {WORKSPACE}/agents/a%2F1/chats",
        {"chat": {"name": "n"}},
    ),
    ("agents.chats.get", TWO_IDS, {}, {"chat": CHAT}, "GET {}/agents/{}/chats/{}".format(WORKSPACE, *TWO), None),
    (
        "agents.chats.rename",
        TWO_IDS,
        {"name": None},
        {"chat": CHAT},
        "PATCH {}/agents/{}/chats/{}".format(WORKSPACE, *TWO),
        {"chat": {"name": None}},
    ),
    ("agents.chats.delete", TWO_IDS, {}, {}, "DELETE {}/agents/{}/chats/{}".format(WORKSPACE, *TWO), None),
    (
        "agents.chats.clear",
        TWO_IDS,
        {},
        {"chat": CHAT},
        "PATCH {}/agents/{}/chats/{}/clear_messages".format(WORKSPACE, *TWO),
        {},
    ),
    (
        "agents.chats.messages",
        TWO_IDS,
        {},
        {"messages": [{"id": "m"}]},
        "GET {}/agents/{}/chats/{}/messages".format(WORKSPACE, *TWO),
        None,
    ),
    ("knowledge_bases.list", [], {}, {"knowledge_bases": [KB]}, f"GET {WORKSPACE}/knowledge_bases", None),
    ("knowledge_bases.get", ONE_ID, {}, {"knowledge_base": KB}, f"GET {WORKSPACE}/knowledge_bases/a%2F1", None),
    (
        "knowledge_bases.create",
        [],
        {"name": "n", "search_score_threshold": 0.5},
        {"knowledge_base": KB},
        f"POST {WORKSPACE}/knowledge_bases",
        {"knowledge_base": {"name": "n", "search_score_threshold": 0.5}},
    ),
    (
        "knowledge_bases.update",
        ONE_ID,
        {"description": None},
        {"knowledge_base": KB},
        f"PATCH {WORKSPACE}/knowledge_bases/a%2F1",
        {"knowledge_base": {"description": None}},
    ),
    ("knowledge_bases.delete", ONE_ID, {}, {}, f"DELETE {WORKSPACE}/knowledge_bases/a%2F1", None),
    (
        "knowledge_bases.search",
        ["a/1", "bees?"],
        {"chunk_limit": 3},
        {"message": "ok", "response": {"x": 1}},
        f"POST {WORKSPACE}/knowledge_bases/a%2F1/search",
        {
            "search_query": "bees?",
            "search_type": "hybrid",
            "search_chunk_limit": 3,
            "search_score_threshold": 0.0,
        },
    ),
    (
        "knowledge_bases.items.list",
        ONE_ID,
        {},
        {"knowledge_base_items": [ITEM]},
        f"GET {WORKSPACE}/knowledge_bases/a%2F1/items",
        None,
    ),
    (
        "knowledge_bases.items.get",
        TWO_IDS,
        {},
        {"knowledge_base_item": ITEM},
        "GET {}/knowledge_bases/{}/items/{}".format(WORKSPACE, *TWO),
        None,
    ),
    (
        "knowledge_bases.items.create",
        ONE_ID,
        {"name": "n", "asset_id": uuid.UUID(int=2), "delete_email_data": True, "delete_telephone_data": None},
        {"knowledge_base_item": ITEM},
        f"POST {WORKSPACE}/knowledge_bases/a%2F1/items",
        {
            "knowledge_base_item": {
                "name": "n",
                "asset_id": TWO[1],
                "delete_email_data": "enabled",
                "delete_telephone_data": None,
            }
        },
    ),
    (
        "knowledge_bases.items.update",
        TWO_IDS,
        {"delete_email_data": False},
        {"knowledge_base_item": ITEM},
        "PATCH {}/knowledge_bases/{}/items/{}".format(WORKSPACE, *TWO),
        {"knowledge_base_item": {"delete_email_data": "disabled"}},
    ),
    (
        "knowledge_bases.items.delete",
        TWO_IDS,
        {},
        {},
        "DELETE {}/knowledge_bases/{}/items/{}".format(WORKSPACE, *TWO),
        None,
    ),
    (
        "knowledge_bases.items.regenerate",
        TWO_IDS,
        {},
        {"request_id": "req_1"},
        "POST {}/knowledge_bases/{}/items/{}/regenerate".format(WORKSPACE, *TWO),
        {},
    ),
    ("assets.list", [], {}, {"assets": [{"id": "as"}]}, f"GET {WORKSPACE}/assets", None),
    (
        "approvals.list",
        [],
        {"status": "pending", "limit": 5},
        {"approvals": [{"id": "ap"}]},
        f"GET {WORKSPACE}/tool_action_approvals?status=pending&limit=5",
        None,
    ),
    ("approvals.get", ONE_ID, {}, {"approval": {"id": "ap"}}, f"GET {WORKSPACE}/tool_action_approvals/a%2F1", None),
    (
        "approvals.decide",
        ["a/1", "deny"],
        {},
        {},
        f"POST {WORKSPACE}/tool_action_approvals/a%2F1/decide",
        {"decision": "deny"},
    ),
    (
        "approvals.allow",
        ONE_ID,
        {},
        {"approval": {"id": "ap"}},
        f"POST {WORKSPACE}/tool_action_approvals/a%2F1/decide",
        {"decision": "allow_once"},
    ),
    (
        "approvals.deny",
        ONE_ID,
        {},
        {},
        f"POST {WORKSPACE}/tool_action_approvals/a%2F1/decide",
        {"decision": "deny"},
    ),
    ("requests.get", ONE_ID, {}, {"request_id": "req_1"}, "GET /v1/public/requests/a%2F1", None),
    ("requests.get", ONE_ID, {}, {"request": {"request_id": "req_1"}}, "GET /v1/public/requests/a%2F1", None),
    ("delegations.get", ONE_ID, {}, {"id": "d"}, "GET /v1/agent/delegations/a%2F1", None),
    ("delegations.list", ["t/1"], {}, {"delegations": []}, "GET /v1/agent/threads/t%2F1/delegations", None),
    ("delegations.cancel", ONE_ID, {}, {"id": "d"}, "POST /v1/agent/delegations/a%2F1/cancel", {}),
    ("catalogue.models", [], {}, [{"id": "gpt", "model_type": "llm"}], "GET /v1/public/models", None),
    ("catalogue.countries", [], {}, {"services": [{"service": "s"}]}, "GET /v1/public/search_services/countries", None),
    ("catalogue.countries", ["s"], {}, {"service": "s"}, "GET /v1/public/search_services/s/countries", None),
    ("catalogue.error_codes", [], {"locale": "es"}, {"codes": [{"code": "x"}]}, "GET /v1/error_codes?locale=es", None),
]
MAY_BE_EMPTY = {
    "agents.delete",
    "agents.chats.delete",
    "agents.chats.clear",
    "knowledge_bases.delete",
    "knowledge_bases.items.delete",
    "knowledge_bases.items.regenerate",
    "approvals.decide",
    "approvals.allow",
    "approvals.deny",
    "delegations.cancel",
}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_calls_use_the_documented_endpoints(drive, row):
    """Ids are percent-encoded, omitted fields are not sent, and None is sent as null."""
    name, args, fields, answer, place, body = row
    service = Service(answer)

    result = call(drive, client_of(drive, service), name, *args, **fields)

    assert (service.place, service.body) == (place, body)
    is_open = name in {"catalogue.countries", "catalogue.error_codes"}
    assert ("authorization" in service.requests[0].headers) is not is_open
    if name.endswith("delete"):
        assert result is None


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_empty_answer_is_accepted_where_none_is_documented(drive, row):
    """Other calls reject it, because it must not look like an empty list or agent."""
    name, args, fields = row[:3]
    client = client_of(drive, Service(httpx.Response(200)), max_retries=0)

    if name in MAY_BE_EMPTY:
        assert not call(drive, client, name, *args, **fields) or name.startswith(("approvals", "knowledge_bases.items"))
    else:
        with pytest.raises(ResponseDecodeError):
            call(drive, client, name, *args, **fields)


def test_answers_are_typed(drive):
    """A numeric id becomes a string, and a threshold in a string becomes a number."""
    agent = call(drive, client_of(drive, Service({"agent": AGENT})), "agents.get", "7")
    base = call(drive, client_of(drive, Service({"knowledge_base": KB})), "knowledge_bases.get", "kb")

    assert isinstance(agent, Agent)
    assert (agent.id, agent["id"], agent["future"]) == ("7", 7, True)
    assert isinstance(base, KnowledgeBase)
    assert (base.search_score_threshold, base["search_score_threshold"]) == (0.1, "0.1")


@pytest.mark.parametrize("answer", [{}, {"agents": {}}, [1], {"agents": [{"name": "no id"}]}])
def test_undocumented_answer_is_rejected(drive, answer):
    """The error keeps the body."""
    with pytest.raises(ResponseValidationError) as caught:
        call(drive, client_of(drive, Service(answer), max_retries=0), "agents.list")

    assert caught.value.body is not None


# --- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "fields", "error", "reason"),
    [
        ("agents.get", [""], {}, ValueError, "id must not be empty"),
        ("agents.delete", [".."], {}, ValueError, "id must not be empty, '.' or '..'"),
        ("agents.delete", [None], {}, ValueError, "id must be a string or a UUID"),
        ("agents.chats.get", ["a", "."], {}, ValueError, "chat_id must not be empty"),
        ("agents.update", ["a"], {"descripton": "secret"}, TypeError, "'descripton': did you mean description"),
        ("agents.update", ["a"], {"zzz": "secret"}, TypeError, "unexpected keyword argument 'zzz'$"),
        ("agents.update", ["a"], {}, ValueError, "needs at least one field"),
        ("agents.update", ["a"], {"max_token": "secret"}, ValidationError, "max_token"),
        ("agents.create", [], {"name": "secret"}, TypeError, "is missing llm_model, model_type"),
        ("knowledge_bases.search", ["kb", "q"], {"chunk_limit": 21}, ValidationError, "less than or equal to 20"),
        ("knowledge_bases.search", ["kb", "q"], {"search_type": "secret"}, ValidationError, "hybrid"),
        ("approvals.decide", ["ap", "secret"], {}, ValidationError, "allow_once"),
        ("knowledge_bases.create", [], {"name": "n", "search_score_threshold": float("nan")}, ValueError, "is nan"),
        ("agents.update", ["a"], {"name": "n", "extra_body": {"name": "secret"}}, ValueError, "pass it as an argument"),
        ("requests.wait", ["r"], {"max_wait": "secret"}, ConfigurationError, "max_wait must be a finite number"),
        ("requests.get", ["\ud800"], {}, ValueError, "surrogate"),
        ("approvals.list", [], {"limit": 10**5000}, ValueError, "limit is too large"),
        ("approvals.list", [], {"limit": float("nan")}, ValueError, "limit must be a finite number"),
        ("approvals.list", [], {"status": "secret\ud800"}, ValueError, "status has a lone surrogate"),
        ("approvals.list", [], {"agent_id": ["secret"]}, ValueError, "agent_id must be a string"),
        ("catalogue.error_codes", [], {"locale": "secret\ud800"}, ValueError, "locale has a lone surrogate"),
    ],
)
def test_invalid_argument_is_rejected_before_sending(  # noqa: PLR0917 - a table
    drive, name, args, fields, error, reason
):
    """The message names the argument and quotes no value."""
    service = Service({})

    with pytest.raises(error, match=reason) as caught:
        call(drive, client_of(drive, service), name, *args, **fields)

    assert service.requests == []
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", [row[0] for row in ROWS if "workspaces" in row[4]])
def test_missing_workspace_id_is_rejected_before_sending(drive, name):
    """The error names the argument and the environment variable."""
    args, fields = next(row[1:3] for row in ROWS if row[0] == name)
    service = Service({})

    with pytest.raises(ConfigurationError, match="FETCH_HIVE_WORKSPACE_ID"):
        call(drive, drive.client(service), name, *args, **fields)

    assert service.requests == []


def test_workspace_id_is_a_setting(drive, monkeypatch):
    """It can be an argument, an environment variable or changed by `with_options`. Pickles include it."""
    monkeypatch.setenv("FETCH_HIVE_WORKSPACE_ID", "ws env")
    service = Service({"agents": []})
    client = drive.client(service)

    call(drive, client, "agents.list")
    assert "/ws%20env/" in service.place
    call(drive, client.with_options(workspace_id=uuid.UUID(int=2)), "agents.list")
    assert f"/{TWO[1]}/" in service.place
    monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
    assert pickle.loads(pickle.dumps(FetchHive(KEY, workspace_id="w")))._session.config.workspace_id == "w"
    with pytest.raises(ConfigurationError, match="workspace_id"):
        drive.client(service, workspace_id=5)


# --- Uploads ---------------------------------------------------------------------------------------------------------


def form_of(service: Service) -> tuple[str, str, bytes]:
    """The headers and content of the only part of a multipart body."""
    request = service.requests[-1]
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    assert request.headers["content-type"].startswith("multipart/form-data;")
    assert int(request.headers["content-length"]) == len(request.content)
    before, part, after = request.content.split(b"--" + boundary)
    head, _, content = part.partition(b"\r\n\r\n")
    assert (before, after) == (b"", b"--\r\n")
    disposition, kind = head.decode().strip().split("\r\n")
    return disposition, kind, content.removesuffix(b"\r\n")


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "file", "pair", "pair of file"])
def test_files_are_uploaded(drive, tmp_path, kind):
    """A path, bytes, an open file from its current position, or a tuple of a name and content."""
    path = tmp_path / "bees.png"
    path.write_bytes(b"honey" * 50_000)
    service, seen = Service({"message": "ok", "asset": {"id": "as", "file_name": "bees.png"}}), []
    opened = BytesIO(b"xxhoney")
    opened.seek(2)
    file = {
        "path": path,
        "str": str(path),
        "bytes": b"honey",
        "file": opened,
        "pair": ("bees.png", b"honey"),
        "pair of file": ("bees.png", opened),
    }[kind]

    asset = call(drive, client_of(drive, service), "assets.upload", file, progress=lambda *now: seen.append(now))

    disposition, media_type, content = form_of(service)
    length = 250_000 if kind in {"path", "str"} else 5
    name = "file" if kind in {"bytes", "file"} else "bees.png"
    assert isinstance(asset, Asset)
    assert content == b"honey" * (length // 5)
    assert disposition == f'Content-Disposition: form-data; name="file"; filename="{name}"'
    assert media_type == f"Content-Type: {'image/png' if name == 'bees.png' else 'application/octet-stream'}"
    assert seen[-1] == (length, length)
    assert seen == sorted(seen)
    assert not opened.closed


def test_upload_is_retried_if_it_cannot_have_arrived(drive, monkeypatch):
    """The file is read again from its original position."""
    monkeypatch.setattr("fetch_hive_sdk._protocol.retry._FIRST_BACKOFF", 0)
    service = Service(httpx.Response(429), {"asset": {"id": "as"}})
    opened = BytesIO(b"xxhoney")
    opened.seek(2)

    call(drive, client_of(drive, service), "assets.upload", opened, file_name='a"b.txt', part_name="asset")

    assert len(service.requests) == 2
    assert form_of(service) == (
        'Content-Disposition: form-data; name="asset"; filename="a%22b.txt"',
        "Content-Type: text/plain",
        b"honey",
    )


@pytest.mark.parametrize(
    ("file", "fields", "reason"),
    [
        (5, {}, "must be a path, bytes"),
        (("a", "b", "c"), {}, "must be .name, content."),
        (b"", {"file_name": "a\r\nX: y"}, "without line breaks"),
        (b"", {"part_name": ""}, "part_name"),
    ],
)
def test_invalid_file_is_rejected(drive, file, fields, reason):
    """Nothing is sent."""
    service = Service({})

    with pytest.raises(ValueError, match=reason):
        call(drive, client_of(drive, service), "assets.upload", file, **fields)

    assert service.requests == []


def test_missing_file_raises_file_not_found(drive, tmp_path):
    """`open` raises the error. No local variable in its traceback contains the key."""
    with pytest.raises(FileNotFoundError) as caught:
        call(drive, client_of(drive, Service({})), "assets.upload", tmp_path / "missing")

    assert KEY not in shown_by(caught.value)


def test_slow_file_does_not_block_the_event_loop():
    """The file is read in a thread, and progress is reported in the event loop."""
    loops: list[asyncio.AbstractEventLoop] = []
    reported: list[int] = []

    class Slow(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if size and loops:
                turned = threading.Event()
                loops[0].call_soon_threadsafe(turned.set)
                assert turned.wait(10), "the event loop stands still"
            return super().read(size)

    async def main() -> Asset:
        loops.append(asyncio.get_running_loop())
        client = client_of(Asyncio(), Service({"asset": {"id": "as"}}))
        return await client.assets.aupload(Slow(b"honey"), progress=lambda *_: reported.append(threading.get_ident()))

    assert asyncio.run(main()).id == "as"
    assert reported == [threading.get_ident()]


# --- Waits -----------------------------------------------------------------------------------------------------------

RUNNING = {"request_id": "req_1", "status": "processing"}
ENDED = {"request_id": "req_1", "status": "odd", "ended_at": "2026-11-26T00:00:00Z"}
DELEGATION = {"id": "d", "status": "running"}


def test_requests_wait_returns_when_the_call_has_ended(drive):
    """The wait polls until the status is final, and tolerates transient errors."""
    service = Service(RUNNING, httpx.ConnectError("down"), httpx.Response(503), RUNNING, ENDED)

    client = client_of(drive, service, max_retries=0)
    record = call(drive, client, "requests.wait", "req_1", first_wait=0, longest_wait=0)

    assert isinstance(record, RequestRecord)
    assert record.ended_at
    assert len(service.requests) == 5


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
def test_delegations_wait_returns_when_the_delegation_has_ended(drive, status):
    """Failure ends the wait, too."""
    service = Service(DELEGATION, {"id": "d", "status": status})

    delegation = call(drive, client_of(drive, service), "delegations.wait", "d", first_wait=0)

    assert isinstance(delegation, AgentDelegation)
    assert delegation.status == status


def test_wait_times_out(drive):
    """The error contains the result of the last poll."""
    with pytest.raises(WaitTimeoutError, match=r"did not end within 0\.05 seconds") as caught:
        call(drive, client_of(drive, Service(RUNNING)), "requests.wait", "req_1", max_wait=0.05, first_wait=0.01)

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.last.status == "processing"
    assert caught.value.request_id == "req_1"
    assert "req_1" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).last == caught.value.last


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(429, json={"error": "cap", "error_code": DAILY_CAP}), RateLimitError),
        (httpx.Response(404, json={"error": "Request not found"}), NotFoundError),
    ],
)
def test_wait_ends_at_a_permanent_error(drive, answer, error):
    """Every poll counts towards the daily limit, so that error also ends the wait."""
    service = Service(RUNNING, answer)

    with pytest.raises(error):
        call(drive, client_of(drive, service), "requests.wait", "req_1", first_wait=0)

    assert len(service.requests) == 2


@pytest.mark.parametrize(("name", "answer"), [("requests", RUNNING), ("delegations", DELEGATION)])
def test_closing_the_client_ends_a_wait(drive, name, answer):
    """The wait ends at once, not after its pause."""
    service = Service(answer)
    client = client_of(drive, service)
    family = getattr(client, name)
    senders = client._session.senders

    def close_in_the_pause() -> None:
        while not senders.sender.pauses._waiting:
            time.sleep(0.01)
        client.close()

    async def await_and_close() -> None:
        waiting = asyncio.ensure_future(family.await_("x", first_wait=60, longest_wait=60))
        while not senders.async_sender.pauses._waiting:  # noqa: ASYNC110 - nothing reports that a pause begins
            await asyncio.sleep(0.01)
        await client.aclose()
        await waiting

    def wait() -> None:
        if isinstance(drive, Blocking):
            threading.Thread(target=close_in_the_pause, daemon=True).start()
            family.wait("x", first_wait=60, longest_wait=60)
        else:
            asyncio.run(await_and_close())

    started = time.monotonic()
    with pytest.raises(APIConnectionError, match="the client was closed while it waited for") as caught:
        wait()

    assert time.monotonic() - started < 20
    assert len(service.requests) == 1
    assert caught.value.maybe_processed is False
    assert caught.value.request_id == ("x" if name == "requests" else None)


def test_wait_interval_doubles():
    """It doubles up to the limit, with a jitter of at most a half. `Retry-After` is respected."""
    now = [0.0]
    wait = Wait("it", bool, max_wait=100, first_wait=2, longest_wait=30, clock=lambda: now[0], jitter=lambda: 0.0)

    assert [wait.after_answer(0) for _ in range(6)] == [1, 2, 4, 8, 15, 15]
    error = RateLimitError(
        "slow", response=httpx.Response(429, request=httpx.Request("GET", "https://x")), retry_after=50
    )
    assert wait.after_failure(error) == 50
    assert wait.after_answer(1) is None
    now[0] = 95
    assert wait.after_answer(0) == 5
    with pytest.raises(WaitTimeoutError, match="did not end within 100 seconds; the last poll failed: slow"):
        wait.after_failure(error)


@pytest.mark.parametrize(
    ("first", "longest", "pauses"), [(0, 30, [0, 0.1, 0.2, 0.4]), (2, 0.2, [0.2, 0.2]), (0, 0, [0, 0])]
)
def test_wait_interval_has_a_minimum_and_a_maximum(first, longest, pauses):
    """A first wait of 0 is doubled, too: every poll counts towards the daily limit."""
    wait = Wait("it", bool, max_wait=100, first_wait=first, longest_wait=longest, jitter=lambda: 1.0)

    assert [wait.after_answer(0) for _ in pauses] == pytest.approx(pauses)


def test_wait_ends_at_an_error_that_a_poll_cannot_fix(drive, monkeypatch):
    """Such as a missing certificate file: the message names the variable."""
    monkeypatch.setenv("SSL_CERT_FILE", "missing.pem")
    client = FetchHive(KEY, "https://127.0.0.1:9/v1", workspace_id="w")

    for name in ("requests.wait", "delegations.wait"):
        with pytest.raises(APIConnectionError, match="SSL_CERT_FILE"):
            call(drive, client, name, "req_1")


# --- Answers that do not match ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"), [("agents.get", ["a"]), ("agents.list", []), ("agents.chats.get", ["a", "c"])]
)
def test_answer_without_its_object_keeps_the_request_id(drive, name, args):
    """The message has it, too."""
    client = client_of(drive, Service({"message": "ok", "request_id": "req_1"}))

    with pytest.raises(ResponseValidationError, match="req_1") as caught:
        call(drive, client, name, *args)

    assert caught.value.request_id == "req_1"


# --- Approvals -------------------------------------------------------------------------------------------------------


def iterate(drive, client: FetchHive, **fields: object) -> list[str]:
    if isinstance(drive, Blocking):
        return [approval.id for approval in client.approvals.iterate(**fields)]

    async def main() -> list[str]:
        return [approval.id async for approval in client.approvals.aiterate(**fields)]

    return asyncio.run(main())


def test_iterate_reads_all_pages(drive):
    """It stops when there is no next cursor, or a cursor is repeated."""
    pages = [
        {"approvals": [{"id": "1"}], "next_cursor": "x"},
        {"approvals": [{"id": "2"}], "next_cursor": "y"},
        {"approvals": [{"id": "3"}], "next_cursor": 4},
        {"approvals": [{"id": "4"}], "next_cursor": "x"},
    ]
    service = Service(*pages)

    assert iterate(drive, client_of(drive, service), status="pending") == ["1", "2", "3", "4"]
    assert [request.url.params.get("cursor") for request in service.requests] == [None, "x", "y", "4"]


@pytest.mark.parametrize("method", ["iterate", "aiterate"])
def test_iterate_checks_its_arguments_at_the_call(method):
    """Not when the first page is read."""
    service = Service({"approvals": []})
    client = FetchHive(KEY, http_client=httpx.Client(transport=httpx.MockTransport(service)))

    with pytest.raises(ConfigurationError, match="workspace_id is required"):
        getattr(client.approvals, method)()
    with pytest.raises(ValueError, match="agent_id must be a string"):
        getattr(client.with_options(workspace_id="w").approvals, method)(agent_id=[])
    with pytest.raises(ConfigurationError, match="timeout must be a positive number"):
        getattr(client.with_options(workspace_id="w").approvals, method)(timeout=0)

    assert service.requests == []


PENDING = [
    {"approval_id": "1", "tool_name": "search"},
    {"approval_id": "2", "tool_name": "raise"},
    {"approval_id": "3", "tool_name": "mail"},
    {"approval_id": "4", "tool_name": "search", "expires_at": "2020-01-01T00:00:00Z"},
    {"approval_id": "5", "tool_name": "truthy", "expires_at": "soon"},
]


def decide(pending: object) -> bool:
    if pending.tool_name == "raise":
        raise LookupError("error of the caller")
    return {"search": True, "mail": False, "truthy": 1}[pending.tool_name]


def test_resolve_denies_what_is_not_explicitly_allowed(drive):
    """The caller's exception is raised after all tool calls have been decided."""
    service, reply = Service(httpx.Response(200)), AgentReply.model_validate({"pending_tool_approvals": PENDING})

    with pytest.raises(LookupError, match="error of the caller"):
        call(drive, client_of(drive, service), "approvals.resolve", reply, decide)

    decisions = {request.url.path.split("/")[-2]: json.loads(request.content) for request in service.requests}
    assert {id_ for id_, sent in decisions.items() if sent["decision"] == "allow_once"} == {"1"}
    assert decisions.keys() == {"1", "2", "3", "4", "5"}


def test_refused_decision_does_not_block_the_others(drive):
    """Such as a tool call decided in the dashboard. The error is raised after all have been decided."""
    refusal = httpx.Response(409, json={"error": "already decided"})
    service = Service(httpx.Response(200), refusal, httpx.Response(200))
    reply = AgentReply.model_validate({"pending_tool_approvals": PENDING[:1] + PENDING[2:4]})

    with pytest.raises(ConflictError, match="already decided"):
        call(drive, client_of(drive, service), "approvals.resolve", reply, decide)

    assert [request.url.path.split("/")[-2] for request in service.requests] == ["1", "3", "4"]


def test_connection_error_ends_resolve(drive):
    """It is unknown which decisions arrived, so the caller must check."""
    service = Service(httpx.Response(200), httpx.ReadError("reset"))
    reply = AgentReply.model_validate({"pending_tool_approvals": [PENDING[0], *PENDING[2:]]})

    with pytest.raises(APIConnectionError) as caught:
        call(drive, client_of(drive, service), "approvals.resolve", reply, decide)

    assert caught.value.maybe_processed
    assert len(service.requests) == 2


@pytest.mark.parametrize("answer", ["null", "[]", '"decided"', "true", '{"approval": null}', ""])
@pytest.mark.parametrize("name", ["approvals.decide", "approvals.deny"])
def test_any_answer_to_a_decision_is_accepted(drive, name, answer):
    """The response is not documented, and the tool call has been decided."""
    args = ["ap", "deny"] if name == "approvals.decide" else ["ap"]

    decision = call(drive, client_of(drive, Service(httpx.Response(200, content=answer.encode()))), name, *args)

    assert isinstance(decision, Decision)
    assert decision.approval is None


@pytest.mark.parametrize("name", sorted(MAY_BE_EMPTY))
def test_null_is_accepted_as_an_empty_answer(drive, name):
    """For calls without a documented response."""
    args, fields = next(row[1:3] for row in ROWS if row[0] == name)

    assert not call(drive, client_of(drive, Service(httpx.Response(200, content=b"null"))), name, *args, **fields)


# --- Conversations, triggers, anything -------------------------------------------------------------------------------


def test_conversation_sends_one_thread_id(drive):
    """It is the given id or a random one."""
    service = Service({"response": "Hi"})
    client = client_of(drive, service)
    talk = client.conversation("agt")

    if isinstance(drive, Blocking):
        talk.send("Hello", metadata={"a": 1})
        talk.stream("More").collect()
    else:

        async def main() -> None:
            await talk.asend("Hello", metadata={"a": 1})
            await talk.astream("More").collect()

        asyncio.run(main())

    sent = [json.loads(request.content) for request in service.requests]
    assert [body["thread_id"] for body in sent] == [talk.thread_id] * 2
    assert len(talk.thread_id) == 32
    assert sent[0]["metadata"] == {"a": 1}
    assert client.conversation("agt", "mine").thread_id == "mine"
    service.answers = [{"delegations": [{"id": "d"}]}]
    listed = talk.delegations() if isinstance(drive, Blocking) else asyncio.run(talk.adelegations())
    assert listed[0].id == "d"
    assert talk.thread_id in service.place


@pytest.mark.parametrize("name", ["send", "stream"])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"atachments": ["secret"]}, "unexpected keyword argument 'atachments': did you mean attachments"),
        ({"thread_id": "secret"}, "unexpected keyword argument 'thread_id'"),
        ({"agent": "secret"}, "unexpected keyword argument 'agent'"),
    ],
)
def test_misspelled_argument_of_a_message_is_rejected(drive, name, options, reason):
    """The error suggests the correct name and quotes no value. Nothing is sent."""
    service = Service({})
    talk = client_of(drive, service).conversation("agt")

    def send() -> None:
        if isinstance(drive, Blocking):
            getattr(talk, name)("Hello", **options)
        elif name == "send":
            asyncio.run(talk.asend("Hello", **options))
        else:
            talk.astream("Hello", **options)

    with pytest.raises(TypeError, match=rf"{name}\(\) got an {reason}"):
        send()

    assert service.requests == []


@pytest.mark.parametrize(("agent", "thread_id"), [("", None), (" ", None), (None, None), (5, None), ("a", 5)])
def test_conversation_validates_its_ids(agent, thread_id):
    """Invalid ids are rejected at creation, not with the first message."""
    with pytest.raises(ValidationError, match=r"agent|thread_id"):
        client_of(Blocking(), Service({})).conversation(agent, thread_id)


def test_conversation_sends_extra_body(drive):
    """As all runs do."""
    service = Service({"response": "r"})
    talk = client_of(drive, service).conversation(uuid.UUID(int=2))

    send = talk.send if isinstance(drive, Blocking) else lambda *a, **k: asyncio.run(talk.asend(*a, **k))
    send("Hello", extra_body={"future": 1}, artifact_refs=[uuid.UUID(int=1)])

    assert service.body["agent"] == TWO[1] == talk.agent
    assert service.body["future"] == 1
    assert service.body["artifact_refs"] == [str(uuid.UUID(int=1))]


def test_triggers_send_their_secret_instead_of_the_key(drive):
    """In a separate header."""
    service = Service({"request_id": "req_1", "run_status": "running"})
    fields = {"secret": "whsec_123456", "callback_url": "https://cb.test"}

    call(drive, client_of(drive, service), "triggers.agent", "a/1", message="m", thread_id=None, **fields)
    assert (service.place, service.body) == (
        "POST /v1/agent/webhooks/a%2F1",
        {"message": "m", "async": {"callback_url": "https://cb.test"}},
    )
    accepted = call(drive, client_of(drive, service), "triggers.workflow", "w", "v", inputs={"n": 1}, **fields)

    assert accepted.run_status == "running"
    assert (service.place, service.body) == (
        "POST /v1/workflow/webhooks/w/variants/v",
        {"inputs": {"n": 1}, "async": {"callback_url": "https://cb.test"}},
    )
    for request in service.requests:
        assert request.headers["x-fetch-hive-webhook-secret"] == "whsec_123456"
        assert "authorization" not in request.headers


TRIGGER_FAILURES = [
    (httpx.ReadError("reset whsec_123456"), {}),
    (httpx.Response(500, text="<p>whsec_123456</p>", headers={"x-a": "whsec_123456"}), {}),
    (httpx.Response(401, json={"error": "whsec_123456 is wrong", "request_id": "whsec_123456"}), {}),
    (httpx.Response(202, text='{"a": "whsec_123456"'), {}),
    (httpx.Response(202, json=["whsec_123456"]), {}),
    ({}, {"timeout": "whsec"}),
    ({}, {"callback_url": 5}),
    ({}, {"extra_body": {"async": {}}}),
]


@pytest.mark.parametrize("name", ["triggers.agent", "triggers.workflow"])
@pytest.mark.parametrize(("answer", "given"), TRIGGER_FAILURES)
def test_errors_do_not_show_the_secret_of_a_trigger(drive, name, answer, given):
    """Neither in a response that repeats it, nor in the variables of a traceback, nor in a pickle."""
    ids, extra = (["a"], {"message": "m"}) if name == "triggers.agent" else (["w", "v"], {})
    fields = {"secret": "whsec_123456", "callback_url": "https://cb.test", **extra, **given}

    with pytest.raises((FetchHiveError, ValueError)) as caught:
        call(drive, client_of(drive, Service(answer)), name, *ids, **fields)

    assert "whsec_123456" not in shown_by(caught.value)


@pytest.mark.parametrize(
    "answer", [httpx.Response(401, text="not whsec_123456/2"), httpx.Response(200, text="{"), httpx.ReadError("reset")]
)
def test_errors_and_logs_do_not_show_a_secret_in_the_query(drive, caplog, answer):
    """Services that cannot set headers send the webhook secret in the query."""
    caplog.set_level("DEBUG", logger="fetch_hive_sdk")
    client = client_of(drive, Service(answer))

    with pytest.raises(FetchHiveError) as caught:
        call(drive, client, "raw_request", "POST", "/agent/webhooks/a", query={"secret": "whsec_123456/2", "x": "y"})

    assert "whsec_123456" not in f"{caught.value} {vars(caught.value)} {caplog.text}"
    assert b"whsec_123456" not in pickle.dumps(caught.value)


@pytest.mark.parametrize("secret", ["whsec_123456\n", "whsec_123456é", "", b"whsec_123456", None])
def test_secret_with_invalid_characters_is_rejected(drive, secret):
    """The error does not quote it, and nothing is sent."""
    service = Service({})

    with pytest.raises(ConfigurationError, match="secret must be a printable") as caught:
        call(
            drive,
            client_of(drive, service),
            "triggers.agent",
            "a",
            secret=secret,
            message="m",
            callback_url="https://x",
        )

    assert "whsec_123456" not in shown_by(caught.value)
    assert service.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(202, json={"webhook_secret": "whsec_123456"}),
        httpx.Response(202, text='{"run_id": 1, "webhook_secret": "whsec_123456'),
        httpx.Response(500, json={"error": "late", "webhook_secret": "whsec_123456"}),
    ],
)
def test_errors_do_not_show_the_webhook_secret(drive, answer):
    """The run may have started. Logs of the error must not contain the secret."""
    client = client_of(drive, Service(answer), max_retries=0)

    with pytest.raises(FetchHiveError) as caught:
        call(drive, client, "invoke_hive_agent", hive_agent="h", objective="o", callback_url="https://x")

    assert "whsec_123456" not in shown_by(caught.value)


@pytest.mark.parametrize("name", ["raw_request", "get_request", "triggers.agent"])
def test_repr_does_not_show_the_webhook_secret(name):
    """In documented and unknown fields. It can be read by its name."""
    client = client_of(
        Blocking(), Service({"request_id": "r", "webhook_secret": "s-1", "data": {"webhook_secret": "s-2"}})
    )
    answer = {
        "raw_request": lambda: client.raw_request("POST", "/workflow/invoke", json={}),
        "get_request": lambda: client.get_request("r"),
        "triggers.agent": lambda: client.triggers.agent("a", secret="s", message="m", callback_url="https://x"),
    }[name]()

    assert "s-1" not in repr(answer)
    assert "s-2" not in repr(answer)
    assert (answer.json if name == "raw_request" else answer)["webhook_secret"] == "s-1"


def test_raw_request_calls_any_endpoint(drive):
    """It returns the status, the headers and the JSON value."""
    service = Service(httpx.Response(201, json=[1], headers={"x-a": "b"}), httpx.Response(204))
    client = client_of(drive, service)

    answer = call(drive, client, "raw_request", "post", "future/x", json={"a": [None]}, query={"b": True, "c": None})
    assert (answer.status_code, answer.headers["x-a"], answer.json) == (201, "b", [1])
    assert (service.place, service.body) == ("POST /v1/future/x?b=true", {"a": [None]})
    assert call(drive, client, "raw_request", "DELETE", "/x", effect="settle").json is None


@pytest.mark.parametrize(
    ("args", "fields", "reason"),
    [
        (("TRACE", "/x"), {}, "method must be GET"),
        ((5, "/x"), {}, "method must be GET"),
        (("GET", "https://other.test/secret"), {}, "path must be the part of the URL"),
        (("GET", "//other.test/secret"), {}, "path must be the part of the URL"),
        (("GET", "/a//secret"), {}, "path must be the part of the URL"),
        (("GET", "\\\\other.test"), {}, "path must be the part of the URL"),
        (("GET", "/secret?b=c"), {}, "without a query"),
        (("GET", "/secret#b"), {}, "path must be the part of the URL"),
        (("GET", "/secret\r\nX: y"), {}, "path must be the part of the URL"),
        (("GET", ""), {}, "path must be the part of the URL"),
        (("GET", None), {}, "path must be the part of the URL"),
        (("GET", "/secret/../b"), {}, "'..' as a segment"),
        (("GET", "../b"), {}, "'..' as a segment"),
        (("GET", "/a/./b"), {}, "'..' as a segment"),
        (("GET", "/a/%2e%2E/b"), {}, "'..' as a segment"),
        (("GET", "/a/%2F..%2Fb"), {}, "'..' as a segment"),
        (("GET", "/a%5c..%5Cb"), {}, "'..' as a segment"),
        (("GET", "/a"), {"effect": "secret"}, "effect must be one of"),
        (("POST", "/a"), {"json": {"a": float("inf")}}, "json.a is inf"),
        (("GET", "/a"), {"query": {"q": ["secret"]}}, "q must be a string"),
        (("GET", "/a"), {"query": {"q": "\ud800"}}, "q has a lone surrogate"),
        (("GET", "/a"), {"query": "secret"}, "query must be a mapping"),
    ],
)
def test_raw_request_rejects_paths_outside_the_api(drive, args, fields, reason):
    """The key is sent nowhere else. Nothing is sent, and the error quotes no value."""
    service = Service({})

    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        call(drive, client_of(drive, service), "raw_request", *args, **fields)

    assert "secret" not in str(caught.value)
    assert service.requests == []


@pytest.mark.parametrize("path", ["a", "/a", "/a.b/..c/d..", "/@me:x/%C3%A9", "/a%2Fb"])
def test_raw_request_paths_are_below_the_base_url(drive, path):
    """The path is sent unchanged. Versions of httpx encode a space in the query differently."""
    service = Service({})

    call(
        drive,
        client_of(drive, service),
        "raw_request",
        "GET",
        path,
        query={"a": "b c", "n": 1.5, "u": uuid.UUID(int=2)},
    )

    assert service.place.replace("%20", "+") == f"GET /v1/{path.lstrip('/')}?a=b+c&n=1.5&u={TWO[1]}"


def test_resources_are_created_once():
    """They share the connections of their client."""
    client = FetchHive(KEY)

    assert client.agents is client.agents
    assert client.agents.chats is client.agents.chats
    assert client.with_options(timeout=1).agents is not client.agents
    assert repr(client.agents) == "<Agents of https://api.fetchhive.com/v1>"
    assert KEY not in repr(vars(client.agents))


def test_rename_returns_the_chat(drive):
    """As the service returns it."""
    assert isinstance(call(drive, client_of(drive, Service({"chat": CHAT})), "agents.chats.clear", "a", "c"), AgentChat)
