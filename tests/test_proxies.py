"""The routes of requests: the same as in httpx, except that loopback is never proxied."""

from __future__ import annotations

import httpx
import pytest

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._net.proxies import Routes

URLS = [
    "https://api.fetchhive.com/v1",
    "https://api.fetchhive.com:8443/v1",
    "http://hive.test/v1",
    "https://sub.hive.test/v1",
    "https://xhive.test/v1",
    "https://10.1.2.3/v1",
    "https://[2001:db8::1]/v1",
]
EXCEPTIONS = [
    "",
    "*",
    "hive.test",
    ".hive.test",
    "*.hive.test",
    "HIVE.test",
    "api.fetchhive.com",
    "api.fetchhive.com:8443",
    "api.fetchhive.com:443",
    "fetchhive.com, 10.1.2.3",
    "10.0.0.0/8",
    "10.1.2.3/8",
    "2001:db8::1",
    "https://hive.test",
    "localhost",
    "test",
]
PROXIES = [
    {"HTTP_PROXY": "http://one.test:3128"},
    {"HTTPS_PROXY": "one.test:3128"},
    {"ALL_PROXY": "https://user:hidden@one.test"},
    {"ALL_PROXY": "http://one.test", "HTTPS_PROXY": "http://two.test:1"},
    {},
]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("proxies", PROXIES, ids=lambda proxies: " ".join(proxies) or "none")
@pytest.mark.parametrize("exceptions", EXCEPTIONS)
def test_routes_match_httpx(monkeypatch, proxies, exceptions):
    """NO_PROXY and the proxy variables have the same meaning as in httpx."""
    for name, value in {**proxies, "NO_PROXY": exceptions}.items():
        monkeypatch.setenv(name, value)
    routes = Routes()

    with httpx.Client(verify=False) as theirs:
        for url in map(httpx.URL, URLS):
            pool = theirs._transport_for_url(url)._pool
            expected = getattr(pool, "_proxy_url", None)
            proxy = routes.find(url).proxy

            assert (proxy and proxy.url.origin) == (expected and expected.origin), url


@pytest.mark.parametrize("url", ["http://localhost:1", "http://a.localhost", "http://127.0.0.1", "https://[::1]:1"])
def test_loopback_is_never_proxied(monkeypatch, url):
    """Not even if `ALL_PROXY` is set."""
    monkeypatch.setenv("ALL_PROXY", "http://one.test:3128")

    assert Routes().find(httpx.URL(url)).proxy is None


def test_routes_are_cached_by_origin():
    """URLs with the same scheme, host and port share a route object; the path is ignored."""
    routes = Routes()
    one = routes.find(httpx.URL("https://hive.test/v1"))

    assert routes.find(httpx.URL("https://hive.test/v2?x")) is one
    assert routes.find(httpx.URL("https://hive.test:8443/v1")) is not one
    assert (one.handshakes, one.is_tunnel) == (1, False)


@pytest.mark.parametrize(
    ("proxy", "url", "handshakes", "is_tunnel"),
    [
        ("http://one.test", "https://hive.test", 1, True),
        ("http://one.test", "http://hive.test", 0, False),
        ("https://one.test", "https://hive.test", 2, True),
        ("https://one.test", "http://hive.test", 1, False),
    ],
)
def test_handshakes_before_the_request_are_counted(monkeypatch, proxy, url, handshakes, is_tunnel):
    """Until the last handshake, no byte of the request can have been sent."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    route = Routes().find(httpx.URL(url))

    assert (route.handshakes, route.is_tunnel) == (handshakes, is_tunnel)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HTTPS_PROXY", "http://host:port", "HTTPS_PROXY is not the URL of a proxy"),
        ("HTTPS_PROXY", "http://host:99999", "HTTPS_PROXY is not the URL of a proxy"),
        ("https_proxy", "ftp://user:hidden@host", "https_proxy is not the URL of a proxy"),
        ("ALL_PROXY", "socks://host:1080", "ALL_PROXY must specify the SOCKS version"),
        ("ALL_PROXY", "socks4://host:1080", "ALL_PROXY must specify the SOCKS version"),
    ],
)
def test_invalid_proxy_variable_is_named(monkeypatch, name, value, message):
    """The message shows the variable, never its value."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=message) as caught:
        Routes().find(httpx.URL("https://hive.test"))
    assert "hidden" not in str(caught.value)
