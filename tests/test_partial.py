"""Parsing incomplete JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetch_hive_sdk.models.partial import NOTHING, read_partial


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", NOTHING),
        (" \n", NOTHING),
        ("{", {}),
        ('{"a', {}),
        ('{"a": ', {}),
        ('{"a": "x', {"a": "x"}),
        ('{"a": "x\\', {"a": "x"}),
        ('{"a": "x\\ud83d', {"a": "x"}),
        ("[1, 2", [1, 2]),
        ('  [{"a": tr', [{}]),
        ("null", None),
        ("```", NOTHING),
        ("```json", NOTHING),
        ("```json\n", NOTHING),
        ('```json\n{"a": 1', {"a": 1}),
        ('```\n{"a": 1}\n``', {"a": 1}),
        ('```json\n{"a": 1}\n```\nHere you are.', {"a": 1}),
        ('Here you are:\n\n```json\n{"a": "b', {"a": "b"}),
        ('{"a": "```json\\n[1]"', {"a": "```json\n[1]"}),
        ("Here you are:", NOTHING),
        ('Here you are: {"a": 1}', NOTHING),
        ("NaN", NOTHING),
        ('"\ud800', NOTHING),
    ],
)
def test_beginning_is_parsed(text, value):
    """The result is the value so far, with incomplete strings and without a code fence, or `NOTHING`."""
    assert read_partial(text) == value


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=5), values, max_size=5), st.booleans())
def test_every_beginning_is_parsed(value, fenced):
    """Every prefix of an answer yields a value or `NOTHING`; the complete text yields the complete value."""
    text = json.dumps(value)
    text = f"```json\n{text}\n```" if fenced else text

    for end in range(len(text)):
        shown = read_partial(text[:end])
        assert shown is NOTHING or shown.keys() <= value.keys()
    assert read_partial(text) == value
