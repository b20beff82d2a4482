"""The one TLS context of the process."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import ssl

_tls_lock = threading.Lock()


@lru_cache(1)
def _make_tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def tls_context() -> ssl.SSLContext:
    """Return the one TLS context of the process: making one reads all trusted certificates, for 15 ms."""
    with _tls_lock:
        return _make_tls_context()
