"""The session of a client: its settings and its senders. Resources and tools make all their calls through it."""

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
    """Makes the calls of a client.

    Args:
        config: The settings of the client.
        senders: The senders of the client, which clients made by `with_options` share.
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
        """Make a call and return its answer, converted by `read` if it is not None."""
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
        """Make a call and return its answer: the asyncio twin of `run`."""
        from . import _asyncio  # noqa: PLC0415 - importing asyncio is slow, and blocking programs do not need it

        call = Call(self.config, endpoint, body, timeout=self._limit(timeout), read=read)
        return await _asyncio.run(call, self.senders.async_sender)

    def wait(self, poll: Callable[[], AnswerT], schedule: Wait[AnswerT]) -> AnswerT:
        """Poll until the answer is final, and return it."""
        return _blocking.wait(poll, schedule, self.senders.sender)

    async def await_(self, poll: Callable[[], Awaitable[AnswerT]], schedule: Wait[AnswerT]) -> AnswerT:
        """Poll until the answer is final: the asyncio twin of `wait`."""
        from . import _asyncio  # noqa: PLC0415 - importing asyncio is slow, and blocking programs do not need it

        return await _asyncio.wait(poll, schedule, self.senders.async_sender)

    def stream(
        self,
        endpoint: Endpoint[AnswerT],
        body: Optional[Body],
        transcript: Transcript[EventT, AnswerT],
        *,
        timeout: Optional[Timeout] = None,
    ) -> Callable[[bool], Generator[EventT, None, None]]:
        """Return a function that sends the request and yields the events, which the transcript accumulates."""
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
        """Return a function that sends the request and yields the events: the asyncio twin of `stream`."""
        from . import _asyncio  # noqa: PLC0415 - importing asyncio is slow, and blocking programs do not need it

        call = StreamCall(self.config, endpoint, body, timeout=self._limit(timeout), transcript=transcript)
        return partial(_asyncio.stream, call, self.senders.async_sender)

    def _limit(self, timeout: Optional[Timeout]) -> Timeout:
        return self.config.timeout if timeout is None else read_timeout(timeout)


class _HasSession(Protocol):
    @property
    def _session(self) -> Session: ...


@contextmanager
def wrap_sender(client: _HasSession, wrapper: Wrapper) -> Generator[None, None, None]:
    """Wrap the senders of a client, for example in a recorder, until the end of the block.

    The wrapper also applies to clients made by `with_options`, before or during the block.

    Raises:
        RuntimeError: The senders are already wrapped.

    """
    with client._session.senders.wrapped(wrapper):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - same package
        yield


def runs_asyncio(client: _HasSession) -> bool:
    """Whether asyncio calls use the senders that were configured. False if only a blocking `http_client` was."""
    senders = client._session.senders  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - same package
    return senders.http_client is None or senders.async_http_client is not None


def api_key_of(client: _HasSession) -> str:
    """Return the API key of a client, to pass it to another process."""
    return client._session.config.api_key.reveal()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - same package
