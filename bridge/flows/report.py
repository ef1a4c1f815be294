"""Report: completions with the whole chain of ids, streamed, so that memory stays flat however long the range is."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import uuid
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select, func, literal, select
from sqlalchemy.orm import Session, aliased

from bridge.flows import spreadsheet
from bridge.flows.errors import Invalid
from bridge.flows.runtime import Runtime
from bridge.store import tables

_CHUNK = 500


@dataclasses.dataclass(frozen=True, slots=True)
class CompletionRow:
    """One completion: who completed what, when, why it was offered, and the ids that prove it.

    Times are UTC (ISO 8601). ``score`` is scaled to 0..1. ``lrs`` names each destination with "delivered", "waiting" or
    "rejected", or is "voided" where the statement was taken back; ``written_back`` names the system of record with
    "recorded", "waiting" or "failed".
    """

    completed_at: str
    person: str
    person_name: str
    asset: str
    asset_title: str
    success: bool | None
    score: float | None
    event: str
    event_type: str
    subject: str
    rule: str
    rule_version: int
    prompt: str
    launch: str
    outcome: str
    statement: str
    lrs: str
    written_back: str


FIELDS = tuple(field.name for field in dataclasses.fields(CompletionRow))


def completions(
    runtime: Runtime, since: dt.datetime | None = None, until: dt.datetime | None = None
) -> Iterator[CompletionRow]:
    """Completions from ``since`` (inclusive) to ``until`` (exclusive), oldest first; streamed.

    Raises Invalid at once where the end lies before the beginning: an empty report would say that nobody completed
    anything.
    """
    if since is not None and until is not None and until < since:
        raise Invalid("until", f"{until.isoformat()} lies before {since.isoformat()}; say an end that comes later")
    return _rows(runtime, since, until)


def _rows(runtime: Runtime, since: dt.datetime | None, until: dt.datetime | None) -> Iterator[CompletionRow]:
    with runtime.db.read() as session:
        rows = session.execute(_query(since, until), execution_options={"yield_per": _CHUNK})
        for chunk in rows.partitions(_CHUNK):
            lrs = _lrs(session, [row.Outcome.id for row in chunk])
            for row in chunk:
                yield _row(row, lrs)


def _query(since: dt.datetime | None, until: dt.datetime | None) -> Select[*tuple[Any, ...]]:
    source = aliased(tables.Connection)
    # An admin may have sent another statement in place of one that was refused: the newest one counts.
    said = aliased(tables.Statement)
    newest = select(func.max(said.seq)).where(said.outcome_id == tables.Outcome.id)
    query = (
        select(
            tables.Outcome,
            tables.Launch,
            tables.Person,
            tables.Asset,
            source.name.label("catalogue"),
            tables.Prompt,
            tables.Event,
            tables.Rule,
            tables.Statement,
            tables.WriteBack.state.label("written_back"),
        )
        .join(tables.Launch, tables.Launch.id == tables.Outcome.launch_id)
        .join(tables.Person, tables.Person.id == tables.Launch.person_id)
        .join(tables.Asset, tables.Asset.id == tables.Launch.asset_id)
        .join(source, source.id == tables.Asset.connection_id)
        .join(tables.Prompt, tables.Prompt.id == tables.Launch.prompt_id)
        .join(tables.Event, tables.Event.id == tables.Prompt.event_id)
        .join(tables.Rule, tables.Rule.id == tables.Prompt.rule_id)
        .outerjoin(tables.Statement, tables.Statement.seq == newest.scalar_subquery())
        .outerjoin(tables.WriteBack, tables.WriteBack.outcome_id == tables.Outcome.id)
        .where(tables.Outcome.completed)
        .order_by(tables.Outcome.occurred_at, tables.Outcome.id)
    )
    if since is not None:
        query = query.where(tables.Outcome.occurred_at >= since)
    if until is not None:
        query = query.where(tables.Outcome.occurred_at < until)
    return query


def _lrs(session: Session, outcomes: list[uuid.UUID]) -> dict[uuid.UUID | None, list[str]]:
    """For each outcome, "destination: state" of every LRS that its statement, or one in its place, goes to."""
    states: dict[uuid.UUID | None, list[str]] = {}
    statement, receipt, waits = tables.Statement, tables.StatementReceipt, tables.Outbox
    settled = select(statement.outcome_id, tables.Connection.name, receipt.state)
    settled = settled.join(receipt, receipt.statement_seq == statement.seq).where(receipt.state != "replaced")
    waiting = select(statement.outcome_id, tables.Connection.name, literal("waiting"))
    waiting = waiting.join(waits, waits.statement_seq == statement.seq)
    for query, row in ((settled, receipt), (waiting, waits)):
        named = query.join(tables.Connection, tables.Connection.id == row.connection_id)
        for outcome, name, state in session.execute(named.where(statement.outcome_id.in_(outcomes))):
            states.setdefault(outcome, []).append(f"{name}: {state}")
    return states


def _row(row: Any, lrs: dict[uuid.UUID | None, list[str]]) -> CompletionRow:
    outcome, launch, person, asset, catalogue, prompt, event, rule, statement, written_back = row
    return CompletionRow(
        completed_at=outcome.occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        person=person.key,
        person_name=person.name,
        asset=f"{catalogue}/{asset.external_id}",
        asset_title=asset.title,
        success=outcome.success,
        score=outcome.score,
        event=str(event.id),
        event_type=event.type,
        subject=event.subject,
        rule=rule.name,
        rule_version=prompt.rule_version,
        prompt=str(prompt.id),
        launch=str(launch.id),
        outcome=str(outcome.id),
        statement=str(statement.id) if statement else "",
        lrs="voided" if statement and statement.voided_by else "; ".join(sorted(lrs.get(outcome.id, ()))),
        written_back=f"{catalogue}: {written_back}" if written_back else "",
    )


def as_json(rows: Iterator[CompletionRow]) -> Iterator[str]:
    """One JSON array, piece by piece."""
    yield "["
    for number, row in enumerate(rows):
        yield (",\n" if number else "\n") + json.dumps(dataclasses.asdict(row), ensure_ascii=False)
    yield "\n]\n"


def as_csv(rows: Iterator[CompletionRow]) -> Iterator[str]:
    """CSV with a head line (RFC 4180), piece by piece."""
    yield spreadsheet.line(FIELDS)
    for row in rows:
        yield spreadsheet.line(dataclasses.astuple(row))
