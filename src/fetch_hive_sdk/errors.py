"""Everything this package raises of its own.

* FetchHiveError
    * ConfigurationError             a client that cannot work as it was set up (also a ValueError)
    * APIConnectionError             no usable answer (also an httpx.TransportError)
        * APITimeoutError            the time ran out (also an httpx.TimeoutException)
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
    * ResponseError                  a 2xx answer that is not what it promised
        * ResponseDecodeError        it cannot be decoded
        * UnexpectedContentTypeError it is neither JSON nor an event stream
        * ResponseTooLargeError      it does not end
        * ResponseValidationError    a promised field is missing or of the wrong kind
    * StreamError                    a stream that did not end well
        * StreamInterruptedError     it broke off (also an APIConnectionError)
            * StreamTimeoutError     it fell silent (also an APITimeoutError)
        * StreamFailedError          the service sent an error event
    * StreamConsumedError            a stream that has been read to its end already (also a RuntimeError)
    * OutputValidationError          an answer whose text is not what you asked for (also a ValueError)
    * WaitTimeoutError               what was waited for did not end in time (also a TimeoutError)
    * SignatureError                 a callback that the service has not signed (also a ValueError)
    * BulkError                      a bulk job that had to stop; what it did is in its report

Arguments that are refused before anything is sent raise `pydantic.ValidationError`, a ValueError.
"""

from __future__ import annotations

import pickle
from datetime import datetime  # noqa: TC003 - read by those who evaluate the annotations
from typing import TYPE_CHECKING, Any, Literal, Optional, TypeVar, Union

import httpx

if TYPE_CHECKING:
    from typing_extensions import Self

    from .models.agents import AgentReply
    from .models.prompts import InvokeResponse, PartialAnswer
    from .models.workflows import WorkflowRun

ErrorT = TypeVar("ErrorT", bound="FetchHiveError")

Phase = Literal["connect", "write", "read", "pool", "total", "idle"]
"""What a call was waiting for when its time ran out; `total` is the call as a whole, `idle` the next event."""


class FetchHiveError(Exception):
    """The parent of all errors of this package.

    All of them can be pickled and copied, and none of them holds the API key.

    Args:
        message: What happened, in one sentence.
        request_id: The service's id of the run, if one is known.
        maybe_processed: True if the run may have happened, and may have been billed.
    """

    request_id: Optional[str]
    """The service's id of the run, if one is known: look it up in the dashboard's logs."""
    maybe_processed: bool
    """True if the run may have happened, and may have been billed: calling again may be a second bill.

    Of a call that starts no run: True if what it creates, changes or deletes may have been. The message says then
    whether it can be called again. A call that only reads has False.
    """
    attempts: int
    """How many times the request was sent, or tried to be sent."""
    correlation_id: Optional[str]
    """The id that `FetchHive(correlate=True)` put into the metadata of the call; None without it."""

    def __init__(self, message: str, *, request_id: Optional[str] = None, maybe_processed: bool = False) -> None:
        # Not super(): the httpx classes further on in the line want arguments of their own.
        Exception.__init__(self, message)
        self.request_id = request_id
        self.maybe_processed = maybe_processed
        self.attempts = 0
        self.correlation_id = None

    def __str__(self) -> str:
        # The id may become known after the message has been written.
        message = Exception.__str__(self)
        is_news = self.request_id is not None and self.request_id not in message
        return f"{message} (request_id: {self.request_id})" if is_news else message

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what the constructor does not take: all attributes and the cause."""
        chain = (_travelling(self.__cause__), self.__suppress_context__)
        return _blank, (type(self), self.args), {"attributes": self.__dict__, "chain": chain}

    def __setstate__(self, state: Optional[dict[str, Any]]) -> None:
        kept = state or {}
        self.__dict__.update(kept["attributes"])
        _set_chain(self, *kept["chain"])

    def __copy__(self) -> Self:
        copied = _blank(type(self), self.args)
        copied.__dict__.update(self.__dict__)
        _set_chain(copied, self.__cause__, self.__suppress_context__)
        return copied


def _set_chain(error: FetchHiveError, cause: Optional[BaseException], suppress: bool) -> None:
    error.__cause__ = cause
    error.__suppress_context__ = suppress


def _blank(cls: type[ErrorT], args: tuple[object, ...]) -> ErrorT:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


def _travelling(cause: Optional[BaseException]) -> Optional[BaseException]:
    """Return a cause that can be pickled, or None."""
    if isinstance(cause, FetchHiveError):
        return cause
    try:
        pickle.loads(pickle.dumps(cause))  # noqa: S301 - our own bytes, a moment old
    except Exception:  # noqa: BLE001 - whatever a foreign class raises here, it cannot travel
        return None
    return cause


class ConfigurationError(FetchHiveError, ValueError):
    """The client cannot work as it was set up: no key, a bad base URL. Nothing was sent."""


class APIConnectionError(FetchHiveError, httpx.TransportError):
    """There is no usable answer: the service could not be reached, or the connection broke.

    `maybe_processed` says whether the request may have arrived. The exception of httpx is in `__cause__`.
    What had come of an answer that broke off is in `body`.

    Args:
        message: What happened, in one sentence.
        request: The request, without its key and its body.
        request_id: The service's id of the run, if one is known.
        maybe_processed: True if the run may have happened, and may have been billed.
    """

    body: bytes
    """What had come of the answer when it broke off; empty if nothing had, and for events, which are in `partial`."""

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
    """The time for the call ran out.

    Args:
        message: What happened, in one sentence.
        phase: What the call was waiting for.
        request: The request, without its key and its body.
        request_id: The service's id of the run, if one is known.
        maybe_processed: True if the run may have happened, and may have been billed.
    """

    phase: Phase
    """What the call was waiting for: `connect`, `write`, `read`, `pool`, `total` or `idle`."""

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
        message: What the service said, in one line.
        response: The answer, its body read, its request without key and body.
        body: The body: the JSON value if it is one, else the text.
        error_code: The service's machine-readable code, if it sent one.
        request_id: The service's id of the run, if one is known.
        retry_after: Seconds to wait, if the service named them.
        maybe_processed: True if the run may have happened, and may have been billed.
    """

    response: httpx.Response
    """The answer. Its body has been read, `response.text` works on streamed calls too."""
    status_code: int
    """The HTTP status."""
    error_code: Optional[str]
    """The service's machine-readable code, such as `too_many_requests`. An open set: more may come at any time."""
    body: object
    """The body: the JSON value if it is one, else the text."""
    retry_after: Optional[float]
    """Seconds to wait before the next call, if the service named them."""

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
    """400: the service could not read the request."""


class AuthenticationError(APIStatusError):
    """401: the API key is missing, wrong or revoked."""


class PaymentRequiredError(APIStatusError):
    """402: credits are used up, or the plan does not allow it."""


class PermissionDeniedError(APIStatusError):
    """403: this key may not do that."""


class NotFoundError(APIStatusError):
    """404: no such deployment in the workspace of this key, or no such endpoint."""


class ConflictError(APIStatusError):
    """409: it has been decided already."""


class UnprocessableEntityError(APIStatusError):
    """422: the request was understood and refused."""


class RateLimitError(APIStatusError):
    """429: too many calls. With `error_code == "api_rate_limit_exceeded"` a daily cap, which resets at midnight UTC."""

    limit: Optional[int] = None
    """How many calls a day the plan allows, if the service reported it."""
    current: Optional[int] = None
    """How many calls were made today, if the service reported it."""
    resets_at: Optional[datetime] = None
    """When the daily cap resets, in UTC; None if the cap is not what was reached."""


class InternalServerError(APIStatusError):
    """5xx: the service or the model's provider failed. Unless `maybe_processed` is False, the run may have happened."""


class ResponseError(FetchHiveError):
    """A 2xx answer that is not what it promised. The run has happened; what came of it is in `body`.

    Args:
        message: What is wrong with the answer. Never quotes it.
        body: What was received.
        request_id: The service's id of the run, if one is known.
        partial: What a stream had given before.
    """

    body: object
    """What was received: bytes that could not be decoded, or the JSON value that is not as promised."""
    partial: Optional[PartialAnswer]
    """What a stream had given before this; None if the call was no stream."""

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
    """The bytes cannot be decoded: broken JSON, broken compression, not UTF-8. They are in `body`."""


class UnexpectedContentTypeError(ResponseError):
    """The answer is neither JSON nor an event stream, a page of a proxy for example. Its bytes are in `body`."""


class ResponseTooLargeError(ResponseError):
    """The answer does not end: more than 32 MiB, or an event of more than 16 MiB. `body` has its beginning."""


class ResponseValidationError(ResponseError):
    """A promised field is missing or of the wrong kind. The JSON value is in `body`."""


class StreamError(FetchHiveError):
    """A stream that did not end well. What it had given until then is in `partial`.

    Args:
        message: What happened, in one sentence.
        partial: Text, reasoning and usage received so far.
        request_id: The service's id of the run, if one is known.
    """

    partial: PartialAnswer
    """Text, reasoning and usage received before the end."""

    def __init__(self, message: str, *, partial: PartialAnswer, request_id: Optional[str] = None) -> None:
        FetchHiveError.__init__(self, message, request_id=request_id, maybe_processed=True)
        self.partial = partial


class StreamInterruptedError(StreamError, APIConnectionError):
    """The stream broke off: it ended, or was reset, before `usage`, `error` or `[DONE]`.

    Args:
        message: What happened, in one sentence.
        partial: Text, reasoning and usage received so far.
        request: The request, without its key and its body.
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
    """The stream fell silent: no byte for `timeout` seconds, or no event for `idle_timeout` seconds.

    Args:
        message: What happened, in one sentence.
        phase: `read` for `timeout`, `idle` for `idle_timeout`.
        partial: Text, reasoning and usage received so far.
        request: The request, without its key and its body.
        request_id: The service's id of the run, if one is known.
    """

    phase: Phase
    """What the call was waiting for: `read` or `idle`."""

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
        message: What the service said.
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
    """The text of an answer does not fit the output type of a typed prompt or of `output_as`.

    The whole answer is in `response`. `attempts` is 0 if it came from `output_as`, which makes no call.

    Args:
        message: Which part does not fit, and why. Never quotes the text.
        response: The answer, which has been paid for.
    """

    response: Union[InvokeResponse, AgentReply, WorkflowRun]
    """The whole answer."""

    def __init__(self, message: str, *, response: Union[InvokeResponse, AgentReply, WorkflowRun]) -> None:
        FetchHiveError.__init__(self, message, request_id=response.request_id, maybe_processed=True)
        self.response = response


class StreamConsumedError(FetchHiveError, RuntimeError):
    """A stream that has been read to its end, and is iterated over again. `collect()` returns its answer.

    Args:
        message: What happened, in one sentence.
        request_id: The service's id of the run, if one is known.
    """

    def __init__(self, message: str, *, request_id: Optional[str] = None) -> None:
        FetchHiveError.__init__(self, message, request_id=request_id, maybe_processed=True)


class WaitTimeoutError(FetchHiveError, TimeoutError):
    """What was waited for did not end within `max_wait`. It goes on; what is known of it is in `last`.

    Args:
        message: What was waited for, and for how long.
        last: What the last look showed.
        request_id: The service's id of the run, if one is known.
    """

    last: object
    """What the last look showed; None if there was none."""

    def __init__(self, message: str, *, last: object = None, request_id: Optional[str] = None) -> None:
        FetchHiveError.__init__(self, message, request_id=request_id)
        self.last = last


class SignatureError(FetchHiveError, ValueError):
    """A callback whose signature is missing, or is not that of its body. Do not trust what it says."""


class BulkError(FetchHiveError):
    """A bulk job had to stop before its rows were done. The journal has all of it: run the job again to go on.

    Args:
        message: Why it stopped, and what to do.
        report: What the job has done.
    """

    report: Any
    """The `BulkReport` of the job."""

    def __init__(self, message: str, *, report: Any) -> None:
        FetchHiveError.__init__(self, message)
        self.report = report
