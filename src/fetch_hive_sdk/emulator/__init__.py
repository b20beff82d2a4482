"""An emulator of Fetch Hive: a fake service whose deployments are described in Python or TOML, with a page of calls.

from fetch_hive_sdk.emulator import Deployment, Emulator

with Emulator(Deployment(name="summarise", answer="In short: {text}")).serve() as url:
    ...
"""

from ._deployments import Deployment, PlannedFault, Tokens, Variable, Variant
from ._emulator import Emulator

__all__ = [
    "Deployment",
    "Emulator",
    "PlannedFault",
    "Tokens",
    "Variable",
    "Variant",
]
