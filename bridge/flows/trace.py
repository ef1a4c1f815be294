"""Trace: what came of an event, hop by hop, and what the catalogue and the decisions look like from outside."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from bridge.connect.cloudevents import PEOPLE
from bridge.domain.rules import Offer
from bridge.flows import catalogue
from bridge.flows.errors import NotFound
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.store import tables


def connection_name(runtime: Runtime, connection_id: int) -> str:
    with runtime.db.read() as session:
        return session.get_one(tables.Connection, connection_id).name


def people_paths(runtime: Runtime, name: str) -> Mapping[str, str]:
    """Where the events of a connection name people, by role: as it is configured, else the usual places."""
    with runtime.db.read() as session:
        configured: Mapping[str, str] = find_connection(session, name).config.get("people", PEOPLE)
        return configured


def event_chain(runtime: Runtime, event_id: uuid.UUID) -> dict[str, Any]:
    """An event with its decisions, and each prompt with its deliveries and launches down to the LRS's receipts."""
    with runtime.db.read() as session:
        event = session.get(tables.Event, event_id)
        if event is None:
            raise NotFound(f"there is no event {event_id}")
        prompts = session.scalars(
            select(tables.Prompt).where(tables.Prompt.event_id == event_id).order_by(tables.Prompt.created_at)
        )
        return {
            "id": str(event.id),
            "external_id": event.external_id,
            "connection": event.connection.name,
            "type": event.type,
            "subject": event.subject,
            "received_at": event.received_at,
            "decided_at": event.decided_at,
            "prompts": [{**_decision(p), **_came_of(session, p)} for p in prompts],
        }


def decisions(
    runtime: Runtime, *, limit: int, before: dt.datetime | None = None, offered: bool | None = None
) -> list[dict[str, Any]]:
    """Decisions, newest first."""
    query = (
        select(tables.Prompt)
        .options(
            joinedload(tables.Prompt.rule),
            joinedload(tables.Prompt.person),
            joinedload(tables.Prompt.asset).joinedload(tables.Asset.connection),
        )
        .order_by(tables.Prompt.created_at.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(tables.Prompt.created_at < before)
    if offered is not None:
        query = query.where(tables.Prompt.offered.is_(offered))
    with runtime.db.read() as session:
        return [_decision(prompt) for prompt in session.scalars(query)]


def _decision(prompt: tables.Prompt) -> dict[str, Any]:
    asset, person = prompt.asset, prompt.person
    return {
        "id": str(prompt.id),
        "event_id": str(prompt.event_id),
        "rule": prompt.rule.name,
        "rule_version": prompt.rule_version,
        "person": person.key if person else None,
        "asset": f"{asset.connection.name}/{asset.external_id}" if asset else None,
        "asset_title": asset.title if asset else None,
        "offered": prompt.offered,
        "reason": prompt.reason,
        "detail": prompt.detail,
        "say": prompt.say,
        "subject": prompt.subject,
        "created_at": prompt.created_at,
    }


def _came_of(session: Session, prompt: tables.Prompt) -> dict[str, Any]:
    deliveries = session.scalars(select(tables.Delivery).where(tables.Delivery.prompt_id == prompt.id))
    launches = session.scalars(
        select(tables.Launch).where(tables.Launch.prompt_id == prompt.id).order_by(tables.Launch.started_at)
    )
    return {
        "deliveries": [
            {"id": str(d.id), "channel": d.channel, "state": d.state, "receipt": d.receipt, "error": d.error}
            for d in deliveries
        ],
        "launches": [_launch(session, launch) for launch in launches],
    }


def _launch(session: Session, launch: tables.Launch) -> dict[str, Any]:
    outcomes = session.scalars(
        select(tables.Outcome).where(tables.Outcome.launch_id == launch.id).order_by(tables.Outcome.created_at)
    )
    statements = session.scalars(
        select(tables.Statement).where(tables.Statement.launch_id == launch.id).order_by(tables.Statement.seq)
    )
    return {
        "id": str(launch.id),
        "how": launch.how,
        "started_at": launch.started_at,
        "completed_at": launch.completed_at,
        "success": launch.success,
        "score": launch.score,
        "outcomes": [
            {"id": str(o.id), "verb": o.verb, "source": o.source, "score": o.score, "occurred_at": o.occurred_at}
            for o in outcomes
        ],
        "grades": [_grade(grade) for grade in session.scalars(_grades(launch))],
        "statements": [_statement(session, statement) for statement in statements],
    }


def _grades(launch: tables.Launch) -> Any:
    grade = tables.LmsGrade
    of_launch = grade.outcome.has(tables.Outcome.launch_id == launch.id)
    return select(grade).where(of_launch).order_by(grade.link_id)


def _grade(row: tables.LmsGrade) -> dict[str, Any]:
    return {
        "connection": row.link.connection.name,
        "course": row.link.context_title or row.link.context_id,
        "outcome_id": str(row.outcome_id),
        "state": row.state,
        "receipt": row.receipt if row.state == "recorded" else None,
        "error": row.error,
    }


def _statement(session: Session, statement: tables.Statement) -> dict[str, Any]:
    receipts = session.execute(
        select(tables.Connection.name, tables.StatementReceipt)
        .join(tables.StatementReceipt, tables.StatementReceipt.connection_id == tables.Connection.id)
        .where(tables.StatementReceipt.statement_seq == statement.seq)
    )
    return {
        "id": str(statement.id),
        "verb": statement.verb,
        "stored": statement.stored,
        "voided_by": str(statement.voided_by) if statement.voided_by else None,
        "receipts": [
            {"destination": name, "state": receipt.state, "error": receipt.error, "settled_at": receipt.settled_at}
            for name, receipt in receipts
        ],
    }


def assets(runtime: Runtime, *, q: str, connection: str, retired: bool, limit: int) -> list[dict[str, Any]]:
    """Assets by words and connection; retired ones only when asked for."""
    with runtime.db.read() as session:
        found = catalogue.listing(session, Offer(search=q), connection=connection, retired=retired, limit=limit)
        return [
            {
                "id": str(asset.id),
                "asset": f"{asset.connection.name}/{asset.external_id}",
                "kind": asset.kind,
                "title": asset.title,
                "summary": asset.summary,
                "language": asset.language,
                "duration_seconds": asset.duration_seconds,
                "tags": asset.tags,
                "how": (asset.opening or {}).get("how"),
                "retired_at": asset.retired_at,
            }
            for asset in found
        ]
