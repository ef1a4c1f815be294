"""The embedded broker: Celery's ``memory://`` inside the one worker process, which watches the database for work.

Why: docs/decisions/embedded-broker.md.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import BindParameter, Executable, and_, bindparam, exists, make_url, or_, select, text
from sqlalchemy.orm import Session

from bridge.store import Database, now, tables
from workers.quiet import OncePerMinute

POLL_SECONDS = 0.025
RETRY_SECONDS = 1.0

_TABLES: dict[str, Any] = {
    "decide": tables.Event,
    "deliver": tables.Delivery,
    "write_back": tables.WriteBack,
    "grades": tables.LmsGrade,
}

_log = logging.getLogger("flowbridge.watch")
_log.addFilter(OncePerMinute())


class Watch:
    """Sees that others committed something, and nudges the queues that have work which is due."""

    def __init__(self, db: Database, nudge: Callable[[str], None]) -> None:
        self._db, self._nudge = db, nudge
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch()
            except Exception as error:
                _log.warning(
                    "The database can't be watched (%s: %s); new work is found by the beat until it can.",
                    type(error).__name__,
                    error,
                )
                self._stop.wait(RETRY_SECONDS)

    def _watch(self) -> None:
        with _version_of(self._db) as version:
            last: object = None
            while not self._stop.is_set():
                # The version is read before the rows: a commit in between is seen as a change in the next round.
                if (seen := version()) != last:
                    with self._db.read() as session:
                        for queue in due(session):
                            self._nudge(queue)
                    last = seen
                self._stop.wait(POLL_SECONDS)


def due(session: Session) -> list[str]:
    """The queues that have a row which is due now."""
    row = session.execute(_query(), {"at": now()}).one()
    return [queue for queue, is_due in row._mapping.items() if is_due]


@functools.cache
def _query() -> Executable:
    """Made once: while much is committed it is asked for at every look, and making it takes longer than its answer."""
    at: BindParameter[dt.datetime] = bindparam("at")
    connection = tables.Connection
    has_due = {queue: exists().where(table.due_at <= at) for queue, table in _TABLES.items()}
    not_paused = or_(connection.paused_until.is_(None), connection.paused_until <= at)
    open_now = and_(connection.enabled, connection.problem.is_(None), not_paused)
    has_due["drain"] = exists().where(tables.Outbox.connection_id == connection.id, open_now)
    return select(*(is_due.label(queue) for queue, is_due in has_due.items()))


@contextlib.contextmanager
def _version_of(db: Database) -> Iterator[Callable[[], object]]:
    """Something that differs after another connection's commit, and costs next to nothing to ask for."""
    if db.is_sqlite:
        # A connection of its own, outside any transaction: https://sqlite.org/pragma.html#pragma_data_version
        with contextlib.closing(sqlite3.connect(make_url(db.url).database or "", isolation_level=None)) as watching:
            yield lambda: watching.execute("PRAGMA data_version").fetchone()
    else:
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # Changes when a transaction that writes begins or ends, also in the server's other databases.
            yield lambda: connection.scalar(text("select pg_current_snapshot()::text"))
