"""What JSON can carry: values of the caller turned into JSON values of our own. Performs no I/O."""

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
    if value is None or kind in {bool, int, float, str}:
        return _check_scalar(value, path)
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
    as_json = _as_json(_without_numpy(value, path), path, parents)
    _refuse_hidden(value, as_json, path)
    return _to_json_value(as_json, path, parents)


def _check_scalar(value: object, path: str) -> object:
    if isinstance(value, str):
        return _to_json_text(value, path)
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotJSONError(f"{path} is {value}, which JSON cannot carry")
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise _NotJSONError(f"{path} has more than 4,300 digits, which Python does not write")
    return value


def _parts_of(value: object, path: str) -> object:
    """Return what there is inside a model or a dataclass, before it is written as JSON."""
    if isinstance(value, BaseModel):
        return _dump(value, path)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name, None) for item in dataclass_fields(value)}
    return value


_MAX_DEPTH = 100
_MAX_BITS = 14_280  # 4,300 digits: what `sys.set_int_max_str_digits` allows by default


def _without_numpy(value: object, path: str) -> object:
    """Return a scalar of numpy as the Python value that it is."""
    if getattr(value, "shape", None) != () or not hasattr(value, "dtype"):
        return value
    item: object = cast("Any", value).item()
    is_time = str(cast("Any", value).dtype).startswith(("datetime64", "timedelta64"))
    if item is None:
        raise _NotJSONError(f"{path} is NaT, which JSON cannot carry")
    if is_time and isinstance(item, int):
        raise _NotJSONError(f"{path} is a time in nanoseconds, of which a bare number would be sent: pass a string")
    return item


_UNSEEN = object()


def _refuse_hidden(value: object, as_json: object, path: str, parents: tuple[int, ...] = ()) -> None:
    """Refuse what is hidden when it is written as JSON: null for NaN, and asterisks for a secret.

    Args:
        value: The value.
        as_json: What would be sent of it; `_UNSEEN` where that is not known.
        path: Where it stands.
        parents: What it is part of, by identity.

    """
    if id(value) in parents or len(parents) > _MAX_DEPTH:
        return  # refused elsewhere
    parents = (*parents, id(value))
    value = _parts_of(value, path)
    if isinstance(value, (SecretStr, SecretBytes, Secret)):
        # A serializer of the caller's may reveal it, which is on purpose.
        if as_json is _UNSEEN or (isinstance(as_json, str) and not as_json.strip("*")):
            raise _NotJSONError(
                f"{path} is a {type(cast('object', value)).__name__}, which would be sent as asterisks: "
                "pass its get_secret_value() if the service is to have it"
            )
    elif isinstance(value, float) and not math.isfinite(value):
        raise _NotJSONError(f"{path} is {value}, which JSON cannot carry")
    elif isinstance(value, dict):
        twins = cast("dict[str, object]", as_json) if isinstance(as_json, dict) else {}
        for name, item in cast("dict[object, object]", value).items():
            twin = twins.get(name, _UNSEEN) if isinstance(name, str) else _UNSEEN
            _refuse_hidden(item, twin, f"{path}.{name}", parents)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        items = cast("Iterable[object]", value)
        twin_items = cast("list[object]", as_json) if isinstance(as_json, list) else []
        for index, (item, twin) in enumerate(zip_longest(items, twin_items, fillvalue=_UNSEEN)):
            _refuse_hidden(item, twin, f"{path}[{index}]", parents)


def _dump(model: BaseModel, path: str) -> object:
    try:
        return model.model_dump(by_alias=True)
    except Exception:  # noqa: BLE001 - whatever a serializer of the caller's raises
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
    key = _without_numpy(key, where)
    _refuse_hidden(key, _UNSEEN, where)
    try:
        (name,) = cast("dict[str, None]", to_jsonable_python({key: None}))
    except Exception:  # noqa: BLE001 - as for values
        raise _NotJSONError(f"{where} is of type {type(key).__name__}, which JSON cannot carry") from None
    return _to_json_text(name, where)


def _to_json_text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _NotJSONError(f"{path} has half of a surrogate pair, which UTF-8 cannot carry") from None
    return text


def _as_json(value: object, path: str, parents: tuple[int, ...]) -> object:
    try:
        return cast("object", to_jsonable_python(value))
    except Exception:  # noqa: BLE001 - pandas' NaT, for example, raises errors of its own
        _refuse_hidden(value, _UNSEEN, path)  # older versions of Pydantic cannot write a secret
        parts = _parts_of(value, path)
        if parts is not value:
            _to_json_value(parts, path, parents)  # which names the part that is at fault
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
    flat = {key: _plain_metadata(item) for key, item in cast("Mapping[object, object]", value).items()}
    for key, item in flat.items():
        if not isinstance(key, str) or not key:
            raise PydanticCustomError("metadata_key", "every key must be a string that is not empty")
        if isinstance(item, int) and item.bit_length() > _MAX_BITS:
            raise PydanticCustomError("metadata_number", "the value of {key} has more than 4,300 digits", {"key": key})
        if isinstance(item, float) and not math.isfinite(item):
            raise PydanticCustomError("metadata_number", "the value of {key} is not a finite number", {"key": key})
        if not (item is None or isinstance(item, (str, int, float, bool))):
            raise PydanticCustomError(
                "metadata_value",
                "the value of {key} must be a string, a number, a boolean or None: the service refuses nested metadata",
                {"key": key},
            )
    return flat


def _plain_metadata(value: object) -> object:
    try:
        return _without_numpy(value, "")
    except _NotJSONError:
        return value  # refused for its type
