"""The Agents Resource over HTTP: a Person Object of what statements told."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from bridge.flows.runtime import Runtime
from tests.xapi.program import ANN, COURSE, Program, statement, voiding

ACCOUNT = {"account": {"homePage": "https://hr.test", "name": "E001"}}


def test_a_person_nobody_has_named_is_the_identifier_alone(runtime: Runtime, client: TestClient) -> None:
    for actor in (ANN, ACCOUNT, {"mbox_sha1sum": "0" * 40}, {"openid": "https://ann.test/"}):
        answer = Program(client, runtime).send("GET", "/agents", {"agent": actor})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json() == {"objectType": "Person", **{name: [value] for name, value in actor.items()}}


def test_a_person_has_all_names_that_statements_gave_the_newest_first(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge, version="2.0.0")
    ann, bob = {"objectType": "Agent", **ANN}, {"mbox": "mailto:bob@example.com", "name": "Bob"}
    program.store(
        statement(actor={**ANN, "name": "Actor"}),
        statement(actor=bob, object={**ann, "name": "Object"}),
        statement(actor={"objectType": "Group", "member": [{**ANN, "name": "Member"}, bob]}),
        statement(actor=bob, context={"instructor": {**ANN, "name": "Instructor"}}),
        statement(
            actor=bob,
            object={
                "objectType": "SubStatement",
                "actor": {**ANN, "name": "Sub"},
                "verb": {"id": "http://adlnet.gov/expapi/verbs/planned"},
                "object": {"id": "https://lms.test/course/1"},
            },
        ),
        statement(
            actor=bob, context={"contextAgents": [{"objectType": "contextAgent", "agent": {**ann, "name": "2.0"}}]}
        ),
        statement(actor=bob, result={"extensions": {"https://x.test/e": {**ANN, "name": "No agent"}}}),
        statement(actor={"mbox": "mailto:ann@EXAMPLE.com", "name": "Actor"}),
    )
    asked = {"mbox": "mailto:ann@EXAMPLE.com", "name": "Asked"}
    person = program.send("GET", "/agents", {"agent": asked}).json()
    names = ["Asked", "Actor", "2.0", "Sub", "Instructor", "Member", "Object"]
    assert person == {"objectType": "Person", "name": names, "mbox": [ANN["mbox"]]}


def test_names_of_a_voided_statement_are_not_told(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge)
    wrong = statement(actor={**ANN, "name": "Wrong"})
    program.store(wrong)
    program.store(voiding(wrong["id"]))
    assert "name" not in program.send("GET", "/agents", {"agent": ANN}).json()


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "agent"),
        ({"agent": "Ann"}, "agent"),
        ({"agent": {"mbox": 1}}, "agent.mbox"),
        ({"agent": {**ANN, **ACCOUNT}}, "agent"),
        ({"agent": ANN, "name": "Ann"}, "name"),
    ],
)
def test_parameters_are_read_strictly(runtime: Runtime, client: TestClient, asked: dict[str, Any], field: str) -> None:
    answer = Program(client, runtime).send("GET", "/agents", asked)
    assert (answer.status_code, answer.json()["error"].get("field")) == (400, field), answer.text


@pytest.mark.parametrize("path", ["/agents", "/activities"])
def test_a_head_is_answered_as_a_get_and_other_methods_are_not(runtime: Runtime, client: TestClient, path: str) -> None:
    program = Program(client, runtime)
    asked = {"agent": ANN} if path == "/agents" else {"activityId": "https://x.test/a"}
    got, head = (program.send(method, path, asked) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert program.send("PUT", path, asked, {}).status_code == 405
    assert program.send("POST", path, asked, {}).status_code == 400


def test_who_may_read_may_ask(runtime: Runtime, client: TestClient) -> None:
    readers = {"statements/read", "statements/read/mine", "all/read", "profile", "all"}
    for scope in (*readers, "statements/write", "state", "events:write"):
        program = Program(client, runtime, scope)
        answers = [
            program.send("GET", "/agents", {"agent": ANN}),
            program.send("GET", "/activities", {"activityId": "https://x.test/a"}),
        ]
        assert {answer.status_code for answer in answers} == {200 if scope in readers else 403}


def test_who_reads_its_own_is_told_nothing_that_others_told(server: TestClient, bridge: Runtime) -> None:
    reader, other = Program(server, bridge, "statements/write", "statements/read/mine"), Program(server, bridge)
    quiz = {"id": COURSE, "definition": {"interactionType": "true-false", "correctResponsesPattern": ["true"]}}
    other.store(statement(actor={**ANN, "name": "Ann, on leave"}, object=quiz))
    reader.store(statement(actor={**ANN, "name": "Ann"}, object={"id": COURSE, "definition": {"name": {"en": "Quiz"}}}))
    assert reader.send("GET", "/agents", {"agent": ANN}).json()["name"] == ["Ann"]
    assert reader.send("GET", "/activities", {"activityId": COURSE}).json()["definition"] == {"name": {"en": "Quiz"}}
    assert other.send("GET", "/agents", {"agent": ANN}).json()["name"] == ["Ann", "Ann, on leave"]
