"""Warnings for deprecated arguments and usages. Nothing is deprecated yet.

Mark deprecated functions and classes with `typing_extensions.deprecated` instead, and pass its message as a literal:
type checkers and editors show it.
"""

from __future__ import annotations

import inspect
import warnings


def warn_deprecated(what: str, *, since: str, until: str, instead: str) -> None:
    """Issue a DeprecationWarning that points at the line which called the package.

    Args:
        what: What is deprecated, as code: `invoke_prompt(tag=...)`.
        since: The first version that warns.
        until: The major version that removes it.
        instead: What to use instead.

    """
    message = f"{what} is deprecated since {since} and will be removed in {until}: use {instead}"
    warnings.warn(message, DeprecationWarning, stacklevel=_count_own_frames() + 1)


def _count_own_frames() -> int:
    """Return the number of frames of this package above this one."""
    # Python 3.12 has the argument `skip_file_prefixes` of `warnings.warn`; older versions have to count.
    own, frame = -1, inspect.currentframe()
    while frame is not None and frame.f_globals["__name__"].partition(".")[0] == __package__:
        own, frame = own + 1, frame.f_back
    return own
