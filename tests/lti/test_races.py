"""Twenty at once: exactly one wins, on each kind of database."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import func, select

from bridge.flows import identity, open_launch
from bridge.lti import keys
from bridge.store import tables

CALLERS = 20
ENDPOINT = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"


def at_once(call: Callable[[int], Any]) -> list[Any]:
    gate = threading.Barrier(CALLERS)

    def run(number: int) -> Any:
        gate.wait(timeout=30)
        return call(number)

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(run, range(CALLERS)))


def count(office: Any, table: Any) -> int:
    with office.runtime.db.read() as session:
        found: int = session.scalar(select(func.count()).select_from(table))
    return found


def test_one_of_many_uses_of_a_launch_wins(either_office: Any) -> None:
    params = either_office.started()
    answers = at_once(lambda _: either_office.authorize(params)[1])
    assert Counter("id_token" in answer for answer in answers) == {True: 1, False: CALLERS - 1}
    assert {answer["error"] for answer in answers if "error" in answer} == {"launch_no_longer_valid"}
    assert count(either_office, tables.LineItem) == 1


def test_one_of_many_openings_of_a_link_with_one_use_left_wins(either_office: Any) -> None:
    runtime = either_office.runtime
    token, launch = either_office.sign_in(), either_office.launch()
    with runtime.db.write() as session:
        prompt_id = session.get_one(tables.Launch, launch).prompt_id
    ticket = open_launch.ticket_for(runtime, prompt_id)
    with runtime.db.write() as session:
        session.get_one(tables.Ticket, identity.token_hash(ticket)).uses_left = 1
        csrf = session.get_one(tables.SignInSession, identity.token_hash(token)).csrf
    answers = at_once(lambda _: either_office.client.post(f"/go/{ticket}", data={"csrf": csrf}))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 403: CALLERS - 1}
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 403} == {"ticket_used_up"}
    assert count(either_office, tables.Launch) == 2


def test_one_of_many_uses_of_an_assertion_wins(either_office: Any) -> None:
    assertion = either_office.assertion()
    answers = at_once(lambda _: either_office.ask_token(assertion))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: CALLERS - 1}
    assert count(either_office, tables.AccessToken) == 1


def test_the_same_score_many_times_has_one_effect(either_office: Any) -> None:
    claims, bearer = either_office.claims(), either_office.bearer()
    score = {
        "userId": claims["sub"],
        "timestamp": "2026-11-22T08:00:00Z",
        "activityProgress": "Completed",
        "gradingProgress": "FullyGraded",
        "scoreGiven": 4,
        "scoreMaximum": 5,
    }
    url = claims[ENDPOINT]["lineitem"] + "/scores"
    answers = at_once(lambda _: either_office.client.post(url, content=json.dumps(score), headers=bearer))
    assert {answer.status_code for answer in answers} == {200}
    assert count(either_office, tables.Score) == count(either_office, tables.Outcome) == 1


def test_different_scores_of_one_time_leave_one(either_office: Any) -> None:
    claims, bearer = either_office.claims(), either_office.bearer()
    score = {
        "userId": claims["sub"],
        "timestamp": "2026-11-22T08:00:00Z",
        "activityProgress": "Completed",
        "gradingProgress": "FullyGraded",
        "scoreMaximum": 100,
    }
    url = claims[ENDPOINT]["lineitem"]

    def post(number: int) -> int:
        body = json.dumps(score | {"scoreGiven": number})
        status: int = either_office.client.post(f"{url}/scores", content=body, headers=bearer).status_code
        return status

    statuses = at_once(post)
    assert Counter(statuses) == {200: 1, 409: CALLERS - 1}
    result = either_office.client.get(f"{url}/results", headers=bearer).json()
    assert [row["resultScore"] for row in result] == [statuses.index(200)]


def test_many_first_launches_make_one_line_item(either_office: Any) -> None:
    token = either_office.sign_in()
    starts = [either_office.request(either_office.begin(token, either_office.launch())) for _ in range(CALLERS)]
    answers = at_once(lambda number: either_office.authorize(starts[number])[1])
    items = {either_office.claims_of(answer["id_token"])[ENDPOINT]["lineitem"] for answer in answers}
    assert len(items) == count(either_office, tables.LineItem) == 1


def test_many_first_starts_make_one_current_key(either_office: Any) -> None:
    with either_office.runtime.db.write() as session:
        for row in session.scalars(select(tables.SigningKey)):
            session.delete(row)
    at_once(lambda _: keys.ensure(either_office.runtime))
    with either_office.runtime.db.read() as session:
        assert Counter(session.scalars(select(tables.SigningKey.state))) == {"current": 1, "next": 1}


def test_a_rotation_between_signatures_costs_no_launch(either_office: Any) -> None:
    token = either_office.sign_in()
    starts = [either_office.request(either_office.begin(token, either_office.launch())) for _ in range(CALLERS)]

    def step(number: int) -> Any:
        if number % 5 == 0:
            keys.rotate(either_office.runtime)
        return either_office.authorize(starts[number])[1]["id_token"]

    signed = {json.dumps(header_of(id_token)) for id_token in at_once(step)}
    known = {key["kid"] for key in either_office.client.get("/lti/jwks").json()["keys"]}
    assert {json.loads(header)["kid"] for header in signed} <= known
    with either_office.runtime.db.read() as session:
        assert Counter(session.scalars(select(tables.SigningKey.state)))["current"] == 1


def header_of(id_token: str) -> dict[str, Any]:
    import jwt

    return dict(jwt.get_unverified_header(id_token))
