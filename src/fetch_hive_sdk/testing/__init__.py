"""For the tests of programs that use Fetch Hive: a service that says what it is told to say.

from fetch_hive_sdk.testing import FakeServer

fake = FakeServer()
fake.answers("summarise", "Short.")
client = fake.client()
"""

from ._deployments import Deployment, PlannedFault, Tokens, Variable, Variant
from ._emulator import Emulator
from ._fake import TEST_KEY, Answer, FakeServer, Refusal

__all__ = [
    "TEST_KEY",
    "Answer",
    "Deployment",
    "Emulator",
    "FakeServer",
    "PlannedFault",
    "Refusal",
    "Tokens",
    "Variable",
    "Variant",
]
