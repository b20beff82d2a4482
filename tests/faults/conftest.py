"""What the fault suite shares."""

from __future__ import annotations

import pytest

from faults.senders import SENDERS, make_tls, sending

# What a sender cannot keep, or does not have: the name of a test or of a row of it, then the reason.
PLAYS_A_PROXY = {"test_a_proxy_does_not_limit_how_many_calls_there_are": "the server plays a proxy for plain http"}
LOOKED_UP = "the proxy looks up names and tries addresses"
BOUNDED = "httpx bounds each read, and not the call"
OWN = "about connections of our own: an injected client is used as it is"
EXCLUDED = {
    "https": PLAYS_A_PROXY,
    "proxy": {
        **PLAYS_A_PROXY,
        "test_an_impossible_host_is_given_up_at_once": LOOKED_UP,
        "test_a_slow_lookup_is_over_in_time": LOOKED_UP,
        "test_silent_addresses_are_over_in_time": LOOKED_UP,
        "test_a_silent_address_is_passed_over": LOOKED_UP,
    },
    "uvloop": {},
    "injected": {
        "headers that drip": BOUNDED,
        "103 without end": BOUNDED,
        "test_bytes_after_an_answer_are_not_the_next_answer": OWN,
        "test_bytes_after_a_long_answer_are_not_the_next_answer": OWN,
        "test_an_answer_before_its_question_is_not_its_answer": OWN,
        "test_a_call_can_be_cancelled_anywhere": OWN,
        "test_event_loops_share_a_client": OWN,
    },
}


@pytest.fixture
def tls(monkeypatch):
    """The server's side of TLS, its certificate trusted by the client."""
    return make_tls(monkeypatch)[1]


@pytest.fixture(autouse=True)
def _sender(request, monkeypatch, tmp_path, _no_settings_of_the_machine):
    """Every test uses the sender that this run is about."""
    sender = request.config.getoption("--sender")
    assert sender in SENDERS
    with sending(sender, monkeypatch, tmp_path):
        yield


def pytest_collection_modifyitems(config, items):
    excluded = EXCLUDED.get(config.getoption("--sender"), {})
    for item in items:
        for name, reason in excluded.items():
            if name in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))
