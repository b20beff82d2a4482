"""Descriptions of deployments, as objects and in files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk.emulator._deployments import fill_in, has_type, read_file, variables_of
from fetch_hive_sdk.testing import Deployment, PlannedFault, Variable, Variant

PAGE = Path(__file__).parent.parent / "docs" / "emulator.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def write(tmp_path, text):
    file = tmp_path / "fetch-hive.toml"
    file.write_text(text, "utf-8")
    return file


@pytest.mark.parametrize("example", EXAMPLES)
def test_documented_files_are_valid(tmp_path, example):
    """The files in the documentation can be read."""
    assert "summarise" in read_file(write(tmp_path, example)).deployments


def test_file_equals_objects(tmp_path):
    """A description in a file equals the same description in Python."""
    file = write(
        tmp_path,
        """
        [deployments.d]
        answer = "{text}"
        variables.text = "string"
        variants.short.answer = "Short."
        faults = [{ fault = "429", every = 5 }]
        """,
    )

    read = read_file(file).deployments["d"]

    assert Deployment(name="d", **dict(read)) == Deployment(
        name="d",
        answer="{text}",
        variables={"text": Variable(type="string")},
        variants={"short": Variant(answer="Short.")},
        faults=[PlannedFault(fault=429, every=5)],
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("deployment = 1", ": deployment is unknown: did you mean deployments?"),
        ("\n[deployments.d]\nanswr = 'x'", ": deployments.d.answr is unknown: did you mean answer?"),
        ("[deployments.d]\nzzz = 'x'", ": deployments.d.zzz is unknown"),
        ("[deployments.d]\nname = 'x'", ": deployments.d.name is unknown"),
        ("[deployments.d]\nanswer = 5", ": deployments.d.answer: must be a string, a table, or a list of these"),
        ("[deployments.d]\nanswer = []", ": deployments.d.answer: must be a string, a table, or a list of these"),
        (
            "[deployments.d]\nanswer = { day = 2026-01-01 }",
            ": deployments.d.answer: has a value that is not valid JSON, such as a date",
        ),
        ("[deployments.d]\ndelay = -1", ": deployments.d.delay: Input should be greater than or equal to 0"),
        ("[deployments.d]\ndelay = 'x'", ": deployments.d.delay: Input should be a valid number"),
        ("[deployments.d]\ndelay = nan", ": deployments.d.delay: Input should be a finite number"),
        ("[deployments.d.variables]\ntext = 'text'", ": deployments.d.variables.text.type: Input should be 'string'"),
        (
            "[deployments.d.variables]\nn = { type = 'integer', default = 'x' }",
            ": deployments.d.variables.n.default: must be of type integer",
        ),
        (
            "[deployments.d.variables]\nday = { default = 2026-01-01 }",
            ": deployments.d.variables.day.default: must be",
        ),
        (
            "[deployments.d]\nanswer = '{txt}'\nvariables = { text = 'string' }",
            ": deployments.d.answer: {txt} is not one of the variables: did you mean text?",
        ),
        (
            "[deployments.d]\nvariables = {}\n[deployments.d.variants.v]\n\nreasoning = '{a}'",
            ": deployments.d.variants.v.reasoning: {a} is not one of the variables",
        ),
        ("[[deployments.d.faults]]\nevery = 5", ": deployments.d.faults.0.fault is missing"),
        ("[[deployments.d.faults]]\nfault = 200", ": deployments.d.faults.0.fault: must be a status from 400 to 599"),
        ("[[deployments.d.faults]]\nfault = true", ": deployments.d.faults.0.fault: must be a status"),
        ("[deployments.d]\nfaults = [\n{fault = 429},\n{falt = 429},\n]", ": deployments.d.faults.1.falt is unknown"),
        ("[[deployments.d.faults]]\nfault = 429\nevery = 0", ": deployments.d.faults.0.every: Input should be"),
        (
            "[[deployments.d.faults]]\nfault = 429\nevery = 2\nfirst = 2",
            ": deployments.d.faults.0.first: cannot be combined with every",
        ),
        (
            "[[deployments.d.faults]]\nfault = 'cut'\nmessage = 'x'",
            ": deployments.d.faults.0.message: cannot be combined with the fault cut",
        ),
        ("[deployments.d]\nanswer = 'x", ":2: "),
        ("a = 1\na = 2", ":2: "),
        ("api_key = ''", ": api_key: "),
        ("deployments = 5", ": deployments: Input should be a valid dictionary"),
    ],
)
def test_error_has_file_place_and_reason(tmp_path, text, complaint):
    """A syntax error has the file and the line, an invalid value the file and its path, and both the reason."""
    file = write(tmp_path, text)

    with pytest.raises(ConfigurationError) as caught:
        read_file(file)

    assert str(caught.value).startswith(f"{file}{complaint}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("answer = 'x'", "answer is unknown"),
        ("dely = 1", "dely is unknown: did you mean delay?"),
        ("[deployments.d]\nrequired = true", "deployments.d.required is unknown"),
        ("[deployments.d]\napi_key = 'a'", "deployments.d.api_key is unknown"),
        ("[deployments.usage]\ntokens = 1", "deployments.usage.tokens is unknown"),
        ("[deployments.d.variants.a]\nvariables = {}", "deployments.d.variants.a.variables is unknown"),
        (
            "[deployments.d.variants.a]\nanswr = 'x'",
            "deployments.d.variants.a.answr is unknown: did you mean answer?",
        ),
        (
            "[deployments.d.variables.v]\nrequird = true",
            "deployments.d.variables.v.requird is unknown: did you mean required?",
        ),
        (
            "[deployments.d.usage]\nprompt_token = 1",
            "deployments.d.usage.prompt_token is unknown: did you mean prompt_tokens?",
        ),
        (
            "[deployments.d.variants.a.usage]\nprompt_token = 1",
            "deployments.d.variants.a.usage.prompt_token is unknown: did you mean prompt_tokens?",
        ),
        (
            "[[deployments.d.variants.a.faults]]\nfault = 429\nfrst = 1",
            "deployments.d.variants.a.faults.0.frst is unknown: did you mean first?",
        ),
    ],
)
def test_only_keys_of_the_same_table_are_suggested(tmp_path, text, complaint):
    file = write(tmp_path, text)

    with pytest.raises(ConfigurationError) as caught:
        read_file(file)

    assert str(caught.value) == f"{file}: {complaint}"


def test_first_error_is_reported(tmp_path):
    """Of several errors, the first one is reported."""
    with pytest.raises(ConfigurationError, match=r"deployments\.d\.b is unknown"):
        read_file(write(tmp_path, "[deployments.d]\nb = 1\na = 2\n"))


def test_error_does_not_show_the_key(tmp_path):
    """The API key of a file is in no message and no repr."""
    content = read_file(write(tmp_path, 'api_key = "fhk_secret"'))
    with pytest.raises(ConfigurationError) as caught:
        read_file(write(tmp_path, 'api_key = ["fhk_secret"]'))

    assert "fhk_secret" not in repr(content) + str(content) + str(caught.value)


def test_missing_file_is_an_error(tmp_path):
    """The error has the name of the file."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: cannot read the file: No such file"):
        read_file(tmp_path / "nowhere.toml")


def test_file_must_be_utf8(tmp_path):
    """The error has the line."""
    file = tmp_path / "fetch-hive.toml"
    file.write_bytes(b"# fine\n# caf\xe9\n")

    with pytest.raises(ConfigurationError, match=r":2: not valid UTF-8"):
        read_file(file)


def test_byte_order_mark_is_allowed(tmp_path):
    """Some editors write one."""
    file = tmp_path / "fetch-hive.toml"
    file.write_bytes(b"\xef\xbb\xbfdelay = 1\n")

    assert read_file(file).delay == 1


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("In short: {text}", "In short: Ship."),
        ("{text}{text}", "Ship.Ship."),
        ("{{text}} is {text}", "{text} is Ship."),
        ("{number}, {list}, {none}", '3, ["a", {"b": null}], '),
        ('{"a": {"b": "{text}"}}', '{"a": {"b": "Ship."}}'),
        ("{text.__class__} {text!r} {0.x} {} { text }", "{text.__class__} {text!r} {0.x} {} { text }"),
        ("{braces}", "{text}"),
    ],
)
def test_string_is_filled_in(text, filled):
    """`{name}` is replaced once, by the value alone; other braces are literal."""
    values = {"text": "Ship.", "number": 3, "list": ["a", {"b": None}], "braces": "{text}"}

    assert fill_in(text, values) == filled


def test_table_is_filled_in():
    """The strings of a table are filled in; a string of one name alone becomes the value."""
    table = {"title": "{text}!", "n": "{number}", "deep": [{"x": "{text}"}, 5], "literal": "{{text}}"}

    filled = fill_in(table, {"text": 'Say "hi"', "number": 3})

    assert filled == {"title": 'Say "hi"!', "n": 3, "deep": [{"x": 'Say "hi"'}, 5], "literal": "{text}"}


@pytest.mark.parametrize(
    ("value", "types"),
    [
        ("a", {"string"}),
        (1, {"integer", "number"}),
        (1.5, {"number"}),
        (True, {"boolean"}),
        ([1], {"array"}),
        ({"a": 1}, {"object"}),
        (None, set()),
    ],
)
def test_values_have_json_types(value, types):
    """A boolean is not a number, an integer is one, and "any" allows all."""
    names = ["string", "integer", "number", "boolean", "array", "object", "any"]

    assert {name for name in names if has_type(value, name)} == types | {"any"}


def test_variables_are_derived_from_the_answers():
    """Without described variables, those in the answer, the reasoning and the variants are used."""
    deployment = Deployment(
        name="d",
        answer=[{"a": ["{one}"]}, "{two} {{not}}"],
        reasoning="{three}",
        variants={"v": Variant(answer="{four}")},
    )

    assert set(variables_of(deployment)) == {"one", "two", "three", "four"}


@pytest.mark.parametrize(
    "fields", [{"name": ""}, {}, {"name": "d", "answr": "x"}, {"name": "d", "delay": float("inf")}]
)
def test_objects_are_as_strict_as_files(fields):
    """A misspelt or missing keyword is an error."""
    with pytest.raises(ValidationError):
        Deployment(**fields)
