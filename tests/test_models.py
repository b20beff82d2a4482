"""The models: requests are validated before they are sent, and answers keep what the service sent."""

from __future__ import annotations

import copy
import dataclasses
import enum
import importlib
import json
import math
import pickle
import pkgutil
import sys
import textwrap
import time
from collections import ChainMap, OrderedDict, deque
from collections.abc import Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, List, Literal, Optional, Union  # noqa: UP035 - one of the forms that users write
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    Field,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_serializer,
    field_validator,
    model_serializer,
)
from typing_extensions import TypedDict

import fetch_hive_sdk
from fetch_hive_sdk import models
from fetch_hive_sdk.errors import OutputValidationError
from fetch_hive_sdk.models import base, prompts, usage
from fetch_hive_sdk.models.base import keep_raw, keep_raw_json
from fetch_hive_sdk.models.prompts import (
    ErrorEvent,
    InvokeRequest,
    InvokeResponse,
    KnownEvent,
    PartialAnswer,
    ReasoningEvent,
    ResponseEvent,
    UnknownEvent,
    UsageEvent,
)
from fetch_hive_sdk.models.usage import CompletionTokens, PromptTokens, Usage

NAN = float("nan")


# --- What we send ----------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(str):
    __slots__ = ()


class Ratio(float):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    x: float
    next: Optional[Point] = None


class Ticket(BaseModel):
    title: str
    due: Optional[date] = None
    weight: Optional[float] = None
    parent: Any = None


def inputs_sent(inputs: object) -> object:
    return InvokeRequest(deployment="d", inputs=inputs).raw["inputs"]


def refusal(**fields: object) -> str:
    with pytest.raises(ValidationError) as caught:
        InvokeRequest(**{"deployment": "d", **fields})
    return str(caught.value)


def lists_in_lists(levels: int) -> object:
    value: object = "the innermost"
    for _ in range(levels):
        value = [value]
    return value


def test_request_is_written_as_json():
    """As the vendor's page describes it."""
    request = InvokeRequest(
        deployment="summarise",
        variant="short",
        inputs={"text": "Once upon a time"},
        user="u-17",
        metadata={"team": "tales"},
        streaming=True,
    )

    assert request.raw == {
        "deployment": "summarise",
        "variant": "short",
        "inputs": {"text": "Once upon a time"},
        "user": "u-17",
        "metadata": {"team": "tales"},
        "streaming": True,
    }


@pytest.mark.parametrize(
    "empty",
    [
        {},
        {"variant": None, "inputs": None, "user": None, "metadata": None},
        {"variant": ""},
    ],
    ids=["missing", "none", "empty"],
)
def test_omitted_fields_are_not_sent(empty):
    """None and an empty variant are omitted; `streaming` is always sent."""
    request = InvokeRequest(deployment="d", **empty)

    assert request.raw == {"deployment": "d", "streaming": False}


def test_empty_values_are_sent():
    """Like the vendor's package."""
    request = InvokeRequest(deployment="d", inputs={}, user="", metadata={})

    assert request.raw == {"deployment": "d", "inputs": {}, "user": "", "metadata": {}, "streaming": False}


def test_unknown_field_is_rejected():
    """A typo fails at the call."""
    text = refusal(varriant="short")

    assert "varriant" in text


def test_deployment_is_required():
    """There is no default deployment."""
    with pytest.raises(ValidationError, match="deployment\n  Field required"):
        InvokeRequest()


@pytest.mark.parametrize("deployment", ["", " ", "\t\n"])
def test_empty_deployment_is_rejected(deployment):
    """Whitespace counts as empty, and the message states what to pass."""
    text = refusal(deployment=deployment)

    assert "must not be empty: pass the name of a prompt deployment" in text


@pytest.mark.parametrize(
    ("value", "written"),
    [("text", "text"), (Name("text"), "text"), (7, 7), (0.5, 0.5), (True, True), (None, None)],
)
def test_flat_metadata_is_sent(value, written):
    """Strings, numbers, booleans and None are sent unchanged."""
    request = InvokeRequest(deployment="d", metadata={"key": value})

    sent = request.raw["metadata"]

    assert sent == {"key": written}
    assert isinstance(sent["key"], type(written))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("text", "must be a mapping"),
        ([("key", 1)], "must be a mapping"),
        ({"": 1}, "every key must be a non-empty string"),
        ({7: 1}, "every key must be a non-empty string"),
        ({"key": {}}, "the value of key must be a string, a number, a boolean or None"),
        ({"key": []}, "the service rejects nested metadata"),
        ({"key": NAN}, "the value of key is not a finite number"),
        ({"key": float("-inf")}, "the value of key is not a finite number"),
        ({"key": "\udcff"}, "the value of key has a lone surrogate"),
        ({"\udcff": "text"}, "a key has a lone surrogate"),
    ],
)
def test_invalid_metadata_is_rejected(metadata, reason):
    """Metadata is flat; the message names the key."""
    text = refusal(metadata=metadata)

    assert "metadata\n" in text
    assert reason in text


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (10**30, 10**30),
        (0.5, 0.5),
        ("naïve ☃ 😀", "naïve ☃ 😀"),
        (Name("text"), "text"),
        (Level.HIGH, 3),
        (Ratio(0.5), 0.5),
        (Colour.RED, "red"),
        (datetime(2024, 5, 17, 12, 30, tzinfo=timezone.utc), "2024-05-17T12:30:00Z"),
        (date(2024, 5, 17), "2024-05-17"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        (b"text", "text"),
        ([1, [2]], [1, [2]]),
        ((1, (2,)), [1, [2]]),
        ({1}, [1]),
        (frozenset({Colour.RED}), ["red"]),
        ((number for number in (1, 2)), [1, 2]),
        (OrderedDict(a={"b": 1}), {"a": {"b": 1}}),
        (Point(1.5, Point(2)), {"x": 1.5, "next": {"x": 2, "next": None}}),
        (Ticket(title="t", due=date(2024, 5, 17)), {"title": "t", "due": "2024-05-17", "weight": None, "parent": None}),
        ([{"at": (date(2024, 5, 17),)}], [{"at": ["2024-05-17"]}]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_inputs_are_converted_to_json(value, written):
    """Everything that Pydantic can serialize is accepted, at any depth; JSON values stay unchanged."""
    sent = inputs_sent({"value": value})

    assert sent == {"value": written}
    assert type(sent["value"]) is type(written)


def test_inputs_may_be_a_model():
    """The fields of a Pydantic model are the variables of the prompt."""
    ticket = Ticket(title="t", due=date(2024, 5, 17), parent=Point(1))

    sent = inputs_sent(ticket)

    assert sent == {"title": "t", "due": "2024-05-17", "weight": None, "parent": {"x": 1, "next": None}}


@pytest.mark.parametrize(
    ("key", "written"),
    [
        (Name("key"), "key"),
        (7, "7"),
        (True, "true"),
        (Colour.RED, "red"),
        (date(2024, 5, 17), "2024-05-17"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keys_of_inputs_are_converted_to_strings(key, written):
    """As Pydantic serializes them."""
    sent = inputs_sent({key: 1, "deeper": {key: 2}})

    assert sent == {written: 1, "deeper": {written: 2}}


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"a": NAN}, "inputs.a is nan"),
        ({"a": [0, {"b": float("-inf")}]}, "inputs.a[1].b is -inf"),
        ({"a": Ratio("inf")}, "inputs.a is inf"),
        ({"a": Point(NAN)}, "inputs.a.x is nan"),
        ({"a": (Ticket(title="t", weight=NAN),)}, "inputs.a[0].weight is nan"),
        (Ticket(title="t", weight=NAN), "inputs.weight is nan"),
        ({"a": [object()]}, "inputs.a[0] is of type object"),
        ({"a": {object(): 1}}, "a key of inputs.a "),
        ({"a": b"\xff"}, "inputs.a is of type bytes"),
        ({"a": "\ud83d"}, "inputs.a has a lone surrogate"),
        ({"a": {"\ud83d": 1}}, "a key of inputs.a has a lone surrogate"),
        ({"a": Name("\ud83d")}, "inputs.a "),
    ],
)
def test_inputs_that_json_cannot_represent_are_rejected(inputs, reason):
    """The message has the path of the value."""
    text = refusal(inputs=inputs)

    assert f"inputs\n  {reason}" in text
    assert "cannot represent" in text or "cannot encode" in text


def itself_in_a_dict() -> object:
    value: dict[str, object] = {}
    value["again"] = [value]
    return value


def itself_in_a_list() -> object:
    value: list[object] = []
    value.append(value)
    return value


def itself_in_a_model() -> object:
    value = Ticket(title="t")
    value.parent = value
    return value


def itself_in_a_dataclass() -> object:
    value = Point(1)
    value.next = value
    return value


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (itself_in_a_dict, "inputs.a.again[0] contains itself"),
        (itself_in_a_list, "inputs.a[0] contains itself"),
        (itself_in_a_model, "inputs.a"),
        (itself_in_a_dataclass, "inputs.a.next contains itself"),
    ],
)
def test_cyclic_inputs_are_rejected(make, reason):
    """The message has the path where the cycle closes."""
    text = refusal(inputs={"a": make()})

    assert reason in text


def test_shared_object_is_sent_twice():
    """An object in two places is not a cycle."""
    part = {"b": [1]}

    sent = inputs_sent({"first": part, "second": [part, part]})

    assert sent == {"first": {"b": [1]}, "second": [{"b": [1]}, {"b": [1]}]}


def test_deep_inputs_are_sent():
    """Up to a hundred levels."""
    value = lists_in_lists(99)

    sent = inputs_sent({"a": value})

    assert sent == {"a": value}


@pytest.mark.parametrize("levels", [100, 100_000])
def test_too_deep_inputs_are_rejected(levels):
    """At any depth the result is a readable error, not a crash."""
    text = refusal(inputs={"a": lists_in_lists(levels)})

    assert "inputs.a[0][0]" in text
    assert "... is nested more than 100 levels deep" in text
    assert len(text) < 300


def test_too_deep_objects_are_rejected():
    """Even if Pydantic cannot serialize them."""
    point = Point(0)
    for _ in range(1000):
        point = Point(0, point)

    text = refusal(inputs={"a": point})

    assert "inputs.a.next.next" in text
    assert "is nested more than 100 levels deep" in text


def test_error_names_the_invalid_part_of_a_model():
    """The message has its path, not only that of the model."""
    assert "inputs.a.x[0].b is of type object, which JSON cannot represent" in refusal(
        inputs={"a": Point([{"b": object()}])}
    )


@pytest.mark.parametrize("inputs", ["text", [("a", 1)], 7, Point(1)], ids=lambda value: type(value).__name__)
def test_inputs_without_names_are_rejected(inputs):
    """Inputs are a mapping or a Pydantic model."""
    text = refusal(inputs=inputs)

    assert "must be a mapping or a Pydantic model" in text


def test_arguments_are_copied():
    """Later changes of the arguments have no effect."""
    inputs = {"a": {"b": [1]}}
    metadata = {"key": "before"}
    request = InvokeRequest(deployment="d", inputs=inputs, metadata=metadata)

    inputs["a"]["b"].append(2)
    inputs["c"] = {}
    metadata["key"] = "after"

    assert request.raw["inputs"] == {"a": {"b": [1]}}
    assert request.raw["metadata"] == {"key": "before"}


class Confidential:
    def __repr__(self):
        return "s3cret"


@pytest.mark.parametrize(
    "fields",
    [
        {"deployment": ["s3cret"]},
        {"variant": ["s3cret"]},
        {"user": ["s3cret"]},
        {"streaming": "s3cret"},
        {"inputs": "s3cret"},
        {"inputs": {"a": Confidential(), "b": "s3cret"}},
        {"inputs": {"a": "s3cret\ud83d"}},
        {"inputs": Ticket(title="s3cret", weight=NAN)},
        {"metadata": "s3cret"},
        {"metadata": {"a": ["s3cret"]}},
        {"metadata": {Confidential(): 1}},
        {"surplus": "s3cret"},
    ],
    ids=str,
)
def test_error_does_not_quote_values(fields):
    """The message can be logged."""
    text = refusal(**fields)

    assert "s3cret" not in text


@pytest.mark.parametrize("name", sorted(InvokeRequest.model_fields))
def test_request_is_immutable(name):
    """Fields of a request cannot be set."""
    request = InvokeRequest(deployment="d")

    with pytest.raises(ValidationError, match="frozen"):
        setattr(request, name, "changed")


# --- What we receive -------------------------------------------------------------------------------------------------

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> dict[str, Any]:
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


WIRE: dict[type[BaseModel], dict[str, Any]] = {
    PromptTokens: {"total_tokens": 24, "cached_tokens": None, "new": {"deep": [1]}},
    CompletionTokens: {"reasoning_tokens": 64, "total_tokens": 170, "new": {"deep": [1]}},
    Usage: {**sample("usage_event")["usage"], "new": {"deep": [1]}},
    InvokeResponse: {**sample("invoke_response"), "new": {"deep": [1]}},
    ReasoningEvent: {**sample("reasoning_event"), "new": {"deep": [1]}},
    ResponseEvent: {**sample("response_event"), "new": {"deep": [1]}},
    UsageEvent: {**sample("usage_event"), "new": {"deep": [1]}},
    ErrorEvent: {"type": "error", "error": "overloaded", "code": "busy", "message": None, "new": {"deep": [1]}},
    UnknownEvent: {"type": "tool_call", "request_id": "req_1", "new": {"deep": [1]}},
}
"""A sample object for each model, with a field that the model does not know."""


def received(model_type: type[base.ReceivedT]) -> base.ReceivedT:
    wire = copy.deepcopy(WIRE[model_type])
    return keep_raw(model_type.model_validate(wire), wire)


def name_of(value: object) -> str:
    return getattr(value, "__name__", str(value))


with_each_model = pytest.mark.parametrize("model_type", WIRE, ids=name_of)
with_each_way_to_copy = pytest.mark.parametrize(
    "copy_of",
    [
        copy.copy,
        copy.deepcopy,
        lambda model: model.model_copy(),
        lambda model: model.model_copy(deep=True),
        lambda model: pickle.loads(pickle.dumps(model, 2)),
        lambda model: pickle.loads(pickle.dumps(model)),
    ],
    ids=["copy", "deepcopy", "model_copy", "deep model_copy", "old pickle", "pickle"],
)


def test_every_model_has_a_sample():
    """All received models of the module are tested here."""
    found = [value for family in (prompts, usage) for value in vars(family).values() if isinstance(value, type)]
    ours = {value for value in found if value.__module__ in {prompts.__name__, usage.__name__}}
    public = {kind for kind in ours if issubclass(kind, BaseModel) and not kind.__name__.startswith("_")}

    assert public == {*WIRE, InvokeRequest, PartialAnswer}


def test_answer_of_the_vendors_page_is_parsed():
    """The fields of "Run with API" have the documented types."""
    answer = InvokeResponse.model_validate(sample("invoke_response"))

    assert answer.request_id == "req_019d528660dd7e22b15e5b13a1931c50"
    assert answer.model == "gpt-5-nano-2025-08-07"
    assert answer.duration == 4.641960144042969
    assert answer.reasoning.startswith("**Clarifying summary request**\n\nI need")
    assert answer.response.startswith("I\u2019m missing the text")
    assert answer.usage.prompt_tokens.total_tokens == 24
    assert answer.usage.prompt_tokens.cached_tokens == 0
    assert answer.usage.completion_tokens.total_tokens == 187
    assert answer.usage.completion_tokens.reasoning_tokens == 64
    assert answer.usage.total_tokens == 211
    assert answer.usage.duration is None
    assert answer.stop_reason == "completed"
    assert not answer.model_extra


@pytest.mark.parametrize(
    ("name", "event"),
    [
        (
            "reasoning_event",
            ReasoningEvent(request_id="req_019d52846ea37682b03522fd0695cc43", model="gpt-5-nano", response=" seems"),
        ),
        (
            "response_event",
            ResponseEvent(request_id="req_019d52846ea37682b03522fd0695cc43", model="gpt-5-nano", response=" too"),
        ),
        (
            "usage_event",
            UsageEvent(
                request_id="req_019d52846ea37682b03522fd0695cc43",
                usage=Usage(
                    duration=4.79230260848999,
                    prompt_tokens=PromptTokens(total_tokens=24, cached_tokens=0),
                    completion_tokens=CompletionTokens(total_tokens=170, reasoning_tokens=64),
                    total_tokens=194,
                ),
                stop_reason="completed",
            ),
        ),
    ],
    ids=name_of,
)
def test_events_of_the_vendors_page_are_parsed(name, event):
    """`type` determines the model of an event."""
    wire = sample(name)

    parsed = TypeAdapter(KnownEvent).validate_python(wire)

    assert type(parsed) is type(event)
    assert parsed == event


def test_unknown_event_is_not_a_known_one():
    """Only the four documented types are known."""
    wire = {"type": "tool_call", "response": "text"}

    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        TypeAdapter(KnownEvent).validate_python(wire)


# Missing, null, invalid and unknown fields


@pytest.mark.parametrize(
    ("model_type", "least"),
    [
        (PromptTokens, {}),
        (CompletionTokens, {}),
        (Usage, {}),
        (InvokeResponse, {"response": ""}),
        (ReasoningEvent, {"type": "reasoning", "response": ""}),
        (ResponseEvent, {"type": "response", "response": ""}),
        (UsageEvent, {"type": "usage"}),
        (ErrorEvent, {"type": "error"}),
        (UnknownEvent, {"type": "tool_call"}),
    ],
    ids=name_of,
)
def test_optional_fields_may_be_null_or_missing(model_type, least):
    """They are None, or an empty model."""
    parts = {"usage": Usage(), "prompt_tokens": PromptTokens(), "completion_tokens": CompletionTokens()}
    optional = model_type.model_fields.keys() - least.keys() - {"wire_type"}

    missing = model_type.model_validate(least)
    null = model_type.model_validate({**dict.fromkeys(optional), **least})

    assert missing == null
    assert {name: getattr(missing, name) for name in optional} == {name: parts.get(name) for name in optional}


@pytest.mark.parametrize(
    ("model_type", "wire", "place"),
    [
        (InvokeResponse, {}, "response"),
        (InvokeResponse, {"response": None}, "response"),
        (InvokeResponse, {"response": ["s3cret"]}, "response"),
        (ReasoningEvent, {"type": "reasoning"}, "response"),
        (ResponseEvent, {"type": "reasoning", "response": "s3cret"}, "type"),
        (ErrorEvent, {"type": "usage", "error": "s3cret"}, "type"),
        (UnknownEvent, {"type": None}, "wire_type"),
        (UnknownEvent, {"new": "s3cret"}, "wire_type"),
    ],
    ids=name_of,
)
def test_invalid_required_field_is_reported(model_type, wire, place):
    """The message names the field and does not quote the value."""
    with pytest.raises(ValidationError) as caught:
        model_type.model_validate(wire)

    assert [".".join(map(str, error["loc"])) for error in caught.value.errors()] == [place]
    assert "s3cret" not in str(caught.value)


@with_each_model
def test_unknown_fields_are_kept(model_type):
    """As attributes and in dumps."""
    model = received(model_type)

    assert model.new == {"deep": [1]}
    assert model.model_dump()["new"] == {"deep": [1]}
    assert json.loads(model.model_dump_json())["new"] == {"deep": [1]}


@pytest.mark.parametrize(
    ("counts", "total"),
    [({"total_tokens": 24}, 24), (24, 24), (0, 0), ({}, None), (None, None)],
    ids=str,
)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_token_counts_are_parsed_in_both_forms(name, counts, total):
    """An object (the page "Run with API") or an integer (the reference) become the same model."""
    usage = Usage.model_validate({name: counts})

    assert getattr(usage, name).total_tokens == total


@pytest.mark.parametrize("name", ["error_code", "code"])
def test_error_event_has_its_code(name):
    """The code is in `error_code`, with either name in the JSON."""
    event = ErrorEvent.model_validate({"type": "error", name: "busy"})

    assert event.error_code == "busy"


# raw


@with_each_model
def test_raw_is_the_decoded_dict(model_type):
    """It is not a copy, and has null and unknown fields."""
    wire = copy.deepcopy(WIRE[model_type])

    model = keep_raw(model_type.model_validate(wire), wire)

    assert model.raw is wire
    assert wire == WIRE[model_type]


@pytest.mark.parametrize("model_type", [InvokeResponse, UsageEvent])
def test_raw_of_a_nested_model_is_part_of_raw(model_type):
    """It is the same dict."""
    model = received(model_type)

    assert model.usage.raw is model.raw["usage"]
    assert model.usage.prompt_tokens.raw is model.raw["usage"]["prompt_tokens"]
    assert model.usage.completion_tokens.raw is model.raw["usage"]["completion_tokens"]


def test_converted_token_count_has_its_own_raw():
    """The service sent an integer, not an object."""
    wire = {"prompt_tokens": 24}

    usage = keep_raw(Usage.model_validate(wire), wire)

    assert usage.raw == {"prompt_tokens": 24}
    assert usage.prompt_tokens.raw == {"total_tokens": 24}


@pytest.mark.parametrize(
    "read",
    [
        list,
        dict,
        lambda m: {**m},
        lambda m: list(m.keys()),
        lambda m: list(m.values()),
        lambda m: list(m.items()),
        lambda m: [m[key] for key in m],
        lambda m: [m.get(key) for key in m],
        lambda m: m.get("absent"),
        lambda m: m.get("absent", "default"),
        lambda m: ("new" in m, "absent" in m, 7 in m),
    ],
    ids=["list", "dict", "**", "keys", "values", "items", "[]", "get", "get absent", "default", "in"],
)
@with_each_model
def test_model_reads_like_its_dict(model_type, read):
    """Code for the dict has the same results with the model, in the same order."""
    model = received(model_type)

    assert read(model) == read(WIRE[model_type])


@with_each_model
def test_missing_key_is_a_key_error(model_type):
    """Even if the attribute is None."""
    model = received(model_type)

    with pytest.raises(KeyError, match="absent"):
        _ = model["absent"]


@with_each_model
def test_model_is_not_a_dict(model_type):
    """It does not derive from dict, and only fields are attributes."""
    model = received(model_type)

    assert not isinstance(model, dict)
    assert not any(
        "__getattr__" in vars(kind)
        for kind in model_type.__mro__
        if kind.__module__.startswith(fetch_hive_sdk.__name__)
    )
    assert not hasattr(model, "absent")


@with_each_model
def test_model_is_immutable(model_type):
    """Neither attributes nor items can be set."""
    model = received(model_type)

    with pytest.raises(ValidationError, match="frozen"):
        model.request_id = "changed"
    with pytest.raises(TypeError, match="item assignment"):
        model["request_id"] = "changed"


def test_field_does_not_hide_a_method():
    """It can be read as an item."""
    wire = {"response": "text", "get": 1, "keys": 2, "items": 3, "raw": 4}

    answer = keep_raw(InvokeResponse.model_validate(wire), wire)

    assert answer.raw is wire
    assert [answer.get("get"), answer["keys"], answer["items"], answer["raw"]] == [1, 2, 3, 4]


def test_raw_is_decoded_on_first_use():
    """Events are parsed without building a dict that is rarely used."""
    event = ResponseEvent(response="text")

    keep_raw_json(event, b'{"type": "response", ')

    with pytest.raises(ValueError, match="EOF"):
        _ = event.raw


@with_each_way_to_copy
def test_undecoded_raw_is_copied(copy_of):
    """Copies and pickles have the same `raw`."""
    event = ResponseEvent(response="text")
    keep_raw_json(event, b'{"response": "text", "type": "response", "new": null}')

    copied = copy_of(event)

    assert list(copied.items()) == [("response", "text"), ("type", "response"), ("new", None)]


def test_raw_is_decoded_once():
    """`raw` is the same dict each time."""
    event = ResponseEvent(response="text")
    keep_raw_json(event, b'{"response": "text", "type": "response"}')

    assert event.raw is event.raw


@with_each_model
def test_created_model_has_a_raw(model_type):
    """`raw` is the object that would be parsed to the model."""
    model = model_type.model_validate(WIRE[model_type])

    assert model_type.model_validate(model.raw) == model
    assert model.raw is model.raw


# Equality, copies, pickles


@with_each_model
def test_models_are_compared_by_fields(model_type):
    """Including unknown fields; `raw` does not matter."""
    model = received(model_type)

    assert model == model_type.model_validate(WIRE[model_type])
    assert model != model_type.model_validate({**WIRE[model_type], "new": "other"})


@with_each_way_to_copy
@with_each_model
def test_copies_and_pickles_are_equal(model_type, copy_of):
    """They have the same class and the same `raw`."""
    model = received(model_type)

    copied = copy_of(model)

    assert type(copied) is model_type
    assert copied == model
    assert copied.raw == WIRE[model_type]


@with_each_way_to_copy
def test_raw_of_a_nested_model_is_part_of_raw_in_copies(copy_of):
    """As in the original."""
    answer = received(InvokeResponse)

    copied = copy_of(answer)

    assert copied.usage.raw is copied.raw["usage"]
    assert copied.usage.prompt_tokens.raw is copied.raw["usage"]["prompt_tokens"]


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda model: model.model_copy(deep=True)])
def test_deep_copy_is_independent(copy_of):
    """Changes of its `raw` do not change the original."""
    answer = received(InvokeResponse)

    copy_of(answer).raw["usage"]["total_tokens"] = -1

    assert answer.raw == WIRE[InvokeResponse]


@pytest.mark.parametrize("deep", [False, True])
def test_raw_of_a_changed_copy_has_the_changes(deep):
    """The `raw` of the original stays unchanged."""
    answer = received(InvokeResponse)

    changed = answer.model_copy(update={"response": "changed"}, deep=deep)

    assert changed.response == changed.raw["response"] == "changed"
    assert changed.raw["new"] == {"deep": [1]}
    assert answer.raw == WIRE[InvokeResponse]


def test_copy_without_changes_keeps_raw():
    """An empty update changes nothing."""
    answer = received(InvokeResponse)

    assert answer.model_copy(update={}).raw is answer.raw


# Unknown events


def test_unknown_event_is_passed_on():
    """An event of an unknown type reaches the caller unchanged."""
    wire = {"type": "tool_call", "tool": "search", "request_id": "req_1"}

    event = keep_raw(UnknownEvent.model_validate(wire), wire)

    assert event.type == "unknown"
    assert event.wire_type == "tool_call"
    assert event.request_id == "req_1"
    assert event.tool == "search"
    assert event.raw == {"type": "tool_call", "tool": "search", "request_id": "req_1"}


def test_raw_of_a_created_unknown_event_has_the_wire_type():
    """In `type`, as the service would send it."""
    event = UnknownEvent(wire_type="tool_call", tool="search")

    assert event.raw == {"type": "tool_call", "tool": "search"}


def test_event_of_type_unknown_is_passed_on():
    """The service may send even this type."""
    event = UnknownEvent.model_validate({"type": "unknown"})

    assert event.wire_type == "unknown"


@pytest.mark.parametrize("known", ["reasoning", "response", "usage", "error"])
def test_invalid_known_event_is_not_an_unknown_one(known):
    """It is reported instead."""
    with pytest.raises(ValidationError, match="must not be an event of a known type"):
        UnknownEvent.model_validate({"type": known})


def test_event_must_be_an_object():
    """Other JSON values are rejected."""
    with pytest.raises(ValidationError):
        UnknownEvent.model_validate(["tool_call"])


# Partial answers


def test_partial_answer_is_empty_before_the_first_event():
    """It has no text, no reasoning and no usage."""
    partial = PartialAnswer()

    assert partial.model_dump() == {
        "text": "",
        "reasoning": "",
        "usage": None,
        "request_id": None,
        "model": None,
        "stop_reason": None,
    }


@with_each_way_to_copy
def test_partial_answer_can_be_copied_and_pickled(copy_of):
    """With its usage, including `raw`."""
    usage = received(Usage)
    partial = PartialAnswer(text="Once upon", usage=usage)

    copied = copy_of(partial)

    assert copied == partial
    assert copied.usage.raw == usage.raw


# --- Round trips -----------------------------------------------------------------------------------------------------

texts = st.text(max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
surplus = st.dictionaries(texts.map("x-{}".format), json_values, max_size=3)
maybe_text = st.none() | texts
maybe_count = st.none() | st.integers()


def objects(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Generate JSON objects with all of `required`, some of `optional`, and unknown fields."""
    known = st.fixed_dictionaries(required, optional=optional)
    return st.builds(lambda fields, more: {**more, **fields}, known, surplus)


prompt_tokens = objects({}, total_tokens=maybe_count, cached_tokens=maybe_count)
completion_tokens = objects({}, total_tokens=maybe_count, reasoning_tokens=maybe_count)
usages = objects(
    {},
    prompt_tokens=maybe_count | prompt_tokens,
    completion_tokens=maybe_count | completion_tokens,
    total_tokens=maybe_count,
    duration=st.none() | numbers,
)
pieces = {"response": texts}
about_the_run = {"request_id": maybe_text, "model": maybe_text}
wires = {
    PromptTokens: prompt_tokens,
    CompletionTokens: completion_tokens,
    Usage: usages,
    InvokeResponse: objects(
        pieces,
        **about_the_run,
        duration=st.none() | numbers,
        reasoning=maybe_text,
        usage=st.none() | usages,
        stop_reason=maybe_text,
    ),
    ReasoningEvent: objects({"type": st.just("reasoning"), **pieces}, **about_the_run),
    ResponseEvent: objects({"type": st.just("response"), **pieces}, **about_the_run),
    UsageEvent: objects(
        {"type": st.just("usage")}, request_id=maybe_text, usage=st.none() | usages, stop_reason=maybe_text
    ),
    ErrorEvent: objects(
        {"type": st.just("error")}, request_id=maybe_text, error=maybe_text, message=maybe_text, code=maybe_text
    ),
    UnknownEvent: objects(
        {"type": texts.filter(lambda text: text not in prompts.KNOWN_EVENT_TYPES)}, request_id=maybe_text
    ),
}
requests = st.builds(
    InvokeRequest,
    deployment=texts.filter(str.strip),
    variant=maybe_text,
    inputs=st.dictionaries(texts, json_values, max_size=3),
    user=maybe_text,
    metadata=st.dictionaries(
        texts.filter(bool), st.none() | st.booleans() | st.integers() | numbers | texts, max_size=3
    ),
    streaming=st.booleans(),
)
anything = st.one_of(*(wire.map(model_type.model_validate) for model_type, wire in wires.items()), requests)


@given(anything)
def test_dump_is_validated_to_an_equal_model(model):
    """For every model."""
    dumped = model.model_dump()

    assert type(model).model_validate(dumped) == model


@given(anything)
def test_json_dump_is_validated_to_an_equal_model(model):
    """For every model."""
    dumped = model.model_dump_json()

    assert type(model).model_validate_json(dumped) == model


@given(st.one_of(*(st.tuples(st.just(model_type), wire) for model_type, wire in wires.items())))
def test_raw_is_what_the_service_sent(received_object):
    """For every object; pickles have it too."""
    model_type, wire = received_object

    model = pickle.loads(pickle.dumps(keep_raw(model_type.model_validate(wire), wire)))

    assert list(model.items()) == list(wire.items())


@given(requests)
def test_valid_request_can_be_sent_as_json(request):
    """For every request that is validated."""
    assert json.loads(json.dumps(request.raw, allow_nan=False)) == request.raw


@given(requests)
def test_raw_of_a_request_creates_an_equal_request(request):
    """Except for empty fields."""
    again = InvokeRequest.model_validate(request.raw)

    assert again.raw == request.raw


# --- output_as -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class City:
    name: str
    people: int = 0


class Place(TypedDict):
    name: str


class Town(BaseModel):
    name: str
    people: int = 0


def answer(text: str) -> InvokeResponse:
    return InvokeResponse(response=text, request_id="req_1")


@pytest.mark.parametrize(
    ("text", "output_type", "value"),
    [
        ('{"name": "Ulm", "people": 7}', Town, Town(name="Ulm", people=7)),
        ('{"name": "Ulm", "people": 7}', City, City("Ulm", 7)),
        ('{"name": "Ulm"}', Place, {"name": "Ulm"}),
        (" [1, 2]\n", List[int], [1, 2]),
        ("7", int, 7),
        ("null", TypeAdapter(Optional[int]), None),
        ('{"name": "Ulm"}', TypeAdapter(Union[int, Town]), Town(name="Ulm")),
        ('"no"', TypeAdapter(Literal["yes", "no"]), "no"),
        ('"red"', Colour, Colour.RED),
        ('"a \\"word\\""', str, '"a \\"word\\""'),
    ],
)
def test_json_is_parsed_to_the_output_type(text, output_type, value):
    """Any type that Pydantic can validate."""
    assert answer(text).output_as(output_type) == value


@pytest.mark.parametrize(
    ("text", "output_type", "value"),
    [
        ("no", TypeAdapter(Literal["yes", "no"]), "no"),
        (" red\n", Colour, Colour.RED),
        ("2024-05-17", date, date(2024, 5, 17)),
        ("yes", bool, True),
        ("A tale of two cities.", str, "A tale of two cities."),
        ("7", str, "7"),
        ("", str, ""),
    ],
)
def test_bare_word_is_validated_as_the_value(text, output_type, value):
    """A model may omit the quotes of a string."""
    assert answer(text).output_as(output_type) == value


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"name": "Ulm"}\n```',
        '```\n{"name": "Ulm"}\n```',
        '\n\n  ```JSON\n{"name": "Ulm"}\n  ```\n\n',
        '```json\r\n{"name": "Ulm"}\r\n```\r\n',
        '```json\n{"name": "Ulm"}```',
        '```json title="the town"\n\n{\n  "name": "Ulm"\n}\n\n```',
        '~~~json\n{"name": "Ulm"}\n~~~',
        '````json\n{"name": "Ulm"}\n````',
        '```json\n{"name": "Ulm"}\n',
        'In Python:\n\n```python\nprint("Ulm")\n```\n\nIn JSON:\n\n```json\n{"name": "Ulm"}\n```',
    ],
)
def test_json_in_a_code_fence_is_parsed(text):
    """With or without the name of the language."""
    assert answer(text).output_as(Town) == Town(name="Ulm")


def test_bare_word_in_a_code_fence_is_validated():
    """The content of the fence does not have to be JSON."""
    assert answer("```\nred\n```").output_as(Colour) is Colour.RED


def test_code_fence_inside_a_value_is_kept():
    """Only a fence around the JSON is removed."""
    text = "See:\n```\nred\n```"

    assert answer(text).output_as(str) == text
    assert answer(text).output_as(TypeAdapter(Union[Town, str])) == text


def test_many_fences_are_parsed_in_linear_time():
    """For a model that repeats itself. 16,000 fences once took ten seconds."""
    begin = time.process_time()

    with pytest.raises(OutputValidationError):
        answer("```json\n" * 16_000).output_as(Town)

    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("text", "output_type", "message"),
    [
        ("s3cret", Town, "the answer does not match Town: Invalid JSON: expected value at line 1 column 1"),
        ('{"name": "s3cret"', Town, "the answer does not match Town: Invalid JSON: EOF"),
        ('{"people": "s3cret"}', Town, "the answer does not match Town: name: Field required; people: Input should be"),
        ('{"name": ["s3cret"]}', City, "the answer does not match City: name: Input should be a valid string"),
        ('{"s3cret": 1}', Place, "the answer does not match Place: name: Field required"),
        ('["s3cret"]', List[int], ": 0: Input should be a valid integer"),
        ('["a", "b", "c", "d", "s3cret"]', List[int], "; and 2 more"),
        ("s3cret", TypeAdapter(Literal["yes", "no"]), "the answer does not match the output type: Invalid JSON"),
        ("```\ns3cret\n```", int, "the answer does not match int: Invalid JSON"),
        ("", int, "the answer does not match int: Invalid JSON"),
    ],
)
def test_error_describes_the_mismatch(text, output_type, message):
    """The message is one line and does not quote the text; `response` has the answer, which was billed."""
    paid_for = answer(text)

    with pytest.raises(OutputValidationError) as caught:
        paid_for.output_as(output_type)

    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.response is paid_for
    assert caught.value.request_id == "req_1"


def test_traceback_does_not_quote_the_text():
    """Exceptions of Pydantic, which would quote it, are not in the chain."""
    with pytest.raises(OutputValidationError) as caught:
        answer("s3cret").output_as(Town)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# --- Found by probing ------------------------------------------------------------------------------------------------


class AnyTicket(BaseModel):
    parent: Any = None


class Hidden(BaseModel):
    parent: Any = None

    @model_serializer
    def dump(self) -> Any:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ({"a": AnyTicket(parent=math.nan)}, "inputs.a.parent is nan"),
        (AnyTicket(parent={"b": [math.inf]}), r"inputs.parent.b\[0\] is inf"),
        ({"a": Hidden()}, "inputs.a is of type Hidden"),
    ],
)
def test_nan_in_a_model_is_rejected(inputs, path):
    """Pydantic would write null for NaN in a field of type Any. The message has the path."""
    with pytest.raises(ValidationError, match=path):
        InvokeRequest(deployment="d", inputs=inputs)


@pytest.mark.parametrize(
    "fields",
    [
        {"deployment": "\ud800"},
        {"variant": "a\ud800"},
        {"user": "\ud800"},
        {"metadata": {"a": "\ud800"}},
        {"metadata": {"\ud800": "a"}},
    ],
)
def test_lone_surrogates_are_rejected(fields):
    """In every field."""
    with pytest.raises(ValidationError):
        InvokeRequest(**{"deployment": "d", **fields})


def test_finite_numbers_in_a_model_are_sent():
    """They are only checked for NaN."""
    request = InvokeRequest(deployment="d", inputs=AnyTicket(parent=[1.5, ("a",)]))

    assert request.inputs == {"parent": [1.5, ["a"]]}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({1: "a", "1": "b"}, "inputs has the key 1 twice"),
        ({object(): 1}, "a key of inputs is of type object"),
        ({"a": {Path: 1}}, "a key of inputs.a is of type"),
    ],
)
def test_ambiguous_keys_are_rejected(inputs, message):
    """Every key must be converted to a different string."""
    with pytest.raises(ValidationError, match=message):
        InvokeRequest(deployment="d", inputs=inputs)


def test_raw_of_a_request_is_a_copy():
    """Changing it does not change the request."""
    request = InvokeRequest(deployment="d", inputs={"a": {"b": 1}})

    request.raw["inputs"]["a"]["b"] = 2

    assert request.raw["inputs"] == {"a": {"b": 1}}


def test_unknown_event_may_have_a_field_wire_type():
    """The field of the service is in `raw`; the attribute has the type."""
    event = UnknownEvent.model_validate({"type": "tool_call", "wire_type": "x"})

    assert event.wire_type == "tool_call"


@pytest.mark.parametrize("value", [{"type": ["x"]}, {"type": "response"}, {}, 5])
def test_invalid_unknown_event_is_rejected(value):
    """Its type must be a string, and not a known type."""
    with pytest.raises(ValidationError):
        UnknownEvent.model_validate(value)


@pytest.mark.parametrize(
    "fields", [{"code": "busy"}, {"error_code": None, "code": "busy"}, {"error_code": "busy", "code": "x"}]
)
def test_error_code_has_an_older_name(fields):
    """`code` is used if there is no `error_code`."""
    assert ErrorEvent.model_validate({"type": "error", **fields}).error_code == "busy"


def test_error_event_must_be_an_object():
    """Other JSON values are rejected."""
    with pytest.raises(ValidationError):
        ErrorEvent.model_validate("error")


def test_shallow_copy_shares_nested_models():
    """It does not change them."""
    wire = {"total_tokens": 1, "duration": None}
    usage = keep_raw(Usage.model_validate(wire), wire)

    copy.copy(InvokeResponse(response="x", usage=usage))

    assert usage.raw is wire


@pytest.mark.parametrize("value", [5, {"a": 1}])
def test_fields_of_the_service_do_not_change_raw(value):
    """`raw` is the dict, with any names of fields."""
    answer = InvokeResponse.model_validate({"response": "x", "_source": value})

    assert answer.raw["response"] == "x"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Picky(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def check(cls, value):
        raise ValueError(f"bad {value}")


@pytest.mark.parametrize(
    ("text", "output_type"),
    [
        ('{"kind": "s3cret"}', TypeAdapter(Annotated[Union[Cat, Dog], Field(discriminator="kind")])),
        ('{"text": "s3cret"}', Picky),
    ],
)
def test_error_replaces_messages_that_quote_values(text, output_type):
    """Some messages of Pydantic, and of the caller's validators, quote values."""
    with pytest.raises(OutputValidationError) as caught:
        InvokeResponse(response=text).output_as(output_type)

    assert "s3cret" not in str(caught.value)


def test_error_has_the_full_name_of_a_generic_type():
    """The message has its arguments."""
    with pytest.raises(OutputValidationError, match=r"does not match list\[int\]"):
        InvokeResponse(response="x").output_as(list[int])


# --- Like a dict -----------------------------------------------------------------------------------------------------

LIKE_A_DICT = {"response": "a", "model": "m", "new": {"x": 1}}


def test_model_supports_all_reads_of_a_dict():
    """The exceptions are `json.dumps` and `isinstance`."""
    model = keep_raw(InvokeResponse.model_validate(LIKE_A_DICT), LIKE_A_DICT)

    assert len(model) == 3
    assert model == LIKE_A_DICT
    assert model == LIKE_A_DICT
    assert model != {"response": "a"}
    assert model | {"model": "n"} == {**LIKE_A_DICT, "model": "n"}
    assert {"model": "n", "y": 1} | model == {"y": 1, **LIKE_A_DICT}
    assert model | model == LIKE_A_DICT
    assert model.copy() == LIKE_A_DICT
    assert isinstance(model.copy(), dict)
    assert list(reversed(model)) == ["new", "model", "response"]
    assert isinstance(model, Mapping)
    with pytest.raises(TypeError):
        model | 3


def test_model_without_fields_is_false():
    """Like an empty dict."""
    assert not keep_raw(Usage(), {})
    assert keep_raw(Usage(), {"total_tokens": None})


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python before 3.10 has no match statement")
def test_model_matches_a_mapping_pattern():
    """Like a dict, for every model."""
    program = {"model": ResponseEvent(response="a")}
    code = """
        match model:
            case {"type": "response", "response": text}:
                found = text
            case _:
                found = None
    """

    exec(textwrap.dedent(code), program)

    assert program["found"] == "a"


def test_pandas_reads_models_as_rows():
    """The columns are the names of the JSON fields, which pandas 2 sorts."""
    pandas = pytest.importorskip("pandas", reason="pandas is only needed for this test")
    model = keep_raw(InvokeResponse.model_validate(LIKE_A_DICT), LIKE_A_DICT)

    table = pandas.DataFrame([model])

    assert sorted(table.columns) == ["model", "new", "response"]


def all_received() -> list[type[base.Received]]:
    """Every received model of the package."""
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{models.__name__}.{module.name}")
    found: list[type[base.Received]] = [base.Received]
    for model_type in found:
        found += [kind for kind in model_type.__subclasses__() if kind.__module__.startswith("fetch_hive_sdk.")]
    return found


def test_no_field_is_named_like_a_method_of_a_dict():
    """It would hide the method, or be hidden by it."""
    reserved = {name for name in dir(dict) if not name.startswith("_")} | {"raw"}

    for model_type in all_received():
        aliases = {field.alias for field in model_type.model_fields.values()}
        assert not reserved & (model_type.model_fields.keys() | aliases), model_type.__name__


# --- Inputs that JSON cannot represent --------------------------------------------------------------------------------


class Scalar:
    """A stand-in for NumPy scalars, with a shape, a dtype and `item()`."""

    shape, dtype = (), "int64"

    def __init__(self, value: object) -> None:
        self.value = value

    def item(self) -> object:
        return self.value


def test_numpy_scalars_are_converted():
    """Including those that derive from Python's own types."""
    assert InvokeRequest(deployment="d", inputs={"n": [Scalar(5), Scalar(True)]}).inputs == {"n": [5, True]}


class Login(BaseModel):
    user: str
    password: SecretStr


@dataclasses.dataclass
class Account:
    login: Login


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"n": 10**5000}, r"inputs\.n has more than 4,300 digits"),
        ({"n": [Scalar(None)]}, r"inputs\.n\[0\] is NaT"),
        ({"n": {"x": Scalar(math.nan)}}, r"inputs\.n\.x is nan"),
        ({"key": SecretStr("hidden")}, r"inputs\.key is a SecretStr.*get_secret_value"),
        ({"a": [SecretBytes(b"hidden")]}, r"inputs\.a\[0\] is a SecretBytes"),
        (Login(user="u", password="hidden"), r"inputs\.password is a SecretStr"),
        ({"a": Account(Login(user="u", password="hidden"))}, r"inputs\.a\.login\.password is a SecretStr"),
    ],
)
def test_inputs_that_would_be_replaced_are_rejected(inputs, message):
    """The message has the path and does not quote the value."""
    with pytest.raises(ValidationError, match=message) as caught:
        InvokeRequest(deployment="d", inputs=inputs)

    assert "hidden" not in str(caught.value)


def test_pandas_nat_is_rejected():
    """Although pandas raises its own errors for NaT. The message has the path."""
    pandas = pytest.importorskip("pandas", reason="pandas is only needed for this test")

    with pytest.raises(ValidationError, match=r"inputs\.at"):
        InvokeRequest(deployment="d", inputs={"at": pandas.NaT})


@with_each_model
def test_model_equals_its_dict(model_type):
    """On both sides of `==`, and no other dict."""
    model, wire = received(model_type), WIRE[model_type]

    assert model == wire
    assert wire == model
    assert model == OrderedDict(wire)
    assert model != {**wire, "another": 1}
    assert wire != model_type.model_validate({**wire, "another": 1})
    assert model != list(wire)


@with_each_model
def test_equal_models_have_equal_hashes(model_type):
    """Although a model also equals a dict, which has no hash."""
    model, twin = received(model_type), received(model_type)

    assert model == twin
    assert hash(model) == hash(twin)
    assert len({model, twin}) == 1


def test_model_merges_like_a_dict():
    """With `|` on both sides. The result is a mutable dict."""
    answer = keep_raw(InvokeResponse(response="a"), {"response": "a", "new": 1})
    other = keep_raw(InvokeResponse(response="b"), {"response": "b"})
    merged = {"response": "old", "mine": 2}
    merged |= answer

    assert answer | {"response": "b"} == {"response": "b", "new": 1}
    assert {"response": "b", "mine": 2} | answer == {"response": "a", "mine": 2, "new": 1}
    assert answer | other == {"response": "b", "new": 1}
    assert list(answer | other) == ["response", "new"]
    assert type(answer | other) is type({} | answer) is dict
    assert merged == {"response": "a", "mine": 2, "new": 1}
    assert answer.raw == {"response": "a", "new": 1}
    for wrong in ([("a", 1)], 7, None):
        with pytest.raises(TypeError, match="unsupported operand"):
            answer | wrong
        with pytest.raises(TypeError, match="unsupported operand"):
            wrong | answer


def test_copy_returns_a_dict():
    """Like `dict.copy`: mutable, with shared nested objects."""
    answer = received(InvokeResponse)

    copied = answer.copy()
    copied["response"] = "changed"

    assert type(copied) is dict
    assert answer.raw == WIRE[InvokeResponse]
    assert copied["usage"] is answer.raw["usage"]
    assert answer.copy() is not answer.raw


@with_each_model
def test_model_is_a_mapping(model_type):
    """For `isinstance`, and for functions that accept a mapping."""
    model, wire = received(model_type), WIRE[model_type]

    assert isinstance(model, Mapping)
    assert not isinstance(model, dict)
    assert dict(model) == {**model} == dict(**model) == wire
    assert ChainMap({"mine": 1}, model)["new"] == wire["new"]
    assert "{new}".format(**model) == str(wire["new"])


@pytest.mark.parametrize("name", ["pop", "popitem", "setdefault", "update", "clear"])
def test_model_has_no_mutating_methods(name):
    """Change the dict that `copy()` returns instead."""
    assert not hasattr(received(InvokeResponse), name)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python before 3.10 has no match statement")
def test_model_matches_the_rest_of_a_mapping_and_its_class():
    """`**rest` has the other keys; class patterns match, and sequence patterns do not."""
    found: dict[str, object] = {}
    wire = {"type": "response", "response": "a", "new": 1}
    event = keep_raw(ResponseEvent.model_validate(wire), wire)
    code = """
        match event:
            case {"type": "response", "response": text, **rest}:
                found.update(text=text, rest=rest)
        match event:
            case ResponseEvent(response=text):
                found["by class"] = text
        match event:
            case [*_]:
                found["as a sequence"] = True
    """

    exec(textwrap.dedent(code), {"event": event, "found": found, "ResponseEvent": ResponseEvent})

    assert found == {"text": "a", "rest": {"new": 1}, "by class": "a"}


def test_numpy_numbers_are_sent():
    """With NumPy itself."""
    np = pytest.importorskip("numpy")
    inputs = {
        "a": np.int64(3),
        "b": np.float32(1.5),
        "c": np.bool_(1),
        "d": np.array(4),
        "e": np.str_("x"),
        "f": [np.uint8(5)],
    }

    assert inputs_sent(inputs) == {"a": 3, "b": 1.5, "c": True, "d": 4, "e": "x", "f": [5]}
    assert inputs_sent({"a": np.datetime64("2026-11-23")}) == {"a": "2026-11-23"}
    assert "inputs.a is of type ndarray" in refusal(inputs={"a": np.array([1])})


def test_value_that_raises_any_exception_is_rejected():
    """The message has the path."""

    class Rude(BaseModel):
        value: Any

        @model_serializer
        def rude(self) -> object:
            raise ZeroDivisionError("s3cret")

    text = refusal(inputs={"a": [Rude(value=1)]})

    assert "inputs.a[0] is of type Rude, which JSON cannot represent" in text
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (1_700_000_000_000_000_000, "datetime64[ns]", "is a time in nanoseconds, which would be sent as a number"),
        (5, "timedelta64[ns]", "is a time in nanoseconds"),
        (None, "datetime64[ns]", "is NaT"),
        (10**5000, "object", "has more than 4,300 digits"),
    ],
    ids=["a time", "a span", "NaT", "an integer"],
)
def test_numpy_scalars_that_json_cannot_represent_are_rejected(value, dtype, reason):
    """The message has the path."""
    scalar = Scalar(value)
    scalar.dtype = dtype

    assert f"inputs.a[0] {reason}" in refusal(inputs={"a": [scalar]})


def test_numpy_scalars_may_be_keys_and_metadata():
    """Wherever a number is accepted."""
    assert inputs_sent({Scalar(7): [Scalar("x")]}) == {"7": ["x"]}
    assert InvokeRequest(deployment="d", metadata={"a": Scalar(3)}).raw["metadata"] == {"a": 3}
    assert "the value of a has more than 4,300 digits" in refusal(metadata={"a": 10**5000})
    assert "the value of a must be a string" in refusal(metadata={"a": Scalar(None)})


class OpenLogin(BaseModel):
    password: SecretStr

    @field_serializer("password", when_used="json")
    def reveal(self, password: SecretStr) -> str:
        return password.get_secret_value()


@pytest.mark.parametrize(
    ("inputs", "path", "kind"),
    [
        ({"a": Secret[int](7)}, "inputs.a", "Secret"),
        ({"a": [Login(user="u", password="s3cret")]}, "inputs.a[0].password", "SecretStr"),
        (Ticket(title="a", parent=Login(user="u", password="s3cret")), "inputs.parent.password", "SecretStr"),
        (Ticket(title="a", parent=[(SecretStr("s3cret"),)]), "inputs.parent[0][0]", "SecretStr"),
        ({"a": {SecretStr("s3cret")}}, "inputs.a[0]", "SecretStr"),
        ({"a": deque([SecretStr("s3cret")])}, "inputs.a[0]", "SecretStr"),
        ({SecretStr("s3cret"): 1}, "a key of inputs", "SecretStr"),
        ({"a": SecretStr("")}, "inputs.a", "SecretStr"),
    ],
    ids=["generic", "in a list", "in a model", "in a tuple", "in a set", "in a deque", "a key", "empty"],
)
def test_secrets_in_inputs_are_rejected(inputs, path, kind):
    """They would be sent as asterisks, in a billed run."""
    text = refusal(inputs=inputs)

    assert f"{path} is a {kind}, which would be sent as asterisks: pass its get_secret_value()" in text
    assert "s3cret" not in text


def test_revealed_secrets_are_sent():
    """By `get_secret_value()`, or by the caller's own serializer."""
    assert inputs_sent({"a": SecretStr("s3cret").get_secret_value()}) == {"a": "s3cret"}
    assert inputs_sent({"a": OpenLogin(password="s3cret")}) == {"a": {"password": "s3cret"}}
    assert inputs_sent(OpenLogin(password="s3cret")) == {"password": "s3cret"}
