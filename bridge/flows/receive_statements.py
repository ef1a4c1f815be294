"""The built-in LRS: take statements from programs, keep them as they came, find them again, pass them on."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from bridge.flows.errors import FlowError, Invalid, NotFound, Refused
from bridge.flows.identity import Caller
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.xapi import ledger, lrs
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


class Conflict(FlowError):
    """The id is known, and stands for another statement."""

    code = "conflict"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The JSON of one statement or of a list; ``stored`` of the one statement."""

    content: str
    stored: dt.datetime | None = None


def receive(
    runtime: Runtime, caller: Caller, body: bytes, version: Version, parameters: Mapping[str, str], *, put: bool = False
) -> list[str]:
    """Store the statements of a POST body, or the one of a ``put``, all or none; returns their ids in order.

    A statement that is known already is left as it is. Raises Invalid with path and rule, Conflict where a known id
    came with another statement, Refused where the caller may not do this.
    """
    _require(caller, "statements:write")
    try:
        entries = _read(body, version, parameters, put=put)
        with runtime.db.write() as session:
            _store(runtime, session, caller, entries)
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None
    runtime.nudge("drain")
    return [entry.statement["id"] for entry in entries]


def _require(caller: Caller, scope: str) -> None:
    if not caller.may(scope):
        raise Refused(f"the credential '{caller.key}' has no scope {scope}; an admin can make one that has")


def _read(body: bytes, version: Version, parameters: Mapping[str, str], *, put: bool) -> Sequence[Entry]:
    strays = set(parameters) - ({"statementId"} if put else set())
    if strays:
        raise Invalid(min(strays), "is not a parameter of this request (xAPI-Communication 2.1)")
    return [lrs.read_one(body, version, parameters.get("statementId"))] if put else lrs.read_batch(body, version)


def _store(runtime: Runtime, session: Session, caller: Caller, entries: Sequence[Entry]) -> None:
    issuer = runtime.settings.issuer
    authority = ledger.identifier({"account": {"homePage": issuer, "name": caller.key}})
    added = ledger.add_received(session, entries, authority=authority, issuer=issuer)
    repeats = {of: entry for entry in entries if (of := uuid.UUID(entry.statement["id"])) not in added}
    for known in session.scalars(select(tables.Statement).where(tables.Statement.id.in_(repeats))):
        if not lrs.same(known, repeats[known.id].statement):
            raise Conflict(
                f"the id {known.id} is known here for another statement; statements never change:"
                " send a correction under a new id, and void the old one (xAPI-Data 2.3)"
            )
    for entry in entries:
        if entry.statement["verb"]["id"] == VOIDED and uuid.UUID(entry.statement["id"]) in added:
            _void(session, caller, authority, entry)
    _void_late(session, list(added))


def _void(session: Session, caller: Caller, authority: str, entry: Entry) -> None:
    """Mark what a voiding statement names; one that is not known yet is marked when it comes (xAPI-Data 2.3.2)."""
    row = tables.Statement
    target = session.scalar(select(row).where(row.id == uuid.UUID(entry.statement["object"]["id"])))
    if target is None or target.verb == VOIDED:  # a voiding statement can't be voided: this one is kept, without effect
        return
    if target.authority != authority and not caller.may("all"):
        raise Refused(
            f"the statement {target.id} was stated by somebody else; the credential '{caller.key}' may void only what"
            " it sent itself, one with the scope all may void any"
        )
    target.voided_by = target.voided_by or uuid.UUID(entry.statement["id"])


def _void_late(session: Session, added: Sequence[uuid.UUID]) -> None:
    """Mark new statements that their own sender had voided before they came."""
    row = tables.Statement
    names = [str(of) for of in added]
    voiding = session.execute(
        select(row.id, row.object_id, row.authority).where(row.object_id.in_(names), row.verb == VOIDED)
    )
    for by, target, authority in voiding.all():
        of = (row.id == uuid.UUID(target), row.authority == authority, row.verb != VOIDED, row.voided_by.is_(None))
        session.execute(update(row).where(*of).values(voided_by=by))


def find(runtime: Runtime, caller: Caller, parameters: Mapping[str, str], version: Version) -> Answer:
    """One statement, or a page of a list (xAPI-Communication 2.1.3). Raises Invalid, NotFound or Refused."""
    _require(caller, "statements:read")
    try:
        one = lrs.statement_id(parameters)
        query = lrs.Query.parse({} if one else parameters, version)
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None
    with runtime.db.read() as session:
        return _one(session, *one) if one else _page(runtime, session, query)


def _one(session: Session, statement_id: uuid.UUID, voided: bool) -> Answer:
    row = session.scalar(select(tables.Statement).where(tables.Statement.id == statement_id))
    if row is None or (row.voided_by is not None) is not voided:
        other = ""
        if row is not None:
            other = "; it is not voided, use statementId" if voided else "; it is voided, use voidedStatementId"
        raise NotFound(f"there is no {'voided ' if voided else ''}statement {statement_id}{other}")
    return Answer(lrs.shown(row), row.stored)


def _page(runtime: Runtime, session: Session, query: lrs.Query) -> Answer:
    rows = session.scalars(query.select()).all()
    page, more = rows[: query.limit], ""
    if len(rows) > len(page):
        # Relative to the server's root, so with the path that the bridge itself may have there (xAPI-Data 2.5).
        more = f"{urlsplit(runtime.settings.issuer).path}/xapi/statements?more={query.following(page[-1])}"
    return Answer(f'{{"statements":[{",".join(map(lrs.shown, page))}],"more":"{more}"}}')


def consistent_through(runtime: Runtime) -> dt.datetime:
    """Up to when every statement that was stored can be found (X-Experience-API-Consistent-Through).

    To be asked before the statements are: what is committed in between is then not missing from the answer.
    """
    at = now()
    with runtime.db.read() as session:
        if runtime.db.is_sqlite:
            # Writers come one by one: whatever was stored before the newest visible one is visible too.
            newest = session.scalar(select(func.max(tables.Statement.stored)))
            return max(newest or at - _LONGEST_WRITE, at - _LONGEST_WRITE)
        oldest = session.scalar(_WRITING)
        return min(oldest or at, at) - _CLOCKS
