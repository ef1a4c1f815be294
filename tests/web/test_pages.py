"""The pages for people: who signs in sees what is theirs, and every page says what to do next."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from bridge.flows import identity, open_launch
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.app import create_app
from bridge.web.auth import SESSION_COOKIE
from tests.conftest import make_runtime
from tests.web import monday

HTML = {"Accept": "text/html"}
PASSWORD = "another long password"


@pytest.fixture(scope="module")
def worked_home(fresh_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a bridge with a prompt for Sam and one for Priya, to be copied."""
    folder = tmp_path_factory.mktemp("pages")
    made = make_runtime(Path(shutil.copytree(fresh_home, folder / "home")))
    monday.organise(made, folder)
    monday.happen(made, monday.opportunity(1), monday.project(1))
    made.db.close()
    return folder / "home"


@pytest.fixture
def bridge(worked_home: Path, tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(Path(shutil.copytree(worked_home, tmp_path / "worked")))
    yield made
    made.db.close()


@pytest.fixture
def browser(bridge: Runtime) -> Iterator[TestClient]:
    """A browser in which nobody is signed in."""
    with TestClient(create_app(bridge), base_url="http://bridge.test", headers=HTML) as made:
        yield made


def sign_in_as(browser: TestClient, bridge: Runtime, key: str) -> None:
    with bridge.db.read() as session:
        person = session.scalars(select(tables.Person).where(tables.Person.key == key)).one()
    token, _ = identity.open_session(bridge, person.id, via="desk")
    browser.cookies.set(SESSION_COOKIE, token)


def form(page: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return {name: html.unescape(value) for name, value in found}


def launches(bridge: Runtime) -> int:
    with bridge.db.read() as session:
        return session.scalar(select(func.count()).select_from(tables.Launch)) or 0


def test_before_the_sign_in_it_says_what_this_is(browser: TestClient) -> None:
    page = browser.get("/").text
    assert 'href="/sign-in"' in page
    assert 'href="http://desk.test/"' in page


def test_a_password_opens_the_console_for_an_admin(browser: TestClient) -> None:
    page = browser.get("/sign-in?next=/console/rules").text
    answer = browser.post("/sign-in", data={**form(page), "email": monday.ADMIN, "password": monday.PASSWORD})
    assert answer.url.path == "/console/rules"
    assert answer.history[0].headers["set-cookie"].startswith(f"{SESSION_COOKIE}=")
    assert "HttpOnly" in answer.history[0].headers["set-cookie"]


def test_a_wrong_password_keeps_the_address_and_says_so(browser: TestClient) -> None:
    answer = browser.post("/sign-in", data={"email": '"><b>', "password": "wrong", "next": "/console/"})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert 'value="&#34;&gt;&lt;b&gt;"' in answer.text
    assert form(answer.text)["next"] == "/console/"


@pytest.mark.parametrize("elsewhere", ["https://evil.test/", "//evil.test", "/\\evil.test", "\\evil", "javascript:x"])
def test_a_sign_in_never_leads_elsewhere(browser: TestClient, elsewhere: str) -> None:
    data = {"email": monday.ADMIN, "password": monday.PASSWORD, "next": elsewhere}
    assert browser.post("/sign-in", data=data, follow_redirects=False).headers["location"] == "/"


def test_a_one_time_password_is_replaced_first(browser: TestClient, bridge: Runtime) -> None:
    once = identity.reset_password(bridge, "sam@example.com")
    answer = browser.post("/sign-in", data={"email": "sam@example.com", "password": once, "next": "/"})
    assert answer.url.path == "/password"
    assert browser.get("/").url.path == "/password"
    refused = browser.post("/password", data={**form(answer.text), "password": "short"})
    assert (refused.status_code, "12" in refused.text) == (400, True)
    answer = browser.post("/password", data={**form(answer.text), "password": PASSWORD})
    assert answer.url.path == "/"
    assert "Before you quote Hooli, read this." in answer.text


def test_signing_out_ends_the_session(browser: TestClient, bridge: Runtime) -> None:
    sign_in_as(browser, bridge, "E001")
    token = browser.cookies[SESSION_COOKIE]
    page = browser.get("/").text
    assert "Sam Seller" in page
    assert 'href="/sign-in"' in browser.post("/sign-out", data=form(page)).text
    assert identity.session(bridge, token) is None


def test_everybody_sees_their_own_prompts_only(browser: TestClient, bridge: Runtime) -> None:
    sign_in_as(browser, bridge, "E002")
    page = browser.get("/").text
    assert "Stakeholder risk in two minutes" in page
    assert "Hooli" not in page
    sign_in_as(browser, bridge, "E005")
    assert "Nothing is waiting for you" in browser.get("/").text


def test_a_stranger_learns_from_a_link_only_what_it_leads_to(browser: TestClient, bridge: Runtime) -> None:
    path = open_launch.launch_url(bridge, monday.prompt_of(bridge, "opportunity/1").id).removeprefix(
        "http://bridge.test"
    )
    page = browser.get(path).text
    assert "Pricing for enterprises" in page
    assert "Hooli" not in page
    assert f'href="/sign-in?next={path}"' in page
    sign_in_as(browser, bridge, "E002")
    page = browser.get(path).text
    assert "made for somebody else" in page
    assert "Hooli" not in page
    assert launches(bridge) == 0


def test_the_right_person_opens_a_link_by_a_form_and_reads_it(browser: TestClient, bridge: Runtime) -> None:
    url = open_launch.launch_url(bridge, monday.prompt_of(bridge, "opportunity/1").id)
    sign_in_as(browser, bridge, "E001")
    page = browser.get(url).text
    assert launches(bridge) == 0
    answer = browser.post(url, data=form(page))
    assert answer.url.path.startswith("/launches/")
    assert "Hooli will ask for a discount" in answer.text
    assert len(re.findall(r"<h1", answer.text)) == 1
    answer = browser.post(f"{answer.url.path}/finish", data=form(answer.text))
    assert "It is on your record" in answer.text


def test_a_checklist_is_done_when_every_step_is(browser: TestClient, bridge: Runtime) -> None:
    sign_in_as(browser, bridge, "E002")
    start = browser.get("/").text
    answer = browser.post(f"/prompts/{monday.prompt_of(bridge, 'project/1').id}/open", data=form(start))
    here, own = answer.url.path, form(answer.text)
    steps = re.findall(r'<input[^>]*data-step="([^"]+)"', answer.text)
    assert len(steps) == 2
    refused = browser.post(f"{here}/finish", data=own)
    assert refused.status_code == 400
    assert "2 steps are not ticked yet" in refused.text
    for step in steps:
        assert browser.post(f"{here}/steps/{step}", data={**own, "done": "true"}).status_code == 200
    assert "Completed" in browser.post(f"{here}/finish", data=own).text
    assert "Completed" in browser.get("/").text


def test_a_link_opens_on_a_page_of_its_own(browser: TestClient, bridge: Runtime) -> None:
    prompt = monday.prompt_of(bridge, "opportunity/1")
    with bridge.db.write() as session:
        asset = session.get_one(tables.Asset, prompt.asset_id)
        asset.opening = {"how": "link", "url": "https://videos.test/pricing?a=1&b=2"}
    sign_in_as(browser, bridge, "E001")
    answer = browser.post(f"/prompts/{prompt.id}/open", data=form(browser.get("/").text))
    assert 'content="0;url=https://videos.test/pricing?a=1&amp;b=2"' in answer.text
    assert 'href="https://videos.test/pricing?a=1&amp;b=2" rel="noreferrer"' in answer.text


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [("/go/cut-off", 403, "cut off or mistyped"), ("/launches/00000000-0000-0000-0000-000000000001", 404, "no such")],
)
def test_what_does_not_work_is_told_as_a_page_with_a_way_on(
    browser: TestClient, bridge: Runtime, path: str, status: int, told: str
) -> None:
    sign_in_as(browser, bridge, "E001")
    answer = browser.get(path)
    assert answer.status_code == status
    assert told in answer.text
    assert 'href="/"' in answer.text


@pytest.mark.parametrize("path", ["/", "/sign-in", "/go/cut-off"])
def test_pages_are_kept_by_nobody_and_run_no_script_of_others(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "<script>" not in answer.text
    assert not re.search(r'(?:src|href)="(?:https?:)?//(?!desk\.test)', answer.text)
