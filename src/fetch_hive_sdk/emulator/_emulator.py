"""A fake service that answers, and fails, as its deployments are described."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

from fetch_hive_sdk.testing import Answer, FakeServer, Fault, Refusal
from fetch_hive_sdk.testing._answers import Script, prompt_reply
from fetch_hive_sdk.testing._routes import API_PATH
from fetch_hive_sdk.testing._server import serve

from ._deployments import (
    MIDWAY,
    DeploymentFile,
    DeploymentTable,
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
from ._page import Page
from ._typed import TypedDeployment, differences, read_served

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Mapping

    from typing_extensions import Self

    from fetch_hive_sdk import InvokeRequest
    from fetch_hive_sdk.testing._answers import Behaviour
    from fetch_hive_sdk.testing._reply import Reply, Step
    from fetch_hive_sdk.testing._scripted import CallT, ScriptedAnswers, ScriptT

    from ._typed import AnyPrompt, Served

# The documented error codes of statuses.
_ERROR_CODES = {
    401: "validation_error",
    402: "insufficient_hosted_llm_credits",
    422: "validation_error",
    429: "too_many_requests",
    500: "internal_server_error",
}


CALLBACK_SECONDS = 0.5  # between checks for due callbacks


class Emulator(FakeServer):
    """A `FakeServer` with deployments described in Python or in a file.

    Like the service, it rejects unknown deployments and variants (404) and missing inputs or inputs of the wrong type
    (422). Answers scripted with `answers`, `fails` or `streams` override the description of a deployment.

    Args:
        *deployments: Descriptions or typed prompts. A typed prompt rejects inputs that do not match its signature, and
            answers with an example of its output, or with the value of a pair `(prompt, value)`.
        default: The answer of deployments without a description, as for `FakeServer`. None means 404.
        api_key: The only accepted API key; None accepts any.
        delay: Seconds between the events of a stream, for deployments without a `delay`.

    Raises:
        ValueError: Two deployments have the same name, or no example of a typed prompt's output can be made.

    Example:
        ```python
        emulator = Emulator(Deployment(name="summarise", answer="In short: {text}"))
        answer = emulator.client().invoke_prompt(deployment="summarise", inputs={"text": "Ship."})
        assert answer.response == "In short: Ship."
        ```
    """

    def __init__(
        self,
        *deployments: Served,
        default: Optional[Behaviour] = None,
        api_key: Optional[str] = None,
        delay: float = 0.0,
    ) -> None:
        super().__init__(default, api_key=api_key, delay=delay)
        described = read_served(deployments)
        names = [deployment.name for deployment in described]
        if len(set(names)) < len(names):
            raise ValueError(f"two deployments have the same name: {max(names, key=names.count)!r}")
        self._deployments = _Deployments(dict(zip(names, described)))
        self._file: Optional[_WatchedFile] = None

    @classmethod
    def from_file(
        cls, path: Union[str, os.PathLike[str]], *, default: Optional[Behaviour] = None, delay: Optional[float] = None
    ) -> Self:
        """Return an emulator of the deployments in a file.

        Args:
            path: The TOML file.
            default: The answer of deployments that are not in the file. None means 404.
            delay: Seconds between the events of a stream, for deployments without a `delay`; None means the `delay` in
                the file.

        Returns:
            The emulator. `reload` reads the file again.

        Raises:
            ConfigurationError: The file cannot be read or is invalid. The message has the file, the reason, and the
                line of a syntax error or the path of a value.

        """
        emulator = cls(default=default)
        emulator._file = _WatchedFile(Path(path), delay)
        emulator.reload()
        return emulator

    def reload(self) -> bool:
        """Read the file again if it has changed. This restarts the count of answers and faults.

        Returns:
            Whether the file has changed. A missing file counts as unchanged, because editors replace files.

        Raises:
            ConfigurationError: The changed file is invalid. Its previous content is still served.

        """
        content = self._file.read_changes() if self._file else None
        if content is None or self._file is None:
            return False
        self.delay: float = content.delay if self._file.delay is None else self._file.delay
        self._api_key = content.api_key.get_secret_value() if content.api_key else None
        self._deployments = _Deployments(content.deployments)
        return True

    def differences(self, prompt: AnyPrompt) -> list[str]:
        """Compare a typed prompt with the description of its deployment.

        Args:
            prompt: The prompt.

        Returns:
            A sentence for each variable that is missing, unknown or of another JSON type, and for a deployment or
            variant without a description. Empty if they match.

        """
        return list(differences(prompt, self._deployments.tables.get(prompt.deployment)))

    @contextmanager
    def serve(self, port: int = 0, delay: Optional[float] = None, *, page: bool = False) -> Generator[str, None, None]:
        """Serve on a loopback port until the block is left.

        Signed callbacks to addresses on this machine are delivered automatically, soon after the call.

        Args:
            port: The port; 0 chooses a free one.
            delay: Seconds between the events of a stream, for deployments without a `delay`; None means the `delay` of
                the emulator.
            page: Whether to serve a page at `/` that shows the calls.

        Returns:
            The `base_url` for clients.

        Raises:
            OSError: The port is in use.

        """
        handler = self.handle if delay is None else partial(self._respond, delay=delay)
        shown = Page(handler) if page else None
        with serve(shown.handle if shown else handler, port) as address, self._deliver_when_due():
            try:
                yield f"{address}{API_PATH}"
            finally:
                if shown:
                    shown.close()

    @contextmanager
    def _deliver_when_due(self) -> Generator[None, None, None]:
        """Deliver callbacks as they fall due, until the block is left."""
        is_over = threading.Event()

        def deliver() -> None:
            while not is_over.wait(CALLBACK_SECONDS):
                self.deliver_callbacks()

        thread = threading.Thread(target=deliver, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _answer_prompt(self, call: InvokeRequest, delay: float) -> Reply:
        # Read the attribute once, because another thread may reload.
        deployments = self._deployments
        if self._prompts.has(call.deployment, call.variant) or call.deployment not in deployments.tables:
            return super()._answer_prompt(call, delay)
        script, delivery = deployments.answer(call)
        reply = _cut_short(prompt_reply(script, call, self._store_run(script, call)), delivery.fault)
        return reply.paced(delay if delivery.delay is None else delivery.delay)

    def _known(self, answers: ScriptedAnswers[CallT, ScriptT]) -> set[tuple[str, Optional[str]]]:
        described = self._deployments.tables if answers.title == self._prompts.title else ()
        return {*super()._known(answers), *((name, None) for name in described)}


# --- Answers and faults ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Delivery:
    """The pace of an answer, and the fault in the middle of it."""

    delay: Optional[float] = None
    fault: Optional[PlannedFault] = None


class _WatchedFile:
    """A file of deployments that is read again when it changes."""

    def __init__(self, path: Path, delay: Optional[float]) -> None:
        self.delay = delay
        self._path = path
        self._seen: object = None

    def read_changes(self) -> Optional[DeploymentFile]:
        """Return the content of the file; None if it has not changed or does not exist."""
        signature = None
        with suppress(OSError):
            stat = self._path.stat()
            signature = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self._seen is not None and signature in {None, self._seen}:
            return None
        # Stored before the file is read, so that a change in between is read the next time.
        self._seen = signature
        return read_file(self._path)


class _Deployments:
    """The described deployments, with counters of their calls and answers."""

    def __init__(self, tables: Mapping[str, DeploymentTable]) -> None:
        self.tables = tables
        self._calls: Counter[tuple[str, str]] = Counter()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def answer(self, call: InvokeRequest) -> tuple[Script, _Delivery]:
        """Return the answer to a call of a described deployment."""
        table = self.tables[call.deployment]
        name = call.variant if call.variant in table.variants else ""
        if table.variants and not name and call.variant not in {None, "", "default"}:
            known = ", ".join(map(repr, sorted(table.variants)))
            message = f"The deployment {call.deployment!r} has no variant {call.variant!r}. Known variants: {known}"
            return Refusal(404, message), _Delivery()
        values, problem = _read_inputs(variables_of(table), call.inputs)
        if isinstance(table, TypedDeployment):
            problem = table.check(call.variant, call.inputs)
        if problem:
            return problem, _Delivery()
        variant = _as_variant(table, name or "")
        fault, turn = self._count_call((call.deployment, name or ""), variant)
        return _compose(variant, turn, values, fault), _Delivery(variant.delay, fault)

    def _count_call(self, key: tuple[str, str], variant: Variant) -> tuple[Optional[PlannedFault], int]:
        """Return the fault that is due, and the number of earlier answers. A fault is not an answer."""
        with self._lock:
            self._calls[key] += 1
            fault = next((fault for fault in variant.faults if _is_due(fault, self._calls[key])), None)
            turn = self._answers[key]
            self._answers[key] += fault is None
            return fault, turn


def _is_due(fault: PlannedFault, number: int) -> bool:
    return number <= fault.first if fault.first is not None else number % (fault.every or 1) == 0


def _as_variant(deployment: DeploymentTable, name: str) -> Variant:
    if not name:
        return deployment
    variant = deployment.variants[name]
    return deployment.model_copy(update={field: getattr(variant, field) for field in variant.model_fields_set})


def _read_inputs(
    variables: Mapping[str, Variable], inputs: Mapping[str, object]
) -> tuple[dict[str, object], Optional[Refusal]]:
    """Return all inputs with defaults added, and a refusal if a variable is missing or has the wrong type."""
    values = {name: value for name, value in inputs.items() if value is not None}
    for name, variable in variables.items():
        if name not in values and variable.default is not None:
            values[name] = variable.default
        elif name not in values and variable.required:
            return values, Refusal(422, f"inputs.{name} is required", "missing_required_field")
        elif name in values and not has_type(values[name], variable.type):
            kind = name_type(values[name])
            return values, Refusal(
                422, f"inputs.{name} must be of type {variable.type}, not {kind}", "validation_error"
            )
    return values, None


def _compose(variant: Variant, turn: int, values: Mapping[str, object], fault: Optional[PlannedFault]) -> Script:
    if fault is not None and fault.fault not in MIDWAY:
        return _refuse(int(fault.fault), fault)
    answer = variant.answer[turn % len(variant.answer)] if isinstance(variant.answer, list) else variant.answer
    text = as_text(dict(values) if answer is None else fill_in(answer, values))
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


# --- Faults in the middle of an answer -------------------------------------------------------------------------------

_ENDINGS: dict[Union[int, str], list[Step]] = {"cut": [Fault.BREAK], "stall": [Fault.STALL], "end": []}


def _cut_short(reply: Reply, fault: Optional[PlannedFault]) -> Reply:
    """Return the first half of a reply, followed by the fault."""
    if fault is None or fault.fault not in _ENDINGS:
        return reply
    steps = list(reply.steps)
    if not reply.is_event_stream:
        content = b"".join(step for step in steps if isinstance(step, bytes))
        steps = [content[: len(content) // 2], content[len(content) // 2 :]]
    return replace(reply, steps=[*steps[: len(steps) // 2], *_ENDINGS[fault.fault]])
