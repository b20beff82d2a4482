"""Finds the endpoint of a request in a table of exact paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional
from urllib.parse import unquote

import httpx

from ._reply import Reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

API_PATH = "/v1"
"""The default path of a base URL."""


def path_of(base_url: str) -> str:
    """Return the path of a base URL, escaped as in requests."""
    return httpx.URL(base_url).raw_path.decode("ascii").rstrip("/")


@dataclass(frozen=True)
class Incoming:
    """A request for an endpoint."""

    request: httpx.Request
    names: Mapping[str, str]
    """The values of the `{names}` in the path."""
    delay: float = 0.0
    """Seconds between the events of a stream."""


@dataclass(frozen=True)
class Route:
    """An endpoint."""

    method: str
    path: str
    """The path below the base URL, such as `/agents/{agent}`. A name in braces matches one segment."""
    answer: Callable[[Incoming], Reply]
    needs_key: bool = True


class RefusedError(Exception):
    """A request that is answered with an error, in the shape of the API."""

    def __init__(self, status: int, message: str, error_code: Optional[str] = None) -> None:
        super().__init__(message)
        self.reply = refusal_reply(status, message, error_code)


class UnknownEndpointError(RefusedError):
    """A request for an endpoint that does not exist, probably from a client with a wrong base URL."""

    def __init__(self, message: str) -> None:
        super().__init__(404, message)


def refusal_reply(
    status: int, message: str, error_code: Optional[str] = None, headers: Optional[Mapping[str, str]] = None
) -> Reply:
    """Return an error response in the shape of the API."""
    body = {"error": message, "message": message, "error_code": error_code}
    return json_reply(status, {name: value for name, value in body.items() if value is not None}, headers)


class RouteTable:
    """The endpoints of a service."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [(_pattern_of(route.path), route) for route in routes]

    def find(self, request: httpx.Request, base_path: str) -> tuple[Route, dict[str, str]]:
        """Return the endpoint of a request, and the values of the names in its path.

        Args:
            request: The request.
            base_path: The path of the base URL.

        Raises:
            UnknownEndpointError: The endpoint is unknown.
            RefusedError: It does not allow the method (405).

        """
        path = request.url.raw_path.partition(b"?")[0].decode("ascii")
        below = path[len(base_path) :] if path.startswith(f"{base_path}/") else ""
        found = [(route, match) for pattern, route in self._routes if (match := pattern.fullmatch(below))]
        if not found:
            base_url = request.url.copy_with(raw_path=base_path.encode())
            message = f"There is no endpoint {request.method} {path}: the base URL of this service is {base_url}"
            raise UnknownEndpointError(message)
        for route, match in found:
            if route.method == request.method:
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
        raise RefusedError(405, f"Use {' or '.join(route.method for route, _ in found)}")


def _pattern_of(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)))
