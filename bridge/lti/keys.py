"""The bridge's own RSA keys: made once, sealed at rest, rotated without a failed launch.

Three states are published in the key set: ``next`` (peers learn it before it is used), ``current`` (signs) and
``previous`` (kept until nothing that it signed can be valid and no advised cache can hold the old set).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import time
import weakref
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from bridge.lti.errors import LtiError
from bridge.lti.host import Host
from bridge.store import Database, now
from bridge.store.tables import SigningKey

ALGORITHM = "RS256"
BITS = 2048
#: Seconds for which peers may cache the key set.
CACHE_SECONDS = 3600
#: How long a replaced key stays published.
RETIRE_AFTER = dt.timedelta(hours=24)

#: Loaded keys by kid. A kid is the key's own thumbprint, so that two installations in one process can't mix. Loading a
#: PEM re-checks the key, which takes fifty times as long as a signature.
_loaded: dict[str, rsa.RSAPrivateKey] = {}

#: For so many seconds a process goes on with the key that it found current. A rotation waits for nobody: the key that
#: is replaced stays published for much longer.
CURRENT_SECONDS = 5.0
_found: weakref.WeakKeyDictionary[Database, tuple[float, str, rsa.RSAPrivateKey]] = weakref.WeakKeyDictionary()


def ensure(host: Host) -> None:
    """Make the current and the next key where there is none; safe to call at every start of every process."""
    with host.db.read() as session:
        if session.scalar(_current()) is not None:
            return
    rows = [_new(host, "current"), _new(host, "next")]
    with host.db.write() as session:
        _lock(session)
        if session.scalar(_current()) is None:
            session.add_all(rows)


def rotate(host: Host) -> str:
    """Sign with the next key from now on and make a new next one; returns the kid that signs now."""
    ensure(host)
    fresh = _new(host, "next")
    with host.db.write() as session:
        _lock(session)
        rows = session.scalars(select(SigningKey).order_by(SigningKey.created_at)).all()
        for row in rows:
            _advance(session, row)
        session.add(fresh)
    _found.pop(host.db, None)
    return next(row.kid for row in rows if row.state == "current")


def too_early(host: Host) -> dt.timedelta | None:
    """How long some peers may not know the next key yet, which they cache; None when all of them can."""
    announced = select(SigningKey.created_at).where(SigningKey.state == "next").order_by(SigningKey.created_at.desc())
    with host.db.read() as session:
        at = session.scalar(announced.limit(1))
    left = at + dt.timedelta(seconds=CACHE_SECONDS) - now() if at is not None else dt.timedelta(0)
    return left if left > dt.timedelta(0) else None


def _advance(session: Session, row: SigningKey) -> None:
    if row.state == "next":
        row.state = "current"
    elif row.state == "current":
        row.state, row.retire_at = "previous", now() + RETIRE_AFTER
    elif row.retire_at is not None and row.retire_at <= now():
        session.delete(row)


def key_set(host: Host) -> dict[str, list[dict[str, Any]]]:
    """The public keys as a JWK set (RFC 7517 section 5)."""
    query = select(SigningKey).order_by(SigningKey.created_at)
    with host.db.read() as session:
        rows = session.scalars(query).all()
    return {
        "keys": [_public(row.kid, _key(host, row)) for row in rows if row.retire_at is None or row.retire_at > now()]
    }


def sign(host: Host, claims: Mapping[str, Any]) -> str:
    """A JWT of these claims, signed with the current key."""
    kid, key = _signing_key(host)
    return jwt.encode(dict(claims), key, algorithm=ALGORITHM, headers={"kid": kid})


def _signing_key(host: Host) -> tuple[str, rsa.RSAPrivateKey]:
    until, kid, key = _found.get(host.db, (0.0, "", None))
    if key is None or until <= time.monotonic():
        with host.db.glance() as session:
            row = session.scalar(_current())
        if row is None:
            raise LtiError(
                "signing_key_missing", "flowbridge has no LTI signing key; run 'flowbridge keys'", status=503
            )
        kid, key = row.kid, _key(host, row)
        _found[host.db] = (time.monotonic() + CURRENT_SECONDS, kid, key)
    return kid, key


def _current() -> Any:
    return select(SigningKey).where(SigningKey.state == "current").order_by(SigningKey.created_at.desc()).limit(1)


def _lock(session: Session) -> None:
    """Let one process at a time change the keys; on SQLite every write transaction is alone already."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE signing_key IN SHARE ROW EXCLUSIVE MODE"))


def _new(host: Host, state: str) -> SigningKey:
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    kid = _thumbprint(key)
    _loaded[kid] = key
    return SigningKey(kid=kid, private=host.vault.seal(pem).encode(), state=state)


def _key(host: Host, row: SigningKey) -> rsa.RSAPrivateKey:
    if row.kid not in _loaded:
        pem = host.vault.open(row.private.decode()).encode()
        key = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        _loaded[row.kid] = key
    return _loaded[row.kid]


def _public(kid: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {"kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": kid, "n": jwk["n"], "e": jwk["e"]}


def _thumbprint(key: rsa.RSAPrivateKey) -> str:
    """RFC 7638: the digest of the key's required members."""
    jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    members = json.dumps({"e": jwk["e"], "kty": "RSA", "n": jwk["n"]}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()
