"""An answer as the service sent it. Performs no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from .base import Received


class Envelope(Received, frozen=True):
    """An answer as the service sent it: it reads like the dict that the vendor's package returns."""


@dataclass(frozen=True)
class RawAnswer:
    """The answer to `FetchHive.raw_request`."""

    status_code: int
    """The HTTP status."""
    headers: httpx.Headers
    """The headers."""
    json: Any
    """The JSON value of the body; None for an empty body."""
