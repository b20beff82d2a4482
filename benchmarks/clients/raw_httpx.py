# /// script
# dependencies = ["httpx", "sniffio"]
# ///
"""httpx, discarding the bytes that it reads: the lower bound for every client built on it."""

from __future__ import annotations

from plain_httpx import *  # noqa: F403 - the same client
from plain_httpx import PATH, REQUEST

DECODES = False


def stream(client):
    with client.stream("POST", PATH, json={**REQUEST, "streaming": True}) as response:
        yield from response.iter_raw()


async def astream(client):
    async with client.stream("POST", PATH, json={**REQUEST, "streaming": True}) as response:
        async for chunk in response.aiter_raw():
            yield chunk
