"""Threads, event loops, forks, cancellation, early exits and interpreter exit: calls work, and no resource leaks."""

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
from faults.calls import ANSWER, ANSWER_TEXT, GOOD, GOOD_STREAM, HELLO, everything_shown_by
from faults.server import CLOSE, END, RESET, STALL, Fault, FaultServer, answer, begin, chunk, event
from fetch_hive_sdk import ConfigurationError, FetchHive, FetchHiveError, StreamInterruptedError

MANY = 8
ENDLESS = Fault(begin(), event(HELLO), STALL)
TOO_MANY = Fault(answer({}, "Retry-After: 0", status="429 Too Many"), refuses=True)


@pytest.fixture
def server():
    """A server that chooses the fault by deployment: good, stream, endless, silent, cut or reset."""
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
    """Run a function in several threads, and raise the first exception of any of them."""
    errors = []

    def run(number):
        try:
            work(number)
        except BaseException as exc:  # noqa: BLE001 - raised again in the main thread
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def test_threads_share_a_client(server):
    """Calls, streams and errors of several threads do not affect each other."""
    client = client_of(server)

    def work(number):
        for _ in range(10):
            assert client.invoke_prompt(deployment="good").response == ANSWER_TEXT
            assert client.invoke_prompt_stream(deployment="stream").collect().response == ANSWER_TEXT
            with pytest.raises(FetchHiveError):
                client.invoke_prompt(deployment=("cut", "reset")[number % 2])

    in_threads(MANY, work)
    client.close()

    assert server.wait_until(lambda: server.open_connections == 0)
    assert server.posts == {"good": 10 * MANY, "stream": 10 * MANY, "cut": 5 * MANY, "reset": 5 * MANY}


def test_client_can_be_closed_while_other_threads_use_it(server):
    """Closing ends the calls in progress with an error; later calls open new connections."""
    client = client_of(server)

    def work(number):
        for _ in range(20):
            if number == 0:
                client.close()
            else:
                with suppress(FetchHiveError):
                    client.invoke_prompt(deployment="good")

    in_threads(MANY, work)

    assert client.invoke_prompt(deployment="good").response == ANSWER_TEXT
    client.close()
    gc.collect()
    assert server.wait_until(lambda: server.open_connections == 0)


def test_event_loops_share_a_client(server):
    """Sequential and concurrent event loops, in threads, with successful and failing calls."""
    client = client_of(server)

    async def main():
        for _ in range(5):
            results = await asyncio.gather(
                client.ainvoke_prompt(deployment="good"),
                client.ainvoke_prompt_stream(deployment="stream").collect(),
                client.ainvoke_prompt(deployment="cut"),
                return_exceptions=True,
            )
            assert [result.response for result in results[:2]] == [ANSWER_TEXT, ANSWER_TEXT]
            assert isinstance(results[2], FetchHiveError)

    def work(number):
        asyncio.run(main())
        asyncio.run(main())

    in_threads(4, work)

    assert server.wait_until(lambda: server.open_connections == 0)
    assert len(client._session.senders.asyncio.connections._loops) <= 4


def test_blocking_and_asyncio_calls_can_be_concurrent(server):
    """One `FetchHive` serves blocking and asyncio calls at the same time."""
    client = client_of(server)

    async def main():
        results = await asyncio.gather(
            *[client.ainvoke_prompt(deployment="good") for _ in range(MANY)],
            *[asyncio.to_thread(client.invoke_prompt, deployment="good") for _ in range(MANY)],
        )
        assert {result.response for result in results} == {ANSWER_TEXT}

    asyncio.run(main())
    client.close()

    assert server.wait_until(lambda: server.open_connections == 0)


# --- Cancellation ----------------------------------------------------------------------------------------------------


@types.coroutine
def cancelled_at(coroutine, when):
    """Await a coroutine, and cancel the task at its n-th wait, for each n in `when`."""
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
        except BaseException as exc:  # noqa: BLE001 - thrown into the coroutine
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
    "stream left early": (leave, "endless"),
    "stream without with": (drop, "endless"),
    "incomplete response": (call, "cut"),
}


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("kind", KINDS)
async def test_call_can_be_cancelled_at_any_await(server, kind, again):
    """Cancelling a call at any of its awaits leaks neither a connection nor a slot."""
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

        # Let leftover tasks finish.
        gc.collect()
        await wait_for_no_task()
        assert not any(is_used for _, is_used in connections_of(client))
        results = await asyncio.gather(*[client.ainvoke_prompt(deployment="good") for _ in range(MANY)])
        assert {result.response for result in results} == {ANSWER_TEXT}
        held = [transport for transport, _ in connections_of(client)]
        assert all(transport.is_usable() for transport in held), held
        assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == len(held))  # noqa: B023

    await client.aclose()
    assert awaits > 3
    assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == 0)


def connections_of(client):
    connections = getattr(client._session.senders.asyncio, "connections", None)  # an injected client has its own pool
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


async def test_waiting_call_can_be_cancelled(server):
    """`asyncio.wait_for` ends a call at once, and the connection is closed."""
    client = client_of(server, timeout=60)

    for _ in range(MANY + 1):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.ainvoke_prompt(deployment="silent"), 0.05)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.ainvoke_prompt_stream(deployment="endless").collect(), 0.05)

    assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == 0)
    assert (await client.ainvoke_prompt(deployment="good")).response == ANSWER_TEXT
    await client.aclose()


# --- Early exits -----------------------------------------------------------------------------------------------------


class LeftError(Exception):
    """Raised in the body of a loop."""


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
def test_stream_left_early_closes_its_connection(server, leave_early):
    """However the caller leaves a stream, its connection is closed and its slot is freed, without warnings."""
    client = client_of(server)

    for _ in range(MANY + 1):
        leave_early(client)
        gc.collect()
        assert server.wait_until(lambda: server.open_connections == 0)

    assert len(getattr(client._session.senders.blocking, "_slots", ())) == 0  # an injected client has its own pool
    assert client.invoke_prompt(deployment="good").response == ANSWER_TEXT
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
async def test_asyncio_stream_left_early_closes_its_connection(server, leave_early):
    """The asyncio twin does the same."""
    client = client_of(server)

    for _ in range(MANY + 1):
        await leave_early(client)
        gc.collect()
        await wait_for_no_task()
        assert await asyncio.to_thread(server.wait_until, lambda: server.open_connections == 0)

    assert connections_of(client) == []
    assert (await client.ainvoke_prompt(deployment="good")).response == ANSWER_TEXT
    await client.aclose()


@pytest.mark.parametrize("leave_early", AEXITS)
def test_event_loop_can_end_with_an_unfinished_stream(server, leave_early):
    """`asyncio.run` ends without warnings, twice in a row."""
    client = client_of(server)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(leave_early(client))
        asyncio.run(leave_early(client))
        gc.collect()

    assert server.wait_until(lambda: server.open_connections == 0)


def test_deleted_client_closes_its_connections(server):
    """Deleting the last reference to a client closes its connections."""
    client = client_of(server)
    left_by_break(client)
    client.invoke_prompt(deployment="good")
    assert server.wait_until(lambda: server.open_connections == 1)

    del client
    gc.collect()

    assert server.wait_until(lambda: server.open_connections == 0)


async def test_deleted_asyncio_client_closes_its_connections(server):
    """The asyncio twin does the same while its event loop is running."""
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
    """Run a program that treats warnings as errors. It can use `client`, `asyncio`, `os` and `sys`."""
    head = f"""
        import asyncio, logging, os, sys
        from fetch_hive_sdk import FetchHive
        logging.getLogger("asyncio").setLevel(logging.ERROR)  # ignore slow callbacks
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
def test_program_exits_without_warnings(server, name):
    """A program that does not close its client or streams exits without output or warnings."""
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
        stream = client.invoke_prompt_stream(deployment="paused")
        assert next(stream).response == "Hello"
        child = os.fork()
        assert client.invoke_prompt(deployment="good").response == "Hello world"
        if child:
            # Wait until the child has exited, to detect whether its exit closes the connection.
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            client.invoke_prompt(deployment="resume the stream")
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
            os._exit(0)  # the child cannot close an event loop of its parent
    """,
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs os.waitstatus_to_exitcode and a safe fork")
@pytest.mark.parametrize("name", FORKS)
def test_forked_child_does_not_affect_its_parent(server, name):
    """Both processes keep working. The child neither uses nor closes its parent's connections, even when it exits."""
    resumed = threading.Event()

    def wait_for_resume():
        assert resumed.wait(30)
        return chunk(b"")[:0]

    def resume():
        resumed.set()
        return answer(ANSWER)

    rest = [event(item) for item in ({"type": "response", "response": " world"}, {"type": "usage", "usage": {}})]
    server.scripts["paused"] = [Fault(begin(), event(HELLO), wait_for_resume, *rest, END)]
    server.scripts["resume the stream"] = [Fault(resume)]
    code = textwrap.dedent(FORKS[name]) + textwrap.dedent("""
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)

    done = run_program(server, code)
    resumed.set()

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert server.wait_until(lambda: server.open_connections == 0)


# --- Secrets ---------------------------------------------------------------------------------------------------------


def test_client_does_not_show_its_key(server):
    """The repr, attributes, copies and pickle of a client do not contain its key."""
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


@pytest.mark.parametrize("key", BAD_KEYS, ids=["newline", "space", "non-ASCII", "NUL"])
def test_invalid_key_is_not_shown(key):
    """Neither in the message nor in the stack frames that a crash report would show."""
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        FetchHive(key)

    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next  # without the frame of this test, which contains the key
    assert KEY not in everything_shown_by(error)


@pytest.mark.parametrize(
    "options",
    [{"base_url": "ftp://x"}, {"base_url": "http://hive.test"}, {"base_url": "https://u:p@hive.test"}, {"timeout": -1}],
    ids=["scheme", "plain http", "user", "timeout"],
)
def test_error_of_an_invalid_setting_does_not_show_the_key(options, monkeypatch):
    """The SDK's stack frames do not contain the key, whether it was passed or read from the environment."""
    for given in ({}, {"api_key": KEY}):
        monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
        with pytest.raises(ConfigurationError) as caught:
            FetchHive(**given, **options)

        error = caught.value
        error.__traceback__ = error.__traceback__.tb_next  # without the frame of this test, which contains the key
        assert KEY not in everything_shown_by(error)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_unpickled_client_reads_its_key_from_the_environment(server, monkeypatch):
    """The pickle of a client does not contain its key."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
    client = pickle.loads(pickle.dumps(client_of(server)))

    assert client.invoke_prompt(deployment="good").response == ANSWER_TEXT
    client.close()
    assert f"authorization: bearer {KEY}".encode() in server.heads[-1].lower()
