"""Who may send which rows: nothing lost, nothing doubled, nobody stuck, whoever works or dies beside."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import textwrap
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, select, update

from bridge.flows import drain_outbox
from bridge.flows.drain_outbox import lease, turn
from bridge.flows.drain_outbox.limits import Limits
from bridge.flows.runtime import Runtime
from bridge.store import now
from bridge.store.tables import Destination, Outbox, OutboxLease, StatementReceipt
from tests.flows.forwarding import (
    BEHAVES,
    Answer,
    Lrs,
    connect,
    connection,
    fill,
    let_time_pass,
    receipts,
    says,
    waiting,
)


@pytest.fixture
def bridge(each_runtime: Runtime) -> Runtime:
    return each_runtime


def test_two_drainers_never_send_the_same_statement(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 600)
    both = threading.Barrier(2)

    def together(lrs: Lrs, ids: list[str]) -> Answer:
        both.wait(20)  # fails unless both are under way at the same time
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.extend([together, together])
    with ThreadPoolExecutor(2) as pool:
        settled = list(pool.map(lambda _: drain_outbox.drain(bridge), range(2)))
    assert sum(settled) == 600
    assert sorted(of for post in lrs.posts for of in post) == sorted(sent)
    assert receipts(bridge, "delivered").keys() == set(sent)


KILLED = """
    import os, sys
    from bridge.flows import drain_outbox
    from bridge.flows.runtime import Runtime
    from bridge.settings import Settings
    from connectors.lrs import Lrs

    home, url = sys.argv[1:]
    send = Lrs.send
    def send_and_die(self, statements):
        send(self, statements)
        os._exit(9)
    Lrs.send = send_and_die
    drain_outbox.drain(Runtime.start(Settings.load(home=home, database_url=url)))
"""


def test_a_worker_killed_between_sending_and_settling_loses_and_doubles_nothing(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 130)
    settings = bridge.settings
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(settings.home), settings.database]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9
    assert (len(lrs.stored), waiting(bridge), receipts(bridge, "delivered")) == (100, 130, {})
    assert drain_outbox.drain(bridge) == 30  # the dead one's rows are still under its lease
    let_time_pass(bridge)
    assert drain_outbox.drain(bridge) == 100
    assert sorted(lrs.posts[0]) == sorted(lrs.posts[2])
    assert (sorted(lrs.stored), lrs.changed) == (sorted(sent), [])
    assert receipts(bridge, "delivered").keys() == set(sent)


def test_who_lost_the_lease_may_not_set_aside_or_release(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    fill(bridge, 1)

    def taken_over(lrs: Lrs, ids: list[str]) -> Answer:
        let_time_pass(bridge)
        assert lease.Lease(bridge.db, connection(bridge)).take(Limits(), 1).seqs
        return 400, {}, "never"

    lrs.script.append(taken_over)
    drain_outbox.drain(bridge)
    assert (receipts(bridge, "rejected"), waiting(bridge)) == ({}, 1)
    with bridge.db.read() as session:
        [theirs] = session.scalars(select(OutboxLease)).all()
    assert theirs.until > now()


def test_who_lost_the_lease_stops_before_the_next_request(
    bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LONGEST_REQUEST", lease.LEASE_SECONDS)  # renew before every request
    connect(bridge, lrs)
    sent = fill(bridge, 2)

    def taken_over(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            session.execute(update(OutboxLease).values(token="somebody else"))
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.extend([says(400), taken_over])
    assert drain_outbox.drain(bridge) == 1
    assert lrs.posts == [sent, sent[:1]]
    assert receipts(bridge, "delivered").keys() == {sent[0]}  # that one it has, whoever holds the row
    assert waiting(bridge) == 1


def test_a_lease_is_renewed_before_each_request(bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LONGEST_REQUEST", lease.LEASE_SECONDS)
    connect(bridge, lrs)
    fill(bridge, 2)
    soon, seen = now() + dt.timedelta(seconds=5), []

    def nearly_over(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            seen.append(session.scalar(select(OutboxLease.until)))
            session.execute(update(OutboxLease).values(until=soon))
        return (400, {}, "no") if len(ids) == 2 else BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.extend([nearly_over] * 3)
    assert drain_outbox.drain(bridge) == 2
    assert len(seen) == 3
    assert all(until > soon + dt.timedelta(seconds=30) for until in seen)


def test_a_row_that_is_committed_late_waits_for_the_range_around_it(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 3)
    with bridge.db.write() as session:
        late = sorted(session.scalars(select(Outbox.statement_seq)))[1]
        session.execute(delete(Outbox).where(Outbox.statement_seq == late))
    others: list[int] = []

    def committed(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            session.add(Outbox(connection_id=connection(bridge).id, statement_seq=late))
        others.append(drain_outbox.drain(bridge))
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.append(committed)
    assert drain_outbox.drain(bridge) == 3
    assert others == [0]
    assert lrs.posts == [[sent[0], sent[2]], [sent[1]]]


def test_a_delivery_counts_although_somebody_else_gave_it_up_meanwhile(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    [sent] = fill(bridge, 1)

    def given_up(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            row = session.scalars(select(Outbox)).one()
            receipt = {"statement_seq": row.statement_seq, "connection_id": row.connection_id}
            session.add(StatementReceipt(**receipt, state="rejected", error="no"))
            session.execute(delete(Outbox))
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.append(given_up)
    drain_outbox.drain(bridge)
    assert receipts(bridge, "rejected") == {}
    assert receipts(bridge, "delivered") == {sent: None}


@pytest.mark.postgres
def test_noting_a_delivery_waits_for_nobody_who_holds_the_destination(pg_runtime: Runtime, lrs: Lrs) -> None:
    """Else two of them could wait for each other: who refuses holds the destination, and needs a row."""
    connect(pg_runtime, lrs)
    [sent] = fill(pg_runtime, 1)
    worker = lease.Lease(pg_runtime.db, connection(pg_runtime))
    seqs = worker.take(Limits(), 1).seqs
    with ThreadPoolExecutor(1) as pool:
        with pg_runtime.db.write() as session:
            session.execute(select(Destination).with_for_update())
            ended = pool.submit(worker.end, seqs)
            deadline = time.monotonic() + 20
            while not receipts(pg_runtime, "delivered") and time.monotonic() < deadline:
                time.sleep(0.01)
            assert receipts(pg_runtime, "delivered").keys() == {sent}
        ended.result(20)
    assert waiting(pg_runtime) == 0


def test_a_call_ends_in_time_and_leaves_the_rest_due(
    runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 1000.0}
    for module in (drain_outbox, turn):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: clock["now"]))
    connect(runtime, lrs)
    fill(runtime, 8, result={"response": "x" * 300_000})

    def slowly(lrs: Lrs, ids: list[str]) -> Answer:
        clock["now"] += drain_outbox.CALL_SECONDS + 1
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.append(slowly)
    assert drain_outbox.drain(runtime) == 3
    assert (len(lrs.posts), waiting(runtime)) == (1, 5)
    assert drain_outbox.drain(runtime) == 5


def test_a_full_batch_calls_for_help(runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(runtime, "nudge", called.append)
    connect(runtime, lrs, batch=7)
    fill(runtime, 20)
    assert drain_outbox.drain(runtime) == 20
    assert called == ["drain"]
    fill(runtime, 24)
    assert drain_outbox.drain(runtime) == 4
    assert called == ["drain"]
