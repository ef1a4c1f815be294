"""An admin's answer makes the decision that could not be made, once, and an address alone teaches nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import accept_event, configure, decide_prompts, resolve_person
from bridge.flows.errors import NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import tables

Make = Callable[..., BusinessEvent]
STRANGER = {"owner": PersonRef(id="newcomer", email="newcomer@example.com")}
TWINS = {"owner": PersonRef(email="twins@example.com")}


def happen(runtime: Runtime, *events: BusinessEvent) -> None:
    accept_event.accept(runtime, "desk", events)
    decide_prompts.decide(runtime)


def waiting(runtime: Runtime) -> list[uuid.UUID]:
    with runtime.db.read() as session:
        rows = select(tables.Unmatched.prompt_id).where(tables.Unmatched.resolved_at.is_(None))
        return list(session.scalars(rows.order_by(tables.Unmatched.created_at)))


def offered(runtime: Runtime) -> list[tuple[str, str]]:
    """(person's key, record) of every prompt."""
    with runtime.db.read() as session:
        prompts = session.scalars(select(tables.Prompt).where(tables.Prompt.offered)).all()
        return sorted((p.person.key if p.person else "", p.subject) for p in prompts)


def account(runtime: Runtime, subject: str) -> str | None:
    with runtime.db.read() as session:
        found = session.get(tables.Account, ("desk", subject))
        return found.person.key if found else None


def answer(runtime: Runtime, key: str, prompt_id: uuid.UUID | None = None) -> resolve_person.Resolved:
    return resolve_person.resolve(runtime, prompt_id or waiting(runtime)[0], key, actor="admin")


def test_the_prompt_is_made_as_if_the_person_had_been_known(organised: Runtime, event: Make) -> None:
    nudged: list[str] = []
    organised.nudge = nudged.append
    happen(organised, event(people=STRANGER))
    nudged.clear()
    assert answer(organised, "E003") == resolve_person.Resolved(settled=1, offered=1, account_added=True)
    assert (offered(organised), waiting(organised)) == ([("E003", "opportunity/42")], [])
    assert account(organised, "newcomer") == "E003"
    assert nudged == ["deliver"]
    with organised.db.read() as session:
        prompt = session.scalars(select(tables.Prompt).where(tables.Prompt.offered)).one()
        assert prompt.say == "Before you quote Hooli, read this."
        assert [d.channel for d in session.scalars(select(tables.Delivery))] == ["widget"]
        audit = session.scalars(select(tables.Audit).where(tables.Audit.action == "person.resolve")).one()
    assert (audit.actor, audit.subject, audit.detail["account"]) == ("admin", "E003", "newcomer")


def test_what_was_decided_before_stays_in_the_history(organised: Runtime, event: Make) -> None:
    happen(organised, event(people=STRANGER))
    answer(organised, "E003")
    with organised.db.read() as session:
        reasons = session.scalars(select(tables.Prompt.reason).order_by(tables.Prompt.created_at)).all()
    assert list(reasons) == ["person_unknown", "offered"]


def test_one_answer_settles_every_decision_that_waits_for_the_account(organised: Runtime, event: Make) -> None:
    happen(organised, *(event(id=str(n), subject=f"opportunity/{n}", people=STRANGER) for n in range(3)))
    resolved = answer(organised, "E003")
    assert (resolved.settled, resolved.offered, waiting(organised)) == (3, 3, [])
    happen(organised, event(id="next", subject="opportunity/next", people=STRANGER))
    assert len(offered(organised)) == 4


def test_a_second_answer_changes_nothing(organised: Runtime, event: Make) -> None:
    happen(organised, event(people=STRANGER))
    (prompt_id,) = waiting(organised)
    answer(organised, "E003", prompt_id)
    for key in ("E003", "E004", ""):
        assert answer(organised, key, prompt_id) == resolve_person.Resolved(settled=0)
    assert offered(organised) == [("E003", "opportunity/42")]
    assert account(organised, "newcomer") == "E003"


def test_an_address_counts_once_and_teaches_nothing(organised: Runtime, event: Make) -> None:
    happen(organised, event(people=TWINS), event(id="2", subject="opportunity/2", people=TWINS))
    resolved = answer(organised, "E004")
    assert resolved == resolve_person.Resolved(settled=1, offered=1, account_added=False)
    assert offered(organised) == [("E004", "opportunity/42")]
    assert len(waiting(organised)) == 1
    happen(organised, event(id="3", subject="opportunity/3", people=TWINS))
    assert len(waiting(organised)) == 2
    with organised.db.read() as session:
        assert {row.subject for row in session.scalars(select(tables.Account))} == {"sam", "priya"}


def test_somebody_with_another_account_there_is_refused(organised: Runtime, event: Make) -> None:
    happen(organised, event(people={"owner": PersonRef(id="samantha", email="sam@example.com")}))
    with pytest.raises(Refused, match=r"Sam Seller is known in 'desk' as 'sam' already") as refused:
        answer(organised, "E001")
    assert refused.value.code == "other_account"
    assert (offered(organised), len(waiting(organised)), account(organised, "samantha")) == ([], 1, None)


def test_an_account_that_has_found_its_person_meanwhile_goes_to_no_other(
    organised: Runtime, event: Make, tmp_path: Path
) -> None:
    happen(organised, event(people=STRANGER))
    more = tmp_path / "people.yaml"
    more.write_text("people: [{key: E009, name: Nell Newcomer, accounts: {desk: newcomer}}]")
    configure.apply(organised, more)
    with pytest.raises(Refused, match=r"belongs to Nell Newcomer by now"):
        answer(organised, "E003")
    assert answer(organised, "E009") == resolve_person.Resolved(settled=1, offered=1, account_added=False)


def test_nobody_settles_it_without_a_prompt(organised: Runtime, event: Make) -> None:
    happen(organised, event(people=STRANGER))
    assert answer(organised, "") == resolve_person.Resolved(settled=1)
    assert (offered(organised), waiting(organised), account(organised, "newcomer")) == ([], [], None)
    with organised.db.read() as session:
        assert session.scalars(select(tables.Audit).where(tables.Audit.subject == "nobody")).one().actor == "admin"


def test_the_limits_of_the_rule_hold(organised: Runtime, event: Make) -> None:
    happen(organised, event(id="a", people=STRANGER), event(id="b", people=STRANGER))
    assert answer(organised, "E003").offered == 1
    with organised.db.read() as session:
        made = select(tables.Prompt.reason).where(tables.Prompt.person_id.is_not(None))
        assert sorted(session.scalars(made)) == ["already_prompted", "offered"]


def test_a_rule_that_was_switched_off_makes_no_prompt(organised: Runtime, event: Make) -> None:
    happen(organised, event(people=STRANGER))
    with organised.db.write() as session:
        for rule in session.scalars(select(tables.Rule)):
            rule.enabled = False
    resolved = answer(organised, "E003")
    assert (resolved.settled, resolved.offered, offered(organised)) == (1, 0, [])


def test_what_is_not_there_is_said(organised: Runtime, event: Make) -> None:
    happen(organised, event(people=STRANGER))
    with pytest.raises(NotFound, match="E999"):
        answer(organised, "E999")
    with pytest.raises(NotFound):
        answer(organised, "E001", uuid.uuid4())
    assert len(waiting(organised)) == 1


@pytest.mark.postgres
def test_two_admins_who_answer_at_once_make_one_prompt(
    pg_runtime: Runtime, guides: Path, tmp_path: Path, event: Make
) -> None:
    from tests.flows.conftest import organise

    organise(pg_runtime, guides, tmp_path)
    happen(pg_runtime, *(event(id=str(n), subject=f"opportunity/{n}", people=STRANGER) for n in range(4)))
    with ThreadPoolExecutor(4) as pool:
        resolved = list(pool.map(lambda prompt_id: answer(pg_runtime, "E003", prompt_id), waiting(pg_runtime)))
    assert sum(item.settled for item in resolved) == sum(item.offered for item in resolved) == 4
    assert len(offered(pg_runtime)) == 4
    with pg_runtime.db.read() as session:
        assert session.scalar(select(func.count()).select_from(tables.Delivery)) == 4
