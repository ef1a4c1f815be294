"""Operate: what an admin does to what is configured: check it, synchronise it, switch it, try what failed again."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from bridge import registry
from bridge.connect import CatalogSource, Health
from bridge.flows import drain_outbox
from bridge.flows.errors import Refused
from bridge.flows.identity import find_connection
from bridge.flows.overview.connections import ASKED, newest_run
from bridge.flows.runtime import QUEUES, Runtime
from bridge.store import now, tables


def check(runtime: Runtime, name: str, *, actor: str) -> Health:
    """Ask a connection whether it works; where nothing is missing, a problem that was noted before is over.

    Raises NotFound, and the ConnectorError that says why nothing at all works.
    """
    with runtime.db.read() as session:
        connection = find_connection(session, name)
    health = runtime.connector(connection).check()
    if health.ok and (connection.problem or connection.paused_until):
        with runtime.db.write() as session:
            _forget_trouble(session, connection)
            session.add(tables.Audit(actor=actor, action="connection.recovered", subject=name))
        _nudge_all(runtime)
    return health


def switch(runtime: Runtime, name: str, *, on: bool, actor: str) -> None:
    """Switch a connection on or off; on means a new start: a problem that was noted before is forgotten."""
    with runtime.db.write() as session:
        connection = find_connection(session, name)
        if connection.enabled == on:
            return
        if on and connection.options.get("pending"):
            raise Refused(f"'{name}' registered itself and waits for approval; approve it first", code="pending")
        connection.enabled = on
        if on:
            _forget_trouble(session, connection)
        action = "connection.switch_on" if on else "connection.switch_off"
        session.add(tables.Audit(actor=actor, action=action, subject=name))
    if on:
        _nudge_all(runtime)


def ask_for_sync(runtime: Runtime, name: str, *, actor: str) -> bool:
    """Ask for a walk over a catalogue, which a worker begins at its next look; False where one is under way already.

    A walk that failed goes on where it stopped. Raises NotFound and Refused.
    """
    with runtime.db.write() as session:
        connection = find_connection(session, name)
        if not issubclass(registry.find(connection.connector), CatalogSource):
            raise Refused(f"the connection '{name}' ({connection.connector}) has no catalogue", code="no_catalogue")
        if not connection.enabled:
            raise Refused(f"the connection '{name}' is switched off; switch it on first", code="connection_disabled")
        run = newest_run(session, connection.id)
        if run is not None and run.finished_at is None and run.error is None:
            return False
        if run is not None and run.finished_at is None:
            run.started_at, run.moved_at, run.error = ASKED, ASKED, None
        else:
            session.add(_asked(connection, run))
        session.add(tables.Audit(actor=actor, action="connection.sync", subject=name))
    return True


def replay_deliveries(runtime: Runtime, only: uuid.UUID | None = None, *, actor: str) -> int:
    """Try what could not be delivered once more: one delivery, or all that failed for good; returns how many."""
    delivery = tables.Delivery
    failed = delivery.state == "failed"
    with runtime.db.write() as session:
        which = failed if only is None else failed & (delivery.id == only)
        again = update(delivery).where(which).values(state="waiting", **_at_once()).returning(delivery.id)
        ids = session.scalars(again).all()
        _note_replay(session, actor, "delivery.replay", str(only or "all"), len(ids))
    runtime.nudge("deliver")
    return len(ids)


def replay_write_backs(runtime: Runtime, only: uuid.UUID | None = None, *, actor: str) -> int:
    """Try what could not be written back once more: one outcome, or all that failed for good; returns how many."""
    row = tables.WriteBack
    failed = row.state == "failed"
    with runtime.db.write() as session:
        which = failed if only is None else failed & (row.outcome_id == only)
        again = update(row).where(which).values(state="waiting", **_at_once()).returning(row.outcome_id)
        ids = session.scalars(again).all()
        _note_replay(session, actor, "write_back.replay", str(only or "all"), len(ids))
    runtime.nudge("write_back")
    return len(ids)


def replay_grades(runtime: Runtime, only: uuid.UUID | None = None, *, actor: str) -> int:
    """Send what gradebooks refused once more: one outcome, or all that failed for good; returns how many.

    A link that was flagged is asked again.
    """
    row = tables.LmsGrade
    failed = row.state == "failed"
    with runtime.db.write() as session:
        which = failed if only is None else failed & (row.outcome_id == only)
        again = update(row).where(which).values(state="waiting", **_at_once()).returning(row.link_id)
        links = session.scalars(again).all()
        session.execute(update(tables.LmsLink).where(tables.LmsLink.id.in_(set(links))).values(problem=None))
        _note_replay(session, actor, "grade.replay", str(only or "all"), len(links))
    runtime.nudge("grades")
    return len(links)


def replay_statements(runtime: Runtime, name: str, only: uuid.UUID | None = None, *, actor: str) -> int:
    """Send what an LRS refused once more: one statement, or all of that connection; returns how many."""
    count = drain_outbox.replay(runtime, name, None if only is None else [only])
    with runtime.db.write() as session:
        _note_replay(session, actor, "statement.replay", f"{name}: {only or 'all'}", count)
    return count


def _asked(connection: tables.Connection, last: tables.SyncRun | None) -> tables.SyncRun:
    """A walk that goes on where the last one of a catalogue that tells its changes ended."""
    goes_on = last is not None and last.error is None and not last.swept
    return tables.SyncRun(
        connection_id=connection.id,
        started_at=ASKED,
        moved_at=ASKED,
        checkpoint=last.checkpoint if last and goes_on else None,
    )


def _forget_trouble(session: Session, connection: tables.Connection) -> None:
    same_version = {"updated_at": tables.Connection.updated_at}  # how it goes is no change of how it is configured
    ours = update(tables.Connection).where(tables.Connection.id == connection.id)
    session.execute(ours.values(problem=None, paused_until=None, failures=0, **same_version))


def _at_once() -> dict[str, Any]:
    return {"due_at": now(), "lease": None, "attempts": 0}


def _note_replay(session: Session, actor: str, action: str, subject: str, count: int) -> None:
    if count:
        session.add(tables.Audit(actor=actor, action=action, subject=subject, detail={"count": count}))


def _nudge_all(runtime: Runtime) -> None:
    for queue in QUEUES:
        runtime.nudge(queue)
