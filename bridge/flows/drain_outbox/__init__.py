"""Drain the outbox: every statement to every LRS that it has to reach, each once in effect, none lost.

Rows are claimed under a lease and sent in batches, side by side by as many workers as there are. That an LRS has a
statement may be noted by whoever saw it; that it refused one, only by the holder of the lease. What a destination does
to a batch is a matter of the destination: an answer that says "later" pauses it as a whole, one that says "never, as
you are set up" stops it and tells the admin, and only a single statement that is refused by itself is set aside, with
the LRS's own words.
"""

from __future__ import annotations

import collections
import time
import uuid
from collections.abc import Iterable

from sqlalchemy import and_, delete, select

from bridge.flows.drain_outbox import destinations
from bridge.flows.drain_outbox.turn import Turn
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.store.tables import Statement, StatementReceipt
from bridge.xapi import ledger

__all__ = ["CALL_SECONDS", "drain", "replay"]

#: How long one call goes on before it lets the worker look at its other queues, and how long it stays with one of
#: several destinations.
CALL_SECONDS, TURN_SECONDS = 20.0, 1.0


def drain(runtime: Runtime) -> int:
    """Send what waits, destination by destination in turn, for up to ``CALL_SECONDS``; returns how many settled."""
    deadline, settled = time.monotonic() + CALL_SECONDS, 0
    waiting = collections.deque(destinations.with_work(runtime))
    while waiting and time.monotonic() < deadline:
        destination = waiting.popleft()
        until = min(deadline, time.monotonic() + TURN_SECONDS) if waiting else deadline
        outcome = Turn(runtime, destination, until=until, deadline=deadline).take()
        settled += outcome.settled
        if outcome.more:
            waiting.append(destination)
    return settled


def replay(runtime: Runtime, connection_name: str, statement_ids: Iterable[uuid.UUID] | None = None) -> int:
    """Queue statements that a destination rejected once more: these, or all; returns how many. Raises NotFound.

    One that is voided by now is left out.
    """
    with runtime.db.write() as session:
        connection = find_connection(session, connection_name)
        refused = and_(StatementReceipt.connection_id == connection.id, StatementReceipt.state == "rejected")
        if statement_ids is not None:
            numbers = select(Statement.seq).where(Statement.id.in_(list(statement_ids)))
            refused = and_(refused, StatementReceipt.statement_seq.in_(numbers))
        ledger.withdraw(session.connection(), refused)
        back = session.scalars(delete(StatementReceipt).where(refused).returning(StatementReceipt.statement_seq)).all()
        ledger.enqueue(session.connection(), back, [ledger.Sink(connection.id, connection.config)])
    runtime.nudge("drain")
    return len(back)
