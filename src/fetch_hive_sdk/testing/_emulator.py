"""A fake service that keeps to descriptions of deployments, their faults included."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, Union, cast

import httpx

from ._deployments import (
    MIDWAY,
    Deployment,
    DeploymentFile,
    Described,
    PlannedFault,
    Tokens,
    Variable,
    Variant,
    as_text,
    fill_in,
    has_type,
    name_type,
    read_file,
    variables_of,
)
from ._fake import REPLIES, Answer, FakeServer, Refusal, Reply
from ._page import Page
from ._server import serve

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from fetch_hive_sdk import InvokeRequest

Default = Union[Reply, Callable[["InvokeRequest"], Reply], None]

# The codes that the API documents for a status.
_ERROR_CODES = {
    401: "validation_error",
    402: "insufficient_hosted_llm_credits",
    422: "validation_error",
    429: "too_many_requests",
    500: "internal_server_error",
}

_LONGEST_SILENCE = 600.0
"""Seconds after which a stalled connection is given up, if its client has not done so."""


class Emulator(FakeServer):
    """A `FakeServer` that keeps to descriptions of deployments, from Python or from a file.

    It refuses what the service refuses: unknown deployments and variants (404), and inputs that are missing or of the
    wrong type (422). What `answers`, `fails` and `streams` tell of a deployment comes before its description.

    Args:
        *deployments: The deployments.
        default: What deployments answer that nobody has described, as for `FakeServer`. None: 404.
        api_key: The only key that is let in; None for any.
        delay: Seconds between two events of a stream, for the deployments that say none.

    Raises:
        ValueError: Two deployments have the same name.

    Example:
        ```python
        emulator = Emulator(Deployment(name="summarise", answer="In short: {text}"))
        answer = emulator.client().invoke_prompt(deployment="summarise", inputs={"text": "Ship."})
        assert answer.response == "In short: Ship."
        ```
    """

    def __init__(
        self, *deployments: Deployment, default: Default = None, api_key: Optional[str] = None, delay: float = 0.0
    ) -> None:
        # The waits are made here, for the descriptions know their own.
        super().__init__(self._reply, api_key=api_key)
        names = [deployment.name for deployment in deployments]
        if len(set(names)) < len(names):
            raise ValueError("two deployments have the same name")
        self._otherwise: Default = default
        self._pace = delay
        self._book = _Book(dict(zip(names, deployments)))
        self._file: Optional[_File] = None

    @classmethod
    def from_file(
        cls, path: Union[str, os.PathLike[str]], *, default: Default = None, delay: Optional[float] = None
    ) -> Self:
        """Return an emulator of the deployments in a file.

        Args:
            path: The TOML file.
            default: What deployments answer that are not in it. None: 404.
            delay: Seconds between two events of a stream, for the deployments that say none; None for what the file
                says.

        Returns:
            The emulator. It reads the file again when `reload` is called.

        Raises:
            ConfigurationError: The file cannot be read or is wrong. The text has the file, the line and the reason.

        """
        emulator = cls(default=default)
        emulator._file = _File(Path(path), delay)
        emulator.reload()
        return emulator

    def reload(self) -> bool:
        """Read the file again if it has changed. Turns and faults are then counted anew.

        Returns:
            Whether it has changed. A file that is gone has not: editors replace files.

        Raises:
            ConfigurationError: The file is wrong now. What it said before goes on being served.

        """
        content = self._file.read_changes() if self._file else None
        if content is None or self._file is None:
            return False
        self._pace = content.delay if self._file.delay is None else self._file.delay
        self._api_key = content.api_key.get_secret_value() if content.api_key else None
        self._book = _Book(content.deployments)
        return True

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request: the handler for an `httpx.MockTransport`.

        In process no time passes in a fault: a stalled answer is an `httpx.ReadTimeout` at once.

        Args:
            request: The request of a client.

        Returns:
            What the service would answer.

        """
        return self._play(request, self._pace, _time_out)

    @contextmanager
    def serve(self, port: int = 0, delay: Optional[float] = None, *, page: bool = False) -> Generator[str, None, None]:
        """Serve on a loopback port until the block is left.

        Args:
            port: The port; 0 for a free one.
            delay: Seconds between two events of a stream, for the deployments that say none; None for the emulator's
                own `delay`.
            page: Whether a browser is shown the calls, on the `/` of the port.

        Returns:
            The URL to give to a client as `base_url`.

        Raises:
            OSError: The port is taken.

        """
        stopped = threading.Event()

        def handle(request: httpx.Request) -> httpx.Response:
            return self._play(request, self._pace if delay is None else delay, partial(_keep_silent, stopped))

        shown = Page(handle) if page else None
        with serve(shown.handle if shown else handle, port) as address:
            try:
                yield f"{address}/v1"
            finally:
                stopped.set()
                if shown:
                    shown.close()

    def _play(self, request: httpx.Request, pace: float, stall: Callable[[], None]) -> httpx.Response:
        token = _turn.set(_Turn())
        try:
            response = super().handle(request)
            turn = _turn.get()
        finally:
            _turn.reset(token)
        delay = pace if turn.delay is None else turn.delay
        return _perform(response, delay, turn.fault, stall)

    def _reply(self, call: InvokeRequest) -> Reply:
        # Once: another thread may reload.
        book = self._book
        if call.deployment in book.deployments:
            reply, turn = book.reply(call)
            _turn.set(turn)
            return reply
        if self._otherwise is None:
            return Refusal(404, f"There is no deployment {call.deployment!r}")
        return self._otherwise if isinstance(self._otherwise, REPLIES) else self._otherwise(call)


# --- Who answers what ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Turn:
    """How one answer is given."""

    delay: Optional[float] = None
    fault: Optional[PlannedFault] = None


# A reply is a value, and says nothing about time: what goes with it takes this way.
_turn: ContextVar[_Turn] = ContextVar("_turn")


class _File:
    """A file that may change."""

    def __init__(self, path: Path, delay: Optional[float]) -> None:
        self.delay = delay
        self._path = path
        self._seen: object = None

    def read_changes(self) -> Optional[DeploymentFile]:
        """Return what the file says; None if it is as it was, or gone for now."""
        signature = None
        with suppress(OSError):
            facts = self._path.stat()
            signature = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        if self._seen is not None and signature in {None, self._seen}:
            return None
        # Before it is read: what is written meanwhile is read the next time.
        self._seen = signature
        return read_file(self._path)


class _Book:
    """The deployments, and how often each has been called."""

    def __init__(self, deployments: Mapping[str, Described]) -> None:
        self.deployments = deployments
        self._calls: Counter[tuple[str, str]] = Counter()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def reply(self, call: InvokeRequest) -> tuple[Reply, _Turn]:
        """Answer a call of one of the deployments."""
        deployment = self.deployments[call.deployment]
        name = call.variant if call.variant in deployment.variants else ""
        if deployment.variants and not name and call.variant not in {None, "", "default"}:
            return Refusal(404, f"The deployment {call.deployment!r} has no variant {call.variant!r}"), _Turn()
        values, problem = _read_inputs(variables_of(deployment), call.inputs)
        if problem:
            return problem, _Turn()
        variant = _as_variant(deployment, name or "")
        fault, turn = self._take_turn((call.deployment, name or ""), variant)
        return _compose(variant, turn, values, fault), _Turn(variant.delay, fault)

    def _take_turn(self, key: tuple[str, str], variant: Variant) -> tuple[Optional[PlannedFault], int]:
        """Return the fault that is due, and how many answers were given before. What fails is no answer."""
        with self._lock:
            self._calls[key] += 1
            fault = next((fault for fault in variant.faults if _is_due(fault, self._calls[key])), None)
            turn = self._answers[key]
            self._answers[key] += fault is None
            return fault, turn


def _is_due(fault: PlannedFault, number: int) -> bool:
    return number <= fault.first if fault.first is not None else number % (fault.every or 1) == 0


def _as_variant(deployment: Described, name: str) -> Variant:
    if not name:
        return deployment
    variant = deployment.variants[name]
    return deployment.model_copy(update={field: getattr(variant, field) for field in variant.model_fields_set})


def _read_inputs(
    variables: Mapping[str, Variable], inputs: Mapping[str, object]
) -> tuple[dict[str, object], Optional[Refusal]]:
    """Return the values of the variables, the others too, and the refusal of what is missing or wrong."""
    values = {name: value for name, value in inputs.items() if value is not None}
    for name, variable in variables.items():
        if name not in values and variable.default is not None:
            values[name] = variable.default
        elif name not in values and variable.required:
            return values, Refusal(422, f"inputs.{name} is required", "missing_required_field")
        elif name in values and not has_type(values[name], variable.type):
            kind = name_type(values[name])
            return values, Refusal(
                422, f"inputs.{name} must be of the type {variable.type}, not {kind}", "validation_error"
            )
    return values, None


def _compose(variant: Variant, turn: int, values: Mapping[str, object], fault: Optional[PlannedFault]) -> Reply:
    if fault is not None and fault.fault not in MIDWAY:
        return _refuse(int(fault.fault), fault)
    said = variant.answer[turn % len(variant.answer)] if isinstance(variant.answer, list) else variant.answer
    text = as_text(dict(values) if said is None else fill_in(said, values))
    reasoning = None if variant.reasoning is None else as_text(fill_in(variant.reasoning, values))
    usage = None if variant.usage is None else _as_usage(variant.usage)
    if fault is None or fault.fault != "error":
        return Answer(text, reasoning, usage, variant.model)
    error = fault.message or "The provider failed"
    half = text[: len(text) // 2]
    return Answer(half, reasoning, usage, variant.model, error=error, error_code=fault.error_code)


def _refuse(status: int, fault: PlannedFault) -> Refusal:
    message, code = fault.message, fault.error_code or _ERROR_CODES.get(status)
    if message is None:
        with suppress(ValueError):
            message = HTTPStatus(status).phrase
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    return Refusal(status, message or Refusal.message, code, headers)


def _as_usage(tokens: Tokens) -> dict[str, object]:
    return {
        "prompt_tokens": {"total_tokens": tokens.prompt_tokens, "cached_tokens": tokens.cached_tokens},
        "completion_tokens": {"total_tokens": tokens.completion_tokens, "reasoning_tokens": tokens.reasoning_tokens},
        "total_tokens": tokens.prompt_tokens + tokens.completion_tokens,
    }


# --- How it is given -------------------------------------------------------------------------------------------------


class _ConnectionCutError(httpx.ReadError, ConnectionResetError):
    """What a client in process gets, and what makes the server hang up."""


def _cut() -> None:
    raise _ConnectionCutError("the connection broke, as the deployment was told")


def _time_out() -> None:
    raise httpx.ReadTimeout("no byte came in time, as the deployment was told")


def _keep_silent(stopped: threading.Event) -> None:
    stopped.wait(_LONGEST_SILENCE)
    _cut()


def _stop_here() -> None:
    """End as if all had been said."""


def _perform(
    response: httpx.Response, delay: float, fault: Optional[PlannedFault], stall: Callable[[], None]
) -> httpx.Response:
    """Give a response its pace, and the fault that is due."""
    ending = {"cut": _cut, "stall": stall, "end": _stop_here}.get(str(fault.fault) if fault else "")
    is_stream = response.headers.get("content-type") == "text/event-stream"
    if ending is None and not (is_stream and delay):
        return response
    body = cast("_Body", response.stream)
    if ending is not None:
        pieces = list(response.iter_raw()) if is_stream else _halves_of(response.content)
        body = _HalfABody(pieces[: len(pieces) // 2], ending)
    # It comes in pieces, and may not be as long as it was.
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return httpx.Response(response.status_code, headers=headers, stream=_PacedBody(body, delay if is_stream else 0.0))


def _halves_of(content: bytes) -> list[bytes]:
    middle = len(content) // 2
    return [content[:middle], content[middle:]]


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body for both kinds of client."""


class _HalfABody(_Body):
    """A body that ends badly."""

    def __init__(self, pieces: Sequence[bytes], ending: Callable[[], None]) -> None:
        self._pieces = pieces
        self._ending = ending

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        self._ending()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        self._ending()


class _PacedBody(_Body):
    """A body that takes its time."""

    def __init__(self, body: _Body, delay: float) -> None:
        self._body = body
        self._delay = delay

    def __iter__(self) -> Iterator[bytes]:
        delay = 0.0
        for piece in self._body:
            time.sleep(delay)
            yield piece
            delay = self._delay

    async def __aiter__(self) -> AsyncIterator[bytes]:
        delay = 0.0
        async for piece in self._body:
            await asyncio.sleep(delay)
            yield piece
            delay = self._delay
