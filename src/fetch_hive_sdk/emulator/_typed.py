"""Typed prompts as deployments: how an `Emulator` serves one, and how one differs from a description."""

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
    """A deployment that was made of typed prompts: of one, or of one for each variant."""

    _prompts: dict[str, AnyPrompt] = PrivateAttr(default_factory=dict[str, Any])

    @classmethod
    def made_of(cls, name: str, prompts: Mapping[str, AnyPrompt], answers: Mapping[str, str]) -> TypedDeployment:
        """Return the deployment of prompts and their answers, by variant."""
        # One alone answers every variant, as a description without variants does.
        variants = {key: Variant(answer=text) for key, text in answers.items() if key} if len(answers) > 1 else {}
        answer = answers.get("", next(iter(answers.values())))
        deployment = cls(name=name, answer=answer, variables={}, variants=variants)
        deployment._prompts.update(prompts)
        return deployment

    def check(self, variant: Optional[str], inputs: Mapping[str, object]) -> Optional[Refusal]:
        """Return the refusal of inputs that the signature refuses; None if it takes them."""
        prompt = self._prompts.get(variant or "") or next(iter(self._prompts.values()))
        try:
            prompt.inputs.model_validate_json(to_json(inputs))
        except ValidationError as exc:
            problem = exc.errors(include_url=False, include_context=False, include_input=False)[0]
            code = "missing_required_field" if problem["type"] == "missing" else "validation_error"
            return Refusal(422, f"{'.'.join(map(str, ('inputs', *problem['loc'])))}: {problem['msg']}", code)
        return None


def read_served(given: Iterable[Served]) -> list[Deployment]:
    """Return the deployments of what an emulator is given. Typed prompts of one deployment are its variants.

    Raises:
        ValueError: There is no example of an output, or it does not fit; or two prompts are the same variant.

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
            raise ValueError(f"two typed prompts are the same variant of the deployment {name!r}")
        prompts[name][variant] = prompt
        answers.setdefault(name, {})[variant] = _answer_of(item)
    return [*deployments, *(TypedDeployment.made_of(name, prompts[name], answers[name]) for name in prompts)]


def _answer_of(item: Union[AnyPrompt, tuple[AnyPrompt, object]]) -> str:
    """Return what a prompt answers, with braces as a description writes them."""
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
            f"{prompt!r} has no example of its output" if item is prompt else f"{prompt!r} cannot answer this value"
        )
        raise ValueError(f"{reason}: pass a value of its type, as in Emulator((prompt, value))") from exc
    return _FIELD.sub(r"{{\1}}", value if prompt.output is str else text)


def _adapter_of(prompt: AnyPrompt) -> TypeAdapter[Any]:
    output = prompt.output
    return output if isinstance(output, TypeAdapter) else TypeAdapter(output)


# --- What differs ----------------------------------------------------------------------------------------------------


def differences(prompt: AnyPrompt, table: Optional[DeploymentTable]) -> Iterator[str]:
    """Say in what a typed prompt differs from the description of its deployment."""
    if table is None:
        yield f"the deployment {prompt.deployment} is not described"
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
            yield f"the variable {name} is missing: the deployment requires it"
    if table.variables is not None:
        for name in (name for name in own if name not in described):
            yield f"the variable {name} is superfluous: the deployment does not take it"


def _differences_of(name: str, types: set[str], variable: Variable) -> Iterator[str]:
    is_required = variable.required and variable.default is None
    accepted = {variable.type} | ({"integer"} if variable.type == "number" else set[str]())
    accepted |= set[str]() if is_required else {"null"}
    wrong = sorted(types - accepted - {"any"})
    if wrong and variable.type != "any":
        yield f"the variable {name} is {' or '.join(sorted(types))}: the deployment takes {variable.type}"


def types_of(schema: dict[str, Any], definitions: Mapping[str, dict[str, Any]]) -> set[str]:
    """Return the types of JSON that a schema allows; "any" where it does not say."""
    if "$ref" in schema:
        return types_of(definitions[str(schema["$ref"]).rpartition("/")[2]], definitions)
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return set[str]().union(*(types_of(item, definitions) for item in schema[name]))
    if "enum" in schema and "type" not in schema:
        return set(map(name_type, schema["enum"]))
    kinds = schema.get("type", "any")
    return {kinds} if isinstance(kinds, str) else set(cast("list[str]", kinds))
