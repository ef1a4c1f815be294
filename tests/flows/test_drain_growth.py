"""A long queue takes as long for each statement as a short one, whatever PostgreSQL planned when."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from sqlalchemy import text

from bridge.flows import drain_outbox
from bridge.flows.drain_outbox import turn
from bridge.flows.runtime import Runtime
from bridge.xapi import ledger
from tests.flows.forwarding import ISSUER, Lrs, connect, statement

pytestmark = pytest.mark.postgres

ROWS = 10_000


def queue(bridge: Runtime, numbers: range) -> None:
    payloads = [statement(number) for number in numbers]
    with bridge.db.write() as session:
        ledger.add_received(
            session, [ledger.Entry(one, json.loads(one)) for one in payloads], authority="{}", issuer=ISSUER
        )


def walked(bridge: Runtime) -> dict[str, int]:
    """How many rows of tables and entries of the outbox's index were walked over so far."""
    bridge.db.close()  # a backend tells what it has counted when it ends
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    deadline = time.monotonic() + 20
    while asked(bridge, others) != [(0,)]:
        assert time.monotonic() < deadline
    tables = "SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE relname IN ('statement', 'outbox')"
    index = "SELECT indexrelname, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'pk_outbox'"
    return dict(asked(bridge, f"{tables} UNION ALL {index}"))


def asked(bridge: Runtime, query: str) -> list[Any]:
    with bridge.db.read() as session:
        return [tuple(row) for row in session.execute(text(query))]


@pytest.mark.parametrize("quiet", [15, 0], ids=["after a quiet time", "after a start"])
def test_no_claim_walks_over_what_waits_besides(
    quiet: int, pg_runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL may keep a plan from when the queue was short, and knows little of one that is long from the start."""
    monkeypatch.setattr(turn, "_MOST_CLAIMED", 100)
    connect(pg_runtime, lrs)
    for number in range(quiet):
        queue(pg_runtime, range(number, number + 1))
        assert drain_outbox.drain(pg_runtime) == 1
    queue(pg_runtime, range(quiet, quiet + ROWS))
    assert drain_outbox.drain(pg_runtime) == ROWS
    assert {name: count for name, count in walked(pg_runtime).items() if count > 6 * ROWS} == {}
