"""The examples in the vendor's documentation run unchanged."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from driving import CALM
from fetch_hive_sdk import FetchHive
from fetch_hive_sdk.testing import FakeServer

EXAMPLES = {
    path.stem[2:]: path for path in sorted((Path(__file__).parent / "samples" / "vendor_examples").glob("*.py"))
}


@pytest.fixture
def service(monkeypatch):
    """A fake service at the URL in the environment."""
    fake = FakeServer()
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_0123456789")
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        yield fake


def run(name, **names):
    """Run an example, with the names that the page defines before it."""
    program = {"__name__": "__main__", **names}
    exec(compile(EXAMPLES[name].read_text("utf-8"), str(EXAMPLES[name]), "exec", dont_inherit=True), program)
    return program


def test_client_reads_the_environment(service):
    """`FetchHive()` takes its key from the environment."""
    assert isinstance(run("authentication")["client"], FetchHive)


def test_key_can_be_passed(monkeypatch):
    """`FetchHive(api_key=...)` sends that key."""
    with FakeServer("Short.", api_key="fhk_...").serve() as url:
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)

        client = run("explicit_key", FetchHive=FetchHive)["client"]

        assert client.invoke_prompt(deployment="d").response == "Short."


def test_client_can_be_configured():
    """`FetchHive(api_key=..., base_url=..., timeout=...)` accepts the settings that the page names."""
    client = run("configuration", FetchHive=FetchHive)["client"]

    assert repr(client) == "FetchHive(base_url='https://api.fetchhive.com/v1', timeout=60.0)"


def test_basic_example_prints_the_answer(service, capsys):
    """The basic example sends its arguments and prints the text of the answer."""
    service.answers("YOUR_DEPLOYMENT_NAME", "Short.")

    run("basic")

    assert capsys.readouterr().out == "Short.\n"
    (call,) = service.calls
    assert (call.deployment, call.variant, call.streaming) == ("YOUR_DEPLOYMENT_NAME", "YOUR_VARIANT_NAME", False)
    assert call.inputs == {"text": "Fetch Hive helps teams ship AI products faster."}


def test_answer_reads_like_a_dict(service, capsys):
    """The example about answers prints text, model, usage and request id."""
    service.answers("my-prompt", "Short.", model="gpt-5-nano")

    run("response", client=FetchHive())

    text, model, usage, request_id = capsys.readouterr().out.splitlines()
    assert (text, model) == ("Short.", "gpt-5-nano")
    assert "total_tokens" in ast.literal_eval(usage)
    assert request_id.startswith("req_")


def test_streaming_example_prints_text_and_usage(service, capsys):
    """The streaming example prints the pieces of the answer, then the usage."""
    service.streams("YOUR_DEPLOYMENT_NAME", ["Sho", "rt."])

    run("streaming", client=FetchHive())

    text, usage = capsys.readouterr().out.split("\n\nUsage: ")
    assert text == "Short."
    assert "total_tokens" in ast.literal_eval(usage)


def test_asyncio_example_prints_the_text(service, capsys):
    """The asyncio example prints the pieces of the answer."""
    service.streams("YOUR_DEPLOYMENT_NAME", ["Sho", "rt."])

    run("async_streaming")

    assert capsys.readouterr().out == "Short."


def test_asyncio_example_leaks_nothing(service):
    """Run twice in one program, in development mode with warnings as errors, it writes nothing to stderr."""
    service.streams("YOUR_DEPLOYMENT_NAME", ["Sho", "rt."])
    twice = "import runpy, sys; [runpy.run_path(sys.argv[1], run_name='__main__') for _ in range(2)]"

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", CALM + twice, str(EXAMPLES["async_streaming"])],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )

    # In its debug mode, asyncio also reports slow callbacks, which do not matter here.
    warned = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, done.stdout, warned) == (0, "Short.Short.", [])


def test_error_example_prints_status_and_body(service, capsys):
    """An error response raises an `httpx.HTTPStatusError` whose response has the status and the text."""
    service.fails("my-prompt", 402, message="no credits left", error_code="insufficient_hosted_llm_credits")

    run("errors", client=FetchHive())

    out = capsys.readouterr().out
    assert out.startswith("Fetch Hive returned 402 ")
    assert "no credits left" in out


def test_error_of_a_streaming_call_has_its_text(service):
    """`response.text` works for the error response of a streaming call."""
    service.fails("YOUR_DEPLOYMENT_NAME", 402, message="no credits left")

    with pytest.raises(httpx.HTTPStatusError) as caught:
        run("streaming", client=FetchHive())

    assert "no credits left" in caught.value.response.text
