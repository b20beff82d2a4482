"""`FetchHive`, the client: every public call, its keywords written out."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Optional, Union, cast, overload

import httpx

from . import _blocking
from ._config import (
    AsyncTransport,
    Timeout,
    read_async_transport,
    read_config,
    read_timeout,
)
from ._protocol import Call, Endpoint, merge_body
from .errors import ConfigurationError
from .models import InvokeRequest, InvokeResponse, MetadataValue, fields_to_send
from .streams import AsyncPromptStream, PromptStream

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from types import TracebackType

    from pydantic import BaseModel
    from typing_extensions import Self

    from ._pool import AsyncConnections, Connections
    from .models import ReceivedT


class FetchHive:
    """A client of the Fetch Hive API.

    Make one and use it everywhere: from many threads, from event loops one after the other or at once, and after a
    fork. It opens connections when they are needed and uses them again. Nothing has to be closed for a program to end
    cleanly; `close`, `aclose`, `with` and `async with` close the connections earlier.

    Args:
        api_key: The workspace's API key; None for the environment's `FETCH_HIVE_API_KEY`.
        base_url: Where the API is; None for the environment's `FETCH_HIVE_BASE_URL`, else the service itself. Plain
            `http://` only for this machine, unless `allow_http`.
        timeout: Seconds for a whole call, attempts and waits included, of which connecting takes 10 at most. For a
            stream: until its answer begins, and then for each silence. An `httpx.Timeout` limits each step and not
            the whole.
        idle_timeout: Seconds between two events of a stream; None for as long as bytes arrive, comments included.
        max_retries: How many times a call is repeated at most, and only while no run can have been started.
        retry_unknown_outcome: Whether to repeat calls that may have been processed, too. Each may be billed again.
        prompt_path: The endpoint of prompts; `/invoke` for accounts on the older one.
        allow_http: Whether the key may be sent over plain http to other machines.
        http_client: An `httpx.Client` to send blocking calls with, for a proxy of your own or a test. It is used as it
            is and never closed.
        async_http_client: An `httpx.AsyncClient` to send asyncio calls with, likewise.
        async_transport: What asyncio calls are sent with if no client is injected: "httpx", or "aiohttp", which takes
            less CPU time, half of it for many calls at once, and needs the package `aiohttp`.

    Raises:
        ConfigurationError: There is no key, or a setting cannot work. A ValueError.

    Example:
        ```python
        client = FetchHive()
        result = client.invoke_prompt(deployment="summarise", inputs={"text": "..."})
        print(result.response, result.usage.total_tokens)
        ```
    """

    def __init__(
        self,
        api_key: Optional[str] = None,
        base_url: Optional[str] = None,
        timeout: Timeout = 120.0,
        *,
        idle_timeout: Optional[float] = None,
        max_retries: int = 2,
        retry_unknown_outcome: bool = False,
        prompt_path: str = "/prompt/invoke",
        allow_http: bool = False,
        http_client: Optional[httpx.Client] = None,
        async_http_client: Optional[httpx.AsyncClient] = None,
        async_transport: AsyncTransport = "httpx",
    ) -> None:
        try:
            self._config = read_config(
                api_key=api_key,
                base_url=base_url,
                timeout=timeout,
                idle_timeout=idle_timeout,
                max_retries=max_retries,
                retry_unknown_outcome=retry_unknown_outcome,
                prompt_path=prompt_path,
                allow_http=allow_http,
            )
            self._shared = _Shared(http_client, async_http_client, read_async_transport(async_transport))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not take the key along
            # A crash report shows the variables of all frames: none of ours that it can see knows the key.
            del api_key
            raise error.with_traceback(None) from error.__cause__

    @overload
    def invoke_prompt(
        self,
        request: InvokeRequest,
        /,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> InvokeResponse: ...

    @overload
    def invoke_prompt(
        self,
        /,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> InvokeResponse: ...

    def invoke_prompt(
        self,
        request: Optional[InvokeRequest] = None,
        /,
        *,
        deployment: Optional[str] = None,
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
            request: The call as an `InvokeRequest`, in place of the first five keywords.
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
        call = self._prompt_call(
            request,
            {"deployment": deployment, "variant": variant, "inputs": inputs, "user": user, "metadata": metadata},
            streaming=False,
            timeout=timeout,
            extra_body=extra_body,
        )
        return _blocking.run(call, self._shared.connections)

    @overload
    def invoke_prompt_stream(
        self,
        request: InvokeRequest,
        /,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> PromptStream: ...

    @overload
    def invoke_prompt_stream(
        self,
        /,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> PromptStream: ...

    def invoke_prompt_stream(
        self,
        request: Optional[InvokeRequest] = None,
        /,
        *,
        deployment: Optional[str] = None,
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
            request: The call as an `InvokeRequest`, in place of the first five keywords.
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
        call = self._prompt_call(
            request,
            {"deployment": deployment, "variant": variant, "inputs": inputs, "user": user, "metadata": metadata},
            streaming=True,
            timeout=timeout,
            extra_body=extra_body,
        )
        return PromptStream(partial(_blocking.stream, call, self._shared.connections), call.transcript)

    @overload
    def ainvoke_prompt(
        self,
        request: InvokeRequest,
        /,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Coroutine[Any, Any, InvokeResponse]: ...

    @overload
    def ainvoke_prompt(
        self,
        /,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Coroutine[Any, Any, InvokeResponse]: ...

    def ainvoke_prompt(
        self,
        request: Optional[InvokeRequest] = None,
        /,
        *,
        deployment: Optional[str] = None,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> Coroutine[Any, Any, InvokeResponse]:
        """Run a prompt deployment and wait for its answer.

        A request that may have started a run is never sent twice, unless the client was told `retry_unknown_outcome`.

        Args:
            request: The call as an `InvokeRequest`, in place of the first five keywords.
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
        from . import _asyncio  # noqa: PLC0415 - asyncio costs time to import, and blocking programs need none of it

        call = self._prompt_call(
            request,
            {"deployment": deployment, "variant": variant, "inputs": inputs, "user": user, "metadata": metadata},
            streaming=False,
            timeout=timeout,
            extra_body=extra_body,
        )
        # Not an async method: its arguments are read and checked at the call, not when somebody awaits it.
        return _asyncio.run(call, self._shared.async_connections)

    @overload
    def ainvoke_prompt_stream(
        self,
        request: InvokeRequest,
        /,
        *,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AsyncPromptStream: ...

    @overload
    def ainvoke_prompt_stream(
        self,
        /,
        *,
        deployment: str,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AsyncPromptStream: ...

    def ainvoke_prompt_stream(
        self,
        request: Optional[InvokeRequest] = None,
        /,
        *,
        deployment: Optional[str] = None,
        variant: Optional[str] = None,
        inputs: Union[Mapping[str, object], BaseModel, None] = None,
        user: Optional[str] = None,
        metadata: Optional[Mapping[str, MetadataValue]] = None,
        timeout: Optional[Timeout] = None,
        extra_body: Optional[Mapping[str, object]] = None,
    ) -> AsyncPromptStream:
        """Run a prompt deployment and read its answer as it is being written.

        The arguments are checked now; the request is sent on first use of the stream.

        Args:
            request: The call as an `InvokeRequest`, in place of the first five keywords.
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
        from . import _asyncio  # noqa: PLC0415 - asyncio costs time to import, and blocking programs need none of it

        call = self._prompt_call(
            request,
            {"deployment": deployment, "variant": variant, "inputs": inputs, "user": user, "metadata": metadata},
            streaming=True,
            timeout=timeout,
            extra_body=extra_body,
        )
        return AsyncPromptStream(partial(_asyncio.stream, call, self._shared.async_connections), call.transcript)

    def with_options(
        self,
        *,
        api_key: Optional[str] = None,
        base_url: Optional[str] = None,
        timeout: Optional[Timeout] = None,
        idle_timeout: Optional[float] = None,
        max_retries: Optional[int] = None,
        retry_unknown_outcome: Optional[bool] = None,
        prompt_path: Optional[str] = None,
        allow_http: Optional[bool] = None,
    ) -> FetchHive:
        """Return a client with other settings that shares the connections of this one.

        Args:
            api_key: As for `FetchHive`. None, here and below: as this client has it.
            base_url: As for `FetchHive`.
            timeout: As for `FetchHive`.
            idle_timeout: As for `FetchHive`; `math.inf` takes the limit away.
            max_retries: As for `FetchHive`.
            retry_unknown_outcome: As for `FetchHive`.
            prompt_path: As for `FetchHive`.
            allow_http: As for `FetchHive`.

        Returns:
            The new client. This one stays as it is.

        Raises:
            ConfigurationError: A setting cannot work.

        """
        old = self._config
        unknown = old.retry_unknown_outcome if retry_unknown_outcome is None else retry_unknown_outcome
        try:
            config = read_config(
                api_key=old.api_key.reveal() if api_key is None else api_key,
                base_url=old.base_url if base_url is None else base_url,
                timeout=old.timeout if timeout is None else timeout,
                idle_timeout=old.idle_timeout if idle_timeout is None else idle_timeout,
                max_retries=old.max_retries if max_retries is None else max_retries,
                retry_unknown_outcome=unknown,
                prompt_path=old.prompt_path if prompt_path is None else prompt_path,
                allow_http=old.allow_http if allow_http is None else allow_http,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not take the key along
            del api_key  # as in __init__
            raise error.with_traceback(None) from error.__cause__
        other = type(self).__new__(type(self))
        other.__dict__.update(_config=config, _shared=self._shared)
        return other

    def close(self) -> None:
        """Close the connections of blocking calls. A later call opens new ones; an injected client stays open."""
        self._shared.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop. A later call opens new ones; an injected client stays open."""
        await self._shared.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if "_config" not in self.__dict__:  # in a crash report, when it could not be made
            return f"{type(self).__name__}()"
        return f"{type(self).__name__}(base_url={self._config.base_url!r}, timeout={self._config.timeout!r})"

    def __copy__(self) -> FetchHive:
        return self.with_options()

    def __deepcopy__(self, memo: dict[int, Any]) -> FetchHive:
        return self.with_options()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings without the key: where it is unpickled, it is read from the environment again."""
        if self._shared.http_client or self._shared.async_http_client:
            raise TypeError("a FetchHive with an injected httpx client cannot be pickled")
        options = {name: getattr(self._config, name) for name in self._config.__dataclass_fields__ if name != "api_key"}
        return _unpickle, (type(self), {**options, "async_transport": self._shared.async_transport})

    def _prompt_call(
        self,
        request: Optional[InvokeRequest],
        fields: dict[str, object],
        *,
        streaming: bool,
        timeout: Optional[Timeout],
        extra_body: Optional[Mapping[str, object]],
    ) -> Call[InvokeResponse]:
        body = {**fields_to_send(_read_request(request, fields)), "streaming": streaming}
        return self._call(
            Endpoint(self._config.prompt_path, InvokeResponse),
            merge_body(InvokeRequest, body, extra_body),
            streaming=streaming,
            timeout=timeout,
        )

    def _call(
        self,
        endpoint: Endpoint[ReceivedT],
        content: bytes = b"",
        *,
        streaming: bool = False,
        timeout: Optional[Timeout],
    ) -> Call[ReceivedT]:
        seconds = self._config.timeout if timeout is None else read_timeout(timeout)
        return Call(self._config, endpoint, content, streaming=streaming, timeout=seconds)


def _read_request(request: object, fields: dict[str, object]) -> InvokeRequest:
    given = {name: value for name, value in fields.items() if value is not None}
    if request is None:
        return InvokeRequest.model_validate(given)
    if not isinstance(request, InvokeRequest):
        raise TypeError("pass the name of the deployment by keyword: deployment=...")
    if given:
        raise TypeError(f"pass an InvokeRequest or {', '.join(given)}, not both")
    # Once more: a dict inside it may have been changed since.
    return InvokeRequest.model_validate(fields_to_send(request))


def _unpickle(cls: type[FetchHive], options: dict[str, Any]) -> FetchHive:
    return cls(**options)


class _Shared:
    """What clients made by `with_options` have in common: their connections, made on first use."""

    def __init__(
        self,
        http_client: Optional[httpx.Client],
        async_http_client: Optional[httpx.AsyncClient],
        async_transport: AsyncTransport,
    ) -> None:
        if not isinstance(cast("object", http_client), (httpx.Client, type(None))):
            raise ConfigurationError(
                "http_client must be an httpx.Client; async_http_client takes an httpx.AsyncClient"
            )
        if not isinstance(cast("object", async_http_client), (httpx.AsyncClient, type(None))):
            raise ConfigurationError(
                "async_http_client must be an httpx.AsyncClient; http_client takes an httpx.Client"
            )
        if async_http_client is not None and async_transport != "httpx":
            raise ConfigurationError("pass an async_http_client or an async_transport, not both")
        self.http_client = http_client
        self.async_http_client = async_http_client
        self.async_transport: AsyncTransport = async_transport
        self._lock = threading.Lock()
        self._connections: Optional[Connections] = None
        self._async_connections: Optional[AsyncConnections] = None

    @property
    def connections(self) -> Connections:
        if self._connections is None:
            from ._pool import Connections  # noqa: PLC0415 - httpcore takes time to import, and may never be needed

            with self._lock:
                if self._connections is None:  # still, now that no other thread is at it
                    self._connections = Connections(self.http_client)
        return self._connections

    @property
    def async_connections(self) -> AsyncConnections:
        if self._async_connections is None:
            from ._pool import AsyncConnections  # noqa: PLC0415 - httpcore takes time to import

            with self._lock:
                if self._async_connections is None:  # still, now that no other thread is at it
                    self._async_connections = AsyncConnections(self.async_http_client, self.async_transport)
        return self._async_connections

    def close(self) -> None:
        if self._connections is not None:
            self._connections.close()

    async def aclose(self) -> None:
        if self._async_connections is not None:
            await self._async_connections.aclose()
