"""What revision 0003 does to the statements that are there: complete bytes, mentions, references.

Up to 0002 a received statement was kept just as it came; what it came without was put in each time it was read.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from bridge.store.types import Utc

# Pure functions of the text of a statement: rows that are found by what they make are always made by the same ones.
from bridge.xapi.index import mentions, target
from bridge.xapi.ledger import instant
from bridge.xapi.lrs import pieces

_BATCH = 1000
_FURTHEST = 50

_STATEMENT = sa.table(
    "statement",
    sa.column("seq", sa.BigInteger()),
    sa.column("id", sa.Uuid()),
    sa.column("payload", sa.LargeBinary()),
    sa.column("stored", Utc()),
    sa.column("timestamp", Utc()),
)
_MENTION = sa.table(
    "statement_mention",
    sa.column("mention", sa.BigInteger()),
    sa.column("stored", Utc()),
    sa.column("statement_seq", sa.BigInteger()),
)
_REFERENCE = sa.table(
    "statement_reference",
    sa.column("target_seq", sa.BigInteger()),
    sa.column("statement_seq"),
    sa.column("stored", Utc()),
)


def complete(db: sa.Connection) -> None:
    """Bring the rows of ``statement`` to what this version keeps, some at a time."""
    targets: dict[int, _Target] = {}
    for rows in _batches(db):
        statements = [(row, json.loads(row.payload)) for row in rows]
        changed = [{"number": row.seq, "bytes": made} for row, of in statements if (made := _whole(row, of))]
        if changed:
            change = sa.update(_STATEMENT).where(_STATEMENT.c.seq == sa.bindparam("number"))
            db.execute(change.values(payload=sa.bindparam("bytes", type_=sa.LargeBinary())), changed)
        named = [
            {"mention": number, "stored": row.stored, "statement_seq": row.seq}
            for row, of in statements
            for number in mentions(of)
        ]
        if named:
            db.execute(sa.insert(_MENTION), named)
        targets |= {row.seq: _Target(of, row.stored) for row, statement in statements if (of := target(statement))}
    _refer(db, targets)


def _batches(db: sa.Connection) -> Iterator[Sequence[Any]]:
    last = 0
    while rows := db.execute(
        sa.select(_STATEMENT).where(_STATEMENT.c.seq > last).order_by(_STATEMENT.c.seq).limit(_BATCH)
    ).all():
        yield rows
        last = rows[-1].seq


def _whole(row: Any, statement: dict[str, Any]) -> bytes | None:
    """The bytes with id and time, and without what each LRS says for itself; None where they are so already."""
    if {"id", "timestamp"} <= statement.keys() and statement.keys().isdisjoint(("stored", "authority")):
        return None
    given = {"id": json.dumps(str(row.id)), "timestamp": json.dumps(instant(row.timestamp))}
    kept = {**given, **pieces.members(row.payload.decode())}
    return pieces.joined({name: text for name, text in kept.items() if name not in ("stored", "authority")}).encode()


class _Target(NamedTuple):
    """What a statement is about, and when that one was stored itself."""

    id: uuid.UUID
    stored: dt.datetime


def _refer(db: sa.Connection, targets: dict[int, _Target]) -> None:
    """Note which statement is about which other one, also through others."""
    known: dict[uuid.UUID, int] = {}
    wanted = sorted({of.id for of in targets.values()})
    for start in range(0, len(wanted), _BATCH):
        some = _STATEMENT.c.id.in_(wanted[start : start + _BATCH])
        known |= {row.id: row.seq for row in db.execute(sa.select(_STATEMENT.c.id, _STATEMENT.c.seq).where(some))}
    next_of = {source: known[of.id] for source, of in targets.items() if of.id in known}
    rows = [
        {"target_seq": end, "statement_seq": source, "stored": targets[source].stored}
        for source in next_of
        for end in _chain(source, next_of)
    ]
    if rows:
        db.execute(sa.insert(_REFERENCE), rows)


def _chain(source: int, next_of: dict[int, int]) -> list[int]:
    seen, at = [source], next_of.get(source)
    while at is not None and at not in seen and len(seen) <= _FURTHEST:
        seen.append(at)
        at = next_of.get(at)
    return seen[1:]
