"""Answers as the service sent them, without a model. Performs no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from fetch_hive_sdk._secret import hide_webhook_secrets

from .base import Received


class Envelope(Received, frozen=True):
    """An answer as the service sent it. Reads like the dict that the vendor's package returns."""


@dataclass(frozen=True)
class RawAnswer:
    """The answer to `FetchHive.raw_request`."""

    status_code: int
    """The HTTP status."""
    headers: httpx.Headers
    """The headers."""
    json: Any
    """The JSON value of the body; None for an empty body."""

    def __repr__(self) -> str:
        json = hide_webhook_secrets("json", self.json)
        return f"RawAnswer(status_code={self.status_code}, headers={self.headers!r}, json={json!r})"
