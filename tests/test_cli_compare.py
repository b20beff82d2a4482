"""`fetch-hive compare`: cases through variants, on the terminal, as JSON and as a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fetch_hive_sdk.cli import _compare, main
from fetch_hive_sdk.testing import TEST_KEY, FakeServer, Refusal, StreamScript

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
        (b'{"a": 1}\n{"a": NaN}', "case 2: inputs: inputs.a is nan"),
    ],
)
def test_invalid_cases_are_invalid_arguments(fake, tmp_path, capsys, content, message):
    (tmp_path / "cases.jsonl").write_bytes(content)

    with pytest.raises(SystemExit) as caught:
        main(COMPARE)

    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not fake.calls


def test_line_separators_in_a_string_do_not_end_its_line(fake, tmp_path, capsys):
    """JSON allows them in strings. Windows line ends are not part of a case."""
    (tmp_path / "cases.jsonl").write_bytes('{"text": "One\u2028line."}\r\n{"text": "Two\x85."}\r\n'.encode())

    assert main([*COMPARE, "--json"]) == 0

    assert [call.inputs["text"] for call in fake.calls][::2] == ["One\u2028line.", "Two\x85."]


def test_number_of_paid_runs_is_printed_first(fake, tmp_path, capsys):
    """Not for runs of a file of deployments, which are not paid for."""
    (tmp_path / "hive.toml").write_text(TOML, "utf-8")

    main(COMPARE)
    paid = capsys.readouterr().err
    main(["compare", "summarise", "--variant", "long", "--inputs", "cases.jsonl", "--file", "hive.toml"])

    assert paid == "4 paid runs: 2 cases through 2 variants\n"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--html", "missing/out.html"], "argument --html: cannot write missing/out.html: No such file or directory"),
        (["--html", "."], "argument --html: cannot write .: Is a directory"),
        (["--variant", "a"], "--variant a is given twice"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_paid_for(fake, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main([*COMPARE, *arguments])

    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not fake.calls


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_page_that_cannot_be_written_is_named_and_the_totals_are_printed(fake, capsys):
    assert main([*COMPARE, "--html", "/dev/full"]) == 1

    seen = capsys.readouterr()
    assert seen.err.splitlines()[-1] == "fetch-hive: cannot write /dev/full: No space left on device"
    assert [line.partition(":")[0] for line in seen.out.splitlines()[-2:]] == ["a", "b"]


def test_check_of_the_page_leaves_no_file(fake, tmp_path, monkeypatch):
    """If no answer arrives, there is no page, and an older page is kept."""
    (tmp_path / "old.html").write_text("old", "utf-8")
    monkeypatch.setattr("fetch_hive_sdk.cli._compare._measure", measure_until("a", "One."))

    assert main([*COMPARE, "--html", "new.html"]) == 130
    assert main([*COMPARE, "--html", "old.html"]) == 130

    assert not (tmp_path / "new.html").exists()
    assert (tmp_path / "old.html").read_text("utf-8") == "old"


@pytest.mark.parametrize("as_json", [False, True])
def test_paid_answers_are_kept_after_an_interruption(fake, tmp_path, capsys, monkeypatch, as_json):
    """The answers of the interrupted case are printed and in the page, too."""
    monkeypatch.setattr("fetch_hive_sdk.cli._compare._measure", measure_until("b", "Two."))

    assert main([*COMPARE, "--html", "out.html", *["--json"] * as_json]) == 130

    shown, page = capsys.readouterr().out, (tmp_path / "out.html").read_text("utf-8")
    assert "Short Two." in shown
    assert "Short Two." in page
    assert "<b>b</b>: 1 case," in page


@pytest.mark.parametrize("as_json", [False, True])
def test_part_of_an_answer_is_kept_after_an_interruption(fake, tmp_path, capsys, monkeypatch, as_json):
    """It is marked as interrupted, also in the page."""
    monkeypatch.setattr("fetch_hive_sdk.cli._compare.Clock.tick", interrupt_at_the_third_piece())

    assert main([*COMPARE, "--html", "out.html", *["--json"] * as_json]) == 130

    shown, page = capsys.readouterr().out, (tmp_path / "out.html").read_text("utf-8")
    assert "Short" in shown
    assert "interrupted" in shown
    assert '<p class="error">interrupted</p>' in page


def interrupt_at_the_third_piece():
    pieces = iter(range(3))

    def tick(clock) -> None:
        if next(pieces) == 1:
            raise KeyboardInterrupt

    return tick


def measure_until(variant: str, text: str):
    """Interrupt the run of one variant and case."""
    measure = _compare._measure

    def measure_or_interrupt(client, request, results):
        if (request.variant, request.inputs["text"]) == (variant, text):
            raise KeyboardInterrupt
        measure(client, request, results)

    return measure_or_interrupt


def test_answers_are_below_each_other_on_a_narrow_terminal(fake, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "35")

    assert main(COMPARE) == 0

    shown = capsys.readouterr().out.splitlines()
    assert "|" not in "".join(shown)
    assert shown.index("Short One.") < shown.index("A long answer with <b>tags</b>.")


def test_wide_letters_keep_the_columns_aligned(fake, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    fake.answers("d", "漢字", variant="a")

    main(COMPARE)

    assert "\n漢字" + " " * 34 + " | A long answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("refusals", "calls"),
    [
        ({"a": Refusal(429, error_code="api_rate_limit_exceeded")}, 2),
        ({"a": Refusal(404), "b": Refusal(404)}, 2),
        ({"a": Refusal(404)}, 4),
        ({"a": Refusal(422), "b": Refusal(422)}, 4),
    ],
)
def test_hopeless_comparison_stops(fake, capsys, refusals, calls):
    """At the daily cap, and if no variant exists. Other refusals may concern one case or one variant only."""
    for variant, refusal in refusals.items():
        fake.answers("d", [refusal] * 2, variant=variant)

    assert main(COMPARE) == 4

    assert len(fake.calls) == calls
    assert ("stopped" in capsys.readouterr().err) == (calls == 2)
