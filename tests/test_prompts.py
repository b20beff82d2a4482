"""Prompts as typed functions: what may be one, what a call of it sends, and what its answer is read as."""

from __future__ import annotations

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
from enum import Enum
from pathlib import Path  # noqa: TC003 - as above
from typing import Annotated, Any, Literal, NoReturn, Optional, Union

import pytest
from pydantic import AfterValidator, BaseModel, Field, Strict, TypeAdapter, ValidationError

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
    """Condense a text for the newsletter."""
    raise NotImplementedError


@prompt("translate")
def translate(text: str, language: str = "en") -> str:
    raise NotImplementedError


terse = summarise.with_options(variant="terse")


class InAClass:
    @prompt("in-a-class")
    def described(text: str) -> str:  # noqa: N805 - not a method: a prompt is bound to nothing
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


# --- A call makes a request ------------------------------------------------------------------------------------------


def test_call_is_a_request():
    """Calling a prompt sends nothing: it gives a request with the variables, defaults included."""
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


def test_variables_may_be_given_by_position():
    """A call is one of the function that was decorated."""
    assert translate("A text.", "de").inputs == {"text": "A text.", "language": "de"}


def test_variables_are_read_as_pydantic_reads():
    """Types are lax unless they are annotated strict, and what is sent is JSON."""

    class Colour(Enum):
        RED = "red"

    @prompt("d")
    def typed(count: int, exact: Annotated[int, Strict()], day: dt.date, colour: Colour, cat: Cat) -> str:
        raise NotImplementedError

    request = typed("3", 4, "2026-01-31", "red", {"kind": "cat"})  # type: ignore[arg-type]

    assert request.inputs == {"count": 3, "exact": 4, "day": "2026-01-31", "colour": "red", "cat": {"kind": "cat"}}
    with pytest.raises(ValidationError, match="exact"):
        typed(3, "4", "2026-01-31", "red", {"kind": "cat"})  # type: ignore[arg-type]


def test_constraints_and_aliases_are_those_of_the_annotations():
    """A variable whose name is not a Python name has an alias, which is the name that is sent."""

    @prompt("d")
    def typed(
        customer: Annotated[str, Field(alias="customer-name", max_length=5)],
        order: int = Field(default=1, alias="order-id", gt=0),
        notes: list[str] = Field(default_factory=list),  # noqa: B008 - a default of Pydantic is one
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
def test_any_name_may_be_a_variable(name):
    """A variable may have a name that means something to Pydantic, or to us."""
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
def test_wrong_variables_are_type_errors(call, reason):
    """A variable that is missing or misspelt is Python's own TypeError, which names the prompt."""
    with pytest.raises(TypeError, match=reason):
        call()


def _refuse(value: str) -> str:
    raise ValueError(f"{value} is not good")


def test_errors_never_quote_values():
    """Neither the text of an error nor its `errors()` have a value, whatever validator found it."""

    @prompt("d")
    def typed(
        a: int = 1,
        b: Annotated[str, AfterValidator(_refuse)] = "",
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


def test_values_that_json_cannot_carry_are_refused():
    """As of any request: before anything is sent."""

    @prompt("d")
    def typed(number: float) -> str:
        raise NotImplementedError

    with pytest.raises(ValidationError, match="JSON cannot represent"):
        typed(float("nan"))


def test_options_give_another_prompt():
    """`with_options` changes what goes along; the variables and the output stay."""
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


def test_options_that_are_not_given_are_not_sent(client, fake):
    """A request of a prompt is the one that would have been made by hand."""
    client.invoke(translate("Hallo"))
    client.invoke_prompt(deployment="translate", inputs={"text": "Hallo", "language": "en"})

    typed, plain = fake.calls
    assert typed.raw == plain.raw


def test_default_that_is_refused_names_its_variable():
    """As a value that was given does."""

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


def test_prompt_looks_like_its_function():
    """It has the name, the docstring and the signature of the function, and a repr that says where it is."""
    assert summarise.__name__ == "summarise"
    assert summarise.__module__ == __name__
    assert inspect.getdoc(summarise) == "Condense a text for the newsletter."
    assert list(inspect.signature(summarise).parameters) == ["text", "tone"]
    assert inspect.signature(summarise).parameters["tone"].default == "dry"
    assert repr(summarise) == ("<Prompt summarise (deployment='summarise', variant='prod', metadata={'team': 'news'})>")
    assert repr(terse).startswith("<Prompt summarise (deployment='summarise', variant='terse'")
    assert InAClass.described("a").inputs == {"text": "a"}


@pytest.mark.parametrize("typed", [summarise, translate])
def test_prompt_names_its_case(request, typed):
    """A test that is parametrised with prompts has their names in its ids."""
    assert request.node.name == f"test_prompt_names_its_case[{typed.__name__}]"
    assert typed(text="a").deployment == typed.deployment


# --- What may be a prompt --------------------------------------------------------------------------------------------


def test_bodies_that_return_nothing_are_accepted():
    """A body that raises, has a docstring alone or three dots, returns nothing."""

    @prompt("d")
    def raises(text: str) -> str:
        raise NotImplementedError

    @prompt("d")
    def dots(text: str) -> str: ...

    @prompt("d")
    def documented(text: str) -> str:
        """Say something."""

    @prompt("d")
    def passes() -> str:
        pass

    for typed in (raises, dots, documented):
        assert typed("a").inputs == {"text": "a"}
    assert passes().inputs == {}


def test_body_that_cannot_be_seen_is_accepted():
    """As of a function that was compiled to machine code."""

    class Compiled:
        def __init__(self):
            functools.update_wrapper(self, _described)
            self.__signature__ = inspect.signature(_described)
            del self.__wrapped__

        def __call__(self):
            raise AssertionError

    assert prompt("d")(Compiled())("a").inputs == {"text": "a"}


def _described(text: str) -> str:
    raise NotImplementedError


def _star(*texts: str) -> str:
    raise NotImplementedError


def _keywords(**texts: str) -> str:
    raise NotImplementedError


def _promises_nothing(text: str):
    raise NotImplementedError


def _promises_none(text: str) -> None:
    raise NotImplementedError


def _promises_no_type(text: str) -> type(None):
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


def _twice(a: Annotated[str, Field(alias="b")], b: str) -> str:
    raise NotImplementedError


def _foreign(text: Path, path: subprocess.Popen) -> str:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_star, "write out each variable"),
        (_keywords, "write out each variable"),
        (_promises_nothing, "write what the answer is"),
        (_promises_none, "write what the answer is"),
        (_promises_no_type, "write what the answer is"),
        (_never_returns, "write what the answer is"),
        (_asynchronous, "write it with def"),
        (_asynchronous_generator, "write it with def"),
        (_generator, "write raise NotImplementedError"),
        (_returns, "write raise NotImplementedError"),
        (_returns_a_constant, "write raise NotImplementedError"),
        (_returns_a_number, "write raise NotImplementedError"),
        (_returns_sometimes, "write raise NotImplementedError"),
        (_twice, "two variables have the name b"),
        (_foreign, "cannot read one of its types: .*Popen"),
        (Summary, "decorates a function"),
        (3, "decorates a function"),
    ],
)
def test_what_cannot_be_a_prompt_is_refused(function, reason):
    """It is refused where it is defined, with what to write instead."""
    with pytest.raises(TypeError, match=reason):
        prompt("d")(function)


def test_deployment_is_needed():
    """`@prompt` without a name, or with an empty one, is refused where it stands."""
    with pytest.raises(TypeError, match=r'@prompt\("summarise"\)'):
        prompt(_returns)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="must not be empty"):
        prompt("")


def test_types_may_be_defined_below():
    """An annotation may name what is defined later in the module; until then the prompt cannot be used."""
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


def test_types_may_be_defined_beside():
    """Inside a function, an annotation may name what is defined there."""

    class Local(BaseModel):
        x: int

    @prompt("d")
    def typed(local: Local) -> Local:
        raise NotImplementedError

    assert typed(Local(x=1)).inputs == {"local": {"x": 1}}
    assert typed.output is Local


def test_a_schema_of_variables_and_of_the_output_is_at_hand():
    """`inputs` is a Pydantic model of what is sent; `output` is the type, or an adapter of it."""

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
    """The answer is the one of `invoke_prompt`, and its text as the type. The output type is not sent."""
    request = summarise(text="A text.")

    check_summary(client.invoke(request))
    check_summary(await client.ainvoke(request))

    assert [call.raw for call in fake.calls] == [InvokeRequest.model_validate(request.raw).raw] * 2


def test_text_is_itself(client):
    """The output of a prompt that answers a `str` is the text, whatever it looks like."""
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
async def test_request_by_hand_has_an_output(fake, output, text, value):
    """Without a decorator, a request names its output: whatever Pydantic can validate."""
    fake.answers("d", text)
    client = fake.client()
    request: PromptRequest[Any] = PromptRequest(deployment="d", inputs={"a": 1}, output=output)

    assert request.raw == {"deployment": "d", "inputs": {"a": 1}, "streaming": False}
    assert client.invoke(request).output == value
    assert (await client.ainvoke(request)).output == value
    assert client.stream(request).collect().output == value


def test_request_by_hand_is_checked():
    """As an `InvokeRequest`, and it needs an output."""
    with pytest.raises(ValidationError, match="varaint"):
        PromptRequest(deployment="d", output=str, varaint="v")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="output"):
        PromptRequest(deployment="d")  # type: ignore[call-overload]
    assert PromptRequest[Summary] is PromptRequest
    assert PromptResponse[Summary] is PromptResponse


def check_misfit(error: OutputValidationError) -> None:
    assert error.attempts == 1
    assert error.correlation_id
    assert error.response.response == "I would rather not."
    assert error.response.usage.total_tokens
    assert error.request_id == error.response.request_id
    assert "rather" not in str(error)
    assert "Summary" in str(error)


async def test_answer_that_does_not_fit_is_kept(client, fake):
    """An answer in prose costs one call and loses nothing: the error has the whole answer."""
    fake.answers("summarise", "I would rather not.")
    client = client.with_options(correlate=True)
    request = summarise(text="a")

    with pytest.raises(OutputValidationError) as caught:
        client.invoke(request)
    check_misfit(caught.value)
    with pytest.raises(OutputValidationError) as caught:
        await client.ainvoke(request)
    check_misfit(caught.value)
    stream = client.stream(request)
    assert list(stream.snapshots()) == []
    with pytest.raises(OutputValidationError) as caught:
        stream.collect()
    check_misfit(caught.value)
    with pytest.raises(OutputValidationError) as caught:
        await client.astream(request).collect()
    check_misfit(caught.value)
    assert len(fake.calls) == 4


def test_answer_that_came_another_way_can_be_read():
    """`request.read` gives an answer its output: one that was stored, for example."""
    answer = InvokeResponse(response=ANSWER, request_id="req_1")

    assert summarise(text="a").read(answer).output == SUMMARY
    assert summarise(text="a").read(answer).raw is answer.raw


def test_request_that_was_changed_inside_is_read_again(client, fake):
    """A dict inside a request may have been changed since it was made: it is checked again before it is sent."""
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
    """After each event that changes it, the value that the JSON shows so far; at the end, the output."""
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


async def test_stream_has_its_events_and_its_text(client, fake):
    """As every stream of a prompt."""
    fake.answers("summarise", pieces=PIECES, reasoning="Hm.")

    with client.stream(summarise(text="a")) as stream:
        kinds = {event.type for event in stream}
    async with client.astream(summarise(text="a")) as twin:
        text = "".join([piece async for piece in twin.text()])

    assert kinds == {"reasoning", "response", "usage"}
    assert text == "".join(PIECES)


async def test_snapshots_begin_where_the_stream_is(client, fake):
    """What was iterated over before is part of them."""
    fake.answers("summarise", pieces=PIECES)
    stream, twin = client.stream(summarise(text="a")), client.astream(summarise(text="a"))
    for _ in range(3):
        next(stream)
        await twin.__anext__()

    assert list(stream.snapshots()) == SNAPSHOTS[2:]
    assert [snapshot async for snapshot in twin.snapshots()] == SNAPSHOTS[2:]


async def test_snapshots_of_a_text_are_the_text_so_far(client, fake):
    """Of a prompt whose output is a `str`."""
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
async def test_snapshots_are_distinct_and_end_with_the_whole(fake, pieces, snapshots):
    """A number alone comes when it is complete; prose that begins with one shows nothing."""
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


def test_snapshots_are_the_caller_s_own(client, fake):
    """Changing one changes none of the others, nor the output."""
    fake.answers("summarise", pieces=PIECES)
    stream = client.stream(summarise(text="a"))
    seen = []

    for snapshot in stream.snapshots():
        seen.append(json.dumps(snapshot))
        snapshot["title"] = None

    assert list(map(json.loads, seen)) == SNAPSHOTS
    assert stream.collect().output == SUMMARY


async def test_snapshots_of_a_failed_stream_raise(client, fake):
    """As `text()` does; what came is in the error."""
    fake.answers("summarise", pieces=['{"title": "Ne'], error="The provider failed")

    with pytest.raises(StreamFailedError) as caught:
        list(client.stream(summarise(text="a")).snapshots())
    with pytest.raises(StreamFailedError) as twin:
        [snapshot async for snapshot in client.astream(summarise(text="a")).snapshots()]

    assert caught.value.partial.text == twin.value.partial.text == '{"title": "Ne'


# --- Copies and pickles ----------------------------------------------------------------------------------------------


def test_prompts_travel_by_name():
    """A prompt is pickled as a function is; one with other options, with them."""
    assert pickle.loads(pickle.dumps(summarise)) is summarise
    assert pickle.loads(pickle.dumps(InAClass.described)) is InAClass.described
    assert pickle.loads(pickle.dumps(terse)) == terse
    assert pickle.loads(pickle.dumps(terse)) != summarise
    assert copy.copy(summarise) is copy.deepcopy(summarise) is summarise


def test_requests_and_answers_travel(client):
    """A request arrives with its output type, an answer with its output."""
    by_hand = PromptRequest(deployment="d", output=Summary)
    for request in (summarise(text="a"), terse(text="a"), by_hand):
        for other in (pickle.loads(pickle.dumps(request)), copy.copy(request), copy.deepcopy(request)):
            assert other == request
            assert other.output is Summary
    answer = client.invoke(summarise(text="a"))
    for other in (pickle.loads(pickle.dumps(answer)), copy.copy(answer), copy.deepcopy(answer), answer.model_copy()):
        assert other == answer
        assert other.output == SUMMARY
        assert other.raw == answer.raw


def test_prompt_of_a_function_cannot_travel():
    """It has no name that another process could find it by."""

    @prompt("d")
    def local(text: str) -> str:
        raise NotImplementedError

    for value in (local, local.with_options(user="u"), local("a")):
        with pytest.raises(pickle.PicklingError, match="is defined inside a function"):
            pickle.dumps(value)
    assert copy.deepcopy(local("a")) == local("a")


def test_error_travels(client, fake):
    """An output that does not fit can be raised in another process."""
    fake.answers("summarise", "No.")
    with pytest.raises(FetchHiveError) as caught:
        client.invoke(summarise(text="a"))

    assert pickle.loads(pickle.dumps(caught.value)).response.response == "No."


# --- Cost ------------------------------------------------------------------------------------------------------------


def test_plain_calls_load_none_of_it():
    """Typed prompts are loaded by those who use them: neither the client nor its plain calls do."""
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


def test_prompt_is_the_class():
    """`isinstance` tells prompts apart from functions."""
    assert isinstance(summarise, Prompt)
    assert callable(summarise)
