"""The webhook triggers of agents and workflows, which take a secret in place of the API key: `client.triggers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Union, cast

from pydantic import SecretStr

from fetch_hive_sdk._protocol.answers import one
from fetch_hive_sdk._protocol.endpoint import Endpoint
from fetch_hive_sdk._protocol.kinds import correlated
from fetch_hive_sdk._protocol.paths import segment
from fetch_hive_sdk._protocol.requests import json_body
from fetch_hive_sdk._secret import Secret
from fetch_hive_sdk.errors import ConfigurationError
from fetch_hive_sdk.models.triggers import AgentTrigger, TriggerAccepted, WorkflowTrigger

from ._base import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from fetch_hive_sdk._config import Timeout
    from fetch_hive_sdk._protocol.requests import Body
    from fetch_hive_sdk.models.json_values import MetadataValue
    from fetch_hive_sdk.models.sent import Id, Sent


class Triggers(Resource):
    """The webhook triggers: they start runs with a secret of their own, without the API key."""

    def agent(
        self,
        agent_id: Id,
        *,
        secret: Union[str, SecretStr],
        message: str,
        callback_url: str,
        thread_id: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> TriggerAccepted:
        """Start an agent. It answers with a callback.

        Args:
            agent_id: The id of the agent.
            secret: The agent's webhook secret.
            message: The message to the agent.
            callback_url: The HTTPS URL to which the service sends the answer.
            thread_id: Your id for the conversation.
            user: Your own opaque id for the end user.
            metadata: Your own flat key-value data for audits and log filtering.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The id of the request.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_agent`.

        """
        secret = _as_secret(secret)  # so that no traceback shows it
        fields = AgentTrigger.model_validate(
            {
                "message": message,
                "callback_url": callback_url,
                "thread_id": thread_id,
                "user": user,
                "metadata": metadata,
            }
        )
        path = f"/agent/webhooks/{segment(agent_id, 'agent_id')}"
        return self._session.run(*self._start(path, secret, fields, extra_body, "triggers.agent"), timeout=timeout)

    async def aagent(
        self,
        agent_id: Id,
        *,
        secret: Union[str, SecretStr],
        message: str,
        callback_url: str,
        thread_id: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> TriggerAccepted:
        """Start an agent: the asyncio twin of `Triggers.agent`."""
        secret = _as_secret(secret)  # so that no traceback shows it
        fields = AgentTrigger.model_validate(
            {
                "message": message,
                "callback_url": callback_url,
                "thread_id": thread_id,
                "user": user,
                "metadata": metadata,
            }
        )
        path = f"/agent/webhooks/{segment(agent_id, 'agent_id')}"
        call = self._start(path, secret, fields, extra_body, "triggers.agent")
        return await self._session.arun(*call, timeout=timeout)

    def workflow(
        self,
        workflow_endpoint_id: Id,
        variant_id: Id,
        *,
        secret: Union[str, SecretStr],
        callback_url: str,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> TriggerAccepted:
        """Start a workflow. It answers with a callback.

        Args:
            workflow_endpoint_id: The id of the workflow's deployment.
            variant_id: The id of the variant.
            secret: The deployment's webhook secret.
            callback_url: The HTTPS URL to which the service sends the result.
            inputs: Values for the workflow's Start step.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The id of the request.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_workflow`.

        """
        secret = _as_secret(secret)  # so that no traceback shows it
        fields = WorkflowTrigger.model_validate({"callback_url": callback_url, "inputs": inputs})
        path = _workflow_path(workflow_endpoint_id, variant_id)
        return self._session.run(*self._start(path, secret, fields, extra_body, "triggers.workflow"), timeout=timeout)

    async def aworkflow(
        self,
        workflow_endpoint_id: Id,
        variant_id: Id,
        *,
        secret: Union[str, SecretStr],
        callback_url: str,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> TriggerAccepted:
        """Start a workflow: the asyncio twin of `Triggers.workflow`."""
        secret = _as_secret(secret)  # so that no traceback shows it
        fields = WorkflowTrigger.model_validate({"callback_url": callback_url, "inputs": inputs})
        path = _workflow_path(workflow_endpoint_id, variant_id)
        call = self._start(path, secret, fields, extra_body, "triggers.workflow")
        return await self._session.arun(*call, timeout=timeout)

    def _start(
        self,
        path: str,
        secret: SecretStr,
        request: Sent,
        extra_body: Optional[Mapping[str, object]],
        operation: str,
    ) -> tuple[Endpoint[TriggerAccepted], Body]:
        endpoint = Endpoint(path, one(TriggerAccepted), operation=operation, secret=_read_secret(secret))
        fields = request.wire_fields()
        if self._session.config.correlate and "metadata" in type(request).model_fields:
            fields["metadata"] = correlated(fields.get("metadata"))
        names = {*type(request).model_fields, "async"}
        return endpoint, json_body(endpoint, fields, names, extra_body)


def _workflow_path(workflow_endpoint_id: Id, variant_id: Id) -> str:
    endpoint_id = segment(workflow_endpoint_id, "workflow_endpoint_id")
    return f"/workflow/webhooks/{endpoint_id}/variants/{segment(variant_id, 'variant_id')}"


def _as_secret(secret: Union[str, SecretStr]) -> SecretStr:
    if isinstance(cast("object", secret), str):
        return SecretStr(cast("str", secret))
    return secret if isinstance(secret, SecretStr) else SecretStr("")  # refused by _read_secret


def _read_secret(secret: SecretStr) -> Secret:
    text = secret.get_secret_value()
    # The characters allowed in a header, RFC 9110 section 5.5. The message does not quote the secret.
    if not text.strip() or not text.isascii() or not text.isprintable():
        del text
        raise ConfigurationError("secret must be a printable ASCII string or a SecretStr: copy it again")
    return Secret(text.strip())
