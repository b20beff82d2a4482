"""The endpoint for running Hive Agents. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetch_hive_sdk.models.hive_agents import HiveAgentAccepted

from .answers import one
from .endpoint import Endpoint
from .kinds import Kind

if TYPE_CHECKING:
    from fetch_hive_sdk._config import Config


def _endpoint(_: Config) -> Endpoint[HiveAgentAccepted]:
    return Endpoint("/hive-agent/invoke", one(HiveAgentAccepted), operation="invoke_hive_agent")


KINDS: dict[str, Kind[Any]] = {"invoke_hive_agent": Kind(_endpoint)}
