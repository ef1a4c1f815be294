"""From a link to the help itself: for one person, by a form, and nothing else on the way changes anything."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from bridge.domain.events import PersonRef
from bridge.flows import identity, sync_catalogue
from bridge.flows.identity import SignedIn
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.app import create_app
from bridge.web.auth import SESSION_COOKIE

HTML = {"Accept": "text/html,*/*;q=0.8"}
PASSWORD = "correct horse battery"
PROJECT = {
    "id": "p1",
    "type": "desk.project.created",
    "subject": "project/1",
    "people": {"owner": PersonRef(id="priya")},
}

Ticket = Callable[..., str]
SignIn = Callable[..., SignedIn]


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """No failed tries of other tests, and hashes that cost less than real ones."""
    monkeypatch.setattr(identity, "_tries", identity._Tries())
    monkeypatch.setattr(identity, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def counted(runtime: Runtime) -> dict[str, int]:
    """How many rows there are of what an opening would change, and how often links were used."""
    with runtime.db.read() as session:
        rows = {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in (tables.Launch, tables.Statement, tables.Outcome, tables.SignInSession, tables.UsedToken)
        }
        return {**rows, "uses_left": session.scalar(select(func.sum(tables.Ticket.uses_left))) or 0}


def csrf_in(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found, page
    return found[1]


# The whole path.


def test_a_guide_from_link_to_evidence(organised: Runtime, client: TestClient, ticket: Ticket) -> None:
    link = f"/go/{ticket()}"
    page = client.get(link, headers=HTML)
    assert "Pricing for enterprises" in page.text
    assert "Before you quote Hooli" not in page.text, "what it is about is nobody else's business"
    assert f'href="/sign-in?next={link}"' in page.text

    with organised.db.read() as session:
        sam = session.scalars(select(tables.Person.id).where(tables.Person.key == "E001")).one()
    identity.set_password(organised, sam, PASSWORD)
    signed_in = client.post(
        "/sign-in", data={"email": "sam@example.com", "password": PASSWORD, "next": link}, follow_redirects=False
    )
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, link)
    cookie = signed_in.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie

    page = client.get(link, headers=HTML)
    assert "Before you quote Hooli, read this." in page.text
    opened = client.post(link, data={"csrf": csrf_in(page.text)}, headers=HTML)
    assert opened.url.path.startswith("/launches/")
    assert "Anchor first, Hooli will ask for a discount." in opened.text
    assert "I have read this" in opened.text

    finished = client.post(f"{opened.url.path}/finish", data={"csrf": csrf_in(opened.text)}, headers=HTML)
    assert "It is on your record" in finished.text
    with organised.db.read() as session:
        launch = session.scalars(select(tables.Launch)).one()
        verbs = session.scalars(select(tables.Statement.verb).order_by(tables.Statement.seq)).all()
    assert (str(launch.id), launch.completed_at is not None) == (opened.url.path.rpartition("/")[2], True)
    assert [verb.rpartition("/")[2] for verb in verbs] == ["launched", "completed"]


def test_a_checklist_step_by_step(organised: Runtime, client: TestClient, ticket: Ticket, sign_in: SignIn) -> None:
    link, priya = f"/go/{ticket(**PROJECT)}", sign_in("E002")
    opened = client.post(link, data={"csrf": priya.csrf}, headers=HTML)
    path, steps = opened.url.path, re.findall(r'data-step="([^"]+)"', opened.text)
    assert len(steps) == 2

    def tick(step: str, done: bool) -> Any:
        return client.post(f"{path}/steps/{step}", data={"csrf": priya.csrf, "done": str(done).lower()})

    early = client.post(f"{path}/finish", data={"csrf": priya.csrf})
    assert (early.status_code, early.json()["error"]["field"]) == (400, "steps")
    assert "List who can say no" in early.json()["error"]["message"]
    assert tick(steps[0], True).json() == {"done": 1, "of": 2}
    assert tick(steps[0], False).json() == {"done": 0, "of": 2}
    assert [tick(step, True).json()["done"] for step in steps] == [1, 2]
    assert tick("nonsense", True).json()["error"]["field"] == "step"
    missing = client.post(f"{path}/steps/{steps[0]}", data={"csrf": priya.csrf})
    assert (missing.status_code, missing.json()["error"]["field"]) == (422, "done")
    assert "2</span> of 2 done" in client.get(path, headers=HTML).text
    assert "It is on your record" in client.post(f"{path}/finish", data={"csrf": priya.csrf}, headers=HTML).text
    with organised.db.read() as session:
        assert session.scalars(select(tables.Outcome.verb).where(tables.Outcome.completed)).all() == ["completed"]


def test_a_prompt_is_opened_from_the_start_page_as_well(client: TestClient, ticket: Ticket, sign_in: SignIn) -> None:
    ticket()
    sam = sign_in("E001")
    start = client.get("/", headers=HTML).text
    (action,) = re.findall(r'action="(/prompts/[^"]+/open)"', start)
    assert "Anchor first" in client.post(action, data={"csrf": sam.csrf}, headers=HTML).text
    refused = client.post(f"/prompts/{uuid.uuid4()}/open", data={"csrf": sam.csrf})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


def test_a_link_elsewhere_leads_there_by_a_page(
    organised: Runtime, client: TestClient, ticket: Ticket, sign_in: SignIn
) -> None:
    link, sam = f"/go/{ticket()}", sign_in("E001")
    with organised.db.write() as session:
        asset = session.scalars(select(tables.Asset).where(tables.Asset.external_id == "pricing.md")).one()
        asset.opening = {"how": "link", "url": 'https://lms.test/course?a=1&b="><script>'}
    page = client.post(link, data={"csrf": sam.csrf}, headers=HTML)
    assert page.status_code == 200
    assert "url=https://lms.test/course?a=1&amp;b=&#34;&gt;&lt;script&gt;" in page.text
    launch = counted(organised)["launch"]
    assert launch == 1
    with organised.db.read() as session:
        launch_id = session.scalars(select(tables.Launch.id)).one()
    assert client.get(f"/launches/{launch_id}", headers=HTML, follow_redirects=False).headers["location"] == "/"
    by_hand = client.post(f"/launches/{launch_id}/finish", data={"csrf": sam.csrf})
    assert (by_hand.status_code, by_hand.json()["error"]["code"]) == (403, "not_by_hand")


# What a link does not do.


def test_a_preview_may_look_as_often_as_it_likes(organised: Runtime, client: TestClient, ticket: Ticket) -> None:
    link = f"/go/{ticket()}"
    before = counted(organised)
    for _ in range(3):
        assert client.head(link).status_code == 200
        assert client.get(link, headers={"User-Agent": "Slackbot-LinkExpanding 1.0"}).status_code == 200
    assert counted(organised) == before


def test_even_the_right_person_opens_nothing_by_looking(
    organised: Runtime, client: TestClient, ticket: Ticket, sign_in: SignIn
) -> None:
    link = f"/go/{ticket()}"
    sign_in("E001")
    before = counted(organised)
    assert client.get(link, headers=HTML).status_code == 200
    assert counted(organised) == before


def test_a_form_from_elsewhere_opens_nothing(
    organised: Runtime, client: TestClient, ticket: Ticket, sign_in: SignIn
) -> None:
    link = f"/go/{ticket()}"
    nobody = client.post(link, data={"csrf": "x"})
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (403, "sign_in_needed")
    sam = sign_in("E001")
    before = counted(organised)
    for csrf in ("", "x", sam.csrf + "x", "é", sam.csrf.upper()):
        answer = client.post(link, data={"csrf": csrf})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_form")
    assert client.post(link).status_code == 403
    for path in ("/sign-out", "/password", f"/prompts/{uuid.uuid4()}/open", f"/launches/{uuid.uuid4()}/finish"):
        assert client.post(path).json()["error"]["code"] == "wrong_form", path
    assert counted(organised) == before


def test_somebody_elses_link_is_not_opened_and_not_used(
    organised: Runtime, client: TestClient, ticket: Ticket, sign_in: SignIn
) -> None:
    link = f"/go/{ticket()}"
    priya = sign_in("E002")
    page = client.get(link, headers=HTML)
    assert "made for somebody else" in page.text
    assert "Priya Planner" in page.text
    assert "Hooli" not in page.text
    before = counted(organised)
    answer = client.post(link, data={"csrf": priya.csrf})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_for_you")
    assert counted(organised) == before


def test_somebody_elses_launch_is_not_there(client: TestClient, ticket: Ticket, sign_in: SignIn) -> None:
    sam = sign_in("E001")
    path = client.post(f"/go/{ticket()}", data={"csrf": sam.csrf}, headers=HTML).url.path
    priya = sign_in("E002")
    for answer in (
        client.get(path),
        client.post(f"{path}/finish", data={"csrf": priya.csrf}),
        client.post(f"{path}/steps/x", data={"csrf": priya.csrf, "done": "true"}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    client.cookies.clear()
    assert client.get(path, follow_redirects=False).headers["location"] == f"/sign-in?next={path}"


OVER = {
    "ticket_expired": {"expires_at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)},
    "ticket_revoked": {"revoked_at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)},
    "ticket_used_up": {"uses_left": 0},
}


@pytest.mark.parametrize("code", ["ticket_unknown", *OVER])
def test_a_link_that_is_over_says_so_and_what_to_do(
    organised: Runtime, client: TestClient, ticket: Ticket, sign_in: SignIn, code: str
) -> None:
    link = f"/go/{ticket()}"
    with organised.db.write() as session:
        for name, value in OVER.get(code, {}).items():
            setattr(session.scalars(select(tables.Ticket)).one(), name, value)
    if code == "ticket_unknown":
        link = link[:-1]
    page = client.get(link, headers=HTML)
    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "Open the prompt again in the system where you work" in page.text
    assert page.headers["cache-control"] == "no-store"
    program = client.get(link, headers={"Accept": "*/*"})
    assert (program.status_code, program.json()["error"]["code"]) == (403, code)
    sam = sign_in("E001")
    assert client.post(link, data={"csrf": sam.csrf}).json()["error"]["code"] == code
    assert counted(organised)["launch"] == 0


def test_what_left_its_catalogue_says_so(
    organised: Runtime, client: TestClient, ticket: Ticket, sign_in: SignIn, guides: Path
) -> None:
    link, sam = f"/go/{ticket()}", sign_in("E001")
    (guides / "pricing.md").unlink()
    sync_catalogue.sync(organised, "guides")
    answer = client.post(link, data={"csrf": sam.csrf})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "asset_retired")


# Handed over by the widget.


def handoff(runtime: Runtime) -> str:
    with runtime.db.read() as session:
        prompt = session.scalars(select(tables.Prompt)).one()
    return identity.handoff(runtime, prompt.person_id or 0, str(prompt.id))


def test_a_handoff_opens_once_and_signs_in_without_the_console(
    organised: Runtime, client: TestClient, ticket: Ticket
) -> None:
    link, code = f"/go/{ticket()}", handoff(organised)
    opened = client.post(link, data={"handoff": code}, headers=HTML)
    assert "Anchor first" in opened.text
    client.cookies.clear()
    again = client.post(link, data={"handoff": code})
    assert (again.status_code, again.json()["error"]["code"]) == (401, "signature_invalid")
    assert client.post(link, data={"handoff": "nonsense"}).status_code == 401
    assert counted(organised)["launch"] == 1


def test_a_handoff_is_for_its_own_link(organised: Runtime, client: TestClient, ticket: Ticket) -> None:
    first = ticket()
    code = handoff(organised)
    other = ticket(**PROJECT)
    assert client.post(f"/go/{other}", data={"handoff": code}).status_code == 401
    assert client.post(f"/go/{first}", data={"handoff": code}, follow_redirects=False).status_code == 303


def test_whom_an_app_vouches_for_can_not_take_the_account_over(
    client: TestClient, organised: Runtime, sign_in: SignIn
) -> None:
    del organised
    sam = sign_in("E001", via="handoff")
    page = client.get("/password", headers=HTML)
    assert "sign in with your password to change it" in page.text
    answer = client.post("/password", data={"csrf": sam.csrf, "password": PASSWORD})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "password_needed")


# Signing in.


def test_a_one_time_password_is_good_for_nothing_but_its_replacement(
    organised: Runtime, client: TestClient, ticket: Ticket
) -> None:
    link = f"/go/{ticket()}"
    once = identity.reset_password(organised, "sam@example.com")
    page = client.post("/sign-in", data={"email": "sam@example.com", "password": once, "next": link}, headers=HTML)
    assert page.url.path == "/password"
    csrf = csrf_in(page.text)
    assert client.get(link, headers=HTML).url.path == "/password"
    refused = client.post(link, data={"csrf": csrf})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "password_needed")
    short = client.post("/password", data={"csrf": csrf, "password": "short"}, headers=HTML)
    assert (short.status_code, "use 12 to 200 characters" in short.text) == (400, True)
    same = client.post("/password", data={"csrf": csrf, "password": once}, headers=HTML)
    assert "different from the present one" in same.text
    assert client.post("/password", data={"csrf": csrf, "password": PASSWORD}, headers=HTML).status_code == 200
    assert client.get(link, headers=HTML).url.path == link


def test_a_wrong_sign_in_is_401_and_too_many_are_429(
    client: TestClient, organised: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    del organised
    monkeypatch.setattr(identity, "_verified", lambda *_: False)
    wrong = {"email": '"><script>@example.com', "password": "wrong"}
    answers = [client.post("/sign-in", data=wrong, headers=HTML) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert "<script>@" not in answers[0].text
    assert "Wait five minutes" in answers[-1].text


ELSEWHERE = [
    "https://evil.test/",
    "//evil.test/",
    "/\\evil.test/",
    "/\t/evil.test/",
    "\\\\evil.test",
    "javascript:alert(1)",
    "http:evil.test",
    "//[evil",
    "evil.test",
    "/x\r\nSet-Cookie: a=b",
    " //evil.test",
    "",
]


def test_a_sign_in_leads_nowhere_else(
    client: TestClient, organised: Runtime, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    del organised
    sam = sign_in("E001")
    for then in ELSEWHERE:
        answer = client.get("/sign-in", params={"next": then}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), then
    client.cookies.clear()
    monkeypatch.setattr(identity, "sign_in", lambda *_: ("a token", sam))
    for then in ELSEWHERE:
        page = client.get("/sign-in", params={"next": then}, headers=HTML)
        assert 'name="next" value="/"' in page.text, then
        answer = client.post("/sign-in", data={"next": then}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), then
    kept = client.post("/sign-in", data={"next": "/console/prompts?before=2026"}, follow_redirects=False)
    assert kept.headers["location"] == "/console/prompts?before=2026"


def test_signing_out_ends_the_session(client: TestClient, organised: Runtime, sign_in: SignIn) -> None:
    sam = sign_in("E001")
    token = client.cookies[SESSION_COOKIE]
    assert client.post("/sign-out", data={"csrf": sam.csrf}, follow_redirects=False).status_code == 303
    assert identity.session(organised, token) is None
    assert "Sign in" in client.get("/", headers=HTML).text


# What every page keeps to.


def test_every_answer_carries_the_security_headers(client: TestClient, organised: Runtime, ticket: Ticket) -> None:
    del organised
    for path in (
        f"/go/{ticket()}",
        "/",
        "/sign-in",
        "/nowhere",
        "/api/v1/prompts",
        "/static/flowbridge.css",
        "/healthz",
    ):
        headers = client.get(path, headers=HTML).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "no-referrer"
        policy = headers["Content-Security-Policy"]
        for part in ("default-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'self'"):
            assert part in policy
        assert "script-src" not in policy
        assert "unsafe-eval" not in policy


def test_over_https_the_cookie_never_travels_in_clear(organised: Runtime) -> None:
    secure = organised.settings.model_copy(update={"base_url": "https://bridge.test"})
    organised.settings = secure
    with organised.db.read() as session:
        sam = session.scalars(select(tables.Person.id).where(tables.Person.key == "E001")).one()
    identity.set_password(organised, sam, PASSWORD)
    with TestClient(create_app(organised), base_url="https://bridge.test") as client:
        answer = client.post(
            "/sign-in", data={"email": "sam@example.com", "password": PASSWORD}, follow_redirects=False
        )
    assert "secure" in answer.headers["set-cookie"].lower()
