"""Answers from a cassette, strictly: what was not recorded is an error."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Optional

from ._cassette import (
    File,
    RecordedAnswer,
    RecordedCall,
    RecordedEvent,
    RecordedRequest,
    Redact,
    keep_request,
    read_file,
)
from ._fake import TEST_KEY, connect
from ._json import write_json
from ._reply import Fault, Pause, Reply, Step
from ._routes import refusal_reply
from ._server import serve

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from types import TracebackType

    import httpx
    from typing_extensions import Self, Unpack

    from fetch_hive_sdk import FetchHive

    from ._fake import ClientOptions

_SHOWN = 60  # characters of a value, in an error message
_BEFORE = 20  # of them before the first that differs


class UnrecordedCallError(AssertionError):
    """A call that is not in the cassette, or has been answered already. Not for code under test to handle."""


def replay(path: File, *, redact: Optional[Redact] = None, pace: float = 0.0, repeat: bool = False) -> Cassette:
    """Return what answers from a cassette, with no network and no bill.

    Args:
        path: A file that `record`, `recording_proxy` or `fetch-hive record` has written.
        redact: The function that `record` was given, for calls to be compared with what it left of them.
        pace: How fast streams come: 0 at once, 1 as slowly as they were recorded, 2 twice as slowly.
        repeat: Whether a call that is made more often than it was recorded is answered as the last time.

    Returns:
        The cassette.

    Raises:
        ConfigurationError: The file cannot be read, or is no cassette.
        ValueError: The pace is less than 0.

    """
    if not pace >= 0:
        raise ValueError("pace must be 0 or more")
    return Cassette(os.fspath(path), read_file(path), redact=redact, pace=pace, repeat=repeat)


class Cassette:
    """Recorded calls that answer again. Made by `replay`.

    Identical calls are answered in the order in which they were recorded, others in any order. Used in a `with`
    statement, it sees to it that calls which were not recorded are an error at the end of the block, even if the code
    under test has swallowed the first. Threads may share it.

    Example:
        ```python
        with replay("cassettes/summary.json") as cassette:
            assert summarise(cassette.client(), "A long text.") == "Short."
        ```
    """

    mistakes: list[str]
    """The calls that were not recorded, each as its error told it."""

    def __init__(
        self, name: str, calls: Sequence[RecordedCall], *, redact: Optional[Redact], pace: float, repeat: bool
    ) -> None:
        self.mistakes = []
        self._name = name
        self._calls = calls
        self._left = list(calls)
        self._redact = redact
        self._pace = pace
        self._repeat = repeat
        self._lock = threading.Lock()

    def client(self, api_key: str = TEST_KEY, **options: Unpack[ClientOptions]) -> FetchHive:
        """Return a client whose calls are answered in process, blocking and asyncio.

        Args:
            api_key: The key that it sends.
            **options: Further arguments of `FetchHive`, but for those that say what calls are sent with.

        Returns:
            The client. There is nothing to close.

        """
        return connect(self.handle, api_key, **options)

    @contextmanager
    def serve(self, port: int = 0) -> Generator[str, None, None]:
        """Serve on a loopback port until the block is left.

        A call that was not recorded is answered with 404 and the whole message, and is an error when the block ends.

        Args:
            port: The port; 0 for a free one.

        Returns:
            The URL to give to a client as `base_url`.

        Raises:
            OSError: The port is taken.
            UnrecordedCallError: At the end of the block: a call was not recorded.

        """
        with self, serve(self._handle_on_port, port) as address:
            yield f"{address}/v1"

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request: the handler for an `httpx.MockTransport`.

        Args:
            request: The request of a client.

        Returns:
            What was recorded.

        Raises:
            UnrecordedCallError: Nothing was recorded, or no more than has been answered already.

        """
        return self._reply(self._take(keep_request(request, redact=self._redact))).respond(request)

    @property
    def unplayed(self) -> list[object]:
        """The JSON objects of the recorded requests that nobody has made yet."""
        return [call.request.body for call in self._left]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if exc_type is None and self.mistakes:
            raise UnrecordedCallError("\n".join(self.mistakes))

    def _take(self, asked: RecordedRequest) -> RecordedAnswer:
        with self._lock:
            for place, call in enumerate(self._left):
                if _is_same(call.request, asked):
                    return self._left.pop(place).response
        answered = [call.response for call in self._calls if _is_same(call.request, asked)]
        if answered and self._repeat:
            return answered[-1]
        raise self._refuse(self._explain(asked, len(answered)))

    def _explain_end(self) -> str:
        return f"{self._name}: the stream was left here when it was recorded, and nobody knows the rest"

    def _refuse(self, message: str) -> UnrecordedCallError:
        self.mistakes.append(message)
        return UnrecordedCallError(message)

    def _explain(self, asked: RecordedRequest, answered: int) -> str:
        what = f"{asked.method} {asked.path}"
        if answered:
            often = "once" if answered == 1 else f"{answered} times"
            return (
                f"{what}: this call is recorded {often} in {self._name} and has been answered as often: record again, "
                "or take repeat=True"
            )
        if not self._calls:
            return f"{what}: no call is recorded in {self._name}"
        nearest = min(self._calls, key=lambda call: _distance(call.request, asked))
        differences = "".join(f"\n  {line}" for line in _differences(nearest.request, asked))
        number = self._calls.index(nearest) + 1
        return f"{what}: no such call is recorded in {self._name}. The nearest is call {number}:{differences}"

    def _steps(self, answer: RecordedAnswer) -> Iterator[Step]:
        before = 0.0
        for at, piece in answer.pieces():
            if self._pace:
                yield Pause(max(0.0, at - before) * self._pace)
            before = at
            yield piece
        if answer.ended == "broken":
            yield Fault.BREAK
        elif answer.ended == "left":
            raise self._refuse(self._explain_end())

    def _reply(self, answer: RecordedAnswer) -> Reply:
        steps = self._steps(answer)
        # What breaks off is found out when it is read.
        return Reply(answer.status, answer.headers, steps if answer.ended else list(steps))

    def _handle_on_port(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = self._take(keep_request(request, redact=self._redact))
        except UnrecordedCallError as exc:
            # A status that no client takes for a passing failure.
            return refusal_reply(404, str(exc), "unrecorded_call").respond(request)
        if answer.ended == "left" and answer.events:
            # Not a mistake: the server cannot see whether its client reads on. One that does gets an error.
            end = RecordedEvent(at=answer.events[-1].at, wire=_error_event(self._explain_end()))
            answer = answer.model_copy(update={"events": [*answer.events, end], "ended": None})
        return self._reply(answer).respond(request)


def _error_event(message: str) -> str:
    # The first blank line ends an event that was cut.
    return f"\n\ndata: {write_json({'type': 'error', 'error': message})}\n\n"


def _is_same(recorded: RecordedRequest, asked: RecordedRequest) -> bool:
    # First what is quick. Then strictly: to Python, 1 is True.
    return recorded.body == asked.body and not _differences(recorded, asked)


def _differences(recorded: RecordedRequest, asked: RecordedRequest) -> list[str]:
    """Return a line for each field that is not the same."""
    then, now = recorded.fields(), asked.fields()
    # Wherever the service was: its base URL is in the one and not in the other.
    if asked.path.endswith(recorded.path):
        now["path"] = then["path"]
    names = [*then, *(name for name in now if name not in then)]
    return [_compare(name, then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)]


def _distance(recorded: RecordedRequest, asked: RecordedRequest) -> tuple[bool, int]:
    """Return how far two calls are from each other: those of one deployment are near."""
    deployments = [request.fields().get("deployment") for request in (recorded, asked)]
    return deployments[0] != deployments[1], len(_differences(recorded, asked))


def _compare(name: str, then: Optional[str], now: Optional[str]) -> str:
    if then is None or now is None:
        only = _clip(then or now or "", 0)
        return f"{name}: {only} now, not recorded" if then is None else f"{name}: {only} was recorded, nothing now"
    same = next((place for place, (old, new) in enumerate(zip(then, now)) if old != new), min(len(then), len(now)))
    return f"{name}: {_clip(then, same)} was recorded, {_clip(now, same)} now"


def _clip(text: str, same: int) -> str:
    """Return what is worth showing of a long text: a part that has the first difference in it."""
    begin = max(0, same - _BEFORE) if len(text) > _SHOWN else 0
    shown = text[begin : begin + _SHOWN]
    return ("..." if begin else "") + shown + ("..." if begin + _SHOWN < len(text) else "")
