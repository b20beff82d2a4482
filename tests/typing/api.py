"""The API as a typed caller uses it. Checked by mypy and pyright, strictly; never run."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Optional, Union

import httpx
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict, assert_never, assert_type

from fetch_hive_sdk import (
    APIStatusError,
    APITimeoutError,
    AsyncPromptStream,
    ErrorEvent,
    FetchHive,
    InvokeRequest,
    InvokeResponse,
    PartialAnswer,
    PromptStream,
    RateLimitError,
    ReasoningEvent,
    ResponseEvent,
    StreamEvent,
    StreamInterruptedError,
    UnknownEvent,
    Usage,
    UsageEvent,
)
from fetch_hive_sdk.testing import Cassette, record, recording_proxy, replay


class Ticket(BaseModel):
    title: str
    priority: int = 1


@dataclasses.dataclass
class Point:
    x: int


class Row(TypedDict):
    name: str


def tests(client: FetchHive) -> None:
    with record("c.json", client) as recorded:
        assert_type(recorded, FetchHive)
    with replay("c.json", redact=lambda request: {**request, "inputs": {}}, pace=1) as cassette:
        assert_type(cassette, Cassette)
        assert_type(cassette.client(), FetchHive)
        assert_type(cassette.handle(httpx.Request("POST", "https://x.test")), httpx.Response)
    with cassette.serve() as url, recording_proxy("c.json", url) as proxy:
        assert_type(proxy.url, str)


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
    client.invoke_prompt(InvokeRequest(deployment="d"), timeout=httpx.Timeout(5))
    client.invoke_prompt(InvokeRequest(deployment="d", inputs=Ticket(title="t"), metadata=None))
    strings: dict[str, str] = {}
    client.invoke_prompt(deployment="d", inputs=strings, metadata=strings)
    client.invoke_prompt()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.invoke_prompt(deployment=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    client.invoke_prompt(deployment="d", varaint="v")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.invoke_prompt(deployment="d", metadata={"a": [1]})  # type: ignore[dict-item]  # pyright: ignore[reportCallIssue, reportArgumentType]
    client.invoke_prompt(InvokeRequest(deployment="d"), user="u")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def outputs(result: InvokeResponse) -> None:
    assert_type(result.output_as(Ticket), Ticket)
    assert_type(result.output_as(Point), Point)
    assert_type(result.output_as(Row), Row)
    assert_type(result.output_as(list[int]), "list[int]")
    adapter: TypeAdapter[Union[int, str]] = TypeAdapter(Union[int, str])
    assert_type(result.output_as(adapter), Union[int, str])


def streams(client: FetchHive) -> None:
    stream = client.invoke_prompt_stream(deployment="d")
    assert_type(stream, PromptStream)
    for event in stream:
        assert_type(event, StreamEvent)
    with client.invoke_prompt_stream(InvokeRequest(deployment="d")) as opened:
        assert_type(opened, PromptStream)
        for piece in opened.text():
            assert_type(piece, str)
    assert_type(stream.collect(), InvokeResponse)
    assert_type(stream.collect().output_as(Ticket), Ticket)
    assert_type(stream.partial, PartialAnswer)


async def asyncio_calls(client: FetchHive) -> None:
    assert_type(await client.ainvoke_prompt(deployment="d"), InvokeResponse)
    assert_type(await client.ainvoke_prompt(InvokeRequest(deployment="d")), InvokeResponse)
    async for event in client.ainvoke_prompt_stream(deployment="d"):
        assert_type(event, StreamEvent)
    async with client.ainvoke_prompt_stream(deployment="d") as stream:
        assert_type(stream, AsyncPromptStream)
        async for piece in stream.text():
            assert_type(piece, str)
    assert_type(await stream.collect(), InvokeResponse)
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
    assert_type(event, UnknownEvent)
    assert_type(event.type, Literal["unknown"])
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


def options(client: FetchHive) -> None:
    assert_type(client.with_options(timeout=3, max_retries=0), FetchHive)
    FetchHive("key", "https://hive.test", 3)
    FetchHive(api_key=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
