"""Checks the keywords of write methods against the TypedDict of the method's signature. Performs no I/O."""

from __future__ import annotations

import difflib
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Optional

from pydantic import ConfigDict, RootModel, create_model

from fetch_hive_sdk.models.json_values import read_json_object

from .requests import json_body

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .endpoint import Endpoint
    from .requests import Body


def write_body(
    endpoint: Endpoint[Any],
    keywords: Any,
    given: Mapping[str, object],
    extra_body: Optional[Mapping[str, object]] = None,
) -> Body:
    """Encode the JSON body of a write method. Omitted keywords are not sent; None is sent as null.

    Args:
        endpoint: The endpoint; errors name its `operation`.
        keywords: The TypedDict of the method.
        given: The keywords that were passed.
        extra_body: Fields that this version does not know.

    Raises:
        TypeError: A keyword is unknown, or a required one is missing.
        ValueError: A value is invalid, or there are no fields. The message does not quote values.

    """
    names = keywords.__required_keys__ | keywords.__optional_keys__
    check_keywords(endpoint.operation, given, names)
    missing = sorted(keywords.__required_keys__ - given.keys())
    if missing:
        raise TypeError(f"{endpoint.operation}() is missing {', '.join(missing)}")
    if not given and not extra_body:
        raise ValueError(f"{endpoint.operation}() needs at least one field to write")
    fields = read_json_object(_reader(keywords).model_validate(given).root, endpoint.operation)
    return json_body(endpoint, fields, names, extra_body)


def check_keywords(method: str, given: Iterable[str], names: Collection[str]) -> None:
    """Check that a method has all keywords that were passed to it.

    Raises:
        TypeError: A keyword is unknown. The message suggests a similar one.

    """
    for name in given:
        if name not in names:
            alike = difflib.get_close_matches(name, names, n=1)
            meant = f": did you mean {alike[0]}?" if alike else ""
            raise TypeError(f"{method}() got an unexpected keyword argument {name!r}{meant}")


class _Keywords(RootModel[Any]):
    """Keeps values out of errors, which a TypedDict cannot do."""

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)


@cache
def _reader(keywords: Any) -> type[_Keywords]:
    return create_model(keywords.__name__, __base__=_Keywords, root=(keywords, ...))
