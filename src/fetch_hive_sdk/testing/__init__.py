"""For the tests of programs that use Fetch Hive: a service that says what it is told to say.

from fetch_hive_sdk.testing import FakeServer

fake = FakeServer()
fake.answers("summarise", "Short.")
client = fake.client()
"""

from ._fake import TEST_KEY, Answer, FakeServer, Refusal
from ._record import RecordingProxy, record, recording_proxy
from ._replay import Cassette, UnrecordedCallError, replay

__all__ = [
    "TEST_KEY",
    "Answer",
    "Cassette",
    "FakeServer",
    "RecordingProxy",
    "Refusal",
    "UnrecordedCallError",
    "record",
    "recording_proxy",
    "replay",
]
