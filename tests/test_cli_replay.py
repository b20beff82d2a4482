"""`fetch-hive replay`: a command, or whoever calls, is answered from a cassette."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from fetch_hive_sdk.cli import main
from fetch_hive_sdk.testing import FakeServer

PROGRAM = [sys.executable, "-m", "fetch_hive_sdk"]
CALL = "from fetch_hive_sdk import FetchHive; print(FetchHive().invoke_prompt(deployment={!r}).response)"


@pytest.fixture(autouse=True)
def _file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = {"method": "POST", "path": "/prompt/invoke", "body": {"deployment": "d", "streaming": False}}
    response = {"status": 200, "headers": {"content-type": "application/json"}, "body": {"response": "Short."}}
    tape = {"fetch_hive_cassette": 1, "calls": [{"request": request, "response": response}]}
    (tmp_path / "c.json").write_text(json.dumps(tape), "utf-8")


def python(code):
    return ["--", sys.executable, "-c", code]


def test_answers_a_command(capfd, monkeypatch):
    """The command needs no key and no network, and a key of the environment is not shown to it."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_of_the_user")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    code = f"{CALL.format('d')}; import os; print(os.environ['FETCH_HIVE_API_KEY'])"

    assert main(["replay", "c.json", "--pace", "1", *python(code)]) == 0

    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("Short.\nfhk_test\n", "")


def test_fails_for_a_call_that_was_not_recorded(capfd):
    """A command that made do with a refusal fails all the same, and the nearest call is told."""
    careless = f"""
try:
    {CALL.format("other")}
except Exception:
    pass
"""

    assert main(["replay", "c.json", *python(careless)]) == 1
    assert 'deployment: recorded "d", now "other"' in capfd.readouterr().err


def test_keeps_the_exit_code_of_the_command(capfd):
    """What the command says counts more."""
    assert main(["replay", "c.json", *python("raise SystemExit(7)")]) == 7
    assert main(["replay", "c.json", *python(f"import sys\nsys.excepthook = lambda *e: None\n{CALL.format('e')}")]) == 1


def test_repeats_if_told_to(capfd):
    """With `--repeat` a call is answered more often than it was recorded."""
    twice = f"{CALL.format('d')}\n{CALL.format('d')}"

    assert main(["replay", "--repeat", "c.json", *python(twice)]) == 0


@pytest.mark.parametrize("arguments", [["no.json"], ["no.json", *python("")]])
def test_says_that_there_is_no_cassette(capfd, arguments):
    """A file that is not there is one line, and exit code 2."""
    assert main(["replay", *arguments]) == 2
    assert capfd.readouterr().err == "fetch-hive: cannot read the cassette no.json: No such file or directory\n"


def test_says_that_a_port_is_taken(capfd):
    """A port that is taken is one line, and exit code 1."""
    with FakeServer().serve() as url:
        port = re.search(r":(\d+)/", url).group(1)
        code = main(["replay", "c.json", "--port", port])

    assert code == 1
    assert capfd.readouterr().err.startswith(f"fetch-hive: cannot serve on port {port}")


@pytest.mark.parametrize(("deployment", "code"), [("d", 0), ("other", 1)])
def test_serves_until_it_is_stopped(deployment, code):
    """Without a command it prints what to paste, and tells at once what was not recorded."""
    server = subprocess.Popen([*PROGRAM, "replay", "c.json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    exports = dict(re.findall(r"export (\w+)=(\S+)", "".join(server.stdout.readline() for _ in range(4))))

    done = subprocess.run(
        [*PROGRAM, "invoke", deployment], capture_output=True, text=True, env={**os.environ, **exports}, check=False
    )
    told = server.stderr.readline() if code else ""
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=30)

    assert done.stdout == ("" if code else "Short.\n")
    assert bool(code) == ("this call was not recorded" in told)
    assert server.returncode == code
