"""What waits for an admin: people who could not be named, and what another system has refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session, joinedload

from bridge.flows.errors import NotFound
from bridge.flows.runtime import Runtime
from bridge.store import tables

_MOST = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """How much was given up."""

    deliveries: int
    statements: int
    write_backs: int
    grades: int

    @property
    def total(self) -> int:
        return self.deliveries + self.statements + self.write_backs + self.grades


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A person as a choice."""

    key: str
    name: str
    email: str
    accounts: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Stranger:
    """A person whom an event names and nobody knows for sure; ``waiting`` counts the decisions that wait for them."""

    prompt_id: uuid.UUID
    event_id: uuid.UUID
    issuer: str
    account_id: str
    email: str
    reason: str
    detail: str
    rule: str
    event_type: str
    subject: str
    created_at: dt.datetime
    resolved: bool
    waiting: int
    candidates: tuple[Known, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class DeadDelivery:
    """A delivery that failed for good, with the other system's words."""

    id: uuid.UUID
    event_id: uuid.UUID
    channel: str
    person: str
    say: str
    created_at: dt.datetime
    attempts: int
    words: str


@dataclasses.dataclass(frozen=True, slots=True)
class DeadWriteBack:
    """An outcome that the system of record refused, with its words."""

    outcome_id: uuid.UUID
    event_id: uuid.UUID
    connection: str
    person: str
    asset: str
    occurred_at: dt.datetime
    attempts: int
    words: str


@dataclasses.dataclass(frozen=True, slots=True)
class DeadGrade:
    """An outcome that the gradebook of an LMS's course refused, with its words."""

    outcome_id: uuid.UUID
    event_id: uuid.UUID
    connection: str
    course: str
    person: str
    asset: str
    occurred_at: dt.datetime
    attempts: int
    words: str


def open_count(session: Session) -> int:
    """How many decisions wait for somebody to say who a person is."""
    rows = select(func.count()).select_from(tables.Unmatched).where(tables.Unmatched.resolved_at.is_(None))
    return session.scalar(rows) or 0


def waiting_people(runtime: Runtime) -> int:
    """The same, for the console's navigation."""
    with runtime.db.read() as session:
        return open_count(session)


def failed_counts(session: Session) -> Failed:
    """How much waits in the lists of failures."""

    def count(query: Select[int]) -> int:
        return session.scalar(query) or 0

    receipts = select(func.count()).select_from(tables.StatementReceipt)
    return Failed(
        deliveries=count(select(func.count()).select_from(tables.Delivery).where(tables.Delivery.state == "failed")),
        statements=count(receipts.where(tables.StatementReceipt.state == "rejected")),
        write_backs=count(select(func.count()).select_from(tables.WriteBack).where(tables.WriteBack.state == "failed")),
        grades=count(select(func.count()).select_from(tables.LmsGrade).where(tables.LmsGrade.state == "failed")),
    )


def strangers(runtime: Runtime) -> list[Stranger]:
    """The queue, newest first: one entry for each account, and one for each decision that has only an address."""
    query = _strangers().where(tables.Unmatched.resolved_at.is_(None))
    with runtime.db.read() as session:
        rows = session.scalars(query.order_by(tables.Unmatched.created_at.desc()).limit(_MOST * 5)).all()
        groups: dict[object, list[tables.Unmatched]] = {}
        for row in rows:
            groups.setdefault((row.issuer, row.account_id) if row.account_id else row.prompt_id, []).append(row)
        return [_stranger(session, same[0], len(same)) for same in list(groups.values())[:_MOST]]


def stranger(runtime: Runtime, prompt_id: uuid.UUID) -> Stranger:
    """One entry of the queue, settled or not; raises NotFound."""
    with runtime.db.read() as session:
        row = session.scalar(_strangers().where(tables.Unmatched.prompt_id == prompt_id))
        if row is None:
            raise NotFound("nobody waits under that id")
        return _stranger(session, row, len(same_account(session, row)))


def same_account(session: Session, row: tables.Unmatched, *, lock: bool = False) -> list[tables.Unmatched]:
    """The open entries that are about the same account; an address is no account, so it stands for itself."""
    query = select(tables.Unmatched).where(tables.Unmatched.resolved_at.is_(None))
    if row.account_id:
        query = query.where(tables.Unmatched.issuer == row.issuer, tables.Unmatched.account_id == row.account_id)
    else:
        query = query.where(tables.Unmatched.prompt_id == row.prompt_id)
    query = query.order_by(tables.Unmatched.created_at, tables.Unmatched.prompt_id)
    return list(session.scalars(query.with_for_update() if lock else query))


def find_people(runtime: Runtime, words: str) -> list[Known]:
    """People whose name, address, key or account has every word; nobody without a word."""
    query = select(tables.Person).options(joinedload(tables.Person.accounts)).order_by(tables.Person.name).limit(20)
    for word in words.split():
        has = tables.Person.accounts.any(tables.Account.subject.icontains(word, autoescape=True))
        columns = (tables.Person.name, tables.Person.email, tables.Person.key)
        query = query.where(or_(has, *(column.icontains(word, autoescape=True) for column in columns)))
    with runtime.db.read() as session:
        return [_known(person) for person in session.scalars(query).unique()] if words.split() else []


def dead_deliveries(runtime: Runtime) -> list[DeadDelivery]:
    """Deliveries that failed for good, newest first."""
    query = (
        select(tables.Delivery)
        .join(tables.Prompt)
        .where(tables.Delivery.state == "failed")
        .options(joinedload(tables.Delivery.prompt).joinedload(tables.Prompt.person))
        .order_by(tables.Prompt.created_at.desc())
        .limit(_MOST)
    )
    with runtime.db.read() as session:
        return [_dead_delivery(delivery) for delivery in session.scalars(query)]


def dead_write_backs(runtime: Runtime) -> list[DeadWriteBack]:
    """Outcomes that a system of record refused, newest first."""
    query = (
        select(tables.WriteBack)
        .join(tables.Outcome)
        .where(tables.WriteBack.state == "failed")
        .order_by(tables.Outcome.occurred_at.desc())
        .limit(_MOST)
    )
    with runtime.db.read() as session:
        return [_dead_write_back(row) for row in session.scalars(query)]


def dead_grades(runtime: Runtime) -> list[DeadGrade]:
    """Grades that an LMS refused, newest first."""
    query = (
        select(tables.LmsGrade)
        .join(tables.Outcome)
        .where(tables.LmsGrade.state == "failed")
        .order_by(tables.Outcome.occurred_at.desc())
        .limit(_MOST)
    )
    with runtime.db.read() as session:
        return [_dead_grade(row) for row in session.scalars(query)]


def _strangers() -> Select[tables.Unmatched]:
    prompt = joinedload(tables.Unmatched.prompt)
    return select(tables.Unmatched).options(
        prompt.joinedload(tables.Prompt.event), prompt.joinedload(tables.Prompt.rule)
    )


def _stranger(session: Session, row: tables.Unmatched, waiting: int) -> Stranger:
    prompt = row.prompt
    return Stranger(
        prompt_id=row.prompt_id,
        event_id=prompt.event_id,
        issuer=row.issuer,
        account_id=row.account_id,
        email=row.email,
        reason=prompt.reason,
        detail=prompt.detail,
        rule=prompt.rule.name,
        event_type=prompt.event.type,
        subject=prompt.subject,
        created_at=row.created_at,
        resolved=row.resolved_at is not None,
        waiting=waiting,
        candidates=tuple(_known(person) for person in _candidates(session, row)),
    )


def _candidates(session: Session, row: tables.Unmatched) -> Sequence[tables.Person]:
    """Who it could have been then, and whose account or address it is by now."""
    person, account = tables.Person, tables.Account
    could_be: list[ColumnElement[bool]] = [person.key.in_([candidate["key"] for candidate in row.candidates])]
    if row.account_id:
        could_be.append(person.accounts.any((account.issuer == row.issuer) & (account.subject == row.account_id)))
    if row.email:
        could_be.append(person.email == row.email.lower())
    return session.scalars(select(person).where(or_(*could_be)).order_by(person.name, person.key)).all()


def _known(person: tables.Person) -> Known:
    accounts = sorted((account.issuer, account.subject) for account in person.accounts)
    return Known(person.key, person.name, person.email, tuple(accounts))


def _dead_delivery(delivery: tables.Delivery) -> DeadDelivery:
    prompt = delivery.prompt
    return DeadDelivery(
        id=delivery.id,
        event_id=prompt.event_id,
        channel=delivery.channel,
        person=(prompt.person.name or prompt.person.key) if prompt.person else "",
        say=prompt.say,
        created_at=prompt.created_at,
        attempts=delivery.attempts,
        words=delivery.error or "",
    )


def _dead_write_back(row: tables.WriteBack) -> DeadWriteBack:
    launch = row.outcome.launch
    return DeadWriteBack(
        outcome_id=row.outcome_id,
        event_id=launch.prompt.event_id,
        connection=row.connection.name,
        person=launch.person.name or launch.person.key,
        asset=launch.asset.title,
        occurred_at=row.outcome.occurred_at,
        attempts=row.attempts,
        words=row.error or "",
    )


def _dead_grade(row: tables.LmsGrade) -> DeadGrade:
    launch = row.outcome.launch
    return DeadGrade(
        outcome_id=row.outcome_id,
        event_id=launch.prompt.event_id,
        connection=row.link.connection.name,
        course=row.link.context_title or row.link.context_id,
        person=launch.person.name or launch.person.key,
        asset=launch.asset.title,
        occurred_at=row.outcome.occurred_at,
        attempts=row.attempts,
        words=row.error or "",
    )
