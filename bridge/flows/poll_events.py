"""Poll: ask business systems what happened since the last time."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge import registry
from bridge.connect import ConfigError, ConnectorError, Poll, Retryable, Unsupported
from bridge.flows import accept_event
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.observe import logger
from bridge.store import now, queue, tables

STREAM = "events"
#: How long a poll may take before another worker asks as well: what came twice is stored once.
CLAIM = dt.timedelta(minutes=5)


def poll(runtime: Runtime, connection_name: str) -> int:
    """Ask one connection and store what is new, with the place to go on from, page by page; returns how many events."""
    with runtime.db.read() as session:
        connection = find_connection(session, connection_name)
        checkpoint = session.get(tables.Checkpoint, (connection.id, STREAM))
    connector = runtime.connector(connection)
    if not isinstance(connector, Poll):
        raise Unsupported(f"the connection '{connection_name}' ({connection.connector}) can't be asked for events")
    new = 0
    for page in connector.events(checkpoint.value if checkpoint else None):
        with runtime.db.write() as session:
            stored = accept_event.store(session, connection, page.events)
            session.merge(
                tables.Checkpoint(
                    connection_id=connection.id, stream=STREAM, value=dict(page.checkpoint), updated_at=now()
                )
            )
        found = sum(not item.duplicate for item in stored)
        if found:
            runtime.nudge("decide")
        new += found
    return new


def poll_due(runtime: Runtime) -> int:
    """Ask every connection whose time has come; a failing one is paused by itself and keeps its place."""
    with runtime.db.write() as session:
        names = [connection.name for connection in _claim(session)]
    found = 0
    for name in names:
        try:
            found += poll(runtime, name)
            _went(runtime, name, None)
        except ConnectorError as error:
            _went(runtime, name, error)
        except Exception as error:
            # A connector's own fault must not keep the other systems from being asked.
            logger("poll").exception("a connector failed", connection=name)
            _went(runtime, name, ConnectorError(f"the connector failed ({type(error).__name__}); see the log"))
    return found


def _claim(session: Session) -> list[tables.Connection]:
    """The connections to ask now; each is claimed until it is done, so that any number of tickers may run."""
    due = select(tables.Connection).where(tables.Connection.enabled, tables.Connection.poll_at <= now())
    rows = session.scalars(due.with_for_update(skip_locked=True)).all()
    for row in rows:
        row.poll_at = now() + CLAIM
    return [row for row in rows if _polls(row)]


def _polls(connection: tables.Connection) -> bool:
    try:
        return issubclass(registry.find(connection.connector), Poll)
    except ConfigError:
        return False


def _went(runtime: Runtime, name: str, error: ConnectorError | None) -> None:
    with runtime.db.write() as session:
        connection = find_connection(session, name)
        if error is None:
            connection.problem, connection.failures = None, 0
            connection.poll_at = now() + dt.timedelta(seconds=runtime.settings.poll_seconds)
            return
        connection.problem, connection.failures = str(error), connection.failures + 1
        wait = error.retry_after if isinstance(error, Retryable) else None
        connection.poll_at = queue.back_off(connection.failures, retry_after=wait, cap=300)
