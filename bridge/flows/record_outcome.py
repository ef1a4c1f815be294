"""Record an outcome: the fact, its statement, and the work of telling others, in one transaction."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Required, TypedDict, Unpack

from sqlalchemy import update
from sqlalchemy.orm import Session

from bridge import registry, support
from bridge.connect import WriteBack
from bridge.domain import ids
from bridge.domain.assets import How
from bridge.flows import push_grades
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.open_launch import Opened, help_of, launch_page, own_launch
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.xapi import ledger

#: The queues that tell others of an outcome.
TOLD_BY = ("drain", "write_back", "grades")


class Report(TypedDict, total=False):
    """What came of a launch.

    ``verb`` is progressed, completed, passed or failed; ``score`` is scaled to 0..1; ``occurrence`` tells repeats of a
    verb apart; ``occurred_at`` is now when left out. ``stated`` is the id of the statement by which content said so
    itself; without one the bridge states it.
    """

    source: Required[str]
    verb: Required[str]
    completed: Required[bool]
    success: bool | None
    score: float | None
    occurrence: str
    occurred_at: dt.datetime | None
    stated: uuid.UUID | None


def record(runtime: Runtime, launch_id: uuid.UUID, **report: Unpack[Report]) -> uuid.UUID:
    """Record what came of a launch and return the outcome's id; the same (launch, verb, occurrence) changes nothing."""
    with runtime.db.write() as session:
        launch = session.get(tables.Launch, launch_id, with_for_update=True)
        if launch is None:
            raise NotFound(f"there is no launch {launch_id}")
        outcome_id = record_in(runtime, session, launch, **report)
    for queue in TOLD_BY:
        runtime.nudge(queue)
    return outcome_id


def record_in(runtime: Runtime, session: Session, launch: tables.Launch, **report: Unpack[Report]) -> uuid.UUID:
    """The same within the caller's transaction; the caller nudges :data:`TOLD_BY` after it."""
    at = report.get("occurred_at") or now()
    verb, completed = report["verb"], report["completed"]
    success, score = report.get("success"), report.get("score")
    outcome_id = ids.statement_id(launch.id, verb, report.get("occurrence", ""))
    if session.get(tables.Outcome, outcome_id) is not None:
        return outcome_id
    outcome = tables.Outcome(
        id=outcome_id,
        launch_id=launch.id,
        source=report["source"],
        verb=verb,
        completed=completed,
        success=success,
        score=score,
        occurred_at=at,
    )
    session.add(outcome)
    if completed and launch.completed_at is None:
        launch.completed_at = at
    if success is not None:
        launch.success = success
    if score is not None:
        launch.score = score
    session.flush()
    if (stated := report.get("stated")) is None:
        ledger.report(runtime, session.connection(), launch, verb, at=at, outcome=outcome)
    else:
        said = update(tables.Statement).where(tables.Statement.id == stated)
        session.execute(said.values(outcome_id=outcome_id), execution_options={"synchronize_session": False})
    if completed:
        _write_back(session, outcome, launch.asset.connection)
    push_grades.enqueue(session, outcome)
    return outcome_id


def _write_back(session: Session, outcome: tables.Outcome, connection: tables.Connection) -> None:
    """The LMS stays the system of record: a completion goes back to the catalogue that the asset came from."""
    try:
        connector = registry.find(connection.connector)
    except Exception:  # a plugin that is gone must not lose the outcome: the admin sees it in the list of connections
        return
    if issubclass(connector, WriteBack):
        session.add(tables.WriteBack(outcome_id=outcome.id, connection_id=connection.id))


def tick(runtime: Runtime, launch_id: uuid.UUID, person_id: int, step_id: str, *, done: bool) -> Opened:
    """Tick a step of a checklist, or take the tick back; each first tick is a "progressed" statement."""
    with runtime.db.write() as session:
        launch = own_launch(session, launch_id, person_id, lock=True)  # two ticks at once must both count
        steps = {step.id for step in _steps(launch)}
        if step_id not in steps:
            raise Invalid("step", "this checklist has no such step")
        ticked = (set(launch.progress) | {step_id} if done else set(launch.progress) - {step_id}) & steps
        launch.progress = sorted(ticked)
        if done and launch.completed_at is None:
            share = len(ticked) / len(steps)
            record_in(
                runtime,
                session,
                launch,
                source="checklist",
                verb="progressed",
                completed=False,
                score=None,
                occurrence=f"{share:.3f}",
            )
    runtime.nudge("drain")
    return launch_page(runtime, launch_id, person_id)


def finish(runtime: Runtime, launch_id: uuid.UUID, person_id: int) -> Opened:
    """The person says that they have read or done it; a checklist needs every step ticked."""
    with runtime.db.read() as session:
        launch = own_launch(session, launch_id, person_id)
        if launch.how != How.INLINE:
            raise Refused(
                f"'{launch.asset.title}' says itself when it is completed: open your prompt and finish it there.",
                code="not_by_hand",
            )
        missing = [step for step in _steps(launch) if step.id not in launch.progress]
    if missing and launch.asset.kind == "checklist":
        raise Invalid("steps", f"{len(missing)} steps are not ticked yet; the first is '{missing[0].text}'")
    source = "checklist" if launch.asset.kind == "checklist" else "page"
    record(runtime, launch_id, source=source, verb="completed", completed=True)
    return launch_page(runtime, launch_id, person_id)


def _steps(launch: tables.Launch) -> tuple[support.Step, ...]:
    return help_of(launch).steps if launch.how == How.INLINE else ()
