"""Drivers with the same methods for the blocking client and the asyncio client, so that a test runs with both."""

from __future__ import annotations

import asyncio
import json
import pickle
import traceback
from pathlib import Path
from typing import Callable

import httpx

import fetch_hive_sdk
from fetch_hive_sdk import FetchHive, InvokeRequest, InvokeResponse, StreamEvent

Handler = Callable[[httpx.Request], httpx.Response]

KEY = "fhk_0123456789"
# For programs that run with -X dev: asyncio then logs everything that takes more than 0.1 s, as on a busy machine.
CALM = """import logging
logging.getLogger("asyncio").addFilter(lambda record: record.msg != "Executing %s took %.3f seconds")
"""
ANSWER = {"response": "Short.", "request_id": "req_1", "usage": {"total_tokens": 3}}


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response body in chunks, for both clients. Chunks that are exceptions are raised."""

    def __init__(self, *pieces: object) -> None:
        self.pieces = pieces
        self.is_closed = False
        self.taken = 0

    def _next(self, piece):
        self.taken += 1
        if isinstance(piece, Exception):
            raise piece
        return piece

    def __iter__(self):
        for piece in self.pieces:
            yield self._next(piece)

    async def __aiter__(self):
        for piece in self.pieces:
            yield self._next(piece)

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


def sse(*events: object) -> list[bytes]:
    """Encode events as the service does, one chunk per event; strings are used as they are."""
    return [
        b"data: %s\n\n" % (event.encode() if isinstance(event, str) else json.dumps(event).encode()) for event in events
    ]


def streamed(*pieces: object, media_type: str = "text/event-stream") -> httpx.Response:
    return httpx.Response(200, headers={"content-type": media_type}, stream=Pieces(*pieces))


class Blocking:
    """Drives `FetchHive` without asyncio."""

    def client(self, handler: Handler, **options: object) -> FetchHive:
        return FetchHive(KEY, http_client=httpx.Client(transport=httpx.MockTransport(handler)), **options)

    def call(self, client: FetchHive, method: str, *args: object, **fields: object) -> object:
        return getattr(client, method)(*args, **fields)

    def invoke(self, client: FetchHive, *args: object, **fields: object) -> InvokeResponse:
        return client.invoke_prompt(*args, **fields)

    def events(self, client: FetchHive, into: list[StreamEvent] | None = None, **fields: object) -> list[StreamEvent]:
        seen = [] if into is None else into
        seen.extend(client.invoke_prompt_stream(**fields))
        return seen

    def collect(self, client: FetchHive, *args: object, **fields: object) -> InvokeResponse:
        return client.invoke_prompt_stream(*args, **fields).collect()

    def collect_request(self, client: FetchHive, request: InvokeRequest) -> InvokeResponse:
        return client.stream(request).collect()

    def text(self, client: FetchHive, **fields: object) -> list[str]:
        return list(client.invoke_prompt_stream(**fields).text())

    def leave(self, client: FetchHive, events: int, **fields: object) -> list[StreamEvent]:
        seen = []
        with client.invoke_prompt_stream(**fields) as stream:
            while len(seen) < events:
                seen.append(next(stream))
        return seen

    def break_off(self, client: FetchHive, **fields: object) -> StreamEvent:
        for event in client.invoke_prompt_stream(**fields):
            return event
        raise AssertionError("no event")

    def close(self, client: FetchHive) -> None:
        client.close()


class Asyncio:
    """Drives `FetchHive` with asyncio, with one event loop per call."""

    def client(self, handler: Handler, **options: object) -> FetchHive:
        return FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(handler)), **options)

    def call(self, client: FetchHive, method: str, *args: object, **fields: object) -> object:
        return asyncio.run(getattr(client, f"a{method}")(*args, **fields))

    def invoke(self, client: FetchHive, *args: object, **fields: object) -> InvokeResponse:
        return asyncio.run(client.ainvoke_prompt(*args, **fields))

    def events(self, client: FetchHive, into: list[StreamEvent] | None = None, **fields: object) -> list[StreamEvent]:
        seen = [] if into is None else into

        async def main() -> None:
            async for event in client.ainvoke_prompt_stream(**fields):
                seen.append(event)

        asyncio.run(main())
        return seen

    def collect(self, client: FetchHive, *args: object, **fields: object) -> InvokeResponse:
        async def main() -> InvokeResponse:
            return await client.ainvoke_prompt_stream(*args, **fields).collect()

        return asyncio.run(main())

    def collect_request(self, client: FetchHive, request: InvokeRequest) -> InvokeResponse:
        async def main() -> InvokeResponse:
            return await client.astream(request).collect()

        return asyncio.run(main())

    def text(self, client: FetchHive, **fields: object) -> list[str]:
        async def main() -> list[str]:
            return [piece async for piece in client.ainvoke_prompt_stream(**fields).text()]

        return asyncio.run(main())

    def leave(self, client: FetchHive, events: int, **fields: object) -> list[StreamEvent]:
        async def main() -> list[StreamEvent]:
            seen = []
            async with client.ainvoke_prompt_stream(**fields) as stream:
                while len(seen) < events:
                    seen.append(await stream.__anext__())
            return seen

        return asyncio.run(main())

    def break_off(self, client: FetchHive, **fields: object) -> StreamEvent:
        async def main() -> StreamEvent:
            async for event in client.ainvoke_prompt_stream(**fields):
                return event
            raise AssertionError("no event")

        return asyncio.run(main())

    def close(self, client: FetchHive) -> None:
        asyncio.run(client.aclose())


PACKAGE = str(Path(fetch_hive_sdk.__file__).parent)


def variables_of(error: BaseException) -> list[str]:
    """The variables of the package's frames in the tracebacks of an error and of its causes, for crash reports."""
    found: list[str] = []
    link: BaseException | None = error
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if PACKAGE in frame.f_code.co_filename:
                found += [f"{frame.f_code.co_name}.{name} = {value!r}" for name, value in frame.f_locals.items()]
        link = link.__cause__ or link.__context__
    return found


def shown_by(error: BaseException) -> str:
    """Everything that an error shows: traceback, variables of the package's frames, attributes and pickle."""
    texts = traceback.format_exception(type(error), error, error.__traceback__)
    return "\n".join([*texts, *variables_of(error), repr(vars(error)), str(pickle.dumps(error))])
