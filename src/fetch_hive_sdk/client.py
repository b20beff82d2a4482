"""The client, `FetchHive`: its settings and lifetime. The methods that start runs are in `runs.py`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional, Union

import httpx

from ._config import DEFAULT_BASE_URL, Timeout, read_config
from ._net.httpx2_clients import Httpx2AsyncClient, Httpx2Client, is_httpx2
from ._net.senders import Senders
from ._session import Session
from ._vendor import VendorNames
from .errors import ConfigurationError
from .models.json_values import MetadataValue
from .namespaces import Namespaces
from .runs import Runs
from .sending import Sending

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

    from ._observers import Observer

__all__ = ["DEFAULT_BASE_URL", "FetchHive", "Metadata"]

Metadata = Mapping[str, MetadataValue]
"""The type of `metadata`, under the name that the vendor's package uses."""


class FetchHive(Namespaces, VendorNames):
    """A client of the Fetch Hive API.

    Create one client and share it: it works across threads, event loops and forks. Connections are opened on first use
    and reused. A program may exit without closing the client; `close`, `aclose`, `with` and `async with` close the
    connections earlier.

    Args:
        api_key: The workspace's API key; None reads the environment variable `FETCH_HIVE_API_KEY`.
        base_url: The base URL of the API; None reads the environment variable `FETCH_HIVE_BASE_URL`, and falls back to
            the production service. Must be `https://`, except for this machine or with `allow_http`.
        timeout: Seconds for a whole call, including retries and the waits between them; connecting may take 10 seconds
            at most. For a stream: seconds until the answer begins, and then between two chunks. An `httpx.Timeout`
            limits each step instead of the whole call. None means no limit.
        idle_timeout: Maximum seconds between two events of a stream. None means no limit while bytes arrive, even if
            they are only keep-alive comments.
        max_retries: The maximum number of retries. A call is only retried if it cannot have started a run.
        retry_unknown_outcome: Whether to also retry calls that may have been processed. Each retry may be billed again.
        prompt_path: The path of the endpoint that runs prompts. Use `/invoke` for accounts on the older endpoint.
        allow_http: Whether the API key may be sent to other machines over unencrypted HTTP.
        http_client: An `httpx.Client` or `httpx2.Client` that sends the blocking calls, such as to use your own proxy.
            The SDK neither configures nor closes it.
        async_http_client: An `httpx.AsyncClient` or `httpx2.AsyncClient` that sends the asyncio calls. The SDK
            neither configures nor closes it.
        default_headers: Headers to send with every call, such as for your gateway. Headers that the client sets itself,
            such as `Authorization`, are not allowed. Pickling the client includes them.
        observers: Observers to notify of every call: see `fetch_hive_sdk.telemetry`. Pickling the client includes them.
        workspace_id: The workspace whose agents, knowledge bases, files and approvals are managed; None reads the
            environment variable `FETCH_HIVE_WORKSPACE_ID`. Not needed for runs.
        correlate: Whether to add a random id to the metadata of every run, so that you can find the run in the logs
            even if its request id was lost. Errors have it as `correlation_id`.

    Raises:
        ConfigurationError: The API key is missing, or a setting is invalid. A subclass of ValueError.

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
        timeout: Optional[Timeout] = 120.0,
        *,
        idle_timeout: Optional[float] = None,
        max_retries: int = 2,
        retry_unknown_outcome: bool = False,
        prompt_path: str = "/prompt/invoke",
        allow_http: bool = False,
        http_client: Union[httpx.Client, Httpx2Client, None] = None,
        async_http_client: Union[httpx.AsyncClient, Httpx2AsyncClient, None] = None,
        default_headers: Optional[Mapping[str, str]] = None,
        observers: Iterable[Observer] = (),
        workspace_id: Union[str, uuid.UUID, None] = None,
        correlate: bool = False,
    ) -> None:
        try:
            config = read_config(
                api_key=api_key,
                base_url=base_url,
                timeout=timeout,
                idle_timeout=idle_timeout,
                max_retries=max_retries,
                retry_unknown_outcome=retry_unknown_outcome,
                prompt_path=prompt_path,
                allow_http=allow_http,
                default_headers=default_headers,
                observers=observers,
                workspace_id=workspace_id,
                correlate=correlate,
            )
            _check_clients(http_client, async_http_client)
            self._session = Session(config, Senders(http_client, async_http_client))
            self._session.senders.load()
        except Exception as error:  # noqa: BLE001 - no exception may carry the API key
            # Crash reports show the local variables of every frame, so the key is removed from this one.
            del api_key, default_headers
            raise error.with_traceback(None) from error.__cause__

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
        default_headers: Optional[Mapping[str, str]] = None,
        observers: Optional[Iterable[Observer]] = None,
        workspace_id: Union[str, uuid.UUID, None] = None,
        correlate: Optional[bool] = None,
    ) -> FetchHive:
        """Return a client with different settings that shares the connections of this client.

        Args:
            api_key: As for `FetchHive`. None, here and below, keeps the setting of this client.
            base_url: As for `FetchHive`.
            timeout: As for `FetchHive`; `httpx.Timeout(None)` removes the limit.
            idle_timeout: As for `FetchHive`; `math.inf` removes the limit.
            max_retries: As for `FetchHive`.
            retry_unknown_outcome: As for `FetchHive`.
            prompt_path: As for `FetchHive`.
            allow_http: As for `FetchHive`.
            default_headers: As for `FetchHive`; replaces those of this client. `{}` removes them.
            observers: As for `FetchHive`; replaces those of this client. `()` removes them.
            workspace_id: As for `FetchHive`.
            correlate: As for `FetchHive`.

        Returns:
            The new client. This client is not changed.

        Raises:
            ConfigurationError: A setting is invalid.

        """
        old = self._session.config
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
                default_headers=old.default_headers if default_headers is None else default_headers,
                observers=old.observers if observers is None else observers,
                workspace_id=old.workspace_id if workspace_id is None else workspace_id,
                correlate=old.correlate if correlate is None else correlate,
            )
        except Exception as error:  # noqa: BLE001 - no exception may carry the API key
            del api_key, default_headers  # as in __init__
            raise error.with_traceback(None) from error.__cause__
        other = type(self).__new__(type(self))
        other.__dict__.update(_session=Session(config, self._session.senders))
        return other

    @property
    def base_url(self) -> str:
        """The base URL of the API: the configured one, or the default."""
        return self._session.config.base_url

    def close(self) -> None:
        """Close the connections of blocking calls. Later calls open new ones; an injected client stays open."""
        self._session.senders.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop. Later calls open new ones; an injected client stays open."""
        await self._session.senders.aclose()

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
        if "_session" not in self.__dict__:  # in a crash report, if __init__ failed
            return f"{type(self).__name__}()"
        config = self._session.config
        return f"{type(self).__name__}(base_url={config.base_url!r}, timeout={config.timeout!r})"

    def __copy__(self) -> FetchHive:
        return self.with_options()

    def __deepcopy__(self, memo: dict[int, Any]) -> FetchHive:
        return self.with_options()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings without the API key. Unpickling reads the key from the environment."""
        config, senders = self._session.config, self._session.senders
        if senders.http_client or senders.async_http_client:
            raise TypeError("a FetchHive with an injected httpx client cannot be pickled")
        options = {name: getattr(config, name) for name in config.__dataclass_fields__ if name != "api_key"}
        return _unpickle, (type(self), options)


def _unpickle(cls: type[FetchHive], options: dict[str, Any]) -> FetchHive:
    return cls(**options)


def _check_clients(http_client: object, async_http_client: object) -> None:
    if not isinstance(http_client, (httpx.Client, type(None))) and not is_httpx2(http_client, "Client"):
        raise ConfigurationError(
            "http_client must be an httpx.Client or httpx2.Client; async_http_client takes an httpx.AsyncClient"
        )
    if not isinstance(async_http_client, (httpx.AsyncClient, type(None))) and not is_httpx2(
        async_http_client, "AsyncClient"
    ):
        raise ConfigurationError(
            "async_http_client must be an httpx.AsyncClient or httpx2.AsyncClient; http_client takes an httpx.Client"
        )


# Warnings about a coroutine that was never awaited then name `FetchHive`, the class that callers know.
for _base in (Runs, Sending, Namespaces, VendorNames):
    for _run in filter(inspect.isfunction, vars(_base).values()):
        _run.__qualname__, _run.__module__ = f"{FetchHive.__name__}.{_run.__name__}", __name__
