"""Verification and parsing of signed callbacks: `Webhook`. Performs no I/O.

The API documentation only specifies the header and the algorithm, HMAC-SHA256. This module was not tested against the
live service. It fails closed: a callback signed in any other way is rejected.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Callable, Union, cast

from pydantic import SecretStr

from ._protocol.answers import as_object, decode_json, parse_object
from .errors import ConfigurationError, SignatureError
from .models.callbacks import AgentCompleted, AgentFailed, CallbackEvent, DelegationCompleted, UnknownCallback

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = "X-Fetch-Hive-Signature"
"""The header with the signature."""

_EVENTS: dict[str, type[CallbackEvent]] = {
    "agent.completed": AgentCompleted,
    "agent.failed": AgentFailed,
    "agent.delegation.completed": DelegationCompleted,
}
_PREFIXES = ("sha256=", "v1=")


class Webhook:
    """Verifies and parses callbacks that are signed with one secret.

    The API documentation only specifies the header, `X-Fetch-Hive-Signature`, and the algorithm, HMAC-SHA256. This
    class assumes that the raw body is signed, and accepts the signature as hex or Base64, with or without the prefix
    `sha256=`. It was not tested against the live service. It fails closed: a callback signed in any other way is
    rejected.

    Args:
        secret: The webhook secret, from the dashboard or from `webhook_secret` of `WorkflowAccepted` or
            `HiveAgentAccepted`.
        signed: A function that takes the body and the headers and returns the signed bytes. The default returns the
            body.

    Raises:
        ConfigurationError: The secret is empty.

    Example:
        ```python
        webhook = Webhook("the secret, from your settings")
        body = b'{"event_type": "agent.completed", "data": {"response": "Done."}}'
        event = webhook.unwrap(body, webhook.sign(body))
        ```
    """

    __slots__ = ("_keys", "_signed")

    def __init__(
        self,
        secret: Union[str, SecretStr],
        *,
        signed: Callable[[bytes, Mapping[str, str]], bytes] = lambda body, _: body,
    ) -> None:
        self._keys = tuple(SecretStr(key.hex()) for key in _keys_of(secret))
        self._signed = signed

    def unwrap(self, body: bytes, headers: Mapping[str, str]) -> CallbackEvent:
        """Verify a callback and parse it.

        Args:
            body: The raw body, as bytes. JSON that was parsed and serialised again does not match the signature.
            headers: The headers. Their names are case-insensitive.

        Returns:
            The event: an `AgentCompleted`, `AgentFailed` or `DelegationCompleted`. Any other is an `UnknownCallback`,
            with its content in `raw`.

        Raises:
            SignatureError: The callback is not signed with the secret.
            TypeError: `body` is not bytes.
            ResponseError: The signature is valid, but the body is not a JSON object.

        """
        self.verify(body, headers)
        value = decode_json(bytes(body), "the callback")
        kind = as_object(value).get("event_type")
        return parse_object(_EVENTS.get(kind, UnknownCallback) if isinstance(kind, str) else UnknownCallback, value)

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Verify a callback.

        Args:
            body: The raw body, as bytes.
            headers: The headers. Their names are case-insensitive.

        Raises:
            SignatureError: The callback is not signed with the secret.
            TypeError: `body` is not bytes.

        """
        if not isinstance(cast("object", body), (bytes, bytearray, memoryview)):
            raise TypeError("body must be the raw bytes of the request: a string or a dict is not what was signed")
        given = [value for name, value in headers.items() if name.lower() == HEADER.lower()]
        if len(given) != 1 or not isinstance(cast("object", given[0]), str):
            raise SignatureError(f"the callback must have exactly one {HEADER} header")
        claims = _digests_in(given[0])
        message = self._signed(bytes(body), headers)
        # Compares all pairs, so that the time taken reveals nothing.
        matches = [hmac.compare_digest(digest, claim) for digest in self._digests(message) for claim in claims]
        if not any(matches):
            raise SignatureError("the callback is not signed with this secret: reject it, or check the secret")

    def sign(self, body: bytes) -> dict[str, str]:
        """Return the signature header for a body, for use in tests.

        Args:
            body: The body.

        Returns:
            The header, as a dict.

        """
        return {HEADER: self._digests(self._signed(body, {}))[0].hex()}

    def _digests(self, message: bytes) -> list[bytes]:
        keys = [bytes.fromhex(key.get_secret_value()) for key in self._keys]
        return [hmac.new(key, message, hashlib.sha256).digest() for key in keys]

    def __repr__(self) -> str:
        return "Webhook(***)"

    def __reduce__(self) -> str:
        raise TypeError("a Webhook cannot be pickled, because the pickle would contain its secret")

    def __copy__(self) -> Webhook:
        return self

    def __deepcopy__(self, memo: object) -> Webhook:
        return self


def _keys_of(secret: Union[str, SecretStr]) -> list[bytes]:
    """Return the possible keys of a secret: the string itself, and the Base64 data after `whsec_`."""
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    if not isinstance(cast("object", text), str) or not text.strip():
        raise ConfigurationError("secret must be a non-empty string: copy it from the dashboard")
    text = text.strip()
    keys = [text.encode()]
    if text.startswith("whsec_"):
        decoded = _base64(text[len("whsec_") :])
        keys += [decoded] if decoded else []
    return keys


def _digests_in(header: str) -> list[bytes]:
    """Return the possible digests in a header: its value read as hex and as Base64."""
    text = header.strip()
    for prefix in _PREFIXES:
        if text.lower().startswith(prefix):
            text = text[len(prefix) :]
    found = [_hex(text), _base64(text)]
    return [digest for digest in found if len(digest) == hashlib.sha256().digest_size]


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _base64(text: str) -> bytes:
    # With or without padding, in the standard or the URL-safe alphabet.
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
