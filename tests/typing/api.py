"""Correctly typed uses of the API. Four type checkers must accept them in strict mode; never run."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Annotated, Any, Literal, Optional, Union

import httpx
from pydantic import BaseModel, Field, TypeAdapter
from typing_extensions import TypedDict, assert_never, assert_type

from fetch_hive_sdk import (
    AgentReply,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncPromptStream,
    AsyncTypedStream,
    CompletionTokens,
    ConfigurationError,
    ErrorEvent,
    FetchHive,
    FetchHiveError,
    InvokeRequest,
    InvokeResponse,
    OutputValidationError,
    PartialAnswer,
    Prompt,
    PromptRequest,
    PromptResponse,
    PromptStream,
    PromptTokens,
    RateLimitError,
    ReasoningEvent,
    ResponseError,
    ResponseEvent,
    StreamEvent,
    StreamFailedError,
    StreamInterruptedError,
    TypedStream,
    UnknownEvent,
    Usage,
    UsageEvent,
    WorkflowRun,
    prompt,
)


class Ticket(BaseModel):
    title: str
    priority: int = 1


@dataclasses.dataclass
class Point:
    x: int


class Row(TypedDict):
    name: str


def calls(client: FetchHive) -> None:
    result = client.invoke_prompt(deployment="d", variant="v", inputs={"n": 1, "items": ["a"]}, metadata={"a": 1})
    assert_type(result, InvokeResponse)
    assert_type(result.response, str)
    assert_type(result.usage, Usage)
    assert_type(result.usage.total_tokens, Optional[int])
    assert_type(result.usage.prompt_tokens.cached_tokens, Optional[int])
    assert_type(result.usage.completion_tokens.reasoning_tokens, Optional[int])
    assert_type(result.model, Optional[str])
    assert_type(result.stop_reason, Optional[str])
    assert_type(result.raw, "dict[str, Any]")
    assert_type(result["response"], Any)
    assert_type(dict(result), "dict[str, Any]")

    client.invoke_prompt(deployment="d", inputs=Ticket(title="t"), timeout=3, extra_body={"seed": 1})
    client.invoke(InvokeRequest(deployment="d"), timeout=httpx.Timeout(5))
    client.invoke(InvokeRequest(deployment="d", inputs=Ticket(title="t"), metadata=None))
    strings: dict[str, str] = {}
    client.invoke_prompt(deployment="d", inputs=strings, metadata=strings)


def outputs(result: InvokeResponse) -> None:
    assert_type(result.output_as(Ticket), Ticket)
    assert_type(result.output_as(Point), Point)
    assert_type(result.output_as(Row), Row)
    assert_type(result.output_as(list[int]), "list[int]")
    adapter: TypeAdapter[Union[int, str]] = TypeAdapter(Union[int, str])
    assert_type(result.output_as(adapter), Union[int, str])


def models() -> None:
    """Constructed directly, as in the tests of a caller."""
    usage = Usage(prompt_tokens=PromptTokens(total_tokens=3), total_tokens=4)
    assert_type(InvokeResponse(response="Short.", usage=usage).usage.prompt_tokens.total_tokens, Optional[int])
    assert_type(ResponseEvent(response="Sh").type, Literal["response"])
    assert_type(UnknownEvent(wire_type="delta").raw["type"], Any)
    assert_type(CompletionTokens.model_validate({}).reasoning_tokens, Optional[int])
    request = InvokeRequest(
        deployment="d", variant=None, inputs={"n": 1}, user="u", metadata={"a": None}, streaming=True
    )
    assert_type(request.raw, "dict[str, object]")
    assert_type(list(request.inputs.values()), "list[object]")
    assert_type(request.model_copy(update={"user": "v"}), InvokeRequest)
    adapter: TypeAdapter[StreamEvent] = TypeAdapter(StreamEvent)
    assert_type(adapter.validate_python({"type": "response", "response": ""}), StreamEvent)
    assert_type(PartialAnswer().text, str)


@prompt("summarise", variant="prod", user="u", metadata={"team": "news"})
def summarise(text: str, *, tone: Literal["dry", "warm"] = "dry", ticket: Optional[Ticket] = None) -> Ticket:
    """Summarise an article for the newsletter."""
    raise NotImplementedError


@prompt("classify")
def classify(text: Annotated[str, Field(alias="input-text", max_length=9)]) -> Literal["yes", "no"]:
    raise NotImplementedError


@prompt("list-rows")
def list_rows(count: int = 3) -> list[Row]:
    raise NotImplementedError


def typed_prompts(client: FetchHive) -> None:
    request = summarise("A text.", tone="warm", ticket=Ticket(title="t"))
    assert_type(request, PromptRequest[Ticket])
    assert_type(request.raw, "dict[str, object]")
    answer = client.invoke(request, timeout=3)
    assert_type(answer, PromptResponse[Ticket])
    assert_type(answer.output, Ticket)
    assert_type(answer.output.priority, int)
    assert_type(answer.usage.total_tokens, Optional[int])
    assert_type(client.invoke(classify("a")).output, Literal["yes", "no"])
    assert_type(client.invoke(list_rows()).output, "list[Row]")
    assert_type(request.read(client.invoke(InvokeRequest(deployment="d"))), PromptResponse[Ticket])

    assert_type(summarise.deployment, str)
    assert_type(summarise.variant, Optional[str])
    assert_type(summarise.with_options(variant="v", user="u", metadata={"a": 1})(text="a"), PromptRequest[Ticket])
    assert_type(summarise.inputs, type[BaseModel])


def typed_prompts_of_any_kind(
    client: FetchHive, prompts: Sequence[Prompt[..., Any]], requests: Sequence[PromptRequest[object]]
) -> None:
    """Prompts and requests are covariant in their output type."""
    typed_prompts_of_any_kind(client, [summarise, classify, list_rows], [summarise("a"), classify("a")])
    for item in prompts:
        assert_type(item.deployment, str)
    for each in requests:
        assert_type(client.invoke(each).output, object)


def plain(request: InvokeRequest, answer: InvokeResponse, stream: PromptStream, client: FetchHive) -> None:
    """A typed request or stream is accepted in place of a plain one."""
    plain(summarise("a"), client.invoke(summarise("a")), client.stream(summarise("a")), client)
    assert_type(client.invoke(request), InvokeResponse)
    assert_type(client.stream(request), PromptStream)
    assert_type(stream.collect(), InvokeResponse)
    assert_type(answer.response, str)


def typed_requests(client: FetchHive) -> None:
    request = PromptRequest(deployment="d", variant="v", inputs=Ticket(title="t"), output=Ticket)
    assert_type(request, PromptRequest[Ticket])
    assert_type(client.invoke(request).output, Ticket)
    adapter: TypeAdapter[Union[Ticket, str]] = TypeAdapter(Union[Ticket, str])
    assert_type(client.invoke(PromptRequest(deployment="d", output=adapter)).output, Union[Ticket, str])


def typed_streams(client: FetchHive) -> None:
    stream = client.stream(summarise("a"))
    assert_type(stream, TypedStream[Ticket])
    with stream as opened:
        assert_type(opened, TypedStream[Ticket])
        for event in opened:
            assert_type(event, StreamEvent)
    assert_type(stream.snapshots(), Generator[Any, None, None])
    assert_type(stream.text(), Generator[str, None, None])
    assert_type(stream.collect(), PromptResponse[Ticket])
    assert_type(stream.collect().output, Ticket)


async def typed_prompts_of_asyncio(client: FetchHive) -> None:
    answer = await client.ainvoke(summarise("a"))
    assert_type(answer, PromptResponse[Ticket])
    assert_type(answer.output, Ticket)
    stream = client.astream(summarise("a"))
    assert_type(stream, AsyncTypedStream[Ticket])
    assert_type(stream.snapshots(), AsyncGenerator[Any, None])
    assert_type((await stream.collect()).output, Ticket)
    answers = await asyncio.gather(client.ainvoke(summarise("a")), client.ainvoke(classify("a")))
    assert_type(answers[0].output, Ticket)
    assert_type(answers[1].output, Literal["yes", "no"])


def streams(client: FetchHive) -> None:
    stream = client.invoke_prompt_stream(deployment="d")
    assert_type(stream, PromptStream)
    for event in stream:
        assert_type(event, StreamEvent)
    with client.stream(InvokeRequest(deployment="d")) as opened:
        assert_type(opened, PromptStream)
        for piece in opened.text():
            assert_type(piece, str)
    assert_type(stream.collect(), InvokeResponse)
    assert_type(stream.collect().output_as(Ticket), Ticket)
    assert_type(stream.partial, PartialAnswer)


async def asyncio_calls(client: FetchHive) -> None:
    assert_type(await client.ainvoke_prompt(deployment="d"), InvokeResponse)
    assert_type(await client.ainvoke(InvokeRequest(deployment="d")), InvokeResponse)
    async for event in client.ainvoke_prompt_stream(deployment="d"):
        assert_type(event, StreamEvent)
    async with client.ainvoke_prompt_stream(deployment="d") as stream:
        assert_type(stream, AsyncPromptStream)
        async for piece in stream.text():
            assert_type(piece, str)
    assert_type(await stream.collect(), InvokeResponse)
    assert_type(stream.partial.usage, Optional[Usage])
    results = await asyncio.gather(client.ainvoke_prompt(deployment="a"), client.ainvoke_prompt(deployment="b"))
    assert_type(results[0].response, str)
    async with client as same:
        assert_type(same, FetchHive)


def narrowing_by_type(event: StreamEvent) -> str:
    if event.type == "reasoning":
        assert_type(event, ReasoningEvent)
        return event.response
    if event.type == "response":
        assert_type(event, ResponseEvent)
        return event.response
    if event.type == "usage":
        assert_type(event, UsageEvent)
        assert_type(event.usage, Usage)
        return str(event.usage.total_tokens)
    if event.type == "error":
        assert_type(event, ErrorEvent)
        return event.error or ""
    if event.type == "unknown":
        assert_type(event, UnknownEvent)
        return event.wire_type
    assert_never(event)


def narrowing_by_class(event: StreamEvent) -> str:
    if isinstance(event, (ReasoningEvent, ResponseEvent)):
        return event.response
    if isinstance(event, UsageEvent):
        return event.stop_reason or ""
    if isinstance(event, ErrorEvent):
        return event.error_code or ""
    unknown: UnknownEvent = event
    assert_type(unknown.type, Literal["unknown"])
    return event.wire_type


def legacy(client: FetchHive) -> None:
    for chunk in client.invoke_prompt_stream(deployment="d"):
        if chunk.get("type") == "response":
            assert_type(chunk.get("response", ""), Any)
        elif "usage" in chunk:
            assert_type(chunk["usage"]["total_tokens"], Any)


def errors(client: FetchHive) -> None:
    try:
        client.invoke_prompt(deployment="d")
    except ConfigurationError as exc:
        value_error: ValueError = exc
        assert_type(value_error.args, "tuple[Any, ...]")
    except RateLimitError as exc:
        assert_type(exc.retry_after, Optional[float])
        assert_type(exc.response, httpx.Response)
    except APIStatusError as exc:
        assert_type(exc.status_code, int)
        assert_type(exc.error_code, Optional[str])
        assert_type(exc.body, object)
    except StreamInterruptedError as exc:
        assert_type(exc.partial, PartialAnswer)
        assert_type(exc.partial.usage, Optional[Usage])
    except APITimeoutError as exc:
        assert_type(exc.phase, Literal["connect", "write", "read", "pool", "total", "idle"])
        assert_type(exc.maybe_processed, bool)


def more_errors(client: FetchHive) -> None:
    try:
        client.invoke_prompt(deployment="d")
    except APIConnectionError as exc:
        transport_error: httpx.TransportError = exc
        assert_type(transport_error.request, httpx.Request)
        assert_type(exc.body, bytes)
    except ResponseError as exc:
        assert_type(exc.body, object)
        assert_type(exc.partial, Optional[PartialAnswer])
    except StreamFailedError as exc:
        assert_type(exc.error_code, Optional[str])
    except OutputValidationError as exc:
        assert_type(exc.response, Union[InvokeResponse, AgentReply, WorkflowRun])
    except FetchHiveError as exc:
        assert_type(exc.request_id, Optional[str])
        assert_type(exc.attempts, int)


def errors_of_httpx(client: FetchHive) -> None:
    try:
        client.invoke_prompt(deployment="d")
    except httpx.HTTPStatusError as exc:
        assert_type(exc.response.status_code, int)


def options(client: FetchHive) -> None:
    assert_type(client.with_options(timeout=3, max_retries=0), FetchHive)
    FetchHive("key", "https://hive.test", 3)
    FetchHive(timeout=None)
    FetchHive(None, None, httpx.Timeout(None), idle_timeout=None, http_client=httpx.Client())
    FetchHive(
        async_http_client=httpx.AsyncClient(),
        default_headers={"X-Gateway": "a"},
        prompt_path="/invoke",
        allow_http=True,
    )
    with client as same:
        assert_type(same, FetchHive)
