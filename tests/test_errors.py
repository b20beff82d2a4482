"""The exceptions: their hierarchy, their httpx base classes, and pickling."""

from __future__ import annotations

import builtins
import copy
import pickle
import re
import threading
from typing import Any

import httpx
import pytest

from fetch_hive_sdk import errors
from fetch_hive_sdk.models.prompts import InvokeResponse, PartialAnswer
from fetch_hive_sdk.models.usage import Usage

REQUEST = httpx.Request("POST", "https://api.fetchhive.com/v1/prompt/invoke")
PARTIAL = PartialAnswer(text="Once upon", reasoning="A tale.", usage=Usage(total_tokens=7), request_id="req_1")
ANSWER = InvokeResponse(response="Once upon a time", request_id="req_1")

STATUSES = {
    errors.APIStatusError: 418,
    errors.BadRequestError: 400,
    errors.AuthenticationError: 401,
    errors.PaymentRequiredError: 402,
    errors.PermissionDeniedError: 403,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.UnprocessableEntityError: 422,
    errors.RateLimitError: 429,
    errors.InternalServerError: 500,
}


def refusal(status: int) -> httpx.Response:
    return httpx.Response(status, request=REQUEST, json={"error": "no"})


FEWEST: dict[type[errors.FetchHiveError], dict[str, Any]] = {
    errors.FetchHiveError: {},
    errors.ConfigurationError: {},
    errors.APIConnectionError: {},
    errors.APITimeoutError: {"phase": "connect"},
    **{kind: {"response": refusal(status)} for kind, status in STATUSES.items()},
    errors.ResponseError: {"body": b"<html>"},
    errors.ResponseDecodeError: {"body": b"<html>"},
    errors.UnexpectedContentTypeError: {"body": b"<html>"},
    errors.ResponseTooLargeError: {"body": b"<html>"},
    errors.ResponseValidationError: {"body": b"<html>"},
    errors.StreamError: {"partial": PARTIAL},
    errors.StreamInterruptedError: {"partial": PARTIAL},
    errors.StreamTimeoutError: {"partial": PARTIAL, "phase": "idle"},
    errors.StreamFailedError: {"partial": PARTIAL},
    errors.StreamConsumedError: {},
    errors.OutputValidationError: {"response": ANSWER},
    errors.WaitTimeoutError: {},
    errors.SignatureError: {},
    errors.BulkError: {"report": None},
}
"""The required arguments of each error."""

MOST: dict[type[errors.FetchHiveError], dict[str, Any]] = {
    errors.FetchHiveError: {"request_id": "req_1", "maybe_processed": True},
    errors.ConfigurationError: {"request_id": "req_1", "maybe_processed": True},
    errors.APIConnectionError: {"request": REQUEST, "request_id": "req_1", "maybe_processed": True},
    errors.APITimeoutError: {"phase": "read", "request": REQUEST, "request_id": "req_1", "maybe_processed": True},
    **{
        kind: {
            "response": refusal(status),
            "body": {"error": "no"},
            "error_code": "refused",
            "request_id": "req_1",
            "retry_after": 2.5,
            "maybe_processed": True,
        }
        for kind, status in STATUSES.items()
    },
    **{
        kind: {"body": {"response": 1}, "request_id": "req_1", "partial": PARTIAL}
        for kind in (
            errors.ResponseError,
            errors.ResponseDecodeError,
            errors.UnexpectedContentTypeError,
            errors.ResponseTooLargeError,
            errors.ResponseValidationError,
        )
    },
    errors.StreamError: {"partial": PARTIAL, "request_id": "req_1"},
    errors.StreamInterruptedError: {"partial": PARTIAL, "request": REQUEST, "request_id": "req_1"},
    errors.StreamTimeoutError: {"phase": "idle", "partial": PARTIAL, "request": REQUEST, "request_id": "req_1"},
    errors.StreamFailedError: {"partial": PARTIAL, "error_code": "overloaded", "request_id": "req_1"},
    errors.StreamConsumedError: {"request_id": "req_1"},
    errors.OutputValidationError: {"response": ANSWER},
    errors.WaitTimeoutError: {"last": {"status": "running"}, "request_id": "req_1"},
    errors.SignatureError: {"request_id": "req_1", "maybe_processed": True},
    errors.BulkError: {"report": {"done": 7}},
}
"""All arguments of each error."""


def name_of(value: object) -> str:
    return getattr(value, "__name__", str(value))


with_each_class = pytest.mark.parametrize("kind", FEWEST, ids=name_of)
with_each_way_to_travel = pytest.mark.parametrize(
    "travel",
    [
        copy.copy,
        copy.deepcopy,
        lambda error: pickle.loads(pickle.dumps(error, 0)),
        lambda error: pickle.loads(pickle.dumps(error)),
    ],
    ids=["copy", "deepcopy", "oldest pickle", "pickle"],
)


# --- Hierarchy --------------------------------------------------------------------------------------------------------


def documented_tree() -> dict[type, set[type]]:
    """Parse the base class of each class from the tree in the module's docstring."""
    bases: dict[type, set[type]] = {}
    parents: list[type] = [Exception]
    for indent, name, words in re.findall(r"^( *)\* (\w+) *(.*)$", errors.__doc__, re.MULTILINE):
        depth = len(indent) // 4 + 1
        kind = getattr(errors, name)
        also = re.search(r"\(also an? ([\w.]+)\)", words)
        bases[kind] = {parents[depth - 1], *([class_named(also.group(1))] if also else [])}
        parents[depth:] = [kind]
    return bases


def class_named(name: str) -> type:
    if name.startswith("httpx."):
        return getattr(httpx, name[len("httpx.") :])
    return getattr(errors, name, None) or getattr(builtins, name)


def test_docstring_has_every_class():
    """The tree in the docstring has all classes of the module."""
    public = {
        value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__
    }

    assert documented_tree().keys() == public


@pytest.mark.parametrize(
    ("kind", "bases"), documented_tree().items(), ids=[kind.__name__ for kind in documented_tree()]
)
def test_base_classes_match_the_docstring(kind, bases):
    """Each class has the base class of the tree, the one in parentheses, and no others."""
    assert set(kind.__bases__) == bases


@pytest.mark.parametrize(
    ("kind", "drawn"),
    [(kind, "5xx" if status == 500 else status) for kind, status in STATUSES.items() if status != 418],
    ids=name_of,
)
def test_docstring_has_the_status_of_each_class(kind, drawn):
    """The tree shows which status raises which class."""
    assert re.search(rf"\* {kind.__name__} +{drawn}$", errors.__doc__, re.MULTILINE)


@pytest.mark.parametrize(
    ("kind", "foreign"),
    [
        (errors.RateLimitError, httpx.HTTPStatusError),
        (errors.RateLimitError, httpx.HTTPError),
        (errors.APIConnectionError, httpx.TransportError),
        (errors.APIConnectionError, httpx.RequestError),
        (errors.APITimeoutError, httpx.TimeoutException),
        (errors.StreamInterruptedError, httpx.TransportError),
        (errors.StreamTimeoutError, httpx.TimeoutException),
        (errors.ConfigurationError, ValueError),
        (errors.OutputValidationError, ValueError),
        (errors.StreamConsumedError, RuntimeError),
        (errors.WaitTimeoutError, TimeoutError),
        (errors.SignatureError, ValueError),
    ],
    ids=name_of,
)
def test_error_is_caught_by_its_other_base_class(kind, foreign):
    """Code written against httpx, or against ValueError, keeps working."""
    error = kind("no luck", **FEWEST[kind])

    with pytest.raises(foreign, match="no luck") as caught:
        raise error

    assert caught.value is error


# --- Attributes and messages -----------------------------------------------------------------------------------------


@with_each_class
def test_str_has_the_message_and_the_request_id(kind):
    """The request id is appended, if there is one."""
    error = kind("It did not work.", **MOST[kind])

    assert str(error) == "It did not work." + (" (request_id: req_1)" if error.request_id else "")
    assert error.args == ("It did not work.",)


def test_str_has_the_request_id_once():
    """It is not appended if the message contains it, or if there is none. It may be set later."""
    has_it = errors.APIConnectionError("No answer (error_code: c, request_id: req_1).", request_id="req_1")
    later = errors.StreamInterruptedError("It broke off.", partial=PARTIAL)
    before = str(later)
    later.request_id = "req_2"

    assert str(has_it) == "No answer (error_code: c, request_id: req_1)."
    assert before == "It broke off."
    assert str(later) == "It broke off. (request_id: req_2)"


@with_each_class
def test_error_has_a_correlation_id(kind):
    """None, unless the client sets it."""
    error = kind("It did not work.", **FEWEST[kind])
    before = error.correlation_id
    error.correlation_id = "c-1"

    assert before is None
    assert pickle.loads(pickle.dumps(error)).correlation_id == "c-1"


@with_each_class
def test_arguments_are_attributes(kind):
    """Each argument is an attribute of the same name."""
    error = kind("It did not work.", **MOST[kind])

    assert {name: getattr(error, name) for name in MOST[kind]} == MOST[kind]


@with_each_class
def test_attempts_are_zero_by_default(kind):
    """The call sets the number of attempts."""
    error = kind("It did not work.", **FEWEST[kind])

    assert error.attempts == 0


@pytest.mark.parametrize(
    ("kind", "maybe"),
    [
        (errors.FetchHiveError, False),
        (errors.ConfigurationError, False),
        (errors.APIConnectionError, True),
        (errors.APITimeoutError, True),
        (errors.APIStatusError, False),
        (errors.ResponseError, True),
        (errors.StreamError, True),
        (errors.StreamInterruptedError, True),
        (errors.StreamTimeoutError, True),
        (errors.StreamFailedError, True),
        (errors.OutputValidationError, True),
        (errors.StreamConsumedError, True),
        (errors.WaitTimeoutError, False),
        (errors.SignatureError, False),
        (errors.BulkError, False),
    ],
    ids=name_of,
)
def test_maybe_processed_has_a_default(kind, maybe):
    """True for errors of connections, answers and streams; False for others, unless it is passed."""
    error = kind("It did not work.", **FEWEST[kind])

    assert error.maybe_processed is maybe


@pytest.mark.parametrize(
    ("kind", "defaults"),
    [
        (errors.APIConnectionError, {"request_id": None, "body": b""}),
        (errors.APITimeoutError, {"request_id": None, "body": b""}),
        (errors.APIStatusError, {"request_id": None, "body": None, "error_code": None, "retry_after": None}),
        (errors.ResponseError, {"request_id": None, "partial": None}),
        (errors.StreamError, {"request_id": None}),
        (errors.StreamInterruptedError, {"request_id": None, "body": b""}),
        (errors.StreamTimeoutError, {"request_id": None, "body": b""}),
        (errors.StreamFailedError, {"request_id": None, "error_code": None}),
    ],
    ids=name_of,
)
def test_optional_attributes_have_a_default(kind, defaults):
    """They can be read even if they were not passed."""
    error = kind("It did not work.", **FEWEST[kind])

    assert {name: getattr(error, name) for name in defaults} == defaults


@pytest.mark.parametrize("phase", ["connect", "write", "read", "pool", "total", "idle"])
@pytest.mark.parametrize("kind", [errors.APITimeoutError, errors.StreamTimeoutError])
def test_timeout_has_a_phase(kind, phase):
    """A timeout has the phase that it was created with."""
    error = kind("Too late.", **{**FEWEST[kind], "phase": phase})

    assert error.phase == phase


@pytest.mark.parametrize(("kind", "status"), STATUSES.items(), ids=name_of)
def test_status_error_has_status_and_request(kind, status):
    """Like `httpx.HTTPStatusError`: the response, its request, the status."""
    response = refusal(status)

    error = kind("No.", response=response)

    assert error.status_code == status
    assert error.response is response
    assert error.request is REQUEST


@pytest.mark.parametrize("kind", [errors.APIConnectionError, errors.APITimeoutError, errors.StreamTimeoutError])
def test_missing_request_raises_as_in_httpx(kind):
    """Reading `request` raises a RuntimeError."""
    error = kind("No way through.", **FEWEST[kind])

    with pytest.raises(RuntimeError):
        _ = error.request


def test_output_validation_error_has_the_request_id():
    """It is the request id of the answer."""
    error = errors.OutputValidationError("No list.", response=ANSWER)

    assert error.request_id == "req_1"


# --- Copies and pickles ----------------------------------------------------------------------------------------------


def attributes_of(error: errors.FetchHiveError) -> dict[str, Any]:
    """List the attributes of an error; requests and responses, which cannot be compared, by their contents."""
    return {name: contents(value) for name, value in vars(error).items()}


def contents(value: object) -> object:
    if isinstance(value, httpx.Request):
        return value.method, value.url, value.headers
    if isinstance(value, httpx.Response):
        return value.status_code, value.headers, value.text, contents(value.request)
    return value


@with_each_way_to_travel
@with_each_class
def test_copies_and_pickles_keep_all_attributes(kind, travel):
    """A copy, and an error from another process, has the same class and attributes."""
    error = kind("It did not work.", **MOST[kind])
    error.attempts = 3

    arrived = travel(error)

    assert type(arrived) is kind
    assert arrived.args == ("It did not work.",)
    assert attributes_of(arrived) == attributes_of(error)


@with_each_way_to_travel
@with_each_class
def test_copies_and_pickles_keep_the_cause(kind, travel):
    """The exception of httpx is preserved."""
    error = kind("It did not work.", **FEWEST[kind])
    error.__cause__ = httpx.ConnectError("no route", request=REQUEST)

    arrived = travel(error)

    assert type(arrived.__cause__) is httpx.ConnectError
    assert str(arrived.__cause__) == "no route"


@with_each_way_to_travel
def test_copies_and_pickles_without_a_cause_have_none(travel):
    """The cause stays None."""
    error = errors.ConfigurationError("No key.")

    arrived = travel(error)

    assert arrived.__cause__ is None
    assert arrived.__suppress_context__ is False


def test_cause_that_cannot_be_pickled_is_dropped():
    """The error itself can be pickled."""
    error = errors.APIConnectionError("No way through.")
    error.__cause__ = OSError(threading.Lock())

    arrived = pickle.loads(pickle.dumps(error))

    assert str(arrived) == "No way through."
    assert arrived.__cause__ is None


def test_cause_that_cannot_be_unpickled_is_dropped():
    """The error itself can be unpickled."""
    error = errors.APIConnectionError("No way through.")
    error.__cause__ = httpx.HTTPStatusError(
        "needs more arguments than it pickles", request=REQUEST, response=refusal(400)
    )

    arrived = pickle.loads(pickle.dumps(error))

    assert str(arrived) == "No way through."
    assert arrived.__cause__ is None


def test_subclasses_can_be_copied_and_pickled():
    """Even with another constructor."""

    class MyError(errors.FetchHiveError):
        def __init__(self, code: int) -> None:
            super().__init__(f"error {code}")
            self.code = code

    arrived = copy.copy(MyError(7))

    assert type(arrived) is MyError
    assert arrived.code == 7
    assert str(arrived) == "error 7"


def test_long_chain_is_pickled_in_linear_time():
    """Each link is pickled once; twice per link would take exponential time."""
    error = None
    for _ in range(60):
        link = errors.ConfigurationError("x")
        link.__cause__ = error
        error = link

    restored = pickle.loads(pickle.dumps(error))

    assert restored.__cause__.__cause__.args == ("x",)


def test_copy_keeps_a_cause_that_cannot_be_pickled():
    """A copy stays in the process."""
    error = errors.APIConnectionError("x")
    error.__cause__ = OSError(threading.Lock())

    assert copy.copy(error).__cause__ is error.__cause__


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_copies_and_pickles_keep_the_suppressed_context(duplicate):
    """`raise ... from None` survives copies and pickles."""
    error = errors.ConfigurationError("x")
    error.__suppress_context__ = True

    assert duplicate(error).__suppress_context__
