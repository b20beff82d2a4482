"""The page "Add an endpoint" is true: its patches, applied to a copy of the package, add one, and all is green."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "add-an-endpoint.md"
PATCH = re.compile(r'^```diff title="([^"\n]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
CACHES = shutil.ignore_patterns("__pycache__", ".*")


def apply(patch: str, text: str, name: str) -> str:
    """Apply the hunks of a patch, whose lines without a sign stand in the text exactly once."""
    for hunk in patch.split("@@\n"):
        lines = [" \n" if line == "\n" else line for line in hunk.splitlines(keepends=True)]
        old = "\n" + "".join(line[1:] for line in lines if line[0] in " -")
        new = "\n" + "".join(line[1:] for line in lines if line[0] in " +")
        assert f"\n{text}".count(old) == 1, f"{PAGE.name}: this stands in {name} not exactly once:{old}"
        text = f"\n{text}".replace(old, new)[1:]
    return text


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A copy of the package with the endpoint of the page."""
    copy = tmp_path_factory.mktemp("package")
    for name in ("src", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=CACHES)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.yml")):
        shutil.copy(path, copy)
    for name, patch in PATCH.findall(PAGE.read_text("utf-8")):
        text = (copy / name).read_text("utf-8")
        (copy / name).write_text(apply(patch, text, name), "utf-8")
    return copy


def succeed(folder: Path, module: str, *arguments: str) -> None:
    """Run a module of this Python as a program in a folder, whose package it sees and not ours."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_endpoint_of_the_page_works(grown):
    """The tests of the page pass, and those that guard shape, reference and descriptions."""
    modules = [f"tests/test_{name}.py" for name in ("client", "docs", "hover", "models", "shape")]
    # Of the docs: what guards the names. The rest of the pages is tested where it is, and so are other packages.
    chosen = "(not test_docs or reference or place) and not pytest_httpx and not loads_nothing"

    succeed(grown, "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *modules)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("mypy", []),
        ("pyright", ["--pythonpath", sys.executable]),
        ("ruff", ["check"]),
        ("ruff", ["format", "--check"]),
    ],
    ids=["mypy", "pyright", "ruff-check", "ruff-format"],
)
def test_the_endpoint_of_the_page_is_typed_and_tidy(grown, module, arguments):
    """As all that is in the package."""
    pytest.importorskip(module, reason="it is checked where the tool is")

    succeed(grown, module, *arguments)
