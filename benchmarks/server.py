"""A service for the benchmarks: canned answers over HTTP/1.1 on loopback, in its own process.

It must not be the bottleneck, so it is a bare `asyncio.Protocol`, and each answer is built once and cached. The first
part of the path selects the answer, so that any client can choose it by its base URL:

    POST /wait=0.2/prompt/invoke                       a JSON answer after 0.2 seconds
    POST /events=10000,per_chunk=64/chat/completions   a stream of 10,000 events, 64 in each HTTP chunk
    POST /event_bytes=4000000/v1/messages              a stream with one event of 4 MB, in HTTP chunks of 1 KiB

The end of the path selects the format: Fetch Hive's, OpenAI's or Anthropic's. `GET /stats` returns the CPU seconds of
this process and the number of connections that have sent a POST.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import ssl
import sys
import time
from functools import lru_cache
from itertools import cycle, islice

WORDS = " ".join(["the quick brown fox jumps over a lazy dog and writes it down for everybody to read"] * 3).split()
ID = "req_019d52846ea37682b03522fd0695cc43"
MODEL = "gpt-5-nano"
_WRITE_BYTES = 256 * 1024
_PIECE_BYTES = 1024

# --- The formats -----------------------------------------------------------------------------------------------------


class FetchHive:
    """Runs of prompts."""

    answer = {
        "request_id": ID,
        "model": MODEL,
        "duration": 4.64,
        "response": " ".join(WORDS),
        "usage": {
            "prompt_tokens": {"total_tokens": 24, "cached_tokens": 0},
            "completion_tokens": {"total_tokens": 187, "reasoning_tokens": 64},
            "total_tokens": 211,
        },
        "stop_reason": "completed",
    }
    first: tuple = ()
    last = (
        {"request_id": ID, "type": "usage", "usage": answer["usage"], "stop_reason": "completed"},
        "[DONE]",
    )

    @staticmethod
    def event(text):
        return {"request_id": ID, "type": "response", "model": MODEL, "response": text}


class OpenAI:
    """Chat completions."""

    _choice = {"index": 0, "logprobs": None, "finish_reason": "stop"}
    _usage = {"prompt_tokens": 24, "completion_tokens": 187, "total_tokens": 211}
    _common = {"id": ID, "created": 1790000000, "model": MODEL, "system_fingerprint": None}
    answer = {
        **_common,
        "object": "chat.completion",
        "choices": [{**_choice, "message": {"role": "assistant", "content": " ".join(WORDS), "refusal": None}}],
        "usage": _usage,
    }
    first = ()
    last = ({**_common, "object": "chat.completion.chunk", "choices": [{**_choice, "delta": {}}]}, "[DONE]")

    @classmethod
    def event(cls, text):
        choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
        return {**cls._common, "object": "chat.completion.chunk", "choices": [choice]}


class Anthropic:
    """Messages."""

    _message = {"id": ID, "type": "message", "role": "assistant", "model": MODEL, "stop_sequence": None}
    _usage = {"input_tokens": 24, "output_tokens": 187}
    answer = {
        **_message,
        "content": [{"type": "text", "text": " ".join(WORDS)}],
        "stop_reason": "end_turn",
        "usage": _usage,
    }
    first = (
        {"type": "message_start", "message": {**_message, "content": [], "stop_reason": None, "usage": _usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    )
    last = (
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": _usage},
        {"type": "message_stop"},
    )

    @staticmethod
    def event(text):
        return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


FORMATS = {"invoke": FetchHive, "completions": OpenAI, "messages": Anthropic}

# --- The answers -----------------------------------------------------------------------------------------------------


def as_event(form, value) -> bytes:
    data = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    name = f"event: {value['type']}\n" if form is Anthropic else ""
    return f"{name}data: {data}\n\n".encode()


def as_chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def pieces_of(form, options) -> list[bytes]:
    """Return the content of each HTTP chunk."""
    if "event_bytes" in options:
        texts = ["x" * int(options["event_bytes"])]
    else:
        texts = [f" {word}" for word in islice(cycle(WORDS), int(options["events"]))]
    events = [as_event(form, value) for value in [*form.first, *map(form.event, texts), *form.last]]
    if "event_bytes" in options:
        body = b"".join(events)
        return [body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES)]
    per_chunk = int(options.get("per_chunk", 1))
    return [b"".join(events[at : at + per_chunk]) for at in range(0, len(events), per_chunk)]


@lru_cache(8)
def answer_to(path: str) -> tuple[float, list[bytes]]:
    """Return the seconds to wait before an answer, and the answer as the pieces to write."""
    _, choice, *_, end = path.split("/")
    form, options = FORMATS[end], dict(option.split("=") for option in choice.split(","))
    wait = float(options.get("wait", 0))
    if "events" not in options and "event_bytes" not in options:
        body = json.dumps(form.answer).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return wait, [head.encode() + body]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [head, *map(as_chunk, pieces_of(form, options)), b"0\r\n\r\n"]
    if "first" in options:  # the first event alone, and the rest later
        return wait, [b"".join(chunks[:2]), b"", b"".join(chunks[2:])]
    whole = b"".join(chunks)
    return wait, [whole[at : at + _WRITE_BYTES] for at in range(0, len(whole), _WRITE_BYTES)]


# --- The connection --------------------------------------------------------------------------------------------------

FIRST_SECONDS = 0.02
connections = 0


class Connection(asyncio.Protocol):
    """One connection, kept open for further requests."""

    def __init__(self) -> None:
        self._received = b""
        self._to_write = iter(())
        self._is_writing = True
        self._has_posted = False

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        found = head.lower().partition(b"content-length:")[2]
        length = int(found.partition(b"\r\n")[0] or 0)
        if end and len(body) >= length:
            self._received = b""
            method, path, _ = head.decode("latin-1").split(" ", 2)
            self._answer(method, path)

    def _answer(self, method: str, path: str) -> None:
        if method == "GET":
            body = json.dumps({"cpu": time.process_time(), "connections": connections}).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return
        if not self._has_posted:
            self._has_posted = True
            globals()["connections"] += 1
        wait, pieces = answer_to(path)
        if wait:
            self._loop.call_later(wait, self._begin, pieces)
        else:
            self._begin(pieces)

    def _begin(self, pieces: list[bytes]) -> None:
        self._to_write = iter(pieces)
        self._write()

    def _write(self) -> None:
        while self._is_writing:
            piece = next(self._to_write, None)
            if piece is None:
                return
            if not piece:
                self._loop.call_later(FIRST_SECONDS, self._write)
                return
            self._transport.write(piece)

    def pause_writing(self) -> None:
        self._is_writing = False

    def resume_writing(self) -> None:
        self._is_writing = True
        self._write()


async def main() -> None:
    """Serve HTTP, and HTTPS with the certificate in the argument; print the ports; stop when standard input ends."""
    loop = asyncio.get_running_loop()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(sys.argv[1])
    ports = {}
    for scheme, context in (("http", None), ("https", tls)):
        server = await loop.create_server(Connection, "127.0.0.1", 0, ssl=context, backlog=4096)
        ports[scheme] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main())
