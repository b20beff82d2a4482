"""The request to run a Hive Agent, and its answer. Performs no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Optional, Union

from pydantic import BeforeValidator, Field, SecretStr

from .base import Received
from .json_values import MetadataValue, Text
from .secrets import reveal_secrets
from .sent import CallbackUrl, Id, IdText, Metadata, RunRequest, Sent, read_part

BudgetPolicy = Literal["stop", "proceed_to_cap"]
"""What an unattended run does when spending would require approval."""

Ids = Sequence[IdText]


class HiveAgentSources(Sent, frozen=True):
    """The sources that a Hive Agent may read."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            website_urls: Optional[Sequence[str]] = None,
            asset_ids: Optional[Sequence[Id]] = None,
            knowledge_base_ids: Optional[Sequence[Id]] = None,
            knowledge_base_item_ids: Optional[Sequence[Id]] = None,
        ) -> None: ...

    website_urls: Sequence[Text] = ()
    """The URLs of web pages."""
    asset_ids: Ids = ()
    """The ids of uploaded files: `Asset.id`."""
    knowledge_base_ids: Ids = ()
    """The ids of knowledge bases."""
    knowledge_base_item_ids: Ids = ()
    """The ids of items of knowledge bases."""


def _read_sources(value: object) -> object:
    return read_part(value, HiveAgentSources, "sources")


class HiveAgentRequest(RunRequest, frozen=True):
    """One run of a Hive Agent, whose result is sent to a callback URL. Pass it to `FetchHive.invoke`.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or has the wrong type. The message never quotes values.
    """

    run: ClassVar[str] = "invoke_hive_agent"
    wire_names: ClassVar[frozenset[str]] = frozenset({"async"})

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            hive_agent: Id,
            objective: str,
            callback_url: str,
            sources: Union[HiveAgentSources, Mapping[str, object], None] = None,
            metadata: Optional[Mapping[str, MetadataValue]] = None,
            unattended: Optional[bool] = None,
            budget_policy: Optional[BudgetPolicy] = None,
        ) -> None: ...

    hive_agent: IdText
    """The id of the Hive Agent."""
    objective: Text
    """The objective of the run."""
    callback_url: CallbackUrl
    """The HTTPS URL that the service sends the result to."""
    sources: Annotated[Mapping[str, object], BeforeValidator(_read_sources)] = Field(default_factory=dict)
    """The sources that the Hive Agent may read."""
    metadata: Metadata = Field(default_factory=dict)
    """Your own flat data for audit and log filtering."""
    unattended: Optional[bool] = None
    """Whether the run never pauses for approval."""
    budget_policy: Optional[BudgetPolicy] = None
    """What an unattended run does when spending would require approval."""

    def wire_fields(self) -> dict[str, object]:
        """Return the fields with the names of the API."""
        fields = self.given_fields()
        url = fields.pop("callback_url")
        return {**fields, "async": {"enabled": True, "callback_url": url}}


class HiveAgentAccepted(Received, frozen=True):
    """A Hive Agent was started. The service sends the result to the callback URL."""

    run_id: str
    """The id of the run."""
    request_id: Optional[str] = None
    """The id of the request: `client.requests.get(request_id)` returns its status."""
    status: Optional[str] = None
    """Usually `pending`."""
    webhook_secret: Optional[SecretStr] = None
    """The secret that signs the callback: pass it to `Webhook`. Hidden in `repr`; `["webhook_secret"]` is a string."""

    def _dump_fields(self) -> dict[str, Any]:
        return reveal_secrets(self, super()._dump_fields())
