"""What a query of the built-in LRS finds beyond the plain columns, and in which form it answers."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text

from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.app import create_app
from bridge.xapi import references
from tests.xapi.program import ANN, COURSE, Program, statement, voiding

BOB = {"mbox": "mailto:bob@example.com"}
TEAM = {"objectType": "Group", "mbox": "mailto:team@example.com"}


@pytest.fixture
def program(server: TestClient, bridge: Runtime) -> Program:
    return Program(server, bridge)


def found(program: Program, **parameters: Any) -> list[str]:
    """The ids that a query finds, through all its pages."""
    ids, answer = [], program.send("GET", "/statements", parameters)
    while True:
        assert answer.status_code == 200, answer.text
        ids += [one["id"] for one in answer.json()["statements"]]
        if not answer.json()["more"]:
            return ids
        answer = program.client.get(answer.json()["more"], headers=program.headers)


def about(target: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return statement(object={"objectType": "StatementRef", "id": target["id"]}, **parts)


def test_members_of_a_group_are_found_as_the_group_is(program: Program) -> None:
    crew = statement(actor={"objectType": "Group", "member": [BOB, ANN]})
    told = statement(object={**TEAM, "member": [BOB]})
    led = statement(context={"team": {**TEAM, "member": [BOB]}})
    program.store(crew, told, led)
    assert set(found(program, agent=BOB)) == {crew["id"], told["id"]}
    assert found(program, agent=TEAM) == [told["id"]]
    assert set(found(program, agent=BOB, related_agents=True)) == {crew["id"], told["id"], led["id"]}
    assert set(found(program, agent=TEAM, related_agents=True)) == {told["id"], led["id"]}


def test_related_finds_whoever_and_whatever_is_named_anywhere(bridge: Runtime, program: Program) -> None:
    inner = {"objectType": "SubStatement", "actor": BOB, "verb": {"id": "https://x.test/did"}, "object": {"id": COURSE}}
    planned = statement(actor=ANN, object=inner)
    guided = statement(context={"instructor": BOB})
    part = statement(object={"id": "https://lms.test/page"}, context={"contextActivities": {"parent": {"id": COURSE}}})
    program.store(planned, guided, part)
    new = Program(program.client, bridge, version="2.0.0")
    helped = statement(context={"contextAgents": [{"objectType": "contextAgent", "agent": BOB}]})
    new.store(helped)
    assert found(program, agent=BOB) == []
    assert set(found(program, agent=BOB, related_agents=True)) == {planned["id"], guided["id"], helped["id"]}
    plain, related = found(program, activity=COURSE), found(program, activity=COURSE, related_activities=True)
    assert set(related) - set(plain) == {planned["id"], part["id"]}
    authority = {"account": {"homePage": "http://bridge.test", "name": program.key}}
    assert len(found(program, agent=authority, related_agents=True)) == 3


@pytest.mark.parametrize("late", [False, True])
def test_a_statement_about_a_match_is_found_through_others_and_in_any_order(late: bool, program: Program) -> None:
    first = statement(actor=BOB)
    second = about(first)
    third = about(second)
    for one in (third, second, first) if late else (first, second, third):
        program.store(one)
    assert set(found(program, agent=BOB)) == {first["id"], second["id"], third["id"]}
    assert found(program, agent=BOB, limit=1, ascending=True) == found(program, agent=BOB)[::-1]
    assert found(program, agent=BOB, verb="https://x.test/other") == []


def test_a_batch_and_a_ring_of_references_are_followed(program: Program) -> None:
    first, second = statement(actor=BOB), statement()
    ring = [statement(actor=BOB), statement()]
    ring[0]["object"], ring[1]["object"] = about(ring[1])["object"], about(ring[0])["object"]
    program.store(about(second, id=first["id"]), second, *ring)
    assert set(found(program, agent=BOB)) == {one["id"] for one in ring}
    assert set(found(program, activity=COURSE)) == {first["id"], second["id"]}


def test_a_long_chain_is_kept_in_bounds(runtime: Runtime, client: TestClient) -> None:
    program, chain = Program(client, runtime), [statement(actor=BOB)]
    for _ in range(references.FURTHEST + 5):
        chain.append(about(chain[-1]))
    program.store(*chain)
    row = tables.StatementReference
    with runtime.db.read() as session:
        sizes = session.scalars(select(func.count()).select_from(row).group_by(row.statement_seq)).all()
    assert max(sizes) == references.FURTHEST


def test_a_statement_about_a_voided_one_is_still_found_by_it(program: Program) -> None:
    wrong = statement(actor=BOB)
    note = about(wrong)
    void = voiding(wrong["id"])
    program.store(wrong, note, void)
    assert set(found(program, agent=BOB)) == {note["id"], void["id"]}


def test_times_count_for_the_statement_that_refers(program: Program) -> None:
    first = statement(actor=BOB)
    program.store(first)
    one = program.send("GET", "/statements", {"statementId": first["id"]}).json()
    second = about(first)
    program.store(second)
    assert found(program, agent=BOB, since=one["stored"]) == [second["id"]]
    assert found(program, agent=BOB, until=one["stored"]) == [first["id"]]


def test_format_ids_has_the_least_that_names_each_thing(program: Program) -> None:
    named = {"objectType": "Agent", "name": "Bob", **BOB}
    sent = statement(
        actor={"objectType": "Group", "name": "Crew", "member": [named]},
        verb={"id": "https://x.test/did", "display": {"en": "did"}},
        object={"objectType": "Activity", "id": COURSE, "definition": {"name": {"en": "Course"}}},
        context={
            "instructor": named,
            "contextActivities": {"parent": {"id": COURSE, "definition": {}}},
            "revision": "3",
        },
    )
    program.store(sent)
    shown = program.send("GET", "/statements", {"format": "ids"}).json()["statements"][0]
    agent = {"objectType": "Agent", **BOB}
    assert shown["actor"] == {"objectType": "Group", "member": [agent]}
    assert (shown["verb"], shown["object"]) == ({"id": "https://x.test/did"}, {"id": COURSE})
    around = {"instructor": agent, "contextActivities": {"parent": [{"id": COURSE}]}, "revision": "3"}
    assert shown["context"] == around


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("de", "de-AT"),
        ("en-GB, de;q=0.5", "en"),
        ("fr;q=0.9, de-AT;q=0.8", "de-AT"),
        ("fr", "en"),
        ("en;q=0, de", "de-AT"),
    ],
)
def test_format_canonical_has_one_language_of_each_text(
    wanted: str, language: str, runtime: Runtime, client: TestClient
) -> None:
    program, texts = Program(client, runtime), {"en": "Course", "de-AT": "Kurs"}
    choice = {"id": "a", "description": texts}
    definition = {"name": texts, "interactionType": "choice", "choices": [choice]}
    sent = statement(
        verb={"id": "https://x.test/did", "display": texts}, object={"id": COURSE, "definition": definition}
    )
    program.store(sent)
    asked = {"statementId": sent["id"], "format": "canonical"}
    shown = program.send("GET", "/statements", asked, Accept_Language=wanted).json()
    one = {language: texts[language]}
    assert (shown["verb"]["display"], shown["object"]["definition"]["name"]) == (one, one)
    assert shown["object"]["definition"]["choices"] == [{"id": "a", "description": one}]


def test_context_activities_come_back_as_lists(runtime: Runtime, client: TestClient) -> None:
    program = Program(client, runtime)
    sent = statement(context={"contextActivities": {"parent": {"id": COURSE}, "other": [{"id": COURSE}]}})
    program.store(sent)
    shown = program.send("GET", "/statements", {"statementId": sent["id"]}).json()
    assert shown["context"]["contextActivities"] == {"parent": [{"id": COURSE}], "other": [{"id": COURSE}]}


def test_a_reader_of_1_0_3_gets_no_property_that_only_2_0_has(runtime: Runtime, client: TestClient) -> None:
    new, old = Program(client, runtime, version="2.0.0"), Program(client, runtime)
    agents = [{"objectType": "contextAgent", "agent": BOB}]
    sent = statement(context={"contextAgents": agents, "platform": "LMS"})
    new.store(sent)
    asked = {"statementId": sent["id"]}
    shown = new.send("GET", "/statements", asked).json()
    assert (shown["context"]["contextAgents"], shown["version"]) == (agents, "2.0.0")
    assert old.send("GET", "/statements", asked).json()["context"] == {"platform": "LMS"}


def test_a_single_statement_has_an_etag_that_its_form_changes(runtime: Runtime, client: TestClient) -> None:
    program, sent = Program(client, runtime), statement(object={"id": COURSE, "definition": {"name": {"en": "One"}}})
    program.store(sent)
    exact, again, ids = (
        program.send("GET", "/statements", {"statementId": sent["id"], **more}).headers["ETag"]
        for more in ({}, {}, {"format": "ids"})
    )
    assert exact == again != ids


def test_two_that_belong_together_see_each_other_when_they_come_at_once(bridge: Runtime, program: Program) -> None:
    from concurrent.futures import ThreadPoolExecutor

    pairs = [(target := statement(actor=BOB), voiding(target["id"])) for _ in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(program.store, [one for pair in pairs for one in pair]))
    for target, _ in pairs:
        assert program.send("GET", "/statements", {"voidedStatementId": target["id"]}).status_code == 200
    assert len(set(found(program, agent=BOB))) == len(pairs)


def test_a_reader_of_its_own_does_not_learn_what_others_stated_by_referring_to_it(
    bridge: Runtime, program: Program
) -> None:
    reader = Program(program.client, bridge, "statements/write", "statements/read/mine")
    failed, passed, saw = ({"id": f"https://x.test/{name}"} for name in ("failed", "passed", "saw"))
    theirs, own = statement(verb=failed), statement(verb=passed)
    program.store(theirs)
    reader.store(own, about_theirs := about(theirs, verb=saw), about_own := about(own, verb=saw))
    assert found(reader, verb=failed["id"]) == []
    assert set(found(reader, verb=passed["id"])) == {own["id"], about_own["id"]}
    assert set(found(program, verb=failed["id"])) == {theirs["id"], about_theirs["id"]}


def test_nor_does_one_of_1_0_3_within_a_sub_statement(runtime: Runtime, client: TestClient) -> None:
    new, old = Program(client, runtime, version="2.0.0"), Program(client, runtime)
    around = {"contextAgents": [{"objectType": "contextAgent", "agent": ANN}], "language": "en"}
    inner = {**statement(context=around), "objectType": "SubStatement"}
    del inner["id"]
    new.store(sent := statement(object=inner))
    asked = {"statementId": sent["id"]}
    assert new.send("GET", "/statements", asked).json()["object"] == inner
    assert old.send("GET", "/statements", asked).json()["object"] == {**inner, "context": {"language": "en"}}


@pytest.mark.parametrize("told", ["[" * 5000, '[{}, "2020-01-01T00:00:00Z", Infinity]', "[]", "7", "[[], 1, 2]"])
def test_a_made_up_more_is_refused(runtime: Runtime, client: TestClient, told: str) -> None:
    more = base64.urlsafe_b64encode(told.encode()).decode()
    answer = Program(client, runtime).send("GET", "/statements", {"more": more})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "more")


@pytest.mark.postgres
@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin"])
def test_a_database_in_another_zone_keeps_every_time(zone: str, pg_runtime: Runtime) -> None:
    with pg_runtime.db.write() as session:
        name = session.scalar(text("SELECT current_database()"))
        session.execute(text(f"ALTER DATABASE {name} SET timezone = '{zone}'"))
    pg_runtime.db.close()
    with TestClient(create_app(pg_runtime), base_url="http://bridge.test") as client:
        program = Program(client, pg_runtime)
        for at in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
            program.store(sent := statement(timestamp=at))
            assert program.send("GET", "/statements", {"statementId": sent["id"]}).json()["timestamp"] == at
            program.store(sent)
