"""Typed prompts: functions that declare the variables and the output type of a prompt deployment.

A `Prompt` creates requests, and `FetchHive` sends them. This module performs no I/O.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from contextlib import suppress
from dataclasses import dataclass
from pickle import PicklingError
from traceback import clear_frames
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
from .models.base import masked, message_of
from .models.output import adapter_of, read_output
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


# --- Requests and answers with an output type ------------------------------------------------------------------------


class PromptRequest(InvokeRequest, Generic[T_co], frozen=True):
    """A request to run a prompt deployment, with the type of its output. Call a `Prompt` to create one, or this class.

    `FetchHive.invoke` and `ainvoke` return a `PromptResponse` for it, `stream` a `TypedStream`, and `astream` an
    `AsyncTypedStream`.

    Args:
        deployment: The name of the prompt deployment.
        variant: The name of the variant; None means the default variant.
        inputs: Values for the prompt's variables: a mapping or a Pydantic model.
        user: Your own opaque id of the end user.
        metadata: Your own flat data for audit and log filtering.
        output: The type to parse the text of the answer to: a class, or a `pydantic.TypeAdapter` for a union, a
            `Literal` and other types that are not classes. It is not a field and is never sent. It is pickled with
            the request; Pydantic before 2.10 cannot pickle every adapter.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or has the wrong type. The message never quotes values.
        TypeError: Pydantic cannot validate the type of the output, or it names a type that is not defined.

    Example:
        ```python
        request = PromptRequest(deployment="extract-ticket", inputs={"mail": "..."}, output=Ticket)
        print(client.invoke(request).output.title)
        ```
    """

    # The output type, or the prompt that declares it, because a prompt is pickled by its name.
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
            if output is not str and not isinstance(output, Prompt):  # a prompt checks its type once
                adapter_of(output)
            super().__init__(**fields)
            self._output = output

        def __class_getitem__(cls, item: object) -> type[PromptRequest[Any]]:
            # Pydantic would create a class for each type; here the output type belongs to the request.
            return cls

    @property
    def output(self) -> Union[type[T_co], TypeAdapter[T_co]]:
        """The type to parse the text of the answer to: a class, or a `pydantic.TypeAdapter`."""
        output = self._output
        return cast("Prompt[..., T_co]", output).output if isinstance(output, Prompt) else output

    def read(self, answer: InvokeResponse) -> PromptResponse[T_co]:
        """Parse the text of an answer to the output type of this request.

        The client calls this method for every answer. Call it yourself for an answer from elsewhere, such as a stored
        one.

        Args:
            answer: The answer to this request.

        Returns:
            The same answer with its `output`.

        Raises:
            OutputValidationError: The text does not match the type. Its `response` is the answer.

        """
        return _with_output(answer, read_output(answer.response, self.output, answer))


class PromptResponse(InvokeResponse, Generic[T_co], frozen=True):
    """The answer to a `PromptRequest`: an `InvokeResponse` with the parsed `output`."""

    _output: Any = PrivateAttr()

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item: object) -> type[PromptResponse[Any]]:
            # For the same reason as PromptRequest.
            return cls

    @property
    def output(self) -> T_co:
        """The text of the answer, parsed to the output type. It was validated before the call returned."""
        return cast("T_co", self._output)


def _with_output(answer: InvokeResponse, output: T) -> PromptResponse[T]:
    # The answer is already validated; the copy shares its `raw`.
    cls: type[PromptResponse[T]] = PromptResponse
    response = cls.__new__(cls)
    response.__setstate__({**answer.__getstate__(), "__pydantic_private__": {"_output": output}})
    return response


class TypedStream(PromptStream, Generic[T_co]):
    """A stream of the events of one run of a typed prompt. Made by `FetchHive.stream`.

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
        """Iterate over the partial JSON of the answer, parsed to plain values that are not validated.

        Incomplete strings are included. An answer that is only a number, `true`, `false` or `null` is yielded once,
        when it is complete. If the output type is `str`, the text so far is yielded.

        Yields:
            The value so far, after each event that changes it.

        Raises:
            StreamFailedError: The service sent an `error` event.
            FetchHiveError: Any error that iterating over the events raises.

        """
        snapshots = _Snapshots(self._request, self.partial.text)
        for piece in self.text():
            yield from snapshots.add(piece)
        yield from snapshots.finish()

    def collect(self) -> PromptResponse[T_co]:
        """Read the stream to its end and return the answer that `invoke` would have returned.

        The answer includes the events that were iterated over before.

        Raises:
            OutputValidationError: The text does not match the type. Its `response` has the whole answer.
            StreamFailedError: The service sent an `error` event.
            StreamInterruptedError: The stream was interrupted, or was closed before its end.
            FetchHiveError: Any error that iterating over the events raises.

        """
        return _parse_output(self._request, super().collect(), self._transcript)


class AsyncTypedStream(AsyncPromptStream, Generic[T_co]):
    """A stream of the events of one run of a typed prompt. Made by `FetchHive.astream`.

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
        """Iterate over the partial JSON of the answer: the asyncio twin of `TypedStream.snapshots`."""
        snapshots = _Snapshots(self._request, self.partial.text)
        async for piece in self.text():
            for snapshot in snapshots.add(piece):
                yield snapshot
        for snapshot in snapshots.finish():
            yield snapshot

    async def collect(self) -> PromptResponse[T_co]:
        """Read the stream to its end and return the answer: the asyncio twin of `TypedStream.collect`."""
        return _parse_output(self._request, await super().collect(), self._transcript)


def _parse_output(
    request: PromptRequest[T], answer: InvokeResponse, transcript: Transcript[Any, Any]
) -> PromptResponse[T]:
    try:
        return request.read(answer)
    except OutputValidationError as error:
        error.attempts, error.correlation_id = transcript.attempts, transcript.correlation_id
        error.response = masked(error.response, transcript.masked)
        error.request_id = transcript.masked(error.request_id)
        clear_frames(error.__traceback__)
        del answer  # may repeat the key, and crash reports show local variables
        raise


class _Snapshots:
    """Parses the text of an answer so far, and skips values that did not change."""

    def __init__(self, request: PromptRequest[Any], text: str) -> None:
        self._is_json = request.output is not str
        self._json = PartialJSON(text)
        self._last_text = text
        self._last_tail = _tail_of(self._json.read()) if self._is_json else None

    def add(self, piece: str) -> Iterator[Any]:
        """Add the next piece of text, and yield the value so far if the piece changed it."""
        self._json.add(piece)
        if not self._is_json:
            yield from [self._json.text] if piece else []
            return
        value = self._json.read()
        tail = _tail_of(value)
        if value is not NOTHING and tail != self._last_tail:
            self._last_tail, self._last_text = tail, self._json.text
            # The caller may modify the value, so it is not kept for later comparisons.
            yield value

    def finish(self) -> Iterator[Any]:
        """Yield the value of the complete text, if it differs from the last one."""
        if self._is_json:
            value = self._json.read(is_whole=True)
            if value is not NOTHING and value != PartialJSON(self._last_text).read():
                yield value


def _tail_of(value: Any) -> tuple[object, ...]:
    """Return the path to the last item of a value. JSON grows only at its end, so the path changes with the value."""
    # Cheaper than comparing whole values. It misses repeated names in an object; `finish` compares whole values.
    tail: list[object] = []
    inner: object = value
    while inner and isinstance(inner, (dict, list)):
        container = cast("dict[object, object] | list[object]", inner)
        last = next(reversed(container))
        tail.append((len(container), last if isinstance(container, dict) else None))
        inner = container[last] if isinstance(container, dict) else last
    return (*tail, type(inner), inner)


# --- Prompts ---------------------------------------------------------------------------------------------------------


def prompt(
    deployment: str,
    *,
    variant: Optional[str] = None,
    user: Optional[str] = None,
    metadata: Optional[Mapping[str, MetadataValue]] = None,
) -> Callable[[Callable[P, T]], Prompt[P, T]]:
    """Declare a prompt deployment as a function: its parameters are the variables, its return type is the output type.

    The function is never called: write `raise NotImplementedError` as its body. Use an alias for a variable whose name
    is not a valid Python name: `customer: Annotated[str, Field(alias="customer-name")]`.

    Args:
        deployment: The name of the prompt deployment.
        variant: The name of the variant; None means the default variant.
        user: Your own opaque id of the end user. Use `Prompt.with_options` to set it for each call.
        metadata: Your own flat data for audit and log filtering.

    Returns:
        A decorator that turns the function into a `Prompt`.

    Raises:
        TypeError: The function has `*args` or `**kwargs`, has no return type, is asynchronous, or returns a value.
        pydantic.ValidationError: The name of the deployment or another argument is invalid.

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
        raise TypeError('@prompt requires the name of a deployment, e.g. @prompt("summarise")')
    options = InvokeRequest(deployment=deployment, variant=variant, user=user, metadata=metadata)

    def decorate(function: Callable[P, T]) -> Prompt[P, T]:
        return Prompt(function, options, _caller_locals())

    return decorate


def _caller_locals() -> Mapping[str, Any]:
    """Return the local variables where the decorator is used: annotations may name types that are defined there."""
    frame = inspect.currentframe()
    try:
        decorating = frame.f_back if frame else None
        caller = decorating.f_back if decorating else None
        return dict(caller.f_locals) if caller else {}
    finally:
        del frame  # breaks the reference cycle of the frame and its variable


class Prompt(Generic[P, T_co]):
    """A prompt deployment as a typed function. Made by the decorator `prompt`.

    Call it with the prompt's variables to validate them and to get a `PromptRequest`. Calling it sends nothing. A
    prompt has the name, the docstring and the signature of the decorated function.
    """

    def __init__(
        self, function: Callable[P, T_co], options: InvokeRequest, local_names: Optional[Mapping[str, Any]] = None
    ) -> None:
        functools.update_wrapper(self, function)
        self._definition: _Definition[T_co] = _Definition(function, local_names)
        self._options = options
        self._origin: Optional[Prompt[P, T_co]] = None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> PromptRequest[T_co]:
        """Validate the variables and return a request.

        Returns:
            The request. Pass it to `FetchHive.invoke`, `ainvoke`, `stream` or `astream`.

        Raises:
            TypeError: A variable is missing or unknown, or the output type contains a type that is not defined.
            pydantic.ValidationError: A value is invalid. Neither the message nor `errors()` quotes the value.

        """
        # Only the options that were set are sent.
        options = {name: getattr(self._options, name) for name in self._options.given_fields()}
        inputs = self._definition.read_arguments(args, kwargs)
        return PromptRequest(**options, inputs=inputs, output=cast("type[T_co]", self))

    @property
    def deployment(self) -> str:
        """The name of the prompt deployment."""
        return self._options.deployment

    @property
    def variant(self) -> Optional[str]:
        """The name of the variant; None means the default variant."""
        return self._options.variant

    @property
    def user(self) -> Optional[str]:
        """Your own opaque id of the end user, if one is set."""
        return self._options.user

    @property
    def metadata(self) -> Mapping[str, MetadataValue]:
        """Your own flat data, which is sent with every request."""
        return self._options.metadata

    @property
    def inputs(self) -> type[BaseModel]:
        """A Pydantic model of the variables, with their types, their defaults and the names that are sent."""
        return self._definition.types.inputs

    @property
    def output(self) -> Union[type[T_co], TypeAdapter[T_co]]:
        """The output type: a class, or a `pydantic.TypeAdapter` of a type that is not a class."""
        return self._definition.types.output

    def with_options(
        self,
        *,
        variant: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
    ) -> Prompt[P, T_co]:
        """Return a copy of this prompt with other options.

        None keeps the option of this prompt.

        Args:
            variant: The name of the variant; `""` removes it.
            user: Your own opaque id of the end user; `""` removes it.
            metadata: Your own flat data, which replaces that of this prompt; `{}` removes it.

        Returns:
            The new prompt. This one is not changed.

        Raises:
            pydantic.ValidationError: An option is invalid.

        """
        arguments = {"variant": variant, "user": user, "metadata": metadata}
        changed = {name: value for name, value in arguments.items() if value is not None}
        options = InvokeRequest.model_validate({**self._options.given_fields(), **changed})
        # An empty value removes the option.
        kept = {name: value for name, value in options.given_fields().items() if value}
        return _with_options(self._origin or self, InvokeRequest.model_validate(kept))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options.raw.items() if name != "streaming")
        return f"<Prompt {self._definition.name} ({options})>"

    def __eq__(self, other: object) -> bool:
        is_prompt = isinstance(other, Prompt)
        return is_prompt and self._key() == cast("Prompt[..., Any]", other)._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self._definition, self.deployment, self.variant, self.user, tuple(self.metadata.items())

    # A prompt is immutable.

    def __copy__(self) -> Prompt[P, T_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Prompt[P, T_co]:
        return self

    def __reduce__(self) -> Union[str, tuple[Any, ...]]:
        """Pickle the prompt by its module and name, as functions are pickled."""
        if self._origin is not None:
            return _with_options, (self._origin, self._options)
        name = self._definition.name
        if "<locals>" in name:
            raise PicklingError(f"cannot pickle {name}, which is defined inside a function: define it at module level")
        return name


def _with_options(origin: Prompt[P, T], options: InvokeRequest) -> Prompt[P, T]:
    cls: type[Prompt[P, T]] = Prompt
    other = cls.__new__(cls)
    other.__dict__.update(origin.__dict__, _options=options, _origin=origin)
    return other


# --- The decorated function ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Types(Generic[T_co]):
    """The types of the variables and of the output, from the annotations of a function."""

    inputs: type[BaseModel]
    variables: Mapping[str, str]
    """The names of the variables as they are sent, by parameter name."""
    output: Union[type[T_co], TypeAdapter[T_co]]


class _Definition(Generic[T_co]):
    """The decorated function of a prompt, with its parsed signature.

    Raises:
        TypeError: The function cannot be a prompt.

    """

    def __init__(self, function: Callable[..., T_co], local_names: Optional[Mapping[str, Any]]) -> None:
        if inspect.isclass(function) or not hasattr(function, "__qualname__"):
            raise TypeError("@prompt must decorate a function")
        self.name: str = function.__qualname__
        self._function = function
        self._signature = _signature_of(function)
        self._check()
        self._types: Optional[_Types[T_co]] = None
        self._is_complete = False
        # A type may be defined later in the module: then the annotations are read on first use.
        with suppress(NameError):
            self._types = self._read_types(local_names or {})

    @property
    def types(self) -> _Types[T_co]:
        """The types from the annotations.

        Raises:
            NameError: An annotation contains a name that is not defined.
            TypeError: A type contains one that is not defined.

        """
        if self._types is None:
            self._types = self._read_types({})
        if not self._is_complete:
            adapter_of(self._types.output)
            self._is_complete = True
        return self._types

    def read_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BaseModel:
        """Validate the arguments of a call.

        Raises:
            TypeError: An argument is missing or unknown.
            pydantic.ValidationError: A value is invalid.

        """
        name = self._function.__name__
        for unknown in kwargs.keys() - self._signature.parameters.keys():
            # Reported before missing arguments: a misspelt argument is both.
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
            raise self._error(
                "define it with def, not async def; client.ainvoke and client.astream run it with asyncio"
            )
        for parameter in self._signature.parameters.values():
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
                raise self._error("declare each variable as a parameter instead of *args and **kwargs")
        self._check_return_type(self._signature.return_annotation)
        if _returns_something(inner):
            raise self._error("its body is never run, so it must not return a value: write raise NotImplementedError")

    def _check_return_type(self, annotation: object) -> None:
        if any(annotation is nothing for nothing in (inspect.Signature.empty, None, type(None), NoReturn, Never)):
            raise self._error("annotate its return type: -> str for the text of the answer, or the type of its JSON")

    def _error(self, reason: str) -> TypeError:
        return TypeError(f"{self.name} cannot be a prompt: {reason}")

    def _read_types(self, local_names: Mapping[str, Any]) -> _Types[T_co]:
        try:
            return self._build_types(local_names)
        except PydanticUserError as exc:
            reason = str(exc).partition(". ")[0]
            raise self._error(f"Pydantic does not support one of its types: {reason}") from exc

    def _build_types(self, local_names: Mapping[str, Any]) -> _Types[T_co]:
        hints = get_type_hints(self._function, localns=dict(local_names), include_extras=True)
        self._check_return_type(hints["return"])
        fields: dict[str, Any] = {}
        variables: dict[str, str] = {}
        for name, parameter in self._signature.parameters.items():
            annotation = hints.get(name, Any)
            variable = _variable_name(name, annotation, parameter.default)
            if variable in variables.values():
                raise self._error(f"two of its variables are named {variable}")
            variables[name] = variable
            # The prefix avoids names that have a meaning in Pydantic, such as `copy` or `_text`.
            fields[f"input_{name}"] = _field_definition(annotation, parameter.default, variable)
        inputs = create_model(
            self._function.__name__,
            __config__=ConfigDict(extra="forbid", hide_input_in_errors=True, validate_default=True),
            __doc__=inspect.getdoc(self._function),
            __module__=self._function.__module__,
            **fields,
        )
        return _Types(inputs, variables, _output_type_of(hints["return"]))


def _signature_of(function: Callable[..., object]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415 - new in Python 3.14

        # FORWARDREF tolerates names that are not defined yet.
        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    else:  # noqa: RET505 - without the else, mypy reports unreachable code
        return inspect.signature(function)


def _returns_something(function: Callable[..., object]) -> bool:
    """Return whether a function returns or yields a value. False if the function has no bytecode."""
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


def _variable_name(name: str, annotation: Any, default: object) -> str:
    for info in (default, FieldInfo.from_annotation(annotation)):
        if isinstance(info, FieldInfo) and (info.serialization_alias or info.alias):
            return info.serialization_alias or info.alias or name
    return name


def _field_definition(annotation: Any, default: object, variable: str) -> tuple[Any, Any]:
    names: dict[str, Any] = {"alias": variable, "validation_alias": variable, "serialization_alias": variable}
    if isinstance(default, FieldInfo):
        return Annotated[annotation, default], Field(**names)
    return annotation, Field(... if default is inspect.Parameter.empty else default, **names)


def _output_type_of(annotation: Any) -> Any:
    # The adapter is created once, not for each answer. Models need none, and errors show the name of the model.
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    is_class = isinstance(annotation, type) and get_origin(annotation) is None
    needs_no_adapter = annotation is str or (is_class and issubclass(annotation, BaseModel))
    return annotation if needs_no_adapter else adapter


def _validate(model: type[BaseModel], values: Mapping[str, object], variables: Mapping[str, str]) -> BaseModel:
    """Validate the values of a call; `variables` maps field names to the names of variables."""
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_context=False, include_input=False)
    for item in found:
        # For an invalid default, Pydantic reports the name of the field instead of its alias.
        first, *rest = item["loc"]
        if first not in variables.values():
            item["loc"] = (variables.get(str(first), first), *rest)
    # A new error, not chained: Pydantic's error contains the values, and messages of the caller's validators.
    raise ValidationError.from_exception_data(model.__name__, list(map(_without_value, found)), hide_input=True)


def _without_value(item: ErrorDetails) -> InitErrorDetails:
    reason = PydanticCustomError(cast("Any", item["type"]), "{reason}", {"reason": message_of(item)})
    return InitErrorDetails(type=reason, loc=item["loc"], input=None)
