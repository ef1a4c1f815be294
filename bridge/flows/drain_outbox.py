"""Drain the outbox: every statement to every LRS that it has to reach, each once in effect, none lost.

Rows are claimed under a lease and sent in batches. That an LRS has a statement may be noted by whoever saw it; that it
refused one, or that rows go back, only by the holder of their lease. What a destination does to a batch is a matter of
the destination: an answer that says "later" pauses it as a whole, one that says "never, as you are set up" stops it and
tells the admin, and only a single statement that is refused by itself is set aside, with the LRS's own words.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import json
import os
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Text, and_, delete, exists, literal, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bridge.connect import ConnectorError, Rejected, Retryable, StatementSink
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.observe import logger
from bridge.store import now, queue
from bridge.store.tables import Connection, Outbox, Statement, StatementReceipt
from bridge.store.types import Utc
from bridge.xapi import ledger, lrs

#: The most statements, and bytes of them, in one request: what every LRS and proxy takes by default.
BATCH, BATCH_BYTES = 100, 1_000_000
#: A lease outlives the longest request (connect, first byte, whole answer), so that a renewal is seldom due.
LEASE_SECONDS, LONGEST_REQUEST = 120.0, 100.0
#: How long one call goes on before it lets the worker look at its other queues.
CALL_SECONDS = 20.0
#: A destination that asks for more patience than this is asked again after it, in seconds.
LONGEST_PAUSE = 86_400.0
_LONGEST_WORDS = 2000
_NO_WAIT_FOR_DISK = text("set local synchronous_commit to off")


class _Waiting(NamedTuple):
    """A claimed row with the bytes to send."""

    seq: int
    payload: bytes


class _GiveBack(Exception):
    """The rest of a batch is for another call: the time is over, or somebody else has the rows by now."""


def drain(runtime: Runtime) -> int:
    """Send what is due, destination by destination in turn, for up to ``CALL_SECONDS``; returns how many settled."""
    deadline, settled = time.monotonic() + CALL_SECONDS, 0
    waiting = collections.deque(_destinations(runtime))
    while waiting and time.monotonic() < deadline:
        destination = waiting.popleft()
        done, go_on = _send_some(runtime, destination, deadline)
        settled += done
        if go_on:
            waiting.append(destination)
    return settled


def replay(runtime: Runtime, connection_name: str, statement_ids: Iterable[uuid.UUID] | None = None) -> int:
    """Queue statements that a destination rejected once more: these, or all; returns how many. Raises NotFound."""
    with runtime.db.write() as session:
        connection = find_connection(session, connection_name)
        refused = and_(StatementReceipt.connection_id == connection.id, StatementReceipt.state == "rejected")
        if statement_ids is not None:
            numbers = select(Statement.seq).where(Statement.id.in_(list(statement_ids)))
            refused = and_(refused, StatementReceipt.statement_seq.in_(numbers))
        back = session.scalars(delete(StatementReceipt).where(refused).returning(StatementReceipt.statement_seq)).all()
        ledger.enqueue(session.connection(), back, [ledger.Sink(connection.id, connection.config)])
    runtime.nudge("drain")
    return len(back)


def _open() -> ColumnElement[bool]:
    not_paused = or_(Connection.paused_until.is_(None), Connection.paused_until <= now())
    return and_(Connection.enabled, Connection.problem.is_(None), not_paused)


def _destinations(runtime: Runtime) -> list[Connection]:
    """The open destinations that have something due: a look that takes no write lock, because mostly nothing is."""
    due = exists().where(Outbox.connection_id == Connection.id, Outbox.due_at <= now())
    with runtime.db.read() as session:
        found = session.scalars(select(Connection).where(_open(), due).order_by(Connection.id)).all()
    return [connection for connection in found if ledger.is_sink(connection.connector)]


def _send_some(runtime: Runtime, destination: Connection, deadline: float) -> tuple[int, bool]:
    """Send one claim's worth; returns how many settled, and whether to go on with this destination."""
    batch = _Batch(runtime, destination, deadline)
    try:
        batch.claim(_sink(runtime, destination))
        for rows in _within_bytes(batch.rows):
            batch.send(rows)
        if batch.rows and destination.failures:
            _change(runtime, destination, failures=0)
    except _GiveBack:
        return batch.settled, False
    except Retryable as error:
        _pause(runtime, destination, error)
        return batch.settled, False
    except ConnectorError as error:
        _stop(runtime, destination, error)
        return batch.settled, False
    finally:
        batch.release()
    return batch.settled, bool(batch.rows)


def _within_bytes(rows: Sequence[_Waiting]) -> Iterator[list[_Waiting]]:
    part: list[_Waiting] = []
    size = 0
    for row in rows:
        if part and size + len(row.payload) > BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row.payload)
    if part:
        yield part


@dataclasses.dataclass
class _Batch:
    """The rows of one claim, on their way to one destination."""

    runtime: Runtime
    destination: Connection
    deadline: float
    rows: list[_Waiting] = dataclasses.field(default_factory=list)
    settled: int = 0
    _sink: StatementSink | None = None
    _token: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))
    _leased_until: float = 0.0

    def claim(self, sink: StatementSink) -> None:
        """Take what is due, with its bytes, while the destination is open: one transaction, so nobody else has it.

        The narrow rows are found, locked and moved by themselves. One UPDATE over a subquery would make PostgreSQL read
        the whole backlog for each claim, and a join before the limit would make it sort all the payloads.
        """
        self._sink, self._leased_until = sink, time.monotonic() + LEASE_SECONDS
        to = self.destination.id
        still_open = exists().where(Connection.id == to, _open())
        due = select(Outbox.statement_seq).where(Outbox.connection_id == to, Outbox.due_at <= now(), still_open)
        due = due.order_by(Outbox.due_at).limit(BATCH).with_for_update(of=Outbox, skip_locked=True)
        with self._write() as session:
            numbers = session.scalars(due).all()
            if numbers:
                lease = {"lease": self._token, "due_at": now() + dt.timedelta(seconds=LEASE_SECONDS)}
                these = and_(Outbox.connection_id == to, Outbox.statement_seq.in_(numbers))
                session.connection().execute(update(Outbox).where(these).values(lease))
                self.rows = _read(session, numbers)

    def send(self, rows: Sequence[_Waiting]) -> None:
        """Send these rows; where they are refused, their halves, down to the single ones at fault."""
        if self.settled and time.monotonic() > self.deadline:
            raise _GiveBack
        self._renew()
        try:
            self._post([row.payload for row in rows])
        except Rejected as error:
            if len(rows) == 1:
                self._set_aside(rows[0].seq, error)
                return
            middle = len(rows) // 2
            self.send(rows[:middle])
            self.send(rows[middle:])
        else:
            self._delivered([row.seq for row in rows])

    def _post(self, payloads: list[bytes]) -> None:
        assert self._sink is not None
        try:
            self._sink.send(payloads)
        except ConnectorError:
            raise
        except Exception as error:  # a defect of a plugin must not stop the other destinations
            logger("drain").exception("connector failed", connection=self.destination.name)
            raise Retryable(f"the connector itself failed ({type(error).__name__}); its log says where") from error

    def _renew(self) -> None:
        if self._leased_until - time.monotonic() > LONGEST_REQUEST:
            return
        until = now() + dt.timedelta(seconds=LEASE_SECONDS)
        self._leased_until = time.monotonic() + LEASE_SECONDS
        with self.runtime.db.write() as session:
            still_ours = session.scalars(
                update(Outbox).where(self._held()).values(due_at=until).returning(Outbox.statement_seq)
            ).all()
        if len(still_ours) < len(self.rows) - self.settled:
            raise _GiveBack

    @contextlib.contextmanager
    def _write(self) -> Iterator[Session]:
        """A transaction that a crash may lose: its rows are due again then, and a repeat is absorbed by its id."""
        with self.runtime.db.write() as session:
            if not self.runtime.db.is_sqlite:
                session.execute(_NO_WAIT_FOR_DISK)
            yield session

    def _held(self) -> ColumnElement[bool]:
        return and_(Outbox.connection_id == self.destination.id, queue.held(Outbox, self._token))

    def _delivered(self, numbers: list[int]) -> None:
        """Note that the destination has these. Unfenced: it has them, whoever holds the rows by now."""
        these = and_(Outbox.connection_id == self.destination.id, Outbox.statement_seq.in_(numbers))
        with self._write() as session:
            self._note(session, numbers, "delivered")
            session.connection().execute(delete(Outbox).where(these))
        self.settled += len(numbers)

    def _set_aside(self, number: int, error: Rejected) -> None:
        """Note that the destination refuses this one by itself, in its own words; only who holds the row may."""
        words = str(error) if error.detail in str(error) else f"{error}: {error.detail}"
        ours = delete(Outbox).where(self._held(), Outbox.statement_seq == number).returning(Outbox.statement_seq)
        with self.runtime.db.write() as session:
            mine = [row.statement_seq for row in session.connection().execute(ours)]
            self._note(session, mine, "rejected", words[:_LONGEST_WORDS])
        self.settled += len(mine)
        for seq in mine:
            logger("drain").warning("statement rejected", connection=self.destination.name, seq=seq, why=str(error))

    def _note(self, session: Session, numbers: list[int], state: str, error: str | None = None) -> None:
        """Write receipts; the newest word counts."""
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        word = {"state": literal(state), "error": literal(error, Text()), "settled_at": literal(now(), Utc())}
        rows = select(Statement.seq, literal(self.destination.id), *word.values()).where(Statement.seq.in_(numbers))
        receipt = insert(StatementReceipt).from_select(["statement_seq", "connection_id", *word], rows)
        keys = [StatementReceipt.statement_seq, StatementReceipt.connection_id]
        session.connection().execute(receipt.on_conflict_do_update(index_elements=keys, set_=word))

    def release(self) -> None:
        """Give back what was not settled, each row in its old place."""
        if self.settled >= len(self.rows):
            return
        place = select(Statement.stored).where(Statement.seq == Outbox.statement_seq).scalar_subquery()
        with self.runtime.db.write() as session:
            session.connection().execute(update(Outbox).where(self._held()).values(lease=None, due_at=place))


def _read(session: Session, numbers: Sequence[int]) -> list[_Waiting]:
    row = Statement
    wanted = select(row.seq, row.id, row.payload, row.timestamp, row.launch_id).where(row.seq.in_(numbers))
    return [
        _Waiting(seq, payload if launch_id else lrs.forwarded(payload, statement_id, timestamp))
        for seq, statement_id, payload, timestamp, launch_id in session.execute(wanted.order_by(row.seq))
    ]


def _pause(runtime: Runtime, destination: Connection, error: Retryable) -> None:
    """Leave the destination alone for as long as it asks, else for longer each time; its rows keep their places."""
    failures = destination.failures + 1
    asked = None if error.retry_after is None else min(error.retry_after, LONGEST_PAUSE)
    with runtime.db.read() as session:  # another worker may have been told to wait for longer
        already = session.scalar(select(Connection.paused_until).where(Connection.id == destination.id))
    until = max(queue.back_off(failures, retry_after=asked), already or now())
    logger("drain").warning("destination paused", connection=destination.name, until=until.isoformat(), why=str(error))
    _change(runtime, destination, failures=failures, paused_until=until)


def _stop(runtime: Runtime, destination: Connection, error: ConnectorError) -> None:
    """Nothing will pass as it is set up: an admin must change something; until then everything waits."""
    logger("drain").error("destination stopped", connection=destination.name, why=str(error))
    _sinks.pop(_place(runtime, destination), None)  # the next one reads its secrets anew
    _change(runtime, destination, problem=str(error))


def _change(runtime: Runtime, destination: Connection, **values: object) -> None:
    same_version = {"updated_at": Connection.updated_at}  # how it goes is no change of how it is configured
    with runtime.db.write() as session:
        session.execute(update(Connection).where(Connection.id == destination.id).values({**values, **same_version}))


#: One connector, with its open connections, per process, database and destination: (its configuration, the connector).
_sinks: dict[tuple[int, str, int], tuple[str, StatementSink]] = {}


def _place(runtime: Runtime, destination: Connection) -> tuple[int, str, int]:
    return os.getpid(), runtime.db.url, destination.id


def _sink(runtime: Runtime, destination: Connection) -> StatementSink:
    version = json.dumps([destination.connector, destination.config], sort_keys=True)
    known = _sinks.get(_place(runtime, destination))
    if known is not None and known[0] == version:
        return known[1]
    connector = runtime.connector(destination)
    assert isinstance(connector, StatementSink)
    _sinks[_place(runtime, destination)] = version, connector
    return connector
