"""Scores and results, and what a score means for the launch (AGS 2.0 sections 3.3 and 3.4)."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import pytest
from sqlalchemy import func, select

from bridge.store import tables

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
ENDPOINT = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
AGS = "https://purl.imsglobal.org/spec/lti-ags/scope/"
LINE_ITEM, RESULT, SCORE = (AGS + name for name in ("lineitem", "result.readonly", "score"))
SCORE_TYPE = "application/vnd.ims.lis.v1.score+json"


class Gradebook:
    """One launch of Sam's, seen from the tool that scores it."""

    def __init__(self, office: Any, person: str = "E001", system: str = "desk") -> None:
        self.office, self.launch = office, office.launch(person, system=system)
        start = office.begin(office.sign_in(person), self.launch)
        claims = office.claims_of(office.authorize(office.request(start))[1]["id_token"])
        self.user, self.item = claims["sub"], claims[ENDPOINT]["lineitem"]
        self.items, self.link = claims[ENDPOINT]["lineitems"], claims[CLAIM + "resource_link"]["id"]
        self.bearer = office.bearer(LINE_ITEM, RESULT, SCORE)

    def score(self, **changes: Any) -> dict[str, Any]:
        body = {
            "userId": self.user,
            "timestamp": "2026-11-22T08:00:00.000Z",
            "activityProgress": "Completed",
            "gradingProgress": "FullyGraded",
            "scoreGiven": 40,
            "scoreMaximum": 50,
        }
        return {name: value for name, value in (body | changes).items() if value is not ...}

    def post(self, item: str = "", **changes: Any) -> Any:
        return self.send(json.dumps(self.score(**changes)), item)

    def send(self, body: str | bytes, item: str = "", media_type: str = SCORE_TYPE) -> Any:
        headers = self.bearer | {"content-type": media_type}
        return self.office.client.post(f"{item or self.item}/scores", content=body, headers=headers)

    def results(self, item: str = "", **query: str) -> list[dict[str, Any]]:
        answer = self.office.client.get(f"{item or self.item}/results", params=query, headers=self.bearer)
        assert answer.headers["content-type"] == "application/vnd.ims.lis.v2.resultcontainer+json"
        found: list[dict[str, Any]] = answer.json()
        return found

    def outcomes(self) -> list[tuple[Any, ...]]:
        """What the bridge recorded: verb, completed, success, score."""
        query = select(tables.Outcome).order_by(tables.Outcome.occurred_at)
        with self.office.runtime.db.read() as session:
            return [(row.verb, row.completed, row.success, row.score) for row in session.scalars(query)]


@pytest.fixture
def book(office: Any) -> Gradebook:
    return Gradebook(office)


def pass_mark(office: Any, value: str) -> None:
    office.change_tool(custom={"pass_mark": value})


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def test_a_score_is_answered_with_200_and_an_object(book: Gradebook) -> None:
    answer = book.post()
    assert (answer.status_code, answer.json()) == (200, {})  # Moodle takes 204 for a failure


def test_a_final_score_is_the_result_scaled_to_the_line_item(book: Gradebook) -> None:
    book.post(comment=" Well done ")
    assert book.results() == [
        {
            "id": f"{book.item}/results?user_id={book.user}",
            "scoreOf": book.item,
            "userId": book.user,
            "resultScore": 80,
            "resultMaximum": 100,
            "comment": "Well done",
            "timestamp": "2026-11-22T08:00:00+00:00",
        }
    ]
    assert book.results(user_id=book.user) == book.results()
    assert book.results(user_id="nobody") == []
    assert book.office.client.get(book.results()[0]["id"], headers=book.bearer).json() == book.results()


def test_a_score_completes_the_launch(book: Gradebook) -> None:
    book.post()
    assert book.outcomes() == [("completed", True, None, 0.8)]
    with book.office.runtime.db.read() as session:
        launch = session.scalars(select(tables.Launch)).one()
    assert launch.completed_at == dt.datetime(2026, 11, 22, 8, 0, tzinfo=dt.UTC)
    assert (launch.success, launch.score) == (None, 0.8)


@pytest.mark.parametrize(
    ("mark", "given", "verb", "success"),
    [("0.8", 40, "passed", True), ("0.8", 39, "failed", False), ("0", 0, "passed", True), ("1", 50, "passed", True)],
)
def test_a_pass_mark_makes_a_final_score_a_judgement(
    office: Any, mark: str, given: int, verb: str, success: bool
) -> None:
    pass_mark(office, mark)
    book = Gradebook(office)
    book.post(scoreGiven=given)
    assert book.outcomes() == [(verb, True, success, given / 50)]


def test_a_pass_mark_that_is_no_number_judges_nothing(office: Any) -> None:
    pass_mark(office, "sixty percent")
    book = Gradebook(office)
    book.post()
    assert book.outcomes() == [("completed", True, None, 0.8)]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"activityProgress": "Submitted"}, ("passed", True, True, 0.8)),
        ({"activityProgress": "InProgress"}, ("passed", False, True, 0.8)),
        ({"activityProgress": "Initialized", "gradingProgress": "NotReady"}, None),
        ({"activityProgress": "Started", "gradingProgress": "NotReady"}, ("progressed", False, None, None)),
        ({"activityProgress": "InProgress", "gradingProgress": "Pending"}, ("progressed", False, None, None)),
        ({"gradingProgress": "Pending"}, ("completed", True, None, None)),
        ({"gradingProgress": "PendingManual"}, ("completed", True, None, None)),
        ({"gradingProgress": "Failed"}, ("completed", True, None, None)),
        ({"gradingProgress": "NotReady", "scoreGiven": ...}, ("completed", True, None, None)),
        ({"scoreGiven": ...}, ("completed", True, None, None)),
        ({"scoreGiven": 60}, ("passed", True, True, 1.0)),
    ],
)
def test_what_a_score_means(office: Any, changes: dict[str, Any], outcome: tuple[Any, ...] | None) -> None:
    pass_mark(office, "0.5")
    book = Gradebook(office)
    assert book.post(**changes).status_code == 200
    assert book.outcomes() == ([outcome] if outcome else [])


def test_only_a_fully_graded_score_makes_or_changes_a_result(book: Gradebook) -> None:
    book.post(timestamp="2026-11-22T08:00:00Z", gradingProgress="Pending")
    assert book.results() == []
    book.post(timestamp="2026-11-22T08:01:00Z")
    book.post(timestamp="2026-11-22T08:02:00Z", scoreGiven=1, gradingProgress="PendingManual", comment="later")
    assert [(row["resultScore"], row.get("comment")) for row in book.results()] == [(80, None)]
    book.post(timestamp="2026-11-22T08:03:00Z", scoreGiven=...)
    assert book.results() == []


def test_extra_credit_may_exceed_the_maximum(book: Gradebook) -> None:
    book.post(scoreGiven=60)
    assert book.results()[0]["resultScore"] == 120


def test_a_new_maximum_scales_the_results(book: Gradebook) -> None:
    book.post()
    book.office.client.put(book.item, json={"label": "L", "scoreMaximum": 10}, headers=book.bearer)
    assert [(row["resultScore"], row["resultMaximum"]) for row in book.results()] == [(8, 10)]


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-11-22T08:00:00Z",
        "2026-11-22T08:00:00.123Z",
        "2026-11-22T08:00:00.123456789Z",
        "2026-11-22T08:00:00+00:00",
        "2026-11-22T08:00:00+0000",
        "2026-11-22T09:30:00+01:30",
    ],
)
def test_every_form_of_a_time_with_a_zone_is_understood(book: Gradebook, timestamp: str) -> None:
    assert book.post(timestamp=timestamp).status_code == 200
    assert book.results()[0]["timestamp"].startswith("2026-11-22T08:00:00")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"timestamp": ...}, "timestamp"),
        ({"timestamp": "2026-11-22T08:00:00"}, "timestamp"),
        ({"timestamp": "2026-11-22"}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": 1795334062}, "timestamp"),
        ({"timestamp": "9999-12-31T23:59:59-23:59"}, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+23:59"}, "timestamp"),
        ({"scoreGiven": -1}, "scoreGiven"),
        ({"scoreGiven": True}, "scoreGiven"),
        ({"scoreGiven": "1e3"}, "scoreGiven"),
        ({"scoreGiven": "-1"}, "scoreGiven"),
        ({"scoreGiven": "NaN"}, "scoreGiven"),
        ({"scoreGiven": "Infinity"}, "scoreGiven"),
        ({"scoreGiven": [1]}, "scoreGiven"),
        ({"scoreGiven": 10**300}, "scoreGiven"),
        ({"scoreMaximum": ...}, "scoreMaximum"),
        ({"scoreMaximum": 0}, "scoreMaximum"),
        ({"scoreMaximum": -5}, "scoreMaximum"),
        ({"scoreMaximum": "0"}, "scoreMaximum"),
        ({"userId": ...}, "userId"),
        ({"userId": ""}, "userId"),
        ({"userId": 7}, "userId"),
        ({"activityProgress": ...}, "activityProgress"),
        ({"activityProgress": "completed"}, "activityProgress"),
        ({"gradingProgress": ...}, "gradingProgress"),
        ({"gradingProgress": "Done"}, "gradingProgress"),
        ({"comment": 7}, "comment"),
        ({"comment": "a\x00b"}, "comment"),
    ],
)
def test_a_score_that_makes_no_sense_is_refused_by_the_fields_name(
    book: Gradebook, changes: dict[str, Any], field: str
) -> None:
    answer = book.post(**changes)
    assert code(answer) == (400, "field_invalid")
    assert answer.json()["error_description"].startswith(f"{field}:")
    assert book.results() == book.outcomes() == []


def test_a_score_of_tomorrow_is_refused(book: Gradebook) -> None:
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    assert code(book.post(timestamp=tomorrow.isoformat())) == (400, "field_invalid")
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2)
    assert book.post(timestamp=soon.isoformat()).status_code == 200


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e309", "9" * 400])
def test_numbers_that_are_none_are_refused(book: Gradebook, number: str) -> None:
    body = json.dumps(book.score()).replace("40", number)
    assert book.send(body).status_code == 400
    assert book.results() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\x80", b"null"])
def test_a_body_that_is_no_score_is_refused(book: Gradebook, body: bytes) -> None:
    assert code(book.send(body)) == (400, "body_malformed")


def test_the_media_type_may_have_a_parameter_or_be_plain_json(book: Gradebook) -> None:
    for minute, media_type in enumerate((SCORE_TYPE + "; charset=utf-8", "application/json", "text/plain")):
        body = json.dumps(book.score(timestamp=f"2026-11-22T08:0{minute}:00Z"))
        assert book.send(body, media_type=media_type).status_code == 200


def test_the_same_score_again_changes_nothing(book: Gradebook) -> None:
    first = book.post(scoreGiven=40, scoreMaximum=50)
    again = book.post(scoreGiven="40.00000", scoreMaximum=50.0, timestamp="2026-11-22T08:00:00+0000")
    assert (first.status_code, again.status_code) == (200, 200)
    assert len(book.results()) == len(book.outcomes()) == 1


def test_another_score_of_the_same_or_an_earlier_time_is_a_conflict(book: Gradebook) -> None:
    book.post(timestamp="2026-11-22T08:05:00Z")
    assert code(book.post(timestamp="2026-11-22T08:05:00Z", scoreGiven=1)) == (409, "score_outdated")
    assert code(book.post(timestamp="2026-11-22T08:04:59Z")) == (409, "score_outdated")
    assert [row["resultScore"] for row in book.results()] == [80]
    assert len(book.outcomes()) == 1
    assert book.post(timestamp="2026-11-22T08:05:01Z", scoreGiven=1).status_code == 200
    assert [row["resultScore"] for row in book.results()] == [2]


def test_nobody_who_was_not_launched_here_gets_a_score(book: Gradebook) -> None:
    elsewhere = Gradebook(book.office, person="E002", system="crm")
    for user in ("nobody", "E001", "", elsewhere.user):
        assert book.post(userId=user).status_code == 400
    assert book.post(book.item, userId=elsewhere.user).json()["error"] == "user_unknown"
    assert book.results() == []


def test_a_score_counts_for_the_newest_launch_of_its_user_in_its_context(book: Gradebook) -> None:
    newer = Gradebook(book.office)
    Gradebook(book.office, system="crm")
    Gradebook(book.office, person="E002")
    assert newer.item == book.item
    book.post()
    with book.office.runtime.db.read() as session:
        done = session.scalars(select(tables.Launch).where(tables.Launch.completed_at.is_not(None))).all()
    assert [launch.id for launch in done] == [newer.launch]


def test_each_user_has_a_result_and_pages_show_all(book: Gradebook) -> None:
    priya = Gradebook(book.office, person="E002")
    book.post()
    priya.post(scoreGiven=50)
    url, seen = f"{book.item}/results?limit=1", {}
    while url:
        answer = book.office.client.get(url, headers=book.bearer)
        assert len(answer.json()) == 1
        seen |= {row["userId"]: row["resultScore"] for row in answer.json()}
        url = answer.links.get("next", {}).get("url", "")
        assert url == url.lower()
    assert seen == {book.user: 80, priya.user: 100}


def test_a_score_on_an_item_of_its_own_is_kept_but_is_no_outcome(book: Gradebook) -> None:
    body = {"label": "Attendance", "scoreMaximum": 1}
    loose = book.office.client.post(book.items, json=body, headers=book.bearer).json()["id"]
    assert book.post(loose).status_code == 200
    assert book.results(loose)[0]["resultScore"] == 0.8
    assert book.outcomes() == []
    assert book.post(loose, userId="nobody").status_code == 400
    bound = book.office.client.post(book.items, json=body | {"resourceLinkId": book.link}, headers=book.bearer).json()[
        "id"
    ]
    assert book.post(bound).status_code == 200
    assert book.outcomes() == [("completed", True, None, 0.8)]


def test_a_score_for_another_tools_line_item_is_refused(book: Gradebook) -> None:
    book.bearer = book.office.bearer(SCORE, client_id="client-2")
    assert code(book.post()) == (404, "line_item_unknown")


def test_one_token_scores_in_every_context_of_the_tool(book: Gradebook) -> None:
    elsewhere = Gradebook(book.office, system="crm")
    book.bearer = book.office.bearer(SCORE)
    assert book.post().status_code == 200
    assert book.post(elsewhere.item).status_code == 200


def test_the_workers_are_told(book: Gradebook) -> None:
    told: list[str] = []
    book.office.runtime.nudge = told.append
    book.post()
    assert set(told) == {"drain", "write_back", "grades"}
    told.clear()
    book.post()
    assert told == []


def test_score_and_outcome_are_kept_both_or_neither(book: Gradebook, monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.flows import record_outcome

    def fail(*_args: Any, **_kwargs: Any) -> uuid.UUID:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(record_outcome, "record_in", fail)
    with pytest.raises(RuntimeError):
        book.post()
    assert book.results() == []
    monkeypatch.undo()
    assert book.post().status_code == 200
    assert len(book.results()) == len(book.outcomes()) == 1


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("ltijs-tool-09-score", 70),
        ("moodle-tool-09-score-1", 42.5),
        ("moodle-platform-13-ags-score", 80),
        ("moodle-platform-13-ags-score-string-number", 60),
        ("moodle-platform-13-ags-score-z-millis", None),
        ("moodle-platform-13-ags-score-in-progress", None),
    ],
)
def test_recorded_scores_of_real_tools_are_taken(
    book: Gradebook, recorded: Any, name: str, points: float | None
) -> None:
    sent = recorded(name)["request"]
    body = sent["body"].replace(f'"{sent["json"]["userId"]}"', f'"{book.user}"')
    answer = book.send(body, media_type=sent["headers"]["content-type"])
    assert (answer.status_code, answer.json()) == (200, {})
    if points is not None:
        assert [row["resultScore"] for row in book.results()] == [points]
    with book.office.runtime.db.read() as session:
        assert session.scalar(select(func.count()).select_from(tables.Score)) == 1
