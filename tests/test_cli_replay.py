"""`fetch-hive replay`: the calls of a command, or of any program, are answered from a cassette."""

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
    """The command needs no key and no network, and does not get a key of the environment."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_of_the_user")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    code = f"{CALL.format('d')}; import os; print(os.environ['FETCH_HIVE_API_KEY'])"

    assert main(["replay", "c.json", "--pace", "1", *python(code)]) == 0

    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("Short.\nfhk_test\n", "")


def test_unrecorded_call_exits_with_1(capfd):
    """A command that handles the error still fails, with a comparison to the most similar call."""
    careless = f"""
try:
    {CALL.format("other")}
except Exception:
    pass
"""

    assert main(["replay", "c.json", *python(careless)]) == 1
    assert 'deployment: recorded "d", now "other"' in capfd.readouterr().err


def test_keeps_the_exit_code_of_the_command(capfd):
    """The exit code of the command takes precedence."""
    assert main(["replay", "c.json", *python("raise SystemExit(7)")]) == 7
    assert main(["replay", "c.json", *python(f"import sys\nsys.excepthook = lambda *e: None\n{CALL.format('e')}")]) == 1


def test_repeat_returns_the_last_answer(capfd):
    """With `--repeat`, a call can be made more often than recorded."""
    twice = f"{CALL.format('d')}\n{CALL.format('d')}"

    assert main(["replay", "--repeat", "c.json", *python(twice)]) == 0


@pytest.mark.parametrize("arguments", [["no.json"], ["no.json", *python("")]])
def test_missing_cassette_exits_with_2(capfd, arguments):
    """A missing file is one line."""
    assert main(["replay", *arguments]) == 2
    assert capfd.readouterr().err == "fetch-hive: cannot read the cassette no.json: No such file or directory\n"


def test_port_in_use_exits_with_1(capfd):
    """A port in use is one line."""
    with FakeServer().serve() as url:
        port = re.search(r":(\d+)/", url).group(1)
        code = main(["replay", "c.json", "--port", port])

    assert code == 1
    assert capfd.readouterr().err.startswith(f"fetch-hive: cannot serve on port {port}")


@pytest.mark.parametrize(("deployment", "code"), [("d", 0), ("other", 1)])
def test_serves_until_it_is_stopped(deployment, code):
    """Without a command, it prints the settings for a client, and reports unrecorded calls at once."""
    server = subprocess.Popen([*PROGRAM, "replay", "c.json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    exports = dict(re.findall(r"export (\w+)=(\S+)", "".join(server.stdout.readline() for _ in range(4))))

    done = subprocess.run(
        [*PROGRAM, "invoke", deployment], capture_output=True, text=True, env={**os.environ, **exports}, check=False
    )
    message = server.stderr.readline() if code else ""
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=30)

    assert done.stdout == ("" if code else "Short.\n")
    assert bool(code) == ("this call was not recorded" in message)
    assert server.returncode == code
