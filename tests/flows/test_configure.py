"""Configuration as code: what is wrong is told with its place, and nothing changes unless all of it is right."""

# ruff: noqa: E501 - a table of mistakes reads best with one in a line

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, text

from bridge.documents import DocumentError
from bridge.flows import configure, setup
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from bridge.store import tables
from tests.flows.conftest import SECRET
from tests.flows.scripted import Script

BASE = """\
connections:
  - name: desk
    connector: webhook
    config:
      secrets: [SECRET]
      bearer: env:DESK_BEARER
  - name: lms
    connector: moodle
    config: {base_url: "https://lms.example.com", token: "a token in clear"}
people:
  - key: E001
    name: Sam Seller
    email: Sam@Example.com
    accounts: {desk: sam}
    attributes: {team: emea}
rules:
  - name: pricing
    on: desk.opportunity.created
    when: event.data.amount > 100000
    for: owner
    offer: {asset: "lms/course:4"}
    say: Read {{ asset.title }}.
    limits: {once_per: person, cool_down: 36h, skip_if_completed_within: 90d}
""".replace("SECRET", SECRET)


def write(tmp_path: Path, content: str, name: str = "bridge.yaml") -> Path:
    file = tmp_path / name
    file.write_text(content)
    return file


def applied(runtime: Runtime, tmp_path: Path, content: str, **how: bool) -> configure.Plan:
    return configure.apply(runtime, write(tmp_path, content), **how)


def refused(runtime: Runtime, tmp_path: Path, content: str) -> list[str]:
    with pytest.raises(DocumentError) as wrong:
        applied(runtime, tmp_path, content)
    return wrong.value.problems


def all_rows(runtime: Runtime) -> dict[str, list[tuple[object, ...]]]:
    with runtime.db.read() as session:
        return {
            table.name: sorted(map(tuple, session.execute(select(table))), key=str)
            for table in tables.Base.metadata.sorted_tables
        }


def everything_stored(runtime: Runtime) -> str:
    """The database as whoever steals it reads it."""
    with runtime.db.read() as session:
        names = session.scalars(text("select name from sqlite_master where type = 'table'")).all()
        return "\n".join(str(row) for name in names for row in session.execute(text(f'select * from "{name}"')))


def test_what_is_new_is_added_and_a_second_time_changes_nothing(runtime: Runtime, tmp_path: Path) -> None:
    plan = applied(runtime, tmp_path, BASE)
    assert [(c.action, c.kind, c.name) for c in plan.changes] == [
        ("add", "connection", "desk"),
        ("add", "connection", "lms"),
        ("add", "person", "E001"),
        ("add", "rule", "pricing"),
    ]
    before = all_rows(runtime)
    again = applied(runtime, tmp_path, BASE)
    assert (again.changes, again.unchanged) == ((), 4)
    assert all_rows(runtime) == before, "not even an audit row"


def test_a_change_shows_the_difference_and_counts_the_rules_version(runtime: Runtime, tmp_path: Path) -> None:
    applied(runtime, tmp_path, BASE)
    changed = BASE.replace("100000", "50000").replace("emea", "apac").replace("lms.example.com", "lms2.example.com")
    plan = applied(runtime, tmp_path, changed)
    lines = {change.name: change.lines for change in plan.changes}
    assert {(c.action, c.name) for c in plan.changes} == {("change", "lms"), ("change", "E001"), ("change", "pricing")}
    assert lines["pricing"] == ("- when: event.data.amount > 100000", "+ when: event.data.amount > 50000")
    assert lines["E001"] == ("-   team: emea", "+   team: apac")
    assert plan.unchanged == 1
    with runtime.db.read() as session:
        assert session.scalars(select(tables.Rule.version)).one() == 2


def test_a_dry_run_shows_the_same_and_changes_nothing(runtime: Runtime, tmp_path: Path) -> None:
    applied(runtime, tmp_path, BASE)
    before = all_rows(runtime)
    changed = BASE.replace("100000", "50000") + "  - {name: new, on: x, offer: {search: risk}, say: Hi.}\n"
    shown = applied(runtime, tmp_path, changed, dry_run=True)
    assert [(c.action, c.name) for c in shown.changes] == [("change", "pricing"), ("add", "new")]
    assert all_rows(runtime) == before
    assert applied(runtime, tmp_path, changed) == shown


def test_who_changed_what_is_audited_without_values(runtime: Runtime, tmp_path: Path) -> None:
    configure.apply(runtime, write(tmp_path, BASE), actor="E007")
    with runtime.db.read() as session:
        audit = session.scalars(select(tables.Audit).order_by(tables.Audit.id.desc())).first()
    assert audit is not None
    assert (audit.actor, audit.action, audit.subject) == ("E007", "configuration.apply", "bridge.yaml")
    assert audit.detail == {
        "changes": ["add connection desk", "add connection lms", "add person E001", "add rule pricing"]
    }


def test_what_is_not_mentioned_stays(runtime: Runtime, tmp_path: Path) -> None:
    applied(runtime, tmp_path, BASE)
    applied(runtime, tmp_path, "people: [{key: E002, name: Priya}]")
    assert configure.export(runtime).count("- name:") == 3


def test_a_folder_is_one_configuration(runtime: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    write(folder, "rules: [{name: r, on: x, offer: {search: a}, say: Hi., through: [chat]}]", "a-rules.yaml")
    write(folder, f"connections: [{{name: chat, connector: webhook, config: {{secrets: [{SECRET}]}}}}]", "b.yml")
    assert len(configure.apply(runtime, folder).changes) == 2
    write(folder, "rules:\n  - {name: r, on: x, offer: {search: a}, say: Hi.}\n", "c.yaml")
    with pytest.raises(DocumentError, match=r"c\.yaml:2: rules\[0\]\.name: 'r' is there twice"):
        configure.apply(runtime, folder)
    with pytest.raises(DocumentError, match=r"there is no \.yaml file in this folder"):
        configure.apply(runtime, tmp_path / "home")


RULE = "rules:\n  - name: r\n    on: x\n    offer: {search: a}\n    say: Hi.\n"
MISTAKES = [
    # unknown, missing, wrong type, wrong value
    (RULE + "    sya: Hi.\n", "6: rules[0].sya: is not a known setting; did you mean 'say'? the settings here are name, on"),
    ("rulez: []", "1: rulez: is not a known setting; did you mean 'rules'? the settings here are connections, people"),
    (RULE + "    limits: {cooldown: 7d}\n", "6: rules[0].limits.cooldown: is not a known setting; did you mean 'cool_down'?"),
    ("rules:\n  - name: r\n    on: x\n    offer: {search: a}\n", "2: rules[0].say: is missing"),
    (RULE.replace("on: x", "on: [x]"), "3: rules[0].on: input should be a valid string"),
    (RULE + "    enabled: maybe\n", "6: rules[0].enabled: input should be a valid boolean"),
    ("rules: r", "1: rules: input should be a valid list"),
    ("- a list", "1: "),
    (RULE.replace("name: r", "name: Not A Name"), "2: rules[0].name: use lower-case letters, digits, dot, dash"),
    (RULE + "    limits: {once_per: day}\n", "6: rules[0].limits.once_per: input should be 'event', 'object' or 'person'"),
    (RULE + "    limits: {cool_down: 7 days}\n", "6: rules[0].limits.cool_down: write a duration as a number and a unit: 90s"),
    (RULE.replace("search: a", ""), "4: rules[0].offer: name one asset (asset: CONNECTION/ID), or search"),
    (RULE.replace("search: a", "search: a, asset: lms/1"), "4: rules[0].offer: name one asset"),
    ("people: [{key: E1, email: nobody}]", "1: people[0].email: "),
    ("people: [{key: E1, role: root}]", "1: people[0].role: input should be '' or 'admin'"),
    ("people: [{key: 17}]", "1: people[0].key: input should be a valid string"),
    # CEL and templates, with their own positions
    (RULE + "    when: event.data.amount >\n", "6: rules[0].when: line 1, column 20: something is missing at the end"),
    (RULE + "    when: event.dta.amount > 1\n", "6: rules[0].when: line 1, column 7: event.dta is not known, did you mean event.data?"),
    (RULE + "    when: 1 + 1\n", "6: rules[0].when: this gives a whole number, not true or false"),
    (RULE.replace("Hi.", '"{{ customer }}"'), "5: rules[0].say: 'customer' is not known; the names are event, person"),
    (RULE.replace("Hi.", '"{{ event.data.x"'), "5: rules[0].say: line 1: unexpected"),
    # references
    (RULE + "    through: [widget, mail]\n", "6: rules[0].through[1]: 'mail' shows no prompts; the channels are widget, scripted"),
    (
        "connections:\n  - {name: a, connector: scripted_lms, options: {open_with: scripted}}\n",
        "2: connections[0].options.open_with: 'scripted' is no LTI tool; there are: none yet",
    ),
    # connectors and their own settings
    ("connections: [{name: a, connector: moodel}]", "1: connections[0].connector: there is no connector 'moodel'; did you mean"),
    ("connections: [{name: a, connector: broken}]", "1: connections[0].connector: the connector 'broken' is broken: "),
    (
        "connections:\n  - name: a\n    connector: moodle\n    config:\n      base_url: lms\n      token: x\n",
        "5: connections[0].config.base_url: input should be a valid URL",
    ),
    (
        "connections:\n  - name: a\n    connector: moodle\n    config:\n      base_url: https://lms.test\n      token: x\n      tokn: x\n",
        "7: connections[0].config.tokn: is not a known setting; did you mean 'token'?",
    ),
    (
        "connections:\n  - name: a\n    connector: moodle\n    config:\n      base_url: https://lms.test\n",
        "4: connections[0].config.token: is missing",
    ),
    ("connections: [{name: a, connector: webhook}]", "1: connections[0].config: set `secrets`"),
    ("connections: [{name: widget, connector: scripted_lms}]", "1: connections[0].name: 'widget' is the bridge's own channel"),
    (
        "connections: [{name: a, connector: scripted_lms, options: {app_url: 'javascript:alert(1)'}}]",
        "1: connections[0].options.app_url: ",
    ),
    # twice, and somebody else's
    (RULE + RULE.replace("rules:\n", ""), "6: rules[1].name: 'r' is there twice"),
    ("people: [{key: E1}, {key: E1}]", "1: people[1].key: 'E1' is there twice"),
    ("people: [{key: E9, accounts: {scripted: sam}}]", "1: people[0].accounts.scripted: the account 'sam' belongs to 'E000'"),
    (
        "people: [{key: E1, accounts: {scripted: x}}, {key: E2, accounts: {scripted: x}}]",
        "1: people[1].accounts.scripted: the account 'x' belongs to 'E1' already",
    ),
    ("people: [{key: admin, name: Nobody}]", "1: people[0].role: 'admin' is the last admin"),
    # YAML itself
    ("rules:\n  - name: [\n", "3: "),
    (RULE + "    say: Again.\n", "6: 'say' is there twice"),
]  # fmt: skip


def test_each_mistake_is_told_with_line_path_and_what_is_allowed(
    runtime: Runtime, script: Script, tmp_path: Path
) -> None:
    del script  # its connectors must be there
    applied(
        runtime,
        tmp_path,
        "connections: [{name: scripted, connector: scripted_crm}]\npeople: [{key: E000, accounts: {scripted: sam}}]",
    )
    before = all_rows(runtime)
    told = [(refused(runtime, tmp_path, content)[0], f"bridge.yaml:{expected}") for content, expected in MISTAKES]
    assert [told_ for told_ in told if not told_[0].startswith(told_[1])] == []
    assert all_rows(runtime) == before


def test_all_mistakes_are_told_together_and_nothing_changes(runtime: Runtime, tmp_path: Path) -> None:
    before = all_rows(runtime)
    problems = refused(
        runtime,
        tmp_path,
        BASE.replace("connector: moodle", "connector: moodel")
        + "    through: [mail]\n  - {name: pricing, on: x, offer: {search: a}, say: Hi.}\n",
    )
    assert {problem.split(" ")[0] for problem in problems} == {f"bridge.yaml:{line}:" for line in (8, 24, 25)}
    problems = refused(
        runtime, tmp_path, BASE.replace("once_per: person", "once_per: day").replace("when: ", "when: (")
    )
    assert len(problems) == 2
    assert all_rows(runtime) == before


def test_a_wrong_secret_is_never_in_the_error(runtime: Runtime, tmp_path: Path) -> None:
    problems = refused(runtime, tmp_path, BASE.replace(SECRET, "whsec_hunter2"))
    assert "config.secrets" in problems[0]
    assert "hunter2" not in "".join(problems)


def test_secrets_are_sealed_at_rest_and_shown_nowhere(runtime: Runtime, tmp_path: Path) -> None:
    shown = applied(runtime, tmp_path, BASE, dry_run=True)
    plan = applied(runtime, tmp_path, BASE)
    exported = configure.export(runtime)
    said = f"{shown}{plan}{exported}{everything_stored(runtime)}{runtime}"
    assert "a token in clear" not in said
    assert SECRET not in said
    assert exported.count("encrypted:") == 2
    assert "bearer: env:DESK_BEARER" in exported
    assert any("token: (hidden)" in line for line in plan.changes[1].lines)


def test_references_are_followed_late(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(runtime, tmp_path, BASE)
    with runtime.db.read() as session:
        desk = session.scalars(select(tables.Connection).where(tables.Connection.name == "desk")).one()
    for value in ("the first bearer token", "the second bearer token"):
        monkeypatch.setenv("DESK_BEARER", value)
        assert runtime.connector(desk).config.bearer.get_secret_value() == value


def test_another_secret_is_a_change_that_shows_no_secret(runtime: Runtime, tmp_path: Path) -> None:
    applied(runtime, tmp_path, BASE)
    plan = applied(runtime, tmp_path, BASE.replace("a token in clear", "another token"))
    assert [change.name for change in plan.changes] == ["lms"]
    assert plan.changes[0].lines == ("-   token: (hidden)", "+   token: (hidden, another one)")


def test_a_new_configuration_forgets_the_old_problem(runtime: Runtime, tmp_path: Path) -> None:
    applied(runtime, tmp_path, BASE)
    with runtime.db.write() as session:
        for row in session.scalars(select(tables.Connection)):
            row.problem, row.failures = "the token is refused", 7
    applied(runtime, tmp_path, BASE.replace("a token in clear", "another token"))
    with runtime.db.read() as session:
        problems = dict(session.execute(select(tables.Connection.name, tables.Connection.problem)).all())
    assert problems == {"desk": "the token is refused", "lms": None}


def test_what_is_exported_is_what_was_applied(runtime: Runtime, tmp_path: Path, fresh_home: Path) -> None:
    applied(runtime, tmp_path, BASE)
    exported = configure.export(runtime)
    assert applied(runtime, tmp_path, exported).unchanged == 4
    key = (fresh_home / "secret.key").read_text()
    second = Runtime.start(Settings.load(home=tmp_path / "second", secret_key=key))
    setup.prepare(second)
    try:
        assert len(applied(second, tmp_path, exported).changes) == 4
        assert configure.export(second) == exported
        assert applied(second, tmp_path, exported).unchanged == 4
        assert applied(second, tmp_path, BASE).unchanged == 4
    finally:
        second.db.close()


def test_words_that_look_like_something_else_survive_an_export(runtime: Runtime, tmp_path: Path) -> None:
    odd = """
people:
  - {key: "007", name: "yes", accounts: {"https://id.test": "0123"}, attributes: {since: "2026-01-01", on: "off"}}
  - {key: E1, name: "Zoë: #1 {{ x }}", email: zoe@example.com}
"""
    applied(runtime, tmp_path, odd)
    assert applied(runtime, tmp_path, configure.export(runtime)).unchanged == 2


@pytest.mark.parametrize("first", ["E1", "E2"])
def test_an_account_can_go_from_one_person_to_another(runtime: Runtime, tmp_path: Path, first: str) -> None:
    applied(runtime, tmp_path, "people: [{key: E1, accounts: {desk: sam}}, {key: E2, accounts: {desk: eve}}]")
    people = {"E1": "{key: E1, accounts: {desk: eve}}", "E2": "{key: E2, accounts: {desk: sam}}"}
    second = "E2" if first == "E1" else "E1"
    plan = applied(runtime, tmp_path, f"people: [{people[first]}, {people[second]}]")
    assert {change.name: change.lines for change in plan.changes} == {
        "E1": ("-   desk: sam", "+   desk: eve"),
        "E2": ("-   desk: eve", "+   desk: sam"),
    }
    with runtime.db.read() as session:
        owners = session.execute(select(tables.Account.subject, tables.Person.key).join(tables.Person))
        assert set(map(tuple, owners)) == {("eve", "E1"), ("sam", "E2")}


def test_the_first_admin_can_be_taken_over_and_there_is_always_one(runtime: Runtime, tmp_path: Path) -> None:
    applied(runtime, tmp_path, "people: [{key: admin, name: Ann Admin, email: ann@example.com, role: admin}]")
    assert "Ann Admin" in configure.export(runtime)
    applied(runtime, tmp_path, "people: [{key: E1, role: admin}, {key: admin, name: Ann}]")
    assert "last admin" in refused(runtime, tmp_path, "people: [{key: E1}]")[0]
    assert setup.prepare(runtime) is None, "a further start finds an admin"


def test_a_rule_that_is_changed_and_changed_back_counts_on(runtime: Runtime, tmp_path: Path) -> None:
    for content in (BASE, BASE.replace("100000", "1"), BASE):
        applied(runtime, tmp_path, content)
    with runtime.db.read() as session:
        assert session.scalars(select(tables.Rule.version)).one() == 3
    assert "cool_down: 36h" in configure.export(runtime)
    assert "skip_if_completed_within: 90d" in configure.export(runtime)


@pytest.mark.postgres
def test_the_same_on_postgresql(pg_runtime: Runtime, tmp_path: Path) -> None:
    assert len(applied(pg_runtime, tmp_path, BASE, dry_run=True).changes) == 4
    assert len(applied(pg_runtime, tmp_path, BASE).changes) == 4
    assert applied(pg_runtime, tmp_path, configure.export(pg_runtime)).unchanged == 4
    assert len(refused(pg_runtime, tmp_path, BASE.replace("connector: moodle", "connector: moodel"))) == 1
