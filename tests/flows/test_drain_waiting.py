"""What the faces say of the outbox: how much waits, and since when somebody should have sent it."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from bridge.flows.overview import Queue, overview
from bridge.flows.runtime import Runtime
from bridge.store import now
from bridge.store.tables import Connection, Destination, Statement
from bridge.web.app import create_app
from bridge.xapi import ledger
from workers import embedded

LONG_AGO = now() - dt.timedelta(minutes=5)


@pytest.fixture(params=["runtime", pytest.param("pg_runtime", marks=pytest.mark.postgres)])
def bridge(request: pytest.FixtureRequest) -> Runtime:
    """With an LRS, and two statements that have waited for it for five minutes."""
    made: Runtime = request.getfixturevalue(request.param)
    config = {"endpoint": "http://lrs.test/xapi", "key": "k", "secret": made.vault.seal("s")}
    with made.db.write() as session:
        session.add(Connection(name="lrs", connector="lrs", config=config))
        session.flush()
        for _ in range(2):
            ledger.add(session, _statement(), issuer="http://bridge.test")
        session.execute(update(Statement).values(stored=LONG_AGO))
    return made


def _statement() -> bytes:
    return json.dumps(
        {
            "id": str(uuid.uuid4()),
            "actor": {"mbox": "mailto:sam@example.com"},
            "verb": {"id": "http://adlnet.gov/expapi/verbs/launched"},
            "object": {"id": "https://lms.test/course/1"},
            "timestamp": "2026-03-04T05:06:07.890Z",
        }
    ).encode()


def _change(bridge: Runtime, **values: Any) -> None:
    with bridge.db.write() as session:
        session.execute(update(Connection).values(values))


def _queue(bridge: Runtime) -> Queue:
    return next(queue for queue in overview(bridge).queues if queue.key == "drain")


def test_what_nobody_sends_is_late(bridge: Runtime) -> None:
    assert _queue(bridge) == Queue("drain", 2, LONG_AGO)


@pytest.mark.parametrize("off", [{"enabled": False}, {"problem": "no"}, {"paused_until": now() + dt.timedelta(days=1)}])
def test_what_waits_for_its_destination_is_not_late(bridge: Runtime, off: dict[str, Any]) -> None:
    _change(bridge, **off)
    assert _queue(bridge) == Queue("drain", 2, None)


def test_a_long_queue_that_moves_is_not_late(bridge: Runtime) -> None:
    with bridge.db.write() as session:
        to = session.scalars(select(Connection.id)).one()
        session.add(Destination(connection_id=to, delivered_at=now()))
    assert _queue(bridge) == Queue("drain", 2, None)


def test_the_embedded_worker_is_woken_only_for_what_can_go(bridge: Runtime) -> None:
    with bridge.db.read() as session:
        assert embedded.due(session) == ["drain"]
    _change(bridge, paused_until=now() + dt.timedelta(days=1))
    with bridge.db.read() as session:
        assert embedded.due(session) == []


def test_the_metrics_count_what_waits(bridge: Runtime) -> None:
    with TestClient(create_app(bridge), base_url="http://bridge.test") as client:
        assert 'flowbridge_waiting{queue="drain"} 2.0' in client.get("/metrics").text
