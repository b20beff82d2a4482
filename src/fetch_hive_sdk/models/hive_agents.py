"""What a Hive Agent is started with, and what it answers. Performs no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Optional, Union

from pydantic import BeforeValidator, Field, SecretStr

from .base import Received
from .json_values import MetadataValue, Text
from .secrets import write_secrets_out
from .sent import CallbackUrl, Id, IdText, Metadata, RunRequest, Sent, read_part

BudgetPolicy = Literal["stop", "proceed_to_cap"]
"""What an unattended run does when spending would need an approval."""

Ids = Sequence[IdText]


class HiveAgentSources(Sent, frozen=True):
    """What a Hive Agent may read."""

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
    """Pages."""
    asset_ids: Ids = ()
    """Uploaded files, by the `id` of their `Asset`."""
    knowledge_base_ids: Ids = ()
    """Knowledge bases."""
    knowledge_base_item_ids: Ids = ()
    """Items of knowledge bases."""


def _read_sources(value: object) -> object:
    return read_part(value, HiveAgentSources, "sources")


class HiveAgentRequest(RunRequest, frozen=True):
    """One run of a Hive Agent, which answers by a callback. Pass it to `FetchHive.invoke`.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or of the wrong kind. Its text never quotes the values.
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
    """What it is to reach."""
    callback_url: CallbackUrl
    """Where the service sends the result: an HTTPS address."""
    sources: Annotated[Mapping[str, object], BeforeValidator(_read_sources)] = Field(default_factory=dict)
    """What it may read."""
    metadata: Metadata = Field(default_factory=dict)
    """Flat data of your own for audit and log filtering."""
    unattended: Optional[bool] = None
    """True: the run never pauses to ask."""
    budget_policy: Optional[BudgetPolicy] = None
    """What an unattended run does when spending would need an approval."""

    def wire_fields(self) -> dict[str, object]:
        """Return the fields under the names that the service knows."""
        fields = self.given_fields()
        url = fields.pop("callback_url")
        return {**fields, "async": {"enabled": True, "callback_url": url}}


class HiveAgentAccepted(Received, frozen=True):
    """A Hive Agent has been started; its result comes by a callback."""

    run_id: str
    """The id of the run."""
    request_id: Optional[str] = None
    """The id of the request: `client.requests.get(request_id)` tells what became of it."""
    status: Optional[str] = None
    """`pending`, usually."""
    webhook_secret: Optional[SecretStr] = None
    """What the callback is signed with: pass it to `Webhook`. Not in `repr`; `["webhook_secret"]` has the text."""

    def _written_out(self) -> dict[str, Any]:
        return write_secrets_out(self, super()._written_out())
