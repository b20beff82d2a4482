"""The how-to page: its commands work as described, against the emulator that its file configures."""

from __future__ import annotations

import csv
import re
import shlex
import sys
from pathlib import Path

import pytest

from fetch_hive_sdk.cli import main
from fetch_hive_sdk.testing import Emulator

PAGE = Path(__file__).parent.parent.parent / "docs" / "bulk-howto.md"


def test_the_commands_of_the_how_to(tmp_path, monkeypatch, capsys):
    """From the input file to the report: two rows are done, and one fails and succeeds when it is sent again."""
    pytest.importorskip("matplotlib")
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    for language, name in (("csv", "reviews.csv"), ("toml", "fetch-hive.toml")):
        (content,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        assert f"`{name}`" in text
        Path(name).write_text(content, "utf-8")
    commands = re.findall(r"^fetch-hive (bulk .*)$", text.replace("\\\n", ""), re.MULTILINE)

    with Emulator.from_file("fetch-hive.toml").serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_local")
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        codes = [main(shlex.split(command)) for command in commands]

    assert codes == [0, 9, 0, 0]
    assert "3 rows; nothing was sent" in capsys.readouterr().out
    with Path("answers.csv").open(encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    assert [(answer["key"], answer["state"]) for answer in answers] == [("r1", "done"), ("r2", "done"), ("r3", "done")]
    assert [answer["output_stars"] for answer in answers] == ["1", "5", "3"]
    assert "<svg " in Path("report.html").read_text("utf-8")
