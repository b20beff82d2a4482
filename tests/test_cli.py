"""The command line, called in process where that shows all, and as a program where it does not."""

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

from fetch_hive_sdk import FetchHive, __version__
from fetch_hive_sdk.cli import main
from fetch_hive_sdk.testing import TEST_KEY, FakeServer

PROGRAM = [sys.executable, "-m", "fetch_hive_sdk"]


@pytest.fixture
def fake(monkeypatch):
    """A service that the command line finds by its environment."""
    fake = FakeServer()
    fake.answers("d", "Short.", reasoning="Hm.", usage={"total_tokens": 3, "prompt_tokens": 1, "completion_tokens": 2})
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", TEST_KEY)
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        yield fake


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense:::"])
def test_demo_shows_everything(capsys, monkeypatch, proxy):
    """The demo runs without key and network, whatever the environment says, and shows its own source."""
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
def test_demo_leaves_the_environment_as_it_was(monkeypatch, before):
    """What keeps proxies away is gone when the demo is over."""
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
    """`--json` prints the answer as it came."""
    code = main(["invoke", "d", "--json"])

    seen = capsys.readouterr()
    assert (code, seen.err) == (0, "")
    assert json.loads(seen.out)["response"] == "Short."


def test_invoke_prints_events_as_json(fake, capsys):
    """`--stream --json` prints each event as it came, on a line."""
    fake.streams("d", [{"type": "response", "response": "Short\n"}, {"type": "new", "n": 1}, "data: [DONE]\n\n"])

    code = main(["invoke", "d", "--stream", "--json"])

    seen = capsys.readouterr()
    assert (code, seen.err) == (0, "")
    assert [json.loads(line) for line in seen.out.splitlines()] == [
        {"type": "response", "response": "Short\n"},
        {"type": "new", "n": 1},
    ]


def test_invoke_prints_an_error_event_as_json(fake, capsys):
    """An event that tells a failure is a line like the others, and the exit code tells it, too."""
    fake.answers("d", "Once", error="provider failed", error_code="x")

    code = main(["invoke", "d", "--stream", "--json"])

    seen = capsys.readouterr()
    assert code == 7
    assert [json.loads(line)["type"] for line in seen.out.splitlines()] == ["response", "error"]
    told = json.loads(seen.err)
    assert (told["error"], told["error_code"], told["exit_code"]) == ("StreamFailedError", "x", 7)


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_reports_failures_as_json(fake, capsys, form):
    """With `--json` a failure is an object on stderr, and stdout is empty."""
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
def test_invoke_prints_the_reasoning_if_asked(fake, capsys, form):
    """What the model thought goes to stderr, before the usage; the text stays alone on stdout."""
    code = main(["invoke", "d", "--reasoning", *form])

    seen = capsys.readouterr()
    assert (code, seen.out, seen.err) == (0, "Short.\n", "Hm.\n3 tokens (prompt 1, completion 2)\n")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Somebody looks at what is printed."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def run(*arguments):
        # Not in the fixture: pytest changes both between a fixture and its test.
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, Terminal())
        main(arguments)
        return sys.stdout.getvalue(), sys.stderr.getvalue()

    return run


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_dims_what_is_not_the_text(fake, terminal, form):
    """On a terminal, the reasoning and the usage step back."""
    out, err = terminal("invoke", "d", "--reasoning", *form)

    assert out == "Short.\n"
    plain = re.sub(r"\033\[2m([^\033]*)\033\[0m", r"<\1>", err)
    assert plain.replace("\n>", ">\n") == "<Hm.>\n<3 tokens (prompt 1, completion 2)>\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(fake, terminal, monkeypatch, name, value):
    """A terminal that wants no colours gets none."""
    monkeypatch.setenv(name, value)

    assert "\033" not in terminal("invoke", "d")[1]
    assert "\033" not in terminal("invoke", "nothing")[1]


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_an_answer_cannot_steer_the_terminal(fake, terminal, form):
    """A terminal gets no control characters of a model; a pipe gets all that it wrote."""
    fake.answers("d", "a\x1b[31m\tb\n\x07\u200dc\x9b2J")

    out, _ = terminal("invoke", "d", *form)

    assert out == "a[31m\tb\n\u200dc2J\n"


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_a_pipe_gets_all_that_the_model_wrote(fake, capsys, form):
    """What goes to a file is word for word."""
    fake.answers("d", "a\x1b[31m\tb\u200b\n")

    main(["invoke", "d", *form])

    assert capsys.readouterr().out.startswith("a\x1b[31m\tb\u200b\n")


def test_tokens_are_shown_as_they_come(fake, monkeypatch):
    """A piece of the text is written before the next one has come."""
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
def test_a_proxy_that_cannot_be_is_a_failure_of_the_setup(fake, capsys, monkeypatch, setting, complaint):
    """A proxy that nothing can go through is one line, exit code 3, and no password."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(*setting.split("=", 1))

    assert main(["invoke", "d"]) == 3

    told = capsys.readouterr().err
    assert told.startswith(f"fetch-hive: {complaint}")
    assert told.count("\n") == 1
    assert "secret" not in told


def narrow_output(monkeypatch):
    """Give the program a standard output that knows ASCII only; return what is written to it."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    return written


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_prints_what_the_terminal_does_not_know(fake, monkeypatch, form):
    """A character that the output cannot encode is escaped: a paid answer is not lost to it."""
    fake.answers("d", "caf\u00e9")
    narrow = narrow_output(monkeypatch)

    assert main(["invoke", "d", *form]) == 0
    assert narrow.getvalue() == b"caf\\xe9\n"


def test_invoke_prints_json_that_the_terminal_does_not_know(fake, monkeypatch):
    """What goes to a narrow output is JSON all the same."""
    fake.answers("d", "caf\u00e9")
    narrow = narrow_output(monkeypatch)

    assert main(["invoke", "d", "--json"]) == 0
    assert json.loads(narrow.getvalue())["response"] == "caf\u00e9"


def test_invoke_runs_without_an_output(fake, monkeypatch):
    """A program without a standard output, started in the background, does not fail for it."""
    monkeypatch.setattr(sys, "stdout", None)

    assert main(["invoke", "d"]) == 0


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_invoke_can_do_without_usage(fake, capsys, form):
    """A service that tells no usage leaves stderr empty."""
    fake.answers("d", "Short.\n", usage={})

    code = main(["invoke", "d", *form])

    seen = capsys.readouterr()
    assert (code, seen.err) == (0, "")
    assert seen.out.startswith("Short.\n")


def test_invoke_can_do_without_the_event_of_usage(fake, capsys):
    """A stream that ends without telling the usage is a whole answer, too."""
    fake.streams("d", [{"type": "response", "response": "Short."}, "data: [DONE]\n\n"])

    code = main(["invoke", "d", "--stream"])

    seen = capsys.readouterr()
    assert (code, seen.out, seen.err) == (0, "Short.\n", "")


def test_invoke_sends_what_it_is_given(fake, tmp_path):
    """Every option is a field of the request; single inputs count before those of the file."""
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
    """`--input-json -` reads the standard input, in every encoding that JSON may have and whatever the locale is."""
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
    """A value that is a scalar of JSON is read as one; all else is the text that it is, NaN included."""
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
        (["invoke", "d", "--api-key", "k"], "unrecognized"),
        (["serve", "--port", "70000"], "0 to 65535"),
        (["serve", "--port", "http"], "invalid port value"),
        (["serve", "--delay", "long"], "invalid seconds value"),
        (["serve", "--delay", "-1"], "0 to 3600"),
        (["nothing"], "invalid choice"),
    ],
)
def test_wrong_arguments_are_usage_errors(capsys, arguments, complaint):
    """A wrong argument is told with the usage, and exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    seen = capsys.readouterr()
    assert caught.value.code == 2
    assert seen.err.startswith("usage: fetch-hive")
    assert complaint in seen.err


@pytest.mark.parametrize("content", ["[1]", "{", "[" * 100_000])
def test_inputs_must_be_an_object(capsys, tmp_path, content):
    """The file of inputs holds one JSON object."""
    file = tmp_path / "inputs.json"
    file.write_text(content, "utf-8")

    with pytest.raises(SystemExit) as caught:
        main(["invoke", "d", "--input-json", str(file)])

    assert caught.value.code == 2
    assert "JSON" in capsys.readouterr().err


def test_a_failure_cannot_steer_the_terminal(fake, capsys):
    """Escape sequences in what a service says do not reach the terminal."""
    fake.fails("d", 400, message="\x1b[31mred\x07")

    main(["invoke", "d"])

    assert capsys.readouterr().err == "fetch-hive: 400 Bad Request: [31mred\n"


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_a_refusal_is_one_line(fake, capsys, form):
    """A refusal is one line on stderr and exit code 4."""
    fake.fails("d", 429, message="slow\ndown", error_code="api_rate_limit_exceeded")

    code = main(["invoke", "d", *form])

    seen = capsys.readouterr()
    line = "fetch-hive: 429 Too Many Requests: slow down (error_code: api_rate_limit_exceeded)\n"
    assert (code, seen.out, seen.err) == (4, "", line)


def test_a_broken_stream_keeps_what_came(fake, capsys):
    """What has been paid for stays on stdout; the failure is exit code 7."""
    fake.answers("d", "Once upon", error="provider failed")

    code = main(["invoke", "d", "--stream"])

    seen = capsys.readouterr()
    assert (code, seen.out) == (7, "Once upon\n")
    assert seen.err.startswith("fetch-hive: provider failed")
    assert seen.err.count("\n") == 1


def test_no_key_is_a_failure_of_its_own(capsys):
    """Without a key the exit code is 3."""
    code = main(["invoke", "d"])

    assert code == 3
    assert capsys.readouterr().err.startswith("fetch-hive: api_key is required")


def test_nobody_at_home_is_a_failure_of_its_own(capsys, monkeypatch):
    """Without a connection the exit code is 5."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", TEST_KEY)
    with FakeServer().serve() as url:
        pass

    code = main(["invoke", "d", "--base-url", url, "--timeout", "0.2"])

    assert code == 5
    assert capsys.readouterr().err.startswith("fetch-hive: could not connect")


def test_a_false_answer_is_a_failure_of_its_own(fake, capsys):
    """An answer that is not as promised is exit code 6, and says that it may have been billed."""
    fake.streams("d", ["data: {\n\n"])

    code = main(["invoke", "d", "--stream"])

    assert code == 6
    assert "billed" in capsys.readouterr().err


def test_version_and_help(capsys):
    """`--version` and `--help` answer and leave."""
    for option, answer in [("--version", f"fetch-hive {__version__}"), ("--help", "examples:")]:
        with pytest.raises(SystemExit) as caught:
            main([option])
        assert caught.value.code == 0
        assert answer in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "serve", "invoke", "record", "replay", "prompts", "doctor", "completion"])
def test_every_command_has_examples_and_exit_codes(capsys, command):
    """`--help` shows how a command is used, and what its exit codes mean."""
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])

    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert "examples:\n" in shown
    assert "exit codes:" in shown


@pytest.fixture
def _heeds_ctrl_c():
    """Ctrl-C is heard, even where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_ctrl_c_ends_quietly(fake, capsys):
    """Ctrl-C in a call ends without a traceback, with the exit code of shells."""

    def interrupt(request):
        os.kill(os.getpid(), signal.SIGINT)
        return "never read"

    fake.answers("d", interrupt)

    assert main(["invoke", "d"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_ends_the_wait_for_inputs(capsys, monkeypatch):
    """Ctrl-C while the program waits for somebody to type ends quietly, too."""

    class Nobody(io.BytesIO):
        def read(self, size=-1):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Nobody()))

    assert main(["invoke", "d", "--input-json", "-"]) == 130
    assert capsys.readouterr().err == ""


@pytest.fixture
def closed_pipe():
    """The end to write to of a pipe that nobody reads from."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def buffered(monkeypatch):
    """Output is buffered, as it is for users: what fails, fails late."""
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
def test_a_closed_pipe_ends_quietly(closed_pipe, arguments):
    """A reader that has enough ends the program without a word, at its very end, too."""
    done = subprocess.run([*PROGRAM, *arguments], stdout=closed_pipe, stderr=subprocess.PIPE, check=False)

    assert (done.returncode, done.stderr) == (141, b"")


def test_a_closed_pipe_has_an_exit_code(fake, closed_pipe, monkeypatch):
    """`main` answers with the exit code, and leaves nothing that could not be flushed at the end."""
    with os.fdopen(os.dup(closed_pipe), "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)

        assert main(["invoke", "d"]) == 141


@pytest.mark.usefixtures("buffered", "fake")
def test_a_closed_stderr_does_not_cost_the_answer(closed_pipe):
    """What has been paid for is on stdout, although the usage cannot be told."""
    done = subprocess.run([*PROGRAM, "invoke", "d"], stdout=subprocess.PIPE, stderr=closed_pipe, check=False)

    assert (done.returncode, done.stdout) == (141, b"Short.\n")


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
def test_nothing_for_a_closed_stderr_goes_to_stdout(arguments, code, out):
    """What would be said on stderr is lost with it, and not taken for the answer."""
    done = run_without(2, *arguments)

    assert (done.returncode, done.stdout) == (code, out)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no sh")
@pytest.mark.usefixtures("fake")
def test_closed_stdin_is_one_line():
    """Inputs cannot be read from a standard input that is closed; all else does not need it."""
    refused = run_without(0, "invoke", "d", "--input-json", "-")
    answered = run_without(0, "invoke", "d")

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith("--input-json: cannot read -: standard input is closed")
    assert answered.stdout == "Short.\n"


@pytest.mark.parametrize("module", ["argparse", "httpx", "pydantic", "fetch_hive_sdk.testing"])
def test_ctrl_c_while_modules_are_loaded_ends_quietly(module):
    """Ctrl-C in the first moments of the program is no traceback."""
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


def test_a_stderr_that_fails_is_not_a_traceback(monkeypatch):
    """Where neither of the outputs can be written, the exit code says so."""

    class Broken(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdout", Broken())
    monkeypatch.setattr(sys, "stderr", Broken())

    assert main(["doctor", "--offline"]) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110 - a device
@pytest.mark.parametrize("form", [[], ["--stream"], ["--json"]])
def test_a_full_disk_is_one_line(fake, capsys, monkeypatch, form):
    """An answer that cannot be written is one line on stderr and exit code 1."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdout", full)

        code = main(["invoke", "d", *form])

    assert code == 1
    assert capsys.readouterr().err == "fetch-hive: cannot write: No space left on device\n"


def test_debug_lines_on_demand(fake, caplog, monkeypatch):
    """`FETCH_HIVE_LOG=debug` tells every request, without the key."""
    caplog.set_level(logging.DEBUG, "fetch_hive_sdk")  # takes the level back after the test
    logging.getLogger("fetch_hive_sdk").setLevel(logging.WARNING)
    monkeypatch.setenv("FETCH_HIVE_LOG", "debug")

    main(["invoke", "d"])

    assert re.search(r"POST http://127\.0\.0\.1:\d+/v1/prompt/invoke: 200", caplog.text)
    assert TEST_KEY not in caplog.text


def test_debug_lines_go_to_stderr(fake):
    """The lines are on stderr, and stdout has the answer alone."""
    environment = {**os.environ, "FETCH_HIVE_LOG": "debug"}

    done = subprocess.run([*PROGRAM, "invoke", "d"], capture_output=True, text=True, env=environment, check=True)

    assert done.stdout == "Short.\n"
    assert re.search(r"^fetch_hive_sdk: POST ", done.stderr, re.MULTILINE)
    assert TEST_KEY not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_answers_until_it_is_stopped(number):
    """The server prints what to paste, tells what it was asked, and ends quietly when told to."""
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
def test_serve_gives_the_signals_back(monkeypatch, number):
    """The server answers while it runs, and its handlers are gone when it has been stopped."""
    before = signal.getsignal(number)
    answers = []

    class Reader(io.StringIO):
        """Does what a user would do with what is printed, then stops the server."""

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


def test_serve_says_that_a_port_is_taken(capsys):
    """A port that is taken is one line on stderr."""
    with FakeServer().serve() as url:
        port = re.search(r":(\d+)/", url).group(1)
        code = main(["serve", "--port", port])

    assert code == 1
    assert capsys.readouterr().err.startswith(f"fetch-hive: cannot serve on port {port}")
