"""The commands `invoke --workflow`, `invoke --agent`, `api`, `requests` and `kb`."""

from __future__ import annotations

import io
import json
import sys

import pytest

from fetch_hive_sdk.cli import main
from fetch_hive_sdk.testing import TEST_KEY, AgentAnswer, FakeServer, Refusal, ToolUse, WorkflowAnswer

WORKSPACE = "ws_1"


@pytest.fixture
def fake(monkeypatch):
    """A service configured in the environment of the command line."""
    fake = FakeServer()
    fake.answers_agent("a", AgentAnswer("It is sunny.", reasoning="Hm.", usage={"total_tokens": 3}))
    fake.answers_workflow("w", "Done.")
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", TEST_KEY)
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        monkeypatch.setenv("FETCH_HIVE_WORKSPACE_ID", WORKSPACE)
        yield fake


@pytest.fixture
def see(capsys):
    """Run a command; return its exit code and its output."""

    def see(*words: str) -> tuple[int, str, str]:
        code = main(words)
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return see


# --- invoke ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_agent_answers(fake, see, form):
    """The text is on stdout, the rest on stderr; the request has all options."""
    code, out, err = see("invoke", "--agent", "a", "--message", "Weather?", "--thread", "t", "--user", "u", *form)

    assert (code, out) == (0, "It is sunny.\n")
    assert err.startswith("3 tokens")
    assert fake.agent_calls[0].thread_id == "t"
    assert fake.agent_calls[0].user == "u"


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_agent_waiting_for_approval_is_reported(fake, see, form):
    """The message has the id of the approval."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[ToolUse("pay", needs_approval=True, summary="Pay 5 euros")]))

    code, out, err = see("invoke", "--agent", "a", "--message", "Pay", *form)

    assert (code, out.strip()) == (0, "")
    assert "waiting for approval: Pay 5 euros (approval " in err


def test_agent_stream_is_printed_as_json(fake, see):
    """Each event is on a line."""
    code, out, _ = see("invoke", "--agent", "a", "--message", "Hi", "--stream", "--json")

    assert code == 0
    assert [json.loads(line)["type"] for line in out.splitlines()][-1] == "usage"


def test_workflow_prints_its_output(fake, see):
    """A string is printed unchanged, any other output as JSON."""
    fake.answers_workflow("o", {"n": 1})

    assert see("invoke", "--workflow", "w", "--input", "a=b", "--metadata", "n=1") == (0, "Done.\n", "")
    assert json.loads(see("invoke", "--workflow", "o")[1]) == {"n": 1}
    assert json.loads(see("invoke", "--workflow", "w", "--json")[1])["output"] == "Done."
    assert fake.workflow_calls[0].inputs == {"a": "b"}
    assert fake.workflow_calls[0].metadata == {"n": 1}


def test_failed_workflow_has_an_exit_code(fake, see):
    """Its error is on stderr."""
    fake.answers_workflow("w", WorkflowAnswer(status="failed", error="No such\ninvoice"))

    assert see("invoke", "--workflow", "w") == (7, "", "fetch-hive: the run failed: No such invoice\n")
    assert see("invoke", "--workflow", "w", "--json")[0] == 7


def test_absent_options_are_not_sent(fake, see):
    """Empty inputs or metadata would make another call, for a recording for example."""
    fake.answers("d", "Short.")
    for words in (["d"], ["--workflow", "w"], ["--agent", "a", "--message", "m"]):
        see("invoke", *words)

    for call in (*fake.calls, *fake.workflow_calls, *fake.agent_calls):
        assert not {"inputs", "metadata", "user"} & call.raw.keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "pass exactly one of a deployment"),
        (["d", "--workflow", "w"], "exactly one of"),
        (["--agent", "a"], "--agent and --message must be used together"),
        (["d", "--message", "m"], "--agent and --message must be used together"),
        (["d", "--thread", "t"], "--thread requires --agent"),
        (["--agent", "a", "--message", "m", "--input", "a=b"], "cannot be combined with --agent: pass a --message"),
        (["--agent", "a", "--message", "m", "--variant", "v"], "cannot be combined with --agent: pass a --message"),
        (["--agent", "", "--message", "m"], "must not be empty"),
        (["--workflow", "w", "--stream"], "cannot be combined with --workflow"),
        (["--workflow", ""], "must not be empty"),
    ],
)
def test_conflicting_options_are_rejected(fake, capsys, words, message):
    """Nothing is sent."""
    with pytest.raises(SystemExit) as caught:
        main(["invoke", *words])

    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert fake.agent_calls == fake.workflow_calls == []


# --- api -------------------------------------------------------------------------------------------------------------


def test_any_endpoint_can_be_called(fake, see):
    """A GET can have a query and a POST fields; the answer is printed as JSON."""
    assert json.loads(see("api", "GET", "/public/models")[1])[0]["id"] == "fake-model"
    assert json.loads(see("api", "get", "error_codes", "-f", "locale=es")[1])["codes"]
    code, out, err = see("api", "POST", "/workflow/invoke", "-f", "deployment=w", "-f", "user=7", "-F", "new=7")
    assert (code, json.loads(out)["output"], err) == (0, "Done.", "")
    assert (fake.workflow_calls[0].user, fake.workflow_calls[0].raw["new"]) == ("7", 7)


def test_body_is_read_from_a_file_or_stdin(fake, see, tmp_path, monkeypatch):
    """The body can be any JSON."""
    file = tmp_path / "body.json"
    file.write_text('{"knowledge_base": {"name": "Docs"}}', "utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    path = f"/public/workspaces/{WORKSPACE}/knowledge_bases"

    first = json.loads(see("api", "POST", path, "--input", str(file))[1])
    second = json.loads(see("api", "POST", path, "--input", "-")[1])

    assert first["knowledge_base"]["name"] == second["knowledge_base"]["name"] == "Docs"


def test_empty_answer_prints_nothing(fake, see):
    """It is a success."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[ToolUse("pay", needs_approval=True)]))
    reply = json.loads(see("invoke", "--agent", "a", "--message", "Pay", "--json")[1])
    approval = reply["pending_tool_approvals"][0]["approval_id"]

    path = f"/public/workspaces/{WORKSPACE}/tool_action_approvals/{approval}/decide"

    assert see("api", "POST", path, "-f", "decision=deny") == (0, "", "")


def test_error_response_exits_with_4(fake, see):
    """The message is on stderr."""
    code, out, err = see("api", "GET", "/nowhere")

    assert (code, out) == (4, "")
    assert "404 Not Found" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["GET", "/public/../x"], "path must not have"),
        (["GET", "//elsewhere.test/x"], "path must be the part of the URL"),
        (["POST", "/x", "-f", "a=b", "--input", "f"], "cannot be combined with -f"),
        (["GET", "/x", "--input", "f"], "--input cannot be used with GET"),
        (["POST", "/x", "--input", "missing.json"], "cannot read missing.json"),
        (["POST", "/x", "-f", "a"], "must be NAME=VALUE"),
        (["BREW", "/x"], "invalid choice"),
    ],
)
def test_invalid_call_is_rejected(fake, capsys, words, message):
    """Nothing is sent."""
    with pytest.raises(SystemExit) as caught:
        main(["api", *words])

    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# --- requests --------------------------------------------------------------------------------------------------------


def test_request_is_looked_up(fake, see):
    """The record is printed as lines or as JSON."""
    request_id = json.loads(see("invoke", "--workflow", "w", "--json")[1])["request_id"]

    code, out, _ = see("requests", "get", request_id)

    assert code == 0
    assert f"request  {request_id}\n" in out
    assert "status   completed\n" in out
    assert json.loads(see("requests", "get", request_id, "--json")[1])["status"] == "completed"


def test_request_can_be_awaited(fake, see):
    """The command waits until the call has ended or the time is up."""
    body = {"deployment": "w", "async": {"enabled": True, "callback_url": "https://example.com/hook"}}
    fake.answers_workflow("w", [WorkflowAnswer("Done.", looks=0), WorkflowAnswer("Done.", looks=10**6)])
    client = fake.client()
    quick, slow = (client.raw_request("POST", "/workflow/invoke", json=body).json["request_id"] for _ in range(2))

    assert see("requests", "wait", quick)[0] == 0
    code, out, err = see("requests", "wait", slow, "--max-wait", "0.01")
    assert (code, out) == (5, "")
    assert "did not end within" in err


def test_unknown_request_is_rejected(fake, see, capsys):
    """An invalid id is rejected before anything is sent."""
    assert see("requests", "get", "req_none")[0] == 4
    with pytest.raises(SystemExit) as caught:
        main(["requests", "get", ".."])
    assert caught.value.code == 2


# --- kb --------------------------------------------------------------------------------------------------------------


def test_knowledge_bases_are_listed_and_searched(fake, see):
    """The workspace comes from the environment or the option."""
    client = fake.client(workspace_id=WORKSPACE)
    base = client.knowledge_bases.create(name="Docs")
    client.knowledge_bases.items.create(base.id, name="Refunds", data_content="A refund takes 14 days.")

    assert see("kb", "list") == (0, f"{base.id}\tDocs\t1 items\n", "")
    assert json.loads(see("kb", "list", "--json")[1])[0]["name"] == "Docs"
    assert json.loads(see("kb", "search", base.id, "refund", "--limit", "1")[1])["matches"][0]["name"] == "Refunds"
    assert "message" in json.loads(see("kb", "search", base.id, "refund", "--json")[1])
    assert see("kb", "list", "--workspace", "ws_2") == (0, "", "")


def test_workspace_is_required(fake, see, monkeypatch):
    """A missing workspace is reported before anything is sent."""
    monkeypatch.delenv("FETCH_HIVE_WORKSPACE_ID")

    code, out, err = see("kb", "list")

    assert (code, out) == (3, "")
    assert "FETCH_HIVE_WORKSPACE_ID" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["kb", "search", "kb_1", "q", "--limit", "21"], "--limit: Input should be less than or equal to 20"),
        (["kb", "search", "kb_1", "q", "--threshold", "2"], "--threshold: Input should be less than or equal to 1"),
        (["invoke", "--workflow", ""], "--workflow: must not be empty"),
        (["invoke", "--agent", "a", "--message", "m", "--thread", "\udcff"], "--thread: it has a lone surrogate"),
        (["invoke", ""], "deployment: must not be empty"),
    ],
)
def test_invalid_value_is_reported_with_the_name_of_its_option(fake, capsys, arguments, reason):
    """Before anything is sent."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert f": error: {reason}" in capsys.readouterr().err


def test_error_is_json_with_json(fake, see):
    """`--json` prints errors as `invoke` does."""
    fake.answers_agent("a", Refusal(402, "No credits."))

    for words in (["invoke", "--agent", "a", "--message", "m"], ["requests", "get", "r"], ["kb", "search", "k", "q"]):
        code, _, err = see(*words, "--json")
        assert code == 4
        assert json.loads(err)["exit_code"] == 4
