"""A string that shows itself only to those who ask for it: the API key."""

from __future__ import annotations

from typing import cast

_SHORTEST_KEY = 6  # characters


class Secret:
    """A text that shows itself only to those who ask for it."""

    # Slots: vars() has nothing to show.
    __slots__ = ("_is_rare", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        # "test" or "key" is no secret, and masking it would take words out of what the service says.
        self._is_rare = len(value) >= _SHORTEST_KEY

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def hide_in(self, text: str) -> str:
        """Return the text with the secret masked wherever it stands."""
        return text.replace(self._value, "***") if self._is_rare else text

    def hide_in_bytes(self, data: bytes) -> bytes:
        """Return the bytes with the secret masked wherever it stands."""
        return data.replace(self._value.encode(), b"***") if self._is_rare else data

    def hide_in_value(self, value: object) -> object:
        """Return a text, bytes or a JSON value with the secret masked wherever it stands."""
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

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")
