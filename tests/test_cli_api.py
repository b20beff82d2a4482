"""The commands for everything but prompts: `invoke --workflow`, `invoke --agent`, `api`, `requests` and `kb`."""

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
    """A service that the command line finds by its environment."""
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
    """Run a command; return its exit code and what it prints."""

    def see(*words: str) -> tuple[int, str, str]:
        code = main(words)
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return see


# --- invoke ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_an_agent_answers(fake, see, form):
    """Its text on stdout, all else on stderr; the request has what was given."""
    code, out, err = see("invoke", "--agent", "a", "--message", "Weather?", "--thread", "t", "--user", "u", *form)

    assert (code, out) == (0, "It is sunny.\n")
    assert err.startswith("3 tokens")
    assert fake.agent_calls[0].thread_id == "t"
    assert fake.agent_calls[0].user == "u"


@pytest.mark.parametrize("form", [[], ["--stream"]])
def test_an_agent_that_waits_for_a_decision_says_so(fake, see, form):
    """With the id of the approval."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[ToolUse("pay", needs_approval=True, summary="Pay 5 euros")]))

    code, out, err = see("invoke", "--agent", "a", "--message", "Pay", *form)

    assert (code, out.strip()) == (0, "")
    assert "waiting for approval: Pay 5 euros (approval " in err


def test_a_stream_of_an_agent_is_printed_as_json(fake, see):
    """Each event on a line."""
    code, out, _ = see("invoke", "--agent", "a", "--message", "Hi", "--stream", "--json")

    assert code == 0
    assert [json.loads(line)["type"] for line in out.splitlines()][-1] == "usage"


def test_a_workflow_gives_its_output(fake, see):
    """A text as it is, anything else as JSON."""
    fake.answers_workflow("o", {"n": 1})

    assert see("invoke", "--workflow", "w", "--input", "a=b", "--metadata", "n=1") == (0, "Done.\n", "")
    assert json.loads(see("invoke", "--workflow", "o")[1]) == {"n": 1}
    assert json.loads(see("invoke", "--workflow", "w", "--json")[1])["output"] == "Done."
    assert fake.workflow_calls[0].inputs == {"a": "b"}
    assert fake.workflow_calls[0].metadata == {"n": 1}


def test_a_workflow_that_failed_is_a_failure(fake, see):
    """Its error is on stderr."""
    fake.answers_workflow("w", WorkflowAnswer(status="failed", error="No such\ninvoice"))

    assert see("invoke", "--workflow", "w") == (7, "", "fetch-hive: the run failed: No such invoice\n")
    assert see("invoke", "--workflow", "w", "--json")[0] == 7


def test_what_was_not_given_is_not_sent(fake, see):
    """An empty object of inputs or metadata would be another call, to a recording for example."""
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
def test_what_does_not_go_together_is_refused(fake, capsys, words, message):
    """Before anything is sent."""
    with pytest.raises(SystemExit) as caught:
        main(["invoke", *words])

    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert fake.agent_calls == fake.workflow_calls == []


# --- api -------------------------------------------------------------------------------------------------------------


def test_any_endpoint_can_be_called(fake, see):
    """A GET with its query, a POST with its fields; the answer is JSON."""
    assert json.loads(see("api", "GET", "/public/models")[1])[0]["id"] == "fake-model"
    assert json.loads(see("api", "get", "error_codes", "-f", "locale=es")[1])["codes"]
    code, out, err = see("api", "POST", "/workflow/invoke", "-f", "deployment=w", "-f", "user=7", "-F", "new=7")
    assert (code, json.loads(out)["output"], err) == (0, "Done.", "")
    assert (fake.workflow_calls[0].user, fake.workflow_calls[0].raw["new"]) == ("7", 7)


def test_a_body_is_read_from_a_file_or_stdin(fake, see, tmp_path, monkeypatch):
    """As JSON, whatever it is."""
    file = tmp_path / "body.json"
    file.write_text('{"knowledge_base": {"name": "Docs"}}', "utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    path = f"/public/workspaces/{WORKSPACE}/knowledge_bases"

    first = json.loads(see("api", "POST", path, "--input", str(file))[1])
    second = json.loads(see("api", "POST", path, "--input", "-")[1])

    assert first["knowledge_base"]["name"] == second["knowledge_base"]["name"] == "Docs"


def test_an_empty_answer_prints_nothing(fake, see):
    """It is a success all the same."""
    fake.answers_agent("a", AgentAnswer("Paid.", tools=[ToolUse("pay", needs_approval=True)]))
    reply = json.loads(see("invoke", "--agent", "a", "--message", "Pay", "--json")[1])
    approval = reply["pending_tool_approvals"][0]["approval_id"]

    path = f"/public/workspaces/{WORKSPACE}/tool_action_approvals/{approval}/decide"

    assert see("api", "POST", path, "-f", "decision=deny") == (0, "", "")


def test_a_refused_call_has_the_exit_code_of_a_refusal(fake, see):
    """And the message on stderr."""
    code, out, err = see("api", "GET", "/nowhere")

    assert (code, out) == (4, "")
    assert "404 Not Found" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["GET", "/public/../x"], "path must not have"),
        (["GET", "//elsewhere.test/x"], "path must be what follows"),
        (["POST", "/x", "-f", "a=b", "--input", "f"], "cannot be combined with -f"),
        (["GET", "/x", "--input", "f"], "--input cannot be used with GET"),
        (["POST", "/x", "--input", "missing.json"], "cannot read missing.json"),
        (["POST", "/x", "-f", "a"], "must be NAME=VALUE"),
        (["BREW", "/x"], "invalid choice"),
    ],
)
def test_an_impossible_call_is_refused(fake, capsys, words, message):
    """Before anything is sent."""
    with pytest.raises(SystemExit) as caught:
        main(["api", *words])

    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_request_is_looked_up(fake, see):
    """As lines for people, or as JSON."""
    request_id = json.loads(see("invoke", "--workflow", "w", "--json")[1])["request_id"]

    code, out, _ = see("requests", "get", request_id)

    assert code == 0
    assert f"request  {request_id}\n" in out
    assert "status   completed\n" in out
    assert json.loads(see("requests", "get", request_id, "--json")[1])["status"] == "completed"


def test_a_request_is_waited_for(fake, see):
    """Until it has ended, or the time is over."""
    body = {"deployment": "w", "async": {"enabled": True, "callback_url": "https://example.com/hook"}}
    fake.answers_workflow("w", [WorkflowAnswer("Done.", looks=0), WorkflowAnswer("Done.", looks=10**6)])
    client = fake.client()
    quick, slow = (client.raw_request("POST", "/workflow/invoke", json=body).json["request_id"] for _ in range(2))

    assert see("requests", "wait", quick)[0] == 0
    code, out, err = see("requests", "wait", slow, "--max-wait", "0.01")
    assert (code, out) == (5, "")
    assert "did not end within" in err


def test_an_unknown_request_is_refused(fake, see, capsys):
    """By the service, or before anything is sent if it is no id."""
    assert see("requests", "get", "req_none")[0] == 4
    with pytest.raises(SystemExit) as caught:
        main(["requests", "get", ".."])
    assert caught.value.code == 2


# --- kb --------------------------------------------------------------------------------------------------------------


def test_knowledge_bases_are_listed_and_searched(fake, see):
    """In the workspace of the environment, or of the option."""
    client = fake.client(workspace_id=WORKSPACE)
    base = client.knowledge_bases.create(name="Docs")
    client.knowledge_bases.items.create(base.id, name="Refunds", data_content="A refund takes 14 days.")

    assert see("kb", "list") == (0, f"{base.id}\tDocs\t1 items\n", "")
    assert json.loads(see("kb", "list", "--json")[1])[0]["name"] == "Docs"
    assert json.loads(see("kb", "search", base.id, "refund", "--limit", "1")[1])["matches"][0]["name"] == "Refunds"
    assert "message" in json.loads(see("kb", "search", base.id, "refund", "--json")[1])
    assert see("kb", "list", "--workspace", "ws_2") == (0, "", "")


def test_a_workspace_is_needed(fake, see, monkeypatch):
    """Without one, it is said before anything is sent."""
    monkeypatch.delenv("FETCH_HIVE_WORKSPACE_ID")

    code, out, err = see("kb", "list")

    assert (code, out) == (3, "")
    assert "FETCH_HIVE_WORKSPACE_ID" in err


def test_a_search_that_cannot_be_is_refused(fake, capsys):
    """With what is wrong, and before anything is sent."""
    with pytest.raises(SystemExit) as caught:
        main(["kb", "search", "kb_1", "q", "--limit", "21"])

    assert caught.value.code == 2
    assert "less than or equal to 20" in capsys.readouterr().err


def test_a_failure_is_json_if_that_was_asked_for(fake, see):
    """As of `invoke`."""
    fake.answers_agent("a", Refusal(402, "No credits."))

    for words in (["invoke", "--agent", "a", "--message", "m"], ["requests", "get", "r"], ["kb", "search", "k", "q"]):
        code, _, err = see(*words, "--json")
        assert code == 4
        assert json.loads(err)["exit_code"] == 4
