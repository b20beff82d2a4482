"""What every received model can do: typed attributes, `.raw`, and reading like a dict. Performs no I/O."""

from __future__ import annotations

import copy
from abc import ABCMeta
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Optional, TypeVar, Union, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, from_json

from fetch_hive_sdk._secret import hide_webhook_secrets

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from typing_extensions import Self


def _forgive(model_schema: Any) -> None:
    """Let a field that has a default, and that cannot be read, have it."""
    # By Pydantic's own means, at every depth and in one pass: a field that is read costs what it did.
    fields_schema = model_schema
    while fields_schema["type"] != "model-fields":
        fields_schema = fields_schema["schema"]
    for field in fields_schema["fields"].values():
        value_schema = field["schema"]
        _leave_out_unreadable_items(value_schema)
        # A literal with a default tells what kind of model it is: another value is another model.
        if value_schema["type"] == "default" and value_schema["schema"]["type"] != "literal":
            value_schema["on_error"] = "default"


def _leave_out_unreadable_items(schema: Any) -> None:
    while "schema" in schema:
        schema = schema["schema"]
    items = schema.get("items_schema") if schema["type"] == "list" else None
    if items is not None and items["type"] != "default":
        schema["items_schema"] = {"type": "default", "schema": items, "on_error": "omit"}


class Received(BaseModel, frozen=True):  # noqa: PLW1641 - Pydantic makes the hash of a frozen model
    """A JSON object of the service: typed attributes, `.raw` for the dict, and read access like a dict."""

    # Before 2.10 Pydantic warned of any field that begins with `model_`.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow", hide_input_in_errors=True, protected_namespaces=("model_dump", "model_validate")
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let fail only what is promised, which is a field without a default.

        Any other field that cannot be read has its default, None or an empty `Usage`: an answer that has been paid for
        is not thrown away over something that has no part in it. `raw` has what came.
        """
        schema = handler(source)
        _forgive(handler.resolve_ref_schema(schema))
        return schema

    # What the service sent: JSON bytes until somebody asks, the dict from then on. In a slot, because a private
    # attribute of Pydantic costs a microsecond an event and takes part in equality.
    __slots__ = ("_raw_source",)

    @property
    def raw(self) -> dict[str, Any]:
        """The very dict from the wire. Of a model that you built yourself: its fields, without those that are None."""
        source: Union[bytes, str, dict[str, Any], None] = getattr(self, "_raw_source", None)
        if isinstance(source, dict):
            return source
        raw: dict[str, Any] = self._written_out() if source is None else from_json(source)
        _set_raw_source(self, raw)
        return raw

    def _written_out(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)

    def __repr_args__(self) -> Iterator[tuple[Optional[str], Any]]:
        # A webhook's secret may stand in what no field promises, too.
        for name, value in super().__repr_args__():
            yield name, hide_webhook_secrets(name, value)

    def __getitem__(self, key: str) -> Any:
        return self.raw[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Read one value as of a dict.

        Args:
            key: The name that the service sent it under.
            default: What is returned if there is no such name.

        Returns:
            The value as it came, else `default`.

        """
        return self.raw.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self.raw

    # Pydantic yields pairs; a dict yields its keys.
    # pyrefly: ignore[bad-override]
    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self.raw)

    def keys(self) -> KeysView[str]:
        """The names that the service sent, as of a dict."""
        return self.raw.keys()

    def values(self) -> ValuesView[Any]:
        """The values that the service sent, as of a dict."""
        return self.raw.values()

    def items(self) -> ItemsView[str, Any]:
        """The names and values that the service sent, as of a dict."""
        return self.raw.items()

    def copy(self) -> dict[str, Any]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - as of a dict
        """Copy what the service sent, as of a dict: a dict that may be changed. `model_copy` copies the model."""
        return self.raw.copy()

    def __len__(self) -> int:
        return len(self.raw)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.raw)

    def __eq__(self, other: object) -> bool:
        return self.raw == other if isinstance(other, dict) else super().__eq__(other)

    def __or__(self, other: object) -> dict[str, Any]:
        if not isinstance(other, (dict, Received)):
            return NotImplemented
        return {**self.raw, **other}

    def __ror__(self, other: object) -> dict[str, Any]:
        return {**other, **self.raw} if isinstance(other, dict) else NotImplemented

    # Copies and pickles know nothing of slots: what the service sent goes along by hand.

    def __copy__(self) -> Self:
        copied = super().__copy__()
        object.__setattr__(copied, "_raw_source", self.raw)
        return copied

    def __deepcopy__(self, memo: Optional[dict[int, Any]] = None) -> Self:
        return keep_raw(super().__deepcopy__(memo), copy.deepcopy(self.raw, memo))

    def __getstate__(self) -> dict[Any, Any]:
        return {**super().__getstate__(), "raw": self.raw}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        keep_raw(self, state["raw"])

    def model_copy(self, *, update: Optional[Mapping[str, Any]] = None, deep: bool = False) -> Self:
        """Copy the model. A copy with changes has a `raw` of its own."""
        copied = super().model_copy(update=dict(update) if update else None, deep=deep)
        if update:
            object.__setattr__(copied, "_raw_source", None)
        return copied


cast("ABCMeta", Mapping).register(Received)  # for `match`, and for pandas and others that ask

ReceivedT = TypeVar("ReceivedT", bound=Received)


def read_model(model: type[ReceivedT], raw: dict[str, Any]) -> ReceivedT:
    """Read an object of the service; whatever is not promised and cannot be read has its default.

    Raises:
        pydantic.ValidationError: A promised field is missing or of the wrong kind.

    """
    return keep_raw(model.model_validate(raw), raw)


def keep_raw(model: ReceivedT, raw: dict[str, Any]) -> ReceivedT:
    """Let `model.raw` be the dict that the model was made of, and that of its parts the parts of the dict."""
    object.__setattr__(model, "_raw_source", raw)
    for name, part in model.__dict__.items():
        inner = raw.get(name)
        if isinstance(part, Received) and isinstance(inner, dict):
            keep_raw(part, cast("dict[str, Any]", inner))
        elif isinstance(part, list) and isinstance(inner, list):
            _keep_raw_of_items(cast("list[object]", part), cast("list[object]", inner))
    return model


def _keep_raw_of_items(parts: list[object], raws: list[object]) -> None:
    models = [part for part in parts if isinstance(part, Received)]
    objects = [cast("dict[str, Any]", raw) for raw in raws if isinstance(raw, dict)]
    if len(models) < len(objects):
        # Those that could not be read have been left out.
        objects = [raw for raw in objects if models and _is_readable(type(models[0]), raw)]
    for model, raw in zip(models, objects):
        keep_raw(model, raw)


def _is_readable(model_type: type[Received], raw: dict[str, Any]) -> bool:
    try:
        model_type.model_validate(raw)
    except ValidationError:
        return False
    return True


# The setter of the slot itself: anything around it would cost each event 0.1 microseconds, a tenth of its parsing.
_set_raw_source: Callable[[Received, Union[bytes, str, dict[str, Any]]], None] = vars(Received)["_raw_source"].__set__

keep_raw_json: Callable[[Received, Union[bytes, str]], None] = _set_raw_source
"""Let `model.raw` be the object in a JSON text, decoded when somebody asks."""


def describe(error: ValidationError) -> str:
    """Say in one line what does not fit, without a value of the data."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [": ".join(filter(None, (".".join(map(str, item["loc"])), message_of(item)))) for item in details[:3]]
    more = len(details) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def message_of(item: ErrorDetails) -> str:
    """Return the message of one error, without a value of the data."""
    return _QUOTING.get(item["type"], item["msg"])


# Errors of Pydantic whose messages have a value in them, or whatever the validator of a user's type says.
_QUOTING = {
    "union_tag_invalid": "Input has a tag that is none of the expected",
    "value_error": "Value error",
    "assertion_error": "Assertion failed",
}
