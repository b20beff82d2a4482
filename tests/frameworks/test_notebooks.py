"""The page on notebooks: its cells run in IPython, with the displays of a notebook, against a fake service."""

from __future__ import annotations

import re

import pytest

from recipes import DOCS, skip_unless_installed

skip_unless_installed("IPython")

from IPython.core.interactiveshell import InteractiveShell  # noqa: E402 - only if it is installed
from IPython.utils.capture import capture_output  # noqa: E402 - only if it is installed

CELLS = re.findall(
    r'^```python title="IPython"\n(.*?)^```$',
    (DOCS / "frameworks" / "notebooks.md").read_text("utf-8"),
    re.DOTALL | re.MULTILINE,
)
ANSWER = "**Short.** <script>"


@pytest.fixture
def notebook(fetch_hive, monkeypatch, tmp_path):
    """Run a cell of the page; return its result, and the contents of its outputs."""
    fetch_hive.default = ANSWER
    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.display_formatter.active_types = ["text/plain", "text/markdown"]
    shell.history_manager.enabled = False

    def run(cell: str):
        with capture_output() as captured:
            done = shell.run_cell(cell)
        done.raise_error()
        return done.result, [output.data for output in captured.outputs]

    yield run
    InteractiveShell.clear_instance()


def test_answer_is_shown_as_markdown(notebook):
    """Jupyter takes the Markdown, in which a tag is text."""
    answer, _ = notebook(CELLS[0])
    shown, _ = InteractiveShell.instance().display_formatter.format(answer)

    assert shown["text/markdown"] == "**Short.** &#60;script>"
    assert shown["text/plain"].startswith("InvokeResponse(response=")


def test_cells_of_the_page_run(notebook, fetch_hive):
    """One after the other, top-level `await` included; the outputs are updated."""
    results, outputs = zip(*map(notebook, CELLS))

    assert [type(result).__name__ for result in results[:2]] == ["InvokeResponse", "Markdown"]
    assert outputs[2][-1]["text/markdown"] == "**Short.** &#60;script>"
    assert {"text/plain": "**Short.**"} in outputs[2]
    assert results[3] == [ANSWER] * 3
    assert results[4] == 20
    assert "20 done" in outputs[4][-1]["text/plain"]
    assert len(fetch_hive.calls) == 3 + 3 + 20  # the bar is shown for rows that are done
