"""The proxies that the environment names, and what is wrong with them before anything is sent."""

from __future__ import annotations

import os
import ssl
import urllib.request
from typing import Optional

import httpx

from fetch_hive_sdk import ConfigurationError

_SCHEMES = ("http", "https", "all")


def proxy_variables() -> list[str]:
    """Return the names of the variables that name a proxy. Their values may hold passwords."""
    return [_name_of(scheme) for scheme in _SCHEMES if scheme in urllib.request.getproxies()]


def goes_through_proxy(url: httpx.URL) -> bool:
    """Whether a call to this URL goes through a proxy of the environment."""
    proxies = urllib.request.getproxies()
    return (url.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(url.host)


def check_proxies() -> None:
    """Check that the proxies of the environment can be used.

    Raises:
        ConfigurationError: One of them cannot. The text has the name of the variable, and not its value.

    """
    # A context that knows no certificates: reading them takes time, and nothing is sent.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxies = urllib.request.getproxies()
    for scheme in _SCHEMES:
        if proxies.get(scheme):
            problem = _problem_of(proxies[scheme], context)
            if problem:
                raise ConfigurationError(f"{_name_of(scheme)} {problem}")
    if any(scheme in proxies for scheme in _SCHEMES):
        try:
            httpx.Client(verify=context).close()
        except (ValueError, httpx.InvalidURL):
            raise ConfigurationError("NO_PROXY has a host that cannot be: correct or unset it") from None


def _problem_of(address: str, context: ssl.SSLContext) -> Optional[str]:
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        httpx.HTTPTransport(proxy=proxy, verify=context).close()
    except ImportError:
        return "names a SOCKS proxy, which needs the package socksio: pip install 'httpx[socks]', or unset it"
    except (ValueError, httpx.InvalidURL):
        return "is not the address of a proxy: it should be like http://proxy.example:3128; correct or unset it"
    return None


def _name_of(scheme: str) -> str:
    names = [name for name, value in os.environ.items() if name.lower() == f"{scheme}_proxy" and value]
    return names[-1] if names else f"the {scheme} proxy of the system"
