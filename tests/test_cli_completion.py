"""`fetch-hive completion`: the scripts know what the parser knows, and shells can run them."""

from __future__ import annotations

import argparse
import shutil
import subprocess

import pytest

from fetch_hive_sdk.cli import _completion, build_parser, main

SHELLS = ["bash", "fish", "zsh"]


@pytest.fixture
def script(capsys):
    """Print the script for a shell."""

    def script(shell):
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return script


def complete(script, *words):
    """Ask a real bash what it would offer for the last word."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    quoted = " ".join("'" + word + "'" for word in words)
    ask = f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _fetch_hive\n"
    ask += 'if ((${#COMPREPLY[@]})); then printf "%s\\n" "${COMPREPLY[@]}"; fi'
    done = subprocess.run([bash, "--norc", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["re"], ["record", "replay"]),
        (["--v"], ["--version"]),
        (["invoke", "--in"], ["--input", "--input-json"]),
        (["invoke", "d", "--st"], ["--stream"]),
        (["invoke", "--variant", ""], []),
        (["invoke", "--input-json", "c."], ["c.json"]),
        (["invoke", "d", ""], None),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["replay", "c."], ["c.json"]),
        (["replay", "c.json", "--re"], ["--repeat"]),
        (["replay", "--pace", "c."], []),
        (["record", "--out", "a"], ["a folder"]),
        (["record", "--", "tool", "c."], ["c.json"]),
        (["record", "--", "tool", "--o"], []),
    ],
)
def test_bash_completes(script, tmp_path, monkeypatch, words, offered):
    """Bash offers commands, options and files, where each of them may stand."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").touch()
    (tmp_path / "a folder").mkdir()

    found = complete(script("bash"), "fetch-hive", *words)

    if offered is None:
        assert "--stream" in found
        assert "c.json" not in found
    else:
        assert [word for word in found if word not in {"-h", "--help"}] == offered


def test_bash_completes_the_commands_to_record(script):
    """After `--` stands any command."""
    assert "env" in complete(script("bash"), "fetch-hive", "record", "--", "env")


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_have_all_that_the_parser_has(script, shell):
    """A command or an option that is added is completed, with no list to be kept."""
    written = script(shell)

    for command in _completion.read_commands(build_parser()):
        assert command.name in written
        for option in command.options:
            assert all((name.lstrip("-") if shell == "fish" else name) in written for name in option.names)


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_of_their_language(script, shell):
    """The shells that are here can read their scripts."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")

    done = subprocess.run([program, "-n"], input=script(shell), capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes(script):
    """A real fish offers what the parser has."""
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("there is no fish here")
    ask = f'{script("fish")}\ncomplete -C "fetch-hive re"\ncomplete -C "fetch-hive invoke --in"'

    done = subprocess.run([fish, "--no-config", "-c", ask], capture_output=True, text=True, check=True)

    words = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert words == ["record", "replay", "--input", "--input-json"]


@pytest.mark.parametrize("writer", [_completion.write_bash, _completion.write_fish, _completion.write_zsh])
def test_what_a_description_says_is_no_code(writer):
    """Quotes, brackets and colons of a help text mean nothing to a shell."""
    parser = argparse.ArgumentParser(prog="fetch-hive")
    commands = parser.add_subparsers()
    commands.add_parser("go", help="it's [a] b: c").add_argument("--x", help="it's [a] b: c", metavar="FILE")

    written = writer(list(_completion.read_commands(parser)))

    assert written.replace("'\\''", "").count("'") % 2 == 0
    assert "[a]" not in written or writer is _completion.write_fish


def test_environment_is_left_alone(script, monkeypatch):
    """The script is the same wherever it is printed."""
    before = script("zsh")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")

    assert script("zsh") == before
