"""httpx2 clients can be injected without a cast. Type checkers must accept this; never run."""

from __future__ import annotations

import httpx2

from fetch_hive_sdk import FetchHive


def clients() -> None:
    """Clients of the right kind, and subclasses, are accepted."""
    FetchHive(http_client=httpx2.Client(), async_http_client=httpx2.AsyncClient())
    FetchHive(http_client=_Client())
    FetchHive(http_client=httpx2.AsyncClient())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - the other kind
    FetchHive(async_http_client=httpx2.Client())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - the other kind


class _Client(httpx2.Client):
    pass
