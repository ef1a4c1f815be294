"""Void a statement that the bridge itself made and that is wrong: a statement never changes, it is taken back."""

from __future__ import annotations

import json
import uuid

from sqlalchemy import select, union
from sqlalchemy.orm import Session

from bridge.domain import ids
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.insert import insert_into
from bridge.xapi import ledger, references
from bridge.xapi.profile import VOIDED


def void(runtime: Runtime, statement_id: uuid.UUID, *, reason: str, actor: str) -> uuid.UUID:
    """Void a statement here and at every LRS that has it or will; audited. Returns the voiding statement's id.

    What the bridge knows of the launch stays as it is: evidence is corrected, not what happened. Raises NotFound,
    Invalid without a reason, and Refused for a statement that somebody else made or that is voided already, and
    where somebody else has used the voiding statement's id.
    """
    if not reason.strip():
        raise Invalid("reason", "say why, for those who read the statement later")
    with runtime.db.write() as session:
        row = _voidable(session, statement_id, runtime.settings.issuer)
        payload = _voiding(row, reason.strip(), runtime.settings.issuer)
        _add(session, row, payload, runtime.settings.issuer)
        row.voided_by = ids.voiding_id(row.id)
        session.flush()
        ledger.withdraw(session.connection(), tables.StatementReceipt.statement_seq == row.seq)
        detail = {"voided_by": str(row.voided_by), "reason": reason.strip()}
        session.add(tables.Audit(actor=actor, action="statement.void", subject=str(statement_id), detail=detail))
    runtime.nudge("drain")
    return ids.voiding_id(statement_id)


def _voidable(session: Session, statement_id: uuid.UUID, issuer: str) -> tables.Statement:
    row = session.scalar(select(tables.Statement).where(tables.Statement.id == statement_id).with_for_update())
    if row is None:
        raise NotFound(f"there is no statement {statement_id}; reports and the console show the ids")
    if row.authority != ledger.own_authority(issuer) or row.registration is None:
        raise Refused(f"the statement {statement_id} was stated by somebody else: they can void it", code="not_ours")
    if row.verb == VOIDED:
        raise Refused("a voiding statement can't be voided; state anew what holds (xAPI-Data 2.3.2)", code="voiding")
    if row.voided_by is not None:
        raise Refused(f"the statement {statement_id} is voided already, by {row.voided_by}", code="voided")
    return row


def _voiding(row: tables.Statement, reason: str, issuer: str) -> bytes:
    from bridge.xapi import by_hand  # takes 150 ms

    made = by_hand.voiding(json.loads(row.payload), of=ids.voiding_id(row.id), issuer=issuer, reason=reason, at=now())
    return by_hand.from_tincan(made)


def _add(session: Session, row: tables.Statement, payload: bytes, issuer: str) -> None:
    """Add the voiding statement, and queue it for whoever gets the other one, whatever else they want."""
    db, entry = session.connection(), ledger.Entry(payload, json.loads(payload))
    authority = ledger.own_authority(issuer)
    added = ledger.insert(db, [entry], stored=now(), authority=authority, launch_id=row.launch_id)
    if not added:
        raise Refused(
            f"the id {entry.statement['id']}, under which the bridge would void this statement, was used by another"
            " program; void it by POST /xapi/statements with a credential that has the scope all",
            code="id_taken",
        )
    references.connect(db, added, [entry.statement])
    (seq,) = added.values()
    receipt, outbox = tables.StatementReceipt, tables.Outbox
    has_it = select(receipt.connection_id).where(receipt.statement_seq == row.seq, receipt.state == "delivered")
    waits_for_it = select(outbox.connection_id).where(outbox.statement_seq == row.seq)
    rows = [{"connection_id": there, "statement_seq": seq} for there in db.scalars(union(has_it, waits_for_it))]
    if rows:
        db.execute(insert_into(db, outbox), rows)
