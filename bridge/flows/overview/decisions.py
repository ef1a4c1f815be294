"""Rules and their decisions as an admin reads them: what was offered, what was not, why, and what came of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Self

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, joinedload

from bridge.domain import rules
from bridge.flows import trace
from bridge.flows.errors import NotFound
from bridge.flows.rules import from_definition
from bridge.flows.runtime import Runtime
from bridge.store import now, tables

#: Over how many days decisions are counted by reason.
COUNTED_DAYS = 7


@dataclasses.dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule with its decisions of the last days by reason; ``asset_title`` of the one asset that it names."""

    rule: rules.Rule
    version: int
    enabled: bool
    asset_title: str
    counts: Mapping[str, int]

    @property
    def offered(self) -> int:
        return self.counts.get("offered", 0)

    @property
    def against(self) -> int:
        return sum(self.counts.values()) - self.offered


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """One decision of one rule on one event."""

    id: uuid.UUID
    event_id: uuid.UUID
    created_at: dt.datetime
    rule: str
    event_type: str
    subject: str
    person: str
    person_name: str
    asset_title: str
    offered: bool
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Cursor:
    """The last decision of a page; the next page begins after it, also when new decisions come in between."""

    created_at: dt.datetime
    id: uuid.UUID

    def __str__(self) -> str:
        return f"{self.created_at.isoformat()}_{self.id}"

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The cursor that a page gave out; None for none, and for what is none."""
        at, _, prompt_id = text.partition("_")
        try:
            return cls(dt.datetime.fromisoformat(at).astimezone(dt.UTC), uuid.UUID(prompt_id))
        except ValueError:
            return None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which decisions: ``person`` are words of a name, an address, or the key."""

    offered: bool | None = None
    reason: str = ""
    rule: str = ""
    person: str = ""


def rule_rows(runtime: Runtime) -> list[RuleRow]:
    """The rules in force, by name."""
    with runtime.db.read() as session:
        rows = session.scalars(
            select(tables.Rule).where(tables.Rule.removed_at.is_(None)).order_by(tables.Rule.name)
        ).all()
        counts = _counts(session)
        return [_rule_row(session, row, counts[row.id]) for row in rows]


def rule_row(runtime: Runtime, name: str) -> RuleRow:
    """One rule; raises NotFound."""
    with runtime.db.read() as session:
        row = session.scalar(select(tables.Rule).where(tables.Rule.name == name))
        if row is None:
            raise NotFound(f"there is no rule '{name}'")
        return _rule_row(session, row, _counts(session)[row.id])


def rule_names(runtime: Runtime) -> list[str]:
    """Every rule that ever decided, for the filter."""
    with runtime.db.read() as session:
        return list(session.scalars(select(tables.Rule.name).order_by(tables.Rule.name)))


def decisions(
    runtime: Runtime, wanted: Wanted, *, after: Cursor | None = None, limit: int = 50
) -> tuple[list[Decision], Cursor | None]:
    """A page of decisions, newest first, and the cursor of the next page where there is one."""
    prompt = tables.Prompt
    with runtime.db.read() as session:
        query = select(prompt).where(*_conditions(session, wanted)).options(*_LOADED)
        if after is not None:
            same_moment = and_(prompt.created_at == after.created_at, prompt.id < after.id)
            query = query.where(or_(prompt.created_at < after.created_at, same_moment))
        query = query.order_by(prompt.created_at.desc(), prompt.id.desc()).limit(limit + 1)
        found = [_decision(row) for row in session.scalars(query)]
    page = found[:limit]
    return page, Cursor(page[-1].created_at, page[-1].id) if len(found) > limit else None


def chain(runtime: Runtime, event_id: uuid.UUID) -> dict[str, Any]:
    """:func:`bridge.flows.trace.event_chain`, and what the event said, write-backs, and how statements fare."""
    whole = trace.event_chain(runtime, event_id)
    with runtime.db.read() as session:
        event = session.get_one(tables.Event, event_id)
        people = {person.key: person.name for person in session.scalars(_people_of(event_id))}
        return {
            **whole,
            "time": event.time,
            "source": event.source,
            "error": event.error or "",
            "data": event.data,
            "people": event.people,
            "names": people,
            "write_backs": _write_backs(session, event_id),
            "waiting": _waiting(session, event_id),
        }


_LOADED = (
    joinedload(tables.Prompt.rule),
    joinedload(tables.Prompt.person),
    joinedload(tables.Prompt.asset),
    joinedload(tables.Prompt.event),
)


def _conditions(session: Session, wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.offered is not None:
        found.append(tables.Prompt.offered.is_(wanted.offered))
    if wanted.reason:
        found.append(tables.Prompt.reason == wanted.reason)
    if wanted.rule:
        rule = session.scalar(select(tables.Rule.id).where(tables.Rule.name == wanted.rule))
        found.append(tables.Prompt.rule_id == (rule or 0))
    if wanted.person:
        person = tables.Person
        columns = (person.name, person.email, person.key)
        named = or_(*(column.icontains(wanted.person, autoescape=True) for column in columns))
        found.append(tables.Prompt.person_id.in_(select(person.id).where(named)))
    return found


def _decision(prompt: tables.Prompt) -> Decision:
    person, asset = prompt.person, prompt.asset
    return Decision(
        id=prompt.id,
        event_id=prompt.event_id,
        created_at=prompt.created_at,
        rule=prompt.rule.name,
        event_type=prompt.event.type,
        subject=prompt.subject,
        person=person.key if person else "",
        person_name=(person.name or person.key) if person else "",
        asset_title=asset.title if asset else "",
        offered=prompt.offered,
        reason=prompt.reason,
        detail=prompt.detail,
    )


def _counts(session: Session) -> Mapping[int, Mapping[str, int]]:
    prompt = tables.Prompt
    since = now() - dt.timedelta(days=COUNTED_DAYS)
    query = select(prompt.rule_id, prompt.reason, func.count()).where(prompt.created_at >= since)
    counts: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for rule_id, reason, count in session.execute(query.group_by(prompt.rule_id, prompt.reason)):
        counts[rule_id][reason] = count
    return counts


def _rule_row(session: Session, row: tables.Rule, counts: Mapping[str, int]) -> RuleRow:
    rule = from_definition(row.definition)
    connection, _, external_id = rule.offer.asset.partition("/")
    title = session.scalar(
        select(tables.Asset.title)
        .join(tables.Connection)
        .where(tables.Connection.name == connection, tables.Asset.external_id == external_id)
    )
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return RuleRow(rule, row.version, row.enabled and row.removed_at is None, title or "", ordered)


def _people_of(event_id: uuid.UUID) -> Any:
    return (
        select(tables.Person)
        .join(tables.Prompt, tables.Prompt.person_id == tables.Person.id)
        .where(tables.Prompt.event_id == event_id)
    )


def _write_backs(session: Session, event_id: uuid.UUID) -> dict[str, list[dict[str, Any]]]:
    """By outcome: into which system it goes, and how far it is."""
    query = (
        select(tables.WriteBack, tables.Connection.name)
        .join(tables.Connection, tables.Connection.id == tables.WriteBack.connection_id)
        .join(tables.Outcome, tables.Outcome.id == tables.WriteBack.outcome_id)
        .join(tables.Launch, tables.Launch.id == tables.Outcome.launch_id)
        .join(tables.Prompt, tables.Prompt.id == tables.Launch.prompt_id)
        .where(tables.Prompt.event_id == event_id)
    )
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row, name in session.execute(query):
        found[str(row.outcome_id)].append({"connection": name, "state": row.state, "error": row.error})
    for row, place in session.execute(_grades_of(event_id)):
        note = (row.receipt or {}).get("note") if row.state == "recorded" else row.error
        found[str(row.outcome_id)].append({"connection": place, "state": row.state, "error": note})
    return found


def _grades_of(event_id: uuid.UUID) -> Any:
    """The grades that an event's outcomes make, each with the LMS and its course."""
    link, grade = tables.LmsLink, tables.LmsGrade
    return (
        select(grade, tables.Connection.name + ", " + link.context_title)
        .join(link, link.id == grade.link_id)
        .join(tables.Connection, tables.Connection.id == link.connection_id)
        .join(tables.Outcome, tables.Outcome.id == grade.outcome_id)
        .join(tables.Launch, tables.Launch.id == tables.Outcome.launch_id)
        .join(tables.Prompt, tables.Prompt.id == tables.Launch.prompt_id)
        .where(tables.Prompt.event_id == event_id)
    )


def _waiting(session: Session, event_id: uuid.UUID) -> dict[str, list[str]]:
    """By statement: the destinations that it has not reached yet."""
    query = (
        select(tables.Statement.id, tables.Connection.name)
        .join(tables.Outbox, tables.Outbox.statement_seq == tables.Statement.seq)
        .join(tables.Connection, tables.Connection.id == tables.Outbox.connection_id)
        .join(tables.Launch, tables.Launch.id == tables.Statement.launch_id)
        .join(tables.Prompt, tables.Prompt.id == tables.Launch.prompt_id)
        .where(tables.Prompt.event_id == event_id)
    )
    found: defaultdict[str, list[str]] = defaultdict(list)
    for statement_id, name in session.execute(query):
        found[str(statement_id)].append(name)
    return found
