"""A place of the API: where a call goes, what it sends and answers, and what happens there."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Optional, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetch_hive_sdk._secret import Secret

    from .answers import Answer

AnswerT = TypeVar("AnswerT")

CORRELATION = "fetch_hive_sdk.correlation"
"""The name in `metadata` under which `correlate` puts its id."""

Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]


class Effect(enum.Enum):
    """What a call does, which decides whether it is sent again when its outcome is unknown."""

    RUN = "run"
    """Starts what is billed: never sent again, unless the client has `retry_unknown_outcome`."""
    CREATE = "create"
    """A second one would be a duplicate: never sent again."""
    SETTLE = "settle"
    """Leads to the same end however often it is done: sent again."""
    READ = "read"
    """Changes nothing: sent again."""


@dataclass(frozen=True)
class Endpoint(Generic[AnswerT]):
    """A place of the API.

    Args:
        path: What follows the base URL; the ids in it are quoted.
        answer: How the body of the answer is read: `one(Model)`, `many(Model)` or `nothing()`, of `answers`.
        method: The HTTP method.
        effect: What the call does. It alone decides what is sent again, and `maybe_processed`.
        query: What follows the `?`, if anything.
        operation: What observers see as the name of the call, such as `invoke_prompt`.
        is_open: Whether the service asks for no key there: then none is sent.
        secret: A webhook's secret, which is sent in place of the key.
        wrapper: The name under which the service wants the fields of the body; None for the body itself.
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
