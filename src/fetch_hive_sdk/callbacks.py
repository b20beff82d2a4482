"""Signed callbacks, verified and read: `Webhook`. Uses no client, and no network.

The documentation names the header and the method, HMAC-SHA256, and nothing more. This was not checked against a live
delivery. It fails closed: a callback that is signed in another way is refused.
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
"""The header that has the signature."""

_EVENTS: dict[str, type[CallbackEvent]] = {
    "agent.completed": AgentCompleted,
    "agent.failed": AgentFailed,
    "agent.delegation.completed": DelegationCompleted,
}
_PREFIXES = ("sha256=", "v1=")


class Webhook:
    """Verifies and reads the callbacks that are signed with one secret.

    The documentation names the header `X-Fetch-Hive-Signature` and HMAC-SHA256, and nothing more. This takes the raw
    body as what is signed, and the signature as hex or Base64, with or without `sha256=`. It was not checked against a
    live delivery. It fails closed: a callback that is signed in another way is refused.

    Args:
        secret: The webhook's secret: of the dashboard, or the `webhook_secret` of `WorkflowAccepted` or
            `HiveAgentAccepted`.
        signed: Returns the bytes that are signed, given the body and the headers, should it not be the body alone.

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
        """Verify a callback and read it.

        Args:
            body: The body, as the bytes that came: JSON that was read and written again is signed no more.
            headers: The headers, in any spelling.

        Returns:
            The event: `AgentCompleted`, `AgentFailed`, `DelegationCompleted`, or `UnknownCallback` with all in `raw`.

        Raises:
            SignatureError: It is not signed with the secret.
            TypeError: The body is not bytes.
            ResponseError: It is signed, but not a JSON object.

        """
        self.verify(body, headers)
        value = decode_json(bytes(body), "the callback")
        kind = as_object(value).get("event_type")
        return parse_object(_EVENTS.get(kind, UnknownCallback) if isinstance(kind, str) else UnknownCallback, value)

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Verify a callback.

        Args:
            body: The body, as the bytes that came.
            headers: The headers, in any spelling.

        Raises:
            SignatureError: It is not signed with the secret.
            TypeError: The body is not bytes.

        """
        if not isinstance(cast("object", body), (bytes, bytearray, memoryview)):
            raise TypeError("body must be the bytes that came: a text or a dict is not what was signed")
        given = [value for name, value in headers.items() if name.lower() == HEADER.lower()]
        if len(given) != 1 or not isinstance(cast("object", given[0]), str):
            raise SignatureError(f"the callback has no {HEADER} header, or several")
        claims = _digests_in(given[0])
        message = self._signed(bytes(body), headers)
        # All of them, so that the time tells nothing.
        matches = [hmac.compare_digest(digest, claim) for digest in self._digests(message) for claim in claims]
        if not any(matches):
            raise SignatureError("the callback is not signed with this secret: it may be of someone else")

    def sign(self, body: bytes) -> dict[str, str]:
        """Return the header that signs a body, for your tests.

        Args:
            body: The body.

        Returns:
            The header, to be sent along.

        """
        return {HEADER: self._digests(self._signed(body, {}))[0].hex()}

    def _digests(self, message: bytes) -> list[bytes]:
        keys = [bytes.fromhex(key.get_secret_value()) for key in self._keys]
        return [hmac.new(key, message, hashlib.sha256).digest() for key in keys]

    def __repr__(self) -> str:
        return "Webhook(***)"

    def __reduce__(self) -> str:
        raise TypeError("a Webhook is not pickled: its secret would be, too")

    def __copy__(self) -> Webhook:
        return self

    def __deepcopy__(self, memo: object) -> Webhook:
        return self


def _keys_of(secret: Union[str, SecretStr]) -> list[bytes]:
    """Return the keys that a secret may stand for: its text, and what follows `whsec_` as Base64."""
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    if not isinstance(cast("object", text), str) or not text.strip():
        raise ConfigurationError("secret must be a string that is not empty")
    text = text.strip()
    keys = [text.encode()]
    if text.startswith("whsec_"):
        decoded = _base64(text[len("whsec_") :])
        keys += [decoded] if decoded else []
    return keys


def _digests_in(header: str) -> list[bytes]:
    """Return the digests that a header may stand for."""
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
    # With or without padding, and in the alphabet of URLs, too.
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
