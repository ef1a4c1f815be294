"""Dead letters: the statements that an LRS refused by themselves, with its words; mended, replaced, or sent again.

A statement never changes, so a corrected one is a new statement with an id of its own. The bridge is its authority,
whoever stated the old one: they never said what an admin has made of it. It takes the old one's place in the chain from
the launch to the evidence, and at each LRS that refused the old one.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import uuid
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from bridge.domain import ids
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.insert import insert_into
from bridge.xapi import ledger, references
from bridge.xapi.profile import VOIDED
from bridge.xapi.validation import InvalidStatement, Version, loads, validate
from bridge.xapi.validation.statement import SIGNATURE

#: What each LRS sets by itself, and the id that a corrected statement is given anew.
_NOT_EDITED = ("id", "stored", "authority")
_CHUNK = 200


@dataclasses.dataclass(frozen=True, slots=True)
class DeadLetter:
    """A statement that an LRS refused, with its ``words``; ``event_id`` is what its launch began with."""

    connection: str
    id: uuid.UUID
    event_id: uuid.UUID | None
    verb: str
    object_id: str
    refused_at: dt.datetime
    words: str
    payload: bytes

    @property
    def editable(self) -> str:
        """The statement as text for a form, without what is not for an admin to say."""
        statement = json.loads(self.payload)
        return json.dumps(_said(statement), indent=2, ensure_ascii=False)

    @property
    def line(self) -> str:
        """The letter as one line of JSON, the statement in it as the LRS got it (newline-delimited JSON)."""
        head = {"connection": self.connection, "refused_at": self.refused_at.isoformat(), "words": self.words}
        one_line = self.payload.decode().replace("\r", " ").replace("\n", " ")  # within a string none stands by itself
        return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "statement": {one_line}}}\n'


def letters(runtime: Runtime, connection_name: str = "", *, most: int | None = None) -> Iterator[DeadLetter]:
    """What the LRSs, or one of them, have refused, newest first; streamed. Raises NotFound."""
    with runtime.db.read() as session:
        query = _letters().order_by(tables.StatementReceipt.settled_at.desc()).limit(most)
        if connection_name:
            query = query.where(tables.Connection.id == find_connection(session, connection_name).id)
        rows = session.execute(query, execution_options={"yield_per": _CHUNK})
        yield from itertools.starmap(DeadLetter, rows)


def letter(runtime: Runtime, connection_name: str, statement_id: uuid.UUID) -> DeadLetter:
    """One of them; raises NotFound where that LRS has refused no such statement, or not any more."""
    with runtime.db.read() as session:
        found = session.execute(
            _letters().where(tables.Connection.name == connection_name, tables.Statement.id == statement_id)
        ).one_or_none()
    if found is None:
        raise NotFound(
            f"'{connection_name}' has no refused statement {statement_id}: it was sent again or replaced meanwhile"
        )
    return DeadLetter(*found)


def _letters() -> Select[*tuple[Any, ...]]:
    receipt, statement = tables.StatementReceipt, tables.Statement
    words = (receipt.settled_at, receipt.error)
    return (
        select(tables.Connection.name, statement.id, tables.Prompt.event_id, statement.verb, statement.object_id)
        .add_columns(*words, statement.payload)
        .join(receipt, receipt.statement_seq == statement.seq)
        .join(tables.Connection, tables.Connection.id == receipt.connection_id)
        .outerjoin(tables.Launch, tables.Launch.id == statement.launch_id)
        .outerjoin(tables.Prompt, tables.Prompt.id == tables.Launch.prompt_id)
        .where(receipt.state == "rejected")
    )


def correct(runtime: Runtime, connection_name: str, statement_id: uuid.UUID, text: str, *, actor: str) -> uuid.UUID:
    """Send another statement, the JSON ``text``, to every LRS that refused this one; returns its id.

    The id follows from the old one's id and the new content, so the same correction is made once. Raises NotFound,
    Invalid with path and rule, and Refused for a statement that can't be said anew: a signed or a voiding one.
    """
    letter(runtime, connection_name, statement_id)
    with runtime.db.read() as session:
        old = session.scalars(select(tables.Statement).where(tables.Statement.id == statement_id)).one()
    new = _corrected(old, text)
    with runtime.db.write() as session:
        refused = _refusals(session, old)
        if not refused:
            raise Refused("Somebody sent it again, or replaced it, in the meantime; nothing was changed.")
        seq = _add(session, runtime.settings.issuer, old, new)
        _replace(session, old, seq, refused)
        detail = {"replaced_by": new["id"], "destinations": [connection.name for connection in refused]}
        subject = str(statement_id)
        session.add(tables.Audit(actor=actor, action="statement.correct", subject=subject, detail=detail))
    runtime.nudge("drain")
    return uuid.UUID(new["id"])


def _corrected(old: tables.Statement, text: str) -> ledger.Json:
    """What the text says as a statement of its own; raises Invalid or Refused."""
    before = json.loads(old.payload)
    try:
        said = loads(text.encode(errors="surrogatepass"))
        if not isinstance(said, dict):
            raise InvalidStatement("", "a statement must be a JSON object (xAPI-Data 2.2)")
        content = {"timestamp": ledger.instant(old.timestamp), **_said(said)}
        new = {"id": str(ids.correction_id(old.id, content)), **content}
        validate(new, Version.V2_0_0 if old.version.startswith("2") else Version.V1_0_3)
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None
    if content == {"timestamp": ledger.instant(old.timestamp), **_said(before)}:
        raise Invalid("", "nothing is different from what was refused; to send it as it is, send it again instead")
    for statement in (before, new):
        _check_can_be_said_anew(statement)
    return new


def _said(statement: ledger.Json) -> ledger.Json:
    return {name: value for name, value in statement.items() if name not in _NOT_EDITED}


def _check_can_be_said_anew(statement: ledger.Json) -> None:
    if any(one.get("usageType") == SIGNATURE for one in statement.get("attachments", ())):
        raise Refused("A signed statement can't be changed: ask who signed it to send another one.", code="signed")
    if statement["verb"]["id"] == VOIDED:
        raise Refused("A voiding statement can't be made or changed here; it can be sent again.", code="voiding")


def _refusals(session: Session, old: tables.Statement) -> list[tables.Connection]:
    receipt = tables.StatementReceipt
    refused = select(receipt.connection_id).where(receipt.statement_seq == old.seq, receipt.state == "rejected")
    locked = session.scalars(refused.with_for_update()).all()
    return list(session.scalars(select(tables.Connection).where(tables.Connection.id.in_(locked))))


def _add(session: Session, issuer: str, old: tables.Statement, new: ledger.Json) -> int:
    """Add the statement where it is not known yet, with what is attached to the old one; returns its number."""
    db = session.connection()
    payload = json.dumps(new, ensure_ascii=False, separators=(",", ":")).encode()
    chain = {"launch_id": old.launch_id, "outcome_id": old.outcome_id}
    authority = ledger.own_authority(issuer)
    entry = ledger.Entry(payload, new)
    added = ledger.insert(db, [entry], stored=now(), authority=authority, version=old.version, **chain)
    if not added:
        return session.scalars(select(tables.Statement.seq).where(tables.Statement.id == uuid.UUID(new["id"]))).one()
    references.connect(db, added, [new])
    (seq,) = added.values()
    _keep_attached(session, old, seq, new)
    return seq


def _keep_attached(session: Session, old: tables.Statement, seq: int, new: ledger.Json) -> None:
    """The contents that came with the old statement, as far as the new one still names them."""
    link = tables.StatementAttachment
    inner = new["object"].get("attachments", ()) if new["object"].get("objectType") == "SubStatement" else ()
    named = {one["sha2"].lower(): "fileUrl" in one for one in (*new.get("attachments", ()), *inner)}
    kept = session.scalars(select(link.sha2).where(link.statement_seq == old.seq, link.sha2.in_(named))).all()
    for sha2, elsewhere in named.items():
        if sha2 not in kept and not elsewhere:
            raise Invalid("attachments", f"the content of {sha2} is not known here: give the attachment a fileUrl")
    if kept:
        session.execute(insert_into(session, link), [{"statement_seq": seq, "sha2": sha2} for sha2 in kept])


def _replace(session: Session, old: tables.Statement, seq: int, refused: list[tables.Connection]) -> None:
    receipt = tables.StatementReceipt
    these = receipt.connection_id.in_([connection.id for connection in refused])
    replaced = update(receipt).where(receipt.statement_seq == old.seq, these)
    session.execute(replaced.values(state="replaced", replaced_by=seq))
    sinks = [ledger.Sink(connection.id, connection.config) for connection in refused]
    ledger.enqueue(session.connection(), [seq], sinks)
