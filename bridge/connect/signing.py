"""Webhook signatures: verified on the raw bytes, in constant time, within a replay window."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

from bridge.connect.errors import ConfigError, SignatureInvalid

#: How far a signature's timestamp may be from now, in seconds.
REPLAY_WINDOW = 300


def check_timestamp(value: str, *, now: float | None = None) -> None:
    """Refuse a missing, malformed or stale unix timestamp (seconds)."""
    if not value.isascii() or not value.isdigit() or len(value) > 12:
        raise SignatureInvalid("the signature's timestamp is missing or not in seconds")
    if abs((time.time() if now is None else now) - int(value)) > REPLAY_WINDOW:
        raise SignatureInvalid(f"the signature's timestamp is more than {REPLAY_WINDOW} seconds away from this clock")


def hmac_sha256(secret: bytes, message: bytes) -> bytes:
    return hmac.new(secret, message, hashlib.sha256).digest()


def require_equal(expected: str, given: str) -> None:
    """Compare in constant time; raise SignatureInvalid when they differ."""
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise SignatureInvalid("the signature does not match: check that both sides hold the same secret")


def _standard_key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ConfigError("a Standard Webhooks secret is 'whsec_' and base64 text") from None


def sign_standard_webhook(secret: str, message_id: str, body: bytes, *, now: float | None = None) -> dict[str, str]:
    """The three headers of a Standard Webhooks message (https://www.standardwebhooks.com, symmetric ``v1``)."""
    stamp = str(int(time.time() if now is None else now))
    signature = hmac_sha256(_standard_key(secret), f"{message_id}.{stamp}.".encode() + body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }


def verify_standard_webhook(
    secrets: tuple[str, ...], headers: Mapping[str, str], body: bytes, *, now: float | None = None
) -> str:
    """Verify a Standard Webhooks message against any of ``secrets`` (two while one is rotated); returns its id."""
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id:
        raise SignatureInvalid("the header webhook-id is missing")
    check_timestamp(stamp, now=now)
    signed = f"{message_id}.{stamp}.".encode() + body
    expected = ["v1," + base64.b64encode(hmac_sha256(_standard_key(secret), signed)).decode() for secret in secrets]
    given = headers.get("webhook-signature", "").split()
    matches = [hmac.compare_digest(want.encode(), have.encode()) for want in expected for have in given]
    if not any(matches):
        raise SignatureInvalid("webhook-signature does not match: check that both sides hold the same secret")
    return message_id
