"""The kinds of runs, with the endpoint of each. A kind is imported when it is first used. Performs no I/O."""

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
        endpoint: Returns the endpoint for a client with these settings.
        transcript: Creates the object that accumulates the events; None means that the run cannot be streamed.
    """

    endpoint: Callable[[Config], Endpoint[AnswerT]]
    transcript: Optional[Callable[[], Transcript[Any, AnswerT]]] = None

    def write(
        self, config: Config, request: RunRequest, extra_body: Optional[Mapping[str, object]], *, streaming: bool
    ) -> tuple[Endpoint[AnswerT], Body]:
        """Return the endpoint and the body for a request."""
        endpoint = self.endpoint(config)
        fields = request.wire_fields()
        if self.transcript is not None:
            fields["streaming"] = streaming
        if config.correlate:
            fields["metadata"] = correlated(fields.get("metadata"))
        names = type(request).model_fields.keys() | type(request).wire_names
        return endpoint, json_body(endpoint, fields, names, extra_body)


def correlated(metadata: object) -> dict[str, object]:
    """Add a random id to metadata, so that the run can be found in the platform's logs."""
    return {CORRELATION: uuid.uuid4().hex, **cast("Mapping[str, object]", metadata or {})}


_MODULES = {
    "invoke_prompt": "prompt_events",
    "invoke_workflow": "workflows",
    "start_workflow": "workflows",
    "invoke_agent": "agent_events",
    "invoke_hive_agent": "hive_agents",
}


def read_request(request: object) -> tuple[Kind[Any], RunRequest]:
    """Return the kind of a request, and the request validated again, because a dict inside it may have changed.

    Raises:
        TypeError: The value is not a request.

    """
    if not isinstance(request, RunRequest) or request.run not in _MODULES:
        raise TypeError("pass a request, such as InvokeRequest(deployment=...) or the result of calling a prompt")
    module = import_module(f".{_MODULES[request.run]}", __package__)
    kinds: dict[str, Kind[Any]] = module.KINDS
    return kinds[request.run], read_again(request)
