"""Change the protocol in a thousand small ways, and see which changes no test notices. Run by `nox -s mutation`.

What survives is compared with `tests/mutation.txt`, the list of changes that change nothing, with the reason of each.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = ["_protocol", "_answers", "_events", "_sse", "_retry"]
TESTS = [f"tests/test_{module.strip('_')}.py" for module in MODULES] + ["tests/test_shells.py"]
SETTINGS = f"""
[tool.mutmut]
source_paths = ["src/"]
only_mutate = {[f"src/fetch_hive_sdk/{module}.py" for module in MODULES]}
pytest_add_cli_args_test_selection = {TESTS}
also_copy = ["README.md", "LICENSE"]
"""


def copy_project(folder: Path) -> None:
    """Copy what mutmut needs; it writes beside the source."""
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "faults"))
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8") + SETTINGS, "utf-8")


def mutmut(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def change_of(folder: Path, name: str) -> str:
    """Return a mutant as the lines that it takes away and puts in: its number is another after every edit."""
    lines = mutmut(folder, "show", name).splitlines()
    changed = [line for line in lines if re.match(r"[+-](?![+-])", line)]
    return "\n".join(re.sub(r"\s+", " ", line).strip() for line in changed)


def main(folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy_project(folder)
    mutmut(folder, "run", "--max-children", "2")
    known = (ROOT / "tests" / "mutation.txt").read_text("utf-8")
    survivors = [line.split(":")[0].strip() for line in mutmut(folder, "results").splitlines() if "survived" in line]
    unknown = [change for change in (change_of(folder, name) for name in survivors) if change not in known]
    print(f"{len(survivors)} changes survived; {len(unknown)} of them are not in tests/mutation.txt")
    print("\n\n".join(unknown))
    return bool(unknown)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
