# /// script
# dependencies = ["."]  # this checkout
# ///
"""This package inside the same loop as `ours_raw`, without reading `.raw`: what to compare that with."""

from __future__ import annotations

import ours
from ours import *  # noqa: F403 - the same client


def stream(client):
    for event in ours.stream(client):
        event  # noqa: B018 - the loop alone
        yield event


async def astream(client):
    async for event in ours.astream(client):
        event  # noqa: B018 - the loop alone
        yield event
