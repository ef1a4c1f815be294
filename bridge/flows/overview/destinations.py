"""The LRSs that statements go to: how much waits for each, what got there lately, and what keeps the rest."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.flows.overview import connections
from bridge.flows.runtime import Runtime
from bridge.store import now, tables

#: How many hours the plot shows, the present one among them.
HOURS = 24


@dataclasses.dataclass(frozen=True, slots=True)
class Hour:
    """How many statements were delivered in the hour (UTC) that began then."""

    start: dt.datetime
    delivered: int


@dataclasses.dataclass(frozen=True, slots=True)
class Delivered:
    """How many statements got there: within the last 60 minutes, within the last 24 hours, and hour by hour."""

    last_hour: int
    last_day: int
    hours: tuple[Hour, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """One LRS; ``oldest`` is when the statement that waits for longest was stored here."""

    row: connections.Row
    oldest: dt.datetime | None
    delivered: Delivered
    rejected: int
    #: Whether it can be read back, so that it can be reconciled.
    readable: bool


def listing(runtime: Runtime) -> list[Destination]:
    """Every connection that takes statements, those that need somebody first."""
    rows = [row for row in connections.listing(runtime) if "statements" in row.capabilities]
    present = now().replace(minute=0, second=0, microsecond=0)
    hours = [present - dt.timedelta(hours=back) for back in reversed(range(HOURS))]
    with runtime.db.read() as session:
        numbers = _numbers(session, [row.name for row in rows])
        oldest, delivered = _oldest(session), _delivered(session, hours)
    refused, none = rejected(runtime), _counted(hours, [0] * (HOURS + 2))
    return [
        Destination(
            row=row,
            oldest=oldest.get(of),
            delivered=delivered.get(of, none),
            rejected=refused.get(row.name, 0),
            readable="archive" in row.capabilities,
        )
        for row in rows
        for of in (numbers[row.name],)
    ]


def rejected(runtime: Runtime) -> Mapping[str, int]:
    """How many statements each LRS has refused, by its name; those that refused none are left out."""
    receipt, row = tables.StatementReceipt, tables.Connection
    query = select(row.name, func.count()).join(receipt, receipt.connection_id == row.id)
    with runtime.db.read() as session:
        refused = query.where(receipt.state == "rejected").group_by(row.name).order_by(row.name)
        return dict(session.execute(refused).all())


def _numbers(session: Session, names: Sequence[str]) -> Mapping[str, int]:
    row = tables.Connection
    return dict(session.execute(select(row.name, row.id).where(row.name.in_(names))).all())


def _oldest(session: Session) -> Mapping[int, dt.datetime]:
    first = select(tables.Outbox.connection_id, func.min(tables.Outbox.statement_seq).label("seq"))
    waiting = first.group_by(tables.Outbox.connection_id).subquery()
    query = select(waiting.c.connection_id, tables.Statement.stored)
    return dict(session.execute(query.join(tables.Statement, tables.Statement.seq == waiting.c.seq)).all())


def _delivered(session: Session, hours: Sequence[dt.datetime]) -> Mapping[int, Delivered]:
    """One pass over the receipts of a day and a bit."""
    at, hour = tables.StatementReceipt.settled_at, dt.timedelta(hours=1)
    since = [now() - hour, now() - HOURS * hour]
    counts = [func.count().filter(at >= moment) for moment in since]
    counts += [func.count().filter(at >= start, at < start + hour) for start in hours]
    query = select(tables.StatementReceipt.connection_id, *counts).where(at >= since[1])
    query = query.where(tables.StatementReceipt.state == "delivered").group_by(tables.StatementReceipt.connection_id)
    return {of: _counted(hours, numbers) for of, *numbers in session.execute(query)}


def _counted(hours: Sequence[dt.datetime], numbers: Sequence[int]) -> Delivered:
    last_hour, last_day, *each = numbers
    return Delivered(last_hour, last_day, tuple(itertools.starmap(Hour, zip(hours, each, strict=True))))
