"""`Endpoint` describes one endpoint of the API: its path, its answer, its effect."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Optional, TypeVar

from fetch_hive_sdk._secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .answers import Answer

AnswerT = TypeVar("AnswerT")

CORRELATION = "fetch_hive_sdk.correlation"
"""The key in `metadata` for the id that `correlate` adds."""

Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]


class Effect(enum.Enum):
    """The effect of a call, which decides whether it is retried when its outcome is unknown."""

    RUN = "run"
    """Starts a billed run: never retried, unless the client has `retry_unknown_outcome`."""
    CREATE = "create"
    """Creates an object, and a retry would create a duplicate: never retried."""
    SETTLE = "settle"
    """Idempotent, such as an update or a deletion: retried."""
    READ = "read"
    """Changes nothing: retried."""


@dataclass(frozen=True)
class Endpoint(Generic[AnswerT]):
    """An endpoint of the API.

    Args:
        path: The path below the base URL, with ids quoted.
        answer: How to parse the response body: `one(Model)`, `many(Model)` or `nothing()` from `answers`.
        method: The HTTP method.
        effect: The effect of the call. It alone decides what is retried, and `maybe_processed`.
        query: The query parameters; None means no query.
        operation: The name of the call for observers, such as `invoke_prompt`.
        is_open: Whether the endpoint needs no API key: then the key is not sent.
        secret: A webhook secret to send instead of the API key.
        wrapper: The key that wraps the fields of the request body; None means that they are not wrapped.
    """

    path: str
    answer: Answer[AnswerT]
    method: Method = "POST"
    effect: Effect = Effect.RUN
    query: Optional[Mapping[str, str]] = None
    wrapper: Optional[str] = None
    operation: str = ""
    is_open: bool = False
    secret: Optional[Secret] = None

    @property
    def secret_sent(self) -> Optional[Secret]:
        """The webhook secret that is sent in a header or in the query; None if there is none."""
        in_query = (self.query or {}).get("secret")
        return Secret(in_query) if self.secret is None and in_query else self.secret
