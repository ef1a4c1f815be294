"""The built-in LRS: take statements from programs, keep them as they came, find them again, pass them on."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Connection, bindparam, func, select, text, update
from sqlalchemy.orm import Session

from bridge.flows import callers, launched_content
from bridge.flows.callers import Caller
from bridge.flows.errors import FlowError, Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.insert import among
from bridge.xapi import ledger, lrs, references
from bridge.xapi.ledger import Entry
from bridge.xapi.profile import VOIDED
from bridge.xapi.validation import InvalidStatement, Version

#: How far the clocks of this program and of the database may be apart.
_CLOCKS = dt.timedelta(seconds=1)
#: No write transaction on SQLite takes longer between making a statement's ``stored`` and its commit.
_LONGEST_WRITE = dt.timedelta(seconds=5)
#: When the oldest transaction that has written something began; one that has not yet will make its ``stored`` later.
_WRITING = text(
    "select min(xact_start) from pg_stat_activity where datname = current_database() and backend_xid is not null"
)

#: One statement: what is shown of it, and what decides whether it is.
_ONE = select(
    *(getattr(tables.Statement, name) for name in (*lrs.Kept._fields, *lrs.Readable._fields, "voided_by"))
).where(tables.Statement.id == bindparam("id"))
_NEWEST = select(func.max(tables.Statement.stored))


class TooMany(FlowError):
    """More statements in one request than are taken at once."""

    code = "too_many"


class Conflict(FlowError):
    """The id is known, and stands for another statement."""

    code = "conflict"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer and its Content-Type; of a single statement also when it was stored."""

    content: bytes
    content_type: str = "application/json"
    stored: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """The statements of a request, as it brought them."""

    body: bytes
    content_type: str
    version: Version
    parameters: Mapping[str, str]


def receive(runtime: Runtime, caller: Caller, sent: Sent, *, put: bool = False) -> list[str]:
    """Store the statements of a POST, or the one of a ``put``, all or none; returns their ids in order.

    A statement that is known already is left as it is. Raises Invalid with path and rule, Conflict where a known id
    came with another statement, TooMany, and Refused where the caller may not do this.
    """
    callers.require(caller, "statements/write")
    try:
        entries = _read(sent, put=put)
        with runtime.db.write() as session:
            _store(runtime, session, caller, entries, sent.version)
    except lrs.TooMany as fault:
        raise TooMany(str(fault)) from None
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None
    for queue in ("drain",) if caller.content is None else launched_content.TOLD_BY:
        runtime.nudge(queue)
    return [entry.statement["id"] for entry in entries]


def _read(sent: Sent, *, put: bool) -> list[Entry]:
    strays = set(sent.parameters) - ({"statementId"} if put else set())
    if strays:
        raise Invalid(min(strays), "is not a parameter of this request (xAPI-Communication 2.1)")
    if put:
        return [lrs.read_one(sent.body, sent.content_type, sent.version, sent.parameters.get("statementId"))]
    return lrs.read_batch(sent.body, sent.content_type, sent.version)


def _store(runtime: Runtime, session: Session, caller: Caller, entries: Sequence[Entry], version: Version) -> None:
    references.line_up(session.connection(), (entry.statement for entry in entries))
    if caller.content is not None:
        entries = launched_content.admit(runtime, session, caller, entries)
    issuer = runtime.settings.issuer
    authority = callers.authority(caller, issuer)
    rules = "1.0.0" if version is Version.V1_0_3 else "2.0.0"
    added = ledger.add_received(session, entries, authority=authority, issuer=issuer, version=rules)
    _compare(session, {of: entry for entry in entries if (of := uuid.UUID(entry.statement["id"])) not in added})
    earlier = references.connect(session.connection(), added, (entry.statement for entry in entries))
    new = [entry for entry in entries if uuid.UUID(entry.statement["id"]) in added]
    _void(session, caller, authority, [entry for entry in new if entry.statement["verb"]["id"] == VOIDED])
    _void_late(session, [one for one in earlier if one.verb == VOIDED])
    if caller.content is not None:
        launched_content.note(runtime, session, caller, new)


def _compare(session: Session, repeats: Mapping[uuid.UUID, Entry]) -> None:
    """A known id must come with the statement that it is known for."""
    if not repeats:
        return
    for known in session.scalars(
        select(tables.Statement).where(among(session.connection(), tables.Statement.id, repeats))
    ):
        if not lrs.same(known, repeats[known.id].statement):
            raise Conflict(
                f"the id {known.id} is known here for another statement; statements never change:"
                " send a correction under a new id, and void the old one (xAPI-Data 2.3)"
            )


def _void(session: Session, caller: Caller, authority: str, voiding: Sequence[Entry]) -> None:
    """Mark what voiding statements name; what is not known yet is marked when it comes (xAPI-Data 2.3.2)."""
    if not voiding:
        return
    row = tables.Statement
    by = {uuid.UUID(entry.statement["object"]["id"]): uuid.UUID(entry.statement["id"]) for entry in reversed(voiding)}
    # A voiding statement can't be voided: what tries to is kept, without effect.
    targets = among(session.connection(), row.id, by)
    found = session.execute(select(row.seq, row.id, row.authority).where(targets, row.verb != VOIDED)).all()
    for target in found:
        if target.authority != authority and not caller.may("all"):
            raise Refused(
                f"the statement {target.id} was stated by somebody else; the credential '{caller.key}' may void only"
                " what it sent itself, one with the scope all may void any"
            )
    _mark(session, {target.seq: by[target.id] for target in found})


def _void_late(session: Session, voiding: Sequence[references.Earlier]) -> None:
    """Mark new statements that their own sender had voided before they came."""
    if not voiding:
        return
    row = tables.Statement
    by = {(one.target, one.authority): one.id for one in voiding}
    targets = among(session.connection(), row.id, {of for of, _ in by})
    found = session.execute(select(row.seq, row.id, row.authority).where(targets, row.verb != VOIDED)).all()
    _mark(session, {one.seq: by[one.id, one.authority] for one in found if (one.id, one.authority) in by})


def _mark(session: Session, voided: Mapping[int, uuid.UUID]) -> None:
    """Note by which statement others are voided; the first one counts."""
    if voided:
        row = tables.Statement
        change = update(row).where(row.seq == bindparam("number"), row.voided_by.is_(None))
        values = [{"number": number, "by": by} for number, by in sorted(voided.items())]
        db = session.connection()
        db.execute(change.values(voided_by=bindparam("by")), values)
        ledger.withdraw(db, among(db, tables.StatementReceipt.statement_seq, voided))


def find(
    runtime: Runtime, caller: Caller, parameters: Mapping[str, str], version: Version, *, languages: str = ""
) -> Answer:
    """One statement, or a page of a list (xAPI-Communication 2.1.3). Raises Invalid, NotFound or Refused.

    ``languages`` is the Accept-Language of the reader, for ``format=canonical``.
    """
    callers.require(caller, "statements/read", "all/read", "statements/read/mine")
    readable = callers.readable(caller, runtime.settings.issuer, "statements/read", "all/read")
    try:
        one = lrs.statement_id(parameters)
        shape = {name: value for name, value in parameters.items() if name in ("attachments", "format")}
        query = lrs.Query.parse(shape if one else parameters, version)
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None
    reader = _Reader(query, version, lrs.languages(languages))
    # Without a transaction around it: what was found once never changes.
    with runtime.db.look() as db:
        if one:
            return _one(db, reader, readable, *one)
        return _page(db, reader, readable, urlsplit(runtime.settings.issuer).path)


class _Reader(NamedTuple):
    """Who reads, and how it wants statements shown."""

    query: lrs.Query
    version: Version
    languages: Sequence[str]

    def shown(self, row: lrs.Kept) -> str:
        return lrs.shown(row, self.version, self.query.format, self.languages)


def _one(db: Connection, reader: _Reader, readable: lrs.Readable, statement_id: uuid.UUID, voided: bool) -> Answer:
    row = db.execute(_ONE, {"id": statement_id}).one_or_none()
    if row is None or not readable.shows(row):
        raise NotFound(f"there is no {'voided ' if voided else ''}statement {statement_id}")
    if (row.voided_by is not None) is not voided:
        other = "is not voided, use statementId" if voided else "is voided, use voidedStatementId"
        raise NotFound(f"the statement {statement_id} {other}")
    kept = lrs.Kept(*row[: len(lrs.Kept._fields)])
    answer = _with_attachments(db, reader, reader.shown(kept), [kept])
    return dataclasses.replace(answer, stored=kept.stored)


def _page(db: Connection, reader: _Reader, readable: lrs.Readable, root: str) -> Answer:
    query = reader.query
    rows = [lrs.Kept(*row) for row in db.execute(*query.select(readable))]
    page, more = rows[: query.limit], ""
    if len(rows) > len(page):
        # Relative to the server's root, so with the path that the bridge itself may have there (xAPI-Data 2.5).
        more = f"{root}/xapi/statements?more={query.following(page[-1])}"
    return _with_attachments(db, reader, lrs.listed(map(reader.shown, page), more), page)


def _with_attachments(db: Connection, reader: _Reader, content: str, rows: Sequence[lrs.Kept]) -> Answer:
    if not reader.query.attachments:
        return Answer(content.encode())
    link, attachment = tables.StatementAttachment, tables.Attachment
    theirs = select(link.sha2).where(link.statement_seq.in_([row.seq for row in rows]))
    found = db.execute(select(attachment.sha2, attachment.content).where(attachment.sha2.in_(theirs)))
    boundary = uuid.uuid4().hex
    body = lrs.multipart(content, {row.sha2: row.content for row in found}, (row.payload for row in rows), boundary)
    return Answer(body, f'multipart/mixed; boundary="{boundary}"')


def consistent_through(runtime: Runtime) -> dt.datetime:
    """Up to when every statement that was stored can be found (X-Experience-API-Consistent-Through).

    To be asked before the statements are: what is committed in between is then not missing from the answer.
    """
    at = now()
    with runtime.db.look() as db:
        if runtime.db.is_sqlite:
            # Writers come one by one: whatever was stored before the newest visible one is visible too.
            newest = db.scalar(_NEWEST)
            return max(newest or at - _LONGEST_WRITE, at - _LONGEST_WRITE)
        oldest = db.scalar(_WRITING)
        return min(oldest or at, at) - _CLOCKS
