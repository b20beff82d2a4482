"""From fields to a request: its headers and its body. Performs no I/O."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

import httpx
from pydantic_core import to_json

from fetch_hive_sdk._version import __version__
from fetch_hive_sdk.models.json_values import read_json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from fetch_hive_sdk._config import Config

    from .endpoint import Endpoint

USER_AGENT = f"fetch-hive-sdk/{__version__} httpx/{httpx.__version__} python/{platform.python_version()}"

_read_url = lru_cache(maxsize=64)(httpx.URL)  # reading one costs as much as a tenth of a call


class Upload(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is read while it is sent. Each attempt opens a new one."""


@dataclass(frozen=True)
class Body:
    """What a request carries.

    Args:
        content: The bytes, or a function that opens the stream of them, again for each attempt.
        media_type: The `Content-Type`.
        length: How many bytes a stream has.
    """

    content: Union[bytes, Callable[[], Upload]]
    media_type: str = "application/json"
    length: Optional[int] = None


def json_body(
    endpoint: Endpoint[Any],
    fields: Mapping[str, object],
    model: type[BaseModel],
    extra_body: Optional[Mapping[str, object]] = None,
) -> Body:
    """Write the JSON body of a request from the fields of its model, and those that this version does not know.

    Raises:
        ValueError: `extra_body` has a field that has an argument of its own, or a value that JSON cannot carry.

    """
    extra = read_json_object(extra_body or {}, "extra_body")
    known = sorted(model.model_fields.keys() & extra.keys())
    if known:
        raise ValueError(f"extra_body must not have {', '.join(known)}: there is an argument for it")
    merged = {**fields, **extra}
    return Body(to_json({endpoint.wrapper: merged} if endpoint.wrapper else merged))


def build_request(
    config: Config,
    endpoint: Endpoint[Any],
    body: Optional[Body],
    *,
    streaming: bool,
    limits: Mapping[str, Optional[float]],
) -> httpx.Request:
    """Build the request of one attempt."""
    headers = {
        "Authorization": f"Bearer {config.api_key.reveal()}",
        "Accept": "text/event-stream, application/json" if streaming else "application/json",
        # What `BodyReader` can undo with a bound. Events must not wait in a compressor.
        "Accept-Encoding": "identity" if streaming else "gzip",
        "User-Agent": USER_AGENT,
        **config.default_headers,
    }
    url = _read_url(config.base_url + endpoint.path)
    if endpoint.query:
        url = url.copy_merge_params(endpoint.query)
    extensions = {"timeout": dict(limits)}
    if body is None:
        return httpx.Request(endpoint.method, url, headers=headers, extensions=extensions)
    headers["Content-Type"] = body.media_type
    if isinstance(body.content, bytes):
        return httpx.Request(endpoint.method, url, headers=headers, content=body.content, extensions=extensions)
    headers["Content-Length"] = str(body.length)
    return httpx.Request(endpoint.method, url, headers=headers, stream=body.content(), extensions=extensions)
