# /// script
# dependencies = ["httpx", "sniffio"]
# ///
"""Several httpx clients with four connections each, used in turn, as one would write for many simultaneous calls."""

from __future__ import annotations

import itertools

import httpx

import plain_httpx

CLIENTS = 64
LIMITS = httpx.Limits(max_connections=4, max_keepalive_connections=4)
OPTIONS = {"headers": plain_httpx.HEADERS, "timeout": plain_httpx.TIMEOUT, "limits": LIMITS}


class Shards:
    """Clients used in turn."""

    def __init__(self, kind, url) -> None:
        tls = httpx.create_ssl_context()
        self.clients = [kind(base_url=url, verify=tls, **OPTIONS) for _ in range(CLIENTS)]
        self.turns = itertools.cycle(self.clients)


def open(url):
    return Shards(httpx.Client, url)


def close(shards):
    for client in shards.clients:
        client.close()


def call(shards):
    return plain_httpx.call(next(shards.turns))


async def aopen(url):
    return Shards(httpx.AsyncClient, url)


async def aclose(shards):
    for client in shards.clients:
        await client.aclose()


async def acall(shards):
    return await plain_httpx.acall(next(shards.turns))
