"""What JSON can carry: values of the caller turned into JSON values of our own. Performs no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Union, cast

from pydantic import AfterValidator, BaseModel
from pydantic_core import PydanticCustomError, to_jsonable_python

MetadataValue = Union[str, int, float, bool, None]
"""What a value of `metadata` may be: the service refuses anything nested."""


def read_inputs(value: object) -> object:
    """Turn what the caller passed into JSON values of our own, so that later changes to it change nothing."""
    if value is None:
        return {}
    if not isinstance(value, (Mapping, BaseModel)):
        raise PydanticCustomError("inputs_type", "must be a mapping or a Pydantic model")
    try:
        return _to_json_value(cast("object", value), "inputs", ())
    except _NotJSONError as exc:
        raise PydanticCustomError("inputs_json", "{reason}", {"reason": str(exc)}) from None


def read_json_object(value: Mapping[str, object], name: str) -> dict[str, object]:
    """Return a mapping as JSON values of our own.

    Raises:
        ValueError: It has a value that JSON cannot carry; the text says where.

    """
    if not isinstance(cast("object", value), Mapping):
        raise ValueError(f"{name} must be a mapping")  # noqa: TRY004 - to callers all refused arguments are ValueErrors
    try:
        return cast("dict[str, object]", _to_json_value(dict(value), name, ()))
    except _NotJSONError as exc:
        raise ValueError(str(exc)) from None


def read_json_value(value: object, name: str) -> object:
    """Return any value as a JSON value of our own.

    Raises:
        ValueError: It has a value that JSON cannot carry; the text says where.

    """
    try:
        return _to_json_value(value, name, ())
    except _NotJSONError as exc:
        raise ValueError(str(exc)) from None


class _NotJSONError(Exception):
    """A value that JSON cannot carry; its text says where and why."""


def _to_json_value(value: object, path: str, parents: tuple[int, ...]) -> object:
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return value
    if kind is str:
        return _to_json_text(cast("str", value), path)
    if kind is float:
        if math.isfinite(cast("float", value)):
            return value
        raise _NotJSONError(f"{path} is {value}, which JSON cannot carry")
    if id(value) in parents:
        raise _NotJSONError(f"{path} contains itself, which JSON cannot carry")
    if len(parents) >= _MAX_DEPTH:
        raise _NotJSONError(f"{path[:80]}... is nested more than {_MAX_DEPTH} levels deep")
    parents = (*parents, id(value))
    if isinstance(value, Mapping):
        return _to_json_object(cast("Mapping[object, object]", value), path, parents)
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[object]", value)
        return [_to_json_value(item, f"{path}[{index}]", parents) for index, item in enumerate(items)]
    if isinstance(value, BaseModel):
        # A model may be set to write null for NaN: it is refused here before the model can hide it.
        _refuse_infinite(_dump(value, path), path)
    return _to_json_value(_as_json(value, path), path, parents)


_MAX_DEPTH = 100


def _refuse_infinite(value: object, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotJSONError(f"{path} is {value}, which JSON cannot carry")
    if isinstance(value, dict):
        for name, item in cast("dict[object, object]", value).items():
            _refuse_infinite(item, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("Sequence[object]", value)):
            _refuse_infinite(item, f"{path}[{index}]")


def _dump(model: BaseModel, path: str) -> object:
    try:
        return model.model_dump(by_alias=True)
    except (ValueError, RecursionError):
        raise _NotJSONError(f"{path} is of type {type(model).__name__}, which JSON cannot carry") from None


def _to_json_object(value: Mapping[object, object], path: str, parents: tuple[int, ...]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, item in value.items():
        name = _to_json_key(key, path)
        if name in result:
            raise _NotJSONError(f"{path} has the key {name} twice, once as a text and once as something else")
        result[name] = _to_json_value(item, f"{path}.{name}", parents)
    return result


def _to_json_key(key: object, path: str) -> str:
    where = f"a key of {path}"
    if isinstance(key, str) and not isinstance(key, Enum):
        return _to_json_text(str.__str__(key), where)
    try:
        (name,) = cast("dict[str, None]", to_jsonable_python({key: None}))
    except (ValueError, TypeError):
        raise _NotJSONError(f"{where} is of type {type(key).__name__}, which JSON cannot carry") from None
    return _to_json_text(name, where)


def _to_json_text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _NotJSONError(f"{path} has half of a surrogate pair, which UTF-8 cannot carry") from None
    return text


def _as_json(value: object, path: str) -> object:
    try:
        return cast("object", to_jsonable_python(value))
    except (ValueError, RecursionError):
        raise _NotJSONError(f"{path} is of type {type(value).__name__}, which JSON cannot carry") from None


def _check_text(text: str) -> str:
    try:
        return _to_json_text(text, "it")
    except _NotJSONError as exc:
        raise PydanticCustomError("text_json", "{reason}", {"reason": str(exc)}) from None


Text = Annotated[str, AfterValidator(_check_text)]
MetadataText = Union[Text, int, float, bool, None]


def check_metadata(value: object) -> object:
    """Check that metadata is flat."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PydanticCustomError("metadata_type", "must be a mapping")
    for key, item in cast("Mapping[object, object]", value).items():
        if not isinstance(key, str) or not key:
            raise PydanticCustomError("metadata_key", "every key must be a text that is not empty")
        if isinstance(item, float) and not math.isfinite(item):
            raise PydanticCustomError("metadata_number", "the value of {key} is not a finite number", {"key": key})
        if not (item is None or isinstance(item, (str, int, float, bool))):
            raise PydanticCustomError(
                "metadata_value",
                "the value of {key} must be a string, a number, a boolean or None: the service refuses nested metadata",
                {"key": key},
            )
    return dict(cast("Mapping[str, object]", value))
