"""The ledger: every statement as bytes that never change, and one outbox row for each LRS that it has to reach.

Both are written in the transaction of the fact that the statement reports, so that neither is ever there without the
other. Sending is ``bridge.flows.drain_outbox``.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bridge import registry
from bridge.connect import StatementSink
from bridge.secrets import Vault
from bridge.settings import Settings
from bridge.store import now, tables
from bridge.store.occasion import AnyLaunch
from bridge.xapi import statements
from bridge.xapi.validation import InvalidStatement, loads

Json = dict[str, Any]

_IDENTIFIERS = ("account", "mbox", "mbox_sha1sum", "openid")
_LONGEST_KEY = 500
_MICROSECOND = dt.timedelta(microseconds=1)

_BY_DIALECT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_INSERT = {
    name: insert_into(tables.Statement)
    .on_conflict_do_nothing(index_elements=[tables.Statement.id])
    .returning(tables.Statement.id, tables.Statement.seq)
    for name, insert_into in _BY_DIALECT.items()
}
_ENQUEUE = {name: insert_into(tables.Outbox).on_conflict_do_nothing() for name, insert_into in _BY_DIALECT.items()}
_ENABLED = select(tables.Connection.id, tables.Connection.config, tables.Connection.connector).where(
    tables.Connection.enabled
)


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


class Entry(NamedTuple):
    """A statement on its way into the ledger: its bytes, and what they say."""

    payload: bytes
    statement: Json


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


def add(session: Session, payload: bytes, *, issuer: str) -> bool:
    """Add one of the bridge's own statements and queue it for every LRS; False, and no change, where its id is known.

    ``payload`` has an id and a timestamp of its own. ``issuer`` names the bridge as its authority.
    """
    return _add(session.connection(), Entry(payload, _object(payload)), issuer=issuer)


def _add(db: SqlConnection, entry: Entry, *, issuer: str, **reported: uuid.UUID | None) -> bool:
    added = insert(db, [entry], stored=now(), authority=own_authority(issuer), **reported)
    if added:
        enqueue(db, added.values(), sinks(db))
    return bool(added)


def add_received(session: Session, entries: Sequence[Entry], *, authority: str, issuer: str) -> dict[uuid.UUID, int]:
    """Add statements that somebody else sent, and queue them for every LRS but this bridge's own.

    Returns the ledger's number of each one that is new, by id; those whose id was known are left out, and the caller
    compares them. Each entry's statement has an id; the bytes need not.
    """
    db = session.connection()
    added = insert(db, entries, stored=now(), authority=authority)
    elsewhere = [sink for sink in sinks(db) if not _is_here(sink, issuer)]
    enqueue(db, added.values(), elsewhere)
    return added


def insert(db: SqlConnection, entries: Sequence[Entry], *, stored: dt.datetime, **same: Any) -> dict[uuid.UUID, int]:
    """Insert statements whose id is not known yet; returns their numbers by id. ``same`` are columns of all of them."""
    rows = [
        # A microsecond apart, so that the order by ``stored`` is the order of the batch, whichever row went in first.
        {**columns(entry.statement, stored), **same, "payload": entry.payload, "stored": stored + _MICROSECOND * place}
        for place, entry in enumerate(entries)
    ]
    rows.sort(key=lambda row: row["id"])  # two batches with the same ids wait for each other, and never in a circle
    # For a list SQLAlchemy puts the INSERT together anew each time.
    added = db.execute(_INSERT[db.dialect.name], rows[0] if len(rows) == 1 else rows)
    return {row.id: row.seq for row in added}


def enqueue(db: SqlConnection, numbers: Iterable[int], to: Iterable[Sink]) -> None:
    """Queue statements, by their numbers in the ledger, for destinations; what is queued already stays as it is."""
    rows = [{"statement_seq": number, "connection_id": sink.id} for sink in to for number in numbers]
    if rows:
        db.execute(_ENQUEUE[db.dialect.name], rows)


def sinks(db: SqlConnection) -> list[Sink]:
    """The enabled connections that take statements."""
    return [Sink(row.id, row.config) for row in db.execute(_ENABLED) if is_sink(row.connector)]


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


def columns(statement: Json, stored: dt.datetime) -> Json:
    """The columns by which a statement is found; ``stored`` stands in where it has no timestamp (xAPI-Data 2.4.7)."""
    registration = statement.get("context", {}).get("registration")
    return {
        "id": uuid.UUID(statement["id"]),
        "timestamp": moment(statement["timestamp"]) if "timestamp" in statement else stored,
        "actor": key(identifier(statement["actor"])),
        "verb": key(statement["verb"]["id"]),
        "object_id": key(_object_id(statement["object"])),
        "registration": uuid.UUID(registration) if registration else None,
    }


def _object_id(target: Json) -> str:
    """What the object is found by: an IRI, an actor's identifier, or a statement's id; nothing for a SubStatement."""
    kind = target.get("objectType", "Activity")
    if kind in ("Agent", "Group"):
        return identifier(target)
    if kind == "SubStatement":
        return ""
    return str(target["id"]) if kind == "Activity" else str(uuid.UUID(target["id"]))


def identifier(actor: Json) -> str:
    """The canonical form of an actor's inverse functional identifier: JSON of that one property; "" without one.

    Also what the ``agent`` parameter of a query holds (xAPI-Communication 2.1.3).
    """
    for name in _IDENTIFIERS:
        if name in actor:
            return json.dumps({name: _canonical(name, actor[name])}, sort_keys=True, separators=(",", ":"))
    return ""


def _canonical(name: str, value: Any) -> Any:
    if name == "mbox_sha1sum":
        return value.lower()
    if name == "mbox":  # the domain is case-insensitive, the local part is not (RFC 5321 2.4)
        local, _, domain = value.rpartition("@")
        return f"{local}@{domain.lower()}"
    return value


def key(text: str) -> str:
    """``text`` as an indexed column holds it: what is too long for an index entry ends in its hash."""
    if len(text.encode()) <= _LONGEST_KEY:
        return text
    return f"{text[:100]}#{hashlib.sha256(text.encode()).hexdigest()}"


def moment(text: str) -> dt.datetime:
    """An ISO 8601 time that passed validation, as a point in time; without a zone it is taken as UTC."""
    at = dt.datetime.fromisoformat(text)
    try:
        return at.astimezone(dt.UTC) if at.tzinfo else at.replace(tzinfo=dt.UTC)
    except OverflowError:
        raise InvalidStatement("timestamp", "lies beyond the years 1 to 9999 in UTC (xAPI-Data 4.5)") from None


def own_authority(issuer: str) -> str:
    """The identifier of the bridge itself, as authority of what it states."""
    return identifier({"account": {"homePage": issuer, "name": "flowbridge"}})


def _object(payload: bytes) -> Json:
    statement = loads(payload)
    if not isinstance(statement, dict):
        raise InvalidStatement("", "a statement must be a JSON object (xAPI-Data 2.2)")
    return statement
