"""An emulator of Fetch Hive: a fake service with deployments described in Python or TOML, and a page that shows calls.

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
