"""The people of LMSs: who an account is that an LMS's launch or list of members names.

The key is always (platform, sub). An account that nobody has belongs to somebody new, or, where the platform is trusted
with the organisation's own keys, to the person with that key. An address of e-mail never says who somebody is: an LMS
may let people choose theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.lti.tool.platforms import Platform
from bridge.store import tables
from bridge.store.insert import insert_once

_LONGEST = 200


def key_of(platform_name: str, subject: str) -> str:
    """The key of the person who was made for an account of an LMS; a connection's name holds no colon."""
    return f"{platform_name}:{subject}"


def account_owner(
    session: Session,
    platform: Platform,
    subject: str,
    *,
    name: str = "",
    given_name: str = "",
    family_name: str = "",
    email: str = "",
    sourcedid: str = "",
) -> tables.Person:
    """The person to whom the account ``subject`` of a platform belongs, made where there is nobody yet.

    What the LMS tells of them is kept for a person who was made here, and changes nobody else. Writes in the caller's
    transaction; of parallel calls for one account exactly one makes the person.
    """
    told = {"given_name": given_name, "family_name": family_name, "sourcedid": sourcedid, "email": email.lower()}
    told = {part: _clean(text) for part, text in told.items()}
    account = session.get(tables.Account, (platform.name, subject))
    if account is None:
        person = _of_sourcedid(session, platform, subject, told["sourcedid"]) or _newcomer(session, platform, subject)
        insert_once(session, tables.Account, issuer=platform.name, subject=subject, person_id=person.id)
        account = session.get_one(tables.Account, (platform.name, subject))
    person = account.person
    if person.built_in and person.key == key_of(platform.name, subject):
        shown = _clean(name) or " ".join(filter(None, (told["given_name"], told["family_name"])))
        _learn(session, person, shown, told)
    return person


def _of_sourcedid(session: Session, platform: Platform, subject: str, sourcedid: str) -> tables.Person | None:
    """The person whose own key the platform says: locked, because one person has one account in a system."""
    if platform.match_people != "sourcedid" or not sourcedid:
        return None
    configured = select(tables.Person).where(tables.Person.key == sourcedid, tables.Person.built_in.is_(False))
    person = session.scalar(configured.with_for_update())
    if person is None:
        return None
    there = select(tables.Account.subject).where(
        tables.Account.person_id == person.id, tables.Account.issuer == platform.name
    )
    return person if set(session.scalars(there)) <= {subject} else None


def _newcomer(session: Session, platform: Platform, subject: str) -> tables.Person:
    key = key_of(platform.name, subject)
    # Built in, as far as files go: who comes by an LMS is no configuration, and their next launch makes them again.
    insert_once(session, tables.Person, key=key, built_in=True)
    return session.scalars(select(tables.Person).where(tables.Person.key == key)).one()


def _learn(session: Session, person: tables.Person, name: str, told: Mapping[str, str]) -> None:
    """Keep what the LMS tells now; what it does not tell any more stays.

    The address is an attribute: as the person's own it would bring them what events mean for whoever has it.
    """
    attributes = {part: text for part, text in told.items() if text}
    if name:
        person.name = name
    if not attributes.items() <= person.attributes.items():
        person.attributes = person.attributes | attributes
    session.flush()


def _clean(text: str) -> str:
    return text.replace("\x00", "").strip()[:_LONGEST]
