"""`fetch-hive bulk`: exit codes, one-line messages for bad input, and no lost answers."""

from __future__ import annotations

import io
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from fetch_hive_sdk.bulk import Budget, BulkReport, Item, Job, JournalError, OutputError
from fetch_hive_sdk.bulk.report import Stored
from fetch_hive_sdk.cli import main
from fetch_hive_sdk.testing import FakeServer, Refusal


@pytest.fixture
def fake(monkeypatch):
    fake = FakeServer(default="Short.")
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_0123456789")
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        yield fake


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("id,body\n1,One.\n2,Two.\n3,Three.\n", "utf-8")
    return tmp_path


RUN = ["bulk", "run", "rows.csv", "--deployment", "summarise", "--journal", "rows.db", "--quiet"]
COLUMNS = ["--input", "text=body", "--key-column", "id"]


def complaint(capsys):
    """Return the only line of stderr."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_run_from_a_file_to_a_file(fake, place, capsys):
    """Rows are run, reported and written. The same command sends nothing the second time."""
    code = main([*RUN, *COLUMNS, "--variant", "prod", "--output", "out.jsonl"])

    assert code == 0
    assert "3 rows: 3 done" in capsys.readouterr().out
    records = [json.loads(line) for line in (place / "out.jsonl").read_text("utf-8").splitlines()]
    assert [(record["key"], record["state"], record["response"]) for record in records] == [
        ("1", "done", "Short."),
        ("2", "done", "Short."),
        ("3", "done", "Short."),
    ]
    # After the first row, rows are sent concurrently.
    assert sorted(call.inputs["text"] for call in fake.calls) == ["One.", "Three.", "Two."]
    assert main([*RUN, *COLUMNS, "--variant", "prod"]) == 0
    assert len(fake.calls) == 3


def test_json_lines_and_stdin(fake, place, monkeypatch, capsys):
    """Rows may be JSON Lines and may be read from stdin."""
    lines = b'\xef\xbb\xbf{"text": "One.", "n": 1}\n\n{"text": "Two.", "n": [2]}\n'
    (place / "rows.jsonl").write_bytes(lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))

    assert main(["bulk", "run", "rows.jsonl", "--deployment", "d", "--journal", "a.db", "--quiet"]) == 0
    assert main(["bulk", "run", "-", "--format", "jsonl", "--deployment", "d", "--journal", "b.db", "--quiet"]) == 0

    inputs = [call.inputs for call in fake.calls]
    assert inputs == [{"text": "One.", "n": 1}, {"text": "Two.", "n": [2]}] * 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_read_once(fake, place):
    """A pipe, such as that of `<(command)`, is read only once."""
    os.mkfifo("pipe.csv")
    writer = threading.Thread(target=lambda: Path("pipe.csv").write_text("id,body\n1,One.\n2,Two.\n", "utf-8"))
    writer.start()

    assert main(["bulk", "run", "pipe.csv", *RUN[3:], "--format", "csv", *COLUMNS]) == 0

    writer.join(5)
    assert len(fake.calls) == 2


def test_status_export_and_doubt(fake, place, capsys):
    """The other commands read the journal, and `doubt` settles rows in doubt."""
    fake.fails("summarise", 500, message="oops")
    assert main([*RUN, *COLUMNS]) == 9
    assert "see fetch-hive bulk doubt rows.db" in capsys.readouterr().err

    assert main(["bulk", "status", "rows.db", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    in_doubt = status["in_doubt"]
    assert in_doubt >= 1
    assert main(["bulk", "doubt", "rows.db"]) == 0
    assert "1  row 1" in capsys.readouterr().out
    assert main(["bulk", "doubt", "rows.db", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == "1"
    assert main(["bulk", "doubt", "rows.db", "--settle", "done", "7"]) == 2
    assert "'7'" in complaint(capsys)
    assert main(["bulk", "doubt", "rows.db", "--settle", "maybe"]) == 2
    assert "must be done or failed" in complaint(capsys)
    assert main(["bulk", "doubt", "rows.db", "--settle", "done", "1"]) == 0
    assert main(["bulk", "doubt", "rows.db", "--retry"]) == 0
    capsys.readouterr()
    assert main(["bulk", "status", "rows.db"]) == 0
    assert "1 done" in capsys.readouterr().out
    assert main(["bulk", "export", "rows.db", "--output", "out.csv"]) == 0
    assert (place / "out.csv").read_text("utf-8").startswith("key,row,state")


class Gone(io.StringIO):
    """The output to a terminal that was closed."""

    def write(self, text):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_closed_stdout_does_not_keep_the_output_from_being_written(fake, place, monkeypatch, options):
    """The report cannot be printed, and the answers are in the output file."""
    monkeypatch.setattr(sys, "stdout", Gone())

    assert main([*RUN, *COLUMNS, "--output", "out.jsonl", *options]) == 1

    assert len(Path("out.jsonl").read_text("utf-8").splitlines()) == 3


@pytest.mark.parametrize(("answer", "code"), [(Refusal(500), 9), (Refusal(401), 4)])
def test_closed_stderr_keeps_the_exit_code(fake, place, monkeypatch, answer, code):
    """The program writes the output and returns its exit code, although it cannot print its messages."""
    fake.answers("summarise", answer)
    monkeypatch.setattr(sys, "stderr", Gone())

    assert main([*RUN, *COLUMNS, "--output", "out.jsonl"]) == code

    assert Path("out.jsonl").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_closed_terminal_does_not_end_the_program(fake, place):
    """As after `nohup` or `disown`: the terminal of stderr is closed while the job runs."""
    pytest.importorskip("rich")
    started = threading.Event()
    leave = threading.Event()

    def answer(_call):
        started.set()
        leave.wait(20)
        return "Short."

    fake.answers("summarise", answer)
    terminal, stderr = os.openpty()
    command = [sys.executable, "-m", "fetch_hive_sdk", *RUN, *COLUMNS, "--output", "out.jsonl"]
    command.remove("--quiet")
    environ = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
    ) as process:
        os.close(stderr)
        assert started.wait(20)
        os.close(terminal)
        leave.set()
        out, _ = process.communicate(timeout=20)

    assert (process.returncode, out.decode().split(";")[0]) == (0, "3 rows: 3 done")
    assert Path("out.jsonl").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a wait for a row cannot be interrupted there")
@pytest.mark.parametrize(
    ("answer", "options", "code"),
    [(Refusal(401), [], 4), (Refusal(401), ["--processes=2"], 4), ("Short.", ["--max-seconds=2"], 10)],
)
def test_job_that_has_stopped_does_not_wait_for_the_next_line(fake, place, answer, options, code):
    """The program ends, although the pipe with its rows stays open."""
    fake.answers("summarise", answer)
    command = [sys.executable, "-m", "fetch_hive_sdk", *RUN, *options, "--format=csv", "--output=out.jsonl"]
    command[command.index("rows.csv")] = "-"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"body\nOne.\n")
        process.stdin.flush()
        try:
            assert process.wait(30) == code
        finally:
            process.kill()
        assert b"Traceback" not in process.stderr.read()

    assert len(Path("out.jsonl").read_text("utf-8").splitlines()) == 1


def test_a_reached_budget(fake, place, capsys):
    """The exit code is 10. The next command resumes the job."""
    assert main([*RUN, *COLUMNS, "--max-runs", "2"]) == 10
    assert "stopped: runs" in capsys.readouterr().out
    assert main([*RUN, *COLUMNS, "--max-runs", "3"]) == 0
    assert len(fake.calls) == 3


def test_a_wrong_key(fake, place, capsys):
    """The exit code is 4 after a single call. The output is still written."""
    fake.fails("summarise", 401)

    assert main([*RUN, *COLUMNS, "--output", "out.jsonl"]) == 4
    assert "refuses the calls of this job" in complaint(capsys)
    assert len(fake.calls) == 1
    assert '"rejected"' in (place / "out.jsonl").read_text("utf-8")


def test_rows_that_fail(fake, place):
    """The exit code is 9. Failed rows are sent again only on request."""
    fake.fails("summarise", 422)

    assert main([*RUN, *COLUMNS]) == 9
    assert main([*RUN, *COLUMNS]) == 9
    assert len(fake.calls) == 3
    fake.answers("summarise", "Short.")
    assert main([*RUN, *COLUMNS, "--retry-failed"]) == 0


def test_no_connection(place, capsys, monkeypatch):
    """The exit code is 5 after as many consecutive rows as may be under way."""
    monkeypatch.setattr("fetch_hive_sdk.bulk.engine._FIRST_WAIT", 0.01)
    monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_0123456789")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")

        assert main([*RUN, *COLUMNS, "--max-concurrency", "2"]) == 5

    assert "2 rows in a row had no connection" in complaint(capsys)


def test_a_changed_input(fake, place, capsys):
    """A different request under a known key is exit code 2. With --force, it is run."""
    assert main([*RUN, *COLUMNS]) == 0
    (place / "rows.csv").write_text("id,body\n1,One.\n2,Two and a half.\n", "utf-8")
    capsys.readouterr()

    assert main([*RUN, *COLUMNS]) == 2
    assert "row 2: the request of '2' is not the one that the journal has" in complaint(capsys)
    assert main([*RUN, *COLUMNS, "--force"]) == 0
    assert fake.calls[-1].inputs == {"text": "Two and a half."}


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="names of files are Unicode")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("more", [[], ["--processes", "2"]])
def test_a_journal_whose_name_is_not_utf_8(fake, place, capsys, more):
    """All commands can use it."""
    name = os.fsdecode(b"rows\xff.db")

    assert main([*RUN, *COLUMNS, "--journal", name, *more]) == 0
    assert main(["bulk", "status", name]) == 0
    assert main(["bulk", "doubt", name]) == 0
    assert main(["bulk", "doubt", name, "--retry"]) == 0
    assert main(["bulk", "export", name, "--output", "out.jsonl"]) == 0
    assert len((place / "out.jsonl").read_text("utf-8").splitlines()) == 3


def test_a_damaged_journal(fake, place, capsys):
    """The exit code is 11. The export contains the rows that can be read."""
    assert main([*RUN, *COLUMNS]) == 0
    with (place / "rows.db").open("r+b") as file:
        file.seek(200)
        file.write(bytes(3000))
    capsys.readouterr()

    for command in (["status", "rows.db"], ["doubt", "rows.db", "--retry"]):
        assert main(["bulk", *command]) == 11
        assert "fetch-hive bulk export rows.db" in complaint(capsys)
    assert main(["bulk", "export", "rows.db", "--output", "out.jsonl"]) == 11
    assert "3 rows could be read" in complaint(capsys)
    assert len((place / "out.jsonl").read_text("utf-8").splitlines()) == 3


def test_a_damaged_journal_and_a_sample(fake, place, capsys):
    """The exit code is 11, also if the damage is where the runs are counted."""
    assert main([*RUN, *COLUMNS]) == 0
    with closing(sqlite3.connect("rows.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'rows'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with (place / "rows.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))
    capsys.readouterr()

    assert main([*RUN, *COLUMNS, "--sample", "2"]) == 11
    assert "rows.db is damaged" in complaint(capsys)


def test_no_key(place, capsys):
    """The exit code is 3, as for every command."""
    assert main([*RUN, *COLUMNS]) == 3
    assert "FETCH_HIVE_API_KEY" in complaint(capsys)


def test_a_dry_run_sends_nothing(place, capsys):
    """A dry run needs no API key, shows the first request and counts the rows."""
    assert main([*RUN, *COLUMNS, "--dry-run"]) == 0

    out = capsys.readouterr().out
    assert '"text": "One."' in out
    assert "3 rows; nothing was sent" in out
    assert not (place / "rows.db").exists()


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_sample_is_kept(fake, place, capsys, options):
    """Two rows are run and kept, and the estimate covers all rows."""
    assert main([*RUN, *COLUMNS, *options, "--sample", "2"]) == 0

    assert "2 of 3 rows are done and kept" in capsys.readouterr().out
    assert main([*RUN, *COLUMNS]) == 0
    assert len(fake.calls) == 3


def test_the_estimate_of_a_sample_includes_rows_of_earlier_inputs(fake, place, capsys):
    """They are in the counts of the journal: no fewer than zero tokens are to come."""
    assert main([*RUN, *COLUMNS]) == 0
    (place / "rows.csv").write_text("id,body\n4,Four.\n", "utf-8")
    capsys.readouterr()

    assert main([*RUN, *COLUMNS, "--sample", "1"]) == 0

    assert "4 of 4 rows are done and kept" in capsys.readouterr().out


def test_a_sample_counts_its_own_runs_only(fake, place, capsys):
    """Earlier runs of the same rows do not reduce the sample."""
    fake.fails("summarise", 422)
    for _ in range(2):
        main([*RUN, *COLUMNS, "--retry-failed", "--max-failures", "1", "--max-concurrency", "1"])
    fake.answers("summarise", "Short.")
    before = len(fake.calls)

    main([*RUN, *COLUMNS, "--sample", "1", "--json"])

    assert len(fake.calls) == before + 1
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["done"] == 1
    assert "1 of 3 rows are done and kept" in err


@pytest.mark.parametrize(
    ("limits", "code", "calls"),
    [
        (["--max-runs", "1"], 10, 1),
        (["--max-runs", "2"], 0, 2),
        (["--max-tokens", "1", "--max-concurrency", "1"], 10, 1),
        (["--max-failures", "1", "--max-concurrency", "1"], 10, 1),
    ],
)
def test_a_sample_stays_within_the_budget(fake, place, limits, code, calls):
    """The exit code is 10 if another budget ends the sample. Repeated, the sample does not exceed `--max-runs`."""
    if "--max-failures" in limits:
        fake.fails("summarise", 422)
    command = [*RUN, *COLUMNS, *limits, "--sample", "2"]

    assert main(command) == code
    assert len(fake.calls) == calls
    if "--max-runs" in limits:
        assert main(command) == 10
        assert len(fake.calls) == calls


def test_a_sample_stops_after_max_seconds(fake, place, monkeypatch):
    """The time limit of the command is also that of its sample."""
    budgets = []

    def run(*_args, budget, **_options):
        budgets.append(budget)
        return BulkReport(done=1, pending=2, stopped="seconds")

    monkeypatch.setattr(Job, "run", run)

    assert main([*RUN, *COLUMNS, "--sample", "2", "--max-seconds", "0.5"]) == 10
    assert budgets == [Budget(runs=2, seconds=0.5)]


@pytest.mark.parametrize(("refused", "code"), [(False, 0), (True, 4)])
def test_the_output_of_a_sample_is_written(fake, place, refused, code):
    """As without `--sample`, also when the service refuses the job."""
    if refused:
        fake.fails("summarise", 401)

    assert main([*RUN, *COLUMNS, "--sample", "2", "--output", "out.jsonl"]) == code

    assert ('"rejected"' if refused else '"Short."') in (place / "out.jsonl").read_text("utf-8")


def test_interrupted_job_says_how_to_continue(fake, place, capsys, monkeypatch):
    """On Ctrl-C, after the calls in progress have finished."""
    monkeypatch.setattr(Job, "run", lambda *_args, **_options: (_ for _ in ()).throw(KeyboardInterrupt))

    assert main([*RUN, *COLUMNS]) == 130
    assert complaint(capsys) == "fetch-hive: interrupted: run the same command again to continue"


def test_unwritten_answers_are_printed_on_stderr(fake, place, capsys, monkeypatch):
    """Paid answers are not lost, even if neither the journal nor the output can be written."""
    item = Item(Stored("k", 7, "failed", 0, 1, 0, "{}", '{"answer": 1}', None, "unreadable", None))
    error = JournalError("the disk is full", report=BulkReport(failed=1))
    error.unwritten = [item]

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(Job, "run", fail)
    monkeypatch.setattr(Job, "export", lambda job, path: (_ for _ in ()).throw(OutputError("cannot write out.jsonl")))

    assert main([*RUN, *COLUMNS, "--output", "out.jsonl"]) == 11

    no_output, no_journal, announcement, answer = capsys.readouterr().err.splitlines()
    assert "cannot write out.jsonl" in no_output
    assert "the disk is full" in no_journal
    assert announcement == "fetch-hive: the answers that are not in the journal:"
    assert json.loads(answer) == {"key": "k", "row": 7, "state": "failed", "response": {"answer": 1}}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, [], "there is no file rows.csv"),
        ("id,body\n1,a\n", ["--input", "text=nowhere"], "rows.csv: there is no column 'nowhere': there are id, body"),
        ("id;body\n1;a\n", ["--input", "text=body"], "there are id;body; the fields must be separated by commas"),
        ("id,body\n1,a\n", ["--key-column", "key"], "rows.csv: there is no column 'key': there are id, body"),
        ("id,body\n1,a\n2,b,c\n", [], "rows.csv, line 3: it has 3 fields, and the header has 2"),
        ('id,body\n1,a\n2,"b\n', [], "rows.csv, line 3: it is not CSV"),
        (b"id,body\n1,a\n2,\xff\n", [], "rows.csv, line 3: it is not UTF-8"),
        ("id,id\n1,a\n", [], "rows.csv: two columns have the same name"),
        ("id,body\n1,a\n1,b\n", ["--key-column", "id"], "rows 1 and 2 have the same key, '1'"),
        ("id,body\n1,a\n,b\n", ["--key-column", "id"], "rows.csv, line 3: it has no key: it is empty"),
        (b"\xff\xfeid,body\n1,a\n", [], "rows.csv: it is not UTF-8"),
    ],
)
def test_bad_input(fake, place, capsys, content, options, message):  # noqa: PLR0917 - fixtures, and a case
    """One line reports the error and its place. The exit code is 2."""
    if content is None:
        (place / "rows.csv").unlink()
    else:
        (place / "rows.csv").write_bytes(content if isinstance(content, bytes) else content.encode())

    assert main([*RUN, *options]) == 2
    assert message in complaint(capsys)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "it is not JSON"),
        ("[1]", "it is not a JSON object"),
        ("{}", "no column 'text'"),
        ('{"text": NaN}', "it is not JSON"),
        ('{"text": "\\uD800"}', "it has half of a surrogate pair"),
        ('{"text": "b", "id": 4.5}', "it has a key that is a float: it must be a string or a whole number"),
        ('{"text": "b", "id": null}', "it has a key that is a NoneType"),
    ],
)
def test_bad_json_lines(fake, place, capsys, line, message):
    """The message has the number of the broken line. With --skip-bad, the line is skipped and counted."""
    (place / "rows.jsonl").write_text(f'{{"text": "a", "id": 1}}\n{line}\n{{"text": "b", "id": 2}}\n', "utf-8")
    command = ["bulk", "run", "rows.jsonl", "--deployment", "d", "--journal", "a.db", "--quiet", "--input", "text=text"]
    command += ["--key-column", "id"]

    assert main(command) == 2
    assert f"rows.jsonl, line 2: {message}" in complaint(capsys).replace("there is no", "no")
    assert main([*command, "--skip-bad", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["done"], report["skipped"]) == (2, 1)


@pytest.mark.parametrize("content", ["", "id,body\n"])
def test_no_rows(fake, place, capsys, content):
    """An empty file, or one with only a header, is reported but is not an error."""
    (place / "rows.csv").write_text(content, "utf-8")

    assert main(RUN) == 0
    assert "there are no rows in rows.csv" in complaint(capsys)
    assert main([*RUN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 0


@pytest.mark.parametrize("output", ["rows.db", "rows.csv", "folder", "nowhere/out.csv", "out.xlsx", "out.csv.gz"])
def test_an_output_that_cannot_be_written(fake, place, capsys, output):
    """The exit code is 1 before any call is paid for. The input and the journal are not overwritten."""
    (place / "folder").mkdir()
    before = (place / "rows.csv").read_bytes()

    assert main([*RUN, *COLUMNS, "--output", output]) == 1

    assert f"cannot write {output}" in complaint(capsys)
    assert not fake.calls
    assert (place / "rows.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--max-runs", "x", "must be a whole number, 1 or more: 'x'"),
        ("--max-concurrency", "0", "must be a whole number, 1 or more: '0'"),
        ("--rpm", "many", "must be a positive number: 'many'"),
        ("--input", "text", "must be NAME=COLUMN"),
    ],
)
def test_arguments_are_checked(capsys, option, value, message):
    """The message names the invalid argument and what it must be."""
    with pytest.raises(SystemExit) as caught:
        main([*RUN, option, value])

    assert caught.value.code == 2
    assert f"argument {option}: {message}" in capsys.readouterr().err


def test_closed_stdin_is_refused(fake, place, capsys, monkeypatch):
    """As after `<&-` in a shell, when `sys.stdin` is None."""
    monkeypatch.setattr(sys, "stdin", None)

    with pytest.raises(SystemExit) as caught:
        main(["bulk", "run", "-", *RUN[3:]])

    assert caught.value.code == 2
    assert "argument FILE: cannot read -: standard input is closed" in capsys.readouterr().err


def test_an_unknown_format(fake, place, capsys):
    """The format is taken from the file's suffix."""
    (place / "rows.txt").write_text("a", "utf-8")

    assert main(["bulk", "run", "rows.txt", "--deployment", "d", "--journal", "a.db"]) == 2
    assert "CSV, JSON Lines or Parquet" in complaint(capsys)


@pytest.mark.parametrize(
    "command",
    [
        ["status", "rows.db"],
        ["doubt", "rows.db"],
        ["doubt", "rows.db", "--retry"],
        ["export", "rows.db", "--output", "out.csv"],
    ],
)
def test_no_journal(place, capsys, command):
    """A missing journal and a file that is not a journal are exit code 11, with one line."""
    assert main(["bulk", *command]) == 11
    assert "there is no journal rows.db" in complaint(capsys)

    (place / "rows.db").write_text("not a journal, but plain text", "utf-8")
    assert main(["bulk", *command]) == 11
    assert "is not a journal" in complaint(capsys)


def test_a_journal_that_is_in_use(fake, place, capsys):
    """The exit code is 11, and the message has the process id."""
    from fetch_hive_sdk.bulk.lock import OwnerLock  # noqa: PLC0415 - for this test only

    lock = OwnerLock(Job("rows.db").path)
    try:
        assert main([*RUN, *COLUMNS]) == 11
    finally:
        lock.release()
    assert "in use by process" in complaint(capsys)


def test_the_codes_are_in_the_help(capsys):
    """`--help` explains the exit codes."""
    with pytest.raises(SystemExit):
        main(["bulk", "run", "--help"])

    out = capsys.readouterr().out
    assert "9  rows have failed or are in doubt" in out
    assert "11 the journal cannot be used" in out


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_share_the_rows(fake, place, capsys):
    """All commands read the shards of the journal as one journal."""
    assert main([*RUN, *COLUMNS, "--processes", "2", "--sample", "1"]) == 0
    assert main([*RUN, *COLUMNS, "--processes", "2", "--output", "out.jsonl"]) == 0

    assert len(fake.calls) == 3
    records = [json.loads(line) for line in (place / "out.jsonl").read_text("utf-8").splitlines()]
    assert [record["key"] for record in records] == ["1", "2", "3"]
    assert not (place / "rows.db").exists()
    capsys.readouterr()
    assert main(["bulk", "status", "rows.db"]) == 0
    assert "3 rows: 3 done" in capsys.readouterr().out
    assert main(["bulk", "export", "rows.db", "--output", "rows.db.shard-0"]) == 1
    assert "belongs to it" in complaint(capsys)


def test_fewer_calls_at_once_than_processes_are_refused(fake, place, capsys):
    assert main([*RUN, *COLUMNS, "--processes", "4", "--max-concurrency", "2"]) == 2
    assert "max_concurrency must be at least 4" in complaint(capsys)
