"""The pytest plugin: the fixture `fetch_hive` and the option `--fetch-hive-block-network`.

pytest loads it wherever the package is installed, so it imports the package only when it is used.
"""

from __future__ import annotations

import functools
import traceback
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Union, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    import httpcore

    from fetch_hive_sdk.testing import FakeHive

_SWITCH = "fetch_hive_block_network"
_HELP = "fail tests in which fetch_hive_sdk calls a host other than this machine"


@pytest.fixture
def fetch_hive(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHive, None, None]:
    """A fake Fetch Hive service: script its answers, use its `client`, check its `calls`.

    FETCH_HIVE_API_KEY, FETCH_HIVE_BASE_URL and FETCH_HIVE_WORKSPACE_ID are set during the test, so that the same fake
    answers a `FetchHive()` made by the tested code.
    """
    from fetch_hive_sdk._config import no_proxy_for_loopback  # noqa: PLC0415 - only when the fixture is used
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
    """Add the option and the ini setting."""
    group = parser.getgroup("fetch-hive", "Fetch Hive")
    group.addoption("--fetch-hive-block-network", action="store_true", default=False, help=_HELP)
    parser.addini(_SWITCH, _HELP, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Block the network if the option or the setting is on."""
    if config.getoption(_SWITCH) or config.getini(_SWITCH):
        guard = _Guard()
        config.pluginmanager.register(guard, "fetch_hive_block_network")
        config.add_cleanup(guard.begin())


class _Guard:
    """Stops calls of the package to other machines, and fails the test that makes one."""

    def __init__(self) -> None:
        self._test = "the collection of the tests"
        self._blocked: list[str] = []

    def begin(self) -> Callable[[], None]:
        """Check every request of httpcore's connections and pools. Return a function that restores them.

        All requests of httpx and httpx2 pass through them, unlike those answered by a custom transport, respx or
        pytest-httpx. Pools are checked too, because a connection to a proxy does not know the destination.
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
        # A real coroutine function: respx checks for that.
        @functools.wraps(send)
        async def send_if_allowed(sender: object, request: httpcore.Request) -> httpcore.Response:
            self._check(request)
            return await send(sender, request)

        return send_if_allowed

    def _check(self, request: httpcore.Request) -> None:
        from fetch_hive_sdk._config import is_loopback  # noqa: PLC0415 - only when the option is used

        if not _is_ours(request) or is_loopback(request.url.host.decode()):
            return
        message = (
            f"{self._test} would have called {bytes(request.url).decode()}\n"
            f"from {_find_caller()}.\n"
            "The network is blocked for Fetch Hive (--fetch-hive-block-network). Use a fake service instead: the "
            "fixture `fetch_hive`, which answers its `client` and any FetchHive(), or FakeServer().client(); or mock "
            "httpx with respx or pytest-httpx."
        )
        self._blocked.append(message)
        # pytest.fail raises a BaseException, which neither `except Exception` nor a retry catches.
        pytest.fail(message, pytrace=False)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid

    # Runs around all other plugins, so that neither a swallowed error nor one in a thread is skipped or expected.
    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, None]:
        self._fail_if_blocked((yield).get_result())

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, Any, None]:
        self._fail_if_blocked((yield).get_result())

    def _fail_if_blocked(self, report: Union[pytest.TestReport, pytest.CollectReport]) -> None:
        blocked, self._blocked = self._blocked, []
        if blocked and not report.failed:
            report.outcome, report.longrepr = "failed", blocked[0]
            vars(report).pop("wasxfail", None)


def _is_ours(request: httpcore.Request) -> bool:
    from fetch_hive_sdk._extensions import OURS  # noqa: PLC0415 - only when the option is used

    # A transport of the caller that rebuilds the request may drop its extensions.
    return OURS in cast("Any", request).extensions or any(
        name.lower() == b"user-agent" and value.startswith(b"fetch-hive-sdk/") for name, value in request.headers
    )


def _find_caller() -> str:
    """Return the file and line that made the call, outside of the HTTP libraries."""
    for frame, line in traceback.walk_stack(None):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package not in {"fetch_hive_sdk", "httpx", "httpcore", "httpx2", "httpcore2"}:
            return f"{frame.f_code.co_filename}:{line}"
    return "an unknown place"  # pragma: no cover - every thread starts in the standard library
