"""The page of a server, which shows its calls live in a browser on this machine."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Optional

from fetch_hive_sdk._config import is_loopback
from fetch_hive_sdk.testing._reply import Reply
from fetch_hive_sdk.testing._routes import API_PATH

from ._calls import CallLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fetch_hive_sdk.testing._server import Handler

_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_FEED = "/events"

# Only this page may read the calls, and nothing in them may run as code.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """Serves the page, and passes all other requests to a handler.

    Args:
        handler: Answers the calls.

    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._log = CallLog(handler)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request for the page, or pass it to the handler."""
        path = request.url.path
        if request.method in {"GET", "HEAD"} and (path in _FILES or path == _FEED):
            return (_refuse_other_origins(request) or self._show(path)).respond(request)
        # Requests that are not calls, such as /favicon.ico, are not logged.
        is_call = request.method == "POST" or path.startswith(f"{API_PATH}/")
        return self._log.handle(request) if is_call else self._handler(request)

    def close(self) -> None:
        """End the feeds of all browsers."""
        self._log.close()

    def _show(self, path: str) -> Reply:
        if path == _FEED:
            return Reply(200, {**_HEADERS, "Content-Type": "text/event-stream"}, self._feed())
        name, media_type = _FILES[path]
        content = (resources.files("fetch_hive_sdk.emulator") / "page" / name).read_bytes()
        return Reply(200, {**_HEADERS, "Content-Type": media_type}, [content])

    def _feed(self) -> Iterator[bytes]:
        # Browsers reconnect soon after the server was restarted.
        yield b"retry: 1000\n\n"
        for message in self._log.follow():
            # Writing a comment fails if the browser has disconnected.
            yield b": \n\n" if message is None else b"data: %s\n\n" % json.dumps(message, allow_nan=False).encode()


def _refuse_other_origins(request: httpx.Request) -> Optional[Reply]:
    """Refuse requests for a host name other than this machine's, and other pages' requests for the feed."""
    # Against DNS rebinding: a site may point its own name here, but that name is in the Host header.
    if not is_loopback(request.url.host):
        return _refuse("This page is only served to the names of this machine, such as 127.0.0.1 and localhost.\n")
    if request.url.path == _FEED and request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return _refuse("Only this page itself may read its feed.\n")
    return None


def _refuse(reason: str) -> Reply:
    return Reply(403, {**_HEADERS, "Content-Type": "text/plain; charset=utf-8"}, [reason.encode()])
