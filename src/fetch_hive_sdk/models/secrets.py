"""Secrets that the service hands out: hidden in `repr`, in the clear where they are asked for. Performs no I/O."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, SecretStr


def write_secrets_out(model: BaseModel, fields: dict[str, Any]) -> dict[str, Any]:
    """Put the texts of a model's secrets into its written fields, where Pydantic writes asterisks."""
    secrets = {name: value for name, value in model.__dict__.items() if isinstance(value, SecretStr)}
    return {**fields, **{name: secret.get_secret_value() for name, secret in secrets.items()}}
