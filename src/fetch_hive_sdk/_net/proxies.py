"""Chooses the route of a request: directly to its host, or through a proxy from the environment. Does no I/O."""

from __future__ import annotations

import importlib
import ipaddress
import os
import urllib.request
from dataclasses import dataclass
from typing import Optional

import httpcore
import httpx

from fetch_hive_sdk._config import is_loopback
from fetch_hive_sdk.errors import ConfigurationError

_SCHEMES = ("http", "https", "all")
_EXAMPLE = "it should be like http://proxy.example:3128"


@dataclass(frozen=True)
class Proxy:
    """A proxy from the environment variables or the system settings."""

    url: httpcore.URL
    auth: Optional[tuple[bytes, bytes]]

    @property
    def is_socks(self) -> bool:
        return self.url.scheme.startswith(b"socks")

    @property
    def is_secure(self) -> bool:
        return self.url.scheme == b"https"

    @property
    def address(self) -> str:
        """The host and port, without the password, for error messages."""
        origin = self.url.origin
        return f"{origin.host.decode('ascii')}:{origin.port}"


@dataclass(frozen=True, eq=False)
class Route:
    """The route to a host, directly or through a proxy. A connection serves one route; each route has one object."""

    origin: httpcore.Origin
    proxy: Optional[Proxy] = None

    @property
    def is_tunnel(self) -> bool:
        """Whether the client negotiates with a proxy before it sends the request."""
        return self.proxy is not None and (self.proxy.is_socks or self.origin.scheme == b"https")

    @property
    def handshakes(self) -> int:
        """The number of TLS handshakes before the request."""
        return (self.origin.scheme == b"https") + (self.proxy is not None and self.proxy.is_secure)


class Routes:
    """Finds the route to a host, with the proxies configured in the environment when the first request is sent.

    Proxies are read as in httpx: from `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or from the system
    settings. Loopback is never proxied: the key would leave the machine unencrypted.
    """

    def __init__(self) -> None:
        self._proxies = urllib.request.getproxies()
        self._known: dict[tuple[bytes, bytes, Optional[int]], Route] = {}

    def find(self, url: httpx.URL) -> Route:
        """Return the route to a URL.

        Raises:
            ConfigurationError: The proxy for this URL, or an entry of `NO_PROXY`, is invalid.

        """
        key = (url.raw_scheme, url.raw_host, url.port)
        route = self._known.get(key)
        if route is None:
            port = url.port or (443 if url.scheme == "https" else 80)
            route = Route(httpcore.Origin(url.raw_scheme, url.raw_host, port), self._find_proxy(url))
            self._known[key] = route
        return route

    def _find_proxy(self, url: httpx.URL) -> Optional[Proxy]:
        if is_loopback(url.host) or not any(self._proxies.get(scheme) for scheme in _SCHEMES):
            return None
        scheme = url.scheme if self._proxies.get(url.scheme) else "all"
        if any(_is_exception(entry, url) for entry in self._proxies.get("no", "").split(",")):
            return None
        address = self._proxies.get(scheme)
        return _read_proxy(address, proxy_name(scheme)) if address else None


def _is_exception(entry: str, url: httpx.URL) -> bool:
    """Return whether an entry of `NO_PROXY` matches a URL, by the rules of httpx."""
    entry = entry.strip()
    if entry in {"", "*"}:
        return bool(entry)
    try:
        pattern = httpx.URL(entry if "://" in entry else f"all://{_as_pattern(entry)}")
        host = pattern.host
    except (httpx.InvalidURL, ValueError):
        shown = "" if "@" in entry else f": {entry!r}"
        raise ConfigurationError(f"NO_PROXY has an entry that is not a host name{shown}") from None
    if pattern.scheme not in {"all", url.scheme} or pattern.port not in {None, url.port}:
        return False
    if host in {"", "*"}:
        return True
    if host.startswith("*."):
        return url.host.endswith(host[1:])
    if host.startswith("*"):
        return url.host == host[1:] or url.host.endswith(f".{host[1:]}")
    return url.host == host


def _as_pattern(entry: str) -> str:
    address = entry.partition("/")[0]
    try:
        is_v6 = ipaddress.ip_address(address).version == 6  # noqa: PLR2004 - IPv6
    except ValueError:
        return entry if entry.lower() == "localhost" else f"*{entry}"
    return f"[{entry}]" if is_v6 else entry


def _read_proxy(address: str, name: str) -> Proxy:
    # The messages do not quote the address: it may contain a password.
    if address.startswith(("socks://", "socks4")):
        raise ConfigurationError(f"{name} must specify the SOCKS version: socks5:// is supported, socks4:// is not")
    read: Optional[Proxy] = None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        url = proxy.url
        read = Proxy(httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target="/"), proxy.raw_auth)
        is_valid = bool(url.host) and 0 < read.url.origin.port < 65536  # noqa: PLR2004 - the valid ports
    except (ValueError, KeyError, httpx.InvalidURL):
        is_valid = False
    if read is None or not is_valid:
        raise ConfigurationError(f"{name} is not the URL of a proxy: {_EXAMPLE}; correct or unset it")
    if read.is_socks:
        _check_socks(name)
    return read


def _check_socks(name: str) -> None:
    try:
        importlib.import_module("socksio")
    except ImportError:
        raise ConfigurationError(
            f"{name} is a SOCKS proxy, which needs one more package: pip install 'httpx[socks]'"
        ) from None


def check_proxies() -> list[str]:
    """Check the proxy settings of the environment, and return the names of the variables that set a proxy.

    Raises:
        ConfigurationError: A proxy, or an entry of `NO_PROXY`, is invalid.

    """
    proxies = urllib.request.getproxies()
    named = [scheme for scheme in _SCHEMES if proxies.get(scheme)]
    for scheme in named:
        _read_proxy(proxies[scheme], proxy_name(scheme))
    for entry in proxies.get("no", "").split(",") if named else []:
        _is_exception(entry, httpx.URL("https://any.test"))
    return [proxy_name(scheme) for scheme in named]


def proxy_name(scheme: str) -> str:
    """Return the name of the environment variable that sets the proxy of a scheme, with its actual case."""
    names = [name for name, value in os.environ.items() if name.lower() == f"{scheme}_proxy" and value]
    return names[-1] if names else f"the {scheme} proxy of the system"
