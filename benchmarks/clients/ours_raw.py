# /// script
# dependencies = ["."]  # this checkout
# ///
"""This package, reading `.raw` of every event."""

from __future__ import annotations

import ours
from ours import *  # noqa: F403 - the same client


def stream(client):
    for event in ours.stream(client):
        event.raw  # noqa: B018 - it is made when it is read
        yield event


async def astream(client):
    async for event in ours.astream(client):
        event.raw  # noqa: B018 - it is made when it is read
        yield event
