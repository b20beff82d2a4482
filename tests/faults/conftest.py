"""What the fault suite shares."""

from __future__ import annotations

import pytest

from faults.senders import SENDERS, make_tls, sending, use_uvloop

# What a sender cannot keep, or does not have: the name of a test or of a row of it, then the reason.
PLAYS_A_PROXY = {"test_a_proxy_does_not_limit_how_many_calls_there_are": "the server plays a proxy for plain http"}
LOOKED_UP = "the proxy looks up names and tries addresses"
LOOKED_UP_BY_UVLOOP = "uvloop looks up names without the socket module, by which the test answers"
BOUNDED = "httpx bounds each read, and not the call"
OWN = "about connections of our own: an injected client is used as it is"
CLOSED = "close() does not touch an injected client, whose connection is known only when an answer has begun"
PROXIES = [
    "test_a_proxy_that_refuses_is_like_a_refused_connection",
    "test_a_proxy_that_is_not_there_is_a_refused_connection",
    "test_a_slow_proxy_is_over_in_time",
    "test_calls_share_a_tunnel",
    "test_faults_behind_a_proxy_are_as_without",
    "test_a_call_through_a_proxy_is_over_in_time",
]
EXCLUDED = {
    "https": PLAYS_A_PROXY,
    "proxy": {
        **PLAYS_A_PROXY,
        "test_an_impossible_host_is_given_up_at_once": LOOKED_UP,
        "test_a_slow_lookup_is_over_in_time": LOOKED_UP,
        "test_silent_addresses_are_over_in_time": LOOKED_UP,
        "test_a_silent_address_is_passed_over": LOOKED_UP,
        "test_closing_the_client_ends_connecting_to_a_silent_address": LOOKED_UP,
    },
    "uvloop": {
        "test_an_unknown_host_is_tried_again[asyncio]": LOOKED_UP_BY_UVLOOP,
        "test_a_slow_lookup_is_over_in_time[asyncio]": LOOKED_UP_BY_UVLOOP,
        "test_silent_addresses_are_over_in_time[asyncio]": LOOKED_UP_BY_UVLOOP,
        "test_a_silent_address_is_passed_over[asyncio]": LOOKED_UP_BY_UVLOOP,
        "test_closing_the_client_ends_connecting_to_a_silent_address": LOOKED_UP_BY_UVLOOP,
    },
    "injected": {
        "headers that drip": BOUNDED,
        "103 without end": BOUNDED,
        "every piece just in time": BOUNDED,
        "late headers, then a stall": BOUNDED,
        "silence, idle_timeout": BOUNDED,
        "test_a_stream_that_ends_gives_its_connection_back": "nothing bounds a read after [DONE]: it is closed at once",
        "test_a_refusal_that_comes_while_sending_is_the_answer": "httpx sends all before it reads",
        "test_an_interruption_inside_a_lock_leaves_nothing_locked": "the pool of httpx may stay locked",
        "test_an_interruption_anywhere_leaves_nothing_locked_and_nothing_open": "the pool of httpx may stay locked",
        "test_an_impossible_host_is_given_up_at_once[asyncio": "anyio looks up invalid names, too",
        "test_an_abandoned_client_closes_its_connections": OWN,
        "test_an_abandoned_asyncio_client_closes_its_connections": OWN,
        "test_bytes_after_an_answer_are_not_the_next_answer": OWN,
        "test_bytes_after_a_long_answer_are_not_the_next_answer": OWN,
        "test_an_answer_before_its_question_is_not_its_answer": OWN,
        "test_a_call_can_be_cancelled_anywhere": OWN,
        "test_event_loops_share_a_client": OWN,
        "test_tcp_keepalive_is_on": OWN,
        "test_unusable_certificate_files_are_named": OWN,
        "test_a_slow_lookup_is_over_in_time": BOUNDED,
        "test_silent_addresses_are_over_in_time": BOUNDED,
        "test_a_silent_address_is_passed_over": OWN,
        "test_sending_is_over_in_time": BOUNDED,
        **dict.fromkeys(PROXIES, "the proxy is the injected client's affair, and so are its errors"),
        "test_closing_the_client_ends_a_call": CLOSED,
        "test_closing_the_client_ends_a_stream": CLOSED,
        "test_closing_the_client_ends_an_asyncio_call": CLOSED,
        "test_closing_the_client_ends_connecting": CLOSED,
        "test_a_stream_can_be_closed_by_another_thread[head]": CLOSED,
        "test_a_stream_can_be_closed_by_another_task[head]": CLOSED,
    },
}


@pytest.fixture
def tls(monkeypatch):
    """The server's side of TLS, its certificate trusted by the client."""
    return make_tls(monkeypatch)[1]


@pytest.fixture(autouse=True)
def _sender(request, monkeypatch, tmp_path, _clean_environment):
    """Every test uses the sender that this run is about."""
    sender = request.config.getoption("--sender")
    assert sender in SENDERS
    with sending(sender, monkeypatch, tmp_path):
        yield


def pytest_configure(config):
    if config.getoption("--sender") == "uvloop":  # for tests that are coroutines: their plugin looks once
        config.add_cleanup(use_uvloop().close)


def pytest_collection_modifyitems(config, items):
    excluded = EXCLUDED.get(config.getoption("--sender"), {})
    for item in items:
        for name, reason in excluded.items():
            if name in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))
