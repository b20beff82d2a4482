"""Requests as values: `invoke` and `stream`, which send what was described elsewhere. A base class of `FetchHive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, cast, overload

from ._protocol.kinds import read_request
from .streams import AgentStream, AsyncAgentStream, AsyncPromptStream, AsyncStream, PromptStream, Stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._config import Timeout
    from ._protocol.endpoint import Endpoint
    from ._protocol.kinds import Kind
    from ._protocol.requests import Body
    from ._session import Session
    from .models.agents import AgentReply, AgentRequest
    from .models.hive_agents import HiveAgentAccepted, HiveAgentRequest
    from .models.prompts import InvokeRequest, InvokeResponse
    from .models.sent import RunRequest
    from .models.workflows import WorkflowAccepted, WorkflowRequest, WorkflowRun, WorkflowStart

_STREAMS: dict[str, tuple[type[Stream[Any, Any]], type[AsyncStream[Any, Any]]]] = {
    "invoke_prompt": (PromptStream, AsyncPromptStream),
    "invoke_agent": (AgentStream, AsyncAgentStream),
}


class Sending:
    """The calls that take a request as a value."""

    _session: Session

    @overload
    def invoke(
        self,
        request: InvokeRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> InvokeResponse: ...

    @overload
    def invoke(
        self,
        request: WorkflowRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> WorkflowRun: ...

    @overload
    def invoke(
        self,
        request: WorkflowStart,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> WorkflowAccepted: ...

    @overload
    def invoke(
        self,
        request: AgentRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AgentReply: ...

    @overload
    def invoke(
        self,
        request: HiveAgentRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> HiveAgentAccepted: ...

    def invoke(
        self,
        request: RunRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Any:
        """Run what a request describes, and wait for its answer.

        A request is a value: it can be made in one place, sent in another, and sent again. A request that may have
        started a run is never sent twice by itself, unless the client has `retry_unknown_outcome`.

        Args:
            request: What to run: an `InvokeRequest`, `WorkflowRequest`, `WorkflowStart`, `AgentRequest` or
                `HiveAgentRequest`.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The answer, as the method of that kind of run returns it, such as `invoke_prompt`.

        Raises:
            TypeError: It is not a request.
            FetchHiveError: Whatever the method of that kind of run raises.

        """
        kind, request = read_request(request)
        return self._session.run(*self._written(kind, request, extra_body), timeout=timeout)

    @overload
    async def ainvoke(
        self,
        request: InvokeRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> InvokeResponse: ...

    @overload
    async def ainvoke(
        self,
        request: WorkflowRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> WorkflowRun: ...

    @overload
    async def ainvoke(
        self,
        request: WorkflowStart,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> WorkflowAccepted: ...

    @overload
    async def ainvoke(
        self,
        request: AgentRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AgentReply: ...

    @overload
    async def ainvoke(
        self,
        request: HiveAgentRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> HiveAgentAccepted: ...

    async def ainvoke(
        self,
        request: RunRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Any:
        """Run what a request describes: the asyncio twin of `invoke`."""
        kind, request = read_request(request)
        return await self._session.arun(*self._written(kind, request, extra_body), timeout=timeout)

    @overload
    def stream(
        self,
        request: InvokeRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> PromptStream: ...

    @overload
    def stream(
        self,
        request: AgentRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AgentStream: ...

    def stream(
        self,
        request: RunRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Any:
        """Run what a request describes, and read its answer as it is being written.

        Args:
            request: What to run: an `InvokeRequest` or an `AgentRequest`.
            timeout: Seconds for the answer to begin, then for each silence, or an `httpx.Timeout`; None for the
                client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The stream, as `invoke_prompt_stream` or `invoke_agent_stream` returns it. The request is sent on its first
            use.

        Raises:
            TypeError: It is not a request, or of a kind that cannot be streamed.
            ConfigurationError: The timeout is not a positive number of seconds.

        """
        kind, request = _streamable(request)
        transcript = cast("Any", kind.transcript)()
        call = self._written(kind, request, extra_body, streaming=True)
        return _STREAMS[request.run][0](
            self._session.stream(*call, transcript, timeout=timeout), transcript, request.name
        )

    @overload
    def astream(
        self,
        request: InvokeRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AsyncPromptStream: ...

    @overload
    def astream(
        self,
        request: AgentRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AsyncAgentStream: ...

    def astream(
        self,
        request: RunRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Any:
        """Stream what a request describes: the asyncio twin of `stream`. Called without `await`."""
        kind, request = _streamable(request)
        transcript = cast("Any", kind.transcript)()
        call = self._written(kind, request, extra_body, streaming=True)
        return _STREAMS[request.run][1](
            self._session.astream(*call, transcript, timeout=timeout), transcript, request.name
        )

    def _written(
        self,
        kind: Kind[Any],
        request: RunRequest,
        extra_body: Optional[Mapping[str, object]],
        *,
        streaming: bool = False,
    ) -> tuple[Endpoint[Any], Body]:
        return kind.write(self._session.config, request, extra_body, streaming=streaming)


def _streamable(request: RunRequest) -> tuple[Kind[Any], RunRequest]:
    kind, request = read_request(request)
    if kind.transcript is None:
        raise TypeError(f"a {type(request).__name__} cannot be streamed: pass it to invoke")
    return kind, request
