"""Typed prompts in an `Emulator`: served, with examples, and compared with descriptions."""

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
    """It answers with a value of its output type, blocking, streamed and with asyncio."""
    client = Emulator((summarise, Summary(title="A {text} {{tone}}", points=["b"]))).client()
    expected = Summary(title="A {text} {{tone}}", points=["b"])

    assert client.invoke(summarise("a")).output == expected
    assert (await client.ainvoke(summarise("a"))).output == expected
    stream = client.stream(summarise("a"))
    assert list(stream.snapshots())[-1] == expected.model_dump()
    assert stream.collect().output == expected


def test_prompt_is_served_on_a_port():
    """Typed prompts work on a port like any deployment."""
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
def test_signature_validates_inputs(inputs, message):
    """Calls of other clients are checked against the signature too."""
    client = Emulator(summarise).client()

    with pytest.raises(UnprocessableEntityError, match=message):
        client.invoke_prompt(deployment="summarise", inputs=inputs)
    assert client.invoke_prompt(deployment="summarise", inputs={"text": "a", "customer-id": 3}).output_as(Summary)


def test_str_output_is_plain_text():
    """A prompt with the output type `str` does not return JSON."""
    client = Emulator((translate, 'He said "{hello}"')).client()

    assert client.invoke(translate("a")).output == 'He said "{hello}"'


def test_prompts_of_one_deployment_are_its_variants():
    """A single prompt answers all variants; several answer one variant each."""
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


def test_prompts_and_descriptions_can_be_combined():
    """An emulator accepts both."""
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
    """A schema's examples come first, then its defaults, then the smallest value."""
    assert example_of(TypeAdapter(output).json_schema()) == example


def test_example_is_valid():
    """The example is valid for the output type."""
    value = Everything.model_validate(example_of(Everything.model_json_schema()))

    assert (value.city, value.count, value.few, value.two) == ("Ulm", 5, -2, [False, False])
    assert (value.either, value.with_default, value.colour) == (Exemplary(city="Ulm"), 3, Colour.RED)


def test_infinite_type_has_no_example():
    """A type whose every value contains itself has no example."""
    with pytest.raises(NoExampleError, match="Endless"):
        example_of(Endless.model_json_schema())


@dataclasses.dataclass
class Plate:
    number: Annotated[str, Field(pattern="^[A-Z]{2}$")]


@prompt("read-plate")
def read_plate(photo: str) -> Plate:
    raise NotImplementedError


def test_invalid_value_is_rejected():
    """Without a valid example a value is required, and it must have the output type."""
    with pytest.raises(ValueError, match=r"cannot make an example of the output of .*: pass a value"):
        Emulator(read_plate)
    assert Emulator((read_plate, Plate("UL"))).client().invoke(read_plate("a")).output == Plate("UL")
    for value in (Plate("ulm"), 3):
        with pytest.raises(ValueError, match="invalid answer for"):
            Emulator((read_plate, value))
    with pytest.raises(ValueError, match="invalid answer for"):
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
        ({"text": Variable(type="array")}, ["the variable text is string, but array in the deployment"]),
        ({"share": Variable(type="integer")}, ["the variable share is number, but integer in the deployment"]),
        ({"note": Variable(type="string")}, ["the variable note is null or string, but string in the deployment"]),
        ({"note": Variable(type="string", default="a")}, []),
        ({"more": Variable()}, ["the variable more is missing, but required by the deployment"]),
        ({"more": Variable(required=False)}, []),
        ({"more": Variable(default=1)}, []),
        ({"text": None}, ["the variable text is unknown to the deployment"]),
        (
            {"note": None, "text": None, "count": None},
            [f"the variable {name} is unknown to the deployment" for name in ("text", "count", "note")],
        ),
        (
            {"level": Variable(type="integer")},
            ["the variable level is integer or string, but integer in the deployment"],
        ),
    ],
)
def test_differences_are_found(change, found):
    """Missing and unknown variables, and those of another JSON type, are reported."""
    variables = {name: variable for name, variable in {**AGREEING, **change}.items() if variable is not None}

    assert Emulator(Deployment(name="d", answer="a", variables=variables)).differences(typed) == found


def test_deployment_without_description_differs():
    """So does an unknown variant, if the deployment has variants."""
    assert Emulator().differences(typed) == ["the deployment d has no description"]
    emulator = Emulator(Deployment(name="translate", answer="{text}", variants={"w": Variant(answer="b")}))
    assert emulator.differences(translate) == []
    assert emulator.differences(translate.with_options(variant="w")) == []
    assert emulator.differences(translate.with_options(variant="v")) == ["the deployment translate has no variant v"]
    # Its only known variables are those in its answers.
    assert emulator.differences(summarise.with_options()) == ["the deployment summarise has no description"]
