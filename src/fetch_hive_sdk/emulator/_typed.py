"""Typed prompts as deployments of an `Emulator`, and comparison with described deployments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Optional, Union, cast

from pydantic import PrivateAttr, TypeAdapter, ValidationError
from pydantic_core import to_json

from fetch_hive_sdk.testing import Refusal

from ._deployments import Deployment, Variant, name_type, variables_of
from ._examples import example_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fetch_hive_sdk import Prompt

    from ._deployments import DeploymentTable, Variable

    AnyPrompt = Prompt[..., Any]
    Served = Union[Deployment, AnyPrompt, tuple[AnyPrompt, object]]

_FIELD = re.compile(r"\{([\w-]+)\}")


class TypedDeployment(Deployment, frozen=True):
    """A deployment made from typed prompts: one prompt, or one for each variant."""

    _prompts: dict[str, AnyPrompt] = PrivateAttr(default_factory=dict[str, Any])

    @classmethod
    def from_prompts(cls, name: str, prompts: Mapping[str, AnyPrompt], answers: Mapping[str, str]) -> TypedDeployment:
        """Return the deployment of prompts and their answers by variant."""
        # A single prompt answers all variants, like a description without variants.
        variants = {key: Variant(answer=text) for key, text in answers.items() if key} if len(answers) > 1 else {}
        answer = answers.get("", next(iter(answers.values())))
        deployment = cls(name=name, answer=answer, variables={}, variants=variants)
        deployment._prompts.update(prompts)
        return deployment

    def check(self, variant: Optional[str], inputs: Mapping[str, object]) -> Optional[Refusal]:
        """Return a refusal of inputs that do not match the signature; None if they do."""
        prompt = self._prompts.get(variant or "") or next(iter(self._prompts.values()))
        try:
            prompt.inputs.model_validate_json(to_json(inputs))
        except ValidationError as exc:
            problem = exc.errors(include_url=False, include_context=False, include_input=False)[0]
            code = "missing_required_field" if problem["type"] == "missing" else "validation_error"
            return Refusal(422, f"{'.'.join(map(str, ('inputs', *problem['loc'])))}: {problem['msg']}", code)
        return None


def read_served(given: Iterable[Served]) -> list[Deployment]:
    """Return the arguments of an emulator as deployments. Typed prompts of one deployment become its variants.

    Raises:
        ValueError: An output has no valid example, or two prompts are the same variant.

    """
    deployments: list[Deployment] = []
    prompts: dict[str, dict[str, AnyPrompt]] = {}
    answers: dict[str, dict[str, str]] = {}
    for item in given:
        if isinstance(item, Deployment):
            deployments.append(item)
            continue
        prompt = item[0] if isinstance(item, tuple) else item
        name, variant = prompt.deployment, prompt.variant or ""
        if variant in prompts.setdefault(name, {}):
            raise ValueError(f"two typed prompts have the deployment {name!r} and the same variant")
        prompts[name][variant] = prompt
        answers.setdefault(name, {})[variant] = _answer_of(item)
    return [*deployments, *(TypedDeployment.from_prompts(name, prompts[name], answers[name]) for name in prompts)]


def _answer_of(item: Union[AnyPrompt, tuple[AnyPrompt, object]]) -> str:
    """Return the answer of a prompt, with braces escaped as in a description."""
    prompt = item[0] if isinstance(item, tuple) else item
    adapter = _adapter_of(prompt)
    try:
        if not isinstance(item, tuple):
            text = to_json(example_of(adapter.json_schema())).decode()
        else:
            text = adapter.dump_json(item[1], by_alias=True, warnings="error").decode()
        value = adapter.validate_json(text)
    except (ValueError, TypeError) as exc:
        reason = (
            f"cannot make an example of the output of {prompt!r}"
            if item is prompt
            else f"invalid answer for {prompt!r}"
        )
        raise ValueError(f"{reason}: pass a value of its output type, as in Emulator((prompt, value))") from exc
    return _FIELD.sub(r"{{\1}}", value if prompt.output is str else text)


def _adapter_of(prompt: AnyPrompt) -> TypeAdapter[Any]:
    output = prompt.output
    return output if isinstance(output, TypeAdapter) else TypeAdapter(output)


# --- Comparison ------------------------------------------------------------------------------------------------------


def differences(prompt: AnyPrompt, table: Optional[DeploymentTable]) -> Iterator[str]:
    """Yield the differences between a typed prompt and the description of its deployment."""
    if table is None:
        yield f"the deployment {prompt.deployment} has no description"
        return
    if prompt.variant not in {None, "", "default", *table.variants} and table.variants:
        yield f"the deployment {prompt.deployment} has no variant {prompt.variant}"
    schema = prompt.inputs.model_json_schema(mode="serialization")
    own: dict[str, dict[str, Any]] = schema.get("properties", {})
    described = variables_of(table)
    for name, variable in described.items():
        if name in own:
            yield from _differences_of(name, types_of(own[name], schema.get("$defs", {})), variable)
        elif variable.required and variable.default is None:
            yield f"the variable {name} is missing, but required by the deployment"
    if table.variables is not None:
        for name in (name for name in own if name not in described):
            yield f"the variable {name} is unknown to the deployment"


def _differences_of(name: str, types: set[str], variable: Variable) -> Iterator[str]:
    is_required = variable.required and variable.default is None
    accepted = {variable.type} | ({"integer"} if variable.type == "number" else set[str]())
    accepted |= set[str]() if is_required else {"null"}
    wrong = sorted(types - accepted - {"any"})
    if wrong and variable.type != "any":
        yield f"the variable {name} is {' or '.join(sorted(types))}, but {variable.type} in the deployment"


def types_of(schema: dict[str, Any], definitions: Mapping[str, dict[str, Any]]) -> set[str]:
    """Return the JSON types that a schema allows; "any" if it does not restrict them."""
    if "$ref" in schema:
        return types_of(definitions[str(schema["$ref"]).rpartition("/")[2]], definitions)
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return set[str]().union(*(types_of(item, definitions) for item in schema[name]))
    if "enum" in schema and "type" not in schema:
        return set(map(name_type, schema["enum"]))
    kinds = schema.get("type", "any")
    return {kinds} if isinstance(kinds, str) else set(cast("list[str]", kinds))
