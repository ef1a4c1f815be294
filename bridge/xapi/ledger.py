"""The ledger: every statement as bytes that never change, and one outbox row for each LRS that it has to reach.

Both are written in the transaction of the fact that the statement reports, so that neither is ever there without the
other. Sending is ``bridge.flows.drain_outbox``.
"""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson
from sqlalchemy import ColumnElement, select, update
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.orm import Session, aliased

from bridge import registry
from bridge.connect import Attached, StatementSink
from bridge.observe import logger
from bridge.secrets import Vault
from bridge.settings import Settings
from bridge.store import now, tables
from bridge.store.insert import insert_new
from bridge.store.occasion import AnyLaunch
from bridge.xapi import destination, statements
from bridge.xapi.index import Json, columns, identifier, key, mention, mentions, moment
from bridge.xapi.validation import InvalidStatement, loads

__all__ = [
    "Bridge",
    "Entry",
    "Json",
    "Sink",
    "add",
    "add_received",
    "enqueue",
    "identifier",
    "insert",
    "instant",
    "is_sink",
    "key",
    "mention",
    "moment",
    "own_authority",
    "report",
    "sinks",
    "withdraw",
]

_MICROSECOND = dt.timedelta(microseconds=1)

_ENABLED = select(
    tables.Connection.id, tables.Connection.config, tables.Connection.options, tables.Connection.connector
).where(tables.Connection.enabled)


class Bridge(Protocol):
    """What the ledger needs of the runtime."""

    @property
    def settings(self) -> Settings: ...
    @property
    def vault(self) -> Vault: ...


class Sink(NamedTuple):
    """A connection that statements go to."""

    id: int
    config: Mapping[str, Any]
    settings: destination.Settings = destination.DEFAULT


class Entry(NamedTuple):
    """A statement on its way into the ledger: its bytes, what they say, and the attachments that came with it.

    The bytes are those of one JSON object, without blanks around it, with an ``id`` in it.
    """

    payload: bytes
    statement: Json
    attachments: tuple[Attached, ...] = ()


def report(
    bridge: Bridge,
    db: SqlConnection,
    launch: AnyLaunch,
    verb: str,
    *,
    at: dt.datetime,
    outcome: tables.Outcome | None = None,
) -> None:
    """Build the statement that a launch's person did ``verb`` at ``at``, and add it; again changes nothing."""
    issuer = bridge.settings.issuer
    statement = statements.for_launch(launch, verb, at=at, issuer=issuer, vault=bridge.vault, outcome=outcome)
    entry = Entry(orjson.dumps(statement), statement)
    _add(db, entry, issuer=issuer, launch_id=launch.id, outcome_id=outcome.id if outcome else None)


def add(session: Session, payload: bytes, *, issuer: str, launch_id: uuid.UUID | None = None) -> bool:
    """Add one of the bridge's own statements and queue it for every LRS; False, and no change, where its id is known.

    ``payload`` has an id and a timestamp of its own. ``issuer`` names the bridge as its authority.
    """
    return _add(session.connection(), Entry(payload, _object(payload)), issuer=issuer, launch_id=launch_id)


def _add(db: SqlConnection, entry: Entry, *, issuer: str, **reported: Any) -> bool:
    added = insert(db, [entry], stored=now(), authority=own_authority(issuer), **reported)
    if added:
        _queue(db, added, [entry], sinks(db), own=True)
    else:
        _tell_of_a_stranger(db, entry, own_authority(issuer))
    return bool(added)


def _tell_of_a_stranger(db: SqlConnection, entry: Entry, ours: str) -> None:
    """Somebody may have taken an id that the bridge computes: what it reports goes on, and its evidence is missing."""
    row = tables.Statement
    known = db.execute(select(row.authority).where(row.id == uuid.UUID(entry.statement["id"]))).scalar_one()
    if known != ours:
        logger("ledger").error("somebody else has used a statement's id", id=entry.statement["id"], authority=known)


def add_received(
    session: Session, entries: Sequence[Entry], *, authority: str, issuer: str, version: str = "1.0.0"
) -> dict[uuid.UUID, int]:
    """Add statements that somebody else sent, and queue them for every LRS but this bridge's own.

    Returns the ledger's number of each one that is new, by id; those whose id was known are left out, and the caller
    compares them, and connects the new ones with what they refer to (``bridge.xapi.references``).
    """
    db = session.connection()
    added = insert(db, entries, stored=now(), authority=authority, version=version)
    if added:
        elsewhere = [sink for sink in sinks(db) if not _is_here(sink, issuer)]
        _queue(db, added, entries, elsewhere, own=False)
    return added


def insert(
    db: SqlConnection,
    entries: Sequence[Entry],
    *,
    stored: dt.datetime,
    authority: str,
    version: str = "1.0.0",
    **same: Any,
) -> dict[uuid.UUID, int]:
    """Insert statements whose id is not known yet; returns their numbers by id. ``same`` are columns of all of them.

    One without a ``timestamp`` is given the time when it was stored (xAPI-Data 2.4.7).
    """
    shared = {"authority": authority, "version": version, **same}
    # A microsecond apart, so that the order by ``stored`` is the order of the batch, whichever row went in first.
    placed = [(entry, stored + _MICROSECOND * place) for place, entry in enumerate(entries)]
    rows = [
        {**columns(entry.statement, at), **shared, "payload": _timed(entry, at), "stored": at} for entry, at in placed
    ]
    rows.sort(key=lambda row: row["id"])  # two batches with the same ids wait for each other, and never in a circle
    row = tables.Statement
    added = {one.id: one.seq for one in insert_new(db, row, rows, row.id, row.seq)}
    new = [(added[of], entry, at) for entry, at in placed if (of := uuid.UUID(entry.statement["id"])) in added]
    _mention(db, new)
    _attach(db, new)
    return added


def _timed(entry: Entry, stored: dt.datetime) -> bytes:
    if "timestamp" in entry.statement:
        return entry.payload
    return b'{"timestamp":"%s",%s' % (instant(stored).encode(), entry.payload[1:])


def _mention(db: SqlConnection, new: Sequence[tuple[int, Entry, dt.datetime]]) -> None:
    rows = [
        {"mention": number, "stored": at, "statement_seq": seq}
        for seq, entry, at in new
        for number in mentions(entry.statement)
    ]
    if rows:
        insert_new(db, tables.StatementMention, rows)


def _attach(db: SqlConnection, new: Sequence[tuple[int, Entry, dt.datetime]]) -> None:
    """Keep the attachments that came, each content once."""
    links = [{"statement_seq": seq, "sha2": one.sha2} for seq, entry, _ in new for one in entry.attachments]
    if not links:
        return
    contents = {one.sha2: one.content for _, entry, _ in new for one in entry.attachments}
    # In one order, so that two requests with the same attachments wait for each other and never in a circle.
    kept = [{"sha2": of, "content": contents[of], "created_at": new[0][2]} for of in sorted(contents)]
    insert_new(db, tables.Attachment, kept)
    insert_new(db, tables.StatementAttachment, links)


def _queue(
    db: SqlConnection, added: Mapping[uuid.UUID, int], entries: Sequence[Entry], to: Sequence[Sink], *, own: bool
) -> None:
    """Queue what is new for the destinations that want it."""
    enqueue(db, added.values(), [sink for sink in to if not sink.settings.filters])
    for sink in (sink for sink in to if sink.settings.filters):
        wanted = [entry.statement["id"] for entry in entries if sink.settings.wants(entry.statement, own=own)]
        enqueue(db, [added[of] for of in map(uuid.UUID, wanted) if of in added], [sink])


def enqueue(db: SqlConnection, numbers: Iterable[int], to: Iterable[Sink]) -> None:
    """Queue statements, by their numbers in the ledger, for destinations; what is queued already stays as it is."""
    rows = [{"statement_seq": number, "connection_id": sink.id} for sink in to for number in numbers]
    if rows:
        insert_new(db, tables.Outbox, rows)


def withdraw(db: SqlConnection, which: ColumnElement[bool]) -> None:
    """What was refused among ``which`` receipts, and is voided by now, is no dead letter any more and never sent again.

    An LRS that has a voiding statement already would keep what it voids, unvoided.
    """
    receipt, row, voiding = tables.StatementReceipt, tables.Statement, aliased(tables.Statement)
    by = select(voiding.seq).join(row, row.voided_by == voiding.id).where(row.seq == receipt.statement_seq)
    refused = update(receipt).where(receipt.state == "rejected", which)
    db.execute(refused.where(by.exists()).values(state="replaced", replaced_by=by.scalar_subquery()))


def sinks(db: SqlConnection) -> list[Sink]:
    """The enabled connections that take statements."""
    enabled = (row for row in db.execute(_ENABLED) if is_sink(row.connector))
    return [Sink(row.id, row.config, destination.settings(row.options)) for row in enabled]


def is_sink(connector: str) -> bool:
    """Does this kind of connector take statements? One that can't be loaded does not: reconciliation finds the gap."""
    try:
        return _is_sink(connector)
    except Exception:  # whatever a plugin raises while it is imported: a launch must not fail because of it
        return False


@functools.cache
def _is_sink(connector: str) -> bool:
    return issubclass(registry.find(connector), StatementSink)


def _is_here(sink: Sink, issuer: str) -> bool:
    here = f"{issuer}/xapi"
    return any(isinstance(value, str) and f"{value}/".startswith(f"{here}/") for value in sink.config.values())


def instant(at: dt.datetime) -> str:
    """A time as the LRS writes it: UTC, and microseconds, so that ``since`` finds nothing twice (xAPI-Data 4.5)."""
    return at.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def own_authority(issuer: str) -> str:
    """The identifier of the bridge itself, as authority of what it states."""
    return identifier({"account": {"homePage": issuer, "name": "flowbridge"}})


def _object(payload: bytes) -> Json:
    statement = loads(payload)
    if not isinstance(statement, dict):
        raise InvalidStatement("", "a statement must be a JSON object (xAPI-Data 2.2)")
    return statement
