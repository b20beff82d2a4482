"""The reader of TOML."""

from __future__ import annotations

import sys
import time

import pytest

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk.emulator._toml import TOMLError, read_toml


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = \nc = 3\n", 2), ("a = 1\n\na = 2", 3), ("a = 1\nb = [\n\n", 2), ("[t]\n[t]\n", 2), ("a" * 9, 1)],
)
def test_what_is_no_toml_has_a_line(text, line):
    """A mistake in the grammar has a line and a reason."""
    with pytest.raises(TOMLError) as caught:
        read_toml(text)

    assert (caught.value.line, bool(caught.value.reason)) == (line, True)
    assert "line" not in caught.value.reason


def test_long_file_with_a_mistake_at_its_end_is_refused_at_once():
    """The line of a mistake takes no second look at the file."""
    begun = time.monotonic()

    with pytest.raises(TOMLError) as caught:
        read_toml("[deployments.d]\n" + "".join(f"key{n} = {n}\n" for n in range(6000)) + "answer = \n")

    assert caught.value.line == 6002
    assert time.monotonic() - begun < 10


def test_too_many_brackets_are_a_mistake():
    """What is nested without end is refused, not a crash."""
    with pytest.raises(TOMLError):
        read_toml("a = " + "[" * 100_000)


def test_a_python_without_toml_says_what_to_install(monkeypatch):
    """Python before 3.11 has no reader of TOML: the error says where to get one."""
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)

    with pytest.raises(ConfigurationError, match="pip install tomli"):
        read_toml("")
