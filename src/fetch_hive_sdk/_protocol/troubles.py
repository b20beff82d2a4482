"""Describes failed connections in messages: the address, the reason, and what to check. Performs no I/O."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Optional, cast

from fetch_hive_sdk._extensions import CLOSED, HOOK_RAISED, PROXY

from .retry import causes, is_permanent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import httpx


def place_of(request: httpx.Request) -> str:
    """Return the host and port of a request, and the proxy if there is one."""
    url = request.url
    host = f"[{url.host}]" if ":" in url.host else url.host
    place = f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    proxy = request.extensions.get(PROXY)
    return f"{place} through the proxy {proxy}" if proxy else place


def reason_of(exc: Exception) -> str:
    """Return the message of the system or OpenSSL for a network error, or else the message of the error itself."""
    if str(exc).startswith(HOOK_RAISED):
        return str(exc)  # its causes concern another connection
    for link in _links(exc):
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted ({link.verify_message})"
        if isinstance(link, ssl.SSLError):
            return _NOT_TLS if _is_not_tls(link) else str(exc) or str(link)
        if _is_unknown_host(link):
            return f"the host name was not found ({getattr(link, 'strerror', link)})"
    if any(map(is_permanent, _links(exc))):
        return str(exc)
    return next((link.strerror for link in _links(exc) if isinstance(link, OSError) and link.strerror), None) or str(
        exc
    )


_NOT_TLS = "the server does not use TLS"


def _is_unknown_host(error: BaseException) -> bool:
    # Compares the name, because the protocol does not import `socket`.
    return isinstance(error, OSError) and type(error).__name__ == "gaierror"


def _is_not_tls(error: ssl.SSLError) -> bool:
    return error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}


def _links(exc: BaseException) -> Iterator[BaseException]:
    yield exc
    for cause in causes(exc):
        yield cause
        # anyio raises the errors for several IP addresses as a group.
        group = getattr(cause, "exceptions", None)
        if group:
            yield from cast("tuple[BaseException, ...]", group)


def check_connection(request: httpx.Request, cause: Optional[Exception] = None) -> str:
    """Return what to check if a connection failed; empty if the reason already shows that."""
    links = [] if cause is None else list(_links(cause))
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in links):
        return "if your network uses its own certificates, set SSL_CERT_FILE to their file"
    if any(isinstance(link, ssl.SSLError) and _is_not_tls(link) for link in links):
        return "check the port of base_url, or use http:// for a server without TLS"
    if any(is_permanent(link) or str(link) == CLOSED for link in links):
        is_bad_name = any(isinstance(link, UnicodeError) for link in links)
        return "check the host name of base_url" if is_bad_name else ""
    if request.extensions.get(PROXY):
        return "check HTTPS_PROXY, ALL_PROXY and NO_PROXY, and whether the proxy allows this host"
    if any(map(_is_unknown_host, links)):
        return "check base_url and the network"
    return "check base_url, the network, and whether the service is running"


def cut_frames(exc: BaseException) -> None:
    """Remove the frames of httpcore(2), and those below, from the tracebacks of an exception and its causes."""
    link: Optional[BaseException] = exc
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        _cut(link.__traceback__)
        link = link.__cause__ or link.__context__


def _cut(traceback: Optional[TracebackType]) -> None:
    while traceback is not None and traceback.tb_next is not None:
        module = str(traceback.tb_next.tb_frame.f_globals.get("__name__"))
        if module.partition(".")[0] in {"httpcore", "httpcore2"}:
            traceback.tb_next = None
        traceback = traceback.tb_next
