# /// script
# dependencies = ["openai"]
# ///
"""OpenAI's client: typed completions and chunks."""

from __future__ import annotations

from openai import AsyncOpenAI, OpenAI

REQUEST = {"model": "gpt-5-nano", "messages": [{"role": "user", "content": "Fetch Hive helps teams ship faster."}]}


def open(url):
    return OpenAI(api_key="benchmark", base_url=url)


def close(client):
    client.close()


def call(client):
    return client.chat.completions.create(**REQUEST).choices[0].message.content


def stream(client):
    return client.chat.completions.create(**REQUEST, stream=True)


async def aopen(url):
    return AsyncOpenAI(api_key="benchmark", base_url=url)


async def aclose(client):
    await client.close()


async def acall(client):
    return (await client.chat.completions.create(**REQUEST)).choices[0].message.content


async def astream(client):
    async for chunk in await client.chat.completions.create(**REQUEST, stream=True):
        yield chunk
