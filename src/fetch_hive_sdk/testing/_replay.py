"""Answers calls from a cassette. Calls that were not recorded are errors."""

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
    raw_headers,
    read_file,
    record_request,
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

_SHOWN = 60  # characters of a value in an error message
_BEFORE = 20  # of them before the first difference


class UnrecordedCallError(AssertionError):
    """A call that was not recorded, or was made more often than recorded. Code under test should not catch it."""


def replay(path: File, *, redact: Optional[Redact] = None, pace: float = 0.0, repeat: bool = False) -> Cassette:
    """Read a cassette, which answers calls without network and cost.

    Args:
        path: A file written by `record`, `recording_proxy` or `fetch-hive record`.
        redact: The function passed to `record`. It is applied to each call before it is compared.
        pace: The speed of streams: 0 sends them at once, 1 at the recorded pace, 2 takes twice as long.
        repeat: Whether calls made more often than recorded get the last recorded answer again.

    Returns:
        The cassette.

    Raises:
        ConfigurationError: The file cannot be read, or is not a cassette.
        ValueError: `pace` is negative or NaN.

    """
    if not pace >= 0:
        raise ValueError(f"invalid pace: it must be 0 or more, not {pace}")
    return Cassette(os.fspath(path), read_file(path), redact=redact, pace=pace, repeat=repeat)


class Cassette:
    """Recorded calls, which answer the same calls again. Made by `replay`.

    Identical calls are answered in the recorded order, other calls in any order. In a `with` statement, an unrecorded
    call also raises an error at the end of the block, in case the tested code has swallowed the first. Thread-safe.

    Example:
        ```python
        with replay("cassettes/summary.json") as cassette:
            assert summarise(cassette.client(), "A long text.") == "Short."
        ```
    """

    mistakes: list[str]
    """The error messages of calls that were not recorded."""

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
        """Return a client whose calls, blocking and asyncio, are answered in process.

        Args:
            api_key: The API key of the client.
            **options: Further arguments of `FetchHive`, except those that choose the HTTP client.

        Returns:
            The client. It need not be closed.

        """
        return connect(self.handle, api_key, **options)

    @contextmanager
    def serve(self, port: int = 0) -> Generator[str, None, None]:
        """Serve on a loopback port until the block is left.

        An unrecorded call gets a 404 with the whole error message, and raises an error at the end of the block.

        Args:
            port: The port; 0 chooses a free one.

        Returns:
            The `base_url` for clients.

        Raises:
            OSError: The port is in use.
            UnrecordedCallError: A call was not recorded. Raised at the end of the block.

        """
        with self, serve(self._handle_on_port, port) as address:
            yield f"{address}/v1"

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request. Can be passed to `httpx.MockTransport`.

        Args:
            request: The request of a client.

        Returns:
            The recorded answer.

        Raises:
            UnrecordedCallError: The call was not recorded, or was made more often than recorded.

        """
        return self._reply(self._next_answer(record_request(request, redact=self._redact))).respond(request)

    @property
    def unplayed(self) -> list[object]:
        """The JSON objects of the recorded requests that have not been made yet."""
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

    def _next_answer(self, request: RecordedRequest) -> RecordedAnswer:
        with self._lock:
            for place, call in enumerate(self._left):
                if _is_same(call.request, request):
                    return self._left.pop(place).response
        answered = [call.response for call in self._calls if _is_same(call.request, request)]
        if answered and self._repeat:
            return answered[-1]
        raise self._refuse(self._explain(request, len(answered)))

    def _explain_end(self) -> str:
        return f"{self._name}: the reader stopped here when this stream was recorded, so the rest is unknown"

    def _refuse(self, message: str) -> UnrecordedCallError:
        self.mistakes.append(message)
        return UnrecordedCallError(message)

    def _explain(self, request: RecordedRequest, answered: int) -> str:
        what = f"{request.method} {request.path}"
        if answered:
            often = "once" if answered == 1 else f"{answered} times"
            return (
                f"{what}: this call was recorded {often} in {self._name}, but made more often: record it again, or "
                "pass repeat=True"
            )
        if not self._calls:
            return f"{what}: the cassette {self._name} is empty"
        nearest = min(self._calls, key=lambda call: _distance(call.request, request))
        differences = "".join(f"\n  {line}" for line in _differences(nearest.request, request))
        number = self._calls.index(nearest) + 1
        return f"{what}: this call was not recorded in {self._name}. Call {number} is the most similar:{differences}"

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
        # A generator for incomplete streams, whose end may raise an error.
        return Reply(answer.status, raw_headers(answer.headers), steps if answer.ended else list(steps))

    def _handle_on_port(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = self._next_answer(record_request(request, redact=self._redact))
        except UnrecordedCallError as exc:
            # A status that clients do not retry.
            return refusal_reply(404, str(exc), "unrecorded_call").respond(request)
        if answer.ended == "left":
            # Not a mistake yet: the client may stop here, too. If it reads on, it gets an error event.
            events = answer.events or []
            end = RecordedEvent(at=events[-1].at if events else 0.0, wire=_error_event(self._explain_end()))
            answer = answer.model_copy(update={"events": [*events, end], "ended": None})
        return self._reply(answer).respond(request)


def _error_event(message: str) -> str:
    # The blank line ends an incomplete event.
    return f"\n\ndata: {write_json({'type': 'error', 'error': message})}\n\n"


def _is_same(recorded: RecordedRequest, request: RecordedRequest) -> bool:
    # The quick comparison first. The strict one distinguishes 1 from True.
    return recorded.body == request.body and not _differences(recorded, request)


def _differences(recorded: RecordedRequest, request: RecordedRequest) -> list[str]:
    """Return a line for each field that differs."""
    then, now = recorded.fields(), request.fields()
    # Recorded paths do not include the path of the base URL.
    if request.path.endswith(recorded.path):
        now["path"] = then["path"]
    names = [*then, *(name for name in now if name not in then)]
    return [_compare(name, then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)]


def _distance(recorded: RecordedRequest, request: RecordedRequest) -> tuple[bool, int]:
    """Return how much two calls differ. Calls of the same deployment are most similar."""
    deployments = [each.fields().get("deployment") for each in (recorded, request)]
    return deployments[0] != deployments[1], len(_differences(recorded, request))


def _compare(name: str, then: Optional[str], now: Optional[str]) -> str:
    if then is None or now is None:
        only = _clip(then or now or "", 0)
        return f"{name}: not recorded, now {only}" if then is None else f"{name}: recorded {only}, now missing"
    same = next((place for place, (old, new) in enumerate(zip(then, now)) if old != new), min(len(then), len(now)))
    return f"{name}: recorded {_clip(then, same)}, now {_clip(now, same)}"


def _clip(text: str, same: int) -> str:
    """Return the part of a long string around the first difference."""
    begin = max(0, same - _BEFORE) if len(text) > _SHOWN else 0
    shown = text[begin : begin + _SHOWN]
    return ("..." if begin else "") + shown + ("..." if begin + _SHOWN < len(text) else "")
