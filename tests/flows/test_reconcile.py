"""What an LRS has and what the ledger says it has: every difference is found, told once, and mended where it can be."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select, update

from bridge.connect import Retryable, Unsupported
from bridge.flows.errors import NotFound
from bridge.flows.overview import reconciliations
from bridge.flows.overview.reconciliations import Run
from bridge.flows.reconcile import comparison, reconcile, repair
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from tests.flows import scripted
from tests.flows.evidence import audited, connect, deliver, state, statement, voiding, waiting

A, B, C, D = (statement(number) for number in range(4))


@pytest.fixture
def bridge(each_runtime: Runtime, script: scripted.Script) -> Runtime:
    connect(each_runtime)
    return each_runtime


@pytest.fixture
def shelf(script: scripted.Script) -> scripted.Shelf:
    return script.shelf


def compare(bridge: Runtime, *, full: bool = False) -> Run:
    return reconcile(bridge, "records", actor="boss", full=full)


def numbers(run: Run) -> dict[str, int]:
    return {kind: count for kind in reconciliations.KINDS if (count := getattr(run, kind))}


def listed(bridge: Runtime, run: Run) -> dict[str, tuple[str, str]]:
    return {str(gap.statement_id): (gap.kind, gap.detail) for gap in reconciliations.gaps(bridge, run.id)}


def alter(shelf: scripted.Shelf, of: dict[str, Any], **parts: Any) -> None:
    at, there = shelf.stored[of["id"]]
    shelf.stored[of["id"]] = at, {**there, **parts}


def test_what_is_there_as_it_was_sent_matches(bridge: Runtime, shelf: scripted.Shelf) -> None:
    state(bridge, A, B, C)
    deliver(bridge)
    for one in (A, B, C):  # what an LRS adds, and may write otherwise (xAPI-Data 2.3.1)
        alter(shelf, one, stored="2026-01-02T03:04:06Z", authority={"mbox": "mailto:lrs@x.test"}, version="1.0.0")
    alter(shelf, B, timestamp="2026-01-02T04:04:05+01:00", verb={**B["verb"], "display": {"en": "completed"}})
    run = compare(bridge)
    assert numbers(run) == {"matched": 3}
    assert (run.state, listed(bridge, run)) == ("matched", {})
    assert audited(bridge, "boss")[-1][:2] == ("connection.reconcile", "records")


def test_one_removed_one_altered_one_of_somebody_else_and_one_voided_there(
    bridge: Runtime, shelf: scripted.Shelf
) -> None:
    state(bridge, A, B, C, D)
    deliver(bridge)
    del shelf.stored[A["id"]]
    alter(shelf, B, result={"score": {"scaled": 1}})
    stranger = statement(99)
    shelf.put(stranger)
    shelf.voided.add(C["id"])
    run = compare(bridge)
    assert numbers(run) == {"matched": 1, "missing": 1, "different": 1, "foreign": 1, "voided": 1}
    found = listed(bridge, run)
    assert found.keys() == {A["id"], B["id"], C["id"], stranger["id"]}
    assert found[A["id"]] == ("missing", "it was delivered, and is not there any more")
    assert found[B["id"]] == ("different", "it differs in: result")
    assert found[C["id"]] == ("voided", "it is voided there, and not here")
    assert found[stranger["id"]][0] == "foreign"
    assert found[stranger["id"]][1].startswith("its verb is http://adlnet.gov/expapi/verbs/completed; it was stored ")
    assert "person-99" not in str(found)


def test_what_is_missing_is_sent_again_as_it_was_and_nothing_else_is_touched(
    bridge: Runtime, shelf: scripted.Shelf
) -> None:
    state(bridge, A, B, C)
    deliver(bridge)
    del shelf.stored[A["id"]]
    alter(shelf, B, result={"success": False})
    run = compare(bridge)
    assert repair(bridge, run.id, actor="boss") == 1
    assert waiting(bridge) == [A["id"]]
    assert reconciliations.run(bridge, run.id).repaired == 1
    assert audited(bridge, "boss")[-1] == ("statement.repair", "records", {"reconciliation": run.id, "count": 1})
    assert repair(bridge, run.id, actor="boss") == 0
    assert numbers(compare(bridge)) == {"matched": 1, "different": 1}, "what waits is not missing"
    deliver(bridge, ago=dt.timedelta(0))
    assert shelf.stored[A["id"]][1] == A
    assert shelf.stored[B["id"]][1]["result"] == {"success": False}
    assert numbers(compare(bridge, full=True)) == {"matched": 2, "different": 1}


def test_the_next_run_goes_on_and_does_not_forget_what_is_still_wrong(bridge: Runtime, shelf: scripted.Shelf) -> None:
    state(bridge, A, B)
    deliver(bridge, ago=dt.timedelta(hours=2))
    for of in (A, B):
        shelf.stored[of["id"]] = now() - dt.timedelta(hours=2), shelf.stored[of["id"]][1]
    shelf.through = now() - dt.timedelta(hours=1)
    del shelf.stored[A["id"]]
    assert numbers(compare(bridge)) == {"matched": 1, "missing": 1}
    state(bridge, C)
    deliver(bridge, ago=dt.timedelta(minutes=30))
    shelf.through = now()
    assert numbers(compare(bridge)) == {"matched": 1, "missing": 1}
    assert shelf.asked_since[0] is None
    assert shelf.asked_since[1] is not None and shelf.asked_since[1] < now() - dt.timedelta(hours=1)
    assert shelf.asked_for.count(B["id"]) == 0
    assert numbers(compare(bridge, full=True)) == {"matched": 2, "missing": 1}
    shelf.put(A)
    assert compare(bridge).state == "matched"


def test_what_the_lrs_does_not_promise_to_show_yet_is_not_missing(bridge: Runtime, shelf: scripted.Shelf) -> None:
    state(bridge, A)
    deliver(bridge)
    del shelf.stored[A["id"]]
    shelf.through = now() - dt.timedelta(hours=1)
    assert numbers(compare(bridge)) == {}
    shelf.through = now()
    assert numbers(compare(bridge)) == {"missing": 1}


def test_a_clock_that_is_ahead_there_hides_nothing_that_is_lost_later(bridge: Runtime, shelf: scripted.Shelf) -> None:
    shelf.through = now() + dt.timedelta(days=1)
    state(bridge, A)
    deliver(bridge, ago=dt.timedelta(hours=2))
    assert numbers(compare(bridge)) == {"matched": 1}
    with bridge.db.write() as session:  # an hour passes
        place = session.scalars(select(tables.Checkpoint)).one()
        settled = dt.datetime.fromisoformat(place.value["settled"]) - dt.timedelta(hours=1)
        place.value = {**place.value, "settled": settled.isoformat()}
    state(bridge, B)
    deliver(bridge, ago=dt.timedelta(minutes=30))
    del shelf.stored[B["id"]]
    assert numbers(compare(bridge)) == {"matched": 1, "missing": 1}


def test_what_was_stored_before_the_walk_begins_is_asked_for(bridge: Runtime, shelf: scripted.Shelf) -> None:
    """Its first answer was lost, and the receipt came much later."""
    shelf.put(A, now() - dt.timedelta(days=2))
    state(bridge, B)
    deliver(bridge, ago=dt.timedelta(hours=2))
    shelf.through = now() - dt.timedelta(hours=1)
    compare(bridge)
    state(bridge, A)
    deliver(bridge, ago=dt.timedelta(minutes=30))
    shelf.through = now()
    run = compare(bridge)
    assert A["id"] in shelf.asked_for
    assert "missing" not in numbers(run)


def test_what_is_voided_on_both_sides_matches(bridge: Runtime, shelf: scripted.Shelf) -> None:
    state(bridge, A, voiding(5, A))
    deliver(bridge)
    assert shelf.voided == {A["id"]}
    assert numbers(compare(bridge)) == {"matched": 2}


def test_what_is_voided_here_alone_is_voided_there_again(bridge: Runtime, shelf: scripted.Shelf) -> None:
    void = voiding(5, A)
    state(bridge, A, void)
    deliver(bridge)
    shelf.voided.clear()
    run = compare(bridge)
    assert listed(bridge, run)[A["id"]] == (
        "voided",
        "it is voided here, and not there, though the voiding statement was delivered",
    )
    assert repair(bridge, run.id, actor="boss") == 1
    assert waiting(bridge) == [void["id"]]
    assert compare(bridge).state == "matched", "the voiding statement is on its way"
    deliver(bridge)
    assert shelf.voided == {A["id"]}
    assert numbers(compare(bridge, full=True)) == {"matched": 2}


def test_what_is_voided_there_alone_is_told_and_left_alone(bridge: Runtime, shelf: scripted.Shelf) -> None:
    state(bridge, A)
    deliver(bridge)
    assert compare(bridge).state == "matched"
    shelf.put(voiding(5, A))  # by somebody else, long after the statement was compared
    run = compare(bridge)
    assert numbers(run) == {"foreign": 1, "voided": 1}
    assert repair(bridge, run.id, actor="boss") == 0
    assert waiting(bridge) == []


def test_statements_of_others_are_all_counted_and_some_listed(
    bridge: Runtime, shelf: scripted.Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MOST_FOREIGN", 3)
    for number in range(100, 107):
        shelf.put(statement(number))
    run = compare(bridge)
    assert (run.foreign, run.state, len(listed(bridge, run))) == (7, "matched", 3)


def test_what_is_compared_is_what_was_sent(bridge: Runtime, shelf: scripted.Shelf) -> None:
    connect(bridge, "private", options={"statements": {"identity": "pseudonym"}})
    state(bridge, A)
    deliver(bridge)
    with bridge.db.write() as session:
        session.execute(update(tables.Connection).where(tables.Connection.name == "records").values(enabled=False))
    shelf.stored.clear()
    state(bridge, B)
    deliver(bridge)
    assert "person-1" not in str(shelf.stored[B["id"]])
    run = reconcile(bridge, "private", actor="boss")
    assert numbers(run) == {"matched": 1, "missing": 1}


def test_a_run_that_fails_says_why_and_the_next_one_begins_again(bridge: Runtime, shelf: scripted.Shelf) -> None:
    state(bridge, A, B, C)
    deliver(bridge)
    shelf.answers = [None, Retryable("the LRS is being moved")]
    with pytest.raises(Retryable, match="being moved"):
        compare(bridge)
    (failed,) = reconciliations.runs(bridge)
    assert (failed.state, failed.error) == ("failed", "the LRS is being moved")
    assert numbers(compare(bridge)) == {"matched": 3}
    assert shelf.asked_since == [None, None]


def test_a_connection_that_can_t_be_read_back_is_told(bridge: Runtime) -> None:
    with bridge.db.write() as session:
        session.add(tables.Connection(name="crm", connector="scripted_crm", config={}))
    with pytest.raises(Unsupported, match="can't be read back"):
        reconcile(bridge, "crm", actor="boss")
    with pytest.raises(NotFound):
        reconcile(bridge, "nobody", actor="boss")
    with pytest.raises(NotFound):
        repair(bridge, 7, actor="boss")
