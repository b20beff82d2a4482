"""Injected httpx2 clients give the same answers and errors as httpx clients. The fault suite also runs with them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import subprocess
import sys
import traceback

import httpx
import pytest

from driving import ANSWER, KEY
from fetch_hive_sdk import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    FetchHive,
    RateLimitError,
    StreamInterruptedError,
)
from fetch_hive_sdk._net.conversions import converted, httpx_errors
from fetch_hive_sdk.testing import FakeServer, StreamScript, record, replay

httpx2 = pytest.importorskip("httpx2", reason="httpx2 needs Python 3.11")
httpcore2 = pytest.importorskip("httpcore2")


class Blocking:
    """Drives a `FetchHive` that sends with an `httpx2.Client`."""

    def client(self, handler=None, **options):
        settings = {} if handler is None else {"transport": httpx2.MockTransport(handler)}
        self.injected = httpx2.Client(**settings, event_hooks=options.pop("event_hooks", None))
        return FetchHive(KEY, http_client=self.injected, **options)

    def call(self, client, name, *args, **fields):
        return getattr(client, name)(*args, **fields)

    def collect(self, client, **fields):
        return client.invoke_prompt_stream(**fields).collect()


class Asyncio:
    """Drives a `FetchHive` that sends with an `httpx2.AsyncClient`."""

    def client(self, handler=None, **options):
        settings = {} if handler is None else {"transport": httpx2.MockTransport(handler)}
        hooks = {name: [in_asyncio(hook) for hook in found] for name, found in options.pop("event_hooks", {}).items()}
        self.injected = httpx2.AsyncClient(**settings, event_hooks=hooks)
        return FetchHive(KEY, async_http_client=self.injected, **options)

    def call(self, client, name, *args, **fields):
        return asyncio.run(self._call(client, name, args, fields))

    async def _call(self, client, name, args, fields):
        try:
            return await getattr(client, f"a{name}")(*args, **fields)
        finally:
            # An httpx2 client belongs to one event loop, which ends here.
            await self.injected.aclose()

    def collect(self, client, **fields):
        async def main():
            try:
                return await client.ainvoke_prompt_stream(**fields).collect()
            finally:
                await self.injected.aclose()

        return asyncio.run(main())


def in_asyncio(hook):
    async def call(message):
        hook(message)

    return call


@pytest.fixture(params=[Blocking, Asyncio], ids=["blocking", "asyncio"])
def drive2(request):
    drive = request.param()
    yield drive
    if isinstance(drive, Blocking):
        drive.injected.close()


@pytest.fixture
def served():
    """A fake service on a loopback port, so that requests are sent by httpcore2."""
    fake = FakeServer()
    with fake.serve() as url:
        fake.url = url
        yield fake


def test_call_is_answered(drive2, served):
    served.answers("d", "Short.")

    result = drive2.call(drive2.client(base_url=served.url), "invoke_prompt", deployment="d", inputs={"text": "long"})

    assert result.response == "Short."
    assert served.calls[0].raw["inputs"] == {"text": "long"}


def test_stream_is_read(drive2, served):
    served.streams("d", StreamScript().text("Once ", "upon ").pause(0.01).text("a time"))

    result = drive2.collect(drive2.client(base_url=served.url), deployment="d")

    assert result.response == "Once upon a time"
    assert result.usage.total_tokens


def test_upload_is_sent(drive2, served, tmp_path):
    """An upload is read while it is sent."""
    (tmp_path / "notes.txt").write_bytes(b"x" * 200_000)
    client = drive2.client(base_url=served.url, workspace_id="w")

    asset = drive2.call(client.assets, "upload", tmp_path / "notes.txt")

    assert (asset.file_name, asset.file_size) == ("notes.txt", 200_000)


def test_settings_of_the_client_apply(drive2):
    """Its headers and hooks apply. Its `auth` does not replace the key."""
    sent = []

    def answer(request):
        sent.append(request)
        return httpx2.Response(200, json=ANSWER)

    client = drive2.client(answer)
    drive2.injected.headers["X-Team"] = "ants"
    drive2.injected.auth = ("user", "password")

    drive2.call(client, "invoke_prompt", deployment="d")

    assert sent[0].headers["x-team"] == "ants"
    assert sent[0].headers["authorization"] == f"Bearer {KEY}"


def test_client_is_never_closed():
    injected = httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=ANSWER)))
    with FetchHive(KEY, http_client=injected) as client:
        client.invoke_prompt(deployment="d")

    assert not injected.is_closed


def test_error_status_has_its_class(drive2, served):
    served.fails("d", 429, message="slow down", headers={"Retry-After": "3600"})

    with pytest.raises(RateLimitError, match="slow down") as caught:
        drive2.call(drive2.client(base_url=served.url), "invoke_prompt", deployment="d")

    assert caught.value.retry_after == 3600


def test_raise_for_status_in_a_hook_raises_the_status_error(drive2):
    client = drive2.client(
        lambda _: httpx2.Response(401, json={"error": "no such key"}),
        event_hooks={"response": [lambda response: response.raise_for_status()]},
    )

    with pytest.raises(AuthenticationError) as caught:
        drive2.call(client, "invoke_prompt", deployment="d")

    assert caught.value.maybe_processed is False


@pytest.mark.parametrize("status", [200, 401])
def test_body_that_a_hook_has_iterated_over_is_lost(drive2, status):
    """As with httpx, the status is kept, and the error of an accepted run states that it may have been processed."""

    class Body(httpx2.SyncByteStream, httpx2.AsyncByteStream):
        def __iter__(self):
            yield json.dumps(ANSWER).encode()

        async def __aiter__(self):
            yield json.dumps(ANSWER).encode()

    async def aiterate(response):
        async for _ in response.aiter_raw():
            pass

    client = drive2.client(lambda _: httpx2.Response(status, stream=Body()))
    blocking = isinstance(drive2, Blocking)
    drive2.injected.event_hooks = {"response": [lambda response: list(response.iter_raw())] if blocking else [aiterate]}

    with pytest.raises(AuthenticationError if status == 401 else APIConnectionError) as caught:
        drive2.call(client, "invoke_prompt", deployment="d")

    assert caught.value.maybe_processed is (status == 200)


def test_refused_connection_cannot_have_been_processed(drive2):
    client = drive2.client(base_url="http://127.0.0.1:9/v1", max_retries=0)

    with pytest.raises(APIConnectionError, match=r"could not connect to 127\.0\.0\.1:9") as caught:
        drive2.call(client, "invoke_prompt", deployment="d")

    assert caught.value.maybe_processed is False


@pytest.mark.parametrize(
    ("name", "maybe_processed", "calls_made"),
    [
        ("ConnectError", False, 2),
        ("ConnectTimeout", False, 2),
        ("PoolTimeout", False, 2),
        ("ProxyError", False, 2),
        ("UnsupportedProtocol", False, 1),
        ("WriteError", True, 1),
        ("WriteTimeout", True, 1),
        ("ReadError", True, 1),
        ("ReadTimeout", True, 1),
        ("CloseError", True, 1),
        ("RemoteProtocolError", True, 1),
    ],
)
def test_error_is_treated_as_its_httpx_equivalent(drive2, name, maybe_processed, calls_made):
    """Only calls whose connection was never opened are retried."""
    calls = []

    def fail(request):
        calls.append(request)
        raise getattr(httpx2, name)("it went wrong", request=request)

    client = drive2.client(fail, max_retries=1, timeout=5)

    with pytest.raises(APIConnectionError) as caught:
        drive2.call(client, "invoke_prompt", deployment="d")

    assert (
        type(caught.value.__cause__).__module__.startswith("httpx.")
        or type(caught.value.__cause__).__module__ == "httpx"
    )
    assert isinstance(caught.value.__cause__, getattr(httpx, name))
    assert caught.value.maybe_processed is maybe_processed
    assert len(calls) == calls_made


ERRORS = [cls for cls in {**vars(httpx2), **vars(httpcore2)}.values() if isinstance(cls, type)]
ERRORS = [cls for cls in ERRORS if issubclass(cls, Exception)]
WITHOUT_TWIN = {"SSEError": httpx.TransportError, "ConnectionNotAvailable": httpx.RemoteProtocolError}


def error_of(cls):
    if cls is httpx2.HTTPStatusError:
        request = httpx2.Request("POST", "https://hive.test", headers={"Authorization": f"Bearer {KEY}"})
        return cls("it went wrong", request=request, response=httpx2.Response(500, request=request))
    with contextlib.suppress(TypeError):
        return cls("it went wrong")
    return cls()


@pytest.mark.parametrize("cls", ERRORS, ids=[f"{cls.__module__}.{cls.__name__}" for cls in ERRORS])
def test_every_error_is_replaced(cls):
    """Every error of httpx2 and httpcore2 becomes the httpx error of the same name, or of a base class."""
    with pytest.raises(WITHOUT_TWIN.get(cls.__name__) or getattr(httpx, cls.__name__)) as caught, httpx_errors():
        raise error_of(cls)

    assert type(caught.value).__name__ in {cls.__name__, "TransportError", "RemoteProtocolError"}
    assert isinstance(caught.value.__cause__, cls)
    assert getattr(caught.value.__cause__, "_request", None) is None


class BrokenBody(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Raises an error after the first bytes, or when it is closed."""

    def __init__(self, error, *, closing):
        self.error = error
        self.closing = closing

    def __iter__(self):
        yield b'data: {"type": "response", "response": "Once "}\n\n'
        if not self.closing:
            raise self.error
        yield b'data: {"type": "usage", "usage": {}}\n\ndata: [DONE]\n\n'

    async def __aiter__(self):
        for piece in self:
            yield piece

    def close(self):
        if self.closing:
            raise self.error

    async def aclose(self):
        self.close()


@pytest.mark.parametrize("cls", [httpx2.ReadError, httpx2.StreamClosed, httpcore2.ReadError, httpcore2.WriteError])
@pytest.mark.parametrize("closing", [False, True], ids=["read", "closed"])
def test_error_of_the_body_is_replaced(cls, closing):
    """Including errors that httpx2 does not translate, such as that of closing the body."""
    answer = httpx2.Response(200, stream=BrokenBody(error_of(cls), closing=closing))
    response = converted(answer, httpx.Request("POST", "https://hive.test"))

    async def read():
        try:
            async for _ in response.stream:
                pass
        finally:
            await response.stream.aclose()

    with pytest.raises(getattr(httpx, cls.__name__)), contextlib.closing(response.stream):
        for _ in response.stream:
            pass
    with pytest.raises(getattr(httpx, cls.__name__)):
        asyncio.run(read())


def test_broken_stream_is_interrupted(drive2, served):
    served.streams("d", StreamScript().text("Once ").breaks())

    with pytest.raises(StreamInterruptedError) as caught:
        drive2.collect(drive2.client(base_url=served.url), deployment="d")

    assert caught.value.partial.text == "Once "


def test_silence_is_a_timeout(drive2, served):
    served.stalls("d")

    with pytest.raises(APITimeoutError) as caught:
        drive2.call(drive2.client(base_url=served.url, timeout=0.2), "invoke_prompt", deployment="d")

    assert caught.value.maybe_processed


def test_errors_do_not_contain_the_key(drive2):
    """Neither the error, nor its causes, nor the requests attached to them."""

    def fail(request):
        raise httpx2.ReadError("it went wrong again") from httpx2.ReadError("it went wrong", request=request)

    with pytest.raises(APIConnectionError) as caught:
        drive2.call(drive2.client(fail), "invoke_prompt", deployment="d")

    links = [caught.value]
    while links[-1].__cause__ or links[-1].__context__:
        links.append(links[-1].__cause__ or links[-1].__context__)
    for link in [*links, *filter(None, (link.__context__ for link in links))]:
        assert KEY not in repr(vars(link))
        assert KEY not in str(getattr(getattr(link, "_request", None), "headers", {}).get("authorization", ""))
    assert KEY not in "".join(traceback.format_exception(type(caught.value), caught.value, None))
    assert KEY.encode() not in pickle.dumps(caught.value)


def test_calls_are_recorded_and_replayed(drive2, served, tmp_path):
    served.answers("d", "Short.")
    client = drive2.client(base_url=served.url)
    with record(tmp_path / "calls.json", client):
        drive2.call(client, "invoke_prompt", deployment="d")

    assert replay(tmp_path / "calls.json").client().invoke_prompt(deployment="d").response == "Short."


def test_injected_client_of_the_wrong_kind_is_rejected():
    with pytest.raises(ConfigurationError, match="http_client must be"):
        FetchHive(KEY, http_client=httpx2.AsyncClient())
    with pytest.raises(ConfigurationError, match="async_http_client must be"):
        FetchHive(KEY, async_http_client=httpx2.Client())


def test_httpx2_is_not_imported_by_the_package():
    """Neither on import nor during a call."""
    program = f"""
import sys
from fetch_hive_sdk._net.conversions import converted, httpx_errors
from fetch_hive_sdk.testing import FakeServer
from fetch_hive_sdk import FetchHive
with FakeServer("Short.").serve() as url:
    FetchHive({KEY!r}, url).invoke_prompt(deployment="d")
print([name for name in sys.modules if name.startswith(("httpx2", "httpcore2"))])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
