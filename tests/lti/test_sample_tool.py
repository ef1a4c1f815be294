"""The whole way with a tool that somebody else's library makes: click, launch, quiz, score, outcome.

Bridge and tool are two servers on this machine; the browser is a client that follows redirects and sends forms.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from bridge.demo.tool import create_app, quiz
from bridge.flows import open_launch
from bridge.flows.runtime import Runtime
from bridge.lti import keys
from bridge.settings import Settings
from bridge.store import tables
from tests.ports import free_port


@contextlib.contextmanager
def serving(app: FastAPI, port: int) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def surfing() -> requests.Session:
    """A browser without scripts."""
    session = requests.Session()
    session.trust_env = False
    return session


@dataclasses.dataclass
class Scene:
    """Sam at work: the bridge, the tool, and Sam's browser."""

    office: Any
    bridge: str
    tool: str
    browser: requests.Session

    def keep_session(self) -> None:
        session = self.office.client.cookies["flowbridge_session"]
        self.browser.cookies.set("flowbridge_session", session, domain="127.0.0.1")

    def post(self, url: str, fields: Mapping[str, Any]) -> requests.Response:
        return self.browser.post(url, data=dict(fields), timeout=30)

    def open(self) -> requests.Response:
        """From the click to the quiz."""
        start = self.office.begin(self.office.sign_in(), self.office.launch())
        self.keep_session()
        page = self.post(start.url, start.fields)
        assert page.url.startswith(f"{self.bridge}/lti/authorize?"), page.text
        action, fields = self.office.form_of(page.text)
        assert action == f"{self.tool}/launch"
        return self.post(action, fields)

    def answer(self, page: requests.Response, right: int) -> requests.Response:
        """Answer the quiz with so many right answers."""
        answers = {}
        for number, question in enumerate(quiz.QUESTIONS):
            wanted = number < right
            answers[question.id] = next(i for i, option in enumerate(question.options) if option.right is wanted)
        return self.post(page.url, answers)

    def outcomes(self) -> list[tuple[Any, ...]]:
        with self.office.runtime.db.read() as session:
            rows = session.scalars(select(tables.Outcome).order_by(tables.Outcome.occurred_at)).all()
            return [(row.source, row.verb, row.completed, row.success, row.score) for row in rows]


@pytest.fixture
def tool_app() -> tuple[int, int, FastAPI]:
    """The tool, made before its platform: the ports of both."""
    bridge_port, tool_port = free_port(), free_port()
    return bridge_port, tool_port, create_app(f"http://127.0.0.1:{bridge_port}", client_id="client-1")


@pytest.fixture
def scene(office: Any, tool_app: tuple[int, int, FastAPI]) -> Iterator[Scene]:
    from bridge.web.app import create_app as create_bridge

    bridge_port, tool_port, app = tool_app
    runtime: Runtime = office.runtime
    runtime.settings = Settings.load(home=runtime.settings.home, port=bridge_port)
    with (
        serving(app, tool_port) as tool,
        serving(create_bridge(runtime), bridge_port) as bridge,
        surfing() as browser,
    ):
        office.change_tool(
            initiate_login_uri=f"{tool}/login",
            redirect_uris=[f"{tool}/launch"],
            target_link_uri=f"{tool}/quiz",
            jwks_uri=f"{tool}/jwks",
            jwks=None,
            custom={"pass_mark": "0.6", "about": "$FlowBridge.event.data.customer"},
        )
        yield Scene(office, bridge, tool, browser)


def test_from_the_click_to_the_recorded_outcome(scene: Scene) -> None:
    page = scene.open()
    assert page.status_code == 200, page.text
    assert page.url.startswith(f"{scene.tool}/quiz/"), "a reload must not post the launch again"
    assert page.history[0].status_code == 303
    assert "Opened from desk · Acme &amp; Söhne" in page.text
    assert "3 right answers pass" in page.text
    result = scene.answer(page, 4)
    assert "4 of 5 right: passed" in result.text
    assert "Recorded." in result.text
    assert f'href="{scene.bridge}/lti/return/' in result.text
    assert scene.outcomes() == [("ags", "passed", True, True, 0.8)]


def test_a_failed_quiz_can_be_tried_again(scene: Scene) -> None:
    page = scene.open()
    assert "2 of 5 right: not passed yet" in scene.answer(page, 2).text
    assert "5 of 5 right: passed" in scene.answer(page, 5).text
    assert scene.outcomes() == [("ags", "failed", True, False, 0.4), ("ags", "passed", True, True, 1.0)]


def test_launches_go_on_through_a_rotation_of_either_sides_keys(scene: Scene) -> None:
    first = scene.open()
    keys.rotate(scene.office.runtime)
    assert "Recorded." in scene.answer(first, 3).text
    assert scene.open().status_code == 200


def test_without_a_pass_mark_nothing_is_judged(scene: Scene) -> None:
    scene.office.change_tool(custom={})
    page = scene.open()
    assert "right answers pass" not in page.text
    assert "<h1>4 of 5 right</h1>" in scene.answer(page, 4).text
    assert scene.outcomes() == [("ags", "completed", True, None, 0.8)]


def test_a_score_that_could_not_be_sent_is_sent_again(scene: Scene) -> None:
    page = scene.open()
    scene.office.change_tool(enabled=False)
    result = scene.answer(page, 4)
    assert "not recorded yet" in result.text
    assert scene.outcomes() == []
    scene.office.change_tool(enabled=True)
    action, _ = scene.office.form_of(result.text)
    assert "Recorded." in scene.post(scene.tool + action, {}).text
    assert scene.outcomes() == [("ags", "passed", True, True, 0.8)]


def test_the_tool_takes_each_launch_once_and_from_its_own_browser_only(scene: Scene) -> None:
    start = scene.office.begin(scene.office.sign_in(), scene.office.launch())
    scene.keep_session()
    action, fields = scene.office.form_of(scene.post(start.url, start.fields).text)
    with surfing() as stranger:
        assert stranger.post(action, data=fields, timeout=30).status_code == 400
    assert scene.post(action, fields).status_code == 200
    assert scene.post(action, fields).status_code == 400
    assert scene.post(action, fields | {"state": "other"}).status_code == 400


def test_the_tool_shows_why_the_platform_refused(scene: Scene) -> None:
    start = scene.office.begin(scene.office.sign_in(), scene.office.launch())
    page = scene.post(start.url, start.fields)  # this browser is signed in nowhere
    action, fields = scene.office.form_of(page.text)
    action, fields = scene.office.form_of(scene.post(scene.bridge + action, fields).text)
    refused = scene.post(action, fields)
    assert refused.status_code == 400
    assert "new tab" in refused.text


def test_a_launch_of_another_platform_is_refused(scene: Scene) -> None:
    start = scene.office.begin(scene.office.sign_in(), scene.office.launch())
    scene.keep_session()
    action, fields = scene.office.form_of(scene.post(start.url, start.fields).text)
    foreign = keys.sign(scene.office.runtime, scene.office.claims_of(fields["id_token"]) | {"iss": "http://other.test"})
    refused = scene.post(action, fields | {"id_token": foreign})
    assert refused.status_code == 400
    assert "Invalid issuer" in refused.text


def test_an_unfinished_quiz_keeps_the_answers_that_are_there(scene: Scene) -> None:
    page = scene.open()
    partial = scene.post(page.url, {"deadline": "1", "trade": "9"})
    assert partial.status_code == 422
    assert len(re.findall(r" checked>", partial.text)) == 1
    assert 'href="#trade"' in partial.text
    assert scene.outcomes() == []


def test_the_tool_starts_without_its_platform(tool_app: tuple[int, int, FastAPI]) -> None:
    bridge_port, tool_port, app = tool_app
    with serving(app, tool_port) as tool, surfing() as browser:

        def get(path: str, **params: str) -> requests.Response:
            return browser.get(tool + path, params=params, allow_redirects=False, timeout=30)

        assert len(get("/jwks").json()["keys"]) == 1
        login = get("/login", iss=f"http://127.0.0.1:{bridge_port}", login_hint="x", client_id="client-1")
        assert dict(parse_qsl(urlsplit(login.headers["location"]).query))["redirect_uri"] == f"{tool}/launch"
        unknown = get("/quiz/nothing")
        assert unknown.status_code == 400
        assert "Open it again from the place where you work" in unknown.text
        assert get("/login", iss="http://other.test", login_hint="x").status_code == 400


def test_a_kept_key_is_the_same_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "tool.pem"

    def shown() -> Any:
        return create_app("http://bridge.test", key_file=file).state.tool.peer.key_set()

    assert shown() == shown()
    assert file.stat().st_mode & 0o077 == 0


def test_every_question_has_one_best_answer_and_feedback_for_each() -> None:
    assert len(quiz.QUESTIONS) == 5
    for question in quiz.QUESTIONS:
        assert [option.right for option in question.options].count(True) == 1
        assert all(len(option.feedback) > 60 for option in question.options)
    places = {question.options.index(question.best) for question in quiz.QUESTIONS}
    assert len(places) > 1, "always the same place would give it away"


@pytest.fixture
def page(scene: Scene, browser: Browser) -> Iterator[Page]:
    """Sam's browser with scripts, signed in."""
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(20_000)
    context.add_cookies([{"name": "flowbridge_session", "value": scene.office.sign_in(), "url": scene.bridge}])
    yield context.new_page()
    context.close()


def link(scene: Scene) -> str:
    """A launch link as a channel shows it."""
    with scene.office.runtime.db.read() as session:
        prompt = session.get_one(tables.Launch, scene.office.launch()).prompt_id
    return f"{scene.bridge}/go/{open_launch.ticket_for(scene.office.runtime, prompt)}"


@pytest.mark.browser
def test_a_link_leads_to_the_quiz_and_back_with_a_keyboard_alone(scene: Scene, page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(link(scene))
    page.wait_for_url(f"{scene.tool}/quiz/**")
    expect(page.get_by_text("Opened from desk · Acme & Söhne")).to_be_visible()
    for _ in quiz.QUESTIONS:
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Recorded.")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("link", name="Back to your work").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You are back")).to_be_visible()
    assert complaints == [], "a page's own policy stopped something of its own"
    assert [(source, completed) for source, _, completed, *_ in scene.outcomes()] == [("ags", True)]


@pytest.mark.browser
def test_the_back_button_leads_to_where_the_person_was_and_not_into_a_used_launch(scene: Scene, page: Page) -> None:
    page.goto(f"{scene.tool}/")
    page.goto(link(scene))
    page.wait_for_url(f"{scene.tool}/quiz/**")
    page.go_back()
    assert page.url == f"{scene.tool}/"
