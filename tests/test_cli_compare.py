"""`fetch-hive compare`: cases through variants, on the terminal, as JSON and as a page."""

from __future__ import annotations

import json

import pytest

from fetch_hive_sdk.cli import main
from fetch_hive_sdk.testing import TEST_KEY, FakeServer, StreamScript

TOML = """
[deployments.summarise]
answer = "Short: {text}"

[deployments.summarise.variants.long]
answer = "At length: {text} & <b>more</b>"
"""


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A service with two variants of a deployment, and a file of cases."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.jsonl").write_text('{"text": "One."}\n\n{"text": "Two."}\n', "utf-8")
    fake = FakeServer()
    fake.answers("d", lambda call: f"Short {call.inputs['text']}", variant="a")
    fake.answers("d", "A long answer with <b>tags</b>.", variant="b", usage={"total_tokens": 7})
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", TEST_KEY)
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        yield fake


COMPARE = ["compare", "d", "--variant", "a", "--variant", "b", "--inputs", "cases.jsonl"]


def test_answers_are_side_by_side(fake, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    assert main(COMPARE) == 0

    shown = capsys.readouterr().out
    assert 'case 1: {"text": "One."}' in shown
    assert "\n" + "Short One.".ljust(38) + " | A long answer with <b>tags</b>.\n" in shown
    assert [line for line in shown.splitlines() if line.startswith("b: 2 cases")]
    assert "14 tokens" in shown
    assert [(call.variant, call.inputs["text"]) for call in fake.calls] == [
        ("a", "One."),
        ("b", "One."),
        ("a", "Two."),
        ("b", "Two."),
    ]


def test_json_has_one_object_per_case(fake, capsys):
    assert main([*COMPARE, "--json"]) == 0

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["case"], second["case"]) == (1, 2)
    assert first["variants"]["a"]["response"] == "Short One."
    assert first["variants"]["b"]["usage"]["total_tokens"] == 7
    assert first["variants"]["b"]["seconds"] >= first["variants"]["b"]["seconds_to_first_token"] > 0


def test_page_is_written(fake, tmp_path):
    """Answers are escaped."""
    assert main([*COMPARE, "--html", "out.html"]) == 0

    page = (tmp_path / "out.html").read_text("utf-8")
    assert "A long answer with &lt;b&gt;tags&lt;/b&gt;." in page
    assert "<script" not in page
    assert page.count("<section>") == 2


def test_file_of_deployments_needs_no_key(fake, tmp_path, monkeypatch, capsys):
    """The answers of the emulator are compared likewise."""
    monkeypatch.delenv("FETCH_HIVE_API_KEY")
    (tmp_path / "hive.toml").write_text(TOML, "utf-8")

    variants = ["--variant", "default", "--variant", "long"]

    code = main(["compare", "summarise", *variants, "--inputs", "cases.jsonl", "--file", "hive.toml", "--json"])

    assert code == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["variants"]["default"]["response"] == "Short: One."
    assert first["variants"]["long"]["response"].startswith("At length: One.")
    assert not fake.calls


def test_failed_answers_are_shown_and_the_others_go_on(fake, capsys):
    fake.streams("d", StreamScript().text("Cut").ends_early(), variant="b")

    assert main([*COMPARE, "--json"]) == 7

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["variants"]["b"]["error"].startswith("StreamInterruptedError")
    assert second["variants"]["a"]["response"] == "Short Two."


def test_a_wrong_key_stops(fake, capsys):
    """The other cases would be refused, too."""
    fake.fails("d", 401, variant="a")

    assert main(COMPARE) == 4

    assert "stopped" in capsys.readouterr().err
    assert len(fake.calls) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "line 1 is not valid JSON"),
        (b'{"a": 1}\n[1]\n', "line 2 is not a JSON object of variables"),
        (b"\n", "has no cases"),
        (b"\xff", "is not text in UTF-8"),
    ],
)
def test_invalid_cases_are_invalid_arguments(fake, tmp_path, capsys, content, message):
    (tmp_path / "cases.jsonl").write_bytes(content)

    with pytest.raises(SystemExit) as caught:
        main(COMPARE)

    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not fake.calls
