"""What is completed at work shows in the gradebook of the course in which it is placed: once, the newest, for sure."""

from __future__ import annotations

import datetime as dt
import json
import threading
from typing import Any

import pytest
from sqlalchemy import select

from bridge.flows import push_grades
from bridge.store import now, tables

LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
INSTRUCTOR = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
MENTOR = "http://purl.imsglobal.org/vocab/lis/v2/membership#Mentor"


def given(course: Any) -> list[float]:
    return [asked.json["scoreGiven"] for asked in course.lms.sent("POST", course.scores)]


def result(course: Any, score: float, at: dt.datetime | None) -> Any:
    row = {"userId": "3", "resultScore": score, "resultMaximum": 100}
    return course.Answer(body=json.dumps([row | ({"timestamp": at.isoformat()} if at else {})]))


@pytest.mark.parametrize(
    ("report", "points"),
    [
        ({}, 100),
        ({"verb": "passed", "success": True, "score": 0.73}, 73),
        ({"verb": "failed", "success": False, "score": 0.2}, 20),
        ({"verb": "failed", "success": False}, 0),
        ({"verb": "progressed", "completed": False, "score": 0.333333}, 33.3333),
    ],
)
def test_an_outcome_at_work_is_a_grade_in_the_course(course: Any, report: dict[str, Any], points: float) -> None:
    course.lms.on("POST", course.scores, course.Answer())
    nudged: list[str] = []
    course.runtime.nudge = nudged.append
    course.report(**report)
    assert "grades" in nudged
    assert push_grades.push(course.runtime) == 1
    (asked,) = course.lms.sent("POST", course.scores)
    assert (asked.json["userId"], asked.json["scoreGiven"], asked.json["scoreMaximum"]) == ("3", points, 100)
    assert asked.json["gradingProgress"] == "FullyGraded"
    (grade,) = course.grades
    assert (grade.state, grade.due_at, grade.receipt["score"]) == ("recorded", None, points)
    assert push_grades.push(course.runtime) == 0


def test_mere_progress_is_never_sent(course: Any) -> None:
    course.report(verb="progressed", completed=False)
    assert not course.grades


def test_a_completion_without_a_score_keeps_the_score_of_the_launch(course: Any) -> None:
    course.lms.on("POST", course.scores, course.Answer())
    launch = course.launch()
    course.report(launch, verb="passed", success=True, score=0.9)
    course.report(launch)
    push_grades.push(course.runtime)
    assert given(course) == [90]


@pytest.mark.parametrize(
    "changes",
    [
        {"asset_id": None},
        {"scopes": ["https://purl.imsglobal.org/spec/lti-ags/scope/lineitem"]},
        {"line_item": "", "scopes": ["https://purl.imsglobal.org/spec/lti-ags/scope/score"]},
        {"line_item": "", "line_items": ""},
        {"context_id": "another"},
    ],
)
def test_only_links_that_take_scores_of_this_asset_are_told(course: Any, changes: dict[str, Any]) -> None:
    course.link(**changes)
    course.report()
    assert not course.grades


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"active": False}, 0),
        ({"roles": [INSTRUCTOR]}, 0),
        ({"roles": [MENTOR]}, 0),
        ({"roles": [INSTRUCTOR, LEARNER]}, 1),
        ({"roles": []}, 1),
    ],
)
def test_only_learners_of_the_course_have_a_grade(course: Any, changes: dict[str, Any], count: int) -> None:
    with course.runtime.db.write() as session:
        member = session.scalars(select(tables.LmsMember)).one()
        for name, value in changes.items():
            setattr(member, name, value)
    course.report()
    assert len(course.grades) == count


def test_somebody_elses_completion_is_not_sams(course: Any) -> None:
    course.add(tables.Person(key="E002", name="Priya Planner"))
    course.report(course.launch("E002"))
    assert not course.grades


def test_the_newest_outcome_takes_the_place_of_one_that_waits(either_course: Any) -> None:
    course = either_course
    course.lms.on("POST", course.scores, course.Answer())
    early, late = now() - dt.timedelta(minutes=2), now()
    course.report(verb="passed", score=0.8, occurred_at=late)
    course.report(verb="passed", score=0.5, occurred_at=early)
    push_grades.push(course.runtime)
    course.report(verb="passed", score=0.4, occurred_at=early)
    push_grades.push(course.runtime)
    assert given(course) == [80]
    course.report(verb="passed", score=0.95, occurred_at=late)
    push_grades.push(course.runtime)
    assert given(course) == [80, 95]


def test_an_outcome_that_comes_while_another_is_sent_is_sent_next(either_course: Any) -> None:
    course = either_course

    def slow(_asked: Any) -> Any:
        course.report(verb="passed", score=0.9, occurrence="second")
        assert push_grades.push(course.runtime) == 0, "one at a time for a person and line item"
        return course.Answer()

    course.lms.on("POST", course.scores, slow, course.Answer())
    course.report(verb="passed", score=0.6)
    push_grades.push(course.runtime)
    (grade,) = course.grades
    assert (grade.state, grade.lease) == ("waiting", None)
    push_grades.push(course.runtime)
    assert given(course) == [60, 90]
    assert course.grades[0].state == "recorded"


def test_workers_at_once_send_each_grade_once(either_course: Any) -> None:
    course, gate = either_course, threading.Barrier(5)
    course.lms.on("POST", course.scores, course.Answer())
    for number in range(10, 22):
        account = tables.Account(issuer="moodle", subject=str(number))
        course.add(tables.Person(key=f"E{number}", accounts=[account]))
        moodle = course.link().connection_id
        course.add(tables.LmsMember(connection_id=moodle, context_id="2", subject=str(number), roles=[]))
        course.report(course.launch(f"E{number}"))

    def work() -> None:
        gate.wait()
        push_grades.push(course.runtime)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = [asked.json["userId"] for asked in course.lms.sent("POST", course.scores)]
    assert sorted(sent) == [str(number) for number in range(10, 22)]
    assert {grade.state for grade in course.grades} == {"recorded"}


def test_parallel_outcomes_of_a_person_leave_the_newest(either_course: Any) -> None:
    course, gate, at = either_course, threading.Barrier(6), now()
    course.lms.on("POST", course.scores, course.Answer())
    launches = [course.launch() for _ in range(6)]

    def finish(number: int) -> None:
        gate.wait()
        late = at + dt.timedelta(seconds=number)
        course.report(launches[number], verb="passed", score=number / 10, occurred_at=late)

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    push_grades.push(course.runtime)
    assert given(course) == [50]


@pytest.fixture
def conflict(course: Any, recorded: Any) -> Any:
    """A course whose gradebook was written after the time of whatever is sent."""
    course.lms.on("POST", course.scores, course.lms.replay(recorded("moodle-platform-14-ags-score-409-late-newer")))
    return course


def test_a_repeat_of_a_score_that_arrived_is_done(conflict: Any) -> None:
    conflict.lms.on("GET", conflict.results, result(conflict, 100, now()))
    conflict.report()
    push_grades.push(conflict.runtime)
    (grade,) = conflict.grades
    assert (grade.state, grade.receipt["note"]) == ("recorded", "the LMS had it already")
    assert len(given(conflict)) == 1


@pytest.mark.parametrize("has", [70.0, None])
def test_ours_is_sent_once_more_where_it_is_newer(course: Any, recorded: Any, has: float | None) -> None:
    refused = course.lms.replay(recorded("moodle-platform-14-ags-score-409-late-newer"))
    course.lms.on("POST", course.scores, refused, course.Answer())
    ahead = now() + dt.timedelta(seconds=90)
    theirs = result(course, has, now() - dt.timedelta(hours=1)) if has else course.Answer(body="[]")
    course.lms.on("GET", course.results, theirs)
    course.report(occurred_at=ahead if has is None else now())
    push_grades.push(course.runtime)
    assert given(course) == [100, 100]
    assert course.grades[0].state == "recorded"


def test_a_clock_that_is_behind_the_lms_loses_no_grade(course: Any, recorded: Any) -> None:
    course.lms.on("POST", course.scores, course.Answer())
    course.report(verb="passed", score=0.5)
    push_grades.push(course.runtime)
    written = now() + dt.timedelta(minutes=5)
    refused = course.lms.replay(recorded("moodle-platform-14-ags-score-409-late-newer"))
    course.lms.on("POST", course.scores, refused, course.Answer())
    course.lms.on("GET", course.results, result(course, 50, written))
    course.report(verb="passed", score=0.9)
    push_grades.push(course.runtime)
    last = course.lms.sent("POST", course.scores)[-1].json
    assert (last["scoreGiven"], dt.datetime.fromisoformat(last["timestamp"]) > written) == (90, True)


@pytest.mark.parametrize("known_since", [True, False])
def test_a_later_grade_of_the_lms_stands(conflict: Any, known_since: bool) -> None:
    conflict.report()
    conflict.lms.on("GET", conflict.results, result(conflict, 12, now() if known_since else None))
    push_grades.push(conflict.runtime)
    (grade,) = conflict.grades
    assert (grade.state, grade.receipt["note"]) == ("recorded", "the LMS has a later grade, which stands")
    assert len(given(conflict)) == 1


def test_a_conflict_that_may_not_be_looked_into_stands(conflict: Any) -> None:
    conflict.link(scopes=["https://purl.imsglobal.org/spec/lti-ags/scope/score"])
    conflict.report()
    push_grades.push(conflict.runtime)
    assert conflict.grades[0].state == "recorded"
    assert not conflict.lms.sent("GET", conflict.results)


def test_a_person_who_can_not_be_graded_fails_for_good(course: Any, recorded: Any) -> None:
    course.lms.on("POST", course.scores, course.lms.replay(recorded("moodle-platform-15-ags-score-400-not-gradable")))
    course.report()
    push_grades.push(course.runtime)
    (grade,) = course.grades
    assert (grade.state, grade.due_at) == ("failed", None)
    assert "Incorrect score received" in grade.error
    assert course.link().problem is None


def test_a_link_that_is_gone_is_flagged_and_not_asked_again_until_it_works(course: Any, recorded: Any) -> None:
    course.lms.on("POST", course.scores, course.lms.replay(recorded("moodle-platform-12-ags-lineitem-404")))
    course.report()
    push_grades.push(course.runtime)
    course.report()
    push_grades.push(course.runtime)
    assert len(given(course)) == 1
    (grade,), link = course.grades, course.link()
    assert grade.state == "failed"
    assert "404" in link.problem and link.problem == grade.error
    course.lms.on("POST", course.scores, course.Answer())
    with course.runtime.db.write() as session:
        push_grades.again(session, link.id)
    push_grades.push(course.runtime)
    assert (course.grades[0].state, course.link().problem) == ("recorded", None)


def test_what_may_pass_is_tried_again_and_holds_up_the_rest_of_that_lms_only_for_now(course: Any) -> None:
    course.lms.on("POST", course.scores, course.Answer(503, headers={"Retry-After": "60"}), course.Answer())
    account = tables.Account(issuer="moodle", subject="4")
    course.add(tables.Person(key="E002", accounts=[account]))
    course.add(tables.LmsMember(connection_id=course.link().connection_id, context_id="2", subject="4", roles=[]))
    course.report()
    course.report(course.launch("E002"))
    push_grades.push(course.runtime)
    assert len(given(course)) == 1
    assert all(grade.state == "waiting" and grade.due_at > now() + dt.timedelta(seconds=50) for grade in course.grades)
    course.hurry()
    push_grades.push(course.runtime)
    assert {grade.state for grade in course.grades} == {"recorded"}


def test_a_registration_that_is_wrong_is_told_to_the_admin_until_it_works(course: Any, recorded: Any) -> None:
    course.lms.on("POST", course.token, course.lms.replay(recorded("moodle-platform-09-token-bad-signature")))
    course.report()
    push_grades.push(course.runtime)
    assert "gives no access token" in course.problem()
    assert course.grades[0].state == "waiting"
    course.lms.on("POST", course.token, course.lms.token)
    course.lms.on("POST", course.scores, course.Answer())
    course.hurry()
    push_grades.push(course.runtime)
    assert (course.problem(), course.grades[0].state) == (None, "recorded")


def test_a_switched_off_lms_is_not_asked(course: Any) -> None:
    with course.runtime.db.write() as session:
        session.scalars(select(tables.Connection).where(tables.Connection.name == "moodle")).one().enabled = False
    course.report()
    push_grades.push(course.runtime)
    assert not course.lms.asked
    assert course.grades[0].state == "waiting"


def test_a_lease_that_was_lost_is_not_worked_on(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_grades, "LEASE_SECONDS", -1)
    course.lms.on("POST", course.scores, course.Answer())
    course.report()
    claim = push_grades.queue.claim

    def lose(*args: Any, **told: Any) -> Any:
        first = claim(*args, **told)
        claim(*args, **told)
        return first

    monkeypatch.setattr(push_grades.queue, "claim", lose)
    push_grades.push(course.runtime)
    assert not course.lms.asked


def test_a_link_without_a_line_item_gets_one_that_is_kept(either_course: Any) -> None:
    course = either_course
    course.link(line_item="")
    made = f"{course.lms.address}{course.items}/21/lineitem?type_id=6"
    course.lms.on("GET", course.items, course.Answer(body="[]"))
    course.lms.on("POST", course.items, course.Answer(201, json.dumps({"id": made})))
    course.lms.on("POST", course.scores, course.Answer())
    course.report()
    push_grades.push(course.runtime)
    course.report()
    push_grades.push(course.runtime)
    assert course.link().line_item == made
    (asked,) = course.lms.sent("POST", course.items)
    assert asked.json["label"] == "Pricing"
    assert len(given(course)) == 2


def test_one_worker_makes_the_line_item_while_the_others_wait(either_course: Any) -> None:
    course = either_course
    course.link(line_item="")
    made = f"{course.lms.address}{course.items}/21/lineitem?type_id=6"
    account = tables.Account(issuer="moodle", subject="4")
    course.add(tables.Person(key="E002", accounts=[account]))
    course.add(tables.LmsMember(connection_id=course.link().connection_id, context_id="2", subject="4", roles=[]))

    def slow(_asked: Any) -> Any:
        course.report(course.launch("E002"))
        assert push_grades.push(course.runtime) == 1
        return course.Answer(201, json.dumps({"id": made}))

    course.lms.on("GET", course.items, course.Answer(body="[]"))
    course.lms.on("POST", course.items, slow)
    course.lms.on("POST", course.scores, course.Answer())
    course.report()
    push_grades.push(course.runtime)
    assert [grade.state for grade in course.grades] == ["recorded", "waiting"]
    course.hurry()
    push_grades.push(course.runtime)
    assert len(course.lms.sent("POST", course.items)) == 1
    assert [grade.state for grade in course.grades] == ["recorded", "recorded"]
