"""What an editor shows when the mouse rests on a name: something, for all that is public."""

from __future__ import annotations

import logging

import griffe
import pytest

import fetch_hive_sdk
from fetch_hive_sdk import testing

logging.getLogger("griffe").setLevel(logging.ERROR)  # it would tell of all that it cannot import

PACKAGE = griffe.load("fetch_hive_sdk", docstring_parser=griffe.Parser.google)
NAMES = [f"{module.__name__}.{name}" for module in (fetch_hive_sdk, testing) for name in module.__all__]
NAMES.remove("fetch_hive_sdk.__version__")

# How Pydantic is told what to do, and how it copies.
OF_PYDANTIC = {"model_config", "model_copy"}


def find(path):
    found = PACKAGE[path.partition(".")[2]]
    return found.final_target if found.is_alias else found


def members_of(cls):
    """The public methods, properties and fields of a class, and those that private classes of ours lend to it."""
    lent = {name: alias.final_target for name, alias in cls.inherited_members.items()}
    members = {**{name: member for name, member in lent.items() if "._" in member.path}, **cls.members}
    return {name: member for name, member in members.items() if not name.startswith("_") and name not in OF_PYDANTIC}


def docstring_of(cls, name):
    """The docstring of a member, else that of the class above which declares it."""
    found = [one.members[name].docstring for one in (cls, *cls.mro()) if name in one.members]
    return next(filter(None, found), None)


def sections(thing, kind):
    return [section for section in thing.docstring.parsed if section.kind is kind]


def described(thing):
    """The arguments that a docstring describes."""
    found = sections(thing, griffe.DocstringSectionKind.parameters)
    return {argument.name.lstrip("*") for section in found for argument in section.value}


def taken(function):
    return {argument.name for argument in function.parameters} - {"self", "cls"}


def functions_of(path):
    thing = find(path)
    functions = members_of(thing).values() if thing.is_class else [thing]
    return [function for function in functions if function.is_function and not is_described_elsewhere(function)]


def is_described_elsewhere(function):
    """Whether its one line names the call that has the full description: an asyncio twin, or a name of the vendor's."""
    text = function.docstring.value if function.docstring else ""
    return "\n" not in text and ("the asyncio twin of `" in text or "See `client." in text)


classes = pytest.mark.parametrize("path", [path for path in NAMES if find(path).is_class])
functions = pytest.mark.parametrize(
    "function", [pytest.param(one, id=one.path) for path in NAMES for one in functions_of(path)]
)


@pytest.mark.parametrize("path", [*NAMES, "fetch_hive_sdk.pytest_plugin.fetch_hive"])
def test_every_public_name_is_described(path):
    """A class, a function, a type and a constant say what they are for."""
    assert find(path).docstring


@classes
def test_every_member_is_described(path):
    """Methods, properties, fields and the attributes of exceptions say what they are for."""
    cls = find(path)

    assert [name for name in members_of(cls) if not docstring_of(cls, name)] == []


def is_made_by_hand(cls):
    """Whether callers make it by its arguments: not by its fields, as models, and not by a call of ours."""
    has_fields = "dataclass" in cls.labels or "BaseModel" in str([one.bases for one in (cls, *cls.mro())])
    return "__init__" in cls.all_members and not has_fields and "Made by" not in cls.docstring.value


@pytest.mark.parametrize("path", [path for path in NAMES if find(path).is_class and is_made_by_hand(find(path))])
def test_every_argument_of_a_class_is_described(path):
    """What a class is made of is in its list of arguments, or in that of the class which takes it."""
    cls = find(path)

    maker = next(one for one in (cls, *cls.mro()) if "__init__" in one.members)
    assert described(maker) == taken(maker.members["__init__"])


@functions
def test_every_argument_of_a_call_is_described(function):
    """What a call takes is in its list of arguments, and nothing else is."""
    assert described(function) == taken(function)


@functions
def test_what_a_call_returns_is_described(function):
    """A call that returns something says what: in a section, or because its first sentence is about just that."""
    kinds = (griffe.DocstringSectionKind.returns, griffe.DocstringSectionKind.yields)
    is_told = any(sections(function, kind) for kind in kinds)

    summary = function.docstring.value.partition("\n")[0]
    returned = str(function.returns)
    # A builder returns another of its kind, as its class says.
    is_plain = returned in {"None", "NoReturn", function.parent.name}
    assert is_told or is_plain or summary == function.docstring.value or "return" in summary.lower()
