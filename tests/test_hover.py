"""Every public name has a docstring, which editors show on hover."""

from __future__ import annotations

import logging

import griffe
import pytest

import fetch_hive_sdk
from fetch_hive_sdk import testing

logging.getLogger("griffe").setLevel(logging.ERROR)  # it logs every import that it cannot resolve

PACKAGE = griffe.load("fetch_hive_sdk", docstring_parser=griffe.Parser.google)
NAMES = [f"{module.__name__}.{name}" for module in (fetch_hive_sdk, testing) for name in module.__all__]
NAMES.remove("fetch_hive_sdk.__version__")

# Members of Pydantic.
OF_PYDANTIC = {"model_config", "model_copy"}


def find(path):
    found = PACKAGE[path.partition(".")[2]]
    return found.final_target if found.is_alias else found


def members_of(cls):
    """The public methods, properties and fields of a class, including those that it inherits from private classes."""
    inherited = {name: alias.final_target for name, alias in cls.inherited_members.items()}
    members = {**{name: member for name, member in inherited.items() if "._" in member.path}, **cls.members}
    return {name: member for name, member in members.items() if not name.startswith("_") and name not in OF_PYDANTIC}


def docstring_of(cls, name):
    """The docstring of a member, or else that of the base class that declares it."""
    found = [one.members[name].docstring for one in (cls, *cls.mro()) if name in one.members]
    return next(filter(None, found), None)


def sections(thing, kind):
    return [section for section in thing.docstring.parsed if section.kind is kind]


def described(thing):
    """The arguments in the "Args" section of a docstring."""
    found = sections(thing, griffe.DocstringSectionKind.parameters)
    return {argument.name.lstrip("*") for section in found for argument in section.value}


def arguments_of(function):
    return {argument.name for argument in function.parameters} - {"self", "cls"}


def functions_of(path):
    thing = find(path)
    functions = members_of(thing).values() if thing.is_class else [thing]
    return [function for function in functions if function.is_function and not is_described_elsewhere(function)]


def is_described_elsewhere(function):
    """Whether the docstring only refers to another call: of an asyncio twin, or of a name of the vendor's package."""
    text = function.docstring.value if function.docstring else ""
    return "\n" not in text and ("the asyncio twin of `" in text or "See `client." in text)


classes = pytest.mark.parametrize("path", [path for path in NAMES if find(path).is_class])
functions = pytest.mark.parametrize(
    "function", [pytest.param(one, id=one.path) for path in NAMES for one in functions_of(path)]
)


@pytest.mark.parametrize("path", [*NAMES, "fetch_hive_sdk.pytest_plugin.fetch_hive"])
def test_every_public_name_is_described(path):
    """Classes, functions, types and constants have a docstring."""
    assert find(path).docstring


@classes
def test_every_member_is_described(path):
    """Methods, properties, fields and attributes of exceptions have a docstring."""
    cls = find(path)

    assert [name for name in members_of(cls) if not docstring_of(cls, name)] == []


def is_created_by_callers(cls):
    """Whether callers create it by calling its constructor: it is not a model, and no call returns it."""
    has_fields = "dataclass" in cls.labels or "BaseModel" in str([one.bases for one in (cls, *cls.mro())])
    return "__init__" in cls.all_members and not has_fields and "Made by" not in cls.docstring.value


@pytest.mark.parametrize("path", [path for path in NAMES if find(path).is_class and is_created_by_callers(find(path))])
def test_every_argument_of_a_class_is_described(path):
    """The constructor's arguments are described in the docstring of the class or its base class."""
    cls = find(path)

    constructor_class = next(one for one in (cls, *cls.mro()) if "__init__" in one.members)
    assert described(constructor_class) == arguments_of(constructor_class.members["__init__"])


@functions
def test_every_argument_of_a_call_is_described(function):
    """The "Args" section has all arguments, and no others."""
    assert described(function) == arguments_of(function)


@functions
def test_return_value_of_a_call_is_described(function):
    """In a "Returns" section, or in the summary line."""
    kinds = (griffe.DocstringSectionKind.returns, griffe.DocstringSectionKind.yields)
    has_section = any(sections(function, kind) for kind in kinds)

    summary = function.docstring.value.partition("\n")[0]
    returned = str(function.returns)
    # Builders return an instance of their own class, as the docstring of the class states.
    is_plain = returned in {"None", "NoReturn", function.parent.name}
    assert has_section or is_plain or summary == function.docstring.value or "return" in summary.lower()
