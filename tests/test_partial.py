"""Parsing incomplete JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetch_hive_sdk.models.partial import NOTHING, PartialJSON


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
        ("null", NOTHING),
        ("\n\n{", {}),
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
        ('~~~json\n{"a": 1', {"a": 1}),
        ('````\n{"a": 1', {"a": 1}),
        ("NaN", NOTHING),
        ('"\ud800', NOTHING),
        ('"Sure", here it is:\n```json\n{"a": 1', {"a": 1}),
        ('[1] as asked:\n```json\n{"a": 1}\n```', {"a": 1}),
        ('[Note] here it is:\n```json\n{"a": 1}\n```\n', {"a": 1}),
        ('```text\na plan\n```\n```json\n{"a": 1', {"a": 1}),
        ("```text\na plan\n```\n", NOTHING),
        ('```json\n{"a": 1}\n```\n```json\n{"b": 2}\n```\n', {"a": 1}),
    ],
)
def test_beginning_is_parsed(text, value):
    """The result is the value so far, with incomplete strings and without a code fence, or `NOTHING`."""
    assert PartialJSON(text).read() == value
    assert read_in_pieces(text) == value


def read_in_pieces(text):
    """Read the text after each character, as in a stream."""
    json, value = PartialJSON(), NOTHING
    for character in text:
        json.add(character)
        value = json.read()
    return value


@pytest.mark.parametrize(
    ("text", "so_far", "whole"),
    [
        ("42", NOTHING, 42),
        ("\n-4.5\n", NOTHING, -4.5),
        ("true", NOTHING, True),
        ("null", NOTHING, None),
        ("3 points follow:", NOTHING, NOTHING),
        ("null and void", NOTHING, NOTHING),
        ("Yes.", NOTHING, NOTHING),
        ("2020-01-01", NOTHING, NOTHING),
        ("1.5.3", NOTHING, NOTHING),
        ("nullable", NOTHING, NOTHING),
        ("```json\n42", NOTHING, 42),
        ("```json\n42\n```", 42, 42),
        ("~~~\ntrue\n~~~", True, True),
        ("3 points:\n\n```\n[1]", [1], [1]),
        ("", NOTHING, NOTHING),
    ],
)
def test_bare_value_is_returned_when_it_is_complete(text, so_far, whole):
    """A number or a word may be the first word of prose."""
    assert PartialJSON(text).read() == read_in_pieces(text) == so_far
    assert PartialJSON(text).read(is_whole=True) == whole


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
        shown = PartialJSON(text[:end]).read()
        assert shown is NOTHING or shown.keys() <= value.keys()
    assert PartialJSON(text).read() == read_in_pieces(text) == value
