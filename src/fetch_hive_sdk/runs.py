"""The runs: every call that starts one, its keywords written out. The base class of `FetchHive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union, cast, overload

from ._protocol.answers import one
from ._protocol.endpoint import Endpoint
from ._protocol.prompt_events import PromptTranscript
from ._protocol.requests import json_body
from .models.prompts import InvokeRequest, InvokeResponse, fields_to_send
from .streams import AsyncPromptStream, PromptStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from ._config import Timeout
    from ._protocol.requests import Body
    from ._session import Session
    from .models.json_values import MetadataValue
    from .prompts import AsyncTypedStream, PromptRequest, PromptResponse, TypedStream

T = TypeVar("T")
RequestT = TypeVar("RequestT", bound="BaseModel")


class Runs:
    """The calls that start runs."""

    _session: Session

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

        A request that may have started a run is never sent twice, unless the client was told `retry_unknown_outcome`.

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
        return self._session.run(*self._prompt(request, extra_body, streaming=False), timeout=timeout)

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
        return await self._session.arun(*self._prompt(request, extra_body, streaming=False), timeout=timeout)

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
        return self._stream_prompt(request, extra_body, timeout)

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
        return self._astream_prompt(request, extra_body, timeout)

    # --- Requests as values ------------------------------------------------------------------------------------------

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

    def invoke(
        self,
        request: InvokeRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> InvokeResponse:
        """Run what a request describes, and wait for its answer.

        A request is a value: it can be made in one place, sent in another, and sent again. A request that may have
        started a run is never sent twice by itself, unless the client has `retry_unknown_outcome`.

        Args:
            request: What to run.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The answer, as `invoke_prompt` returns it. That of a `PromptRequest` has an `output`.

        Raises:
            TypeError: It is not a request.
            OutputValidationError: The answer to a `PromptRequest` does not fit. Its `response` has the whole answer.
            FetchHiveError: Whatever `invoke_prompt` raises.

        """
        typed = _as_typed(request)
        request = _read_again(request)
        answer = self._session.run(*self._prompt(request, extra_body, streaming=False), timeout=timeout)
        return typed.read(answer) if typed else answer

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

    async def ainvoke(
        self,
        request: InvokeRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> InvokeResponse:
        """Run what a request describes: the asyncio twin of `invoke`."""
        typed = _as_typed(request)
        request = _read_again(request)
        answer = await self._session.arun(*self._prompt(request, extra_body, streaming=False), timeout=timeout)
        return typed.read(answer) if typed else answer

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

    def stream(
        self,
        request: InvokeRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> PromptStream:
        """Run what a request describes, and read its answer as it is being written.

        Args:
            request: What to run.
            timeout: Seconds for the answer to begin, then for each silence, or an `httpx.Timeout`; None for the
                client's.
            extra_body: Further fields of the JSON body, for what this version does not know.

        Returns:
            The stream, as `invoke_prompt_stream` returns it; that of a `PromptRequest` has `snapshots()`, too. The
            request is sent on its first use.

        Raises:
            TypeError: It is not a request.
            ConfigurationError: The timeout is not a positive number of seconds.

        """
        return self._stream_prompt(_read_again(request), extra_body, timeout, _as_typed(request))

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

    def astream(
        self,
        request: InvokeRequest,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AsyncPromptStream:
        """Stream what a request describes: the asyncio twin of `stream`. Called without `await`."""
        return self._astream_prompt(_read_again(request), extra_body, timeout, _as_typed(request))

    # --- Inside ------------------------------------------------------------------------------------------------------

    def _prompt(
        self, request: InvokeRequest, extra_body: Optional[Mapping[str, object]], *, streaming: bool
    ) -> tuple[Endpoint[InvokeResponse], Body]:
        endpoint = Endpoint(self._session.config.prompt_path, one(InvokeResponse), operation="invoke_prompt")
        fields = {**fields_to_send(request), "streaming": streaming}
        return endpoint, json_body(endpoint, fields, InvokeRequest, extra_body)

    def _stream_prompt(
        self,
        request: InvokeRequest,
        extra_body: Optional[Mapping[str, object]],
        timeout: Optional[Timeout],
        typed: Optional[PromptRequest[Any]] = None,
    ) -> PromptStream:
        transcript = PromptTranscript()
        call = self._prompt(request, extra_body, streaming=True)
        begin = self._session.stream(*call, transcript, timeout=timeout)
        if typed is None:
            return PromptStream(begin, transcript, request.deployment)
        from .prompts import TypedStream  # noqa: PLC0415 - as in _as_typed

        return TypedStream(begin, transcript, typed)

    def _astream_prompt(
        self,
        request: InvokeRequest,
        extra_body: Optional[Mapping[str, object]],
        timeout: Optional[Timeout],
        typed: Optional[PromptRequest[Any]] = None,
    ) -> AsyncPromptStream:
        transcript = PromptTranscript()
        call = self._prompt(request, extra_body, streaming=True)
        begin = self._session.astream(*call, transcript, timeout=timeout)
        if typed is None:
            return AsyncPromptStream(begin, transcript, request.deployment)
        from .prompts import AsyncTypedStream  # noqa: PLC0415 - as in _as_typed

        return AsyncTypedStream(begin, transcript, typed)


def read_fields(model: type[RequestT], **fields: object) -> RequestT:
    """Read the keywords of a run as its request. None is as good as not given."""
    return model.model_validate({name: value for name, value in fields.items() if value is not None})


def _read_again(request: RequestT) -> RequestT:
    """Read a request again: a dict inside it may have been changed since it was made."""
    if not isinstance(cast("object", request), InvokeRequest):
        raise TypeError("pass a request, such as InvokeRequest(deployment=...), or what a call of a prompt returns")
    kind = InvokeRequest if _as_typed(request) else type(request)
    return cast("RequestT", kind.model_validate(fields_to_send(request)))


def _as_typed(request: BaseModel) -> Optional[PromptRequest[Any]]:
    """Return a request that knows the type of its answer; None for another."""
    if type(request) is InvokeRequest:
        return None
    from .prompts import PromptRequest  # noqa: PLC0415 - a plain call loads none of it

    is_typed = isinstance(request, PromptRequest)
    return cast("PromptRequest[Any]", request) if is_typed else None
