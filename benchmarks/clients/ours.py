# /// script
# dependencies = ["."]  # this checkout
# ///
"""This package: typed models and events."""

from __future__ import annotations

from fetch_hive_sdk import FetchHive

INPUTS = {"text": "Fetch Hive helps teams ship AI products faster."}


def open(url, **more):
    return FetchHive(api_key="fhk_benchmark", base_url=url, **more)


def close(client):
    client.close()


def call(client):
    return client.invoke_prompt(deployment="summarise", inputs=INPUTS).response


def stream(client):
    return client.invoke_prompt_stream(deployment="summarise", inputs=INPUTS)


async def aopen(url):
    return open(url)


async def aclose(client):
    await client.aclose()


async def acall(client):
    return (await client.ainvoke_prompt(deployment="summarise", inputs=INPUTS)).response


def astream(client):
    return client.ainvoke_prompt_stream(deployment="summarise", inputs=INPUTS)


def open_on_pieces(event_bytes, piece_bytes):
    """Return a client that reads one long event out of the memory."""
    import httpx  # noqa: PLC0415 - only here

    event = b'data: {"type": "response", "response": "%b"}\n\ndata: [DONE]\n\n' % (b"x" * event_bytes)
    pieces = [event[at : at + piece_bytes] for at in range(0, len(event), piece_bytes)]

    class Body(httpx.SyncByteStream):
        def __iter__(self):
            return iter(pieces)

    def answer(_request):
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Body())

    return open("http://localhost/v1", http_client=httpx.Client(transport=httpx.MockTransport(answer)))
