"""What was completed goes back into the system of record, once, and waits there rather than get lost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from bridge.connect import ConfigError, Receipt, Rejected, Retryable
from bridge.domain.events import BusinessEvent
from bridge.flows import (
    accept_event,
    configure,
    decide_prompts,
    open_launch,
    record_outcome,
    sync_catalogue,
    write_back,
)
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from tests.flows.scripted import Script, asset, page

AT = dt.datetime(2026, 1, 3, 4, 5, 6, tzinfo=dt.UTC)
CONFIGURATION = """
connections:
  - {name: crm, connector: scripted_crm}
  - {name: lms, connector: scripted_lms}
people:
  - {key: E001, name: Sam Seller, accounts: {crm: sam, lms: "2041"}}
  - {key: E002, name: Priya Planner, accounts: {crm: priya}}
rules:
  - {name: course, on: deal, for: owner, offer: {asset: lms/course-1}, say: Do this.}
"""


@pytest.fixture
def bridge(runtime: Runtime, script: Script, tmp_path: Path) -> Runtime:
    file = tmp_path / "flowbridge.yaml"
    file.write_text(CONFIGURATION)
    configure.apply(runtime, file)
    script.pages = [page(1, asset(1))]
    sync_catalogue.sync(runtime, "lms")
    return runtime


Complete = Callable[..., str]


@pytest.fixture
def complete(bridge: Runtime, event: Callable[..., BusinessEvent]) -> Complete:
    """Somebody is prompted, opens it and passes; returns the outcome's id."""

    def done(who: str = "sam", **parts: object) -> str:
        people = {"owner": type(event().people["owner"])(id=who)}
        accept_event.accept(bridge, "crm", [event(type="deal", id=f"of {who}", people=people)])
        decide_prompts.decide(bridge)
        with bridge.db.read() as session:
            prompt = session.scalars(
                select(tables.Prompt).where(tables.Prompt.event.has(external_id=f"of {who}"))
            ).one()
        opened = open_launch.open_prompt(bridge, prompt.id, prompt.person_id or 0)
        values = {"source": "ags", "verb": "passed", "completed": True, "success": True, "score": 0.8, **parts}
        return str(record_outcome.record(bridge, opened.launch_id, occurred_at=AT, **values))  # type: ignore[arg-type]

    return done


def row(runtime: Runtime) -> tables.WriteBack:
    with runtime.db.read() as session:
        return session.scalars(select(tables.WriteBack)).one()


def problem(runtime: Runtime) -> str | None:
    with runtime.db.read() as session:
        return session.scalars(select(tables.Connection.problem).where(tables.Connection.name == "lms")).one()


def make_due(runtime: Runtime) -> None:
    with runtime.db.write() as session:
        for waiting in session.scalars(select(tables.WriteBack).where(tables.WriteBack.due_at.is_not(None))):
            waiting.due_at = now()


def test_a_completion_goes_back_by_the_ids_of_the_lms(bridge: Runtime, script: Script, complete: Complete) -> None:
    outcome_id = complete()
    script.turns = [Receipt("grade-9")]
    assert write_back.write_back(bridge) == 1
    ((key, outcome),) = script.recorded
    assert key == outcome_id
    assert (outcome.asset_external_id, outcome.account_id) == ("course-1", "2041")
    assert (outcome.completed, outcome.success, outcome.score, outcome.occurred_at) == (True, True, 0.8, AT)
    assert (row(bridge).state, row(bridge).due_at) == ("recorded", None)
    assert row(bridge).receipt == {"external_id": "grade-9", "url": ""}
    assert write_back.write_back(bridge) == 0


def test_progress_is_not_written_back(bridge: Runtime, complete: Complete) -> None:
    complete(verb="progressed", completed=False, success=None, score=None)
    assert write_back.write_back(bridge) == 0


def test_what_could_not_be_written_waits_as_asked_and_keeps_its_key(
    bridge: Runtime, script: Script, complete: Complete
) -> None:
    complete()
    script.turns = [Retryable("the LMS is down", retry_after=60)]
    write_back.write_back(bridge)
    waiting = row(bridge)
    assert (waiting.state, waiting.error, waiting.lease) == ("waiting", "the LMS is down", None)
    assert waiting.due_at is not None
    assert dt.timedelta(seconds=50) < waiting.due_at - now() <= dt.timedelta(seconds=60)
    make_due(bridge)
    write_back.write_back(bridge)
    assert (row(bridge).state, row(bridge).error) == ("recorded", None)
    assert len({key for key, _ in script.recorded}) == 1


def test_what_the_lms_refuses_fails_with_its_words(bridge: Runtime, script: Script, complete: Complete) -> None:
    complete()
    script.turns = [Rejected("the user is not enrolled in the course")]
    write_back.write_back(bridge)
    assert (row(bridge).state, row(bridge).due_at) == ("failed", None)
    assert row(bridge).error == "the user is not enrolled in the course"


def test_somebody_without_an_account_there_is_told(bridge: Runtime, script: Script, complete: Complete) -> None:
    complete("priya")
    write_back.write_back(bridge)
    assert (row(bridge).state, script.recorded) == ("failed", [])
    assert "the person has no account in 'lms'" in (row(bridge).error or "")


def test_a_wrong_connection_is_told_to_the_admin_and_loses_nothing(
    bridge: Runtime, script: Script, complete: Complete
) -> None:
    complete()
    script.turns = [ConfigError("the LMS refuses the token")]
    write_back.write_back(bridge)
    assert (row(bridge).state, problem(bridge)) == ("waiting", "the LMS refuses the token")
    make_due(bridge)
    write_back.write_back(bridge)
    assert (row(bridge).state, problem(bridge)) == ("recorded", None)


def test_a_connection_that_is_off_gets_nothing(bridge: Runtime, script: Script, complete: Complete) -> None:
    complete()
    with bridge.db.write() as session:
        session.scalars(select(tables.Connection).where(tables.Connection.name == "lms")).one().enabled = False
    write_back.write_back(bridge)
    assert (row(bridge).state, row(bridge).error) == ("waiting", "the connection 'lms' is switched off")
    assert script.recorded == []


def test_a_connector_that_breaks_keeps_nobody_else_waiting(
    bridge: Runtime, script: Script, complete: Complete, tmp_path: Path
) -> None:
    (tmp_path / "priya.yaml").write_text('people: [{key: E002, accounts: {crm: priya, lms: "2042"}}]')
    configure.apply(bridge, tmp_path / "priya.yaml")
    complete("sam")
    complete("priya")
    script.turns = [ZeroDivisionError("a fault of the connector")]
    assert write_back.write_back(bridge) == 2
    with bridge.db.read() as session:
        states = session.scalars(select(tables.WriteBack.state).order_by(tables.WriteBack.state)).all()
    assert states == ["recorded", "waiting"]


def test_a_worker_that_dies_leaves_its_work_to_the_next_with_the_same_key(
    bridge: Runtime, script: Script, complete: Complete
) -> None:
    class Killed(BaseException):
        """The process is gone."""

    complete()
    script.turns = [Killed()]
    with pytest.raises(Killed):
        write_back.write_back(bridge)
    assert write_back.write_back(bridge) == 0, "its lease holds"
    make_due(bridge)
    assert write_back.write_back(bridge) == 1
    assert row(bridge).state == "recorded"
    assert len({key for key, _ in script.recorded}) == 1
