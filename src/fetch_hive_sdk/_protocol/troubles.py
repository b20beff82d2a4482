"""What a failed connection is called: where it went, what happened there, what to check. Performs no I/O."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Optional, cast

from fetch_hive_sdk._extensions import CLOSED, PROXY

from .retry import causes, is_hopeless

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import httpx


def place_of(request: httpx.Request) -> str:
    """Return host and port that a request goes to, and the proxy if there is one."""
    url = request.url
    host = f"[{url.host}]" if ":" in url.host else url.host
    place = f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    proxy = request.extensions.get(PROXY)
    return f"{place} through the proxy {proxy}" if proxy else place


def reason_of(exc: Exception) -> str:
    """Return what the system or OpenSSL says about an error of the network, else what the error itself says."""
    for link in _links(exc):
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted ({link.verify_message})"
        if isinstance(link, ssl.SSLError):
            return _NOT_TLS if _is_not_tls(link) else str(exc) or str(link)
        if _is_unknown_host(link):
            return f"the host name was not found ({getattr(link, 'strerror', link)})"
    if any(map(is_hopeless, _links(exc))):
        return str(exc)
    return next((link.strerror for link in _links(exc) if isinstance(link, OSError) and link.strerror), None) or str(
        exc
    )


_NOT_TLS = "what answers there does not speak TLS"


def _is_unknown_host(error: BaseException) -> bool:
    # By its name: nothing here imports sockets.
    return isinstance(error, OSError) and type(error).__name__ == "gaierror"


def _is_not_tls(error: ssl.SSLError) -> bool:
    return error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}


def _links(exc: BaseException) -> Iterator[BaseException]:
    yield exc
    for cause in causes(exc):
        yield cause
        # anyio groups the errors of several addresses.
        group = getattr(cause, "exceptions", None)
        if group:
            yield from cast("tuple[BaseException, ...]", group)


def check_connection(request: httpx.Request, cause: Optional[Exception] = None) -> str:
    """Return what to check where a connection could not be made; empty if the error itself says so."""
    links = [] if cause is None else list(_links(cause))
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in links):
        return "if your network has certificates of its own, name them in SSL_CERT_FILE"
    if any(isinstance(link, ssl.SSLError) and _is_not_tls(link) for link in links):
        return "check whether base_url should have another port, or begin with http://"
    if any(is_hopeless(link) or str(link) == CLOSED for link in links):
        return ""
    if request.extensions.get(PROXY):
        return "check HTTPS_PROXY, ALL_PROXY and NO_PROXY, and what the proxy allows"
    if any(map(_is_unknown_host, links)):
        return "check base_url and the network"
    return "check base_url, the network, and whether the service is running"


def cut_frames(exc: BaseException) -> None:
    """Take the frames of httpcore, and those below, from a traceback and those of its causes."""
    link: Optional[BaseException] = exc
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        _cut(link.__traceback__)
        link = link.__cause__ or link.__context__


def _cut(traceback: Optional[TracebackType]) -> None:
    while traceback is not None and traceback.tb_next is not None:
        module = str(traceback.tb_next.tb_frame.f_globals.get("__name__"))
        if module.partition(".")[0] == "httpcore":
            traceback.tb_next = None
        traceback = traceback.tb_next
