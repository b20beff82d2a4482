"""A string that shows itself only to those who ask for it: the API key."""

from __future__ import annotations

import re
from typing import cast

_SHORTEST_KEY = 6  # characters


def _escaped_or_not(char: str) -> str:
    code = ord(char)
    # A backslash before a letter makes another character of it.
    escape = "" if char.isalnum() else r"\\{0,7}"
    return rf"(?:{escape}{re.escape(char)}|\\{{1,7}}u(?i:{code:04x})|%(?i:{code:02x}))"


class Secret:
    """A string that is masked wherever it is shown.

    The mask finds it as it is, and as JSON and URLs may escape it.
    """

    # Slots: vars() has nothing to show.
    __slots__ = ("_is_rare", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        # "test" or "key" is not a secret, and masking it would take words out of what the service says.
        self._is_rare = len(value) >= _SHORTEST_KEY

    def reveal(self) -> str:
        """Return the string itself."""
        return self._value

    def hide_in(self, text: str) -> str:
        """Return the text with the secret masked wherever it stands."""
        if not self._is_rare:
            return text
        text = text.replace(self._value, "***")
        # Only then: the pattern takes a hundred times as long.
        return re.sub(self._pattern(), "***", text) if "\\" in text or "%" in text else text

    def hide_in_bytes(self, data: bytes) -> bytes:
        """Return the bytes with the secret masked wherever it stands."""
        if not self._is_rare:
            return data
        data = data.replace(self._value.encode(), b"***")
        return re.sub(self._pattern().encode(), b"***", data) if b"\\" in data or b"%" in data else data

    def hide_in_value(self, value: object) -> object:
        """Return a string, bytes or a JSON value with the secret masked wherever it stands."""
        if isinstance(value, str):
            return self.hide_in(value)
        if isinstance(value, bytes):
            return self.hide_in_bytes(value)
        if isinstance(value, dict):
            fields = cast("dict[str, object]", value)
            return {self.hide_in(name): self.hide_in_value(item) for name, item in fields.items()}
        if isinstance(value, list):
            return [self.hide_in_value(item) for item in cast("list[object]", value)]
        return value

    def _pattern(self) -> str:
        """Return the pattern of the secret, each of its characters escaped or not.

        JSON inside of JSON doubles the backslashes. Their number has a bound, so that the time stays linear.
        """
        return "".join(map(_escaped_or_not, self._value))

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")
