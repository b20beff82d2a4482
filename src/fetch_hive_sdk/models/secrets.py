"""Secrets in answers: hidden in `repr`, revealed in `raw`. Performs no I/O."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, SecretStr


def reveal_secrets(model: BaseModel, fields: dict[str, Any]) -> dict[str, Any]:
    """Replace the asterisks that Pydantic dumps for secrets by the secret strings."""
    secrets = {name: value for name, value in model.__dict__.items() if isinstance(value, SecretStr)}
    return {**fields, **{name: secret.get_secret_value() for name, secret in secrets.items()}}
