"""The recipes for callbacks: the code on the page runs in each web framework, with signed and unsigned callbacks."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from fetch_hive_sdk import Webhook
from recipes import configure_django, recipe, skip_unless_installed

PAGE = "workflows.md"
SECRET = "whsec_test"
BODY = json.dumps({"event_type": "agent.completed", "request_id": "req_1", "data": {"response": "Done."}}).encode()
PATH = "/hooks/fetch-hive"


@pytest.fixture
def post(monkeypatch, request):
    """Post a body with headers to the recipe of a framework; return the status."""
    framework = request.param
    skip_unless_installed(framework.lower())
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    return globals()[f"_post_to_{framework.lower()}"]


def _post_to_fastapi(headers: dict[str, str]) -> int:
    async def main() -> int:
        transport = httpx.ASGITransport(recipe(PAGE, "FastAPI").app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app.test") as client:
            return (await client.post(PATH, content=BODY, headers=headers)).status_code

    return asyncio.run(main())


def _post_to_flask(headers: dict[str, str]) -> int:
    return recipe(PAGE, "Flask").app.test_client().post(PATH, data=BODY, headers=headers).status_code


def _post_to_django(headers: dict[str, str]) -> int:
    from django.test import RequestFactory  # noqa: PLC0415 - only if it is installed

    configure_django()
    view = recipe(PAGE, "Django").take_callback
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
