"""Report: completions with the whole chain of ids, streamed, so that memory stays flat however long the range is."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased

from bridge.flows.runtime import Runtime
from bridge.store import tables

_CHUNK = 500


@dataclasses.dataclass(frozen=True, slots=True)
class CompletionRow:
    """One completion: who completed what, when, why it was offered, and the ids that prove it.

    Times are UTC (ISO 8601). ``score`` is scaled to 0..1. ``lrs`` names each destination with "delivered", "waiting" or
    "rejected"; ``written_back`` the system of record with "recorded", "waiting" or "failed".
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
    """Completions from ``since`` (inclusive) to ``until`` (exclusive), oldest first."""
    with runtime.db.read() as session:
        rows = session.execute(_query(since, until), execution_options={"yield_per": _CHUNK})
        for chunk in rows.partitions(_CHUNK):
            lrs = _lrs(session, [row.Statement.seq for row in chunk if row.Statement is not None])
            for row in chunk:
                yield _row(row, lrs)


def _query(since: dt.datetime | None, until: dt.datetime | None) -> Select[*tuple[Any, ...]]:
    source = aliased(tables.Connection)
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
        .outerjoin(tables.Statement, tables.Statement.outcome_id == tables.Outcome.id)
        .outerjoin(tables.WriteBack, tables.WriteBack.outcome_id == tables.Outcome.id)
        .where(tables.Outcome.completed)
        .order_by(tables.Outcome.occurred_at, tables.Outcome.id)
    )
    if since is not None:
        query = query.where(tables.Outcome.occurred_at >= since)
    if until is not None:
        query = query.where(tables.Outcome.occurred_at < until)
    return query


def _lrs(session: Session, statements: list[int]) -> dict[int, list[str]]:
    """For each statement, "destination: state" of every LRS that it goes to."""
    states: dict[int, list[str]] = {}
    settled = select(tables.StatementReceipt.statement_seq, tables.Connection.name, tables.StatementReceipt.state).join(
        tables.Connection, tables.Connection.id == tables.StatementReceipt.connection_id
    )
    for seq, name, state in session.execute(settled.where(tables.StatementReceipt.statement_seq.in_(statements))):
        states.setdefault(seq, []).append(f"{name}: {state}")
    waiting = select(tables.Outbox.statement_seq, tables.Connection.name).join(
        tables.Connection, tables.Connection.id == tables.Outbox.connection_id
    )
    for seq, name in session.execute(waiting.where(tables.Outbox.statement_seq.in_(statements))):
        states.setdefault(seq, []).append(f"{name}: waiting")
    return states


def _row(row: Any, lrs: dict[int, list[str]]) -> CompletionRow:
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
        lrs="; ".join(sorted(lrs.get(statement.seq, ()))) if statement else "",
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
    yield _line(FIELDS)
    for row in rows:
        yield _line([_cell(value) for value in dataclasses.astuple(row)])


def _line(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def _cell(value: object) -> object:
    """A text that a spreadsheet would run as a formula is shown as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
