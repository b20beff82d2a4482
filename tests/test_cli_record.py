"""`fetch-hive record`: a command runs as always, and its calls are in a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fetch_hive_sdk import _config
from fetch_hive_sdk.cli import _record, main
from fetch_hive_sdk.testing import FakeServer, recording_proxy

PROGRAM = [sys.executable, "-m", "fetch_hive_sdk"]
KEY = "fhk_0123456789"


@pytest.fixture(autouse=True)
def fake(monkeypatch, tmp_path):
    """A service that a program finds by its environment."""
    monkeypatch.chdir(tmp_path)
    fake = FakeServer("Short.", api_key=KEY)
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        yield fake


def signals(*names):
    """Those of the signals that this system has."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def python(code):
    return ["--", sys.executable, "-c", code]


CALL = "from fetch_hive_sdk import FetchHive; print(FetchHive().invoke_prompt(deployment='d').response)"


def test_records_the_calls_of_a_command(capfd, fake):
    """The command does what it always does, and its calls are in the file without the key."""
    code = main(["record", "--out", "c.json", *python(CALL)])

    seen = capfd.readouterr()
    assert (code, seen.out, seen.err) == (0, "Short.\n", "fetch-hive: 1 call recorded in c.json\n")
    (call,) = map(json.loads, Path("c.json").read_text("utf-8").splitlines())
    assert call["request"] == {"method": "POST", "path": "/prompt/invoke", "body": fake.calls[0].raw}
    assert call["response"]["body"]["response"] == "Short."
    assert KEY not in Path("c.json").read_text("utf-8")


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", None])
def test_stands_between_whatever_the_proxies_are(monkeypatch, capfd, proxy):
    """A proxy of the environment does not get the calls to this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1" if proxy else "intern.test")
    if proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)

    assert main(["record", "--out", "c.json", *python(CALL)]) == 0


@pytest.mark.parametrize(("command", "code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_ends_as_the_command_ends(command, code):
    """The exit code is that of the command, or that of shells for the signal that ended it."""
    assert main(["record", "--out", "c.json", *python(command)]) == code


def test_says_that_nothing_was_recorded(capfd):
    """A command that called nothing leaves no file, and a hint."""
    main(["record", "--out", "c.json", *python("")])

    assert capfd.readouterr().err == "fetch-hive: no answer was recorded: does the command call FETCH_HIVE_BASE_URL?\n"
    assert not Path("c.json").exists()


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), (os.sep, 126)])
def test_says_that_the_command_cannot_be_run(capfd, command, code):
    """What is no command is one line, with the exit codes of shells."""
    assert main(["record", "--", command]) == code
    assert f"fetch-hive: cannot run {command}: " in capfd.readouterr().err


def test_says_that_the_file_cannot_be_written(capfd, tmp_path):
    """The command is not run for nothing."""
    (tmp_path / "c.json").mkdir()

    assert main(["record", "--out", "c.json", *python("print('not run')")]) == 1

    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("", "fetch-hive: cannot write c.json: the file is not writable\n")


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("FETCH_HIVE_BASE_URL", "ftp://x", "base_url must begin with https://"),
        ("HTTP_PROXY", "nonsense:::", "HTTP_PROXY is not the URL of a proxy"),
    ],
)
def test_says_what_is_wrong_with_the_environment(monkeypatch, capfd, variable, value, complaint):
    """A setting that cannot work is one line, and exit code 3."""
    monkeypatch.setenv(variable, value)

    assert main(["record", *python("print('not run')")]) == 3

    seen = capfd.readouterr()
    assert seen.out == ""
    assert seen.err.startswith(f"fetch-hive: {complaint}")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["pytest", "tests"], "pytest-tests.json"),
        (["pytest"], "pytest.json"),
        (["/usr/bin/python3.11", "examples/app.py", "--password", "secret"], "python3-app.py.json"),
        (["python", "-m", "pytest", "-q"], "python-pytest.json"),
        (["tool", "--token", "secret"], "tool.json"),
        (["bash", "-c", "curl /secret"], "bash.json"),
        (["node", "a b.js"], "node.json"),
    ],
)
def test_names_the_file_after_the_command(command, name):
    """The same command finds its file again; what may be a secret is in no name."""
    assert _record.file_for(Path("c"), command) == Path("c") / name
    assert _record.file_for(Path("c/mine.json"), command) == Path("c/mine.json")
    assert _record.file_for(Path("c/mine.jsonl"), command) == Path("c/mine.jsonl")


@pytest.mark.parametrize("number", signals("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"))
def test_lets_the_command_end_first(number, tmp_path):
    """Ctrl-C is for the command, which may have its own idea of it; what was recorded is written."""
    code = f"""
import signal, sys, time
signal.signal({int(number)}, lambda *_: sys.exit(5))
{CALL}
sys.stdout.flush()
time.sleep(60)
"""
    recorder = subprocess.Popen(
        [*PROGRAM, "record", "--out", "c.json", *python(code)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert recorder.stdout.readline() == b"Short.\n"

    if number in signals("SIGINT", "SIGQUIT"):
        os.killpg(recorder.pid, number)  # as a terminal does
    else:
        recorder.send_signal(number)
    recorder.communicate(timeout=30)

    assert recorder.returncode == 5
    assert Path("c.json").exists()


@pytest.mark.parametrize("number", signals("SIGKILL", "SIGQUIT", "SIGHUP"))
def test_keeps_the_calls_of_a_group_that_is_killed(number):
    """A closed terminal or a kill of both programs costs the call under way and no other."""
    code = f"{CALL}\nimport sys, time\nsys.stdout.flush()\ntime.sleep(60)"
    recorder = subprocess.Popen(
        [*PROGRAM, "record", "--out", "c.json", *python(code)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert recorder.stdout.readline() == b"Short.\n"

    os.killpg(recorder.pid, number)
    recorder.communicate(timeout=30)

    (call,) = map(json.loads, Path("c.json").read_text("utf-8").splitlines())
    assert call["response"]["body"]["response"] == "Short."


def test_a_second_recorder_of_the_file_is_refused(capfd):
    """Two commands that record into one file would cost each other's calls."""
    with recording_proxy("c.json", os.environ["FETCH_HIVE_BASE_URL"]):
        assert main(["record", "--out", "c.json", *python("print('not run')")]) == 1

    seen = capfd.readouterr()
    complaint = "fetch-hive: cannot write c.json: another recorder is writing to this cassette\n"
    assert (seen.out, seen.err) == ("", complaint)


def test_what_is_ignored_stays_ignored():
    """Below nohup a hangup ends neither the recorder nor its command."""
    code = f"import time\ntime.sleep(1)\n{CALL}"
    recorder = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *PROGRAM, "record", "--out", "c.json", *python(code)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    time.sleep(0.3)

    os.killpg(recorder.pid, signal.SIGHUP)

    assert recorder.communicate(timeout=30)[0] == b"Short.\n"
    assert recorder.returncode == 0


def test_knows_the_address_of_the_service():
    """The edge has a copy of what is the package's own business."""
    assert _record.SERVICE == _config.DEFAULT_BASE_URL
