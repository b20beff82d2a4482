"""The streams of prompts and agents: `Stream`, `PromptStream` and `AgentStream`, with their asyncio twins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar

from ._extensions import STOP
from .models.prompts import ErrorEvent, InvokeResponse, ResponseEvent, StreamEvent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from ._protocol.streaming import Transcript
    from .models.agents import AgentEvent, AgentReply
    from .models.prompts import PartialAnswer

EventT = TypeVar("EventT")
AnswerT = TypeVar("AnswerT")


def _do_nothing() -> None:
    """The default of `STOP`: nothing was sent, or an injected client sends the request."""


async def _ado_nothing() -> None:
    """The asyncio twin of `_do_nothing`."""


class Stream(Generic[EventT, AnswerT]):
    """A stream of the events of one run. Made by the client; the base class of `PromptStream` and `AgentStream`.

    Iterate over the stream, or call `text()` or `collect()`. The request is sent on first use. Reading to the end
    releases the connection. Use `with` if you may stop early and keep a reference to the stream.

    Each iteration, over events or over text, continues where the previous one stopped.
    """

    def __init__(
        self,
        begin: Callable[[bool], Generator[EventT, None, None]],
        transcript: Transcript[EventT, AnswerT],
        name: str = "",
    ) -> None:
        self._begin = begin
        self._name = name
        self._transcript = transcript
        self._events: Optional[Generator[EventT, None, None]] = None

    def __iter__(self) -> Iterator[EventT]:
        """Iterate over all events, including `error` events. A stream can be read only once.

        Raises:
            APIStatusError: The service returned an error status.
            APIConnectionError: The service could not be reached, or did not answer in time.
            StreamInterruptedError: The stream was interrupted, or sent no data in time (`StreamTimeoutError`). Its
                `partial` has the events so far.
            StreamConsumedError: The stream was already read to its end.
            ResponseError: The answer does not match the API.

        """
        # Returns the generator itself: a call of `__next__` would cost each event as much as its decoding.
        events = self._resume()
        if self._transcript.is_over:
            raise self._transcript.consumed()
        return events

    def __next__(self) -> EventT:
        """Return the next event. Raises the errors of iterating, and `StopIteration` at the end."""
        return next(self._resume())

    def text(self) -> Generator[str, None, None]:
        """Iterate over the pieces of the answer's text, without reasoning and other events.

        Yields:
            The next piece: append it to the pieces before.

        Raises:
            StreamFailedError: The service sent an `error` event.
            FetchHiveError: Any error that iterating over the events raises.

        """
        if self._transcript.is_over:
            self._raise_failure()
        for event in self:
            if isinstance(event, ResponseEvent):
                yield event.response
            elif isinstance(event, ErrorEvent):
                self._raise_failure()

    def collect(self) -> AnswerT:
        """Read the stream to its end and return the answer that a call without streaming would have returned.

        The answer includes the events that were iterated over before. `collect()` can be called repeatedly.

        Raises:
            StreamFailedError: The service sent an `error` event.
            StreamInterruptedError: The stream was interrupted, or was closed before its end.
            FetchHiveError: Any error that iterating over the events raises.

        """
        for event in self._resume():
            if isinstance(event, ErrorEvent):
                self._raise_failure()
        return self._transcript.answer()

    @property
    def partial(self) -> PartialAnswer:
        """The part of the answer that was received so far."""
        return self._transcript.partial()

    def close(self) -> None:
        """Stop reading and release the connection. A run that has started is not stopped, and is billed."""
        if self._events is None:
            self._events = self._begin(False)
            self._transcript.is_unused = True
        try:
            self._events.close()
        except ValueError:  # another thread is reading: interrupt it
            self._transcript.extensions.get(STOP, _do_nothing)()
        self._transcript.is_over = True

    def __enter__(self) -> Self:
        """Send the request and wait for the beginning of the answer."""
        if self._events is None:
            self._events = self._begin(True)
            next(self._events)
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return _describe(self, self._name, self._transcript, is_sent=self._events is not None)

    def _resume(self) -> Generator[EventT, None, None]:
        if self._events is None:
            self._events = self._begin(False)
        elif self._transcript.is_over:
            self._transcript.check_end()
        return self._events

    def _raise_failure(self) -> None:
        failure = self._transcript.failure()
        self.close()
        if failure:
            raise failure


class PromptStream(Stream[StreamEvent, InvokeResponse]):
    """A stream of the events of one run of a prompt. Made by `FetchHive.invoke_prompt_stream`.

    Example:
        ```python
        with client.invoke_prompt_stream(deployment="summarise", inputs={"text": "..."}) as stream:
            for event in stream:
                if event.type == "response":
                    print(event.response, end="", flush=True)
        ```
    """


if TYPE_CHECKING:
    _AgentStream = Stream[AgentEvent, AgentReply]
else:  # the models of agents are imported on first use
    _AgentStream = Stream


class AgentStream(_AgentStream):
    """A stream of the events of one turn of an agent. Made by `FetchHive.invoke_agent_stream`.

    Example:
        ```python
        with client.invoke_agent_stream(agent="agt_1", message="What is new?") as stream:
            for event in stream:
                if event.type == "tool":
                    print("used", event.tool)
        ```
    """


class AsyncStream(Generic[EventT, AnswerT]):
    """A stream of the events of one run: the asyncio twin of `Stream`. Made by the client.

    Iterate over the stream, or call `text()` or `collect()`. The request is sent on first use. Reading to the end
    releases the connection. Use `async with` if you may stop early and keep a reference to the stream.
    """

    def __init__(
        self,
        begin: Callable[[bool], AsyncGenerator[EventT, None]],
        transcript: Transcript[EventT, AnswerT],
        name: str = "",
    ) -> None:
        self._begin = begin
        self._name = name
        self._transcript = transcript
        self._events: Optional[AsyncGenerator[EventT, None]] = None

    def __aiter__(self) -> AsyncIterator[EventT]:
        """Iterate over all events: the asyncio twin of `Stream.__iter__`."""
        # Returns the generator itself: a call of `__anext__` would cost each event as much as its decoding.
        events = self._resume()
        if self._transcript.is_over:
            raise self._transcript.consumed()
        return events

    async def __anext__(self) -> EventT:
        """Return the next event: the asyncio twin of `Stream.__next__`."""
        return await self._resume().__anext__()

    async def text(self) -> AsyncGenerator[str, None]:
        """Iterate over the pieces of text: the asyncio twin of `Stream.text`."""
        if self._transcript.is_over:
            await self._raise_failure()
        async for event in self:
            if isinstance(event, ResponseEvent):
                yield event.response
            elif isinstance(event, ErrorEvent):
                await self._raise_failure()

    async def collect(self) -> AnswerT:
        """Read the stream to its end and return the answer: the asyncio twin of `Stream.collect`."""
        async for event in self._resume():
            if isinstance(event, ErrorEvent):
                await self._raise_failure()
        return self._transcript.answer()

    @property
    def partial(self) -> PartialAnswer:
        """The part of the answer that was received so far: the asyncio twin of `Stream.partial`."""
        return self._transcript.partial()

    async def aclose(self) -> None:
        """Stop reading and release the connection: the asyncio twin of `Stream.close`."""
        if self._events is None:
            self._events = self._begin(False)
            self._transcript.is_unused = True
        try:
            await self._events.aclose()
        except RuntimeError:  # another task is reading: interrupt it
            await self._transcript.extensions.get(STOP, _ado_nothing)()
        self._transcript.is_over = True

    async def __aenter__(self) -> Self:
        """Send the request: the asyncio twin of `Stream.__enter__`."""
        if self._events is None:
            self._events = self._begin(True)
            await self._events.__anext__()
        return self

    async def __aexit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return _describe(self, self._name, self._transcript, is_sent=self._events is not None)

    def _resume(self) -> AsyncGenerator[EventT, None]:
        if self._events is None:
            self._events = self._begin(False)
        elif self._transcript.is_over:
            self._transcript.check_end()
        return self._events

    async def _raise_failure(self) -> None:
        failure = self._transcript.failure()
        await self.aclose()
        if failure:
            raise failure


class AsyncPromptStream(AsyncStream[StreamEvent, InvokeResponse]):
    """A stream of the events of one run of a prompt. Made by `FetchHive.ainvoke_prompt_stream`.

    Example:
        ```python
        async with client.ainvoke_prompt_stream(deployment="summarise", inputs={"text": "..."}) as stream:
            async for event in stream:
                if event.type == "response":
                    print(event.response, end="", flush=True)
        ```
    """


if TYPE_CHECKING:
    _AsyncAgentStream = AsyncStream[AgentEvent, AgentReply]
else:
    _AsyncAgentStream = AsyncStream


class AsyncAgentStream(_AsyncAgentStream):
    """A stream of the events of one turn of an agent. Made by `FetchHive.ainvoke_agent_stream`.

    Example:
        ```python
        async with client.ainvoke_agent_stream(agent="agt_1", message="What is new?") as stream:
            async for event in stream:
                if event.type == "tool":
                    print("used", event.tool)
        ```
    """


def _describe(stream: object, name: str, transcript: Transcript[Any, Any], *, is_sent: bool) -> str:
    state = transcript.state if is_sent else "not sent yet"
    return f"<{type(stream).__name__} of {name or 'a run'}, {state}>"
