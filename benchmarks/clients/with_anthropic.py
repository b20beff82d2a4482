# /// script
# dependencies = ["anthropic"]
# ///
"""Anthropic's client: typed messages and events."""

from __future__ import annotations

from anthropic import Anthropic, AsyncAnthropic

REQUEST = {
    "model": "gpt-5-nano",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "Fetch Hive helps teams ship faster."}],
}


def open(url):
    return Anthropic(api_key="benchmark", base_url=url)


def close(client):
    client.close()


def call(client):
    return client.messages.create(**REQUEST).content[0].text


def stream(client):
    return client.messages.create(**REQUEST, stream=True)


async def aopen(url):
    return AsyncAnthropic(api_key="benchmark", base_url=url)


async def aclose(client):
    await client.close()


async def acall(client):
    return (await client.messages.create(**REQUEST)).content[0].text


async def astream(client):
    async for event in await client.messages.create(**REQUEST, stream=True):
        yield event
