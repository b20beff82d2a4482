"""The page of a server: shows a browser on this machine the calls as they come in."""

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
_NEWS = "/events"

# What calls say is for this page alone, and none of it may run.
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
    """Stands before a handler: answers for the page, and lets it answer all else.

    Args:
        handler: Who answers the calls.

    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._log = CallLog(handler)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request for the page, or have it answered."""
        path = request.url.path
        if request.method in {"GET", "HEAD"} and (path in _FILES or path == _NEWS):
            return (_refuse_strangers(request) or self._show(path)).respond(request)
        # What is not a call, such as /favicon.ico, is not worth a line.
        is_call = request.method == "POST" or path.startswith(f"{API_PATH}/")
        return self._log.handle(request) if is_call else self._handler(request)

    def close(self) -> None:
        """Let the browsers go."""
        self._log.close()

    def _show(self, path: str) -> Reply:
        if path == _NEWS:
            return Reply(200, {**_HEADERS, "Content-Type": "text/event-stream"}, self._news())
        name, media_type = _FILES[path]
        content = (resources.files("fetch_hive_sdk.emulator") / "page" / name).read_bytes()
        return Reply(200, {**_HEADERS, "Content-Type": media_type}, [content])

    def _news(self) -> Iterator[bytes]:
        # Browsers come back soon after a server that was started again.
        yield b"retry: 1000\n\n"
        for message in self._log.follow():
            # A comment shows whether the browser is still there.
            yield b": \n\n" if message is None else b"data: %s\n\n" % json.dumps(message, allow_nan=False).encode()


def _refuse_strangers(request: httpx.Request) -> Optional[Reply]:
    """Refuse requests under a name that is not this machine's, and those of other pages for the news."""
    # A site may let its own name point here, and read what its pages then get: but that name is in the header.
    if not is_loopback(request.url.host):
        return _refuse("This page is shown under the names of this machine only, such as 127.0.0.1 and localhost.\n")
    if request.url.path == _NEWS and request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return _refuse("The news of this page are for the page itself.\n")
    return None


def _refuse(reason: str) -> Reply:
    return Reply(403, {**_HEADERS, "Content-Type": "text/plain; charset=utf-8"}, [reason.encode()])
