"""Every decision is kept with its reason, and nobody is ever guessed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import accept_event, decide_prompts, open_launch, record_outcome, sync_catalogue
from bridge.flows.runtime import Runtime
from bridge.store import tables

Make = Callable[..., BusinessEvent]


def decided(runtime: Runtime, *events: BusinessEvent) -> list[tables.Prompt]:
    accept_event.accept(runtime, "desk", events)
    decide_prompts.decide(runtime)
    with runtime.db.read() as session:
        return list(session.scalars(select(tables.Prompt).order_by(tables.Prompt.created_at)))


def test_a_matching_event_becomes_one_prompt_with_its_delivery(organised: Runtime, event: Make) -> None:
    (prompt,) = decided(organised, event())
    assert (prompt.offered, prompt.reason) == (True, "offered")
    assert prompt.say == "Before you quote Hooli, read this."
    with organised.db.read() as session:
        (delivery,) = session.scalars(select(tables.Delivery))
        assert (delivery.prompt_id, delivery.channel) == (prompt.id, "widget")


def test_an_event_that_comes_twice_is_decided_once(organised: Runtime, event: Make) -> None:
    first = accept_event.accept(organised, "desk", [event()])
    second = accept_event.accept(organised, "desk", [event()])
    assert [first[0].duplicate, second[0].duplicate] == [False, True]
    assert first[0].id == second[0].id
    assert len(decided(organised)) == 1


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        ({"amount": 99_999, "customer": "Hooli"}, "condition_false", "event.data.amount > 100000"),
        ({"customer": "Hooli"}, "condition_failed", "amount"),
        ({"amount": "many", "customer": "Hooli"}, "condition_failed", ""),
        ({"amount": 250_000}, "template_failed", "customer"),
    ],
)
def test_a_no_is_kept_with_its_reason(
    organised: Runtime, event: Make, data: dict[str, object], reason: str, words: str
) -> None:
    (prompt,) = decided(organised, event(data=data))
    assert (prompt.offered, prompt.reason) == (False, reason)
    assert words in prompt.detail


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        (PersonRef(id="nobody"), "person_unknown"),
        (PersonRef(email="stranger@example.com"), "person_unknown"),
        (PersonRef(email="twins@example.com"), "person_ambiguous"),
        # The address is Sam's, but Sam has another account in this system: two people may be meant.
        (PersonRef(id="samantha", email="sam@example.com"), "person_ambiguous"),
    ],
)
def test_a_person_who_is_not_sure_waits_in_the_queue(
    organised: Runtime, event: Make, ref: PersonRef, reason: str
) -> None:
    (prompt,) = decided(organised, event(people={"owner": ref}))
    assert (prompt.offered, prompt.reason, prompt.person_id) == (False, reason, None)
    with organised.db.read() as session:
        (waiting,) = session.scalars(select(tables.Unmatched))
        assert (waiting.account_id, waiting.email, waiting.resolved_at) == (ref.id, ref.email, None)


def test_an_unknown_person_of_an_event_that_does_not_matter_is_not_queued(organised: Runtime, event: Make) -> None:
    (prompt,) = decided(organised, event(people={"owner": PersonRef(id="nobody")}, data={"amount": 1}))
    assert prompt.reason == "condition_false"
    with organised.db.read() as session:
        assert session.scalars(select(tables.Unmatched)).all() == []


def test_an_address_alone_is_enough_when_only_one_person_has_it(organised: Runtime, event: Make) -> None:
    (prompt,) = decided(organised, event(people={"owner": PersonRef(email="Sam@Example.com")}))
    assert prompt.offered


def test_an_event_without_that_role_says_whom_it_names(organised: Runtime, event: Make) -> None:
    (prompt,) = decided(organised, event(people={"actor": PersonRef(id="sam")}))
    assert prompt.reason == "person_missing"
    assert "actor" in prompt.detail


def test_once_per_object_lets_another_object_through(organised: Runtime, event: Make) -> None:
    prompts = decided(organised, event(id="a"), event(id="b"), event(id="c", subject="opportunity/43"))
    assert sorted(p.reason for p in prompts) == ["already_prompted", "offered", "offered"]


def test_what_was_completed_lately_is_not_offered_again(organised: Runtime, event: Make) -> None:
    project = {"type": "desk.project.created", "people": {"owner": PersonRef(id="priya")}, "data": {}}
    (first,) = decided(organised, event(id="p1", subject="project/1", **project))
    with organised.db.write() as session:
        prompt = session.get_one(tables.Prompt, first.id)
        person_id = prompt.person_id or 0
        prompt.created_at -= dt.timedelta(days=30)
        prompt.rule_id = session.scalars(select(tables.Rule.id).where(tables.Rule.name == "enterprise-pricing")).one()
    opened = open_launch.open_prompt(organised, first.id, person_id)
    for step in opened.steps:
        record_outcome.tick(organised, opened.launch_id, person_id, step.id, done=True)
    record_outcome.finish(organised, opened.launch_id, person_id)
    again = decided(organised, event(id="p2", subject="project/2", **project))
    assert again[-1].reason == "already_completed"


def test_an_asset_that_left_its_catalogue_is_not_offered(organised: Runtime, event: Make, guides: Path) -> None:
    (guides / "pricing.md").unlink()
    sync_catalogue.sync(organised, "guides")
    (prompt,) = decided(organised, event())
    assert prompt.reason == "asset_retired"


@pytest.mark.postgres
def test_two_workers_prompt_a_person_once_on_postgresql(
    pg_runtime: Runtime, guides: Path, tmp_path: Path, event: Make
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tests.flows.conftest import organise

    organise(pg_runtime, guides, tmp_path)
    for number in range(20):
        accept_event.accept(pg_runtime, "desk", [event(id=f"e{number}")])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: decide_prompts.decide(pg_runtime), range(4)))
    with pg_runtime.db.read() as session:
        reasons = session.scalars(select(tables.Prompt.reason)).all()
    assert sorted(reasons).count("offered") == 1
    assert len(reasons) == 20


def test_an_event_that_nobody_can_decide_on_keeps_nobody_else_waiting(
    organised: Runtime, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide_on = decide_prompts.decide_on

    def broken(session: Session, row: tables.Event) -> bool:
        if row.external_id == "poison":
            raise ZeroDivisionError("a fault")
        return decide_on(session, row)

    monkeypatch.setattr(decide_prompts, "decide_on", broken)
    prompts = decided(organised, event(id="poison"), event(id="fine"))
    assert [prompt.reason for prompt in prompts] == ["offered"]
    with organised.db.read() as session:
        row = session.scalars(select(tables.Event).where(tables.Event.external_id == "poison")).one()
    assert (row.decided_at, row.lease, row.error) == (None, None, "ZeroDivisionError: a fault")
    assert row.due_at is not None, "it is tried again later"


def test_a_search_never_offers_what_can_not_be_opened(organised: Runtime, event: Make, guides: Path) -> None:
    broken = (guides / "stakeholders.md").read_text().replace("in two minutes", "in one") + "{% broken"
    (guides / "a-broken.md").write_text(broken)
    sync_catalogue.sync(organised, "guides")
    (prompt,) = decided(organised, event(type="desk.project.created"))
    assert prompt.offered, prompt.detail
    with organised.db.read() as session:
        assert session.get_one(tables.Asset, prompt.asset_id).external_id == "stakeholders.md"
