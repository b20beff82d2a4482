"""What the fault suite shares."""

from __future__ import annotations

import ssl

import pytest
import trustme

from fetch_hive_sdk._net import tls as tls_module


@pytest.fixture
def tls(monkeypatch):
    """The server's side of TLS, its certificate trusted by the client."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "hive.test").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(tls_module, "_make_tls_context", lambda: trusting)
    return context
