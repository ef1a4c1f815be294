"""What an admin does to a connection, or to what failed, is done once, by a worker, and is on record."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
import responses
from sqlalchemy import select

from bridge.connect import ConfigError, Retryable
from bridge.domain.events import BusinessEvent
from bridge.flows import (
    accept_event,
    configure,
    decide_prompts,
    deliver_prompt,
    drain_outbox,
    open_launch,
    operate,
    record_outcome,
    sync_catalogue,
)
from bridge.flows.errors import NotFound, Refused
from bridge.flows.overview import connections
from bridge.flows.runtime import Runtime
from bridge.store import now, tables

Make = Callable[..., BusinessEvent]
CHAT, LRS = "http://chat.test/prompts", "http://lrs.test/xapi"

MORE = f"""
connections:
  - name: chat
    connector: webhook
    config: {{secrets: ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="], url: {CHAT}}}
  - name: records
    connector: lrs
    config: {{endpoint: {LRS}, key: flowbridge, secret: known}}
rules:
  - name: enterprise-pricing
    on: desk.opportunity.created
    for: owner
    offer: {{asset: guides/pricing.md}}
    say: Read this.
    through: [widget, chat]
"""


@pytest.fixture
def connected(organised: Runtime, tmp_path: Path) -> Runtime:
    """The organisation with a chat and an LRS."""
    file = tmp_path / "more.yaml"
    file.write_text(MORE)
    configure.apply(organised, file)
    return organised


def connection(runtime: Runtime, name: str) -> tables.Connection:
    with runtime.db.read() as session:
        return session.scalars(select(tables.Connection).where(tables.Connection.name == name)).one()


def trouble(runtime: Runtime, name: str) -> None:
    with runtime.db.write() as session:
        row = session.scalars(select(tables.Connection).where(tables.Connection.name == name)).one()
        row.problem, row.failures, row.paused_until = "wrong password", 3, now() + dt.timedelta(hours=1)


def actions(runtime: Runtime) -> list[tuple[str, str]]:
    with runtime.db.read() as session:
        rows = session.scalars(select(tables.Audit).where(tables.Audit.actor == "boss").order_by(tables.Audit.id))
        return [(row.action, row.subject) for row in rows]


def test_a_check_with_nothing_missing_ends_the_problem(connected: Runtime) -> None:
    trouble(connected, "guides")
    nudged: list[str] = []
    connected.nudge = nudged.append
    assert operate.check(connected, "guides", actor="boss").ok
    row = connection(connected, "guides")
    assert (row.problem, row.paused_until, row.failures) == (None, None, 0)
    assert {"deliver", "drain"} <= set(nudged)
    assert actions(connected) == [("connection.recovered", "guides")]


def test_a_check_that_fails_keeps_the_problem_and_says_why(connected: Runtime) -> None:
    trouble(connected, "records")
    with responses.RequestsMock() as systems:
        systems.get(f"{LRS}/statements", status=401)
        with pytest.raises(ConfigError, match="401"):
            operate.check(connected, "records", actor="boss")
    assert connection(connected, "records").problem == "wrong password"
    with pytest.raises(NotFound):
        operate.check(connected, "nothing", actor="boss")


def test_a_switch_is_on_record_once_and_on_is_a_new_start(connected: Runtime) -> None:
    trouble(connected, "records")
    operate.switch(connected, "records", on=False, actor="boss")
    operate.switch(connected, "records", on=False, actor="boss")
    assert not connection(connected, "records").enabled
    operate.switch(connected, "records", on=True, actor="boss")
    row = connection(connected, "records")
    assert (row.enabled, row.problem, row.failures) == (True, None, 0)
    assert actions(connected) == [("connection.switch_off", "records"), ("connection.switch_on", "records")]


def test_what_was_asked_for_is_walked_by_the_next_look_of_a_worker(connected: Runtime, guides: Path) -> None:
    assert sync_catalogue.sync_due(connected) == 0
    (guides / "new.md").write_text("---\ntitle: New\nkind: guide\n---\nText.\n")
    assert operate.ask_for_sync(connected, "guides", actor="boss")
    walk = connections.walk(connected, "guides")
    assert walk is not None
    assert (walk.state, walk.under_way, walk.started_at) == ("asked", True, None)
    assert not operate.ask_for_sync(connected, "guides", actor="boss")
    assert sync_catalogue.sync_due(connected) == 1
    walk = connections.walk(connected, "guides")
    assert walk is not None
    assert (walk.state, walk.seen, walk.changed) == ("finished", 3, 1)
    assert sync_catalogue.sync_due(connected) == 0
    assert actions(connected) == [("connection.sync", "guides")]


def test_a_walk_that_failed_goes_on_when_it_is_asked_for(connected: Runtime) -> None:
    with connected.db.write() as session:
        row = session.scalars(select(tables.Connection).where(tables.Connection.name == "guides")).one()
        failed = tables.SyncRun(connection_id=row.id, checkpoint={"page": 3}, pages=3, seen=30, error="no answer")
        session.add(failed)
    assert operate.ask_for_sync(connected, "guides", actor="boss")
    with connected.db.read() as session:
        again = session.get_one(tables.SyncRun, failed.id)
        assert (again.error, again.checkpoint, again.finished_at) == (None, {"page": 3}, None)
    walk = connections.walk(connected, "guides")
    assert walk is not None
    assert (walk.state, walk.seen) == ("asked", 30)


def test_what_has_no_catalogue_or_is_off_is_not_walked(connected: Runtime) -> None:
    with pytest.raises(Refused, match="has no catalogue"):
        operate.ask_for_sync(connected, "desk", actor="boss")
    operate.switch(connected, "guides", on=False, actor="boss")
    with pytest.raises(Refused, match="switched off"):
        operate.ask_for_sync(connected, "guides", actor="boss")


def test_a_delivery_that_failed_goes_out_again(connected: Runtime, event: Make) -> None:
    accept_event.accept(connected, "desk", [event(), event(id="2", subject="opportunity/2")])
    decide_prompts.decide(connected)
    with responses.RequestsMock() as systems:
        systems.post(CHAT, status=422, body="the channel is archived")
        deliver_prompt.deliver(connected)
    with connected.db.read() as session:
        failed = session.scalars(select(tables.Delivery).where(tables.Delivery.state == "failed")).all()
    assert len(failed) == 2
    assert operate.replay_deliveries(connected, failed[0].id, actor="boss") == 1
    assert operate.replay_deliveries(connected, failed[0].id, actor="boss") == 0
    with responses.RequestsMock() as systems:
        systems.post(CHAT, status=200)
        assert deliver_prompt.deliver(connected) == 1
    assert operate.replay_deliveries(connected, actor="boss") == 1
    assert actions(connected) == [("delivery.replay", str(failed[0].id)), ("delivery.replay", "all")]


def test_a_statement_that_was_refused_goes_out_again(connected: Runtime, event: Make) -> None:
    accept_event.accept(connected, "desk", [event()])
    decide_prompts.decide(connected)
    with connected.db.read() as session:
        prompt = session.scalars(select(tables.Prompt)).one()
    open_launch.open_prompt(connected, prompt.id, prompt.person_id or 0)
    with responses.RequestsMock() as systems:
        systems.post(f"{LRS}/statements", status=400, body="no")
        drain_outbox.drain(connected)
    assert operate.replay_statements(connected, "records", actor="boss") == 1
    assert operate.replay_statements(connected, "records", actor="boss") == 0
    with connected.db.read() as session:
        assert session.scalars(select(tables.StatementReceipt)).all() == []
        assert len(session.scalars(select(tables.Outbox)).all()) == 1
    assert actions(connected) == [("statement.replay", "records: all")]


def test_a_completion_that_was_refused_is_written_again(connected: Runtime, event: Make) -> None:
    accept_event.accept(connected, "desk", [event()])
    decide_prompts.decide(connected)
    with connected.db.read() as session:
        prompt = session.scalars(select(tables.Prompt)).one()
    opened = open_launch.open_prompt(connected, prompt.id, prompt.person_id or 0)
    outcome_id = record_outcome.record(connected, opened.launch_id, source="page", verb="completed", completed=True)
    with connected.db.write() as session:
        session.add(
            tables.WriteBack(
                outcome_id=outcome_id,
                connection_id=connection(connected, "guides").id,
                state="failed",
                due_at=None,
                attempts=4,
                error="no such course",
            )
        )
    assert operate.replay_write_backs(connected, outcome_id, actor="boss") == 1
    with connected.db.read() as session:
        row = session.scalars(select(tables.WriteBack)).one()
        assert (row.state, row.attempts) == ("waiting", 0)
        assert row.due_at is not None
    assert operate.replay_write_backs(connected, actor="boss") == 0


def test_a_system_that_is_away_is_no_verdict(connected: Runtime) -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as systems:
        systems.get(f"{LRS}/statements", status=503, headers={"Retry-After": "0"})
        with pytest.raises(Retryable):
            operate.check(connected, "records", actor="boss")
    assert connection(connected, "records").problem is None
