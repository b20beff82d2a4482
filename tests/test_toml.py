"""The TOML reader."""

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
def test_syntax_error_has_a_line(text, line):
    """A syntax error has a line and a reason."""
    with pytest.raises(TOMLError) as caught:
        read_toml(text)

    assert (caught.value.line, bool(caught.value.reason)) == (line, True)
    assert "line" not in caught.value.reason


def test_error_at_the_end_of_a_long_file_is_fast():
    """Finding the line of an error does not parse the file again."""
    begun = time.monotonic()

    with pytest.raises(TOMLError) as caught:
        read_toml("[deployments.d]\n" + "".join(f"key{n} = {n}\n" for n in range(6000)) + "answer = \n")

    assert caught.value.line == 6002
    assert time.monotonic() - begun < 10


def test_deep_nesting_is_an_error():
    """Excessive nesting is an error, not a crash."""
    with pytest.raises(TOMLError):
        read_toml("a = " + "[" * 100_000)


def test_missing_reader_names_the_package(monkeypatch):
    """Before Python 3.11, the error names the package to install."""
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)

    with pytest.raises(ConfigurationError, match="pip install tomli"):
        read_toml("")
