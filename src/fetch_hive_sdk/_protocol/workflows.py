"""The endpoints for running workflows. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetch_hive_sdk.models.workflows import WorkflowAccepted, WorkflowRun

from .answers import one
from .endpoint import Endpoint
from .kinds import Kind

if TYPE_CHECKING:
    from fetch_hive_sdk._config import Config

_PATH = "/workflow/invoke"


def _waited_for(_: Config) -> Endpoint[WorkflowRun]:
    return Endpoint(_PATH, one(WorkflowRun), operation="invoke_workflow")


def _started(_: Config) -> Endpoint[WorkflowAccepted]:
    return Endpoint(_PATH, one(WorkflowAccepted), operation="invoke_workflow")


KINDS: dict[str, Kind[Any]] = {"invoke_workflow": Kind(_waited_for), "start_workflow": Kind(_started)}
