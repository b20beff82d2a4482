# /// script
# dependencies = [".[aiohttp]"]  # this checkout
# ///
"""This package with its `aiohttp` extra: asyncio calls over another HTTP stack."""

from __future__ import annotations

import inspect

import ours
from ours import *  # noqa: F403 - the same client

if "async_transport" in inspect.signature(ours.FetchHive).parameters:
    ours.ARGUMENTS["async_transport"] = "aiohttp"
else:
    SKIP = "FetchHive has no async_transport"
