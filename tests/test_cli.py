"""The command line, called in process where possible, and otherwise as a program."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys

import pytest

from fetch_hive_sdk import FetchHive, Usage, __version__
from fetch_hive_sdk.cli import main
from fetch_hive_sdk.cli._clock import Clock
from fetch_hive_sdk.testing import TEST_KEY, FakeServer

PROGRAM = [sys.executable, "-m", "fetch_hive_sdk"]


@pytest.fixture
def fake(monkeypatch):
    """A service configured in the environment of the command line."""
    fake = FakeServer()
    fake.answers("d", "Short.", reasoning="Hm.", usage={"total_tokens": 3, "prompt_tokens": 1, "completion_tokens": 2})
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", TEST_KEY)
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        yield fake


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense:::"])
def test_demo_shows_everything(capsys, monkeypatch, proxy):
    """The demo works without key and network in any environment, and shows its own source."""
    monkeypatch.setenv("FETCH_HIVE_BASE_URL", "https://nowhere.test")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("ALL_PROXY", proxy)

    code = main(["demo"])

    shown = capsys.readouterr().out
    assert code == 0
    assert 'client.invoke_prompt(deployment="summarise"' in shown
    assert "[reasoning] Five words will do.\n[response] Fetch Hive helps teams ship.\n[usage] 13 tokens" in shown
    assert "asyncio.run(main())" in shown
    assert (
        "[tool] weather {'city': 'Bonn'} -> sunny\nYes: it is sunny.\ncompleted {'lines': 2, 'mismatches': 0}" in shown
    )
    assert "NotFoundError: 404 Not Found" in shown


@pytest.mark.parametrize("before", [{}, {"NO_PROXY": "intern.test"}])
def test_demo_restores_the_environment(monkeypatch, before):
    """The demo does not leave proxy settings behind."""
    for name, value in before.items():
        monkeypatch.setenv(name, value)

    main(["demo"])

    assert {name: value for name, value in os.environ.items() if name.upper() == "NO_PROXY"} == before


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_prints_text_and_usage(fake, capsys, form):
    """The text goes to stdout, the usage to stderr."""
    code = main(["invoke", "d", *form])

    seen = capsys.readouterr()
    assert (code, seen.out, seen.err) == (0, "Short.\n", "3 tokens (prompt 1, completion 2)\n")


def test_invoke_prints_json(fake, capsys):
    """`--json` prints the answer unchanged."""
    code = main(["invoke", "d", "--json"])

    seen = capsys.readouterr()
    assert (code, seen.err) == (0, "")
    assert json.loads(seen.out)["response"] == "Short."


def test_invoke_prints_events_as_json(fake, capsys):
    """`--stream --json` prints each event unchanged on a line."""
    fake.streams("d", [{"type": "response", "response": "Short\n"}, {"type": "new", "n": 1}, "data: [DONE]\n\n"])

    code = main(["invoke", "d", "--stream", "--json"])

    seen = capsys.readouterr()
    assert (code, seen.err) == (0, "")
    assert [json.loads(line) for line in seen.out.splitlines()] == [
        {"type": "response", "response": "Short\n"},
        {"type": "new", "n": 1},
    ]


def test_invoke_prints_an_error_event_as_json(fake, capsys):
    """An error event is printed like the others, and sets the exit code."""
    fake.answers("d", "Once", error="provider failed", error_code="x")

    code = main(["invoke", "d", "--stream", "--json"])

    seen = capsys.readouterr()
    assert code == 7
    assert [json.loads(line)["type"] for line in seen.out.splitlines()] == ["response", "error"]
    error = json.loads(seen.err)
    assert (error["error"], error["error_code"], error["exit_code"]) == ("StreamFailedError", "x", 7)


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_reports_errors_as_json(fake, capsys, form):
    """With `--json`, an error is a JSON object on stderr, and stdout is empty."""
    fake.fails("d", 429, message="slow\ndown", error_code="api_rate_limit_exceeded")

    code = main(["invoke", "d", "--json", *form])

    seen = capsys.readouterr()
    assert (code, seen.out) == (4, "")
    assert json.loads(seen.err) == {
        "error": "RateLimitError",
        "message": "429 Too Many Requests: slow\ndown (error_code: api_rate_limit_exceeded)",
        "status_code": 429,
        "error_code": "api_rate_limit_exceeded",
        "maybe_processed": False,
        "exit_code": 4,
    }


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_prints_the_reasoning_to_stderr(fake, capsys, form):
    """The reasoning is printed before the usage; stdout has only the text."""
    code = main(["invoke", "d", "--reasoning", *form])

    seen = capsys.readouterr()
    assert (code, seen.out, seen.err) == (0, "Short.\n", "Hm.\n3 tokens (prompt 1, completion 2)\n")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """The output is a terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def run(*arguments):
        # Not in the fixture: pytest replaces both streams between a fixture and its test.
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, Terminal())
        main(arguments)
        return sys.stdout.getvalue(), sys.stderr.getvalue()

    return run


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_dims_reasoning_and_usage(fake, terminal, form):
    """On a terminal, the reasoning and the usage are dimmed."""
    out, err = terminal("invoke", "d", "--reasoning", *form)

    assert out == "Short.\n"
    plain = re.sub(r"\033\[2m([^\033]*)\033\[0m", r"<\1>", err)
    reasoning, usage, *speed = plain.replace("\n>", ">\n").splitlines()
    assert (reasoning, usage) == ("<Hm.>", "<3 tokens (prompt 1, completion 2)>")
    # A call without a stream has no first token, and one that is answered at once no speed.
    assert [bool(re.fullmatch(r"<first token after \d+\.\d\d s>", line)) for line in speed] == [True] * len(form)


def test_speed_is_measured_from_the_first_token(monkeypatch):
    """Not if all tokens arrive at once, which says nothing about the model."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    usage = Usage.model_validate({"completion_tokens": {"total_tokens": 20}})
    slow, sudden = Clock(), Clock()

    for now[0] in (2.0, 4.0):
        slow.tick()
    for now[0] in (4.0, 4.001):
        sudden.tick()

    assert slow.speed(usage) == "first token after 2.00 s, 10 tokens/s"
    assert sudden.speed(usage) == "first token after 4.00 s"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(fake, terminal, monkeypatch, name, value):
    """NO_COLOR disables colours."""
    monkeypatch.setenv(name, value)

    assert "\033" not in terminal("invoke", "d")[1]
    assert "\033" not in terminal("invoke", "nothing")[1]


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_answer_cannot_control_the_terminal(fake, terminal, form):
    """Control characters in an answer are removed for a terminal, but not for a pipe."""
    fake.answers("d", "a\x1b[31m\tb\n\x07\u200dc\x9b2J")

    out, _ = terminal("invoke", "d", *form)

    assert out == "a[31m\tb\n\u200dc2J\n"


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_pipe_gets_the_unchanged_answer(fake, capsys, form):
    """Output to a file is not changed."""
    fake.answers("d", "a\x1b[31m\tb\u200b\n")

    main(["invoke", "d", *form])

    assert capsys.readouterr().out.startswith("a\x1b[31m\tb\u200b\n")


def test_text_is_printed_at_once(fake, monkeypatch):
    """A chunk of text is printed before the next one arrives."""
    seen = []

    class Watched(Terminal):
        def flush(self):
            if self.getvalue() and self.getvalue() != "".join(seen):
                seen.append(self.getvalue()[len("".join(seen)) :])

    monkeypatch.setattr(sys, "stdout", Watched())
    fake.answers("d", pieces=["One ", "two ", "three."])

    main(["invoke", "d", "--stream"])

    assert seen == ["One ", "two ", "three.", "\n"]


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("HTTP_PROXY=nonsense:::", "HTTP_PROXY is not the URL of a proxy"),
        ("https_proxy=ftp://ada:secret@x", "https_proxy is not the URL of a proxy"),
        ("ALL_PROXY=socks5://127.0.0.1:9", "ALL_PROXY is a SOCKS proxy, which needs one more package"),
    ],
)
def test_invalid_proxy_exits_with_3(fake, capsys, monkeypatch, setting, complaint):
    """An invalid proxy is reported on one line without its password."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(*setting.split("=", 1))

    assert main(["invoke", "d"]) == 3

    printed = capsys.readouterr().err
    assert printed.startswith(f"fetch-hive: {complaint}")
    assert printed.count("\n") == 1
    assert "secret" not in printed


def narrow_output(monkeypatch):
    """Give the program an ASCII-only standard output; return what is written to it."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    return written


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_escapes_unencodable_characters(fake, monkeypatch, form):
    """Characters that the output cannot encode are escaped, so that no billed answer is lost."""
    fake.answers("d", "caf\u00e9")
    narrow = narrow_output(monkeypatch)

    assert main(["invoke", "d", *form]) == 0
    assert narrow.getvalue() == b"caf\\xe9\n"


def test_invoke_escapes_json_for_ascii_outputs(fake, monkeypatch):
    """JSON for an ASCII output is still valid JSON."""
    fake.answers("d", "caf\u00e9")
    narrow = narrow_output(monkeypatch)

    assert main(["invoke", "d", "--json"]) == 0
    assert json.loads(narrow.getvalue())["response"] == "caf\u00e9"


def test_invoke_works_without_stdout(fake, monkeypatch):
    """A background program without a standard output does not fail."""
    monkeypatch.setattr(sys, "stdout", None)

    assert main(["invoke", "d"]) == 0


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_works_without_usage(fake, capsys, form):
    """Without usage in the answer, stderr is empty."""
    fake.answers("d", "Short.\n", usage={})

    code = main(["invoke", "d", *form])

    seen = capsys.readouterr()
    assert (code, seen.err) == (0, "")
    assert seen.out.startswith("Short.\n")


def test_invoke_works_without_a_usage_event(fake, capsys):
    """A stream without usage is a complete answer."""
    fake.streams("d", [{"type": "response", "response": "Short."}, "data: [DONE]\n\n"])

    code = main(["invoke", "d", "--stream"])

    seen = capsys.readouterr()
    assert (code, seen.out, seen.err) == (0, "Short.\n", "")


def test_invoke_sends_all_options(fake, tmp_path):
    """Every option is a field of the request; `--input` overrides `--input-json`."""
    file = tmp_path / "inputs.json"
    file.write_text('{"text": "old", "items": [1, 2]}', "utf-8")

    metadata = [
        "--metadata",
        "seats=12",
        "--metadata",
        "trial=true",
        "--metadata",
        "region=null",
        "--metadata",
        "id=[1]",
    ]

    main(
        ["invoke", "d", "--variant", "v", "--input-json", str(file), "--input", "text=a=b", "--user", "u", *metadata],
    )

    (call,) = fake.calls
    assert call.raw == {
        "deployment": "d",
        "variant": "v",
        "inputs": {"text": "a=b", "items": [1, 2]},
        "user": "u",
        "metadata": {"seats": 12, "trial": True, "region": None, "id": "[1]"},
        "streaming": False,
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_invoke_reads_inputs_from_stdin(fake, monkeypatch, encoding):
    """`--input-json -` reads standard input in any encoding of JSON, with any locale."""
    data = '{"text": "caf\u00e9"}'.encode(encoding)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))

    main(["invoke", "d", "--input-json", "-"])

    assert fake.calls[0].inputs == {"text": "caf\u00e9"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("1.5", 1.5),
        ("false", False),
        ("null", None),
        ('"12"', "12"),
        ("twelve", "twelve"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("{}", "{}"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_invoke_reads_metadata_as_json_scalars(fake, text, value):
    """A JSON scalar is parsed; any other value is a string, including NaN."""
    assert main(["invoke", "d", "--metadata", f"name={text}"]) == 0

    assert fake.calls[0].metadata == {"name": value}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["invoke"], "deployment"),
        (["invoke", ""], "must not be empty"),
        (["invoke", "d", "--input", "text"], "NAME=VALUE"),
        (["invoke", "d", "--input", "=text"], "NAME=VALUE"),
        (["invoke", "d", "--input-json", "missing.json"], "cannot read missing.json"),
        (["invoke", "d", "--metadata", "n=1e999"], "finite"),
        (["invoke", "d", "--timeout", "0"], "positive number"),
        (["invoke", "d", "--timeout", "nan"], "positive number"),
        (["invoke", "d", "--timeout", "soon"], "invalid seconds value"),
        (["record", "--out", "c"], "the command is missing"),
        (["record", "pytest"], "put -- before the command: -- pytest"),
        (["replay"], "FILE"),
        (["replay", "f.json", "--pace", "-1"], "0 to 1000"),
        (["replay", "f.json", "pytest"], "put -- before the command: -- pytest"),
        (["completion"], "shell"),
        (["completion", "powershell"], "invalid choice"),
        (["doctor", "now"], "unrecognized"),
        (["invoke", "d", "--api-key", "k"], "there is no option for the API key"),
        (["serve", "--port", "70000"], "0 to 65535"),
        (["serve", "--port", "http"], "invalid port value"),
        (["serve", "--delay", "long"], "invalid seconds value"),
        (["serve", "--delay", "-1"], "0 to 3600"),
        (["nothing"], "invalid choice"),
    ],
)
def test_invalid_arguments_are_usage_errors(capsys, arguments, complaint):
    """An invalid argument is reported with the usage and exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    seen = capsys.readouterr()
    assert caught.value.code == 2
    assert seen.err.startswith("usage: fetch-hive")
    assert complaint in seen.err


@pytest.mark.parametrize("content", ["[1]", "{", "[" * 100_000])
def test_inputs_must_be_an_object(capsys, tmp_path, content):
    """The file of inputs must contain one JSON object."""
    file = tmp_path / "inputs.json"
    file.write_text(content, "utf-8")

    with pytest.raises(SystemExit) as caught:
        main(["invoke", "d", "--input-json", str(file)])

    assert caught.value.code == 2
    assert "JSON" in capsys.readouterr().err


def test_error_cannot_control_the_terminal(fake, capsys):
    """Escape sequences in messages of the service are removed."""
    fake.fails("d", 400, message="\x1b[31mred\x07")

    main(["invoke", "d"])

    assert capsys.readouterr().err == "fetch-hive: 400 Bad Request: [31mred\n"


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_error_response_exits_with_4(fake, capsys, form):
    """An error response is one line on stderr."""
    fake.fails("d", 429, message="slow\ndown", error_code="api_rate_limit_exceeded")

    code = main(["invoke", "d", *form])

    seen = capsys.readouterr()
    line = "fetch-hive: 429 Too Many Requests: slow down (error_code: api_rate_limit_exceeded)\n"
    assert (code, seen.out, seen.err) == (4, "", line)


def test_broken_stream_exits_with_7(fake, capsys):
    """The received text stays on stdout."""
    fake.answers("d", "Once upon", error="provider failed")

    code = main(["invoke", "d", "--stream"])

    seen = capsys.readouterr()
    assert (code, seen.out) == (7, "Once upon\n")
    assert seen.err.startswith("fetch-hive: provider failed")
    assert seen.err.count("\n") == 1


def test_missing_key_exits_with_3(capsys):
    """A missing key has its own exit code."""
    code = main(["invoke", "d"])

    assert code == 3
    assert capsys.readouterr().err.startswith("fetch-hive: api_key is required")


def test_failed_connection_exits_with_5(capsys, monkeypatch):
    """A failed connection has its own exit code."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", TEST_KEY)
    with FakeServer().serve() as url:
        pass

    code = main(["invoke", "d", "--base-url", url, "--timeout", "0.2"])

    assert code == 5
    assert capsys.readouterr().err.startswith("fetch-hive: could not connect")


def test_invalid_answer_exits_with_6(fake, capsys):
    """The message adds that the call may have been billed."""
    fake.streams("d", ["data: {\n\n"])

    code = main(["invoke", "d", "--stream"])

    assert code == 6
    assert "billed" in capsys.readouterr().err


def test_version_and_help(capsys):
    """`--version` and `--help` print and exit."""
    for option, answer in [("--version", f"fetch-hive {__version__}"), ("--help", "examples:")]:
        with pytest.raises(SystemExit) as caught:
            main([option])
        assert caught.value.code == 0
        assert answer in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "serve", "invoke", "record", "replay", "prompts", "doctor", "completion"])
def test_every_command_has_examples_and_exit_codes(capsys, command):
    """`--help` has examples and exit codes for every command."""
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])

    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert "examples:\n" in shown
    assert "exit codes:" in shown


@pytest.fixture
def _heeds_ctrl_c():
    """Handle Ctrl-C even if the tests run in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_ctrl_c_ends_quietly(fake, capsys):
    """Ctrl-C in a call exits without a traceback, with the exit code of shells."""

    def interrupt(request):
        os.kill(os.getpid(), signal.SIGINT)
        return "never read"

    fake.answers("d", interrupt)

    assert main(["invoke", "d"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_ends_the_wait_for_inputs(capsys, monkeypatch):
    """Ctrl-C while the program reads from a terminal exits without a traceback."""

    class Nobody(io.BytesIO):
        def read(self, size=-1):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Nobody()))

    assert main(["invoke", "d", "--input-json", "-"]) == 130
    assert capsys.readouterr().err == ""


@pytest.fixture
def closed_pipe():
    """The writing end of a pipe whose reader has closed."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def buffered(monkeypatch):
    """Output is buffered, as usual, so that write errors appear late."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["serve"],
        ["demo"],
        ["invoke", "d"],
        ["invoke", "d", "--json"],
        ["invoke", "d", "--stream"],
        ["doctor", "--offline"],
        ["completion", "zsh"],
    ],
)
@pytest.mark.usefixtures("buffered", "fake")
def test_closed_pipe_ends_quietly(closed_pipe, arguments):
    """A closed pipe ends the program without a message, also at exit."""
    done = subprocess.run([*PROGRAM, *arguments], stdout=closed_pipe, stderr=subprocess.PIPE, check=False)

    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_pipe_has_an_exit_code(fake, closed_pipe, monkeypatch):
    """`main` returns the exit code, and leaves nothing to flush at exit."""
    with os.fdopen(os.dup(closed_pipe), "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)

        assert main(["invoke", "d"]) == 141


@pytest.fixture(params=["closed pipe", "full disk"])
def unwritable(request):
    """A file that cannot be written to."""
    if request.param == "closed pipe":
        yield request.getfixturevalue("closed_pipe")
        return
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - a device
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        yield full


@pytest.mark.parametrize(
    ("arguments", "code", "out"),
    [
        (["invoke", "d"], 0, b"Short.\n"),
        (["invoke", "d", "--reasoning"], 0, b"Short.\n"),
        (["invoke", "d", "--reasoning", "--stream"], 0, b"Short.\n"),
        (["invoke", "unknown"], 4, b""),
        (["invoke", "unknown", "--json"], 4, b""),
    ],
)
@pytest.mark.usefixtures("buffered", "fake")
def test_answer_is_printed_if_stderr_cannot_be_written(unwritable, arguments, code, out):
    """The billed answer is on stdout although reasoning, usage and errors cannot be printed."""
    done = subprocess.run([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=unwritable, check=False)

    assert (done.returncode, done.stdout) == (code, out)


def run_without(number, *arguments):
    """Run the program with a standard stream closed."""
    command = ["sh", "-c", f'exec "$@" {number}>&-', "sh", *PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no sh")
@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("arguments", "code", "out"),
    [
        (["invoke", "d"], 0, "Short.\n"),
        (["invoke", "d", "--stream", "--reasoning"], 0, "Short.\n"),
        (["invoke", "d", "--base-url", "ftp://x"], 3, ""),
        (["invoke", "unknown", "--json"], 4, ""),
        (["invoke"], 2, ""),
        (["replay", "no.json"], 2, ""),
        (["serve", "--file", "no.toml"], 2, ""),
    ],
)
def test_closed_stderr_discards_messages(arguments, code, out):
    """Messages for a closed stderr do not go to stdout."""
    done = run_without(2, *arguments)

    assert (done.returncode, done.stdout) == (code, out)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no sh")
@pytest.mark.usefixtures("fake")
def test_closed_stdin_is_one_line():
    """Reading inputs from a closed standard input is one line; other commands do not need it."""
    refused = run_without(0, "invoke", "d", "--input-json", "-")
    answered = run_without(0, "invoke", "d")

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith("--input-json: cannot read -: standard input is closed")
    assert answered.stdout == "Short.\n"


@pytest.mark.parametrize("module", ["argparse", "httpx", "pydantic", "fetch_hive_sdk.testing"])
def test_ctrl_c_during_imports_ends_quietly(module):
    """Ctrl-C at the start of the program prints no traceback."""
    code = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
from fetch_hive_sdk.cli import main
sys.exit(main(["demo"]))
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_failing_stderr_has_an_exit_code(monkeypatch):
    """If neither output can be written, the exit code reports it."""

    class Broken(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdout", Broken())
    monkeypatch.setattr(sys, "stderr", Broken())

    assert main(["doctor", "--offline"]) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110 - a device
@pytest.mark.parametrize("form", [[], ["--stream"], ["--json"]])
def test_full_disk_exits_with_1(fake, capsys, monkeypatch, form):
    """A failed write of the answer is one line on stderr."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdout", full)

        code = main(["invoke", "d", *form])

    assert code == 1
    assert capsys.readouterr().err == "fetch-hive: cannot write: No space left on device\n"


def test_debug_log_has_no_key(fake, caplog, monkeypatch):
    """`FETCH_HIVE_LOG=debug` logs every request without the key."""
    caplog.set_level(logging.DEBUG, "fetch_hive_sdk")  # restores the level after the test
    logging.getLogger("fetch_hive_sdk").setLevel(logging.WARNING)
    monkeypatch.setenv("FETCH_HIVE_LOG", "debug")

    main(["invoke", "d"])

    assert re.search(r"POST http://127\.0\.0\.1:\d+/v1/prompt/invoke: 200", caplog.text)
    assert TEST_KEY not in caplog.text


def test_debug_log_goes_to_stderr(fake):
    """Standard output has only the answer."""
    environment = {**os.environ, "FETCH_HIVE_LOG": "debug"}

    done = subprocess.run([*PROGRAM, "invoke", "d"], capture_output=True, text=True, env=environment, check=True)

    assert done.stdout == "Short.\n"
    assert re.search(r"^fetch_hive_sdk: POST ", done.stderr, re.MULTILINE)
    assert TEST_KEY not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_answers_until_it_is_stopped(number):
    """The server prints the settings for a client, describes the calls, and stops without a message."""
    server = subprocess.Popen([*PROGRAM, "serve"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [server.stdout.readline() for _ in range(4)]
    exports = dict(re.findall(r"export (\w+)=(\S+)", "".join(lines)))

    done = subprocess.run(
        [*PROGRAM, "invoke", "d", "--variant", "v", "--input", "text=long"],
        capture_output=True,
        text=True,
        env={**os.environ, **exports},
        check=True,
    )
    server.send_signal(number)
    rest = server.communicate(timeout=30)

    assert done.stdout == 'd (variant v) was called with {"text": "long"}.\n'
    assert (server.returncode, rest[1]) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_restores_signal_handlers(monkeypatch, number):
    """The server's signal handlers are removed when it stops."""
    before = signal.getsignal(number)
    answers = []

    class Reader(io.StringIO):
        """Uses the printed settings like a user, then stops the server."""

        def flush(self):
            exports = dict(re.findall(r"export (\w+)=(\S+)", self.getvalue()))
            if exports and not answers:
                with FetchHive(exports["FETCH_HIVE_API_KEY"], exports["FETCH_HIVE_BASE_URL"]) as client:
                    answers.append(client.invoke_prompt(deployment="d").response)
                signal.raise_signal(number)

    monkeypatch.setattr(sys, "stdout", Reader())

    assert main(["serve", "--delay", "0"]) == 0
    assert answers == ["d was called with {}."]
    assert signal.getsignal(number) is before


def test_serve_reports_a_port_in_use(capsys):
    """A port in use is one line on stderr."""
    with FakeServer().serve() as url:
        port = re.search(r":(\d+)/", url).group(1)
        code = main(["serve", "--port", port])

    assert code == 1
    assert capsys.readouterr().err.startswith(f"fetch-hive: cannot serve on port {port}")


# --- Suggestions, files and standard input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["invok", "d"], "did you mean invoke?"),
        (["invoke", "d", "--vairant", "v"], "did you mean --variant?"),
        (["bulk", "statsu", "jobs.db"], "did you mean status?"),
        (["bulk", "run", "a.csv", "--deployment=d", "--journal=a.db", "--max-concurency=4"], "--max-concurrency?"),
        (["serve", "--prot", "80"], "did you mean --port?"),
        (["serve", "-p", "80"], "did you mean --port?"),
        (["serve", "-port", "80"], "did you mean --port?"),
        (["serve", "extra", "--prot=80"], "did you mean --port?"),
        (["--verison"], "did you mean --version?"),
        (["compare", "d", "--inputs", "-", "--varaint=a"], "--varaint is unknown: did you mean --variant?"),
        (["requests", "wait", "--max-wiat", "3"], "did you mean --max-wait?"),
        (["INVOKE", "d"], "did you mean invoke?"),
        (["invoke", "d", "text=a b"], "did you mean --input text=...?"),
        (["api", "GET", "/error_codes", "locale=es"], "did you mean -f locale=...?"),
        (["invoke", "d", "--STREAM"], "did you mean --stream?"),
        (["requests", "WAIT", "r"], "did you mean wait?"),
    ],
)
def test_mistyped_options_and_commands_are_suggested(capsys, monkeypatch, arguments, suggestion):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))

    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(suggestion)


@pytest.mark.parametrize(
    "arguments",
    [["invoke", "d", "--api-key", "fhk_secret"], ["doctor", "--API-KEY=fhk_secret"], ["--token", "fhk_secret"]],
)
def test_key_as_an_option_is_not_repeated(capsys, arguments):
    """The message names the environment variable instead."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    shown = capsys.readouterr().err
    assert caught.value.code == 2
    assert "there is no option for the API key: set FETCH_HIVE_API_KEY" in shown
    assert "fhk_secret" not in shown


def test_words_after_two_hyphens_are_no_options(capsys):
    """Their spelling is not corrected."""
    with pytest.raises(SystemExit):
        main(["requests", "--", "wait", "r", "--jsn"])

    assert "did you mean" not in capsys.readouterr().err


def test_unlike_words_are_not_suggested(capsys):
    with pytest.raises(SystemExit):
        main(["invoke", "d", "--xyzzy"])

    assert capsys.readouterr().err.rstrip().endswith("unrecognized arguments: --xyzzy")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("@text.txt", "From a file: é\n"),
        ("-", "From stdin."),
        ("@@text.txt", "@text.txt"),
        ("--", "-"),
        ("-5", "-5"),
        ("a@b", "a@b"),
        ("", ""),
    ],
)
def test_inputs_come_from_files_and_stdin(fake, tmp_path, monkeypatch, value, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("From a file: é\n", "utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"From stdin.")))

    assert main(["invoke", "d", f"--input=text={value}"]) == 0

    assert fake.calls[0].inputs == {"text": text}


@pytest.mark.parametrize("is_terminal", [True, False])
def test_reading_from_a_terminal_is_announced(fake, monkeypatch, capsys, is_terminal):
    """Otherwise the command would seem to hang."""
    stdin = io.TextIOWrapper(io.BytesIO(b"Typed."))
    monkeypatch.setattr(stdin, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(sys, "stdin", stdin)

    main(["invoke", "d", "--input", "text=-"])

    assert ("fetch-hive: reading from standard input; end it with Ctrl-" in capsys.readouterr().err) == is_terminal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "text=@missing.txt"], "cannot read missing.txt: No such file or directory"),
        (["--input", "text=@image.png"], "image.png is not text in UTF-8"),
        (["--input", "text=@"], "must be NAME=@FILE"),
        (["--input", "a=-", "--input-json", "image.png"], "image.png is not valid JSON"),
        (["--input-json", "-"], "standard input is not valid JSON"),
        (["--input", "a=-", "--input", "b=-"], "standard input is empty; it can be read only once"),
        (["--input", "a=-", "--input-json", "-"], "standard input is empty; it can be read only once"),
    ],
)
def test_unreadable_inputs_are_invalid_arguments(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Once.")))

    with pytest.raises(SystemExit) as caught:
        main(["invoke", "d", *arguments])

    assert caught.value.code == 2
    assert message in capsys.readouterr().err
