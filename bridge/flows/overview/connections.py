"""Connections as an admin reads them: does each one work, and what did it bring lately?"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

import yaml
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge import registry
from bridge.connect import ConfigError, Connector, capabilities_of
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.secrets import secret_fields
from bridge.store import now, tables

#: ``started_at`` of a walk that was asked for and has not begun: so old that every worker finds it due.
ASKED = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_HIDDEN = "(hidden)"
_REFERENCES = ("env:", "file:")


@dataclasses.dataclass(frozen=True, slots=True)
class Walk:
    """One walk over a catalogue; ``state`` is asked, running, failed or finished."""

    state: str
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    pages: int
    seen: int
    changed: int
    retired: int
    total: int | None
    error: str

    @property
    def under_way(self) -> bool:
        return self.state in ("asked", "running")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One connection; ``state`` is works, problem, waiting, pending, off or unsynchronised."""

    name: str
    connector: str
    system: str
    capabilities: tuple[str, ...]
    enabled: bool
    #: It registered itself and waits for an admin's approval.
    pending: bool
    problem: str
    paused_until: dt.datetime | None
    failures: int
    walk: Walk | None
    assets: int
    events: int
    statements: int

    @property
    def state(self) -> str:
        if not self.enabled:
            return "pending" if self.pending else "off"
        if self.problem or (self.walk is not None and self.walk.state == "failed"):
            return "problem"
        if self.paused_until is not None:
            return "waiting"
        return "unsynchronised" if "catalogue" in self.capabilities and self.walk is None else "works"

    @property
    def troubled(self) -> bool:
        return self.state in ("problem", "waiting")


@dataclasses.dataclass(frozen=True, slots=True)
class Detail:
    """One connection with its configuration (secrets hidden) and its last walks, newest first."""

    row: Row
    yaml: str
    options: Mapping[str, Any]
    walks: tuple[Walk, ...]


def listing(runtime: Runtime) -> list[Row]:
    """Every connection, those that need somebody first; ``events`` are of the last 24 hours, ``assets`` of now."""
    with runtime.db.read() as session:
        rows = _rows(session, list(session.scalars(select(tables.Connection))))
    return sorted(rows, key=lambda row: (not row.troubled, not row.pending, row.name))


def detail(runtime: Runtime, name: str) -> Detail:
    """One connection; raises NotFound."""
    with runtime.db.read() as session:
        connection = find_connection(session, name)
        runs = session.scalars(
            select(tables.SyncRun)
            .where(tables.SyncRun.connection_id == connection.id)
            .order_by(tables.SyncRun.id.desc())
            .limit(5)
        )
        (row,) = _rows(session, [connection])
        return Detail(row, _yaml(connection), connection.options, tuple(_walk(run) for run in runs))


def walk(runtime: Runtime, name: str) -> Walk | None:
    """The newest walk of a connection, or None; raises NotFound where there is no such connection."""
    with runtime.db.read() as session:
        connection = find_connection(session, name)
        run = newest_run(session, connection.id)
        return _walk(run) if run is not None else None


def newest_run(session: Session, connection_id: int) -> tables.SyncRun | None:
    """The newest walk of a connection, whether it is under way or over."""
    runs = select(tables.SyncRun).where(tables.SyncRun.connection_id == connection_id)
    return session.scalar(runs.order_by(tables.SyncRun.id.desc()).limit(1))


def _rows(session: Session, found: list[tables.Connection]) -> list[Row]:
    newest = select(func.max(tables.SyncRun.id)).group_by(tables.SyncRun.connection_id)
    runs = {
        run.connection_id: run for run in session.scalars(select(tables.SyncRun).where(tables.SyncRun.id.in_(newest)))
    }
    assets = _counts(session, tables.Asset, tables.Asset.retired_at.is_(None))
    events = _counts(session, tables.Event, tables.Event.received_at >= now() - dt.timedelta(days=1))
    statements = _counts(session, tables.Outbox)
    return [
        _row(
            connection,
            runs.get(connection.id),
            *(counts.get(connection.id, 0) for counts in (assets, events, statements)),
        )
        for connection in found
    ]


def _counts(session: Session, table: Any, *where: Any) -> dict[int, int]:
    rows = session.execute(select(table.connection_id, func.count()).where(*where).group_by(table.connection_id))
    return {row[0]: row[1] for row in rows}


def _row(connection: tables.Connection, run: tables.SyncRun | None, assets: int, events: int, statements: int) -> Row:
    connector, broken = _connector(connection.connector)
    paused = connection.paused_until
    return Row(
        name=connection.name,
        connector=connection.connector,
        system=connector.manifest.name if connector else connection.connector,
        capabilities=tuple(capabilities_of(connector)) if connector else (),
        enabled=connection.enabled,
        pending=bool(connection.options.get("pending")),
        problem=connection.problem or broken,
        paused_until=paused if paused is not None and paused > now() else None,
        failures=connection.failures,
        walk=_walk(run) if run is not None else None,
        assets=assets,
        events=events,
        statements=statements,
    )


def _connector(key: str) -> tuple[type[Connector[Any]] | None, str]:
    try:
        return registry.find(key), ""
    except ConfigError as error:
        return None, str(error)


def _walk(run: tables.SyncRun) -> Walk:
    return Walk(
        state=_walk_state(run),
        started_at=run.started_at if run.started_at > ASKED else None,
        finished_at=run.finished_at,
        pages=run.pages,
        seen=run.seen,
        changed=run.changed,
        retired=run.retired,
        total=run.total,
        error=run.error or "",
    )


def _walk_state(run: tables.SyncRun) -> str:
    if run.error is not None:
        return "failed"
    if run.finished_at is not None:
        return "finished"
    return "asked" if run.started_at <= ASKED else "running"


def _yaml(connection: tables.Connection) -> str:
    connector, _ = _connector(connection.connector)
    secret = secret_fields(connector.config_class) if connector else connection.config.keys()
    view: dict[str, Any] = {"name": connection.name, "connector": connection.connector}
    if not connection.enabled:
        view["enabled"] = False
    if connection.config:
        view["config"] = {k: _hidden(v) if k in secret else v for k, v in connection.config.items()}
    if connection.options:
        view["options"] = dict(connection.options)
    return yaml.safe_dump({"connections": [view]}, sort_keys=False, allow_unicode=True, width=100)


def _hidden(value: Any) -> Any:
    """References say where a secret is, not what it is."""
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return value if isinstance(value, str) and value.startswith(_REFERENCES) else _HIDDEN
