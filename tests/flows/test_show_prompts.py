"""What the widget shows, and how it learns that there is something new."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, decide_prompts, open_launch, record_outcome, show_prompts
from bridge.flows.errors import NotFound
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from tests.flows.conftest import organise

Make = Callable[..., BusinessEvent]


def prompted(runtime: Runtime, *events: BusinessEvent) -> list[tables.Prompt]:
    accept_event.accept(runtime, "desk", events)
    decide_prompts.decide(runtime)
    with runtime.db.read() as session:
        return list(session.scalars(select(tables.Prompt).order_by(tables.Prompt.created_at)))


def test_a_person_sees_their_own_prompts_newest_first(organised: Runtime, event: Make) -> None:
    project = event(id="p", type="desk.project.created", subject="project/1", people={"owner": event().people["owner"]})
    sam = prompted(organised, event(), project)[0].person_id or 0
    shown = show_prompts.open_prompts(organised, sam)
    assert [prompt.created_at for prompt in shown] == sorted((p.created_at for p in shown), reverse=True)
    pricing = next(prompt for prompt in shown if prompt.asset_kind == "guide")
    assert len(shown) == 2
    assert (pricing.title, pricing.say) == ("Pricing for enterprises", "Before you quote Hooli, read this.")
    assert (pricing.how, pricing.duration_seconds, pricing.connection, pricing.state) == ("inline", 90, "desk", "open")
    assert show_prompts.open_prompts(organised, sam + 1) == []
    assert len(show_prompts.open_prompts(organised, sam, limit=1)) == 1


def test_what_is_dismissed_is_not_shown_again_and_what_is_done_says_so(organised: Runtime, event: Make) -> None:
    (prompt,) = prompted(organised, event())
    sam = prompt.person_id or 0
    opened = open_launch.open_prompt(organised, prompt.id, sam)
    record_outcome.finish(organised, opened.launch_id, sam)
    assert [shown.state for shown in show_prompts.open_prompts(organised, sam)] == ["done"]
    for _ in range(2):
        show_prompts.dismiss(organised, prompt.id, sam)
    assert show_prompts.open_prompts(organised, sam) == []


def test_nobody_touches_somebody_elses_prompt(organised: Runtime, event: Make) -> None:
    (prompt,) = prompted(organised, event())
    for touch in (show_prompts.dismiss, show_prompts.mark_shown):
        with pytest.raises(NotFound):
            touch(organised, prompt.id, (prompt.person_id or 0) + 1)
        with pytest.raises(NotFound):
            touch(organised, uuid.uuid4(), prompt.person_id or 0)
    assert len(show_prompts.open_prompts(organised, prompt.person_id or 0)) == 1


def test_that_it_was_shown_is_noted_once(organised: Runtime, event: Make) -> None:
    (prompt,) = prompted(organised, event())
    times = set()
    for _ in range(2):
        show_prompts.mark_shown(organised, prompt.id, prompt.person_id or 0)
        with organised.db.read() as session:
            row = session.scalars(select(tables.Delivery)).one()
        times.add(row.delivered_at)
        assert (row.state, row.due_at) == ("shown", None)
    assert len(times) == 1


def test_the_cursor_moves_with_what_is_new_and_with_nothing_else(organised: Runtime, event: Make) -> None:
    assert show_prompts.latest(organised) == show_prompts.latest(organised)
    cursors = [show_prompts.latest(organised)]
    (prompt,) = prompted(organised, event())
    cursors.append(show_prompts.latest(organised))
    assert show_prompts.latest(organised) == cursors[-1]
    opened = open_launch.open_prompt(organised, prompt.id, prompt.person_id or 0)
    assert show_prompts.latest(organised) == cursors[-1]
    record_outcome.finish(organised, opened.launch_id, prompt.person_id or 0)
    cursors.append(show_prompts.latest(organised))
    another = open_launch.open_prompt(organised, prompt.id, prompt.person_id or 0)
    earlier = now() - dt.timedelta(seconds=20)  # an LTI tool says when it was passed, by its own clock
    record_outcome.record(
        organised, another.launch_id, source="ags", verb="passed", completed=True, occurred_at=earlier
    )
    cursors.append(show_prompts.latest(organised))
    assert len(set(cursors)) == 4


@pytest.mark.postgres
def test_what_is_committed_late_moves_the_cursor_as_well(
    pg_runtime: Runtime, guides: Path, tmp_path: Path, event: Make
) -> None:
    """Two workers decide at once; the one who began first commits last."""
    organise(pg_runtime, guides, tmp_path)
    accepted = accept_event.accept(pg_runtime, "desk", [event(id="slow"), event(id="quick")])
    before = show_prompts.latest(pg_runtime)
    with pg_runtime.db.write() as slow:
        rule_id = slow.scalars(select(tables.Rule.id)).first()
        parts = {"rule_id": rule_id, "rule_version": 1, "offered": True, "reason": "offered"}
        slow.add(tables.Prompt(id=uuid.uuid4(), event_id=accepted[0].id, **parts))
        slow.flush()
        with pg_runtime.db.write() as quick:
            quick.add(tables.Prompt(id=uuid.uuid4(), event_id=accepted[1].id, **parts))
        between = show_prompts.latest(pg_runtime)
    assert len({before, between, show_prompts.latest(pg_runtime)}) == 3
