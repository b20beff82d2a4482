"""What goes says so, to the line that has to be changed."""

from __future__ import annotations

import asyncio
import types
import warnings

import pytest

OURS = """
from ._deprecation import warn_deprecated

def take(tag=None):
    check(tag)

async def atake(tag=None):
    check(tag)

def check(tag):
    if tag is not None:
        warn_deprecated("take(tag=...)", since="1.2", until="2.0", instead="metadata")
"""


@pytest.fixture
def module():
    """A module of the package with a call whose argument goes."""
    module = types.ModuleType("fetch_hive_sdk._module")
    module.__package__ = "fetch_hive_sdk"
    exec(OURS, vars(module))
    return module


def test_the_warning_says_what_when_and_what_instead(module):
    """One sentence is enough to change the call, and to know how long that can wait."""
    with pytest.warns(DeprecationWarning, match="deprecated since") as caught:
        module.take(tag="a")

    said = "take(tag=...) is deprecated since 1.2 and will be removed in 2.0: use metadata"
    assert [str(warning.message) for warning in caught] == [said]


def test_the_warning_shows_the_line_of_the_caller(module):
    """However deep in the package it is found out."""

    def main():
        module.take(tag="a")

    with pytest.warns(DeprecationWarning, match="deprecated since") as caught:
        main()

    assert (caught[0].filename, caught[0].lineno) == (__file__, main.__code__.co_firstlineno + 1)


def test_the_warning_shows_the_line_of_a_coroutine(module):
    """With asyncio, too."""

    async def main():
        await module.atake(tag="b")

    with pytest.warns(DeprecationWarning, match="deprecated since") as caught:
        asyncio.run(main())

    assert (caught[0].filename, caught[0].lineno) == (__file__, main.__code__.co_firstlineno + 1)


def test_who_does_not_use_it_is_not_warned(module):
    """Warnings are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.take()
