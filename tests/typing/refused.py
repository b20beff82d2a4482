"""Type errors in uses of the API. Four type checkers must report them; never run.

Each line has an `ignore` for mypy and for pyright, which report unused ones. ty and pyrefly must report the same lines
and no others.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnusedExpression=false, reportUnusedVariable=false
# ^ these only follow from the errors below

from __future__ import annotations

from typing import Literal

from fetch_hive_sdk import (
    FetchHive,
    InvokeRequest,
    InvokeResponse,
    PromptRequest,
    RateLimitError,
    StreamEvent,
    StreamFailedError,
    prompt,
)
from fetch_hive_sdk.testing import Deployment, FakeServer, Refusal, StreamScript


def arguments(client: FetchHive) -> None:
    client.invoke_prompt()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.invoke_prompt("d")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.invoke_prompt(deployment=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.invoke_prompt(deployment=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.invoke_prompt(deployment="d", varaint="v")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.invoke_prompt(deployment="d", inputs=["a"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.invoke_prompt(deployment="d", inputs="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.invoke_prompt(deployment="d", metadata={"a": [1]})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    client.invoke_prompt(deployment="d", metadata={1: "a"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    client.invoke_prompt(deployment="d", timeout="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.invoke(InvokeRequest(deployment="d"), user="u")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.invoke_prompt_stream(deployment="d", streaming=False)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.ainvoke_prompt_stream(variant="v")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def settings() -> None:
    FetchHive(api_key=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    FetchHive(retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    FetchHive(default_headers={"a": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    FetchHive().with_options(base_ulr="https://hive.test")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def requests() -> None:
    InvokeRequest()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    InvokeRequest(deployment="d", modle="m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    InvokeRequest(deployment="d", inputs=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    InvokeRequest(deployment="d").deployment = "e"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    InvokeRequest(deployment="d").inputs["a"] = 1  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


def answers(result: InvokeResponse) -> None:
    result.respnse  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    result.response = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    result.usage.total_tokens + 1  # type: ignore[operator]  # pyright: ignore[reportOptionalOperand]
    result.model.upper()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    result["response"] = "other"  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    number: int = result.response  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    other: int = result.output_as(str)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(number, other)


async def streams(client: FetchHive) -> None:
    for event in client.ainvoke_prompt_stream(deployment="d"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    async for event in client.invoke_prompt_stream(deployment="d"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    with client.ainvoke_prompt_stream(deployment="d"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    await client.ainvoke_prompt_stream(deployment="d")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await client.invoke_prompt(deployment="d")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    (client.ainvoke_prompt(deployment="d")).response  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    client.invoke_prompt_stream(deployment="d")[0]  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


def events(event: StreamEvent) -> None:
    event.response  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]
    if event.type == "usage":
        event.response  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    if event.type == "response":
        event.usage  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def errors(limit: RateLimitError, failure: StreamFailedError) -> None:
    limit.retry_after + 1  # type: ignore[operator]  # pyright: ignore[reportOptionalOperand]
    limit.partial  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    failure.status_code  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


@prompt("summarise")
def summarise(text: str, *, tone: Literal["dry", "warm"] = "dry") -> list[str]:
    raise NotImplementedError


def typed_prompts(client: FetchHive) -> None:
    summarise()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    summarise(txt="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    summarise(text=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    summarise(text="a", tone="wet")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    summarise("a", "dry")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    summarise("a", variant="v")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    summarise.with_options(varaint="v")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    summarise.with_options(user="u")(text=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    summarise.deployment = "d"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    summarise("a").output = int  # type: ignore[assignment, misc]  # pyright: ignore[reportAttributeAccessIssue]
    client.invoke(summarise)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    client.invoke(summarise("a")).output.title  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    number: int = client.invoke(summarise("a")).output  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    client.invoke(summarise("a")).output = []  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    other: PromptRequest[int] = summarise("a")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    client.invoke(InvokeRequest(deployment="d")).output  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    client.stream(InvokeRequest(deployment="d")).snapshots()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    third: int = client.stream(summarise("a")).collect().output  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    PromptRequest(deployment="d")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    PromptRequest(deployment="d", output="Summary")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    PromptRequest(deployment="d", output=str, inptus={})  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    prompt(summarise)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    prompt("d", varaint="v")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    print(number, other, third)


async def typed_prompts_of_asyncio(client: FetchHive) -> None:
    client.ainvoke(summarise("a")).output  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    number: int = (await client.ainvoke(summarise("a"))).output  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    (await client.ainvoke(summarise(txt="a"))).output  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue, reportUnknownArgumentType]
    print(number)


def kit(fake: FakeServer) -> None:
    fake.answers("d", 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fake.answers(text="Short.")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fake.fails("d", "429")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fake.client().invoke_promt()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    Refusal(message="no")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fake.client(max_retries="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Deployment(name="d").name = "e"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    Refusal(429).status = 500  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    StreamScript().says("a")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    Deployment(answer="a", varients={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
