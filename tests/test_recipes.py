"""The recipes for web frameworks: the code on the page is run with signed and unsigned callbacks.

Frameworks that are not installed are skipped. With FETCH_HIVE_RECIPES=required, as in the nightly job, the tests fail.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
from pathlib import Path

import httpx
import pytest

from fetch_hive_sdk import Webhook

PAGE = Path(__file__).parent.parent / "docs" / "workflows.md"
SECRET = "whsec_test"
BODY = json.dumps({"event_type": "agent.completed", "request_id": "req_1", "data": {"response": "Done."}}).encode()
PATH = "/hooks/fetch-hive"


def recipe(framework: str) -> dict[str, object]:
    """Run the recipe of a framework and return its namespace."""
    text = PAGE.read_text("utf-8")
    (code,) = re.findall(rf'^```python title="{framework}"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)
    module: dict[str, object] = {"__name__": framework}
    exec(compile(code, f"{PAGE.name}: {framework}", "exec", dont_inherit=True), module)
    return module


def skip_unless_installed(framework: str) -> None:
    try:
        importlib.import_module(framework.lower())
    except ImportError:
        if os.environ.get("FETCH_HIVE_RECIPES") == "required":
            raise
        pytest.skip(f"{framework} is not installed")


@pytest.fixture
def post(monkeypatch, request):
    """Post a body with headers to the recipe of a framework; return the status."""
    framework = request.param
    skip_unless_installed(framework)
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    return globals()[f"_post_to_{framework.lower()}"]


def _post_to_fastapi(headers: dict[str, str]) -> int:
    async def main() -> int:
        transport = httpx.ASGITransport(recipe("FastAPI")["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://app.test") as client:
            return (await client.post(PATH, content=BODY, headers=headers)).status_code

    return asyncio.run(main())


def _post_to_flask(headers: dict[str, str]) -> int:
    return recipe("Flask")["app"].test_client().post(PATH, data=BODY, headers=headers).status_code


def _post_to_django(headers: dict[str, str]) -> int:
    from django.conf import settings  # noqa: PLC0415 - only if it is installed
    from django.test import RequestFactory  # noqa: PLC0415 - only if it is installed

    if not settings.configured:
        settings.configure(DEFAULT_CHARSET="utf-8")
    view = recipe("Django")["take_callback"]
    return view(RequestFactory().post(PATH, BODY, content_type="application/json", headers=headers)).status_code


every_framework = pytest.mark.parametrize("post", ["FastAPI", "Flask", "Django"], indirect=True)


@every_framework
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in the frameworks
def test_signed_callback_is_accepted(post, capsys):
    """The recipe parses it."""
    assert post(Webhook(SECRET).sign(BODY)) == 200
    assert "req_1" in capsys.readouterr().out


@every_framework
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in the frameworks
@pytest.mark.parametrize("headers", [{}, Webhook("whsec_other").sign(BODY)], ids=["unsigned", "wrong secret"])
def test_unsigned_callback_is_rejected(post, capsys, headers):
    """The recipe responds with 401 and does not parse the body."""
    assert post(headers) == 401
    assert "req_1" not in capsys.readouterr().out
