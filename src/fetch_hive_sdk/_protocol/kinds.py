"""The kinds of runs: where each goes, and what it answers. A kind is loaded when it is first used. Performs no I/O."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar, cast

from fetch_hive_sdk.models.sent import RunRequest, read_again

from .endpoint import CORRELATION
from .requests import json_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetch_hive_sdk._config import Config

    from .endpoint import Endpoint
    from .requests import Body
    from .streaming import Transcript

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class Kind(Generic[AnswerT]):
    """A kind of run.

    Args:
        endpoint: Returns where it goes, for a client with these settings.
        transcript: Makes what keeps its events; None if it cannot be streamed.
    """

    endpoint: Callable[[Config], Endpoint[AnswerT]]
    transcript: Optional[Callable[[], Transcript[Any, AnswerT]]] = None

    def write(
        self, config: Config, request: RunRequest, extra_body: Optional[Mapping[str, object]], *, streaming: bool
    ) -> tuple[Endpoint[AnswerT], Body]:
        """Return where a request goes and the body that carries it."""
        endpoint = self.endpoint(config)
        fields = request.wire_fields()
        if self.transcript is not None:
            fields["streaming"] = streaming
        if config.correlate:
            fields["metadata"] = correlated(fields.get("metadata"))
        names = type(request).model_fields.keys() | type(request).wire_names
        return endpoint, json_body(endpoint, fields, names, extra_body)


def correlated(metadata: object) -> dict[str, object]:
    """Return metadata with a random id, by which a run can be found in the platform's logs."""
    given = cast("Mapping[str, object]", metadata or {})
    return {CORRELATION: uuid.uuid4().hex, **given}


_HOMES = {
    "invoke_prompt": "prompt_events",
    "invoke_workflow": "workflows",
    "start_workflow": "workflows",
    "invoke_agent": "agent_events",
    "invoke_hive_agent": "hive_agents",
}


def read_request(request: object) -> tuple[Kind[Any], RunRequest]:
    """Return the kind of a request, and the request as it is now: a dict inside may have changed since it was made.

    Raises:
        TypeError: It is not a request.

    """
    if not isinstance(request, RunRequest) or request.run not in _HOMES:
        raise TypeError("pass a request, such as InvokeRequest(deployment=...), or what a call of a prompt returns")
    home = import_module(f".{_HOMES[request.run]}", __package__)
    kinds: dict[str, Kind[Any]] = home.KINDS
    return kinds[request.run], read_again(request)
