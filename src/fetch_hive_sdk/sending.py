"""Requests as values: `invoke` and `stream`, which send what was described elsewhere. A base class of `FetchHive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, TypeVar, cast, overload

from ._protocol.kinds import read_request
from .models.prompts import InvokeRequest
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
    from .models.prompts import InvokeResponse
    from .models.sent import RunRequest
    from .models.workflows import WorkflowAccepted, WorkflowRequest, WorkflowRun, WorkflowStart
    from .prompts import AsyncTypedStream, PromptRequest, PromptResponse, TypedStream

T = TypeVar("T")

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
        request: PromptRequest[T],
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> PromptResponse[T]: ...

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
            request: What to run: an `InvokeRequest`, `PromptRequest`, `WorkflowRequest`, `WorkflowStart`,
                `AgentRequest` or `HiveAgentRequest`.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The answer, as the method of that kind of run returns it, such as `invoke_prompt`. That of a `PromptRequest`
            has an `output`.

        Raises:
            TypeError: It is not a request.
            OutputValidationError: The answer to a `PromptRequest` does not fit. Its `response` has the whole answer.
            FetchHiveError: Whatever the method of that kind of run raises.

        """
        kind, request, typed = _read(request)
        read = None if typed is None else typed.read
        return self._session.run(*self._written(kind, request, extra_body), timeout=timeout, read=read)

    @overload
    async def ainvoke(
        self,
        request: PromptRequest[T],
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> PromptResponse[T]: ...

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
        kind, request, typed = _read(request)
        read = None if typed is None else typed.read
        return await self._session.arun(*self._written(kind, request, extra_body), timeout=timeout, read=read)

    @overload
    def stream(
        self,
        request: PromptRequest[T],
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> TypedStream[T]: ...

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
            The stream, as `invoke_prompt_stream` or `invoke_agent_stream` returns it; that of a `PromptRequest` has
            `snapshots()`, too. The request is sent on its first use.

        Raises:
            TypeError: It is not a request, or of a kind that cannot be streamed.
            ConfigurationError: The timeout is not a positive number of seconds.

        """
        kind, request, typed = _streamable(request)
        transcript = cast("Any", kind.transcript)()
        call = self._written(kind, request, extra_body, streaming=True)
        begin = self._session.stream(*call, transcript, timeout=timeout)
        if typed is None:
            return _STREAMS[request.run][0](begin, transcript, request.name)
        from .prompts import TypedStream  # noqa: PLC0415 - as in _as_typed

        return TypedStream(begin, transcript, typed)

    @overload
    def astream(
        self,
        request: PromptRequest[T],
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AsyncTypedStream[T]: ...

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
        kind, request, typed = _streamable(request)
        transcript = cast("Any", kind.transcript)()
        call = self._written(kind, request, extra_body, streaming=True)
        begin = self._session.astream(*call, transcript, timeout=timeout)
        if typed is None:
            return _STREAMS[request.run][1](begin, transcript, request.name)
        from .prompts import AsyncTypedStream  # noqa: PLC0415 - as in _as_typed

        return AsyncTypedStream(begin, transcript, typed)

    def _written(
        self,
        kind: Kind[Any],
        request: RunRequest,
        extra_body: Optional[Mapping[str, object]],
        *,
        streaming: bool = False,
    ) -> tuple[Endpoint[Any], Body]:
        return kind.write(self._session.config, request, extra_body, streaming=streaming)


def _read(request: RunRequest) -> tuple[Kind[Any], RunRequest, Optional[PromptRequest[Any]]]:
    """Return the kind of a request, the request as it is now, and itself if it knows the type of its answer."""
    typed = _as_typed(request)
    if typed is not None:
        # What is sent knows no types.
        request = InvokeRequest.model_validate({name: getattr(typed, name) for name in typed.model_fields_set})
    kind, request = read_request(request)
    return kind, request, typed


def _streamable(request: RunRequest) -> tuple[Kind[Any], RunRequest, Optional[PromptRequest[Any]]]:
    kind, request, typed = _read(request)
    if kind.transcript is None:
        raise TypeError(f"a {type(request).__name__} cannot be streamed: pass it to invoke")
    return kind, request, typed


def _as_typed(request: RunRequest) -> Optional[PromptRequest[Any]]:
    """Return a request that knows the type of its answer; None for another."""
    if type(request) is InvokeRequest or not isinstance(request, InvokeRequest):
        return None
    from .prompts import PromptRequest  # noqa: PLC0415 - a plain call loads none of it

    is_typed = isinstance(request, PromptRequest)
    return cast("PromptRequest[Any]", request) if is_typed else None
