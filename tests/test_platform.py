"""The fake's workflows, agents and workspaces: each client method, blocking and asyncio, in process and on a port."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import islice

import httpx
import pytest

from driving import Blocking
from fetch_hive_sdk import (
    AgentRequest,
    APIConnectionError,
    AuthenticationError,
    ConflictError,
    FetchHive,
    HiveAgentRequest,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    StreamFailedError,
    StreamInterruptedError,
    UnprocessableEntityError,
    WaitTimeoutError,
    Webhook,
    WorkflowRequest,
    WorkflowStart,
)
from fetch_hive_sdk.emulator import Emulator
from fetch_hive_sdk.emulator._page import Page
from fetch_hive_sdk.testing import (
    TEST_KEY,
    AgentAnswer,
    Answer,
    BackgroundRun,
    FakeServer,
    Fault,
    Refusal,
    StreamScript,
    ToolUse,
    WorkflowAnswer,
    record,
    replay,
)

WORKSPACE = "ws_1"
URL = "https://example.com/hook"


@pytest.fixture
def fake():
    return FakeServer()


@pytest.fixture(params=["in process", "on a port"])
def client(request, fake):
    """A client of the fake service, in process or over a real connection."""
    if request.param == "in process":
        yield fake.client(workspace_id=WORKSPACE)
        return
    with fake.serve() as url, FetchHive(TEST_KEY, url, workspace_id=WORKSPACE) as client:
        yield client


@pytest.fixture
def call(client, drive):
    """Call a client method by its path, such as `agents.chats.create`, blocking or asyncio."""

    def call(path: str, *args: object, **fields: object) -> object:
        *places, name = path.split(".")
        owner = client
        for place in places:
            owner = getattr(owner, place)
        if isinstance(drive, Blocking):
            found = getattr(owner, name)(*args, **fields)
            return list(found) if inspect.isgenerator(found) else found
        return asyncio.run(_all_of(getattr(owner, "await_" if name == "wait" else f"a{name}")(*args, **fields)))

    return call


async def _all_of(found):
    try:
        return [item async for item in found] if inspect.isasyncgen(found) else await found
    finally:
        # Each loop has connections of its own.
        await asyncio.sleep(0)


@pytest.fixture
def collect(client, drive):
    """Stream an agent; return its events and its answer."""

    def collect(**fields: object) -> tuple[list[object], object]:
        if isinstance(drive, Blocking):
            stream = client.invoke_agent_stream(**fields)
            return list(stream), stream.collect()

        async def main() -> tuple[list[object], object]:
            stream = client.ainvoke_agent_stream(**fields)
            return [event async for event in stream], await stream.collect()

        return asyncio.run(main())

    return collect


# --- Workflows -------------------------------------------------------------------------------------------------------


def test_workflow_returns_scripted_output(fake, call):
    """The output can be a string, a mapping, or any JSON value in a WorkflowAnswer."""
    fake.answers_workflow("text", "Done.")
    fake.answers_workflow("mapping", {"settings": {"n": 1}})
    fake.answers_workflow("list", WorkflowAnswer([1, 2]))

    assert call("invoke_workflow", deployment="text").output == "Done."
    assert call("invoke_workflow", deployment="mapping").output == {"settings": {"n": 1}}
    assert call("invoke_workflow", deployment="list").output == [1, 2]
    assert fake.workflow_calls[0] == WorkflowRequest(deployment="text")


def test_workflow_may_fail(fake, call):
    """A failed run is an answer with the status and the error."""
    fake.answers_workflow("d", WorkflowAnswer(status="failed", error="No such invoice"))

    run = call("invoke_workflow", deployment="d")

    assert (run.status, run.error, run.output) == ("failed", "No such invoice", None)


def test_workflow_answer_may_be_a_function_or_a_list(fake, call):
    """Functions, lists and variants work as for prompts."""
    fake.answers_workflow("f", lambda request: f"Hello, {request.inputs['name']}.")
    fake.answers_workflow("l", ["One.", Refusal(422, "Two.")])
    fake.answers_workflow("v", "The default.")
    fake.answers_workflow("v", "The draft.", variant="draft")

    assert call("invoke_workflow", deployment="f", inputs={"name": "bee"}).output == "Hello, bee."
    assert call("invoke_workflow", deployment="l").output == "One."
    with pytest.raises(UnprocessableEntityError, match="Two"):
        call("invoke_workflow", deployment="l")
    with pytest.raises(UnprocessableEntityError, match="called 3 times, but only 2 answers are scripted"):
        call("invoke_workflow", deployment="l")
    assert call("invoke_workflow", deployment="v", variant="draft").output == "The draft."
    assert call("invoke_workflow", deployment="v", variant="other").output == "The default."
    assert fake.mistakes == ["'l' was called 3 times, but only 2 answers are scripted"]


def test_unknown_workflow_or_agent_is_not_found(fake, call):
    """The 404 lists the known ones. A prompt of the same name does not count."""
    fake.answers("d", "A prompt.")
    fake.answers_workflow("known", "Yes.")

    with pytest.raises(NotFoundError, match=r"no workflow 'd'\. Known workflows: 'known'"):
        call("invoke_workflow", deployment="d")
    with pytest.raises(NotFoundError, match=r"no agent 'a'\. No agents are scripted"):
        call("invoke_agent", agent="a", message="Hi")
    with pytest.raises(NotFoundError, match="no Hive Agent 'h'"):
        call("invoke_hive_agent", hive_agent="h", objective="o", callback_url=URL)


def test_default_answers_workflows_and_agents(fake, call):
    """The default also applies to agents and workflows, unless it is a function of prompts."""
    fake.default = "Yes."

    assert call("invoke_workflow", deployment="d").output == "Yes."
    assert call("invoke_agent", agent="a", message="Hi").response == "Yes."

    fake.default = lambda request: request.deployment

    with pytest.raises(NotFoundError):
        call("invoke_agent", agent="a", message="Hi")


def test_started_workflow_can_be_awaited(fake, call):
    """A run is reported as running for its `looks`; then its output is in the record."""
    fake.answers_workflow("d", WorkflowAnswer("Done.", looks=2))

    accepted = call("invoke_workflow", deployment="d", async_mode=True, callback_url=URL)
    record = call("requests.wait", accepted.request_id, first_wait=0.001, longest_wait=0.001)

    assert accepted.status == "queued"
    assert (record.status, record.data["output"]) == ("completed", "Done.")
    assert fake.workflow_calls == [WorkflowStart(deployment="d", callback_url=URL)]


def test_looks_count_down_a_running_run(fake, call):
    """After its `looks`, the run is reported as ended."""
    fake.answers_workflow("d", WorkflowAnswer("Done.", looks=2))
    accepted = call("invoke_workflow", deployment="d", async_mode=True, callback_url=URL)

    statuses = [call("requests.get", accepted.request_id).status for _ in range(4)]

    assert statuses == ["running", "running", "completed", "completed"]


def test_wait_for_a_run_times_out(fake, call):
    """The error has the last record."""
    fake.answers_workflow("d", WorkflowAnswer("Done.", looks=10**6))
    slow = call("invoke_workflow", deployment="d", async_mode=True, callback_url=URL)

    with pytest.raises(WaitTimeoutError) as caught:
        call("requests.wait", slow.request_id, max_wait=0.05, first_wait=0.01)

    assert caught.value.last.status == "running"


def test_start_without_callback_url_is_rejected(fake, call):
    """The service rejects it too, although the vendor's package can send it."""
    fake.answers_workflow("d", "Done.")

    with pytest.raises(UnprocessableEntityError, match="callback_url is required when async is enabled"):
        call("invoke_workflow", deployment="d", async_mode=True)


# --- Agents ----------------------------------------------------------------------------------------------------------


def test_agent_returns_scripted_answer(fake, call):
    """An answer can have tools, files and usage."""
    fake.answers_agent(
        "a",
        AgentAnswer(
            "Sunny.",
            tools=[ToolUse("weather", {"city": "Bonn"}, {"sky": "clear"})],
            artifacts=[{"id": "art_1", "file_url": "https://example.com/a.png"}],
            usage={"total_tokens": 7},
        ),
    )

    reply = call("invoke_agent", agent="a", message="Weather?", thread_id="t")

    assert (reply.response, reply.status, reply.thread_id) == ("Sunny.", "completed", "t")
    assert reply.tool_calls[0].input == {"city": "Bonn"}
    assert reply.tool_calls[0].output == {"sky": "clear"}
    assert reply.artifacts[0].id == "art_1"
    assert reply.usage.total_tokens == 7
    assert fake.agent_calls == [AgentRequest(agent="a", message="Weather?", thread_id="t")]


def test_agent_streams_the_same_answer(fake, collect):
    """The collected stream equals the answer without streaming."""
    fake.answers_agent(
        "a",
        AgentAnswer("It is sunny.", reasoning="Look outside.", tools=[ToolUse("weather", {"city": "Bonn"}, "clear")]),
    )

    events, reply = collect(agent="a", message="Weather?")

    assert [event.type for event in events] == ["reasoning"] * 2 + ["tool"] + ["response"] * 3 + ["usage"]
    assert (reply.response, reply.status, reply.reasoning) == ("It is sunny.", "completed", "Look outside.")
    assert reply.tool_calls[0].output == "clear"
    assert {event.request_id for event in events} == {reply.request_id}


def test_agent_may_fail_or_break(fake, call, collect):
    """An error is an event in a stream and a 502 otherwise. A broken call leaves a run."""
    fake.answers_agent("fails", AgentAnswer("Half", error="The provider failed", error_code="internal_server_error"))
    fake.answers_agent("busy", Refusal(429, "Later.", headers={"Retry-After": "3600"}))
    fake.answers_agent("breaks", Fault.BREAK)

    with pytest.raises(InternalServerError, match="The provider failed"):
        call("invoke_agent", agent="fails", message="Hi")
    with pytest.raises(StreamFailedError) as caught:
        collect(agent="fails", message="Hi")
    assert caught.value.partial.text == "Half"
    with pytest.raises(RateLimitError, match="Later"):
        call("invoke_agent", agent="busy", message="Hi")
    with pytest.raises(APIConnectionError) as broken:
        call("invoke_agent", agent="breaks", message="Hi")
    assert broken.value.maybe_processed


def test_agent_streams_a_script(fake, call, collect):
    """A `StreamScript` is played with its faults; calls without streaming get a 422."""
    fake.answers_agent("a", StreamScript().text("Once ").breaks())

    with pytest.raises(StreamInterruptedError) as caught:
        collect(agent="a", message="Hi")
    assert caught.value.partial.text == "Once "
    assert call("requests.get", caught.value.request_id).request_type == "agent_completion"
    with pytest.raises(UnprocessableEntityError, match="set streaming to true"):
        call("invoke_agent", agent="a", message="Hi")


def test_agent_accepts_the_answer_of_a_prompt(fake, call):
    """Strings and `Answer` work for both."""
    fake.answers_agent("a", [Answer("One."), "Two.", lambda request: request.message])

    assert [call("invoke_agent", agent="a", message="Three.").response for _ in range(3)] == ["One.", "Two.", "Three."]


def test_invalid_answer_is_rejected_at_once(fake):
    """An unsupported type is rejected when it is scripted."""
    with pytest.raises(TypeError, match=r"an answer must be a string, an AgentAnswer.*, not int"):
        fake.answers_agent("a", 1)
    with pytest.raises(TypeError, match=r"an answer must be a string, a mapping, a WorkflowAnswer.*, not int"):
        fake.answers_workflow("d", 1)
    with pytest.raises(ValueError, match="list of answers must not be empty"):
        fake.answers_hive_agent("h", [])


def test_missing_fields_are_rejected(fake, client):
    """The 422 names the missing field."""
    answer = client.with_options(max_retries=0).raw_request
    for path, body in {
        "/agent/invoke": {"agent": "a"},
        "/workflow/invoke": {},
        "/hive-agent/invoke": {"hive_agent": "h", "objective": "o"},
    }.items():
        with pytest.raises(UnprocessableEntityError, match=r"message|deployment|callback_url"):
            answer("POST", path, json=body)
    with pytest.raises(UnprocessableEntityError, match="must be a JSON object"):
        answer("POST", "/agent/invoke", json=[1])
    assert fake.agent_calls == []


# --- Approvals -------------------------------------------------------------------------------------------------------

PAY = ToolUse("pay", {"amount": 5}, "paid", needs_approval=True, summary="Pay 5 euros")


def test_run_waits_for_its_approval(fake, call):
    """After the decision, the answer can be looked up by the request id."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[ToolUse("look", {}, "ok"), PAY], text_if_denied="Not paid."))

    reply = call("invoke_agent", agent="a", message="Pay")
    (pending,) = reply.pending_tool_approvals
    waiting = call("requests.get", reply.request_id)
    decision = call("approvals.allow", pending.approval_id)
    record = call("requests.get", reply.request_id)

    assert (reply.response, reply.is_awaiting_approval) == ("", True)
    assert (pending.tool_name, pending.summary, pending.arguments) == ("pay", "Pay 5 euros", {"amount": 5})
    assert [used.tool_name for used in reply.tool_calls] == ["look"]
    assert (waiting.status, waiting.ended_at) == ("awaiting_approval", None)
    assert decision.raw == {}
    assert (record.status, record.data["response"]) == ("completed", "Paid.")


def test_denied_tool_call_is_reported(fake, call):
    """The run then has `text_if_denied`."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[PAY], text_if_denied="Not paid."))
    reply = call("invoke_agent", agent="a", message="Pay")

    call("approvals.resolve", reply, lambda pending: False)

    record = call("requests.get", reply.request_id)
    assert record.data["response"] == "Not paid."
    assert record.data["denied_tool_calls"][0]["tool_name"] == "pay"


def test_run_continues_after_its_last_approval(fake, call):
    """Each approval is decided once, independently of the others."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[PAY, ToolUse("mail", needs_approval=True)]))
    reply = call("invoke_agent", agent="a", message="Pay")
    first, second = (pending.approval_id for pending in reply.pending_tool_approvals)

    call("approvals.allow", first)
    still = call("requests.get", reply.request_id).status
    with pytest.raises(ConflictError):
        call("approvals.deny", first)
    call("approvals.allow", second)

    assert still == "awaiting_approval"
    assert call("requests.get", reply.request_id).status == "completed"
    assert call("approvals.get", first).decision == "allow_once"


def test_auto_approve_skips_approvals(fake, call):
    """The answer lists the automatically approved tool calls."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[PAY]))

    reply = call("invoke_agent", agent="a", message="Pay", tool_approval="auto_approve")

    assert (reply.status, reply.tool_approval) == ("completed", "auto_approve")
    assert reply.auto_approved_tool_calls[0].summary == "Pay 5 euros"


def test_resolve_denies_expired_approvals(fake, call):
    """The callback is not called for them."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[ToolUse("pay", needs_approval=True, expires_in=-1)]))
    reply = call("invoke_agent", agent="a", message="Pay")

    call("approvals.resolve", reply, lambda pending: True)

    assert call("approvals.get", reply.pending_tool_approvals[0].approval_id).decision == "deny"


def test_stream_has_the_approval(fake, collect):
    """The approval is an event, and part of the collected answer."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[PAY]))

    events, reply = collect(agent="a", message="Pay")

    assert [event.type for event in events] == ["tool_approval", "usage"]
    assert reply.is_awaiting_approval
    assert reply.pending_tool_approvals[0].approval_id == events[0].approval.approval_id


def test_approvals_are_paginated(fake, call):
    """The list has the pending approvals, optionally of one agent or run, and a cursor to the next page."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[PAY, PAY, PAY]))
    fake.answers_agent("b", AgentAnswer("Paid.", tools=[PAY]))
    reply = call("invoke_agent", agent="a", message="Pay")
    call("invoke_agent", agent="b", message="Pay")

    page = call("approvals.list", agent_id="a", limit=2)
    found = call("approvals.iterate", limit=2)

    assert len(page.approvals) == 2
    assert page.next_cursor is not None
    assert len({approval.id for approval in found}) == 4
    assert len(call("approvals.list", run_id=reply.run_id).approvals) == 3
    call("approvals.deny", found[0].id)
    assert len(call("approvals.iterate")) == 3
    assert len(call("approvals.list", status="denied").approvals) == 1


@pytest.mark.parametrize("limit", ["²", "9" * 5000, "x", ""], ids=["superscript", "long", "letter", "empty"])
def test_invalid_limit_of_approvals_is_ignored(fake, client, limit):
    """A page then has the default size."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[PAY, PAY]))
    client.invoke_agent(agent="a", message="Pay")

    path = f"/public/workspaces/{WORKSPACE}/tool_action_approvals"

    assert len(client.raw_request("GET", path, query={"limit": limit}).json["approvals"]) == 2


def test_unknown_approval_is_not_found(call):
    """It can be neither read nor decided."""
    with pytest.raises(NotFoundError):
        call("approvals.get", "none")
    with pytest.raises(NotFoundError):
        call("approvals.allow", "none")


@pytest.mark.parametrize("decision", ["always", ["allow_once"]])
def test_unknown_decision_is_rejected(fake, client, decision):
    """The service rejects decisions that clients do not check."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[PAY]))
    reply = client.invoke_agent(agent="a", message="Pay")
    approval_id = reply.pending_tool_approvals[0].approval_id

    with pytest.raises(UnprocessableEntityError):
        client.decide_tool_action_approval(WORKSPACE, approval_id, decision)


# --- Background work -------------------------------------------------------------------------------------------------


def test_background_work_ends_after_its_looks(fake, call):
    """Until then, it is listed in its thread."""
    fake.answers_agent(
        "a", AgentAnswer("On it.", background=[BackgroundRun(target={"name": "w"}, result={"n": 1}, looks=2)])
    )

    reply = call("invoke_agent", agent="a", message="Go", thread_id="user/42 é")
    (pending,) = reply.pending_delegations
    listed = call("delegations.list", "user/42 é")
    done = call("delegations.wait", pending.id, first_wait=0.001, longest_wait=0.001)

    assert [delegation.id for delegation in listed] == [pending.id]
    assert (listed[0].status, listed[0].result, listed[0].target) == ("running", None, {"name": "w"})
    assert (done.status, done.result) == ("completed", {"n": 1})
    assert call("delegations.list", "user/42 é") == []


def test_background_work_can_be_cancelled(fake, call):
    """Work that has ended is not changed."""
    fake.answers_agent("a", AgentAnswer("On it.", background=[BackgroundRun(looks=100), BackgroundRun(looks=0)]))
    reply = call("invoke_agent", agent="a", message="Go", thread_id="t")
    slow, quick = (pending.id for pending in reply.pending_delegations)
    call("delegations.get", quick)

    assert call("delegations.cancel", slow).status == "cancelled"
    assert call("delegations.get", slow).status == "cancelled"
    assert call("delegations.cancel", quick).status == "completed"
    with pytest.raises(NotFoundError):
        call("delegations.cancel", "none")


def test_background_work_needs_a_thread(fake, call):
    """Without a thread or `allow_background`, its result is that of a tool call."""
    fake.answers_agent("a", AgentAnswer("Done.", background=[BackgroundRun(result={"n": 1})]))

    at_once = call("invoke_agent", agent="a", message="Go")
    allowed = call("invoke_agent", agent="a", message="Go", async_options={"allow_background": True})

    assert (at_once.pending_delegations, at_once.tool_calls[0].output) == ([], {"n": 1})
    assert len(allowed.pending_delegations) == 1


def test_conversation_keeps_its_thread(fake, client):
    """It lists the background work of its thread."""
    fake.answers_agent("a", AgentAnswer("On it.", background=[BackgroundRun(looks=5)]))
    conversation = client.conversation("a")

    conversation.send("Go")

    assert fake.agent_calls[0].thread_id == conversation.thread_id
    assert len(conversation.delegations()) == 1


# --- Requests --------------------------------------------------------------------------------------------------------


def test_every_run_can_be_looked_up(fake, call):
    """A run is found by the request id of its answer, with the metadata of the caller."""
    fake.answers("p", "Short.")
    fake.answers_agent("a", "Hi.")

    prompt = call("invoke_prompt", deployment="p", metadata={"tenant": "t"})
    agent = call("invoke_agent", agent="a", message="Hi")

    record = call("requests.get", prompt.request_id)
    assert (record.status, record.request_type) == ("completed", "prompt_completion")
    assert record.user_metadata == {"tenant": "t"}
    assert record.data == {"response": "Short."}
    assert call("requests.get", agent.request_id).data == {"response": "Hi."}
    with pytest.raises(NotFoundError):
        call("requests.get", "req_none")


def test_run_is_found_by_its_correlation_id(fake, client):
    """The records of the fake replace the logs of the platform."""
    fake.answers("p", Fault.BREAK)

    with pytest.raises(APIConnectionError) as caught:
        client.with_options(correlate=True).invoke_prompt(deployment="p")

    (record,) = fake.records
    assert record["user_metadata"] == {"fetch_hive_sdk.correlation": caught.value.correlation_id}


def test_rejected_call_is_not_a_run(fake, client):
    """It has no record."""
    fake.fails("p", 422)

    with pytest.raises(UnprocessableEntityError):
        client.invoke_prompt(deployment="p")

    assert fake.records == []


# --- Callbacks -------------------------------------------------------------------------------------------------------


class Hook:
    """A server on this machine that receives callbacks."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, dict[str, str]]] = []
        hook = self

        class Visit(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                hook.got.append((self.rfile.read(int(self.headers["content-length"])), dict(self.headers)))
                self.send_response(204)
                self.end_headers()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Visit)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def hook():
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


def test_signed_callback_is_delivered_locally(fake, client, hook):
    """The secret from the start verifies the signature."""
    fake.answers_hive_agent("h", {"report": "Bees."})
    accepted = client.invoke_hive_agent(hive_agent="h", objective="Find out", callback_url=hook.url)

    statuses = fake.deliver_callbacks()

    ((body, headers),) = hook.got
    event = Webhook(accepted.webhook_secret).unwrap(body, headers)
    assert statuses == [204]
    assert event.raw["event_type"] == "hive_agent.completed"
    assert event.raw["data"]["output"] == {"report": "Bees."}
    assert event.raw["request_id"] == accepted.request_id
    assert client.requests.get(accepted.request_id).status == "completed"
    assert fake.hive_agent_calls == [HiveAgentRequest(hive_agent="h", objective="Find out", callback_url=hook.url)]
    assert fake.deliver_callbacks() == []


def test_callback_to_another_machine_is_not_sent(fake, client):
    """It is in `callbacks`, so that a test can pass it to the tested code."""
    fake.answers_workflow("d", WorkflowAnswer(status="failed", error="No."))
    client.invoke_workflow(deployment="d", async_mode=True, callback_url=URL)

    assert fake.deliver_callbacks() == []

    (callback,) = fake.callbacks
    event = Webhook(fake.webhook_secret).unwrap(callback.body, callback.headers)
    assert (callback.url, event.raw["event_type"]) == (URL, "workflow.failed")
    assert event.raw["data"]["error"] == "No."


def test_failed_callback_is_reported(fake, client, hook):
    """An unreachable receiver is reported as status 0."""
    hook.server.server_close()
    fake.answers_workflow("d", "Done.")
    client.invoke_workflow(deployment="d", async_mode=True, callback_url=hook.url.replace("hook", ""))
    closed = httpx.URL(hook.url).copy_with(port=1)
    client.invoke_workflow(deployment="d", async_mode=True, callback_url=str(closed))

    assert 0 in fake.deliver_callbacks()


def test_agents_send_callbacks(fake, client):
    """Triggers, approvals and background work send callbacks."""
    fake.answers_agent(
        "a", ["One.", AgentAnswer("Two.", tools=[PAY]), AgentAnswer("Three.", background=[BackgroundRun()])]
    )
    options = {"callback_url": URL}

    accepted = client.triggers.agent("a", secret=fake.webhook_secret, message="Go", callback_url=URL)
    paused = client.invoke_agent(agent="a", message="Go", async_options=options)
    client.invoke_agent(agent="a", message="Go", async_options=options)
    client.approvals.allow(paused.pending_tool_approvals[0].approval_id)
    fake.deliver_callbacks()

    events = [json.loads(callback.body) for callback in fake.callbacks]
    assert accepted.run_status == "running"
    assert sorted(event["event_type"] for event in events) == [
        "agent.completed",
        "agent.completed",
        "agent.delegation.completed",
    ]
    assert {event["data"].get("response") for event in events} == {"One.", "Two.", None}


def test_trigger_needs_its_secret_and_no_key(fake, call):
    """A wrong secret is rejected."""
    fake.answers_workflow("w", "Done.")

    accepted = call("triggers.workflow", "w", "v", secret=fake.webhook_secret, callback_url=URL, inputs={"n": 1})

    assert fake.workflow_calls == [WorkflowStart(deployment="w", variant="v", callback_url=URL, inputs={"n": 1})]
    assert call("requests.get", accepted.request_id).status == "running"
    with pytest.raises(AuthenticationError):
        call("triggers.workflow", "w", "v", secret="wrong", callback_url=URL)


# --- Workspaces ------------------------------------------------------------------------------------------------------


def test_agents_are_stored(call):
    """Agents can be created, listed, read, changed and deleted."""
    made = call("agents.create", name="Bee", llm_model="fake-model", model_type="hosted")
    changed = call("agents.update", made.id, description="Busy", temperature=0.5)

    assert call("agents.list") == [changed]
    assert call("agents.get", made.id).description == "Busy"
    call("agents.delete", made.id)
    assert call("agents.list") == []
    with pytest.raises(UnprocessableEntityError, match=r"Agent not found\."):
        call("agents.get", made.id)


def test_none_is_sent_as_null(call):
    """A field set to None is stored as null."""
    made = call("agents.create", name="Bee", llm_model="m", model_type="hosted", description="Busy")

    assert call("agents.update", made.id, description=None).raw["description"] is None


def test_chats_are_stored(call):
    """Chats belong to an agent."""
    agent = call("agents.create", name="Bee", llm_model="m", model_type="hosted")
    chat = call("agents.chats.create", agent.id, name="First")

    assert call("agents.chats.rename", agent.id, chat.id, name="Second").name == "Second"
    assert call("agents.chats.get", agent.id, chat.id).name == "Second"
    assert call("agents.chats.messages", agent.id, chat.id) == []
    assert call("agents.chats.clear", agent.id, chat.id).message_count == 0
    call("agents.chats.delete", agent.id, chat.id)
    with pytest.raises(NotFoundError, match=r"Chat not found\."):
        call("agents.chats.get", agent.id, chat.id)


def test_knowledge_bases_are_stored(call):
    """Their items are found by words."""
    base = call("knowledge_bases.create", name="Docs", search_score_threshold=0.2)
    item = call("knowledge_bases.items.create", base.id, name="Refunds", data_content="A refund takes 14 days.")
    call("knowledge_bases.items.create", base.id, name="Other", data_content="Bees dance.")

    found = call("knowledge_bases.search", base.id, "refund days.")

    assert base.search_score_threshold == 0.2
    assert [match["id"] for match in found.response["matches"]] == [item.id]
    assert call("knowledge_bases.get", base.id).data_item_count == 2
    assert call("knowledge_bases.list")[0].id == base.id
    assert call("knowledge_bases.items.update", base.id, item.id, name="Returns").name == "Returns"
    assert call("knowledge_bases.items.get", base.id, item.id).data_content == "A refund takes 14 days."
    assert [each.name for each in call("knowledge_bases.items.list", base.id)] == ["Returns", "Other"]
    again = call("knowledge_bases.items.regenerate", base.id, item.id)
    assert call("requests.wait", again.request_id, first_wait=0.001).status == "completed"
    call("knowledge_bases.items.delete", base.id, item.id)
    assert len(call("knowledge_bases.items.list", base.id)) == 1
    assert call("knowledge_bases.get", base.id).data_item_count == 1
    assert call("knowledge_bases.update", base.id, search_type="vector").is_vector_search is True
    call("knowledge_bases.delete", base.id)
    with pytest.raises(UnprocessableEntityError, match=r"Knowledge base not found\."):
        call("knowledge_bases.items.list", base.id)


def test_workspaces_are_separate(client):
    """An object is only in the workspace in which it was created."""
    client.knowledge_bases.create(name="Docs")

    assert client.with_options(workspace_id="ws_2").knowledge_bases.list() == []


def test_method_names_of_the_vendor_work(client):
    """They return the envelopes of the service."""
    made = client.create_knowledge_base(WORKSPACE, {"name": "Docs"})

    assert made["message"] == "Successfully created a knowledge base."
    assert client.list_knowledge_bases(WORKSPACE)["knowledge_bases"][0]["id"] == made["knowledge_base"]["id"]
    assert client.delete_knowledge_base(WORKSPACE, made["knowledge_base"]["id"])["message"]


@pytest.mark.parametrize(
    ("method", "body", "message"),
    [
        ("knowledge_bases", {"knowledge_base": {}}, "name can't be blank"),
        ("knowledge_bases", {"knowledge_base": {"name": "n", "search_type": "psychic"}}, "Invalid search type"),
        ("knowledge_bases", {"knowledge_base": {"name": "n", "search_type": ["hybrid"]}}, "Invalid search type"),
        ("knowledge_bases", {"knowledge_base": {"name": ["n"]}}, "name can't be blank"),
        ("agents", {"agent": {"name": "n"}}, "llm_model can't be blank"),
        ("agents", {"agent": {"name": {"first": "n"}}}, "name can't be blank"),
    ],
)
def test_invalid_requests_are_rejected(client, method, body, message):
    """The messages are those of the service."""
    with pytest.raises(UnprocessableEntityError, match=message):
        client.raw_request("POST", f"/public/workspaces/{WORKSPACE}/{method}", json=body)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("search_query", ["bees"], "search_query can't be blank"),
        ("search_type", {"a": 1}, "search_type can't be blank"),
        ("search_type", 5, "Invalid search type"),
        ("search_score_threshold", [0], "search_score_threshold can't be blank"),
        ("search_chunk_limit", [5], "search_chunk_limit can't be blank"),
        ("search_chunk_limit", "5", "search_chunk_limit must be a positive whole number"),
        ("search_chunk_limit", -1, "search_chunk_limit must be a positive whole number"),
    ],
)
def test_invalid_searches_are_rejected(client, field, value, message):
    """A field of the wrong type gets a 422."""
    base = client.create_knowledge_base(WORKSPACE, {"name": "Docs"})["knowledge_base"]["id"]
    query = {"search_query": "bees", "search_type": "hybrid", "search_chunk_limit": 8, "search_score_threshold": 0}

    with pytest.raises(UnprocessableEntityError, match=message):
        client.raw_request(
            "POST", f"/public/workspaces/{WORKSPACE}/knowledge_bases/{base}/search", json={**query, field: value}
        )


def test_name_cannot_be_removed(client):
    """An update is checked like a new object."""
    base = client.create_knowledge_base(WORKSPACE, {"name": "Docs"})["knowledge_base"]["id"]
    path = f"/public/workspaces/{WORKSPACE}/knowledge_bases/{base}"

    with pytest.raises(UnprocessableEntityError, match="name can't be blank"):
        client.raw_request("PATCH", path, json={"knowledge_base": {"name": ["Docs"]}})


def test_assets_can_be_downloaded(call, client, fake):
    """The URL of an asset needs no key."""
    asset = call("assets.upload", ("a b.txt", BytesIO(b"bees")))

    fetched = fake.handle(httpx.Request("GET", httpx.URL(asset.file_url).copy_with(scheme="http", host="x.test")))

    assert (asset.file_name, asset.file_size, asset.file_type) == ("a b.txt", 4, "text/plain")
    assert call("assets.list") == [asset]
    assert fetched.content == b"bees"
    assert fetched.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("name", ["mail.eml", "page.mht", "data.bin"])
def test_uploaded_file_is_kept_unchanged(call, fake, name):
    """Also an e-mail, whatever parts and lines it has."""
    content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHi\n.\r\n--b--\r\n\xff\r\n"

    asset = call("assets.upload", (name, BytesIO(content)))

    fetched = fake.handle(httpx.Request("GET", httpx.URL(asset.file_url).copy_with(scheme="http", host="x.test")))
    assert fetched.content == content


def test_an_uploaded_file_can_be_attached_to_a_message(fake, call):
    """Also over a port of this machine, where its address is plain http."""
    fake.answers_agent("a", "Seen.")
    asset = call("assets.upload", ("a.txt", b"bees"))

    reply = call("invoke_agent", agent="a", message="m", attachments=[asset, asset.file_url])

    assert reply.response == "Seen."
    assert fake.agent_calls[0].attachments[0]["id"] == asset.id


def test_catalogues_are_returned(call):
    """There are models, countries and error codes."""
    assert {model.model_type for model in call("catalogue.models")} == {"llm", "image_generation"}
    assert len(call("catalogue.countries")) == 5
    assert call("catalogue.countries", "google_search").countries[0].value == "DE"
    assert call("catalogue.error_codes").codes[0].code == "model_deprecated"
    with pytest.raises(NotFoundError, match="unsupported_service"):
        call("catalogue.countries", "yahoo")


# --- Recorder and page ----------------------------------------------------------------------------------------------


def test_everything_can_be_recorded_and_replayed(tmp_path):
    """Agents, streams, uploads and deletions can be replayed. The webhook secret is not recorded."""
    fake = FakeServer("Yes.")
    client = fake.client(workspace_id=WORKSPACE)

    def use(client: FetchHive) -> list[object]:
        asset = client.assets.upload(("a.txt", b"bees"))
        agent = client.agents.create(name="Bee", llm_model="m", model_type="hosted")
        client.agents.delete(agent.id)
        accepted = client.invoke_hive_agent(hive_agent="h", objective="o", callback_url=URL)
        return [
            asset.id,
            agent.id,
            accepted.run_id,
            client.invoke_agent(agent="a", message="Hi").response,
            client.invoke_agent_stream(agent="a", message="Hi").collect().response,
            client.requests.get(accepted.request_id).status,
            [model.id for model in client.catalogue.models()],
        ]

    with record(tmp_path / "calls.jsonl", client):
        recorded = use(client)

    assert fake.webhook_secret not in (tmp_path / "calls.jsonl").read_text("utf-8")
    with replay(tmp_path / "calls.jsonl") as cassette:
        assert use(cassette.client(workspace_id=WORKSPACE)) == recorded
        assert cassette.unplayed == []


def test_emulator_delivers_callbacks(hook, monkeypatch):
    """Callbacks are sent soon after the call."""
    monkeypatch.setattr("fetch_hive_sdk.emulator._emulator.CALLBACK_SECONDS", 0.01)
    emulator = Emulator(default="Done.")

    with emulator.serve() as url, FetchHive(TEST_KEY, url) as client:
        accepted = client.invoke_workflow(deployment="d", async_mode=True, callback_url=hook.url)
        for _ in range(500):
            if hook.got:
                break
            time.sleep(0.01)

    ((body, headers),) = hook.got
    assert Webhook(accepted.webhook_secret).unwrap(body, headers).raw["data"]["output"] == "Done."


def test_page_lists_all_calls_without_secrets():
    """Calls of all methods are listed, but not the favicon."""
    page = Page(Emulator(default="Done.").handle)
    for method, path, body in [
        ("GET", "/v1/public/models", None),
        ("GET", "/favicon.ico", None),
        ("POST", "/v1/hive-agent/invoke", {"hive_agent": "h", "objective": "o", "async": {"callback_url": URL}}),
    ]:
        headers = {"Authorization": f"Bearer {TEST_KEY}"}
        page.handle(httpx.Request(method, f"http://127.0.0.1{path}", json=body, headers=headers))

    news = b"".join(islice(page.handle(httpx.Request("GET", "http://127.0.0.1/events")).iter_raw(), 2))

    assert b"/v1/public/models" in news
    assert b"/v1/hive-agent/invoke" in news
    assert b"favicon" not in news
    assert b"whsec" not in news
