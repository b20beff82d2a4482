"""`FetchHive`, the client: its settings and its lifetime. The runs are in `runs.py`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional, Union

import httpx

from ._config import DEFAULT_BASE_URL, Timeout, read_config
from ._net.httpx2_adapter import Httpx2AsyncClient, Httpx2Client, is_httpx2
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
"""What `metadata` may be: the vendor's name for it."""


class FetchHive(Namespaces, VendorNames):
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
            the whole. None for no limit.
        idle_timeout: Seconds between two events of a stream; None for as long as bytes arrive, comments included.
        max_retries: How many times a call is repeated at most, and only while no run can have been started.
        retry_unknown_outcome: Whether to repeat calls that may have been processed, too. Each may be billed again.
        prompt_path: The endpoint of prompts; `/invoke` for accounts on the older one.
        allow_http: Whether the key may be sent over plain http to other machines.
        http_client: An `httpx.Client` or `httpx2.Client` to send blocking calls with, such as for a proxy of your own.
            It is used as it is and never closed.
        async_http_client: An `httpx.AsyncClient` or `httpx2.AsyncClient` to send asyncio calls with, likewise.
        default_headers: Headers to send with every call, for a gateway of yours. Not those that the client sets
            itself, such as `Authorization`. They travel in a pickle of the client.
        observers: What is to be told of every call: see `fetch_hive_sdk.telemetry`. They travel in a pickle, too.
        workspace_id: The workspace whose agents, knowledge bases, files and approvals are managed; None for the
            environment's `FETCH_HIVE_WORKSPACE_ID`. Runs need none.
        correlate: Whether to put a random id into the metadata of every run, by which the logs find it even if its
            request id was lost. Errors have it as `correlation_id`.

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
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not take the key along
            # A crash report shows the variables of all frames: none of ours that it can see knows the key.
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
        """Return a client with other settings that shares the connections of this one.

        Args:
            api_key: As for `FetchHive`. None, here and below: as this client has it.
            base_url: As for `FetchHive`.
            timeout: As for `FetchHive`; `httpx.Timeout(None)` takes the limit away.
            idle_timeout: As for `FetchHive`; `math.inf` takes the limit away.
            max_retries: As for `FetchHive`.
            retry_unknown_outcome: As for `FetchHive`.
            prompt_path: As for `FetchHive`.
            allow_http: As for `FetchHive`.
            default_headers: As for `FetchHive`, in place of those of this client; `{}` takes them away.
            observers: As for `FetchHive`, in place of those of this client; `()` takes them away.
            workspace_id: As for `FetchHive`.
            correlate: As for `FetchHive`.

        Returns:
            The new client. This one stays as it is.

        Raises:
            ConfigurationError: A setting cannot work.

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
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not take the key along
            del api_key, default_headers  # as in __init__
            raise error.with_traceback(None) from error.__cause__
        other = type(self).__new__(type(self))
        other.__dict__.update(_session=Session(config, self._session.senders))
        return other

    @property
    def base_url(self) -> str:
        """Where the API is: the `base_url` that was given, or the default."""
        return self._session.config.base_url

    def close(self) -> None:
        """Close the connections of blocking calls. A later call opens new ones; an injected client stays open."""
        self._session.senders.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop. A later call opens new ones; an injected client stays open."""
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
        if "_session" not in self.__dict__:  # in a crash report, when it could not be made
            return f"{type(self).__name__}()"
        config = self._session.config
        return f"{type(self).__name__}(base_url={config.base_url!r}, timeout={config.timeout!r})"

    def __copy__(self) -> FetchHive:
        return self.with_options()

    def __deepcopy__(self, memo: dict[int, Any]) -> FetchHive:
        return self.with_options()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings without the key: where it is unpickled, it is read from the environment again."""
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


# A coroutine that was not awaited is named after the class that its caller knows.
for _base in (Runs, Sending, Namespaces, VendorNames):
    for _run in filter(inspect.isfunction, vars(_base).values()):
        _run.__qualname__, _run.__module__ = f"{FetchHive.__name__}.{_run.__name__}", __name__
