"""Service tokens: a tool proves who it is with a signed assertion and gets an opaque token for what it may do.

1EdTech Security Framework 1.0 section 4 (https://www.imsglobal.org/spec/security/v1p0/), RFC 7523, RFC 6749.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy.orm import Session

from bridge.lti import keysets
from bridge.lti.errors import LtiError, OAuthError
from bridge.lti.host import Host
from bridge.lti.platform import registrations
from bridge.lti.platform.registrations import Tool
from bridge.store import now
from bridge.store.insert import insert_once
from bridge.store.tables import AccessToken, UsedToken

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN_SECONDS = 3600
LEEWAY_SECONDS = 60
#: The longest life of an assertion.
ASSERTION_SECONDS = 600
MAX_JTI = 512


@dataclasses.dataclass(frozen=True, slots=True)
class Granted:
    """An access token (RFC 6749 section 5.1); it is shown once and kept as a hash."""

    token: str = dataclasses.field(repr=False)
    scopes: tuple[str, ...]
    expires_in: int = TOKEN_SECONDS

    def to_json(self) -> dict[str, Any]:
        return {
            "access_token": self.token,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "scope": " ".join(self.scopes),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """What the bearer of a token may do."""

    tool: Tool
    scopes: frozenset[str]

    def require(self, *any_of: str) -> None:
        """Raise LtiError (403) unless one of these scopes was granted."""
        if not self.scopes.intersection(any_of):
            raise LtiError("scope_missing", f"the access token needs the scope {' or '.join(any_of)}", status=403)


def token_url(host: Host) -> str:
    """Where tokens are asked for; also an audience of assertions."""
    return f"{host.settings.issuer}/lti/token"


def grant(host: Host, form: Mapping[str, str]) -> Granted:
    """Answer a token request: a token for the asked scopes that the tool was granted. Raises OAuthError."""
    if form.get("grant_type") != "client_credentials":
        raise OAuthError("unsupported_grant_type", "grant_type_wrong", "send grant_type=client_credentials")
    if form.get("client_assertion_type") != JWT_BEARER:
        raise OAuthError("invalid_request", "assertion_type_wrong", f"send client_assertion_type={JWT_BEARER}")
    tool, claims = _identify(host, form.get("client_assertion", ""))
    asked = form.get("scope", "").split()
    scopes = tuple(scope for scope in dict.fromkeys(asked) if scope in tool.scopes)
    if not scopes:
        raise OAuthError("invalid_scope", "scope_not_granted", f"'{tool.name}' was granted none of the asked scopes")
    return _issue(host, tool, claims, scopes)


def _issue(host: Host, tool: Tool, claims: Mapping[str, Any], scopes: tuple[str, ...]) -> Granted:
    token, at = secrets.token_urlsafe(32), now()
    jti = hashlib.sha256(claims["jti"].encode()).hexdigest()
    until = dt.datetime.fromtimestamp(int(claims["exp"]) + LEEWAY_SECONDS, dt.UTC)
    expires = at + dt.timedelta(seconds=TOKEN_SECONDS)
    with host.db.write() as session:
        if not insert_once(session, UsedToken, issuer=f"lti-tool:{tool.client_id}", token=jti, expires_at=until):
            raise _invalid_client("assertion_replayed", "this assertion was used before; make one with a new jti")
        row = AccessToken(
            token_hash=_hash(token), connection_id=tool.connection_id, scopes=list(scopes), expires_at=expires
        )
        session.add(row)
    return Granted(token, scopes)


def check(session: Session, authorization: str | None) -> Access:
    """Who holds the bearer token of an Authorization header (RFC 6750 section 2.1); raises LtiError (401)."""
    kind, _, token = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise LtiError("token_missing", "send an access token: Authorization: Bearer ...", status=401)
    row = session.get(AccessToken, _hash(token.strip()))
    if row is None or row.expires_at <= now():
        raise LtiError("token_invalid", "the access token is not known here or has expired; ask for one", status=401)
    tool = registrations.by_connection(session, row.connection_id)
    if tool is None:
        raise LtiError("token_invalid", "the tool of this access token is switched off", status=401)
    return Access(tool, frozenset(row.scopes) & frozenset(tool.scopes))


def _identify(host: Host, assertion: str) -> tuple[Tool, Mapping[str, Any]]:
    """The tool that signed an assertion, and the assertion's verified claims."""
    try:
        unverified = jwt.decode_complete(assertion, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _invalid_client("assertion_malformed", "client_assertion is not a JWT") from None
    header, claimed = unverified["header"], unverified["payload"]
    if header.get("alg") != "RS256":
        raise _invalid_client("assertion_algorithm", "sign the assertion with RS256")
    if not isinstance(header.get("kid"), str):
        raise _invalid_client("assertion_kid_missing", "name the signing key: the header needs kid")
    with host.db.read() as session:
        tool = registrations.by_client_id(session, str(claimed.get("iss", "")))
        pending = tool is None and registrations.awaits_approval(session, str(claimed.get("iss", "")))
    if pending:
        raise _invalid_client("client_pending", "this tool is registered and waits for an admin's approval")
    if tool is None:
        raise _invalid_client("client_unknown", "iss is the client id of no tool that is registered and switched on")
    try:
        key = keysets.public_key(host, tool, header["kid"])
    except LtiError as error:
        raise _invalid_client(error.code, str(error)) from None
    return tool, _verified(host, tool, assertion, key)


def _verified(host: Host, tool: Tool, assertion: str, key: rsa.RSAPublicKey) -> Mapping[str, Any]:
    try:
        claims = jwt.decode(
            assertion,
            key,
            algorithms=["RS256"],
            audience=[token_url(host), host.settings.issuer],
            issuer=tool.client_id,
            subject=tool.client_id,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat", "jti"]},
        )
    except jwt.PyJWTError as error:
        raise _invalid_client("assertion_invalid", f"the assertion is refused: {error}") from None
    if not claims["jti"] or len(claims["jti"]) > MAX_JTI:
        raise _invalid_client("assertion_jti", f"jti must have 1 to {MAX_JTI} characters")
    if int(claims["exp"]) - int(claims["iat"]) > ASSERTION_SECONDS:
        raise _invalid_client("assertion_life", f"an assertion may live {ASSERTION_SECONDS} seconds at most")
    return claims


def _invalid_client(code: str, message: str) -> OAuthError:
    return OAuthError("invalid_client", code, message, status=401)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
