"""Compatibility between releases: `nox -s api` finds every breaking change, and reports nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import griffe
import pytest

import fetch_hive_sdk

SOURCE = Path(fetch_hive_sdk.__file__).parent


def load(folder: Path) -> griffe.Object:
    return griffe.load("fetch_hive_sdk", search_paths=[str(folder)], try_relative_path=False)


@pytest.fixture(scope="module")
def package():
    return load(SOURCE.parent)


def breaking_changes(package: griffe.Object, tmp_path: Path, file: str, old: str, new: str) -> list[str]:
    """The breaking changes that griffe finds after a replacement in a file of the package."""
    shutil.copytree(SOURCE, tmp_path / "fetch_hive_sdk", ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / "fetch_hive_sdk" / file
    text = changed.read_text("utf-8")
    assert old in text
    changed.write_text(text.replace(old, new), "utf-8")

    found = griffe.find_breaking_changes(package, load(tmp_path))
    return [change.kind.name for change in found]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("client.py", "    def with_options(", "    def _with_options("),
        ("runs.py", "variant: Optional[str] = None,", "variant: Optional[str],"),
        ("models/prompts.py", "    stop_reason: Optional[str] = None", "    stopped: Optional[str] = None"),
        (
            "testing/__init__.py",
            "from ._fake import TEST_KEY, TEST_WORKSPACE, FakeHive, FakeServer",
            "from ._fake import TEST_WORKSPACE, FakeHive, FakeServer",
        ),
        ("__init__.py", "        PromptStream,\n", ""),
    ],
)
def test_breaking_change_is_found(package, tmp_path, file, old, new):
    """A removed or changed name, argument, default or base class."""
    assert breaking_changes(package, tmp_path, file, old, new)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (
            "models/prompts.py",
            "    stop_reason: Optional[str] = None",
            "    cost: Optional[float] = None\n    stop_reason: Optional[str] = None",
        ),
        ("_protocol/retry.py", "def ", "def _"),
    ],
)
def test_compatible_change_is_not_reported(package, tmp_path, file, old, new):
    """A new option, field or error, or an internal change."""
    assert breaking_changes(package, tmp_path, file, old, new) == []
