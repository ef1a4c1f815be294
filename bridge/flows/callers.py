"""Which program calls, and what it may do: credentials, their access tokens, and launched content."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hmac
import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import jwt
from sqlalchemy import Row, bindparam, select

from bridge.flows.errors import Refused
from bridge.flows.identity import SCOPES, token_hash
from bridge.flows.runtime import Runtime
from bridge.lti.errors import OAuthError
from bridge.store import now, tables
from bridge.xapi import ledger, lrs

#: How long an access token is good for, in seconds.
TOKEN_SECONDS = 900
#: What content may do that was launched, each within its launch (``bridge.flows.launched_content``).
CONTENT_SCOPES = frozenset({"statements/write", "statements/read/mine", "state", "profile"})
_LAUNCH = "launch_"
_AUDIENCE = "oauth"
_ROW = tables.Credential
_CREDENTIAL = select(_ROW.key, _ROW.secret_hash, _ROW.scopes, _ROW.connection_id).where(
    _ROW.key == bindparam("key"), _ROW.revoked_at.is_(None)
)


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """Launched content: it speaks for one actor, about one activity, in the registration of its launch."""

    launch_id: uuid.UUID
    session_id: uuid.UUID
    #: Canonical form of the actor's identifier (``bridge.xapi.ledger.identifier``).
    actor: str
    activity: str


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """The program behind a credential, an access token of it, or a launch (then with ``content``)."""

    key: str
    scopes: frozenset[str]
    connection_id: int | None
    content: Content | None = None

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "all" in self.scopes


@dataclasses.dataclass(frozen=True, slots=True)
class Granted:
    """An access token (RFC 6749 section 5.1)."""

    token: str = dataclasses.field(repr=False)
    scopes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "access_token": self.token,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "scope": " ".join(self.scopes),
        }


def require(caller: Caller, *scopes: str) -> None:
    """Raises Refused where the caller has none of these scopes."""
    if not any(caller.may(scope) for scope in scopes):
        raise Refused(
            f"the credential '{caller.key}' has no scope {' or '.join(scopes)}; an admin can make one that has"
        )


def authority(caller: Caller, issuer: str) -> str:
    """The canonical identifier of who states what a caller sends (xAPI-Data 2.4.9); each launch is one of its own."""
    return ledger.identifier({"account": {"homePage": issuer, "name": caller.key}})


def readable(caller: Caller, issuer: str, *scopes: str) -> lrs.Readable:
    """What of the ledger a caller may read: all with one of these scopes, else what it stated itself.

    Launched content: what belongs to its launch, whoever stated it.
    """
    if caller.content is not None:
        return lrs.Readable(actor=ledger.key(caller.content.actor), registration=caller.content.launch_id)
    if any(caller.may(scope) for scope in scopes):
        return lrs.EVERYTHING
    return lrs.Readable(authority=authority(caller, issuer))


def authenticate(runtime: Runtime, authorization: str) -> Caller | None:
    """The caller of a request by its Authorization header; None where it names nobody.

    That is key and secret by Basic (RFC 7617) or as ``Bearer key:secret``, or an access token (RFC 6750). Raises
    Refused where it names a launch that is over.
    """
    kind, _, given = authorization.partition(" ")
    if kind.lower() == "basic":
        pair = _pair(given)
        return by_secret(runtime, *pair) if pair else None
    if kind.lower() != "bearer":
        return None
    key, colon, secret = given.strip().partition(":")
    return by_secret(runtime, key, secret) if colon else _by_token(runtime, key)


def _pair(encoded: str) -> tuple[str, str] | None:
    """Key and secret of an ``Authorization: Basic`` header."""
    try:
        key, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return (key, secret) if colon else None


def by_secret(runtime: Runtime, key: str, secret: str) -> Caller | None:
    """The program that holds this key and secret, or None; raises Refused where it is a launch that is over."""
    if not key.isascii() or not key.isprintable():
        return None
    if key.startswith(_LAUNCH):
        return _content(runtime, key, secret)
    row = _credential(runtime, key)
    if not _is_secret(secret, row.secret_hash if row is not None else None) or row is None:
        return None
    return Caller(row.key, frozenset(row.scopes), row.connection_id)


def _credential(runtime: Runtime, key: str) -> Row[*tuple[Any, ...]] | None:
    """A credential that is not revoked."""
    with runtime.db.look() as db:
        return db.execute(_CREDENTIAL, {"key": key}).first()


def _is_secret(secret: str, expected: bytes | None) -> bool:
    """Takes the same time whether there is such a key or not."""
    return hmac.compare_digest(expected or bytes(32), token_hash(secret)) and expected is not None


def launch_key(launch_id: uuid.UUID) -> str:
    """The key by which the content of a launch calls."""
    return f"{_LAUNCH}{launch_id.hex}"


def _content(runtime: Runtime, key: str, secret: str) -> Caller | None:
    try:
        launch_id = uuid.UUID(hex=key.removeprefix(_LAUNCH))
    except ValueError:
        return None
    with runtime.db.glance() as db:
        row = db.get(tables.ContentSession, launch_id)
    if not _is_secret(secret, row.secret_hash if row is not None else None) or row is None:
        return None
    require_alive(row)
    return Caller(launch_key(launch_id), CONTENT_SCOPES, None, Content(row.launch_id, row.id, row.actor, row.activity))


def require_alive(session: tables.ContentSession) -> None:
    """Raises Refused where what was launched may not report any more."""
    again = "open it again from its prompt to go on"
    if session.ended_at is not None:
        raise Refused(f"this launch ended at {session.ended_at:%Y-%m-%d %H:%M} UTC; {again}", code="launch_ended")
    if session.expires_at <= now():
        raise Refused(f"this launch ran out at {session.expires_at:%Y-%m-%d %H:%M} UTC; {again}", code="launch_ended")


def grant(runtime: Runtime, authorization: str, form: Mapping[str, str]) -> Granted:
    """Answer a token request by client credentials (RFC 6749 section 4.4); raises OAuthError.

    The token is signed and not kept: what it may do is looked up with its credential at every use.
    """
    client = _client(runtime, authorization, form)
    if "grant_type" not in form:
        raise OAuthError("invalid_request", "grant_type_missing", "send grant_type=client_credentials")
    if form["grant_type"] != "client_credentials":
        raise OAuthError("unsupported_grant_type", "grant_type_wrong", "send grant_type=client_credentials")
    asked = tuple(dict.fromkeys(form.get("scope", "").split())) or tuple(sorted(client.scopes))
    refused = [scope for scope in asked if scope not in SCOPES or not client.may(scope)]
    if refused:
        raise OAuthError("invalid_scope", "scope_not_granted", f"the credential has no scope {' or '.join(refused)}")
    expires = int(time.time()) + TOKEN_SECONDS
    claims = {"sub": client.key, "scope": " ".join(asked), "aud": _AUDIENCE, "exp": expires}
    return Granted(jwt.encode(claims, runtime.vault.derive("oauth"), algorithm="HS256"), asked)


def _client(runtime: Runtime, authorization: str, form: Mapping[str, str]) -> Caller:
    """Who asks for a token: by Basic, or by client_id and client_secret in the body (RFC 6749 section 2.3.1)."""
    if authorization and "client_secret" in form:
        raise OAuthError(
            "invalid_request", "client_named_twice", "name the client by Basic or in the body, and not by both"
        )
    pair = (form.get("client_id", ""), form.get("client_secret", ""))
    if authorization:
        kind, _, given = authorization.partition(" ")
        key, secret = (_pair(given) if kind.lower() == "basic" else None) or ("", "")
        pair = unquote_plus(key), unquote_plus(secret)
    client = by_secret(runtime, *pair) if not pair[0].startswith(_LAUNCH) else None
    if client is None or form.get("client_id", client.key) != client.key:
        raise OAuthError(
            "invalid_client",
            "client_unknown",
            "send key and secret of a credential, by HTTP Basic or as client_id and client_secret",
            status=401,
        )
    return client


def _by_token(runtime: Runtime, token: str) -> Caller | None:
    try:
        claims = jwt.decode(
            token,
            runtime.vault.derive("oauth"),
            algorithms=["HS256"],
            audience=_AUDIENCE,
            options={"require": ["exp", "sub", "aud"]},
        )
    except jwt.PyJWTError:
        return None
    row = _credential(runtime, claims["sub"])
    if row is None:
        return None
    holder = Caller(row.key, frozenset(row.scopes), row.connection_id)
    return dataclasses.replace(holder, scopes=frozenset(filter(holder.may, claims["scope"].split())))
