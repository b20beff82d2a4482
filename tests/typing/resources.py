"""Correctly typed uses of agents, workflows and the other resources. Type checkers must accept them; never run."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Optional, Union

from pydantic import SecretStr
from typing_extensions import assert_never, assert_type

from fetch_hive_sdk import (
    Agent,
    AgentAsync,
    AgentChat,
    AgentChatMessage,
    AgentDelegation,
    AgentEvent,
    AgentMessage,
    AgentReply,
    AgentRequest,
    AgentStream,
    AgentUsageEvent,
    ApprovalPage,
    ArtifactEvent,
    Asset,
    AsyncAgentStream,
    Attachment,
    CallbackEvent,
    ConversationOptions,
    Decision,
    Envelope,
    ErrorCatalogue,
    ErrorEvent,
    FetchHive,
    GeneratedArtifact,
    HiveAgentAccepted,
    HiveAgentRequest,
    HiveAgentSources,
    KnowledgeBase,
    KnowledgeBaseItem,
    KnowledgeBaseSearch,
    Model,
    PendingToolApproval,
    RawAnswer,
    ReasoningEvent,
    Regeneration,
    RequestRecord,
    ResponseEvent,
    SearchServiceCountries,
    SummaryEvent,
    ToolActionApproval,
    ToolApprovalEvent,
    ToolCall,
    ToolEvent,
    TriggerAccepted,
    UnknownEvent,
    Webhook,
    WorkflowAccepted,
    WorkflowRequest,
    WorkflowRun,
    WorkflowStart,
)

ID = uuid.UUID(int=1)
URL = "https://x"


def runs(client: FetchHive, is_async: bool) -> None:
    assert_type(client.invoke_workflow(deployment="w", inputs={"n": 1}), WorkflowRun)
    assert_type(client.invoke_workflow(deployment="w", async_mode=True, callback_url="https://x"), WorkflowAccepted)
    assert_type(client.invoke_workflow(deployment="w", async_mode=is_async), Union[WorkflowRun, WorkflowAccepted])
    assert_type(client.invoke_workflow(deployment="w").output_as(list[int]), list[int])
    reply = client.invoke_agent(
        agent=ID,
        message="m",
        messages=[AgentMessage(role="user", content="x"), {"role": "user", "content": "x"}],
        attachments=["https://x", Attachment(file_url="https://x"), Asset(id="a"), {"file_url": "https://x"}],
        async_options=AgentAsync(allow_background=True),
        tool_approval="policy",
    )
    assert_type(reply, AgentReply)
    assert_type(reply.response, str)
    assert_type(reply.tool_calls, list[ToolCall])
    assert_type(reply.tool_calls[0].input, Any)
    assert_type(reply.artifacts, list[GeneratedArtifact])
    assert_type(reply.pending_tool_approvals, list[PendingToolApproval])
    assert_type(reply.is_awaiting_approval, bool)
    started = client.invoke_hive_agent(
        hive_agent=ID, objective="o", callback_url="https://x", sources=HiveAgentSources(asset_ids=[ID])
    )
    assert_type(started, HiveAgentAccepted)
    assert_type(started.run_id, str)
    assert_type(started.webhook_secret, Optional[SecretStr])


def requests_as_values(client: FetchHive) -> None:
    agent = AgentRequest(agent="a", message="m")
    assert_type(client.invoke(WorkflowRequest(deployment="w")), WorkflowRun)
    assert_type(client.invoke(WorkflowStart(deployment="w")), WorkflowAccepted)
    assert_type(client.invoke(agent), AgentReply)
    assert_type(
        client.invoke(HiveAgentRequest(hive_agent="h", objective="o", callback_url="https://x")), HiveAgentAccepted
    )
    assert_type(client.stream(agent), AgentStream)
    assert_type(client.astream(agent), AsyncAgentStream)


def events(client: FetchHive) -> None:
    with client.invoke_agent_stream(agent="a", message="m") as stream:
        for event in stream:
            assert_type(event, AgentEvent)
            by_type(event)
        assert_type(stream.collect(), AgentReply)


def by_type(event: AgentEvent) -> None:
    if event.type == "response":
        assert_type(event, ResponseEvent)
    elif event.type == "reasoning":
        assert_type(event, ReasoningEvent)
    elif event.type == "summary":
        assert_type(event, SummaryEvent)
    elif event.type == "tool":
        assert_type(event, ToolEvent)
    elif event.type == "artifact":
        assert_type(event, ArtifactEvent)
    elif event.type == "tool_approval":
        assert_type(event, ToolApprovalEvent)
    elif event.type == "usage":
        assert_type(event, AgentUsageEvent)
    elif event.type == "error":
        assert_type(event, ErrorEvent)
    elif event.type == "unknown":
        assert_type(event, UnknownEvent)
    else:
        assert_never(event)


def agents_and_knowledge(client: FetchHive) -> None:
    assert_type(client.agents.list(), list[Agent])
    assert_type(client.agents.get(ID), Agent)
    assert_type(client.agents.create(name="n", llm_model="m", model_type="hosted", temperature=0.5), Agent)
    assert_type(client.agents.update("a", description=None, reasoning_effort="high"), Agent)
    client.agents.delete("a")
    assert_type(client.agents.chats.create("a", name="n"), AgentChat)
    assert_type(client.agents.chats.get("a", ID), AgentChat)
    assert_type(client.agents.chats.rename("a", "c", name=None), AgentChat)
    client.agents.chats.delete("a", "c")
    assert_type(client.agents.chats.clear("a", "c"), Optional[AgentChat])
    assert_type(client.agents.chats.messages("a", "c"), list[AgentChatMessage])
    assert_type(client.knowledge_bases.list(), list[KnowledgeBase])
    assert_type(client.knowledge_bases.get(ID), KnowledgeBase)
    assert_type(client.knowledge_bases.create(name="n", search_type="hybrid"), KnowledgeBase)
    assert_type(client.knowledge_bases.update("kb", search_chunk_limit=3), KnowledgeBase)
    client.knowledge_bases.delete("kb")
    assert_type(client.knowledge_bases.search("kb", "q", chunk_limit=3), KnowledgeBaseSearch)
    assert_type(client.knowledge_bases.items.list("kb"), list[KnowledgeBaseItem])
    assert_type(client.knowledge_bases.items.get("kb", ID), KnowledgeBaseItem)
    assert_type(client.knowledge_bases.items.create("kb", name="n", delete_email_data=True), KnowledgeBaseItem)
    assert_type(client.knowledge_bases.items.update("kb", "it", name="n"), KnowledgeBaseItem)
    client.knowledge_bases.items.delete("kb", "it")
    assert_type(client.knowledge_bases.items.regenerate("kb", "it"), Regeneration)


def resources(client: FetchHive) -> None:
    assert_type(client.assets.list(), list[Asset])
    assert_type(client.assets.upload(Path("a.pdf"), progress=lambda sent, total: None), Asset)
    assert_type(client.assets.upload(("a.txt", b"x")), Asset)
    assert_type(client.approvals.list(status="pending"), ApprovalPage)
    assert_type(client.approvals.get(ID), ToolActionApproval)
    assert_type(client.approvals.decide("ap", "allow_once"), Decision)
    assert_type(client.approvals.allow("ap"), Decision)
    assert_type(client.approvals.deny("ap"), Decision)
    assert_type(client.approvals.resolve(AgentReply(), lambda pending: pending.tool_name == "x"), list[Decision])
    assert_type(client.requests.get("r"), RequestRecord)
    assert_type(client.requests.wait("r", max_wait=5), RequestRecord)
    assert_type(client.delegations.list("t"), list[AgentDelegation])
    assert_type(client.delegations.get(ID), AgentDelegation)
    assert_type(client.delegations.cancel("d"), Optional[AgentDelegation])
    assert_type(client.delegations.wait("d"), AgentDelegation)
    assert_type(client.catalogue.models(), list[Model])
    assert_type(client.catalogue.countries(), list[SearchServiceCountries])
    assert_type(client.catalogue.countries("s"), SearchServiceCountries)
    assert_type(client.catalogue.error_codes(locale="es"), ErrorCatalogue)
    assert_type(client.triggers.agent("a", secret=SecretStr("s"), message="m", callback_url=URL), TriggerAccepted)
    assert_type(client.triggers.workflow("w", "v", secret="s", callback_url=URL, inputs={"n": 1}), TriggerAccepted)
    assert_type(client.raw_request("GET", "/x", query={"a": 1}, effect="read"), RawAnswer)
    assert_type(list(client.approvals.iterate()), list[ToolActionApproval])
    assert_type(client.with_options(workspace_id=ID, correlate=True), FetchHive)
    talk = client.conversation(ID)
    assert_type(talk.send("m", attachments=["https://x"], artifact_refs=[ID], extra_body={"x": 1}), AgentReply)
    assert_type(talk.stream("m", tool_approval="policy"), AgentStream)
    assert_type(talk.delegations(), list[AgentDelegation])
    options: ConversationOptions = {"user": "u", "metadata": {"a": 1}}
    assert_type(talk.send("m", **options), AgentReply)


async def twins_of_agents_and_knowledge(client: FetchHive) -> None:
    assert_type(await client.agents.alist(), list[Agent])
    assert_type(await client.agents.aget(ID), Agent)
    assert_type(await client.agents.acreate(name="n", llm_model="m", model_type="hosted", temperature=0.5), Agent)
    assert_type(await client.agents.aupdate("a", description=None, reasoning_effort="high"), Agent)
    await client.agents.adelete("a")
    assert_type(await client.agents.chats.acreate("a", name="n"), AgentChat)
    assert_type(await client.agents.chats.aget("a", ID), AgentChat)
    assert_type(await client.agents.chats.arename("a", "c", name=None), AgentChat)
    await client.agents.chats.adelete("a", "c")
    assert_type(await client.agents.chats.aclear("a", "c"), Optional[AgentChat])
    assert_type(await client.agents.chats.amessages("a", "c"), list[AgentChatMessage])
    assert_type(await client.knowledge_bases.alist(), list[KnowledgeBase])
    assert_type(await client.knowledge_bases.aget(ID), KnowledgeBase)
    assert_type(await client.knowledge_bases.acreate(name="n", search_type="hybrid"), KnowledgeBase)
    assert_type(await client.knowledge_bases.aupdate("kb", search_chunk_limit=3), KnowledgeBase)
    await client.knowledge_bases.adelete("kb")
    assert_type(await client.knowledge_bases.asearch("kb", "q", chunk_limit=3), KnowledgeBaseSearch)
    assert_type(await client.knowledge_bases.items.alist("kb"), list[KnowledgeBaseItem])
    assert_type(await client.knowledge_bases.items.aget("kb", ID), KnowledgeBaseItem)
    assert_type(await client.knowledge_bases.items.acreate("kb", name="n", delete_email_data=True), KnowledgeBaseItem)
    assert_type(await client.knowledge_bases.items.aupdate("kb", "it", name="n"), KnowledgeBaseItem)
    await client.knowledge_bases.items.adelete("kb", "it")
    assert_type(await client.knowledge_bases.items.aregenerate("kb", "it"), Regeneration)


async def twins(client: FetchHive) -> None:
    assert_type(await client.assets.alist(), list[Asset])
    assert_type(await client.assets.aupload(Path("a.pdf"), progress=lambda sent, total: None), Asset)
    assert_type(await client.assets.aupload(("a.txt", b"x")), Asset)
    assert_type(await client.approvals.alist(status="pending"), ApprovalPage)
    assert_type(await client.approvals.aget(ID), ToolActionApproval)
    assert_type(await client.approvals.adecide("ap", "allow_once"), Decision)
    assert_type(await client.approvals.aallow("ap"), Decision)
    assert_type(await client.approvals.adeny("ap"), Decision)
    assert_type(await client.approvals.aresolve(AgentReply(), lambda pending: pending.tool_name == "x"), list[Decision])
    assert_type(await client.requests.aget("r"), RequestRecord)
    assert_type(await client.requests.await_("r", max_wait=5), RequestRecord)
    assert_type(await client.delegations.alist("t"), list[AgentDelegation])
    assert_type(await client.delegations.aget(ID), AgentDelegation)
    assert_type(await client.delegations.acancel("d"), Optional[AgentDelegation])
    assert_type(await client.delegations.await_("d"), AgentDelegation)
    assert_type(await client.catalogue.amodels(), list[Model])
    assert_type(await client.catalogue.acountries(), list[SearchServiceCountries])
    assert_type(await client.catalogue.acountries("s"), SearchServiceCountries)
    assert_type(await client.catalogue.aerror_codes(locale="es"), ErrorCatalogue)
    assert_type(
        await client.triggers.aagent("a", secret=SecretStr("s"), message="m", callback_url=URL), TriggerAccepted
    )
    assert_type(
        await client.triggers.aworkflow("w", "v", secret="s", callback_url=URL, inputs={"n": 1}),
        TriggerAccepted,
    )
    assert_type(await client.araw_request("GET", "/x", query={"a": 1}, effect="read"), RawAnswer)
    assert_type([approval async for approval in client.approvals.aiterate()], list[ToolActionApproval])
    assert_type(await client.ainvoke_workflow(deployment="w"), WorkflowRun)
    assert_type(await client.ainvoke_workflow(deployment="w", async_mode=True), WorkflowAccepted)
    assert_type(await client.ainvoke_agent(agent="a", message="m"), AgentReply)
    assert_type(
        await client.ainvoke_hive_agent(hive_agent="h", objective="o", callback_url="https://x"), HiveAgentAccepted
    )
    assert_type(await client.ainvoke(AgentRequest(agent="a", message="m")), AgentReply)
    talk = client.conversation("a")
    assert_type(await talk.asend("m", user="u"), AgentReply)
    assert_type(talk.astream("m", image_urls=["https://x"]), AsyncAgentStream)
    assert_type(await talk.adelegations(), list[AgentDelegation])
    async with client.ainvoke_agent_stream(agent="a", message="m") as stream:
        async for event in stream:
            assert_type(event, AgentEvent)


def vendor(client: FetchHive) -> None:
    assert_type(client.list_agents("w")["agents"], Any)
    assert_type(client.get_request(id="r"), Envelope)
    assert_type(client.get_agent_delegation(ID), Envelope)
    assert_type(client.cancel_agent_delegation("d"), Envelope)
    assert_type(client.list_thread_delegations("t"), Envelope)
    assert_type(client.list_tool_action_approvals("w", status="pending", limit=5), Envelope)
    assert_type(client.get_tool_action_approval("w", "ap"), Envelope)
    assert_type(client.decide_tool_action_approval("w", "ap", "deny"), Envelope)
    assert_type(client.list_knowledge_bases("w"), Envelope)
    assert_type(client.get_knowledge_base("w", "kb"), Envelope)
    assert_type(client.create_knowledge_base("w", {"name": "n"}), Envelope)
    assert_type(client.update_knowledge_base("w", "kb", {"name": None}), Envelope)
    assert_type(client.delete_knowledge_base("w", "kb"), Envelope)
    assert_type(client.search_knowledge_base("w", "kb", search_query="q"), Envelope)
    assert_type(client.list_knowledge_base_items("w", "kb"), Envelope)
    assert_type(client.get_knowledge_base_item("w", "kb", id="it"), Envelope)
    assert_type(client.create_knowledge_base_item("w", "kb", {"name": "n"}), Envelope)
    assert_type(client.update_knowledge_base_item("w", "kb", "it", {"name": "n"}), Envelope)
    assert_type(client.delete_knowledge_base_item("w", "kb", "it"), Envelope)
    assert_type(client.regenerate_knowledge_base_item("w", "kb", "it"), Envelope)
    assert_type(client.list_agents("w"), Envelope)
    assert_type(client.get_agent("w", id="a"), Envelope)
    assert_type(client.create_agent("w", {"name": "n"}), Envelope)
    assert_type(client.update_agent("w", "a", {"name": None}), Envelope)
    assert_type(client.delete_agent("w", "a"), Envelope)
    assert_type(client.get_agent_chat("w", "a", "c"), Envelope)
    assert_type(client.create_agent_chat("w", "a", {"name": "n"}), Envelope)
    assert_type(client.update_agent_chat("w", "a", "c", chat={"name": "n"}), Envelope)
    assert_type(client.delete_agent_chat("w", "a", "c"), Envelope)
    assert_type(client.clear_agent_chat_messages("w", "a", "c"), Envelope)
    assert_type(client.list_agent_chat_messages("w", "a", "c"), Envelope)


def callbacks(body: bytes) -> None:
    webhook = Webhook(SecretStr("s"))
    assert_type(webhook.unwrap(body, {"X-Fetch-Hive-Signature": "x"}), CallbackEvent)
    assert_type(webhook.sign(body), dict[str, str])


def refused(client: FetchHive) -> None:
    client.agents.update("a", descripton="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.agents.create(name="n")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.approvals.decide("ap", "always")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.stream(WorkflowRequest(deployment="w"))  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
