"""The fake service, in process and on a port, with blocking and asyncio clients."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    FetchHive,
    InternalServerError,
    InvokeRequest,
    NotFoundError,
    RateLimitError,
    ResponseDecodeError,
    ResponseEvent,
    StreamFailedError,
    StreamInterruptedError,
    StreamTimeoutError,
    UnknownEvent,
    UnprocessableEntityError,
)
from fetch_hive_sdk.testing import TEST_KEY, Answer, FakeServer, Fault, Refusal, StreamScript


@pytest.fixture
def fake():
    return FakeServer()


@pytest.fixture(params=["in process", "on a port"])
def reach(request, fake):
    """A client of the fake service, in process or over a real connection."""
    if request.param == "in process":
        yield fake.client
        return
    with fake.serve() as url:
        clients = []

        def connect(**options: object) -> FetchHive:
            clients.append(FetchHive(TEST_KEY, url, **options))
            return clients[-1]

        yield connect
        for client in clients:
            client.close()


@pytest.fixture
def naps(monkeypatch):
    """Records sleeps of both kinds instead of waiting."""
    naps = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr(asyncio, "sleep", nap)
    return naps


def test_returns_scripted_answer(drive, fake, reach):
    """A deployment returns its scripted text, reasoning, usage and model."""
    fake.answers("d", "Short.", reasoning="Hm.", usage={"total_tokens": 3}, model="m")

    result = drive.invoke(reach(), deployment="d", inputs={"text": "long"})

    assert (result.response, result.reasoning, result.model) == ("Short.", "Hm.", "m")
    assert result.usage.total_tokens == 3
    assert result.stop_reason == "completed"
    assert result.request_id.startswith("req_")


@pytest.mark.parametrize("usage", [None, {"total_tokens": 3, "duration": 9.0}])
def test_streams_the_same_answer(drive, fake, reach, usage):
    """A stream has the same text, reasoning, usage and stop reason as the answer in one piece."""
    fake.answers("d", "It is\n\nshort. ", reasoning="Let me see.", usage=usage)
    client = reach()

    whole = drive.invoke(client, deployment="d")
    collected = drive.collect(client, deployment="d")

    assert {**collected.raw, "request_id": ""} == {**whole.raw, "request_id": ""}


def test_does_not_escape_letters(fake):
    """JSON is not escaped, as from the service, with every version of httpx."""
    fake.answers("d", "caf\u00e9")
    fake.fails("e", 400, message="caf\u00e9", headers={"content-type": "application/problem+json"})

    def ask(deployment: str) -> httpx.Response:
        call = {"json": {"deployment": deployment}, "headers": {"authorization": "Bearer k"}}
        return fake.handle(httpx.Request("POST", "https://x.test/v1/invoke", **call))

    assert "caf\u00e9".encode() in ask("d").content
    assert ask("d").headers["content-type"] == "application/json"
    assert "caf\u00e9".encode() in ask("e").content
    assert ask("e").headers.get_list("content-type") == ["application/problem+json"]


def test_counts_words_without_scripted_usage(drive, fake, reach):
    """Without scripted usage, words are counted as tokens."""
    fake.answers("d", "one two", reasoning="three")

    usage = drive.invoke(reach(), deployment="d", inputs={"a": "b"}).usage

    assert usage.completion_tokens.total_tokens == 3
    assert usage.completion_tokens.reasoning_tokens == 1
    assert usage.total_tokens == usage.prompt_tokens.total_tokens + 3


def test_streams_scripted_pieces(drive, fake, reach):
    """A stream sends the scripted pieces; joined, they are the answer in one piece."""
    fake.answers("d", pieces=["Sh", "ort."])
    client = reach()

    assert drive.text(client, deployment="d") == ["Sh", "ort."]
    assert drive.invoke(client, deployment="d").response == "Short."


def test_rejects_pieces_that_differ_from_the_text(fake):
    """An answer whose stream would differ from its text is an error when it is scripted."""
    assert Answer(pieces=["Sh", "ort."]).text == "Short."
    with pytest.raises(ValueError, match="the joined pieces must be the text"):
        fake.answers("d", "Short.", pieces=["Lo", "ng."])


@pytest.mark.parametrize("answer", [Answer("Short."), lambda request: "Short."])
def test_rejects_arguments_that_would_be_ignored(fake, answer):
    """Arguments for a string cannot be combined with an `Answer` or a function."""
    with pytest.raises(TypeError, match="put them into the Answer"):
        fake.answers("d", answer, reasoning="Hm.")


def test_streams_pieces_and_events(drive, fake, reach):
    """A stream can be scripted as a list of strings, dicts, models and raw data."""
    fake.streams("pieces", ["Sh", "ort."])
    fake.streams("events", ["Sh", {"type": "tool_call"}, ResponseEvent(response="ort."), "data: [DONE]\n\n"])
    client = reach()

    assert drive.collect(client, deployment="pieces").response == "Short."
    events = drive.events(client, deployment="events")

    assert [event.raw.get("response") for event in events] == ["Sh", None, "ort."]
    assert isinstance(events[1], UnknownEvent)


def test_event_list_ends_where_scripted(drive, fake, reach):
    """A list of events without an end is an interrupted stream."""
    fake.streams("d", [{"type": "response", "response": "Sh"}])

    with pytest.raises(StreamInterruptedError) as caught:
        drive.collect(reach(), deployment="d")

    assert caught.value.partial.text == "Sh"


WHOLE = StreamScript(model="m", request_id="req_1").reasoning("Hm.").text("Sh", "ort.")


def test_plays_a_script(drive, fake, reach):
    """A script sends its events; without an end, usage and `[DONE]` are added."""
    fake.streams("d", WHOLE.comment().event({"type": "tool_call"}).event(ResponseEvent(response="!")))

    events = drive.events(reach(), deployment="d")

    assert [event.type for event in events] == ["reasoning", "response", "response", "unknown", "response", "usage"]
    assert {event.request_id for event in events[:3]} == {"req_1"}
    assert events[0].model == "m"
    assert events[-1].usage.completion_tokens.total_tokens == 2


def test_does_not_add_scripted_usage_again(drive, fake, reach):
    """Usage is not added to a script with usage, nor to a failed stream."""
    fake.streams("scripted", WHOLE.usage({"total_tokens": 9}, stop_reason="length"))
    fake.streams("failed", WHOLE.error("provider failed", "provider_error"))
    client = reach()

    scripted = drive.collect(client, deployment="scripted")
    events = drive.events(client, deployment="failed")

    assert (scripted.usage.total_tokens, scripted.stop_reason) == (9, "length")
    assert [event.type for event in events[-2:]] == ["response", "error"]
    assert events[-1].error_code == "provider_error"


def test_scripts_are_immutable():
    """Each method returns a longer script, so that scripts can share a beginning."""
    longer = WHOLE.text("!")

    assert len(longer.steps) == len(WHOLE.steps) + 1
    assert longer != WHOLE


@pytest.mark.parametrize("end", ["ends_early", "breaks", "stalls"])
def test_rejects_steps_after_the_end(end):
    """No step can follow the end of a script."""
    with pytest.raises(ValueError, match="has ended"):
        getattr(WHOLE, end)().text("more")


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_rejects_negative_pauses(seconds):
    """A pause must be 0 seconds or more."""
    with pytest.raises(ValueError, match="must be 0 or more, not"):
        WHOLE.pause(seconds)


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (WHOLE.ends_early(), StreamInterruptedError, "before the answer was complete"),
        (WHOLE.breaks(), StreamInterruptedError, "the connection broke"),
        (WHOLE.stalls(), StreamTimeoutError, "sent no data"),
        (WHOLE.broken_json(), ResponseDecodeError, "JSON"),
        (WHOLE.wire(b'data: {"type": "usa').breaks(), StreamInterruptedError, "the connection broke"),
    ],
    ids=["early", "break", "stall", "broken JSON", "break inside of an event"],
)
def test_plays_scripted_failures(drive, fake, reach, script, error, words):  # noqa: PLR0917 - three are fixtures
    """Each scripted failure raises the same error as on a real network, and keeps the received text."""
    fake.streams("d", script)

    with pytest.raises(error, match=words) as caught:
        drive.collect(reach(timeout=httpx.Timeout(5, read=0.2)), deployment="d")

    assert caught.value.partial.text == "Short."
    assert caught.value.maybe_processed


def test_stall_in_process_raises_at_once(drive, fake, naps):
    """In process, a stall is a timeout at once, even with a timeout of an hour."""
    fake.stalls("call")
    fake.streams("stream", WHOLE.stalls())
    fake.streams("pause", WHOLE.pause(3601))
    fake.streams("idle", WHOLE.pause(31))
    client = fake.client(timeout=3600)

    with pytest.raises(APITimeoutError):
        drive.invoke(client, deployment="call")
    for deployment, options in {"stream": {}, "pause": {}, "idle": {"idle_timeout": 30}}.items():
        with pytest.raises(StreamTimeoutError) as caught:
            drive.collect(client.with_options(**options), deployment=deployment)
        assert caught.value.partial.text == "Short."

    assert not any(naps)


def test_plays_scripted_pauses(drive, fake, naps):
    """A pause below the client's timeout is added to the pace of the server."""
    fake.delay = 1
    fake.streams("d", StreamScript().pause(5).text("Sh").pause(2).pause(2).text("ort.").pause(3).ends_early())

    with pytest.raises(StreamInterruptedError):
        drive.collect(fake.client(), deployment="d")

    assert [nap for nap in naps if nap] == [5, 5, 4]


@pytest.mark.parametrize("delay", [0.2, 3601])
def test_pace_above_the_client_timeout_raises(drive, naps, delay):
    """A pace slower than the client's timeout raises a timeout, in process too."""
    fake = FakeServer("one two", delay=delay)

    with pytest.raises(StreamTimeoutError):
        drive.collect(fake.client(timeout=httpx.Timeout(0.1)), deployment="d")

    assert not any(naps)


@pytest.mark.parametrize(("fault", "error"), [("breaks", APIConnectionError), ("stalls", APITimeoutError)])
def test_breaks_and_stalls_before_the_answer(drive, fake, reach, fault, error):
    """A broken or stalled call may have been processed, and is not retried."""
    getattr(fake, fault)("d")
    client = reach(timeout=httpx.Timeout(5, read=0.2))

    for call in (drive.invoke, drive.collect):
        with pytest.raises(error) as caught:
            call(client, deployment="d")
        assert caught.value.maybe_processed
    assert len(fake.calls) == 2


def test_returns_a_list_in_turn(drive, fake, reach):
    """A list scripts one answer of any type for each call, to test retries for example."""
    again = Refusal(429, headers={"Retry-After": "0"})
    fake.answers("d", [again, Fault.BREAK, Answer("first"), lambda request: request.user, WHOLE])
    client = reach(retry_unknown_outcome=True)
    client = client.with_options(max_retries=3)

    assert drive.invoke(client, deployment="d").response == "first"
    assert drive.invoke(client, deployment="d", user="second").response == "second"
    assert drive.collect(client, deployment="d").response == "Short."
    assert len(fake.calls) == 5


def test_rejects_calls_after_the_last_answer(drive, fake, reach):
    """The last answer is not repeated: further calls get a 422, and are added to `mistakes`."""
    fake.answers("d", ["first"])
    client = reach()
    drive.invoke(client, deployment="d")

    with pytest.raises(UnprocessableEntityError, match="'d' was called 2 times, but only 1 answer is scripted"):
        drive.invoke(client, deployment="d")

    assert fake.mistakes == ["'d' was called 2 times, but only 1 answer is scripted"]


def test_rejects_values_that_are_not_answers(drive, fake):
    """A dict or an empty list is rejected when it is scripted; the result of a function when it is called."""
    for answer in ({"response": "Short."}, [b"Short."], None):
        with pytest.raises(TypeError, match="an answer must be a string, an Answer, a Refusal"):
            fake.answers("d", answer)
    with pytest.raises(ValueError, match="must not be empty"):
        fake.answers("d", [])

    fake.answers("d", lambda request: 5)
    with pytest.raises(TypeError, match="not int"):
        drive.invoke(fake.client(), deployment="d")


def test_returns_the_error_codes(fake):
    """`GET /error_codes` needs no key, and has the documented shape."""
    with fake.serve() as url:
        catalogue = httpx.get(f"{url}/error_codes?locale=es", trust_env=False).json()

    assert catalogue["default_field"] == "error_code"
    assert catalogue["compatibility_aliases"] == ["code"]
    codes = {entry["code"]: entry for entry in catalogue["codes"]}
    assert codes["too_many_requests"]["status"] == 429
    assert all(entry["message"] and entry["client_action"] for entry in codes.values())
    assert fake.calls == []


def test_scripted_stream_rejects_calls_without_streaming(drive, fake, reach):
    """A deployment with a scripted stream returns 422 to calls without streaming."""
    fake.streams("d", [{"type": "response", "response": "Sh"}])

    with pytest.raises(UnprocessableEntityError, match="scripted as a stream: set streaming to true"):
        drive.invoke(reach(), deployment="d")


def test_scripted_error_ends_the_answer(drive, fake, reach):
    """An error is the last event of a stream, and a 502 without streaming."""
    fake.answers("d", "Once upon", error="provider failed", error_code="provider_error")
    client = reach()

    with pytest.raises(StreamFailedError, match="provider failed") as caught:
        drive.collect(client, deployment="d")
    assert caught.value.partial.text == "Once upon"
    assert caught.value.error_code == "provider_error"

    with pytest.raises(InternalServerError, match="502"):
        drive.invoke(client, deployment="d")


def test_returns_scripted_error_response(drive, fake, reach):
    """An error response has the scripted status, code, message and headers."""
    fake.fails("d", 429, error_code="too_many_requests", message="slow down", headers={"Retry-After": "3600"})

    with pytest.raises(RateLimitError, match="slow down") as caught:
        drive.invoke(reach(), deployment="d")

    assert caught.value.error_code == "too_many_requests"
    assert caught.value.retry_after == 3600


def test_answers_by_a_function(drive, fake, reach):
    """A function of the request can return a string, an answer or an error response."""

    def behave(request: InvokeRequest):
        if not request.user:
            return Refusal(403, "who are you?")
        return Answer("Hello", model="m") if request.user == "ann" else f"Hello, {request.user}"

    fake.answers("d", behave)
    client = reach()

    assert drive.invoke(client, deployment="d", user="ann").model == "m"
    assert drive.invoke(client, deployment="d", user="bob").response == "Hello, bob"
    with pytest.raises(APIStatusError, match="403"):
        drive.invoke(client, deployment="d")


def test_variant_answer_comes_first(drive, fake, reach):
    """The answer of a variant takes precedence over that of the deployment."""
    fake.answers("d", "any")
    fake.answers("d", "prod", variant="prod")
    client = reach()

    assert drive.invoke(client, deployment="d", variant="prod").response == "prod"
    assert drive.invoke(client, deployment="d", variant="test").response == "any"
    assert drive.invoke(client, deployment="d").response == "any"


def test_records_the_requests(drive, fake, reach):
    """Each accepted request is recorded as a model that the caller could have sent."""
    fake.answers("d", "Short.")

    drive.invoke(reach(), deployment="d", inputs={"text": "long"}, user="u")

    assert fake.calls == [InvokeRequest(deployment="d", inputs={"text": "long"}, user="u", streaming=False)]


def test_records_unknown_fields(drive, fake, reach):
    """Unknown fields from `extra_body` are accepted, and are in `raw`."""
    fake.answers("d", "Short.")

    drive.invoke(reach(), deployment="d", extra_body={"beta": [1]})

    (call,) = fake.calls
    assert call.raw == {"deployment": "d", "streaming": False, "beta": [1]}
    assert call != InvokeRequest(deployment="d")


def test_unknown_deployment_is_not_found(drive, fake, reach):
    """A deployment without a scripted answer is a 404, unless there is a default."""
    with pytest.raises(NotFoundError, match="'d'"):
        drive.invoke(reach(), deployment="d")

    assert drive.invoke(FakeServer("Anything.").client(), deployment="d").response == "Anything."


def test_accepts_only_the_configured_key(drive):
    """A server with an API key rejects all others."""
    fake = FakeServer("Short.", api_key="fhk_right")

    assert drive.invoke(fake.client("fhk_right"), deployment="d").response == "Short."
    with pytest.raises(AuthenticationError):
        drive.invoke(fake.client("fhk_wrong"), deployment="d")
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (httpx.Request("POST", "https://x.test/v1/prompt/invoke", json={"deployment": "d"}), 401),
        (httpx.Request("POST", "https://x.test/v1/invoke", headers={"authorization": "Basic k"}), 401),
        (httpx.Request("GET", "https://x.test/v1/prompt/invoke"), 405),
        (httpx.Request("POST", "https://x.test/v1/agent"), 404),
        (httpx.Request("POST", "https://x.test/v1/invoke", headers={"authorization": "Bearer k"}, content=b"{"), 422),
        (httpx.Request("POST", "https://x.test/v1/invoke", headers={"authorization": "Bearer k"}, json={}), 422),
    ],
)
def test_rejects_invalid_requests(fake, request_, status):
    """Invalid requests get an error response in the shape of the API."""
    response = fake.handle(request_)

    assert response.status_code == status
    assert response.json()["error"] == response.json()["message"]
    assert fake.calls == []


def test_delay_paces_a_stream(drive, naps):
    """`delay` is the pause between events: two pieces, usage and the end have three, also in process."""
    fake = FakeServer("one two", delay=7)

    assert drive.text(fake.client(), deployment="d") == ["one", " two"]
    assert naps == [7, 7, 7]


def test_serve_overrides_the_delay(drive, naps):
    """`serve(delay=...)` overrides the delay of the server."""
    fake = FakeServer("one two", delay=7)

    with fake.serve(delay=3) as url, FetchHive(TEST_KEY, url) as client:
        drive.text(client, deployment="d")

    assert [nap for nap in naps if nap] == [3, 3, 3]


def test_sends_events_at_once():
    """On a port, an event is sent before the next one is produced."""
    is_read = threading.Event()

    class Slow(httpx.SyncByteStream):
        def __iter__(self):
            yield b'data: {"type": "response", "response": "first"}\n\n'
            assert is_read.wait(10)
            yield b'data: {"type": "response", "response": "second"}\n\n'
            yield b"data: [DONE]\n\n"

    fake = FakeServer()
    fake.handle = lambda request: httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Slow())
    with fake.serve() as url, FetchHive(TEST_KEY, url) as client:
        text = client.invoke_prompt_stream(deployment="d").text()
        first = next(text)
        is_read.set()

        assert [first, *text] == ["first", "second"]


def talk(url: str, data: bytes) -> bytes:
    """Send bytes, half-close the connection, and read until the server closes it too."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: ten",
        b"Content-Length: -1",
        b"Transfer-Encoding: chunked",
        b"Host: [::",
    ],
)
def test_rejects_malformed_requests(fake, capfd, head):
    """Malformed HTTP gets a 400, and prints nothing."""
    with fake.serve() as url:
        answer = talk(url, b"POST /v1/invoke HTTP/1.1\r\n%s\r\n\r\n" % head)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert capfd.readouterr().err == ""


def test_answer_to_head_has_no_body(fake):
    """The answer to HEAD has no body, so the connection can be reused."""
    with fake.serve() as url, httpx.Client(trust_env=False) as client:
        statuses = [client.request(method, f"{url}/invoke").status_code for method in ("HEAD", "POST")]

    assert statuses == [405, 401]


def test_makes_no_dns_query(fake, monkeypatch):
    """The server does not look up the name of the loopback address."""
    monkeypatch.setattr(socket, "getfqdn", None)
    fake.answers("d", "Short.")

    with fake.serve() as url, FetchHive(TEST_KEY, url) as client:
        assert client.invoke_prompt(deployment="d").response == "Short."


def test_ignores_disconnected_clients(fake, capfd):
    """A client that disconnects early, or sends nothing, causes no output."""
    fake.streams("d", ["piece "] * 2000)
    with fake.serve() as url:
        address = httpx.URL(url)
        for data in (b"", b"POST /v1/invoke HTTP/1.1\r\nContent-Length: 10\r\n\r\n"):
            with socket.create_connection((address.host, address.port)) as connection:
                connection.sendall(data)
        with FetchHive(TEST_KEY, url) as client:
            for _ in range(5):
                for _event in client.invoke_prompt_stream(deployment="d"):
                    break

    assert capfd.readouterr().err == ""


def test_stops_with_connections_open(fake):
    """Leaving the block does not wait for open connections."""
    fake.answers("d", "Short.")
    client = None
    with fake.serve() as url:
        client = FetchHive(TEST_KEY, url)
        client.invoke_prompt(deployment="d")

    with pytest.raises(httpx.TransportError):
        client.with_options(max_retries=0).invoke_prompt(deployment="d")
    client.close()


def test_stopping_ends_stalled_calls(fake):
    """Calls of a stalled deployment end when the server stops."""
    has_come = threading.Event()

    def stall(request: InvokeRequest) -> Fault:
        has_come.set()
        return Fault.STALL

    fake.answers("d", stall)
    with ThreadPoolExecutor() as threads:
        with fake.serve() as url:
            client = FetchHive(TEST_KEY, url, timeout=60)
            waiting = threads.submit(client.invoke_prompt, deployment="d")
            assert has_come.wait(10)

        with pytest.raises(APIConnectionError, match="broke before the answer"):
            waiting.result(10)
    client.close()


def test_serves_concurrent_calls(fake):
    """Concurrent calls of one event loop are answered in parallel."""
    fake.answers("d", lambda request: json.dumps(request.inputs["n"]))

    async def main(url: str) -> list[str]:
        async with FetchHive(TEST_KEY, url) as client:
            calls = [client.ainvoke_prompt(deployment="d", inputs={"n": number}) for number in range(20)]
            return [result.response for result in await asyncio.gather(*calls)]

    with fake.serve() as url:
        assert asyncio.run(main(url)) == [str(number) for number in range(20)]
