"""The methods that start runs, with explicit keyword arguments. A base class of `FetchHive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Optional, TypeVar, Union, overload

from .models.prompts import InvokeRequest, InvokeResponse
from .sending import Sending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from ._config import Timeout
    from .models.agents import AgentAsync, AgentMessage, AgentReply, AgentRequest, AnyAttachment
    from .models.hive_agents import BudgetPolicy, HiveAgentAccepted, HiveAgentRequest, HiveAgentSources
    from .models.json_values import MetadataValue
    from .models.sent import Id, RunRequest, ToolApproval
    from .models.workflows import WorkflowAccepted, WorkflowRequest, WorkflowRun, WorkflowStart
    from .streams import AgentStream, AsyncAgentStream, AsyncPromptStream, PromptStream

RequestT = TypeVar("RequestT", bound="RunRequest")


class Runs(Sending):
    """The methods that start runs."""

    def invoke_prompt(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> InvokeResponse:
        """Run a prompt deployment and wait for its answer.

        A request that may have started a run is not retried, unless the client has `retry_unknown_outcome`.

        Args:
            deployment: The name of the prompt deployment.
            variant: The name of the variant; None uses the default variant.
            inputs: Values for the prompt's variables: a mapping or a Pydantic model, with values that Pydantic can
                serialise to JSON. They are copied at the call, so later changes have no effect.
            user: Your own opaque id for the end user, shown in the dashboard's user tracking.
            metadata: Your own flat key-value data for audits and log filtering. The model does not see it.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The answer, typed; `result["response"]` and `result.raw` read it as a dict.

        Raises:
            pydantic.ValidationError: An argument is invalid; nothing has been sent. A subclass of ValueError.
            APIStatusError: The service returned an error status: a subclass for each status. Also an
                `httpx.HTTPStatusError`.
            APIConnectionError: The connection failed. `maybe_processed` tells whether the run may have started.
            APITimeoutError: The answer did not arrive in time.
            ResponseError: The response is not what the API documents. `body` contains it.

        """
        request = read_fields(
            InvokeRequest, deployment=deployment, variant=variant, inputs=inputs, user=user, metadata=metadata
        )
        return self.invoke(request, timeout=timeout, extra_body=extra_body)

    async def ainvoke_prompt(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> InvokeResponse:
        """Run a prompt deployment: the asyncio twin of `invoke_prompt`. The arguments are read when it is awaited."""
        request = read_fields(
            InvokeRequest, deployment=deployment, variant=variant, inputs=inputs, user=user, metadata=metadata
        )
        return await self.ainvoke(request, timeout=timeout, extra_body=extra_body)

    def invoke_prompt_stream(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> PromptStream:
        """Run a prompt deployment and stream its answer.

        The arguments are checked at the call; the request is sent on first use of the stream.

        Args:
            deployment: The name of the prompt deployment.
            variant: The name of the variant; None uses the default variant.
            inputs: Values for the prompt's variables: a mapping or a Pydantic model, with values that Pydantic can
                serialise to JSON. They are copied at the call, so later changes have no effect.
            user: Your own opaque id for the end user, shown in the dashboard's user tracking.
            metadata: Your own flat key-value data for audits and log filtering. The model does not see it.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The stream: iterate over its events or its `text()`, or `collect()` them into one answer.

        Raises:
            pydantic.ValidationError: An argument is invalid; nothing has been sent. A subclass of ValueError.
            ConfigurationError: The timeout is not a positive number of seconds.

        """
        request = read_fields(
            InvokeRequest, deployment=deployment, variant=variant, inputs=inputs, user=user, metadata=metadata
        )
        return self.stream(request, timeout=timeout, extra_body=extra_body)

    def ainvoke_prompt_stream(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AsyncPromptStream:
        """Stream a prompt deployment: the asyncio twin of `invoke_prompt_stream`. Called without `await`."""
        request = read_fields(
            InvokeRequest, deployment=deployment, variant=variant, inputs=inputs, user=user, metadata=metadata
        )
        return self.astream(request, timeout=timeout, extra_body=extra_body)

    # --- Workflows ---------------------------------------------------------------------------------------------------

    @overload
    def invoke_workflow(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        async_mode: Literal[False] = False,
        callback_url: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> WorkflowRun: ...

    @overload
    def invoke_workflow(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        async_mode: Literal[True],
        callback_url: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> WorkflowAccepted: ...

    @overload
    def invoke_workflow(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        async_mode: bool,
        callback_url: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Union[WorkflowRun, WorkflowAccepted]: ...

    def invoke_workflow(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        async_mode: bool = False,
        callback_url: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Union[WorkflowRun, WorkflowAccepted]:
        """Run a workflow deployment and wait for its result, or start it and receive the result in a callback.

        Args:
            deployment: The name of the workflow deployment.
            variant: The name of the variant; None uses the default variant.
            inputs: Values for the workflow's Start step: a mapping or a Pydantic model, with values that Pydantic can
                serialise to JSON. They are copied at the call, so later changes have no effect.
            async_mode: Whether to start the workflow without waiting. Required for a workflow with a human step.
            callback_url: The HTTPS URL to which the service sends the result. Only allowed with `async_mode`, and
                required by it: the API documents status 422 without it.
            user: Your own opaque id for the end user, shown in the dashboard's user tracking.
            metadata: Your own flat key-value data for audits and log filtering.
            tool_approval: `auto_approve` runs tools without approval, in this run only. The API key needs the
                permission.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            A `WorkflowRun` with the result, which may be a failure; with `async_mode`, a `WorkflowAccepted`.

        Raises:
            pydantic.ValidationError: An argument is invalid; nothing has been sent. A subclass of ValueError.
            ValueError: `callback_url` was passed without `async_mode`, so there would be no callback.
            APIStatusError: The service returned an error status: a subclass for each status. Also an
                `httpx.HTTPStatusError`.
            APIConnectionError: The connection failed. `maybe_processed` tells whether the run may have started.
            APITimeoutError: The answer did not arrive in time.
            ResponseError: The response is not what the API documents. `body` contains it.

        """
        request = _workflow_request(
            deployment=deployment,
            variant=variant,
            inputs=inputs,
            async_mode=async_mode,
            callback_url=callback_url,
            user=user,
            metadata=metadata,
            tool_approval=tool_approval,
        )
        return self.invoke(request, timeout=timeout, extra_body=extra_body)

    @overload
    async def ainvoke_workflow(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        async_mode: Literal[False] = False,
        callback_url: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> WorkflowRun: ...

    @overload
    async def ainvoke_workflow(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        async_mode: Literal[True],
        callback_url: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> WorkflowAccepted: ...

    @overload
    async def ainvoke_workflow(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        async_mode: bool,
        callback_url: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Union[WorkflowRun, WorkflowAccepted]: ...

    async def ainvoke_workflow(
        self,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        async_mode: bool = False,
        callback_url: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Union[WorkflowRun, WorkflowAccepted]:
        """Run a workflow deployment: the asyncio twin of `invoke_workflow`. The arguments are read when awaited."""
        request = _workflow_request(
            deployment=deployment,
            variant=variant,
            inputs=inputs,
            async_mode=async_mode,
            callback_url=callback_url,
            user=user,
            metadata=metadata,
            tool_approval=tool_approval,
        )
        return await self.ainvoke(request, timeout=timeout, extra_body=extra_body)

    # --- Agents ------------------------------------------------------------------------------------------------------

    def invoke_agent(
        self,
        *,
        agent: Id,
        message: str,
        thread_id: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        messages: Optional[Sequence[Union[AgentMessage, Mapping[str, object]]]] = None,
        image_urls: Optional[Sequence[str]] = None,
        attachments: Optional[Sequence[AnyAttachment]] = None,
        known_artifact_refs: Optional[Sequence[Id]] = None,
        artifact_refs: Optional[Sequence[Id]] = None,
        async_options: Union[AgentAsync, Mapping[str, object], None] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AgentReply:
        """Run one turn of an agent and wait for its answer.

        A request that may have started a run is not retried, unless the client has `retry_unknown_outcome`.

        Args:
            agent: The id of the agent.
            message: The message to the agent.
            thread_id: Your id for the conversation, created on first use and resumed later. None means no memory.
            user: Your own opaque id for the end user, shown in the dashboard's user tracking.
            metadata: Your own flat key-value data for audits and log filtering. The model does not see it.
            messages: Earlier turns, if you keep the history yourself. They override those of the thread.
            image_urls: HTTPS URLs of images. They are sent as attachments.
            attachments: HTTPS URLs, `Attachment`s, `Asset`s or artifacts. Five at most, including images and
                `artifact_refs`.
            known_artifact_refs: Ids of artifacts that the agent may find, if you keep the history yourself.
            artifact_refs: Ids of artifacts selected for this message.
            async_options: Options for background work: see `AgentAsync`.
            tool_approval: `auto_approve` runs tools without approval, in this run only. The API key needs the
                permission.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The answer. If `is_awaiting_approval` is true, the run has paused: see `client.approvals`.

        Raises:
            pydantic.ValidationError: An argument is invalid; nothing has been sent. A subclass of ValueError.
            APIStatusError: The service returned an error status: a subclass for each status. Also an
                `httpx.HTTPStatusError`.
            APIConnectionError: The connection failed. `maybe_processed` tells whether the run may have started.
            APITimeoutError: The answer did not arrive in time.
            ResponseError: The response is not what the API documents. `body` contains it.

        """
        request = _agent_request(
            agent=agent,
            message=message,
            thread_id=thread_id,
            user=user,
            metadata=metadata,
            messages=messages,
            image_urls=image_urls,
            attachments=attachments,
            known_artifact_refs=known_artifact_refs,
            artifact_refs=artifact_refs,
            async_options=async_options,
            tool_approval=tool_approval,
        )
        return self.invoke(request, timeout=timeout, extra_body=extra_body)

    async def ainvoke_agent(
        self,
        *,
        agent: Id,
        message: str,
        thread_id: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        messages: Optional[Sequence[Union[AgentMessage, Mapping[str, object]]]] = None,
        image_urls: Optional[Sequence[str]] = None,
        attachments: Optional[Sequence[AnyAttachment]] = None,
        known_artifact_refs: Optional[Sequence[Id]] = None,
        artifact_refs: Optional[Sequence[Id]] = None,
        async_options: Union[AgentAsync, Mapping[str, object], None] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AgentReply:
        """Run one turn of an agent: the asyncio twin of `invoke_agent`. The arguments are read when it is awaited."""
        request = _agent_request(
            agent=agent,
            message=message,
            thread_id=thread_id,
            user=user,
            metadata=metadata,
            messages=messages,
            image_urls=image_urls,
            attachments=attachments,
            known_artifact_refs=known_artifact_refs,
            artifact_refs=artifact_refs,
            async_options=async_options,
            tool_approval=tool_approval,
        )
        return await self.ainvoke(request, timeout=timeout, extra_body=extra_body)

    def invoke_agent_stream(
        self,
        *,
        agent: Id,
        message: str,
        thread_id: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        messages: Optional[Sequence[Union[AgentMessage, Mapping[str, object]]]] = None,
        image_urls: Optional[Sequence[str]] = None,
        attachments: Optional[Sequence[AnyAttachment]] = None,
        known_artifact_refs: Optional[Sequence[Id]] = None,
        artifact_refs: Optional[Sequence[Id]] = None,
        async_options: Union[AgentAsync, Mapping[str, object], None] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AgentStream:
        """Run one turn of an agent and stream its answer.

        The arguments are checked at the call; the request is sent on first use of the stream.

        Args:
            agent: The id of the agent.
            message: The message to the agent.
            thread_id: Your id for the conversation, created on first use and resumed later. None means no memory.
            user: Your own opaque id for the end user, shown in the dashboard's user tracking.
            metadata: Your own flat key-value data for audits and log filtering. The model does not see it.
            messages: Earlier turns, if you keep the history yourself. They override those of the thread.
            image_urls: HTTPS URLs of images. They are sent as attachments.
            attachments: HTTPS URLs, `Attachment`s, `Asset`s or artifacts. Five at most, including images and
                `artifact_refs`.
            known_artifact_refs: Ids of artifacts that the agent may find, if you keep the history yourself.
            artifact_refs: Ids of artifacts selected for this message.
            async_options: Options for background work: see `AgentAsync`.
            tool_approval: `auto_approve` runs tools without approval, in this run only. The API key needs the
                permission.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The stream: iterate over its events or its `text()`, or `collect()` them into one answer.

        Raises:
            pydantic.ValidationError: An argument is invalid; nothing has been sent. A subclass of ValueError.
            ConfigurationError: The timeout is not a positive number of seconds.

        """
        request = _agent_request(
            agent=agent,
            message=message,
            thread_id=thread_id,
            user=user,
            metadata=metadata,
            messages=messages,
            image_urls=image_urls,
            attachments=attachments,
            known_artifact_refs=known_artifact_refs,
            artifact_refs=artifact_refs,
            async_options=async_options,
            tool_approval=tool_approval,
        )
        return self.stream(request, timeout=timeout, extra_body=extra_body)

    def ainvoke_agent_stream(
        self,
        *,
        agent: Id,
        message: str,
        thread_id: Optional[str] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        messages: Optional[Sequence[Union[AgentMessage, Mapping[str, object]]]] = None,
        image_urls: Optional[Sequence[str]] = None,
        attachments: Optional[Sequence[AnyAttachment]] = None,
        known_artifact_refs: Optional[Sequence[Id]] = None,
        artifact_refs: Optional[Sequence[Id]] = None,
        async_options: Union[AgentAsync, Mapping[str, object], None] = None,
        tool_approval: Optional[ToolApproval] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AsyncAgentStream:
        """Stream one turn of an agent: the asyncio twin of `invoke_agent_stream`. Called without `await`."""
        request = _agent_request(
            agent=agent,
            message=message,
            thread_id=thread_id,
            user=user,
            metadata=metadata,
            messages=messages,
            image_urls=image_urls,
            attachments=attachments,
            known_artifact_refs=known_artifact_refs,
            artifact_refs=artifact_refs,
            async_options=async_options,
            tool_approval=tool_approval,
        )
        return self.astream(request, timeout=timeout, extra_body=extra_body)

    def invoke_hive_agent(
        self,
        *,
        hive_agent: Id,
        objective: str,
        callback_url: str,
        sources: Union[HiveAgentSources, Mapping[str, object], None] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        unattended: Optional[bool] = None,
        budget_policy: Optional[BudgetPolicy] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> HiveAgentAccepted:
        """Start a run of a Hive Agent. It answers with a callback.

        A request that may have started a run is not retried, unless the client has `retry_unknown_outcome`.

        Args:
            hive_agent: The id of the Hive Agent.
            objective: The goal of the run.
            callback_url: The HTTPS URL to which the service sends the result.
            sources: The sources that the agent may read: see `HiveAgentSources`.
            metadata: Your own flat key-value data for audits and log filtering.
            unattended: Whether the run must never pause for approval.
            budget_policy: How an unattended run handles spending that needs approval.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The ids of the run, and the secret that signs its callback.

        Raises:
            pydantic.ValidationError: An argument is invalid; nothing has been sent. A subclass of ValueError.
            APIStatusError: The service returned an error status: a subclass for each status. Also an
                `httpx.HTTPStatusError`.
            APIConnectionError: The connection failed. `maybe_processed` tells whether the run may have started.
            APITimeoutError: The answer did not arrive in time.
            ResponseError: The response is not what the API documents. `body` contains it.

        """
        request = _hive_agent_request(
            hive_agent=hive_agent,
            objective=objective,
            callback_url=callback_url,
            sources=sources,
            metadata=metadata,
            unattended=unattended,
            budget_policy=budget_policy,
        )
        return self.invoke(request, timeout=timeout, extra_body=extra_body)

    async def ainvoke_hive_agent(
        self,
        *,
        hive_agent: Id,
        objective: str,
        callback_url: str,
        sources: Union[HiveAgentSources, Mapping[str, object], None] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        unattended: Optional[bool] = None,
        budget_policy: Optional[BudgetPolicy] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> HiveAgentAccepted:
        """Start a Hive Agent: the asyncio twin of `invoke_hive_agent`. The arguments are read when it is awaited."""
        request = _hive_agent_request(
            hive_agent=hive_agent,
            objective=objective,
            callback_url=callback_url,
            sources=sources,
            metadata=metadata,
            unattended=unattended,
            budget_policy=budget_policy,
        )
        return await self.ainvoke(request, timeout=timeout, extra_body=extra_body)


def read_fields(model: type[RequestT], **fields: object) -> RequestT:
    """Build the request object from the keyword arguments of a run. None means not passed."""
    return model.model_validate(fields)


# The models of workflows and agents are imported on first use.


def _workflow_request(
    *, async_mode: bool, callback_url: Optional[str], **fields: object
) -> Union[WorkflowRequest, WorkflowStart]:
    from .models.workflows import WorkflowRequest, WorkflowStart, check_callback  # noqa: PLC0415 - see above

    if check_callback(callback_url, async_mode):
        return read_fields(WorkflowStart, callback_url=callback_url, **fields)
    return read_fields(WorkflowRequest, **fields)


def _agent_request(**fields: object) -> AgentRequest:
    from .models.agents import AgentRequest  # noqa: PLC0415 - see above

    return read_fields(AgentRequest, **fields)


def _hive_agent_request(**fields: object) -> HiveAgentRequest:
    from .models.hive_agents import HiveAgentRequest  # noqa: PLC0415 - see above

    return read_fields(HiveAgentRequest, **fields)
