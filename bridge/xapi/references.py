"""Statements about statements: which ones a query finds because it finds what they refer to.

``StatementReference`` holds every pair, also through others, in whichever order they came: a query looks one step far.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Select, String, bindparam, func, select, text, true
from sqlalchemy.dialects import postgresql

from bridge.store import tables
from bridge.store.insert import among, insert_new
from bridge.xapi import index
from bridge.xapi.index import Json

#: A statement is found by so many others that a chain of references leads to, so that a long chain stays cheap to keep.
FURTHEST = 50
#: PostgreSQL's advisory lock of those who add statements ("refer").
_LOCK = 0x7265666572

_STATEMENT = tables.Statement
_FOUND = select(_STATEMENT.seq, _STATEMENT.id, _STATEMENT.object_id, _STATEMENT.verb, _STATEMENT.authority)


def _each() -> Select[*tuple[Any, ...]]:
    """Name by name, which the OFFSET makes PostgreSQL keep to.

    For all at once it expects as many rows as activities have on average, and reads the whole table.
    """
    names = bindparam("names", type_=postgresql.ARRAY(String))
    one = func.unnest(names).table_valued("name").render_derived()
    each = _FOUND.where(_STATEMENT.object_id == one.c.name).offset(0).lateral()
    return select(*each.c).select_from(one.join(each, true()))


#: The statements whose object has one of some ``names``.
_ABOUT: Mapping[str, Select[*tuple[Any, ...]]] = {
    "sqlite": _FOUND.where(_STATEMENT.object_id.in_(bindparam("names", expanding=True))),
    "postgresql": _each(),
}


class Reference(NamedTuple):
    """The statement ``source`` has ``target`` as its object; numbers of the ledger."""

    source: int
    target: int


def line_up(db: SqlConnection, statements: Iterable[Json]) -> None:
    """To be called first in a transaction that adds statements: two that belong together must see each other.

    One that refers to others waits for whoever adds some now, and they for it. SQLite has one writer at a time anyway.
    """
    if db.dialect.name == "postgresql":
        shared = "" if any(index.target(statement) for statement in statements) else "_shared"
        db.execute(text(f"select pg_advisory_xact_lock{shared}(:key)"), {"key": _LOCK})


class Earlier(NamedTuple):
    """A statement that was there before the one that it is about; numbers and ids of the ledger."""

    seq: int
    id: uuid.UUID
    target: uuid.UUID
    verb: str
    authority: str


def connect(db: SqlConnection, added: Mapping[uuid.UUID, int], statements: Iterable[Json]) -> list[Earlier]:
    """Write what new statements, by their numbers in the ledger, refer to, and what refers to them; returns these."""
    incoming = _incoming(db, added) if added else []
    links = [*_outgoing(db, added, statements), *(Reference(one.seq, added[one.target]) for one in incoming)]
    if links and (made := _closure(db, links)):
        _keep(db, sorted(made))
    return incoming


def _keep(db: SqlConnection, pairs: Sequence[Reference]) -> None:
    sources = among(db, _STATEMENT.seq, {pair.source for pair in pairs})
    stored = {row.seq: row.stored for row in db.execute(select(_STATEMENT.seq, _STATEMENT.stored).where(sources))}
    rows = [{"target_seq": pair.target, "statement_seq": pair.source, "stored": stored[pair.source]} for pair in pairs]
    insert_new(db, tables.StatementReference, rows)


def _outgoing(db: SqlConnection, added: Mapping[uuid.UUID, int], statements: Iterable[Json]) -> list[Reference]:
    wanted = {uuid.UUID(statement["id"]): of for statement in statements if (of := index.target(statement))}
    wanted = {source: target for source, target in wanted.items() if source in added and source != target}
    known = dict(added)
    unknown = set(wanted.values()) - known.keys()
    if unknown:
        there = select(_STATEMENT.id, _STATEMENT.seq).where(among(db, _STATEMENT.id, unknown))
        known |= {one.id: one.seq for one in db.execute(there)}
    return [Reference(added[source], known[target]) for source, target in wanted.items() if target in known]


def _incoming(db: SqlConnection, added: Mapping[uuid.UUID, int]) -> list[Earlier]:
    about = db.execute(_ABOUT[db.dialect.name], {"names": [str(of) for of in added]}).all()
    earlier = [Earlier(one.seq, one.id, uuid.UUID(one.object_id), one.verb, one.authority) for one in about]
    return [one for one in earlier if one.id != one.target]


def _closure(db: SqlConnection, links: Sequence[Reference]) -> set[Reference]:
    """The pairs that these links add: whatever leads to a link's source now leads to all that its target leads to."""
    row = tables.StatementReference
    ends = {end for link in links for end in link}
    before: dict[int, set[int]] = defaultdict(set)
    after: dict[int, set[int]] = defaultdict(set)
    near = select(row.statement_seq, row.target_seq).where(
        among(db, row.statement_seq, ends) | among(db, row.target_seq, ends)
    )
    for source, target in db.execute(near):
        after[source].add(target)
        before[target].add(source)
    made: set[Reference] = set()
    for link in links:
        for source in (link.source, *before[link.source]):
            for target in (link.target, *after[link.target]):
                if source != target and target not in after[source] and len(after[source]) < FURTHEST:
                    after[source].add(target)
                    before[target].add(source)
                    made.add(Reference(source, target))
    return made
