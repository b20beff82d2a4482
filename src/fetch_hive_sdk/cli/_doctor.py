"""`fetch-hive doctor`: checks everything that a call needs, and gives advice for each problem."""

from __future__ import annotations

import json
import os
import platform
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Callable, Literal, Optional

import httpx

from fetch_hive_sdk import ConfigurationError, FetchHive, __version__
from fetch_hive_sdk._net.plain_clients import plain_client
from fetch_hive_sdk._net.proxies import Routes, check_proxies
from fetch_hive_sdk._net.tls import tls_context
from fetch_hive_sdk._text import in_one_line

from ._record import SERVICE
from ._terminal import Style, paint

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

Result = Literal["ok", "warning", "problem", "skipped"]

FOUND_A_PROBLEM = 8
_SECONDS = 10.0  # for each network check
_DAYS_LEFT = 14  # of a certificate, below which there is a warning
_PROXY_AUTHENTICATION_REQUIRED = 407
_CLOCK_SECONDS = 30.0  # allowed difference of the clocks
_STYLES: dict[Result, Style] = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}

EPILOG = """\
Sends no API key and starts no run: its only call to the service gets the catalogue of error codes.

examples:
  fetch-hive doctor
  fetch-hive doctor --offline
  fetch-hive doctor --json

exit codes:
  0  no problems found
  8  a problem was found: its line gives advice
"""


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    check: str
    result: Result
    found: str
    advice: str = ""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "doctor",
        help="check key, network, clock and versions",
        description="Check everything that a call needs, one line per check, with advice for each problem.",
        epilog=EPILOG,
    )
    parser.add_argument("--offline", action="store_true", help="skip the network checks")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the checks; return the exit code."""
    findings: list[Finding] = []
    for finding in examine(offline=options.offline):
        findings.append(finding)
        if not options.json:
            print(_line(finding), flush=True)
    is_ok = all(finding.result != "problem" for finding in findings)
    if options.json:
        print(json.dumps({"ok": is_ok, "checks": [asdict(finding) for finding in findings]}, indent=2))
    return 0 if is_ok else FOUND_A_PROBLEM


def _line(finding: Finding) -> str:
    result = paint(f"{finding.result:<8}", _STYLES[finding.result], sys.stdout)
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{result} {finding.check:<9} {in_one_line(finding.found + advice)}"


def examine(*, offline: bool = False) -> Iterator[Finding]:
    """Run the checks one after the other.

    Args:
        offline: Whether to skip the network checks.

    """
    yield _check_versions()
    yield _check_key()
    base_url = _check_base_url()
    yield base_url
    proxy = _check_proxies()
    yield proxy
    if offline:
        yield Finding("network", "skipped", "not checked, because of --offline")
    elif "problem" in {base_url.result, proxy.result}:
        yield Finding("network", "skipped", "not checked, because of the problem above")
    else:
        yield from _examine_network(httpx.URL(_base_url()))


def _examine_network(url: httpx.URL) -> Iterator[Finding]:
    if Routes().find(url).proxy:
        yield Finding("dns", "skipped", "the proxy resolves the name")
        yield Finding("tls", "skipped", "the proxy connects: see the service below")
    else:
        name = _check_name(url)
        yield name
        if name.result == "problem":
            return
        tls = _check_tls(url)
        yield tls
        if tls.result == "problem":
            return
    yield from _check_service(url)


# --- On this machine -------------------------------------------------------------------------------------------------


def _check_versions() -> Finding:
    packages = ", ".join(f"{name} {version(name)}" for name in ("httpx", "httpcore", "pydantic"))
    system = f"Python {platform.python_version()}, {platform.system()} {platform.release()}"
    return Finding("versions", "ok", f"fetch-hive-sdk {__version__}, {packages}, {system}")


def _check_key() -> Finding:
    key = os.environ.get("FETCH_HIVE_API_KEY", "").strip()
    if not key:
        advice = "set it to an API key of your workspace, or use a fake service: fetch-hive serve"
        return Finding("key", "problem", "FETCH_HIVE_API_KEY is not set", advice)
    try:
        FetchHive(key, SERVICE)
    except ConfigurationError as exc:
        return Finding("key", "problem", f"FETCH_HIVE_API_KEY is not a valid key: {exc}")
    # Show only the prefix that all keys have in common.
    shown = "fhk_***" if key.startswith("fhk_") else "***"
    return Finding("key", "ok", f"FETCH_HIVE_API_KEY is {shown}, {len(key)} characters long")


def _base_url() -> str:
    return os.environ.get("FETCH_HIVE_BASE_URL", "").strip() or SERVICE


def _check_base_url() -> Finding:
    try:
        FetchHive("fhk_unused", _base_url())
    except ConfigurationError as exc:
        return Finding("base URL", "problem", str(exc), "correct FETCH_HIVE_BASE_URL, or unset it to use the service")
    source = "from FETCH_HIVE_BASE_URL" if os.environ.get("FETCH_HIVE_BASE_URL", "").strip() else "the default"
    return Finding("base URL", "ok", f"{_base_url()}, {source}")


def _check_proxies() -> Finding:
    try:
        names = check_proxies()
    except ConfigurationError as exc:
        return Finding("proxy", "problem", str(exc))
    if not names:
        return Finding("proxy", "ok", "none")
    exceptions = ", except for NO_PROXY" if os.environ.get("NO_PROXY") or os.environ.get("no_proxy") else ""
    return Finding("proxy", "ok", f"from {', '.join(names)}{exceptions}")


# --- On the network --------------------------------------------------------------------------------------------------


def _port_of(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _check_name(url: httpx.URL) -> Finding:
    try:
        found = socket.getaddrinfo(url.host, _port_of(url), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        advice = "check the host name and your network; if you need a proxy, set HTTPS_PROXY"
        return Finding("dns", "problem", f"cannot resolve {url.host}: {_reason(exc)}", advice)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    resolved = "is an IP address" if addresses == [url.host] else f"is {', '.join(addresses[:3])}"
    return Finding("dns", "ok", f"{url.host} {resolved}")


def _check_tls(url: httpx.URL) -> Finding:
    if url.scheme != "https":
        return Finding("tls", "skipped", "the base URL uses http")
    try:
        context = tls_context()
    except httpx.ConnectError as exc:
        return Finding("tls", "problem", str(exc))
    try:
        return _shake_hands(url, context)
    except ssl.SSLCertVerificationError as exc:
        advice = "check the clock; behind a company proxy, set SSL_CERT_FILE to its certificate"
        return Finding("tls", "problem", f"the certificate is not trusted: {exc.verify_message}", advice)
    except OSError as exc:
        advice = "check for a firewall; if you need a proxy, set HTTPS_PROXY"
        return Finding("tls", "problem", f"cannot connect to {url.host} with TLS: {_reason(exc)}", advice)


def _shake_hands(url: httpx.URL, context: ssl.SSLContext) -> Finding:
    plain = socket.create_connection((url.host, _port_of(url)), timeout=_SECONDS)
    with plain, context.wrap_socket(plain, server_hostname=url.host) as secured:
        certificate = secured.getpeercert() or {}
        protocol = secured.version()
    ends = ssl.cert_time_to_seconds(str(certificate.get("notAfter")))
    days = int((ends - time.time()) // (24 * 60 * 60))
    found = f"{protocol}, certificate valid for {days} more days"
    if days < _DAYS_LEFT:
        return Finding(
            "tls", "warning", found, "the certificate must be renewed soon, by the service or by a proxy in between"
        )
    return Finding("tls", "ok", found)


def _check_service(url: httpx.URL) -> Iterator[Finding]:
    begun = time.time()
    try:
        with plain_client(url, timeout=_SECONDS) as client:
            response = client.get(f"{str(url).rstrip('/')}/error_codes")
    except (httpx.HTTPError, OSError, ConfigurationError) as exc:
        advice = "check the base URL, and for a firewall or a proxy in between"
        yield Finding("service", "problem", f"no answer: {_reason(exc)}", advice)
        return
    ended = time.time()
    yield _judge(response, ended - begun)
    yield _compare_clocks(response.headers.get("date"), (begun + ended) / 2)


def _judge(response: httpx.Response, seconds: float) -> Finding:
    answered = f"GET /error_codes answered {response.status_code} after {seconds:.2f} s"
    if response.status_code == _PROXY_AUTHENTICATION_REQUIRED:
        return Finding("service", "problem", answered, "add the user name and password to the URL of the proxy")
    if response.is_server_error:
        return Finding("service", "problem", answered, "the service has a problem: try again later")
    if not response.is_success:
        return Finding("service", "warning", answered, "check the base URL; a gateway or fake may lack this endpoint")
    if "json" not in response.headers.get("content-type", ""):
        return Finding(
            "service", "warning", f"{answered} without JSON", "check the base URL: it seems to be a web page"
        )
    return Finding("service", "ok", answered)


def _compare_clocks(date: Optional[str], now: float) -> Finding:
    try:
        there = parsedate_to_datetime(date or "")
    except (TypeError, ValueError, IndexError):
        return Finding("clock", "skipped", "the answer has no date")
    if there.tzinfo is None:
        there = there.replace(tzinfo=timezone.utc)
    seconds = (datetime.fromtimestamp(now, timezone.utc) - there).total_seconds()
    if abs(seconds) <= _CLOCK_SECONDS:
        return Finding("clock", "ok", "same as that of the service")
    direction = "ahead of" if seconds > 0 else "behind"
    advice = "set the clock: certificates and retry times depend on it"
    return Finding("clock", "warning", f"{abs(seconds):.0f} s {direction} that of the service", advice)


def _reason(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__
