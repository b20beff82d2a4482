"""What is checked is checked everywhere: by `nox`, by `.ci/run`, and on a host."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOXFILE = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))

pytestmark = pytest.mark.skipif(not (ROOT / ".github").exists(), reason="this is no checkout")


def sessions() -> set[str]:
    """The sessions of the noxfile."""
    functions = [node for node in NOXFILE.body if isinstance(node, ast.FunctionDef)]
    return {function.name for function in functions if "nox.session" in map(ast.unparse, decorators(function))}


def decorators(function: ast.FunctionDef) -> list[ast.expr]:
    return [node.func if isinstance(node, ast.Call) else node for node in function.decorator_list]


def daily() -> set[str]:
    """Those that `nox` runs by itself."""
    lists = [
        node.value
        for node in NOXFILE.body
        if isinstance(node, (ast.Assign, ast.AugAssign)) and "nox.options.sessions" in ast.unparse(node)
    ]
    return {name for value in lists for name in ast.literal_eval(value)}


def named_in(file: str) -> set[str]:
    """The sessions that a file runs."""
    text = (ROOT / file).read_text("utf-8")
    named = re.findall(r"nox\"? -s ([\w. -]+?)(?: --|$)", text, re.MULTILINE)
    named += re.findall(r"session: \[(.*)\]", text)
    words = set(re.findall(r"[a-z_]+", " ".join(named)))
    return words | ({"tests"} if "nox -s tests-" in text else set())


def test_all_that_is_run_is_there():
    """No file names a session that the noxfile does not have."""
    files = [".ci/run", ".github/workflows/ci.yml", ".github/workflows/release.yml"]

    assert daily() <= sessions()
    for file in files:
        assert named_in(file) <= sessions(), file


@pytest.mark.parametrize("file", [".ci/run", ".github/workflows/ci.yml"])
def test_nothing_daily_is_left_out(file):
    """What `nox` runs is also run there. `.ci/run` begins with the README's own commands, of which one is the demo."""
    assert daily() - named_in(file) <= ({"demo"} if file == ".ci/run" else set())


def test_nothing_goes_to_the_index():
    """No workflow uploads to a package index: the name there is the vendor's."""
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = workflow.read_text("utf-8")
        assert not re.search(r"pypi|twine +upload|id-token", text), workflow.name
