"""`fetch-hive doctor`: look at all that a call needs, and say what to do about what is wrong."""

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
from fetch_hive_sdk._net.proxies import Routes, check_proxies, loopback_mounts

from ._record import SERVICE
from ._terminal import Style, in_one_line, paint

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

Result = Literal["ok", "warning", "problem", "skipped"]

FOUND_A_PROBLEM = 8
_SECONDS = 10.0  # for each step on the network
_DAYS_LEFT = 14  # of a certificate, before it is worth a warning
_PROXY_WANTS_A_NAME = 407
_CLOCK_SECONDS = 30.0  # that the two clocks may differ
_STYLES: dict[Result, Style] = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}

EPILOG = """\
Sends no key, and starts no run: its one call to the service asks for the catalogue of error codes.

examples:
  fetch-hive doctor
  fetch-hive doctor --offline
  fetch-hive doctor --json

exit codes:
  0  nothing is a problem
  8  something is: the line says what to do
"""


@dataclass(frozen=True)
class Finding:
    """What a check has found."""

    check: str
    result: Result
    found: str
    advice: str = ""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "doctor",
        help="look at key, network, clock and versions",
        description="Look at all that a call needs, a line each, and say what to do about what is wrong.",
        epilog=EPILOG,
    )
    parser.add_argument("--offline", action="store_true", help="leave out what needs the network")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the checks; return the exit code."""
    findings: list[Finding] = []
    for finding in examine(offline=options.offline):
        findings.append(finding)
        if not options.json:
            print(_line(finding), flush=True)
    is_well = all(finding.result != "problem" for finding in findings)
    if options.json:
        print(json.dumps({"ok": is_well, "checks": [asdict(finding) for finding in findings]}, indent=2))
    return 0 if is_well else FOUND_A_PROBLEM


def _line(finding: Finding) -> str:
    result = paint(f"{finding.result:<8}", _STYLES[finding.result], sys.stdout)
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{result} {finding.check:<9} {in_one_line(finding.found + advice)}"


def examine(*, offline: bool = False) -> Iterator[Finding]:
    """Make the checks, one after the other.

    Args:
        offline: Whether to leave out what needs the network.

    """
    yield _check_versions()
    yield _check_key()
    base_url = _check_base_url()
    yield base_url
    proxy = _check_proxies()
    yield proxy
    if offline:
        yield Finding("network", "skipped", "not looked at, with --offline")
    elif "problem" in {base_url.result, proxy.result}:
        yield Finding("network", "skipped", "not looked at, before the problem above is mended")
    else:
        yield from _examine_network(httpx.URL(_base_url()))


def _examine_network(url: httpx.URL) -> Iterator[Finding]:
    if Routes().find(url).proxy:
        yield Finding("dns", "skipped", "the proxy looks the name up")
        yield Finding("tls", "skipped", "the proxy is asked to connect: see the service below")
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
        advice = "set it to an API key of the workspace; without one: fetch-hive serve"
        return Finding("key", "problem", "FETCH_HIVE_API_KEY is not set", advice)
    try:
        FetchHive(key, SERVICE)
    except ConfigurationError as exc:
        return Finding("key", "problem", f"FETCH_HIVE_API_KEY cannot be a key: {exc}")
    # Of a key, only what all keys have in common is shown.
    shown = "fhk_***" if key.startswith("fhk_") else "***"
    return Finding("key", "ok", f"FETCH_HIVE_API_KEY is {shown}, {len(key)} characters long")


def _base_url() -> str:
    return os.environ.get("FETCH_HIVE_BASE_URL", "").strip() or SERVICE


def _check_base_url() -> Finding:
    try:
        FetchHive("fhk_unused", _base_url())
    except ConfigurationError as exc:
        return Finding(
            "base URL", "problem", str(exc), "correct FETCH_HIVE_BASE_URL, or unset it for the service itself"
        )
    source = "from FETCH_HIVE_BASE_URL" if os.environ.get("FETCH_HIVE_BASE_URL", "").strip() else "the service itself"
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
        advice = "is the name right, and this machine online? A proxy, if you need one, goes into HTTPS_PROXY"
        return Finding("dns", "problem", f"{url.host} is not found: {_reason(exc)}", advice)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    told = "is an address" if addresses == [url.host] else f"is {', '.join(addresses[:3])}"
    return Finding("dns", "ok", f"{url.host} {told}")


def _check_tls(url: httpx.URL) -> Finding:
    if url.scheme != "https":
        return Finding("tls", "skipped", "the base URL is plain http")
    try:
        context = httpx.create_ssl_context()
    except OSError as exc:
        found = f"the trusted certificates cannot be read: {_reason(exc)}"
        return Finding("tls", "problem", found, "correct SSL_CERT_FILE or SSL_CERT_DIR, or unset them")
    try:
        return _shake_hands(url, context)
    except ssl.SSLCertVerificationError as exc:
        advice = "is the clock right? Behind a company's proxy, point SSL_CERT_FILE to its certificate"
        return Finding("tls", "problem", f"the certificate is not trusted: {exc.verify_message}", advice)
    except OSError as exc:
        advice = "is there a firewall between, or a proxy that should be in HTTPS_PROXY?"
        return Finding("tls", "problem", f"no secure connection to {url.host}: {_reason(exc)}", advice)


def _shake_hands(url: httpx.URL, context: ssl.SSLContext) -> Finding:
    plain = socket.create_connection((url.host, _port_of(url)), timeout=_SECONDS)
    with plain, context.wrap_socket(plain, server_hostname=url.host) as secured:
        certificate = secured.getpeercert() or {}
        protocol = secured.version()
    ends = ssl.cert_time_to_seconds(str(certificate.get("notAfter")))
    days = int((ends - time.time()) // (24 * 60 * 60))
    found = f"{protocol}, certificate valid for {days} more days"
    if days < _DAYS_LEFT:
        return Finding("tls", "warning", found, "the service has to renew it soon; or is a proxy between?")
    return Finding("tls", "ok", found)


def _check_service(url: httpx.URL) -> Iterator[Finding]:
    begun = time.time()
    try:
        with httpx.Client(timeout=_SECONDS, mounts=loopback_mounts(url)) as client:
            response = client.get(f"{str(url).rstrip('/')}/error_codes")
    except (httpx.HTTPError, OSError) as exc:
        advice = "is it the right base URL, is there a firewall or a proxy between?"
        yield Finding("service", "problem", f"no answer: {_reason(exc)}", advice)
        return
    ended = time.time()
    yield _judge(response, ended - begun)
    yield _compare_clocks(response.headers.get("date"), (begun + ended) / 2)


def _judge(response: httpx.Response, seconds: float) -> Finding:
    answered = f"GET /error_codes answered {response.status_code} after {seconds:.2f} s"
    if response.status_code == _PROXY_WANTS_A_NAME:
        return Finding("service", "problem", answered, "the proxy wants a user name and password in its address")
    if response.is_server_error:
        return Finding("service", "problem", answered, "the service is out of order: try later")
    if not response.is_success:
        return Finding("service", "warning", answered, "the base URL may be wrong, or a stand-in knows no catalogue")
    if "json" not in response.headers.get("content-type", ""):
        return Finding("service", "warning", f"{answered}, and no JSON", "the base URL may be wrong: a page answers")
    return Finding("service", "ok", answered)


def _compare_clocks(date: Optional[str], now: float) -> Finding:
    try:
        there = parsedate_to_datetime(date or "")
    except (TypeError, ValueError, IndexError):
        return Finding("clock", "skipped", "the service does not tell the time")
    if there.tzinfo is None:
        there = there.replace(tzinfo=timezone.utc)
    seconds = (datetime.fromtimestamp(now, timezone.utc) - there).total_seconds()
    if abs(seconds) <= _CLOCK_SECONDS:
        return Finding("clock", "ok", "as that of the service")
    direction = "ahead of" if seconds > 0 else "behind"
    advice = "set it: certificates and dates to wait for are read wrongly"
    return Finding("clock", "warning", f"{abs(seconds):.0f} s {direction} that of the service", advice)


def _reason(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__
