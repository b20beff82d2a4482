"""Typed prompts: which functions can be prompts, what a call sends, and how its answer is parsed."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import datetime as dt  # noqa: TC003 - Pydantic reads annotations at run time
import functools
import inspect
import json
import pickle
import subprocess
import sys
import textwrap
import traceback
from enum import Enum
from pathlib import Path  # noqa: TC003 - as above
from typing import Annotated, Any, Literal, NoReturn, Optional, Union

import pytest
from pydantic import AfterValidator, BaseModel, Field, Strict, TypeAdapter, ValidationError, field_validator

from driving import KEY
from fetch_hive_sdk import (
    AsyncPromptStream,
    AsyncTypedStream,
    FetchHiveError,
    InvokeRequest,
    InvokeResponse,
    OutputValidationError,
    Prompt,
    PromptRequest,
    PromptResponse,
    PromptStream,
    StreamFailedError,
    TypedStream,
    prompt,
)
from fetch_hive_sdk.testing import FakeServer

SECRET = "a value that no error may quote"


class Summary(BaseModel):
    title: str
    points: list[str] = []


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


@prompt("summarise", variant="prod", metadata={"team": "news"})
def summarise(text: str, *, tone: Literal["dry", "warm"] = "dry") -> Summary:
    """Condense an article for the newsletter."""
    raise NotImplementedError


@prompt("translate")
def translate(text: str, language: str = "en") -> str:
    raise NotImplementedError


terse = summarise.with_options(variant="terse")


class Namespace:
    @prompt("in-a-class")
    def described(text: str) -> str:  # noqa: N805 - not a method: a prompt has no self
        raise NotImplementedError


ANSWER = '{"title": "News", "points": ["one", "two"]}'
SUMMARY = Summary(title="News", points=["one", "two"])


@pytest.fixture
def fake():
    fake = FakeServer()
    fake.answers("summarise", ANSWER)
    fake.answers("translate", '"Hello"')
    return fake


@pytest.fixture
def client(fake):
    return fake.client()


# --- Calls create requests -------------------------------------------------------------------------------------------


def test_call_returns_a_request():
    """Calling a prompt sends nothing. It returns a request with the variables, including defaults."""
    request = summarise(text="A text.")

    assert isinstance(request, PromptRequest)
    assert isinstance(request, InvokeRequest)
    assert request.output is Summary
    assert request.raw == {
        "deployment": "summarise",
        "variant": "prod",
        "inputs": {"text": "A text.", "tone": "dry"},
        "metadata": {"team": "news"},
        "streaming": False,
    }


def test_variables_can_be_positional():
    """A prompt is called with the signature of the decorated function."""
    assert translate("A text.", "de").inputs == {"text": "A text.", "language": "de"}


def test_variables_are_validated_by_pydantic():
    """Validation is lax unless a type is annotated as strict, and values are sent as JSON."""

    class Colour(Enum):
        RED = "red"

    @prompt("d")
    def typed(count: int, exact: Annotated[int, Strict()], day: dt.date, colour: Colour, cat: Cat) -> str:
        raise NotImplementedError

    request = typed("3", 4, "2026-01-31", "red", {"kind": "cat"})  # type: ignore[arg-type]

    assert request.inputs == {"count": 3, "exact": 4, "day": "2026-01-31", "colour": "red", "cat": {"kind": "cat"}}
    with pytest.raises(ValidationError, match="exact"):
        typed(3, "4", "2026-01-31", "red", {"kind": "cat"})  # type: ignore[arg-type]


def test_annotations_can_have_constraints_and_aliases():
    """An alias is the name that is sent, for variables whose name is not a valid Python name."""

    @prompt("d")
    def typed(
        customer: Annotated[str, Field(alias="customer-name", max_length=5)],
        order: int = Field(default=1, alias="order-id", gt=0),
        notes: list[str] = Field(default_factory=list),  # noqa: B008 - Pydantic declares defaults by a call
    ) -> str:
        raise NotImplementedError

    assert typed("Ann").inputs == {"customer-name": "Ann", "order-id": 1, "notes": []}
    assert typed(customer="Ann", order=7, notes=["a"]).inputs == {"customer-name": "Ann", "order-id": 7, "notes": ["a"]}
    with pytest.raises(ValidationError, match="customer-name\n"):
        typed(customer="Annabella")
    with pytest.raises(ValidationError, match="order-id\n"):
        typed("Ann", 0)


@pytest.mark.parametrize(
    "name", ["copy", "json", "schema", "model_config", "_text", "input_text", "self", "deployment"]
)
def test_variables_can_have_any_name(name):
    """Even a name that has a meaning in Pydantic or in this package."""
    namespace: dict[str, Any] = {"prompt": prompt}
    exec(f"@prompt('d')\ndef typed({name}: str) -> str:\n    raise NotImplementedError", namespace)

    assert namespace["typed"](**{name: "a"}).inputs == {name: "a"}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (summarise, r"summarise\(\) missing a required argument: 'text'"),
        (lambda: summarise(txt="a"), r"summarise\(\) got an unexpected keyword argument 'txt'"),
        (lambda: summarise("a", "dry"), r"summarise\(\) too many positional arguments"),
        (lambda: summarise("a", text="b"), r"summarise\(\) multiple values for argument 'text'"),
    ],
)
def test_missing_or_unknown_variables_are_type_errors(call, reason):
    """The message reads like Python's own, and contains the name of the prompt."""
    with pytest.raises(TypeError, match=reason):
        call()


def _raise_with_value(value: str) -> str:
    raise ValueError(f"{value} is not good")


def test_errors_never_quote_values():
    """Neither the message nor `errors()` contains a value, even if the caller's validator quotes it."""

    @prompt("d")
    def typed(
        a: int = 1,
        b: Annotated[str, AfterValidator(_raise_with_value)] = "",
        c: Annotated[Optional[Union[Cat, Dog]], Field(discriminator="kind")] = None,
        d: Optional[dict[str, int]] = None,
    ) -> str:
        raise NotImplementedError

    with pytest.raises(ValidationError) as caught:
        typed(a=SECRET, b=SECRET, c={"kind": SECRET}, d={"x": SECRET})  # type: ignore[arg-type]

    error = caught.value
    assert [item["loc"][0] for item in error.errors()] == ["a", "b", "c", "d"]
    assert error.title == "typed"
    assert SECRET not in str(error) + repr(error.errors()) + error.json()
    assert error.__cause__ is None
    assert error.__context__ is None


def test_values_without_a_json_form_are_invalid():
    """They raise an error before anything is sent, as in every request."""

    @prompt("d")
    def typed(number: float) -> str:
        raise NotImplementedError

    with pytest.raises(ValidationError, match="JSON cannot represent"):
        typed(float("nan"))


def test_with_options_returns_a_changed_copy():
    """`with_options` changes variant, user and metadata; the variables and the output type stay the same."""
    other = summarise.with_options(user="u", metadata={"a": 1})

    assert other is not summarise
    assert (other.deployment, other.variant, other.user, other.metadata) == ("summarise", "prod", "u", {"a": 1})
    assert (summarise.user, summarise.metadata) == (None, {"team": "news"})
    assert other(text="a").raw == {**summarise(text="a").raw, "user": "u", "metadata": {"a": 1}}
    bare = summarise.with_options(user="u").with_options(variant="", user="", metadata={})
    assert bare(text="a").raw == {"deployment": "summarise", "inputs": summarise(text="a").inputs, "streaming": False}
    assert other == summarise.with_options(user="u", metadata={"a": 1})
    assert len({other, summarise, summarise.with_options(user="u", metadata={"a": 1})}) == 2
    assert summarise != "summarise"
    with pytest.raises(ValidationError):
        summarise.with_options(metadata={"a": [1]})  # type: ignore[dict-item]
    with pytest.raises(ValidationError):
        summarise.with_options(metadata=[])  # type: ignore[arg-type]


def test_unset_options_are_not_sent(client, fake):
    """A typed prompt and `invoke_prompt` send the same request."""
    client.invoke(translate("Hallo"))
    client.invoke_prompt(deployment="translate", inputs={"text": "Hallo", "language": "en"})

    typed, plain = fake.calls
    assert typed.raw == plain.raw


def test_error_of_an_invalid_default_names_the_variable():
    """Like the error of an invalid argument."""

    @prompt("d")
    def typed(
        n: int = "abc",  # type: ignore[assignment]
        customer: Annotated[int, Field(alias="customer-id")] = "abc",  # type: ignore[assignment]
    ) -> str:
        raise NotImplementedError

    with pytest.raises(ValidationError) as caught:
        typed()

    assert [item["loc"] for item in caught.value.errors()] == [("n",), ("customer-id",)]
    assert "abc" not in str(caught.value)


def test_prompt_has_the_metadata_of_its_function():
    """It has the name, the docstring and the signature of the function. Its repr shows the options."""
    assert summarise.__name__ == "summarise"
    assert summarise.__module__ == __name__
    assert inspect.getdoc(summarise) == "Condense an article for the newsletter."
    assert list(inspect.signature(summarise).parameters) == ["text", "tone"]
    assert inspect.signature(summarise).parameters["tone"].default == "dry"
    assert repr(summarise) == ("<Prompt summarise (deployment='summarise', variant='prod', metadata={'team': 'news'})>")
    assert repr(terse).startswith("<Prompt summarise (deployment='summarise', variant='terse'")
    assert Namespace.described("a").inputs == {"text": "a"}


@pytest.mark.parametrize("typed", [summarise, translate])
def test_pytest_uses_the_name_of_a_prompt_as_id(request, typed):
    """The ids of a parametrized test contain the names of the prompts."""
    assert request.node.name == f"test_pytest_uses_the_name_of_a_prompt_as_id[{typed.__name__}]"
    assert typed(text="a").deployment == typed.deployment


# --- Which functions can be prompts ----------------------------------------------------------------------------------


def test_functions_without_a_return_value_are_accepted():
    """The body may raise, or consist of `pass`, `...` or a docstring."""

    @prompt("d")
    def raises(text: str) -> str:
        raise NotImplementedError

    @prompt("d")
    def dots(text: str) -> str: ...

    @prompt("d")
    def documented(text: str) -> str:
        """Summarise the text."""

    @prompt("d")
    def passes() -> str:
        pass

    for typed in (raises, dots, documented):
        assert typed("a").inputs == {"text": "a"}
    assert passes().inputs == {}


def test_functions_without_bytecode_are_accepted():
    """Such as functions that are compiled to machine code."""

    class Compiled:
        def __init__(self):
            functools.update_wrapper(self, _valid)
            self.__signature__ = inspect.signature(_valid)
            del self.__wrapped__

        def __call__(self):
            raise AssertionError

    assert prompt("d")(Compiled())("a").inputs == {"text": "a"}


def _valid(text: str) -> str:
    raise NotImplementedError


def _star_args(*texts: str) -> str:
    raise NotImplementedError


def _star_star_kwargs(**texts: str) -> str:
    raise NotImplementedError


def _no_return_type(text: str):
    raise NotImplementedError


def _returns_none(text: str) -> None:
    raise NotImplementedError


def _returns_none_type(text: str) -> type(None):
    raise NotImplementedError


def _never_returns(text: str) -> NoReturn:
    raise NotImplementedError


async def _asynchronous(text: str) -> str:
    raise NotImplementedError


async def _asynchronous_generator(text: str) -> str:
    yield text


def _generator(text: str) -> str:
    yield text


def _returns(text: str) -> str:
    return text


def _returns_a_constant(text: str) -> str:
    return "a"


def _returns_a_number(text: str) -> int:
    return 1


def _returns_sometimes(text: str) -> str:
    if text:
        return f"{text}!"
    raise NotImplementedError


def _same_name_twice(a: Annotated[str, Field(alias="b")], b: str) -> str:
    raise NotImplementedError


def _unsupported_type(text: Path, path: subprocess.Popen) -> str:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_star_args, "declare each variable"),
        (_star_star_kwargs, "declare each variable"),
        (_no_return_type, "annotate its return type"),
        (_returns_none, "annotate its return type"),
        (_returns_none_type, "annotate its return type"),
        (_never_returns, "annotate its return type"),
        (_asynchronous, "define it with def"),
        (_asynchronous_generator, "define it with def"),
        (_generator, "write raise NotImplementedError"),
        (_returns, "write raise NotImplementedError"),
        (_returns_a_constant, "write raise NotImplementedError"),
        (_returns_a_number, "write raise NotImplementedError"),
        (_returns_sometimes, "write raise NotImplementedError"),
        (_same_name_twice, "two of its variables are named b"),
        (_unsupported_type, "does not support one of its types: .*Popen"),
        (Summary, "must decorate a function"),
        (3, "must decorate a function"),
    ],
)
def test_invalid_functions_are_type_errors(function, reason):
    """The decorator raises the error, and the message contains the correction."""
    with pytest.raises(TypeError, match=reason):
        prompt("d")(function)


def test_deployment_is_required():
    """`@prompt` without a name, or with an empty name, raises an error."""
    with pytest.raises(TypeError, match=r'@prompt\("summarise"\)'):
        prompt(_returns)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="must not be empty"):
        prompt("")


def test_types_can_be_defined_later():
    """Annotations can name types that are defined later in the module, but before the prompt is called."""
    namespace: dict[str, Any] = {}
    code = """
        from __future__ import annotations
        from fetch_hive_sdk import prompt

        @prompt("d")
        def typed(text: str) -> Later:
            raise NotImplementedError
    """
    exec(textwrap.dedent(code), namespace)

    with pytest.raises(NameError, match="Later"):
        namespace["typed"]("a")

    namespace["Later"] = Summary
    assert namespace["typed"]("a").output is Summary


def test_types_can_be_local():
    """Annotations can name types that are defined in the same function as the prompt."""

    class Local(BaseModel):
        x: int

    @prompt("d")
    def typed(local: Local) -> Local:
        raise NotImplementedError

    assert typed(Local(x=1)).inputs == {"local": {"x": 1}}
    assert typed.output is Local


def test_prompt_has_schemas():
    """`inputs` is a Pydantic model of the variables; `output` is the output type, or an adapter of it."""

    @prompt("d")
    def typed(a: Annotated[int, Field(alias="a-b")] = 1) -> list[int]:
        raise NotImplementedError

    assert typed.inputs.model_json_schema()["properties"]["a-b"]["type"] == "integer"
    assert isinstance(typed.output, TypeAdapter)
    assert typed.output.json_schema() == {"type": "array", "items": {"type": "integer"}}
    assert translate.output is str


# --- Answers ---------------------------------------------------------------------------------------------------------


def check_summary(answer) -> None:
    assert isinstance(answer, PromptResponse)
    assert isinstance(answer, InvokeResponse)
    assert answer.output == SUMMARY
    assert answer.response == answer["response"] == answer.raw["response"] == ANSWER
    assert answer.usage.total_tokens
    assert answer.request_id


async def test_answer_has_an_output(client, fake):
    """`output` is the parsed text; the rest equals the answer of `invoke_prompt`. The output type is not sent."""
    request = summarise(text="A text.")

    check_summary(client.invoke(request))
    check_summary(await client.ainvoke(request))

    assert [call.raw for call in fake.calls] == [InvokeRequest.model_validate(request.raw).raw] * 2


def test_str_output_is_the_unchanged_text(client):
    """For the output type `str`, the text is not parsed, even if it is valid JSON."""
    answer = client.invoke(translate("Hallo"))

    assert answer.output == answer.response == answer.output_as(str) == '"Hello"'


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("output", "text", "value"),
    [
        (Summary, ANSWER, SUMMARY),
        (Summary, f"```json\n{ANSWER}\n```", SUMMARY),
        (Point, '{"x": 1}', Point(1)),
        (list[int], "[1, 2]", [1, 2]),
        (TypeAdapter(Union[Cat, Dog]), '{"kind": "dog"}', Dog(kind="dog")),
        (TypeAdapter(Literal["urgent", "later"]), "urgent", "urgent"),
        (str, "text", "text"),
        (Annotated[str, Field(max_length=5)], "text", "text"),
        (bool, "true", True),
    ],
)
async def test_prompt_request_has_an_output(fake, output, text, value):
    """A `PromptRequest` works without the decorator, with any output type that Pydantic can validate."""
    fake.answers("d", text)
    client = fake.client()
    request: PromptRequest[Any] = PromptRequest(deployment="d", inputs={"a": 1}, output=output)

    assert request.raw == {"deployment": "d", "inputs": {"a": 1}, "streaming": False}
    assert client.invoke(request).output == value
    assert (await client.ainvoke(request)).output == value
    assert client.stream(request).collect().output == value


def test_prompt_request_is_validated():
    """Its fields are validated like those of an `InvokeRequest`, and `output` is required."""
    with pytest.raises(ValidationError, match="varaint"):
        PromptRequest(deployment="d", output=str, varaint="v")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="output"):
        PromptRequest(deployment="d")  # type: ignore[call-overload]
    assert PromptRequest[Summary] is PromptRequest
    assert PromptResponse[Summary] is PromptResponse


def check_mismatch(error: OutputValidationError) -> None:
    assert error.attempts == 1
    assert error.correlation_id
    assert error.response.response == "I would rather not."
    assert error.response.usage.total_tokens
    assert error.request_id == error.response.request_id
    assert "rather" not in str(error)
    assert "Summary" in str(error)


async def test_output_error_has_the_answer(client, fake):
    """An answer that does not match the type is not requested again, and the error contains all of it."""
    fake.answers("summarise", "I would rather not.")
    client = client.with_options(correlate=True)
    request = summarise(text="a")

    with pytest.raises(OutputValidationError) as caught:
        client.invoke(request)
    check_mismatch(caught.value)
    with pytest.raises(OutputValidationError) as caught:
        await client.ainvoke(request)
    check_mismatch(caught.value)
    stream = client.stream(request)
    assert list(stream.snapshots()) == []
    with pytest.raises(OutputValidationError) as caught:
        stream.collect()
    check_mismatch(caught.value)
    with pytest.raises(OutputValidationError) as caught:
        await client.astream(request).collect()
    check_mismatch(caught.value)
    assert len(fake.calls) == 4


class Undefined(BaseModel):
    """Names a type that does not exist."""

    item: MissingType  # type: ignore[name-defined]  # noqa: F821 - what the test is about


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (subprocess.Popen, "Popen cannot be an output type: "),
        (Undefined, "Undefined cannot be an output type: .*not fully defined"),
        ("Summery", "Summery cannot be an output type: "),
        (5, "5 cannot be an output type: "),
    ],
)
def test_type_that_cannot_be_validated_is_refused_before_the_call(output, reason):
    """Otherwise the answer would be paid for and lost."""
    with pytest.raises(TypeError, match=reason):
        PromptRequest(deployment="d", output=output)


def test_prompt_with_an_undefined_type_is_refused_when_it_is_called():
    """The type may be defined after the prompt."""

    @prompt("d")
    def read(text: str) -> Undefined:
        raise NotImplementedError

    with pytest.raises(TypeError, match="Undefined cannot be an output type"):
        read(text="a")


class Buggy(BaseModel):
    title: str

    @field_validator("title")
    @classmethod
    def _check(cls, value: str) -> str:
        raise KeyError(value)


async def test_output_error_has_the_answer_if_a_validator_has_a_bug(client, fake):
    """The message names the exception and its place, and does not quote the answer."""
    fake.answers("d", '{"title": "rather not"}')
    request: PromptRequest[Buggy] = PromptRequest(deployment="d", output=Buggy)

    for how in (lambda: client.invoke(request), lambda: client.stream(request).collect()):
        with pytest.raises(OutputValidationError, match=r"raised KeyError in test_prompts.py, line \d+") as caught:
            how()
        assert caught.value.response.response == '{"title": "rather not"}'
        assert caught.value.request_id
        assert "rather" not in "".join(traceback.format_exception(KeyError, caught.value, caught.tb))
    with pytest.raises(OutputValidationError):
        await client.ainvoke(request)
    with pytest.raises(OutputValidationError):
        await client.astream(request).collect()


async def test_key_in_an_answer_is_masked_in_the_output_error(fake):
    """In the answer and in the variables of the frames, which crash reports show."""
    client = fake.client(KEY)
    fake.answers("d", f"My key is {KEY}.")
    request: PromptRequest[Summary] = PromptRequest(deployment="d", output=Summary)

    async def collect_async():
        return await client.astream(request).collect()

    async def call(how):
        result = how()
        return await result if asyncio.iscoroutine(result) else result

    calls = (
        lambda: client.invoke(request),
        lambda: client.ainvoke(request),
        lambda: client.stream(request).collect(),
        collect_async,
    )
    for how in calls:
        with pytest.raises(OutputValidationError) as caught:
            await call(how)
        assert caught.value.response.response == "My key is ***."
        assert KEY.encode() not in pickle.dumps(caught.value)
        frames = [frame for frame, _ in traceback.walk_tb(caught.tb) if "fetch_hive_sdk" in frame.f_code.co_filename]
        assert KEY not in repr([frame.f_locals for frame in frames])


def test_stored_answer_can_be_parsed():
    """`request.read` parses an answer from elsewhere, such as a stored one."""
    answer = InvokeResponse(response=ANSWER, request_id="req_1")

    assert summarise(text="a").read(answer).output == SUMMARY
    assert summarise(text="a").read(answer).raw is answer.raw


def test_modified_request_is_validated_again(client, fake):
    """The inputs of a request may be modified after it was created, so they are validated before sending."""
    request = summarise(text="a")
    request.inputs["text"] = {1, 2}  # type: ignore[index]

    assert client.invoke(request).output == SUMMARY
    assert fake.calls[0].inputs["text"] == [1, 2]


# --- Streams ---------------------------------------------------------------------------------------------------------

PIECES = ["```json\n", '{"title": "Ne', 'ws", "po', 'ints": ["one', '", "two', '"]}', "\n", "```"]
SNAPSHOTS = [
    {"title": "Ne"},
    {"title": "News"},
    {"title": "News", "points": ["one"]},
    {"title": "News", "points": ["one", "two"]},
]


async def test_stream_has_snapshots(client, fake):
    """`snapshots()` yields the partial value after each event that changes it; `collect()` has the output."""
    fake.answers("summarise", pieces=PIECES)
    request = summarise(text="a")

    stream = client.stream(request)
    assert isinstance(stream, TypedStream)
    assert isinstance(stream, PromptStream)
    assert list(stream.snapshots()) == SNAPSHOTS
    answer = stream.collect()
    assert isinstance(answer, PromptResponse)
    assert answer.output == stream.collect().output == SUMMARY

    twin = client.astream(request)
    assert isinstance(twin, AsyncTypedStream)
    assert isinstance(twin, AsyncPromptStream)
    assert [snapshot async for snapshot in twin.snapshots()] == SNAPSHOTS
    assert (await twin.collect()).output == SUMMARY
    assert [call.streaming for call in fake.calls] == [True, True]


async def test_typed_stream_has_events_and_text(client, fake):
    """A typed stream can be iterated over like every stream of a prompt."""
    fake.answers("summarise", pieces=PIECES, reasoning="Hm.")

    with client.stream(summarise(text="a")) as stream:
        kinds = {event.type for event in stream}
    async with client.astream(summarise(text="a")) as twin:
        text = "".join([piece async for piece in twin.text()])

    assert kinds == {"reasoning", "response", "usage"}
    assert text == "".join(PIECES)


async def test_snapshots_include_earlier_events(client, fake):
    """Events that were iterated over before are part of the first snapshot."""
    fake.answers("summarise", pieces=PIECES)
    stream, twin = client.stream(summarise(text="a")), client.astream(summarise(text="a"))
    for _ in range(3):
        next(stream)
        await twin.__anext__()

    assert list(stream.snapshots()) == SNAPSHOTS[2:]
    assert [snapshot async for snapshot in twin.snapshots()] == SNAPSHOTS[2:]


async def test_snapshots_of_str_are_the_text_so_far(client, fake):
    """For a prompt with the output type `str`."""
    fake.answers("translate", pieces=["Hel", "lo", "!"])

    assert list(client.stream(translate("Hallo!")).snapshots()) == ["Hel", "Hello", "Hello!"]
    assert [text async for text in client.astream(translate("Hallo!")).snapshots()] == ["Hel", "Hello", "Hello!"]


@pytest.mark.parametrize(
    ("pieces", "snapshots"),
    [
        (["4", "2"], [42]),
        (["3", " points ", "follow."], []),
        (["\n", "\n{", '"title": 1}'], [{}, {"title": 1}]),
        (['{"a": 1, "b', '": 2', ', "a": 3}'], [{"a": 1}, {"a": 1, "b": 2}, {"a": 3, "b": 2}]),
        (['{"a": {"b": []', ', "c": 0', "}, ", '"d": [', "true", ", false]}"], "distinct"),
        (["[[", "], [", "], {", "}, [[]", ", null]", "]"], "distinct"),
    ],
)
async def test_snapshots_are_distinct_and_end_with_the_output(fake, pieces, snapshots):
    """A number is yielded when it is complete; prose that begins with a number yields nothing."""
    fake.answers("d", pieces=pieces)
    request = PromptRequest(deployment="d", output=TypeAdapter(object))
    client = fake.client()

    shown = list(client.stream(request).snapshots())

    assert shown == [snapshot async for snapshot in client.astream(request).snapshots()]
    if snapshots == "distinct":
        assert all(before != after for before, after in zip(shown, shown[1:]))
        assert shown[-1] == client.invoke(request).output
    else:
        assert shown == snapshots


def test_snapshots_are_independent(client, fake):
    """Modifying a snapshot changes neither later snapshots nor the output."""
    fake.answers("summarise", pieces=PIECES)
    stream = client.stream(summarise(text="a"))
    seen = []

    for snapshot in stream.snapshots():
        seen.append(json.dumps(snapshot))
        snapshot["title"] = None

    assert list(map(json.loads, seen)) == SNAPSHOTS
    assert stream.collect().output == SUMMARY


async def test_snapshots_of_a_failed_stream_raise(client, fake):
    """Like `text()`. The error contains the text so far."""
    fake.answers("summarise", pieces=['{"title": "Ne'], error="The provider failed")

    with pytest.raises(StreamFailedError) as caught:
        list(client.stream(summarise(text="a")).snapshots())
    with pytest.raises(StreamFailedError) as twin:
        [snapshot async for snapshot in client.astream(summarise(text="a")).snapshots()]

    assert caught.value.partial.text == twin.value.partial.text == '{"title": "Ne'


# --- Copies and pickles ----------------------------------------------------------------------------------------------


def test_prompts_are_pickled_by_name():
    """Like functions. A prompt from `with_options` is pickled with its options."""
    assert pickle.loads(pickle.dumps(summarise)) is summarise
    assert pickle.loads(pickle.dumps(Namespace.described)) is Namespace.described
    assert pickle.loads(pickle.dumps(terse)) == terse
    assert pickle.loads(pickle.dumps(terse)) != summarise
    assert copy.copy(summarise) is copy.deepcopy(summarise) is summarise


def test_requests_and_answers_can_be_pickled(client):
    """A request keeps its output type, and an answer keeps its output."""
    direct = PromptRequest(deployment="d", output=Summary)
    for request in (summarise(text="a"), terse(text="a"), direct):
        for other in (pickle.loads(pickle.dumps(request)), copy.copy(request), copy.deepcopy(request)):
            assert other == request
            assert other.output is Summary
    answer = client.invoke(summarise(text="a"))
    for other in (pickle.loads(pickle.dumps(answer)), copy.copy(answer), copy.deepcopy(answer), answer.model_copy()):
        assert other == answer
        assert other.output == SUMMARY
        assert other.raw == answer.raw


def test_local_prompt_cannot_be_pickled():
    """Another process cannot import a prompt that is defined inside a function."""

    @prompt("d")
    def local(text: str) -> str:
        raise NotImplementedError

    for value in (local, local.with_options(user="u"), local("a")):
        with pytest.raises(pickle.PicklingError, match="is defined inside a function"):
            pickle.dumps(value)
    assert copy.deepcopy(local("a")) == local("a")


def test_output_error_can_be_pickled(client, fake):
    """So that another process can raise it."""
    fake.answers("summarise", "No.")
    with pytest.raises(FetchHiveError) as caught:
        client.invoke(summarise(text="a"))

    assert pickle.loads(pickle.dumps(caught.value)).response.response == "No."


# --- Imports ---------------------------------------------------------------------------------------------------------


def test_calls_without_typed_prompts_do_not_import_them():
    """Neither the client nor calls of other methods import `fetch_hive_sdk.prompts`."""
    code = """
        import sys
        from fetch_hive_sdk import InvokeRequest
        from fetch_hive_sdk.testing import FakeServer

        client = FakeServer(default="a").client()
        client.invoke_prompt(deployment="d")
        client.invoke(InvokeRequest(deployment="d"))
        client.stream(InvokeRequest(deployment="d")).collect()
        assert "fetch_hive_sdk.prompts" not in sys.modules
        from fetch_hive_sdk import prompt
        assert "fetch_hive_sdk.prompts" in sys.modules
    """

    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_prompt_is_an_instance_of_its_class():
    """`isinstance` tells prompts from functions."""
    assert isinstance(summarise, Prompt)
    assert callable(summarise)
