"""The lists of members of courses: kept page by page, complete or not at all, and asked for once a day."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from sqlalchemy import select

from bridge.flows import pull_members, push_grades
from bridge.store import now, tables


@pytest.fixture
def due(course: Any) -> Any:
    course.link(members_due_at=now() - dt.timedelta(seconds=1))
    return course


def members(course: Any) -> dict[str, bool]:
    with course.runtime.db.read() as session:
        rows = session.scalars(select(tables.LmsMember).where(tables.LmsMember.context_id == "2"))
        return {row.subject: row.active for row in rows}


def listed(*subjects: str, **more: Any) -> str:
    return json.dumps({"members": [{"user_id": subject, "roles": ["Learner"], **more} for subject in subjects]})


def test_everybody_on_moodles_list_becomes_known(due: Any, recorded: Any) -> None:
    due.lms.on("GET", due.memberships, due.lms.replay(recorded("moodle-platform-10-nrps")))
    assert pull_members.pull(due.runtime) == 1
    real = recorded("moodle-platform-10-nrps")["response"]["json"]["members"]
    assert members(due) == {row["user_id"]: True for row in real}
    with due.runtime.db.read() as session:
        owners = {account.subject: account.person for account in session.scalars(select(tables.Account))}
        assert owners["3"].key == "E001"
        assert owners["9"].key == "moodle:9"
        assert owners["9"].name == "Teach No1"
    assert due.link().members_due_at > now() + dt.timedelta(hours=23)
    assert pull_members.pull(due.runtime) == 0
    assert len(due.lms.sent("GET", due.memberships)) == 1


def test_who_is_listed_no_more_is_active_no_longer(due: Any) -> None:
    due.lms.on("GET", due.memberships, due.Answer(body=listed("8", "9")))
    pull_members.pull(due.runtime)
    assert members(due) == {"3": False, "8": True, "9": True}
    due.link(members_due_at=now())
    due.lms.on("GET", due.memberships, due.Answer(body=listed("3", "8", "9", status="Inactive")))
    pull_members.pull(due.runtime)
    assert members(due) == {"3": False, "8": False, "9": False}


def test_a_walk_that_breaks_off_takes_nobody_out(due: Any) -> None:
    header = {"Link": f'<{due.memberships}?from=1>; rel="next"'}
    due.lms.on("GET", due.memberships, due.Answer(body=listed("8"), headers=header))
    due.lms.on("GET", f"{due.memberships}?from=1", due.Answer(503))
    assert pull_members.pull(due.runtime) == 0
    assert members(due) == {"3": True, "8": True}
    assert now() < due.link().members_due_at <= now() + pull_members.AFTER_FAILURE


@pytest.mark.parametrize(
    ("status", "hours", "told"), [(403, 24, True), (404, 24, True), (500, 1, False), (400, 1, True), (200, 1, True)]
)
def test_a_list_that_can_not_be_read_waits_and_is_told(due: Any, status: int, hours: int, told: bool) -> None:
    due.lms.on("GET", due.memberships, due.Answer(status, "<html>"))
    assert pull_members.pull(due.runtime) == 0
    wait = due.link().members_due_at - now()
    assert dt.timedelta(hours=hours - 0.1) < wait <= dt.timedelta(hours=hours)
    assert bool(due.problem()) is told
    due.link(members_due_at=now())
    due.lms.on("GET", due.memberships, due.Answer(body=listed("3")))
    assert pull_members.pull(due.runtime) == 1
    assert due.problem() is None


def test_an_lms_that_asks_for_patience_gets_it(due: Any) -> None:
    due.lms.on("GET", due.memberships, due.Answer(429, headers={"Retry-After": "600"}))
    pull_members.pull(due.runtime)
    assert dt.timedelta(minutes=9) < due.link().members_due_at - now() <= dt.timedelta(minutes=10)


def second_link(course: Any) -> None:
    """Another place in the course, launched now."""
    with course.runtime.db.write() as session:
        first = session.scalars(select(tables.LmsLink)).one()
        columns = {column.key: getattr(first, column.key) for column in tables.LmsLink.__table__.columns}
        fresh = {"id": None, "resource_link_id": "6", "launched_at": now(), "members_due_at": now()}
        session.add(tables.LmsLink(**columns | fresh))


def test_links_of_one_course_share_its_list(due: Any) -> None:
    second_link(due)
    due.lms.on("GET", due.memberships, due.Answer(body=listed("3")))
    assert pull_members.pull(due.runtime) == 1
    assert len(due.lms.sent("GET", due.memberships)) == 1


def test_a_link_that_is_launched_while_the_list_is_read_asks_again(due: Any) -> None:
    def meanwhile(_asked: Any) -> Any:
        second_link(due)
        return due.Answer(body=listed("3"))

    due.lms.on("GET", due.memberships, meanwhile, due.Answer(body=listed("3", "8")))
    assert pull_members.pull(due.runtime) == 2
    assert members(due) == {"3": True, "8": True}


def test_a_switched_off_lms_is_not_asked(due: Any) -> None:
    with due.runtime.db.write() as session:
        session.scalars(select(tables.Connection).where(tables.Connection.name == "moodle")).one().enabled = False
    assert pull_members.pull(due.runtime) == 0
    assert not due.lms.asked


def test_while_a_course_is_asked_nobody_else_asks_it(either_course: Any) -> None:
    course = either_course
    course.link(members_due_at=now() - dt.timedelta(seconds=1))

    def slow(_asked: Any) -> Any:
        assert pull_members.pull(course.runtime) == 0
        return course.Answer(body=listed("3", "9", name="Emp", email="sam@example.com"))

    course.lms.on("GET", course.memberships, slow)
    assert pull_members.pull(course.runtime) == 1
    assert members(course) == {"3": True, "9": True}


@pytest.mark.parametrize("known", ["before", "after"])
def test_a_completion_at_work_finds_the_gradebook_by_the_list(due: Any, known: str) -> None:
    due.add(tables.Person(key="E002", name="Priya", accounts=[tables.Account(issuer="moodle", subject="4")]))
    due.lms.on("GET", due.memberships, due.Answer(body=listed("3", "4")))
    due.lms.on("POST", due.scores, due.Answer())
    launch = due.launch("E002")
    if known == "before":
        pull_members.pull(due.runtime)
    due.report(launch, verb="passed", score=0.6)
    due.report(launch, verb="passed", score=0.7, occurrence="better")
    pull_members.pull(due.runtime)
    push_grades.push(due.runtime)
    due.link(members_due_at=now())
    pull_members.pull(due.runtime)
    push_grades.push(due.runtime)
    sent = [(asked.json["userId"], asked.json["scoreGiven"]) for asked in due.lms.sent("POST", due.scores)]
    assert sent == [("4", 70)]


def test_a_completion_of_long_ago_is_not_sent(due: Any) -> None:
    due.add(tables.Person(key="E002", name="Priya", accounts=[tables.Account(issuer="moodle", subject="4")]))
    due.lms.on("GET", due.memberships, due.Answer(body=listed("3", "4")))
    due.report(due.launch("E002"), occurred_at=now() - dt.timedelta(days=3))
    pull_members.pull(due.runtime)
    assert not due.grades
