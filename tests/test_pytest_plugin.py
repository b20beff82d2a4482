"""The pytest plugin, tested in test runs of its own."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import textwrap

import pytest

pytest_plugins = ["pytester"]

# A run in this process unloads the modules that it imported first. These must not be imported twice.
for module in ("httpcore", "fetch_hive_sdk._asyncio", "fetch_hive_sdk._net.connections", "fetch_hive_sdk.testing"):
    importlib.import_module(module)

APP = """
    from fetch_hive_sdk import FetchHive

    def greet():
        return FetchHive().invoke_prompt(deployment="greet").response

    async def agreet():
        return (await FetchHive().ainvoke_prompt(deployment="greet")).response
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run a test module in this process, with our plugin and the given ones."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(app=APP)
    pytester.makeini("[pytest]\npythonpath = .\n")

    def run(module: str, *options: str, plugins: tuple[str, ...] = (), apart: bool = False):
        pytester.makepyfile(test_it=module)
        names = [word for name in ("fetch_hive_sdk", *plugins) for word in ("-p", name)]
        start = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return start(*names, "-p", "no:cacheprovider", *options)

    return run


@pytest.fixture
def _offline(monkeypatch):
    """Without the plugin these calls would fail differently, because there is no DNS."""

    def refuse(*args: object, **options: object) -> None:
        raise socket.gaierror("no name service in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


# --- The fixture -----------------------------------------------------------------------------------------------------


def test_fixture_has_a_client(run):
    """`fetch_hive` returns scripted answers, blocking and asyncio, and records the calls."""
    result = run("""
        import asyncio
        import pytest
        from fetch_hive_sdk import FetchHive, RateLimitError, StreamInterruptedError
        from fetch_hive_sdk.testing import FakeHive

        def test_it(fetch_hive: FakeHive):
            fetch_hive.answers("summarise", "Short.")
            fetch_hive.streams("story", ["Once ", "upon"])
            fetch_hive.fails("busy", 429, headers={"Retry-After": "3600"})
            client = fetch_hive.client

            assert isinstance(client, FetchHive)
            assert client.invoke_prompt(deployment="summarise", inputs={"text": "Long."}).response == "Short."
            assert asyncio.run(client.ainvoke_prompt(deployment="summarise")).response == "Short."
            assert list(client.invoke_prompt_stream(deployment="story").text()) == ["Once ", "upon"]
            with pytest.raises(RateLimitError):
                client.invoke_prompt(deployment="busy")

            assert [call.deployment for call in fetch_hive.calls] == ["summarise", "summarise", "story", "busy"]
            assert fetch_hive.calls[0].inputs == {"text": "Long."}

        def test_is_new_for_each_test(fetch_hive):
            assert fetch_hive.calls == []
    """)

    result.assert_outcomes(passed=2)


def test_answers_clients_of_the_tested_code(run):
    """`FetchHive()` finds the fake in the environment, which is restored after the test."""
    result = run("""
        import asyncio, os
        from app import agreet, greet

        def test_it(fetch_hive, monkeypatch):
            fetch_hive.answers("greet", "Hello.")
            assert os.environ["FETCH_HIVE_BASE_URL"] == fetch_hive.url

            assert greet() == "Hello."
            assert asyncio.run(agreet()) == "Hello."
            assert len(fetch_hive.calls) == 2
            monkeypatch.setenv("FETCH_HIVE_BASE_URL", "https://other.invalid")

        def test_restored():
            assert "FETCH_HIVE_API_KEY" not in os.environ
            assert "FETCH_HIVE_BASE_URL" not in os.environ
            assert "NO_PROXY" not in os.environ
    """)

    result.assert_outcomes(passed=2)


def test_bypasses_proxies(run, monkeypatch):
    """A proxy in the environment is not used for calls to the fake."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.test")

    result = run("""
        import os
        from app import greet

        def test_it(fetch_hive):
            fetch_hive.answers("greet", "Hello.")

            assert greet() == "Hello."
            assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "example.test,127.0.0.1"
    """)

    result.assert_outcomes(passed=1)


def test_fails_a_test_that_makes_too_many_calls(run):
    """A call after the last scripted answer fails the test, even if the code handles the error."""
    result = run("""
        from app import greet

        def test_it(fetch_hive):
            fetch_hive.answers("greet", ["Hello."])
            for _ in range(2):
                try:
                    greet()
                except Exception:
                    pass
    """)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*'greet' was called 2 times, but only 1 answer is scripted*"])


def test_shows_calls_readably(run):
    """A failed assertion on calls shows them as a caller would write them, without the key."""
    result = run("""
        from fetch_hive_sdk import InvokeRequest

        def test_it(fetch_hive):
            fetch_hive.answers("greet", "Hello.")
            fetch_hive.client.invoke_prompt(deployment="greet", inputs={"name": "Ada"})
            assert fetch_hive.calls == [InvokeRequest(deployment="greet", inputs={"name": "Bob"})]
    """)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*diff: InvokeRequest(deployment='greet'*'Ada'* != InvokeRequest(*'Bob'*"])
    assert "fhk_" not in result.stdout.str()


def test_appears_in_pytest_help(run):
    """`pytest --fixtures` and `--help` describe the plugin."""
    fixtures = run("", "--fixtures", "-q")
    options = run("", "--help")

    fixtures.stdout.fnmatch_lines(["fetch_hive*", "*script its answers*"])
    options.stdout.fnmatch_lines(["Fetch Hive:", "*--fetch-hive-block-network*", "*fetch_hive_block_network (bool)*"])


@pytest.mark.parametrize(
    ("plugin", "mark"), [("asyncio", "@pytest.mark.asyncio"), ("anyio", "@pytest.mark.anyio")], ids=["asyncio", "anyio"]
)
def test_works_in_asyncio_tests(run, plugin, mark):
    """Tests with pytest-asyncio and anyio use the same fixture."""
    pytest.importorskip({"asyncio": "pytest_asyncio"}.get(plugin, plugin))

    result = run(
        f"""
        import asyncio
        import pytest
        from app import agreet

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        {mark}
        async def test_it(fetch_hive):
            fetch_hive.answers("greet", "Hello.")
            assert (await fetch_hive.client.ainvoke_prompt(deployment="greet")).response == "Hello."
            assert await asyncio.gather(agreet(), agreet()) == ["Hello.", "Hello."]
        """,
        "-W",
        "error",
        "-W",
        "ignore::pytest.PytestDeprecationWarning",
        plugins=(plugin,),
        apart=True,
    )

    result.assert_outcomes(passed=1)


def test_works_with_xdist(run):
    """With pytest-xdist, each worker has its own fakes and blocks the network."""
    pytest.importorskip("xdist")

    result = run(
        """
        import pytest
        from app import greet

        @pytest.mark.parametrize("text", ["one", "two", "three", "four"])
        def test_it(fetch_hive, text):
            fetch_hive.answers("greet", text)
            assert greet() == text

        def test_blocked(monkeypatch):
            monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_test")
            monkeypatch.setenv("FETCH_HIVE_BASE_URL", "https://blocked.invalid")
            greet()
        """,
        "-n",
        "2",
        "--fetch-hive-block-network",
        plugins=("xdist",),
        apart=True,
    )

    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*test_it.py::test_blocked would have called https://blocked.invalid/*"])


def test_imports_nothing_until_used(run, pytester):
    """Loading the plugin imports nothing else of the package, and none of its dependencies."""
    pytester.makeconftest("""
        import sys

        def pytest_unconfigure(config):
            ours = {name for name in sys.modules if name.startswith("fetch_hive_sdk")}
            assert ours == {"fetch_hive_sdk", "fetch_hive_sdk._version", "fetch_hive_sdk.pytest_plugin"}
            assert not {"httpx", "httpcore", "pydantic"} & sys.modules.keys()
    """)

    result = run("def test_it(): pass", apart=True)

    assert result.ret == 0, result.stderr.str()


def test_is_found_without_configuration(pytester, monkeypatch):
    """The package registers the plugin with an entry point."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    pytester.makepyfile("def test_it(fetch_hive): assert fetch_hive.url")

    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_imports_only_pytest_and_the_standard_library():
    """The plugin imports only pytest and the standard library."""
    code = """
        import sys, fetch_hive_sdk.pytest_plugin
        assert not {"httpx", "httpcore", "pydantic", "fetch_hive_sdk.client"} & sys.modules.keys()
    """

    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


# --- Blocking the network --------------------------------------------------------------------------------------------

BLOCKED = """
    import asyncio, threading
    import httpcore
    import httpx
    import pytest
    from app import agreet, greet
    from fetch_hive_sdk import FetchHive

    @pytest.fixture(autouse=True)
    def _settings(monkeypatch):
        monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_0123456789")
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", "https://blocked.invalid/v1")

    blocked = httpcore.Request(
        "POST", "https://blocked.invalid/v1/prompt/invoke", headers={"User-Agent": "fetch-hive-sdk/1.0"}
    )
"""


needs_httpx2 = pytest.mark.skipif(importlib.util.find_spec("httpx2") is None, reason="httpx2 needs Python 3.11")


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize(
    "body",
    [
        "greet()",
        "asyncio.run(agreet())",
        "next(FetchHive().invoke_prompt_stream(deployment='greet'))",
        "FetchHive(http_client=httpx.Client()).invoke_prompt(deployment='greet')",
        "asyncio.run(FetchHive(async_http_client=httpx.AsyncClient()).ainvoke_prompt(deployment='greet'))",
        pytest.param(
            "import httpx2\n        FetchHive(http_client=httpx2.Client()).invoke_prompt(deployment='greet')",
            marks=needs_httpx2,
        ),
        pytest.param(
            "import httpx2\n"
            "        client = FetchHive(async_http_client=httpx2.AsyncClient())\n"
            "        asyncio.run(client.ainvoke_prompt(deployment='greet'))",
            marks=needs_httpx2,
        ),
        "FetchHive(base_url='http://[2001:db8::1]', allow_http=True).invoke_prompt(deployment='greet')",
        "httpcore.HTTPConnection(blocked.url.origin).handle_request(blocked)",
        "asyncio.run(httpcore.AsyncHTTPConnection(blocked.url.origin).handle_async_request(blocked))",
    ],
)
def test_blocks_calls_to_other_machines(run, body):
    """With the option, a test that calls the service fails with the place, the reason and advice."""
    result = run(f"{BLOCKED}\n    def test_it():\n        {body}\n", "--fetch-hive-block-network", "--showlocals")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_it would have called http*/prompt/invoke",
            "from *.py:*",
            "*the fixture `fetch_hive`*",
        ]
    )
    assert "fhk_" not in result.stdout.str()


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize(
    "body",
    [
        "FetchHive(default_headers=named).invoke_prompt(deployment='greet')",
        "asyncio.run(FetchHive(default_headers=named).ainvoke_prompt(deployment='greet'))",
        "FetchHive(http_client=httpx.Client(event_hooks=hooks)).invoke_prompt(deployment='greet')",
        "asyncio.run(FetchHive(async_http_client=httpx.AsyncClient(event_hooks=ahooks)).ainvoke_prompt(deployment='g'))",
        pytest.param(
            "import httpx2\n"
            "        FetchHive(http_client=httpx2.Client(event_hooks=hooks)).invoke_prompt(deployment='greet')",
            marks=needs_httpx2,
        ),
    ],
)
def test_blocks_calls_with_another_user_agent(run, body):
    """A call is blocked whatever its `User-Agent` is."""
    module = f"""{BLOCKED}
    named = {{"User-Agent": "my-app/1"}}

    def rename(request):
        request.headers.update(named)

    async def arename(request):
        rename(request)

    hooks, ahooks = {{"request": [rename]}}, {{"request": [arename]}}

    def test_it():
        {body}
    """

    result = run(module, "--fetch-hive-block-network")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it would have called https://blocked.invalid/v1/prompt/invoke"])


def test_blocks_the_recording_proxy(run):
    """A call that the recording proxy forwards is blocked, whatever program makes it."""
    module = f"""{BLOCKED}
    from fetch_hive_sdk.testing import recording_proxy

    def test_it(tmp_path):
        with recording_proxy(tmp_path / "calls.json", "https://blocked.invalid/v1") as proxy:
            answer = httpx.post(f"{{proxy.url}}/prompt/invoke", json={{}}, trust_env=False)
            assert answer.status_code == 500
            assert "blocked" in answer.json()["error"]
    """

    result = run(module, "--fetch-hive-block-network", "-W", "error::pytest.PytestUnhandledThreadExceptionWarning")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it would have called https://blocked.invalid/v1/prompt/invoke"])


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize(
    "body",
    [
        "try: greet()\n        except BaseException: pass",
        "with pytest.raises(BaseException): greet()",
        "asyncio.run(gather())",
        "thread = threading.Thread(target=swallow); thread.start(); thread.join()",
    ],
)
def test_swallowed_error_fails_the_test(run, body):
    """A call in a thread or a task, or inside a `try`, fails its test too."""
    module = f"""{BLOCKED}
    async def gather():
        await asyncio.gather(agreet(), return_exceptions=True)

    def swallow():
        try:
            greet()
        except BaseException:
            pass

    def test_it():
        {body}

    def test_next():
        pass
    """

    result = run(module, "--fetch-hive-block-network")

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it would have called https://blocked.invalid/v1/prompt/invoke"])


@pytest.mark.usefixtures("_offline")
def test_swallowed_error_fails_a_skipped_test(run):
    """A test fails even if it is skipped, or expected to fail, after its call was blocked."""
    module = f"""{BLOCKED}
    import unittest

    def call_in_thread():
        thread = threading.Thread(target=greet)
        thread.start()
        thread.join()

    @pytest.fixture
    def text():
        call_in_thread()
        pytest.skip("no service")

    def test_skipped():
        call_in_thread()
        pytest.skip("no service")

    def test_skipped_by_a_fixture(text):
        pass

    def test_expected():
        call_in_thread()
        pytest.xfail("a known bug")

    @pytest.mark.xfail
    def test_marked():
        call_in_thread()

    @pytest.mark.xfail(strict=True)
    def test_marked_and_failed():
        call_in_thread()
        assert False

    class TestCase(unittest.TestCase):
        def test_skipped(self):
            call_in_thread()
            self.skipTest("no service")

    def test_next():
        pytest.skip("no service")
    """

    result = run(module, "--fetch-hive-block-network", "-W", "ignore")

    result.assert_outcomes(failed=5, errors=1, skipped=1)
    result.stdout.fnmatch_lines(["test_it.py::test_skipped would have called https://blocked.invalid/*"])
    result.stdout.fnmatch_lines(["test_it.py::TestCase::test_skipped would have called https://blocked.invalid/*"])


@pytest.mark.usefixtures("_offline")
def test_blocks_in_fixtures_and_collection(run):
    """A call in a fixture fails its test; one at module level, or in a thread started there, fails the collection."""
    module = f"""{BLOCKED}
    @pytest.fixture
    def text():
        return greet()

    def test_it(text):
        pass
    """
    in_fixture = run(module, "--fetch-hive-block-network")
    in_fixture.assert_outcomes(errors=1)

    for start in ("call()", "thread = threading.Thread(target=call); thread.start(); thread.join()"):
        module = f"""
        import threading
        from fetch_hive_sdk import FetchHive

        def call():
            FetchHive("fhk_test", "https://blocked.invalid").invoke_prompt(deployment="greet")

        {start}

        def test_it():
            pass
        """
        at_the_top = run(module, "--fetch-hive-block-network", "-W", "ignore")
        at_the_top.assert_outcomes(errors=1)
        at_the_top.stdout.fnmatch_lines(["*the collection of the tests would have called https://blocked.invalid/*"])


@pytest.mark.usefixtures("_offline")
def test_ini_setting_blocks(run, pytester):
    """The ini setting does the same as the option; `-o` turns it off for a run."""
    pytester.makeini("[pytest]\npythonpath = .\nfetch_hive_block_network = true\n")
    module = f"{BLOCKED}\n    def test_it():\n        greet()\n"

    blocked = run(module)
    allowed = run(module, "-o", "fetch_hive_block_network=false", "-W", "ignore")

    blocked.stdout.fnmatch_lines(["*would have called*"])
    allowed.stdout.no_fnmatch_line("*would have called*")
    allowed.stdout.fnmatch_lines(["*APIConnectionError: could not connect*"])


def test_allows_all_other_calls(run):
    """Fakes, loopback ports and other packages are not blocked."""
    module = f"""{BLOCKED}
    import socket
    from fetch_hive_sdk.testing import FakeServer

    def test_fixture(fetch_hive):
        fetch_hive.answers("greet", "Hello.")
        assert greet() == "Hello."
        assert asyncio.run(agreet()) == "Hello."
        assert fetch_hive.client.invoke_prompt(deployment="greet").response == "Hello."

    def test_mock_transport():
        fake = FakeServer("Hello.")
        with httpx.Client(transport=httpx.MockTransport(fake.handle)) as http_client:
            FetchHive(http_client=http_client).invoke_prompt(deployment="greet")

    def test_localhost():
        with FakeServer("Hello.").serve() as url:
            url = url.replace("127.0.0.1", "localhost")
            assert FetchHive(base_url=url).invoke_prompt(deployment="greet").response == "Hello."

    def test_others(monkeypatch):
        def refuse(*args, **options):
            raise socket.gaierror("reached")
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        with pytest.raises(httpx.ConnectError, match="reached"):
            httpx.get("https://other.invalid", trust_env=False)
    """

    result = run(module, "--fetch-hive-block-network")

    result.assert_outcomes(passed=4)


def test_allows_respx_and_pytest_httpx(run):
    """Calls answered by other tools never leave the machine."""
    pytest.importorskip("respx")
    pytest.importorskip("pytest_httpx")
    module = f"""{BLOCKED}
    def test_respx(respx_mock):
        respx_mock.post("https://blocked.invalid/v1/prompt/invoke").respond(json={{"response": "Hello."}})
        assert greet() == "Hello."
        assert asyncio.run(agreet()) == "Hello."

    def test_pytest_httpx(httpx_mock):
        httpx_mock.add_response(json={{"response": "Hello."}})
        assert greet() == "Hello."
    """

    result = run(module, "--fetch-hive-block-network", plugins=("respx", "pytest_httpx"))

    result.assert_outcomes(passed=2)
