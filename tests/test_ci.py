"""What is checked is checked everywhere: by `nox`, by `.ci/run`, and on a host."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOXFILE = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))

pytestmark = pytest.mark.skipif(not (ROOT / ".github").exists(), reason="this is no checkout")
workflows = pytest.mark.parametrize(
    "workflow", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name
)


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
    named = re.findall(r"nox\"?(?: --[\w-]+)* -s ([\w. -]+?)(?: --|`|$)", text, re.MULTILINE)
    named += re.findall(r"session: \[(.*)\]", text)
    words = {name.partition("-")[0] for name in re.findall(r"[\w.-]+", " ".join(named))}
    return words | ({"tests"} if "-s tests-" in text else set())


def test_all_that_is_run_is_there():
    """No file names a session that the noxfile does not have."""
    files = [".ci/run", ".github/workflows/ci.yml", ".github/workflows/release.yml", ".github/PULL_REQUEST_TEMPLATE.md"]
    files += ["CONTRIBUTING.md", "docs/add-an-endpoint.md"]

    assert daily() <= sessions()
    for file in files:
        assert named_in(file) <= sessions(), file


@pytest.mark.parametrize("file", [".ci/run", ".github/workflows/ci.yml"])
def test_nothing_daily_is_left_out(file):
    """What `nox` runs is also run there. `.ci/run` begins with the README's own commands, of which one is the demo."""
    assert daily() - named_in(file) <= ({"demo"} if file == ".ci/run" else set())


def test_every_python_is_tested():
    """The workflow tests the versions that the noxfile and the classifiers of the package name."""
    project, workflow = ((ROOT / name).read_text("utf-8") for name in ("pyproject.toml", ".github/workflows/ci.yml"))
    (known,) = [node.value for node in NOXFILE.body if ast.unparse(node).startswith("PYTHONS =")]
    (tested,) = re.findall(r"^ +python: \[(.*)\]$", workflow, re.MULTILINE)

    pythons = ast.literal_eval(known)

    assert re.findall(r'"([\d.]+)"', tested) == pythons
    assert re.findall(r"Python :: (3\.\d+)", project) == pythons


def test_a_missing_interpreter_is_an_error_on_a_host():
    """Nothing is skipped there in silence: plain `nox` skips what a machine does not have."""
    workflow = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")

    assert workflow.count("nox -s") == 0
    assert workflow.count("nox --error-on-missing-interpreters -s") == 2


@workflows
def test_a_workflow_may_do_little_and_not_for_long(workflow):
    """It reads, every job that runs something has a timeout, and every action has a version."""
    text = workflow.read_text("utf-8")

    assert "\npermissions:\n  contents: read\n" in text
    assert text.count("runs-on:") == text.count("timeout-minutes:")
    assert all(re.fullmatch(r"\./.*|[\w/-]+@v\d+", used) for used in re.findall(r"uses: (\S+)", text))


def test_the_hooks_have_the_versions_of_the_project():
    """A commit is checked with what the package is checked with, and against what it needs."""
    project, hooks = ((ROOT / name).read_text("utf-8") for name in ("pyproject.toml", ".pre-commit-config.yaml"))

    needed = re.findall(r'"(?!check-jsonschema|pre-commit-hooks)([\w-]+[<>=][^"]*)"', hooks)

    assert needed
    assert [line for line in needed if f'"{line}"' not in project] == []


@workflows
def test_nothing_goes_to_the_index(workflow):
    """No workflow uploads to a package index: the name there is the vendor's."""
    assert not re.search(r"pypi|twine|id-token", workflow.read_text("utf-8"))
