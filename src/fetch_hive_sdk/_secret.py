"""A string that shows itself only to those who ask for it, such as the API key, and the mask that hides it."""

from __future__ import annotations

import re
from typing import Optional, cast

_SHORTEST_KEY = 6  # characters

_NAME = "webhook_secret"
# Its value in JSON, and in JSON inside of JSON, up to its end or to where the text is cut.
_NAMED = re.compile(rf'("{_NAME}\\{{0,7}}"\s{{0,9}}:\s{{0,9}}\\{{0,7}}")(?:[^"\\]|\\+[^"\\])+')
_NAMED_BYTES = re.compile(_NAMED.pattern.encode())


def _pattern_of(secret: str) -> str:
    """Return the pattern of a secret, each of its characters escaped or not.

    JSON inside of JSON doubles the backslashes. Their number has a bound, so that the time stays linear.
    """
    return "".join(map(_escaped_or_not, secret))


def _escaped_or_not(char: str) -> str:
    code = ord(char)
    # A backslash before a letter makes another character of it.
    escape = "" if char.isalnum() else r"\\{0,7}"
    return rf"(?:{escape}{re.escape(char)}|\\{{1,7}}u(?i:{code:04x})|%(?i:{code:02x}))"


class Secret:
    """A string that is masked wherever it is shown.

    The mask finds it as it is, and as JSON and URLs may escape it. It hides every `webhook_secret` of the service, too.

    Args:
        value: The string.
        *others: Further secrets, which the mask hides as well.
    """

    # Slots: vars() has nothing to show.
    __slots__ = ("_masked", "_value")

    def __init__(self, value: str, *others: str) -> None:
        self._value = value
        # "test" or "key" is not a secret, and masking it would take words out of what the service says.
        self._masked = tuple(text for text in (value, *others) if len(text) >= _SHORTEST_KEY)

    def reveal(self) -> str:
        """Return the string itself."""
        return self._value

    def beside(self, other: Optional[Secret]) -> Secret:
        """Return the secret with a mask that hides another one, too."""
        return self if other is None else Secret(self._value, other.reveal())

    def hide_in(self, text: str) -> str:
        """Return the text with the secret masked wherever it stands."""
        for secret in self._masked:
            text = text.replace(secret, "***")
            # Only then: the pattern takes a hundred times as long.
            if "\\" in text or "%" in text:
                text = re.sub(_pattern_of(secret), "***", text)
        return _NAMED.sub(r"\1***", text) if _NAME in text else text

    def hide_in_bytes(self, data: bytes) -> bytes:
        """Return the bytes with the secret masked wherever it stands."""
        for secret in self._masked:
            data = data.replace(secret.encode(), b"***")
            if b"\\" in data or b"%" in data:
                data = re.sub(_pattern_of(secret).encode(), b"***", data)
        return _NAMED_BYTES.sub(rb"\1***", data) if _NAME.encode() in data else data

    def hide_in_value(self, value: object) -> object:
        """Return a string, bytes or a JSON value with the secret masked wherever it stands."""
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
        raise TypeError("a secret is not pickled")


def hide_webhook_secrets(name: Optional[str], value: object) -> object:
    """Return the value of a field as `repr` may show it: without what callbacks are signed with."""
    if name == _NAME and isinstance(value, str):
        return "***"
    return Secret("").hide_in_value(value)
