"""Whoever an LMS launched: who they are here, what they may do, and where they go on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.testclient import TestClient

from bridge.domain import ids
from bridge.flows import configure, enter
from bridge.observe import redact
from bridge.store import now, tables
from bridge.web.auth import FRAMED_COOKIE, SESSION_COOKIE
from tests.lti.launching_lms import ADMINISTRATOR, AGS, INSTRUCTOR, LEARNER, NRPS, ROLE, Lms

GUIDE = "---\ntitle: The call\nkind: checklist\n---\nBefore you call:\n\n- [ ] Read the file\n- [ ] Note the goal\n"
SCORE = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
SERVICES: dict[str, Any] = {
    AGS: {"scope": [SCORE, "x"], "lineitem": "https://lms.test/li/5?t=1", "lineitems": "https://lms.test/li"},
    NRPS: {"context_memberships_url": "https://lms.test/members", "service_versions": ["2.0"]},
}


def add_asset(lms: Lms, name: str, **opening: str) -> tables.Asset:
    with lms.runtime.db.write() as session:
        shelf = session.query(tables.Connection).filter_by(name="shelf").one_or_none()
        shelf = shelf or tables.Connection(name="shelf", connector="webhook", config={})
        asset = tables.Asset(
            id=ids.asset_id("shelf", name),
            connection=shelf,
            external_id=name,
            kind="checklist",
            title=f"The {name}",
            summary="",
            language="en",
            tags=[],
            activity_id=f"https://bridge.test/assets/{name}",
            opening=opening,
            fingerprint="0",
        )
        session.add(asset)
    return asset


@pytest.fixture
def checklist(lms: Lms) -> tables.Asset:
    return add_asset(lms, "call", how="inline", text=GUIDE)


def placed(asset: str = "call", **changes: Any) -> dict[str, Any]:
    return {"custom": {"asset": f"shelf/{asset}"}, **changes}


def session_of(lms: Lms) -> tables.SignInSession:
    """The newest session."""
    found: tables.SignInSession = max(lms.rows(tables.SignInSession), key=lambda row: row.created_at)
    return found


def test_a_learner_comes_to_their_own_prompts_as_themselves(lms: Lms) -> None:
    page = lms.enter()
    assert page.url.path == "/" and "Ada Learner" in page.text
    assert [response.status_code for response in page.history] == [303]
    row = session_of(lms)
    assert (row.via, row.role) == ("lti", "")
    assert row.framed_by == "https://lms.test"
    assert lms.client.get("/console/").url.path != "/console/" or "Console" not in lms.client.get("/").text


def test_the_same_account_is_the_same_person_and_another_one_is_not(lms: Lms) -> None:
    lms.enter()
    lms.enter(name="Ada Renamed", roles=[INSTRUCTOR])
    lms.enter(sub="user-8", email="ada@lms.test")
    second = Lms(lms.runtime, lms.client, lms.key, issuer="https://second.test").register("second")
    second.enter()
    accounts = {(row.issuer, row.subject): row.person_id for row in lms.rows(tables.Account)}
    assert set(accounts) == {("lms", "user-7"), ("lms", "user-8"), ("second", "user-7")}
    assert len(set(accounts.values())) == 3, "an address of e-mail makes nobody somebody else"


@pytest.mark.parametrize(
    ("console_for", "roles", "admin"),
    [
        ("administrators", [ADMINISTRATOR], True),
        ("administrators", [f"{ROLE}system/person#Administrator", LEARNER], True),
        ("administrators", [INSTRUCTOR], False),
        ("administrators", [f"{ROLE}membership#Administrator"], False),
        ("administrators", ["Administrator"], False),
        ("administrators", [], False),
        ("instructors", [INSTRUCTOR], True),
        ("instructors", ["Instructor"], True),
        ("instructors", [ADMINISTRATOR], True),
        ("instructors", [f"{ROLE}membership/Instructor#TeachingAssistant"], False),
        ("instructors", [LEARNER], False),
        ("nobody", [ADMINISTRATOR], False),
    ],
)
def test_who_is_let_into_the_console_is_the_connections_choice(
    lms: Lms, console_for: str, roles: list[str], admin: bool
) -> None:
    lms.reconfigure(console_for=console_for)
    page = lms.enter(roles=roles)
    assert page.url.path == ("/console/" if admin else "/")
    assert session_of(lms).role == ("admin" if admin else "")


def test_each_launch_opens_a_session_of_its_own(lms: Lms) -> None:
    lms.enter(roles=[ADMINISTRATOR])
    first = lms.client.cookies[SESSION_COOKIE]
    lms.enter()
    assert lms.client.cookies[SESSION_COOKIE] != first
    assert session_of(lms).role == "", "what an earlier launch allowed is not carried on"


def test_what_a_place_in_a_course_may_do_is_kept_from_its_newest_launch(lms: Lms, checklist: tables.Asset) -> None:
    lms.enter(**placed(**SERVICES))
    (link,) = lms.rows(tables.LmsLink)
    assert (link.deployment_id, link.context_id, link.context_title) == ("d-1", "course-2", "Selling")
    assert (link.resource_link_id, link.title, link.asset_id) == ("link-5", "Help for the job", checklist.id)
    assert (link.line_item, link.line_items) == ("https://lms.test/li/5?t=1", "https://lms.test/li")
    assert (link.memberships, link.scopes) == ("https://lms.test/members", [SCORE])
    assert link.members_due_at <= now()
    later = now() + dt.timedelta(hours=1)
    with lms.runtime.db.write() as session:
        row = session.get_one(tables.LmsLink, link.id)
        row.problem, row.members_due_at = "it said no", later
    lms.enter(context={"id": "course-2"}, **SERVICES)
    (again,) = lms.rows(tables.LmsLink)
    assert (again.id, again.problem, again.asset_id) == (link.id, None, None)
    assert again.members_due_at == later, "launches don't hurry the list of members"
    lms.enter(**{AGS: {"lineitem": "javascript:x", "scope": "all"}, NRPS: ["x"]})
    (bare,) = lms.rows(tables.LmsLink)
    assert (bare.line_item, bare.memberships, bare.scopes, bare.members_due_at) == ("", "", [], None)


def test_whoever_was_launched_is_a_member_of_the_course(lms: Lms) -> None:
    lms.enter(roles=["Learner", INSTRUCTOR])
    with lms.runtime.db.write() as session:
        session.query(tables.LmsMember).update({"active": False})
    lms.enter()
    (member,) = lms.rows(tables.LmsMember)
    assert (member.context_id, member.subject, member.roles) == ("course-2", "user-7", [LEARNER])
    assert member.active


def test_placed_content_opens_and_goes_on_where_the_learner_was(lms: Lms, checklist: tables.Asset) -> None:
    page = lms.enter(**placed())
    assert "Before you call" in page.text
    csrf = page.text.partition('data-csrf="')[2].partition('"')[0]
    steps = f"{page.url.path}/steps"
    step = page.text.partition('data-step="')[2].partition('"')[0] or "1"
    ticked = lms.client.post(f"{steps}/{step}", data={"csrf": csrf, "done": "true"})
    assert ticked.status_code == 200, ticked.text
    again = lms.enter(**placed())
    assert again.url.path == page.url.path, "the same learner goes on with the same launch"
    assert again.text.partition('data-done="')[2].partition('"')[0] == step
    other = lms.enter(**placed(sub="user-8"))
    elsewhere = lms.enter(**placed(resource_link={"id": "link-6"}))
    assert len({page.url.path, other.url.path, elsewhere.url.path}) == 3


def test_the_chain_from_event_to_outcome_is_whole(lms: Lms) -> None:
    guide = add_asset(lms, "guide", how="inline", text="---\ntitle: The call\nkind: guide\n---\nListen first.\n")
    page = lms.enter(**placed("guide"))
    csrf = page.text.partition('data-csrf="')[2].partition('"')[0]
    done = lms.client.post(f"{page.url.path}/finish", data={"csrf": csrf})
    assert "Completed" in done.text
    (event,), (prompt,), (launch,) = (lms.rows(table) for table in (tables.Event, tables.Prompt, tables.Launch))
    (outcome,) = lms.rows(tables.Outcome)
    assert (event.type, event.source, event.connection_id) == (enter.OPENED, "https://lms.test", lms.connection_id)
    assert event.decided_at is not None and event.due_at is None and event.people == {}
    assert event.data == {"context": {"id": "course-2", "title": "Selling"}, "title": "Help for the job"}
    assert (prompt.event_id, launch.prompt_id, outcome.launch_id) == (event.id, prompt.id, launch.id)
    assert prompt.offered and prompt.asset_id == guide.id
    assert outcome.completed
    verbs = {row.verb.rsplit("/", 1)[-1] for row in lms.rows(tables.Statement)}
    assert {"launched", "completed"} <= verbs


def test_the_built_in_rule_decides_nothing_and_is_in_no_export(lms: Lms, checklist: tables.Asset) -> None:
    lms.enter(**placed())
    (rule,) = lms.rows(tables.Rule)
    assert (rule.name, rule.enabled) == (enter.RULE, False)
    assert enter.RULE not in configure.export(lms.runtime)


def test_a_prompt_of_a_course_is_not_waiting_in_the_widget(lms: Lms, checklist: tables.Asset) -> None:
    lms.enter(**placed())
    assert "Nothing is waiting for you" in lms.client.get("/").text


@pytest.mark.parametrize("name", ["shelf/gone", "shelf/retired", "shelf/closed", "nowhere/x", "x", "shelf/a\x00b"])
def test_content_that_is_gone_says_so(lms: Lms, name: str) -> None:
    for asset in (add_asset(lms, "retired", how="inline", text=GUIDE), add_asset(lms, "closed")):
        with lms.runtime.db.write() as session:
            row = session.get_one(tables.Asset, asset.id)
            row.opening = row.opening or None
            row.retired_at = now() if row.external_id == "retired" else None
    answer = lms.launch(custom={"asset": name})
    assert answer.status_code == 403
    assert "asset gone" in answer.text and "place something else" in answer.text
    assert lms.rows(tables.SignInSession) == []


def test_content_behind_a_link_opens_by_a_page(lms: Lms) -> None:
    add_asset(lms, "video", how="link", url="https://videos.test/7")
    page = lms.enter(**placed("video"))
    assert page.status_code == 200 and 'href="https://videos.test/7"' in page.text
    again = lms.client.get(page.url)
    assert again.status_code == 200, "a reload opens it again"


def test_content_of_another_tool_opens_by_lti_from_here(lms: Lms, office: Any) -> None:
    page = lms.enter(custom={"asset": "tool/quiz"})
    action, fields = office.form_of(page.text)
    assert action.startswith("http://tool.test/login")
    assert fields["iss"] == "http://bridge.test"


def test_a_deep_linking_request_leads_to_the_choice_of_content(lms: Lms, checklist: tables.Asset) -> None:
    answer = lms.enter(**lms.deep_linking())
    assert answer.url.path.startswith("/lti/tool/deeplink/")
    assert lms.rows(tables.LmsLink) == []


def test_in_a_frame_the_session_stays_in_the_frame(lms: Lms) -> None:
    login = lms.login()
    answer = lms.post(lms.id_token(login), login.state, headers={"sec-fetch-dest": "iframe"})
    kept = answer.headers.get_list("set-cookie")
    framed = next(cookie for cookie in kept if cookie.startswith(FRAMED_COOKIE))
    assert "Secure; SameSite=None; Partitioned" in framed
    shown = lms.client.get(answer.headers["location"])
    assert "frame-ancestors 'self' https://lms.test;" in shown.headers["content-security-policy"]


def test_the_lms_s_word_counts_where_the_browser_says_nothing(lms: Lms) -> None:
    answer = lms.launch(launch_presentation={"document_target": "iframe"})
    assert any(cookie.startswith(FRAMED_COOKIE) for cookie in answer.headers.get_list("set-cookie"))
    answer = lms.launch(launch_presentation={"document_target": "window"})
    assert not any(cookie.startswith(FRAMED_COOKIE) for cookie in answer.headers.get_list("set-cookie"))


def test_only_origins_get_into_a_page_s_policy(lms: Lms) -> None:
    lms.enter(launch_presentation={"return_url": "https://x.test; script-src *"})
    assert session_of(lms).framed_by == "https://lms.test"
    lms.enter(launch_presentation={"return_url": "https://School.test:8443/back?a;b"})
    assert session_of(lms).framed_by == "https://lms.test https://school.test:8443"


@pytest.fixture
def other_window(lms: Lms) -> Iterator[TestClient]:
    """A window that got no cookie from the launch."""
    with TestClient(lms.client.app, base_url="http://bridge.test") as window:
        yield window


def test_without_cookies_it_goes_on_in_a_window_of_its_own(lms: Lms, other_window: TestClient) -> None:
    where = lms.launch(roles=[ADMINISTRATOR]).headers["location"]
    page = other_window.get(where)
    assert page.status_code == 200
    assert 'target="_blank"' in page.text and "as Ada Learner" in page.text
    assert "frame-ancestors 'self' https://lms.test;" in page.headers["content-security-policy"]
    code = page.text.partition('name="code" value="')[2].partition('"')[0]
    console = other_window.post("/lti/tool/continue", data={"code": code})
    assert console.url.path == "/console/" and console.status_code == 200
    used = other_window.post("/lti/tool/continue", data={"code": code})
    assert used.status_code == 403 and "pass over" in used.text


def test_a_pass_leads_on_once(lms: Lms, other_window: TestClient) -> None:
    where = lms.launch().headers["location"]
    assert lms.client.get(where).url.path == "/"
    assert lms.client.get(where).url.path == "/", "the browser that has the session may reload"
    code = where.partition("code=")[2]
    assert other_window.post("/lti/tool/continue", data={"code": code}).status_code == 403


def test_a_pass_runs_out_and_can_not_be_made_up(
    lms: Lms, other_window: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enter, "PASS_LIFE", dt.timedelta(seconds=-1))
    where = lms.launch().headers["location"]
    for code in (where.partition("code=")[2], "", "x", "é", "gAAAAA"):
        assert other_window.get("/lti/tool/continue", params={"code": code}).status_code == 403


def test_another_site_can_not_sign_somebody_in(lms: Lms, other_window: TestClient) -> None:
    code = lms.launch().headers["location"].partition("code=")[2]
    refused = other_window.post(
        "/lti/tool/continue", data={"code": code}, headers={"sec-fetch-site": "cross-site"}, follow_redirects=False
    )
    assert refused.status_code == 403 and "set-cookie" not in refused.headers


def test_a_pass_ends_with_its_session(lms: Lms, other_window: TestClient) -> None:
    where = lms.launch().headers["location"]
    with lms.runtime.db.write() as session:
        session.query(tables.SignInSession).delete()
    assert other_window.get(where).status_code == 403


def test_markup_in_what_the_lms_says_is_shown_as_text(lms: Lms, checklist: tables.Asset) -> None:
    mark = "<script>alert(1)</script>\x00"
    page = lms.enter(**placed(name=mark, context={"id": "c", "title": mark}, resource_link={"id": "l", "title": mark}))
    assert page.status_code == 200
    assert "<script>alert" not in page.text and "&lt;script&gt;alert" in page.text
    assert "\x00" not in lms.rows(tables.LmsLink)[0].title


@pytest.fixture
def pg_lms(pg_runtime: Any, other_key: rsa.RSAPrivateKey) -> Iterator[Lms]:
    from bridge.web.app import create_app

    with TestClient(create_app(pg_runtime), base_url="http://bridge.test") as client:
        yield Lms(pg_runtime, client, other_key).register()


@pytest.mark.postgres
def test_on_postgresql_it_is_the_same(pg_lms: Lms) -> None:
    add_asset(pg_lms, "call", how="inline", text=GUIDE)
    first = pg_lms.enter(**placed(**SERVICES, name="Ada\x00"))
    assert "Before you call" in first.text
    assert pg_lms.enter(**placed(**SERVICES)).url.path == first.url.path
    assert len(pg_lms.rows(tables.LmsLink)) == len(pg_lms.rows(tables.LmsMember)) == 1


def test_a_pass_is_not_read_in_a_log(lms: Lms) -> None:
    where = lms.launch().headers["location"]
    assert redact(f'"GET {where} HTTP/1.1" 303') == '"GET /lti/tool/continue?code=[redacted] HTTP/1.1" 303'
