"""Agents, workflows and Hive Agents: requests, answers and rejected arguments. Over a mock transport."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import subprocess
import sys
import textwrap
import uuid
from operator import attrgetter

import httpx
import pytest
from pydantic import ValidationError

from driving import ANSWER, Blocking, sse, streamed
from fetch_hive_sdk import (
    AgentAsync,
    AgentMessage,
    AgentReply,
    AgentRequest,
    AgentUsageEvent,
    APIConnectionError,
    ArtifactEvent,
    Asset,
    Attachment,
    FetchHive,
    HiveAgentAccepted,
    HiveAgentRequest,
    HiveAgentSources,
    InvokeRequest,
    OutputValidationError,
    ResponseValidationError,
    StreamFailedError,
    SummaryEvent,
    ToolApprovalEvent,
    ToolEvent,
    UnknownEvent,
    WorkflowAccepted,
    WorkflowRequest,
    WorkflowRun,
    WorkflowStart,
)

REPLY = {
    "request_id": "req_1",
    "run_id": "req_1",
    "response": '{"title": "Bees"}',
    "status": "completed",
    "thread_id": None,
    "usage": {"total_tokens": 3},
    "tool_calls": [{"tool_name": "search", "tool_input": '{"q": "bees"}', "observation": "none"}],
    "artifacts": [{"id": "art_1", "file_url": "https://files.test/a.png"}],
}
HTTPS = "https://files.test/"


class Service:
    """Gives the same answer to every call, and records the paths and bodies."""

    def __init__(self, answer: object, status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.sent: list[tuple[str, object]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append((request.url.path, json.loads(request.read())))
        if isinstance(self.answer, httpx.Response):
            return self.answer
        return httpx.Response(self.status, json=self.answer)

    @property
    def body(self) -> object:
        return self.sent[-1][1]


# --- Requests --------------------------------------------------------------------------------------------------------


def test_agent_arguments_are_sent(drive):
    """Images are merged into the attachments; `async_options` is sent as `async`."""
    service, agent = Service(REPLY), uuid.uuid4()

    drive.call(
        drive.client(service),
        "invoke_agent",
        agent=agent,
        message="Hi",
        thread_id="t/1",
        messages=[AgentMessage(role="user", content="Hello"), {"role": "assistant", "content": "Yes?", "x": None}],
        image_urls=[HTTPS + "i.png"],
        attachments=[HTTPS + "a.pdf", Attachment(file_url=HTTPS + "b.pdf"), Asset(id="a1", file_url=HTTPS + "c")],
        artifact_refs=["r1"],
        async_options=AgentAsync(allow_background=True),
        tool_approval="policy",
    )

    assert service.sent == [
        (
            "/v1/agent/invoke",
            {
                "agent": str(agent),
                "message": "Hi",
                "thread_id": "t/1",
                "messages": [
                    {"role": "user", "content": "Hello"},
                    {"role": "assistant", "content": "Yes?", "x": None},
                ],
                "attachments": [
                    HTTPS + "a.pdf",
                    {"file_url": HTTPS + "b.pdf"},
                    {"file_url": HTTPS + "c", "id": "a1"},
                    HTTPS + "i.png",
                ],
                "artifact_refs": ["r1"],
                "async": {"allow_background": True},
                "tool_approval": "policy",
                "streaming": False,
            },
        )
    ]


def test_empty_thread_and_attachments_are_omitted(drive):
    """As in the vendor's package. Other empty values are sent."""
    service = Service(REPLY)

    drive.call(
        drive.client(service),
        "invoke_agent",
        agent="a",
        message="m",
        thread_id="",
        attachments=[],
        messages=[],
        user="",
    )

    assert service.body == {"agent": "a", "message": "m", "messages": [], "user": "", "streaming": False}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"attachments": [HTTPS] * 3, "image_urls": [HTTPS] * 2, "artifact_refs": ["r"]},
            "at most 5 items together",
        ),
        ({"attachments": ["http://files.test/secret"]}, "number 1 must have an https:// URL"),
        ({"image_urls": [HTTPS, "ftp://files.test/secret"]}, "number 2 must have an https:// URL"),
        ({"attachments": [{"file_name": "secret"}]}, "https"),
        ({"attachments": ["https://"]}, "number 1 must have an https:// URL"),
        ({"messages": [{"role": "user", "attachments": [HTTPS, "http://secret"]}]}, "messages\n.*number 2 must have"),
        ({"messages": [{"role": "user", "content": "", "attachments": HTTPS + "secret"}]}, "must be a list"),
        ({"async_options": {"callback_url": "http://secret"}}, "must be an https:// URL"),
        ({"async_options": {"callback_url": 5}}, "must be an https:// URL"),
        ({"attachments": HTTPS + "secret"}, "must be a list"),
        ({"metadata": {"a": {"secret": 1}}}, "nested metadata"),
        ({"known_artifact_refs": ["secret"] * 51}, "at most 50"),
        ({"tool_approval": "secret"}, "policy"),
        ({"agent": " "}, "must not be empty"),
        ({"mesage": "secret"}, "mesage"),
    ],
)
def test_invalid_agent_arguments_are_rejected(fields, reason):
    """Nothing is sent, and the error does not quote the values."""
    with pytest.raises(ValidationError, match=reason) as caught:
        AgentRequest(**{"agent": "a", "message": "m", **fields})

    assert "secret" not in str(caught.value)


def test_workflow_without_async_mode_returns_its_result(drive):
    """The request contains no callback fields."""
    service = Service({"run_id": "run_1", "run_status": "completed", "status": "old", "output": {"n": 1}})

    run = drive.call(drive.client(service), "invoke_workflow", deployment="w", inputs={"n": [1]}, variant="")

    assert service.sent == [("/v1/workflow/invoke", {"deployment": "w", "inputs": {"n": [1]}})]
    assert isinstance(run, WorkflowRun)
    assert (run.status, run.output, run["status"]) == ("completed", {"n": 1}, "old")
    assert run.output_as(dict) == {"n": 1}


@pytest.mark.parametrize(
    ("fields", "block"),
    [
        ({"callback_url": "https://x.test"}, {"enabled": True, "callback_url": "https://x.test"}),
        ({}, {"enabled": True}),
    ],
)
def test_workflow_with_async_mode_is_started(drive, fields, block):
    """Whether a callback URL is required is left to the service."""
    service = Service({"request_id": "req_1", "run_status": "queued", "webhook_secret": "whsec_abc"}, 202)

    accepted = drive.call(drive.client(service), "invoke_workflow", deployment="w", async_mode=True, **fields)

    assert service.body == {"deployment": "w", "async": block}
    assert isinstance(accepted, WorkflowAccepted)
    assert accepted.status == "queued"


@pytest.mark.parametrize("fields", [{"callback_url": "https://x.test"}, {"async_mode": "no"}])
def test_callback_url_without_async_mode_is_rejected(drive, fields):
    """The vendor's package runs and bills such a workflow, but never sends the callback."""
    service = Service({})

    with pytest.raises(ValueError, match="async_mode"):
        drive.call(drive.client(service), "invoke_workflow", deployment="w", **fields)

    assert service.sent == []


WITH_CALLBACK = [
    ("invoke_workflow", [], {"deployment": "w", "async_mode": True}),
    ("invoke_hive_agent", [], {"hive_agent": "h", "objective": "o"}),
    ("triggers.agent", ["a"], {"secret": "s-1", "message": "m"}),
    ("triggers.workflow", ["w", "v"], {"secret": "s-1"}),
]


@pytest.mark.parametrize(
    "url", ["http://hooks.test/secret", "hooks.test", "", "https://", "ftp://127.0.0.1", "http://[", 5]
)
@pytest.mark.parametrize(("name", "args", "fields"), WITH_CALLBACK)
def test_callback_url_must_be_https(name, args, fields, url):
    """The answer is sent to it. Nothing is sent, and the error does not quote the URL."""
    service = Service({})

    with pytest.raises(ValidationError, match="callback_url") as caught:
        attrgetter(name)(Blocking().client(service))(*args, callback_url=url, **fields)

    assert "secret" not in str(caught.value)
    assert service.sent == []


@pytest.mark.parametrize(
    "url", ["https://hooks.test:8443/a?b=c", "HTTPS://hooks.test", "http://localhost:8000/hook", "http://[::1]/"]
)
@pytest.mark.parametrize(("name", "args", "fields"), WITH_CALLBACK)
def test_callback_url_may_be_http_on_loopback(name, args, fields, url):
    """A fake or an emulator may call back there."""
    service = Service({"run_id": "r"}, 202)

    attrgetter(name)(Blocking().client(service))(*args, callback_url=url, **fields)

    assert service.body["async"]["callback_url"] == url


def test_attachments_of_earlier_turns_are_sent(drive):
    """Earlier turns may be models or mappings; other fields of a mapping are sent unchanged."""
    service = Service({"response": "r"})
    asset = Asset(id="as", file_url=HTTPS, file_size=5)
    messages = [
        AgentMessage(role="user", content="c", attachments=[asset]),
        {"role": "user", "content": "c", "attachments": [asset, HTTPS], "x": None},
        {"role": "assistant", "content": "c", "attachments": None},
    ]

    drive.call(drive.client(service), "invoke_agent", agent="a", message="m", messages=messages)

    file = {"id": "as", "file_url": HTTPS}
    assert [message["attachments"] for message in service.body["messages"]] == [[file], [file, HTTPS], None]
    assert "x" in service.body["messages"][1]


@pytest.mark.parametrize("kind", [WorkflowRequest, WorkflowStart])
@pytest.mark.parametrize("status", [200, 202])
def test_workflow_answer_type_depends_on_the_request(drive, kind, status):
    """The type does not depend on the status: a workflow that is still running has no output."""
    answer = drive.call(
        drive.client(Service({"run_id": "r", "status": "queued"}, status)), "invoke", kind(deployment="w")
    )

    assert type(answer) is (WorkflowRun if kind is WorkflowRequest else WorkflowAccepted)
    assert answer.status == "queued"


def test_accepted_workflow_without_an_id_is_rejected(drive):
    """Without an id, its result could not be found."""
    with pytest.raises(ResponseValidationError, match="neither request_id nor run_id"):
        drive.call(drive.client(Service({"status": "queued"}, 202)), "invoke", WorkflowStart(deployment="w"))


def test_extra_body_must_not_contain_async(drive):
    """`async` is set by `async_mode`."""
    with pytest.raises(ValueError, match="extra_body must not contain async"):
        drive.call(
            drive.client(Service({})), "invoke_workflow", deployment="w", extra_body={"async": {"enabled": True}}
        )


def test_hive_agent_is_started(drive):
    """It answers with a callback."""
    service = Service({"run_id": "run_1", "status": "pending", "webhook_secret": "whsec_abc"}, 202)
    fields = {"hive_agent": "h", "objective": "Find bees", "callback_url": "https://x.test"}

    accepted = drive.call(
        drive.client(service),
        "invoke_hive_agent",
        **fields,
        sources=HiveAgentSources(website_urls=["https://bees.test"]),
        unattended=False,
        budget_policy="stop",
    )

    assert service.sent == [
        (
            "/v1/hive-agent/invoke",
            {
                "hive_agent": "h",
                "objective": "Find bees",
                "sources": {"website_urls": ["https://bees.test"]},
                "unattended": False,
                "budget_policy": "stop",
                "async": {"enabled": True, "callback_url": "https://x.test"},
            },
        )
    ]
    assert isinstance(accepted, HiveAgentAccepted)
    assert accepted.run_id == "run_1"
    assert drive.call(drive.client(service), "invoke", HiveAgentRequest(**fields)) == accepted


# --- Answers ---------------------------------------------------------------------------------------------------------


def test_agent_answer_is_parsed(drive):
    """Tool calls contain JSON strings; `input` and `output` parse them."""
    reply = drive.call(drive.client(Service(REPLY)), "invoke_agent", agent="a", message="m")

    assert reply.raw == REPLY
    assert reply.output_as(dict) == {"title": "Bees"}
    assert (reply.tool_calls[0].input, reply.tool_calls[0].output) == ({"q": "bees"}, "none")
    assert reply.artifacts[0].file_url == "https://files.test/a.png"
    assert not reply.is_awaiting_approval
    with pytest.raises(OutputValidationError, match="int") as caught:
        reply.output_as(int)
    assert caught.value.response is reply


def test_parts_of_an_answer_behave_like_dicts(drive):
    """This includes nulls and lists with items that are not objects."""
    answer = {"tool_calls": [None, {"tool_name": "t", "observation": None}], "artifacts": [{"id": "a", "x": None}]}

    reply = drive.call(drive.client(Service(answer)), "invoke_agent", agent="a", message="m")

    assert [call.raw for call in reply.tool_calls] == answer["tool_calls"][1:]
    assert reply.artifacts[0].raw is reply.raw["artifacts"][0]


@pytest.mark.parametrize("answer", [{}, {"response": None, "tool_calls": None, "artifacts": [None, "x"]}])
def test_agent_answer_may_be_empty(drive, answer):
    """A missing field must not discard an answer that has been billed."""
    reply = drive.call(drive.client(Service(answer)), "invoke_agent", agent="a", message="m")

    assert (reply.response, reply.tool_calls, reply.artifacts, reply.usage.total_tokens) == ("", [], [], None)


def test_webhook_secret_is_masked_in_repr():
    """No repr contains it; the dict, copies and pickles do."""
    accepted = HiveAgentAccepted.model_validate({"run_id": "r", "webhook_secret": "whsec_abc"})

    for same in (accepted, copy.deepcopy(accepted), pickle.loads(pickle.dumps(accepted))):
        assert "whsec_abc" not in repr(same) + str(same)
        assert same["webhook_secret"] == same.raw["webhook_secret"] == "whsec_abc"
        assert same.webhook_secret.get_secret_value() == "whsec_abc"


# --- Streams ---------------------------------------------------------------------------------------------------------

EVENTS = [
    {"type": "summary", "summary_text": "Before.", "original_token_count": 9},
    {"type": "reasoning", "response": "Hm. ", "done": False},
    {"type": "tool", "tool": "search", "tool_input": {"q": "bees"}, "observation": '{"n": 1}'},
    {"type": "artifact", "artifact": {"id": "art_1", "file_url": "https://files.test/a.png"}},
    {"type": "tool_approval", "approval": {"approval_id": "ap_1", "tool_name": "mail", "summary": "Send"}},
    {"type": "response", "response": "Bees", "model": "m-1", "done": False},
    {"type": "future", "n": 1},
    {"type": "response", "response": ".", "done": True},
    {
        "type": "usage",
        "request_id": "req_1",
        "usage": {"total_tokens": 3},
        "status": "awaiting_approval",
        "run_id": "req_1",
        "thread_id": "t",
        "pending_tool_approvals": [{"approval_id": "ap_1"}],
    },
]


def events_of(drive, client: FetchHive, **fields: object) -> list[object]:
    if isinstance(drive, Blocking):
        return list(client.invoke_agent_stream(**fields))

    async def main() -> list[object]:
        return [event async for event in client.ainvoke_agent_stream(**fields)]

    return asyncio.run(main())


def collected(drive, client: FetchHive, request: AgentRequest) -> AgentReply:
    if isinstance(drive, Blocking):
        return client.stream(request).collect()

    async def main() -> AgentReply:
        return await client.astream(request).collect()

    return asyncio.run(main())


def test_agent_events_are_typed(drive):
    """Events of an unknown type are passed on."""
    events = events_of(drive, drive.client(lambda _: streamed(*sse(*EVENTS))), agent="a", message="m")

    assert [event.raw for event in events] == EVENTS
    assert isinstance(events[0], SummaryEvent)
    assert isinstance(events[2], ToolEvent)
    assert (events[2].input, events[2].output) == ({"q": "bees"}, {"n": 1})
    assert isinstance(events[3], ArtifactEvent)
    assert isinstance(events[4], ToolApprovalEvent)
    assert events[4].approval.approval_id == "ap_1"
    assert isinstance(events[6], UnknownEvent)
    assert isinstance(events[8], AgentUsageEvent)
    assert events[8].is_awaiting_approval


def test_collected_stream_equals_the_plain_answer(drive):
    """It includes tools, artifacts and approvals; fields of the last event take precedence."""
    service = Service(streamed(*sse(*EVENTS)))

    reply = collected(drive, drive.client(service), AgentRequest(agent="a", message="m"))

    assert service.body == {"agent": "a", "message": "m", "streaming": True}
    assert (reply.response, reply.reasoning, reply.model) == ("Bees.", "Hm. ", "m-1")
    assert (reply.request_id, reply.run_id, reply.thread_id) == ("req_1", "req_1", "t")
    assert reply.is_awaiting_approval
    assert [approval.raw for approval in reply.pending_tool_approvals] == [{"approval_id": "ap_1"}]
    assert reply.tool_calls[0].output == {"n": 1}
    assert reply.artifacts[0].id == "art_1"
    assert reply.usage.total_tokens == 3


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_empty_fields_of_the_last_event_replace_nothing(drive, empty):
    """What was streamed has been paid for. `raw` still has a usage that is not an object."""
    names = ["request_id", "model", "response", "reasoning", "tool_calls", "artifacts", "pending_tool_approvals"]
    last = {"type": "usage", "usage": 57, "status": "awaiting_approval", **dict.fromkeys(names, empty)}
    streamed_before = {"type": "tool_approval", "approval": {"approval_id": "ap_1"}, "request_id": "req_1"}
    service = Service(streamed(*sse(*EVENTS[:4], streamed_before, *EVENTS[5:-1], last)))

    reply = collected(drive, drive.client(service), AgentRequest(agent="a", message="m"))

    assert (reply.request_id, reply.model, reply.response, reply.reasoning) == ("req_1", "m-1", "Bees.", "Hm. ")
    assert [approval.approval_id for approval in reply.pending_tool_approvals] == ["ap_1"]
    assert (reply.tool_calls[0].output, reply.artifacts[0].id) == ({"n": 1}, "art_1")
    assert (reply.raw["usage"], reply.usage.total_tokens) == (57, None)


def test_json_answer_to_a_stream_yields_the_same_events(drive):
    """A proxy may have buffered the events."""
    events = events_of(drive, drive.client(Service(REPLY)), agent="a", message="m")

    assert [event.type for event in events] == ["tool", "artifact", "response", "usage"]
    assert events[-1].usage.total_tokens == 3


def test_failed_stream_keeps_received_events(drive):
    """`collect()` raises the error that the service sent."""
    client = drive.client(lambda _: streamed(*sse(EVENTS[5], {"type": "error", "error": "gone"})), correlate=True)

    with pytest.raises(StreamFailedError, match="gone") as caught:
        collected(drive, client, AgentRequest(agent="a", message="m"))

    assert caught.value.partial.text == "Bees"
    assert caught.value.correlation_id


@pytest.mark.parametrize("request_", [WorkflowRequest(deployment="w"), "x"])
def test_request_that_cannot_be_streamed_is_rejected(drive, request_):
    """Workflows and Hive Agents answer in one piece or with a callback."""
    with pytest.raises(TypeError, match=r"cannot be streamed|pass a request"):
        getattr(drive.client(Service({})), "stream" if isinstance(drive, Blocking) else "astream")(request_)


# --- Correlation -----------------------------------------------------------------------------------------------------


def broken(request: httpx.Request) -> httpx.Response:
    broken.metadata = json.loads(request.read())["metadata"]
    raise httpx.ReadError("reset")


@pytest.mark.parametrize(
    "request_",
    [
        InvokeRequest(deployment="d"),
        WorkflowRequest(deployment="w"),
        AgentRequest(agent="a", message="m", metadata={"a": 1}),
        HiveAgentRequest(hive_agent="h", objective="o", callback_url="https://x.test"),
    ],
)
def test_correlation_id_is_in_metadata_and_errors(drive, request_):
    """`correlate` adds a random id to the metadata and to every error, to find a run whose request id was lost."""
    with pytest.raises(APIConnectionError) as caught:
        drive.call(drive.client(broken, correlate=True), "invoke", request_)

    assert caught.value.correlation_id == broken.metadata["fetch_hive_sdk.correlation"]
    assert pickle.loads(pickle.dumps(caught.value)).correlation_id == caught.value.correlation_id
    assert broken.metadata.get("a") == request_.metadata.get("a")


def test_no_correlation_id_by_default(drive):
    """Neither the metadata nor the errors contain one."""
    service = Service(ANSWER)
    client = drive.client(service, correlate=True)

    drive.invoke(client, deployment="d")
    drive.invoke(client.with_options(correlate=False), deployment="d")

    assert len(service.sent[0][1]["metadata"]["fetch_hive_sdk.correlation"]) == 32
    assert "metadata" not in service.body


def test_prompts_do_not_import_other_resources():
    """Programs that only run prompts do not import the modules of agents and workflows."""
    code = """
        import sys
        import httpx
        from fetch_hive_sdk import FetchHive
        transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"response": "Hi"}))
        client = FetchHive("fhk_1234567", http_client=httpx.Client(transport=transport))
        client.invoke_prompt(deployment="d")
        client.invoke_prompt_stream(deployment="d").collect()
        loaded = {name for name in sys.modules if name.startswith("fetch_hive_sdk.")}
        words = ("agents", "workflows", "callbacks", "conversations", "agent_events", "envelopes")
        assert not {name for name in loaded if name.rpartition(".")[2].lstrip("_") in words or "resources" in name}
    """

    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
