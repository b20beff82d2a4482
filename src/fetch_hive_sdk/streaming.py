"""Helpers of the vendor's package for responses opened with httpx: `iter_sse` and `aiter_sse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._protocol.answers import decode_json, is_object
from ._protocol.sse import EventDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

__all__ = ["aiter_sse", "iter_sse"]

_DONE = b"[DONE]"


def iter_sse(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Iterate over the events of a streamed response.

    Args:
        response: The response, read or unread.

    Yields:
        The JSON object of each event, until `[DONE]` or the end.

    Raises:
        ResponseDecodeError: An event is not JSON.

    """
    decoder = EventDecoder()
    for chunk in response.iter_bytes():
        for payload in decoder.feed(chunk):
            if payload.strip() == _DONE:
                return
            yield from _read(payload)
    yield from _read(decoder.finish())


async def aiter_sse(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Iterate over the events of a streamed response: the asyncio twin of `iter_sse`."""
    decoder = EventDecoder()
    async for chunk in response.aiter_bytes():
        for payload in decoder.feed(chunk):
            if payload.strip() == _DONE:
                return
            for event in _read(payload):
                yield event
    for event in _read(decoder.finish()):
        yield event


def _read(payload: bytes) -> list[dict[str, Any]]:
    """Return the JSON object of an event, if it has one. Other JSON values become an empty object."""
    if payload.strip() in {b"", _DONE}:
        return []
    value = decode_json(payload, "an event of the stream")
    return [value if is_object(value) else {}]
