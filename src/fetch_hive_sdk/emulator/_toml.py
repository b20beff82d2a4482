"""Reads TOML, with whichever reader this Python has. Knows nothing of deployments."""

from __future__ import annotations

import importlib
import re
from contextlib import suppress
from typing import Callable, cast

from fetch_hive_sdk import ConfigurationError


class TOMLError(ValueError):
    """A text that is not TOML. `line` is where, from 1; `reason` is why."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def read_toml(text: str) -> dict[str, object]:
    """Return what a text says.

    Raises:
        TOMLError: It is not TOML.
        ConfigurationError: This Python has no reader of TOML.

    """
    loads = _reader()
    try:
        return loads(text)
    except RecursionError:
        raise TOMLError("it is nested too deeply", 1) from None
    except ValueError as exc:
        found = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", str(exc), re.DOTALL)
        reason, line = found.groups() if found else (str(exc), None)
        raise TOMLError(reason, int(line) if line else text.rstrip().count("\n") + 1) from None


def _reader() -> Callable[[str], dict[str, object]]:
    for name in ("tomllib", "tomli"):
        with suppress(ImportError):
            return cast("Callable[[str], dict[str, object]]", importlib.import_module(name).loads)
    raise ConfigurationError("Python before 3.11 cannot read TOML by itself: pip install tomli")
