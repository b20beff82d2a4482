"""Calls to endpoints that have no method yet: `FetchHive.raw_request`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal, Optional, cast
from urllib.parse import unquote

import httpx
from pydantic_core import to_json

from fetch_hive_sdk._protocol.answers import Answer, as_object
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint, Method
from fetch_hive_sdk._protocol.paths import query_of
from fetch_hive_sdk._protocol.requests import Body
from fetch_hive_sdk.models.envelopes import RawAnswer
from fetch_hive_sdk.models.json_values import read_json_value

EffectName = Literal["run", "create", "settle", "read"]

_METHODS = {"GET", "POST", "PATCH", "DELETE", "PUT"}


def raw_call(
    method: str, path: str, json: object, query: Optional[Mapping[str, object]], effect: Optional[EffectName]
) -> tuple[Endpoint[RawAnswer], Optional[Body]]:
    """Return the endpoint and body of a `raw_request`.

    Raises:
        ValueError: The method, path, query or effect is invalid, or the value cannot be written as JSON.

    """
    verb = method.upper() if isinstance(cast("object", method), str) else ""
    if verb not in _METHODS:
        raise ValueError("method must be GET, POST, PATCH, PUT or DELETE")
    names = {effect.value for effect in Effect}
    if effect is not None and effect not in names:
        raise ValueError(f"effect must be one of {', '.join(sorted(names))}, or None")
    effect_of_call = Effect(effect) if effect else (Effect.READ if verb == "GET" else Effect.RUN)
    url_path = _read_path(path)
    if not isinstance(cast("object", query), (Mapping, type(None))):
        raise ValueError("query must be a mapping of names to values")  # noqa: TRY004 - all invalid arguments raise ValueError
    params = query_of(query or {})
    endpoint = Endpoint(url_path, _ANSWER, cast("Method", verb), effect_of_call, params, operation=f"{verb} {url_path}")
    if json is None:
        return endpoint, None
    value = read_json_value(json, "json")
    return endpoint, Body(to_json(value), fields=as_object(value))


def _read_path(path: str) -> str:
    text = path if isinstance(cast("object", path), str) else ""
    # The API key must only go to URLs below base_url. A ".." segment would leave it, even percent-encoded, because some
    # proxies decode it.
    if not re.fullmatch(r"/?[\w.~%!$&'()*+,;=:@/-]+", text, re.ASCII) or "//" in text:
        raise ValueError("path must be the part of the URL after base_url, such as /public/models, without a query")
    if {".", ".."} & set(re.split(r"[/\\]", unquote(text))):
        raise ValueError("path must not have '.' or '..' as a segment")
    return text if text.startswith("/") else f"/{text}"


def _add_head(answer: RawAnswer, head: httpx.Response) -> RawAnswer:
    return dataclasses.replace(answer, status_code=head.status_code, headers=httpx.Headers(head.headers))


def _read(value: object) -> RawAnswer:
    return RawAnswer(0, httpx.Headers(), value)


_ANSWER = Answer(_read, empty=lambda: _read(None), add_head=_add_head)
