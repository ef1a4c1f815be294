"""The Activities Resource over HTTP: an activity with what statements told of it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from bridge.flows.runtime import Runtime
from tests.xapi.program import COURSE, Program, statement


def told(program: Program, **parameters: str) -> Any:
    answer = program.send("GET", "/activities", {"activityId": COURSE, **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()


def defined(**definition: Any) -> dict[str, Any]:
    return {"id": COURSE, "definition": definition}


def test_an_activity_that_nobody_defined_is_its_id_alone(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge)
    alone = {"objectType": "Activity", "id": COURSE}
    assert told(program) == alone
    program.store(statement(), statement(verb={"id": COURSE, "display": {"en": "no activity"}}))
    assert told(program) == alone


def test_languages_of_all_statements_are_kept_and_the_newest_decides(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge)
    kind = "http://adlnet.gov/expapi/activities/course"
    program.store(
        statement(object=defined(name={"en": "old", "de": "alt"}, type=kind, extensions={"https://x.test/1": 1})),
        statement(object=defined(name={"en": "new"}, extensions={"https://x.test/2": {"a": None}})),
        statement(object={"id": f"{COURSE}/other", "definition": {"name": {"en": "another one"}}}),
    )
    assert told(program) == {
        "objectType": "Activity",
        "id": COURSE,
        "definition": {
            "name": {"en": "new", "de": "alt"},
            "type": kind,
            "extensions": {"https://x.test/1": 1, "https://x.test/2": {"a": None}},
        },
    }


def test_a_definition_in_the_context_or_a_sub_statement_counts(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge)
    elsewhere = {"id": "https://lms.test/course/2"}
    inner = {
        name: value for name, value in statement(object=defined(moreInfo="https://x.test/")).items() if name != "id"
    }
    program.store(
        statement(object=elsewhere, context={"contextActivities": {"parent": [defined(name={"en": "Course"})]}}),
        statement(object={"objectType": "SubStatement", **inner}),
    )
    assert told(program)["definition"] == {"name": {"en": "Course"}, "moreInfo": "https://x.test/"}


def test_an_interaction_is_taken_whole(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge)
    choice = {"interactionType": "choice", "choices": [{"id": "a"}], "correctResponsesPattern": ["a"]}
    program.store(statement(object=defined(name={"en": "Q"}, **choice)))
    program.store(statement(object=defined(interactionType="likert", scale=[{"id": "1"}])))
    assert told(program)["definition"] == {"name": {"en": "Q"}, "interactionType": "likert", "scale": [{"id": "1"}]}


def test_numbers_in_extensions_are_not_rounded(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge)
    program.store(statement(object=defined(extensions={"https://x.test/n": 12345678901234567890123})))
    assert told(program)["definition"]["extensions"] == {"https://x.test/n": 12345678901234567890123}


@pytest.mark.parametrize(
    ("asked", "field"),
    [({}, "activityId"), ({"activityId": "course"}, "activityId"), ({"activityId": COURSE, "lang": "en"}, "lang")],
)
def test_parameters_are_read_strictly(runtime: Runtime, client: TestClient, asked: dict[str, str], field: str) -> None:
    answer = Program(client, runtime).send("GET", "/activities", asked)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)
