"""The client, `FetchHive`: its arguments, settings and lifetime."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import json
import math
import pickle
from unittest import mock

import httpx
import pytest
from pydantic import BaseModel, ValidationError

import fetch_hive_sdk
from driving import ANSWER, KEY, streamed
from fetch_hive_sdk import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    FetchHive,
    InvokeRequest,
    RateLimitError,
)


class Recorder:
    """Answers every call and records the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.body["streaming"]:
            return streamed(b'data: {"type": "response", "response": "Short."}\n\ndata: [DONE]\n\n')
        return httpx.Response(200, json=ANSWER)

    @property
    def body(self) -> dict[str, object]:
        return json.loads(self.requests[-1].content)


class Article(BaseModel):
    text: str
    words: int = 50


def test_every_argument_is_sent(drive):
    """The keyword arguments of a call become fields of the JSON body."""
    service = Recorder()

    drive.invoke(
        drive.client(service),
        deployment="d",
        variant="v",
        inputs=Article(text="long"),
        user="u1",
        metadata={"tenant": "t", "seats": 12},
        extra_body={"seed": 7},
    )

    assert service.body == {
        "deployment": "d",
        "variant": "v",
        "inputs": {"text": "long", "words": 50},
        "user": "u1",
        "metadata": {"tenant": "t", "seats": 12},
        "streaming": False,
        "seed": 7,
    }


def test_invoke_request_replaces_keyword_arguments(drive):
    """A request object can be sent any number of times, streamed or not."""
    service = Recorder()
    client = drive.client(service)
    request = InvokeRequest(deployment="d", inputs={"text": "long"})

    drive.call(client, "invoke", request, extra_body={"seed": 7})
    assert service.body == {**request.raw, "streaming": False, "seed": 7}

    drive.collect_request(client, request)
    assert service.body == {**request.raw, "streaming": True}


def test_invalid_request_object_is_rejected(drive):
    """Passing a string or a dict in place of a request object raises an error that names the expected type."""
    client = drive.client(Recorder())

    for wrong in ("summarise", {"deployment": "d"}):
        with pytest.raises(TypeError, match="pass a request"):
            drive.call(client, "invoke", wrong)
        with pytest.raises(TypeError, match="pass a request"):
            client.stream(wrong)
        with pytest.raises(TypeError, match="pass a request"):
            client.astream(wrong)


def test_inputs_are_copied_at_the_call():
    """Changing the inputs after the call, but before the stream is used, has no effect."""
    service = Recorder()
    client = FetchHive(KEY, http_client=httpx.Client(transport=httpx.MockTransport(service)))
    inputs = {"items": ["a"]}

    stream = client.invoke_prompt_stream(deployment="d", inputs=inputs)
    inputs["items"].append("b")
    stream.collect()

    assert service.body["inputs"] == {"items": ["a"]}


@pytest.mark.parametrize(
    ("args", "fields", "error_class", "message"),
    [
        ((), {}, TypeError, "deployment"),
        ((), {"deployment": ""}, ValidationError, "must not be empty"),
        ((), {"deployment": "d", "varaint": "v"}, TypeError, "varaint"),
        ((), {"deployment": "d", "metadata": {"a": {"b": 1}}}, ValidationError, "nested"),
        ((), {"deployment": "d", "inputs": {"a": [math.nan]}}, ValidationError, r"inputs\.a\[0\] is nan"),
        ((), {"deployment": "d", "inputs": {"a": object()}}, ValidationError, r"inputs\.a is of type object"),
        ((), {"deployment": "d", "extra_body": {"streaming": True}}, ValueError, "streaming"),
        ((), {"deployment": "d", "extra_body": {"a": math.inf}}, ValueError, r"extra_body\.a is inf"),
        ((), {"deployment": "d", "timeout": 0}, ConfigurationError, "timeout"),
        (("d",), {"deployment": "d"}, TypeError, "positional"),
    ],
)
def test_invalid_argument_is_rejected_before_sending(drive, args, fields, error_class, message):
    """The error names the argument, and nothing is sent."""
    service = Recorder()
    client = drive.client(service)

    with pytest.raises(error_class, match=message):
        drive.invoke(client, *args, **fields)
    with pytest.raises(error_class, match=message):
        client.invoke_prompt_stream(*args, **fields)
    with pytest.raises(error_class, match=message):
        client.ainvoke_prompt_stream(*args, **fields)

    assert service.requests == []


def test_api_key_and_base_url_are_read_from_the_environment(drive, monkeypatch):
    """A client without arguments is configured by FETCH_HIVE_API_KEY and FETCH_HIVE_BASE_URL."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", " fhk_env\n")
    monkeypatch.setenv("FETCH_HIVE_BASE_URL", "https://hive.test/v2/")
    service = Recorder()
    transport = httpx.MockTransport(service)
    client = FetchHive(
        http_client=httpx.Client(transport=transport), async_http_client=httpx.AsyncClient(transport=transport)
    )

    drive.invoke(client, deployment="d")

    assert str(service.requests[0].url) == "https://hive.test/v2/prompt/invoke"
    assert service.requests[0].headers["authorization"] == "Bearer fhk_env"


def test_missing_api_key_is_rejected():
    """A client without a key cannot be created. The error is a ValueError, as in the vendor's SDK."""
    with pytest.raises(ValueError, match="api_key is required"):
        FetchHive()


def test_older_endpoint_can_be_selected(drive):
    """Accounts on the older endpoint configure its path; there is no automatic fallback."""
    service = Recorder()

    drive.invoke(drive.client(service, prompt_path="/invoke"), deployment="d")

    assert service.requests[0].url.path == "/v1/invoke"


def test_injected_client_is_not_modified_or_closed(drive):
    """The headers and hooks of an injected client apply, and the SDK never closes it."""
    service = Recorder()
    client = drive.client(service)
    injected = client._session.senders.http_client or client._session.senders.async_http_client
    injected.headers["X-Team"] = "ants"

    drive.invoke(client, deployment="d")
    drive.close(client)

    assert service.requests[0].headers["x-team"] == "ants"
    assert service.requests[0].headers["user-agent"].startswith("fetch-hive-sdk/")
    assert not injected.is_closed


def test_injected_client_of_the_wrong_kind_is_rejected():
    """Swapping the blocking and the asyncio client is an error at construction."""
    with pytest.raises(ConfigurationError, match=r"must be an httpx\.Client"):
        FetchHive(KEY, http_client=httpx.AsyncClient())
    with pytest.raises(ConfigurationError, match=r"must be an httpx\.AsyncClient"):
        FetchHive(KEY, async_http_client=httpx.Client())


def test_with_options_returns_a_new_client(drive):
    """The new client shares the connections; the original client does not change."""
    service = Recorder()
    client = drive.client(service, idle_timeout=5)

    other = client.with_options(
        api_key="fhk_other", timeout=3, max_retries=0, prompt_path="invoke", idle_timeout=math.inf
    )
    drive.invoke(other, deployment="d")
    drive.invoke(client, deployment="d")

    assert [request.headers["authorization"] for request in service.requests] == ["Bearer fhk_other", f"Bearer {KEY}"]
    assert other._session.senders is client._session.senders
    assert (other._session.config.timeout, client._session.config.timeout) == (3.0, 120.0)
    assert (other._session.config.idle_timeout, client._session.config.idle_timeout) == (None, 5.0)
    with pytest.raises(ConfigurationError, match="timeout"):
        client.with_options(timeout=-1)


def test_api_key_is_never_exposed(monkeypatch):
    """No repr, vars() or pickle of a client contains the key; unpickling reads it from the environment."""
    client = FetchHive(KEY, timeout=3)

    seen = [repr(client), str(vars(client)), repr(client._session.config), str(vars(client._session.config))]
    pickled = pickle.dumps(client)

    assert KEY not in "".join(seen)
    assert KEY.encode() not in pickled
    monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_env")
    restored = pickle.loads(pickled)
    assert restored._session.config.timeout == 3.0
    assert restored._session.config.api_key.reveal() == "fhk_env"


def test_unpickling_without_a_key_is_rejected():
    """Unpickling a client raises an error if the environment has no key."""
    pickled = pickle.dumps(FetchHive(KEY))

    with pytest.raises(ConfigurationError, match="api_key is required"):
        pickle.loads(pickled)


def test_client_with_an_injected_client_cannot_be_pickled():
    """Connections cannot be pickled; the error explains why."""
    with pytest.raises(TypeError, match="injected"):
        pickle.dumps(FetchHive(KEY, http_client=httpx.Client()))


def test_copy_shares_connections():
    """Shallow and deep copies of a client share its key and connections."""
    client = FetchHive(KEY)

    for other in (copy.copy(client), copy.deepcopy(client)):
        assert other is not client
        assert other._session.senders is client._session.senders
        assert other._session.config == client._session.config


def test_closing_an_unused_client_is_allowed(drive):
    """A client can be closed before its first call, and used afterwards."""
    service = Recorder()
    with drive.client(service) as client:
        drive.close(client)

    assert drive.invoke(client, deployment="d").response == "Short."


async def test_async_with_returns_the_client():
    """`async with` returns the client and closes its connections."""
    service = Recorder()
    injected = httpx.AsyncClient(transport=httpx.MockTransport(service))

    async with FetchHive(KEY, async_http_client=injected) as client:
        result = await client.ainvoke_prompt(deployment="d")

    assert result.response == "Short."


def test_respx_routes_apply(drive, respx_mock):
    """Tests that mock the network with respx do not need an injected client."""
    route = respx_mock.post("https://api.fetchhive.com/v1/prompt/invoke").mock(
        return_value=httpx.Response(429, headers={"retry-after": "3600"}, json={"error": "slow down"})
    )
    client = FetchHive(KEY)

    with pytest.raises(RateLimitError, match="slow down") as caught:
        drive.invoke(client, deployment="d")

    assert caught.value.retry_after == 3600
    assert route.call_count == 1
    drive.close(client)


def test_pytest_httpx_responses_apply(drive, httpx_mock):
    """Tests that mock the network with pytest-httpx do not need an injected client."""
    httpx_mock.add_response(json=ANSWER)
    client = FetchHive(KEY)

    result = drive.invoke(client, deployment="d")

    assert result.response == "Short."
    drive.close(client)


MOCKED_ERRORS = pytest.mark.parametrize(
    ("error", "maybe_processed", "attempts"),
    [(httpx.ConnectTimeout, False, 2), (httpx.ReadTimeout, True, 1), (httpx.ReadError, True, 1)],
)


@MOCKED_ERRORS
def test_errors_of_respx_mean_what_they_mean_on_a_network(drive, respx_mock, error, maybe_processed, attempts):
    """After an error while reading, the run may have been billed; the call is not retried."""
    route = respx_mock.post("https://api.fetchhive.com/v1/prompt/invoke").mock(side_effect=error)
    client = FetchHive(KEY, max_retries=1)

    with pytest.raises(APIConnectionError) as caught:
        drive.invoke(client, deployment="d")

    assert caught.value.maybe_processed is maybe_processed
    assert route.call_count == attempts
    drive.close(client)


@MOCKED_ERRORS
def test_errors_of_pytest_httpx_mean_what_they_mean_on_a_network(drive, httpx_mock, error, maybe_processed, attempts):
    """After an error while reading, the run may have been billed; the call is not retried."""
    for _ in range(attempts):
        httpx_mock.add_exception(error("mocked"))
    client = FetchHive(KEY, max_retries=1)

    with pytest.raises(APIConnectionError) as caught:
        drive.invoke(client, deployment="d")

    assert caught.value.maybe_processed is maybe_processed
    assert len(httpx_mock.get_requests()) == attempts
    drive.close(client)


def test_public_names_are_loaded_lazily():
    """Every public name is loaded on first use, and unknown names raise AttributeError."""
    for name in fetch_hive_sdk.__all__:
        assert getattr(fetch_hive_sdk, name) is not None
    assert set(fetch_hive_sdk.__all__) <= set(dir(fetch_hive_sdk))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = fetch_hive_sdk.Nothing


@pytest.mark.parametrize("name", ["ainvoke_prompt", "ainvoke"])
def test_asyncio_twins_are_coroutine_functions(name):
    """Mocks and retry decorators check for that."""
    method = getattr(FetchHive(KEY), name)

    assert inspect.iscoroutinefunction(method)
    assert inspect.iscoroutinefunction(getattr(mock.create_autospec(FetchHive, instance=True), name))


def test_autospec_of_a_client_includes_its_resources():
    """Also without a workspace: reading the attributes of a client sends and checks nothing."""
    client = mock.create_autospec(FetchHive(KEY))
    client.agents.chats.amessages.return_value = ["hi"]

    assert asyncio.run(client.agents.chats.amessages("a", "c")) == ["hi"]
    with pytest.raises(TypeError, match="missing a required argument"):
        client.knowledge_bases.items.get("kb")


def _call_without_await():
    FetchHive(KEY).ainvoke_prompt(deployment="d")
    gc.collect()


def test_warning_about_a_missing_await_names_the_method():
    """Python's warning names the method as callers know it."""
    with pytest.warns(RuntimeWarning, match=r"coroutine 'FetchHive\.ainvoke_prompt' was never awaited"):
        _call_without_await()


def test_default_headers_are_sent_with_every_call(drive):
    """Gateways may need them. Neither errors nor the repr show them."""
    service = Recorder()
    client = drive.client(service, default_headers={"X-Gateway": "s3cret-token", "user-agent": "app/1"})

    drive.invoke(client, deployment="d")
    drive.invoke(client.with_options(default_headers={}), deployment="d")

    first, second = service.requests
    assert (first.headers["x-gateway"], first.headers.get_list("user-agent")) == ("s3cret-token", ["app/1"])
    assert "x-gateway" not in second.headers
    assert "s3cret" not in repr(client) + repr(client._session.config)


def test_errors_do_not_show_default_headers(drive):
    """Their values may be secrets."""
    client = drive.client(lambda _: httpx.Response(401), default_headers={"X-Gateway": "s3cret-token"})

    with pytest.raises(AuthenticationError) as caught:
        drive.invoke(client, deployment="d")

    assert "x-gateway" not in caught.value.request.headers
    assert b"s3cret" not in pickle.dumps(caught.value)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Authorization": "Bearer x"}, "must not contain Authorization"),
        ({"content-LENGTH": "1"}, "must not contain content-LENGTH"),
        ({"X-A": "a\r\nX-B: b"}, "the value of X-A"),
        ({"X-A": ""}, "the value of X-A"),
        ({"X-A": 1}, "the value of X-A"),
        ({"X A": "a"}, "invalid header name"),
        ([("X-A", "a")], "must be a mapping"),
    ],
)
def test_invalid_default_headers_are_rejected(headers, message):
    """The client cannot be created with them. The error does not quote the values."""
    with pytest.raises(ConfigurationError, match=message):
        FetchHive(KEY, default_headers=headers)


def test_timeout_none_disables_the_limit(drive):
    """`timeout=None` waits indefinitely, as in the vendor's SDK."""
    service = Recorder()

    drive.invoke(drive.client(service, timeout=None), deployment="d")

    limits = service.requests[0].extensions["timeout"]
    assert (limits["connect"], limits["write"], limits["pool"]) == (None, None, None)
    assert limits["read"] >= 1e6
