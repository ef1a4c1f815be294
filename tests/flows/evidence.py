"""Statements of a bridge with a scripted LRS, "records", and what became of them."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from sqlalchemy import select, update

from bridge.flows import drain_outbox
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.xapi import ledger
from bridge.xapi.profile import VOIDED

ISSUER = "http://bridge.test"


def connect(bridge: Runtime, name: str = "records", **parts: Any) -> None:
    with bridge.db.write() as session:
        session.add(tables.Connection(name=name, connector="scripted_lrs", config={}, **parts))


def statement(number: int, **parts: Any) -> dict[str, Any]:
    """A statement with an id of its own; ``parts`` stand in place of its properties."""
    whole: dict[str, Any] = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"statement {number}")),
        "timestamp": "2026-01-02T03:04:05.000Z",
        "actor": {"account": {"homePage": "http://desk.test", "name": f"person-{number}"}},
        "verb": {"id": "http://adlnet.gov/expapi/verbs/completed"},
        "object": {"id": f"http://lms.test/course/{number}"},
    }
    return {**whole, **parts}


def voiding(number: int, of: dict[str, Any]) -> dict[str, Any]:
    """The statement that voids another one."""
    target = {"objectType": "StatementRef", "id": of["id"]}
    return statement(number, verb={"id": VOIDED}, object=target)


def state(bridge: Runtime, *statements: dict[str, Any]) -> None:
    """The bridge states these; those that they void are voided here."""
    with bridge.db.write() as session:
        for one in statements:
            assert ledger.add(session, json.dumps(one).encode(), issuer=ISSUER)
            if one["verb"]["id"] == VOIDED:
                target = tables.Statement.id == uuid.UUID(one["object"]["id"])
                session.execute(update(tables.Statement).where(target).values(voided_by=uuid.UUID(one["id"])))


def deliver(bridge: Runtime, *, ago: dt.timedelta = dt.timedelta(hours=1)) -> None:
    """Send what waits; the receipts say that it was some time ago."""
    before = now()
    drain_outbox.drain(bridge)
    with bridge.db.write() as session:
        new = tables.StatementReceipt.settled_at >= before
        session.execute(update(tables.StatementReceipt).where(new).values(settled_at=before - ago))


def receipts(bridge: Runtime, name: str = "records") -> dict[str, str]:
    """The state of each statement that was sent there, by its id."""
    receipt, row = tables.StatementReceipt, tables.Statement
    query = select(row.id, receipt.state).join(receipt, receipt.statement_seq == row.seq)
    query = query.join(tables.Connection, tables.Connection.id == receipt.connection_id)
    with bridge.db.read() as session:
        return {str(of): word for of, word in session.execute(query.where(tables.Connection.name == name))}


def waiting(bridge: Runtime) -> list[str]:
    """The ids of the statements that wait, in their order."""
    query = select(tables.Statement.id).join(tables.Outbox, tables.Outbox.statement_seq == tables.Statement.seq)
    with bridge.db.read() as session:
        return [str(of) for of in session.scalars(query.order_by(tables.Statement.seq))]


def audited(bridge: Runtime, actor: str) -> list[tuple[str, str, dict[str, Any]]]:
    row = tables.Audit
    with bridge.db.read() as session:
        rows = session.scalars(select(row).where(row.actor == actor).order_by(row.id))
        return [(one.action, one.subject, one.detail) for one in rows]
