"""Plain text on a terminal: widths of letters, padding and line breaks."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch_hive_sdk._text import pad, width_of, wrap


@pytest.mark.parametrize(
    ("text", "width"), [("", 0), ("abc", 3), ("漢字", 4), ("e\u0301", 1), ("🎉", 2), ("ｶ", 1), ("a\u200db", 2)]
)
def test_width_of_a_line_is_its_number_of_cells(text, width):
    """Wide letters take two cells, and combining marks none."""
    assert width_of(text) == width


def test_lines_are_padded_to_their_width():
    assert pad("漢", 4) + "|" == "漢  |"
    assert pad("漢", 4, right=True) == "  漢"
    assert pad("long", 2) == "long"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("one two three", ["one", "two", "three"]),
        ("a b c", ["a b c"]),
        ("a  bc  d", ["a bc", "d"]),
        ("abcdefghijkl", ["abcde", "fghij", "kl"]),
        ("ab cdefghi", ["ab", "cdefg", "hi"]),
        ("漢字漢字", ["漢字", "漢字"]),
    ],
)
def test_text_is_broken_at_blanks_or_between_letters(text, lines):
    assert wrap(text, 5) == lines


def test_time_to_break_a_long_line_is_linear():
    """Chinese has no blanks, so that a paragraph is one word."""
    before = time.perf_counter()
    lines = wrap("漢" * 60_000, 38)

    assert lines == [*["漢" * 19] * 3157, "漢" * 17]
    assert time.perf_counter() - before < 10


def test_letter_that_is_too_wide_has_a_line_of_its_own():
    assert wrap("漢字", 1) == ["漢", "字"]


@given(st.text(alphabet="ab 漢\u0301"), st.integers(min_value=1, max_value=9))
def test_no_letter_is_lost(text, width):
    """Every line fits, unless a single letter is too wide."""
    lines = wrap(text, width)

    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(width_of(line) <= max(width, 2) for line in lines)
