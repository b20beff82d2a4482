"""`fetch-hive prompts`: typed prompts compared with a file of deployments, and their schemas."""

from __future__ import annotations

import json
import sys

import pytest

from fetch_hive_sdk.cli import main

MODULE = """
from typing import Annotated, Callable, Literal
from pydantic import BaseModel, Field
from fetch_hive_sdk import prompt

class Summary(BaseModel):
    title: str

@prompt("summarise", variant="prod")
def summarise(text: str, *, tone: Literal["dry", "warm"] = "dry") -> Summary:
    \"\"\"Condense a text.\"\"\"
    raise NotImplementedError

@prompt("list-points")
def list_points(customer: Annotated[int, Field(alias="customer-id")]) -> list[str]:
    raise NotImplementedError
"""

FILE = """
[deployments.summarise]
answer = "{text}"
variables = { text = "string", tone = "string" }
variants.prod.answer = "b"

[deployments.list-points]
answer = "[]"
variables = { customer-id = "integer" }
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """A folder with a module of prompts and a file of deployments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    package = tmp_path / "typed_app"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "prompts.py").write_text(MODULE, "utf-8")
    (package / "empty.py").touch()
    (package / "broken.py").write_text("1 / 0", "utf-8")
    (package / "leaving.py").write_text("raise SystemExit(0)", "utf-8")
    (package / "undefined.py").write_text(MODULE.replace("-> Summary", "-> 'Missing'"), "utf-8")
    (package / "foreign.py").write_text(MODULE.replace("-> Summary", "-> Callable[[], int]"), "utf-8")
    (tmp_path / "fetch-hive.toml").write_text(FILE, "utf-8")
    path = list(sys.path)
    yield
    assert sys.path == path
    for name in [name for name in sys.modules if name.partition(".")[0] == "typed_app"]:
        del sys.modules[name]


def test_matching_prompts_are_listed(capsys):
    """Each prompt is a line with its variables and output; the exit code is 0."""
    assert main(["prompts", "check", "typed_app.prompts"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "ok      summarise(text, tone) -> Summary: deployment summarise, variant prod",
        "ok      list_points(customer-id) -> array: deployment list-points",
    ]


def test_differences_are_listed(capsys, tmp_path):
    """Each difference is a line below its prompt; the exit code is 8."""
    file = tmp_path / "other.toml"
    file.write_text(FILE.replace('tone = "string"', 'style = "string"').replace('"integer"', '"string"'), "utf-8")

    assert main(["prompts", "check", "typed_app.prompts", "--file", str(file)]) == 8

    assert capsys.readouterr().out.splitlines() == [
        "differs summarise(text, tone) -> Summary: deployment summarise, variant prod",
        "        the variable style is missing, but required by the deployment",
        "        the variable tone is unknown to the deployment",
        "differs list_points(customer-id) -> array: deployment list-points",
        "        the variable customer-id is integer, but string in the deployment",
    ]


def test_schemas_are_printed(capsys):
    """The schemas have the inputs as they are sent and the output as it is parsed."""
    assert main(["prompts", "schema", "typed_app.prompts"]) == 0

    schemas = json.loads(capsys.readouterr().out)
    assert list(schemas) == ["summarise", "list_points"]
    assert (schemas["summarise"]["deployment"], schemas["summarise"]["variant"]) == ("summarise", "prod")
    assert schemas["summarise"]["inputs"]["properties"]["tone"]["enum"] == ["dry", "warm"]
    assert schemas["summarise"]["output"]["required"] == ["title"]
    assert list(schemas["list_points"]["inputs"]["properties"]) == ["customer-id"]
    assert schemas["list_points"]["output"] == {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize("task", ["check", "schema"])
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("typed_app.none", "cannot import typed_app.none: ModuleNotFoundError"),
        ("typed_app.broken", "cannot import typed_app.broken: ZeroDivisionError"),
        ("typed_app.empty", "typed_app.empty has no typed prompts"),
        ("typed_app.leaving", "cannot import typed_app.leaving: SystemExit"),
        ("typed_app.undefined", "summarise of typed_app.undefined has no JSON schema: NameError: name 'Missing'"),
        ("typed_app.foreign", "summarise of typed_app.foreign has no JSON schema: PydanticInvalidForJsonSchema"),
    ],
)
def test_invalid_module_is_an_error(capsys, task, module, reason):
    """One line has the reason; the exit code is 2."""
    assert main(["prompts", task, module]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise Exception('a\\nb \\x1b[31m')", "Exception: a b [31m"),
        ("raise BaseException('left')", "BaseException: left"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "E"),
    ],
)
def test_any_error_of_a_module_is_one_line(capsys, tmp_path, code, reason):
    (tmp_path / "typed_app" / "failing.py").write_text(code, "utf-8")

    assert main(["prompts", "check", "typed_app.failing"]) == 2
    assert capsys.readouterr().err == f"fetch-hive: cannot import typed_app.failing: {reason}\n"


def test_ctrl_c_in_a_module_is_no_error_of_the_module(capsys, tmp_path):
    (tmp_path / "typed_app" / "interrupted.py").write_text("raise KeyboardInterrupt", "utf-8")

    assert main(["prompts", "check", "typed_app.interrupted"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("module", ["typed_app.py", "./typed_app", ""])
def test_path_instead_of_a_module_is_explained(capsys, module):
    """The message says to pass the name of a module."""
    assert main(["prompts", "check", module]) == 2
    assert capsys.readouterr().err.endswith("; pass the name of a module, such as my_app.prompts\n")


def test_error_of_the_file_cannot_control_the_terminal(capsys, tmp_path):
    (tmp_path / "fetch-hive.toml").write_text('"\\u001b[31m\\n" = 1', "utf-8")

    for command in (["prompts", "check", "typed_app.prompts"], ["serve", "--file", "fetch-hive.toml"]):
        assert main(command) == 2
        assert capsys.readouterr().err == "fetch-hive: fetch-hive.toml: [31m is unknown\n"


def test_file_is_required(capsys, tmp_path):
    """A missing file is an error."""
    (tmp_path / "fetch-hive.toml").unlink()

    assert main(["prompts", "check", "typed_app.prompts"]) == 2
    assert "fetch-hive.toml: cannot read" in capsys.readouterr().err
