"""Deprecation warnings point at the line that has to be changed."""

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
    """A module of the package with a deprecated argument."""
    module = types.ModuleType("fetch_hive_sdk._module")
    module.__package__ = "fetch_hive_sdk"
    exec(OURS, vars(module))
    return module


def test_warning_names_versions_and_replacement(module):
    """The message has what is deprecated, since when, until when, and what to use instead."""
    with pytest.warns(DeprecationWarning, match="deprecated since") as caught:
        module.take(tag="a")

    message = "take(tag=...) is deprecated since 1.2 and will be removed in 2.0: use metadata"
    assert [str(warning.message) for warning in caught] == [message]


def test_warning_points_at_the_caller(module):
    """Regardless of how deep in the package it is issued."""

    def main():
        module.take(tag="a")

    with pytest.warns(DeprecationWarning, match="deprecated since") as caught:
        main()

    assert (caught[0].filename, caught[0].lineno) == (__file__, main.__code__.co_firstlineno + 1)


def test_warning_points_at_a_coroutine(module):
    """The same for asyncio."""

    async def main():
        await module.atake(tag="b")

    with pytest.warns(DeprecationWarning, match="deprecated since") as caught:
        asyncio.run(main())

    assert (caught[0].filename, caught[0].lineno) == (__file__, main.__code__.co_firstlineno + 1)


def test_other_calls_are_not_warned(module):
    """A call without the deprecated argument issues no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.take()
