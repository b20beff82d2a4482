"""An argument parser that suggests the option or command that was probably meant."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import TYPE_CHECKING, Any, NoReturn, Optional, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_UNKNOWN = re.compile(r"unrecognized arguments: (--?[^\s=]+)")
_INVALID = re.compile(r"invalid choice: '([^']*)'")


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` whose errors end with a suggestion."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def parse_known_args(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - one for all overloads
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments. Unknown ones are an error of the command that was given them, which knows its options."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Print the usage and an error, and exit with 2."""
        suggestion = self._suggest(message)
        super().error(f"{message}: did you mean {suggestion}?" if suggestion else message)

    def _suggest(self, message: str) -> Optional[str]:
        if found := _UNKNOWN.match(message):
            return _closest(found[1], self._option_string_actions)
        if found := _INVALID.search(message):
            choices = [action.choices for action in self._actions if action.choices is not None]
            return _closest(found[1], [str(choice) for some in choices for choice in cast("Sequence[object]", some)])
        return None


def _closest(word: str, known: Iterable[str]) -> Optional[str]:
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)
