"""For pytest: the fixture `fetch_hive`, and `--fetch-hive-block-network`.

pytest loads this in every project that has the package installed, so it imports nothing else until it is used.
"""

from __future__ import annotations

import functools
import traceback
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    import httpcore

    from fetch_hive_sdk.testing import FakeHive

_SWITCH = "fetch_hive_block_network"
_HELP = "in tests, calls of fetch_hive_sdk to other hosts than this machine are errors"


@pytest.fixture
def fetch_hive(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHive, None, None]:
    """A fake of Fetch Hive: tell it what deployments answer, take its `client`, look at its `calls`.

    FETCH_HIVE_API_KEY, FETCH_HIVE_BASE_URL and FETCH_HIVE_WORKSPACE_ID are set for the time of the test, so that a
    `FetchHive()` that the tested code makes for itself is answered by the same fake.
    """
    from fetch_hive_sdk._config import no_proxy_for_loopback  # noqa: PLC0415 - not before the fixture is used
    from fetch_hive_sdk.testing import TEST_KEY, TEST_WORKSPACE, FakeHive  # noqa: PLC0415 - as above

    with FakeHive().running() as fake:
        settings = {
            "FETCH_HIVE_API_KEY": TEST_KEY,
            "FETCH_HIVE_BASE_URL": fake.url,
            "FETCH_HIVE_WORKSPACE_ID": TEST_WORKSPACE,
            **no_proxy_for_loopback(),
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield fake
    if fake.mistakes:
        pytest.fail("\n".join(fake.mistakes), pytrace=False)


# --- Blocking the network --------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option, and the setting of the same name."""
    group = parser.getgroup("fetch-hive", "Fetch Hive")
    group.addoption("--fetch-hive-block-network", action="store_true", default=False, help=_HELP)
    parser.addini(_SWITCH, _HELP, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Block the network, if that is wanted."""
    if config.getoption(_SWITCH) or config.getini(_SWITCH):
        guard = _Guard()
        config.pluginmanager.register(guard, "fetch_hive_block_network")
        config.add_cleanup(guard.begin())


class _Guard:
    """Stops the calls of the package that would leave this machine, and sees to it that the test fails."""

    def __init__(self) -> None:
        self._place = "the collection of the tests"
        self._stopped: list[str] = []

    def begin(self) -> Callable[[], None]:
        """Check every request of httpcore's connections and pools; return the function that undoes it.

        All requests of httpx and httpx2 pass through them, unless a transport, respx or pytest-httpx answers. Pools are
        checked as well as connections, because a pool knows where a request goes through a proxy.
        """
        patch = pytest.MonkeyPatch()
        for name in ("httpcore", "httpcore2"):  # of httpx, and of httpx2 where that is installed
            with suppress(ModuleNotFoundError):
                core = import_module(name)
                for sends in (core.HTTPConnection, core.ConnectionPool):
                    patch.setattr(sends, "handle_request", self._guard(sends.handle_request))
                for asends in (core.AsyncHTTPConnection, core.AsyncConnectionPool):
                    patch.setattr(asends, "handle_async_request", self._aguard(asends.handle_async_request))
        return patch.undo

    def _guard(self, send: Callable[[Any, httpcore.Request], httpcore.Response]) -> Callable[..., httpcore.Response]:
        @functools.wraps(send)
        def send_if_allowed(sender: object, request: httpcore.Request) -> httpcore.Response:
            self._check(request)
            return send(sender, request)

        return send_if_allowed

    def _aguard(
        self, send: Callable[[Any, httpcore.Request], Awaitable[httpcore.Response]]
    ) -> Callable[..., Awaitable[httpcore.Response]]:
        # A coroutine function of its own: respx looks at whether it is one.
        @functools.wraps(send)
        async def send_if_allowed(sender: object, request: httpcore.Request) -> httpcore.Response:
            self._check(request)
            return await send(sender, request)

        return send_if_allowed

    def _check(self, request: httpcore.Request) -> None:
        from fetch_hive_sdk._config import is_loopback  # noqa: PLC0415 - not before the option is used

        if not _is_ours(request) or is_loopback(request.url.host.decode()):
            return
        message = (
            f"{self._place} would have called {bytes(request.url).decode()}\n"
            f"from {_find_caller()}.\n"
            "The network is blocked for Fetch Hive (--fetch-hive-block-network). Fake the service: take the fixture "
            "`fetch_hive`, whose `client` you can pass on and which answers FetchHive() as well; or pass on "
            "FakeServer().client(); or fake httpx with respx or pytest-httpx."
        )
        self._stopped.append(message)
        # No Exception: neither `except Exception` nor a retry takes it for a failure of the service.
        pytest.fail(message, pytrace=False)

    def pytest_collection_finish(self) -> None:
        # What was stopped until here has failed the collection, and no test.
        self._stopped.clear()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._place = nodeid

    # Before pytest makes its report: what was swallowed, or was raised in a thread, becomes the outcome.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        stopped, self._stopped = self._stopped, []
        if stopped and call.excinfo is None:
            with pytest.raises(pytest.fail.Exception) as call.excinfo:
                pytest.fail(stopped[0], pytrace=False)


def _is_ours(request: httpcore.Request) -> bool:
    return any(
        name.lower() == b"user-agent" and value.startswith(b"fetch-hive-sdk/") for name, value in request.headers
    )


def _find_caller() -> str:
    """Return the line outside of the libraries that made the call."""
    for frame, line in traceback.walk_stack(None):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package not in {"fetch_hive_sdk", "httpx", "httpcore", "httpx2", "httpcore2"}:
            return f"{frame.f_code.co_filename}:{line}"
    return "an unknown place"  # pragma: no cover - a thread begins in the standard library
