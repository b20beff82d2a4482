"""TOML with line numbers."""

from __future__ import annotations

import sys

import pytest

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk.testing._toml import TOMLError, line_of, read_toml

TEXT = """\
# a comment
key = "value"

[deployments.one]
answer = '''
two = "not a key"
'''
faults = [
    { fault = 429, every = 2 },
    # a comment
    { fault = "cut", every = 3 },
]
deep.er = 1

[[deployments.one.more]]
first = 1

[[deployments.one.more]]
first = 2

[deployments."t.w o"]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("key",), 2),
        (("deployments", "one"), 4),
        (("deployments", "one", "answer"), 5),
        (("deployments", "one", "faults"), 8),
        (("deployments", "one", "faults", 0, "every"), 9),
        (("deployments", "one", "faults", 1, "every"), 11),
        (("deployments", "one", "deep", "er"), 13),
        (("deployments", "one", "more", 1), 18),
        (("deployments", "one", "more", 1, "first"), 19),
        (("deployments", "t.w o"), 21),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_value_has_a_line(path, line, newline):
    """The line of a value is the line of its key, wherever tables, dots and long values put it."""
    assert line_of(TEXT.replace("\n", newline), path) == line


@pytest.mark.parametrize(
    ("path", "line"), [(("deployments", "one", "more", 0, "second"), 15), (("nothing",), 1), ((), 1)]
)
def test_what_is_missing_has_the_line_of_its_table(path, line):
    """What is not there is missing in the innermost table around it."""
    assert line_of(TEXT, path) == line


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
