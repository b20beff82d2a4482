# /// script
# dependencies = ["fetch-hive-sdk==0.4.1"]  # from the package index; it has the import name of this package
# ///
"""The vendor's package, which returns dicts. With asyncio it has only streams."""

from __future__ import annotations

from fetch_hive_sdk import FetchHive

INPUTS = {"text": "Fetch Hive helps teams ship AI products faster."}


def open(url):
    return FetchHive(api_key="fhk_benchmark", base_url=url)


def close(client):
    """Do nothing: it closes its connection after every call."""


def call(client):
    return client.invoke_prompt(deployment="summarise", inputs=INPUTS)["response"]


def stream(client):
    return client.invoke_prompt_stream(deployment="summarise", inputs=INPUTS)


async def aopen(url):
    return open(url)


async def aclose(client):
    close(client)


def astream(client):
    return client.ainvoke_prompt_stream(deployment="summarise", inputs=INPUTS)
