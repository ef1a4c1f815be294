"""Who is it? Sign-in, sessions, assertions of business apps, credentials of programs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from bridge import registry
from bridge.connect import SignatureInvalid
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.insert import insert_once

#: What a credential can be good for, with its meaning; names with a slash are xAPI's own (xAPI-Communication 4.2).
SCOPES: Mapping[str, str] = {
    "events:write": "send events of business systems",
    "prompts:read": "read decisions, and what came of an event",
    "assets:read": "read the catalogue",
    "reports:read": "read reports",
    "statements/read": "read every statement",
    "statements/read/mine": "read the statements that it sent itself",
    "statements/write": "send statements, and void those that it sent itself",
    "state": "read and write state documents",
    "profile": "read and write activity and agent profiles",
    "all/read": "read everything at the LRS",
    "all": "everything, also void what others sent",
}
#: A business app's assertion lives at most this long, in seconds.
ASSERTION_LIFE = 600
_LEEWAY = 60
_HASHER = PasswordHasher()
_TRIES, _TRY_WINDOW = 10, 300.0
#: The person of a session, as columns: every request of a browser asks for it, and entities cost twice as much.
_SESSION = (
    select(
        *(getattr(tables.SignInSession, name) for name in ("expires_at", "csrf", "via", "framed_by")),
        tables.SignInSession.role.label("session_role"),
        *(getattr(tables.Person, name) for name in ("id", "key", "name", "email", "role", "password_once")),
    )
    .join(tables.SignInSession.person)
    .where(tables.SignInSession.token_hash == bindparam("token_hash"))
)


@dataclasses.dataclass(frozen=True, slots=True)
class SignedIn:
    """The person behind a session. ``must_change`` until a printed one-time password has been replaced."""

    person_id: int
    key: str
    name: str
    email: str
    role: str
    csrf: str
    via: str
    #: Origins, apart by blanks, of the pages that may show this session's pages in a frame.
    framed_by: str
    must_change: bool


def token_hash(token: str) -> bytes:
    """How a random token of 128 bits or more is kept: whoever reads the database can't use it."""
    return hashlib.sha256(token.encode()).digest()


class _Tries:
    """Counts failed sign-ins per address in this process; a whole window of silence clears them."""

    def __init__(self) -> None:
        self._failed: dict[str, list[float]] = {}

    def check(self, who: str) -> None:
        cut = time.monotonic() - _TRY_WINDOW
        recent = [at for at in self._failed.get(who, ()) if at > cut]
        if len(recent) >= _TRIES:
            raise Refused("Too many failed sign-ins. Wait five minutes and try again.", code="too_many_tries")
        if recent:
            self._failed[who] = recent
        else:
            self._failed.pop(who, None)

    def failed(self, who: str) -> None:
        if len(self._failed) > 10_000:
            self._failed.clear()
        self._failed.setdefault(who, []).append(time.monotonic())


_tries = _Tries()


def sign_in(runtime: Runtime, email: str, password: str) -> tuple[str, SignedIn]:
    """Sign a person in by password; returns the session's token. Raises Refused."""
    who = email.strip().lower()
    _tries.check(who)
    with runtime.db.read() as session:
        people = session.scalars(select(tables.Person).where(tables.Person.email == who)).all()
    person = next((p for p in people if p.password_hash), None)
    known = person.password_hash if person is not None else None
    if not _verified(known or _nobody(), password) or person is None:
        _tries.failed(who)
        raise Refused("That e-mail address and password do not belong together.", code="sign_in_failed")
    return open_session(runtime, person.id, via="password")


@functools.cache
def _nobody() -> str:
    """Verified when nobody has that address, so that both answers take the same time."""
    return _HASHER.hash("nobody")


def _verified(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


def open_session(
    runtime: Runtime, person_id: int, *, via: str, role: str = "", framed_by: Sequence[str] = ()
) -> tuple[str, SignedIn]:
    """Begin a session for a person who has proved who they are; returns its token, which is not kept.

    ``role`` is what an LMS's launch says that they may do, ``framed_by`` the origins whose pages may frame ours.
    """
    token = secrets.token_urlsafe(32)
    with runtime.db.write() as session:
        row = tables.SignInSession(
            token_hash=token_hash(token),
            person_id=person_id,
            csrf=secrets.token_urlsafe(16),
            expires_at=now() + dt.timedelta(hours=runtime.settings.session_hours),
            via=via,
            role=role,
            framed_by=" ".join(framed_by),
        )
        session.add(row)
        session.flush()
        return token, _signed_in(session.execute(_SESSION, {"token_hash": row.token_hash}).one())


def session(runtime: Runtime, token: str | None) -> SignedIn | None:
    """Who a session's token belongs to, or None when there is no such session any more."""
    if not token:
        return None
    with runtime.db.look() as db:
        found = db.execute(_SESSION, {"token_hash": token_hash(token)}).first()
    if found is None or found.expires_at <= now():
        return None
    return _signed_in(found)


def sign_out(runtime: Runtime, token: str) -> None:
    with runtime.db.write() as db:
        row = db.get(tables.SignInSession, token_hash(token))
        if row is not None:
            db.delete(row)


def set_password(runtime: Runtime, person_id: int, new: str) -> None:
    """Replace a password; ends every other session of the person."""
    if len(new) < 12 or len(new) > 200:
        raise Invalid("password", "use 12 to 200 characters")
    with runtime.db.write() as db:
        person = db.get_one(tables.Person, person_id)
        if person.password_hash and _verified(person.password_hash, new):
            raise Invalid("password", "choose one that is different from the present one")
        person.password_hash, person.password_once = _HASHER.hash(new), False
        for row in db.scalars(select(tables.SignInSession).where(tables.SignInSession.person_id == person_id)):
            db.delete(row)


def one_time_password(person: tables.Person) -> str:
    """Give a person a random password that must be replaced at the first sign-in; it is returned, and not kept."""
    password = secrets.token_urlsafe(12)
    person.password_hash, person.password_once = _HASHER.hash(password), True
    return password


def reset_password(runtime: Runtime, email: str) -> str:
    """A new one-time password for the one person who has that address."""
    with runtime.db.write() as db:
        people = db.scalars(select(tables.Person).where(tables.Person.email == email.strip().lower())).all()
        if not people:
            raise NotFound(f"nobody has the address {email}: check it, or give it to somebody under `people`")
        if len(people) > 1:
            raise NotFound(f"{len(people)} people have the address {email}: leave it to one of them, under `people`")
        return one_time_password(people[0])


def _signed_in(row: Row[*tuple[Any, ...]]) -> SignedIn:
    return SignedIn(
        person_id=row.id,
        key=row.key,
        name=row.name,
        email=row.email,
        # What a business app vouches for opens prompts; the console needs the person's own password, or an LMS's word.
        role=row.role if row.via == "password" else row.session_role,
        csrf=row.csrf,
        via=row.via,
        framed_by=row.framed_by,
        must_change=row.password_once and row.via == "password",
    )


def person_from_assertion(runtime: Runtime, connection_name: str, assertion: str) -> int:
    """The person whom a business app vouches for.

    ``assertion`` is a JWT (RFC 7519, HS256) that the app's server signed with its connection's ``sign_in_secret``:
    ``iss`` the connection's name, ``aud`` this bridge's address, ``sub`` the account there, ``iat`` and ``exp``
    at most ten minutes apart. Raises SignatureInvalid, NotFound or Refused.
    """
    with runtime.db.read() as db:
        connection = find_connection(db, connection_name)
        secret = _sign_in_secret(runtime, connection)
        claims = _claims(runtime, connection, secret, assertion)
        account = db.get(tables.Account, (connection.name, claims["sub"]))
    if account is None:
        raise Refused(
            f"The account '{claims['sub']}' of '{connection.name}' belongs to nobody known here;"
            " an admin can add it to a person.",
            code="person_unknown",
        )
    return account.person_id


def _sign_in_secret(runtime: Runtime, connection: tables.Connection) -> str:
    stored = connection.config.get("sign_in_secret")
    if not stored:
        raise SignatureInvalid(f"the connection '{connection.name}' has no sign_in_secret: it can't vouch for people")
    config = registry.find(connection.connector).config_class
    return str(runtime.vault.open_config(config, {"sign_in_secret": stored})["sign_in_secret"])


def _claims(runtime: Runtime, connection: tables.Connection, secret: str, assertion: str) -> dict[str, str]:
    try:
        claims = jwt.decode(
            assertion,
            secret,
            algorithms=["HS256"],
            issuer=connection.name,
            audience=runtime.settings.issuer,
            leeway=_LEEWAY,
            options={"require": ["exp", "iat", "sub", "iss", "aud"]},
        )
    except jwt.PyJWTError as error:
        raise SignatureInvalid(f"the sign-in assertion of '{connection.name}' is not valid: {error}") from None
    if float(claims["exp"]) - float(claims["iat"]) > ASSERTION_LIFE:
        raise SignatureInvalid(
            f"the sign-in assertion of '{connection.name}' lives longer than {ASSERTION_LIFE} seconds"
        )
    return dict(claims)


def find_connection(db: Session, name: str) -> tables.Connection:
    """The connection of that name; raises NotFound."""
    connection = db.scalar(select(tables.Connection).where(tables.Connection.name == name))
    if connection is None:
        raise NotFound(f"there is no connection '{name}': the console and `flowbridge export` name those that exist")
    return connection


def create_credential(
    runtime: Runtime, label: str, scopes: list[str], connection: str | None = None
) -> tuple[str, str]:
    """Make a key and secret for a program; the secret is returned once and never again."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        wrong = f"there is no '{', '.join(unknown)}'" if unknown else "none is given"
        raise Invalid("scope", f"{wrong}; the scopes are {', '.join(SCOPES)}")
    key, secret = "fb_" + secrets.token_hex(8), secrets.token_urlsafe(32)
    with runtime.db.write() as db:
        bound = find_connection(db, connection).id if connection else None
        row = tables.Credential(
            key=key, secret_hash=token_hash(secret), label=label, scopes=sorted(set(scopes)), connection_id=bound
        )
        db.add_all([row, tables.Audit(actor="cli", action="credential.create", subject=key, detail={"scopes": scopes})])
    return key, secret


def revoke_credential(runtime: Runtime, key: str) -> None:
    """End a credential at once."""
    with runtime.db.write() as db:
        row = db.get(tables.Credential, key)
        if row is None:
            raise NotFound(f"there is no credential '{key}'")
        row.revoked_at = row.revoked_at or now()
        db.add(tables.Audit(actor="cli", action="credential.revoke", subject=key))


def handoff(runtime: Runtime, person_id: int, prompt_id: str, *, page: str = "") -> str:
    """A code that lets this person's browser open this prompt once, within ten minutes, on the bridge's own origin.

    ``page`` is the origin of the page that asked for it.
    """
    claims = {"sub": str(person_id), "prompt": prompt_id, "page": page, "jti": secrets.token_urlsafe(16)}
    return jwt.encode({**claims, "exp": int(time.time()) + ASSERTION_LIFE}, _handoff_key(runtime), algorithm="HS256")


def redeem_handoff(runtime: Runtime, code: str, prompt_id: str) -> int:
    """The person who a handoff code was made for; raises SignatureInvalid when it is wrong, old or used."""
    try:
        claims = jwt.decode(code, _handoff_key(runtime), algorithms=["HS256"], options={"require": ["exp", "jti"]})
    except jwt.PyJWTError:
        raise SignatureInvalid(
            "this link was opened too late; go back to your work and open the prompt again"
        ) from None
    with runtime.db.write() as db:
        until = dt.datetime.fromtimestamp(claims["exp"], dt.UTC)
        if claims["prompt"] != prompt_id or not insert_once(
            db, tables.UsedToken, issuer="handoff", token=claims["jti"], expires_at=until
        ):
            raise SignatureInvalid("this link was used already; go back to your work and open the prompt again")
    return int(claims["sub"])


def page_of_handoff(runtime: Runtime, code: str) -> str:
    """The origin of the page that asked for a handoff code, also for one that is over; "" when the code is not ours."""
    try:
        claims = jwt.decode(code, _handoff_key(runtime), algorithms=["HS256"], options={"verify_exp": False})
    except jwt.PyJWTError:
        return ""
    return str(claims.get("page", ""))


def _handoff_key(runtime: Runtime) -> bytes:
    return runtime.vault.derive("handoff")
