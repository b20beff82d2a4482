"""`Secret` holds a string such as the API key, hides it in its repr, and masks it in other strings."""

from __future__ import annotations

import re
from typing import Optional, cast

_SHORTEST_KEY = 6  # characters

_NAME = "webhook_secret"
# The value of the field in JSON, and in JSON inside of JSON, which may be cut off.
_NAMED = re.compile(rf'("{_NAME}\\{{0,7}}"\s{{0,9}}:\s{{0,9}}\\{{0,7}}")(?:[^"\\]|\\+[^"\\])+')
_NAMED_BYTES = re.compile(_NAMED.pattern.encode())


def _pattern_of(secret: str) -> str:
    """Return a pattern for a secret in which each character may be escaped.

    JSON inside of JSON doubles the backslashes. The pattern limits their number, so that its time stays linear.
    """
    return "".join(map(_escaped_or_not, secret))


def _escaped_or_not(char: str) -> str:
    code = ord(char)
    # A backslash before a letter would be a different character.
    escape = "" if char.isalnum() else r"\\{0,7}"
    return rf"(?:{escape}{re.escape(char)}|\\{{1,7}}u(?i:{code:04x})|%(?i:{code:02x}))"


class Secret:
    """A secret string, and methods that mask it in other values.

    The mask also finds the secret if JSON or a URL escapes its characters. Every `webhook_secret` is masked too.

    Args:
        value: The secret.
        *others: Other secrets to mask.
    """

    # Slots keep the secret out of vars().
    __slots__ = ("_masked", "_value")

    def __init__(self, value: str, *others: str) -> None:
        self._value = value
        # "test" or "key" is not a secret, and masking it would remove words from the service's messages.
        self._masked = tuple(text for text in (value, *others) if len(text) >= _SHORTEST_KEY)

    def reveal(self) -> str:
        """Return the secret."""
        return self._value

    def combined_with(self, other: Optional[Secret]) -> Secret:
        """Return a secret with the same value that masks the other secret too."""
        return self if other is None else Secret(self._value, other.reveal())

    def hide_in(self, text: str) -> str:
        """Return a string with the secret masked."""
        for secret in self._masked:
            text = text.replace(secret, "***")
            # Only if needed: the pattern takes a hundred times as long.
            if "\\" in text or "%" in text:
                text = re.sub(_pattern_of(secret), "***", text)
        return _NAMED.sub(r"\1***", text) if _NAME in text else text

    def hide_in_bytes(self, data: bytes) -> bytes:
        """Return bytes with the secret masked."""
        for secret in self._masked:
            data = data.replace(secret.encode(), b"***")
            if b"\\" in data or b"%" in data:
                data = re.sub(_pattern_of(secret).encode(), b"***", data)
        return _NAMED_BYTES.sub(rb"\1***", data) if _NAME.encode() in data else data

    def hide_in_value(self, value: object) -> object:
        """Return a string, bytes or a JSON value with the secret masked."""
        if isinstance(value, str):
            return self.hide_in(value)
        if isinstance(value, bytes):
            return self.hide_in_bytes(value)
        if isinstance(value, dict):
            fields = cast("dict[str, object]", value)
            return {
                self.hide_in(name): "***" if name == _NAME and item else self.hide_in_value(item)
                for name, item in fields.items()
            }
        if isinstance(value, list):
            return [self.hide_in_value(item) for item in cast("list[object]", value)]
        return value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled")


def hide_webhook_secrets(name: Optional[str], value: object) -> object:
    """Return the value of a field for a repr, with webhook secrets masked."""
    if name == _NAME and isinstance(value, str):
        return "***"
    return Secret("").hide_in_value(value)
