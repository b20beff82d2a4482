"""What every request that is a value can do: refuse typing errors, and show what will be sent. Performs no I/O."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from fetch_hive_sdk._config import is_loopback

from .json_values import MetadataText, Text, check_metadata, read_inputs, read_json_object

Id = Union[str, uuid.UUID]
"""An id of the service: its text, or a UUID."""

ToolApproval = Literal["policy", "auto_approve"]
"""How tool calls that need an approval are treated in one run."""


def _not_empty(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("text_empty", "must not be empty")
    return text


def _read_id(value: object) -> object:
    return str(value) if isinstance(value, uuid.UUID) else value


def is_secure(url: object) -> bool:
    """Whether a value is an address that the service takes: https:// and a host.

    Plain http to this machine is for a fake or an emulator, whose files are here and whose callbacks get here.
    """
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def check_callback_url(url: object) -> object:
    """Check the address of a callback: the answer goes there.

    Raises:
        PydanticCustomError: The service does not take it.

    """
    if not is_secure(url):
        raise PydanticCustomError("callback_url", "must be an https:// address (http:// only to this machine)")
    return url


Name = Annotated[Text, AfterValidator(_not_empty)]
CallbackUrl = Annotated[Text, AfterValidator(check_callback_url)]
IdText = Annotated[Text, AfterValidator(_not_empty), BeforeValidator(_read_id)]
Inputs = Annotated[Mapping[str, object], BeforeValidator(read_inputs)]
Metadata = Annotated[Mapping[Text, MetadataText], BeforeValidator(check_metadata)]


class Sent(BaseModel, frozen=True):
    """What we send. Unknown fields are refused, so that a typing error fails at the call; None is as good as not given.

    A field that was given is sent, even an empty one, but for those of `optional_texts`.
    """

    # Before 2.10 Pydantic warned of any field that begins with `model_`.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", hide_input_in_errors=True, protected_namespaces=("model_dump", "model_validate")
    )

    optional_texts: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out when they are empty."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_none(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {name: item for name, item in cast("Mapping[str, object]", value).items() if item is not None}

    @property
    def raw(self) -> dict[str, object]:
        """The JSON object that will be sent. Fields that were not given are left out."""
        return copy.deepcopy(fields_to_send(self))

    def given_fields(self) -> dict[str, object]:
        """Return the fields that were given, by their own names."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {
            name: value
            for name, value in given.items()
            if value is not None and (value or name not in self.optional_texts)
        }

    def wire_fields(self) -> dict[str, object]:
        """Return the fields under the names that the service knows."""
        return self.given_fields()


SentT = TypeVar("SentT", bound=Sent)


class RunRequest(Sent, frozen=True):
    """One run, described: pass it to `FetchHive.invoke`. The base of `InvokeRequest`, `AgentRequest` and others."""

    run: ClassVar[str] = ""
    """Which kind of run it is, by the name of the client's method."""
    wire_names: ClassVar[frozenset[str]] = frozenset()
    """Names that the service knows a field by, where they are not ours: `extra_body` must not have them."""

    @property
    def name(self) -> str:
        """What is run: the name of the deployment, or the id of the agent."""
        return str(next(iter(self.given_fields().values()), ""))


def fields_to_send(request: Sent) -> dict[str, object]:
    """Return `request.raw` as it is in the request itself, for those who only read it."""
    return request.wire_fields()


def read_again(request: SentT) -> SentT:
    """Read a request again: a dict inside it may have been changed since it was made."""
    return type(request).model_validate({name: getattr(request, name) for name in request.model_fields_set})


def read_part(value: object, kind: type[Sent], what: str) -> dict[str, Any]:
    """Read a part of a request that may be a model of ours or a mapping, which is sent as it is."""
    if isinstance(value, kind):
        return value.given_fields()
    if not isinstance(value, Mapping):
        raise PydanticCustomError("part_type", "must be a mapping or of type {kind}", {"kind": kind.__name__})
    try:
        return read_json_object(cast("Mapping[str, object]", value), what)
    except ValueError as exc:
        raise PydanticCustomError("part_json", "{reason}", {"reason": str(exc)}) from None
