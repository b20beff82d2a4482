"""Injected clients with `http2=True`, of httpx and httpx2: a run is sent once, even if its HTTP/2 stream fails."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from contextlib import contextmanager, suppress

import httpx
import pytest
import trustme

from driving import ANSWER, KEY, sse
from fetch_hive_sdk import APIConnectionError, FetchHive, StreamInterruptedError

h2_config = pytest.importorskip("h2.config", reason="http2=True needs h2")
h2_connection = pytest.importorskip("h2.connection")
h2_events = pytest.importorskip("h2.events")
httpx2 = pytest.importorskip("httpx2", reason="httpx2 needs Python 3.11")

EVENTS = sse({"type": "response", "response": "Short."}, {"type": "usage", "usage": {"total_tokens": 3}}, "[DONE]")


class Http2Server:
    """An HTTP/2 server on a loopback port with TLS. `behave` answers each request, and may return bytes to add."""

    def __init__(self, context, behave):
        self.context = context
        self.behave = behave
        self.requests = 0
        self.listener = socket.create_server(("localhost", 0))
        self.url = f"https://localhost:{self.listener.getsockname()[1]}/v1"
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with suppress(OSError):
            while True:
                raw, _ = self.listener.accept()
                with suppress(OSError), self.context.wrap_socket(raw, server_side=True) as stream:
                    self.talk(stream)

    def talk(self, stream):
        connection = h2_connection.H2Connection(h2_config.H2Configuration(client_side=False))
        connection.initiate_connection()
        late = b""
        stream.sendall(connection.data_to_send())
        while data := stream.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2_events.StreamEnded):
                    self.requests += 1
                    late = self.behave(connection, event.stream_id) or b""
            # A client reads a TLS record at a time: it has the answer so far before it reads the late bytes.
            stream.sendall(connection.data_to_send())
            stream.sendall(late)
            late = b""
            if connection.state_machine.state.name == "CLOSED":
                return

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


def answers(connection, stream_id):
    connection.send_headers(stream_id, [(":status", "200"), ("content-type", "application/json")])
    connection.send_data(stream_id, json.dumps(ANSWER).encode(), end_stream=True)


def streams(connection, stream_id):
    connection.send_headers(stream_id, [(":status", "200"), ("content-type", "text/event-stream")])
    for event in EVENTS:
        connection.send_data(stream_id, event)
    connection.end_stream(stream_id)


def begins(connection, stream_id):
    connection.send_headers(stream_id, [(":status", "200"), ("content-type", "text/event-stream")])
    connection.send_data(stream_id, EVENTS[0])


def resets_a_stream(connection, stream_id):
    begins(connection, stream_id)
    connection.reset_stream(stream_id, error_code=2)


def resets(connection, stream_id):
    connection.reset_stream(stream_id, error_code=2)


def refuses(connection, stream_id):
    connection.reset_stream(stream_id, error_code=7)


def goes_away(connection, stream_id):
    connection.close_connection(last_stream_id=0)


def frame(kind, stream_id, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + stream_id.to_bytes(4, "big") + payload


INVALID = frame(9, 2)  # CONTINUATION of a stream that does not exist
GOAWAY = frame(7, 0, (1).to_bytes(4, "big") + bytes(4))  # streams after the first one are not processed


def sends_an_invalid_frame(connection, stream_id):
    return INVALID


def streams_an_invalid_frame(connection, stream_id):
    begins(connection, stream_id)
    return INVALID


def streams_until_going_away(connection, stream_id):
    """The first stream is complete, the second is interrupted by a GOAWAY that denies having processed it."""
    if stream_id == 1:
        return streams(connection, stream_id)
    begins(connection, stream_id)
    return GOAWAY


@pytest.fixture
def serve_http2():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    @contextmanager
    def serve(behave):
        server = Http2Server(context, behave)
        server.trusting = trusting
        try:
            yield server
        finally:
            server.close()

    return serve


both = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


def call(server, library, stream, calls=1):
    """Make calls with a blocking and an asyncio client, and return how the last one of each ended."""

    def blocking():
        with library.Client(http2=True, verify=server.trusting) as injected:
            client = FetchHive(KEY, server.url, timeout=5, http_client=injected)
            for _ in range(calls - 1):
                client.invoke_prompt_stream(deployment="d").collect()
            if stream:
                return client.invoke_prompt_stream(deployment="d").collect()
            return client.invoke_prompt(deployment="d")

    async def main():
        async with library.AsyncClient(http2=True, verify=server.trusting) as injected:
            client = FetchHive(KEY, server.url, timeout=5, async_http_client=injected)
            for _ in range(calls - 1):
                await client.ainvoke_prompt_stream(deployment="d").collect()
            if stream:
                return await client.ainvoke_prompt_stream(deployment="d").collect()
            return await client.ainvoke_prompt(deployment="d")

    return [end_of(blocking), end_of(lambda: asyncio.run(main()))]


def end_of(run):
    try:
        return run()
    except APIConnectionError as error:
        return error


@both
def test_call_is_answered(serve_http2, library):
    with serve_http2(answers) as server:
        assert [end.response for end in call(server, library, stream=False)] == ["Short.", "Short."]
    assert server.requests == 2


@both
def test_stream_is_read(serve_http2, library):
    with serve_http2(streams) as server:
        assert [end.response for end in call(server, library, stream=True)] == ["Short.", "Short."]


@both
@pytest.mark.parametrize("behave", [resets, refuses, goes_away, sends_an_invalid_frame])
def test_run_with_an_unknown_outcome_is_not_retried(serve_http2, library, behave):
    with serve_http2(behave) as server:
        ends = call(server, library, stream=False)
    assert [(type(end), end.maybe_processed) for end in ends] == [(APIConnectionError, True)] * 2
    assert server.requests == 2


@both
@pytest.mark.parametrize("behave", [resets_a_stream, streams_an_invalid_frame])
def test_broken_stream_is_interrupted(serve_http2, library, behave):
    with serve_http2(behave) as server:
        ends = call(server, library, stream=True)
    assert [(type(end), end.partial.text) for end in ends] == [(StreamInterruptedError, "Short.")] * 2


@both
def test_stream_that_the_server_abandons_is_interrupted(serve_http2, library):
    """Also if the server claims that it has not processed a stream which it has begun to answer."""
    with serve_http2(streams_until_going_away) as server:
        ends = call(server, library, stream=True, calls=2)
    assert [(type(end), end.partial.text) for end in ends] == [(StreamInterruptedError, "Short.")] * 2
    assert server.requests == 4
