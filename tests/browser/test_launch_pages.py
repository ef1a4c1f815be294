"""What people see on the way of a launch, in both roles: reloaded, without cookies, on a phone, without scripts."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import func, select
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.demo.run import Ports
from bridge.flows import open_launch
from bridge.store import tables
from bridge.web.app import create_app
from tests.browser.chromium import chromium
from tests.browser.conftest import Site, serving
from tests.browser.lms_page import create_lms
from tests.browser.test_widget import connected, deal, open_record
from tests.conftest import make_runtime
from tests.lti.launching_lms import Lms

pytestmark = pytest.mark.browser

AGAIN = """([action, body]) => {
  const form = Object.assign(document.createElement("form"), { method: "post", action });
  for (const [name, value] of new URLSearchParams(body))
    form.append(Object.assign(document.createElement("input"), { name, value, type: "hidden" }));
  document.body.append(form);
  form.submit();
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--test-third-party-cookie-phaseout") as opened:
        yield opened


# As a platform.


def launched_in_a_tab(page: Page, site: Site) -> tuple[Page, str]:
    """The sample tool's page in a tab of its own, and the tool's authentication request on the way to it."""
    open_record(page, site, "Sam", "opportunities/1021")
    connected(page)
    deal(site, kind="desk.opportunity.stage_changed", stage="proposal")
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url) if "/lti/authorize" in request.url else None)
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Open: Negotiating under pressure (new tab)").click()
    tab = opened.value
    expect(tab.get_by_role("heading", name="Negotiating under pressure").first).to_be_visible()
    return tab, asked[0]


def test_a_repeated_launch_ends_at_a_page_that_says_what_to_do(page: Page, site: Site) -> None:
    tab, request = launched_in_a_tab(page, site)
    tab.goto(request)
    expect(tab.get_by_text("this launch was used already")).to_be_visible()
    expect(tab.get_by_text("open the content again")).to_be_visible()
    with site.runtime.db.read() as session:
        assert session.scalar(select(func.count()).select_from(tables.Launch)) == 1


def test_a_page_of_the_tool_is_loaded_again_and_is_still_there(page: Page, site: Site) -> None:
    tab, _ = launched_in_a_tab(page, site)
    tab.reload()
    expect(tab.get_by_role("heading", name="Negotiating under pressure").first).to_be_visible()


# As a tool.


class Forgetful:
    """The bridge as seen by a browser that keeps none of the cookies which come from ``paths``.

    Such as one that knows no cookies of a frame of its own, which Chromium does.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.paths: tuple[str, ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def drop(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"] in self.paths:
                del MutableHeaders(scope=message)["set-cookie"]
            await send(message)

        await self.app(scope, receive, drop)


@dataclasses.dataclass
class Course:
    """A course of an LMS at a site of its own, and the bridge as a tool in it."""

    url: str
    bridge: str
    lms: Lms
    keeps: Forgetful


@pytest.fixture
def course(tmp_path: Path, fresh_home: Path) -> Iterator[Course]:
    ports = Ports.free()
    bridge, issuer = f"http://127.0.0.1:{ports.bridge}", f"http://lms.localhost:{ports.tool}"
    runtime = make_runtime(Path(shutil.copytree(fresh_home, tmp_path / "home")), base_url=bridge)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    lms = Lms(runtime, None, key, issuer=issuer).register()  # type: ignore[arg-type]
    app = Forgetful(create_app(runtime))
    with serving(app, ports.bridge), serving(create_lms(lms), ports.tool):
        yield Course(f"{issuer}/course", bridge, lms, app)
    runtime.db.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    yield context.new_page()
    context.close()


def test_in_a_frame_of_an_lms_a_cookie_of_that_frame_is_enough(visit: Page, course: Course) -> None:
    visit.goto(f"{course.url}?storage=")
    expect(visit.frame_locator("iframe").get_by_text("Ada Learner")).to_be_visible()
    assert [cookie["name"] for cookie in visit.context.cookies() if not cookie.get("partitionKey")] == []


def test_in_a_frame_without_it_the_page_around_keeps_the_proof(visit: Page, course: Course) -> None:
    course.keeps.paths = ("/lti/tool/login",)
    visit.goto(course.url)
    expect(visit.frame_locator("iframe").get_by_text("Ada Learner")).to_be_visible()
    assert visit.evaluate("asked") == ["lti.put_data", "lti.get_data"]


def test_where_not_even_the_session_is_kept_it_goes_on_in_a_window(visit: Page, course: Course) -> None:
    course.keeps.paths = ("/lti/tool/login", "/lti/tool/launch")
    visit.goto(course.url)
    frame = visit.frame_locator("iframe")
    expect(frame.get_by_text("Your browser keeps no sign-in")).to_be_visible()
    with visit.context.expect_page() as opened:
        frame.get_by_role("button", name="Go on in a new window").click()
    expect(opened.value.get_by_text("Ada Learner")).to_be_visible()


def test_without_cookies_and_without_storage_a_window_is_offered(visit: Page, course: Course) -> None:
    course.keeps.paths = ("/lti/tool/login",)
    visit.goto(f"{course.url}?storage=")
    frame = visit.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Open it in a window of its own")).to_be_visible()
    course.keeps.paths = ()
    with visit.context.expect_page() as opened:
        frame.get_by_role("link", name="Open in a new window").click()
    expect(opened.value.get_by_text("Ada Learner")).to_be_visible()


def test_a_launch_posted_again_says_where_to_open_it_anew(visit: Page, course: Course) -> None:
    posted: list[str] = []
    launch = f"{course.bridge}/lti/tool/launch"
    visit.on("request", lambda request: posted.append(request.post_data or "") if request.url == launch else None)
    visit.goto(f"{course.lms.issuer}/link")
    expect(visit.get_by_text("Ada Learner")).to_be_visible()
    visit.reload()
    expect(visit.get_by_text("Ada Learner")).to_be_visible()  # a reload posts nothing again
    visit.evaluate(AGAIN, [launch, posted[0]])
    expect(visit.get_by_role("heading", name="That did not work")).to_be_visible()
    expect(visit.get_by_text("Go back to your LMS and open it from there again")).to_be_visible()
    assert len(course.lms.rows(tables.LmsMember)) == 1


# On a phone, and without scripts.


def request_of_nobody(site: Site, **changes: str) -> str:
    """An authentication request of the sample tool, for a launch that never was."""
    with site.runtime.db.read() as session:
        tool = session.scalars(select(tables.Connection).where(tables.Connection.connector == "lti_tool")).one()
    asked = {
        "scope": "openid",
        "response_type": "id_token",
        "response_mode": "form_post",
        "prompt": "none",
        "client_id": tool.config["client_id"],
        "redirect_uri": tool.config["redirect_uris"][0],
        "nonce": "n",
        "lti_message_hint": "h",
        "login_hint": "s",
    }
    return "/lti/authorize?" + "&".join(f"{name}={value}" for name, value in (asked | changes).items())


def ticket_of_sam(site: Site) -> str:
    deal(site)
    with site.runtime.db.read() as session:
        prompt = session.scalars(select(tables.Prompt).where(tables.Prompt.offered)).one()
    return f"/go/{open_launch.ticket_for(site.runtime, prompt.id)}"


PAGES: dict[str, tuple[Callable[[Site], str], str]] = {
    "repost": (request_of_nobody, "Checking your sign-in"),
    "unknown tool": (lambda site: request_of_nobody(site, client_id="nobody"), "That did not work"),
    "back": (lambda _: f"/lti/return/{uuid.uuid4()}?lti_msg=Well+done", "You are back"),
    "back with a problem": (lambda _: f"/lti/return/{uuid.uuid4()}?lti_errormsg=It+broke", "The content reported"),
    "link": (ticket_of_sam, "Four things to check"),
    "link that is over": (lambda _: "/go/nothing", "That did not work"),
}


@pytest.mark.parametrize("name", PAGES)
def test_it_reads_on_a_phone_and_without_scripts(browser: Browser, site: Site, name: str) -> None:
    path, heading = PAGES[name]
    address = site.bridge + path(site)
    for width in (390, 1280):
        context = browser.new_context(
            viewport={"width": width, "height": 780},
            java_script_enabled=False,
            extra_http_headers={"Accept": "text/html"},
        )
        page = context.new_page()
        page.goto(address)
        expect(page.get_by_role("heading", level=1)).to_contain_text(heading)
        box = page.locator("main").bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
        if name == "repost":
            expect(page.get_by_role("button", name="Continue")).to_be_visible()
        context.close()
