"""One worker's turn at one destination: claim, send, settle, and what each answer makes of a batch."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import datetime as dt
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bridge.connect import ConnectorError, Rejected, Retryable, Statement, StatementSink, TooLarge
from bridge.flows.drain_outbox import destinations
from bridge.flows.drain_outbox.lease import Lease, Lost, Waiting
from bridge.flows.drain_outbox.limits import Limits
from bridge.flows.runtime import Runtime
from bridge.observe import logger
from bridge.store.tables import Connection
from bridge.xapi.destination import Policy

_LONGEST_WORDS = 2000
#: A refusal that was not of a single statement is taken for one of their size only beyond so many bytes: no LRS or
#: proxy takes less at once, and what refused a few for once must not make their batches small for a day.
_LEAST_GUESSED = 64_000
#: A claim is for what can be sent in so many seconds, so that a killed worker holds up and repeats little.
_CLAIM_SECONDS, _MOST_CLAIMED = 0.25, 1000
#: Payloads are read by so many bytes at once.
_READ_BYTES = 4_000_000


class Outcome(NamedTuple):
    """How many statements a turn settled, and whether more may wait there."""

    settled: int
    more: bool


class _TimeIsOver(Exception):
    """The rest of a batch is for another call."""


class Turn:
    """At one destination until ``until``, but for one batch at least; ``deadline`` ends what takes long, too."""

    def __init__(self, runtime: Runtime, destination: Connection, *, until: float, deadline: float) -> None:
        self._runtime, self._destination = runtime, destination
        self._began, self._until, self._deadline = time.monotonic(), until, deadline
        self._lease = Lease(runtime.db, destination)
        self._delivered: list[int] = []
        self._settled = 0
        self._most_bytes = 0
        self._probing: dt.datetime | None = None
        self._called = False

    def take(self) -> Outcome:
        """Send what waits."""
        try:
            with self._whatever_it_raises():
                sink = destinations.sink(self._runtime, self._destination)
            more = self._send_batches(sink, destinations.policy(self._runtime, self._destination))
        except (Lost, _TimeIsOver):
            more = False
        except Retryable as error:
            destinations.pause(self._runtime, self._destination, error, self._probing)
            more = False
        except ConnectorError as error:
            more = not destinations.stop(self._runtime, self._destination, error, began=self._began)
        finally:
            self._lease.end(self._delivered)
        return Outcome(self._settled + len(self._delivered), more)

    def _send_batches(self, sink: StatementSink, policy: Policy) -> bool:
        """Whether the time was over before the rows were."""
        limits, most = Limits(policy.batch, policy.batch_bytes, policy.rate), policy.batch
        while True:
            claim, began = self._lease.take(limits, most, self._delivered), time.monotonic()
            self._settled, self._delivered = self._settled + len(self._delivered), []
            self._most_bytes, self._probing = claim.most_bytes, claim.probing
            self._call_for_help(len(claim.seqs) == most)
            before = self._settled
            for rows in self._requests(claim.seqs, limits):
                if rows := self._rendered(policy, rows):
                    self._send(sink, rows)
                if time.monotonic() > self._until:
                    return True
            if (done := self._settled + len(self._delivered) - before) == 0:
                return False
            most = _next_claim(done, time.monotonic() - began, limits.batch)

    def _requests(self, seqs: Sequence[int], limits: Limits) -> Iterator[list[Waiting]]:
        """What is claimed, in as many requests as the destination's limits make of it."""
        while seqs and (read := self._lease.read(seqs, max(_READ_BYTES, limits.batch_bytes))):
            seqs = seqs[bisect.bisect_right(seqs, read[-1].seq) :]
            while read:
                sizes = itertools.accumulate(row.size for row in read[: limits.batch])
                count = max(1, sum(size <= self._most_bytes for size in sizes))
                yield read[:count]
                read = read[count:]

    def _call_for_help(self, full: bool) -> None:
        """A full batch is hardly the last one: whoever is free takes the next, and calls for help likewise."""
        if full and not self._called:
            self._called = True
            self._runtime.nudge("drain")

    def _rendered(self, policy: Policy, rows: list[Waiting]) -> list[Waiting]:
        """The rows as the destination gets them; what can't be sent so is set aside."""
        if all(policy.keeps(version) for version in {row.version for row in rows}):
            return rows
        with self._runtime.db.look() as db:
            people = policy.people(db, [row.statement.payload for row in rows])
        rendered = []
        for row in rows:
            try:
                payload = policy.render(row.statement.payload, people)
            except Rejected as error:
                self._set_aside(row.seq, error)
            else:
                same = payload is row.statement.payload
                made = row.statement if same else dataclasses.replace(row.statement, payload=payload)
                rendered.append(row._replace(statement=made))
        return rendered

    def _send(self, sink: StatementSink, rows: Sequence[Waiting]) -> bool:
        """Send these; where they are refused, their halves, down to the single ones at fault. Was none refused?"""
        if (self._settled or self._delivered) and time.monotonic() > self._deadline:
            raise _TimeIsOver
        self._lease.renew()
        try:
            self._post(sink, [row.statement for row in rows])
        except Rejected as error:
            if len(rows) == 1:
                self._set_aside(rows[0].seq, error)
            else:
                self._send_halves(sink, rows, error)
            return False
        self._delivered += [row.seq for row in rows]
        return True

    def _send_halves(self, sink: StatementSink, rows: Sequence[Waiting], error: Rejected) -> None:
        halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        most = max(sum(row.size for row in half) for half in halves)
        if isinstance(error, TooLarge):
            self._learn(most)
        passed = [self._send(sink, half) for half in halves]
        if all(passed) and not isinstance(error, TooLarge) and most >= _LEAST_GUESSED:
            self._learn(most)  # it was their size, in words of its own

    def _learn(self, most_bytes: int) -> None:
        self._most_bytes = min(self._most_bytes, most_bytes)
        self._lease.learn(most_bytes)

    def _post(self, sink: StatementSink, statements: list[Statement]) -> None:
        try:
            with self._whatever_it_raises():
                sink.send(statements)
        except Rejected:
            self._answered()
            raise
        self._answered()

    @contextlib.contextmanager
    def _whatever_it_raises(self) -> Iterator[None]:
        """A defect of a plugin must not stop the other destinations."""
        try:
            yield
        except ConnectorError:
            raise
        except Exception as error:
            logger("drain").exception("connector failed", connection=self._destination.name)
            raise Retryable(f"the connector itself failed ({type(error).__name__}); its log says where") from error

    def _answered(self) -> None:
        """The destination works: a probe has shown it, whatever becomes of its rows."""
        if self._probing:
            destinations.recovered(self._runtime, self._destination, self._probing)
            self._probing = None

    def _set_aside(self, seq: int, error: Rejected) -> None:
        words = str(error) if error.detail in str(error) else f"{error}: {error.detail}"
        self._lease.refuse(seq, words[:_LONGEST_WORDS])
        self._settled += 1
        logger("drain").warning("statement rejected", connection=self._destination.name, seq=seq, why=str(error))


def _next_claim(done: int, seconds: float, batch: int) -> int:
    """How many to claim next: whole batches, one at least."""
    at_this_pace = int(done / max(seconds, 1e-3) * _CLAIM_SECONDS)
    return max(batch, min(at_this_pace, _MOST_CLAIMED) // batch * batch)
