"""The database: one engine per process, short transactions, the same meaning on SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session

#: After so many seconds of rest a connection to PostgreSQL is asked whether it still works.
PING_AFTER = 5.0


def _prepare_sqlite(raw: Any, _record: Any, *, synchronous: str) -> None:
    raw.isolation_level = None  # the driver's own BEGIN is deferred and comes too late: see _begin_sqlite
    cursor = raw.cursor()
    for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "busy_timeout=30000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: SqlConnection) -> None:
    # A transaction that reads first and writes later fails at once when another one wrote in between; taking the write
    # lock at the start makes it wait instead.
    write = connection.get_execution_options().get("flowbridge_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _send_arrays_in_binary(engine: Engine) -> None:
    """As text each item would be looked through for what is to be escaped, which takes longer than to insert it."""
    from psycopg.types.array import ListBinaryDumper  # here, because SQLite needs none of the driver

    def prepare(raw: Any, _record: Any) -> None:
        raw.adapters.register_dumper(list, ListBinaryDumper)

    event.listen(engine, "connect", prepare)


def _check_before_use(engine: Engine) -> None:
    """Replace connections that lead nowhere any more.

    A server that ended has closed the socket, which is seen without asking. What a network cut off in silence shows
    only in an answer: asked for after a rest and not each time, because a round trip costs as much as a query.
    """
    dialect = engine.dialect

    def note(_raw: Any, record: Any) -> None:
        record.info["returned_at"] = time.monotonic()

    def check(raw: Any, record: Any, _proxy: Any) -> None:
        returned_at = record.info.pop("returned_at", None)
        if returned_at is None:
            return
        socket = select.poll()
        socket.register(raw.fileno(), select.POLLIN)
        try:
            if socket.poll(0) or (time.monotonic() - returned_at > PING_AFTER and not dialect.do_ping(raw)):
                raise InvalidatePoolError
        except dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", note)
    event.listen(engine, "checkout", check)


class _Engines(NamedTuple):
    """The ways to use a database; made once, because making them takes as long as a query."""

    plain: Engine
    glance: Engine
    write: Engine
    relaxed: Engine


class Database:
    """Sessions on one database URL (``sqlite:///path`` or ``postgresql+psycopg://...``)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pid = -1
        self._made: _Engines | None = None

    @property
    def engine(self) -> Engine:
        """This process's engine: connections must not cross a fork."""
        return self._engines.plain

    @property
    def _engines(self) -> _Engines:
        if self._made is None or self._pid != os.getpid():
            engine = self._make()
            glance = engine if self.is_sqlite else self._make_glance()
            relaxed = self._make(relaxed=True).execution_options(flowbridge_write=True)
            self._made = _Engines(engine, glance, engine.execution_options(flowbridge_write=True), relaxed)
            self._pid = os.getpid()
        return self._made

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state and changes nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def glance(self) -> Iterator[Session]:
        """A session for single queries: on PostgreSQL without a transaction, which saves two of three round trips."""
        with Session(self._engines.glance, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one write transaction: commits at the end, rolls back on any exception. Keep it short."""
        with Session(self._engines.write, expire_on_commit=False) as session, session.begin():
            yield session

    @contextlib.contextmanager
    def look(self) -> Iterator[SqlConnection]:
        """What ``glance`` gives, without a session around it: for queries that every launch needs."""
        with self._engines.glance.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def step(self) -> Iterator[SqlConnection]:
        """A connection for one statement that is a write transaction by itself."""
        with (self._engines.write if self.is_sqlite else self._engines.glance).begin() as connection:
            yield connection

    @contextlib.contextmanager
    def transact(self) -> Iterator[SqlConnection]:
        """What ``write`` gives, without a session around it."""
        with self._engines.write.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def relax(self) -> Iterator[SqlConnection]:
        """A write transaction that does not wait for the disk: a crash of the machine may lose it, in whole.

        For what is found again and done again then, without harm.
        """
        with self._engines.relaxed.begin() as connection:
            yield connection

    def close(self) -> None:
        if self._made is not None:
            for engine in self._made:
                engine.dispose()
            self._made = None

    def _make(self, *, relaxed: bool = False) -> Engine:
        if not self.is_sqlite:
            # As many are kept as are in use at once under load: what overflows is made anew for each transaction.
            given = self._options(*(("synchronous_commit=off", "jit=off") if relaxed else ()))
            engine = create_engine(self.url, hide_parameters=True, pool_size=20, max_overflow=10, connect_args=given)
            _send_arrays_in_binary(engine)
            _check_before_use(engine)
            return engine
        engine = create_engine(self.url, hide_parameters=True, connect_args={"check_same_thread": False})
        event.listen(engine, "connect", functools.partial(_prepare_sqlite, synchronous="NORMAL" if relaxed else "FULL"))
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _options(self, *more: str) -> dict[str, str]:
        """What PostgreSQL is told of each connection, behind what the URL tells it.

        In the zone of a server anywhere else, the first and the last hours that a timestamp can have lie beyond the
        years 1 to 9999, and can't be read.
        """
        told = make_url(self.url).query.get("options", "")
        given = " ".join(told) if isinstance(told, tuple) else told
        return {"options": " ".join([given, *(f"-c {one}" for one in ("timezone=UTC", *more))]).strip()}

    def _make_glance(self) -> Engine:
        """Connections without transactions, for single statements: to switch one over takes as long as its query.

        A statement is over in no time, so that a few connections are enough for many threads.
        """
        engine = create_engine(
            self.url,
            hide_parameters=True,
            connect_args=self._options(),
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_reset_on_return=None,
            pool_size=10,
            max_overflow=0,
        )
        _send_arrays_in_binary(engine)
        _check_before_use(engine)
        return engine
