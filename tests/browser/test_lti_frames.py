"""A tool's content over a business app's page, each of another site, in a browser that keeps no third-party cookies."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect
from sqlalchemy import func, select

from bridge.demo.run import Ports
from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import accept_event, configure, sync_catalogue
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.app import create_app
from tests.browser.chromium import chromium
from tests.browser.conftest import serving, work_at_once
from tests.browser.storage_tool import CLAIM, PROBE, StorageTool, create_tool
from tests.conftest import make_runtime

pytestmark = pytest.mark.browser

SECRET = "a sign-in secret of thirty-two bytes"
SETUP = """
connections:
  - name: desk
    connector: webhook
    config: {bearer: "a bearer token of the desk", sign_in_secret: "%(secret)s", origins: ["%(desk)s"]}
  - name: vendor
    connector: lti_tool
    config:
      client_id: storage-tool
      initiate_login_uri: %(tool)s/login
      redirect_uris: [%(tool)s/launch]
      target_link_uri: %(tool)s/launch
      open_in: frame
      scopes: []
      resources: [{id: practice, title: Practise the price talk, kind: quiz, duration: PT5M}]
people: [{key: E1, name: Sam Seller, email: sam@example.com, accounts: {desk: sam}}]
rules: [{name: practice, on: deal, for: owner, offer: {asset: vendor/practice}, say: Practise before you call.}]
"""
PAGE = """<!doctype html><html lang="en"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Desk</title><style>body {{ font: 16px system-ui; margin: 40px }}</style>
<script src="{bridge}/widget.js" defer data-connection="desk" data-record="deal/1"
        data-assertion="{assertion}"></script>
<h1>Harbor &amp; Vale</h1><p>An offer of 120,000 is due.</p><button>Call</button>"""


@dataclasses.dataclass(frozen=True)
class Place:
    """Three sites: names under localhost have no parent in common, and browsers trust them as they do https."""

    desk: str
    bridge: str
    vendor: str
    runtime: Runtime
    tool: StorageTool

    def count(self, table: type[tables.Base]) -> int:
        with self.runtime.db.read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--test-third-party-cookie-phaseout") as opened:
        yield opened


def business_app(bridge: str) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    def desk() -> HTMLResponse:
        at = int(time.time())
        claims = {"iss": "desk", "aud": bridge, "sub": "sam", "iat": at, "exp": at + 300}
        return HTMLResponse(PAGE.format(bridge=bridge, assertion=jwt.encode(claims, SECRET, algorithm="HS256")))

    return app


@pytest.fixture
def place(tmp_path: Path, fresh_home: Path) -> Iterator[Place]:
    ports = Ports.free()
    desk, bridge, vendor = (
        f"http://{name}.localhost:{port}"
        for name, port in (("desk", ports.desk), ("bridge", ports.bridge), ("vendor", ports.tool))
    )
    runtime = make_runtime(Path(shutil.copytree(fresh_home, tmp_path / "home")), base_url=bridge)
    (tmp_path / "setup.yaml").write_text(SETUP % {"secret": SECRET, "desk": desk, "tool": vendor})
    configure.apply(runtime, tmp_path / "setup.yaml")
    sync_catalogue.sync(runtime, "vendor")
    work_at_once(runtime)
    tool = StorageTool(bridge, f"http://127.0.0.1:{ports.bridge}/lti/jwks")
    with (
        serving(create_app(runtime), ports.bridge),
        serving(business_app(bridge), ports.desk),
        serving(create_tool(tool), ports.tool),
    ):
        yield Place(desk, bridge, vendor, runtime, tool)
    runtime.db.close()


@pytest.fixture
def page(browser: Browser, place: Place) -> Iterator[Page]:
    """A page of its own browser context; a script error on it, or something that a policy blocks, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    yield opened
    context.close()
    assert errors == []


def happens(place: Place) -> None:
    event = BusinessEvent(
        id="evt-1",
        type="deal",
        source="desk",
        time=dt.datetime.now(dt.UTC),
        subject="deal/1",
        data={},
        people={"owner": PersonRef(id="sam")},
    )
    accept_event.accept(place.runtime, "desk", [event])


def open_content(page: Page, place: Place) -> FrameLocator:
    """Click the prompt on Desk's page; the tool's own frame."""
    happens(place)
    page.goto(place.desk)
    page.get_by_role("button", name="Open: Practise the price talk", exact=True).click()
    return page.frame_locator("flowbridge-help dialog iframe").frame_locator("iframe")


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Practise the price talk")


def test_content_opens_over_the_page_and_no_cookie_is_needed(page: Page, place: Place) -> None:
    page.goto(f"{place.vendor}/probe")
    page.reload()
    expect(page.get_by_role("heading")).to_have_text(f"Cookies: {PROBE}")  # at its own site it is kept and sent
    tool = open_content(page, place)
    expect(tool.get_by_role("heading")).to_have_text("Welcome to the practice")
    assert place.tool.cookies["/login"] == place.tool.cookies["/launch"] == []  # and here it is not
    assert [cookie for cookie in page.context.cookies() if cookie["domain"].startswith("bridge")] == []
    [login], [launch], [claims] = place.tool.logins, place.tool.launches, place.tool.claims
    assert login["lti_storage_target"] == launch["lti_storage_target"] == "_parent"
    assert claims[f"{CLAIM}launch_presentation"]["document_target"] == "iframe"
    assert (place.count(tables.Launch), place.count(tables.SignInSession)) == (1, 0)
    expect(dialog(page).get_by_role("status")).to_have_count(0)  # it has nothing to say any more
    assert place.tool.states == {}


def test_the_dialog_keeps_the_keyboard_and_gives_it_back(page: Page, place: Place) -> None:
    open_content(page, place)
    box = dialog(page)
    expect(box.get_by_role("heading", name="Practise the price talk")).to_be_focused()
    expect(page.get_by_role("button", name="Call")).to_be_visible()
    assert (
        page.get_by_role("button", name="Call").evaluate("b => { b.focus(); return document.activeElement === b }")
        is False
    )
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    opener = page.get_by_role("button", name="Open: Practise the price talk", exact=True)
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    box.get_by_role("button", name="Close").press("Enter")
    expect(opener).to_be_focused()


def test_it_opens_in_a_new_tab_instead(page: Page, place: Place) -> None:
    open_content(page, place)
    with page.context.expect_page() as opened:
        dialog(page).get_by_role("button", name="Open in a new tab instead").click()
    expect(opened.value.get_by_text("No storage is offered.")).to_be_visible()
    assert "lti_storage_target" not in place.tool.logins[-1]
    expect(dialog(page)).to_be_hidden()


def test_on_a_phone_it_takes_the_whole_screen(page: Page, place: Place) -> None:
    page.set_viewport_size({"width": 390, "height": 780})
    tool = open_content(page, place)
    expect(tool.get_by_role("heading")).to_have_text("Welcome to the practice")
    assert dialog(page).bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 780}


def test_when_nothing_comes_a_way_out_is_said(page: Page, place: Place) -> None:
    page.clock.install()
    page.route("**/login", lambda _route: None)  # the tool never answers
    open_content(page, place)
    status = dialog(page).get_by_role("status")
    expect(status).to_have_text("Opening…")
    page.clock.fast_forward(10_000)
    expect(status).to_contain_text("perhaps it does not work in here")
    expect(dialog(page).get_by_role("button", name="Open in a new tab instead")).to_be_visible()


def test_the_tool_closes_it(page: Page, place: Place) -> None:
    tool = open_content(page, place)
    expect(tool.get_by_role("heading")).to_have_text("Welcome to the practice")
    close = "origin => parent.postMessage({ subject: 'org.imsglobal.lti.close' }, origin)"
    tool.get_by_role("heading").evaluate(f"(_, origin) => ({close})(origin)", place.bridge)
    expect(dialog(page)).to_be_hidden()


def test_a_refused_launch_is_said_in_the_frame(page: Page, place: Place) -> None:
    """The tool asks for an answer at an address that is not its own: nothing is sent there."""
    page.route(
        "**/lti/authorize?*", lambda route: route.continue_(url=re.sub("%2Flaunch", "%2Felse", route.request.url))
    )
    tool = open_content(page, place)
    expect(tool.get_by_role("heading", name="That did not work")).to_be_visible()
    expect(tool.get_by_role("link")).to_have_count(1)  # to the content; no way to pages that can't be shown here
    expect(dialog(page).get_by_role("status")).to_have_count(0)
    assert place.tool.launches == []


ANSWERS = """async ([origin, messages]) => {
  const answers = [];
  const heard = new Promise((resolve) => addEventListener("message", ({ data, origin: from }) => {
    if (from !== origin) return;
    answers.push(data);
    if (answers.length === messages.length) resolve();
  }));
  for (const message of messages) parent.postMessage(message, origin);
  await heard;
  return answers;
}"""


def test_what_the_storage_answers(page: Page, place: Place) -> None:
    tool = open_content(page, place)
    expect(tool.get_by_role("heading")).to_have_text("Welcome to the practice")
    inner = next(frame for frame in page.frames if frame.url.startswith(place.vendor))

    def ask(*messages: dict[str, object]) -> list[dict[str, object]]:
        told = [{"message_id": f"m{at}", **message} for at, message in enumerate(messages)]
        found: list[dict[str, object]] = inner.evaluate(ANSWERS, [place.bridge, told])
        return found

    [capabilities, put, got, missing] = ask(
        {"subject": "lti.capabilities"},
        {"subject": "lti.put_data", "key": "a", "value": "1"},
        {"subject": "lti.get_data", "key": "a"},
        {"subject": "lti.get_data", "key": "constructor"},
    )
    assert capabilities["subject"] == "lti.capabilities.response"
    assert {"subject": "lti.put_data", "frame": "_parent"} in capabilities["supported_messages"]
    assert put == {"subject": "lti.put_data.response", "message_id": "m1", "key": "a", "value": "1"}
    assert (got["message_id"], got["value"], missing["value"]) == ("m2", "1", None)
    [taken, gone] = ask({"subject": "lti.put_data", "key": "a", "value": None}, {"subject": "lti.get_data", "key": "a"})
    assert taken["value"] is gone["value"] is None
    refused = ask(
        {"subject": "lti.put_data", "key": "a", "value": 7},
        {"subject": "lti.put_data", "key": "", "value": "1"},
        {"subject": "lti.get_data", "key": "a", "message_id": 7},
        {"subject": "lti.put_data", "key": "a", "value": "x" * 4096},
        {"subject": "lti.constructor"},
    )
    codes = [json.loads(json.dumps(answer["error"]))["code"] for answer in refused]
    assert codes == ["bad_request"] * 3 + ["storage_exhaustion", "unsupported_subject"]
    filled = ask(*({"subject": "lti.put_data", "key": f"k{at}", "value": "1"} for at in range(51)))
    assert ["error" in answer for answer in filled].index(True) == 50 - 1  # the tool's own state is one of the fifty
