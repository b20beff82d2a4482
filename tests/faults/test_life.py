"""Threads, event loops, forks, cancellation, early exits and the end of the program: nothing breaks, nothing stays."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import types
import warnings
from contextlib import suppress

import pytest

from driving import CALM, KEY
from faults.calls import ANSWER, GOOD, GOOD_STREAM, HELLO, SAID, everything_about
from faults.server import CLOSE, END, RESET, STALL, Fault, FaultServer, answer, begin, chunk, event
from fetch_hive_sdk import ConfigurationError, FetchHive, FetchHiveError, StreamInterruptedError

MANY = 8
ENDLESS = Fault(begin(), event(HELLO), STALL)
TOO_MANY = Fault(answer({}, "Retry-After: 0", status="429 Too Many"), refuses=True)


@pytest.fixture
def server():
    """Answers calls by their deployment: good, stream, endless, silent, refused, cut."""
    with FaultServer(GOOD) as server:
        server.scripts.update(
            good=[GOOD],
            stream=[GOOD_STREAM],
            endless=[ENDLESS],
            silent=[Fault(STALL)],
            cut=[Fault(answer(ANSWER, length=999), CLOSE)],
            reset=[Fault(RESET)],
        )
        yield server


def client_of(server, **options: object) -> FetchHive:
    return FetchHive(KEY, server.url, **{"timeout": 5, **options})


# --- Threads and event loops -----------------------------------------------------------------------------------------


def in_threads(count, work):
    """Run the same work in several threads; raise what one of them raised."""
    errors = []

    def run(number):
        try:
            work(number)
        except BaseException as exc:  # noqa: BLE001 - raised again where pytest sees it
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def test_threads_share_a_client(server):
    """Calls, streams and failures of many threads do not get into each other's way."""
    client = client_of(server)

    def work(number):
        for _ in range(10):
            assert client.invoke_prompt(deployment="good").response == SAID
            assert client.invoke_prompt_stream(deployment="stream").collect().response == SAID
            with pytest.raises(FetchHiveError):
                client.invoke_prompt(deployment=("cut", "reset")[number % 2])

    in_threads(MANY, work)
    client.close()

    assert server.wait_until(lambda: server.open_connections == 0)
    assert server.posts == {"good": 10 * MANY, "stream": 10 * MANY, "cut": 5 * MANY, "reset": 5 * MANY}


def test_a_client_closed_by_one_thread_serves_the_others(server):
    """Closing takes away the connections, those of calls under way too, which then say so; later calls work."""
    client = client_of(server)

    def work(number):
        for _ in range(20):
            if number == 0:
                client.close()
            else:
                with suppress(FetchHiveError):
                    client.invoke_prompt(deployment="good")

    in_threads(MANY, work)

    assert client.invoke_prompt(deployment="good").response == SAID
    client.close()
    gc.collect()
    assert server.wait_until(lambda: server.open_connections == 0)


def test_event_loops_share_a_client(server):
    """Event loops one after the other and at once, in threads, each with failures of its own."""
    client = client_of(server)

    async def main():
        for _ in range(5):
            results = await asyncio.gather(
                client.ainvoke_prompt(deployment="good"),
                client.ainvoke_prompt_stream(deployment="stream").collect(),
                client.ainvoke_prompt(deployment="cut"),
                return_exceptions=True,
            )
            assert [result.response for result in results[:2]] == [SAID, SAID]
            assert isinstance(results[2], FetchHiveError)

    def work(number):
        asyncio.run(main())
        asyncio.run(main())

    in_threads(4, work)

    assert server.wait_until(lambda: server.open_connections == 0)
    assert len(client._session.senders.asyncio.connections._loops) <= 4


def test_both_clients_work_side_by_side(server):
    """One `FetchHive` serves blocking and asyncio calls at the same time."""
    client = client_of(server)

    async def main():
        results = await asyncio.gather(
            *[client.ainvoke_prompt(deployment="good") for _ in range(MANY)],
            *[asyncio.to_thread(client.invoke_prompt, deployment="good") for _ in range(MANY)],
        )
        assert {result.response for result in results} == {SAID}

    asyncio.run(main())
    client.close()

    assert server.wait_until(lambda: server.open_connections == 0)


# --- Cancellation ----------------------------------------------------------------------------------------------------


@types.coroutine
def cancelled_at(coroutine, when):
    """Await a coroutine, its task being cancelled where it waits for the n-th time, for each n in `when`."""
    waits, step = 0, (coroutine.send, None)
    while True:
        try:
            waited_for = step[0](step[1])
        except StopIteration as stop:
            return stop.value
        if waits in when:
            asyncio.current_task().cancel()
        waits += 1
        try:
            step = (coroutine.send, (yield waited_for))
        except BaseException as exc:  # noqa: BLE001 - passed on as it is
            step = (coroutine.throw, exc)


async def call(client, name):
    return await client.ainvoke_prompt(deployment=name)


async def collect(client, name):
    return await client.ainvoke_prompt_stream(deployment=name).collect()


async def leave(client, name):
    async with client.ainvoke_prompt_stream(deployment=name) as stream:
        async for _ in stream:
            break


async def drop(client, name):
    async for _ in client.ainvoke_prompt_stream(deployment=name):
        break


KINDS = {
    "call": (call, "good"),
    "cold call": (call, "good"),
    "refused, then good": (call, "refused"),
    "stream": (collect, "stream"),
    "cold stream": (collect, "stream"),
    "stream that is left": (leave, "endless"),
    "stream that is dropped": (drop, "endless"),
    "broken call": (call, "cut"),
}


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_can_be_cancelled_anywhere(server, kind, again):
    """A call cancelled at any of its awaits takes nothing along: all places for connections can be used again."""
    make, name = KINDS[kind]
    client = client_of(server)
    awaits, ended = 0, False
    while not ended:
        assert awaits < 500
        server.scripts["refused"] = [TOO_MANY, GOOD]
        if kind.startswith("cold"):
            await client.aclose()
        else:
            await client.ainvoke_prompt(deployment="good")
        when = {awaits, awaits + 1} if again else {awaits}
        task = asyncio.ensure_future(wrapped(cancelled_at(make(client, name), when)))
        ended = await outcome_of(task) != "cancelled"
        awaits += 1

        # Whatever is left over has had its turn.
        gc.collect()
        await wait_for_no_task()
        assert not any(is_used for _, is_used in connections_of(client))
        results = await asyncio.gather(*[client.ainvoke_prompt(deployment="good") for _ in range(MANY)])
        assert {result.response for result in results} == {SAID}
        held = [transport for transport, _ in connections_of(client)]
        assert all(transport.is_usable() for transport in held), held
        assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == len(held))  # noqa: B023

    await client.aclose()
    assert awaits > 3
    assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == 0)


def connections_of(client):
    connections = getattr(client._session.senders.asyncio, "connections", None)  # an injected client has its own
    loops = () if connections is None else connections._loops.values()
    return [connection for connections in loops for connection in connections._slots.all()]


async def wrapped(awaitable):
    return await awaitable


async def outcome_of(task):
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled"
    except FetchHiveError:
        return "failed"
    return "answered"


async def wait_for_no_task():
    for _ in range(100):
        if len(asyncio.all_tasks()) == 1:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(asyncio.all_tasks())


async def test_a_silent_call_can_be_cancelled(server):
    """`asyncio.wait_for` and its like end a call at once; the connection is closed."""
    client = client_of(server, timeout=60)

    for _ in range(MANY + 1):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.ainvoke_prompt(deployment="silent"), 0.05)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.ainvoke_prompt_stream(deployment="endless").collect(), 0.05)

    assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == 0)
    assert (await client.ainvoke_prompt(deployment="good")).response == SAID
    await client.aclose()


# --- Early exits -----------------------------------------------------------------------------------------------------


class LeftError(Exception):
    """Raised by the body of a loop."""


def left_by_break(client):
    for _ in client.invoke_prompt_stream(deployment="endless"):
        break


def left_by_return(client):
    with client.invoke_prompt_stream(deployment="endless") as stream:
        for item in stream:
            return item
    return None


def left_by_exception(client):
    with suppress(LeftError), client.invoke_prompt_stream(deployment="endless") as stream:
        for _ in stream:
            raise LeftError


def left_by_an_exception_without_with(client):
    with suppress(LeftError):
        for _ in client.invoke_prompt_stream(deployment="endless"):
            raise LeftError


def left_by_close(client):
    stream = client.invoke_prompt_stream(deployment="endless")
    next(stream)
    stream.close()
    with pytest.raises(StreamInterruptedError, match="closed before its end") as caught:
        stream.collect()
    assert caught.value.partial.text == "Hello"


def left_unread(client):
    with client.invoke_prompt_stream(deployment="endless"):
        pass


def left_in_text(client):
    for _ in client.invoke_prompt_stream(deployment="endless").text():
        break


def left_in_a_cycle(client):
    stream = client.invoke_prompt_stream(deployment="endless")
    stream.itself = stream
    next(stream)


EXITS = [
    left_by_break,
    left_by_return,
    left_by_exception,
    left_by_an_exception_without_with,
    left_by_close,
    left_unread,
    left_in_text,
    left_in_a_cycle,
]


@pytest.mark.parametrize("leave_early", EXITS)
def test_a_stream_that_is_left_gives_its_connection_back(server, leave_early):
    """However a stream is left, its connection is closed and its place is free, without a warning."""
    client = client_of(server)

    for _ in range(MANY + 1):
        leave_early(client)
        gc.collect()
        assert server.wait_until(lambda: server.open_connections == 0)

    assert len(getattr(client._session.senders.blocking, "_slots", ())) == 0  # an injected client has its own
    assert client.invoke_prompt(deployment="good").response == SAID
    client.close()


async def aleft_by_break(client):
    async for _ in client.ainvoke_prompt_stream(deployment="endless"):
        break


async def aleft_by_return(client):
    async with client.ainvoke_prompt_stream(deployment="endless") as stream:
        async for item in stream:
            return item
    return None


async def aleft_by_exception(client):
    with suppress(LeftError):
        async with client.ainvoke_prompt_stream(deployment="endless") as stream:
            async for _ in stream:
                raise LeftError


async def aleft_by_an_exception_without_with(client):
    with suppress(LeftError):
        async for _ in client.ainvoke_prompt_stream(deployment="endless"):
            raise LeftError


async def aleft_by_close(client):
    stream = client.ainvoke_prompt_stream(deployment="endless")
    await stream.__anext__()
    await stream.aclose()
    with pytest.raises(StreamInterruptedError, match="closed before its end") as caught:
        await stream.collect()
    assert caught.value.partial.text == "Hello"


async def aleft_unread(client):
    async with client.ainvoke_prompt_stream(deployment="endless"):
        pass


async def aleft_in_text(client):
    async for _ in client.ainvoke_prompt_stream(deployment="endless").text():
        break


async def aleft_in_a_cycle(client):
    stream = client.ainvoke_prompt_stream(deployment="endless")
    stream.itself = stream
    await stream.__anext__()


async def aleft_by_cancellation(client):
    begun = asyncio.Event()

    async def read():
        async for _ in client.ainvoke_prompt_stream(deployment="endless"):
            begun.set()

    task = asyncio.ensure_future(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


AEXITS = [
    aleft_by_break,
    aleft_by_return,
    aleft_by_exception,
    aleft_by_an_exception_without_with,
    aleft_by_close,
    aleft_unread,
    aleft_in_text,
    aleft_in_a_cycle,
    aleft_by_cancellation,
]


@pytest.mark.parametrize("leave_early", AEXITS)
async def test_an_asyncio_stream_that_is_left_gives_its_connection_back(server, leave_early):
    """The twin does the same."""
    client = client_of(server)

    for _ in range(MANY + 1):
        await leave_early(client)
        gc.collect()
        await wait_for_no_task()
        assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == 0)

    assert connections_of(client) == []
    assert (await client.ainvoke_prompt(deployment="good")).response == SAID
    await client.aclose()


@pytest.mark.parametrize("leave_early", AEXITS)
def test_an_event_loop_may_end_with_a_stream_that_is_left(server, leave_early):
    """`asyncio.run` ends cleanly whatever was left in it, twice in a row."""
    client = client_of(server)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(leave_early(client))
        asyncio.run(leave_early(client))
        gc.collect()

    assert server.wait_until(lambda: server.open_connections == 0)


def test_an_abandoned_client_closes_its_connections(server):
    """A client that nobody knows any more leaves no connection behind."""
    client = client_of(server)
    left_by_break(client)
    client.invoke_prompt(deployment="good")
    assert server.wait_until(lambda: server.open_connections == 1)

    del client
    gc.collect()

    assert server.wait_until(lambda: server.open_connections == 0)


async def test_an_abandoned_asyncio_client_closes_its_connections(server):
    """The twin does the same, while its event loop goes on."""
    client = client_of(server)
    await aleft_by_break(client)
    await wait_for_no_task()
    await client.ainvoke_prompt(deployment="good")
    assert server.open_connections >= 1

    del client
    gc.collect()

    assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == 0)


# --- Processes -------------------------------------------------------------------------------------------------------


def run_program(server, code: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program with every warning an error; it knows `client`, `asyncio`, `os` and `sys`."""
    head = f"""
        import asyncio, logging, os, sys
        from fetch_hive_sdk import FetchHive
        logging.getLogger("asyncio").setLevel(logging.ERROR)  # a slow machine is no fault
        client = FetchHive({KEY!r}, {server.url!r}, timeout=5)
    """
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", CALM + textwrap.dedent(head) + textwrap.dedent(code)],
        capture_output=True,
        timeout=60,
        check=False,
    )


PROGRAMS = {
    "a call": """
        client.invoke_prompt(deployment="good")
    """,
    "an open stream": """
        stream = client.invoke_prompt_stream(deployment="endless")
        next(stream)
    """,
    "an entered stream": """
        stream = client.invoke_prompt_stream(deployment="endless").__enter__()
    """,
    "a thread with a stream": """
        import threading
        begun = threading.Event()
        def read():
            for _ in client.invoke_prompt_stream(deployment="endless"):
                begun.set()
        threading.Thread(target=read, daemon=True).start()
        begun.wait()
    """,
    "an asyncio call": """
        asyncio.run(client.ainvoke_prompt(deployment="good"))
        asyncio.run(client.ainvoke_prompt(deployment="good"))
    """,
    "an open asyncio stream": """
        async def main():
            global stream
            stream = client.ainvoke_prompt_stream(deployment="endless")
            await stream.__anext__()
        asyncio.run(main())
        asyncio.run(main())
    """,
    "a task with a stream": """
        async def read(begun):
            async for _ in client.ainvoke_prompt_stream(deployment="endless"):
                begun.set()
        async def main():
            begun = asyncio.Event()
            global task
            task = asyncio.create_task(read(begun))
            await begun.wait()
        asyncio.run(main())
    """,
    "an exception": """
        sys.excepthook = lambda *args: None
        with client.invoke_prompt_stream(deployment="endless") as stream:
            for event in stream:
                raise SystemExit(0)
    """,
    "a failed call": """
        try:
            client.invoke_prompt(deployment="cut")
        except Exception as exc:
            error = exc
        try:
            asyncio.run(client.ainvoke_prompt(deployment="cut"))
        except Exception as exc:
            another = exc
    """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_cleanly(server, name):
    """A program that closes nothing ends without a word, all warnings being errors."""
    done = run_program(server, PROGRAMS[name])

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert server.wait_until(lambda: server.open_connections == 0)


FORKS = {
    "an idle connection": """
        client.invoke_prompt(deployment="good")
        child = os.fork()
        for _ in range(3):
            assert client.invoke_prompt(deployment="good").response == "Hello world"
    """,
    "an open stream": """
        stream = client.invoke_prompt_stream(deployment="gated")
        assert next(stream).response == "Hello"
        child = os.fork()
        assert client.invoke_prompt(deployment="good").response == "Hello world"
        if child:
            # Not before the child has ended and cannot have taken the connection with it.
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            client.invoke_prompt(deployment="open the gate")
            assert stream.collect().response == "Hello world"
            sys.exit(0)
        del stream
    """,
    "asyncio connections": """
        asyncio.run(client.ainvoke_prompt(deployment="good"))
        loop = asyncio.new_event_loop()
        loop.run_until_complete(client.ainvoke_prompt(deployment="good"))
        child = os.fork()
        assert asyncio.run(client.ainvoke_prompt(deployment="good")).response == "Hello world"
        if child:
            assert loop.run_until_complete(client.ainvoke_prompt(deployment="good")).response == "Hello world"
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        else:
            os._exit(0)  # an event loop that was open at the fork cannot be closed here
    """,
}


@pytest.mark.skipif(sys.platform != "linux", reason="os.waitstatus_to_exitcode and a fork that is safe")
@pytest.mark.parametrize("name", FORKS)
def test_a_fork_goes_its_own_way(server, name):
    """Parent and child both go on; the child neither uses nor closes what is the parent's, not even when it ends."""
    gate = threading.Event()

    def wait_for_the_gate():
        assert gate.wait(30)
        return chunk(b"")[:0]

    def open_the_gate():
        gate.set()
        return answer(ANSWER)

    rest = [event(item) for item in ({"type": "response", "response": " world"}, {"type": "usage", "usage": {}})]
    server.scripts["gated"] = [Fault(begin(), event(HELLO), wait_for_the_gate, *rest, END)]
    server.scripts["open the gate"] = [Fault(open_the_gate)]
    code = textwrap.dedent(FORKS[name]) + textwrap.dedent("""
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)

    done = run_program(server, code)
    gate.set()

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert server.wait_until(lambda: server.open_connections == 0)


# --- Secrets ---------------------------------------------------------------------------------------------------------


def test_a_client_shows_no_key(server):
    """Neither a client nor anything in it shows the key, before or after a call, and its pickle has none."""
    client = client_of(server)
    client.invoke_prompt(deployment="good")
    asyncio.run(client.ainvoke_prompt(deployment="good"))

    for this in (client, copy.copy(client), copy.deepcopy(client), client.with_options(timeout=3)):
        assert KEY not in repr(this)
        assert KEY not in repr(vars(this))
        assert KEY not in repr([vars(part) for part in vars(this).values() if hasattr(part, "__dict__")])
        assert KEY.encode() not in pickle.dumps(this)
    client.close()


BAD_KEYS = [f"{KEY}\nX-Injected: 1", f"{KEY} {KEY}", f"{KEY}\u20ac", f"{KEY}\0"]


@pytest.mark.parametrize("key", BAD_KEYS, ids=["newline", "blank", "non-ASCII", "NUL"])
def test_a_key_that_cannot_be_is_not_shown(key):
    """Not in the message, and not in the frames of ours that a crash report would show."""
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        FetchHive(key)

    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next  # less the frame of this test, which knows the key
    assert KEY not in everything_about(error)


@pytest.mark.parametrize(
    "options",
    [{"base_url": "ftp://x"}, {"base_url": "http://hive.test"}, {"base_url": "https://u:p@hive.test"}, {"timeout": -1}],
    ids=["scheme", "plain http", "user", "timeout"],
)
def test_a_setting_that_cannot_work_shows_no_key(options, monkeypatch):
    """Whatever else is wrong, the key is not in the frames of ours, given or from the environment."""
    for given in ({}, {"api_key": KEY}):
        monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
        with pytest.raises(ConfigurationError) as caught:
            FetchHive(**given, **options)

        error = caught.value
        error.__traceback__ = error.__traceback__.tb_next  # less the frame of this test, which knows the key
        assert KEY not in everything_about(error)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_environment_is_not_asked_twice(server, monkeypatch):
    """An unpickled client takes its key from the environment of where it is unpickled."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
    client = pickle.loads(pickle.dumps(client_of(server)))

    assert client.invoke_prompt(deployment="good").response == SAID
    client.close()
    assert f"authorization: bearer {KEY}".encode() in server.heads[-1].lower()
