"""What the console tells is what is in the tables: counts of the right day, every decision once, and no secret."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import accept_event, configure, decide_prompts, open_launch, record_outcome
from bridge.flows.errors import NotFound
from bridge.flows.overview import assets, attention, connections, decisions, overview
from bridge.flows.overview.decisions import Cursor, Wanted
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from tests.flows.conftest import SECRET

Make = Callable[..., BusinessEvent]


def happen(runtime: Runtime, *events: BusinessEvent) -> None:
    accept_event.accept(runtime, "desk", events)
    decide_prompts.decide(runtime)


def complete(runtime: Runtime) -> None:
    with runtime.db.read() as session:
        prompt = session.scalars(select(tables.Prompt).where(tables.Prompt.offered)).first()
    assert prompt is not None
    opened = open_launch.open_prompt(runtime, prompt.id, prompt.person_id or 0)
    record_outcome.finish(runtime, opened.launch_id, prompt.person_id or 0)


def test_today_counts_what_happened_today(organised: Runtime, event: Make) -> None:
    happen(organised, event(), event(id="2", subject="opportunity/2", data={"amount": 1}))
    complete(organised)
    today = overview(organised).today
    assert (today.events, today.offered, today.against, today.opened, today.completed) == (2, 1, 1, 1, 1)


def test_each_day_has_its_own_numbers_in_utc(organised: Runtime, event: Make) -> None:
    happen(organised, *(event(id=str(n), subject=f"opportunity/{n}") for n in range(3)))
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [midnight, midnight - dt.timedelta(microseconds=1), midnight - dt.timedelta(days=14)]
    with organised.db.write() as session:
        for prompt, at in zip(session.scalars(select(tables.Prompt)), moments, strict=True):
            prompt.created_at = at
    days = overview(organised).days
    assert len(days) == 14
    assert [day.offered for day in days] == [0] * 12 + [1, 1]
    assert days[-1].day == midnight.date()


@pytest.mark.postgres
def test_the_numbers_are_the_same_on_postgresql(pg_runtime: Runtime, guides: Path, tmp_path: Path, event: Make) -> None:
    from tests.flows.conftest import organise

    organise(pg_runtime, guides, tmp_path)
    happen(pg_runtime, event(), event(id="2", people={"owner": PersonRef(id="newcomer")}))
    complete(pg_runtime)
    shown = overview(pg_runtime)
    assert (shown.days[-1].offered, shown.days[-1].completed, shown.unmatched) == (1, 1, 1)
    assert [row.state for row in connections.listing(pg_runtime)] == ["works", "works"]
    assert [row.offered for row in decisions.decisions(pg_runtime, Wanted(person="SAM"))[0]] == [True]
    assert attention.strangers(pg_runtime)[0].account_id == "newcomer"
    assert decisions.chain(pg_runtime, attention.strangers(pg_runtime)[0].event_id)["data"]["amount"] == 250_000


def test_work_that_nobody_does_is_told(organised: Runtime, event: Make) -> None:
    accept_event.accept(organised, "desk", [event()])
    assert [(q.key, q.waiting, q.late) for q in overview(organised).queues if q.waiting] == [("decide", 1, None)]
    long_ago = now() - dt.timedelta(minutes=5)
    with organised.db.write() as session:
        session.scalars(select(tables.Event)).one().due_at = long_ago
    assert [q.late for q in overview(organised).queues if q.waiting] == [long_ago]


def test_an_event_on_which_the_rules_fail_is_told_with_the_words(
    organised: Runtime, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide_prompts, "decide_on", lambda *_: 1 / 0)
    happen(organised, event())
    (stuck,) = overview(organised).stuck
    assert (stuck.subject, stuck.words) == ("opportunity/42", "ZeroDivisionError: division by zero")
    assert decisions.chain(organised, stuck.event_id)["error"] == stuck.words


def test_a_problem_of_a_connection_comes_first(organised: Runtime) -> None:
    assert [row.name for row in connections.listing(organised)] == ["desk", "guides"]
    assert overview(organised).troubled == ()
    with organised.db.write() as session:
        guides = session.scalars(select(tables.Connection).where(tables.Connection.name == "guides")).one()
        guides.problem = "the folder is gone"
    assert [(row.name, row.state) for row in connections.listing(organised)] == [
        ("guides", "problem"),
        ("desk", "works"),
    ]
    assert [row.problem for row in overview(organised).troubled] == ["the folder is gone"]


def test_a_connector_that_is_not_installed_is_a_problem_and_shows_no_setting(organised: Runtime) -> None:
    with organised.db.write() as session:
        desk = session.scalars(select(tables.Connection).where(tables.Connection.name == "desk")).one()
        desk.connector = "gone"
    shown = connections.detail(organised, "desk")
    assert shown.row.state == "problem"
    assert "there is no connector 'gone'" in shown.row.problem
    assert "http://desk.test" not in shown.yaml


def test_the_settings_are_shown_without_a_secret(organised: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "lrs.yaml"
    settings = "endpoint: 'http://lrs.test', key: flowbridge, secret: 'env:LRS_SECRET'"
    file.write_text(f"connections: [{{name: records, connector: lrs, config: {{{settings}}}}}]")
    configure.apply(organised, file)
    desk = connections.detail(organised, "desk").yaml
    assert "(hidden)" in desk
    assert "http://desk.test" in desk
    for secret in (SECRET, "encrypted:", "a sign-in secret"):
        assert secret not in desk
    assert "secret: env:LRS_SECRET" in connections.detail(organised, "records").yaml
    with pytest.raises(NotFound):
        connections.detail(organised, "nothing")


def test_pages_of_decisions_show_each_one_once_also_when_they_are_of_one_moment(
    organised: Runtime, event: Make
) -> None:
    happen(organised, *(event(id=str(n), subject=f"opportunity/{n}") for n in range(7)))
    moment = now()
    with organised.db.write() as session:
        for prompt in session.scalars(select(tables.Prompt)):
            prompt.created_at = moment
    seen, after = [], None
    while True:
        page, following = decisions.decisions(organised, Wanted(), after=after, limit=3)
        seen += [row.id for row in page]
        if following is None:
            break
        after = Cursor.read(str(following))
        assert after == following
        happen(organised, event(id=f"new-{len(seen)}", subject=f"new/{len(seen)}"))
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize("text", ["", "nonsense", "2026-01-01_", "_", "2026-01-01T00:00:00_nonsense"])
def test_a_cursor_that_is_none_is_the_first_page(text: str) -> None:
    assert Cursor.read(text) is None


@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        (Wanted(offered=True), ["opportunity/1", "project/1"]),
        (Wanted(offered=False), ["opportunity/2", "opportunity/3"]),
        (Wanted(reason="person_unknown"), ["opportunity/3"]),
        (Wanted(rule="stakeholder-risk"), ["project/1"]),
        (Wanted(rule="no-such-rule"), []),
        (Wanted(person="seller"), ["opportunity/1", "opportunity/2"]),
        (Wanted(person="priya@"), ["project/1"]),
        (Wanted(person="%"), []),
        (Wanted(offered=True, person="E002"), ["project/1"]),
    ],
)
def test_decisions_are_found(organised: Runtime, event: Make, wanted: Wanted, subjects: list[str]) -> None:
    happen(
        organised,
        event(id="1", subject="opportunity/1"),
        event(id="2", subject="opportunity/2", data={"amount": 1}),
        event(id="3", subject="opportunity/3", people={"owner": PersonRef(id="newcomer")}),
        event(id="4", subject="project/1", type="desk.project.created", people={"owner": PersonRef(id="priya")}),
    )
    found, _ = decisions.decisions(organised, wanted)
    assert sorted(row.subject for row in found) == subjects


def test_a_rule_counts_its_decisions_of_the_week(organised: Runtime, event: Make) -> None:
    happen(organised, event(), event(id="2"), event(id="3", subject="opportunity/3", data={"amount": 1}))
    happen(organised, event(id="old", subject="opportunity/old"))
    with organised.db.write() as session:
        old = session.scalars(select(tables.Prompt).where(tables.Prompt.subject == "opportunity/old")).one()
        old.created_at -= dt.timedelta(days=8)
    row = decisions.rule_row(organised, "enterprise-pricing")
    assert dict(row.counts) == {"already_prompted": 1, "condition_false": 1, "offered": 1}
    assert (row.offered, row.against, row.asset_title) == (1, 2, "Pricing for enterprises")
    assert [row.rule.name for row in decisions.rule_rows(organised)] == ["enterprise-pricing", "stakeholder-risk"]


def test_the_chain_of_an_event_ends_in_what_waits(organised: Runtime, event: Make, tmp_path: Path) -> None:
    file = tmp_path / "lrs.yaml"
    file.write_text(
        "connections: [{name: records, connector: lrs, config: {endpoint: 'http://lrs.test', token: known}}]"
    )
    configure.apply(organised, file)
    happen(organised, event())
    complete(organised)
    with organised.db.read() as session:
        event_id = session.scalars(select(tables.Event.id)).one()
    chain = decisions.chain(organised, event_id)
    (launch,) = chain["prompts"][0]["launches"]
    assert [statement["verb"].rsplit("/", 1)[-1] for statement in launch["statements"]] == ["launched", "completed"]
    assert {tuple(names) for names in chain["waiting"].values()} == {("records",)}
    assert chain["people"]["owner"]["id"] == "sam"


def test_one_account_is_one_entry_of_the_queue_and_an_address_is_one_each(organised: Runtime, event: Make) -> None:
    newcomer, twins = PersonRef(id="newcomer"), PersonRef(email="twins@example.com")
    happen(organised, *(event(id=f"n{n}", subject=f"n/{n}", people={"owner": newcomer}) for n in range(3)))
    happen(organised, *(event(id=f"t{n}", subject=f"t/{n}", people={"owner": twins}) for n in range(2)))
    entries = attention.strangers(organised)
    assert [(entry.account_id or entry.email, entry.waiting) for entry in entries] == [
        ("twins@example.com", 1),
        ("twins@example.com", 1),
        ("newcomer", 3),
    ]
    assert [known.name for known in entries[0].candidates] == ["Twin One", "Twin Two"]
    assert attention.waiting_people(organised) == 5


@pytest.mark.parametrize(
    ("words", "keys"), [("", []), ("sam", ["E001"]), ("twin two", ["E004"]), ("priya", ["E002"]), ("_", [])]
)
def test_people_are_found_by_every_word(organised: Runtime, words: str, keys: list[str]) -> None:
    assert [known.key for known in attention.find_people(organised, words)] == keys


def test_the_catalogue_is_searched_by_words_and_kind(organised: Runtime, guides: Path) -> None:
    assert [row.title for row in assets.listing(organised, q="risk")] == ["Stakeholder risk in two minutes"]
    assert [row.kind for row in assets.listing(organised, kind="guide")] == ["guide"]
    assert assets.listing(organised, retired=True) == []
