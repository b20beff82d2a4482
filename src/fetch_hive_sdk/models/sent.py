"""The base classes of requests: they reject unknown fields and show what will be sent. Performs no I/O."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from fetch_hive_sdk._config import is_loopback

from .json_values import MetadataValue, Text, check_metadata, read_inputs, read_json_object

Id = Union[str, uuid.UUID]
"""An id of the service: a string or a UUID."""

ToolApproval = Literal["policy", "auto_approve"]
"""How one run handles tool calls that require approval."""


def _not_empty(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("text_empty", "must not be empty")
    return text


def _read_id(value: object) -> object:
    return str(value) if isinstance(value, uuid.UUID) else value


def is_secure(url: object) -> bool:
    """Whether a value is a URL that the service accepts: https:// with a host.

    http:// is accepted for this machine, for callbacks and files of a fake service or an emulator.
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
    """Check that the service accepts a callback URL.

    Raises:
        PydanticCustomError: The URL is not secure.

    """
    if not is_secure(url):
        raise PydanticCustomError("callback_url", "must be an https:// URL (http:// is allowed only for this machine)")
    return url


Name = Annotated[Text, AfterValidator(_not_empty)]
CallbackUrl = Annotated[Text, AfterValidator(check_callback_url)]
IdText = Annotated[Text, AfterValidator(_not_empty), BeforeValidator(_read_id)]
Inputs = Annotated[Mapping[str, object], BeforeValidator(read_inputs)]
Metadata = Annotated[Mapping[str, MetadataValue], BeforeValidator(check_metadata)]


class Sent(BaseModel, frozen=True):
    """The base class of everything that is sent. Rejects unknown fields, so that a typo fails at the call.

    A field that was passed is sent, even if it is empty, except for None and for empty `optional_texts`.
    """

    # Pydantic before 2.10 warns about all fields that begin with `model_`.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", hide_input_in_errors=True, protected_namespaces=("model_dump", "model_validate")
    )

    optional_texts: ClassVar[frozenset[str]] = frozenset()
    """The names of fields that are not sent if they are empty."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_none(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {name: item for name, item in cast("Mapping[str, object]", value).items() if item is not None}

    @property
    def raw(self) -> dict[str, object]:
        """The JSON object that will be sent, without omitted fields."""
        return copy.deepcopy(fields_to_send(self))

    def given_fields(self) -> dict[str, object]:
        """Return the fields that were passed, with the names of the model."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {
            name: value
            for name, value in given.items()
            if value is not None and (value or name not in self.optional_texts)
        }

    def wire_fields(self) -> dict[str, object]:
        """Return the fields with the names of the API."""
        return self.given_fields()


SentT = TypeVar("SentT", bound=Sent)


class RunRequest(Sent, frozen=True):
    """The base class of `InvokeRequest`, `AgentRequest` and others. Pass one to `FetchHive.invoke` to start a run."""

    run: ClassVar[str] = ""
    """The kind of run: the name of the client's method."""
    wire_names: ClassVar[frozenset[str]] = frozenset()
    """Names of the API that differ from the names of the fields: `extra_body` must not contain them."""

    @property
    def name(self) -> str:
        """The name of the deployment, or the id of the agent."""
        return str(next(iter(self.given_fields().values()), ""))


def fields_to_send(request: Sent) -> dict[str, object]:
    """Return `request.raw` without copying it. Do not change the result."""
    return request.wire_fields()


def read_again(request: SentT) -> SentT:
    """Validate a request again, because a dict inside it may have changed."""
    return type(request).model_validate({name: getattr(request, name) for name in request.model_fields_set})


def read_part(value: object, kind: type[Sent], what: str) -> dict[str, Any]:
    """Return the fields of a part of a request: an instance of `kind`, or a mapping, which is sent unchanged."""
    if isinstance(value, kind):
        return value.given_fields()
    if not isinstance(value, Mapping):
        raise PydanticCustomError("part_type", "must be a mapping or of type {kind}", {"kind": kind.__name__})
    try:
        return read_json_object(cast("Mapping[str, object]", value), what)
    except ValueError as exc:
        raise PydanticCustomError("part_json", "{reason}", {"reason": str(exc)}) from None
