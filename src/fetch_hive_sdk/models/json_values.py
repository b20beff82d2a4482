"""Converts the caller's values to JSON values. Performs no I/O."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from enum import Enum
from itertools import zip_longest
from typing import Annotated, Any, Union, cast

from pydantic import AfterValidator, BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core import PydanticCustomError, to_jsonable_python

MetadataValue = Union[str, int, float, bool, None]
"""A value of `metadata`. The service rejects nested values."""


def read_inputs(value: object) -> object:
    """Copy the caller's inputs to JSON values, so that later changes of the inputs have no effect."""
    if value is None:
        return {}
    if not isinstance(value, (Mapping, BaseModel)):
        raise PydanticCustomError("inputs_type", "must be a mapping or a Pydantic model")
    try:
        return _to_json_value(cast("object", value), "inputs", ())
    except _NotJSONError as exc:
        raise PydanticCustomError("inputs_json", "{reason}", {"reason": str(exc)}) from None


def read_json_object(value: Mapping[str, object], name: str) -> dict[str, object]:
    """Convert a mapping to JSON values.

    Raises:
        ValueError: JSON cannot represent a value. The message has its path.

    """
    if not isinstance(cast("object", value), Mapping):
        raise ValueError(f"{name} must be a mapping")  # noqa: TRY004 - invalid arguments are always ValueErrors
    try:
        return cast("dict[str, object]", _to_json_value(dict(value), name, ()))
    except _NotJSONError as exc:
        raise ValueError(str(exc)) from None


def read_json_value(value: object, name: str) -> object:
    """Convert a value to a JSON value.

    Raises:
        ValueError: JSON cannot represent a value. The message has its path.

    """
    try:
        return _to_json_value(value, name, ())
    except _NotJSONError as exc:
        raise ValueError(str(exc)) from None


class _NotJSONError(Exception):
    """JSON cannot represent a value. The message has its path and the reason."""


def _to_json_value(value: object, path: str, parents: tuple[int, ...]) -> object:
    kind = type(value)
    if value is None or kind in {bool, int, float, str}:
        return _check_scalar(value, path)
    if id(value) in parents:
        raise _NotJSONError(f"{path} contains itself, which JSON cannot represent")
    if len(parents) >= _MAX_DEPTH:
        raise _NotJSONError(f"{path[:80]}... is nested more than {_MAX_DEPTH} levels deep")
    parents = (*parents, id(value))
    if isinstance(value, Mapping):
        return _to_json_object(cast("Mapping[object, object]", value), path, parents)
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[object]", value)
        return [_to_json_value(item, f"{path}[{index}]", parents) for index, item in enumerate(items)]
    as_json = _as_json(_without_numpy(value, path), path, parents)
    _reject_hidden(value, as_json, path)
    return _to_json_value(as_json, path, parents)


def _check_scalar(value: object, path: str) -> object:
    if isinstance(value, str):
        return _to_json_text(value, path)
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotJSONError(f"{path} is {value}, which JSON cannot represent")
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise _NotJSONError(f"{path} has more than 4,300 digits, which Python cannot convert to a string")
    return value


def _parts_of(value: object, path: str) -> object:
    """Return the fields of a model or a dataclass before they are serialized, and other values unchanged."""
    if isinstance(value, BaseModel):
        return _dump(value, path)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name, None) for item in dataclass_fields(value)}
    return value


_MAX_DEPTH = 100
_MAX_BITS = 14_280  # 4,300 digits: the default of `sys.set_int_max_str_digits`


def _without_numpy(value: object, path: str) -> object:
    """Convert a NumPy scalar to a Python value; return other values unchanged."""
    if getattr(value, "shape", None) != () or not hasattr(value, "dtype"):
        return value
    item: object = cast("Any", value).item()
    is_time = str(cast("Any", value).dtype).startswith(("datetime64", "timedelta64"))
    if item is None:
        raise _NotJSONError(f"{path} is NaT, which JSON cannot represent")
    if is_time and isinstance(item, int):
        raise _NotJSONError(f"{path} is a time in nanoseconds, which would be sent as a number: pass a string")
    return item


_UNKNOWN = object()


def _reject_hidden(value: object, as_json: object, path: str, parents: tuple[int, ...] = ()) -> None:
    """Reject values that a serializer would replace: NaN by null, and a secret by asterisks.

    Args:
        value: The value.
        as_json: The JSON value that would be sent; `_UNKNOWN` if it is not known.
        path: The path of the value, for messages.
        parents: The ids of the objects that contain the value.

    """
    if id(value) in parents or len(parents) > _MAX_DEPTH:
        return  # rejected elsewhere
    parents = (*parents, id(value))
    value = _parts_of(value, path)
    if isinstance(value, (SecretStr, SecretBytes, Secret)):
        # The caller's own serializer may reveal a secret on purpose.
        if as_json is _UNKNOWN or (isinstance(as_json, str) and not as_json.strip("*")):
            raise _NotJSONError(
                f"{path} is a {type(cast('object', value)).__name__}, which would be sent as asterisks: "
                "pass its get_secret_value() to send the secret"
            )
    elif isinstance(value, float) and not math.isfinite(value):
        raise _NotJSONError(f"{path} is {value}, which JSON cannot represent")
    elif isinstance(value, dict):
        twins = cast("dict[str, object]", as_json) if isinstance(as_json, dict) else {}
        for name, item in cast("dict[object, object]", value).items():
            twin = twins.get(name, _UNKNOWN) if isinstance(name, str) else _UNKNOWN
            _reject_hidden(item, twin, f"{path}.{name}", parents)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        items = cast("Iterable[object]", value)
        twin_items = cast("list[object]", as_json) if isinstance(as_json, list) else []
        for index, (item, twin) in enumerate(zip_longest(items, twin_items, fillvalue=_UNKNOWN)):
            _reject_hidden(item, twin, f"{path}[{index}]", parents)


def _dump(model: BaseModel, path: str) -> object:
    try:
        return model.model_dump(by_alias=True)
    except Exception:  # noqa: BLE001 - the caller's serializer may raise anything
        raise _NotJSONError(f"{path} is of type {type(model).__name__}, which JSON cannot represent") from None


def _to_json_object(value: Mapping[object, object], path: str, parents: tuple[int, ...]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, item in value.items():
        name = _to_json_key(key, path)
        if name in result:
            raise _NotJSONError(f"{path} has the key {name} twice, once as a string and once as another type")
        result[name] = _to_json_value(item, f"{path}.{name}", parents)
    return result


def _to_json_key(key: object, path: str) -> str:
    where = f"a key of {path}"
    if isinstance(key, str) and not isinstance(key, Enum):
        return _to_json_text(str.__str__(key), where)
    key = _without_numpy(key, where)
    _reject_hidden(key, _UNKNOWN, where)
    try:
        (name,) = cast("dict[str, None]", to_jsonable_python({key: None}))
    except Exception:  # noqa: BLE001 - as for values
        raise _NotJSONError(f"{where} is of type {type(key).__name__}, which JSON cannot represent") from None
    return _to_json_text(name, where)


def _to_json_text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _NotJSONError(f"{path} has a lone surrogate, which UTF-8 cannot encode") from None
    return text


def _as_json(value: object, path: str, parents: tuple[int, ...]) -> object:
    try:
        return cast("object", to_jsonable_python(value))
    except Exception:  # noqa: BLE001 - pandas.NaT, for example, raises its own errors
        _reject_hidden(value, _UNKNOWN, path)  # older versions of Pydantic cannot serialize secrets
        parts = _parts_of(value, path)
        if parts is not value:
            _to_json_value(parts, path, parents)  # raises an error with the path of the part, if one is invalid
        raise _NotJSONError(f"{path} is of type {type(value).__name__}, which JSON cannot represent") from None


def _check_text(text: str) -> str:
    return _check_text_at("it", text)


def _check_text_at(where: str, text: str) -> str:
    try:
        return _to_json_text(text, where)
    except _NotJSONError as exc:
        raise PydanticCustomError("text_json", "{reason}", {"reason": str(exc)}) from None


Text = Annotated[str, AfterValidator(_check_text)]


def check_metadata(value: object) -> object:
    """Check that metadata is flat and can be sent."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PydanticCustomError("metadata_type", "must be a mapping")
    flat = {key: _plain_metadata(item) for key, item in cast("Mapping[object, object]", value).items()}
    for key, item in flat.items():
        if not isinstance(key, str) or not key:
            raise PydanticCustomError("metadata_key", "every key must be a non-empty string")
        _check_text_at("a key", key)
        if isinstance(item, str):
            _check_text_at(f"the value of {key}", item)
        if isinstance(item, int) and item.bit_length() > _MAX_BITS:
            raise PydanticCustomError("metadata_number", "the value of {key} has more than 4,300 digits", {"key": key})
        if isinstance(item, float) and not math.isfinite(item):
            raise PydanticCustomError("metadata_number", "the value of {key} is not a finite number", {"key": key})
        if not (item is None or isinstance(item, (str, int, float, bool))):
            raise PydanticCustomError(
                "metadata_value",
                "the value of {key} must be a string, a number, a boolean or None: the service rejects nested metadata",
                {"key": key},
            )
    return flat


def _plain_metadata(value: object) -> object:
    try:
        return _without_numpy(value, "")
    except _NotJSONError:
        return value  # rejected because of its type
