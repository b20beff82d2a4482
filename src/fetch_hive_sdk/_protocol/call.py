"""One call with all its attempts: builds the requests, parses the answer, decides on retries. Performs no I/O.

The clients perform the I/O: they send the requests, pass the responses to the call, and wait before retries.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from traceback import clear_frames
from typing import TYPE_CHECKING, Callable, ClassVar, Generic, Optional, TypeVar

import httpx

from fetch_hive_sdk._deadline import Deadlines
from fetch_hive_sdk.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    FetchHiveError,
    OutputValidationError,
    ResponseDecodeError,
    ResponseError,
)
from fetch_hive_sdk.models.base import masked

from .answers import as_object, find_request_id, parse_answer, text_or_none
from .bodies import MAX_BODY_BYTES, MAX_REFUSAL_BYTES, BodyReader, content_encoding, content_type
from .endpoint import CORRELATION, Effect
from .refusals import detach, refuse, without_secrets
from .requests import Upload, build_request
from .retry import RetryPolicy
from .troubles import check_connection, cut_frames, place_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from fetch_hive_sdk._config import Config, Timeout
    from fetch_hive_sdk.errors import Phase

    from .endpoint import Endpoint
    from .requests import Body
    from .watch import Watch

AnswerT = TypeVar("AnswerT")

log = logging.getLogger("fetch_hive_sdk")

# Exceptions of httpx and the layers below it while a request is in progress.
NETWORK_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError)

# No byte of the request has been written: it cannot have started a run.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    UnicodeError,
)

_PHASES: dict[type[Exception], Phase] = {
    httpx.ConnectTimeout: "connect",
    httpx.WriteTimeout: "write",
    httpx.ReadTimeout: "read",
    httpx.PoolTimeout: "pool",
}

_WAITING_FOR: dict[Phase, str] = {
    "connect": "could not connect to {place} in time ({seconds}): {advice}",
    "write": "could not send the request to {place} in time ({seconds})",
    "read": "{place} did not answer in time ({seconds})",
    "pool": "no connection to {place} became free in time: the http_client's connections are all in use ({seconds})",
    "total": "the answer from {place} was not complete in time ({seconds})",
}


# Appended to errors of calls that start no run, if the outcome is unknown.
_DOUBTS = {
    Effect.CREATE: "the object may have been created: check before you call again",
    Effect.SETTLE: "the change may have been made: it is safe to call again",
}


#            begin()                accept()                  read()            parse()
#  [ new ] ---------> [ sent ] -----------------> [ accepted ] -------> [ read ] -------> answer
#               ^        |     2xx                     |    ^  |
#               |        | another status              |    +--+
#               |        v                             |
#               |   [ refused ] -- read(), refusal() --+--> error
#               |                                             |
#               |  wait_before_retry() is seconds             |  wait_before_retry() is None
#               +---------------------------------------------+---------------------------> the error is raised
#
# A network error may occur in every state; `errors()` translates it. Once a RUN or a CREATE is accepted, it is billed,
# and wait_before_retry() always returns None.


class Call(Generic[AnswerT]):
    """One call with all its attempts.

    Args:
        config: The settings of the client.
        endpoint: The endpoint to call.
        body: The request body; None means no body.
        timeout: The time limit of this call.
        read: Converts the answer to the type that the caller wants; None means no conversion.
    """

    streaming: ClassVar[bool] = False

    def __init__(
        self,
        config: Config,
        endpoint: Endpoint[AnswerT],
        body: Optional[Body] = None,
        *,
        timeout: Timeout,
        read: Optional[Callable[[AnswerT], AnswerT]] = None,
    ) -> None:
        self._config = config
        self._endpoint = endpoint
        self._request_body = body
        self._mask = config.api_key.combined_with(endpoint.secret_sent)
        self._timeout = timeout
        self._read = read
        self._retry = RetryPolicy(config.max_retries, config.retry_unknown_outcome, endpoint.effect)
        self._sent: httpx.Request
        self._head: httpx.Response
        self._deadlines: Deadlines
        self._is_answered = False
        self._is_accepted = False
        self._opening_error: Optional[OSError] = None
        self._watch = self._make_watch() if config.observers else None
        self._answer: Optional[AnswerT] = None
        self._attempts = 0
        self._may_have_run = False  # by an earlier attempt
        self._body = BodyReader()

    def begin(self) -> httpx.Request:
        """Return the request of the next attempt. The first attempt starts the time limit of the call."""
        if not self._attempts:
            self._deadlines = Deadlines(self._timeout, self._config.idle_timeout)
        self._attempts += 1
        self._body = BodyReader()  # discards the body of an earlier attempt
        self._is_answered = self._is_accepted = False
        limits = self._deadlines.begin_attempt(streaming=self.streaming)
        try:
            self._sent = build_request(
                self._config, self._endpoint, self._request_body, streaming=self.streaming, limits=limits
            )
        except OSError as exc:
            self._opening_error = exc
            raise
        if self._watch is not None:
            for name, value in self._watch.begin_attempt().items():
                self._sent.headers.setdefault(name, value)  # observers cannot replace headers
        return self._sent

    def accept(self, response: httpx.Response) -> bool:
        """Take the status and headers of a response; return whether it is 2xx, which means that a run is billed."""
        self._is_answered = True
        self._is_accepted = response.is_success
        self._head = response
        encoding = self._mask.hide_in(content_encoding(response))
        self._body = BodyReader(encoding, MAX_BODY_BYTES if self._is_accepted else MAX_REFUSAL_BYTES)
        self._log(str(response.status_code))
        return self._is_accepted

    def read(self, chunk: bytes) -> None:
        """Add the next bytes of the body.

        Raises:
            APITimeoutError: The time limit of the call has passed.
            ResponseError: The body is too long, or does not match its `Content-Encoding`.

        """
        self._body.feed(chunk)
        if self._deadlines.reading.is_over():
            raise self._timed_out("total")

    def parse(self) -> AnswerT:
        """Parse the complete body.

        Raises:
            ResponseError: The body does not match the API.

        """
        answer = parse_answer(self._endpoint.answer, self._media_type, self._body.finish())
        if self._endpoint.answer.add_head is not None:
            answer = self._endpoint.answer.add_head(answer, self._head)
        self._answer = answer
        self._log("answered", find_request_id(self._body.so_far()))
        return answer

    def finish(self, answer: AnswerT) -> AnswerT:
        """Convert the answer to the type that the caller wants.

        Raises:
            OutputValidationError: The text does not match the type.

        """
        # Not inside of `errors()`: an OSError of the caller's validator is not a network error.
        if self._read is None:
            return answer
        try:
            return self._read(answer)
        except FetchHiveError as error:
            self._complete(error)
            _clear_variables(error)
            del answer  # may repeat the key, and crash reports show local variables
            raise

    def refusal(self) -> APIStatusError:
        """Return the error for a response that is not 2xx, with the part of the body that was read."""
        error = refuse(self._head, self._body.so_far(), mask=self._mask)
        self._log(type(error).__name__, error.request_id)
        return error

    def wait_before_retry(self, error: FetchHiveError) -> Optional[float]:
        """Seconds to wait before trying again, or None to give up."""
        self._may_have_run = error.maybe_processed
        wait = self._retry.wait_before_retry(self._attempts, error, is_accepted=self._is_accepted)
        if wait is None or wait >= self._deadlines.left():
            return None
        if self._watch is not None:
            self._watch.end_attempt(self._status, error)
        return wait

    @contextlib.contextmanager
    def watched(self) -> Generator[None, None, None]:
        """Report the end of the call to the observers, including cancellation."""
        if self._watch is None:
            yield
            return
        failure: Optional[BaseException] = None
        try:
            yield
        except GeneratorExit:  # the caller stopped iterating, which is not a failure
            raise
        except BaseException as exc:
            failure = exc
            raise
        finally:
            error = self._reported_failure() if failure is None else failure
            self._watch.end(status=self._status, error=error, answer=self._outcome())

    def _make_watch(self) -> Watch:
        from .watch import Watch  # noqa: PLC0415 - only for clients with observers

        return Watch(
            self._config.observers,
            operation=self._endpoint.operation,
            endpoint=self._config.base_url + self._endpoint.path,
            fields=self._request_body.fields if self._request_body is not None else {},
            streaming=self.streaming,
        )

    def _outcome(self) -> object:
        """The answer, or the part of it that was received."""
        return self._answer

    def _reported_failure(self) -> Optional[FetchHiveError]:
        """The failure that the service reported in its answer, which no exception inside of the call shows."""
        return None

    @property
    def _correlation_id(self) -> Optional[str]:
        """The id that `correlate` added to the metadata of the run."""
        metadata = self._request_body.fields.get("metadata") if self._request_body is not None else None
        return text_or_none(as_object(metadata).get(CORRELATION))

    @property
    def _status(self) -> Optional[int]:
        return self._head.status_code if self._is_answered else None

    @property
    def _media_type(self) -> str:
        return self._mask.hide_in(content_type(self._head))

    @contextlib.contextmanager
    def errors(self) -> Generator[None, None, None]:
        """Translate network errors to errors of this package."""
        handled_by_caller = sys.exc_info()[1]
        try:
            yield
        except FetchHiveError as error:
            self._complete(error)
            _clear_variables(error)
            raise
        except NETWORK_ERRORS as exc:
            if self._is_upload_error(exc):
                cut_frames(exc)  # their variables contain the headers
                raise
            translated = self._translate(exc)
            self._complete(translated)
            raise translated from self._clean(exc, handled_by_caller)
        except BaseException as exc:
            # A cancellation, or the exception of a signal handler: frames of a write contain the headers.
            cut_frames(exc)
            raise

    def _is_upload_error(self, exc: Exception) -> bool:
        """Whether the uploaded file could not be opened or read, which is not a network error."""
        if self._opening_error is not None:
            return True
        return isinstance(self._sent.stream, Upload) and self._sent.stream.error is exc

    def _translate(self, exc: Exception) -> FetchHiveError:
        if isinstance(exc, httpx.DecodingError):
            return ResponseDecodeError("the answer does not match its Content-Encoding header", body=b"")
        # If a response has begun, the request has arrived.
        sent = self._is_answered or not isinstance(exc, _NOT_SENT)
        if isinstance(exc, httpx.TimeoutException):
            is_total = self._is_accepted and self._deadlines.has_total
            phase: Phase = "total" if is_total else _PHASES.get(type(exc), "read")
            return self._timed_out(phase, sent=sent, cause=exc)
        place, reason = place_of(self._sent), reason_of(exc)
        if self._is_answered:
            message = f"the connection to {place} broke before the answer was complete: {reason}"
        elif sent:
            message = f"the connection to {place} broke before the answer: {reason}"
        else:
            advice = check_connection(self._sent, exc)
            message = f"could not connect to {place}: {reason}" + (f": {advice}" if advice else "")
        return self._disconnected(message, sent=sent)

    def closed(self) -> APIConnectionError:
        """Return the error for a client that was closed while the call waited for a retry."""
        error = self._disconnected("the client was closed before the call was retried", sent=self._may_have_run)
        self._complete(error)
        return error

    def _timed_out(self, phase: Phase, *, sent: bool = True, cause: Optional[Exception] = None) -> APITimeoutError:
        message = _WAITING_FOR[phase].format(
            place=place_of(self._sent),
            seconds=f"after {self._deadlines.clock() - self._deadlines.started:.1f} seconds",
            advice=check_connection(self._sent, cause),
        )
        error = APITimeoutError(
            self._mask.hide_in(message),
            phase=phase,
            request=self._safe_request,
            request_id=find_request_id(self._body.so_far()),
            maybe_processed=sent,
        )
        error.body = self._mask.hide_in_bytes(self._body.so_far())
        return error

    def _disconnected(self, message: str, *, sent: bool) -> APIConnectionError:
        error = APIConnectionError(
            self._mask.hide_in(message),
            request=self._safe_request,
            request_id=find_request_id(self._body.so_far()),
            maybe_processed=sent,
        )
        error.body = self._mask.hide_in_bytes(self._body.so_far())
        return error

    @property
    def _safe_request(self) -> httpx.Request:
        return without_secrets(self._sent, self._mask)

    def _complete(self, error: FetchHiveError) -> None:
        error.attempts = self._attempts
        if error.request_id is not None:
            error.request_id = self._mask.hide_in(error.request_id)
        error.correlation_id = self._correlation_id
        error.maybe_processed = error.maybe_processed or self._may_have_run
        if self._endpoint.effect is Effect.READ:
            error.maybe_processed = False  # reading changes nothing
        doubt = _DOUBTS.get(self._endpoint.effect) if error.maybe_processed else None
        if doubt is not None:
            error.args = (f"{error.args[0]}; {doubt}",)
        if isinstance(error, ResponseError):
            self._complete_body(error)
        elif isinstance(error, OutputValidationError):
            error.response = masked(error.response, self._mask.hide_in_value)

    def _complete_body(self, error: ResponseError) -> None:
        error.body = self._mask.hide_in_value(error.body)
        if error.request_id is None:
            body = error.body
            error.request_id = (
                find_request_id(body) if isinstance(body, bytes) else text_or_none(as_object(body).get("request_id"))
            )

    def _clean(self, exc: Exception, handled_by_caller: Optional[BaseException] = None) -> Exception:
        """Remove the API key from a cause: from its request, its messages, and the frames that sent the headers."""
        link: Optional[BaseException] = exc
        while link is not None and link is not handled_by_caller:
            if isinstance(link, (httpx.RequestError, httpx.HTTPStatusError)):
                link.request = self._safe_request
            if isinstance(link, httpx.HTTPStatusError):
                # An event hook of an injected client called raise_for_status().
                link.response.request = self._safe_request
                link.response = detach(link.response, b"", self._mask)
            link.args = tuple(self._mask.hide_in_value(arg) for arg in link.args)
            link.__traceback__ = None
            link = link.__cause__ or link.__context__
        return exc

    def _log(self, outcome: str, request_id: Optional[str] = None) -> None:
        if log.isEnabledFor(logging.DEBUG):
            seconds = self._deadlines.clock() - self._deadlines.started
            ids = f"request id {request_id or 'unknown'}"
            if self._correlation_id:
                ids += f", correlation id {self._correlation_id}"
            facts = (self._sent.method, self._mask.hide_in(str(self._sent.url)), outcome, self._attempts, seconds, ids)
            log.debug("%s %s: %s (attempt %d, %.3f s, %s)", *facts)


def _clear_variables(error: BaseException) -> None:
    """Clear the frames of an error: their variables contain the response, which may repeat the key."""
    # Raising the error without its traceback does not help, because contextlib restores it. `__context__` is skipped:
    # it may be an exception that the caller handles, whose frames belong to the caller.
    link: Optional[BaseException] = error
    while link is not None:
        clear_frames(link.__traceback__)
        link = link.__cause__
