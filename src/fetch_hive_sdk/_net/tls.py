"""The TLS context, which all connections of the process share."""

from __future__ import annotations

import errno
import os
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
    """Return the shared TLS context. Creating it reads all trusted certificates, which takes about 15 ms.

    Raises:
        httpx.ConnectError: The trusted certificates cannot be read.

    """
    with _tls_lock:
        try:
            _check_environment()
            return _make_tls_context()
        except OSError as exc:
            raise _unreadable(exc) from exc


def _check_environment() -> None:
    # Some versions of httpx ignore a missing file.
    path = os.environ.get("SSL_CERT_FILE")
    if path and not os.path.isfile(path):  # noqa: PTH113 - the same check as in httpx
        reason = "it is not a file" if os.path.exists(path) else "no such file"  # noqa: PTH110 - as above
        raise FileNotFoundError(errno.ENOENT, reason)


def _unreadable(exc: OSError) -> httpx.ConnectError:
    name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)
    if name is None:
        return httpx.ConnectError(f"the trusted certificates cannot be read ({exc.strerror or exc})")
    return httpx.ConnectError(
        f"{name} in the environment does not name trusted certificates ({exc.strerror or exc}): correct or unset it"
    )
