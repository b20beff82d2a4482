"""The httpx2 clients that a caller may inject, for type checkers and at run time. No httpx2 import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .conversions import package_of

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Httpx2Client(Protocol):
    """The methods of `httpx2.Client` that this SDK uses. Type checkers accept an `httpx2.Client` here."""

    @property
    def event_hooks(self) -> Any:
        """The event hooks."""
        ...

    def build_request(self, method: str, url: str, *, content: Any, headers: Any, extensions: Any) -> Any:
        """Build a request with the client's settings."""
        ...

    def send(self, request: Any, *, stream: bool, auth: None, follow_redirects: bool) -> Httpx2Response:
        """Send a request."""
        ...


class Httpx2AsyncClient(Protocol):
    """The methods of `httpx2.AsyncClient` that this SDK uses."""

    @property
    def event_hooks(self) -> Any:
        """The event hooks."""
        ...

    def build_request(self, method: str, url: str, *, content: Any, headers: Any, extensions: Any) -> Any:
        """Build a request with the client's settings."""
        ...

    def send(self, request: Any, *, stream: bool, auth: None, follow_redirects: bool) -> Awaitable[Httpx2Response]:
        """Send a request."""
        ...


class Httpx2Response(Protocol):
    """The attributes of `httpx2.Response` that this SDK uses."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Any:
        """The headers."""
        ...


def is_httpx2(client: object, kind: str) -> bool:
    """Return whether an object is an httpx2 client. `kind` is `Client` or `AsyncClient`."""
    return any(cls.__name__ == kind and package_of(cls) == "httpx2" for cls in type(client).__mro__)
