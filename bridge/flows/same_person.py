"""Same person: an admin says whose account of an LMS it is, which nobody could tell when it was launched first."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Select, and_, delete, or_, select
from sqlalchemy.orm import Session

from bridge.flows.errors import NotFound, Refused
from bridge.flows.lms_people import key_of
from bridge.flows.runtime import Runtime
from bridge.store import tables

#: How many are looked through for whom there is somebody alike, and how many are shown.
_LOOKED_AT, _SHOWN = 500, 50


@dataclasses.dataclass(frozen=True, slots=True)
class Newcomer:
    """A person who was made for an account of an LMS; ``alike`` is who has the same key or address, "" for nobody."""

    issuer: str
    subject: str
    name: str
    email: str
    sourcedid: str
    alike: str = ""
    alike_name: str = ""


def newcomers(runtime: Runtime, words: str = "") -> list[Newcomer]:
    """Who came from an LMS and has no other account: those with somebody alike first, then the newest."""
    with runtime.db.read() as session:
        rows = session.execute(_made_for_accounts(words).limit(_LOOKED_AT)).all()
        found = [_newcomer(person, issuer, subject) for person, issuer, subject in rows]
        alike = _alike(session, found)
    named = [dataclasses.replace(row, **alike.get((row.issuer, row.subject), {})) for row in found]
    return sorted(named, key=lambda row: not row.alike)[:_SHOWN]


def say_same(runtime: Runtime, issuer: str, subject: str, person_key: str, *, actor: str) -> str:
    """The account of an LMS is that person's; returns their name. What the account did before stays where it is.

    Raises NotFound, and Refused where the account is no newcomer's any more or the person has another one there.
    """
    account = tables.Account
    with runtime.db.write() as session:
        person = session.scalar(select(tables.Person).where(tables.Person.key == person_key).with_for_update())
        if person is None:
            raise NotFound(f"there is no person '{person_key}'")
        row = session.get(account, (issuer, subject), with_for_update=True)
        if row is None or row.person.key != key_of(issuer, subject) or not row.person.built_in:
            raise Refused("Somebody has said who this is in the meantime.", code="answered_before")
        other = session.scalar(select(account.subject).where(account.issuer == issuer, account.person_id == person.id))
        if other is not None:
            raise Refused(
                f"{person.name or person.key} is known in '{issuer}' as '{other}' already: choose somebody else,"
                " or correct the people's YAML first.",
                code="other_account",
            )
        newcomer, row.person = row.person, person
        session.execute(delete(tables.SignInSession).where(tables.SignInSession.person_id == newcomer.id))
        detail = {"issuer": issuer, "account": subject, "was": newcomer.key}
        session.add(tables.Audit(actor=actor, action="person.same", subject=person.key, detail=detail))
        return person.name or person.key


def _made_for_accounts(words: str) -> Select[tables.Person, str, str]:
    person, account = tables.Person, tables.Account
    own = and_(account.person_id == person.id, person.key == account.issuer + ":" + account.subject)
    query = select(person, account.issuer, account.subject).join(account, own).where(person.built_in)
    for word in words.split():
        query = query.where(or_(*(column.icontains(word, autoescape=True) for column in (person.name, person.key))))
    return query.order_by(person.id.desc())


def _newcomer(person: tables.Person, issuer: str, subject: str) -> Newcomer:
    told = person.attributes
    return Newcomer(issuer, subject, person.name, told.get("email", ""), told.get("sourcedid", ""))


def _alike(session: Session, found: Sequence[Newcomer]) -> Mapping[tuple[str, str], Mapping[str, str]]:
    """Who has the key or the address that an LMS tells, where it is exactly one: a suggestion, and nothing more."""
    person = tables.Person
    has = or_(
        person.key.in_(_told(row.sourcedid for row in found)), person.email.in_(_told(row.email for row in found))
    )
    people = session.scalars(select(person).where(has, person.built_in.is_(False))).all()
    by_key = {one.key: one for one in people}
    counted = Counter(one.email for one in people)
    by_email = {one.email: one for one in people if counted[one.email] == 1}
    alike = {}
    for row in found:
        like = {one.key: one for one in (by_key.get(row.sourcedid), by_email.get(row.email)) if one is not None}
        free = [one for one in like.values() if row.issuer not in {account.issuer for account in one.accounts}]
        if len(like) == len(free) == 1:
            one = free[0]
            alike[row.issuer, row.subject] = {"alike": one.key, "alike_name": one.name or one.key}
    return alike


def _told(texts: Iterable[str]) -> set[str]:
    return {text for text in texts if text}
