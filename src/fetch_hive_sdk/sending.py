"""Methods that send request objects: `invoke` and `stream`. A base class of `FetchHive`."""

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
    """The methods that take a request object."""

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
        """Send a request object and wait for the answer.

        A request object can be created in one place, sent in another, and sent again. The client never retries a
        request that may have started a run, unless it has `retry_unknown_outcome`.

        Args:
            request: The request: an `InvokeRequest`, `PromptRequest`, `WorkflowRequest`, `WorkflowStart`,
                `AgentRequest` or `HiveAgentRequest`.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The answer, of the type that the method for that kind of run returns, such as `invoke_prompt`. The answer to
            a `PromptRequest` also has an `output`.

        Raises:
            TypeError: `request` is not a request object.
            OutputValidationError: The answer to a `PromptRequest` does not match its type. The exception's `response`
                has the whole answer.
            FetchHiveError: The call failed: see the method for that kind of run, such as `invoke_prompt`.

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
        """Send a request object and wait for the answer: the asyncio twin of `invoke`."""
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
        """Send a request object and stream the answer.

        Args:
            request: The request: an `InvokeRequest`, a `PromptRequest` or an `AgentRequest`.
            timeout: Seconds until the answer begins, and then between two chunks, or an `httpx.Timeout`; None uses the
                client's.
            extra_body: Extra fields for the JSON body, such as parameters that this version does not support yet.

        Returns:
            The stream, of the type that `invoke_prompt_stream` or `invoke_agent_stream` returns. The stream of a
            `PromptRequest` also has `snapshots()`. The request is sent on first use of the stream.

        Raises:
            TypeError: `request` is not a request object, or its kind cannot be streamed.
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
        """Send a request object and stream the answer: the asyncio twin of `stream`. Called without `await`."""
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
    """Return the kind of a request, a copy of the request, and the request itself if it has an output type."""
    typed = _as_typed(request)
    if typed is not None:
        # The request that is sent has no output type.
        request = InvokeRequest.model_validate({name: getattr(typed, name) for name in typed.model_fields_set})
    kind, request = read_request(request)
    return kind, request, typed


def _streamable(request: RunRequest) -> tuple[Kind[Any], RunRequest, Optional[PromptRequest[Any]]]:
    kind, request, typed = _read(request)
    if kind.transcript is None:
        raise TypeError(f"a {type(request).__name__} cannot be streamed: pass it to invoke")
    return kind, request, typed


def _as_typed(request: RunRequest) -> Optional[PromptRequest[Any]]:
    """Return the request if it has an output type, or else None."""
    if type(request) is InvokeRequest or not isinstance(request, InvokeRequest):
        return None
    from .prompts import PromptRequest  # noqa: PLC0415 - calls without an output type do not need it

    is_typed = isinstance(request, PromptRequest)
    return cast("PromptRequest[Any]", request) if is_typed else None
