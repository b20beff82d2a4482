"""The fake service: in process and on a loopback port, for both clients."""

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
    """The waits of both kinds, which are noted and not waited for."""
    naps = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr(asyncio, "sleep", nap)
    return naps


def test_answers_as_told(drive, fake, reach):
    """A deployment answers with the text, reasoning, usage and model that it was given."""
    fake.answers("d", "Short.", reasoning="Hm.", usage={"total_tokens": 3}, model="m")

    result = drive.invoke(reach(), deployment="d", inputs={"text": "long"})

    assert (result.response, result.reasoning, result.model) == ("Short.", "Hm.", "m")
    assert result.usage.total_tokens == 3
    assert result.stop_reason == "completed"
    assert result.request_id.startswith("req_")


@pytest.mark.parametrize("usage", [None, {"total_tokens": 3, "duration": 9.0}])
def test_streams_the_same_answer(drive, fake, reach, usage):
    """A stream has the same text, reasoning, usage and end as the answer in one piece."""
    fake.answers("d", "It is\n\nshort. ", reasoning="Let me see.", usage=usage)
    client = reach()

    whole = drive.invoke(client, deployment="d")
    collected = drive.collect(client, deployment="d")

    assert {**collected.raw, "request_id": ""} == {**whole.raw, "request_id": ""}


def test_writes_utf8(fake):
    """JSON comes unescaped, as the service writes it, whatever the version of httpx makes of it."""
    fake.answers("d", "caf\u00e9")
    fake.fails("e", 400, message="caf\u00e9", headers={"content-type": "application/problem+json"})

    def ask(deployment: str) -> httpx.Response:
        call = {"json": {"deployment": deployment}, "headers": {"authorization": "Bearer k"}}
        return fake.handle(httpx.Request("POST", "https://x.test/v1/invoke", **call))

    assert "caf\u00e9".encode() in ask("d").content
    assert ask("d").headers["content-type"] == "application/json"
    assert "caf\u00e9".encode() in ask("e").content
    assert ask("e").headers.get_list("content-type") == ["application/problem+json"]


def test_counts_words_where_nobody_said_the_usage(drive, fake, reach):
    """Usage that was not given is counted, so that a program has numbers to show."""
    fake.answers("d", "one two", reasoning="three")

    usage = drive.invoke(reach(), deployment="d", inputs={"a": "b"}).usage

    assert usage.completion_tokens.total_tokens == 3
    assert usage.completion_tokens.reasoning_tokens == 1
    assert usage.total_tokens == usage.prompt_tokens.total_tokens + 3


def test_cuts_the_text_as_told(drive, fake, reach):
    """Pieces are streamed as they were given, and are the text of the answer in one piece."""
    fake.answers("d", pieces=["Sh", "ort."])
    client = reach()

    assert drive.text(client, deployment="d") == ["Sh", "ort."]
    assert drive.invoke(client, deployment="d").response == "Short."


def test_refuses_pieces_that_are_not_the_text(fake):
    """An answer that would be another one as a stream is a mistake, told at once."""
    assert Answer(pieces=["Sh", "ort."]).text == "Short."
    with pytest.raises(ValueError, match="the joined pieces must be the text"):
        fake.answers("d", "Short.", pieces=["Lo", "ng."])


@pytest.mark.parametrize("answer", [Answer("Short."), lambda request: "Short."])
def test_refuses_details_that_would_be_lost(fake, answer):
    """What goes with a text cannot be added to an `Answer` or a function, and is not dropped in silence."""
    with pytest.raises(TypeError, match="put them into the Answer"):
        fake.answers("d", answer, reasoning="Hm.")


def test_streams_pieces_and_events(drive, fake, reach):
    """A stream can be told event by event: texts, dicts, models, and words for the wire."""
    fake.streams("pieces", ["Sh", "ort."])
    fake.streams("events", ["Sh", {"type": "tool_call"}, ResponseEvent(response="ort."), "data: [DONE]\n\n"])
    client = reach()

    assert drive.collect(client, deployment="pieces").response == "Short."
    events = drive.events(client, deployment="events")

    assert [event.raw.get("response") for event in events] == ["Sh", None, "ort."]
    assert isinstance(events[1], UnknownEvent)


def test_ends_a_stream_where_told(drive, fake, reach):
    """A stream of events that has no end is one that breaks off."""
    fake.streams("d", [{"type": "response", "response": "Sh"}])

    with pytest.raises(StreamInterruptedError) as caught:
        drive.collect(reach(), deployment="d")

    assert caught.value.partial.text == "Sh"


WHOLE = StreamScript(model="m", request_id="req_1").reasoning("Hm.").text("Sh", "ort.")


def test_plays_a_script(drive, fake, reach):
    """A script says what comes, step by step; where it names no end, usage is counted and the stream is whole."""
    fake.streams("d", WHOLE.comment().event({"type": "tool_call"}).event(ResponseEvent(response="!")))

    events = drive.events(reach(), deployment="d")

    assert [event.type for event in events] == ["reasoning", "response", "response", "unknown", "response", "usage"]
    assert {event.request_id for event in events[:3]} == {"req_1"}
    assert events[0].model == "m"
    assert events[-1].usage.completion_tokens.total_tokens == 2


def test_adds_no_usage_where_told(drive, fake, reach):
    """Usage that was told is not counted once more, and a stream that failed has none."""
    fake.streams("told", WHOLE.usage({"total_tokens": 9}, stop_reason="length"))
    fake.streams("failed", WHOLE.error("provider failed", "provider_error"))
    client = reach()

    told = drive.collect(client, deployment="told")
    events = drive.events(client, deployment="failed")

    assert (told.usage.total_tokens, told.stop_reason) == (9, "length")
    assert [event.type for event in events[-2:]] == ["response", "error"]
    assert events[-1].error_code == "provider_error"


def test_changes_no_script():
    """Each method returns a longer script, so that one may be the beginning of many."""
    longer = WHOLE.text("!")

    assert len(longer.steps) == len(WHOLE.steps) + 1
    assert longer != WHOLE


@pytest.mark.parametrize("end", ["ends_early", "breaks", "stalls"])
def test_refuses_steps_after_the_end(end):
    """Nothing can come after the end of a script."""
    with pytest.raises(ValueError, match="has ended"):
        getattr(WHOLE, end)().text("more")


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_refuses_pauses_that_cannot_be(seconds):
    """A pause has 0 seconds or more."""
    with pytest.raises(ValueError, match="must be 0 or more, not"):
        WHOLE.pause(seconds)


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (WHOLE.ends_early(), StreamInterruptedError, "before the answer was complete"),
        (WHOLE.breaks(), StreamInterruptedError, "the connection broke"),
        (WHOLE.stalls(), StreamTimeoutError, "fell silent"),
        (WHOLE.broken_json(), ResponseDecodeError, "JSON"),
        (WHOLE.wire(b'data: {"type": "usa').breaks(), StreamInterruptedError, "the connection broke"),
    ],
    ids=["early", "break", "stall", "broken JSON", "break inside of an event"],
)
def test_ends_badly_where_told(drive, fake, reach, script, error, words):  # noqa: PLR0917 - three are fixtures
    """Each bad end is what the client makes of it on a real network, in process and on a port; the text is kept."""
    fake.streams("d", script)

    with pytest.raises(error, match=words) as caught:
        drive.collect(reach(timeout=httpx.Timeout(5, read=0.2)), deployment="d")

    assert caught.value.partial.text == "Short."
    assert caught.value.maybe_processed


def test_stalls_in_process_without_a_wait(drive, fake, naps):
    """In process, silence is a timeout at once, though the client would wait for hours."""
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


def test_pauses_as_told(drive, fake, naps):
    """A pause shorter than the client's patience is one, and goes on top of the server's pace."""
    fake.delay = 1
    fake.streams("d", StreamScript().pause(5).text("Sh").pause(2).pause(2).text("ort.").pause(3).ends_early())

    with pytest.raises(StreamInterruptedError):
        drive.collect(fake.client(), deployment="d")

    assert [nap for nap in naps if nap] == [5, 5, 4]


@pytest.mark.parametrize("delay", [0.2, 3601])
def test_paces_no_slower_than_the_client_waits(drive, naps, delay):
    """A pace that the client has no patience for is a timeout, in process, too."""
    fake = FakeServer("one two", delay=delay)

    with pytest.raises(StreamTimeoutError):
        drive.collect(fake.client(timeout=httpx.Timeout(0.1)), deployment="d")

    assert not any(naps)


@pytest.mark.parametrize(("fault", "error"), [("breaks", APIConnectionError), ("stalls", APITimeoutError)])
def test_gives_no_answer_where_told(drive, fake, reach, fault, error):
    """A call whose connection breaks, or that is never answered, may have been processed, and is not repeated."""
    getattr(fake, fault)("d")
    client = reach(timeout=httpx.Timeout(5, read=0.2))

    for call in (drive.invoke, drive.collect):
        with pytest.raises(error) as caught:
            call(client, deployment="d")
        assert caught.value.maybe_processed
    assert len(fake.calls) == 2


def test_answers_in_turn(drive, fake, reach):
    """A list has an answer of any kind for each call: what a test of retries needs."""
    again = Refusal(429, headers={"Retry-After": "0"})
    fake.answers("d", [again, Fault.BREAK, Answer("first"), lambda request: request.user, WHOLE])
    client = reach(retry_unknown_outcome=True)
    client = client.with_options(max_retries=3)

    assert drive.invoke(client, deployment="d").response == "first"
    assert drive.invoke(client, deployment="d", user="second").response == "second"
    assert drive.collect(client, deployment="d").response == "Short."
    assert len(fake.calls) == 5


def test_says_when_no_answer_is_left(drive, fake, reach):
    """The last answer is not repeated: a call too many is refused, and noted."""
    fake.answers("d", ["first"])
    client = reach()
    drive.invoke(client, deployment="d")

    with pytest.raises(UnprocessableEntityError, match="'d' was called 2 times, but only 1 answer is scripted"):
        drive.invoke(client, deployment="d")

    assert fake.mistakes == ["'d' was called 2 times, but only 1 answer is scripted"]


def test_refuses_what_is_no_answer(drive, fake):
    """A dict, or an empty list, is a mistake in the test, told where it was made; a function's when it is called."""
    for answer in ({"response": "Short."}, [b"Short."], None):
        with pytest.raises(TypeError, match="an answer must be a string, an Answer, a Refusal"):
            fake.answers("d", answer)
    with pytest.raises(ValueError, match="must not be empty"):
        fake.answers("d", [])

    fake.answers("d", lambda request: 5)
    with pytest.raises(TypeError, match="not int"):
        drive.invoke(fake.client(), deployment="d")


def test_has_the_catalogue_of_error_codes(fake):
    """`GET /error_codes` needs no key, and has the shape that the API documents."""
    with fake.serve() as url:
        catalogue = httpx.get(f"{url}/error_codes?locale=es", trust_env=False).json()

    assert catalogue["default_field"] == "error_code"
    assert catalogue["compatibility_aliases"] == ["code"]
    codes = {entry["code"]: entry for entry in catalogue["codes"]}
    assert codes["too_many_requests"]["status"] == 429
    assert all(entry["message"] and entry["client_action"] for entry in codes.values())
    assert fake.calls == []


def test_has_no_answer_in_one_piece_where_told_events(drive, fake, reach):
    """A deployment that was told its events refuses a call that asks for no stream, and says so."""
    fake.streams("d", [{"type": "response", "response": "Sh"}])

    with pytest.raises(UnprocessableEntityError, match="scripted as a stream: set streaming to true"):
        drive.invoke(reach(), deployment="d")


def test_fails_in_the_middle(drive, fake, reach):
    """An error ends a stream with an event, and refuses a call in one piece, as the service does."""
    fake.answers("d", "Once upon", error="provider failed", error_code="provider_error")
    client = reach()

    with pytest.raises(StreamFailedError, match="provider failed") as caught:
        drive.collect(client, deployment="d")
    assert caught.value.partial.text == "Once upon"
    assert caught.value.error_code == "provider_error"

    with pytest.raises(InternalServerError, match="502"):
        drive.invoke(client, deployment="d")


def test_refuses_as_told(drive, fake, reach):
    """A refusal has its status, code, message and headers."""
    fake.fails("d", 429, error_code="too_many_requests", message="slow down", headers={"Retry-After": "3600"})

    with pytest.raises(RateLimitError, match="slow down") as caught:
        drive.invoke(reach(), deployment="d")

    assert caught.value.error_code == "too_many_requests"
    assert caught.value.retry_after == 3600


def test_answers_by_a_function(drive, fake, reach):
    """A function of the request says what to answer: a text, an answer or a refusal."""

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


def test_tells_variants_apart(drive, fake, reach):
    """What was said for a variant counts before what was said for the deployment."""
    fake.answers("d", "any")
    fake.answers("d", "prod", variant="prod")
    client = reach()

    assert drive.invoke(client, deployment="d", variant="prod").response == "prod"
    assert drive.invoke(client, deployment="d", variant="test").response == "any"
    assert drive.invoke(client, deployment="d").response == "any"


def test_remembers_the_requests(drive, fake, reach):
    """Each request that was let in is kept, as the model that the caller could have sent."""
    fake.answers("d", "Short.")

    drive.invoke(reach(), deployment="d", inputs={"text": "long"}, user="u")

    assert fake.calls == [InvokeRequest(deployment="d", inputs={"text": "long"}, user="u", streaming=False)]


def test_remembers_fields_from_the_future(drive, fake, reach):
    """`extra_body` is let in, as it is meant for what this version does not know, and is in `raw`."""
    fake.answers("d", "Short.")

    drive.invoke(reach(), deployment="d", extra_body={"beta": [1]})

    (call,) = fake.calls
    assert call.raw == {"deployment": "d", "streaming": False, "beta": [1]}
    assert call != InvokeRequest(deployment="d")


def test_does_not_know_other_deployments(drive, fake, reach):
    """A deployment that nobody has described is not found, unless there is a default."""
    with pytest.raises(NotFoundError, match="'d'"):
        drive.invoke(reach(), deployment="d")

    assert drive.invoke(FakeServer("Anything.").client(), deployment="d").response == "Anything."


def test_lets_only_the_key_in(drive):
    """A server with a key refuses all others."""
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
def test_refuses_what_the_service_would(fake, request_, status):
    """Requests that are wrong are refused in the API's own shape."""
    response = fake.handle(request_)

    assert response.status_code == status
    assert response.json()["error"] == response.json()["message"]
    assert fake.calls == []


def test_waits_between_events(drive, naps):
    """`delay` is the pace of a stream, in process, too: two pieces, usage and the end have three waits in between."""
    fake = FakeServer("one two", delay=7)

    assert drive.text(fake.client(), deployment="d") == ["one", " two"]
    assert naps == [7, 7, 7]


def test_serves_at_a_pace_of_its_own(drive, naps):
    """The pace that `serve` is given counts on the port."""
    fake = FakeServer("one two", delay=7)

    with fake.serve(delay=3) as url, FetchHive(TEST_KEY, url) as client:
        drive.text(client, deployment="d")

    assert [nap for nap in naps if nap] == [3, 3, 3]


def test_sends_events_as_they_come():
    """On a port, an event leaves when it is there: the second is not made before the first has been read."""
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
    """Send bytes, half-close, and read until the server closes, too."""
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
def test_refuses_requests_that_cannot_be_read(fake, capfd, head):
    """A request that is not HTTP as the server knows it is answered with 400, and prints nothing."""
    with fake.serve() as url:
        answer = talk(url, b"POST /v1/invoke HTTP/1.1\r\n%s\r\n\r\n" % head)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert capfd.readouterr().err == ""


def test_sends_no_body_where_none_may_be(fake):
    """The answer to HEAD has none, so that the next answer on the connection can be read."""
    with fake.serve() as url, httpx.Client(trust_env=False) as client:
        statuses = [client.request(method, f"{url}/invoke").status_code for method in ("HEAD", "POST")]

    assert statuses == [405, 401]


def test_asks_no_name_service(fake, monkeypatch):
    """A loopback server does not ask the network what the loopback is called."""
    monkeypatch.setattr(socket, "getfqdn", None)
    fake.answers("d", "Short.")

    with fake.serve() as url, FetchHive(TEST_KEY, url) as client:
        assert client.invoke_prompt(deployment="d").response == "Short."


def test_survives_clients_that_go_away(fake, capfd):
    """A client that leaves in the middle, or says nothing, is nobody's fault and prints nothing."""
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
    """Leaving the block does not wait for clients that keep their connections."""
    fake.answers("d", "Short.")
    client = None
    with fake.serve() as url:
        client = FetchHive(TEST_KEY, url)
        client.invoke_prompt(deployment="d")

    with pytest.raises(httpx.TransportError):
        client.with_options(max_retries=0).invoke_prompt(deployment="d")
    client.close()


def test_ends_a_silence_when_it_stops(fake):
    """Whoever still waits for a deployment that stalls is let go when the server stops."""
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


def test_serves_many_at_once(fake):
    """Calls from one event loop are answered side by side."""
    fake.answers("d", lambda request: json.dumps(request.inputs["n"]))

    async def main(url: str) -> list[str]:
        async with FetchHive(TEST_KEY, url) as client:
            calls = [client.ainvoke_prompt(deployment="d", inputs={"n": number}) for number in range(20)]
            return [result.response for result in await asyncio.gather(*calls)]

    with fake.serve() as url:
        assert asyncio.run(main(url)) == [str(number) for number in range(20)]
