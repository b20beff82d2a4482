"""Typed prompts in an `Emulator`: served, given examples, and compared with a description."""

from __future__ import annotations

import dataclasses
import datetime as dt  # noqa: TC003 - Pydantic reads annotations at run time
from enum import Enum
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID  # noqa: TC003 - as above

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from fetch_hive_sdk import NotFoundError, UnprocessableEntityError, prompt
from fetch_hive_sdk.emulator import Deployment, Emulator, Variable, Variant
from fetch_hive_sdk.emulator._examples import NoExampleError, example_of


class Summary(BaseModel):
    title: str
    points: list[str] = []


@prompt("summarise")
def summarise(
    text: str, *, tone: Literal["dry", "warm"] = "dry", customer: Annotated[int, Field(alias="customer-id")] = 0
) -> Summary:
    raise NotImplementedError


@prompt("translate")
def translate(text: str) -> str:
    raise NotImplementedError


# --- Served ----------------------------------------------------------------------------------------------------------


async def test_prompt_is_served():
    """It answers with a value of its output, blocking, streamed and with asyncio."""
    client = Emulator((summarise, Summary(title="A {text} {{tone}}", points=["b"]))).client()
    expected = Summary(title="A {text} {{tone}}", points=["b"])

    assert client.invoke(summarise("a")).output == expected
    assert (await client.ainvoke(summarise("a"))).output == expected
    stream = client.stream(summarise("a"))
    assert list(stream.snapshots())[-1] == expected.model_dump()
    assert stream.collect().output == expected


def test_prompt_is_served_on_a_port():
    """As every deployment of an emulator."""
    emulator = Emulator(summarise)
    with emulator.serve() as url:
        client = emulator.client().with_options(base_url=url)
        assert client.invoke(summarise("a")).output == Summary(title="")
        client.close()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "inputs.text: Field required"),
        ({"text": [1]}, "inputs.text: Input should be a valid string"),
        ({"text": "a", "tone": "wet"}, "inputs.tone: Input should be 'dry' or 'warm'"),
        ({"text": "a", "tome": "dry"}, "inputs.tome: Extra inputs are not permitted"),
        ({"text": "a", "customer": 1}, "inputs.customer: Extra inputs are not permitted"),
        ({"text": "a", "customer-id": "x"}, "inputs.customer-id: Input should be a valid integer"),
    ],
)
def test_inputs_that_the_signature_refuses_are_refused(inputs, message):
    """Other callers of the deployment, such as untyped ones, are refused what the prompt would refuse."""
    client = Emulator(summarise).client()

    with pytest.raises(UnprocessableEntityError, match=message):
        client.invoke_prompt(deployment="summarise", inputs=inputs)
    assert client.invoke_prompt(deployment="summarise", inputs={"text": "a", "customer-id": 3}).output_as(Summary)


def test_text_is_served_as_it_is():
    """A prompt whose output is `str` answers no JSON."""
    client = Emulator((translate, 'He said "{hello}"')).client()

    assert client.invoke(translate("a")).output == 'He said "{hello}"'


def test_prompts_of_one_deployment_are_its_variants():
    """One alone answers every variant; of several, each its own."""
    other = summarise.with_options(variant="terse")
    client = Emulator((summarise, Summary(title="long")), (other, Summary(title="short"))).client()

    assert client.invoke(summarise("a")).output.title == "long"
    assert client.invoke(other("a")).output.title == "short"
    with pytest.raises(NotFoundError):
        client.invoke(summarise.with_options(variant="none")("a"))
    assert Emulator(other).client().invoke(summarise("a")).output.title == ""
    with pytest.raises(ValueError, match="the same variant"):
        Emulator(summarise, summarise)
    with pytest.raises(ValueError, match="the same name"):
        Emulator(summarise, Deployment(name="summarise"))


def test_prompts_and_descriptions_go_together():
    """An emulator takes both."""
    client = Emulator(summarise, Deployment(name="other", answer="b")).client()

    assert client.invoke(summarise("a")).output.points == []
    assert client.invoke_prompt(deployment="other").response == "b"


# --- Examples --------------------------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


class Node(BaseModel):
    name: str = Field(min_length=2)
    next: Optional[Node] = None
    others: list[Node] = []


class Endless(BaseModel):
    next: Endless


class Exemplary(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"city": "Ulm"}]})
    city: str


class Everything(BaseModel):
    day: dt.date
    at: dt.datetime
    id: UUID
    colour: Colour
    city: str = Field(examples=["Ulm"])
    word: Literal["a", "b"]
    count: Annotated[int, Field(gt=3, multiple_of=5)]
    few: Annotated[float, Field(le=-2)]
    pair: tuple[int, str]
    two: Annotated[list[bool], Field(min_length=2)]
    either: Union[Exemplary, int]
    anything: Any
    node: Node
    with_default: int = 3


@pytest.mark.parametrize(
    ("output", "example"),
    [
        (int, 0),
        (bool, False),
        (list[int], []),
        (dict[str, int], {}),
        (Optional[int], 0),
        (Exemplary, {"city": "Ulm"}),
        (Node, {"name": "xx"}),
        (Literal["yes", "no"], "yes"),
    ],
)
def test_example_is_the_smallest_value(output, example):
    """The examples of a schema come first, then its defaults, then the smallest value."""
    assert example_of(TypeAdapter(output).json_schema()) == example


def test_example_fits():
    """What is made up is of the output type."""
    value = Everything.model_validate(example_of(Everything.model_json_schema()))

    assert (value.city, value.count, value.few, value.two) == ("Ulm", 5, -2, [False, False])
    assert (value.either, value.with_default, value.colour) == (Exemplary(city="Ulm"), 3, Colour.RED)


def test_value_without_end_has_no_example():
    """A type whose every value contains itself."""
    with pytest.raises(NoExampleError, match="Endless"):
        example_of(Endless.model_json_schema())


@dataclasses.dataclass
class Plate:
    number: Annotated[str, Field(pattern="^[A-Z]{2}$")]


@prompt("read-plate")
def read_plate(photo: str) -> Plate:
    raise NotImplementedError


def test_value_that_does_not_fit_is_refused():
    """Where nothing that fits can be made up, a value is asked for; and it has to be one of the output type."""
    with pytest.raises(ValueError, match=r"no example of its output: pass a value"):
        Emulator(read_plate)
    assert Emulator((read_plate, Plate("UL"))).client().invoke(read_plate("a")).output == Plate("UL")
    for value in (Plate("ulm"), 3):
        with pytest.raises(ValueError, match="cannot answer this value"):
            Emulator((read_plate, value))
    with pytest.raises(ValueError, match="cannot answer this value"):
        Emulator((translate, 3))


# --- Compared --------------------------------------------------------------------------------------------------------


@prompt("d", variant="v")
def typed(  # noqa: PLR0917 - as many as there are types
    text: str,
    count: int,
    share: float = 1,
    note: Optional[str] = None,
    tags: list[str] = [],  # noqa: B006 - never run
    when: Optional[dt.date] = None,
    colour: Colour = Colour.RED,
    anything: Any = None,
    level: Literal["high", 3] = 3,
) -> str:
    raise NotImplementedError


AGREEING: dict[str, Any] = {
    "text": Variable(type="string"),
    "count": Variable(type="number"),
    "share": Variable(type="number"),
    "note": Variable(type="string", required=False),
    "tags": Variable(type="array"),
    "when": Variable(type="string", required=False),
    "colour": Variable(type="string"),
    "anything": Variable(type="object"),
    "level": Variable(),
}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"text": Variable()}, []),
        ({"text": Variable(type="array")}, ["the variable text is string: the deployment takes array"]),
        ({"share": Variable(type="integer")}, ["the variable share is number: the deployment takes integer"]),
        ({"note": Variable(type="string")}, ["the variable note is null or string: the deployment takes string"]),
        ({"note": Variable(type="string", default="a")}, []),
        ({"more": Variable()}, ["the variable more is missing: the deployment requires it"]),
        ({"more": Variable(required=False)}, []),
        ({"more": Variable(default=1)}, []),
        ({"text": None}, ["the variable text is superfluous: the deployment does not take it"]),
        (
            {"note": None, "text": None, "count": None},
            [
                f"the variable {name} is superfluous: the deployment does not take it"
                for name in ("text", "count", "note")
            ],
        ),
        (
            {"level": Variable(type="integer")},
            ["the variable level is integer or string: the deployment takes integer"],
        ),
    ],
)
def test_differences_are_found(change, found):
    """A variable that is missing, superfluous, or of another type of JSON."""
    variables = {name: variable for name, variable in {**AGREEING, **change}.items() if variable is not None}

    assert Emulator(Deployment(name="d", answer="a", variables=variables)).differences(typed) == found


def test_deployment_that_is_not_described_differs():
    """So does a variant, where variants are described."""
    assert Emulator().differences(typed) == ["the deployment d is not described"]
    emulator = Emulator(Deployment(name="translate", answer="{text}", variants={"w": Variant(answer="b")}))
    assert emulator.differences(translate) == []
    assert emulator.differences(translate.with_options(variant="w")) == []
    assert emulator.differences(translate.with_options(variant="v")) == ["the deployment translate has no variant v"]
    # Only what its answers need is known of it.
    assert emulator.differences(summarise.with_options()) == ["the deployment summarise is not described"]
