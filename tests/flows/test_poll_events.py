"""Business systems are asked page by page; what fails keeps its place and waits, and keeps nobody else waiting."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from bridge.connect import ConfigError, EventPage, Retryable, Unsupported
from bridge.domain.events import BusinessEvent
from bridge.flows import configure, poll_events
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from tests.flows.scripted import Script

Make = Callable[..., BusinessEvent]


@pytest.fixture
def bridge(runtime: Runtime, script: Script, tmp_path: Path) -> Runtime:
    del script  # its connectors must be there
    file = tmp_path / "flowbridge.yaml"
    file.write_text(
        "connections: [{name: crm, connector: scripted_crm}, {name: erp, connector: scripted_crm},"
        " {name: lms, connector: scripted_lms}]"
    )
    configure.apply(runtime, file)
    return runtime


def row(runtime: Runtime, name: str = "crm") -> tables.Connection:
    with runtime.db.read() as session:
        return session.scalars(select(tables.Connection).where(tables.Connection.name == name)).one()


def make_due(runtime: Runtime, *names: str) -> None:
    """These and no others are to be asked now."""
    with runtime.db.write() as session:
        for connection in session.scalars(select(tables.Connection)):
            connection.poll_at = now() + dt.timedelta(hours=0 if connection.name in names else 1)


def ids(runtime: Runtime) -> set[str]:
    with runtime.db.read() as session:
        return set(session.scalars(select(tables.Event.external_id)))


def test_every_page_is_stored_with_the_place_to_go_on_from(bridge: Runtime, script: Script, event: Make) -> None:
    nudged: list[str] = []
    bridge.nudge = nudged.append
    script.events = [EventPage((event(id="a"), event(id="b")), {"page": 1}), EventPage((event(id="c"),), {"page": 2})]
    assert poll_events.poll(bridge, "crm") == 3
    assert poll_events.poll(bridge, "crm") == 0
    assert script.asked_from == [None, {"page": 2}]
    assert ids(bridge) == {"a", "b", "c"}
    assert set(nudged) == {"decide"}


def test_what_a_webhook_brought_already_is_not_counted(bridge: Runtime, script: Script, event: Make) -> None:
    script.events = [EventPage((event(id="a"), event(id="b")), {"page": 1}), EventPage((event(id="b"),), {"page": 2})]
    assert poll_events.poll(bridge, "crm") == 2


def test_a_failing_page_keeps_what_came_before_and_its_place(bridge: Runtime, script: Script, event: Make) -> None:
    nudged: list[str] = []
    bridge.nudge = nudged.append
    script.events = [
        EventPage((event(id="a"),), {"page": 1}),
        Retryable("down"),
        EventPage((event(id="b"),), {"page": 3}),
    ]
    with pytest.raises(Retryable):
        poll_events.poll(bridge, "crm")
    assert (ids(bridge), nudged) == ({"a"}, ["decide"])
    script.events[1] = EventPage((), {"page": 2})
    assert poll_events.poll(bridge, "crm") == 1
    assert script.asked_from[-1] == {"page": 1}


def test_only_a_connection_that_can_be_asked_is(bridge: Runtime) -> None:
    with pytest.raises(Unsupported, match=r"'lms' .* can't be asked for events"):
        poll_events.poll(bridge, "lms")


def test_each_is_asked_once_an_interval(bridge: Runtime, script: Script, event: Make) -> None:
    script.events = [EventPage((event(),), {"page": 1})]
    assert poll_events.poll_due(bridge) == 2
    assert poll_events.poll_due(bridge) == 0
    assert len(script.asked_from) == 2
    wait = row(bridge).poll_at - now()
    assert dt.timedelta(0) < wait <= dt.timedelta(seconds=bridge.settings.poll_seconds)


def test_one_that_is_switched_off_is_not_asked(bridge: Runtime, script: Script) -> None:
    with bridge.db.write() as session:
        session.get_one(tables.Connection, row(bridge).id).enabled = False
    poll_events.poll_due(bridge)
    assert len(script.asked_from) == 1


def test_a_problem_is_told_and_waited_for_and_is_over_with_the_next_success(bridge: Runtime, script: Script) -> None:
    script.events = [Retryable("the CRM is down", retry_after=120)]
    make_due(bridge, "crm")
    assert poll_events.poll_due(bridge) == 0
    crm = row(bridge)
    assert (crm.problem, crm.failures) == ("the CRM is down", 1)
    assert dt.timedelta(seconds=100) < crm.poll_at - now() <= dt.timedelta(seconds=120)
    script.events = []
    make_due(bridge, "crm")
    poll_events.poll_due(bridge)
    assert (row(bridge).problem, row(bridge).failures) == (None, 0)


@pytest.mark.parametrize(
    ("failure", "problem"),
    [
        (ConfigError("the CRM refuses the token"), "the CRM refuses the token"),
        (KeyError("a fault of the connector"), "the connector failed (KeyError); see the log"),
    ],
)
def test_one_that_fails_keeps_nobody_else_waiting(
    bridge: Runtime, script: Script, failure: Exception, problem: str
) -> None:
    script.events = [failure]  # type: ignore[list-item]
    make_due(bridge, "crm", "erp")
    poll_events.poll_due(bridge)
    assert len(script.asked_from) == 2
    assert {row(bridge, name).problem for name in ("crm", "erp")} == {problem}
    assert row(bridge).poll_at - now() < dt.timedelta(minutes=5)
