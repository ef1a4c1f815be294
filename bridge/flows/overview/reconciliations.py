"""What reconciliations have found: the runs, and the statements in which an LRS and the ledger differ."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import uuid
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select, case, func, select

from bridge.flows.errors import NotFound
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.store import tables

#: What a statement can be found to be, in the order in which it is told.
KINDS = ("matched", "missing", "different", "voided", "foreign")
_CHUNK = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One comparison of an LRS with the ledger, as numbers of statements.

    It looked at what was stored there after ``since`` (None: ever), up to ``through``, where the LRS says so.
    """

    id: int
    connection: str
    started_at: dt.datetime
    finished_at: dt.datetime | None
    since: dt.datetime | None
    through: dt.datetime | None
    matched: int
    missing: int
    different: int
    voided: int
    foreign: int
    repaired: int
    error: str

    @property
    def state(self) -> str:
        """Failed, running (or killed), different or matched. Statements of others make no difference."""
        if self.error:
            return "failed"
        if self.finished_at is None:
            return "running"
        return "different" if self.missing or self.different or self.voided else "matched"

    @property
    def open(self) -> int:
        """How many statements somebody has still to do something about: what is queued again is on its way."""
        return max(self.missing + self.different + self.voided - self.repaired, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """A statement in which the two differ; ``repaired_at`` is when it was queued again.

    ``event_id`` is what its launch began with, where the bridge knows the statement and it is of a launch.
    """

    statement_id: uuid.UUID
    kind: str
    detail: str
    repaired_at: dt.datetime | None
    event_id: uuid.UUID | None


def runs(runtime: Runtime, connection_name: str = "", *, most: int = 50) -> list[Run]:
    """Runs of all connections, or of one, newest first. Raises NotFound."""
    query = _runs().order_by(tables.Reconciliation.id.desc()).limit(most)
    with runtime.db.read() as session:
        if connection_name:
            query = query.where(tables.Connection.id == find_connection(session, connection_name).id)
        return list(itertools.starmap(Run, session.execute(query)))


def newest(runtime: Runtime) -> dict[str, Run]:
    """The last comparison of each connection that came to an end, be it by an error; by the connection's name."""
    row = tables.Reconciliation
    last = select(func.max(row.id)).where(row.finished_at.is_not(None)).group_by(row.connection_id)
    with runtime.db.read() as session:
        found = itertools.starmap(Run, session.execute(_runs().where(row.id.in_(last))))
        return {run.connection: run for run in found}


def run(runtime: Runtime, run_id: int) -> Run:
    """One run; raises NotFound."""
    with runtime.db.read() as session:
        found = session.execute(_runs().where(tables.Reconciliation.id == run_id)).one_or_none()
    if found is None:
        raise NotFound(f"there is no reconciliation {run_id}")
    return Run(*found)


def gaps(runtime: Runtime, run_id: int, *, most: int | None = None, offset: int = 0) -> Iterator[Gap]:
    """What a run listed, kind by kind, behind the first ``offset`` of it; streamed."""
    row = tables.Difference
    order = case({kind: place for place, kind in enumerate(KINDS)}, value=row.kind)
    query = select(row.statement_id, row.kind, row.detail, row.repaired_at, tables.Prompt.event_id)
    query = query.outerjoin(tables.Statement, tables.Statement.id == row.statement_id)
    query = query.outerjoin(tables.Launch, tables.Launch.id == tables.Statement.launch_id)
    query = query.outerjoin(tables.Prompt, tables.Prompt.id == tables.Launch.prompt_id)
    query = query.where(row.reconciliation_id == run_id).order_by(order, row.statement_id)
    query = query.limit(most).offset(offset)
    with runtime.db.read() as session:
        yield from itertools.starmap(Gap, session.execute(query, execution_options={"yield_per": _CHUNK}))


def _runs() -> Select[*tuple[Any, ...]]:
    row = tables.Reconciliation
    return (
        select(row.id, tables.Connection.name, row.started_at, row.finished_at, row.since, row.through)
        .add_columns(*(getattr(row, kind) for kind in KINDS), row.repaired, func.coalesce(row.error, ""))
        .join(tables.Connection, tables.Connection.id == row.connection_id)
    )
