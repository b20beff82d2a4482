"""The page on pandas and polars: its code runs with the real packages, against a fake service."""

from __future__ import annotations

import re

import pytest

from fetch_hive_sdk.testing import Answer
from recipes import DOCS, recipe, skip_unless_installed

PAGE = "frameworks/tables.md"
LIBRARIES = ["pandas", "polars"]


def shout(request) -> Answer:
    return Answer(str(request.inputs["text"]).upper())


@pytest.fixture(params=LIBRARIES)
def module(request, fetch_hive, monkeypatch, tmp_path):
    """The page after its code has run."""
    skip_unless_installed("narwhals")
    skip_unless_installed("pyarrow")
    skip_unless_installed(request.param)
    monkeypatch.chdir(tmp_path)
    fetch_hive.answers("summarise", shout)
    fetch_hive.answers("extract-ticket", '{"title": "The shop is down", "priority": 1}')
    return recipe(PAGE, request.param)


def rows_of(frame) -> list[dict]:
    return frame.to_dicts() if hasattr(frame, "to_dicts") else frame.to_dict("records")


def test_answers_are_a_column(module):
    """Each row has the answer to its own text."""
    rows = rows_of(module.reviews)

    assert [row["id"] for row in rows] == ["r1", "r2", "r3"]
    assert [row["summary"] for row in rows] == [row["body"].upper() for row in rows]


def test_export_is_a_table(module):
    """It has the state and the tokens of each row."""
    rows = rows_of(module.everything)

    assert [(row["key"], row["state"]) for row in rows] == [("r1", "done"), ("r2", "done"), ("r3", "done")]
    assert all(row["usage_total_tokens"] > 0 for row in rows)


def test_every_row_is_paid_for_once(module, fetch_hive):
    """Three rows in a job, three single calls; pandas has three typed prompts more."""
    calls = [call.deployment for call in fetch_hive.calls]

    assert calls.count("summarise") == 6
    assert len(calls) == 6 + 3 * hasattr(module, "tickets")


def test_single_answers_are_a_table(module, capsys):
    """The page prints the answers and the sum of their tokens."""
    total = sum(result.usage.total_tokens for result in module.results)

    module = recipe(PAGE, module.__name__.rsplit("_", 1)[-1])
    printed = capsys.readouterr().out

    assert "ONE." in printed
    assert f"{total} tokens" in printed


@pytest.mark.parametrize("library", LIBRARIES)
def test_table_without_answers_has_an_empty_column(fetch_hive, monkeypatch, tmp_path, library):
    """If every row fails, the rows are kept."""
    skip_unless_installed("narwhals")
    skip_unless_installed(library)
    monkeypatch.chdir(tmp_path)
    fetch_hive.fails("summarise", 422)
    text = (DOCS / PAGE).read_text("utf-8")
    first, answers = re.findall(rf'^```python title="{library}"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)[:2]
    names: dict[str, object] = {}

    exec(first, names)
    exec(answers, names)

    assert len(names["reviews"]) == 3
