"""What to send and what to make of the answer. Decides everything, performs no I/O.

A call goes down as an `httpx.Request` and comes up as a model, or as an error. `Call` is one call over all its
attempts: the shells ask it what to send, show it what came, and do what it says.
"""

from __future__ import annotations

import contextlib
import logging
import platform
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, Literal, Optional

import httpx
from pydantic_core import to_json

from ._answers import (
    MAX_BODY_BYTES,
    MAX_REFUSAL_BYTES,
    BodyReader,
    content_encoding,
    content_type,
    detach,
    find_request_id,
    parse_answer,
    refuse,
    without_secrets,
)
from ._events import EventReader, Transcript
from ._retry import RetryPolicy
from ._time import Deadlines
from ._version import __version__
from .errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    FetchHiveError,
    ResponseDecodeError,
    ResponseError,
    StreamInterruptedError,
)
from .models import ReceivedT, read_json_object

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from pydantic import BaseModel

    from ._config import Config, Timeout
    from .errors import Phase

log = logging.getLogger("fetch_hive_sdk")

# --- Down: from keywords to a request --------------------------------------------------------------------------------

USER_AGENT = f"fetch-hive-sdk/{__version__} httpx/{httpx.__version__} python/{platform.python_version()}"


_read_url = lru_cache(maxsize=64)(httpx.URL)  # reading one costs as much as a tenth of a call


@dataclass(frozen=True)
class Endpoint(Generic[ReceivedT]):
    """A place of the API and what it answers.

    Args:
        path: What follows the base URL.
        answer: The model of the answer.
        method: POST for what may start a run, GET for what starts none and may be repeated.
    """

    path: str
    answer: type[ReceivedT]
    method: Literal["POST", "GET"] = "POST"


def merge_body(
    model: type[BaseModel], fields: Mapping[str, object], extra_body: Optional[Mapping[str, object]]
) -> bytes:
    """Write the JSON body of a request from the fields of its model, and those that this version does not know.

    Raises:
        ValueError: `extra_body` has a field that has an argument of its own, or a value that JSON cannot carry.

    """
    extra = read_json_object(extra_body or {}, "extra_body")
    known = sorted(model.model_fields.keys() & extra.keys())
    if known:
        raise ValueError(f"extra_body must not have {', '.join(known)}: there is an argument for it")
    return to_json({**fields, **extra})


def build_request(
    config: Config,
    endpoint: Endpoint[ReceivedT],
    content: bytes,
    *,
    streaming: bool,
    limits: Mapping[str, Optional[float]],
) -> httpx.Request:
    """Build the request of one attempt."""
    headers = {
        "Authorization": f"Bearer {config.api_key.reveal()}",
        "Accept": "text/event-stream, application/json" if streaming else "application/json",
        # What `BodyReader` can undo with a bound. Events must not wait in a compressor.
        "Accept-Encoding": "identity" if streaming else "gzip",
        "User-Agent": USER_AGENT,
    }
    if content:
        headers["Content-Type"] = "application/json"
    return httpx.Request(
        endpoint.method,
        _read_url(config.base_url + endpoint.path),
        headers=headers,
        content=content,
        extensions={"timeout": dict(limits)},
    )


# --- One call --------------------------------------------------------------------------------------------------------

# What httpx and what is under it may raise while a request is under way.
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
    "connect": "could not connect in time",
    "write": "could not send the request in time",
    "read": "no answer came in time",
    "pool": "no connection became free in time: all those of the http_client are in use",
    "total": "the answer was not complete in time",
}


class Call(Generic[ReceivedT]):
    """One call over all its attempts: what to send, what the outcome means, whether to try again.

    Args:
        config: How the client is set up.
        endpoint: Where the call goes and what it answers.
        content: The JSON body; empty for a GET.
        streaming: Whether the answer comes as events.
        timeout: The time limit of this call.
    """

    def __init__(
        self, config: Config, endpoint: Endpoint[ReceivedT], content: bytes, *, streaming: bool, timeout: Timeout
    ) -> None:
        self._config = config
        self._endpoint = endpoint
        self._content = content
        self._streaming = streaming
        self._timeout = timeout
        self._retry = RetryPolicy(config.max_retries, config.retry_unknown_outcome)
        self._sent: httpx.Request
        self._head: httpx.Response
        self._deadlines: Deadlines
        self._is_answered = False
        self._is_accepted = False
        self._attempts = 0
        self._body = BodyReader()
        self.transcript = Transcript()

    def begin(self) -> httpx.Request:
        """Return the request of the next attempt. The time of the call begins with the first."""
        if not self._attempts:
            self._deadlines = Deadlines(self._timeout, self._config.idle_timeout)
        self._attempts += 1
        self.transcript.attempts = self._attempts
        self._body = BodyReader()  # what an earlier attempt was refused with is no part of this one
        self._is_answered = False
        self._sent = build_request(
            self._config,
            self._endpoint,
            self._content,
            streaming=self._streaming,
            limits=self._deadlines.begin_attempt(streaming=self._streaming),
        )
        return self._sent

    def accept(self, response: httpx.Response) -> bool:
        """Take the head of an answer; tell whether it is the wanted one, which has been paid for."""
        self._is_answered = True
        self._is_accepted = response.is_success
        self._head = response
        self._body = BodyReader(content_encoding(response), MAX_BODY_BYTES if self._is_accepted else MAX_REFUSAL_BYTES)
        if self._is_accepted and self._streaming:
            self._deadlines.begin_stream()
        self._log(str(response.status_code))
        return self._is_accepted

    def read(self, chunk: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            APITimeoutError: The time for the call is over.
            ResponseError: The body is too long, or not compressed as its header says.

        """
        self._body.feed(chunk)
        if self._deadlines.reading.is_over():
            raise self._timed_out("total")

    def parse(self) -> ReceivedT:
        """Return the answer, its body read.

        Raises:
            ResponseError: It is not what was promised.

        """
        answer = parse_answer(self._endpoint.answer, self._media_type, self._body.finish())
        self._log("answered", answer.get("request_id"))
        return answer

    def refusal(self) -> APIStatusError:
        """Return the error for an answer that was not accepted, its body read as far as it could be."""
        error = refuse(self._head, self._body.so_far(), api_key=self._config.api_key)
        self._log(type(error).__name__, error.request_id)
        return error

    def wait_before_retry(self, error: FetchHiveError) -> Optional[float]:
        """Seconds to wait before trying again, or None to give up."""
        if self._is_accepted:
            return None
        wait = self._retry.wait_before_retry(self._attempts, error)
        return None if wait is None or wait >= self._deadlines.left() else wait

    def event_reader(self, response: httpx.Response) -> EventReader:
        """Return the reader for the body of a streamed answer. Its first event is waited for from now on."""
        self._deadlines.await_event()
        return EventReader(self._media_type, content_encoding(response), self.transcript, self._deadlines, self._body)

    @property
    def _media_type(self) -> str:
        return content_type(self._head)

    @contextlib.contextmanager
    def errors(self) -> Generator[None, None, None]:
        """Turn what the network raises into errors of ours."""
        try:
            yield
        except FetchHiveError as error:
            self._complete(error)
            raise
        except NETWORK_ERRORS as exc:
            translated = self._translate(exc)
            self._complete(translated)
            raise translated from self._clean(exc)

    @contextlib.contextmanager
    def stream_errors(self) -> Generator[None, None, None]:
        """Turn what the network raises into errors that keep what the stream has given."""
        try:
            with self.errors():
                yield
        except ResponseError as error:
            error.partial = self.transcript.partial()
            error.request_id = error.request_id or self.transcript.request_id
            raise
        except APIConnectionError as error:
            if self.transcript.is_complete:
                return
            if isinstance(error, StreamInterruptedError):
                error.request = self._safe_request
                raise
            interruption = self._interruption(error)
            # Of an answer in one piece, which no event has been made of.
            interruption.body = error.body
            interruption.request_id = interruption.request_id or error.request_id
            raise interruption from error.__cause__
        finally:
            self._log("stream ended" if self.transcript.is_complete else "stream left", self.transcript.request_id)

    def _interruption(self, error: APIConnectionError) -> StreamInterruptedError:
        request = self._safe_request
        if not isinstance(error, APITimeoutError):
            return self.transcript.interruption("the connection broke in the middle of the stream", request=request)
        if self._deadlines.reading.is_over():
            message = "the stream sent no event within idle_timeout"
            return self.transcript.interruption(message, phase="idle", request=request)
        return self.transcript.interruption("the stream fell silent", phase="read", request=request)

    def _translate(self, exc: Exception) -> FetchHiveError:
        if isinstance(exc, httpx.DecodingError):
            return ResponseDecodeError("the answer is not compressed as its header says", body=b"")
        # Where an answer has begun, the request has arrived, whatever went wrong later.
        sent = self._is_answered or not isinstance(exc, _NOT_SENT)
        if isinstance(exc, httpx.TimeoutException):
            is_total = self._is_accepted and self._deadlines.has_total
            phase: Phase = "total" if is_total else _PHASES.get(type(exc), "read")
            return self._timed_out(phase, sent=sent)
        if self._is_answered:
            message = "the connection broke before the answer was complete"
        elif sent:
            message = f"the connection broke before the answer: {exc}"
        else:
            message = f"could not connect: {exc}"
        return self._disconnected(message, sent=sent)

    def _timed_out(self, phase: Phase, *, sent: bool = True) -> APITimeoutError:
        seconds = f"after {self._deadlines.clock() - self._deadlines.started:.1f} seconds"
        error = APITimeoutError(
            f"{_WAITING_FOR[phase]} ({seconds})",
            phase=phase,
            request=self._safe_request,
            request_id=find_request_id(self._body.so_far()),
            maybe_processed=sent,
        )
        error.body = self._config.api_key.hide_in_bytes(self._body.so_far())
        return error

    def _disconnected(self, message: str, *, sent: bool) -> APIConnectionError:
        error = APIConnectionError(
            self._config.api_key.hide_in(message),
            request=self._safe_request,
            request_id=find_request_id(self._body.so_far()),
            maybe_processed=sent,
        )
        error.body = self._config.api_key.hide_in_bytes(self._body.so_far())
        return error

    @property
    def _safe_request(self) -> httpx.Request:
        return without_secrets(self._sent)

    def _complete(self, error: FetchHiveError) -> None:
        error.attempts = self._attempts
        if self._endpoint.method == "GET":
            error.maybe_processed = False  # it starts no run: the retry decision goes by this, too
        if isinstance(error, ResponseError):
            self._complete_body(error)

    def _complete_body(self, error: ResponseError) -> None:
        error.body = self._config.api_key.hide_in_value(error.body)
        if error.request_id is None and isinstance(error.body, bytes):
            error.request_id = find_request_id(error.body)

    def _clean(self, exc: Exception) -> Exception:
        """Take from a cause what knows the key: its request, its texts, and the frames in which headers were sent."""
        link: Optional[BaseException] = exc
        while link is not None:
            if isinstance(link, (httpx.RequestError, httpx.HTTPStatusError)):
                link.request = self._safe_request
            if isinstance(link, httpx.HTTPStatusError):
                # An event hook of an injected client called raise_for_status().
                link.response.request = self._safe_request
                link.response = detach(link.response, b"", self._config.api_key)
            link.args = tuple(self._config.api_key.hide_in_value(arg) for arg in link.args)
            link.__traceback__ = None
            link = link.__cause__ or link.__context__
        return exc

    def _log(self, outcome: str, request_id: Optional[str] = None) -> None:
        if log.isEnabledFor(logging.DEBUG):
            seconds = self._deadlines.clock() - self._deadlines.started
            facts = (self._sent.method, self._sent.url, outcome, self._attempts, seconds, request_id or "unknown")
            log.debug("%s %s: %s (attempt %d, %.3f s, request id %s)", *facts)
