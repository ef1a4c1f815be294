"""Content that reports by itself: what its launch hands it, what it may do with that, and what comes of it."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from bridge.domain import ids
from bridge.flows import (
    callers,
    housekeeping,
    identity,
    launched_content,
    open_launch,
    void_statement,
    xapi_launch,
)
from bridge.flows.errors import Refused
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.web.app import create_app
from bridge.xapi.ledger import Entry
from tests.xapi.launching import VERBS, Content, equip, opened, person, prompted

CMI5 = "https://w3id.org/xapi/cmi5/context"
SESSION_ID = f"{CMI5}/extensions/sessionid"
PROFILE = "https://w3id.org/xapi/flowbridge"


both_databases = pytest.mark.parametrize(
    "bridge", ["runtime", pytest.param("pg_runtime", marks=pytest.mark.postgres)], indirect=True
)


@pytest.fixture
def bridge(request: pytest.FixtureRequest, tmp_path: Path) -> Runtime:
    """On SQLite, and on what a test asks for besides."""
    made: Runtime = request.getfixturevalue(getattr(request, "param", "runtime"))
    equip(made, tmp_path)
    return made


@pytest.fixture
def web(bridge: Runtime) -> Iterator[TestClient]:
    with TestClient(create_app(bridge), base_url="http://bridge.test") as client:
        yield client


@pytest.fixture
def plain(bridge: Runtime, web: TestClient) -> Content:
    """A Tin Can package, launched for Sam."""
    return Content(web, opened(bridge, prompted(bridge)))


@pytest.fixture
def au(bridge: Runtime, web: TestClient) -> Content:
    """A cmi5 assignable unit, launched for Sam, with its token fetched."""
    content = Content(web, opened(bridge, prompted(bridge, "quote.created")))
    content.fetch()
    return content


def kept(bridge: Runtime, statement: dict[str, Any]) -> bytes:
    with bridge.db.read() as session:
        return session.scalars(
            select(tables.Statement.payload).where(tables.Statement.id == uuid.UUID(statement["id"]))
        ).one()


def outcomes(bridge: Runtime) -> list[tuple[str, bool, bool | None, float | None]]:
    with bridge.db.read() as session:
        rows = session.scalars(select(tables.Outcome).order_by(tables.Outcome.created_at)).all()
        return [(row.verb, row.completed, row.success, row.score) for row in rows]


def refusal(answer: Any, status: int = 403) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


# What the launch hands over.


def test_a_tin_can_launch_hands_over_what_the_content_needs(plain: Content) -> None:
    assert plain.url.startswith("https://cdn.test/phishing.zip/index.html?")
    assert set(plain.handed) == {"endpoint", "auth", "actor", "activity_id", "registration"}
    assert plain.handed["endpoint"] == "http://bridge.test/xapi/"
    assert plain.activity == "https://learn.test/phishing"
    assert plain.actor["account"] == {"homePage": "http://bridge.test", "name": "E001"}
    assert plain.request("GET", "statements").status_code == 200


def test_a_cmi5_launch_hands_over_where_the_token_is(bridge: Runtime, web: TestClient) -> None:
    au = Content(web, opened(bridge, prompted(bridge, "quote.created")))
    assert au.url.startswith("https://cdn.test/negotiation.zip/index.html?lang=en&")
    assert set(au.handed) == {"lang", "endpoint", "fetch", "actor", "activityId", "registration"}
    assert au.request("GET", "statements").status_code == 401, "the address alone opens nothing at the LRS"
    first, second = au.fetch(), web.post(au.handed["fetch"])
    key, _, secret = base64.b64decode(first["auth-token"]).decode().partition(":")
    assert len(secret) >= 43 and secret not in au.url and key.startswith("launch_")
    assert (second.status_code, second.json()["error-code"]) == (200, "1")
    assert second.headers["Cache-Control"] == "no-store"
    assert au.request("GET", "statements").status_code == 200, "that somebody asked again takes nothing away"
    unknown = web.post("http://bridge.test/content/fetch/nonsense").json()
    assert unknown["error-code"] == "2" and "open the content again" in unknown["error-text"]


def test_a_page_of_another_origin_may_fetch(au: Content) -> None:
    answer = au.client.post(au.handed["fetch"], headers={"Origin": "https://cdn.test"})
    asked = au.client.options(au.handed["fetch"], headers={"Origin": "https://cdn.test"})
    assert answer.headers["Access-Control-Allow-Origin"] == asked.headers["Access-Control-Allow-Origin"] == "*"


@both_databases
def test_a_cmi5_launch_says_how_it_was_launched(bridge: Runtime, au: Content) -> None:
    data = au.state(stateId="LMS.LaunchData").json()
    session_id = data["contextTemplate"]["extensions"][SESSION_ID]
    assert data == {
        "contextTemplate": {
            "contextActivities": {"grouping": [{"id": "https://learn.test/negotiation/1", "objectType": "Activity"}]},
            "extensions": {SESSION_ID: session_id},
        },
        "launchMode": "Normal",
        "launchMethod": "AnyWindow",
        "moveOn": "CompletedAndPassed",
        "masteryScore": 0.8,
        "launchParameters": "slow",
        "returnURL": f"http://bridge.test/launches/{au.registration}",
    }
    [launched] = au.request("GET", "statements", params={"verb": f"{VERBS}launched"}).json()["statements"]
    context = launched["context"]
    assert {
        SESSION_ID: session_id,
        f"{CMI5}/extensions/launchmode": "Normal",
        f"{CMI5}/extensions/launchurl": "https://cdn.test/negotiation.zip/index.html?lang=en",
        f"{CMI5}/extensions/moveon": "CompletedAndPassed",
        f"{CMI5}/extensions/launchparameters": "slow",
        f"{CMI5}/extensions/masteryscore": 0.8,
    }.items() <= context["extensions"].items()
    assert f"{CMI5}/categories/cmi5" in [one["id"] for one in context["contextActivities"]["category"]]
    assert "https://learn.test/negotiation/1" in [one["id"] for one in context["contextActivities"]["grouping"]]
    assert (launched["object"]["id"], context["registration"]) == (au.activity, au.registration)


# What its statements become.


def test_a_statement_is_kept_with_the_business_context_and_its_own_bytes(bridge: Runtime, plain: Content) -> None:
    statement = plain.says("experienced", object={"id": f"{plain.activity}/slide/1"})
    del statement["context"]
    sent = json.dumps([statement], indent=3)
    answer = plain.request("POST", "statements", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    payload = kept(bridge, statement).decode()
    for piece in ('"actor": {', '"object": {\n         "id": "https://learn.test/phishing/slide/1"\n      }'):
        assert piece in payload, "as it was sent, blanks and all"
    context = json.loads(payload)["context"]
    assert context["registration"] == plain.registration
    assert context["extensions"][f"{PROFILE}/extensions/rule"] == {"name": "spot-it", "version": 1}
    assert context["extensions"][f"{PROFILE}/extensions/event-type"] == "mail.opened"
    assert len(context["extensions"][f"{PROFILE}/extensions/record"]) == 32
    assert "category" not in context["contextActivities"], "its words are not those of the bridge's profile"
    assert plain.send(statement).status_code == 200, "sent again it is the same statement"
    assert plain.send({**statement, "verb": {"id": f"{VERBS}answered"}}).status_code == 409


def test_what_content_says_in_its_context_is_kept_and_added_to(bridge: Runtime, plain: Content) -> None:
    said = {
        "registration": plain.registration.upper(),
        "platform": "Player 3",
        "contextActivities": {"grouping": {"id": "https://learn.test/course"}, "category": []},
        "extensions": {"https://learn.test/mode": 1.50},
    }
    statement = plain.says("experienced", context=said)
    assert plain.send(statement).status_code == 200
    context = json.loads(kept(bridge, statement))["context"]
    assert (context["registration"], context["platform"]) == (plain.registration.upper(), "Player 3")
    assert context["extensions"]["https://learn.test/mode"] == 1.5
    grouping = [one["id"] for one in context["contextActivities"]["grouping"]]
    assert grouping[0] == "https://learn.test/course" and len(grouping) == 3
    assert context["contextActivities"]["category"] == []


def test_about_a_person_there_is_no_platform(bridge: Runtime, plain: Content) -> None:
    about = {"parent": [{"id": plain.activity}]}
    statement = plain.says("asked", object={"mbox": "mailto:coach@example.com", "objectType": "Agent"})
    statement["context"]["contextActivities"] = about
    assert plain.send(statement).status_code == 200, "xAPI-Data 2.4.6 allows platform only for activities"
    assert "platform" not in json.loads(kept(bridge, statement))["context"]


# What they mean for the launch.


@both_databases
def test_what_content_says_of_its_activity_is_what_came_of_the_launch(bridge: Runtime, plain: Content) -> None:
    passed = plain.says("passed", result={"score": {"scaled": 0.9}, "success": True, "completion": True})
    assert plain.send(plain.says("experienced", object={"id": f"{plain.activity}/1"}), passed).status_code == 200
    assert outcomes(bridge) == [("passed", True, True, 0.9)]
    with bridge.db.read() as session:
        launch = session.get_one(tables.Launch, uuid.UUID(plain.registration))
        assert (launch.completed_at is not None, launch.success, launch.score) == (True, True, 0.9)
        proof = session.scalars(select(tables.Statement).where(tables.Statement.outcome_id.is_not(None))).all()
        assert [(str(row.id), row.launch_id) for row in proof] == [(passed["id"], launch.id)]
        verbs = session.scalars(select(tables.Statement.verb).order_by(tables.Statement.stored)).all()
    assert [verb.removeprefix(VERBS) for verb in verbs] == ["launched", "experienced", "passed"], "the bridge adds none"
    plain.send(passed)
    assert len(outcomes(bridge)) == 1


def test_a_part_that_is_completed_completes_nothing_else(bridge: Runtime, plain: Content) -> None:
    plain.send(plain.says("completed", object={"id": f"{plain.activity}/1"}))
    assert outcomes(bridge) == []


def test_a_test_can_be_taken_again_and_completion_counts_once(bridge: Runtime, plain: Content) -> None:
    raw = {"score": {"raw": 4, "min": 0, "max": 10}}
    plain.send(plain.says("failed", result=raw), plain.says("failed", result={"score": {"scaled": -0.2}}))
    plain.send(plain.says("completed"), plain.says("completed"), plain.says("passed"))
    assert outcomes(bridge) == [
        ("failed", False, False, 0.4),
        ("failed", False, False, 0.0),
        ("completed", True, None, None),
        ("passed", True, True, None),
    ]


def test_a_clock_that_is_fast_completes_nothing_in_the_future(bridge: Runtime, plain: Content) -> None:
    plain.send(plain.says("completed", timestamp=(now() + dt.timedelta(days=400)).isoformat()))
    with bridge.db.read() as session:
        assert session.scalars(select(tables.Outcome.occurred_at)).one() <= now()


def test_a_clock_that_is_slow_completes_nothing_before_the_launch(bridge: Runtime, plain: Content) -> None:
    assert plain.send(plain.says("completed", timestamp="2001-02-03T04:05:06Z")).status_code == 200
    with bridge.db.read() as session:
        outcome = session.scalars(select(tables.Outcome)).one()
        assert outcome.occurred_at == outcome.launch.started_at


def test_a_score_of_any_span_is_a_share(bridge: Runtime, plain: Content) -> None:
    widest = {"score": {"raw": 0, "min": -1.7e308, "max": 1.7e308}}
    assert plain.send(plain.says("failed", result=widest)).status_code == 200
    assert outcomes(bridge) == [("failed", False, False, 0.5)]
    endless = {"score": {"raw": -(10**400), "max": 1}}
    assert "beyond the range of a 64-bit float" in refusal(plain.send(plain.says("failed", result=endless)), 400)


def test_an_id_that_content_has_used_is_named_where_the_bridge_needs_it(bridge: Runtime, plain: Content) -> None:
    with bridge.db.read() as session:
        launched = session.scalars(select(tables.Statement.id)).one()
    taken = ids.voiding_id(launched)
    assert plain.send({**plain.says("experienced"), "id": str(taken)}).status_code == 200
    with pytest.raises(Refused, match=f"{taken}.*used by another program.*scope all"):
        void_statement.void(bridge, launched, reason="not Sam", actor="a test")
    with bridge.db.read() as session:
        assert session.scalars(select(tables.Statement.voided_by)).all() == [None, None]


@both_databases
def test_a_batch_of_any_number_is_noted(bridge: Runtime, plain: Content) -> None:
    """A database takes only so many parameters: PostgreSQL 65,535."""
    caller = callers.authenticate(bridge, plain.authorization)
    assert caller is not None
    many = [Entry(b"", plain.says("experienced")) for _ in range(66_000)]
    done = plain.says("completed")
    assert plain.send(done).status_code == 200
    with bridge.db.write() as session:
        session.execute(update(tables.Statement).values(launch_id=None))
        launched_content.note(bridge, session, caller, [*many, Entry(b"", done)])
    with bridge.db.read() as session:
        noted = select(tables.Statement.id).where(tables.Statement.launch_id.is_not(None))
        assert session.scalars(noted).all() == [uuid.UUID(done["id"])]


MOVE_ON: dict[str, tuple[list[str], list[bool]]] = {
    "CompletedAndPassed": (["completed", "passed"], [False, True]),
    "Passed": (["completed", "passed"], [False, True]),
    "Completed": (["passed", "completed"], [False, True]),
    "CompletedOrPassed": (["passed"], [True]),
    "NotApplicable": (["completed"], [True]),
}


@pytest.mark.parametrize("move_on", MOVE_ON)
def test_a_cmi5_unit_is_done_when_its_course_structure_says_so(
    runtime: Runtime, client: TestClient, tmp_path: Path, move_on: str
) -> None:
    verbs, completed = MOVE_ON[move_on]
    equip(runtime, tmp_path, move_on=move_on)
    au = Content(client, opened(runtime, prompted(runtime, "quote.created")))
    au.fetch()
    for verb in verbs:
        assert au.send(au.says(verb)).status_code == 200
    assert [row[1] for row in outcomes(runtime)] == completed


# What it may not.


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another person": ({"actor": {"account": {"homePage": "http://bridge.test", "name": "E002"}}}, "actor must be"),
    "the person by another name": ({"actor": {"mbox": "mailto:sam@example.com"}}, "actor must be"),
    "a group": (
        {"actor": {"objectType": "Group", "account": {"homePage": "http://bridge.test", "name": "E001"}}},
        "actor must be",
    ),
    "another registration": ({"context": {"registration": str(uuid.uuid4())}}, "context.registration must be"),
    "another activity": ({"object": {"id": "https://learn.test/other"}}, "object must be the activity"),
    "one whose id only begins alike": (
        {"object": {"id": "https://learn.test/phishing2"}},
        "object must be the activity",
    ),
    "a person as object": ({"object": {"objectType": "Agent", "mbox": "mailto:a@example.com"}}, "object must be"),
    "another activity in category": (
        {
            "object": {"id": "https://learn.test/other"},
            "context": {"contextActivities": {"category": [{"id": "https://learn.test/phishing"}]}},
        },
        "object must be",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_content_speaks_only_for_its_launch(bridge: Runtime, plain: Content, name: str) -> None:
    parts, words = WRONG[name]
    wrong = plain.says("completed", **parts)
    answer = plain.send(plain.says("experienced"), wrong)
    assert words in refusal(answer) and "statement 1" in refusal(answer)
    with bridge.db.read() as session:
        assert len(session.scalars(select(tables.Statement)).all()) == 1, "nothing of the batch is kept"
    assert plain.request("PUT", "statements", params={"statementId": wrong["id"]}, json=wrong).status_code == 403


def test_a_part_may_name_its_activity_instead_of_lying_below_it(plain: Content) -> None:
    for kind in ("parent", "grouping"):
        statement = plain.says("answered", object={"id": "urn:uuid:5b2b1c2f-6a3e-4b0b-9f53-0d5a2f1f7c11"})
        statement["context"]["contextActivities"] = {kind: {"id": plain.activity}}
        answer = plain.send(statement)
        assert answer.status_code == 200, answer.text


@both_databases
def test_content_voids_only_what_it_said(bridge: Runtime, plain: Content) -> None:
    mine = plain.says("experienced")
    assert plain.send(mine).status_code == 200
    [launched] = plain.request("GET", "statements", params={"verb": f"{VERBS}launched"}).json()["statements"]

    def void(statement: dict[str, Any]) -> Any:
        return plain.send(plain.says("voided", object={"objectType": "StatementRef", "id": statement["id"]}))

    assert "stated by somebody else" in refusal(void(launched))
    assert void(mine).status_code == 200
    other = Content(plain.client, opened(bridge, prompted(bridge)))
    theirs = other.says("experienced")
    other.send(theirs)
    assert "stated by somebody else" in refusal(void(theirs))


def test_content_reads_its_own_launch_only(bridge: Runtime, plain: Content) -> None:
    other = Content(plain.client, opened(bridge, prompted(bridge, account="ann"), "ann"))
    theirs, mine = other.says("experienced"), plain.says("experienced")
    other.send(theirs)
    plain.send(mine)
    found = plain.request("GET", "statements").json()["statements"]
    assert mine["id"] in [one["id"] for one in found]
    assert {one["actor"]["account"]["name"] for one in found} == {"E001"}
    assert plain.request("GET", "statements", params={"statementId": theirs["id"]}).status_code == 404
    ann = json.dumps(other.actor)
    assert plain.request("GET", "agents", params={"agent": ann}).status_code == 403


def test_a_session_of_cmi5_is_named_rightly_or_not_at_all(au: Content) -> None:
    wrong = au.says("initialized")
    wrong["context"]["extensions"] = {SESSION_ID: str(uuid.uuid4())}
    assert SESSION_ID in refusal(au.send(wrong))


DOCUMENTS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "its state": ("GET", "state", {}, 404),
    "its list of states": ("GET", "state", {"stateId": None}, 200),
    "its state, written": ("PUT", "state", {}, 204),
    "its state, deleted": ("DELETE", "state", {}, 204),
    "another registration's": ("GET", "state", {"registration": str(uuid.UUID(int=1))}, 403),
    "that of no registration": ("PUT", "state", {"registration": None}, 403),
    "another activity's": ("PUT", "state", {"activityId": "https://learn.test/other"}, 403),
    "a part's": ("PUT", "state", {"activityId": "https://learn.test/negotiation.zip/1"}, 403),
    "another person's": ("GET", "state", {"agent": '{"mbox":"mailto:a@example.com"}'}, 403),
    "the launch data, written": ("PUT", "state", {"stateId": "LMS.LaunchData"}, 403),
    "the launch data, merged": ("POST", "state", {"stateId": "LMS.LaunchData"}, 403),
    "the launch data, deleted": ("DELETE", "state", {"stateId": "LMS.LaunchData"}, 403),
    "all of its state, deleted": ("DELETE", "state", {"stateId": None}, 403),
    "its activity's profile": ("PUT", "profile", {}, 204),
    "another activity's profile": ("GET", "profile", {"activityId": "https://learn.test/other"}, 403),
    "the person's profile": ("GET", "agent", {}, 404),
    "the person's profile, written": ("PUT", "agent", {}, 403),
    "the person's preferences": ("PUT", "agent", {"profileId": "cmi5LearnerPreferences"}, 204),
    "another person's profile": ("GET", "agent", {"agent": '{"mbox":"mailto:a@example.com"}'}, 403),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_content_keeps_documents_only_for_its_launch(au: Content, name: str) -> None:
    method, kind, changed, status = DOCUMENTS[name]
    agent = json.dumps(au.actor)
    resource, place = {
        "state": (
            "activities/state",
            {"activityId": au.activity, "agent": agent, "registration": au.registration, "stateId": "bookmark"},
        ),
        "profile": ("activities/profile", {"activityId": au.activity, "profileId": "hints"}),
        "agent": ("agents/profile", {"agent": agent, "profileId": "habits"}),
    }[kind]
    asked = {parameter: value for parameter, value in {**place, **changed}.items() if value is not None}
    body = {} if method in ("GET", "DELETE") else {"json": {"slide": 3}, "headers": {"If-None-Match": "*"}}
    answer = au.request(method, resource, params=asked, **body)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["error"]["message"]


def test_a_launch_opens_nothing_else(bridge: Runtime, plain: Content) -> None:
    authorization = {"Authorization": plain.authorization}
    for path in ("prompts", "assets", "reports/completions"):
        assert plain.client.get(f"/api/v1/{path}", headers=authorization).status_code == 403
    token = plain.client.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=authorization)
    assert (token.status_code, token.json()["error"]) == (401, "invalid_client")


# When it is over.


@both_databases
def test_terminated_ends_a_session_of_cmi5(bridge: Runtime, au: Content) -> None:
    over = au.send(au.says("terminated"), au.says("experienced"))
    assert "nothing may follow it" in refusal(over)
    assert au.send(au.says("terminated")).status_code == 200
    for answer in (au.send(au.says("experienced")), au.state(), au.request("GET", "statements")):
        assert "ended at" in refusal(answer) and "open it again from its prompt" in refusal(answer)
    assert au.fetch()["error-code"] == "2"


@both_databases
def test_a_session_runs_out_by_the_clock(bridge: Runtime, plain: Content) -> None:
    hours = bridge.settings.session_hours
    with bridge.db.write() as session:
        row = session.scalars(select(tables.ContentSession)).one()
        assert dt.timedelta(hours=hours - 1) < row.expires_at - now() <= dt.timedelta(hours=hours)
        session.execute(update(tables.ContentSession).values(expires_at=now()))
    assert "ran out at" in refusal(plain.send(plain.says("experienced")))
    with bridge.db.write() as session:
        session.execute(update(tables.ContentSession).values(expires_at=now() - dt.timedelta(days=2)))
    housekeeping.clean(bridge)
    assert plain.send(plain.says("experienced")).status_code == 401


@pytest.mark.parametrize("event", ["mail.opened", "quote.created"])
def test_a_prompt_that_is_taken_back_ends_what_was_opened(bridge: Runtime, web: TestClient, event: str) -> None:
    prompt = prompted(bridge, event)
    content = Content(web, opened(bridge, prompt))
    if "fetch" in content.handed:
        late = Content(web, content.url)
        open_launch.revoke(bridge, prompt, actor="a test")
        assert late.fetch()["error-code"] == "2"
        return
    open_launch.revoke(bridge, prompt, actor="a test")
    assert "ended at" in refusal(content.send(content.says("experienced")))


@both_databases
def test_opening_again_goes_on_and_takes_the_old_key_away(bridge: Runtime, web: TestClient) -> None:
    prompt = prompted(bridge, "quote.created")
    first = Content(web, opened(bridge, prompt))
    first.fetch()
    assert first.state("PUT", more={"json": {"slide": 3}}).status_code == 204
    second = Content(web, opened(bridge, prompt))
    second.fetch()
    assert second.registration == first.registration
    assert second.state().json() == {"slide": 3}, "the bookmark is found again"
    assert first.send(first.says("experienced")).status_code == 401
    found = second.request("GET", "statements", params={"verb": f"{VERBS}launched"}).json()["statements"]
    sessions = {one["context"]["extensions"][SESSION_ID] for one in found}
    assert len(found) == len(sessions) == 2, "each session of cmi5 is launched"
    for verb in ("completed", "passed", "terminated"):
        assert second.send(second.says(verb)).status_code == 200
    assert Content(web, opened(bridge, prompt)).registration != first.registration, "what is completed begins anew"


def test_an_lms_launch_goes_on_by_its_page(bridge: Runtime, web: TestClient) -> None:
    prompt, sam = prompted(bridge, "quote.created"), person(bridge)
    begun = open_launch.go_on(bridge, prompt, sam)
    with bridge.db.read() as session:
        assert session.scalars(select(tables.ContentSession)).all() == [], "nobody is there to open it for yet"
    again = open_launch.reopen(bridge, begun.launch_id, sam)
    au = Content(web, again.url)
    au.fetch()
    assert au.registration == str(begun.launch_id)
    assert len(au.request("GET", "statements").json()["statements"]) == 1


def test_a_person_opens_it_from_their_page_with_a_button(bridge: Runtime, web: TestClient) -> None:
    prompt = prompted(bridge)
    token, who = identity.open_session(bridge, person(bridge), via="password")
    web.cookies.set("flowbridge_session", token, domain="bridge.test")
    page = web.post(f"/prompts/{prompt}/open", data={"csrf": who.csrf}, headers={"Accept": "text/html"})
    assert 'href="https://cdn.test/phishing.zip/index.html?' in page.text
    assert page.headers["Cache-Control"] == "no-store" and page.headers["Referrer-Policy"] == "no-referrer"


def test_nothing_that_is_kept_opens_a_session(bridge: Runtime, plain: Content, au: Content) -> None:
    with bridge.db.read() as session:
        rows = session.scalars(select(tables.ContentSession)).all()
        written = repr([vars(row) for row in rows]) + repr(session.scalars(select(tables.Statement.payload)).all())
    for content in (plain, au):
        secret = base64.b64decode(content.authorization.partition(" ")[2]).decode().partition(":")[2]
        assert secret not in written
    assert urlsplit(au.handed["fetch"]).path.rpartition("/")[2] not in written


@both_databases
def test_one_of_those_who_fetch_at_once_gets_the_token(bridge: Runtime, web: TestClient) -> None:
    au = Content(web, opened(bridge, prompted(bridge, "quote.created")))
    address = au.handed["fetch"].rpartition("/")[2]

    def use(_: int) -> bool:
        try:
            return bool(xapi_launch.fetch(bridge, address))
        except xapi_launch.Fetched:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(8))) == 1


def test_secrets_are_compared_in_constant_time(
    bridge: Runtime, plain: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the key is known or not, the secret is compared, and by the function that takes the same time."""
    seen: list[int] = []
    compare = callers.hmac.compare_digest
    monkeypatch.setattr(callers.hmac, "compare_digest", lambda a, b: seen.append(len(a)) or compare(a, b))
    key = callers.launch_key(uuid.UUID(plain.registration))
    for name in (key, callers.launch_key(uuid.uuid4()), "fb_0123456789abcdef"):
        assert callers.by_secret(bridge, name, "wrong") is None
    assert seen == [32, 32, 32]
