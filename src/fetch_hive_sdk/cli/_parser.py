"""An argument parser that suggests the option or command that was probably meant."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import TYPE_CHECKING, Any, NoReturn, Optional, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_INVALID = re.compile(r"invalid choice: '([^']*)'")
_UNKNOWN = "unrecognized arguments: "
_MISSING = "the following arguments are required: "
_KEY_OPTIONS = {"--api-key", "--apikey", "--token"}
_KEY_ADVICE = "there is no option for the API key: set FETCH_HIVE_API_KEY"


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` whose errors end with a suggestion."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self._words: list[str] = []

    def parse_known_args(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - one for all overloads
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments. Unknown ones are an error of the command that was given them, which knows its options."""
        self._words = list(args or ())
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"{_UNKNOWN}{' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Print the usage and an error, and exit with 2."""
        unknown = self._unknown_options()
        if _KEY_OPTIONS & {option.lower() for option in unknown}:
            super().error(_KEY_ADVICE)  # the message may repeat the key
        suggestion = self._similar_choice(message)
        if message.startswith((_UNKNOWN, _MISSING)):
            found = [(option, self._similar_option(option)) for option in unknown]
            option, suggestion = next((pair for pair in found if pair[1]), (None, None))
            if message.startswith(_MISSING) and suggestion:
                message += f"; {option} is unknown"
            suggestion = suggestion or self._option_before(message)
        super().error(f"{message}: did you mean {suggestion}?" if suggestion else message)

    def _unknown_options(self) -> list[str]:
        """Return the options that this command does not have. A missing argument is often one of them, mistyped."""
        words = self._words[: self._words.index("--")] if "--" in self._words else self._words
        options = [word.partition("=")[0] for word in words if re.match(r"--?[^\W\d]", word)]
        return [option for option in options if not any(known.startswith(option) for known in self._known_options)]

    @property
    def _known_options(self) -> Collection[str]:
        return self._option_string_actions

    def _similar_option(self, option: str) -> Optional[str]:
        if len(option) == len("-x"):
            return next((known for known in self._known_options if known.startswith(f"-{option}")), None)
        return _closest(option, self._known_options)

    def _option_before(self, message: str) -> Optional[str]:
        """Return the option that was left out before NAME=VALUE."""
        found = re.match(rf"{_UNKNOWN}(\w+=)", message)
        options = [action.option_strings[0] for action in self._actions if str(action.metavar).startswith("NAME=")]
        return f"{options[0]} {found[1]}..." if found and options else None

    def _similar_choice(self, message: str) -> Optional[str]:
        found = _INVALID.search(message)
        if found is None:
            return None
        choices = [action.choices for action in self._actions if action.choices is not None]
        return _closest(found[1], [str(choice) for some in choices for choice in cast("Iterable[object]", some)])


def _closest(word: str, known: Iterable[str]) -> Optional[str]:
    by_lower = {name.lower(): name for name in known}
    return next((by_lower[name] for name in difflib.get_close_matches(word.lower(), by_lower, n=1)), None)
