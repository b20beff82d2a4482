"""The exceptions of this package.

* FetchHiveError
    * ConfigurationError             invalid settings of a client (also a ValueError)
    * APIConnectionError             no usable answer (also an httpx.TransportError)
        * APITimeoutError            the call took too long (also an httpx.TimeoutException)
    * APIStatusError                 an answer that is not 2xx (also an httpx.HTTPStatusError)
        * BadRequestError            400
        * AuthenticationError        401
        * PaymentRequiredError       402
        * PermissionDeniedError      403
        * NotFoundError              404
        * ConflictError              409
        * UnprocessableEntityError   422
        * RateLimitError             429
        * InternalServerError        5xx
    * ResponseError                  a 2xx answer that does not match the API
        * ResponseDecodeError        invalid JSON or invalid compression
        * UnexpectedContentTypeError neither JSON nor an event stream
        * ResponseTooLargeError      longer than the limit
        * ResponseValidationError    a required field is missing or has the wrong type
    * StreamError                    a stream that failed
        * StreamInterruptedError     the stream ended early (also an APIConnectionError)
            * StreamTimeoutError     the stream stopped sending (also an APITimeoutError)
        * StreamFailedError          the service sent an error event
    * StreamConsumedError            the stream was already consumed (also a RuntimeError)
    * OutputValidationError          the text of an answer does not match the output type (also a ValueError)
    * WaitTimeoutError               a run did not end within max_wait (also a TimeoutError)
    * SignatureError                 a callback without a valid signature (also a ValueError)
    * BulkError                      a bulk job that stopped early; its report shows the progress

Invalid arguments raise `pydantic.ValidationError`, a ValueError, before anything is sent.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - typing.get_type_hints needs it
from typing import TYPE_CHECKING, Any, Literal, Optional, TypeVar, Union

import httpx

if TYPE_CHECKING:
    from typing_extensions import Self

    from .models.agents import AgentReply
    from .models.prompts import InvokeResponse, PartialAnswer
    from .models.workflows import WorkflowRun

ErrorT = TypeVar("ErrorT", bound="FetchHiveError")

Phase = Literal["connect", "write", "read", "pool", "total", "idle"]
"""The phase of a call that timed out; `total` is the whole call, `idle` the wait for the next event."""


class FetchHiveError(Exception):
    """The base class of all errors of this package.

    All errors can be pickled and copied. None contains the API key.

    Args:
        message: What happened, in one sentence.
        request_id: The service's id of the run, if known.
        maybe_processed: True if the run may have been processed and billed.
    """

    request_id: Optional[str]
    """The service's id of the run, if known: look it up in the dashboard's logs."""
    maybe_processed: bool
    """True if the run may have been processed and billed: a second call may be billed again.

    For a call that creates, changes or deletes an object: True if this may have happened. The message then states
    whether it is safe to call again. Always False for a call that only reads.
    """
    attempts: int
    """The number of attempts to send the request."""
    correlation_id: Optional[str]
    """The id that `FetchHive(correlate=True)` added to the metadata of the call; None without `correlate`."""

    def __init__(self, message: str, *, request_id: Optional[str] = None, maybe_processed: bool = False) -> None:
        # Not super(): the httpx classes later in the MRO require other arguments.
        Exception.__init__(self, message)
        self.request_id = request_id
        self.maybe_processed = maybe_processed
        self.attempts = 0
        self.correlation_id = None

    def __str__(self) -> str:
        # The id may become known after the message was created.
        message = Exception.__str__(self)
        is_missing = self.request_id is not None and self.request_id not in message
        return f"{message} (request_id: {self.request_id})" if is_missing else message

    def __reduce__(self) -> tuple[Any, ...]:
        """Preserve all attributes and the cause, which are not arguments of the constructor."""
        chain = (_picklable_or_none(self.__cause__), self.__suppress_context__)
        return _new_error, (type(self), self.args), {"attributes": self.__dict__, "chain": chain}

    def __setstate__(self, state: Optional[dict[str, Any]]) -> None:
        kept = state or {}
        self.__dict__.update(kept["attributes"])
        _set_chain(self, *kept["chain"])

    def __copy__(self) -> Self:
        copied = _new_error(type(self), self.args)
        copied.__dict__.update(self.__dict__)
        _set_chain(copied, self.__cause__, self.__suppress_context__)
        return copied


def _set_chain(error: FetchHiveError, cause: Optional[BaseException], suppress: bool) -> None:
    error.__cause__ = cause
    error.__suppress_context__ = suppress


def _new_error(cls: type[ErrorT], args: tuple[object, ...]) -> ErrorT:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


def _picklable_or_none(cause: Optional[BaseException]) -> Optional[BaseException]:
    """Return a cause if it can be pickled, else None."""
    if isinstance(cause, FetchHiveError):
        return cause
    import pickle  # noqa: PLC0415 - slow to import, and errors are rarely pickled

    try:
        pickle.loads(pickle.dumps(cause))  # noqa: S301 - bytes that were just created
    except Exception:  # noqa: BLE001 - a third-party class may raise anything if it cannot be pickled
        return None
    return cause


class ConfigurationError(FetchHiveError, ValueError):
    """A setting of the client is missing or invalid, such as the API key or the base URL. Nothing was sent."""


class APIConnectionError(FetchHiveError, httpx.TransportError):
    """There is no usable answer: the service could not be reached, or the connection broke.

    `maybe_processed` is True if the request may have arrived. `__cause__` is the exception of httpx, and `body` the
    part of the answer that was received.

    Args:
        message: What happened, in one sentence.
        request: The request, without the API key and the body.
        request_id: The service's id of the run, if known.
        maybe_processed: True if the run may have been processed and billed.
    """

    body: bytes
    """The part of the answer that was received; empty for streams, whose events are in `partial`."""

    def __init__(
        self,
        message: str,
        *,
        request: Optional[httpx.Request] = None,
        request_id: Optional[str] = None,
        # True: Celery, for example, sends errors as JSON and rebuilds them from the message alone.
        maybe_processed: bool = True,
    ) -> None:
        FetchHiveError.__init__(self, message, request_id=request_id, maybe_processed=maybe_processed)
        self._request = request
        self.body = b""


class APITimeoutError(APIConnectionError, httpx.TimeoutException):
    """The call took too long.

    Args:
        message: What happened, in one sentence.
        phase: The phase of the call that timed out.
        request: The request, without the API key and the body.
        request_id: The service's id of the run, if known.
        maybe_processed: True if the run may have been processed and billed.
    """

    phase: Phase
    """The phase of the call that timed out: `connect`, `write`, `read`, `pool`, `total` or `idle`."""

    def __init__(
        self,
        message: str,
        *,
        phase: Phase,
        request: Optional[httpx.Request] = None,
        request_id: Optional[str] = None,
        maybe_processed: bool = True,
    ) -> None:
        APIConnectionError.__init__(
            self, message, request=request, request_id=request_id, maybe_processed=maybe_processed
        )
        self.phase = phase


class APIStatusError(FetchHiveError, httpx.HTTPStatusError):
    """The service answered with a status that is not 2xx.

    Args:
        message: The status and the service's message, in one line.
        response: The response. Its body is read; its request has neither the API key nor the body.
        body: The body: the JSON value, or the text if it is not JSON.
        error_code: The service's machine-readable code, if it sent one.
        request_id: The service's id of the run, if one is known.
        retry_after: Seconds to wait before the next call, if the service sent `Retry-After`.
        maybe_processed: True if the run may have happened, and may have been billed.
    """

    response: httpx.Response
    """The response. Its body is read, so `response.text` works for streams too."""
    status_code: int
    """The HTTP status."""
    error_code: Optional[str]
    """The service's machine-readable code, such as `too_many_requests`. The service may add codes at any time."""
    body: object
    """The body: the JSON value, or the text if it is not JSON."""
    retry_after: Optional[float]
    """Seconds to wait before the next call, if the service sent `Retry-After`."""

    def __init__(
        self,
        message: str,
        *,
        response: httpx.Response,
        body: object = None,
        error_code: Optional[str] = None,
        request_id: Optional[str] = None,
        retry_after: Optional[float] = None,
        maybe_processed: bool = False,
    ) -> None:
        FetchHiveError.__init__(self, message, request_id=request_id, maybe_processed=maybe_processed)
        self._request = response.request
        self.response = response
        self.status_code = response.status_code
        self.body = body
        self.error_code = error_code
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400: the request is invalid."""


class AuthenticationError(APIStatusError):
    """401: the API key is missing, invalid or revoked."""


class PaymentRequiredError(APIStatusError):
    """402: the credits are used up, or the plan does not include this call."""


class PermissionDeniedError(APIStatusError):
    """403: the API key does not have the permission for this call."""


class NotFoundError(APIStatusError):
    """404: the workspace of the API key has no such deployment, or the API has no such endpoint."""


class ConflictError(APIStatusError):
    """409: the call conflicts with the current state, such as a decision that was already made."""


class UnprocessableEntityError(APIStatusError):
    """422: the request is well-formed, but the service rejected its values."""


class RateLimitError(APIStatusError):
    """429: too many calls. `error_code == "api_rate_limit_exceeded"` is the daily cap, which resets at midnight UTC."""

    limit: Optional[int] = None
    """The number of calls per day that the plan allows, if the service sent it."""
    current: Optional[int] = None
    """The number of calls made today, if the service sent it."""
    resets_at: Optional[datetime] = None
    """When the daily cap resets, in UTC; None for other limits."""


class InternalServerError(APIStatusError):
    """5xx: the service or the model's provider failed. The run may have been processed: see `maybe_processed`."""


class ResponseError(FetchHiveError):
    """A 2xx answer that does not match the API. The run was processed; `body` has what was received.

    Args:
        message: The reason, which never quotes the answer.
        body: What was received.
        request_id: The service's id of the run, if one is known.
        partial: The part of a stream that was received before.
    """

    body: object
    """What was received: bytes that could not be decoded, or a JSON value that does not match the API."""
    partial: Optional[PartialAnswer]
    """The part of a stream that was received before; None for other calls."""

    def __init__(
        self,
        message: str,
        *,
        body: object,
        request_id: Optional[str] = None,
        partial: Optional[PartialAnswer] = None,
    ) -> None:
        FetchHiveError.__init__(self, message, request_id=request_id, maybe_processed=True)
        self.body = body
        self.partial = partial


class ResponseDecodeError(ResponseError):
    """The answer is not valid JSON, not UTF-8, or not compressed correctly. `body` has its bytes."""


class UnexpectedContentTypeError(ResponseError):
    """The answer is neither JSON nor an event stream, such as an HTML page of a proxy. `body` has its bytes."""


class ResponseTooLargeError(ResponseError):
    """The answer is longer than 32 MiB, or one event is longer than 16 MiB. `body` has the beginning."""


class ResponseValidationError(ResponseError):
    """A required field is missing or has the wrong type. `body` has the JSON value."""


class StreamError(FetchHiveError):
    """A stream failed. `partial` has what was received before.

    Args:
        message: What happened, in one sentence.
        partial: Text, reasoning and usage received so far.
        request_id: The service's id of the run, if one is known.
    """

    partial: PartialAnswer
    """Text, reasoning and usage received so far."""

    def __init__(self, message: str, *, partial: PartialAnswer, request_id: Optional[str] = None) -> None:
        FetchHiveError.__init__(self, message, request_id=request_id, maybe_processed=True)
        self.partial = partial


class StreamInterruptedError(StreamError, APIConnectionError):
    """The stream ended, or its connection broke, before the last event: `usage`, `error` or `[DONE]`.

    Args:
        message: What happened, in one sentence.
        partial: Text, reasoning and usage received so far.
        request: The request, without the API key and the body.
        request_id: The service's id of the run, if one is known.
    """

    def __init__(
        self,
        message: str,
        *,
        partial: PartialAnswer,
        request: Optional[httpx.Request] = None,
        request_id: Optional[str] = None,
    ) -> None:
        StreamError.__init__(self, message, partial=partial, request_id=request_id)
        self._request = request
        self.body = b""


class StreamTimeoutError(StreamInterruptedError, APITimeoutError):
    """The stream stopped sending: no bytes for `timeout` seconds, or no event for `idle_timeout` seconds.

    Args:
        message: What happened, in one sentence.
        phase: `read` for `timeout`, `idle` for `idle_timeout`.
        partial: Text, reasoning and usage received so far.
        request: The request, without the API key and the body.
        request_id: The service's id of the run, if one is known.
    """

    phase: Phase
    """The phase of the call that timed out: `read` or `idle`."""

    def __init__(
        self,
        message: str,
        *,
        phase: Phase,
        partial: PartialAnswer,
        request: Optional[httpx.Request] = None,
        request_id: Optional[str] = None,
    ) -> None:
        StreamInterruptedError.__init__(self, message, partial=partial, request=request, request_id=request_id)
        self.phase = phase


class StreamFailedError(StreamError):
    """The service sent an `error` event: the model's provider failed after the stream had begun.

    Args:
        message: The service's message.
        partial: Text, reasoning and usage received so far.
        error_code: The service's machine-readable code, if it sent one.
        request_id: The service's id of the run, if one is known.
    """

    error_code: Optional[str]
    """The service's machine-readable code, if it sent one."""

    def __init__(
        self,
        message: str,
        *,
        partial: PartialAnswer,
        error_code: Optional[str] = None,
        request_id: Optional[str] = None,
    ) -> None:
        StreamError.__init__(self, message, partial=partial, request_id=request_id)
        self.error_code = error_code


class OutputValidationError(FetchHiveError, ValueError):
    """The text of an answer does not match the output type of a typed prompt or of `output_as`.

    `response` has the whole answer. `attempts` is 0 for `output_as`, which makes no call.

    Args:
        message: Which part does not match, and why. Never quotes the text.
        response: The answer, which was billed.
    """

    response: Union[InvokeResponse, AgentReply, WorkflowRun]
    """The whole answer."""

    def __init__(self, message: str, *, response: Union[InvokeResponse, AgentReply, WorkflowRun]) -> None:
        FetchHiveError.__init__(self, message, request_id=response.request_id, maybe_processed=True)
        self.response = response


class StreamConsumedError(FetchHiveError, RuntimeError):
    """The stream was already consumed and cannot be iterated over again. `collect()` still returns its answer.

    Args:
        message: What happened, in one sentence.
        request_id: The service's id of the run, if one is known.
    """

    def __init__(self, message: str, *, request_id: Optional[str] = None) -> None:
        FetchHiveError.__init__(self, message, request_id=request_id, maybe_processed=True)


class WaitTimeoutError(FetchHiveError, TimeoutError):
    """A run did not end within `max_wait`. It continues; `last` has its last known state.

    Args:
        message: What the client waited for, and for how long.
        last: The answer to the last poll.
        request_id: The service's id of the run, if one is known.
    """

    last: object
    """The answer to the last poll; None if no poll succeeded."""

    def __init__(self, message: str, *, last: object = None, request_id: Optional[str] = None) -> None:
        FetchHiveError.__init__(self, message, request_id=request_id)
        self.last = last


class SignatureError(FetchHiveError, ValueError):
    """The signature of a callback is missing or invalid. Do not trust its content."""


class BulkError(FetchHiveError):
    """A bulk job stopped before all rows were processed. Its journal is complete: run the job again to continue.

    Args:
        message: Why the job stopped, and what to do.
        report: The progress of the job.
    """

    report: Any
    """The `BulkReport` of the job."""

    def __init__(self, message: str, *, report: Any) -> None:
        FetchHiveError.__init__(self, message)
        self.report = report
