"""Fixtures of the fault suite, and the tests that it skips for some senders."""

from __future__ import annotations

import pytest

from faults.senders import SENDERS, make_tls, sending, use_uvloop

# Tests that do not apply to a sender: part of the name of the test or its parameters, then the reason.
ACTS_AS_PROXY = {"test_proxy_does_not_limit_concurrent_calls": "the server acts as a proxy for plain http"}
LOOKED_UP = "the proxy looks up names and tries addresses"
LOOKED_UP_BY_UVLOOP = "uvloop does not look up names with the socket module, which the test patches"
BOUNDED = "httpx limits each read, not the call"
OWN = "tests the SDK's own connections, which an injected client replaces"
CLOSED = "close() leaves an injected client open, and its connection is unknown before a response"
PROXIES = [
    "test_proxy_failure_is_a_connection_error",
    "test_unreachable_proxy_is_a_connection_error",
    "test_timeout_includes_the_proxy_handshake",
    "test_calls_share_a_tunnel",
    "test_fault_behind_a_proxy_is_an_unknown_outcome",
    "test_timeout_limits_a_call_through_a_proxy",
    "test_proxy_does_not_limit_concurrent_calls",
]
INJECTED = {
    "slow headers": BOUNDED,
    "endless 103": BOUNDED,
    "each piece within the timeout": BOUNDED,
    "late headers, then a stalled body": BOUNDED,
    "silence, idle_timeout": BOUNDED,
    "test_connection_is_reused_after_a_complete_stream": "reads after [DONE] have no limit: it is closed",
    "test_error_received_while_sending_is_the_response": "httpx sends the whole request before it reads",
    "test_interruption_inside_a_lock_releases_it": "the httpx pool may stay locked",
    "test_interruption_anywhere_leaks_no_lock_or_connection": "the httpx pool may stay locked",
    "test_invalid_host_name_is_not_retried[asyncio": "anyio also looks up invalid names",
    "test_deleted_client_closes_its_connections": OWN,
    "test_deleted_asyncio_client_closes_its_connections": OWN,
    "test_connection_with_excess_bytes_is_not_reused": OWN,
    "test_connection_with_excess_bytes_after_a_long_response_is_not_reused": OWN,
    "test_idle_connection_that_receives_bytes_is_not_reused": OWN,
    "test_call_can_be_cancelled_at_any_await": OWN,
    "test_event_loops_share_a_client": OWN,
    "test_tcp_keepalive_is_enabled": OWN,
    "test_unusable_certificate_file_is_named": OWN,
    "test_timeout_includes_the_dns_lookup": BOUNDED,
    "test_timeout_includes_all_addresses": BOUNDED,
    "test_next_address_is_tried_after_a_silent_one": OWN,
    "test_timeout_includes_sending": BOUNDED,
    **dict.fromkeys(PROXIES, "the injected client is responsible for its proxy"),
    "test_closing_the_client_ends_a_call": CLOSED,
    "test_closing_the_client_ends_a_stream": CLOSED,
    "test_closing_the_client_ends_an_asyncio_call": CLOSED,
    "test_closing_the_client_ends_connecting": CLOSED,
    "test_stream_can_be_closed_by_another_thread[head]": CLOSED,
    "test_stream_can_be_closed_by_another_task[head]": CLOSED,
}
EXCLUDED = {
    "https": ACTS_AS_PROXY,
    "proxy": {
        **ACTS_AS_PROXY,
        "test_invalid_host_name_is_not_retried": LOOKED_UP,
        "test_timeout_includes_the_dns_lookup": LOOKED_UP,
        "test_timeout_includes_all_addresses": LOOKED_UP,
        "test_next_address_is_tried_after_a_silent_one": LOOKED_UP,
        "test_closing_the_client_ends_connecting_to_a_silent_address": LOOKED_UP,
    },
    "uvloop": {
        "test_unknown_host_is_retried[asyncio]": LOOKED_UP_BY_UVLOOP,
        "test_timeout_includes_the_dns_lookup[asyncio]": LOOKED_UP_BY_UVLOOP,
        "test_timeout_includes_all_addresses[asyncio]": LOOKED_UP_BY_UVLOOP,
        "test_next_address_is_tried_after_a_silent_one[asyncio]": LOOKED_UP_BY_UVLOOP,
        "test_closing_the_client_ends_connecting_to_a_silent_address": LOOKED_UP_BY_UVLOOP,
    },
    "injected": INJECTED,
    "httpx2": INJECTED,
}


@pytest.fixture
def tls(monkeypatch):
    """A server TLS context whose certificate the client trusts."""
    return make_tls(monkeypatch)[1]


@pytest.fixture(autouse=True)
def _sender(request, monkeypatch, tmp_path, _clean_environment):
    """Run every test with the sender chosen by `--sender`."""
    sender = request.config.getoption("--sender")
    assert sender in SENDERS
    with sending(sender, monkeypatch, tmp_path):
        yield


def pytest_configure(config):
    if config.getoption("--sender") == "uvloop":  # async tests: pytest-asyncio reads the policy only once
        config.add_cleanup(use_uvloop().close)


def pytest_collection_modifyitems(config, items):
    excluded = EXCLUDED.get(config.getoption("--sender"), {})
    for item in items:
        for name, reason in excluded.items():
            if name in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))
