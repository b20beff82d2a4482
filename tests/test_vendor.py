"""The vendor's names: each call sends the request recorded from the vendor's package 0.4.1."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path

import httpx
import pytest

from driving import KEY, sse, streamed
from fetch_hive_sdk import Envelope, FetchHive, aiter_sse, client, iter_sse, streaming

SAMPLES = Path(__file__).parent / "samples"
CALLS = json.loads((SAMPLES / "vendor_requests.json").read_text("utf-8"))
ENVELOPE = {"message": "ok", "agents": [{"name": "Bees", "description": None}]}
STREAM = [{"type": "response", "response": "x"}]
ANSWERS = {
    "invoke_prompt": {"response": "x"},
    "invoke_workflow": {"run_id": "r"},
    "invoke_hive_agent": {"run_id": "r"},
}


def send(call: dict[str, object]) -> tuple[httpx.Request, object]:
    """Repeat a recorded call with `FetchHive`."""
    sent = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        sent.append(request)
        if call["call"].endswith("_stream"):
            return streamed(*sse(*STREAM, "[DONE]"))
        return httpx.Response(200, json=ANSWERS.get(call["call"], ENVELOPE))

    transport = httpx.MockTransport(answer)
    ours = FetchHive(
        KEY, http_client=httpx.Client(transport=transport), async_http_client=httpx.AsyncClient(transport=transport)
    )
    method = getattr(ours, call["call"])
    if call["call"].startswith("a"):

        async def main() -> list[object]:
            return [event async for event in method(*call["args"], **call["kwargs"])]

        result = asyncio.run(main())
    else:
        result = method(*call["args"], **call["kwargs"])
        result = list(result) if call["call"].endswith("_stream") else result
    (request,) = sent
    return request, result


@pytest.mark.parametrize("call", CALLS, ids=[f"{n}-{call['call']}" for n, call in enumerate(CALLS)])
def test_requests_equal_those_of_the_vendors_package(call):
    """The method, path, query and JSON are the same, including nulls and unknown fields."""
    request, result = send(call)

    assert (request.method, str(request.url.raw_path, "ascii")) == (call["method"], call["path"])
    assert (json.loads(request.content) if request.content else None) == call["body"]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    if isinstance(result, Envelope):
        assert result.raw == dict(result) == ENVELOPE
        assert result["agents"][0]["name"] == "Bees"


def test_all_methods_of_the_vendors_package_are_recorded():
    """The vendor's package has 38 methods."""
    names = {call["call"] for call in CALLS}

    assert len(names) == 38
    assert all(callable(getattr(FetchHive, name)) for name in names)


@pytest.mark.parametrize("name", sorted({call["call"] for call in CALLS}))
def test_arguments_have_the_vendors_names_and_positions(name):
    """Recorded arguments can be passed by keyword; additional ones are keyword-only."""
    parameters = inspect.signature(getattr(FetchHive, name)).parameters
    named = {key for call in CALLS if call["call"] == name for key in call["kwargs"]}

    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        assert named <= parameters.keys()
    for ours in parameters.keys() & {"timeout", "extra_body"}:
        assert parameters[ours].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("id_", ["", ".", "..", " "])
def test_ids_that_change_the_path_are_rejected(id_):
    """With such an id, the vendor's package sends the DELETE to the collection."""
    sent = []
    ours = FetchHive(KEY, http_client=httpx.Client(transport=httpx.MockTransport(sent.append)))

    with pytest.raises(ValueError, match="id must not be empty"):
        ours.delete_knowledge_base("ws", id_)
    with pytest.raises(ValueError, match="workspace_id must not be empty"):
        ours.list_agents(id_)
    with pytest.raises(ValueError, match="thread_id must not be empty"):
        ours.list_thread_delegations(id_)
    assert sent == []


def test_ids_are_percent_encoded():
    """Callers choose thread ids, so they may contain any character."""
    request, _ = send({"call": "list_thread_delegations", "args": ["../a/b?c#d é"], "kwargs": {}})

    assert request.url.raw_path == b"/v1/agent/threads/..%2Fa%2Fb%3Fc%23d%20%C3%A9/delegations"


def test_empty_answer_behaves_like_an_empty_dict():
    """As in the vendor's package."""
    transport = httpx.MockTransport(lambda _: httpx.Response(204))
    ours = FetchHive(KEY, http_client=httpx.Client(transport=transport))

    assert dict(ours.delete_agent("ws", "a")) == {}


@pytest.mark.parametrize("fields", ["secret", ["secret"], None, 5])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("create_agent", ["ws"]),
        ("update_agent", ["ws", "a"]),
        ("create_agent_chat", ["ws", "a"]),
        ("update_agent_chat", ["ws", "a", "c"]),
        ("create_knowledge_base", ["ws"]),
        ("update_knowledge_base", ["ws", "kb"]),
        ("create_knowledge_base_item", ["ws", "kb"]),
        ("update_knowledge_base_item", ["ws", "kb", "it"]),
    ],
)
def test_body_that_is_not_a_mapping_is_rejected(name, args, fields):
    """Nothing is sent, and the error does not quote the values."""
    sent = []
    ours = FetchHive(KEY, http_client=httpx.Client(transport=httpx.MockTransport(sent.append)))

    with pytest.raises(ValueError, match="must be a mapping of field names") as caught:
        getattr(ours, name)(*args, fields)

    assert "secret" not in str(caught.value)
    assert sent == []


LISTS = {
    "list_thread_delegations": "delegations",
    "list_tool_action_approvals": "approvals",
    "list_knowledge_bases": "knowledge_bases",
    "list_knowledge_base_items": "knowledge_base_items",
    "list_agents": "agents",
    "list_agent_chat_messages": "messages",
}


@pytest.mark.parametrize("name", LISTS)
def test_bare_list_behaves_like_the_documented_dict(name):
    """Code that reads `["agents"]` keeps working."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=[{"id": "a"}]))
    ours = FetchHive(KEY, http_client=httpx.Client(transport=transport))
    asked = next(call for call in CALLS if call["call"] == name)

    assert getattr(ours, name)(*asked["args"], **asked["kwargs"]) == {LISTS[name]: [{"id": "a"}]}


def test_workspace_id_of_a_call_overrides_the_client():
    """The `workspace_id` argument takes precedence over the client's setting."""
    sent = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path)
        return httpx.Response(200, json={"agents": []})

    ours = FetchHive(KEY, http_client=httpx.Client(transport=httpx.MockTransport(answer)), workspace_id="mine")

    ours.list_agents("other")
    ours.agents.list()

    assert sent == ["/v1/public/workspaces/other/agents", "/v1/public/workspaces/mine/agents"]


@pytest.mark.parametrize(
    ("name", "ids", "wrong"),
    [
        ("get_agent_chat", ["w", "", "c"], "agent_id"),
        ("get_agent_chat", ["w", "a", "."], "chat_id"),
        ("get_knowledge_base_item", ["w", "..", "i"], "knowledge_base_id"),
        ("get_agent", ["", "a"], "workspace_id"),
    ],
)
def test_invalid_id_is_named(name, ids, wrong):
    """Nothing is sent."""
    with pytest.raises(ValueError, match=f"^{wrong} must not be empty"):
        getattr(FetchHive(KEY), name)(*ids)


BODY = (
    b'data: {"type": "response", "response": "a"}\r\n\r\n: ping\n\ndata:  \n\n'
    b'data:{"n":\ndata: 2}\n\ndata: [DONE]\n\ndata: {}\n\n'
)


@pytest.mark.parametrize("is_read", [True, False])
def test_iter_sse_parses_events(is_read):
    """All syntax of the WHATWG specification is parsed, until `[DONE]`."""
    response = streamed(*[BODY[n : n + 7] for n in range(0, len(BODY), 7)])
    if is_read:
        response.read()

    assert list(iter_sse(response)) == [{"type": "response", "response": "a"}, {"n": 2}]


def test_aiter_sse_parses_events():
    """The asyncio twin parses the same events."""

    async def main() -> list[object]:
        return [event async for event in aiter_sse(streamed(BODY))]

    assert asyncio.run(main()) == [{"type": "response", "response": "a"}, {"n": 2}]


def test_vendor_modules_can_be_imported():
    """Code that imports from them runs unchanged."""
    assert client.DEFAULT_BASE_URL == "https://api.fetchhive.com/v1"
    assert client.Metadata is not None
    assert (streaming.iter_sse, streaming.aiter_sse) == (iter_sse, aiter_sse)
