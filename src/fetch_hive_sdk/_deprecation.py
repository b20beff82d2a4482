"""How the public API says that an argument or a way of using it will go. Nothing has to, yet.

A function or a class that goes is marked with `typing_extensions.deprecated`, whose text has to stand there as it is:
type checkers and editors show it, and strike the name through.
"""

from __future__ import annotations

import inspect
import warnings


def warn_deprecated(what: str, *, since: str, until: str, instead: str) -> None:
    """Warn whoever called the package, with the line of that call.

    Args:
        what: What goes, as it is written: `invoke_prompt(tag=...)`.
        since: The version that was the first to say so.
        until: The version that will not have it any more, a new major one.
        instead: What to write in its place.

    """
    message = f"{what} is deprecated since {since} and will be gone in {until}: use {instead}"
    warnings.warn(message, DeprecationWarning, stacklevel=_frames_of_ours() + 1)


def _frames_of_ours() -> int:
    """Return how many frames of this package there are above this one."""
    # Python 3.12 can tell `warnings` to skip a folder; before that, one has to count.
    own, frame = -1, inspect.currentframe()
    while frame is not None and frame.f_globals["__name__"].partition(".")[0] == __package__:
        own, frame = own + 1, frame.f_back
    return own
