"""Asyncio calls sent with aiohttp. What goes wrong is shown by `tests/faults --async-transport=aiohttp`."""

from __future__ import annotations

import asyncio
import pickle
import socket
import sys
import time

import httpx
import pytest

from driving import KEY
from faults.calls import ANSWER, GOOD, GOOD_STREAM, SAID
from faults.server import CLOSE, END, STALL, Fault, FaultServer, answer, begin, event
from fetch_hive_sdk import APIConnectionError, APITimeoutError, ConfigurationError, FetchHive

pytest.importorskip("aiohttp", reason="the extra aiohttp is not installed")


async def both(client: FetchHive) -> list[str]:
    """A call and a stream."""
    result = await client.ainvoke_prompt(deployment="d")
    collected = await client.ainvoke_prompt_stream(deployment="d").collect()
    return [result.response, collected.response]


def test_calls_and_streams_share_a_connection():
    """An answer and a stream that ended with `[DONE]` give their connection back."""
    with FaultServer(GOOD, GOOD_STREAM, GOOD, GOOD_STREAM) as server:

        async def main() -> list[str]:
            client = FetchHive(KEY, server.url, async_transport="aiohttp")
            return [*await both(client), *await both(client)]

        assert asyncio.run(main()) == [SAID] * 4

    assert server.connections == 1


def test_event_loops_one_after_the_other():
    """Each loop has connections of its own, which go with it: nothing has to be closed."""
    with FaultServer(GOOD, GOOD_STREAM, GOOD, GOOD_STREAM) as server:
        client = FetchHive(KEY, server.url, async_transport="aiohttp")

        assert [asyncio.run(both(client)) for _ in range(2)] == [[SAID] * 2] * 2

    assert server.connections == 2


def test_many_calls_at_once():
    """No number of connections is too large."""
    calls = 150
    with FaultServer(*[GOOD] * calls) as server:

        async def main() -> list[str]:
            async with FetchHive(KEY, server.url, async_transport="aiohttp") as client:
                results = await asyncio.gather(*[client.ainvoke_prompt(deployment="d") for _ in range(calls)])
                return [result.response for result in results]

        assert asyncio.run(main()) == [SAID] * calls


def test_what_came_before_a_break_is_kept():
    """Bytes that aiohttp had received, and nobody had read, are read."""
    with FaultServer(Fault(begin(), event({"type": "response", "response": "Hel"}), CLOSE)) as server:
        client = FetchHive(KEY, server.url, async_transport="aiohttp")

        with pytest.raises(APIConnectionError) as caught:
            asyncio.run(client.ainvoke_prompt_stream(deployment="d").collect())

    assert caught.value.partial.text == "Hel"


def test_an_answer_that_nobody_asked_for_answers_nothing():
    """What a server says on a connection that is at rest is not the answer to the next call."""
    unasked = answer({**ANSWER, "response": "another's"})
    with FaultServer(Fault(answer(ANSWER), 0.05, unasked), GOOD) as server:

        async def main() -> list[str]:
            client = FetchHive(KEY, server.url, async_transport="aiohttp")
            first = await client.ainvoke_prompt(deployment="d")
            await asyncio.sleep(0.2)  # by when it has come; were it later, it would be no worse
            second = await client.ainvoke_prompt(deployment="d")
            return [first.response, second.response]

        assert asyncio.run(main()) == [SAID, SAID]

    assert server.connections == 2


@pytest.mark.parametrize("last", [(), (answer({**ANSWER, "response": "another's"}),)], ids=["silent", "talking"])
def test_a_connection_that_was_left_is_not_used(last):
    """What the server did while the event loop was busy elsewhere is seen before a request is sent on it."""
    with FaultServer(Fault(answer(ANSWER), *last, CLOSE), GOOD) as server:

        async def main() -> str:
            client = FetchHive(KEY, server.url, async_transport="aiohttp")
            await client.ainvoke_prompt(deployment="d")
            while server.open_connections:  # the loop does not turn meanwhile
                time.sleep(0.001)  # noqa: ASYNC251 - just that
            return (await client.ainvoke_prompt(deployment="d")).response

        assert asyncio.run(main()) == SAID

    assert server.connections == 2


def test_large_inputs_are_sent_without_a_warning():
    """Of a body that is larger than it likes, aiohttp would warn."""
    with FaultServer(GOOD) as server:
        client = FetchHive(KEY, server.url, async_transport="aiohttp")

        result = asyncio.run(client.ainvoke_prompt(deployment="d", inputs={"text": "x" * 2_000_000}))

    assert result.response == SAID


def test_connecting_and_reading_have_limits_of_their_own():
    """A connection that is slow to come is a failure to connect, whatever the limit for reading is."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"  # no TLS there
        limits = httpx.Timeout(0.3, read=0.01)
        client = FetchHive(KEY, url, limits, max_retries=0, async_transport="aiohttp")

        with pytest.raises(APITimeoutError) as caught:
            asyncio.run(client.ainvoke_prompt(deployment="d"))

    assert (caught.value.phase, caught.value.maybe_processed) == ("connect", False)


def test_a_broken_connection_is_an_unknown_outcome():
    """The adapter calls it a failure to connect; it is never repeated."""
    with FaultServer(Fault(CLOSE), GOOD) as server:
        client = FetchHive(KEY, server.url, async_transport="aiohttp")

        with pytest.raises(APIConnectionError) as caught:
            asyncio.run(client.ainvoke_prompt(deployment="d"))

    assert caught.value.maybe_processed
    assert caught.value.attempts == 1


def test_nobody_there_is_no_unknown_outcome():
    """A refused connection is tried again, and nothing has been sent."""
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        url = f"http://127.0.0.1:{closed_soon.getsockname()[1]}/v1"
    client = FetchHive(KEY, url, max_retries=1, async_transport="aiohttp")

    with pytest.raises(APIConnectionError) as caught:
        asyncio.run(client.ainvoke_prompt(deployment="d"))

    assert not caught.value.maybe_processed
    assert caught.value.attempts == 2


@pytest.mark.parametrize("limit", [0.2, httpx.Timeout(5, read=0.2)])
def test_a_time_limit_is_kept(limit):
    """Whether it is for the whole call or for each wait."""
    with FaultServer(Fault(answer(ANSWER)[:-5], 2.0, END)) as server:
        client = FetchHive(KEY, server.url, timeout=limit, async_transport="aiohttp")

        with pytest.raises(APITimeoutError) as caught:
            asyncio.run(client.ainvoke_prompt(deployment="d"))

    assert caught.value.phase in {"total", "read"}
    assert caught.value.maybe_processed


def test_cancelling_leaves_nothing_open():
    """A call that is cancelled while it waits closes its connection, and the next call works."""
    arrived = []

    def tell() -> bytes:
        loop, event = arrived
        loop.call_soon_threadsafe(event.set)
        return b""

    with FaultServer(Fault(tell, STALL), GOOD) as server:

        async def main() -> str:
            arrived[:] = asyncio.get_running_loop(), asyncio.Event()
            client = FetchHive(KEY, server.url, async_transport="aiohttp")
            waiting = asyncio.ensure_future(client.ainvoke_prompt(deployment="d"))
            await arrived[1].wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return (await client.ainvoke_prompt(deployment="d")).response

        assert asyncio.run(main()) == SAID


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"async_transport": "curl"}, '"httpx" or "aiohttp"'),
        ({"async_transport": "aiohttp", "async_http_client": httpx.AsyncClient()}, "not both"),
    ],
)
def test_impossible_transports_are_refused(options, said):
    """When the client is made."""
    with pytest.raises(ConfigurationError, match=said):
        FetchHive(KEY, **options)


def test_missing_package_is_named(monkeypatch):
    """The package is an extra."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)

    with pytest.raises(ConfigurationError, match="pip install aiohttp"):
        FetchHive(KEY, async_transport="aiohttp")


def test_transport_is_pickled(monkeypatch):
    """A client that is sent to another process goes on as it was."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
    copy = pickle.loads(pickle.dumps(FetchHive(KEY, async_transport="aiohttp")))

    assert copy._shared.async_transport == "aiohttp"
