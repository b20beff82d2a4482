"""A check that the package works without its extras and the development tools. `nox -s bare` runs it."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import fetch_hive_sdk
from fetch_hive_sdk import ConfigurationError, testing

# Modules that need an additional package.
NEED_MORE = {"fetch_hive_sdk.pytest_plugin": "pytest"}

FILE = """
[deployments.summarise]
answer = "Short."
"""


def main() -> None:
    assert not [needed for needed in NEED_MORE.values() if find_spec(needed)], (
        "run this without the extras and development tools"
    )
    for module in pkgutil.walk_packages(fetch_hive_sdk.__path__, "fetch_hive_sdk."):
        if module.name not in NEED_MORE and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for package in (fetch_hive_sdk, testing):
        for name in package.__all__:
            getattr(package, name)
    assert testing.FakeServer(default="Short.").client().invoke_prompt(deployment="d").response == "Short."
    with TemporaryDirectory() as folder:
        file = Path(folder) / "fetch-hive.toml"
        file.write_text(FILE, "utf-8")
        if sys.version_info < (3, 11):
            assert "pip install tomli" in refusal(lambda: testing.Emulator.from_file(file))
        else:
            testing.Emulator.from_file(file)
    run("demo")
    run("completion", "bash")
    run("doctor", "--offline", code=8)  # no API key


def refusal(action) -> str:
    try:
        action()
    except ConfigurationError as exc:
        return str(exc)
    return ""


def run(*arguments: str, code: int = 0) -> None:
    command = [sys.executable, "-m", "fetch_hive_sdk", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)


if __name__ == "__main__":
    main()
