"""`fetch-hive record`: a command runs as usual, and its calls are recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fetch_hive_sdk import _config
from fetch_hive_sdk._net import tls
from fetch_hive_sdk.cli import _record, main
from fetch_hive_sdk.testing import FakeServer, recording_proxy

PROGRAM = [sys.executable, "-m", "fetch_hive_sdk"]
KEY = "fhk_0123456789"


@pytest.fixture(autouse=True)
def fake(monkeypatch, tmp_path):
    """A service configured in the environment of the command."""
    monkeypatch.chdir(tmp_path)
    fake = FakeServer("Short.", api_key=KEY)
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        yield fake


def signals(*names):
    """The signals that this system has, and that are not ignored here, as with nohup."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def python(code):
    return ["--", sys.executable, "-c", code]


CALL = "from fetch_hive_sdk import FetchHive; print(FetchHive().invoke_prompt(deployment='d').response)"


def test_records_the_calls_of_a_command(capfd, fake):
    """The command works as usual, and its calls are recorded without the key."""
    code = main(["record", "--out", "c.json", *python(CALL)])

    seen = capfd.readouterr()
    assert (code, seen.out, seen.err) == (0, "Short.\n", "fetch-hive: 1 call recorded in c.json\n")
    (call,) = map(json.loads, Path("c.json").read_text("utf-8").splitlines())
    assert call["request"] == {"method": "POST", "path": "/prompt/invoke", "body": fake.calls[0].raw}
    assert call["response"]["body"]["response"] == "Short."
    assert KEY not in Path("c.json").read_text("utf-8")


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", None])
def test_bypasses_proxies(monkeypatch, capfd, proxy):
    """A proxy in the environment does not get the calls to this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1" if proxy else "intern.test")
    if proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)

    assert main(["record", "--out", "c.json", *python(CALL)]) == 0


@pytest.mark.parametrize(("command", "code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_returns_the_exit_code_of_the_command(command, code):
    """The exit code is that of the command, or that of shells for a signal."""
    assert main(["record", "--out", "c.json", *python(command)]) == code


def test_no_calls_print_a_hint(capfd):
    """A command without calls leaves no file, and prints a hint."""
    main(["record", "--out", "c.json", *python("")])

    assert capfd.readouterr().err == "fetch-hive: no answer was recorded: does the command call FETCH_HIVE_BASE_URL?\n"
    assert not Path("c.json").exists()


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), (os.sep, 126)])
def test_invalid_command_is_one_line(capfd, command, code):
    """A command that cannot be run is one line, with the exit codes of shells, and leaves no folder."""
    assert main(["record", "--out", "new/cassettes", "--", command]) == code

    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"fetch-hive: cannot run {command}: ")
    assert not Path("new").exists()


def test_unwritable_file_is_reported_first(capfd, tmp_path):
    """The command is not run."""
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
def test_invalid_environment_exits_with_3(monkeypatch, capfd, variable, value, complaint):
    """An invalid setting is one line."""
    monkeypatch.setenv(variable, value)

    assert main(["record", *python("print('not run')")]) == 3

    seen = capfd.readouterr()
    assert seen.out == ""
    assert seen.err.startswith(f"fetch-hive: {complaint}")


def test_invalid_certificate_file_exits_with_3(monkeypatch, capfd):
    """It is not reported as a cassette that cannot be written."""
    tls._make_tls_context.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", "missing.pem")
    monkeypatch.setenv("FETCH_HIVE_BASE_URL", "https://service.test/v1")

    assert main(["record", "--out", "new/c.json", *python("print('not run')")]) == 3

    seen = capfd.readouterr()
    assert seen.out == ""
    assert seen.err.startswith("fetch-hive: SSL_CERT_FILE in the environment does not name trusted certificates")
    assert not Path("new").exists()


def test_http_needs_no_certificates(monkeypatch):
    """As for all calls."""
    monkeypatch.setenv("SSL_CERT_FILE", "missing.pem")

    assert main(["record", "--out", "c.json", *python(CALL)]) == 0


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
    """The same command uses the same file; possible secrets are not in its name."""
    assert _record.file_for(Path("c"), command) == Path("c") / name
    assert _record.file_for(Path("c/mine.json"), command) == Path("c/mine.json")
    assert _record.file_for(Path("c/mine.jsonl"), command) == Path("c/mine.jsonl")


@pytest.mark.parametrize("number", signals("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"))
def test_command_handles_ctrl_c(number, tmp_path):
    """Ctrl-C is left to the command, and the recorded calls are written."""
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


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", signals("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"))
def test_signal_while_the_command_is_started_reaches_it(number, moment, monkeypatch):
    """Otherwise the recorder would end, or the command would run on."""

    def start(*arguments, **options):
        if moment == "before":
            os.kill(os.getpid(), number)
        process = Popen(*arguments, **options)
        if moment == "after":
            os.kill(os.getpid(), number)
        return process

    Popen = subprocess.Popen  # noqa: N806 - the name of the class
    before = signal.signal(number, lambda *_: pytest.fail("the signal was not forwarded"))
    monkeypatch.setattr(subprocess, "Popen", start)
    try:
        assert main(["record", "--out", "c.json", "--", "sleep", "60"]) == 128 + number
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", signals("SIGKILL", "SIGQUIT", "SIGHUP"))
def test_killed_process_group_loses_only_open_calls(number):
    """A closed terminal, or a kill of both programs, loses only open calls."""
    code = f"{CALL}\nimport sys, time\nsys.stdout.flush()\ntime.sleep(60)"
    recorder = subprocess.Popen(
        [*PROGRAM, "record", "--out", "c.json", *python(code)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert recorder.stdout.readline() == b"Short.\n"

    os.killpg(recorder.pid, number)
    recorder.communicate(timeout=30)

    (call,) = map(json.loads, Path("c.json").read_text("utf-8").splitlines())
    assert call["response"]["body"]["response"] == "Short."


def test_second_recorder_is_rejected(capfd):
    """Two commands that record to one file would overwrite each other's calls."""
    with recording_proxy("c.json", os.environ["FETCH_HIVE_BASE_URL"]):
        assert main(["record", "--out", "c.json", *python("print('not run')")]) == 1

    seen = capfd.readouterr()
    complaint = "fetch-hive: cannot write c.json: another recorder is writing to this cassette\n"
    assert (seen.out, seen.err) == ("", complaint)


def test_ignored_signals_stay_ignored():
    """With nohup, a hangup ends neither the recorder nor the command."""
    code = f"input('Ready.')\n{CALL}"
    recorder = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *PROGRAM, "record", "--out", "c.json", *python(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert recorder.stdout.read(6) == b"Ready."

    os.killpg(recorder.pid, signal.SIGHUP)

    assert recorder.communicate(b"\n", timeout=30)[0] == b"Short.\n"
    assert recorder.returncode == 0


def test_default_base_url_matches_the_package():
    """The command line has a copy of the package's default base URL."""
    assert _record.SERVICE == _config.DEFAULT_BASE_URL
