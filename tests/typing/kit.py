"""Correctly typed uses of the test kit. Four type checkers must accept them; never run."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import httpx
from typing_extensions import assert_type

from fetch_hive_sdk import FetchHive, InvokeRequest, ResponseEvent
from fetch_hive_sdk.testing import (
    TEST_KEY,
    Answer,
    Cassette,
    Deployment,
    Emulator,
    FakeHive,
    FakeServer,
    Fault,
    PlannedFault,
    Refusal,
    StreamScript,
    Tokens,
    Variable,
    Variant,
    record,
    recording_proxy,
    replay,
)


def echo(request: InvokeRequest) -> str:
    return request.deployment


def limited(request: InvokeRequest) -> Refusal:
    return Refusal(429, headers={"Retry-After": "1"}) if request.user else Refusal(status=402)


def fakes() -> None:
    fake = FakeServer(default=echo, api_key=TEST_KEY, delay=0.1)
    fake.answers("d", "Short.", variant="v", usage={"total_tokens": 1}, pieces=["Sh", "ort."])
    fake.answers("d", Answer("Short.", reasoning="Hm."))
    fake.answers("d", ["one", Refusal(503), Fault.BREAK, echo, limited, StreamScript().text("Sh")])
    fake.answers("d", limited)
    fake.fails("d", 429, headers={"Retry-After": "1"})
    fake.streams("d", ["one", ResponseEvent(response="two"), {"type": "usage", "usage": {}}, "data: [DONE]\n\n"])
    fake.streams("d", StreamScript(model="m").reasoning("Hm.").text("a", "b").pause(0.5).usage().ends_early())
    fake.breaks("d")
    fake.stalls("d", variant="v")
    assert_type(fake.client(max_retries=0), FetchHive)
    assert_type(fake.calls, "list[InvokeRequest]")
    assert_type(fake.handle(httpx.Request("POST", "https://x.test")), httpx.Response)
    with fake.serve(8000) as url:
        assert_type(url, str)
    fake.default, fake.delay = None, 0.0


def test_with_the_fixture(fetch_hive: FakeHive) -> None:
    fetch_hive.answers("d", "Short.")
    assert_type(fetch_hive.client, FetchHive)
    assert_type(fetch_hive.url, str)


def emulators() -> None:
    summarise = Deployment(
        name="summarise",
        answer="In short: {text}",
        usage=Tokens(prompt_tokens=3),
        variables={"text": Variable(type="string", required=True)},
        variants={"short": Variant(answer=["one", "two"], delay=0.1)},
        faults=[PlannedFault(fault="cut", every=3)],
    )
    emulator = Emulator(summarise, default="Else.")
    assert_type(emulator.client(), FetchHive)
    assert_type(Emulator.from_file(Path("fetch-hive.toml")).reload(), bool)
    with emulator.serve(page=True) as url:
        assert_type(url, str)


def recordings(client: FetchHive) -> None:
    with record("c.json", client) as recorded:
        assert_type(recorded, FetchHive)
    with replay("c.json", redact=lambda request: {**request, "inputs": {}}, pace=1) as cassette:
        assert_type(cassette, Cassette)
        assert_type(cassette.client(), FetchHive)
        assert_type(cassette.handle(httpx.Request("POST", "https://x.test")), httpx.Response)
    with cassette.serve() as url, recording_proxy("c.json", url) as proxy:
        assert_type(proxy.url, str)
        name: Optional[str] = proxy.url
        assert name
