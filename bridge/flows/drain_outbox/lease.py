"""Rows of the outbox under a lease: who may send which of them, and how they leave.

A row is written once and deleted once. What is claimed is a range of rows, in ``outbox_lease``: the first ones in their
order that no live range holds. A row of a lower number that is committed later waits until the range is free. Whoever
claims, renews or refuses holds the row of the destination, so that two never get the same rows; noting what was
delivered needs neither, because the destination has it, whoever asks.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bridge.connect import Attached, Statement
from bridge.flows.drain_outbox.limits import PROBE, Limits
from bridge.store import Database, now
from bridge.store.driver import Driver, Row, moment
from bridge.store.tables import Connection

#: A lease outlives a request (connect and first byte; a body that trickles in for longer may be asked for twice, which
#: does no harm). As short as can be, because what a killed worker held waits for its end; renewals are cheap.
LEASE_SECONDS, LONGEST_REQUEST = 45.0, 40.0

#: Whoever asks a destination for the first time after a pause has so long to hear from it before another one asks.
PROBE_SECONDS = 15.0


class Lost(Exception):
    """Somebody else may have the rows by now: the lease was over before it was renewed."""


class Waiting(NamedTuple):
    """A claimed row with what is to be sent, its bytes with those attached, and the rules by which it was taken."""

    seq: int
    statement: Statement
    size: int
    version: str


class _Known(NamedTuple):
    """What all workers know of a destination."""

    most_bytes: int | None
    learned_at: Any
    spent_until: Any


class Claim(NamedTuple):
    """What was claimed in one go, and the most bytes of it that the destination takes at once.

    ``probing`` is when another one may ask, where this one is a probe after a pause.
    """

    seqs: Sequence[int] = ()
    most_bytes: int = 0
    probing: dt.datetime | None = None


_HOLD = """
    UPDATE destination SET delivered_at = COALESCE(:delivered_at, delivered_at) WHERE connection_id = :to
    RETURNING most_bytes, learned_at, spent_until
"""
_MEET = "INSERT INTO destination (connection_id) VALUES (:to) ON CONFLICT DO NOTHING"
_OPEN = """
    SELECT failures, updated_at FROM connection
    WHERE id = :to AND enabled AND problem IS NULL AND (paused_until IS NULL OR paused_until <= :now)
"""
# Where it has no statistics, PostgreSQL takes what waits for few rows, and would sort them all for each claim, though
# the index has them in their order.
_IN_ORDER: Mapping[str, list[str]] = {"postgresql": ["SET LOCAL enable_sort = off"], "sqlite": []}
_FIRST = """
    SELECT statement_seq FROM outbox o
    WHERE o.connection_id = :to AND o.statement_seq > :after AND NOT EXISTS (
        SELECT 1 FROM outbox_lease l
        WHERE l.connection_id = :to AND l.until > :now AND l.token <> :token
            AND o.statement_seq BETWEEN l.first_seq AND l.last_seq
    )
    ORDER BY o.statement_seq LIMIT :most
"""
# Up to so many bytes, and one at least. They are in their order before they are joined: to sort payloads takes long.
# Sizes are integers: PostgreSQL's sums of anything larger are numerics, and slow.
_READ = """
    SELECT seq, id, payload, version, size, attached FROM (
        SELECT *, sum(size) OVER (ORDER BY seq) - size AS before FROM (
            SELECT claimed.seq, {id} AS id, s.payload, s.version, a.bytes IS NOT NULL AS attached,
                CAST(length(s.payload) + 1 + COALESCE(a.bytes, 0) AS integer) AS size
            FROM ({claimed}) AS claimed JOIN statement s ON s.seq = claimed.seq LEFT JOIN (
                SELECT h.statement_seq, sum(length(content)) AS bytes
                FROM statement_attachment h JOIN attachment c ON c.sha2 = h.sha2
                WHERE h.statement_seq BETWEEN :first AND :last GROUP BY h.statement_seq
            ) AS a ON a.statement_seq = claimed.seq
        ) AS measured
    ) AS summed WHERE before < :most_bytes ORDER BY seq
"""
_DIGITS = (1, 8), (9, 4), (13, 4), (17, 4), (21, 12)  # SQLite keeps an id as these alone
_CLAIMED = {
    "postgresql": _READ.format(
        id="CAST(s.id AS TEXT)", claimed="SELECT seq FROM unnest(CAST(:seqs AS bigint[])) AS seq ORDER BY seq"
    ),
    "sqlite": _READ.format(
        id=" || '-' || ".join(f"substr(s.id, {at}, {digits})" for at, digits in _DIGITS),
        claimed="SELECT value AS seq FROM json_each(:seqs) ORDER BY value",
    ),
}
_LEASE = """
    INSERT INTO outbox_lease (token, connection_id, first_seq, last_seq, until)
    VALUES (:token, :to, :first, :last, :until)
    ON CONFLICT (token) DO UPDATE SET first_seq = :first, last_seq = :last, until = :until
"""
_SPEND = "UPDATE destination SET spent_until = :spent_until WHERE connection_id = :to"
_PROBE = "UPDATE connection SET paused_until = :until WHERE id = :to"
_SWEEP = "DELETE FROM outbox_lease WHERE connection_id = :to AND until <= :now AND token <> :token"
_RENEW = "UPDATE outbox_lease SET until = :until WHERE token = :token AND until > :now RETURNING token"
_END = "DELETE FROM outbox_lease WHERE token = :token"

_RECEIPT = """
    ON CONFLICT (statement_seq, connection_id) DO UPDATE
    SET state = excluded.state, error = excluded.error, replaced_by = NULL, settled_at = excluded.settled_at
"""
# Bounded on both sides, so that no plan walks over what waits besides, whatever PostgreSQL knows of the outbox.
_SETTLE = {
    "postgresql": [
        f"""
        WITH gone AS (
            DELETE FROM outbox WHERE connection_id = :to AND statement_seq BETWEEN :first AND :last
                AND statement_seq = ANY(CAST(:seqs AS bigint[]))
        )
        INSERT INTO statement_receipt (statement_seq, connection_id, state, settled_at)
        SELECT seq, :to, 'delivered', :now FROM unnest(CAST(:seqs AS bigint[])) AS seq {_RECEIPT}
        """  # noqa: S608
    ],
    "sqlite": [
        "DELETE FROM outbox WHERE connection_id = :to AND statement_seq IN (SELECT value FROM json_each(:seqs))",
        f"""
        INSERT INTO statement_receipt (statement_seq, connection_id, state, settled_at)
        SELECT value, :to, 'delivered', :now FROM json_each(:seqs) WHERE true {_RECEIPT}
        """,  # noqa: S608
    ],
}
_REFUSE = [
    "DELETE FROM outbox WHERE connection_id = :to AND statement_seq = :seq",
    f"""
    INSERT INTO statement_receipt (statement_seq, connection_id, state, error, settled_at)
    VALUES (:seq, :to, 'rejected', :error, :now) {_RECEIPT}
    """,  # noqa: S608
]
_ATTACHMENTS = "SELECT statement_seq, a.sha2, content FROM statement_attachment s JOIN attachment a ON a.sha2 = s.sha2"
_ATTACHED = {
    "postgresql": f"{_ATTACHMENTS} WHERE statement_seq = ANY(CAST(:seqs AS bigint[]))",
    "sqlite": f"{_ATTACHMENTS} WHERE statement_seq IN (SELECT value FROM json_each(:seqs))",  # noqa: S608
}
_LEARN = "UPDATE destination SET most_bytes = :most_bytes, learned_at = :now WHERE connection_id = :to"


class Lease:
    """What one worker holds of a destination's rows, from one claim to the next."""

    def __init__(self, db: Database, destination: Connection) -> None:
        self._db, self._to, self._as_of = db, destination.id, destination.updated_at
        self._dialect = "sqlite" if db.is_sqlite else "postgresql"
        self._token = secrets.token_hex(8)
        self._until = 0.0
        self._after = 0

    def take(self, limits: Limits, most: int, delivered: Sequence[int] = ()) -> Claim:
        """Note what was delivered, and claim up to ``most`` of the next rows in place of what was held.

        Nothing is claimed while the destination is closed or paused, its budget is spent, or once it is set up
        otherwise than it was given: nobody's name goes out, and nothing goes to an address, that an admin has just
        changed. After a pause one worker claims a few rows, and the pause goes on for the others until it has heard
        from the destination.
        """
        self._note(delivered)
        at, self._until = now(), time.monotonic() + LEASE_SECONDS
        with self._db.relax() as transaction:
            db = Driver(transaction)
            *_, [held], _, state = db.run_all(
                [*([] if delivered else [_MEET]), *_IN_ORDER[self._dialect], _HOLD, _SWEEP, _OPEN],
                to=self._to,
                token=self._token,
                now=at,
                delivered_at=at if delivered else None,
            )
            known = _Known(*held)
            seqs = self._first(db, at, limits.affordable(most, moment(known.spent_until), at), state)
            if not seqs:
                db.run(_END, token=self._token)
                return Claim()
            self._lease(db, at, seqs)
            if limits.rate is not None:
                db.run(_SPEND, to=self._to, spent_until=limits.spent(moment(known.spent_until), at, len(seqs)))
            most_bytes = limits.most_bytes(known.most_bytes, moment(known.learned_at), at)
            return Claim(seqs, most_bytes, self._probe(db, at) if state[0][0] else None)

    def read(self, seqs: Sequence[int], most_bytes: int) -> list[Waiting]:
        """What is to be sent of claimed rows: the first ones, up to so many bytes of them, but one at least."""
        with self._db.look() as connection:
            db = Driver(connection)
            reach = {"first": seqs[0], "last": seqs[-1], "most_bytes": most_bytes}
            rows = db.run(_CLAIMED[self._dialect], seqs=list(seqs), **reach)
            return _read(db, rows)

    def renew(self) -> None:
        """Hold the rows for longer where little is left; raises Lost where somebody else may have them."""
        if self._until - time.monotonic() > LONGEST_REQUEST:
            return
        self._until = time.monotonic() + LEASE_SECONDS
        with self._fenced():
            """They are."""

    def refuse(self, seq: int, words: str) -> None:
        """Note that the destination refuses this one by itself; raises Lost where its verdict is not ours to note."""
        with self._fenced() as db:
            db.run_all(_REFUSE, to=self._to, seq=seq, error=words, now=now())

    def learn(self, most_bytes: int) -> None:
        """Keep the most bytes that the destination takes at once, for all workers."""
        with self._db.relax() as transaction:
            Driver(transaction).run(_LEARN, to=self._to, most_bytes=most_bytes, now=now())

    def end(self, delivered: Sequence[int] = ()) -> None:
        """Note what was delivered, and give the rest back."""
        self._note(delivered)
        with self._db.relax() as transaction:
            last = [_HOLD, _END] if delivered else [_END]
            Driver(transaction).run_all(last, to=self._to, delivered_at=now(), token=self._token)

    def _note(self, delivered: Sequence[int]) -> None:
        """A transaction by itself: it waits for nobody who waits for the destination's row."""
        if delivered:
            with self._db.relax() as transaction:
                seqs = sorted(delivered)
                values = {"to": self._to, "seqs": seqs, "first": seqs[0], "last": seqs[-1], "now": now()}
                Driver(transaction).run_all(_SETTLE[self._dialect], **values)

    def _first(self, db: Driver, at: dt.datetime, most: int, state: Sequence[Row]) -> list[int]:
        """The first free rows behind those that this one had already; from the beginning where there are none.

        So what was deleted there is not walked over again, and what was committed late is not forgotten.
        """
        if not state or moment(state[0][1]) != self._as_of or most < 1:
            return []
        most = min(most, PROBE) if state[0][0] else most
        values = {"to": self._to, "token": self._token, "now": at, "most": most}
        rows = db.run(_FIRST, after=self._after, **values)
        if not rows and self._after:
            rows = db.run(_FIRST, after=0, **values)
        self._after = rows[-1][0] if rows else 0
        return [seq for (seq,) in rows]

    @contextlib.contextmanager
    def _fenced(self) -> Iterator[Driver]:
        """A transaction in which the rows are ours, and stay so for a while."""
        with self._db.transact() as transaction:
            db = Driver(transaction)
            db.run(_HOLD, to=self._to, delivered_at=None)
            at = now()  # to wait for that row may have taken longer than the lease
            until = at + dt.timedelta(seconds=LEASE_SECONDS)
            if not db.run(_RENEW, token=self._token, now=at, until=until):
                raise Lost
            yield db

    def _lease(self, db: Driver, at: dt.datetime, seqs: Sequence[int]) -> None:
        until = at + dt.timedelta(seconds=LEASE_SECONDS)
        db.run(_LEASE, token=self._token, to=self._to, first=seqs[0], last=seqs[-1], until=until)

    def _probe(self, db: Driver, at: dt.datetime) -> dt.datetime:
        until = at + dt.timedelta(seconds=PROBE_SECONDS)
        db.run(_PROBE, to=self._to, until=until)
        return until


def _read(db: Driver, rows: Sequence[Row]) -> list[Waiting]:
    attached = _attached(db, {seq: payload for seq, _, payload, _, _, any_attached in rows if any_attached})
    return [
        Waiting(seq, Statement(statement_id, payload, attached.get(seq, ())), size, version)
        for seq, statement_id, payload, version, size, _ in rows
    ]


def _attached(db: Driver, payloads: Mapping[int, bytes]) -> dict[int, tuple[Attached, ...]]:
    """The attachments of these rows."""
    if not payloads:
        return {}
    told = {seq: _told(payload) for seq, payload in payloads.items()}
    found: dict[int, tuple[Attached, ...]] = {}
    for seq, sha2, content in db.run(_ATTACHED[db.dialect], seqs=list(payloads)):
        written, kind = told[seq].get(sha2, (sha2, "application/octet-stream"))
        found[seq] = (*found.get(seq, ()), Attached(written, kind, content))
    return found


def _told(payload: bytes) -> dict[str, tuple[str, str]]:
    """The hashes, as they are written, and types of what a statement, or its SubStatement, has attached: by the hashes.

    Some LRSs find a content only by the very letters, large or small, that the statement names it by.
    """
    statement = json.loads(payload)  # takes numbers of any length, as some were stored
    attached = [*statement.get("attachments", ()), *statement.get("object", {}).get("attachments", ())]
    return {one["sha2"].lower(): (one["sha2"], one["contentType"]) for one in attached}
