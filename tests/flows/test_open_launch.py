"""A link opens only for the person whom it was made for, and looking at it changes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, decide_prompts, open_launch, record_outcome
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import now, tables


@pytest.fixture
def prompt(organised: Runtime, event: Callable[..., BusinessEvent]) -> tables.Prompt:
    accept_event.accept(organised, "desk", [event()])
    decide_prompts.decide(organised)
    with organised.db.read() as session:
        return session.scalars(select(tables.Prompt)).one()


def test_looking_changes_nothing(organised: Runtime, prompt: tables.Prompt) -> None:
    ticket = open_launch.ticket_for(organised, prompt.id)
    for _ in range(3):
        assert open_launch.look(organised, ticket).asset_title == "Pricing for enterprises"
    with organised.db.read() as session:
        assert session.scalar(select(func.count()).select_from(tables.Launch)) == 0
        assert session.scalars(select(tables.Ticket)).one().uses_left == organised.settings.ticket_uses


def test_the_right_person_gets_the_guide_filled_with_the_facts(organised: Runtime, prompt: tables.Prompt) -> None:
    opened = open_launch.open_ticket(organised, open_launch.ticket_for(organised, prompt.id), prompt.person_id or 0)
    assert opened.how == "inline"
    assert "Hooli" in opened.html
    with organised.db.read() as session:
        statement = session.scalars(select(tables.Statement)).one()
        assert statement.verb == "http://adlnet.gov/expapi/verbs/launched"
        assert statement.registration == opened.launch_id


def test_somebody_else_is_refused_and_the_link_is_not_used(organised: Runtime, prompt: tables.Prompt) -> None:
    ticket = open_launch.ticket_for(organised, prompt.id)
    with pytest.raises(Refused) as refused:
        open_launch.open_ticket(organised, ticket, (prompt.person_id or 0) + 1)
    assert refused.value.code == "not_for_you"
    with organised.db.read() as session:
        assert session.scalars(select(tables.Ticket)).one().uses_left == organised.settings.ticket_uses


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"expires_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "ticket_expired"),
        ({"revoked_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "ticket_revoked"),
        ({"uses_left": 0}, "ticket_used_up"),
    ],
)
def test_a_link_that_is_over_says_so_and_what_to_do(
    organised: Runtime, prompt: tables.Prompt, change: dict[str, object], code: str
) -> None:
    ticket = open_launch.ticket_for(organised, prompt.id)
    with organised.db.write() as session:
        row = session.scalars(select(tables.Ticket)).one()
        for name, value in change.items():
            setattr(row, name, value)
    with pytest.raises(Refused, match="Open the prompt again") as refused:
        open_launch.look(organised, ticket)
    assert refused.value.code == code


def test_a_mistyped_link_is_unknown(organised: Runtime) -> None:
    with pytest.raises(Refused) as refused:
        open_launch.look(organised, "A" * 32)
    assert refused.value.code == "ticket_unknown"


def test_an_outcome_that_comes_twice_counts_once(organised: Runtime, prompt: tables.Prompt) -> None:
    opened = open_launch.open_prompt(organised, prompt.id, prompt.person_id or 0)
    first = record_outcome.record(organised, opened.launch_id, source="ags", verb="passed", completed=True, score=0.8)
    again = record_outcome.record(organised, opened.launch_id, source="ags", verb="passed", completed=True, score=0.8)
    assert first == again
    with organised.db.read() as session:
        assert session.scalar(select(func.count()).select_from(tables.Outcome)) == 1
        assert session.get_one(tables.Launch, opened.launch_id).score == 0.8


def test_a_checklist_is_done_when_every_step_is(organised: Runtime, event: Callable[..., BusinessEvent]) -> None:
    accept_event.accept(organised, "desk", [event(id="p", type="desk.project.created", subject="project/1")])
    decide_prompts.decide(organised)
    with organised.db.read() as session:
        prompt = session.scalars(select(tables.Prompt).where(tables.Prompt.offered)).one()
    person = prompt.person_id or 0
    opened = open_launch.open_prompt(organised, prompt.id, person)
    with pytest.raises(Invalid, match="2 steps are not ticked yet"):
        record_outcome.finish(organised, opened.launch_id, person)
    for step in opened.steps:
        record_outcome.tick(organised, opened.launch_id, person, step.id, done=True)
    assert record_outcome.finish(organised, opened.launch_id, person).completed
    with pytest.raises(Invalid, match="no such step"):
        record_outcome.tick(organised, opened.launch_id, person, "nonsense", done=True)
    with pytest.raises(NotFound):
        record_outcome.tick(organised, opened.launch_id, person + 1, opened.steps[0].id, done=True)


def test_tickets_last_as_long_as_the_settings_say(organised: Runtime, prompt: tables.Prompt) -> None:
    open_launch.ticket_for(organised, prompt.id)
    with organised.db.read() as session:
        left = session.scalars(select(tables.Ticket)).one().expires_at - now()
    assert abs(left - dt.timedelta(days=organised.settings.ticket_days)) < dt.timedelta(minutes=1)
