"""The proxies that the environment names."""

from __future__ import annotations

import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from fetch_hive_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator


def is_proxied() -> bool:
    """Whether the environment names a proxy: then httpx does what it always does with it."""
    return any(scheme in {"http", "https", "all"} for scheme in urllib.request.getproxies())


@contextmanager
def proxy_errors() -> Generator[None, None, None]:
    """Say what is wrong with the proxy of the environment, without its URL, which may hold a password."""
    try:
        yield
    except ImportError:
        raise ConfigurationError(
            "the environment names a SOCKS proxy, which needs one more package: pip install 'httpx[socks]'"
        ) from None
    except (ValueError, httpx.InvalidURL):
        raise ConfigurationError(
            "the proxy in the environment is no URL such as http://proxy:8080: see HTTP_PROXY, HTTPS_PROXY, ALL_PROXY"
        ) from None
