"""A course page that shows the bridge in a frame of another site, in a browser that keeps no third-party cookies."""

from __future__ import annotations

import dataclasses
import html
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from jwt.algorithms import RSAAlgorithm
from playwright.sync_api import Browser, FrameLocator, Page, expect

from bridge.demo.run import Ports
from bridge.lti.tool import cookies
from bridge.store import tables
from bridge.web.app import create_app
from bridge.web.lti import tool
from tests.browser.chromium import chromium
from tests.browser.conftest import serving
from tests.conftest import make_runtime

pytestmark = pytest.mark.browser

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
COURSE = """<!doctype html><html lang="en"><title>Course</title><h1>Selling</h1>
<iframe title="Tool" src="%(src)s" style="width: 100%%; height: 600px"></iframe>
<script>
const kept = {};
addEventListener("message", ({ source, origin, data }) => {
  if (origin !== %(bridge)s || !data?.message_id || %(deaf)s) return;
  if (data.subject === "lti.put_data") kept[data.key] = data.value;
  const { subject, message_id, key } = data;
  source.postMessage({ subject: `${subject}.response`, message_id, key, value: kept[key] }, origin);
});
</script>"""


@dataclasses.dataclass(frozen=True)
class School:
    """An LMS that plays one course, on a site of its own."""

    url: str
    bridge: str
    key: rsa.RSAPrivateKey

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/course")
        def course(storage: str = "", deaf: bool = False) -> HTMLResponse:
            login = {
                "iss": self.url,
                "client_id": "bridge-1",
                "login_hint": "ada",
                "target_link_uri": f"{self.bridge}/lti/tool/launch",
            }
            asked = urlencode(login | ({"lti_storage_target": storage} if storage else {}))
            src = html.escape(f"{self.bridge}/lti/tool/login?{asked}")
            return HTMLResponse(COURSE % {"src": src, "bridge": json.dumps(self.bridge), "deaf": str(deaf).lower()})

        @app.get("/auth")
        def auth(request: Request) -> HTMLResponse:
            asked, at = request.query_params, int(time.time())
            claims = {
                **{"iss": self.url, "aud": "bridge-1", "sub": asked["login_hint"], "nonce": asked["nonce"]},
                **{"iat": at, "exp": at + 60, "name": "Ada Learner"},
                CLAIM + "version": "1.3.0",
                CLAIM + "message_type": "LtiResourceLinkRequest",
                CLAIM + "deployment_id": "d-1",
                CLAIM + "target_link_uri": asked["redirect_uri"],
                CLAIM + "roles": [],
                CLAIM + "resource_link": {"id": "link-1"},
            }
            token = jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "k"})
            return HTMLResponse(
                f'<form method="post" action="{html.escape(asked["redirect_uri"])}">'
                f'<input type="hidden" name="id_token" value="{token}">'
                f'<input type="hidden" name="state" value="{html.escape(asked["state"])}"></form>'
                "<script>document.forms[0].submit()</script>"
            )

        return app


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--test-third-party-cookie-phaseout") as opened:
        yield opened


@pytest.fixture
def school(tmp_path: Path, fresh_home: Path) -> Iterator[School]:
    ports, key = Ports.free(), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    url, bridge = f"http://school.localhost:{ports.desk}", f"http://bridge.localhost:{ports.bridge}"
    runtime = make_runtime(Path(shutil.copytree(fresh_home, tmp_path / "home")), base_url=bridge)
    jwk = {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "k", "use": "sig", "alg": "RS256"}
    config = {
        "issuer": url,
        "client_id": "bridge-1",
        "auth_login_url": f"{url}/auth",
        "jwks": {"keys": [jwk]},
        "deployment_ids": ["d-1"],
    }
    with runtime.db.write() as session:
        session.add(tables.Connection(name="school", connector="lti_platform", config=config))
    made = School(url, bridge, key)
    with serving(create_app(runtime), ports.bridge), serving(made.app(), ports.desk):
        yield made
    runtime.db.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose frames break none of their own policies."""
    context = browser.new_context()
    opened, errors = context.new_page(), list[str]()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
    yield opened
    context.close()
    assert errors == []


@pytest.fixture
def no_state_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser keeps no cookie of a login in a frame: it is not asked to."""
    monkeypatch.setattr(cookies, "cross_sites", lambda address: False)


def framed(page: Page, school: School, **asked: str) -> FrameLocator:
    # The frame goes from site to site and back. Who looks into it meanwhile may wait for the answer of a process that
    # is gone, in spite of every timeout.
    page.goto(f"{school.url}/course?{urlencode(asked)}", wait_until="networkidle")
    return page.frame_locator("iframe")


def test_a_course_shows_the_bridge_in_its_frame(page: Page, school: School) -> None:
    frame = framed(page, school)
    expect(frame.get_by_role("heading", name="Your prompts")).to_be_visible()
    expect(frame.get_by_text("Ada Learner")).to_be_visible()


def test_the_course_s_page_proves_it_where_no_cookie_can(page: Page, school: School, no_state_cookie: None) -> None:
    frame = framed(page, school, storage="_parent")
    expect(frame.get_by_role("heading", name="Your prompts")).to_be_visible()


def test_a_page_that_keeps_nothing_is_waited_for_only_a_moment(
    page: Page, school: School, no_state_cookie: None
) -> None:
    frame = framed(page, school, storage="_parent", deaf="true")
    expect(frame.get_by_role("link", name="Open in a new window")).to_be_visible()


def test_without_any_cookie_it_opens_in_a_window_of_its_own(page: Page, school: School, no_state_cookie: None) -> None:
    link = framed(page, school).get_by_role("link", name="Open in a new window")
    expect(link).to_be_visible()
    # The window's own login needs its cookie on a form that another site posts.
    with pytest.MonkeyPatch.context() as patch, page.context.expect_page() as opened:
        patch.setattr(cookies, "cross_sites", lambda address: True)
        link.click()
        expect(opened.value.get_by_role("heading", name="Your prompts")).to_be_visible()


def test_without_a_session_in_the_frame_it_goes_on_in_a_window(
    page: Page, school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "keep_framed_session", lambda *_: None)
    button = framed(page, school).get_by_role("button", name="Go on in a new window")
    button.focus()
    with page.context.expect_page() as opened:
        page.keyboard.press("Enter")
    expect(opened.value.get_by_role("heading", name="Your prompts")).to_be_visible()
    expect(opened.value.get_by_text("Ada Learner")).to_be_visible()
