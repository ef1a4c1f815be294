"""What an admin sees of grades that were refused, and how they say whose account of an LMS it is."""

from __future__ import annotations

import html
import re
import uuid
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from bridge.flows import identity, lms_people, push_grades, same_person, trace
from bridge.flows.overview import decisions
from bridge.store import tables
from bridge.web.auth import SESSION_COOKIE


@pytest.fixture
def admin(course: Any, client: TestClient) -> TestClient:
    """A browser with the session of an admin."""
    with course.runtime.db.write() as session:
        person = session.scalars(select(tables.Person).where(tables.Person.key == "admin")).one()
        person.password_once = False
    token, _ = identity.open_session(course.runtime, person.id, via="password")
    client.cookies.set(SESSION_COOKIE, token)
    return client


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def send(client: TestClient, path: str, seen: str, **fields: str) -> str:
    token = re.search(r'name="csrf" value="([^"]+)"', seen)
    assert token is not None
    answer = client.post(f"/console/{path}", data={"csrf": token[1], **fields})
    assert answer.status_code == 200, answer.text
    return answer.text


def event_of(course: Any) -> uuid.UUID:
    with course.runtime.db.read() as session:
        return session.scalars(select(tables.Event.id)).one()


def test_a_refused_grade_is_shown_in_the_lmss_words_and_sent_again(course: Any, admin: TestClient) -> None:
    course.lms.on("POST", course.scores, course.Answer(403, reason="No right in this course"), course.Answer())
    course.report()
    push_grades.push(course.runtime)
    page = admin.get("/console/failures").text
    for text in ("Grades that an LMS refused", "Phishing awareness", "moodle, 1 try", "No right in this course"):
        assert text in words(page)
    assert "1 grade" in words(admin.get("/console/").text)
    assert "Queued again: 1." in words(send(admin, "failures/grades", page, only=str(course.grades[0].outcome_id)))
    push_grades.push(course.runtime)
    assert course.grades[0].state == "recorded"
    assert "Nothing has failed" in words(admin.get("/console/failures").text)
    with course.runtime.db.read() as session:
        assert "grade.replay" in session.scalars(select(tables.Audit.action)).all()


def test_the_grade_ends_the_chain_from_the_event_on(course: Any, admin: TestClient, recorded: Any) -> None:
    course.report()
    (launch,) = trace.event_chain(course.runtime, event_of(course))["prompts"][0]["launches"]
    assert [(grade["course"], grade["state"]) for grade in launch["grades"]] == [("Phishing awareness", "waiting")]
    course.link(scopes=["https://purl.imsglobal.org/spec/lti-ags/scope/score"])
    course.lms.on("POST", course.scores, course.lms.replay(recorded("moodle-platform-14-ags-score-409-late-newer")))
    push_grades.push(course.runtime)
    (launch,) = trace.event_chain(course.runtime, event_of(course))["prompts"][0]["launches"]
    (grade,) = launch["grades"]
    assert (grade["connection"], grade["state"], grade["receipt"]["score"]) == ("moodle", "recorded", 100)
    ((told,),) = decisions.chain(course.runtime, event_of(course))["write_backs"].values()
    assert told["connection"] == "moodle, Phishing awareness"
    page = words(admin.get(f"/console/events/{event_of(course)}").text)
    assert "Into moodle, Phishing awareness: Written back the LMS has a later grade, which stands" in page


def test_grades_that_wait_are_counted(course: Any, client: TestClient) -> None:
    course.report()
    assert 'flowbridge_waiting{queue="grades"} 1.0' in client.get("/metrics").text


@pytest.fixture
def newcomer(course: Any) -> Any:
    """Emp2 came from the LMS, has the address of Priya, and no key."""
    course.add(tables.Person(key="E002", name="Priya Planner", email="priya@example.com"))
    with course.runtime.db.write() as session:
        told = {"name": "Emp No2", "email": "priya@example.com"}
        lms_people.account_owner(session, course.platform, "4", **told)
        session.add(
            tables.LmsMember(connection_id=course.platform.connection_id, context_id="2", subject="4", roles=[])
        )
    return course


def owner(course: Any, subject: str) -> str:
    with course.runtime.db.read() as session:
        return session.get_one(tables.Account, ("moodle", subject)).person.key


def test_whose_account_it_is_is_suggested_and_said_by_the_admin(newcomer: Any, admin: TestClient) -> None:
    page = admin.get("/console/people").text
    assert "Emp No2" in words(page)
    assert "could be Priya Planner" in words(page)
    assert 'name="key" value="E002"' in page
    told = send(admin, "people/same", page, issuer="moodle", subject="4", key="E002")
    assert "The account is theirs from now on" in words(told)
    assert "Emp No2" not in words(told)
    assert owner(newcomer, "4") == "E002"
    newcomer.lms.on("POST", newcomer.scores, newcomer.Answer())
    newcomer.report(newcomer.launch("E002"))
    push_grades.push(newcomer.runtime)
    assert [asked.json["userId"] for asked in newcomer.lms.sent("POST", newcomer.scores)] == ["4"]
    with newcomer.runtime.db.read() as session:
        audit = session.scalars(select(tables.Audit).where(tables.Audit.action == "person.same")).one()
    assert (audit.actor, audit.subject, audit.detail["was"]) == ("admin", "E002", "moodle:4")


def test_a_person_with_another_account_there_is_refused(newcomer: Any, admin: TestClient) -> None:
    page = admin.get("/console/people").text
    told = words(send(admin, "people/same", page, issuer="moodle", subject="4", key="E001"))
    assert "Sam Seller is known in 'moodle' as '3' already" in told
    assert owner(newcomer, "4") == "moodle:4"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"subject": "4", "key": "nobody"}, "There is no person 'nobody'"),
        ({"subject": "3", "key": "E002"}, "Somebody has said who this is in the meantime"),
        ({"subject": "99", "key": "E002"}, "Somebody has said who this is in the meantime"),
    ],
)
def test_only_a_newcomers_account_goes_to_somebody_who_is_known(
    newcomer: Any, admin: TestClient, fields: dict[str, str], told: str
) -> None:
    page = admin.get("/console/people").text
    assert told in words(send(admin, "people/same", page, issuer="moodle", **fields))
    assert (owner(newcomer, "3"), owner(newcomer, "4")) == ("E001", "moodle:4")


def test_an_admin_alone_may_say_so(newcomer: Any, client: TestClient) -> None:
    fields = {"issuer": "moodle", "subject": "4", "key": "E002"}
    assert client.post("/console/people/same", data=fields, headers={"accept": "text/html"}).status_code >= 400
    assert owner(newcomer, "4") == "moodle:4"


def test_a_suggestion_is_one_person_who_is_free(newcomer: Any) -> None:
    def alike() -> list[str]:
        return [row.alike for row in same_person.newcomers(newcomer.runtime)]

    assert alike() == ["E002"]
    newcomer.add(tables.Person(key="E003", name="Twin", email="priya@example.com"))
    assert alike() == [""]
    with newcomer.runtime.db.write() as session:
        lms_people.account_owner(session, newcomer.platform, "4", sourcedid="E003")
    assert alike() == ["E003"]
    newcomer.add(_account("E003", newcomer))
    assert alike() == [""]


def _account(key: str, course: Any) -> tables.Account:
    with course.runtime.db.read() as session:
        person = session.scalars(select(tables.Person).where(tables.Person.key == key)).one()
    return tables.Account(issuer="moodle", subject="other", person_id=person.id)


def test_newcomers_are_found_by_name_and_account(newcomer: Any, admin: TestClient) -> None:
    assert "Emp No2" in words(admin.get("/console/people?q=no2").text)
    assert "Emp No2" in words(admin.get("/console/people?q=moodle:4").text)
    assert "Nobody new has “zzz”" in words(admin.get("/console/people?q=zzz").text)


def test_the_newcomers_session_ends_with_the_newcomer(newcomer: Any, admin: TestClient) -> None:
    with newcomer.runtime.db.read() as session:
        person = session.get_one(tables.Account, ("moodle", "4")).person
    token, _ = identity.open_session(newcomer.runtime, person.id, via="lti")
    same_person.say_same(newcomer.runtime, "moodle", "4", "E002", actor="boss")
    assert identity.session(newcomer.runtime, token) is None
