"""Test code that uses Fetch Hive: a fake service with scripted answers, and recordings of the real one.

    from fetch_hive_sdk.testing import FakeServer

    fake = FakeServer()
    fake.answers("summarise", "Short.")
    client = fake.client()

With pytest, the fixture `fetch_hive` provides a `FakeHive`.
"""

from typing import TYPE_CHECKING

from ._agents import AgentAnswer, BackgroundRun, ToolUse
from ._answers import Answer, Refusal
from ._fake import TEST_KEY, TEST_WORKSPACE, FakeHive, FakeServer
from ._ledger import Callback
from ._record import RecordingProxy, record, recording_proxy
from ._replay import Cassette, UnrecordedCallError, replay
from ._reply import Fault
from ._script import StreamScript
from ._workflows import WorkflowAnswer

if TYPE_CHECKING:
    from fetch_hive_sdk.emulator import Deployment, Emulator, PlannedFault, Tokens, Variable, Variant

__all__ = [
    "TEST_KEY",
    "TEST_WORKSPACE",
    "AgentAnswer",
    "Answer",
    "BackgroundRun",
    "Callback",
    "Cassette",
    "Deployment",
    "Emulator",
    "FakeHive",
    "FakeServer",
    "Fault",
    "PlannedFault",
    "RecordingProxy",
    "Refusal",
    "StreamScript",
    "Tokens",
    "ToolUse",
    "UnrecordedCallError",
    "Variable",
    "Variant",
    "WorkflowAnswer",
    "record",
    "recording_proxy",
    "replay",
]


def __getattr__(name: str) -> object:
    # The emulator imports this package, so its names are looked up on first use.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fetch_hive_sdk import emulator  # noqa: PLC0415 - it imports this package

    return getattr(emulator, name)
