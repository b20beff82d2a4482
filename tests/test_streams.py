"""`PromptStream` and `AsyncPromptStream`: the tests that are not in `test_shells.py`."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json

import httpx
import pytest

from driving import KEY, Pieces, sse
from fetch_hive_sdk import (
    AsyncPromptStream,
    FetchHive,
    InvokeRequest,
    NotFoundError,
    PromptStream,
    StreamConsumedError,
    StreamFailedError,
    StreamInterruptedError,
)

EVENTS = [
    {"type": "reasoning", "response": "Hm.", "request_id": "req_1", "model": "m"},
    {"type": "response", "response": "Hello", "request_id": "req_1", "model": "m"},
    {"type": "response", "response": " world", "request_id": "req_1", "model": "m"},
    {
        "type": "usage",
        "usage": {"total_tokens": 3, "duration": 1.5},
        "request_id": "req_1",
        "stop_reason": "completed",
    },
]


class Service:
    """Answers every call with the same stream, and records the bodies to check that they were closed."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces or sse(*EVENTS, "[DONE]")
        self.bodies: list[Pieces] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(Pieces(*self.pieces))
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=self.bodies[-1])

    def client(self) -> FetchHive:
        transport = httpx.MockTransport(self)
        return FetchHive(
            KEY, http_client=httpx.Client(transport=transport), async_http_client=httpx.AsyncClient(transport=transport)
        )


@pytest.fixture
def service():
    return Service()


def test_collect_returns_the_answer_of_a_plain_call(drive, service):
    """The collected answer equals a plain answer, including its duration."""
    result = drive.collect(service.client(), deployment="d")

    assert result.raw == {
        "request_id": "req_1",
        "model": "m",
        "duration": 1.5,
        "reasoning": "Hm.",
        "response": "Hello world",
        "usage": {"total_tokens": 3},
        "stop_reason": "completed",
    }
    assert (result.response, result.duration, result.usage.total_tokens) == ("Hello world", 1.5, 3)


def test_text_yields_only_the_answer(drive, service):
    """`text()` yields the answer without reasoning and usage."""
    assert drive.text(service.client(), deployment="d") == ["Hello", " world"]


def test_stream_can_be_iterated_and_then_collected(service):
    """Events that have been iterated over are in the collected answer and in `partial`."""
    stream = service.client().invoke_prompt_stream(deployment="d")

    first = next(stream)
    second = next(iter(stream))
    partial = stream.partial
    result = stream.collect()

    assert [first.type, second.type] == ["reasoning", "response"]
    assert (partial.text, partial.reasoning, partial.usage) == ("Hello", "Hm.", None)
    assert result.response == "Hello world"
    assert stream.partial.usage == result.usage.model_copy(update={"duration": 1.5})
    assert stream.collect() == result
    with pytest.raises(StopIteration):
        next(stream)
    for again in (iter, lambda stream: next(stream.text())):
        with pytest.raises(StreamConsumedError, match="already consumed"):
            again(stream)


async def test_asyncio_stream_can_be_iterated_and_then_collected(service):
    """The asyncio twin does the same."""
    stream = service.client().ainvoke_prompt_stream(deployment="d")

    first = await stream.__anext__()
    partial = stream.partial
    result = await stream.collect()

    assert first.type == "reasoning"
    assert (partial.text, partial.reasoning) == ("", "Hm.")
    assert result.response == "Hello world"


def test_collecting_a_closed_stream_is_an_error(service):
    """`collect()` must not return a truncated answer."""
    stream = service.client().invoke_prompt_stream(deployment="d")
    next(stream)
    stream.close()

    with pytest.raises(StreamInterruptedError, match="closed before its end") as caught:
        stream.collect()

    assert caught.value.partial.reasoning == "Hm."


async def test_collecting_a_closed_asyncio_stream_is_an_error(service):
    """The asyncio twin does the same."""
    stream = service.client().ainvoke_prompt_stream(deployment="d")
    await stream.__anext__()
    await stream.aclose()

    with pytest.raises(StreamInterruptedError, match="closed before its end"):
        await stream.collect()


async def test_closing_an_unused_stream_sends_nothing(service):
    """The request is not sent, so nothing is billed."""
    client = service.client()
    stream = client.invoke_prompt_stream(deployment="d")
    twin = client.ainvoke_prompt_stream(deployment="d")

    stream.close()
    await twin.aclose()
    with pytest.raises(StreamInterruptedError) as caught:
        stream.collect()
    with pytest.raises(StreamInterruptedError) as caught_twin:
        await twin.collect()

    assert service.bodies == []
    assert not caught.value.maybe_processed
    assert not caught_twin.value.maybe_processed


def test_failed_stream_stays_failed():
    """`text()` and `collect()` raise the error of the service each time; iterating yields no more events."""
    service = Service(*sse(EVENTS[1], {"type": "error", "error": {"message": "busy"}}))
    stream = service.client().invoke_prompt_stream(deployment="d")

    events = list(stream)
    for read in (lambda: list(stream.text()), stream.collect, lambda: list(stream.text()), stream.collect):
        with pytest.raises(StreamFailedError, match="busy"):
            read()
    with pytest.raises(StreamConsumedError) as caught:
        list(stream)

    assert [event.type for event in events] == ["response", "error"]
    assert repr(stream) == "<PromptStream of d, failed>"
    assert (caught.value.request_id, caught.value.attempts) == ("req_1", 1)


async def test_consumed_stream_error_has_the_correlation_id(service):
    """Like every error of a call."""
    client = service.client().with_options(correlate=True)
    stream, twin = client.invoke_prompt_stream(deployment="d"), client.ainvoke_prompt_stream(deployment="d")
    list(stream)
    _ = [event async for event in twin]

    with pytest.raises(StreamConsumedError) as caught:
        list(stream)
    with pytest.raises(StreamConsumedError) as caught_by_twin:
        _ = [event async for event in twin]

    assert caught.value.correlation_id
    assert caught_by_twin.value.correlation_id


async def test_failed_asyncio_stream_stays_failed():
    """The asyncio twin does the same."""
    service = Service(*sse(EVENTS[1], {"type": "error", "error": {"message": "busy"}}))
    stream = service.client().ainvoke_prompt_stream(deployment="d")

    events = [event async for event in stream]
    for _ in range(2):
        with pytest.raises(StreamFailedError, match="busy"):
            _ = [piece async for piece in stream.text()]
        with pytest.raises(StreamFailedError, match="busy"):
            await stream.collect()
    with pytest.raises(StreamConsumedError):
        _ = [event async for event in stream]

    assert [event.type for event in events] == ["response", "error"]
    assert repr(stream) == "<AsyncPromptStream of d, failed>"


def test_iteration_continues_where_another_stopped(service):
    """Iterating over text and over events can alternate. The stream is consumed when it is complete."""
    stream = service.client().invoke_prompt_stream(deployment="d")

    for piece in stream.text():
        assert piece == "Hello"
        break
    for event in stream:
        assert event.response == " world"
        break

    assert list(stream.text()) == []
    with pytest.raises(StreamConsumedError):
        list(stream.text())
    assert stream.collect().response == "Hello world"


async def test_asyncio_iteration_continues_where_another_stopped(service):
    """The asyncio twin does the same. Its first iteration is closed explicitly."""
    stream = service.client().ainvoke_prompt_stream(deployment="d")

    first = await stream.__anext__()
    pieces = stream.text()
    piece = await pieces.__anext__()
    await pieces.aclose()
    second = await stream.__anext__()

    assert (first.type, piece, second.response) == ("reasoning", "Hello", " world")
    assert [piece async for piece in stream.text()] == []
    with pytest.raises(StreamConsumedError):
        await stream.text().__anext__()
    assert (await stream.collect()).response == "Hello world"


def test_interrupted_stream_raises_its_error_again():
    """The repr shows the error."""
    service = Service(*sse(EVENTS[1]), httpx.ReadError("reset"))
    stream = service.client().invoke_prompt_stream(deployment="d")

    for read in (list, list, next, PromptStream.collect):
        with pytest.raises(StreamInterruptedError, match=r"request_id: req_1"):
            read(stream)

    assert repr(stream) == "<PromptStream of d, ended by StreamInterruptedError>"


def test_refused_stream_stays_refused():
    """Every later use raises the error that ended the stream."""
    fake = httpx.MockTransport(lambda request: httpx.Response(404, json={"error": "no such deployment"}))
    stream = FetchHive(KEY, http_client=httpx.Client(transport=fake)).invoke_prompt_stream(deployment="d")

    for read in (list, lambda stream: "".join(stream.text()), PromptStream.collect):
        with pytest.raises(NotFoundError) as caught:
            read(stream)
        assert not caught.value.maybe_processed


def test_stream_belongs_to_its_event_loop(service):
    """Using a stream in another event loop raises an error."""
    stream = service.client().ainvoke_prompt_stream(deployment="d")
    asyncio.run(stream.__anext__())

    async def rest() -> list[object]:
        return [event async for event in stream]

    with pytest.raises(StreamInterruptedError):
        asyncio.run(rest())


async def test_request_copies_its_inputs():
    """Changing the inputs between creating and sending a request has no effect."""
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content)["inputs"]["i"])
        return httpx.Response(200, json={"response": "a"})

    client = FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    inputs: dict[str, object] = {}
    calls = []
    for number in range(3):
        inputs["i"] = number
        calls.append(client.ainvoke(InvokeRequest(deployment="d", inputs=inputs)))
    await asyncio.gather(*calls)

    assert sorted(seen) == [0, 1, 2]


def test_entering_a_stream_twice_sends_once(service):
    """Entering a closed stream again raises an error instead of yielding an empty answer."""
    stream = service.client().invoke_prompt_stream(deployment="d")

    with stream:
        next(stream)
    with stream, pytest.raises(StreamInterruptedError, match="closed before its end"):
        list(stream)

    assert len(service.bodies) == 1


async def test_entering_an_asyncio_stream_twice_sends_once(service):
    """The asyncio twin does the same."""
    stream = service.client().ainvoke_prompt_stream(deployment="d")

    async with stream:
        await stream.__anext__()
    async with stream:
        with pytest.raises(StreamInterruptedError, match="closed before its end"):
            _ = [event async for event in stream]

    assert len(service.bodies) == 1


def test_unreferenced_stream_closes_its_connection(service):
    """Reference counting closes it at once, without the garbage collector."""
    gc.disable()
    try:
        stream = service.client().invoke_prompt_stream(deployment="d")
        next(stream)
        del stream
        text = service.client().invoke_prompt_stream(deployment="d").text()
        next(text)
        del text

        assert [body.is_closed for body in service.bodies] == [True, True]
    finally:
        gc.enable()


def test_unreferenced_asyncio_stream_closes_its_connection(service):
    """The event loop closes it, at the latest when the loop itself is closed."""

    async def main() -> None:
        async for _ in service.client().ainvoke_prompt_stream(deployment="d").text():
            break

    asyncio.run(main())

    assert [body.is_closed for body in service.bodies] == [True]


def test_exception_in_the_loop_closes_the_connection(drive, service):
    """An exception in the caller's loop leaves `with`, which closes the stream."""
    with pytest.raises(ZeroDivisionError):
        raise_in_with(drive, service.client())

    assert service.bodies[0].is_closed


def raise_in_with(drive, client):
    if type(drive).__name__ == "Blocking":
        with client.invoke_prompt_stream(deployment="d") as stream:
            for _ in stream:
                _ = 1 / 0

    async def main() -> None:
        async with client.ainvoke_prompt_stream(deployment="d") as stream:
            async for _ in stream:
                _ = 1 / 0

    asyncio.run(main())


def test_asyncio_stream_has_the_same_methods():
    """Except for `aclose`, which is named `close` there, and for the asyncio forms of the special methods."""
    renamed = {"aclose": "close", "__aiter__": "__iter__", "__anext__": "__next__", "__aenter__": "__enter__"}
    renamed["__aexit__"] = "__exit__"

    def methods(cls: type) -> list[str]:
        return [renamed.get(name, name) for name, value in vars(cls).items() if inspect.isroutine(value)]

    assert methods(AsyncPromptStream) == methods(PromptStream)


def test_repr_of_a_stream_shows_deployment_and_state(service):
    """It does not show the answer."""
    stream = service.client().invoke_prompt_stream(deployment="d")

    states = [repr(stream)]
    next(stream)
    states.append(repr(stream))
    stream.collect()
    states.append(repr(stream))
    left = service.client().invoke_prompt_stream(deployment="d")
    left.close()
    states.append(repr(left))

    assert states == [
        "<PromptStream of d, not sent yet>",
        "<PromptStream of d, open>",
        "<PromptStream of d, complete>",
        "<PromptStream of d, closed>",
    ]


async def test_asyncio_stream_is_consumed_once(service):
    """Its answer can be collected again; iterating again is an error."""
    stream = service.client().ainvoke_prompt_stream(deployment="d")

    result = await stream.collect()

    assert await stream.collect() == result
    assert repr(stream) == "<AsyncPromptStream of d, complete>"
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()
    with pytest.raises(StreamConsumedError, match="already consumed"):
        stream.__aiter__()
    with pytest.raises(StreamConsumedError, match="already consumed"):
        await stream.text().__anext__()
