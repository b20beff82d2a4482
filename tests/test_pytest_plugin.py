"""The plugin for pytest, in test runs of its own: what users' tests see of it."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import textwrap

import pytest

pytest_plugins = ["pytester"]

# A run in this process forgets the modules that it was the first to import. Of these there must not be two.
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
    """Run a module of tests in this process, with our plugin and those that are named."""
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
    """If nobody stopped the calls of these tests: there is no name service, and they fail in another way."""

    def refuse(*args: object, **options: object) -> None:
        raise socket.gaierror("no name service in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


# --- The fixture -----------------------------------------------------------------------------------------------------


def test_gives_a_client_of_a_fake(run):
    """`fetch_hive` answers as told, blocking and asyncio, and knows what it was asked."""
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


def test_answers_clients_that_the_code_makes(run):
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


def test_goes_past_the_proxy_of_the_machine(run, monkeypatch):
    """Where the environment names a proxy, the calls to the fake do not go there."""
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
    """A call for which no answer was left fails the test, even where the code takes it for a refusal."""
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
    result.stdout.fnmatch_lines(["*'greet' was told 1 answers, and this is call 2*"])


def test_shows_calls_readably(run):
    """A failing expectation about calls shows both sides as a caller would write them, and no key."""
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


def test_is_described(run):
    """`pytest --fixtures` and `--help` tell what there is."""
    fixtures = run("", "--fixtures", "-q")
    options = run("", "--help")

    fixtures.stdout.fnmatch_lines(["fetch_hive*", "*tell it what deployments answer*"])
    options.stdout.fnmatch_lines(["Fetch Hive:", "*--fetch-hive-block-network*", "*fetch_hive_block_network (bool)*"])


@pytest.mark.parametrize(
    ("plugin", "mark"), [("asyncio", "@pytest.mark.asyncio"), ("anyio", "@pytest.mark.anyio")], ids=["asyncio", "anyio"]
)
def test_works_in_coroutines(run, plugin, mark):
    """Tests of pytest-asyncio and anyio take the same fixture."""
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


def test_works_side_by_side(run):
    """With pytest-xdist, each worker has its own fakes, and blocks the network, too."""
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


def test_costs_nothing_until_it_is_used(run, pytester):
    """With the plugin, pytest loads nothing else of the package, and none of its dependencies."""
    pytester.makeconftest("""
        import sys

        def pytest_unconfigure(config):
            ours = {name for name in sys.modules if name.startswith("fetch_hive_sdk")}
            assert ours == {"fetch_hive_sdk", "fetch_hive_sdk._version", "fetch_hive_sdk.pytest_plugin"}
            assert not {"httpx", "httpcore", "pydantic"} & sys.modules.keys()
    """)

    result = run("def test_it(): pass", apart=True)

    assert result.ret == 0, result.stderr.str()


def test_is_found_by_itself(pytester, monkeypatch):
    """Nothing has to be configured: the package tells pytest that it has a plugin."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    pytester.makepyfile("def test_it(fetch_hive): assert fetch_hive.url")

    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_is_no_burden_to_other_programs():
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
def test_stops_calls_that_would_leave_the_machine(run, body):
    """With the option, a test that would call the service fails, and says where, why and what to do."""
    result = run(f"{BLOCKED}\n    def test_it():\n        {body}\n", "--fetch-hive-block-network", "--showlocals")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_it would have called http*/prompt/invoke",
            "from *.py:*",
            "*take the fixture `fetch_hive`*",
        ]
    )
    assert "fhk_" not in result.stdout.str()


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
def test_fails_a_test_that_swallows_the_error(run, body):
    """A call in a thread or a task, or below an `except`, fails its test, too."""
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
def test_blocks_in_fixtures_and_while_collecting(run):
    """A call that a fixture makes is an error of its test; one at the top of a module fails the collection."""
    module = f"""{BLOCKED}
    @pytest.fixture
    def text():
        return greet()

    def test_it(text):
        pass
    """
    in_fixture = run(module, "--fetch-hive-block-network")
    in_fixture.assert_outcomes(errors=1)

    module = """
        from fetch_hive_sdk import FetchHive
        FetchHive("fhk_test", "https://blocked.invalid").invoke_prompt(deployment="greet")
    """
    at_the_top = run(module, "--fetch-hive-block-network")
    at_the_top.assert_outcomes(errors=1)
    at_the_top.stdout.fnmatch_lines(["*the collection of the tests would have called https://blocked.invalid/*"])


@pytest.mark.usefixtures("_offline")
def test_blocks_by_the_setting(run, pytester):
    """The setting of the configuration file does what the option does; `-o` turns it off for a run."""
    pytester.makeini("[pytest]\npythonpath = .\nfetch_hive_block_network = true\n")
    module = f"{BLOCKED}\n    def test_it():\n        greet()\n"

    blocked = run(module)
    allowed = run(module, "-o", "fetch_hive_block_network=false", "-W", "ignore")

    blocked.stdout.fnmatch_lines(["*would have called*"])
    allowed.stdout.no_fnmatch_line("*would have called*")
    allowed.stdout.fnmatch_lines(["*APIConnectionError: could not connect*"])


def test_lets_everything_else_pass(run):
    """Fakes, loopback ports, and what does not come from this package are not touched."""
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


def test_lets_respx_and_pytest_httpx_pass(run):
    """Calls that another tool answers never leave the machine."""
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
