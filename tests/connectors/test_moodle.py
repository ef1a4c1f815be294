"""Moodle: replies recorded from Moodle 4.1 (Build 20220624) with three courses and five learners."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bridge.connect import ConfigError, Http, Rejected, Retryable, Unsupported
from bridge.connect.testing import (
    Answer,
    Answers,
    CatalogContract,
    RosterContract,
    WriteBackContract,
    an_outcome,
    everything,
    sent,
    system_played_by,
)
from connectors.moodle import Moodle, MoodleConfig

HERE = Path(__file__).parent / "moodle"
SETTINGS = {"base_url": "http://127.0.0.1:18080", "token": "token-for-tests"}
OVERRIDE = "core_completion_override_activity_completion_status"
COMPLETION = "core_completion_get_activities_completion_status"


def recorded(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def call(function: str, reply: Any, **parameters: Any) -> Answer:
    return Answer("POST", "/webservice/rest/server.php", {"wsfunction": function, **parameters}, json=reply)


def people(start: int, reply: Any) -> Answer:
    """A page of users; the recorded reply holds five."""
    asked = {"courseid": 1, "options[0][name]": "limitfrom", "options[0][value]": start, "options[2][value]": "id"}
    return call("core_enrol_get_enrolled_users", reply, **asked)


USERS = recorded("enrolled_users")
ANSWERS = (
    call("core_webservice_get_site_info", recorded("site_info")),
    call("core_course_get_courses", recorded("courses")),
    *(call("core_course_get_contents", recorded(f"contents_course_{id_}"), courseid=id_) for id_ in (2, 3, 4)),
    people(0, USERS[:3]),
    people(500, USERS[3:]),
    people(1000, []),
    call(COMPLETION, recorded("activities_completion"), courseid=2, userid=6),
    call(OVERRIDE, recorded("completion_override"), userid=6, cmid=1, newstate=1),
)
OUTCOME = an_outcome(asset_external_id="course:2/module:1", account_id="6")


def with_completion(**changes: Any) -> Any:
    """The recorded completion of a learner, with changes to the status of activity 1."""
    reply = recorded("activities_completion")
    reply["statuses"][0].update(changes)
    return reply


def moodle() -> Moodle:
    return Moodle(MoodleConfig.model_validate(SETTINGS), Http(system="Moodle", pause=lambda seconds: None))


class TestMoodle(CatalogContract, WriteBackContract, RosterContract):
    connector_class = Moodle
    config = SETTINGS
    answers = ANSWERS
    faults = (
        (everything(200, json=recorded("error_bad_token")), ConfigError),
        (everything(200, json=recorded("error_unknown_function")), ConfigError),
        (everything(200, json={"exception": "dml_read_exception", "errorcode": "dmlreadexception"}), Retryable),
    )
    golden_assets = HERE / "assets.json"
    golden_people = HERE / "people.json"
    outcome = OUTCOME
    written: ClassVar = {"wsfunction": OVERRIDE, "userid": 6, "cmid": 1, "newstate": 1}
    refusals = (
        everything(200, json=recorded("completion_override_error_no_activity")),
        # Not tracked: the activity is missing from the list.
        [call(COMPLETION, {"statuses": recorded("activities_completion")["statuses"][1:]})],
        # Not enrolled as a learner: Moodle would write it all the same.
        [call(COMPLETION, with_completion(istrackeduser=False)), ANSWERS[-1]],
        # Answered with success, and nothing done.
        [ANSWERS[-2], call(OVERRIDE, recorded("completion_override_error_no_tracking"))],
    )


def test_the_token_is_in_the_body_and_in_no_address() -> None:
    with system_played_by(ANSWERS) as calls:
        moodle().check()
        list(moodle().pages(None))
    assert calls and all(SETTINGS["token"] not in str(call.url) for call in calls)
    assert all(sent(call)["wstoken"] == SETTINGS["token"] for call in calls)


def test_what_is_complete_already_is_not_written_again() -> None:
    answers = [call(COMPLETION, recorded("completion_override_after"), courseid=2, userid=6)]
    with system_played_by(answers) as calls:
        receipt = moodle().record(OUTCOME, idempotency_key="key-1")
    assert receipt.external_id == "user:6/module:1" and len(calls) == 1


def test_somebody_who_is_not_enrolled_is_named_and_nothing_is_written() -> None:
    answers = [call(COMPLETION, with_completion(istrackeduser=False))]
    with system_played_by(answers), pytest.raises(Rejected, match="user 6 is not enrolled as a learner in course 2"):
        moodle().record(OUTCOME, idempotency_key="key-1")


@pytest.mark.parametrize(
    "changes", [{"completed": False}, {"success": False}, {"asset_external_id": "course:2"}, {"asset_external_id": "x"}]
)
def test_what_moodle_cannot_hold_is_said_without_a_call(changes: dict[str, Any]) -> None:
    with system_played_by([]), pytest.raises(Unsupported, match="Moodle"):
        moodle().record(dataclasses.replace(OUTCOME, **changes), idempotency_key="key-1")


def test_a_check_names_the_functions_that_the_token_may_not_call() -> None:
    site = {**recorded("site_info"), "functions": [{"name": "core_course_get_courses"}]}
    with system_played_by([call("core_webservice_get_site_info", site)]):
        missing = moodle().check().missing
    assert len(missing) == 4 and any(OVERRIDE in words for words in missing)


def test_a_check_tells_when_moodle_has_another_address() -> None:
    site = {**recorded("site_info"), "siteurl": "https://learn.example"}
    with system_played_by([call("core_webservice_get_site_info", site)]):
        assert "https://learn.example" in moodle().check().missing[0]


def hidden(course: bool, module: bool) -> Answers:
    courses, contents = recorded("courses"), recorded("contents_course_4")
    for found in courses:
        found["visible"] = int(not course)
    contents[0]["modules"][0]["visible"] = int(not module)
    return [call("core_course_get_courses", courses[-1:]), call("core_course_get_contents", contents, courseid=4)]


def test_what_is_hidden_in_moodle_is_listed_and_not_offered() -> None:
    with system_played_by(hidden(course=False, module=True)):
        shown = {asset.external_id: asset.opening for page in moodle().pages(None) for asset in page.assets}
    with system_played_by(hidden(course=True, module=False)):
        whole = [asset.opening for page in moodle().pages(None) for asset in page.assets]
    assert [id_ for id_, opening in shown.items() if opening is None] == ["course:4/module:13"]
    assert set(whole) == {None}


def test_titles_and_summaries_lose_their_markup() -> None:
    courses = [{**recorded("courses")[0], "id": 4, "fullname": "R&amp;D <i>basics</i>", "summary": "<p>a</p><p>b</p>"}]
    answers = [call("core_course_get_courses", courses), call("core_course_get_contents", [], courseid=4)]
    with system_played_by(answers):
        course = next(moodle().pages(None)).assets[0]
    assert (course.title, course.summary) == ("R&D basics", "a b")


def test_people_without_an_id_number_are_left_out() -> None:
    anonymous = {**USERS[0], "idnumber": ""}
    with system_played_by([people(0, [anonymous, USERS[1]]), people(500, [])]):
        found = [person.key for page in moodle().people(None) for person in page.people]
    assert found == ["E002"]
