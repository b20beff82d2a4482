"""`fetch-hive completion`: the script of argcomplete, and the completions in a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from fetch_hive_sdk.cli import main

SHELLS = ["bash", "fish", "zsh"]


@pytest.fixture
def script(capsys):
    """Print the script for a shell."""
    pytest.importorskip("argcomplete")

    def script(shell):
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return script


@pytest.fixture
def complete(script, tmp_path):
    """Return the completions that a real bash offers for the last word."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "fetch-hive"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fetch_hive_sdk "$@"\n', "utf-8")
    program.chmod(0o755)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "c.json").touch()
    (tmp_path / "here" / "a folder").mkdir()

    def complete(line):
        words = line.split(" ")
        ask = f"""{script("bash")}
COMP_LINE={line!r} COMP_POINT={len(line)} COMP_TYPE=9
_python_argcomplete fetch-hive {words[-1]!r} {words[-2]!r}
printf "%s\\n" "${{COMPREPLY[@]}}"
"""
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        done = subprocess.run(
            [bash, "--norc", "-c", ask],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path / "here",
            env=environment,
        )
        assert done.stderr == ""
        return [word.replace("\\", "").rstrip("/ ") for word in done.stdout.splitlines() if word]

    return complete


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fetch-hive rep", ["replay"]),
        ("fetch-hive requests ", ["get", "wait"]),
        ("fetch-hive --v", ["--version"]),
        ("fetch-hive invoke --in", ["--input", "--input-json"]),
        ("fetch-hive invoke d --st", ["--stream"]),
        ("fetch-hive invoke d --input text=- --st", ["--stream"]),  # without waiting for standard input
        ("fetch-hive invoke d --input-json - --st", ["--stream"]),
        ("fetch-hive invoke d --input text=@c.", ["c.json"]),
        ("fetch-hive invoke --variant ", []),
        ("fetch-hive compare d --ht", ["--html"]),
        ("fetch-hive compare d --inputs c.", ["c.json"]),
        ("fetch-hive invoke --input-json c.", ["c.json"]),
        ("fetch-hive completion ", ["bash", "fish", "zsh"]),
        ("fetch-hive replay c.", ["c.json"]),
        ("fetch-hive replay c.json --re", ["--repeat"]),
        ("fetch-hive replay --pace c.", []),
        ("fetch-hive record --out a", ["a folder"]),
        ("fetch-hive record -- tool c.", ["c.json"]),
    ],
)
def test_bash_completes(complete, line, offered):
    """Bash completes commands, options and files in their places."""
    assert [word for word in complete(line) if word not in {"-h", "--help"}] == offered


def test_bash_completes_the_commands_to_record(complete):
    """After `--`, bash completes any command."""
    assert "env" in complete("fetch-hive record -- en")


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_valid(script, shell):
    """The installed shells accept their scripts."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")

    done = subprocess.run([program, "-n"], input=script(shell), capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(script, shell):
    """A script has the name of the program and the call of argcomplete."""
    written = script(shell)

    assert "fetch-hive" in written
    assert "_ARGCOMPLETE" in written


@pytest.mark.parametrize("shell", SHELLS)
def test_missing_package_is_one_line(capsys, monkeypatch, shell):
    """Without argcomplete, one line tells how to install it, with exit code 1."""
    for name in ("argcomplete", "argcomplete.shell_integration"):
        monkeypatch.setitem(sys.modules, name, None)

    assert main(["completion", shell]) == 1

    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err == "fetch-hive: completion requires argcomplete: pip install argcomplete\n"
