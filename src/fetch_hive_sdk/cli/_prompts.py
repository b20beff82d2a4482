"""`fetch-hive prompts`: compares typed prompts with a file of deployments, or prints their JSON schemas."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, cast

from pydantic import TypeAdapter

from fetch_hive_sdk import ConfigurationError, Prompt
from fetch_hive_sdk._text import in_one_line
from fetch_hive_sdk.emulator import Emulator

from ._terminal import complain, paint

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

DEFAULT_FILE = Path("fetch-hive.toml")
FOUND_A_DIFFERENCE = 8

EPILOG = """\
MODULE is imported with the current folder first in sys.path.

examples:
  fetch-hive prompts check my_app.prompts
  fetch-hive prompts check my_app.prompts --file deployments.toml
  fetch-hive prompts schema my_app.prompts

exit codes:
  0  success; no differences
  2  invalid argument, module or file
  8  a prompt and its deployment differ
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "prompts",
        help="check typed prompts or print their schemas",
        description="Compare the typed prompts of a module with a file of deployments, or print their JSON schemas.",
        epilog=EPILOG,
    )
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", required=True)
    check = tasks.add_parser(
        "check",
        help="compare typed prompts with a file of deployments",
        description="List the typed prompts of a module, and compare their variables with a file of deployments.",
    )
    check.add_argument("module", metavar="MODULE", help="the module with the prompts, such as my_app.prompts")
    check.add_argument("--file", type=Path, metavar="FILE", help="a TOML file of deployments; default: fetch-hive.toml")
    check.set_defaults(run=run_check)
    schema = tasks.add_parser(
        "schema",
        help="print the JSON schemas of inputs and outputs",
        description="Print the JSON schemas of the inputs and outputs of the typed prompts of a module.",
    )
    schema.add_argument("module", metavar="MODULE", help="the module with the prompts, such as my_app.prompts")
    schema.set_defaults(run=run_schema)


def run_check(options: argparse.Namespace) -> int:
    """Compare the prompts with the file; return the exit code."""
    prompts = _import(options.module)
    if not prompts:
        return 2
    path = options.file or DEFAULT_FILE
    try:
        emulator = Emulator.from_file(path)
    except ConfigurationError as exc:
        complain(in_one_line(str(exc)))
        return 2
    all_match = True
    for name, prompt in prompts.items():
        found = emulator.differences(prompt)
        all_match = all_match and not found
        word = paint("differs", "red", sys.stdout) if found else paint("ok     ", "green", sys.stdout)
        print(word, _describe(name, prompt))
        for difference in found:
            print(f"        {difference}")
    return 0 if all_match else FOUND_A_DIFFERENCE


def run_schema(options: argparse.Namespace) -> int:
    """Print the schemas; return the exit code."""
    prompts = _import(options.module)
    if not prompts:
        return 2
    print(json.dumps({name: _schemas_of(prompt) for name, prompt in prompts.items()}, indent=2, ensure_ascii=False))
    return 0


def _describe(name: str, prompt: Prompt[..., Any]) -> str:
    variables = ", ".join(prompt.inputs.model_json_schema(mode="serialization").get("properties", {}))
    output = _output_schema_of(prompt)
    variant = f", variant {prompt.variant}" if prompt.variant else ""
    answer = output.get("title", output.get("type", "any"))
    return f"{name}({variables}) -> {answer}: deployment {prompt.deployment}{variant}"


def _schemas_of(prompt: Prompt[..., Any]) -> dict[str, object]:
    return {
        "deployment": prompt.deployment,
        "variant": prompt.variant,
        "inputs": prompt.inputs.model_json_schema(mode="serialization"),
        "output": _output_schema_of(prompt),
    }


def _output_schema_of(prompt: Prompt[..., Any]) -> dict[str, Any]:
    output = prompt.output if isinstance(prompt.output, TypeAdapter) else TypeAdapter(prompt.output)
    return output.json_schema()


def _import(module: str) -> Optional[Mapping[str, Prompt[..., Any]]]:
    """Return the prompts of a module by name. If there are none, print the reason and return None or an empty dict."""
    sys.path.insert(0, "")
    try:
        names = vars(importlib.import_module(module))
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - a module may raise anything
        is_name = all(map(str.isidentifier, module.split("."))) and not module.endswith(".py")
        advice = "" if is_name else "; pass the name of a module, such as my_app.prompts"
        complain(in_one_line(f"cannot import {module}: {_reason(exc)}{advice}"))
        return None
    finally:
        sys.path.remove("")
    prompts = {name: cast("Prompt[..., Any]", value) for name, value in names.items() if isinstance(value, Prompt)}
    if not prompts:
        complain(f"{module} has no typed prompts: decorate functions with @prompt")
    problems = {name: _problem_of(prompt) for name, prompt in prompts.items()}
    for name, problem in problems.items():
        if problem:
            complain(f"{name} of {module} has no JSON schema: {problem}")
    return None if any(problems.values()) else prompts


def _problem_of(prompt: Prompt[..., Any]) -> Optional[str]:
    """Say why a prompt has no schemas; None if it has."""
    try:
        _schemas_of(prompt)
    except Exception as exc:  # noqa: BLE001 - the types are those of the caller
        return in_one_line(_reason(exc).partition("\n")[0])
    return None


def _reason(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - the class may be the caller's
        return type(error).__name__
