"""What an admin sees first: is everything running, what happened lately, and what needs a person."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from bridge.flows import approve_peer
from bridge.flows.overview import attention, connections, reconciliations
from bridge.flows.runtime import Runtime
from bridge.store import now, tables

#: How many days the plot shows, today among them.
DAYS = 14
#: Work that is due for so long is being done by nobody.
_LATE = dt.timedelta(minutes=1)
_FEW = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Today:
    """Counts since midnight UTC."""

    events: int
    offered: int
    against: int
    opened: int
    completed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Day:
    """One day (UTC) of the plot."""

    day: dt.date
    offered: int
    opened: int
    completed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Queue:
    """Work that waits; ``late`` is since when it should have been done, or None when it is in time."""

    key: str
    waiting: int
    late: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Stuck:
    """An event on which the rules could not decide, because something failed; ``words`` say what. It is tried again."""

    event_id: uuid.UUID
    subject: str
    type: str
    words: str


@dataclasses.dataclass(frozen=True, slots=True)
class Beginning:
    """What is there at all; the console tells a new admin what to do first while something is missing."""

    connections: bool
    assets: bool
    people: bool
    rules: bool
    events: bool

    @property
    def complete(self) -> bool:
        return all(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True, slots=True)
class Overview:
    """The first page of the console."""

    today: Today
    days: tuple[Day, ...]
    queues: tuple[Queue, ...]
    stuck: tuple[Stuck, ...]
    troubled: tuple[connections.Row, ...]
    #: The last comparison with each LRS that is switched on, where it failed, or left something to do.
    unreconciled: tuple[reconciliations.Run, ...]
    peers: tuple[approve_peer.Waiting, ...]
    unmatched: int
    failed: attention.Failed
    beginning: Beginning


def overview(runtime: Runtime) -> Overview:
    """Numbers of today, what waits, and every connection that has a problem."""
    listed, peers = connections.listing(runtime), approve_peer.waiting(runtime)
    compared, enabled = reconciliations.newest(runtime), {row.name for row in listed if row.enabled}
    with runtime.db.read() as session:
        midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
        return Overview(
            today=_today(session, midnight),
            days=_days(session, midnight),
            queues=tuple(_queues(session)),
            stuck=tuple(_stuck(session)),
            troubled=tuple(row for row in listed if row.troubled),
            unreconciled=tuple(run for name, run in compared.items() if name in enabled and (run.error or run.open)),
            peers=tuple(peers),
            unmatched=attention.open_count(session),
            failed=attention.failed_counts(session),
            beginning=_beginning(session),
        )


def _today(session: Session, midnight: dt.datetime) -> Today:
    event, prompt, launch = tables.Event, tables.Prompt, tables.Launch
    made = prompt.created_at >= midnight
    return Today(
        events=_count(session, event, event.received_at >= midnight),
        offered=_count(session, prompt, and_(made, prompt.offered)),
        against=_count(session, prompt, and_(made, prompt.offered.is_(False))),
        opened=_count(session, launch, launch.started_at >= midnight),
        completed=_count(session, launch, launch.completed_at >= midnight),
    )


def _count(session: Session, table: type[tables.Base], where: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(table).where(where)) or 0


def _days(session: Session, midnight: dt.datetime) -> tuple[Day, ...]:
    starts = [midnight - dt.timedelta(days=back) for back in reversed(range(DAYS))]
    offered = _per_day(session, tables.Prompt.created_at, starts, tables.Prompt.offered.is_(True))
    opened = _per_day(session, tables.Launch.started_at, starts)
    completed = _per_day(session, tables.Launch.completed_at, starts)
    numbers = zip(starts, offered, opened, completed, strict=True)
    return tuple(Day(start.date(), *counts) for start, *counts in numbers)


def _per_day(
    session: Session, column: InstrumentedAttribute[Any], starts: list[dt.datetime], *where: ColumnElement[bool]
) -> list[int]:
    """One pass over the rows of the days; grouping by a date would mean another thing in each database's time zone."""
    day = dt.timedelta(days=1)
    counts = [func.count().filter(column >= start, column < start + day) for start in starts]
    return list(session.execute(select(*counts).where(column >= starts[0], *where)).one())


def _queues(session: Session) -> list[Queue]:
    return [
        _queue(session, "decide", tables.Event),
        _queue(session, "deliver", tables.Delivery),
        _outbox(session),
        _queue(session, "write_back", tables.WriteBack),
        _queue(session, "grades", tables.LmsGrade),
    ]


def _queue(session: Session, key: str, table: Any) -> Queue:
    waiting = _count(session, table, table.due_at.is_not(None))
    return Queue(key, waiting, _late(session.scalar(select(func.min(table.due_at)).where(table.due_at.is_not(None)))))


def _outbox(session: Session) -> Queue:
    """Late is what a destination could have had: one that nothing keeps from sending, and that took nothing lately."""
    connection, destination = tables.Connection, tables.Destination
    first = select(func.min(tables.Outbox.statement_seq)).where(tables.Outbox.connection_id == connection.id)
    oldest = (
        select(tables.Statement.stored, destination.delivered_at)
        .select_from(connection)
        .join(tables.Statement, tables.Statement.seq == first.correlate(connection).scalar_subquery())
        .outerjoin(destination, destination.connection_id == connection.id)
        .where(_open_destination())
    )
    since = [max(stored, delivered_at or stored) for stored, delivered_at in session.execute(oldest)]
    waiting = session.scalar(select(func.count()).select_from(tables.Outbox)) or 0
    return Queue("drain", waiting, _late(min(since, default=None)))


def _late(since: dt.datetime | None) -> dt.datetime | None:
    return since if since is not None and since < now() - _LATE else None


def _stuck(session: Session) -> list[Stuck]:
    event = tables.Event
    query = select(event).where(event.due_at.is_not(None), event.error.is_not(None)).order_by(event.due_at.desc())
    rows = session.scalars(query.limit(_FEW))
    return [Stuck(row.id, row.subject, row.type, row.error or "") for row in rows]


def _open_destination() -> ColumnElement[bool]:
    connection = tables.Connection
    return and_(
        connection.enabled,
        connection.problem.is_(None),
        connection.failures == 0,
        or_(connection.paused_until.is_(None), connection.paused_until <= now()),
    )


def _beginning(session: Session) -> Beginning:
    def there(table: type[tables.Base], *where: ColumnElement[bool]) -> bool:
        return bool(session.scalar(select(exists(select(1).select_from(table).where(*where)))))

    return Beginning(
        connections=there(tables.Connection),
        assets=there(tables.Asset, tables.Asset.retired_at.is_(None)),
        people=there(tables.Account),
        rules=there(tables.Rule, tables.Rule.removed_at.is_(None)),
        events=there(tables.Event),
    )
