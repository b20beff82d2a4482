"""Reads TOML with `tomllib`, or `tomli` before Python 3.11."""

from __future__ import annotations

import importlib
import re
from contextlib import suppress
from typing import Callable, cast

from fetch_hive_sdk import ConfigurationError


class TOMLError(ValueError):
    """Invalid TOML, with the `line` (from 1) and the `reason`."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def read_toml(text: str) -> dict[str, object]:
    """Parse TOML.

    Raises:
        TOMLError: The text is not valid TOML.
        ConfigurationError: No TOML reader is installed.

    """
    loads = _reader()
    try:
        return loads(text)
    except RecursionError:
        raise TOMLError("nested too deeply", 1) from None
    except ValueError as exc:
        found = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", str(exc), re.DOTALL)
        reason, line = found.groups() if found else (str(exc), None)
        raise TOMLError(reason, int(line) if line else text.rstrip().count("\n") + 1) from None


def _reader() -> Callable[[str], dict[str, object]]:
    for name in ("tomllib", "tomli"):
        with suppress(ImportError):
            return cast("Callable[[str], dict[str, object]]", importlib.import_module(name).loads)
    raise ConfigurationError("Python before 3.11 needs tomli to read TOML: pip install tomli")
