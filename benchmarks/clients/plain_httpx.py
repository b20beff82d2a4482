# /// script
# dependencies = ["httpx", "sniffio"]  # sniffio: without it, httpx is slower in asyncio
# ///
"""One httpx client and `json.loads`, as one would write without a package. Returns dicts and validates nothing."""

from __future__ import annotations

import json

import httpx

REQUEST = {"deployment": "summarise", "inputs": {"text": "Fetch Hive helps teams ship AI products faster."}}
HEADERS = {"Authorization": "Bearer fhk_benchmark"}
PATH = "/prompt/invoke"
# A thousand calls at once wait for a connection for longer than the 5 seconds that are the default.
TIMEOUT = 30.0


def open(url):
    return httpx.Client(base_url=url, headers=HEADERS, timeout=TIMEOUT)


def close(client):
    client.close()


def call(client):
    return json.loads(client.post(PATH, json={**REQUEST, "streaming": False}).content)["response"]


def stream(client):
    with client.stream("POST", PATH, json={**REQUEST, "streaming": True}) as response:
        for line in response.iter_lines():
            if line == "data: [DONE]":
                break
            if line:
                yield json.loads(line[6:])


async def aopen(url):
    return httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=TIMEOUT)


async def aclose(client):
    await client.aclose()


async def acall(client):
    return json.loads((await client.post(PATH, json={**REQUEST, "streaming": False})).content)["response"]


async def astream(client):
    async with client.stream("POST", PATH, json={**REQUEST, "streaming": True}) as response:
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                break
            if line:
                yield json.loads(line[6:])
