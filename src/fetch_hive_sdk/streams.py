"""An answer as it is being written: `Stream` and `PromptStream`, with their asyncio twins."""

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


def _nothing() -> None:
    """Nothing has been sent yet, or an injected client sends."""


async def _anothing() -> None:
    """The twin."""


class Stream(Generic[EventT, AnswerT]):
    """The events of one run, as they come. Made by the client; the base of `PromptStream`.

    Iterate over it, or take `text()` or `collect()`. The request is sent on first use. A stream that is read to its
    end gives its connection back; use `with` where you may leave early and keep the stream.

    It can be read in turns: each iteration goes on where the one before stopped, be it over events or over text.
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
        """Iterate over all events, `error` events included. A stream is read once; what is over stays over.

        Raises:
            APIStatusError: The service refused the call.
            APIConnectionError: The service could not be reached, or did not answer in time.
            StreamInterruptedError: The stream broke off (`StreamTimeoutError`: fell silent). See its `partial`.
            StreamConsumedError: The stream has been read to its end before.
            ResponseError: The service sent something that is not as promised.

        """
        # The generator itself: a step through an object of ours would cost each event as much as its decoding.
        events = self._resume()
        if self._transcript.is_over:
            raise self._transcript.consumed()
        return events

    def __next__(self) -> EventT:
        """Return the next event; raises what iterating raises, and `StopIteration` at the end."""
        return next(self._resume())

    def text(self) -> Generator[str, None, None]:
        """Iterate over the pieces of the answer's text alone.

        Yields:
            The next piece, to be appended to the ones before.

        Raises:
            StreamFailedError: The service sent an `error` event.
            FetchHiveError: Whatever iterating over the events raises.

        """
        if self._transcript.is_over:
            self._raise_failure()
        for event in self:
            if isinstance(event, ResponseEvent):
                yield event.response
            elif isinstance(event, ErrorEvent):
                self._raise_failure()

    def collect(self) -> AnswerT:
        """Read to the end and return the answer that a call without a stream would have given.

        What has been iterated over before is part of it. It may be called again.

        Raises:
            StreamFailedError: The service sent an `error` event.
            StreamInterruptedError: The stream broke off, or was closed before its end.
            FetchHiveError: Whatever iterating over the events raises.

        """
        for event in self._resume():
            if isinstance(event, ErrorEvent):
                self._raise_failure()
        return self._transcript.answer()

    @property
    def partial(self) -> PartialAnswer:
        """What the stream has given so far."""
        return self._transcript.partial()

    def close(self) -> None:
        """Stop reading and give the connection back. A run that has begun is not stopped, and is billed."""
        if self._events is None:
            self._events = self._begin(False)
            self._transcript.is_unused = True
        try:
            self._events.close()
        except ValueError:  # another thread is reading: for that thread the stream breaks off
            self._transcript.extensions.get(STOP, _nothing)()
        self._transcript.is_over = True

    def __enter__(self) -> Self:
        """Send the request; the answer has begun when this returns."""
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
    """The events of one run of a prompt, as they come. Made by `FetchHive.invoke_prompt_stream`.

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
else:  # the models of agents are loaded with the first agent
    _AgentStream = Stream


class AgentStream(_AgentStream):
    """The events of one turn of an agent, as they come. Made by `FetchHive.invoke_agent_stream`.

    Example:
        ```python
        with client.invoke_agent_stream(agent="agt_1", message="What is new?") as stream:
            for event in stream:
                if event.type == "tool":
                    print("used", event.tool)
        ```
    """


class AsyncStream(Generic[EventT, AnswerT]):
    """The events of one run, as they come. Made by the client; the base of `AsyncPromptStream`.

    Iterate over it, or take `text()` or `collect()`. The request is sent on first use. A stream that is read to its
    end gives its connection back; use `async with` where you may leave early and keep the stream.
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
        # The generator itself: a step through an object of ours would cost each event as much as its decoding.
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
        """Read to the end and return the answer: the asyncio twin of `Stream.collect`."""
        async for event in self._resume():
            if isinstance(event, ErrorEvent):
                await self._raise_failure()
        return self._transcript.answer()

    @property
    def partial(self) -> PartialAnswer:
        """What the stream has given so far: the twin of `Stream.partial`."""
        return self._transcript.partial()

    async def aclose(self) -> None:
        """Stop reading and give the connection back: the asyncio twin of `Stream.close`."""
        if self._events is None:
            self._events = self._begin(False)
            self._transcript.is_unused = True
        try:
            await self._events.aclose()
        except RuntimeError:  # another task is reading: for that task the stream breaks off
            await self._transcript.extensions.get(STOP, _anothing)()
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
    """The events of one run of a prompt, as they come. Made by `FetchHive.ainvoke_prompt_stream`.

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
    """The events of one turn of an agent, as they come. Made by `FetchHive.ainvoke_agent_stream`.

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
