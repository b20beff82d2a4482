# /// script
# dependencies = ["."]  # this checkout
# ///
"""This package in the same loop as `ours_raw`, but without reading `.raw`, for comparison."""

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
