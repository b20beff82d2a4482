"""`fetch-hive serve` with a file and the page. `test_cli.py` has the tests without them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import takewhile

import httpx
import pytest

from fetch_hive_sdk import FetchHive, NotFoundError
from fetch_hive_sdk.cli import main
from fetch_hive_sdk.testing import TEST_KEY

ONE = '[deployments.d]\nanswer = "one"\n'
TWO = '[deployments.d]\nanswer = "second"\n'


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "fetch-hive.toml"
    file.write_text(ONE, "utf-8")
    return file


@contextmanager
def serving(*arguments, folder, stderr=subprocess.PIPE):
    """Run the command as a program; yield it and the URL that it prints."""
    program = [sys.executable, "-m", "fetch_hive_sdk", "serve", *map(str, arguments)]
    server = subprocess.Popen(program, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        # Two paragraphs, or fewer if the program ended early.
        printed = "".join(line for _ in range(2) for line in takewhile(lambda line: line.strip(), server.stdout))
        yield server, re.search(r"FETCH_HIVE_BASE_URL=(\S+)", printed)[1]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)


def save(file, text):
    """Replace a file in one step, as editors do."""
    other = file.with_suffix(".new")
    other.write_text(text, "utf-8")
    os.replace(other, file)  # noqa: PTH105 - so that it is plain to see


def ask(url, key=TEST_KEY):
    with FetchHive(key, url) as client:
        return client.invoke_prompt(deployment="d").response


def test_file_is_served(file):
    """The deployments of the file answer, and the page shows the calls."""
    with serving("--file", file, folder=file.parent) as (_, url):
        assert ask(url) == "one"
        assert httpx.get(url[: -len("v1")]).status_code == 200


def test_changed_file_is_reloaded(file):
    """A change is applied and reported. An invalid file is reported, and its previous content still served."""
    with serving("--file", file, folder=file.parent) as (server, url):
        save(file, TWO)
        first = server.stderr.readline()
        answers = [ask(url)]

        save(file, "[deployments.d]\nanswr = 'x'\n")
        second = server.stderr.readline()
        answers.append(ask(url))

        save(file, ONE)
        third = server.stderr.readline()
        answers.append(ask(url))

    assert answers == ["second", "second", "one"]
    assert first == third == f"fetch-hive: {file} reloaded\n"
    reason = "deployments.d.answr is unknown: did you mean answer?"
    assert second == f"fetch-hive: {file}: {reason} (still serving its previous content)\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[deployments.d\n", r":1: "),
        ("\n[deployments.d]\nanswr = 1\n", r": .*answr"),
        (None, ": cannot read the file: "),
    ],
)
def test_invalid_file_is_one_line(file, capsys, text, complaint):
    """An invalid file is reported on one line, with exit code 2."""
    file.unlink() if text is None else file.write_text(text, "utf-8")

    code = main(["serve", "--file", str(file)])

    seen = capsys.readouterr()
    assert (code, seen.out) == (2, "")
    assert re.fullmatch(rf"fetch-hive: {re.escape(str(file))}{complaint}.*\n", seen.err)


def test_folder_is_rejected(tmp_path, capsys):
    """A folder instead of a file is reported."""
    assert main(["serve", "--file", str(tmp_path)]) == 2
    assert "directory" in capsys.readouterr().err


def test_missing_toml_reader_is_one_line(file, capsys, monkeypatch):
    """Without a TOML reader, the message tells what to install."""
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)

    code = main(["serve", "--file", str(file)])

    assert (code, capsys.readouterr().err.count("\n")) == (2, 1)


def test_default_file_is_not_used(file):
    """A file with the default name is mentioned, but not used."""
    with serving(folder=file.parent) as (server, url):
        hint = server.stderr.readline()

        assert ask(url) == "d was called with {}."

    assert hint == "fetch-hive: fetch-hive.toml is ignored: to serve it, pass --file fetch-hive.toml\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110 - a device
def test_messages_that_cannot_be_written_do_not_stop_the_server(file):
    """Such as the message that the default file is ignored, on a full disk."""
    with open("/dev/full", "w") as full, serving(folder=file.parent, stderr=full) as (_, url):  # noqa: PTH123 - a device
        assert "was called with" in ask(url)


def test_key_of_a_file_is_not_printed(file):
    """The API key of the file is not printed."""
    file.write_text('api_key = "fhk_secret"\n' + ONE, "utf-8")
    program = [sys.executable, "-m", "fetch_hive_sdk", "serve", "--file", str(file)]
    server = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = "".join(iter(server.stdout.readline, "\n")) + "".join(iter(server.stdout.readline, "\n"))
    url = re.search(r"FETCH_HIVE_BASE_URL=(\S+)", printed)[1]

    answer = ask(url, "fhk_secret")
    server.send_signal(signal.SIGTERM)
    printed += server.communicate(timeout=30)[0]

    assert answer == "one"
    assert "fhk_secret" not in printed


@pytest.mark.parametrize("wrong", ["", "/v1/prompt/invoke", "/api"])
def test_wrong_base_url_is_reported_at_once(tmp_path, wrong):
    """A base URL that lacks `/v1` or ends in an endpoint."""
    with serving(folder=tmp_path) as (server, url):
        client = FetchHive(TEST_KEY, url[: -len("/v1")] + wrong)
        with pytest.raises(NotFoundError):
            client.invoke_prompt(deployment="d")
        client.close()

        reported = server.stderr.readline()

    assert reported.startswith("fetch-hive: There is no endpoint POST")
    assert reported.rstrip().endswith(f"the base URL of this service is {url}")


def test_each_wrong_path_is_reported_once(tmp_path):
    """A program may repeat its calls. Files that a browser asks for are not calls."""
    with serving(folder=tmp_path) as (server, url):
        root = url[: -len("/v1")]
        httpx.get(f"{root}/favicon.ico", trust_env=False)
        first, second = FetchHive(TEST_KEY, root), FetchHive(TEST_KEY, f"{root}/api")
        reported = []
        for client in (first, second):
            for _ in range(2):
                with pytest.raises(NotFoundError):
                    client.invoke_prompt(deployment="d")
            reported.append(server.stderr.readline())
            client.close()

    assert ["POST /prompt/invoke:" in reported[0], "POST /api/prompt/invoke:" in reported[1]] == [True, True]
