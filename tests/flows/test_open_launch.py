"""A link opens only for the person whom it was made for, and looking at it changes nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, decide_prompts, open_launch, record_outcome, sync_catalogue
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from tests.flows.conftest import organise


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


@pytest.mark.parametrize("over", [{"expires_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, {"uses_left": 0}])
def test_a_link_that_is_over_begins_anew_where_the_prompt_is_shown(
    organised: Runtime, prompt: tables.Prompt, over: dict[str, object]
) -> None:
    ticket = open_launch.ticket_for(organised, prompt.id)
    with organised.db.write() as session:
        for name, value in over.items():
            setattr(session.scalars(select(tables.Ticket)).one(), name, value)
    assert open_launch.ticket_for(organised, prompt.id) == ticket
    assert open_launch.open_ticket(organised, ticket, prompt.person_id or 0).how == "inline"
    open_launch.revoke(organised, prompt.id, actor="test")
    assert open_launch.ticket_for(organised, prompt.id) == ticket
    with pytest.raises(Refused) as refused:
        open_launch.look(organised, ticket)
    assert refused.value.code == "ticket_revoked", "what was taken back stays taken back"


def test_each_opening_uses_a_link_once_and_begins_a_launch_of_its_own(
    organised: Runtime, prompt: tables.Prompt
) -> None:
    ticket = open_launch.ticket_for(organised, prompt.id)
    launches = {open_launch.open_ticket(organised, ticket, prompt.person_id or 0).launch_id for _ in range(3)}
    assert len(launches) == 3
    with organised.db.read() as session:
        left = session.scalars(select(tables.Ticket)).one().uses_left
    assert left == organised.settings.ticket_uses - 3


def test_what_left_its_catalogue_after_the_prompt_says_so(
    organised: Runtime, prompt: tables.Prompt, guides: Path
) -> None:
    (guides / "pricing.md").unlink()
    sync_catalogue.sync(organised, "guides")
    with pytest.raises(Refused, match="Ask your LMS admin what replaces it") as refused:
        open_launch.open_prompt(organised, prompt.id, prompt.person_id or 0)
    assert refused.value.code == "asset_retired"


def test_help_that_was_broken_while_it_was_open_says_so(
    organised: Runtime, prompt: tables.Prompt, guides: Path
) -> None:
    opened = open_launch.open_prompt(organised, prompt.id, prompt.person_id or 0)
    (guides / "pricing.md").write_text((guides / "pricing.md").read_text().replace("}}", ""))
    sync_catalogue.sync(organised, "guides")
    with pytest.raises(Refused, match="Tell your LMS admin") as refused:
        open_launch.launch_page(organised, opened.launch_id, prompt.person_id or 0)
    assert refused.value.code == "asset_unreadable"


def test_only_what_was_read_here_can_be_finished_by_hand(organised: Runtime, prompt: tables.Prompt) -> None:
    """A quiz or a course elsewhere reports by itself: nobody may say that they have passed it."""
    with organised.db.write() as session:
        asset = session.get_one(tables.Asset, prompt.asset_id)
        asset.opening = {"how": "link", "url": "http://lms.test/course/1"}
    opened = open_launch.open_prompt(organised, prompt.id, prompt.person_id or 0)
    assert opened.url == "http://lms.test/course/1"
    with pytest.raises(Refused) as refused:
        record_outcome.finish(organised, opened.launch_id, prompt.person_id or 0)
    assert refused.value.code == "not_by_hand"
    with organised.db.read() as session:
        assert session.get_one(tables.Launch, opened.launch_id).completed_at is None


def on_each(runtime: Runtime, guides: Path, tmp_path: Path, event: BusinessEvent) -> tables.Prompt:
    organise(runtime, guides, tmp_path)
    accept_event.accept(runtime, "desk", [event])
    decide_prompts.decide(runtime)
    with runtime.db.read() as session:
        return session.scalars(select(tables.Prompt).where(tables.Prompt.offered)).one()


def test_two_steps_that_are_ticked_at_once_both_count(
    each_runtime: Runtime, guides: Path, tmp_path: Path, event: Callable[..., BusinessEvent]
) -> None:
    steps = "".join(f"- [ ] Step {number}\n" for number in range(12))
    (guides / "stakeholders.md").write_text(f"---\ntitle: Stakeholder risk\nkind: checklist\n---\n{steps}")
    prompt = on_each(each_runtime, guides, tmp_path, event(type="desk.project.created"))
    opened = open_launch.open_prompt(each_runtime, prompt.id, prompt.person_id or 0)
    with ThreadPoolExecutor(12) as pool:
        for done in [
            pool.submit(record_outcome.tick, each_runtime, opened.launch_id, prompt.person_id or 0, step.id, done=True)
            for step in opened.steps
        ]:
            done.result(30)
    page = open_launch.launch_page(each_runtime, opened.launch_id, prompt.person_id or 0)
    assert [step.done for step in page.steps] == [True] * 12


def test_a_link_that_is_asked_for_by_many_at_once_is_one(
    each_runtime: Runtime, guides: Path, tmp_path: Path, event: Callable[..., BusinessEvent]
) -> None:
    prompt = on_each(each_runtime, guides, tmp_path, event())
    with ThreadPoolExecutor(12) as pool:
        tickets = set(pool.map(lambda _: open_launch.ticket_for(each_runtime, prompt.id), range(12)))
    assert len(tickets) == 1


def test_an_outcome_that_comes_twice_at_once_counts_once(
    each_runtime: Runtime, guides: Path, tmp_path: Path, event: Callable[..., BusinessEvent]
) -> None:
    prompt = on_each(each_runtime, guides, tmp_path, event())
    opened = open_launch.open_prompt(each_runtime, prompt.id, prompt.person_id or 0)

    def record(_: int) -> uuid.UUID:
        return record_outcome.record(each_runtime, opened.launch_id, source="ags", verb="passed", completed=True)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(record, range(8)))) == 1
    with each_runtime.db.read() as session:
        assert session.scalar(select(func.count()).select_from(tables.Outcome)) == 1
