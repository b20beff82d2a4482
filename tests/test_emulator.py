"""A fake service with described deployments."""

from __future__ import annotations

import asyncio
import json
import os

import httpx
import pytest

from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    FetchHive,
    InternalServerError,
    InvokeRequest,
    NotFoundError,
    RateLimitError,
    ResponseDecodeError,
    ResponseError,
    StreamFailedError,
    StreamInterruptedError,
    StreamTimeoutError,
    UnprocessableEntityError,
)
from fetch_hive_sdk.testing import TEST_KEY, Deployment, Emulator, PlannedFault, Tokens, Variable, Variant


def ask(emulator, deployment="d", **fields):
    return emulator.client(max_retries=0).invoke_prompt(deployment=deployment, **fields)


def collect(emulator, deployment="d", **fields):
    return emulator.client(max_retries=0).invoke_prompt_stream(deployment=deployment, **fields).collect()


def outcome_of(emulator, **fields):
    """Return the text of an answer, or the status of an error."""
    try:
        return ask(emulator, **fields).response
    except APIStatusError as exc:
        return exc.status_code


# --- Answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [ask, collect])
def test_description_is_answered(call):
    """The answer has the described text, reasoning, model and tokens."""
    emulator = Emulator(
        Deployment(
            name="d",
            answer="In short: {text}",
            reasoning="About {text}",
            model="gpt-5-nano",
            usage=Tokens(prompt_tokens=7, cached_tokens=1, completion_tokens=5, reasoning_tokens=2),
        )
    )

    result = call(emulator, inputs={"text": "Ship."})

    assert (result.response, result.reasoning, result.model) == ("In short: Ship.", "About Ship.", "gpt-5-nano")
    assert (result.usage.prompt_tokens.total_tokens, result.usage.prompt_tokens.cached_tokens) == (7, 1)
    assert (result.usage.completion_tokens.total_tokens, result.usage.completion_tokens.reasoning_tokens) == (5, 2)
    assert result.usage.total_tokens == 12


def test_table_is_returned_as_json():
    """An answer that is a table is valid JSON with any inputs."""
    emulator = Emulator(Deployment(name="d", answer={"title": "{mail}", "priority": 1}))

    result = ask(emulator, inputs={"mail": 'He said: "down"\n'})

    assert json.loads(result.response) == {"title": 'He said: "down"\n', "priority": 1}


def test_list_is_returned_in_turn():
    """The answers of a list are returned in turn, and from the start again. A fault uses up no answer."""
    emulator = Emulator(Deployment(name="d", answer=["one", "two"], faults=[PlannedFault(fault=500, every=3)]))

    outcomes = [outcome_of(emulator) for _ in range(7)]

    assert outcomes == ["one", "two", 500, "one", "two", 500, "one"]


def test_no_answer_echoes_the_inputs():
    """A deployment without an answer returns its inputs as JSON."""
    emulator = Emulator(Deployment(name="d", variables={"n": Variable(default=1)}))

    assert json.loads(ask(emulator, inputs={"text": "caf\u00e9"}).response) == {"text": "caf\u00e9", "n": 1}


def test_variant_inherits_from_its_deployment():
    """A variant inherits the settings that it does not have."""
    emulator = Emulator(
        Deployment(name="d", answer="Long.", model="m", variants={"short": Variant(answer="S."), "same": Variant()})
    )

    answers = {variant: ask(emulator, variant=variant) for variant in (None, "default", "short", "same")}

    assert {variant: answer.response for variant, answer in answers.items()} == {
        None: "Long.",
        "default": "Long.",
        "short": "S.",
        "same": "Long.",
    }
    assert {answer.model for answer in answers.values()} == {"m"}


def test_without_variants_all_get_one_answer():
    """A deployment without variants accepts every variant."""
    assert ask(Emulator(Deployment(name="d", answer="Yes.")), variant="any").response == "Yes."


def test_scripted_answer_overrides_the_description():
    """A test can script another answer for a described deployment."""
    emulator = Emulator(Deployment(name="d", answer="Described."), Deployment(name="e", answer="Described."))
    emulator.answers("d", "Told.")

    assert [ask(emulator, name).response for name in "de"] == ["Told.", "Described."]


def described_by(request: InvokeRequest) -> str:
    return f"{request.deployment}?"


@pytest.mark.parametrize(("default", "answer"), [("Yes.", "Yes."), (described_by, "other?")])
def test_default_answers_other_deployments(default, answer):
    """Deployments without a description return the default, if there is one."""
    emulator = Emulator(Deployment(name="d"), default=default)

    assert ask(emulator, "other").response == answer


def test_calls_are_recorded():
    """Requests are in `calls`, as with every fake."""
    emulator = Emulator(Deployment(name="d"))

    ask(emulator, inputs={"text": "a"})

    assert emulator.calls == [InvokeRequest(deployment="d", inputs={"text": "a"})]


def test_duplicate_names_are_rejected():
    """Two deployments cannot have the same name."""
    with pytest.raises(ValueError, match="same name"):
        Emulator(Deployment(name="d"), Deployment(name="d"))


# --- Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("deployment", "variant"), [("e", None), ("d", "w")])
def test_unknown_names_are_not_found(deployment, variant):
    """A deployment or variant without a description is a 404."""
    emulator = Emulator(Deployment(name="d", variants={"v": Variant()}))

    with pytest.raises(NotFoundError, match=variant or deployment):
        ask(emulator, deployment, variant=variant)


@pytest.mark.parametrize(
    ("inputs", "code", "message"),
    [
        ({}, "missing_required_field", "inputs.text is required"),
        ({"text": None}, "missing_required_field", "inputs.text is required"),
        ({"text": 5}, "validation_error", "inputs.text must be of type string, not integer"),
        ({"text": "a", "n": True}, "validation_error", "inputs.n must be of type integer, not boolean"),
    ],
)
def test_inputs_are_checked(inputs, code, message):
    """Missing inputs, or inputs of the wrong type, get a 422 in the shape of the API."""
    variables = {"text": Variable(type="string"), "n": Variable(type="integer", required=False)}
    emulator = Emulator(Deployment(name="d", answer="{text}", variables=variables))

    with pytest.raises(UnprocessableEntityError) as caught:
        ask(emulator, inputs=inputs)

    assert caught.value.error_code == code
    assert caught.value.body == {"error": message, "message": message, "error_code": code}


def test_optional_inputs_may_be_missing():
    """A missing optional variable is an empty string or its default."""
    variables = {"a": Variable(required=False), "b": Variable(type="integer", default=50)}
    emulator = Emulator(Deployment(name="d", answer="[{a}] [{b}]", variables=variables))

    assert ask(emulator).response == "[] [50]"


def test_nested_metadata_is_rejected():
    """Nested metadata gets a 422 with `validation_error`."""
    body = {"deployment": "d", "metadata": {"a": {"b": 1}}}
    request = httpx.Request("POST", "http://test/v1/prompt/invoke", json=body, headers={"Authorization": "Bearer any"})

    answer = Emulator(Deployment(name="d")).handle(request)

    assert (answer.status_code, answer.json()["error_code"]) == (422, "validation_error")
    assert answer.json()["message"].startswith("metadata: ")


def test_wrong_key_is_rejected():
    """Any other API key gets a 401 without the right one."""
    emulator = Emulator(Deployment(name="d"), api_key="fhk_right")

    with pytest.raises(AuthenticationError) as caught:
        ask(emulator)

    assert "fhk_right" not in str(caught.value) + caught.value.response.text
    assert emulator.client("fhk_right").invoke_prompt(deployment="d").response == "{}"


# --- Faults ----------------------------------------------------------------------------------------------------------


def test_fault_happens_every_n_calls():
    """`every=3` is the third call, the sixth, and so on."""
    emulator = Emulator(Deployment(name="d", answer="ok", faults=[PlannedFault(fault=500, every=3)]))

    assert [outcome_of(emulator) for _ in range(6)] == ["ok", "ok", 500, "ok", "ok", 500]


def test_fault_happens_in_first_calls():
    """`first=2` is the first two calls. Of several faults, the first happens."""
    emulator = Emulator(
        Deployment(name="d", answer="ok", faults=[PlannedFault(fault=500, first=2), PlannedFault(fault=400, every=2)])
    )

    assert [outcome_of(emulator) for _ in range(4)] == [500, 500, "ok", 400]


def test_client_retries_a_fault():
    """A client retries what is safe to retry, after the time in `Retry-After`."""
    emulator = Emulator(Deployment(name="d", answer="ok", faults=[PlannedFault(fault=429, first=2, retry_after=0)]))

    assert emulator.client().invoke_prompt(deployment="d").response == "ok"
    assert len(emulator.calls) == 3


@pytest.mark.parametrize(
    ("fault", "message", "code"),
    [
        (PlannedFault(fault=429), "Too Many Requests", "too_many_requests"),
        (PlannedFault(fault="402"), "Payment Required", "insufficient_hosted_llm_credits"),
        (PlannedFault(fault=599), "The fake service returns a scripted error", None),
        (
            PlannedFault(fault=429, message="No.", error_code="api_rate_limit_exceeded"),
            "No.",
            "api_rate_limit_exceeded",
        ),
    ],
)
def test_status_has_the_documented_message(fault, message, code):
    """A status has the documented message and code unless others are described."""
    emulator = Emulator(Deployment(name="d", faults=[fault]))

    with pytest.raises(APIStatusError, match=message) as caught:
        ask(emulator)

    assert (caught.value.status_code, caught.value.error_code) == (int(fault.fault), code)


def test_status_may_have_retry_after():
    """`retry_after` sets the header."""
    emulator = Emulator(Deployment(name="d", faults=[PlannedFault(fault=429, retry_after=90)]))

    with pytest.raises(RateLimitError) as caught:
        ask(emulator)

    assert caught.value.retry_after == 90


# Long enough for the events before the stall, even on a busy machine.
TIMEOUTS = {"stall": 1.5}


@pytest.fixture(params=["in process", "on a port"])
def reach(request):
    """Make a client of an emulator, in process or over a real connection."""
    contexts = []

    def make(emulator, timeout):
        if request.param == "in process":
            return emulator.client(timeout=timeout)
        context = emulator.serve()
        contexts.append(context)
        return FetchHive(TEST_KEY, context.__enter__(), timeout=timeout)

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("cut", StreamInterruptedError),
        ("end", StreamInterruptedError),
        ("stall", StreamTimeoutError),
        ("error", StreamFailedError),
    ],
)
def test_fault_in_mid_stream(drive, reach, fault, error):
    """The events before the fault have arrived, in process and on a port."""
    emulator = Emulator(Deployment(name="d", answer="one two three four five six", faults=[PlannedFault(fault=fault)]))
    client = reach(emulator, TIMEOUTS.get(fault, 60))

    with pytest.raises(error) as caught:
        drive.collect(client, deployment="d")

    assert caught.value.partial.text.startswith("one two")
    assert "six" not in caught.value.partial.text


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("cut", APIConnectionError),
        ("end", ResponseDecodeError),
        ("stall", APITimeoutError),
        ("error", InternalServerError),
    ],
)
def test_fault_in_mid_answer(drive, reach, fault, error):
    """Without streaming, the client also knows that the call may have been billed."""
    emulator = Emulator(Deployment(name="d", answer="one two three", faults=[PlannedFault(fault=fault)]))
    client = reach(emulator, TIMEOUTS.get(fault, 60))

    with pytest.raises(error) as caught:
        drive.invoke(client, deployment="d")

    assert caught.value.maybe_processed
    assert isinstance(caught.value, (APIConnectionError, APIStatusError, ResponseError))


# --- Pace ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "waits"), [(None, [7.0]), (3.0, [3.0]), (0.0, [])])
def test_deployment_overrides_the_delay(monkeypatch, own, waits):
    """The delay of a deployment overrides that of the emulator."""
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    emulator = Emulator(Deployment(name="d", answer="one two", delay=own), delay=7.0)

    assert collect(emulator).response == "one two"
    assert sorted(set(slept) - {0}) == waits


def test_delay_does_not_block_the_event_loop(monkeypatch):
    """The asyncio client waits without blocking its event loop."""
    emulator = Emulator(Deployment(name="d", answer="one two", delay=0.001))
    monkeypatch.delattr("time.sleep")

    async def main():
        return await emulator.client().ainvoke_prompt_stream(deployment="d").collect()

    assert asyncio.run(main()).response == "one two"


# --- Files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "fetch-hive.toml"
    file.write_text('[deployments.d]\nanswer = "one"\n', "utf-8")
    return file


def test_file_is_served(file):
    """An emulator serves the deployments of a file."""
    emulator = Emulator.from_file(str(file))

    assert ask(emulator).response == "one"
    assert emulator.reload() is False


def test_changed_file_is_reloaded(file):
    """A reload applies the changed file, including its key and delay."""
    emulator = Emulator.from_file(file)
    file.write_text('api_key = "fhk_new"\n[deployments.d]\nanswer = "second"\n', "utf-8")

    assert emulator.reload() is True
    assert emulator.client("fhk_new").invoke_prompt(deployment="d").response == "second"
    with pytest.raises(AuthenticationError):
        ask(emulator)


def test_replaced_file_is_reloaded(file):
    """Editors replace files, so that there may be none for a moment."""
    emulator = Emulator.from_file(file)
    other = file.with_suffix(".new")
    other.write_text('[deployments.d]\nanswer = "two"\n', "utf-8")

    file.unlink()
    assert emulator.reload() is False
    os.replace(other, file)  # noqa: PTH105 - as an editor does
    assert emulator.reload() is True

    assert ask(emulator).response == "two"


def test_invalid_file_changes_nothing(file):
    """An invalid file is reported once, and its previous content is still served."""
    emulator = Emulator.from_file(file)
    file.write_text("[deployments.d]\nanswer = \n", "utf-8")

    with pytest.raises(ConfigurationError, match=r"fetch-hive\.toml:2: "):
        emulator.reload()

    assert emulator.reload() is False
    assert ask(emulator).response == "one"


def test_missing_file_is_rejected(tmp_path):
    """An emulator of a missing file is an error."""
    with pytest.raises(ConfigurationError, match="cannot read the file"):
        Emulator.from_file(tmp_path / "nowhere.toml")


def test_reload_without_a_file_does_nothing():
    """`reload` of an emulator made in Python does nothing."""
    assert Emulator().reload() is False


def test_serve_overrides_the_emulator_delay(file, monkeypatch):
    """`serve(delay=...)` applies to deployments without a delay."""
    emulator = Emulator.from_file(file, delay=5)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits"))

    with emulator.serve(delay=0) as url, httpx.Client() as http:
        body = {"deployment": "d", "streaming": True}
        answer = http.post(f"{url}/prompt/invoke", json=body, headers={"Authorization": "Bearer any"})

    assert answer.text.endswith("data: [DONE]\n\n")
