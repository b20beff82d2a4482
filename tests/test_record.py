"""Recording of a client's calls, and of other programs with the proxy."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import zlib
from functools import partial
from itertools import count
from types import SimpleNamespace

import httpx
import pytest

from driving import ANSWER, KEY, Blocking, Pieces, sse, streamed
from fetch_hive_sdk import (
    APIConnectionError,
    BadRequestError,
    FetchHive,
    InternalServerError,
    NotFoundError,
    StreamInterruptedError,
)
from fetch_hive_sdk.testing import FakeServer, _record, record, recording_proxy, replay
from fetch_hive_sdk.testing._cassette import read_file

EVENTS = [
    {"type": "reasoning", "response": "Hm."},
    {"type": "response", "response": "Short."},
    {"type": "usage", "usage": {"total_tokens": 3}},
]

BODY = {"deployment": "d", "streaming": False}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "cassettes" / "c.json"


@pytest.fixture
def fake():
    fake = FakeServer()
    fake.answers("d", "Short.")
    fake.fails("refused", 404, message="no such thing")
    return fake


def answers_of(file):
    return [call.response for call in read_file(file)]


def test_records_an_answer(drive, file):
    """A call works as usual, and is recorded with its answer and without its key."""
    headers = {"content-type": "application/json", "x-trace": "1"}
    client = drive.client(lambda request: httpx.Response(200, json=ANSWER, headers=headers))

    with record(file, client) as recorded:
        result = drive.invoke(recorded, deployment="d", inputs={"text": KEY})

    assert result.raw == ANSWER
    (call,) = read_file(file)
    assert call.request.body == {"deployment": "d", "inputs": {"text": "***"}, "streaming": False}
    assert (call.response.status, call.response.headers) == (200, {"content-type": "application/json"})
    assert call.response.body == ANSWER
    assert KEY not in file.read_text("utf-8")


def test_records_a_stream_with_its_pace(drive, file):
    """The events of a stream are recorded one by one with their times."""
    client = drive.client(lambda request: streamed(*sse(*EVENTS, "[DONE]")))

    with record(file, client):
        drive.collect(client, deployment="d")

    (answer,) = answers_of(file)
    assert [event.event for event in answer.events[:3]] == EVENTS
    assert answer.events[3].wire == "data: [DONE]\n\n"
    assert answer.ended is None
    assert [event.at for event in answer.events] == sorted(event.at for event in answer.events)


@pytest.mark.parametrize("body", [{"content": gzip.compress(json.dumps(ANSWER).encode())}, None])
def test_records_decompressed_bodies(drive, file, body):
    """Bodies are recorded decompressed, whichever code reads them."""
    packed = gzip.compress(json.dumps(ANSWER).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    body = body or {"stream": Pieces(packed[:5], packed[5:])}
    client = drive.client(lambda request: httpx.Response(200, headers=headers, **body))

    with record(file, client):
        drive.invoke(client, deployment="d")

    assert answers_of(file)[0].body == ANSWER


def test_records_errors_and_retries(drive, file):
    """An error response is recorded, and each attempt is a call."""
    answers = [
        httpx.Response(429, headers={"retry-after": "0"}, json={"error": "slow"}),
        httpx.Response(200, json=ANSWER),
    ]
    client = drive.client(lambda request: answers.pop(0))

    with record(file, client):
        drive.invoke(client, deployment="d")

    first, second = answers_of(file)
    assert (first.status, first.headers["retry-after"], first.body) == (429, "0", {"error": "slow"})
    assert second.status == 200


def test_records_a_compressed_stream_with_its_pace(file):
    """An event has the time at which its last compressed byte arrived."""
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in sse(*EVENTS)]
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    clock = SimpleNamespace(monotonic=partial(next, count()))
    client = Blocking().client(lambda request: httpx.Response(200, headers=headers, stream=Pieces(*packed)))

    with pytest.MonkeyPatch.context() as patch, record(file, client):
        patch.setattr(_record, "time", clock)
        client.invoke_prompt_stream(deployment="d").collect()

    (answer,) = answers_of(file)
    assert [event.event for event in answer.events] == EVENTS
    assert len({event.at for event in answer.events}) == len(EVENTS)


def test_stream_ends_when_its_reader_stops(file):
    """For the order of calls, a stream ends when its reader stops, even if it is still referenced."""
    client = FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(stream_or_answer)))

    async def main():
        async with client.ainvoke_prompt_stream(deployment="z") as stream:
            await stream.__anext__()
        for name in ("b", "a"):
            await client.ainvoke_prompt(deployment=name)

    with record(file, client):
        asyncio.run(main())

    assert [call.request.body["deployment"] for call in read_file(file)] == ["z", "b", "a"]


def stream_or_answer(request):
    if json.loads(request.content)["streaming"]:
        return streamed(*sse(*EVENTS))
    return httpx.Response(200, json=ANSWER)


@pytest.mark.parametrize("form", ["leave", "break_off"])
def test_records_the_received_part_of_a_stream(drive, file, form):
    """If the reader stops early, the received part is recorded and marked."""
    client = drive.client(lambda request: streamed(*sse(*EVENTS)))

    with record(file, client):
        if form == "leave":
            drive.leave(client, 1, deployment="d")
        else:
            drive.break_off(client, deployment="d")

    (answer,) = answers_of(file)
    assert ([event.event for event in answer.events], answer.ended) == (EVENTS[:1], "left")


def test_stream_read_to_its_last_event_is_complete(drive, file):
    """A reader that stops after the last event misses nothing."""
    client = drive.client(lambda request: streamed(*sse(*EVENTS, "[DONE]")))

    with record(file, client):
        drive.leave(client, 3, deployment="d")

    assert answers_of(file)[0].ended is None


def test_records_broken_streams(drive, file):
    """A connection that breaks in mid-stream is recorded as such."""
    client = drive.client(lambda request: streamed(*sse(*EVENTS[:2]), httpx.ReadError("reset")))

    with record(file, client), pytest.raises(StreamInterruptedError):
        drive.collect(client, deployment="d")

    (answer,) = answers_of(file)
    assert (len(answer.events), answer.ended) == (2, "broken")


@pytest.mark.parametrize(
    "answer",
    [
        lambda: streamed(b'{"resp', httpx.ReadError("reset"), media_type="application/json"),
        lambda: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Pieces(b"no gzip")),
    ],
)
def test_records_complete_answers_only(drive, file, answer):
    """A truncated answer in one piece is not recorded, nor is a call without an answer."""
    outcomes = [httpx.ReadError("reset"), answer(), httpx.Response(200, json=ANSWER)]

    def handle(request):
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    client = drive.client(handle)

    with record(file, client):
        for _ in range(2):
            with pytest.raises(Exception, match=r"broke|gzip"):
                drive.invoke(client, deployment="d")
        drive.invoke(client, deployment="d")

    assert len(answers_of(file)) == 1


@pytest.mark.parametrize("status", [600, 999])
def test_records_any_status(drive, file, status):
    """The recorder does not break a call that has been paid for."""
    client = drive.client(lambda request: httpx.Response(status, json={"error": "odd"}))

    with record(file, client), pytest.raises(InternalServerError, match="odd"):
        drive.invoke(client, deployment="d")
    with replay(file) as cassette, pytest.raises(InternalServerError, match="odd") as caught:
        drive.invoke(cassette.client(max_retries=0), deployment="d")

    assert caught.value.status_code == status


def test_answer_that_no_service_can_send_is_not_recorded(drive, file):
    """A mock that sends one still reaches the client."""
    headers = {"content-type": "application/json", "retry-after": "1\n2"}
    client = drive.client(lambda request: httpx.Response(200, headers=headers, json=ANSWER))

    with record(file, client):
        assert drive.invoke(client, deployment="d").raw == ANSWER

    assert not file.exists()


@pytest.mark.parametrize("value", [b"\xff", b"\xc3\xa9", "\u2603".encode()])
def test_headers_with_other_letters_can_be_replayed(drive, file, value):
    """Headers are bytes, which httpx decodes as UTF-8 or Latin-1."""
    headers = [(b"content-type", b"application/json; x=" + value)]
    client = drive.client(lambda request: httpx.Response(200, headers=headers, stream=Pieces(b'{"response": "x"}')))

    with record(file, client):
        drive.invoke(client, deployment="d")
    with replay(file) as cassette:
        assert drive.invoke(cassette.client(), deployment="d").response == "x"
        replayed = replay(file).handle(httpx.Request("POST", "https://x.test/v1/prompt/invoke", json=BODY))

    assert replayed.headers["content-type"] == httpx.Headers(headers)["content-type"]


def test_failing_block_keeps_its_calls(file, fake):
    """The calls before an exception are recorded."""
    client = fake.client()

    def fail():
        client.invoke_prompt(deployment="d")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), record(file, client):
        fail()

    assert len(answers_of(file)) == 1


def test_block_without_answers_keeps_the_older_file(file, fake):
    """A block without answers does not replace an older recording."""
    client = fake.client()
    with record(file, client):
        client.invoke_prompt(deployment="d")

    with record(file, client):
        pass

    assert len(answers_of(file)) == 1


def test_records_only_calls_in_the_block(file, fake):
    """Calls before and after the block, and calls of other clients, are not recorded."""
    client, other = fake.client(), fake.client()
    client.invoke_prompt(deployment="d")

    with record(file, client):
        other.invoke_prompt(deployment="d")
        client.invoke_prompt(deployment="d", user="me")
    client.invoke_prompt(deployment="d")

    (call,) = read_file(file)
    assert call.request.body["user"] == "me"


def test_records_clients_that_share_the_connections(file, fake):
    """Clients made by `with_options` are recorded too. Recording one client twice at once is an error."""
    client = fake.client()

    with record(file, client):
        client.with_options(timeout=5).invoke_prompt(deployment="d")
        with pytest.raises(RuntimeError, match="being recorded already"), record(file, client.with_options()):
            pass
        client.invoke_prompt(deployment="d")

    assert len(answers_of(file)) == 2


def test_records_streams_made_before_the_block(file, fake):
    """A stream is recorded if its request is sent in the block."""
    client = fake.client()
    stream = client.invoke_prompt_stream(deployment="d")

    with record(file, client):
        stream.collect()

    assert len(answers_of(file)) == 1


def test_records_redacted_requests(file, fake):
    """`redact` gets the JSON before it is sent; the service gets it unchanged."""
    client = fake.client()

    with record(file, client, redact=lambda request: {**request, "inputs": {"text": "a text"}}):
        client.invoke_prompt(deployment="d", inputs={"text": "Ada's secret"})

    (call,) = read_file(file)
    assert call.request.body["inputs"] == {"text": "a text"}
    assert fake.calls[0].inputs == {"text": "Ada's secret"}


def test_sends_nothing_when_redact_fails(drive, file):
    """An error in `redact` is raised before the request is sent and billed."""
    asked = []
    client = drive.client(asked.append)

    with record(file, client, redact=lambda request: request["no"]), pytest.raises(KeyError):
        drive.invoke(client, deployment="d")
    with record(file, client, redact=lambda request: {"a": "\ud800"}), pytest.raises(ValueError, match="surrogates"):
        drive.invoke(client, deployment="d")

    assert asked == []


def test_unwritable_file_is_reported_at_once(tmp_path, fake):
    """A folder instead of a file is reported before the first call."""
    with pytest.raises(PermissionError, match="the file is not writable"), record(tmp_path, fake.client()):
        raise AssertionError("not reached")


def test_relative_path_is_resolved_at_the_start(file, fake, monkeypatch, tmp_path):
    """A relative path refers to the folder at the start of the block."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()

    with record("cassettes/c.json", fake.client()) as client:
        monkeypatch.chdir(other)
        client.invoke_prompt(deployment="d")

    assert len(read_file(file)) == 1


def test_same_program_writes_the_same_file(file):
    """Calls are sorted by their start, and concurrent calls by their requests."""

    def handle(request):
        if b"gate" in request.content:
            barrier.wait()
        return httpx.Response(200, json=ANSWER)

    def written(*order):
        client = Blocking().client(handle)
        with record(file, client):
            client.invoke_prompt(deployment="z")
            threads = []
            for name in order:
                threads.append(threading.Thread(target=client.invoke_prompt, kwargs={"deployment": name}))
                threads[-1].start()
            for thread in threads:
                thread.join()
            client.invoke_prompt(deployment="a")
        return [call.request.body["deployment"] for call in read_file(file)]

    names = ["gate-1", "gate-2", "gate-3"]
    barrier = threading.Barrier(len(names))

    assert written(*names) == ["z", *names, "a"]
    assert written(*reversed(names)) == ["z", *names, "a"]


def test_correlation_ids_are_not_recorded(drive, file, fake):
    """They are random: the same program can be replayed."""
    with record(file, fake.client(correlate=True)) as client:
        recorded = drive.invoke(client, deployment="d", metadata={"mine": 1})
    with replay(file) as cassette:
        assert drive.invoke(cassette.client(correlate=True), deployment="d", metadata={"mine": 1}) == recorded

    (call,) = read_file(file)
    assert call.request.body["metadata"] == {"mine": 1, "fetch_hive_sdk.correlation": "correlation"}


# --- The proxy -------------------------------------------------------------------------------------------------------


@pytest.fixture
def service(fake):
    """The fake on a port, with a base path of its own."""
    with fake.serve() as url:
        yield url


def test_proxy_records_any_client(file, service):
    """Any client gets the answer of the service, and the recording is without its key."""
    with recording_proxy(file, service) as proxy:
        client = FetchHive(KEY, proxy.url)
        with client:
            whole = client.invoke_prompt(deployment="d", inputs={"text": KEY})
            text = client.invoke_prompt_stream(deployment="d").collect().response
            with pytest.raises(NotFoundError, match="no such thing"):
                client.invoke_prompt(deployment="refused")
        counted = proxy.calls

    assert (whole.response, text) == ("Short.", "Short.")
    assert counted == 3
    assert [call.request.path for call in read_file(file)] == ["/prompt/invoke"] * 3
    assert [answer.status for answer in answers_of(file)] == [200, 200, 404]
    assert KEY not in file.read_text("utf-8")


def test_proxy_forwards_the_key(file):
    """The service gets the client's key, and no trace of the proxy's address."""
    fake = FakeServer("Yes.", api_key=KEY)
    with fake.serve() as service, recording_proxy(file, service) as proxy, FetchHive(KEY, proxy.url) as client:
        assert client.invoke_prompt(deployment="d").response == "Yes."
        with pytest.raises(Exception, match="401"):
            client.with_options(api_key="fhk_another").invoke_prompt(deployment="d")


def test_proxy_forwards_events_at_once(file):
    """The client gets an event before the service sends the next."""
    taken = threading.Event()

    class Waits(httpx.SyncByteStream):
        def __iter__(self):
            first, *rest = sse(*EVENTS)
            yield first
            assert taken.wait(10)
            yield from rest

    def handle(request):
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Waits())

    from fetch_hive_sdk.testing._server import serve  # noqa: PLC0415 - only here

    with serve(handle) as service, recording_proxy(file, service) as proxy, FetchHive(KEY, proxy.url) as client:
        events = iter(client.invoke_prompt_stream(deployment="d"))
        first = next(events)
        taken.set()
        rest = list(events)

    assert [event.type for event in [first, *rest]] == ["reasoning", "response", "usage"]
    assert answers_of(file)[0].ended is None


def test_proxy_refuses_calls_whose_redact_fails(file, fake, service, capfd):
    """The client knows that nothing was sent, and does not retry."""
    with (
        recording_proxy(file, service, redact=lambda request: request["no"]) as proxy,
        FetchHive(KEY, proxy.url) as client,
        pytest.raises(BadRequestError, match="KeyError: 'no'") as caught,
    ):
        client.invoke_prompt(deployment="d")

    assert not caught.value.maybe_processed
    assert fake.calls == []
    assert capfd.readouterr().err == ""


def test_proxy_forwards_any_number_of_calls_at_once(file):
    """A call that waited in the proxy would be sent after its caller has given up."""
    together = threading.Barrier(101)
    fake = FakeServer(default=lambda call: str(together.wait(10)))
    with fake.serve() as service, recording_proxy(file, service) as proxy, FetchHive(KEY, proxy.url) as client:
        threads = [
            threading.Thread(target=client.invoke_prompt, kwargs={"deployment": "d"}) for _ in range(together.parties)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(answers_of(file)) == together.parties


def test_proxy_sends_nothing_for_a_caller_that_has_left(file, fake, service):
    """A run that nobody waits for would still be billed."""
    gone = threading.Event()

    def wait_until_gone(body):
        assert gone.wait(30)
        return body

    with recording_proxy(file, service, redact=wait_until_gone) as proxy:
        address = httpx.URL(proxy.url)
        with socket.create_connection((address.host, address.port), timeout=30) as connection:
            connection.sendall(b"POST /v1/invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            connection.shutdown(socket.SHUT_WR)
            gone.set()
            assert connection.recv(100).startswith(b"HTTP/1.1 503 ")

    assert fake.calls == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_proxy_returns_503_without_a_service(file, host):
    """An unreachable service has run nothing, so clients may retry."""
    with FakeServer().serve() as service:
        pass
    service = service.replace("127.0.0.1", host)

    with recording_proxy(file, service) as proxy, FetchHive(KEY, proxy.url, max_retries=0) as client:
        call = partial(client.invoke_prompt, deployment="d")
        with pytest.raises(InternalServerError, match="the service did not answer") as caught:
            call()

    assert caught.value.status_code == 503
    assert not caught.value.maybe_processed
    assert not file.exists()


def test_proxy_forwards_broken_streams(file, raw_service):
    """A stream that breaks also breaks for the client, and is recorded as broken."""
    with recording_proxy(file, raw_service) as proxy, FetchHive(KEY, proxy.url) as client:
        with pytest.raises(StreamInterruptedError):
            client.invoke_prompt_stream(deployment="d").collect()
        with pytest.raises((APIConnectionError, InternalServerError)) as caught:
            client.invoke_prompt(deployment="no answer")

    assert caught.value.maybe_processed
    (answer,) = answers_of(file)
    assert (answer.events[0].event, answer.ended) == (EVENTS[0], "broken")


@pytest.fixture
def raw_service():
    """A service that breaks the first call in mid-stream, and the others before the answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    (event,) = sse(EVENTS[0])
    answers = [head + b"%x\r\n%s\r\n" % (len(event), event)]

    def run():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answers.pop() if answers else b"")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_records_blocking_and_asyncio_at_once(file, fake):
    """One recording can have calls of both kinds."""
    client = fake.client()

    async def ask():
        await asyncio.gather(
            client.ainvoke_prompt(deployment="d"), client.ainvoke_prompt_stream(deployment="d").collect()
        )

    with record(file, client):
        client.invoke_prompt(deployment="d")
        asyncio.run(ask())

    assert len(answers_of(file)) == 3
