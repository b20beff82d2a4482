"""What every call is made with: the settings of a client and its senders. The face and the edge use it alone."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Callable, Optional, Protocol, TypeVar

from . import _blocking
from ._config import read_timeout
from ._protocol.call import Call
from ._protocol.streaming import StreamCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Generator

    from ._config import Config, Timeout
    from ._net.senders import Senders, Wrapper
    from ._protocol.endpoint import Endpoint
    from ._protocol.requests import Body
    from ._protocol.streaming import Transcript
    from ._protocol.waits import Wait

AnswerT = TypeVar("AnswerT")
EventT = TypeVar("EventT")


class Session:
    """Makes calls.

    Args:
        config: The settings of the client.
        senders: What it sends with. Clients made by `with_options` share it.
    """

    def __init__(self, config: Config, senders: Senders) -> None:
        self.config = config
        self.senders = senders

    def run(
        self,
        endpoint: Endpoint[AnswerT],
        body: Optional[Body] = None,
        *,
        timeout: Optional[Timeout] = None,
        read: Optional[Callable[[AnswerT], AnswerT]] = None,
    ) -> AnswerT:
        """Make a call and return its answer, as `read` returns it if that is given."""
        call = Call(self.config, endpoint, body, timeout=self._limit(timeout), read=read)
        return _blocking.run(call, self.senders.sender)

    async def arun(
        self,
        endpoint: Endpoint[AnswerT],
        body: Optional[Body] = None,
        *,
        timeout: Optional[Timeout] = None,
        read: Optional[Callable[[AnswerT], AnswerT]] = None,
    ) -> AnswerT:
        """Make a call and return its answer, as `read` returns it if that is given."""
        from . import _asyncio  # noqa: PLC0415 - asyncio costs time to import, and blocking programs need none of it

        call = Call(self.config, endpoint, body, timeout=self._limit(timeout), read=read)
        return await _asyncio.run(call, self.senders.async_sender)

    def wait(self, ask: Callable[[], AnswerT], waits: Wait[AnswerT]) -> AnswerT:
        """Look at something that goes on, until it is over."""
        return _blocking.wait(ask, waits, self.senders.sender)

    async def await_(self, ask: Callable[[], Awaitable[AnswerT]], waits: Wait[AnswerT]) -> AnswerT:
        """Look at something that goes on, until it is over."""
        from . import _asyncio  # noqa: PLC0415 - asyncio costs time to import, and blocking programs need none of it

        return await _asyncio.wait(ask, waits, self.senders.async_sender)

    def stream(
        self,
        endpoint: Endpoint[AnswerT],
        body: Optional[Body],
        transcript: Transcript[EventT, AnswerT],
        *,
        timeout: Optional[Timeout] = None,
    ) -> Callable[[bool], Generator[EventT, None, None]]:
        """Return the function that sends the request and begins the events, which the transcript keeps."""
        call = StreamCall(self.config, endpoint, body, timeout=self._limit(timeout), transcript=transcript)
        return partial(_blocking.stream, call, self.senders.sender)

    def astream(
        self,
        endpoint: Endpoint[AnswerT],
        body: Optional[Body],
        transcript: Transcript[EventT, AnswerT],
        *,
        timeout: Optional[Timeout] = None,
    ) -> Callable[[bool], AsyncGenerator[EventT, None]]:
        """Return the function that sends the request and begins the events, which the transcript keeps."""
        from . import _asyncio  # noqa: PLC0415 - asyncio costs time to import, and blocking programs need none of it

        call = StreamCall(self.config, endpoint, body, timeout=self._limit(timeout), transcript=transcript)
        return partial(_asyncio.stream, call, self.senders.async_sender)

    def _limit(self, timeout: Optional[Timeout]) -> Timeout:
        return self.config.timeout if timeout is None else read_timeout(timeout)


class _HasSession(Protocol):
    @property
    def _session(self) -> Session: ...


@contextmanager
def wrap_sender(client: _HasSession, wrapper: Wrapper) -> Generator[None, None, None]:
    """Let a wrapper, such as a recorder, stand between a client and its connections for as long as the block runs.

    Clients made by `with_options` share it, before and during the block.

    Raises:
        RuntimeError: Another wrapper is there already.

    """
    with client._session.senders.wrapped(wrapper):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what it is for
        yield


def runs_asyncio(client: _HasSession) -> bool:
    """Whether the asyncio calls of a client reach what its owner means them to: not if it only has an `http_client`."""
    senders = client._session.senders  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what it is for
    return senders.http_client is None or senders.async_http_client is not None


def api_key_of(client: _HasSession) -> str:
    """Return the API key of a client, for processes that it is handed to."""
    return client._session.config.api_key.reveal()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what it is for
