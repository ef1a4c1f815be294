"""The destinations of statements: which are open and have something waiting, and what their answers make of them."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
import time
from typing import NamedTuple

from pydantic import ValidationError
from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from bridge.connect import ConfigError, ConnectorError, Retryable, StatementSink
from bridge.flows.runtime import Runtime
from bridge.observe import logger
from bridge.store import now, queue
from bridge.store.tables import Connection, Outbox, OutboxLease
from bridge.xapi import ledger
from bridge.xapi.destination import Policy

#: A destination that asks for more patience than this is asked again after it, in seconds.
LONGEST_PAUSE = 86_400.0


def with_work(runtime: Runtime) -> list[Connection]:
    """The open destinations that rows wait for, those first at which the fewest work: a look without any lock."""
    waiting = exists().where(Outbox.connection_id == Connection.id)
    at_work = select(func.count()).where(OutboxLease.connection_id == Connection.id, OutboxLease.until > now())
    query = select(Connection).where(_open(), waiting).order_by(at_work.scalar_subquery(), Connection.id)
    with runtime.db.read() as session:
        found = session.scalars(query).all()
    return [connection for connection in found if ledger.is_sink(connection.connector)]


def _open() -> ColumnElement[bool]:
    not_paused = or_(Connection.paused_until.is_(None), Connection.paused_until <= now())
    return and_(Connection.enabled, Connection.problem.is_(None), not_paused)


def pause(runtime: Runtime, destination: Connection, error: Retryable, probing: dt.datetime | None) -> None:
    """Leave the destination alone for as long as it asks, else for longer each time; its rows keep their places.

    What fails beside a failure, while it is paused already, counts as the same one. ``probing`` is the pause that we
    asked for ourselves, while we tried. To ask for none at all, as a proxy or a clock that is behind does, is not to
    ask.
    """
    asked = min(error.retry_after, LONGEST_PAUSE) if error.retry_after else None
    of = select(Connection.failures, Connection.paused_until).where(Connection.id == destination.id)
    with runtime.db.write() as session:
        failures, already = session.execute(of.with_for_update()).one()
        others = already if already is not None and already > now() and already != probing else None
        failures += others is None
        until = max(queue.back_off(failures, retry_after=asked), others or now())
        _change(session, Connection.id == destination.id, failures=failures, paused_until=until)
    logger("drain").warning("destination paused", connection=destination.name, until=until.isoformat(), why=str(error))


def recovered(runtime: Runtime, destination: Connection, probing: dt.datetime) -> None:
    """A probe was answered: everybody may send again, unless somebody was told to wait meanwhile."""
    with runtime.db.write() as session:
        ours = and_(Connection.id == destination.id, Connection.paused_until == probing)
        _change(session, ours, failures=0, paused_until=None)


def stop(runtime: Runtime, destination: Connection, error: ConnectorError, *, began: float) -> bool:
    """Nothing will pass as it is set up: an admin must change something; until then everything waits.

    A connector that was kept from before the turn (``began``, of ``time.monotonic``) may hold a secret that was changed
    since, in its file or by this thread's neighbours: then it is only let go of, and the next turn reads its secrets
    anew. Returns whether the destination is stopped.
    """
    kept = _sinks.by_place.pop(_place(runtime, destination), None)
    if kept is not None and kept.made_at < began:
        return False
    logger("drain").error("destination stopped", connection=destination.name, why=str(error))
    # What was true of the settings of then is not said of what an admin has made of them meanwhile.
    as_it_was = and_(Connection.id == destination.id, Connection.updated_at == destination.updated_at)
    with runtime.db.write() as session:
        _change(session, as_it_was, problem=str(error))
    return True


def _change(session: Session, which: ColumnElement[bool], **values: object) -> None:
    same_version = {"updated_at": Connection.updated_at}  # how it goes is no change of how it is configured
    session.execute(update(Connection).where(which).values({**values, **same_version}))


class _Kept(NamedTuple):
    """A connector, the configuration that it was made of, and when, by ``time.monotonic``."""

    version: str
    sink: StatementSink
    made_at: float


class _Sinks(threading.local):
    """One connector, with its open connection, per thread, database and destination."""

    def __init__(self) -> None:
        self.by_place: dict[tuple[int, str, int], _Kept] = {}


_sinks = _Sinks()


def sink(runtime: Runtime, destination: Connection) -> StatementSink:
    """The destination's connector, kept with its open connection by this thread; raises ConfigError."""
    version = json.dumps([destination.connector, destination.config], sort_keys=True)
    known = _sinks.by_place.get(_place(runtime, destination))
    if known is not None and known.version == version:
        return known.sink
    connector = runtime.connector(destination)
    assert isinstance(connector, StatementSink)
    _sinks.by_place[_place(runtime, destination)] = _Kept(version, connector, time.monotonic())
    return connector


def _place(runtime: Runtime, destination: Connection) -> tuple[int, str, int]:
    return os.getpid(), runtime.db.url, destination.id


def policy(runtime: Runtime, destination: Connection) -> Policy:
    """What the destination gets, and how fast; raises ConfigError."""
    try:
        return Policy.parse(
            destination.options,
            runtime.vault,
            destination.name,
            issuer=runtime.settings.issuer,
            version=str(destination.config.get("version", "1.0.3")),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, ("options", "statements", *first["loc"])))
        raise ConfigError(f"'{destination.name}' can't be used as it is set up: {where}: {first['msg']}") from None
