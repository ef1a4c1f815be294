"""Tickets for dynamic registration: an admin makes one, and one registration uses it."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Literal

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bridge.domain.rules import WIDGET
from bridge.flows.configuration import Name
from bridge.flows.errors import Invalid, NotFound
from bridge.flows.identity import SignedIn, token_hash
from bridge.flows.runtime import Runtime
from bridge.lti.errors import LtiError
from bridge.store import now, tables
from bridge.store.tables import RegistrationTicket

LIFE = dt.timedelta(hours=1)
Role = Literal["tool", "platform"]
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_AGAIN = "begin again in the console of flowbridge, under Connections"


def make(runtime: Runtime, role: Role, name: str, host: str, person: SignedIn) -> str:
    """A new ticket for a connection of that name, at that host; its token is shown once. Raises Invalid."""
    token = secrets.token_urlsafe(32)
    with runtime.db.write() as session:
        _check_name(session, name)
        ticket = RegistrationTicket(
            token_hash=token_hash(token),
            role=role,
            name=name,
            host=host,
            person_id=person.person_id,
            expires_at=now() + LIFE,
        )
        session.add(ticket)
        session.add(tables.Audit(actor=person.key, action="registration.invite", subject=name, detail={"host": host}))
    return token


def _check_name(session: Session, name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        words = "use small letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 63"
        raise Invalid("name", words) from None
    if name == WIDGET or _is_taken(session, name):
        raise Invalid("name", f"'{name}' is the name of another connection; choose a new one")


def _is_taken(session: Session, name: str) -> bool:
    return session.scalar(select(tables.Connection.id).where(tables.Connection.name == name)) is not None


def find(session: Session, role: Role, token: str) -> RegistrationTicket:
    """The open ticket of a token; raises LtiError (401) where it is unknown, used or expired."""
    ticket = session.get(RegistrationTicket, token_hash(token))
    if ticket is None or ticket.role != role or session.get_one(tables.Person, ticket.person_id).role != "admin":
        raise _refusal("unknown", "is not known here")
    if ticket.used_at is not None:
        raise _refusal("used", "was used already")
    if ticket.expires_at <= now():
        raise _refusal("expired", "is older than an hour")
    return ticket


def take(session: Session, ticket: RegistrationTicket) -> None:
    """Use a ticket up. Of many at once exactly one does, the others get LtiError (401)."""
    ours = RegistrationTicket.token_hash == ticket.token_hash
    unused = update(RegistrationTicket).where(ours, RegistrationTicket.used_at.is_(None))
    if session.execute(unused.values(used_at=now()).returning(RegistrationTicket.token_hash)).first() is None:
        raise _refusal("used", "was used already")


def settle(session: Session, ticket: RegistrationTicket, row: tables.Connection) -> None:
    """Note which connection a used ticket has brought."""
    session.flush()
    ours = RegistrationTicket.token_hash == ticket.token_hash
    session.execute(update(RegistrationTicket).where(ours).values(connection_id=row.id))


def give_back(session: Session, ticket: RegistrationTicket) -> None:
    """Let a ticket be used after all, as nothing came of it."""
    ours = RegistrationTicket.token_hash == ticket.token_hash
    session.execute(update(RegistrationTicket).where(ours).values(used_at=None))


def free_name(session: Session, wanted: str) -> str:
    """The wanted name, or one beside it where that was given to another connection in the meantime."""
    name, number = wanted, 1
    while _is_taken(session, name):
        number += 1
        name = f"{wanted[:58]}-{number}"
    return name


def admin_of(session: Session, ticket: RegistrationTicket) -> str:
    """The key of the admin who made a ticket, who stands for what came of it."""
    return session.get_one(tables.Person, ticket.person_id).key


def came_of(runtime: Runtime, id_: str, person: SignedIn) -> str:
    """The connection that an admin's own ticket has brought, "" while nobody used it; raises NotFound.

    ``id_`` is the hash of its token in hexadecimal digits: it leads to the ticket and does not use it.
    """
    try:
        key = bytes.fromhex(id_)
    except ValueError:
        key = b""
    with runtime.db.read() as session:
        ticket = session.get(RegistrationTicket, key)
        if ticket is None or ticket.person_id != person.person_id:
            raise NotFound("There is no such registration under way. Begin a new one.")
        if ticket.connection_id is None:
            return ""
        return session.get_one(tables.Connection, ticket.connection_id).name


def id_of(token: str) -> str:
    """What :func:`came_of` knows a ticket by."""
    return token_hash(token).hex()


def _refusal(word: str, words: str) -> LtiError:
    return LtiError(f"registration_token_{word}", f"this registration {words}; {_AGAIN}", status=401)
