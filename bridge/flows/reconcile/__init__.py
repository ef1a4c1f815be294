"""Reconcile: compare what an LRS has with what the ledger says it has, and send again what it has lost.

The LRS is walked by when it stored things, up to the time that it promises to show everything of
(``X-Experience-API-Consistent-Through``), and each page is looked up here in one query. What the walk did not show, and
a receipt says is there, is asked for one by one before it is called missing. Each run goes on where the last one ended.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import and_, case, delete, or_, select, update
from sqlalchemy.orm import Session, aliased

from bridge.connect import ConnectorError, StatementArchive, Unsupported
from bridge.flows.drain_outbox import destinations
from bridge.flows.errors import NotFound
from bridge.flows.identity import find_connection
from bridge.flows.overview import reconciliations
from bridge.flows.overview.reconciliations import Run
from bridge.flows.reconcile.comparison import OVERLAP, STREAM, Before, Comparison, Progress
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.xapi import ledger

__all__ = ["Progress", "reconcile", "repair"]

_CHUNK = 500


def _quiet(_progress: Progress) -> None:
    """Nobody is watching."""


def reconcile(
    runtime: Runtime, name: str, *, actor: str, full: bool = False, progress: Callable[[Progress], None] = _quiet
) -> Run:
    """Compare an LRS with the ledger: since the last run, or ``full`` from the beginning.

    Changes nothing but its own record. A run that fails is begun again by the next one. Raises NotFound, Unsupported
    where the connection can't be read back, and the ConnectorError that ended it.
    """
    with runtime.db.read() as session:
        connection = find_connection(session, name)
        checkpoint = None if full else session.get(tables.Checkpoint, (connection.id, STREAM))
    archive = runtime.connector(connection)
    if not isinstance(archive, StatementArchive):
        raise Unsupported(f"the connection '{name}' ({connection.connector}) can't be read back")
    policy = destinations.policy(runtime, connection)
    before = Before.read(checkpoint.value) if checkpoint else None
    with runtime.db.write() as session:
        run = tables.Reconciliation(connection_id=connection.id, since=before.settled - OVERLAP if before else None)
        session.add(run)
        session.flush()
    comparison = Comparison(runtime, connection, archive, policy, run, before, progress)
    try:
        comparison.walk()
        comparison.ask_for_the_rest()
    except ConnectorError as error:
        comparison.end(actor, error)
        raise
    comparison.end(actor)
    return reconciliations.run(runtime, run.id)


def repair(runtime: Runtime, run_id: int, *, actor: str) -> int:
    """Queue what a run found missing once more, byte by byte as it was, and the voiding statements that had no effect.

    What differs there, or is not ours, stays as it is. Returns how many statements were queued. Raises NotFound.
    """
    row, found = tables.Reconciliation, 0
    with runtime.db.write() as session:
        run = session.get(row, run_id)
        if run is None:
            raise NotFound(f"there is no reconciliation {run_id}")
        connection = session.get_one(tables.Connection, run.connection_id)
    while repaired := _repair_some(runtime, run_id, connection):
        found += repaired
    if found:
        with runtime.db.write() as session:
            session.execute(update(row).where(row.id == run_id).values(repaired=row.repaired + found))
            detail = {"reconciliation": run_id, "count": found}
            session.add(tables.Audit(actor=actor, action="statement.repair", subject=connection.name, detail=detail))
        runtime.nudge("drain")
    return found


def _repair_some(runtime: Runtime, run_id: int, connection: tables.Connection) -> int:
    """Queue some of what is to be repaired; returns how many, 0 where nothing is left."""
    gap, statement = tables.Difference, tables.Statement
    voiding = aliased(statement)
    lost = or_(gap.kind == "missing", and_(gap.kind == "voided", statement.voided_by.is_not(None)))
    again = case((gap.kind == "missing", statement.seq), else_=voiding.seq)
    query = select(gap.statement_id, again).join(statement, statement.id == gap.statement_id)
    query = query.outerjoin(voiding, voiding.id == statement.voided_by)
    query = query.where(gap.reconciliation_id == run_id, gap.repaired_at.is_(None), lost)
    with runtime.db.write() as session:
        rows = session.execute(query.limit(_CHUNK)).all()
        these = and_(gap.reconciliation_id == run_id, gap.statement_id.in_([of for of, _ in rows]))
        session.execute(update(gap).where(these).values(repaired_at=now()))
        _queue_again(session, connection, {seq for _, seq in rows})
    return len(rows)


def _queue_again(session: Session, connection: tables.Connection, numbers: set[int]) -> None:
    receipt = tables.StatementReceipt
    settled = and_(receipt.connection_id == connection.id, receipt.statement_seq.in_(numbers))
    session.execute(delete(receipt).where(settled))
    ledger.enqueue(session.connection(), sorted(numbers), [ledger.Sink(connection.id, connection.config)])
