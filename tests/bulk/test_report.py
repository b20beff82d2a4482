"""The HTML report of a job: what it shows, what it hides, and the journals that it can be made from."""

from __future__ import annotations

import re
import shlex
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk.bulk import Job, JournalError, OutputError
from fetch_hive_sdk.bulk.lock import OwnerLock
from fetch_hive_sdk.bulk.opening import open_for_writing
from fetch_hive_sdk.bulk.shards import shard_path
from fetch_hive_sdk.bulk.store import DONE, FAILED, IN_DOUBT, PENDING, REJECTED, hash_of
from fetch_hive_sdk.bulk.summary import Latencies, Timeline
from fetch_hive_sdk.cli import build_parser, main

BEGIN = 1_760_000_000_000
VOID = {"meta", "link", "br", "img"}
SECRET = "whsec_0123456789"


def write_journal(path, rows, **meta):
    """Write a journal with these rows: key, state and fields of the end."""
    connection = open_for_writing(path)
    connection.execute("BEGIN")
    for number, (key, state, end) in enumerate(rows, 1):
        values = (number, hash_of(key), key, number, end.get("row", number), 1, 0, state, 1, 1, end.get("tokens", 0))
        connection.execute(f"INSERT INTO rows VALUES ({', '.join('?' * 11)})", values)
        connection.execute(
            "INSERT INTO requests VALUES (?, ?)", (number, '{"deployment": "d", "inputs": {"a": "private"}}')
        )
        if end:
            ended = (end.get("body"), end.get("error_code"), end.get("error"), end.get("request_id"))
            times = (BEGIN + end.get("ended", number * 100), end.get("took", 100))
            connection.execute(f"INSERT INTO ends VALUES ({', '.join('?' * 7)})", (number, *ended, *times))
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    connection.execute("COMMIT")
    connection.close()
    return path


DONE_END = {"body": f'{{"response": {{"text": "private", "webhook_secret": "{SECRET}"}}, "request_id": "req_1"}}'}
ROWS = [
    ("a", DONE, {**DONE_END, "tokens": 10, "took": 2500}),
    ("b", FAILED, {"error_code": "bad_input", "error": "UnprocessableEntityError: no"}),
    ("c", IN_DOUBT, {"error": "APITimeoutError: no answer", "request_id": "req_3"}),
    ("d", IN_DOUBT, {}),
    ("e", REJECTED, {"error": "NotFoundError: no such variant"}),
    ("f", PENDING, {}),
]


class Page(HTMLParser):
    """The text, ids and commands of a page."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text("utf-8")
        self.open, self.ids, self.words, self.commands = [], [], [], []
        self.feed(self.source)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]
        if tag == "pre":
            self.commands.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        while self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if "pre" in self.open:
            self.commands[-1] += data


@pytest.fixture
def report(tmp_path):
    """Return a function that writes the report of a journal with the given rows."""
    pytest.importorskip("matplotlib")

    def report(rows, name="job.db", **meta):
        job = Job(write_journal(tmp_path / name, rows, **meta))
        job.report_html(tmp_path / "report.html")
        return Page(tmp_path / "report.html")

    return report


def test_contents_of_a_report(report):
    """The report has counts, plots, and the rows that need attention, with the reasons."""
    page = report(ROWS, exhausted=1)

    assert "At its end, but not every row is done." in page.text
    for text in ("1 done", "1 failed", "2 in doubt", "1 rejected", "1 pending", "bad_input", "req_3", "2.5"):
        assert text in page.text, text
    for title in ("Rows a second", "Calls under way", "Tokens a minute", "How long answers took", "Failures by kind"):
        assert f"<figcaption>{title}</figcaption>" in page.source
    assert page.source.count("<svg ") == 5
    assert "the process ended while it was under way" in page.text


def test_a_report_is_self_contained(report):
    """It loads no resource, runs no script and has no duplicate id. The plots use the colours of the page."""
    page = report(ROWS)

    assert not re.search(r"<(script|link|img|iframe|object)\b|@import|javascript:", page.source)
    assert not re.search(r"(src|href)=\"(?!#)", page.source)
    assert "default-src 'none'" in page.source
    assert len(page.ids) == len(set(page.ids))
    assert "prefers-color-scheme: dark" in page.source
    assert "var(--good)" in page.source
    assert not re.search(r"#0[1-6]0[1-6]0[1-6]", page.source)


def test_a_report_can_be_shared(report):
    """It contains no request, no answer and no webhook secret."""
    page = report(ROWS)

    assert "private" not in page.source
    assert "whsec" not in page.source


def test_everything_is_escaped(report):
    """Keys, errors and error codes are shown literally, even if matplotlib would parse them as mathematics."""
    nasty = "<script>alert(1)</script> & $\\frac{1}{2}$"
    page = report(
        [(nasty, FAILED, {"error": nasty, "error_code": nasty}), ("\ud7ff漢", IN_DOUBT, {"error": "\x00日本"})],
        name="<b> & job.db",
    )

    assert "<script" not in page.source
    assert "<b>" not in page.source
    assert nasty in page.text
    assert "漢" in page.text


def test_commands_can_be_copied(report, tmp_path, capsys):
    """Each command is valid and does what the page says."""
    page = report([*ROWS[:3], ("it's d", IN_DOUBT, {}), *ROWS[4:]], name="a job.db", stopped="runs")

    for command in page.commands:
        words = shlex.split(command)
        assert words[0] == "fetch-hive"
        build_parser().parse_args(words[1:])
    assert "The budget of runs was reached" in page.text
    job = Job(tmp_path / "a job.db")
    (settle,) = [command for command in page.commands if command.endswith("--settle done c")]
    assert main(shlex.split(settle)[1:]) == 0
    assert [item.key for item in job.doubt()] == ["it's d"]
    (retry,) = [command for command in page.commands if command.endswith("--retry")]
    assert main(shlex.split(retry)[1:]) == 0
    assert job.doubt() == []


@pytest.mark.parametrize(
    "stopped", ["runs", "tokens", "failures", "seconds", "auth", "deployment", "cap", "network", "disk", "signal"]
)
def test_every_reason_to_stop_is_explained(report, stopped):
    """The page has a sentence about what to do next."""
    page = report(ROWS[:1], stopped=stopped)

    assert f"Stopped: {stopped}." in page.text
    assert re.search(r"(run|runs) (it|the job) again", page.text)


def test_a_report_without_ended_rows(tmp_path):
    """A journal that is missing, empty or has no ended rows can be reported."""
    pytest.importorskip("matplotlib")
    for rows in (None, [], [("a", PENDING, {})]):
        path = tmp_path / f"{rows and len(rows)}.db"
        if rows is not None:
            write_journal(path, rows)
        Job(path).report_html(tmp_path / "report.html")

        assert "No row has ended yet." in Page(tmp_path / "report.html").text


def test_a_report_while_the_job_runs(report, tmp_path):
    """It shows that the job runs and has no commands that must wait for its end."""
    lock = OwnerLock(tmp_path / "job.db")
    try:
        page = report(ROWS)
    finally:
        lock.release()

    assert "Running." in page.text
    assert not [command for command in page.commands if "--settle" in command or "--retry" in command]


def test_shards_are_one_job(tmp_path):
    """The rows of all shards are summed up and shown in the order of the input."""
    pytest.importorskip("matplotlib")
    for shard in range(2):
        rows = [(f"k{row}", FAILED, {"row": row, "error": "E: no"}) for row in range(1 + shard, 9, 2)]
        write_journal(shard_path(tmp_path / "job.db", shard), [*rows, (f"s{shard}", DONE, DONE_END)], shards=2)

    Job(tmp_path / "job.db").report_html(tmp_path / "report.html")

    page = Page(tmp_path / "report.html")
    assert "2 done" in page.text
    assert re.findall(r"<code>(k\d)</code>", page.source) == [f"k{row}" for row in range(1, 9)]


def test_many_rows_take_little_memory(tmp_path):
    """Only the first failed rows are shown, and the others are not kept in memory."""
    pytest.importorskip("matplotlib")
    path = write_journal(
        tmp_path / "job.db", ((f"k{n}", FAILED, {"error": f"E: {n}", "ended": n}) for n in range(20_000))
    )
    Job(path).report_html(tmp_path / "report.html")  # import matplotlib before measuring

    tracemalloc.start()
    Job(path).report_html(tmp_path / "report.html")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 10e6
    assert "The first 50 of 20,000; the export has all." in Page(tmp_path / "report.html").text


# --- The command line and errors --------------------------------------------------------------------------------------


def test_the_command(tmp_path, monkeypatch, capsys):
    """The command writes the page. A missing journal is exit code 11, and an invalid output file exit code 1."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    write_journal(Path("job.db"), ROWS)

    assert main(["bulk", "report", "job.db", "--html", "report.html"]) == 0
    assert Page(Path("report.html")).commands
    assert main(["bulk", "report", "nothing.db", "--html", "report.html"]) == 11
    assert main(["bulk", "report", "job.db", "--html", "job.db"]) == 1
    assert main(["bulk", "report", "job.db", "--html", "nowhere/report.html"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_report_does_not_replace_its_journal(tmp_path):
    """The rules for exports apply, and a damaged journal is refused."""
    path = write_journal(tmp_path / "job.db", ROWS)

    with pytest.raises(OutputError, match="it is the journal"):
        Job(path).report_html(path)
    with path.open("r+b") as file:
        file.seek(200)
        file.write(bytes(3000))
    with pytest.raises(JournalError, match="is damaged"):
        Job(path).report_html(tmp_path / "report.html")


def test_a_report_needs_matplotlib(tmp_path, monkeypatch, capsys):
    """One line says what to install, the exit code is 3, and an existing report is kept."""

    def refuse(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")

    path, target = write_journal(tmp_path / "job.db", ROWS), tmp_path / "report.html"
    target.write_text("old", "utf-8")
    monkeypatch.setattr("fetch_hive_sdk.bulk.packages.import_module", refuse)

    with pytest.raises(ConfigurationError, match="pip install matplotlib"):
        Job(path).report_html(target)
    assert main(["bulk", "report", str(path), "--html", str(target)]) == 3
    assert target.read_text("utf-8") == "old"


# --- Sums over time ---------------------------------------------------------------------------------------------------


def test_calls_under_way_are_averages():
    """The averages of two overlapping calls are exact."""
    timeline = Timeline()
    timeline.add(BEGIN + 1000, 1000, 7, is_done=True)
    timeline.add(BEGIN + 1000, 500, 0, is_done=False)

    points, pauses = timeline.points()

    assert pauses == []
    assert sum(point.under_way * point.seconds for point in points) == pytest.approx(1.5)
    assert {round(point.under_way) for point in points if point.begin < 0.5} == {1}
    assert {round(point.under_way) for point in points if 0.5 <= point.begin < 1} == {2}
    assert sum(point.done * point.seconds for point in points) == pytest.approx(1)
    assert sum(point.others * point.seconds for point in points) == pytest.approx(1)
    assert sum(point.tokens * point.seconds for point in points) == pytest.approx(7 * 60)


def test_the_timeline_stays_small():
    """Over a day with a pause overnight, the sums are right and the pause is left out."""
    timeline = Timeline()
    for second in range(20_000):
        moment = BEGIN + second * 1000 + (40_000_000 if second >= 10_000 else 0)
        timeline.add(moment, 3000, 1, is_done=True)

    points, pauses = timeline.points()

    assert len(points) <= 170
    assert len(pauses) == 1
    assert sum(point.under_way * point.seconds for point in points) == pytest.approx(60_000)
    assert sum(point.done * point.seconds for point in points) == pytest.approx(20_000)
    assert points[-1].begin == pytest.approx(20_000, rel=0.05)


def test_quantiles_are_exact_to_two_percent():
    """Only the bins of the latencies are kept in memory."""
    latencies = Latencies()
    for took in range(1, 10_001):
        latencies.add(took)

    assert latencies.quantile(0.5) == pytest.approx(5, rel=0.02)
    assert latencies.quantile(0.99) == pytest.approx(9.9, rel=0.02)
    assert sum(count for *_, count in latencies.bars()) == 10_000
    assert Latencies().quantile(0.5) is None
    assert Latencies().bars() == []
