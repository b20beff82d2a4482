"""Clients of httpx for requests that are not calls of a `FetchHive`."""

from __future__ import annotations

from typing import Optional

import httpx

from fetch_hive_sdk.errors import ConfigurationError

from .proxies import Routes
from .tls import tls_context


def plain_client(url: httpx.URL, *, timeout: Optional[float] = None) -> httpx.Client:
    """Return a client for the requests to a base URL, with the route of a `FetchHive` and any number of connections.

    Raises:
        ConfigurationError: The proxy for this URL or an entry of `NO_PROXY` is invalid, or the trusted certificates are
            needed but cannot be read.

    """
    # httpx would use proxies for loopback, and cannot parse some entries of NO_PROXY.
    has_proxy = Routes().find(url).proxy is not None
    try:
        verify = tls_context() if has_proxy or url.scheme == "https" else False
    except httpx.ConnectError as exc:
        raise ConfigurationError(str(exc)) from exc
    # Without a maximum of connections: a call that waited for one could be sent after its caller has given up.
    return httpx.Client(trust_env=has_proxy, verify=verify, timeout=timeout, limits=httpx.Limits())
