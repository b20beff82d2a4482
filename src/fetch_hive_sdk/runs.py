"""The runs: every call that starts one, its keywords written out. A base class of `FetchHive`."""

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
    """The calls that start runs."""

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

        A request that may have started a run is never sent twice, unless the client has `retry_unknown_outcome`.

        Args:
            deployment: The name of the prompt deployment.
            variant: The name of the variant; None for the default variant.
            inputs: Values for the prompt's variables: a mapping or a Pydantic model of anything that Pydantic can turn
                into JSON. Read at the call: changing it later changes nothing.
            user: Your own opaque id of the person who calls, shown in the dashboard's user tracking.
            metadata: Flat data of your own for audit and log filtering. The model does not see it.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The answer, typed; `result["response"]` and `result.raw` read it as a dict.

        Raises:
            pydantic.ValidationError: An argument is refused before anything is sent. A ValueError.
            APIStatusError: The service refused the call: a subclass for each status, an `httpx.HTTPStatusError`.
            APIConnectionError: The service could not be reached, or the connection broke; see `maybe_processed`.
            APITimeoutError: There was no answer in time.
            ResponseError: The answer is not as promised; `body` has what came.

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
        """Run a prompt deployment and read its answer as it is being written.

        The arguments are checked now; the request is sent on first use of the stream.

        Args:
            deployment: The name of the prompt deployment.
            variant: The name of the variant; None for the default variant.
            inputs: Values for the prompt's variables: a mapping or a Pydantic model of anything that Pydantic can turn
                into JSON. Read at the call: changing it later changes nothing.
            user: Your own opaque id of the person who calls, shown in the dashboard's user tracking.
            metadata: Flat data of your own for audit and log filtering. The model does not see it.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The stream: iterate over its events or its `text()`, or `collect()` them into one answer.

        Raises:
            pydantic.ValidationError: An argument is refused before anything is sent. A ValueError.
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
        """Run a workflow deployment: wait for its result, or start it and get the result by a callback.

        Args:
            deployment: The name of the workflow deployment.
            variant: The name of the variant; None for the default variant.
            inputs: Values for the workflow's Start step: a mapping or a Pydantic model of anything that Pydantic can
                turn into JSON. Read at the call: changing it later changes nothing.
            async_mode: Whether to start the workflow without waiting. A workflow with a human step must be started so.
            callback_url: Where the service sends the result, an HTTPS address; needs `async_mode`, and by the
                documentation is needed for it: without it, the service refuses with 422.
            user: Your own opaque id of the person who calls, shown in the dashboard's user tracking.
            metadata: Flat data of your own for audit and log filtering.
            tool_approval: `auto_approve` runs tools without asking, in this run only; the key needs that right.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            A `WorkflowRun` with the result, which may say that the run failed; with `async_mode`, a `WorkflowAccepted`.

        Raises:
            pydantic.ValidationError: An argument is refused before anything is sent. A ValueError.
            ValueError: `callback_url` without `async_mode`: there would be no callback.
            APIStatusError: The service refused the call: a subclass for each status, an `httpx.HTTPStatusError`.
            APIConnectionError: The service could not be reached, or the connection broke; see `maybe_processed`.
            APITimeoutError: There was no answer in time.
            ResponseError: The answer is not as promised; `body` has what came.

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

        A request that may have started a run is never sent twice, unless the client has `retry_unknown_outcome`.

        Args:
            agent: The id of the agent.
            message: What it is asked.
            thread_id: The conversation, by a name of yours: created on first use, resumed later. None: no memory.
            user: Your own opaque id of the person who calls, shown in the dashboard's user tracking.
            metadata: Flat data of your own for audit and log filtering. The model does not see it.
            messages: Earlier turns that you keep yourself. They win over those of the thread.
            image_urls: HTTPS addresses of images. They are sent among the attachments.
            attachments: HTTPS addresses, an `Attachment`, an `Asset` or an artifact. Five at most, images and
                `artifact_refs` included.
            known_artifact_refs: Ids of artifacts that a conversation that you keep yourself may find.
            artifact_refs: Ids of artifacts that were chosen for this message.
            async_options: How background work is treated, see `AgentAsync`.
            tool_approval: `auto_approve` runs tools without asking, in this run only; the key needs that right.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The answer. With `is_awaiting_approval`, it has paused: see `client.approvals`.

        Raises:
            pydantic.ValidationError: An argument is refused before anything is sent. A ValueError.
            APIStatusError: The service refused the call: a subclass for each status, an `httpx.HTTPStatusError`.
            APIConnectionError: The service could not be reached, or the connection broke; see `maybe_processed`.
            APITimeoutError: There was no answer in time.
            ResponseError: The answer is not as promised; `body` has what came.

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
        """Run one turn of an agent and read its answer as it is being written.

        The arguments are checked now; the request is sent on first use of the stream.

        Args:
            agent: The id of the agent.
            message: What it is asked.
            thread_id: The conversation, by a name of yours: created on first use, resumed later. None: no memory.
            user: Your own opaque id of the person who calls, shown in the dashboard's user tracking.
            metadata: Flat data of your own for audit and log filtering. The model does not see it.
            messages: Earlier turns that you keep yourself. They win over those of the thread.
            image_urls: HTTPS addresses of images. They are sent among the attachments.
            attachments: HTTPS addresses, an `Attachment`, an `Asset` or an artifact. Five at most, images and
                `artifact_refs` included.
            known_artifact_refs: Ids of artifacts that a conversation that you keep yourself may find.
            artifact_refs: Ids of artifacts that were chosen for this message.
            async_options: How background work is treated, see `AgentAsync`.
            tool_approval: `auto_approve` runs tools without asking, in this run only; the key needs that right.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The stream: iterate over its events or its `text()`, or `collect()` them into one answer.

        Raises:
            pydantic.ValidationError: An argument is refused before anything is sent. A ValueError.
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
        """Start a run of a Hive Agent, which answers by a callback.

        A request that may have started a run is never sent twice, unless the client has `retry_unknown_outcome`.

        Args:
            hive_agent: The id of the Hive Agent.
            objective: What it is to reach.
            callback_url: Where the service sends the result, an HTTPS address.
            sources: What it may read, see `HiveAgentSources`.
            metadata: Flat data of your own for audit and log filtering.
            unattended: True: the run never pauses to ask.
            budget_policy: What an unattended run does when spending would need an approval.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The ids of the run, and the secret that its callback is signed with.

        Raises:
            pydantic.ValidationError: An argument is refused before anything is sent. A ValueError.
            APIStatusError: The service refused the call: a subclass for each status, an `httpx.HTTPStatusError`.
            APIConnectionError: The service could not be reached, or the connection broke; see `maybe_processed`.
            APITimeoutError: There was no answer in time.
            ResponseError: The answer is not as promised; `body` has what came.

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
    """Read the keywords of a run as its request. None is as good as not given."""
    return model.model_validate(fields)


# The families beyond prompts are loaded when they are used.


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
