"""The one TLS context of the process."""

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
    """Return the one TLS context of the process: making one reads all trusted certificates, for 15 ms.

    Raises:
        httpx.ConnectError: They cannot be read.

    """
    with _tls_lock:
        try:
            _check_environment()
            return _make_tls_context()
        except OSError as exc:
            raise _unreadable(exc) from exc


def _check_environment() -> None:
    # Some versions of httpx pass over a file that is not there.
    path = os.environ.get("SSL_CERT_FILE")
    if path and not os.path.isfile(path):  # noqa: PTH113 - as httpx looks at it
        raise FileNotFoundError(errno.ENOENT, "there is no such file")


def _unreadable(exc: OSError) -> httpx.ConnectError:
    name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)
    if name is None:
        return httpx.ConnectError(f"the trusted certificates cannot be read ({exc.strerror or exc})")
    return httpx.ConnectError(
        f"{name} in the environment does not name trusted certificates ({exc.strerror or exc}): correct or unset it"
    )
