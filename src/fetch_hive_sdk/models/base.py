"""The base class of received models: typed attributes, `.raw`, and access like a dict. Performs no I/O."""

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


def _default_unreadable_fields(model_schema: Any) -> None:
    """Use the default of a field if its value is invalid."""
    # Done by Pydantic's core schema, at every depth and in one pass, so that valid fields are parsed at full speed.
    fields_schema = model_schema
    while fields_schema["type"] != "model-fields":
        fields_schema = fields_schema["schema"]
    for field in fields_schema["fields"].values():
        value_schema = field["schema"]
        _leave_out_unreadable_items(value_schema)
        # A literal with a default is the discriminator of a union: another value belongs to another model.
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

    # Pydantic before 2.10 warns about all fields that begin with `model_`.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow", hide_input_in_errors=True, protected_namespaces=("model_dump", "model_validate")
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Fail only for required fields, which are those without a default.

        Other invalid fields get their default, such as None or an empty `Usage`: a billed answer is not lost because
        of an optional field. `raw` has the value that the service sent.
        """
        schema = handler(source)
        _default_unreadable_fields(handler.resolve_ref_schema(schema))
        return schema

    # What the service sent: JSON bytes until `raw` is first used, the dict from then on. A slot, because a private
    # attribute of Pydantic takes a microsecond per event and is compared by `==`.
    __slots__ = ("_raw_source",)

    @property
    def raw(self) -> dict[str, Any]:
        """The dict that the service sent. For a model that you created: its fields, without those that are None."""
        source: Union[bytes, str, dict[str, Any], None] = getattr(self, "_raw_source", None)
        if isinstance(source, dict):
            return source
        raw: dict[str, Any] = self._dump_fields() if source is None else from_json(source)
        _set_raw_source(self, raw)
        return raw

    def _dump_fields(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)

    def __repr_args__(self) -> Iterator[tuple[Optional[str], Any]]:
        # Extra fields may contain a webhook secret, too.
        for name, value in super().__repr_args__():
            yield name, hide_webhook_secrets(name, value)

    def __getitem__(self, key: str) -> Any:
        return self.raw[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Return one value, like `dict.get`.

        Args:
            key: The key in the JSON object that the service sent.
            default: Returned if there is no such key.

        Returns:
            The value as the service sent it, or `default`.

        """
        return self.raw.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self.raw

    # Pydantic yields pairs; a dict yields its keys.
    # pyrefly: ignore[bad-override]
    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self.raw)

    def keys(self) -> KeysView[str]:
        """Return the keys that the service sent, like `dict.keys`."""
        return self.raw.keys()

    def values(self) -> ValuesView[Any]:
        """Return the values that the service sent, like `dict.values`."""
        return self.raw.values()

    def items(self) -> ItemsView[str, Any]:
        """Return the keys and values that the service sent, like `dict.items`."""
        return self.raw.items()

    def copy(self) -> dict[str, Any]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - like dict.copy
        """Return a shallow copy of the dict that the service sent, like `dict.copy`. `model_copy` copies the model."""
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

    # Pydantic does not copy or pickle slots, so these methods do.

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
        """Copy the model. If `update` changes fields, `raw` of the copy contains the changes."""
        copied = super().model_copy(update=dict(update) if update else None, deep=deep)
        if update:
            object.__setattr__(copied, "_raw_source", None)
        return copied


cast("ABCMeta", Mapping).register(Received)  # for `match`, and for libraries such as pandas that check for Mapping

ReceivedT = TypeVar("ReceivedT", bound=Received)


def read_model(model: type[ReceivedT], raw: dict[str, Any]) -> ReceivedT:
    """Validate an object of the service. Invalid optional fields get their default.

    Raises:
        pydantic.ValidationError: A required field is missing or has the wrong type.

    """
    return keep_raw(model.model_validate(raw), raw)


def masked(model: ReceivedT, mask: Callable[[Any], Any]) -> ReceivedT:
    """Return a model with `mask` applied to its `raw`: the same model if that changes nothing."""
    raw = mask(model.raw)
    return model if raw == model.raw else read_model(type(model), raw)


def keep_raw(model: ReceivedT, raw: dict[str, Any]) -> ReceivedT:
    """Set `model.raw` to the dict that the model was parsed from, and `raw` of nested models to the nested dicts."""
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
        # Invalid items were left out of the models.
        objects = [raw for raw in objects if models and _is_readable(type(models[0]), raw)]
    for model, raw in zip(models, objects):
        keep_raw(model, raw)


def _is_readable(model_type: type[Received], raw: dict[str, Any]) -> bool:
    try:
        model_type.model_validate(raw)
    except ValidationError:
        return False
    return True


# The setter of the slot itself: a function around it would take 0.1 microseconds per event, a tenth of its parsing.
_set_raw_source: Callable[[Received, Union[bytes, str, dict[str, Any]]], None] = vars(Received)["_raw_source"].__set__

keep_raw_json: Callable[[Received, Union[bytes, str]], None] = _set_raw_source
"""Set `model.raw` to the object in a JSON document, which is decoded on first use."""


def describe(error: ValidationError) -> str:
    """Describe a validation error in one line, without quoting values."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [": ".join(filter(None, (".".join(map(str, item["loc"])), message_of(item)))) for item in details[:3]]
    more = len(details) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def message_of(item: ErrorDetails) -> str:
    """Return the message of one error, without quoting values."""
    return _QUOTING.get(item["type"], item["msg"])


# Messages of Pydantic that quote a value, or come from a validator of the user's type.
_QUOTING = {
    "union_tag_invalid": "Input has an unexpected tag",
    "value_error": "Value error",
    "assertion_error": "Assertion failed",
}
