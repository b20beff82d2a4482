"""Signed callbacks: accepted and rejected signatures, and the types of events."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from fetch_hive_sdk import (
    AgentCompleted,
    AgentFailed,
    ConfigurationError,
    DelegationCompleted,
    HiveAgentAccepted,
    ResponseDecodeError,
    ResponseValidationError,
    SignatureError,
    UnknownCallback,
    Webhook,
)

SECRET = "whsec_" + base64.b64encode(b"bees" * 6).decode()
BODY = json.dumps({"event_type": "agent.completed", "request_id": "req_1", "data": {"response": "Hi"}}).encode()
NAME = "X-Fetch-Hive-Signature"


def mac(key: bytes = SECRET.encode(), body: bytes = BODY) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()


SIGNATURES = {
    "hex": mac().hex(),
    "upper hex": mac().hex().upper(),
    "prefixed hex": f"sha256={mac().hex()}",
    "v1": f"v1={mac().hex()}",
    "base64": base64.b64encode(mac()).decode(),
    "prefixed base64": f"SHA256={base64.b64encode(mac()).decode()}",
    "URL-safe Base64": base64.urlsafe_b64encode(mac()).decode().rstrip("="),
    "decoded key": mac(b"bees" * 6).hex(),
}


@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES)
@pytest.mark.parametrize("name", [NAME, NAME.lower(), NAME.upper()])
def test_all_signature_encodings_are_accepted(signature, name):
    """They all encode the same digest."""
    event = Webhook(SECRET).unwrap(BODY, {"Content-Type": "application/json", name: f" {signature} "})

    assert isinstance(event, AgentCompleted)
    assert (event.request_id, event.response, event["data"]) == ("req_1", "Hi", {"response": "Hi"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {NAME: ""},
        {NAME: "sha256="},
        {NAME: mac(b"another").hex()},
        {NAME: mac(body=BODY + b" ").hex()},
        {NAME: mac().hex()[:-2]},
        {NAME: mac().hex() + "00"},
        {NAME: "é" * 64},
        {NAME: mac(b"").hex()},
        {NAME: mac().hex(), NAME.lower(): mac().hex()},
    ],
)
def test_invalid_signature_is_rejected(headers):
    """The error is also a ValueError, and shows neither the secret nor the expected signature."""
    with pytest.raises(SignatureError) as caught:
        Webhook(SECRET).verify(BODY, headers)

    assert isinstance(caught.value, ValueError)
    assert SECRET not in str(caught.value)
    assert mac().hex() not in str(caught.value)


@given(st.binary(max_size=80))
def test_wrong_digest_is_rejected(guess):
    """In any encoding."""
    for signature in (guess.hex(), base64.b64encode(guess).decode(), guess.decode("latin-1")):
        if guess not in {mac(), mac(b"bees" * 6)}:
            with pytest.raises(SignatureError):
                Webhook(SECRET).verify(BODY, {NAME: signature})


@pytest.mark.parametrize("body", [BODY.decode(), json.loads(BODY), None])
def test_decoded_body_is_rejected(body):
    """Serialising it again may produce different bytes."""
    with pytest.raises(TypeError, match="must be the raw bytes"):
        Webhook(SECRET).unwrap(body, {NAME: mac().hex()})


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"event_type": "agent.failed", "data": {"error": "gone"}}, AgentFailed),
        ({"event_type": "agent.delegation.completed"}, DelegationCompleted),
        ({"event_type": "workflow.completed"}, UnknownCallback),
        ({"event_type": 5, "data": [1]}, UnknownCallback),
        ({}, UnknownCallback),
    ],
)
def test_events_are_typed(fields, kind):
    """Unknown events are passed on."""
    webhook, body = Webhook("secret"), json.dumps(fields).encode()

    event = webhook.unwrap(body, webhook.sign(body))

    assert type(event) is kind
    assert event.raw == fields
    assert getattr(event, "error", None) == ("gone" if kind is AgentFailed else None)


@pytest.mark.parametrize(("body", "error"), [(b"", ResponseDecodeError), (b"[]", ResponseValidationError)])
def test_signed_body_must_be_a_json_object(body, error):
    """The error keeps the body."""
    webhook = Webhook("secret")

    with pytest.raises(error) as caught:
        webhook.unwrap(body, webhook.sign(body))

    assert caught.value.body in (body, [])


def test_secret_of_an_accepted_run_verifies_its_callback():
    """As a SecretStr or as a string."""
    accepted = HiveAgentAccepted.model_validate({"run_id": "r", "webhook_secret": SECRET})

    for secret in (accepted.webhook_secret, accepted["webhook_secret"], SecretStr(SECRET)):
        Webhook(secret).verify(BODY, Webhook(SECRET).sign(BODY))
        assert SECRET not in repr(Webhook(secret))


def test_signed_bytes_can_be_customised():
    """Such as for a scheme with a timestamp."""

    def signed(body, headers):
        return headers.get("X-Time", "1").encode() + b"." + body

    webhook = Webhook("secret", signed=signed)

    webhook.verify(BODY, {NAME: mac(b"secret", b"7." + BODY).hex(), "X-Time": "7"})
    with pytest.raises(SignatureError):
        webhook.verify(BODY, {NAME: mac(b"secret").hex()})


@pytest.mark.parametrize("secret", ["", "  ", None, SecretStr("")])
def test_empty_secret_is_rejected(secret):
    """Anyone could sign with an empty secret."""
    with pytest.raises(ConfigurationError, match="secret"):
        Webhook(secret)


def test_webhook_does_not_expose_its_secret():
    """No `repr` or pickle contains it. Copies, such as of settings, return the same object."""
    webhook = Webhook("whsec_123456", signed=signed_with_time)

    assert "whsec" not in repr(webhook)
    assert copy.copy(webhook) is copy.deepcopy([webhook])[0] is webhook
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(webhook)


def signed_with_time(body, headers):
    return headers.get("x-time", "").encode() + body
