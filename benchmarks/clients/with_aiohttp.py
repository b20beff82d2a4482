# /// script
# dependencies = ["aiohttp"]
# ///
"""aiohttp and `json.loads`: another HTTP stack, asyncio only. Returns dicts and validates nothing."""

from __future__ import annotations

import json

import aiohttp

REQUEST = {"deployment": "summarise", "inputs": {"text": "Fetch Hive helps teams ship AI products faster."}}
HEADERS = {"Authorization": "Bearer fhk_benchmark"}


class Session:
    """A session and its URL."""

    def __init__(self, url) -> None:
        # Lines of a stream are read with its `readline`, which refuses those beyond twice this many bytes.
        self.session = aiohttp.ClientSession(headers=HEADERS, read_bufsize=2**23)
        self.url = f"{url}/prompt/invoke"


async def aopen(url):
    return Session(url)


async def aclose(session):
    await session.session.close()


async def acall(session):
    async with session.session.post(session.url, json={**REQUEST, "streaming": False}) as response:
        return json.loads(await response.read())["response"]


async def astream(session):
    async with session.session.post(session.url, json={**REQUEST, "streaming": True}) as response:
        async for line in response.content:
            if line == b"data: [DONE]\n":
                break
            if line != b"\n":
                yield json.loads(line[6:])
