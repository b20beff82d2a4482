"""The endpoints of a fake: exact paths below the base URL, and messages about other paths."""

from __future__ import annotations

import httpx
import pytest

from fetch_hive_sdk import FetchHive, NotFoundError
from fetch_hive_sdk.testing import TEST_KEY, Deployment, Emulator, FakeServer, Variant
from fetch_hive_sdk.testing._reply import json_reply
from fetch_hive_sdk.testing._routes import RefusedError, Route, RouteTable


def answer(incoming):
    return json_reply(200, dict(incoming.names))


TABLE = RouteTable(
    [
        Route("GET", "/agents/{agent}/chats/{chat}", answer),
        Route("DELETE", "/agents/{agent}/chats/{chat}", answer),
        Route("GET", "/agents", answer),
    ]
)


def find(method, path):
    return TABLE.find(httpx.Request(method, f"https://x.test{path}"), "/v1")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/agents", {}),
        ("/v1/agents?limit=1", {}),
        ("/v1/agents/a/chats/1?x=/y", {"agent": "a", "chat": "1"}),
        ("/v1/agents/a%2Fb/chats/%C3%A9", {"agent": "a/b", "chat": "\u00e9"}),
    ],
)
def test_name_matches_one_segment(path, names):
    """A name in braces matches one segment of a path, including escaped slashes."""
    route, found = find("GET", path)

    assert (route.method, found) == ("GET", names)


@pytest.mark.parametrize(
    "path", ["/v1/agents/", "/v1/agents/a", "/v1/agents/a/chats/", "/v1/agents/a/b/chats/1", "/agents", "/v12/agents"]
)
def test_other_paths_are_not_found(path):
    """Only complete paths match."""
    with pytest.raises(RefusedError, match=r"the base URL of this service is https://x\.test/v1") as caught:
        find("GET", path)

    assert caught.value.reply.status == 404


def test_other_methods_are_rejected():
    """The 405 lists the allowed methods."""
    assert find("DELETE", "/v1/agents/a/chats/1")[0].method == "DELETE"
    with pytest.raises(RefusedError, match="Use GET or DELETE") as caught:
        find("POST", "/v1/agents/a/chats/1")

    assert caught.value.reply.status == 405


@pytest.mark.parametrize("fake", [FakeServer("Yes."), Emulator(default="Yes.")], ids=["fake", "emulator"])
@pytest.mark.parametrize("wrong", ["", "/v1/v1", "/v1/prompt/invoke", "/v1/invoke", "/v2", "/x/v1"])
def test_wrong_base_url_gets_the_right_one(drive, fake, wrong):
    """A base URL without `/v1`, or with an endpoint appended, gets a 404 with the right URL."""
    with fake.serve() as url, FetchHive(TEST_KEY, url.replace("/v1", wrong)) as client:
        with pytest.raises(NotFoundError) as caught:
            drive.invoke(client, deployment="d")
        drive.close(client)

    assert f"the base URL of this service is {url}" in str(caught.value)


def test_other_endpoints_are_not_prompts():
    """`POST /workflow/invoke` does not return the answer of a prompt."""
    fake = FakeServer()
    fake.answers("d", "Yes.")
    request = httpx.Request(
        "POST", "https://x.test/v1/workflow/invoke", json={"deployment": "d"}, headers={"Authorization": "Bearer k"}
    )

    assert fake.handle(request).status_code == 404
    assert fake.calls == []


@pytest.mark.parametrize("path", ["/prompt/invoke", "/invoke"])
def test_both_prompt_paths_are_answered(drive, path):
    """The older path of prompts is an endpoint too."""
    assert drive.invoke(FakeServer("Yes.").client(prompt_path=path), deployment="d").response == "Yes."


@pytest.mark.parametrize("base_url", ["https://gateway.test", "https://gateway.test/hive/api", None])
def test_client_in_process_may_have_any_base_url(drive, base_url):
    """In process, the base URL can be that of a gateway."""
    assert drive.invoke(FakeServer("Yes.").client(base_url=base_url), deployment="d").response == "Yes."


def message(fake, **fields):
    with pytest.raises(NotFoundError) as caught:
        fake.client().invoke_prompt(**fields)
    return str(caught.value)


def test_unknown_deployment_lists_the_known_ones():
    """The 404 for a misspelt name lists the known ones."""
    fake = FakeServer()
    assert "No deployments are scripted" in message(fake, deployment="sumarise")

    fake.answers("summarise", "Short.")
    fake.answers("summarise", "Very short.", variant="terse")
    fake.fails("busy", 429)
    fake.answers("only", "Yes.", variant="prod")

    found = message(fake, deployment="sumarise")
    assert found.endswith("There is no deployment 'sumarise'. Known deployments: 'busy', 'only' (prod), 'summarise'")


def test_unknown_deployment_or_variant_of_an_emulator_lists_the_known_ones():
    """An emulator lists described and scripted deployments."""
    emulator = Emulator(Deployment(name="d", variants={"v": Variant(), "u": Variant()}))
    emulator.answers("e", "Yes.")

    assert message(emulator, deployment="x").endswith("There is no deployment 'x'. Known deployments: 'd', 'e'")
    assert "has no variant 'w'. Known variants: 'u', 'v'" in message(emulator, deployment="d", variant="w")
