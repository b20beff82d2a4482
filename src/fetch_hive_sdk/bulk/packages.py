"""Imports optional packages, such as pyarrow, when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fetch_hive_sdk import ConfigurationError


def load(module: str, what: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: The module, such as `pyarrow.parquet`.
        what: The feature that needs it, such as `Parquet files`, for the message.

    Raises:
        ConfigurationError: The package is not installed.

    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name != package:
            raise
        raise ConfigurationError(f"{what} need {package}, which is not installed: pip install {package}") from None
