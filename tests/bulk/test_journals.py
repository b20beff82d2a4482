"""Journal files: files that are not journals, damaged journals, full disks, and exports."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import httpx
import pytest

from driving import KEY
from fetch_hive_sdk import (
    AgentReply,
    AgentRequest,
    FetchHive,
    InvokeRequest,
    InvokeResponse,
    WorkflowAccepted,
    WorkflowRequest,
    WorkflowRun,
    WorkflowStart,
)
from fetch_hive_sdk.bulk import Job, JournalError, OutputError
from fetch_hive_sdk.bulk.opening import file_system_of, warn_of_network
from fetch_hive_sdk.bulk.store import Store

OUTPUT = '{"title": "x", "tags": ["a"]}'


async def answer(request):
    fields = json.loads(request.content)
    text = fields["inputs"]["text"]
    if text == "bad":
        return httpx.Response(422, json={"error": "no", "error_code": "bad_input"})
    if text == "unreadable":
        return httpx.Response(200, json={"answer": 1})
    if text == "doubt":
        return httpx.Response(500, json={"error": "oops", "request_id": "req_5"})
    usage = {"prompt_tokens": {"total_tokens": 7, "cached_tokens": 1}, "completion_tokens": 3, "total_tokens": 10}
    response = OUTPUT if text == "json" else f'Söme, "text"\n{text}'
    return httpx.Response(200, json={"response": response, "request_id": f"req_{text}", "usage": usage})


@pytest.fixture
def client():
    return FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)))


def rows(*texts):
    return [{"id": text, "text": text} for text in texts]


def run(job, client, values, **options):
    return job.run(client, values, deployment="d", inputs={"text": "text"}, key="id", progress=False, **options)


def numbered(count):
    return rows(*map(str, range(count)))


# --- Files that are not journals --------------------------------------------------------------------------------------


def other_database(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t(a)")
    connection.commit()
    connection.close()


def newer_journal(path):
    Job(path)
    other_database(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {0x4648424A}")
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("id,text\n1,a\n" * 10), "is not a journal: it is another kind of file"),
        (other_database, "is not a journal: it is a database of another program"),
        (newer_journal, "has journal version 99"),
        (lambda path: path.mkdir(), "is a directory"),
    ],
)
def test_a_file_that_is_not_a_journal_is_refused(tmp_path, client, make, message):
    """All methods of a job refuse the file with a one-line message and do not change it."""
    path = tmp_path / "job.db"
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    job = Job(path)

    for call in (lambda: run(job, client, rows("a")), job.status, job.doubt, job.retry, lambda: list(job.results())):
        with pytest.raises(JournalError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)

    assert path.is_dir() or path.read_bytes() == before


def test_a_missing_folder(tmp_path, client):
    """The job raises a JournalError before it sends anything."""
    with pytest.raises(JournalError, match=r"cannot open the journal .*: there is no directory .*nowhere$"):
        run(Job(tmp_path / "nowhere" / "job.db"), client, rows("a"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder(tmp_path, client):
    """A run is refused, but the journal can be read."""
    job = Job(tmp_path / "job.db")
    run(job, client, rows("a"))
    (tmp_path / "job.db.lock").unlink()
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(JournalError, match="cannot open the journal"):
            run(job, client, rows("a"))
        assert job.status().done == 1
    finally:
        tmp_path.chmod(0o700)


def test_a_journal_and_a_link_to_it_share_one_lock(tmp_path, client):
    """The lock belongs to the file, not to one of its names."""
    job = Job(tmp_path / "job.db")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.db").symlink_to(job.path)
    link = Job(tmp_path / "folder" / "link.db")

    def values():
        yield from rows("a")
        with pytest.raises(JournalError, match="in use by process"):
            run(link, client, rows("b"))
        assert link.status().in_doubt == 0
        yield from rows("c")

    assert run(job, client, values()).done == 2
    assert run(link, client, rows("a", "c")).done == 2
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["link.db"]


@pytest.mark.parametrize("content", [b"", None])
def test_an_empty_journal_file(tmp_path, client, content):
    """A process may die right after it created the file. The next run uses it."""
    path = tmp_path / "job.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    else:
        path.write_bytes(content)
    job = Job(path)

    assert job.status().rows == 0
    assert run(job, client, rows("a")).done == 1


def test_a_journal_on_the_network(tmp_path, monkeypatch):
    """The job warns that locks and syncs are not reliable there."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nhost:/share {tmp_path} nfs4 rw 0 0\n", "utf-8")
    assert file_system_of(tmp_path.parent / "job.db", mounts) == "ext4"
    assert file_system_of(tmp_path / "job.db", tmp_path / "none") is None

    monkeypatch.setattr("fetch_hive_sdk.bulk.opening.file_system_of", lambda path: file_system_of(path, mounts))

    with pytest.warns(UserWarning, match=r"network file system \(nfs4\)"):
        warn_of_network(tmp_path / "job.db")


# --- Damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path, client):
    """A journal of 1000 rows with overwritten pages in its middle."""
    job = Job(tmp_path / "job.db")
    run(job, client, [{"id": str(n), "text": f"{n} {'x' * 200}"} for n in range(1000)])
    size = job.path.stat().st_size
    with job.path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096 * 4)
    return job


def test_a_damaged_journal_is_refused(damaged, client):
    """Runs and readers refuse the journal, and the file is not repaired in place."""
    before = damaged.path.read_bytes()

    with pytest.raises(JournalError, match="is damaged, and is left as it is"):
        run(damaged, client, rows("a"))
    with pytest.raises(JournalError, match="is damaged"):
        damaged.status()

    assert damaged.path.read_bytes() == before


def test_a_damaged_journal_is_exported(damaged, tmp_path):
    """The export contains the rows that can be read, and the error reports how many are lost."""
    before = damaged.path.read_bytes()

    with pytest.raises(JournalError, match=r"is damaged.* rows could be read"):
        damaged.export(tmp_path / "out.jsonl")

    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert 500 < len(records) <= 1000
    assert sum(record["response"] is not None for record in records) > 500
    assert damaged.path.read_bytes() == before


def cut_off(file, size):
    file.truncate(size // 2 + 100)


def without_its_first_page(file, size):
    file.seek(200)
    file.write(bytes(3000))


def without_its_header(file, size):
    file.seek(20)
    file.write(bytes(60))


@pytest.mark.parametrize(("damage", "least"), [(cut_off, 300), (without_its_first_page, 1000)])
def test_a_journal_that_sqlite_cannot_open_is_exported(tmp_path, client, damage, least):
    """The export reads a repaired copy and leaves the journal unchanged."""
    job = Job(tmp_path / "job.db")
    run(job, client, numbered(1000))
    with job.path.open("r+b") as file:
        damage(file, job.path.stat().st_size)
    before = job.path.read_bytes()

    with pytest.raises(JournalError, match="is damaged"):
        job.status()
    for name in ("out.jsonl", "out.csv"):
        with pytest.raises(JournalError, match=r"is damaged, and is left as it is: .* rows could be read"):
            job.export(tmp_path / name)

    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert least <= len(records) <= 1000
    assert sum(record["state"] == "done" and record["response"] is not None for record in records) >= least
    assert job.path.read_bytes() == before


def test_a_journal_without_readable_rows(job, tmp_path):
    """The export raises a JournalError and does not replace an existing output file."""
    (tmp_path / "out.jsonl").write_text("old", "utf-8")
    with job.path.open("r+b") as file:
        without_its_header(file, 0)

    with pytest.raises(JournalError, match="nothing of it can be read"):
        job.export(tmp_path / "out.jsonl")

    assert (tmp_path / "out.jsonl").read_text("utf-8") == "old"


# --- A full disk ------------------------------------------------------------------------------------------------------

FULL = """
import asyncio, json, resource, signal, sys
import httpx
from fetch_hive_sdk import (
    AgentReply,
    AgentRequest,
    FetchHive,
    InvokeRequest,
    InvokeResponse,
    WorkflowAccepted,
    WorkflowRequest,
    WorkflowRun,
    WorkflowStart,
)
from fetch_hive_sdk.bulk import Job, JournalError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
calls = 0

async def answer(request):
    global calls
    calls += 1
    if calls == 40:
        # No file can grow any more: all writes fail from now on.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    await asyncio.sleep(0.01)
    return httpx.Response(200, json={"response": "x" * 500})

client = FetchHive("fhk_0123456789", async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
rows = (InvokeRequest(deployment="d", inputs={"text": str(number)}) for number in range(1000))
try:
    Job(sys.argv[1]).run(client, rows, progress=False)
except JournalError as error:
    report = error.report
    unwritten = [(item.row, item.state, len(item.response.response)) for item in error.unwritten]
    print(json.dumps({"calls": calls, "message": str(error), "report": report.as_dict(), "unwritten": unwritten}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_full_disk(tmp_path):
    """The job stops sending, waits for the calls under way, and returns the answers that could not be written."""
    path = tmp_path / "job.db"

    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False)

    printed = json.loads(done.stdout or done.stderr)
    report = printed["report"]
    assert report["stopped"] == "disk"
    assert "cannot be written" in printed["message"]
    assert printed["calls"] < 120
    assert printed["unwritten"]
    assert {(state, length) for _, state, length in printed["unwritten"]} == {("done", 500)}
    assert report["done"] + len(printed["unwritten"]) == printed["calls"]
    status = Job(path).status()
    assert status.done == report["done"]
    assert status.in_doubt == report["in_doubt"] >= len(printed["unwritten"])
    assert status.rows == report["rows"]


READ = """
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1])) as connection:
    print(connection.execute("SELECT count(*) FROM rows").fetchone())
"""


@pytest.mark.parametrize("is_new", [True, False])
def test_reading_a_running_job_disturbs_nothing(tmp_path, is_new):
    """Not even together with another program that reads the journal: it must not delete the -wal file of the job.

    On POSIX, a process that closes a file loses all locks that it has on it, those of SQLite included.
    """
    job, seen = Job(tmp_path / "job.db"), []

    async def answer(request):
        seen.append(request)
        if len(seen) == 40:
            read_all()
        return httpx.Response(200, json={"response": "x"})

    def read_all():
        log = job.path.with_name("job.db-wal")
        before = log.stat().st_ino
        assert job.status().rows
        assert [*job.results(), *job.doubt()]
        job.export(tmp_path / "out.csv")
        job.report_html(tmp_path / "out.html")
        subprocess.run([sys.executable, "-c", READ, str(job.path)], check=True, stdout=subprocess.DEVNULL)
        assert log.stat().st_ino == before
        seen.append("checked")

    client = FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    if not is_new:
        run(job, client, numbered(20))

    assert run(job, client, numbered(100)).done == 100
    assert "checked" in seen
    assert len(seen) == 101


# --- Exports ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path, client):
    job = Job(tmp_path / "job.db")
    run(job, client, rows("a", "json", "bad", "doubt", "unreadable"))
    return job


def test_json_lines(job, tmp_path):
    """Each row is an object, with an `output` if the text of its answer is JSON."""
    assert job.export(tmp_path / "out.jsonl") == 5

    a, output, bad, doubt, unreadable = map(json.loads, (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    assert a == {
        "key": "a",
        "row": 1,
        "state": "done",
        "attempts": 1,
        "error_code": None,
        "error": None,
        "request_id": "req_a",
        "response": 'Söme, "text"\na',
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    assert output["output"] == {"title": "x", "tags": ["a"]}
    assert (bad["state"], bad["error_code"], bad["response"]) == ("failed", "bad_input", None)
    assert (doubt["state"], doubt["request_id"]) == ("in_doubt", "req_5")
    assert (unreadable["state"], unreadable["response"]) == ("failed", {"answer": 1})


def test_csv(job, tmp_path):
    """Each count and each field of the outputs has a column. Line breaks in texts are kept."""
    job.export(tmp_path / "out.csv")

    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        a, output, bad, *_ = csv.DictReader(file)
    assert (a["response"], a["usage_total_tokens"], a["output_title"]) == ('Söme, "text"\na', "10", "")
    assert (output["output_title"], output["output_tags"]) == ("x", '["a"]')
    assert bad["error"].startswith("UnprocessableEntityError")


def test_csv_has_control_characters_as_they_are(tmp_path, client):
    """Also a NUL, which a CSV writer of Python 3.10 may refuse."""
    job = Job(tmp_path / "job.db")
    run(job, client, [{"id": "a", "text": "nul: \0, bell: \a, tab: \t"}])

    job.export(tmp_path / "out.csv")

    assert "nul: \0, bell: \a, tab: \t" in (tmp_path / "out.csv").read_text("utf-8")


def test_an_export_replaces_its_file_when_complete(job, tmp_path):
    """No temporary file is left in the folder."""
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "rows.jsonl"
    target.write_text("old", "utf-8")

    with pytest.raises(OutputError, match="there is no directory"):
        job.export(tmp_path / "nowhere" / "rows.jsonl")
    job.export(target)

    assert target.read_text("utf-8").count("\n") == 5
    assert list(target.parent.iterdir()) == [target]


def test_a_journal_does_not_contain_the_api_key(job):
    """A journal may be shared with others."""
    assert KEY.encode() not in job.path.read_bytes()


def test_exports_do_not_contain_webhook_secrets(tmp_path):
    """The journal and the results contain the secret, which verifies the callback. Exports and reprs do not."""
    accepted = {"run_id": "run_1", "status": "queued", "webhook_secret": "whsec_hidden"}

    async def answer(request):
        return httpx.Response(200, json=accepted)

    client = FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    job = Job(tmp_path / "job.db")
    job.run(client, [WorkflowStart(deployment="w", callback_url="https://example.com/hook")], progress=False)

    (item,) = job.results()
    assert item.response.webhook_secret.get_secret_value() == "whsec_hidden"
    assert "whsec" not in repr(item) + repr(item._stored)
    for name in ("out.jsonl", "out.csv"):
        job.export(tmp_path / name)
        exported = (tmp_path / name).read_text("utf-8")
        assert "run_1" in exported
        assert "whsec" not in exported


def test_the_size_of_a_journal(tmp_path, client):
    """A journal is at most one and a half times as large as its requests and answers."""
    job = Job(tmp_path / "large.db")
    run(job, client, [{"id": str(n), "text": f"{n} {'word ' * 30}"} for n in range(2000)])

    content = sum(len(item._stored.request) + len(item._stored.body) for item in job.results())
    assert job.path.stat().st_size <= 1.5 * content


def test_reading_does_not_block_the_owner(tmp_path, client):
    """A run can write while results are read slowly."""
    job = Job(tmp_path / "job.db")
    run(job, client, numbered(600))
    reading = job.results()
    next(reading)

    assert run(job, client, numbered(700)).done == 700
    assert len(list(reading)) >= 599


def test_two_consecutive_runs_in_one_event_loop(tmp_path, client):
    """A job leaves no file open: the journal can be moved and resumed elsewhere."""
    job = Job(tmp_path / "job.db")

    async def main():
        await job.arun(client, numbered(10), deployment="d", progress=False)
        shutil.move(job.path, tmp_path / "moved.db")
        return await Job(tmp_path / "moved.db").arun(client, numbered(12), deployment="d", progress=False)

    assert asyncio.run(main()).done == 12


def test_each_kind_of_request_is_read_back(tmp_path):
    """The requests and answers of prompts, workflows, agents and started workflows are read back unchanged."""
    requests = [
        InvokeRequest(deployment="d", variant="v", inputs={"text": "ä", "n": [1, None]}, metadata={"a": 1}),
        WorkflowRequest(deployment="w", inputs={"text": "a"}, tool_approval="auto_approve"),
        AgentRequest(agent="a", message="Hello.", attachments=["https://example.com/a.pdf"], thread_id="t"),
        WorkflowStart(deployment="w", callback_url="https://example.com/hook"),
    ]
    answers = {
        "/v1/prompt/invoke": {"response": "Short."},
        "/v1/agent/invoke": {"response": "Hi.", "thread_id": "t", "usage": {"total_tokens": 5}},
        "/v1/workflow/invoke": {"run_id": "run_1", "status": "completed", "output": "Done."},
    }

    async def answer(request):
        return httpx.Response(200, json=answers[request.url.path])

    client = FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    job = Job(tmp_path / "job.db")

    report = job.run(client, requests, progress=False)
    again = job.run(client, requests, progress=False)

    assert (report.done, again.rows, report.tokens) == (4, 4, 5)
    items = list(job.results())
    assert [item.request for item in items] == requests
    assert [json.loads(item._stored.request) for item in items] == [request.given_fields() for request in requests]
    assert [type(item.response) for item in items] == [InvokeResponse, WorkflowRun, AgentReply, WorkflowAccepted]
    assert items[1].response.output == "Done."


@pytest.mark.parametrize("end", ["", "-wal", "-shm", ".lock"])
def test_an_export_never_replaces_its_journal(job, end):
    """An export refuses the journal, the files beside it, and links to them."""
    before = job.path.read_bytes()
    alias = job.path.with_name("alias.jsonl")
    alias.symlink_to(job.path.with_name(f"{job.path.name}{end}"))

    for target in (job.path.with_name(f"{job.path.name}{end}"), alias):
        with pytest.raises(OutputError, match="it is the journal, or belongs to it"):
            job.export(target)

    assert job.path.read_bytes() == before
    assert job.status().rows == 5


def test_an_export_to_a_link_replaces_what_it_points_to(job, tmp_path):
    """The link itself is kept."""
    (tmp_path / "link.jsonl").symlink_to("rows.jsonl")

    job.export(tmp_path / "link.jsonl")

    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "rows.jsonl").read_text("utf-8").count("\n") == 5


def test_an_export_replaces_files_only(job, tmp_path):
    """A pipe or a folder is refused."""
    (tmp_path / "folder").mkdir()
    targets = {tmp_path / "folder": "it is a directory"}
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        targets[tmp_path / "pipe"] = "it is not a regular file"

    for target, message in targets.items():
        with pytest.raises(OutputError, match=message):
            job.export(target)


def test_rows_in_an_unchanged_order_are_not_looked_up_by_hash(tmp_path, client, monkeypatch):
    """They are stored side by side in the journal. Only inserted rows need lookups."""
    job = Job(tmp_path / "job.db")
    run(job, client, numbered(1000))
    searched = []
    look_up = Store.look_up
    monkeypatch.setattr(
        Store, "look_up", lambda store, hashes: searched.extend(hashes) or look_up(store, hashes), raising=True
    )

    run(job, client, numbered(1000))
    assert searched == []
    run(job, client, [*numbered(500), *rows("new"), *numbered(1000)[500:]])

    assert 1 <= len(searched) < 600
    assert job.status().done == 1001
