"""For the tests of programs that use Fetch Hive: a service that says what it is told to say.

from fetch_hive_sdk.testing import FakeServer

fake = FakeServer()
fake.answers("summarise", "Short.")
client = fake.client()

With pytest, the fixture `fetch_hive` gives a test a `FakeHive`.
"""

from ._deployments import Deployment, PlannedFault, Tokens, Variable, Variant
from ._emulator import Emulator
from ._fake import TEST_KEY, Answer, FakeServer, Refusal
from ._hive import FakeHive
from ._record import RecordingProxy, record, recording_proxy
from ._replay import Cassette, UnrecordedCallError, replay
from ._script import Fault, StreamScript

__all__ = [
    "TEST_KEY",
    "Answer",
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
    "UnrecordedCallError",
    "Variable",
    "Variant",
    "record",
    "recording_proxy",
    "replay",
]
