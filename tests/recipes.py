"""Runs the code of the docs that needs another package, such as a web framework."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import sys
import types
from pathlib import Path

import pytest

from fetch_hive_sdk.telemetry import Observer

DOCS = Path(__file__).parent.parent / "docs"


def recipe(page: str, package: str, **names: object) -> types.ModuleType:
    """Run the blocks of a page that are titled by a package, one after the other, and return their module.

    Args:
        page: The file, below `docs`.
        package: The title.
        names: What the module has before its code runs.
    """
    text = (DOCS / page).read_text("utf-8")
    blocks = re.findall(rf'^```python title="{package}"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)
    assert blocks, f"{page} has no code for {package}"
    module = types.ModuleType(re.sub(r"\W", "_", f"{page}_{package}").lower())
    vars(module).update(names)
    sys.modules[module.__name__] = module  # frameworks look up the annotations of a function in its module
    exec(compile("\n\n".join(blocks), f"{page}: {package}", "exec", dont_inherit=True), vars(module))
    return module


def skip_unless_installed(package: str) -> None:
    """Skip the test if a package is missing. With FETCH_HIVE_RECIPES=required, as in the nightly job, it fails."""
    try:
        importlib.import_module(package)
    except ImportError:
        if os.environ.get("FETCH_HIVE_RECIPES") == "required":
            raise
        pytest.skip(f"{package} is not installed", allow_module_level=True)


def import_as(name: str, module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import name`, such as `app.main`, find a module for the rest of the test."""
    folder, _, file = name.partition(".")
    package = types.ModuleType(folder)
    setattr(package, file, module)
    monkeypatch.setitem(sys.modules, folder, package)
    monkeypatch.setitem(sys.modules, name, module)


def configure_django() -> None:
    """Configure Django for this process, once."""
    from django.conf import settings  # noqa: PLC0415 - only if it is installed

    if not settings.configured:
        settings.configure(DEFAULT_CHARSET="utf-8", ALLOWED_HOSTS=["*"])


class Calls(Observer):
    """Counts the calls in progress."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.ended = 0

    def call_started(self, event) -> None:
        self.open.add(event.call_id)

    def call_ended(self, event) -> None:
        self.open.remove(event.call_id)
        self.ended += 1


class Browser:
    """Posts JSON to an ASGI application, reads the response, and may leave after the first piece."""

    def __init__(self, path: str, body: object, *, leaves: bool = False, spec_version: str = "2.3") -> None:
        self.status: int | None = None
        self.text = ""
        self._leaves = leaves
        self._has_left = asyncio.Event()
        self._body = json.dumps(body).encode()
        self._is_sent = False
        self._headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self._body))]
        self._path = path
        self._spec_version = spec_version

    async def visit(self, app) -> Browser:
        path, _, query = self._path.partition("?")
        await app(
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": self._spec_version},
                "http_version": "1.1",
                "method": "GET" if query else "POST",
                "scheme": "http",
                "path": path,
                "raw_path": path.encode(),
                "query_string": query.encode(),
                "root_path": "",
                "headers": self._headers,
                "client": ("127.0.0.1", 1),
                "server": ("app.test", 80),
            },
            self._receive,
            self._send,
        )
        return self

    async def _receive(self):
        if not self._is_sent:
            self._is_sent = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message) -> None:
        if self._has_left.is_set() and self._spec_version >= "2.4":
            raise OSError("the browser has left")
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.text += message.get("body", b"").decode()
            if self._leaves and self.text:
                self._has_left.set()
