"""The settings of a client: read from arguments and the environment, validated once, never changed."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Optional, TypeVar, Union, cast

import httpx

from ._secret import Secret
from .errors import ConfigurationError

if TYPE_CHECKING:
    from ._observers import Observer

Timeout = Union[float, httpx.Timeout]
"""Seconds for the whole call, or an `httpx.Timeout` with a limit per step and no limit for the whole call."""

SettingT = TypeVar("SettingT")

DEFAULT_BASE_URL = "https://api.fetchhive.com/v1"
DEFAULT_TIMEOUT = 120.0  # seconds, as in the vendor's SDK
DEFAULT_MAX_RETRIES = 2
DEFAULT_PROMPT_PATH = "/prompt/invoke"
_LAST_PORT = 65535
_NOT_A_URL = "base_url is not a valid URL (expected e.g. https://api.fetchhive.com/v1)"


@dataclass(frozen=True)
class Config:
    """The validated settings of a client. The fields are the client's arguments."""

    api_key: Secret = field(repr=False)
    base_url: str
    timeout: Timeout
    idle_timeout: Optional[float]
    max_retries: int
    retry_unknown_outcome: bool
    prompt_path: str
    allow_http: bool
    default_headers: Mapping[str, str] = field(repr=False)
    observers: tuple[Observer, ...] = ()
    workspace_id: Optional[str] = None
    correlate: bool = False


def read_config(
    *,
    api_key: Optional[str] = None,
    base_url: Optional[str] = None,
    timeout: Optional[Timeout] = DEFAULT_TIMEOUT,
    idle_timeout: Optional[float] = None,
    max_retries: int = DEFAULT_MAX_RETRIES,
    retry_unknown_outcome: bool = False,
    prompt_path: str = DEFAULT_PROMPT_PATH,
    allow_http: bool = False,
    default_headers: Optional[Mapping[str, str]] = None,
    observers: Iterable[Observer] = (),
    workspace_id: Union[str, uuid.UUID, None] = None,
    correlate: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Validate the settings of a client. Key, base URL and workspace default to environment variables.

    Raises:
        ConfigurationError: A setting is missing or invalid. The message names it and never quotes the key.

    """
    return Config(
        api_key=_read(_read_key, api_key, "FETCH_HIVE_API_KEY", environ),
        base_url=_read(
            lambda given: _read_base_url(given or DEFAULT_BASE_URL, allow_http),
            base_url,
            "FETCH_HIVE_BASE_URL",
            environ,
        ),
        timeout=read_timeout(timeout),
        idle_timeout=_read_idle_timeout(idle_timeout),
        max_retries=_read_max_retries(max_retries),
        retry_unknown_outcome=_read_switch("retry_unknown_outcome", retry_unknown_outcome),
        prompt_path=_read_path(prompt_path),
        allow_http=_read_switch("allow_http", allow_http),
        default_headers=_read_headers(default_headers),
        observers=_read_observers(observers),
        workspace_id=_read(
            _read_workspace,
            str(workspace_id) if isinstance(workspace_id, uuid.UUID) else workspace_id,
            "FETCH_HIVE_WORKSPACE_ID",
            environ,
        ),
        correlate=_read_switch("correlate", correlate),
    )


def _read(
    read: Callable[[Optional[str]], SettingT], given: Optional[str], variable: str, environ: Mapping[str, str]
) -> SettingT:
    """Read a setting from its argument or else from an environment variable, which an error then names."""
    if given or not environ.get(variable):
        return read(given)
    try:
        return read(environ[variable])
    except ConfigurationError as exc:
        reason = str(exc)
    raise ConfigurationError(f"{reason} (it comes from the environment variable {variable})")


def _read_key(given: Optional[str]) -> Secret:
    if given is not None and not isinstance(cast("object", given), str):
        raise ConfigurationError("api_key must be a string")
    key = (given or "").strip()
    if key[:1] in {'"', "'"} or key[-1:] in {'"', "'"}:
        raise ConfigurationError("api_key is in quotes: pass it, or set FETCH_HIVE_API_KEY, without quotes")
    if key.lower().startswith("bearer"):
        raise ConfigurationError('api_key begins with "Bearer": pass only the key, the client adds "Bearer"')
    if not key:
        raise ConfigurationError("api_key is required: pass api_key=... or set FETCH_HIVE_API_KEY")
    # A valid header value as in RFC 9110 section 5.5, without spaces.
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError("api_key contains a space, a line break or a non-ASCII character: copy the key again")
    return Secret(key)


def _read_base_url(given: str, allow_http: bool) -> str:
    # The messages do not quote the URL, which may contain a password.
    try:
        url = httpx.URL(given.strip())
        host = url.host  # decodes Punycode, which may fail
    except (httpx.InvalidURL, UnicodeError):
        raise ConfigurationError(_NOT_A_URL) from None
    except (TypeError, AttributeError) as exc:
        raise ConfigurationError(_NOT_A_URL) from exc
    if url.scheme not in {"http", "https"} or not host:
        raise ConfigurationError("base_url must begin with https:// and a host name")
    # Also checks the string: httpx keeps an empty query, and the path of the endpoint would become part of it.
    if url.userinfo or "?" in given or "#" in given:
        raise ConfigurationError("base_url must not contain a user name, password, query or fragment")
    if url.port is not None and not 0 < url.port <= _LAST_PORT:
        raise ConfigurationError(f"base_url has an invalid port: it must be between 1 and {_LAST_PORT}")
    if url.scheme == "http" and not allow_http and not is_loopback(host):
        raise ConfigurationError(
            "base_url uses http://, which would send the key unencrypted: use https://, or pass allow_http=True"
        )
    return str(url).rstrip("/")


def _read_workspace(given: Optional[str]) -> Optional[str]:
    if not isinstance(cast("object", given), (str, type(None))):
        raise ConfigurationError("workspace_id must be a string or a UUID")
    workspace_id = (given or "").strip()
    if workspace_id in {".", ".."}:
        raise ConfigurationError("workspace_id must be the id of a workspace, not '.' or '..'")
    return workspace_id or None


def _read_path(given: str) -> str:
    path = given.strip("/") if isinstance(cast("object", given), str) else ""
    if not re.fullmatch(r"[\w.~-]+(/[\w.~-]+)*", path, re.ASCII) or ".." in path:
        raise ConfigurationError("prompt_path must be a path such as /prompt/invoke, without a query")
    return f"/{path}"


def _read_switch(name: str, given: bool) -> bool:
    # "no" would be true in Python, and these switches cost money or send the key unencrypted.
    if not isinstance(cast("object", given), bool):
        raise ConfigurationError(f"{name} must be True or False")
    return given


def is_loopback(host: str) -> bool:
    """Whether a host name or an IP address is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def no_proxy_for_loopback(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return environment variables that exempt 127.0.0.1 from the configured proxies."""
    others = environ.get("no_proxy") or environ.get("NO_PROXY")
    return dict.fromkeys(("NO_PROXY", "no_proxy"), f"{others},127.0.0.1" if others else "127.0.0.1")


# Set by the client or by httpx. A length or an encoding that does not match the body would break the request.
_OWN_HEADERS = {
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.1
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([ \t\x21-\x7e]*[\x21-\x7e])?")  # RFC 9110 section 5.5, printable ASCII


def is_valid_extra_header(name: object, value: object) -> bool:
    """Whether a header is valid, and not one that the client sets."""
    is_name = isinstance(name, str) and _HEADER_NAME.fullmatch(name) and name.lower() not in _OWN_HEADERS
    return bool(is_name and isinstance(value, str) and _HEADER_VALUE.fullmatch(value))


def _read_headers(given: Optional[Mapping[str, str]]) -> dict[str, str]:
    # The messages do not quote values, which may be secrets.
    if not isinstance(cast("object", given), (Mapping, type(None))):
        raise ConfigurationError("default_headers must be a mapping of names to values")
    headers: dict[str, str] = {}
    for name, value in (given or {}).items():
        if not isinstance(cast("object", name), str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError("default_headers contains an invalid header name")
        if name.lower() in _OWN_HEADERS:
            raise ConfigurationError(f"default_headers must not contain {name}: the client sets it")
        if not isinstance(cast("object", value), str) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(f"the value of {name} in default_headers must be a printable ASCII string")
        if name.lower() in {known.lower() for known in headers}:
            raise ConfigurationError(f"default_headers contains {name} twice")
        headers["User-Agent" if name.lower() == "user-agent" else name] = value
    return headers


def _read_observers(given: Iterable[Observer]) -> tuple[Observer, ...]:
    if given == ():
        return ()
    from ._observers import Observer  # noqa: PLC0415 - slow to import, and few clients have observers

    observers = tuple(given) if isinstance(cast("object", given), Iterable) else (None,)
    if not all(isinstance(cast("object", observer), Observer) for observer in observers):
        raise ConfigurationError("observers must be a list of instances of Observer")
    return cast("tuple[Observer, ...]", observers)


def read_timeout(timeout: Optional[Timeout]) -> Timeout:
    """Validate the time limit of a client or a call; None means no limit.

    Raises:
        ConfigurationError: The limit is neither a positive number of seconds nor an `httpx.Timeout`.

    """
    if timeout is None:
        return httpx.Timeout(None)
    if isinstance(timeout, httpx.Timeout):
        return timeout
    if not _is_number(timeout) or not 0 < timeout < math.inf:
        raise ConfigurationError("timeout must be a positive number of seconds, an httpx.Timeout, or None for no limit")
    return float(timeout)


def _read_idle_timeout(idle_timeout: Optional[float]) -> Optional[float]:
    if idle_timeout is None or idle_timeout == math.inf:
        return None
    if not _is_number(idle_timeout) or not idle_timeout > 0:
        raise ConfigurationError("idle_timeout must be a positive number of seconds, or None")
    return float(idle_timeout)


def _read_max_retries(max_retries: int) -> int:
    if not _is_number(max_retries) or not 0 <= max_retries < math.inf or max_retries != int(max_retries):
        raise ConfigurationError("max_retries must be a whole number, 0 or more")
    return int(max_retries)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
