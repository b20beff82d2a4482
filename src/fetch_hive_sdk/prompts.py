"""Prompts as typed functions: a deployment whose variables and answer an editor and a type checker know.

Nothing here sends anything. A `Prompt` makes requests, and `FetchHive` runs them.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from contextlib import suppress
from dataclasses import dataclass
from pickle import PicklingError
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Callable,
    Generic,
    NoReturn,
    Optional,
    TypeVar,
    Union,
    cast,
    get_origin,
    overload,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError
from typing_extensions import Never, ParamSpec, get_type_hints

from .errors import OutputValidationError
from .models.base import message_of
from .models.output import read_output
from .models.partial import NOTHING, PartialJSON
from .models.prompts import InvokeRequest, InvokeResponse, StreamEvent
from .streams import AsyncPromptStream, PromptStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator, Mapping

    from pydantic_core import ErrorDetails

    from ._protocol.streaming import Transcript
    from .models.json_values import MetadataValue

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


# --- Requests and answers that know their type -----------------------------------------------------------------------


class PromptRequest(InvokeRequest, Generic[T_co], frozen=True):
    """One run of a prompt deployment whose answer has a type. Made by calling a `Prompt`, or by hand.

    `FetchHive.invoke` and `ainvoke` answer it with a `PromptResponse`, `stream` and `astream` with a `TypedStream`.

    Args:
        deployment: The name of the prompt deployment.
        variant: The name of the variant; None for the default variant.
        inputs: Values for the prompt's variables: a mapping or a Pydantic model.
        user: Your own opaque id of the person who calls.
        metadata: Flat data of your own for audit and log filtering.
        output: What the text of the answer is read as: a class, or a `pydantic.TypeAdapter` for a union, a `Literal`
            and whatever else is not a class. It is not a field, and it is never sent. It is pickled along with the
            request, which Pydantic before 2.10 cannot do for every adapter.

    Raises:
        pydantic.ValidationError: A field is of the wrong kind. Its text never quotes the values.

    Example:
        ```python
        request = PromptRequest(deployment="extract-ticket", inputs={"mail": "..."}, output=Ticket)
        print(client.invoke(request).output.title)
        ```
    """

    # The output type, or the prompt that knows it: a prompt is pickled by its name.
    _output: Any = PrivateAttr()

    if TYPE_CHECKING:

        @overload
        def __init__(
            self,
            *,
            deployment: str,
            variant: Optional[str] = None,
            inputs: Union[Mapping[str, object], BaseModel, None] = None,
            user: Optional[str] = None,
            metadata: Optional[Mapping[str, MetadataValue]] = None,
            output: type[T_co],
        ) -> None: ...

        @overload
        def __init__(
            self,
            *,
            deployment: str,
            variant: Optional[str] = None,
            inputs: Union[Mapping[str, object], BaseModel, None] = None,
            user: Optional[str] = None,
            metadata: Optional[Mapping[str, MetadataValue]] = None,
            output: TypeAdapter[T_co],
        ) -> None: ...

        def __init__(self, *, deployment: str, output: object, **fields: Any) -> None: ...

    else:

        def __init__(self, *, output: object, **fields: Any) -> None:
            super().__init__(**fields)
            self._output = output

        def __class_getitem__(cls, item: object) -> type[PromptRequest[Any]]:
            # Not a class of its own, as Pydantic would make: the output type belongs to the request.
            return cls

    @property
    def output(self) -> Union[type[T_co], TypeAdapter[T_co]]:
        """What the text of the answer is read as: a class, or a `pydantic.TypeAdapter`."""
        output = self._output
        return cast("Prompt[..., T_co]", output).output if isinstance(output, Prompt) else output

    def read(self, answer: InvokeResponse) -> PromptResponse[T_co]:
        """Read the text of an answer to this request as its output type.

        The client does this by itself. Call it for an answer that came another way.

        Args:
            answer: The answer.

        Returns:
            The same answer with its `output`.

        Raises:
            OutputValidationError: The text does not fit. Its `response` is the answer.

        """
        return _typed(answer, read_output(answer.response, self.output, answer))


class PromptResponse(InvokeResponse, Generic[T_co], frozen=True):
    """The answer to a `PromptRequest`: an `InvokeResponse` whose `output` is its text, read as a type."""

    _output: Any = PrivateAttr()

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item: object) -> type[PromptResponse[Any]]:
            # As of PromptRequest.
            return cls

    @property
    def output(self) -> T_co:
        """The text of the answer as its type. It was validated before the call returned."""
        return cast("T_co", self._output)


def _typed(answer: InvokeResponse, output: T) -> PromptResponse[T]:
    # Not validated again: it is the same answer, with the same raw.
    kind: type[PromptResponse[T]] = PromptResponse
    response = kind.__new__(kind)
    response.__setstate__({**answer.__getstate__(), "__pydantic_private__": {"_output": output}})
    return response


class TypedStream(PromptStream, Generic[T_co]):
    """The events of one run of a typed prompt, as they come. Made by `FetchHive.stream`.

    Example:
        ```python
        stream = client.stream(extract_ticket(mail="..."))
        for snapshot in stream.snapshots():
            print(snapshot)
        print(stream.collect().output)
        ```
    """

    def __init__(
        self,
        begin: Callable[[bool], Generator[StreamEvent, None, None]],
        transcript: Transcript[StreamEvent, InvokeResponse],
        request: PromptRequest[T_co],
    ) -> None:
        super().__init__(begin, transcript, request.deployment)
        self._request = request

    def snapshots(self) -> Generator[Any, None, None]:
        """Iterate over what the answer's JSON says so far, as plain values that have not been validated.

        A string that is still being written is included. A number, `true`, `false` or `null` that is the whole answer
        comes once, when it is complete. Of a prompt whose output is `str`, it is the text so far.

        Yields:
            The value, after each event that changes it.

        Raises:
            StreamFailedError: The service sent an `error` event.
            FetchHiveError: Whatever iterating over the events raises.

        """
        snapshots = _Snapshots(self._request, self.partial.text)
        for piece in self.text():
            yield from snapshots.add(piece)
        yield from snapshots.finish()

    def collect(self) -> PromptResponse[T_co]:
        """Read to the end and return the answer that `invoke` would have given.

        What has been iterated over before is part of it.

        Raises:
            OutputValidationError: The text does not fit. Its `response` has the whole answer.
            StreamFailedError: The service sent an `error` event.
            StreamInterruptedError: The stream broke off, or was closed before its end.
            FetchHiveError: Whatever iterating over the events raises.

        """
        return _read(self._request, super().collect(), self._transcript)


class AsyncTypedStream(AsyncPromptStream, Generic[T_co]):
    """The events of one run of a typed prompt, as they come. Made by `FetchHive.astream`.

    Example:
        ```python
        stream = client.astream(extract_ticket(mail="..."))
        async for snapshot in stream.snapshots():
            print(snapshot)
        print((await stream.collect()).output)
        ```
    """

    def __init__(
        self,
        begin: Callable[[bool], AsyncGenerator[StreamEvent, None]],
        transcript: Transcript[StreamEvent, InvokeResponse],
        request: PromptRequest[T_co],
    ) -> None:
        super().__init__(begin, transcript, request.deployment)
        self._request = request

    async def snapshots(self) -> AsyncGenerator[Any, None]:
        """Iterate over what the answer's JSON says so far: the asyncio twin of `TypedStream.snapshots`."""
        snapshots = _Snapshots(self._request, self.partial.text)
        async for piece in self.text():
            for snapshot in snapshots.add(piece):
                yield snapshot
        for snapshot in snapshots.finish():
            yield snapshot

    async def collect(self) -> PromptResponse[T_co]:
        """Read to the end and return the answer: the asyncio twin of `TypedStream.collect`."""
        return _read(self._request, await super().collect(), self._transcript)


def _read(request: PromptRequest[T], answer: InvokeResponse, transcript: Transcript[Any, Any]) -> PromptResponse[T]:
    try:
        return request.read(answer)
    except OutputValidationError as error:
        error.attempts, error.correlation_id = transcript.attempts, transcript.correlation_id
        raise


class _Snapshots:
    """What the text of an answer shows so far."""

    def __init__(self, request: PromptRequest[Any], text: str) -> None:
        self._is_json = request.output is not str
        self._json = PartialJSON(text)
        self._shown_text = text
        self._shown_edge = _edge_of(self._json.read()) if self._is_json else None

    def add(self, piece: str) -> Iterator[Any]:
        """Take the next piece of text; yield what it shows if that is another value than before."""
        self._json.add(piece)
        if not self._is_json:
            yield from [self._json.text] if piece else []
            return
        value = self._json.read()
        edge = _edge_of(value)
        if value is not NOTHING and edge != self._shown_edge:
            self._shown_edge, self._shown_text = edge, self._json.text
            # The caller may change it: it is compared with nothing later.
            yield value

    def finish(self) -> Iterator[Any]:
        """The text has ended: yield what shows only now."""
        if self._is_json:
            value = self._json.read(is_whole=True)
            if value is not NOTHING and value != PartialJSON(self._shown_text).read():
                yield value


def _edge_of(value: Any) -> tuple[object, ...]:
    """Return what tells a value from what it was with less of its text: only at its end does JSON grow."""
    # In place of a comparison of the whole. It misses a name that an object has twice, until the text has ended.
    edge: list[object] = []
    inner: object = value
    while inner and isinstance(inner, (dict, list)):
        container = cast("dict[object, object] | list[object]", inner)
        last = next(reversed(container))
        edge.append((len(container), last if isinstance(container, dict) else None))
        inner = container[last] if isinstance(container, dict) else last
    return (*edge, type(inner), inner)


# --- Prompts ---------------------------------------------------------------------------------------------------------


def prompt(
    deployment: str,
    *,
    variant: Optional[str] = None,
    user: Optional[str] = None,
    metadata: Optional[Mapping[str, MetadataValue]] = None,
) -> Callable[[Callable[P, T]], Prompt[P, T]]:
    """Describe a prompt deployment as a function: its parameters are the variables, its return type is the output.

    The function is never run: write `raise NotImplementedError` as its body. A variable whose name is not a Python
    name has an alias: `customer: Annotated[str, Field(alias="customer-name")]`.

    Args:
        deployment: The name of the prompt deployment.
        variant: The name of the variant; None for the default variant.
        user: Your own opaque id of the person who calls. `Prompt.with_options` sets it later.
        metadata: Flat data of your own for audit and log filtering.

    Returns:
        A decorator that makes a `Prompt` of the function.

    Raises:
        TypeError: The function has `*args` or `**kwargs`, promises nothing, is asynchronous, or returns something.
        pydantic.ValidationError: The name of the deployment or another argument is refused.

    Example:
        ```python
        @prompt("extract-ticket", variant="prod")
        def extract_ticket(mail: str, *, language: str = "en") -> Ticket:
            raise NotImplementedError


        answer = client.invoke(extract_ticket(mail="..."))
        print(answer.output.title)
        ```
    """
    if callable(deployment):
        raise TypeError('@prompt needs the name of a deployment: @prompt("summarise")')
    options = InvokeRequest(deployment=deployment, variant=variant, user=user, metadata=metadata)

    def decorate(function: Callable[P, T]) -> Prompt[P, T]:
        return Prompt(function, options, _names_of_caller())

    return decorate


def _names_of_caller() -> Mapping[str, Any]:
    """Return the names that are known where a function is decorated: types may be defined beside it in a function."""
    frame = inspect.currentframe()
    try:
        decorating = frame.f_back if frame else None
        caller = decorating.f_back if decorating else None
        return dict(caller.f_locals) if caller else {}
    finally:
        del frame  # which refers to itself by that name


class Prompt(Generic[P, T_co]):
    """A prompt deployment as a typed function. Made by `prompt`.

    Call it with the prompt's variables: they are validated, and a `PromptRequest` is returned. Nothing is sent. It has
    the name, the docstring and the signature of the function that it was made of.
    """

    def __init__(
        self, function: Callable[P, T_co], options: InvokeRequest, local_names: Optional[Mapping[str, Any]] = None
    ) -> None:
        functools.update_wrapper(self, function)
        self._described: _Described[T_co] = _Described(function, local_names)
        self._options = options
        self._origin: Optional[Prompt[P, T_co]] = None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> PromptRequest[T_co]:
        """Validate the variables.

        Returns:
            The request, to be passed to `FetchHive.invoke`, `ainvoke`, `stream` or `astream`.

        Raises:
            TypeError: A variable is missing, or there is none of this name.
            pydantic.ValidationError: A value is refused. Neither its text nor its `errors()` quote the values.

        """
        # Those that were given: what was not is not sent.
        options = {name: getattr(self._options, name) for name in self._options.given_fields()}
        inputs = self._described.read_arguments(args, kwargs)
        return PromptRequest(**options, inputs=inputs, output=cast("type[T_co]", self))

    @property
    def deployment(self) -> str:
        """The name of the prompt deployment."""
        return self._options.deployment

    @property
    def variant(self) -> Optional[str]:
        """The name of the variant; None for the default variant."""
        return self._options.variant

    @property
    def user(self) -> Optional[str]:
        """Your own opaque id of the person who calls, if one is set."""
        return self._options.user

    @property
    def metadata(self) -> Mapping[str, MetadataValue]:
        """Flat data of your own that goes along with every request."""
        return self._options.metadata

    @property
    def inputs(self) -> type[BaseModel]:
        """The variables as a Pydantic model: their names as they are sent, their types and defaults."""
        return self._described.types.inputs

    @property
    def output(self) -> Union[type[T_co], TypeAdapter[T_co]]:
        """The type of the output: the class, or a `pydantic.TypeAdapter` of what is not a class."""
        return self._described.types.output

    def with_options(
        self,
        *,
        variant: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
    ) -> Prompt[P, T_co]:
        """Return a prompt with the same variables and the same output, and other options.

        Args:
            variant: The name of the variant. None, here and below: as this prompt has it; `""` takes it away.
            user: Your own opaque id of the person who calls.
            metadata: Flat data of your own, in place of that of this prompt; `{}` takes it away.

        Returns:
            The new prompt. This one stays as it is.

        Raises:
            pydantic.ValidationError: An option is refused.

        """
        given = {"variant": variant, "user": user, "metadata": metadata}
        changed = {name: value for name, value in given.items() if value is not None}
        options = InvokeRequest.model_validate({**self._options.given_fields(), **changed})
        # What is empty has been taken away.
        kept = {name: value for name, value in options.given_fields().items() if value}
        return _with_options(self._origin or self, InvokeRequest.model_validate(kept))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._options.raw.items() if name != "streaming")
        return f"<Prompt {self._described.name} ({given})>"

    def __eq__(self, other: object) -> bool:
        is_prompt = isinstance(other, Prompt)
        return is_prompt and self._key() == cast("Prompt[..., Any]", other)._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self._described, self.deployment, self.variant, self.user, tuple(self.metadata.items())

    # It never changes.

    def __copy__(self) -> Prompt[P, T_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Prompt[P, T_co]:
        return self

    def __reduce__(self) -> Union[str, tuple[Any, ...]]:
        """Pickle it by its module and its name, as a function is."""
        if self._origin is not None:
            return _with_options, (self._origin, self._options)
        name = self._described.name
        if "<locals>" in name:
            raise PicklingError(f"{name} is defined inside a function: a prompt that is pickled is defined in a module")
        return name


def _with_options(origin: Prompt[P, T], options: InvokeRequest) -> Prompt[P, T]:
    kind: type[Prompt[P, T]] = Prompt
    other = kind.__new__(kind)
    other.__dict__.update(origin.__dict__, _options=options, _origin=origin)
    return other


# --- What a function says --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Types(Generic[T_co]):
    """What the annotations of a function say."""

    inputs: type[BaseModel]
    variables: Mapping[str, str]
    """The names of the variables as they are sent, by those of the parameters."""
    output: Union[type[T_co], TypeAdapter[T_co]]


class _Described(Generic[T_co]):
    """A function that describes a prompt.

    Raises:
        TypeError: It cannot.

    """

    def __init__(self, function: Callable[..., T_co], local_names: Optional[Mapping[str, Any]]) -> None:
        if inspect.isclass(function) or not hasattr(function, "__qualname__"):
            raise TypeError("@prompt decorates a function")
        self.name: str = function.__qualname__
        self._function = function
        self._signature = _signature_of(function)
        self._check()
        self._types: Optional[_Types[T_co]] = None
        # A type may be defined further below: it is read when the prompt is used.
        with suppress(NameError):
            self._types = self._try_types(local_names or {})

    @property
    def types(self) -> _Types[T_co]:
        """What the annotations say.

        Raises:
            NameError: They name something that is not defined.

        """
        if self._types is None:
            self._types = self._try_types({})
        return self._types

    def read_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BaseModel:
        """Validate the arguments of a call.

        Raises:
            TypeError: One is missing or unknown.
            pydantic.ValidationError: One is refused.

        """
        name = self._function.__name__
        for unknown in kwargs.keys() - self._signature.parameters.keys():
            # Before what is missing: it is often the same.
            raise TypeError(f"{name}() got an unexpected keyword argument {unknown!r}")
        try:
            arguments = self._signature.bind(*args, **kwargs).arguments
        except TypeError as exc:
            raise TypeError(f"{name}() {exc}") from None
        variables = self.types.variables
        values = {variables[name]: value for name, value in arguments.items()}
        return _validate(self.types.inputs, values, {f"input_{name}": variables[name] for name in variables})

    def _check(self) -> None:
        inner = inspect.unwrap(self._function)
        if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
            raise self._refusal("write it with def: client.ainvoke and client.astream run it with asyncio")
        for parameter in self._signature.parameters.values():
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
                raise self._refusal("write out each variable: *args and **kwargs have no names")
        self._check_promise(self._signature.return_annotation)
        if _returns_something(inner):
            raise self._refusal("the body of a prompt is never run: write raise NotImplementedError")

    def _check_promise(self, promised: object) -> None:
        if any(promised is nothing for nothing in (inspect.Signature.empty, None, type(None), NoReturn, Never)):
            raise self._refusal("write what the answer is: -> str for its text, else the type that its JSON is read as")

    def _refusal(self, reason: str) -> TypeError:
        return TypeError(f"{self.name} cannot be a prompt: {reason}")

    def _try_types(self, local_names: Mapping[str, Any]) -> _Types[T_co]:
        try:
            return self._read_types(local_names)
        except PydanticUserError as exc:
            reason = str(exc).partition(". ")[0]
            raise self._refusal(f"Pydantic cannot read one of its types: {reason}") from exc

    def _read_types(self, local_names: Mapping[str, Any]) -> _Types[T_co]:
        hints = get_type_hints(self._function, localns=dict(local_names), include_extras=True)
        self._check_promise(hints["return"])
        fields: dict[str, Any] = {}
        variables: dict[str, str] = {}
        for name, parameter in self._signature.parameters.items():
            annotation = hints.get(name, Any)
            variable = _variable_of(name, annotation, parameter.default)
            if variable in variables.values():
                raise self._refusal(f"two variables have the name {variable}")
            variables[name] = variable
            # The name of the field is one that means nothing to Pydantic, as `copy` or `_text` would.
            fields[f"input_{name}"] = _field_of(annotation, parameter.default, variable)
        inputs = create_model(
            self._function.__name__,
            __config__=ConfigDict(extra="forbid", hide_input_in_errors=True, validate_default=True),
            __doc__=inspect.getdoc(self._function),
            __module__=self._function.__module__,
            **fields,
        )
        return _Types(inputs, variables, _output_of(hints["return"]))


def _signature_of(function: Callable[..., object]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415 - it is new

        # What is not defined yet is left as it is.
        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    else:  # noqa: RET505 - mypy takes what follows a version check for unreachable
        return inspect.signature(function)


def _returns_something(function: Callable[..., object]) -> bool:
    """Return whether the body of a function returns, or yields, anything. One that cannot be seen does not."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    before: Any = NOTHING
    for instruction in dis.get_instructions(code):
        if instruction.opname == "RETURN_CONST" and instruction.argval is not None:
            return True
        if instruction.opname == "RETURN_VALUE" and before is not None:
            return True
        before = instruction.argval if instruction.opname == "LOAD_CONST" else NOTHING
    return inspect.isgeneratorfunction(function)


def _variable_of(name: str, annotation: Any, default: object) -> str:
    for info in (default, FieldInfo.from_annotation(annotation)):
        if isinstance(info, FieldInfo) and (info.serialization_alias or info.alias):
            return info.serialization_alias or info.alias or name
    return name


def _field_of(annotation: Any, default: object, variable: str) -> tuple[Any, Any]:
    names: dict[str, Any] = {"alias": variable, "validation_alias": variable, "serialization_alias": variable}
    if isinstance(default, FieldInfo):
        return Annotated[annotation, default], Field(**names)
    return annotation, Field(... if default is inspect.Parameter.empty else default, **names)


def _output_of(annotation: Any) -> Any:
    # An adapter is made once, not for each answer. A model needs none, and an error names it.
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    is_class = isinstance(annotation, type) and get_origin(annotation) is None
    is_itself = annotation is str or (is_class and issubclass(annotation, BaseModel))
    return annotation if is_itself else adapter


def _validate(model: type[BaseModel], values: Mapping[str, object], variables: Mapping[str, str]) -> BaseModel:
    """Read the values of a call; `variables` has the names of the variables by those of the fields."""
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_context=False, include_input=False)
    for item in found:
        # Where a default is refused, Pydantic names the field and not its alias.
        first, *rest = item["loc"]
        if first not in variables.values():
            item["loc"] = (variables.get(str(first), first), *rest)
    # A new one, not chained: that of Pydantic has the values, and whatever the validators of the caller say.
    raise ValidationError.from_exception_data(model.__name__, list(map(_without_value, found)), hide_input=True)


def _without_value(item: ErrorDetails) -> InitErrorDetails:
    reason = PydanticCustomError(cast("Any", item["type"]), "{reason}", {"reason": message_of(item)})
    return InitErrorDetails(type=reason, loc=item["loc"], input=None)
