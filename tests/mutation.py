"""Mutation testing of the protocol: print the changes that no test detects. `nox -s mutation` runs it.

A surviving mutant is not a failure, because many change nothing that matters.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("src/fetch_hive_sdk/_protocol/*.py"))
SLOW = {"cli", "docs", "page", "site", "serve", "emulator", "record", "replay", "releases", "pytest_plugin", "sockets"}
TESTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob("tests/test_*.py")
    if not any(path.stem.startswith(f"test_{name}") for name in SLOW)
)
SETTINGS = f"""
[tool.mutmut]
source_paths = ["src/"]
only_mutate = {MODULES}
pytest_add_cli_args_test_selection = {TESTS}
also_copy = ["README.md", "LICENSE"]
"""


def copy_project(folder: Path) -> None:
    """Copy the files that mutmut needs, because it writes next to the source."""
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "faults"))
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8") + SETTINGS, "utf-8")


def mutmut(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def change_of(folder: Path, name: str) -> str:
    """Return the lines that a mutant removes and adds."""
    lines = mutmut(folder, "show", name).splitlines()
    return "\n".join(line for line in lines if re.match(r"[+-](?![+-])", line))


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy_project(folder)
    mutmut(folder, "run", "--max-children", "2")
    survivors = [line.split(":")[0].strip() for line in mutmut(folder, "results").splitlines() if "survived" in line]
    for name in survivors:
        print(f"{name}\n{change_of(folder, name)}\n")
    print(f"{len(survivors)} mutants survived")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
